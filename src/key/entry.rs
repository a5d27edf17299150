//! The entry: the record of one ApiKey, from which everything about its values is decided.
//!
//! It is stored as one Secret and changed only by compare-and-swap, so its history is linear whatever the operators
//! believe. The functions here take an entry and give the next one; they know nothing of storage.

use std::time::Duration;

use data_encoding::HEXLOWER;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::access::{AccessLevel, Grant, GrantError};

use super::{Credential, HashError, Limits, SealError, Sealed, revoked_until};

#[cfg(test)]
mod tests;

/// The format that this version writes, and the only one it reads: every doubt is a deny.
const FORMAT: u32 = 1;

/// Most earlier values that are accepted beside the newest.
pub const MOST_RETIRING: usize = 5;

/// The record of one ApiKey.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Entry {
    format: u32,
    /// The ApiKey that it belongs to. It counts only while that object exists.
    pub owner: Owner,
    /// The serial of the newest minting.
    pub last_serial: u64,
    /// The highest revision that a value was minted for.
    #[serde(default, skip_serializing_if = "super::credential::is_zero")]
    pub revision: i64,
    /// What was cloned, when the key is a clone: resolved once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cloned: Option<Cloned>,
    /// The newest value.
    pub current: Credential,
    /// Earlier values, newest first, each accepted until its `retires_at`. Only the first can have none, while the newest value is
    /// not delivered. At most [`MOST_RETIRING`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub retiring: Vec<Credential>,
    /// The `revokeBefore` whose effect is recorded: every value that it covers has ended, and the next value is issued after its second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_before: Option<Timestamp>,
    /// `metadata.generation` of the ApiKey in which that was recorded. Each record is so a change of the entry, and an operator whose ApiKey is
    /// of an earlier generation knows that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_in: Option<i64>,
    /// The Secret that the newest delivery went to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<Delivery>,
    /// Since when its owner is gone. Orphans are collected late, for they may be a restore in progress.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub orphaned_at: Option<Timestamp>,
    /// The uid of the ApiKey of the same name that takes it over after a restore. From then on no other can.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handed_to: Option<String>,
    /// The uid of the entry that this one took over after a restore.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adopted_from: Option<String>,
}

/// The ApiKey that an entry belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Owner {
    /// `metadata.namespace`
    pub namespace: String,
    /// `metadata.name`
    pub name: String,
    /// `metadata.uid`: a re-created ApiKey is another one.
    pub uid: String,
}

impl Owner {
    /// What its entries are labelled with, so that those of one name can be asked for: a name may be longer than a label.
    pub fn label(&self) -> String {
        let print = blake3::hash(format!("{}/{}", self.namespace, self.name).as_bytes());
        HEXLOWER.encode(&print.as_bytes()[..16])
    }
}

/// What a clone took over from its source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Cloned {
    /// The source's `metadata.name`, in the same namespace.
    pub source: String,
    /// Its name for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
    /// Its level.
    pub access_level: AccessLevel,
    /// Its scopes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<String>,
}

impl Cloned {
    /// What it permits.
    pub fn grant(&self) -> Result<Grant, GrantError> {
        Grant::new(self.access_level, &self.scopes)
    }
}

/// Where a value was delivered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Delivery {
    /// The Secret's `metadata.name`.
    pub name: String,
    /// The Secret's `metadata.uid`.
    pub uid: String,
    /// What became of it; it stands here and not in status, for it decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Ended>,
    /// Digest of the part of `spec.secret` that it was written from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
}

/// What became of a delivered Secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Ended {
    /// It was shown for its time, and then we deleted it.
    Revealed,
    /// Somebody deleted it.
    Removed,
    /// It was delivered in the cluster that the entry was restored from, and was not seen in this one yet.
    Unseen,
}

/// Why an entry or a credential could not be made or read.
#[derive(Debug, Error)]
pub enum EntryError {
    /// Not JSON of this shape.
    #[error("the entry cannot be read: {0}")]
    Json(#[from] serde_json::Error),
    /// Written by a later version.
    #[error("the entry has format {0}; this version reads {FORMAT}: upgrade Keywright")]
    Format(u32),
    /// The hash was not made.
    #[error(transparent)]
    Hash(#[from] HashError),
    /// The seal was not made.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// The text is none of our plaintexts, or there is no pepper.
    #[error("the plaintext cannot be tagged")]
    Tag,
}

impl Entry {
    /// The entry of a key whose first value was just recorded.
    pub fn first(owner: Owner, credential: Credential, cloned: Option<Cloned>) -> Self {
        Self {
            format: FORMAT,
            owner,
            last_serial: credential.serial,
            revision: credential.revision,
            cloned,
            current: credential,
            retiring: Vec::new(),
            revoked_before: None,
            revoked_in: None,
            secret: None,
            orphaned_at: None,
            handed_to: None,
            adopted_from: None,
        }
    }

    /// The next entry, after a further value was recorded. The one before goes on until the new one is delivered, and those that
    /// retire until the times that they were given. Beyond [`MOST_RETIRING`] one that has ended goes, or the one that
    /// retires first.
    #[must_use]
    pub fn rotated(&self, credential: Credential) -> Self {
        let mut next = self.clone();
        next.last_serial = credential.serial;
        next.revision = next.revision.max(credential.revision);
        next.retiring.insert(0, std::mem::replace(&mut next.current, credential));
        if next.retiring.len() > MOST_RETIRING {
            let retires = |(_, retiring): &(usize, &Credential)| {
                (retiring.ended.is_none(), retiring.retires_at.unwrap_or(Timestamp::MAX))
            };
            let first = next.retiring.iter().enumerate().min_by_key(retires).map(|(place, _)| place);
            first.map(|place| next.retiring.remove(place));
        }
        next
    }

    /// Returns the next entry, in which each credential has the end that the limits give it, and `revokeBefore` is recorded. `None`: all of
    /// that is so already.
    pub fn ending(&self, limits: &Limits, now: Timestamp) -> Option<Self> {
        let mut next = self.clone();
        for credential in std::iter::once(&mut next.current).chain(&mut next.retiring) {
            credential.ended = credential.end(limits, now);
        }
        next.revoked_before = self.revoked_before.max(limits.revoke_before);
        if limits.revoke_before.is_some() {
            next.revoked_in = limits.generation;
        }
        (next != *self).then_some(next)
    }

    /// Returns the next entry, which blocks issuing until an earlier `revokeBefore`, or none. Only after status reports no later one: while
    /// it does, the API server takes a revocation of the value issued next for recorded.
    #[must_use]
    pub fn released(&self, limits: &Limits) -> Self {
        Self { revoked_before: limits.revoke_before, revoked_in: limits.generation, ..self.clone() }
    }

    /// Returns true if an earlier generation of the ApiKey decides nothing any more, because a later one is recorded.
    pub fn outdates(&self, generation: Option<i64>) -> bool {
        self.revoked_in > generation
    }

    /// Returns true if a value issued now would be covered by the recorded `revokeBefore`.
    pub fn blocks_issuing(&self, now: Timestamp) -> bool {
        self.revoked_before.is_some_and(|before| revoked_until(before) > now)
    }

    /// The values that a call may be made with, if nothing else speaks against it; newest first.
    pub fn credentials(&self) -> impl Iterator<Item = &Credential> {
        std::iter::once(&self.current).chain(&self.retiring)
    }

    /// The Secret that holds the newest value, if it was delivered.
    pub fn delivery(&self) -> Option<&Delivery> {
        self.secret.as_ref().filter(|_| self.undelivered().is_none())
    }

    /// The newest delivery there was, and the value that it delivered: while the newest value waits, the one before.
    pub fn newest_delivery(&self) -> Option<(&Delivery, &Credential)> {
        let delivered = self.credentials().find(|credential| credential.delivered_at.is_some())?;
        Some((self.secret.as_ref()?, delivered))
    }

    /// The value that was committed and not yet delivered.
    pub fn undelivered(&self) -> Option<&Credential> {
        self.current.delivered_at.is_none().then_some(&self.current)
    }

    /// The next entry, after the newest value was written into a Secret: the seal is erased, the value before retires when
    /// `overlap` has passed, and those that have retired are dropped.
    #[must_use]
    pub fn delivered(&self, secret: Delivery, overlap: Duration, now: Timestamp) -> Self {
        let mut next = self.clone();
        next.current.sealed = None;
        next.current.delivered_at = Some(now);
        next.secret = Some(secret);
        next.retiring.retain(|retiring| retiring.retires_at.is_none_or(|at| at > now));
        for retiring in next.retiring.iter_mut().filter(|retiring| retiring.retires_at.is_none()) {
            // An overlap without end would be no retirement.
            retiring.retires_at = Some(now.checked_add(overlap).unwrap_or(now));
        }
        next
    }

    /// The next entry, after something became of the delivered Secret.
    #[must_use]
    pub fn ended(&self, how: Ended) -> Self {
        let mut next = self.clone();
        if let Some(secret) = &mut next.secret {
            secret.ended = Some(how);
        }
        next
    }

    /// The next entry, after its owner was found missing or found again.
    #[must_use]
    pub fn orphaned(&self, since: Option<Timestamp>) -> Self {
        Self { orphaned_at: since, ..self.clone() }
    }

    /// The next entry, after it was decided who takes it over.
    #[must_use]
    pub fn handed_to(&self, uid: &str) -> Self {
        Self { handed_to: Some(uid.to_owned()), ..self.clone() }
    }

    /// The first entry of the ApiKey that takes this one over, with the same values. A value that waits to be delivered is
    /// sealed for its owner, so it comes sealed anew.
    #[must_use]
    pub fn adopted(&self, uid: &str, resealed: Option<Sealed>) -> Self {
        let mut next = self.clone();
        next.owner = Owner { uid: uid.to_owned(), ..next.owner };
        next.current.sealed = resealed.or(next.current.sealed);
        next.secret = next.secret.map(|secret| Delivery { ended: secret.ended.or(Some(Ended::Unseen)), ..secret });
        Self { orphaned_at: None, handed_to: None, adopted_from: Some(self.owner.uid.clone()), ..next }
    }

    /// The next entry, after the Secret of before the restore was seen, under its uid in this cluster.
    #[must_use]
    pub fn seen(&self, secret_uid: String) -> Self {
        let mut next = self.clone();
        next.secret = next.secret.map(|secret| Delivery { uid: secret_uid, ended: None, ..secret });
        next
    }

    /// Reads what [`Entry::to_json`] wrote.
    pub fn from_json(json: &[u8]) -> Result<Self, EntryError> {
        let entry: Self = serde_json::from_slice(json)?;
        if entry.format == FORMAT { Ok(entry) } else { Err(EntryError::Format(entry.format)) }
    }

    /// The form that is stored.
    pub fn to_json(&self) -> Result<Vec<u8>, EntryError> {
        Ok(serde_json::to_vec(self)?)
    }
}
