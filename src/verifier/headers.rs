//! The names of what answers say in headers.

use http::{HeaderName, HeaderValue};

/// The headers that name the caller; gateways strip every variant of them from outside.
pub const IDENTITY_PREFIX: &str = "x-keywright-";

/// As text.
pub mod names {
    /// `<namespace>/<name>` of the account.
    pub const ACCOUNT: &str = "x-keywright-account";
    /// `<namespace>/<name>` of the ApiKey.
    pub const KEY: &str = "x-keywright-key";
    /// The public id of the value.
    pub const KEY_ID: &str = "x-keywright-key-id";
    /// The effective scopes, separated by spaces.
    pub const SCOPES: &str = "x-keywright-scopes";
    /// The account's public Site ID.
    pub const SITE_ID: &str = "x-keywright-site-id";
}

/// Each as the name of a header.
pub const ACCOUNT: HeaderName = HeaderName::from_static(names::ACCOUNT);
/// [`names::KEY`]
pub const KEY: HeaderName = HeaderName::from_static(names::KEY);
/// [`names::KEY_ID`]
pub const KEY_ID: HeaderName = HeaderName::from_static(names::KEY_ID);
/// [`names::SCOPES`]
pub const SCOPES: HeaderName = HeaderName::from_static(names::SCOPES);
/// [`names::SITE_ID`]
pub const SITE_ID: HeaderName = HeaderName::from_static(names::SITE_ID);

/// The header with the code of the answer; nginx drops bodies.
pub const CODE_HEADER: HeaderName = HeaderName::from_static("x-keywright-code");
/// Answers must not be kept: a cached one would outlive the key.
pub const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
