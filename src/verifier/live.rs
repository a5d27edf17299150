//! What a decision looks at: a value together with its ApiKey and its account.
//!
//! There may be a million of them, and each look at memory that is in no cache costs as much as all the rest. So what
//! nearly every decision reads, and what upstreams are told of who calls, stands in one place of two cache lines.

use std::sync::Arc;

use arc_swap::Guard;
use jiff::Timestamp;
use prefetch_index::prefetch_index;
use smol_str::SmolStr;

use super::activity::usage::Usage;
use super::subject::{Account, AccountCell, Ceiling, Granted, NEVER, Nanos, Subject, nanos, timestamp};
use crate::access::{AccessLevel, Scope};
use crate::key::{Credential, CredentialEnd, Pepper, Tag};

/// A value as its entry records it.
#[derive(Clone)]
pub(super) struct Value {
    /// The tag to compare with: the stored one, or the one that a proof gave in its place.
    pub(super) tag: Tag,
    pub(super) issued: Nanos,
    pub(super) rest: Option<Arc<Rest>>,
    /// End for good, recorded in the entry or seen in a spec of the ApiKey.
    pub(super) ended: Option<CredentialEnd>,
}

/// What most values do not have.
pub(super) struct Rest {
    pub(super) serial: u64,
    /// From when on a newer value has taken its place.
    pub(super) retires: Nanos,
    /// The argon2id record; kept only where the tag's pepper is gone.
    pub(super) record: Option<Arc<String>>,
    pub(super) cloned: Option<Arc<Cloned>>,
}

impl Value {
    pub(super) fn read(credential: &Credential, cloned: Option<&Arc<Cloned>>, pepper: Option<&Pepper>) -> Self {
        let is_checkable = pepper.is_some_and(|pepper| pepper.can_check(&credential.tag));
        let rest = Rest {
            serial: credential.serial,
            retires: credential.retires_at.map_or(NEVER, nanos),
            record: (!is_checkable).then(|| Arc::new(credential.hash.clone())),
            cloned: cloned.cloned(),
        };
        let is_there = rest.retires != NEVER || rest.record.is_some() || rest.cloned.is_some();
        Self {
            tag: credential.tag,
            issued: nanos(credential.issued_at),
            rest: is_there.then(|| Arc::new(rest)),
            ended: credential.ended,
        }
    }

    /// From when on a newer value has taken its place.
    pub(super) fn retires(&self) -> Nanos {
        self.rest.as_ref().map_or(NEVER, |rest| rest.retires)
    }

    /// Which minting it is, and its argon2id record, where that is kept.
    pub(super) fn record(&self) -> Option<(u64, &Arc<String>)> {
        let rest = self.rest.as_ref()?;
        Some((rest.serial, rest.record.as_ref()?))
    }
}

/// What a clone took over.
pub(super) struct Cloned {
    pub(super) grant: Granted,
    pub(super) display_name: Option<Box<str>>,
}

/// A value whose ApiKey exists.
#[derive(Clone)]
pub struct Live {
    // Of the value, one by one: they leave no room between them.
    pub(super) tag: Tag,
    issued: Nanos,
    rest: Option<Arc<Rest>>,
    pub(super) subject: Arc<Subject>,
    /// What is counted of it, from the first call on.
    pub(super) usage: Option<Arc<Usage>>,
    // What follows is of the subject and the value, and stands here to be at hand.
    account: Arc<AccountCell>,
    name: SmolStr,
    /// When the key expires or the value retires, whichever comes first.
    pub(super) ends: Nanos,
    /// `None` when neither the key nor what was cloned says what it may do.
    pub(super) level: Option<AccessLevel>,
    pub(super) disabled: bool,
    /// The platform has suspended the ApiKey.
    pub(super) suspended: bool,
    /// End for good. It stays although `spec.rotation.revokeBefore` is removed before the operator's record of it is here.
    pub(super) ended: Option<CredentialEnd>,
}

impl Live {
    pub(super) fn new(value: Value, subject: Arc<Subject>, suspended: bool) -> Self {
        let expires = subject.expires_at().map_or(NEVER, nanos);
        let ends = expires.min(value.retires());
        let Value { tag, issued, rest, ended } = value;
        let is_revoked = issued < subject.revoked_until();
        let mut live = Self {
            tag,
            issued,
            rest,
            account: subject.account.clone(),
            name: subject.name.clone(),
            ends,
            level: None,
            disabled: subject.disabled,
            suspended,
            ended: ended.or(is_revoked.then_some(CredentialEnd::Revoked)),
            usage: None,
            subject,
        };
        live.level = live.grant().map(|granted| granted.grant.level());
        live
    }

    /// The value, without its ApiKey.
    pub(super) fn value(&self) -> Value {
        Value { tag: self.tag, issued: self.issued, rest: self.rest.clone(), ended: self.ended }
    }

    /// Its ApiKey.
    pub fn subject(&self) -> &Arc<Subject> {
        &self.subject
    }

    /// The same, with its calls counted in this.
    pub(super) fn counted_in(&self, usage: &Arc<Usage>) -> Self {
        Self { usage: Some(usage.clone()), ..self.clone() }
    }

    /// Has the memory brought in which its calls are counted: that comes last, and by then it is there.
    pub(super) fn bring_counts(&self) {
        if let Some(usage) = self.usage.as_deref() {
            prefetch_index(std::slice::from_ref(usage), 0);
        }
    }

    /// `metadata.name` of its ApiKey.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Its account's name and state.
    pub(super) fn cell(&self) -> &AccountCell {
        &self.account
    }

    /// Its account at this moment.
    pub fn account(&self) -> Guard<Arc<Account>> {
        self.account.now()
    }

    /// What it may do before the ceiling.
    pub(super) fn grant(&self) -> Option<&Granted> {
        self.subject.grant.as_ref().or(self.cloned().map(|cloned| &cloned.grant))
    }

    /// Does it permit this before the ceiling? `None` is a doubt. Only `Custom` has to be looked up.
    pub(super) fn allows(&self, wanted: &Scope) -> Option<bool> {
        match self.level?.allows(wanted) {
            Some(allows) => Some(allows),
            None => Some(self.grant()?.grant.allows(wanted)),
        }
    }

    /// The argon2id record, where the tag's pepper is gone.
    pub(super) fn record(&self) -> Option<&Arc<String>> {
        self.rest.as_ref()?.record.as_ref()
    }

    fn cloned(&self) -> Option<&Cloned> {
        self.rest.as_ref()?.cloned.as_deref()
    }

    /// When it ends by itself: with its key, by its age, or because a newer one has come.
    pub(super) fn ends_at(&self, ceiling: Option<&Ceiling>) -> Option<Timestamp> {
        let by_age = timestamp(ceiling.map_or(NEVER, |ceiling| self.outlives(ceiling)));
        [self.subject.expires_at(), by_age, timestamp(self.value().retires())].into_iter().flatten().min()
    }

    /// The key's name for people.
    pub fn display_name(&self) -> Option<&str> {
        self.subject.display_name().or(self.cloned().and_then(|cloned| cloned.display_name.as_deref()))
    }

    /// When it ends by the age that its account allows.
    pub(super) fn outlives(&self, ceiling: &Ceiling) -> Nanos {
        let lifetime = ceiling.max_lifetime.map(|lifetime| Nanos::try_from(lifetime.as_nanos()).unwrap_or(NEVER));
        lifetime.map_or(NEVER, |lifetime| self.issued.saturating_add(lifetime))
    }
}
