//! What verifiers say of a key's use: enough to know, before a key is disabled, who would notice.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::schema;

/// The use of a key, as all verifiers together have counted it. Nothing is ever decided from it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Activity {
    /// When this was written; calls since then are not in it yet.
    #[schemars(schema_with = "schema::time")]
    pub as_of: Time,
    /// The last call that passed, to the second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::time")]
    pub last_used_at: Option<Time>,
    /// The last call that was refused, to the second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::time")]
    pub last_denied_at: Option<Time>,
    /// Why it was refused: the code of the answer. `unknown` is a call that knew the public id and not the secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub last_denied_code: Option<String>,
    /// All calls since the key was made.
    pub requests: Requests,
    /// The last 24 hours in which there were calls, newest first. A call counts in the hour in which it was written down, within a minute or so.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 24))]
    pub hours: Vec<Bucket>,
    /// The last 7 days (UTC) in which there were calls, newest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 7))]
    pub days: Vec<Bucket>,
    /// The use of each value, the one used last first: after a rotation it tells whether somebody still uses the old one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub values: Vec<ValueUse>,
    /// The programs that call, by the first product of their `User-Agent`, the one seen last first. They can say what they like.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub sources: Vec<Source>,
    /// The networks that call (/24 or /48), the one seen last first; only with the verifier's `--activity-sources=networks`, for they are personal data.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub networks: Vec<Source>,
    /// The verifiers that have written here, newest first, each with the number of its last write: so that none counts twice what it cannot know to have arrived.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub writers: Vec<Writer>,
}

/// How many calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Requests {
    /// Those that passed.
    pub allowed: i64,
    /// Those that were refused.
    pub denied: i64,
}

/// The calls of an hour or a day.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Bucket {
    /// Its beginning.
    #[schemars(schema_with = "schema::time")]
    pub start: Time,
    /// Its calls.
    #[serde(flatten)]
    pub requests: Requests,
}

/// The use of one value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ValueUse {
    /// Its public id.
    #[schemars(length(max = 64))]
    pub key_id: String,
    /// The last call that passed with it.
    #[schemars(schema_with = "schema::time")]
    pub last_used_at: Time,
}

/// Something that calls.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Source {
    /// A product such as `curl/8.5.0`, or a network such as `203.0.113.0/24`.
    #[schemars(length(max = 64))]
    pub name: String,
    /// When it was seen last.
    #[schemars(schema_with = "schema::time")]
    pub last_seen_at: Time,
}

/// A verifier that has written here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Writer {
    /// The name of the process.
    #[schemars(length(max = 63))]
    pub name: String,
    /// The number of its last write.
    pub sequence: i64,
}
