//! What a decision looks at: a value together with its ApiKey and its account.
//!
//! There may be a million of them, and what every decision reads lies side by side.

use std::sync::{Arc, OnceLock};

use arc_swap::{ArcSwapOption, Guard};
use http::HeaderValue;
use jiff::Timestamp;

use super::activity::usage::Usage;
use super::subject::{Account, Ceiling, NEVER, Nanos, Subject, nanos, timestamp};
use crate::access::Grant;
use crate::key::{Credential, Pepper, Tag};

/// A value as its entry records it.
#[derive(Clone)]
pub(super) struct Value {
    /// The tag to compare with: the stored one, or the one that a proof gave in its place.
    pub(super) tag: Tag,
    pub(super) serial: u64,
    pub(super) issued: Nanos,
    /// From when on a newer value has taken its place.
    pub(super) retires: Nanos,
    /// The argon2id record; kept only where the tag's pepper is gone.
    pub(super) record: Option<Arc<String>>,
    pub(super) cloned: Option<Arc<Cloned>>,
}

impl Value {
    pub(super) fn read(credential: &Credential, cloned: Option<&Arc<Cloned>>, pepper: Option<&Pepper>) -> Self {
        let is_checkable = pepper.is_some_and(|pepper| pepper.can_check(&credential.tag));
        Self {
            tag: credential.tag,
            serial: credential.serial,
            issued: nanos(credential.issued_at),
            retires: credential.retires_at.map_or(NEVER, nanos),
            record: (!is_checkable).then(|| Arc::new(credential.hash.clone())),
            cloned: cloned.cloned(),
        }
    }
}

/// What a clone took over.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Cloned {
    pub(super) grant: Grant,
    pub(super) display_name: Option<Box<str>>,
}

/// A value whose ApiKey exists.
pub struct Live {
    pub(super) value: Value,
    pub(super) subject: Arc<Subject>,
    /// The platform has suspended the ApiKey.
    pub(super) suspended: bool,
    /// It was issued before `spec.rotation.revokeBefore`.
    pub(super) revoked: bool,
    /// What it may do under its account's ceiling, as it was told last.
    pub(super) effective: ArcSwapOption<Effective>,
    /// What is counted of it, from the first call on.
    pub(super) usage: OnceLock<Arc<Usage>>,
}

impl Live {
    pub(super) fn new(value: Value, subject: Arc<Subject>, suspended: bool) -> Self {
        Self {
            suspended,
            revoked: value.issued < subject.revoke_before,
            effective: ArcSwapOption::empty(),
            usage: OnceLock::new(),
            value,
            subject,
        }
    }

    /// Its ApiKey.
    pub fn subject(&self) -> &Arc<Subject> {
        &self.subject
    }

    /// Its account at this moment.
    pub fn account(&self) -> Guard<Arc<Account>> {
        self.subject.account.now()
    }

    /// What it may do before the ceiling.
    pub(super) fn grant(&self) -> Option<&Grant> {
        self.subject.grant.as_ref().or(self.value.cloned.as_ref().map(|cloned| &cloned.grant))
    }

    /// The argon2id record, where the tag's pepper is gone.
    pub(super) fn record(&self) -> Option<&Arc<String>> {
        self.value.record.as_ref()
    }

    /// When it ends by itself: with its key, by its age, or because a newer one has come.
    pub(super) fn ends_at(&self, ceiling: Option<&Ceiling>) -> Option<Timestamp> {
        let by_age = timestamp(ceiling.map_or(NEVER, |ceiling| self.outlives(ceiling)));
        [self.subject.expires_at, by_age, timestamp(self.value.retires)].into_iter().flatten().min()
    }

    /// The key's name for people.
    pub fn display_name(&self) -> Option<&str> {
        let own = self.subject.words.as_ref().and_then(|words| words.display_name.as_deref());
        own.or(self.value.cloned.as_ref().and_then(|cloned| cloned.display_name.as_deref()))
    }

    /// When it ends by the age that its account allows.
    pub(super) fn outlives(&self, ceiling: &Ceiling) -> Nanos {
        let lifetime = ceiling.max_lifetime.map(|lifetime| Nanos::try_from(lifetime.as_nanos()).unwrap_or(NEVER));
        lifetime.map_or(NEVER, |lifetime| self.value.issued.saturating_add(lifetime))
    }
}

/// The effective scopes of a key with `Custom`, which cost some work; good while the account is the same.
pub(super) struct Effective {
    pub(super) account: Arc<Account>,
    pub(super) scopes: HeaderValue,
}
