//! What upstreams are told of all callers of an account alike, rendered when the account changes.

use http::HeaderValue;

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
}

impl Told {
    pub(super) fn of(ceiling: Option<&Grant>, site_id: Option<SiteId>) -> Self {
        let whole = |level| scopes(&Grant::new::<&str>(level, &[]).ok()?.under(ceiling?));
        Self {
            site_id: site_id.and_then(|id| HeaderValue::try_from(id.as_str()).ok()),
            full: whole(AccessLevel::Full),
            read_only: whole(AccessLevel::ReadOnly),
        }
    }
}

/// As upstreams are told; `None` is a doubt.
pub(super) fn scopes(grant: &Grant) -> Option<HeaderValue> {
    let words: Vec<String> = grant.scopes().iter().map(ToString::to_string).collect();
    HeaderValue::try_from(words.join(" ")).ok()
}
