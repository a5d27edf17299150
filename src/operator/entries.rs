//! The store of entries. Every change is a compare-and-swap; no other module writes them.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{DeleteParams, ListParams, ObjectMeta, Preconditions};
use kube::{Client, ResourceExt};
use thiserror::Error;

use super::refusal::screened;
use super::write;
use crate::api::names;
use crate::apiserver::{Collection, Received};
use crate::key::{Credential, Entry, EntryError, Owner};

/// Bounds the wait for the next entry of a list.
const PATIENCE: Duration = Duration::from_secs(30);

/// The store of entries.
pub struct Entries {
    secrets: Collection<Secret>,
    namespace: String,
}

/// An entry and the version of it that was read.
#[derive(Clone, Debug)]
pub struct Stored {
    /// The entry.
    pub entry: Entry,
    version: String,
    /// The uid of the Secret that holds it.
    secret_uid: String,
    /// When that Secret was made: in this cluster, also where the entry was restored.
    made_at: Option<Timestamp>,
    /// Until when a new ApiKey of its owner's name takes it over: [`names::ADOPT_UNTIL_LABEL`].
    adopt_until: Option<String>,
}

impl Stored {
    /// The resourceVersion of it that was read or written.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Until when a new ApiKey of its owner's name takes it over, as whoever restored it has written.
    pub fn adopt_until(&self) -> Option<&str> {
        self.adopt_until.as_deref()
    }

    /// Was its owner missing already when it came into this cluster? Then its key had been deleted, and is not to come back.
    pub fn came_as_an_orphan(&self) -> bool {
        self.entry.orphaned_at.is_some_and(|orphaned| self.made_at.is_none_or(|made| orphaned < made))
    }
}

#[cfg(test)]
impl Stored {
    /// As if it had been read.
    pub fn for_tests(entry: Entry, made_at: Option<Timestamp>, adopt_until: Option<&str>) -> Self {
        let adopt_until = adopt_until.map(str::to_owned);
        Self { entry, version: String::new(), secret_uid: String::new(), made_at, adopt_until }
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
    /// The Secret of the entry cannot be parsed.
    #[error("the Secret of the entry cannot be parsed: {0}")]
    Unreadable(String),
    /// Anything else that the API server says.
    #[error("entry: {0}")]
    Api(#[source] Box<kube::Error>),
}

impl StoreError {
    /// Is there an entry that cannot be read? Then there is a value already, and nothing is minted.
    pub fn is_unreadable(&self) -> bool {
        matches!(self, Self::Entry(_) | Self::Empty | Self::Unreadable(_))
    }
}

impl Entries {
    /// Creates the store of a namespace.
    pub fn new(client: &Client, namespace: String) -> Self {
        Self { secrets: Collection::new(client, Some(&namespace)), namespace }
    }

    /// Namespace of entries, the pepper, reserved Site IDs and the verifiers' Leases.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The entry of an ApiKey, as the API server has it now.
    pub async fn get(&self, uid: &str) -> Result<Option<Stored>, StoreError> {
        self.secrets.get_opt(uid).await.map_err(api)?.map(stored).transpose()
    }

    /// Every entry that can be read, page by page.
    pub async fn list(&self) -> Result<Vec<Stored>, StoreError> {
        let mut all = Vec::new();
        self.secrets.list(&of_our_type(), PATIENCE, |secret| all.extend(stored(secret).ok())).await.map_err(api)?;
        Ok(all)
    }

    /// The entries of all ApiKeys that ever had this one's name, its own too, as the API server has them now. One that cannot be
    /// read is an error only where it is this one's own or to be taken over: nobody else asks for what is in it.
    pub async fn of_name(&self, owner: &Owner) -> Result<Vec<Stored>, StoreError> {
        let of_name = of_our_type().labels(&format!("{}={}", names::OWNER_LABEL, owner.label()));
        let mut found = Vec::new();
        let mut unreadable = None;
        let listed = self.secrets.list(&of_name, PATIENCE, |secret| {
            let is_to_be_adopted =
                secret.meta().labels.as_ref().is_some_and(|labels| labels.contains_key(names::ADOPT_UNTIL_LABEL));
            let is_own = secret.meta().name.as_deref() == Some(&owner.uid);
            match stored(secret) {
                Ok(stored) => found.push(stored),
                Err(error) if is_own || is_to_be_adopted => unreadable = Some(error),
                Err(_) => {}
            }
        });
        listed.await.map_err(api)?;
        if let Some(error) = unreadable {
            return Err(error);
        }
        let is_of_name =
            |s: &Stored| (&s.entry.owner.namespace, &s.entry.owner.name) == (&owner.namespace, &owner.name);
        Ok(found.into_iter().filter(is_of_name).collect())
    }

    /// The first write of an entry. [`StoreError::Lost`] when there is one.
    pub async fn create(&self, entry: &Entry) -> Result<Stored, StoreError> {
        let secret = secret(entry, None)?;
        let created = self.secrets.create(&write::by_us(), &secret).await;
        created.map_err(|error| api(hidden(error, entry))).and_then(stored)
    }

    /// Puts `next` in the place of what was read, if that is still there.
    pub async fn replace(&self, read: &Stored, next: &Entry) -> Result<Stored, StoreError> {
        self.swap(next, secret(next, Some(read.version.clone()))?).await
    }

    /// The same before a delivered Secret is blanked in this version. The entry's own version changes, also where `next` is
    /// what was read.
    pub async fn replace_before_blanking(
        &self,
        read: &Stored,
        next: &Entry,
        blanked: &str,
    ) -> Result<Stored, StoreError> {
        let mut secret = secret(next, Some(read.version.clone()))?;
        secret.annotations_mut().insert(names::BLANKING_ANNOTATION.to_owned(), blanked.to_owned());
        self.swap(next, secret).await
    }

    async fn swap(&self, next: &Entry, secret: Secret) -> Result<Stored, StoreError> {
        let replaced = self.secrets.replace(&secret.name_any(), &write::by_us(), &secret).await;
        replaced.map_err(|error| api(hidden(error, next))).and_then(stored)
    }

    /// Deletes exactly what was read.
    pub async fn delete(&self, read: &Stored) -> Result<(), StoreError> {
        let preconditions =
            Preconditions { resource_version: Some(read.version.clone()), uid: Some(read.secret_uid.clone()) };
        let params = DeleteParams::default().preconditions(preconditions);
        self.secrets.delete(&read.entry.owner.uid, &params).await.map_err(api)
    }
}

fn api(error: kube::Error) -> StoreError {
    if write::is_outrun(&error) { StoreError::Lost } else { StoreError::Api(Box::new(error)) }
}

/// Hides the words of an error that quote hashes, tags or sealed values.
fn hidden(error: kube::Error, entry: &Entry) -> kube::Error {
    let material: Vec<String> = entry.credentials().flat_map(Credential::material).collect();
    screened(error, material.iter().map(String::as_bytes))
}

fn of_our_type() -> ListParams {
    ListParams::default().fields(&format!("type={}", names::ENTRY_SECRET_TYPE))
}

fn secret(entry: &Entry, version: Option<String>) -> Result<Secret, StoreError> {
    let mut labels = write::labels();
    labels.insert(names::OWNER_LABEL.to_owned(), entry.owner.label());
    Ok(Secret {
        metadata: ObjectMeta {
            name: Some(entry.owner.uid.clone()),
            labels: Some(labels),
            resource_version: version,
            ..ObjectMeta::default()
        },
        type_: Some(names::ENTRY_SECRET_TYPE.to_owned()),
        data: Some(BTreeMap::from([(names::ENTRY_DATA_KEY.to_owned(), ByteString(entry.to_json()?))])),
        ..Secret::default()
    })
}

fn stored(received: Received<Secret>) -> Result<Stored, StoreError> {
    let secret = received.0.map_err(|unreadable| StoreError::Unreadable(unreadable.error))?;
    let json = secret.data.as_ref().and_then(|data| data.get(names::ENTRY_DATA_KEY)).ok_or(StoreError::Empty)?;
    Ok(Stored {
        entry: Entry::from_json(&json.0)?,
        version: secret.metadata.resource_version.unwrap_or_default(),
        secret_uid: secret.metadata.uid.unwrap_or_default(),
        made_at: secret.metadata.creation_timestamp.map(|at| at.0),
        adopt_until: secret.metadata.labels.unwrap_or_default().remove(names::ADOPT_UNTIL_LABEL),
    })
}
