//! An ApiKey and its account, as far as decisions need them, and what tells them apart.
//!
//! There may be a million keys, so what is kept of each is small, and what an account's keys share is kept once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption, Guard};
use http::HeaderValue;
use jiff::Timestamp;
use smol_str::SmolStr;

use super::told::Told;
use crate::access::Grant;
use crate::key::{SiteId, revoked_until};

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
    /// The lower half of `metadata.generation`
    pub generation: u32,
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

pub(super) fn timestamp(at: Nanos) -> Option<Timestamp> {
    if at == NEVER { None } else { Timestamp::from_nanosecond(at.into()).ok() }
}

/// An ApiKey as it is kept.
pub struct Subject {
    uid: Uid,
    pub(super) account: Arc<AccountCell>,
    /// In place, as long as it has at most 23 bytes.
    pub(super) name: SmolStr,
    pub(super) grant: Option<Granted>,
    pub(super) disabled: bool,
    generation: u32,
    extras: Option<Box<Extras>>,
}

/// With the counts of its owners; there are as many as keys.
const _: () = assert!(size_of::<Subject>() + 16 <= 112);

/// What most keys do not have.
struct Extras {
    display_name: Option<Box<str>>,
    metadata: BTreeMap<String, String>,
    revoked_until: Option<Nanos>,
    expires_at: Option<Timestamp>,
}

/// What a key may do before its account's ceiling.
pub(super) struct Granted {
    pub(super) grant: Grant,
    /// Under the ceiling, as it was told last.
    pub(super) effective: ArcSwapOption<Effective>,
}

impl From<Grant> for Granted {
    fn from(grant: Grant) -> Self {
        Self { grant, effective: ArcSwapOption::empty() }
    }
}

impl Subject {
    pub(super) fn new(key: Key, account: Arc<AccountCell>) -> Self {
        let Key { uid, generation, namespace: _, name, account: _, grant, disabled, expires_at, .. } = key;
        let revoked_until = key.revoke_before.map(|before| nanos(revoked_until(before)));
        let extras = Extras { display_name: key.display_name, metadata: key.metadata, revoked_until, expires_at };
        let is_plain = extras.display_name.is_none() && extras.metadata.is_empty();
        let has_extras = !is_plain || revoked_until.is_some() || expires_at.is_some();
        Self {
            uid,
            account,
            name: name.into(),
            grant: grant.map(Granted::from),
            disabled,
            generation,
            extras: has_extras.then(|| Box::new(extras)),
        }
    }

    /// `metadata.uid`
    pub fn uid(&self) -> Uid {
        self.uid
    }

    /// The same in its place.
    pub(super) fn uid_ref(&self) -> &Uid {
        &self.uid
    }

    /// The lower half of `metadata.generation`
    pub(super) fn generation(&self) -> u32 {
        self.generation
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
        self.extras.iter().flat_map(|extras| &extras.metadata)
    }

    /// `spec.displayName`
    pub(super) fn display_name(&self) -> Option<&str> {
        self.extras.as_ref()?.display_name.as_deref()
    }

    /// `spec.expiresAt`
    pub(super) fn expires_at(&self) -> Option<Timestamp> {
        self.extras.as_ref()?.expires_at
    }

    /// Moment from which on issued values are not covered by `spec.rotation.revokeBefore`.
    pub(super) fn revoked_until(&self) -> Nanos {
        self.extras.as_ref().and_then(|extras| extras.revoked_until).unwrap_or(Nanos::MIN)
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
        let ceiling = account.ceiling.as_ref().map(|ceiling| &ceiling.grant);
        account.told = Told::of(self.header.as_ref(), ceiling, account.site_id);
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

/// The effective scopes of a key with `Custom`, which cost some work; good while the account is the same.
pub(super) struct Effective {
    pub(super) account: Arc<Account>,
    pub(super) scopes: HeaderValue,
}
