//! The store of entries. Every change is a compare-and-swap; no other module writes them.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{DeleteParams, ListParams, ObjectMeta, Preconditions};
use kube::{Api, Client};
use thiserror::Error;

use super::write;
use crate::api::names;
use crate::key::{Entry, EntryError};

/// How many entries one page of a list holds.
const PAGE: u32 = 500;

/// The store of entries.
pub struct Entries(Api<Secret>);

/// An entry and the version of it that was read.
#[derive(Clone)]
pub struct Stored {
    /// The entry.
    pub entry: Entry,
    version: String,
    /// The uid of the Secret that holds it.
    secret_uid: String,
}

impl Stored {
    /// The resourceVersion of it that was read or written.
    pub fn version(&self) -> &str {
        &self.version
    }
}

/// Why an entry was not read or not written.
#[derive(Debug, Error)]
pub enum StoreError {
    /// Somebody else was first. Read again and go on from there.
    #[error("somebody else changed the entry first")]
    Lost,
    /// What is stored cannot be read.
    #[error(transparent)]
    Entry(#[from] EntryError),
    /// The Secret is there, without an entry in it.
    #[error("the Secret of the entry holds no {}", names::ENTRY_DATA_KEY)]
    Empty,
    /// Anything else that the API server says.
    #[error("entry: {0}")]
    Api(#[source] Box<kube::Error>),
}

impl Entries {
    /// The store in our own namespace.
    pub fn new(client: Client) -> Self {
        Self(Api::namespaced(client, names::ENTRIES_NAMESPACE))
    }

    /// The entry of an ApiKey, as the API server has it now.
    pub async fn get(&self, uid: &str) -> Result<Option<Stored>, StoreError> {
        self.0.get_opt(uid).await.map_err(api)?.map(stored).transpose()
    }

    /// Every entry, page by page; `None` for one that cannot be read.
    pub async fn list(&self) -> Result<Vec<Option<Stored>>, StoreError> {
        let mut all = Vec::new();
        let mut page = ListParams::default().fields(&format!("type={}", names::ENTRY_SECRET_TYPE)).limit(PAGE);
        loop {
            let list = self.0.list(&page).await.map_err(api)?;
            all.extend(list.items.into_iter().map(|secret| stored(secret).ok()));
            match list.metadata.continue_ {
                Some(token) if !token.is_empty() => page = page.continue_token(&token),
                _ => return Ok(all),
            }
        }
    }

    /// The first write of an entry. [`StoreError::Lost`] when there is one.
    pub async fn create(&self, entry: &Entry) -> Result<Stored, StoreError> {
        let secret = secret(entry, None)?;
        self.0.create(&write::by_us(), &secret).await.map_err(api).and_then(stored)
    }

    /// Puts `next` in the place of what was read, if that is still there.
    pub async fn replace(&self, read: &Stored, next: &Entry) -> Result<Stored, StoreError> {
        let secret = secret(next, Some(read.version.clone()))?;
        self.0.replace(&next.owner.uid, &write::by_us(), &secret).await.map_err(api).and_then(stored)
    }

    /// Deletes exactly what was read.
    pub async fn delete(&self, read: &Stored) -> Result<(), StoreError> {
        let preconditions =
            Preconditions { resource_version: Some(read.version.clone()), uid: Some(read.secret_uid.clone()) };
        let params = DeleteParams::default().preconditions(preconditions);
        self.0.delete(&read.entry.owner.uid, &params).await.map_err(api).map(|_| ())
    }
}

fn api(error: kube::Error) -> StoreError {
    match &error {
        // 409 is "already exists" as well as "conflict"; 404 means that it was deleted since it was read.
        kube::Error::Api(status) if status.code == 409 || status.code == 404 => StoreError::Lost,
        _ => StoreError::Api(Box::new(error)),
    }
}

fn secret(entry: &Entry, version: Option<String>) -> Result<Secret, StoreError> {
    Ok(Secret {
        metadata: ObjectMeta {
            name: Some(entry.owner.uid.clone()),
            namespace: Some(names::ENTRIES_NAMESPACE.to_owned()),
            labels: Some(write::labels()),
            resource_version: version,
            ..ObjectMeta::default()
        },
        type_: Some(names::ENTRY_SECRET_TYPE.to_owned()),
        data: Some(BTreeMap::from([(names::ENTRY_DATA_KEY.to_owned(), ByteString(entry.to_json()?))])),
        ..Secret::default()
    })
}

fn stored(secret: Secret) -> Result<Stored, StoreError> {
    let json = secret.data.as_ref().and_then(|data| data.get(names::ENTRY_DATA_KEY)).ok_or(StoreError::Empty)?;
    Ok(Stored {
        entry: Entry::from_json(&json.0)?,
        version: secret.metadata.resource_version.unwrap_or_default(),
        secret_uid: secret.metadata.uid.unwrap_or_default(),
    })
}
