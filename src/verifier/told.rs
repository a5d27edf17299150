//! What upstreams are told of all callers of an account alike, rendered when the account changes.

use http::header::CACHE_CONTROL;
use http::{HeaderMap, HeaderValue};

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

/// Headers, and the places of those that tell the key: to find them by their names is to compare each with all.
#[derive(Clone)]
pub(super) struct Template {
    headers: HeaderMap,
    places: [usize; 3],
}

impl Template {
    fn new(headers: HeaderMap) -> Option<Self> {
        let place = |wanted| headers.keys().position(|name| *name == wanted);
        let places = [place(KEY)?, place(KEY_ID)?, place(SCOPES)?];
        Some(Self { headers, places })
    }

    /// With what tells the key; `None` is a doubt.
    pub(super) fn filled(&self, key: HeaderValue, key_id: HeaderValue, scopes: HeaderValue) -> Option<HeaderMap> {
        let mut headers = self.headers.clone();
        for (place, told) in self.places.into_iter().zip([key, key_id, scopes]) {
            *headers.values_mut().nth(place)? = told;
        }
        Some(headers)
    }
}

impl Told {
    /// `account` is its full name.
    pub(super) fn of(account: Option<&HeaderValue>, ceiling: Option<&Grant>, site_id: Option<SiteId>) -> Self {
        let whole = |level| scopes(&Grant::new::<&str>(level, &[]).ok()?.under(ceiling?));
        let site_id = site_id.and_then(|id| HeaderValue::try_from(id.as_str()).ok());
        Self {
            headers: account.and_then(|account| Template::new(headers(account, site_id.as_ref()))),
            site_id,
            full: whole(AccessLevel::Full),
            read_only: whole(AccessLevel::ReadOnly),
        }
    }
}

fn headers(account: &HeaderValue, site_id: Option<&HeaderValue>) -> HeaderMap {
    let empty = || HeaderValue::from_static("");
    let of_account = [(ACCOUNT, account.clone()), (KEY, empty()), (KEY_ID, empty()), (SCOPES, empty())];
    let of_all = [(CODE_HEADER, HeaderValue::from_static(Code::Ok.as_str())), (CACHE_CONTROL, NO_STORE)];
    of_account.into_iter().chain(site_id.map(|id| (SITE_ID, id.clone()))).chain(of_all).collect()
}

/// As upstreams are told; `None` is a doubt.
pub(super) fn scopes(grant: &Grant) -> Option<HeaderValue> {
    let words: Vec<String> = grant.scopes().iter().map(ToString::to_string).collect();
    HeaderValue::try_from(words.join(" ")).ok()
}
