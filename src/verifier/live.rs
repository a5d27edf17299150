//! What a decision looks at: a value together with its ApiKey and its account, as far as they matter.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption, Guard};
use http::{HeaderName, HeaderValue};
use jiff::Timestamp;

use crate::access::Grant;
use crate::key::{KeyId, SiteId, Tag};

/// A uid of the API server.
pub type Uid = Box<str>;

/// A namespace and a name in it.
pub type FullName = (Box<str>, Box<str>);

/// An ApiKey as far as decisions need it.
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

/// What holds for all keys of an account.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Account {
    /// `None` when the account is not there.
    pub ceiling: Option<Arc<Ceiling>>,
    /// The platform has suspended it.
    pub suspended: bool,
    /// Its public Site ID, once it is reserved.
    pub site_id: Option<SiteId>,
}

/// An account as its Site ID names it.
pub struct Site {
    /// The public id.
    pub id: SiteId,
    /// `metadata.namespace` of the account
    pub namespace: Box<str>,
    /// `metadata.name` of the account
    pub name: Box<str>,
    pub(super) account: AccountCell,
}

impl Site {
    /// The account at this moment.
    pub fn account(&self) -> Guard<Arc<Account>> {
        self.account.load()
    }
}

/// A value whose ApiKey exists: everything that `decide` looks at.
pub struct Live {
    /// The public id.
    pub id: KeyId,
    /// Which minting it is.
    pub serial: u64,
    /// The keyed hash to compare with.
    pub tag: Tag,
    /// The argon2id record, for when the tag's pepper is gone.
    pub record: Arc<str>,
    /// When it was minted.
    pub issued_at: Timestamp,
    /// From when on a newer value has taken its place.
    pub retires_at: Option<Timestamp>,
    /// Its ApiKey.
    pub key: Arc<Key>,
    /// The platform has suspended the ApiKey.
    pub suspended: bool,
    pub(super) cloned: Option<Arc<Cloned>>,
    pub(super) account: AccountCell,
    /// The identity that was told last; it is good while the account is the same.
    pub(super) identity: ArcSwapOption<Identity>,
}

/// What a clone took over.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Cloned {
    pub(super) grant: Grant,
    pub(super) display_name: Option<Box<str>>,
}

impl Live {
    /// Its account at this moment.
    pub fn account(&self) -> Guard<Arc<Account>> {
        self.account.load()
    }

    /// What it may do, before the ceiling; `None` is a doubt.
    pub fn grant(&self) -> Option<&Grant> {
        self.key.grant.as_ref().or(self.cloned.as_ref().map(|cloned| &cloned.grant))
    }

    /// The key's name for people.
    pub fn display_name(&self) -> Option<&str> {
        self.key.display_name.as_deref().or(self.cloned.as_ref().and_then(|cloned| cloned.display_name.as_deref()))
    }

    /// When it ends by the age that its account allows.
    pub fn outlives(&self, ceiling: &Ceiling) -> Option<Timestamp> {
        self.issued_at.checked_add(ceiling.max_lifetime?).ok()
    }
}

/// An account's state, shared by all its keys.
pub(super) type AccountCell = Arc<ArcSwap<Account>>;

/// Who calls, ready to be sent.
pub struct Identity {
    /// What it was made for.
    pub(super) account: Arc<Account>,
    /// Account, key, key id, scopes and Site ID.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Metadata of account and key, for who asks for it.
    pub metadata: Vec<(HeaderName, HeaderValue)>,
}
