//! The names of what answers say in headers.

use http::{HeaderName, HeaderValue};

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

/// The header with the code of the answer; nginx drops bodies.
pub const CODE_HEADER: HeaderName = HeaderName::from_static("x-keywright-code");
/// Answers must not be kept: a cached one would outlive the key.
pub const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
