//! What a decision looks at: a value together with its ApiKey and its account, as far as they matter.
//!
//! There may be a million of them, so what is kept of each is small, and what every decision reads lies side by side.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption, Guard};
use http::HeaderValue;
use jiff::Timestamp;

use super::activity::usage::Usage;
use super::identity::{Effective, Told};
use crate::access::Grant;
use crate::key::{Credential, Pepper, SiteId, Tag};

/// What tells two objects apart, in as many bytes however long their names are.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Print([u8; 16]);

/// A uid of the API server.
pub type Uid = Print;

/// A namespace and a name in it.
pub type FullName = Print;

impl From<&str> for Print {
    fn from(uid: &str) -> Self {
        Self::of(&[uid])
    }
}

impl From<(&str, &str)> for Print {
    fn from((namespace, name): (&str, &str)) -> Self {
        Self::of(&[namespace, name])
    }
}

impl Print {
    /// Of parts that hold no `/`, as names of objects.
    fn of(parts: &[&str]) -> Self {
        let mut hasher = blake3::Hasher::new();
        for part in parts {
            hasher.update(part.as_bytes()).update(b"/");
        }
        let mut print = [0; 16];
        hasher.finalize_xof().fill(&mut print);
        Self(print)
    }
}

impl std::fmt::Debug for Print {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&data_encoding::HEXLOWER.encode(&self.0))
    }
}

/// An ApiKey as far as decisions need it, as a watch reads it.
#[derive(Clone, Debug, PartialEq)]
pub struct Key {
    /// `metadata.uid`
    pub uid: Uid,
    /// `metadata.namespace`
    pub namespace: Box<str>,
    /// `metadata.name`
    pub name: Box<str>,
    /// `spec.account`
    pub account: Box<str>,
    /// `spec.displayName`
    pub display_name: Option<Box<str>>,
    /// What its own spec says that it may do, before the ceiling; `None` leaves it to what was cloned.
    pub grant: Option<Grant>,
    /// `spec.disabled`
    pub disabled: bool,
    /// `spec.expiresAt`
    pub expires_at: Option<Timestamp>,
    /// `spec.rotation.revokeBefore`
    pub revoke_before: Option<Timestamp>,
    /// `spec.metadata`
    pub metadata: BTreeMap<String, String>,
}

/// An Account as far as decisions need it.
#[derive(Clone, Debug, PartialEq)]
pub struct Ceiling {
    /// What any of its keys may do.
    pub grant: Grant,
    /// `spec.disabled`
    pub disabled: bool,
    /// `spec.maxKeyLifetime`
    pub max_lifetime: Option<Duration>,
    /// `spec.metadata`
    pub metadata: BTreeMap<String, String>,
}

/// Unix time in nanoseconds; it ends in 2262.
pub(super) type Nanos = i64;

/// Later than every moment.
pub(super) const NEVER: Nanos = Nanos::MAX;

/// What lies outside of the range is as far away as it can be.
pub(super) fn nanos(at: Timestamp) -> Nanos {
    Nanos::try_from(at.as_nanosecond()).unwrap_or(if at < Timestamp::UNIX_EPOCH { Nanos::MIN } else { NEVER - 1 })
}

fn timestamp(at: Nanos) -> Option<Timestamp> {
    if at == NEVER { None } else { Timestamp::from_nanosecond(at.into()).ok() }
}

/// An ApiKey as it is kept.
pub struct Subject {
    uid: Uid,
    account: Arc<AccountCell>,
    name: Box<str>,
    grant: Option<Grant>,
    expires_at: Option<Timestamp>,
    revoke_before: Nanos,
    disabled: bool,
    words: Option<Box<Words>>,
}

/// What most keys do not have.
struct Words {
    display_name: Option<Box<str>>,
    metadata: BTreeMap<String, String>,
}

impl Subject {
    pub(super) fn new(key: Key, account: Arc<AccountCell>) -> Self {
        let Key { uid, namespace: _, name, account: _, display_name, grant, disabled, expires_at, .. } = key;
        let (revoke_before, metadata) = (key.revoke_before, key.metadata);
        let has_words = display_name.is_some() || !metadata.is_empty();
        Self {
            uid,
            account,
            name,
            grant,
            expires_at,
            revoke_before: revoke_before.map_or(Nanos::MIN, nanos),
            disabled,
            words: has_words.then(|| Box::new(Words { display_name, metadata })),
        }
    }

    /// `metadata.uid`
    pub fn uid(&self) -> Uid {
        self.uid
    }

    /// `metadata.namespace` and `metadata.name`
    pub fn full_name(&self) -> (&str, &str) {
        (&self.account.namespace, &self.name)
    }

    /// Namespace and name of its account.
    pub fn account_name(&self) -> (&str, &str) {
        self.account.full_name()
    }

    /// `spec.metadata`
    pub fn metadata(&self) -> impl Iterator<Item = (&String, &String)> {
        self.words.iter().flat_map(|words| &words.metadata)
    }
}

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
    pub(super) record: Option<Arc<str>>,
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
            record: (!is_checkable).then(|| credential.hash.as_str().into()),
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
    pub(super) account: Arc<AccountCell>,
    pub(super) grant: Option<Grant>,
    pub(super) expires: Nanos,
    /// `spec.disabled`
    pub(super) disabled: bool,
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
        let of_clone = || value.cloned.as_ref().map(|cloned| cloned.grant.clone());
        Self {
            account: subject.account.clone(),
            grant: subject.grant.clone().or_else(of_clone),
            expires: subject.expires_at.map_or(NEVER, nanos),
            disabled: subject.disabled,
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
        self.account.now()
    }

    /// The argon2id record, where the tag's pepper is gone.
    pub(super) fn record(&self) -> Option<&Arc<str>> {
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

/// What holds for all keys of an account.
#[derive(Clone, Default)]
pub struct Account {
    /// `None` when the account is not there.
    pub ceiling: Option<Arc<Ceiling>>,
    /// The platform has suspended it.
    pub suspended: bool,
    /// Its public Site ID, once it is reserved.
    pub site_id: Option<SiteId>,
    /// As upstreams are told.
    pub(super) told: Told,
}

/// An account's name and state, shared by all its keys.
pub(super) struct AccountCell {
    /// `metadata.namespace`
    pub(super) namespace: Box<str>,
    /// `metadata.name`
    pub(super) name: Box<str>,
    /// Both, for headers; `None` is a doubt.
    pub(super) header: Option<HeaderValue>,
    state: ArcSwap<Account>,
}

impl AccountCell {
    pub(super) fn new(namespace: &str, name: &str) -> Self {
        let header = HeaderValue::try_from(format!("{namespace}/{name}")).ok();
        Self { namespace: namespace.into(), name: name.into(), header, state: ArcSwap::default() }
    }

    pub(super) fn full_name(&self) -> (&str, &str) {
        (&self.namespace, &self.name)
    }

    /// The account at this moment.
    pub(super) fn now(&self) -> Guard<Arc<Account>> {
        self.state.load()
    }

    /// Only for writers, who take turns: nobody changes it in between.
    pub(super) fn change(&self, what: impl FnOnce(&mut Account)) {
        let mut account = Account::clone(&self.state.load());
        what(&mut account);
        account.told = Told::of(&account);
        self.state.store(Arc::new(account));
    }
}

/// An account as its Site ID names it.
pub struct Site {
    /// The public id.
    pub id: SiteId,
    pub(super) account: Arc<AccountCell>,
}

impl Site {
    /// `metadata.namespace` and `metadata.name` of the account.
    pub fn full_name(&self) -> (&str, &str) {
        self.account.full_name()
    }

    /// The account at this moment.
    pub fn account(&self) -> Guard<Arc<Account>> {
        self.account.now()
    }
}
