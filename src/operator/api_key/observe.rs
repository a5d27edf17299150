//! What is there: the entry as the API server has it now, and what stands under the name of the Secret.

use super::Error;
use crate::api::ApiKey;
use crate::key::Entry;
use crate::operator::context::Context;
use crate::operator::entries::{StoreError, Stored};
use crate::operator::secrets::Presence;

/// The entry; in words why, when it cannot be read. Nothing is minted then, for there is a value already.
pub async fn entry(context: &Context, uid: &str) -> Result<Result<Option<Stored>, String>, Error> {
    match context.entries.get(uid).await {
        Ok(stored) => Ok(Ok(stored)),
        Err(error @ (StoreError::Entry(_) | StoreError::Empty)) => Ok(Err(error.to_string())),
        Err(error) => Err(error.into()),
    }
}

/// What stands under the name of the Secret, once a value was delivered.
pub async fn secret(context: &Context, key: &ApiKey, entry: Option<&Entry>) -> Result<Option<Presence>, Error> {
    match entry.and_then(|e| e.undelivered().is_none().then_some(e).zip(e.secret.as_ref())) {
        Some((entry, delivery)) => Ok(Some(context.secrets.look(key, entry.last_serial, delivery).await?)),
        None => Ok(None),
    }
}
