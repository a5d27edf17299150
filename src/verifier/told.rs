//! What upstreams are told of all callers of an account alike, rendered when the account changes.

use http::header::CACHE_CONTROL;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::code::Code;
use super::headers::{ACCOUNT, CODE_HEADER, KEY, KEY_ID, NO_STORE, SCOPES, SITE_ID};
use crate::access::{AccessLevel, Grant};
use crate::key::SiteId;

/// What is told of all keys of an account alike.
#[derive(Clone, Default)]
pub(super) struct Told {
    pub(super) site_id: Option<HeaderValue>,
    /// What keys with `Full` may do under the ceiling.
    pub(super) full: Option<HeaderValue>,
    /// The same with `ReadOnly`.
    pub(super) read_only: Option<HeaderValue>,
    /// Of an answer that lets one of its keys pass, but that what tells the key is empty; `None` is a doubt. It is copied
    /// for each answer, because to set names one by one is to hash each of them.
    pub(super) headers: Option<Template>,
}

/// Headers, of which the first tell the key: to find them by their names is to compare each with all.
#[derive(Clone)]
pub(super) struct Template(HeaderMap);

impl Template {
    /// What tells the key, in the order in which it is filled in.
    const OF_KEY: [HeaderName; 3] = [KEY, KEY_ID, SCOPES];

    fn new(others: impl IntoIterator<Item = (HeaderName, HeaderValue)>) -> Option<Self> {
        let of_key = Self::OF_KEY.map(|name| (name, HeaderValue::from_static("")));
        let headers: HeaderMap = of_key.into_iter().chain(others).collect();
        headers.keys().take(3).eq(&Self::OF_KEY).then_some(Self(headers))
    }

    /// With what tells the key.
    pub(super) fn filled(&self, key: HeaderValue, key_id: HeaderValue, scopes: HeaderValue) -> HeaderMap {
        let mut headers = self.0.clone();
        for (value, told) in headers.values_mut().zip([key, key_id, scopes]) {
            *value = told;
        }
        headers
    }
}

impl Told {
    /// `account` is its full name.
    pub(super) fn of(account: Option<&HeaderValue>, ceiling: Option<&Grant>, site_id: Option<SiteId>) -> Self {
        let whole = |level| scopes(&Grant::new::<&str>(level, &[]).ok()?.under(ceiling?));
        let site_id = site_id.and_then(|id| HeaderValue::try_from(id.as_str()).ok());
        Self {
            headers: account.and_then(|account| Template::new(of_account(account, site_id.as_ref()))),
            site_id,
            full: whole(AccessLevel::Full),
            read_only: whole(AccessLevel::ReadOnly),
        }
    }
}

/// What is told of all keys of an account alike.
fn of_account(account: &HeaderValue, site_id: Option<&HeaderValue>) -> impl Iterator<Item = (HeaderName, HeaderValue)> {
    let of_all = [(CODE_HEADER, HeaderValue::from_static(Code::Ok.as_str())), (CACHE_CONTROL, NO_STORE)];
    [(ACCOUNT, account.clone())].into_iter().chain(site_id.map(|id| (SITE_ID, id.clone()))).chain(of_all)
}

/// As upstreams are told; `None` is a doubt.
pub(super) fn scopes(grant: &Grant) -> Option<HeaderValue> {
    let words: Vec<String> = grant.scopes().iter().map(ToString::to_string).collect();
    HeaderValue::try_from(words.join(" ")).ok()
}
