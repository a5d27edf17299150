//! The record of one value: what remains of it when its plaintext is gone.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{EntryError, Hasher, KeyId, Parsed, Pepper, Plaintext, Sealed, SealingKey, Tag, parse};

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
    /// The revision that it was minted for.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub revision: i64,
    /// When it was minted.
    pub issued_at: Timestamp,
    /// When the Secret with it was written; until then it is `sealed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivered_at: Option<Timestamp>,
    /// From when on it is refused, because a newer one was delivered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retires_at: Option<Timestamp>,
    /// Reason for which it is refused for good, whatever a later spec contains.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<CredentialEnd>,
    /// argon2id as a PHC string.
    pub hash: String,
    /// Keyed BLAKE3.
    pub tag: Tag,
    /// The plaintext, for the operator alone, until it is delivered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sealed: Option<Sealed>,
}

/// Reason for which a credential is refused for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum CredentialEnd {
    /// A `spec.rotation.revokeBefore` covered it.
    Revoked,
    /// It became older than the `maxKeyLifetime` of its account.
    Expired,
}

/// Limits that end credentials for good.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// `spec.rotation.revokeBefore` of the ApiKey
    pub revoke_before: Option<Timestamp>,
    /// `metadata.generation` of the ApiKey, for the record of `revoke_before`
    pub generation: Option<i64>,
    /// `spec.maxKeyLifetime` of the Account
    pub max_lifetime: Option<Duration>,
}

impl Limits {
    /// Returns the moment at which a credential becomes older than the account allows.
    pub fn outlived_at(&self, credential: &Credential) -> Option<Timestamp> {
        credential.issued_at.checked_add(self.max_lifetime?).ok()
    }
}

/// Returns the moment from which on issued values are not covered by `revokeBefore`. The second of `revokeBefore` is covered whole,
/// because users write whole seconds.
pub fn revoked_until(revoke_before: Timestamp) -> Timestamp {
    let second = revoke_before.as_nanosecond().div_euclid(NANOS_PER_SECOND);
    Timestamp::from_nanosecond((second + 1) * NANOS_PER_SECOND).unwrap_or(Timestamp::MAX)
}

const NANOS_PER_SECOND: i128 = 1_000_000_000;

/// A value about to be recorded: which one, and of whom.
#[derive(Clone, Copy, Debug)]
pub struct Minting<'a> {
    /// Which minting it is.
    pub serial: u64,
    /// The revision that it is for.
    pub revision: i64,
    /// The ApiKey's uid.
    pub owner_uid: &'a str,
}

impl Credential {
    /// Records a fresh plaintext as the given minting of an ApiKey: hashed, tagged and sealed. Takes about 20 ms.
    pub fn record(
        plaintext: &Plaintext,
        minting: Minting<'_>,
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
            serial: minting.serial,
            revision: minting.revision,
            issued_at: now,
            delivered_at: None,
            retires_at: None,
            ended: None,
            hash: hasher.hash(plaintext)?,
            tag: pepper.tag_presented(&presented).ok_or(EntryError::Tag)?,
            sealed: Some(sealing_key.seal(plaintext, minting.owner_uid, id)?),
        })
    }

    /// Returns the end of the credential: the recorded one, or the one that follows from these limits.
    pub fn end(&self, limits: &Limits, now: Timestamp) -> Option<CredentialEnd> {
        let is_revoked = || limits.revoke_before.is_some_and(|before| self.issued_at < revoked_until(before));
        let is_outlived = || limits.outlived_at(self).is_some_and(|at| at <= now);
        let revoked = || is_revoked().then_some(CredentialEnd::Revoked);
        self.ended.or_else(revoked).or_else(|| is_outlived().then_some(CredentialEnd::Expired))
    }

    /// Returns the parts that must never be shown, as they are stored: salt, hash, tag and sealed value.
    pub fn material(&self) -> Vec<String> {
        let stored = |part: Option<serde_json::Value>| part.and_then(|part| part.as_str().map(str::to_owned));
        let hash = self.hash.rsplit('$').take(2).map(str::to_owned);
        let tag = stored(serde_json::to_value(self.tag).ok());
        let sealed = self.sealed.as_ref().and_then(|sealed| stored(serde_json::to_value(sealed).ok()));
        hash.chain(tag).chain(sealed).collect()
    }

    /// What may be shown of it: `kw_7hx3k9m2pq4d_…`
    pub fn hint(&self) -> String {
        format!("{}_{}_…", self.prefix, self.id)
    }
}

// serde hands over a reference.
#[allow(clippy::trivially_copy_pass_by_ref)]
pub fn is_zero(number: &i64) -> bool {
    *number == 0
}
