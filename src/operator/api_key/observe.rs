//! What is there: the entry as the API server has it now, what stands under the name of the Secret, what is to be cloned.

use std::collections::HashSet;

use kube::ResourceExt;

use super::Error;
use super::facts::{Presence, Source};
use crate::api::ApiKey;
use crate::key::{Cloned, Ended, Entry};
use crate::operator::context::Context;
use crate::operator::entries::{StoreError, Stored};
use crate::operator::refusal::refused;
use crate::operator::secrets::{Found, Sight};

/// The entry; in words why, when it cannot be read. Nothing is minted then, for there is a value already.
pub async fn entry(context: &Context, uid: &str) -> Result<Result<Option<Stored>, String>, Error> {
    match context.entries.get(uid).await {
        Ok(stored) => Ok(Ok(stored)),
        Err(error) if error.is_unreadable() => Ok(Err(error.to_string())),
        Err(error) => Err(error.into()),
    }
}

/// What stands under the name of the Secret, once a value was delivered; with the API server's words, where it refuses to show
/// that. After somebody has removed the Secret, nobody asks.
pub async fn secret(
    context: &Context,
    key: &ApiKey,
    entry: Option<&Entry>,
) -> Result<(Option<Presence>, Option<String>), Error> {
    match presence(context, key, entry).await {
        Ok(presence) => Ok((presence, None)),
        Err(Error::Api(error)) => match refused(&error) {
            Some(words) => Ok((Some(Presence::Unknown), Some(words))),
            None => Err(error.into()),
        },
        Err(error) => Err(error),
    }
}

async fn presence(context: &Context, key: &ApiKey, entry: Option<&Entry>) -> Result<Option<Presence>, Error> {
    match entry.and_then(Entry::newest_delivery) {
        Some((delivery, delivered)) if delivery.ended == Some(Ended::Unseen) => {
            Ok(Some(match context.secrets.find(key, delivered.serial, delivery).await? {
                Found::Uid(_) => Presence::Present,
                Found::Nothing => Presence::Missing,
                Found::Other => Presence::Other,
            }))
        }
        Some((delivery, _)) if delivery.ended != Some(Ended::Removed) => {
            Ok(Some(match sight(context, key, entry).await? {
                Sight::Ours(_) | Sight::Claimed(_) => Presence::Present,
                Sight::Frozen => Presence::Frozen,
                Sight::Ending(_) => Presence::Ending,
                Sight::Nothing => Presence::Missing,
                Sight::Other => Presence::Other,
                Sight::Changed => return Err(StoreError::Lost.into()),
            }))
        }
        Some(_) | None => Ok(None),
    }
}

/// The Secret of the newest delivery, in its version.
pub async fn sight(context: &Context, key: &ApiKey, entry: Option<&Entry>) -> Result<Sight, Error> {
    let Some((entry, (delivery, delivered))) = entry.and_then(|entry| Some((entry, entry.newest_delivery()?))) else {
        return Ok(Sight::Nothing);
    };
    Ok(context.secrets.see(key, (delivered.serial, entry.last_serial), delivery).await?)
}

/// What a clone that has no record yet is to be made from.
pub async fn source(context: &Context, key: &ApiKey) -> Result<Option<Source>, Error> {
    let Some(from) = &key.spec.clone_from else { return Ok(None) };
    let namespace = key.namespace().unwrap_or_default();
    let living =
        |name: &str| context.known.key(&namespace, name).filter(|key| key.metadata.deletion_timestamp.is_none());
    let Some(source) = living(&from.name) else { return Ok(Some(Source::Missing)) };
    if source.spec.account != key.spec.account {
        return Ok(Some(Source::OtherAccount(source.spec.account.clone())));
    }
    if source.spec.clone_from.is_none() {
        return Ok(Some(found(&source, None)));
    }
    match context.entries.get(&source.uid().unwrap_or_default()).await? {
        Some(stored) => Ok(Some(found(&source, stored.entry.cloned.as_ref()))),
        None if comes_back(key, |name| living(name)?.spec.clone_from.as_ref().map(|from| from.name.clone())) => {
            Ok(Some(Source::Cycle))
        }
        None => Ok(Some(Source::Unresolved)),
    }
}

/// Going from source to source, does one come back to the key?
fn comes_back(key: &ApiKey, source_of: impl Fn(&str) -> Option<String>) -> bool {
    let mut seen = HashSet::new();
    let mut next = key.spec.clone_from.as_ref().map(|from| from.name.clone());
    while let Some(name) = next.filter(|name| seen.insert(name.clone())) {
        if name == key.name_any() {
            return true;
        }
        next = source_of(&name);
    }
    false
}

/// The source's own words win over what it was cloned from itself.
fn found(source: &ApiKey, before: Option<&Cloned>) -> Source {
    let (access_level, scopes) = match (source.spec.access_level, before) {
        (Some(level), _) => (level, source.spec.scopes.clone()),
        (None, Some(before)) => (before.access_level, before.scopes.clone()),
        (None, None) => return Source::Unresolved,
    };
    let display_name = source.spec.display_name.clone().or_else(|| before.and_then(|b| b.display_name.clone()));
    Source::Found(Cloned { source: source.name_any(), display_name, access_level, scopes })
}
