//! Reserves an account's Site ID: by a Secret of that name in lower case, in our own namespace, kept for the account's
//! namespace and name for ever, so that re-creating an account gives the same one back.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::Client;
use kube::api::ObjectMeta;

use super::write;
use crate::api::names;
use crate::apiserver::{Collection, Received};
use crate::key::site_ids;

/// How many ids are tried before it is left to the next attempt; two accounts meet on one in a billion.
const ATTEMPTS: usize = 16;

/// Returns the Site ID of an account, and reserves it in the namespace of entries. `None`: other accounts have every candidate.
pub async fn reserve(
    client: &Client,
    entries: &str,
    (namespace, name): (&str, &str),
) -> Result<Option<String>, kube::Error> {
    let secrets = Collection::<Secret>::new(client, Some(entries));
    let account = format!("{namespace}/{name}");
    let is_ours = |secret: &Received<Secret>| secret.0.as_ref().ok().and_then(account_of) == Some(account.as_bytes());
    // First all of them are looked at: an id before our own may have become free since, and ours stays.
    let mut free = Vec::new();
    for id in site_ids(namespace, name).take(ATTEMPTS) {
        match secrets.get_opt(&id.as_str().to_ascii_lowercase()).await? {
            Some(secret) if is_ours(&secret) => return Ok(Some(id.to_string())),
            Some(_) => {}
            None => free.push(id),
        }
    }
    for id in free {
        let object_name = id.as_str().to_ascii_lowercase();
        let holder = match secrets.create(&write::by_us(), &reservation(&object_name, &account)).await {
            Ok(created) => Some(created),
            // Somebody was faster; perhaps for the same account.
            Err(kube::Error::Api(status)) if status.is_already_exists() => secrets.get_opt(&object_name).await?,
            Err(error) => return Err(error),
        };
        if holder.as_ref().is_some_and(is_ours) {
            return Ok(Some(id.to_string()));
        }
    }
    Ok(None)
}

fn account_of(secret: &Secret) -> Option<&[u8]> {
    let is_reservation = secret.type_.as_deref() == Some(names::SITE_ID_SECRET_TYPE);
    let data = secret.data.as_ref().filter(|_| is_reservation)?;
    data.get(names::SITE_ID_DATA_KEY).map(|bytes| &bytes.0[..])
}

fn reservation(object_name: &str, account: &str) -> Secret {
    Secret {
        metadata: ObjectMeta {
            name: Some(object_name.to_owned()),
            labels: Some(write::labels()),
            ..ObjectMeta::default()
        },
        type_: Some(names::SITE_ID_SECRET_TYPE.to_owned()),
        immutable: Some(true),
        data: Some(BTreeMap::from([(names::SITE_ID_DATA_KEY.to_owned(), ByteString(account.as_bytes().to_vec()))])),
        ..Secret::default()
    }
}
