//! The entry: the record of one ApiKey, from which everything about its values is decided.
//!
//! It is stored as one Secret and changed only by compare-and-swap, so its history is linear whatever the operators
//! believe. The functions here take an entry and give the next one; they know nothing of storage.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{HashError, Hasher, KeyId, Parsed, Pepper, Plaintext, SealError, Sealed, SealingKey, Tag, parse};

/// The format that this version writes, and the only one it reads: every doubt is a deny.
const FORMAT: u32 = 1;

/// The record of one ApiKey.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Entry {
    format: u32,
    /// The ApiKey that it belongs to. It counts only while that object exists.
    pub owner: Owner,
    /// The serial of the newest minting.
    pub last_serial: u64,
    /// The newest value.
    pub current: Credential,
    /// The Secret that the newest delivery went to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<Delivery>,
    /// Since when its owner is gone. Orphans are collected late, for they may be a restore in progress.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub orphaned_at: Option<Timestamp>,
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

/// Where a value was delivered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Delivery {
    /// The Secret's `metadata.name`.
    pub name: String,
    /// The Secret's `metadata.uid`.
    pub uid: String,
}

/// One value of a key, without its plaintext.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Credential {
    /// The public id.
    pub id: KeyId,
    /// What the value begins with.
    pub prefix: String,
    /// Which minting it is: 1, 2, …
    pub serial: u64,
    /// When it was minted.
    pub issued_at: Timestamp,
    /// When the Secret with it was written; until then it is `sealed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivered_at: Option<Timestamp>,
    /// argon2id as a PHC string.
    pub hash: String,
    /// Keyed BLAKE3.
    pub tag: Tag,
    /// The plaintext, for the operator alone, until it is delivered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sealed: Option<Sealed>,
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

impl Credential {
    /// Records a fresh plaintext as the given minting of an ApiKey: hashed, tagged and sealed. Takes about 20 ms.
    pub fn record(
        plaintext: &Plaintext,
        serial: u64,
        owner_uid: &str,
        hasher: &Hasher,
        pepper: &Pepper,
        sealing_key: &SealingKey,
        now: Timestamp,
    ) -> Result<Self, EntryError> {
        let Parsed::Native(presented) = parse(plaintext.expose().as_bytes()) else {
            return Err(EntryError::Tag);
        };
        let id = presented.id();
        let prefix = plaintext.expose().split_once('_').map_or("", |(prefix, _)| prefix);
        Ok(Self {
            id,
            prefix: prefix.to_owned(),
            serial,
            issued_at: now,
            delivered_at: None,
            hash: hasher.hash(plaintext)?,
            tag: pepper.tag_presented(&presented).ok_or(EntryError::Tag)?,
            sealed: Some(sealing_key.seal(plaintext, owner_uid, id)?),
        })
    }

    /// What may be shown of it: `kw_7hx3k9m2pq4d_…`
    pub fn hint(&self) -> String {
        format!("{}_{}_…", self.prefix, self.id)
    }
}

impl Entry {
    /// The entry of a key whose first value was just recorded.
    pub fn first(owner: Owner, credential: Credential) -> Self {
        Self {
            format: FORMAT,
            owner,
            last_serial: credential.serial,
            current: credential,
            secret: None,
            orphaned_at: None,
        }
    }

    /// The value that was committed and not yet delivered.
    pub fn undelivered(&self) -> Option<&Credential> {
        self.current.delivered_at.is_none().then_some(&self.current)
    }

    /// The next entry, after the newest value was written into a Secret: the seal is erased.
    #[must_use]
    pub fn delivered(&self, secret: Delivery, now: Timestamp) -> Self {
        let mut next = self.clone();
        next.current.sealed = None;
        next.current.delivered_at = Some(now);
        next.secret = Some(secret);
        next
    }

    /// The next entry, after its owner was found missing or found again.
    #[must_use]
    pub fn orphaned(&self, since: Option<Timestamp>) -> Self {
        Self { orphaned_at: since, ..self.clone() }
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const STORED: &str = r#"{"format":1,"owner":{"namespace":"shop","name":"billing","uid":"8f1c"},"lastSerial":1,"current":{"id":"7hx3k9m2pq4d","prefix":"kw","serial":1,"issuedAt":"2026-11-22T10:00:00Z","hash":"$argon2id$v=19$m=64,t=1,p=1$c2FsdHNhbHQ$aGFzaA","tag":"1:BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=","sealed":"AQID"}}"#;

    #[test]
    fn the_stored_form_is_locked() {
        let entry = Entry::from_json(STORED.as_bytes()).unwrap();
        assert_eq!(String::from_utf8(entry.to_json().unwrap()).unwrap(), STORED);
        assert_eq!(entry.current.hint(), "kw_7hx3k9m2pq4d_…");
    }

    #[test]
    fn an_entry_of_a_later_version_is_not_guessed_at() {
        let later = STORED.replace("\"format\":1", "\"format\":2");
        assert!(matches!(Entry::from_json(later.as_bytes()), Err(EntryError::Format(2))));
        let unknown = STORED.replace("\"lastSerial\"", "\"onlyOnMondays\":true,\"lastSerial\"");
        assert!(matches!(Entry::from_json(unknown.as_bytes()), Err(EntryError::Json(_))));
    }

    #[test]
    fn delivery_erases_the_seal_and_notes_the_secret() {
        let entry = Entry::from_json(STORED.as_bytes()).unwrap();
        assert!(entry.undelivered().is_some());
        let secret = Delivery { name: "billing".into(), uid: "s-1".into() };
        let next = entry.delivered(secret.clone(), Timestamp::UNIX_EPOCH);
        assert!(next.undelivered().is_none());
        assert_eq!(next.current.sealed, None);
        assert_eq!(next.secret, Some(secret));
    }

    #[test]
    fn debug_output_holds_no_key_material() {
        let entry = Entry::from_json(STORED.as_bytes()).unwrap();
        let shown = format!("{entry:?}");
        assert!(!shown.contains("AQID") && !shown.contains("BwcH"), "{shown}");
    }
}
