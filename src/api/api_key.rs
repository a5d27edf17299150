//! `ApiKey`: one key, as its owner declares it.

use std::collections::BTreeMap;
use std::time::Duration as StdDuration;

use data_encoding::HEXLOWER;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::core::Duration;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ApiKeyStatus, schema};
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
    selectable = ".status.displayName",
    selectable = ".status.access.granted.level",
    validation = schema::revocation_stays(),
    validation = Rule::new("!has(self.spec.cloneFrom) || self.spec.cloneFrom.name != self.metadata.name").message("a key cannot be cloned from itself"),
    printcolumn(name = "Account", type_ = "string", json_path = ".spec.account"),
    printcolumn(name = "Access", type_ = "string", json_path = ".status.access.effective.level"),
    printcolumn(name = "State", type_ = "string", json_path = ".status.state"),
    printcolumn(name = "Key", type_ = "string", json_path = ".status.hint"),
    printcolumn(name = "Last Used", type_ = "date", json_path = ".status.activity.lastUsedAt"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Display Name", type_ = "string", json_path = ".status.displayName", priority = 1),
    printcolumn(name = "Granted", type_ = "string", json_path = ".status.access.granted.level", priority = 1),
    printcolumn(name = "Expires", type_ = "string", json_path = ".spec.expiresAt", priority = 1),
    printcolumn(
        name = "Enforced",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Enforced")].status"#,
        priority = 1
    ),
    printcolumn(name = "Requests", type_ = "integer", json_path = ".status.activity.requests.allowed", priority = 1),
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
    "has(self.accessLevel) && self.accessLevel == 'Custom' ? has(self.scopes) && size(self.scopes) > 0 : !has(self.scopes) || size(self.scopes) == 0"
).message("accessLevel Custom needs 1 to 64 scopes; ReadOnly, Full and a clone without accessLevel take none"))]
#[x_kube(validation = Rule::new("has(self.accessLevel) || has(self.cloneFrom)").message("accessLevel is needed: ReadOnly, Full or Custom; only a key with cloneFrom may leave it out"))]
#[x_kube(validation = Rule::new("has(self.cloneFrom) == has(oldSelf.cloneFrom)").message("cloneFrom cannot be set or removed later: create a new key"))]
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

    /// `ReadOnly` reads everything the account may, `Full` reads and changes it, `Custom` does exactly what `scopes` lists. Needed unless `cloneFrom` is set, and then it takes over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_level: Option<AccessLevel>,

    /// Only with accessLevel Custom: 1 to 64 of `<resource>:<read|write|*>`. `*:read` is legal; `write` does not imply `read`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::scopes")]
    #[x_kube(validation = Rule::new("self.all(x, self.exists_one(y, x == y))").message("scopes must differ from each other"))]
    pub scopes: Vec<String>,

    /// While true, every call with the key is refused, from the very next one. Nothing is deleted; set it to false and the same value works again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub disabled: bool,

    /// Reason why the key is disabled, for people, such as `posted in a chat`. Whoever may change `disabled` may write it: 1 to 256 characters. It decides nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    #[x_kube(validation = Rule::new(r"!self.matches('[\\p{Cc}\\p{Zl}\\p{Zp}\\x{061C}\\x{200E}\\x{200F}\\x{202A}-\\x{202E}\\x{2066}-\\x{2069}]')").message("disabledReason is one line of text, without control characters"))]
    pub disabled_reason: Option<String>,

    /// Another key of the same namespace and account, whose display name, access level and scopes this one takes over as they are when it is first reconciled. Never its value, `disabled` or expiry. It cannot be changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("self == oldSelf").message("cloneFrom cannot be changed: create a new key"))]
    pub clone_from: Option<CloneSource>,

    /// From this moment on every call is refused, to the second. Moving it forward revives the key, unlike `rotation.revokeBefore` and the account's `maxKeyLifetime`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::moment")]
    #[x_kube(validation = Rule::new("self >= timestamp('1970-01-01T00:00:00Z') && self < timestamp('9999-12-30T00:00:00Z')").message("expiresAt must be from 1970-01-01 to before 9999-12-30; leave it out for a key that does not expire"))]
    pub expires_at: Option<Time>,

    /// When a new value takes the place of the current one, in the same Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotation: Option<Rotation>,

    /// The Secret that the plaintext is delivered in. Its metadata is the operator's alone: labels, annotations and finalizers that others set are removed with the next delivery, so name here what other tools need.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<SecretTemplate>,

    /// Metadata for the upstream, such as the team: up to 8 pairs that the verifier returns, and never interprets. A name that the account's metadata sets keeps the account's value.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::metadata")]
    #[x_kube(validation = Rule::new("self.all(k, k.matches('^[a-z]([-a-z0-9]{0,30}[a-z0-9])?$'))").message("keys of metadata are 1 to 32 of a-z, 0-9 and `-`, beginning with a letter, for they become header names"))]
    pub metadata: BTreeMap<String, String>,

    /// Reserved for limits that narrow a key. There are none yet, and a verifier refuses every call with a key that has one it does not know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::restrictions")]
    pub restrictions: Option<Restrictions>,
}

/// The key that another one is a clone of.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CloneSource {
    /// Its name, in the same namespace.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// When a new value takes the place of the current one.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = schema::interval_spans_overlap())]
pub struct Rotation {
    /// Raise it, and a new value is minted. One that is not higher than every one before is ignored, as a re-sync may bring it back. One that exceeds `status.highestRevision` by more than 4000000000 is refused, so that no single write uses up all revisions; Unix times in seconds fit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 9_007_199_254_740_991_i64))]
    pub revision: Option<i64>,

    /// A new value is minted this long after the last one, such as `2160h`: 1 minute to 10 years.
    #[serde(default, skip_serializing_if = "Option::is_none", serialize_with = "schema::as_go")]
    #[schemars(schema_with = "schema::duration")]
    #[x_kube(validation = schema::between("rotation.interval", "1m", "87600h", "10 years"))]
    pub interval: Option<Duration>,

    /// How long the value before keeps working beside the new one, counted from the new one's delivery: 0s to 1 year, by default `24h`. A further rotation does not end it; at most 5 earlier values work at the same time.
    #[serde(default, skip_serializing_if = "Option::is_none", serialize_with = "schema::as_go")]
    #[schemars(schema_with = "schema::duration")]
    #[x_kube(validation = schema::between("rotation.overlap", "0s", "8760h", "1 year"))]
    pub overlap: Option<Duration>,

    /// Revokes every value issued before or in the second of this moment, at once and for good: the answer to a leak, together with a higher `revision`. The next value is minted after that second. It can be removed or moved back when `status.revokedBefore` has it; the values stay revoked. Example: `2026-11-22T10:00:00Z`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::moment")]
    #[x_kube(validation = Rule::new("self >= timestamp('1970-01-01T00:00:00Z') && self < timestamp('9999-12-30T00:00:00Z')").message("rotation.revokeBefore must be from 1970-01-01 to before 9999-12-30; to refuse every value set disabled: true"))]
    pub revoke_before: Option<Time>,
}

/// Limits that narrow a key. None exists yet; an unknown one makes the key unreadable, and so refused.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Restrictions {}

/// The Secret that the plaintext is delivered in.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = Rule::new("!has(self.deleteAfter) || (has(self.delivery) && self.delivery == 'Once')").message("secret.deleteAfter goes only with delivery: Once"))]
pub struct SecretTemplate {
    /// Name of the Secret, by default the ApiKey's. The chart's values `deliveredSecrets.names` and `deliveredSecrets.refusedNames` limit it: by default it has no dot. It cannot be changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 253),
        pattern("^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$")
    )]
    #[x_kube(validation = Rule::new("self == oldSelf").message("secret.name cannot be changed: create a new key, or clone this one"))]
    pub name: Option<String>,

    /// `Mounted` keeps the Secret. `Once` deletes it `deleteAfter` after the delivery, as one looks at a value once; a rotation reveals the next one again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivery: Option<DeliveryMode>,

    /// With delivery Once: how long the Secret stays, 1 second to 1 year, by default `1h`.
    #[serde(default, skip_serializing_if = "Option::is_none", serialize_with = "schema::as_go")]
    #[schemars(schema_with = "schema::duration")]
    #[x_kube(validation = schema::between("secret.deleteAfter", "1s", "8760h", "1 year"))]
    pub delete_after: Option<Duration>,

    /// What each key of the Secret holds: `value` (the plaintext), `keyId` (its public part) or `siteId` (the account's public key). By default `{api-key: value, key-id: keyId}`. A change counts from the next value on: this one cannot be read again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("minProperties" = 1, "maxProperties" = 8))]
    #[x_kube(validation = Rule::new("self.exists(k, self[k] == 'value')").message("one key of the Secret must hold `value`, or nobody could ever read it"))]
    #[x_kube(validation = Rule::new("self.all(k, size(k) <= 253 && k.matches('^[-._a-zA-Z0-9]+$') && k != '.' && !k.startsWith('..'))").message("keys of a Secret are made of letters, digits, `-`, `_` and `.`, at most 253 of them, and are neither `.` nor begin with `..`"))]
    pub data: Option<BTreeMap<String, SecretItem>>,

    /// Labels of the Secret. The chart's value `deliveredSecrets.labels` lists the allowed keys: by default those of `app.kubernetes.io/`. A change counts from the next value on.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::labels")]
    #[x_kube(validation = Rule::new("self.all(k, size(k) <= 253 && k.matches('^([a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$') && !k.startsWith('keywright.dev/') && k != 'app.kubernetes.io/managed-by')").message("keys of secret.labels are [<domain>/]<name>, and neither keywright.dev/ nor app.kubernetes.io/managed-by, which are Keywright's own"))]
    pub labels: BTreeMap<String, String>,

    /// Annotations of the Secret. The chart's value `deliveredSecrets.annotations` lists the allowed keys: by default those of `app.kubernetes.io/` and `reloader.stakater.com/`. A change counts from the next value on.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::annotations")]
    #[x_kube(validation = Rule::new("self.all(k, size(k) <= 253 && k.matches('^([a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$') && !k.startsWith('keywright.dev/') && k != 'app.kubernetes.io/managed-by')").message("keys of secret.annotations are [<domain>/]<name>, and neither keywright.dev/ nor app.kubernetes.io/managed-by, which are Keywright's own"))]
    pub annotations: BTreeMap<String, String>,
}

/// What becomes of the Secret.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DeliveryMode {
    /// It stays, for workloads to mount.
    #[default]
    Mounted,
    /// It is deleted a while after the delivery.
    Once,
}

/// What one key of the delivered Secret holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum SecretItem {
    /// The plaintext of the key.
    Value,
    /// The public id of the key, for logs.
    KeyId,
    /// The Site ID of the account.
    SiteId,
}

/// Most by which a revision may exceed the highest one before. Unix times in seconds fit, and to use up all revisions takes
/// 2 million rotations.
pub const REVISION_STEP: i64 = 4_000_000_000;

/// How long the value before keeps working where the spec says nothing.
const DEFAULT_OVERLAP: StdDuration = StdDuration::from_hours(24);
/// How long a Secret is shown where the spec says nothing.
const DEFAULT_DELETE_AFTER: StdDuration = StdDuration::from_hours(1);

impl ApiKeySpec {
    /// What the spec itself says the key may do, before its account's ceiling; `None` leaves it to what was cloned.
    pub fn grant(&self) -> Result<Option<Grant>, GrantError> {
        match self.access_level {
            Some(level) => Grant::new(level, &self.scopes).map(Some),
            None if self.scopes.is_empty() => Ok(None),
            None => Err(GrantError::ScopesWithoutCustom),
        }
    }

    /// From when on every call is refused.
    pub fn expiry(&self) -> Option<Timestamp> {
        self.expires_at.as_ref().map(|at| at.0)
    }

    /// The revision that is asked for; 0 where none is.
    pub fn revision(&self) -> i64 {
        self.rotation.as_ref().and_then(|r| r.revision).unwrap_or_default()
    }

    /// Returns true if the spec asks for the next value, given the highest revision so far.
    pub fn raises(&self, highest: i64) -> bool {
        self.revision() > highest && !self.oversteps(highest)
    }

    /// Returns true if the revision is refused because it exceeds the highest one so far by too much.
    pub fn oversteps(&self, highest: i64) -> bool {
        self.revision().saturating_sub(highest) > REVISION_STEP
    }

    /// How long after its issue a value is replaced.
    pub fn rotation_interval(&self) -> Option<StdDuration> {
        self.rotation.as_ref().and_then(|r| r.interval).map(StdDuration::from)
    }

    /// How long the value before keeps working, the default filled in.
    pub fn overlap(&self) -> StdDuration {
        self.rotation.as_ref().and_then(|r| r.overlap).map_or(DEFAULT_OVERLAP, StdDuration::from)
    }

    /// Values issued before this are refused.
    pub fn revoke_before(&self) -> Option<Timestamp> {
        self.rotation.as_ref().and_then(|r| r.revoke_before.as_ref()).map(|at| at.0)
    }

    /// How long the Secret stays after a delivery; `None` is for good.
    pub fn shown_for(&self) -> Option<StdDuration> {
        let secret = self.secret.as_ref().filter(|s| s.delivery == Some(DeliveryMode::Once))?;
        Some(secret.delete_after.map_or(DEFAULT_DELETE_AFTER, StdDuration::from))
    }

    /// Returns a digest of the part of `spec.secret` that a change of takes effect with the next value: data, labels, annotations.
    pub fn secret_digest(&self) -> String {
        let secret = self.secret.clone().unwrap_or_default();
        let parts = serde_json::to_vec(&(self.secret_data(), secret.labels, secret.annotations)).unwrap_or_default();
        HEXLOWER.encode(&blake3::hash(&parts).as_bytes()[..8])
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
