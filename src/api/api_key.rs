//! `ApiKey`: one key, as its owner declares it.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::access::{AccessLevel, Grant, GrantError};

// An unknown field makes the whole object unreadable on purpose: a later version may bring a limit that this one
// would not enforce, and every doubt is a deny.
/// What its owner wants of a key.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "keywright.dev",
    version = "v1alpha1",
    kind = "ApiKey",
    namespaced,
    status = "ApiKeyStatus",
    derive = "PartialEq",
    shortname = "ak",
    category = "keywright",
    doc = "An API key. Keywright mints its value once, keeps only a hash, hands the plaintext over in a Secret, and refuses every call with it while `spec.disabled` is true.",
    selectable = ".spec.account",
    selectable = ".spec.displayName",
    selectable = ".status.state",
    selectable = ".status.keyId",
    printcolumn(name = "Account", type_ = "string", json_path = ".spec.account"),
    printcolumn(name = "Access", type_ = "string", json_path = ".spec.accessLevel"),
    printcolumn(name = "State", type_ = "string", json_path = ".status.state"),
    printcolumn(name = "Key", type_ = "string", json_path = ".status.hint"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Display Name", type_ = "string", json_path = ".spec.displayName", priority = 1),
    printcolumn(name = "Expires", type_ = "date", json_path = ".spec.expiresAt", priority = 1),
    printcolumn(name = "Secret", type_ = "string", json_path = ".status.secretName", priority = 1),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].reason"#,
        priority = 1
    )
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = Rule::new(
    "self.accessLevel == 'Custom' ? has(self.scopes) && size(self.scopes) > 0 : !has(self.scopes) || size(self.scopes) == 0"
).message("accessLevel Custom needs 1 to 64 scopes; ReadOnly and Full take none"))]
#[x_kube(validation = Rule::new(
    "(has(self.secret) && has(self.secret.name)) == (has(oldSelf.secret) && has(oldSelf.secret.name))"
).message("secret.name cannot be set or removed later: create a new key, or clone this one"))]
pub struct ApiKeySpec {
    /// The Account in the same namespace that the key belongs to. It cannot be changed.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = Rule::new("self == oldSelf").message("account cannot be changed: create a new key for the other account"))]
    pub account: String,

    /// A person's name for the key. It need not be unique.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub display_name: Option<String>,

    /// `ReadOnly` reads everything the account may, `Full` reads and changes it, `Custom` does exactly what `scopes` lists.
    pub access_level: AccessLevel,

    /// Only with accessLevel Custom: 1 to 64 of `<resource>:<read|write|*>`. `*:read` is legal; `write` does not imply `read`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "scopes_schema")]
    #[x_kube(validation = Rule::new("self.all(x, self.exists_one(y, x == y))").message("scopes must differ from each other"))]
    pub scopes: Vec<String>,

    /// While true, every call with the key is refused, from the very next one. Nothing is deleted; set it to false and the same value works again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub disabled: bool,

    /// From this moment on every call is refused, to the second. Move it forward to revive the key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "deadline_schema")]
    #[x_kube(validation = Rule::new("self < timestamp('9999-12-30T00:00:00Z')").message("expiresAt must be before 9999-12-30; leave it out for a key that does not expire"))]
    pub expires_at: Option<Time>,

    /// The Secret that the plaintext is delivered in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<SecretTemplate>,
}

/// The Secret that the plaintext is delivered in.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SecretTemplate {
    /// Its name, by default the ApiKey's. It cannot be changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 253),
        pattern("^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$")
    )]
    #[x_kube(validation = Rule::new("self == oldSelf").message("secret.name cannot be changed: create a new key, or clone this one"))]
    pub name: Option<String>,

    /// What each key of the Secret holds: `value` (the plaintext) or `keyId` (the public part). By default `{api-key: value, key-id: keyId}`. A change counts from the next value on: this one cannot be read again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("minProperties" = 1, "maxProperties" = 8))]
    #[x_kube(validation = Rule::new("self.exists(k, self[k] == 'value')").message("one key of the Secret must hold `value`, or nobody could ever read it"))]
    #[x_kube(validation = Rule::new("self.all(k, size(k) <= 253 && k.matches('^[-._a-zA-Z0-9]+$') && k != '.' && !k.startsWith('..'))").message("keys of a Secret are made of letters, digits, `-`, `_` and `.`, at most 253 of them, and are neither `.` nor begin with `..`"))]
    pub data: Option<BTreeMap<String, SecretItem>>,
}

/// What one key of the delivered Secret holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum SecretItem {
    /// The plaintext of the key.
    Value,
    /// The public id of the key, for logs.
    KeyId,
}

impl ApiKeySpec {
    /// What the key may do, before its account's ceiling.
    pub fn grant(&self) -> Result<Grant, GrantError> {
        Grant::new(self.access_level, &self.scopes)
    }

    /// What each key of the delivered Secret holds, the default filled in.
    pub fn secret_data(&self) -> BTreeMap<String, SecretItem> {
        self.secret.as_ref().and_then(|s| s.data.clone()).unwrap_or_else(|| {
            BTreeMap::from([("api-key".to_owned(), SecretItem::Value), ("key-id".to_owned(), SecretItem::KeyId)])
        })
    }
}

impl ApiKey {
    /// The name of the delivered Secret, the default filled in.
    pub fn secret_name(&self) -> &str {
        let chosen = self.spec.secret.as_ref().and_then(|s| s.name.as_deref());
        chosen.or(self.metadata.name.as_deref()).unwrap_or_default()
    }
}

/// What Keywright says of a key. A projection: nothing is ever decided from it.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ApiKeyStatus {
    /// The key at a glance. Where several apply: Invalid before Expired before Disabled before Pending before Active.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<State>,

    /// The public id of the current value: it stands in logs and in the answers to your gateway.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_id: Option<String>,

    /// How the current value begins, to recognise it by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,

    /// The Secret in this namespace that the plaintext was delivered in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_name: Option<String>,

    /// What the key may do under its account's ceiling, as it is in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access: Option<Access>,

    /// The values that are accepted, newest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["keyId"]))]
    pub credentials: Vec<CredentialStatus>,

    /// The generation of the spec that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// `Ready`: the spec can be honoured and is. `SecretAvailable`: the Secret is there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

/// A key at a glance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum State {
    /// The spec cannot be honoured; the condition `Ready` says why.
    Invalid,
    /// `expiresAt` has passed.
    Expired,
    /// The key or its account is disabled.
    Disabled,
    /// Its value is not delivered yet.
    Pending,
    /// Calls with it pass.
    Active,
}

/// What a key may do, as it is in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Access {
    /// The level that is left under the account's ceiling.
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
    /// When it was minted.
    #[schemars(schema_with = "time_schema")]
    pub issued_at: Time,
}

/// The type's own description speaks of Go; the field's must win.
pub(super) fn time_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({"type": "string", "format": "date-time"})
}

/// The API server's `date-time` admits more than RFC 3339 does, such as an offset of 99 hours; what we could not read
/// back, we would have to refuse.
fn deadline_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "type": "string",
        "format": "date-time",
        "maxLength": 35,
        "pattern": r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}([.]\d{1,9})?(Z|[+-]([01]\d|2[0-3]):[0-5]\d)$",
    })
}

/// Bounds on every item and on the list keep the rules within the API server's cost budget; atomic, because in a
/// set another field manager's addition would survive the owner's forced apply.
pub(super) fn scopes_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "type": "array",
        "minItems": 1,
        "maxItems": 64,
        "x-kubernetes-list-type": "atomic",
        "items": {
            "type": "string",
            "maxLength": 100,
            "pattern": r"^(\*|[a-z0-9]([a-z0-9._-]*[a-z0-9])?):(read|write|\*)$",
        },
    })
}
