//! Who calls, as upstreams are told.
//!
//! What many callers share is made once for their account; what only one says is made anew for each call, for keeping it
//! would take more memory than all that decides.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::{HeaderName, HeaderValue};

use super::code::Code;
use super::decide::{Holder, Verdict};
use super::live::Account;
use crate::access::{AccessLevel, Grant};

/// The headers that name the caller; gateways strip every variant of them from outside.
pub const IDENTITY_PREFIX: &str = "x-keywright-";

/// `<namespace>/<name>` of the account.
pub const ACCOUNT: HeaderName = HeaderName::from_static("x-keywright-account");
/// `<namespace>/<name>` of the ApiKey.
pub const KEY: HeaderName = HeaderName::from_static("x-keywright-key");
/// The public id of the value.
pub const KEY_ID: HeaderName = HeaderName::from_static("x-keywright-key-id");
/// The effective scopes, separated by spaces.
pub const SCOPES: HeaderName = HeaderName::from_static("x-keywright-scopes");
/// The account's public Site ID.
pub const SITE_ID: HeaderName = HeaderName::from_static("x-keywright-site-id");

/// What is told of all keys of an account alike.
#[derive(Clone, Default)]
pub(super) struct Told {
    site_id: Option<HeaderValue>,
    /// What keys with `Full` may do under the ceiling.
    full: Option<HeaderValue>,
    /// The same with `ReadOnly`.
    read_only: Option<HeaderValue>,
}

impl Told {
    pub(super) fn of(account: &Account) -> Self {
        let whole = |level| {
            let grant = Grant::new::<&str>(level, &[]).ok()?;
            scopes(&grant.under(&account.ceiling.as_ref()?.grant))
        };
        Self {
            site_id: account.site_id.and_then(|id| HeaderValue::try_from(id.as_str()).ok()),
            full: whole(AccessLevel::Full),
            read_only: whole(AccessLevel::ReadOnly),
        }
    }
}

/// The effective scopes of a key with `Custom`, which cost some work; good while the account is the same.
pub(super) struct Effective {
    account: Arc<Account>,
    scopes: HeaderValue,
}

fn scopes(grant: &Grant) -> Option<HeaderValue> {
    let words: Vec<String> = grant.scopes().iter().map(ToString::to_string).collect();
    HeaderValue::try_from(words.join(" ")).ok()
}

/// Who calls.
pub struct Identity {
    /// `<namespace>/<name>` of the account.
    pub account: HeaderValue,
    /// The key, unless only a Site ID was shown.
    pub key: Option<KeyIdentity>,
    /// The account's public Site ID.
    pub site_id: Option<HeaderValue>,
}

/// Which key it is.
pub struct KeyIdentity {
    /// `<namespace>/<name>` of the ApiKey.
    pub key: HeaderValue,
    /// The public id of the value.
    pub key_id: HeaderValue,
    /// The effective scopes, separated by spaces.
    pub scopes: HeaderValue,
}

impl Identity {
    /// Of whoever passes. `None` is a doubt: nobody does, or it cannot be told who.
    pub fn of(verdict: &Verdict<'_>) -> Option<Self> {
        if verdict.code != Code::Ok {
            return None;
        }
        let Some(holder) = &verdict.holder else {
            let site = verdict.site?;
            let (account, site_id) = (site.account.header.clone()?, site.account().told.site_id.clone());
            return Some(Self { account, key: None, site_id });
        };
        let (namespace, name) = holder.live.subject().full_name();
        Some(Self {
            account: holder.live.account.header.clone()?,
            key: Some(KeyIdentity {
                key: HeaderValue::try_from([namespace, "/", name].concat()).ok()?,
                key_id: HeaderValue::from_bytes(&holder.id.text()).ok()?,
                scopes: effective(holder)?,
            }),
            site_id: holder.account.told.site_id.clone(),
        })
    }

    /// As headers.
    pub fn headers(self) -> impl Iterator<Item = (HeaderName, HeaderValue)> {
        let of_key =
            self.key.map(|KeyIdentity { key, key_id, scopes }| [(KEY, key), (KEY_ID, key_id), (SCOPES, scopes)]);
        let site_id = self.site_id.map(|id| (SITE_ID, id));
        [(ACCOUNT, self.account)].into_iter().chain(of_key.into_iter().flatten()).chain(site_id)
    }
}

fn effective(holder: &Holder<'_>) -> Option<HeaderValue> {
    let told = &holder.account.told;
    match holder.live.grant.as_ref()?.level() {
        AccessLevel::Full => return told.full.clone(),
        AccessLevel::ReadOnly => return told.read_only.clone(),
        AccessLevel::Custom => {}
    }
    let memo = holder.live.effective.load();
    if let Some(known) = memo.as_ref().filter(|known| Arc::ptr_eq(&known.account, &holder.account)) {
        return Some(known.scopes.clone());
    }
    let scopes = scopes(&holder.grant()?)?;
    let fresh = Effective { account: Arc::clone(&holder.account), scopes: scopes.clone() };
    holder.live.effective.store(Some(Arc::new(fresh)));
    Some(scopes)
}

/// The metadata of a key over that of its account: the key's own win.
pub fn metadata(holder: &Holder<'_>) -> BTreeMap<String, String> {
    let of_account = holder.account.ceiling.iter().flat_map(|ceiling| &ceiling.metadata);
    of_account.chain(holder.live.subject().metadata()).map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// The same as headers. `None` is a doubt.
pub fn metadata_headers(holder: &Holder<'_>) -> Option<Vec<(HeaderName, HeaderValue)>> {
    let header = |(name, value)| {
        let name = HeaderName::try_from(format!("{IDENTITY_PREFIX}meta-{name}")).ok()?;
        Some((name, HeaderValue::try_from(value).ok()?))
    };
    metadata(holder).into_iter().map(header).collect()
}
