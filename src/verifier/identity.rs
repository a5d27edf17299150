//! Who calls, as upstreams are told.
//!
//! What many callers share is made once for their account; what only one says is made anew for each call, for keeping it
//! would take more memory than all that decides.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::header::CACHE_CONTROL;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::code::Code;
use super::decide::{Holder, Verdict};
use super::headers::{CODE_HEADER, IDENTITY_PREFIX, NO_STORE, names};
use super::subject::Effective;
use super::told::scopes;
use crate::access::AccessLevel;

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
        Some(Self {
            account: holder.live.cell().header.clone()?,
            key: Some(KeyIdentity::of(holder)?),
            site_id: holder.account.told.site_id.clone(),
        })
    }

    /// Each with the name of its header, and that of its field in the metadata of gateways.
    pub fn named(&self) -> impl Iterator<Item = (&'static str, &'static str, &HeaderValue)> {
        let of_key = self.key.as_ref().map(|KeyIdentity { key, key_id, scopes }| {
            [(names::KEY, "key", key), (names::KEY_ID, "keyId", key_id), (names::SCOPES, "scopes", scopes)]
        });
        let site_id = self.site_id.as_ref().map(|id| (names::SITE_ID, "siteId", id));
        [(names::ACCOUNT, "account", &self.account)].into_iter().chain(of_key.into_iter().flatten()).chain(site_id)
    }
}

impl KeyIdentity {
    fn of(holder: &Holder<'_>) -> Option<Self> {
        Some(Self {
            key: HeaderValue::try_from([&holder.live.cell().namespace, "/", holder.live.name()].concat()).ok()?,
            key_id: HeaderValue::from_bytes(&holder.id.text()).ok()?,
            scopes: effective(holder)?,
        })
    }
}

/// All headers of an answer that lets the caller pass, but those of its metadata. `None` is a doubt.
pub fn headers(verdict: &Verdict<'_>) -> Option<HeaderMap> {
    let Some(holder) = verdict.holder.as_ref().filter(|_| verdict.code == Code::Ok) else {
        let of_all = [(CODE_HEADER, HeaderValue::from_static(Code::Ok.as_str())), (CACHE_CONTROL, NO_STORE)];
        let identity = Identity::of(verdict)?;
        let named = identity.named().map(|(name, _, value)| (HeaderName::from_static(name), value.clone()));
        return Some(named.chain(of_all).collect());
    };
    let KeyIdentity { key, key_id, scopes } = KeyIdentity::of(holder)?;
    Some(holder.account.told.headers.as_ref()?.filled(key, key_id, scopes))
}

fn effective(holder: &Holder<'_>) -> Option<HeaderValue> {
    let told = &holder.account.told;
    match holder.live.level? {
        AccessLevel::Full => return told.full.clone(),
        AccessLevel::ReadOnly => return told.read_only.clone(),
        AccessLevel::Custom => {}
    }
    let memo = &holder.live.grant()?.effective;
    let known = memo.load();
    if let Some(known) = known.as_ref().filter(|known| Arc::ptr_eq(&known.account, &holder.account)) {
        return Some(known.scopes.clone());
    }
    let scopes = scopes(&holder.grant()?)?;
    let fresh = Effective { account: Arc::clone(&holder.account), scopes: scopes.clone() };
    memo.store(Some(Arc::new(fresh)));
    Some(scopes)
}

/// Metadata of a caller: all of its account's, and of its key's the names that the account does not set. It is empty while
/// the account is unknown.
pub fn metadata(holder: &Holder<'_>) -> BTreeMap<String, String> {
    let Some(ceiling) = &holder.account.ceiling else { return BTreeMap::new() };
    let mut all = BTreeMap::<String, String>::new();
    for (name, value) in ceiling.metadata.iter().chain(holder.live.subject().metadata()) {
        if !all.keys().any(|set| is_one_header(set, name)) {
            all.insert(name.clone(), value.clone());
        }
    }
    all
}

/// Returns true if servers read two names as the same header: its name ignores case, and CGI reads all characters but letters
/// and digits alike.
fn is_one_header(one: &str, other: &str) -> bool {
    let read = |byte: u8| if byte.is_ascii_alphanumeric() { byte.to_ascii_lowercase() } else { b'-' };
    one.bytes().map(read).eq(other.bytes().map(read))
}

/// The same as headers. `None` is a doubt.
pub fn metadata_headers(holder: &Holder<'_>) -> Option<Vec<(HeaderName, HeaderValue)>> {
    let header = |(name, value)| {
        let name = HeaderName::try_from(format!("{IDENTITY_PREFIX}meta-{name}")).ok()?;
        Some((name, HeaderValue::try_from(value).ok()?))
    };
    metadata(holder).into_iter().map(header).collect()
}
