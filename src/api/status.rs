//! What Keywright says of keys and accounts. Projections: nothing is ever decided from them.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Activity, schema};
use crate::access::AccessLevel;

/// What Keywright says of a key. A projection: nothing is ever decided from it.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ApiKeyStatus {
    /// The key at a glance. Where several apply: Invalid before Expired before Suspended before Disabled before Pending before Active.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<State>,

    /// The key's name for people: its own, or the one that was cloned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,

    /// The key that this one was cloned from, once that was resolved. What became of it since is of no matter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cloned_from: Option<String>,

    /// The public id of the value that was delivered last: it stands in logs and in the answers to your gateway.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_id: Option<String>,

    /// How the current value begins, to recognise it by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,

    /// The Secret in this namespace that the plaintext was delivered in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_name: Option<String>,

    /// Access that is granted to the key, and the part of it that the account's ceiling leaves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access: Option<Access>,

    /// The highest `spec.rotation.revision` that a value was minted for: only a higher one mints the next, up to 4000000000 higher.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub highest_revision: Option<i64>,

    /// Time since which the operator has seen `spec.disabled` true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::time")]
    pub disabled_at: Option<Time>,

    /// Time at which every verifier was proven to apply `observedGeneration`. Absent until then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::time")]
    pub enforced_at: Option<Time>,

    /// `spec.rotation.revokeBefore` in whole seconds, once the values that it covers are recorded as revoked. Then it may be removed from the spec, and they stay revoked. A key without a value has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::time")]
    pub revoked_before: Option<Time>,

    /// The newest value and the earlier ones that have not retired, newest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["keyId"]))]
    pub credentials: Vec<CredentialStatus>,

    /// Changes of the key, newest first: at most 10 lines. The operator publishes them as Events too, which API servers keep for an hour and which the roles of keys cannot read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("maxItems" = 10, "x-kubernetes-list-type" = "atomic"))]
    pub history: Vec<HistoryLine>,

    /// How the key is used, as verifiers count it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activity: Option<Activity>,

    /// The generation of the spec that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// `Ready`: the spec can be honoured and is. `Enforced`: every verifier goes by this generation. `SecretAvailable`: the Secret is there. `Suspended` and `Expiring` are there only while they are true.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

/// A key at a glance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum State {
    /// The spec cannot be honoured; the condition `Ready` says why.
    Invalid,
    /// `expiresAt` has passed, or no value is left that is young enough for `maxKeyLifetime` or `revokeBefore`.
    Expired,
    /// The platform has suspended the key or its account; the condition `Suspended` says why.
    Suspended,
    /// The key or its account is disabled.
    Disabled,
    /// Its value is not delivered yet.
    Pending,
    /// Calls with it pass.
    Active,
}

/// Access of a key, without and with its account's ceiling.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Access {
    /// Grant of the key's own spec, or of the key that it was cloned from.
    pub granted: AccessGrant,
    /// The part of it that the account's ceiling leaves: what verifiers allow. Absent without an account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effective: Option<AccessGrant>,
}

/// A level, and its scopes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AccessGrant {
    /// The level.
    pub level: AccessLevel,
    /// The scopes, where the level is Custom.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<String>,
}

/// One value of a key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CredentialStatus {
    /// Its public id.
    pub key_id: String,
    /// Which minting it is: 1, 2, …
    pub serial: i64,
    /// Whether calls with it are accepted, as far as it depends on the value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<CredentialState>,
    /// The revision that it was minted for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<i64>,
    /// When it was minted.
    #[schemars(schema_with = "schema::time")]
    pub issued_at: Time,
    /// Until when it is accepted beside a newer one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::time")]
    pub retires_at: Option<Time>,
}

/// Something that happened to a key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HistoryLine {
    /// Time at which the operator saw it.
    #[schemars(schema_with = "schema::time")]
    pub at: Time,
    /// One word, such as `Issued`, `Disabled` or `Rotated`.
    pub reason: String,
    /// One sentence.
    pub message: String,
}

/// State of one value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum CredentialState {
    /// Accepted.
    Active,
    /// Accepted until `retiresAt`.
    Retiring,
    /// Refused for good, because a `spec.rotation.revokeBefore` covered it.
    Revoked,
    /// Refused: `spec.expiresAt` has passed, or for good, because it became older than the account's `maxKeyLifetime`.
    Expired,
}

/// What Keywright says of an account.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AccountStatus {
    /// The Site ID: one per account, unique in the cluster, safe to show. It names the account and opens no data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_key: Option<String>,

    /// How many keys the account has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keys: Option<KeyCounts>,

    /// The generation of the spec that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// `Ready`: keys of this account can be minted, and its members have their roles. `Enforced`: every verifier goes by this generation. `Suspended` is there only while it is true.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

/// Keys of an account, as their states are said to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KeyCounts {
    /// All of them.
    #[schemars(schema_with = "schema::count")]
    pub total: u32,
    /// Those whose state is Active.
    #[schemars(schema_with = "schema::count")]
    pub active: u32,
    /// Those whose state is Disabled.
    #[schemars(schema_with = "schema::count")]
    pub disabled: u32,
}

/// What Keywright says of a suspension.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SuspensionStatus {
    /// The generation of the spec that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// `TargetFound`: the target exists. `Enforced`: every verifier refuses the target; Unknown while there is none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}
