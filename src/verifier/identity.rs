//! Who calls, as upstreams are told: made once for a value and its account, and told again until one of them changes.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::{HeaderName, HeaderValue};

use super::decide::Holder;
use super::live::{Account, Identity, Live};
use crate::access::Grant;

/// The headers that name the caller; gateways strip every variant of them from outside.
pub const IDENTITY_PREFIX: &str = "x-keywright-";

/// The holder's. `None` is a doubt: an identity that cannot be told.
pub fn of(holder: &Holder<'_>) -> Option<Arc<Identity>> {
    let memo = holder.live.identity.load();
    if let Some(known) = memo.as_ref().filter(|known| Arc::ptr_eq(&known.account, &holder.account)) {
        return Some(Arc::clone(known));
    }
    let fresh = Arc::new(rendered(holder.live, &holder.account, &holder.grant()?)?);
    holder.live.identity.store(Some(fresh.clone()));
    Some(fresh)
}

fn rendered(live: &Live, account: &Arc<Account>, grant: &Grant) -> Option<Identity> {
    let key = &live.key;
    let scopes: Vec<String> = grant.scopes().iter().map(ToString::to_string).collect();
    let mut headers = vec![
        ("x-keywright-account", format!("{}/{}", key.namespace, key.account)),
        ("x-keywright-key", format!("{}/{}", key.namespace, key.name)),
        ("x-keywright-key-id", live.id.to_string()),
        ("x-keywright-scopes", scopes.join(" ")),
    ];
    headers.extend(account.site_id.map(|id| ("x-keywright-site-id", id.to_string())));
    let headers = headers
        .into_iter()
        .map(|(name, value)| Some((HeaderName::from_static(name), HeaderValue::try_from(value).ok()?)));
    Some(Identity {
        account: account.clone(),
        headers: headers.collect::<Option<_>>()?,
        metadata: meta_headers(&metadata(live, account))?,
    })
}

/// The metadata of a key over that of its account: the key's own win.
pub fn metadata(live: &Live, account: &Account) -> BTreeMap<String, String> {
    let of_account = account.ceiling.iter().flat_map(|ceiling| &ceiling.metadata);
    of_account.chain(&live.key.metadata).map(|(name, value)| (name.clone(), value.clone())).collect()
}

fn meta_headers(metadata: &BTreeMap<String, String>) -> Option<Vec<(HeaderName, HeaderValue)>> {
    let header = |(name, value): (&String, &String)| {
        let name = HeaderName::try_from(format!("{IDENTITY_PREFIX}meta-{name}")).ok()?;
        Some((name, HeaderValue::try_from(value).ok()?))
    };
    metadata.iter().map(header).collect()
}
