//! `Account`: whom keys belong to, and the ceiling over all of them.

use std::collections::BTreeMap;
use std::time::Duration as StdDuration;

use kube::core::Duration;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{AccountStatus, names, schema};
use crate::access::{AccessLevel, Grant, GrantError};

/// Whom keys belong to.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "keywright.dev",
    version = "v1alpha1",
    kind = "Account",
    namespaced,
    status = "AccountStatus",
    derive = "PartialEq",
    shortname = "acct",
    category = "keywright",
    doc = "An account: whom API keys belong to, and the ceiling over what any of them may do.",
    selectable = ".spec.displayName",
    selectable = ".status.publicKey",
    printcolumn(name = "Site ID", type_ = "string", json_path = ".status.publicKey"),
    printcolumn(name = "Access", type_ = "string", json_path = ".spec.accessLevel"),
    printcolumn(name = "Keys", type_ = "integer", json_path = ".status.keys.total"),
    printcolumn(name = "Active", type_ = "integer", json_path = ".status.keys.active"),
    printcolumn(name = "Account Disabled", type_ = "boolean", json_path = ".spec.disabled"),
    printcolumn(name = "Ready", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Display Name", type_ = "string", json_path = ".spec.displayName", priority = 1),
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
#[x_kube(validation = Rule::new("has(self.keyPrefix) == has(oldSelf.keyPrefix)").message("keyPrefix cannot be set or removed later: create a new account"))]
pub struct AccountSpec {
    /// A person's name for the account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub display_name: Option<String>,

    /// The ceiling: a call passes only if the key's own grant and this one both allow it, at the moment of the call.
    pub access_level: AccessLevel,

    /// Only with accessLevel Custom: 1 to 64 of `<resource>:<read|write|*>`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::scopes")]
    #[x_kube(validation = Rule::new("self.all(x, self.exists_one(y, x == y))").message("scopes must differ from each other"))]
    pub scopes: Vec<String>,

    /// While true, every key of the account is refused, from the very next call.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub disabled: bool,

    /// The resources that there are. A scope of a key that names another one is a typing error, and said to be: `Ready=False/UnknownScope`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::resources")]
    #[x_kube(validation = Rule::new("self.all(x, self.exists_one(y, x == y))").message("resources must differ from each other"))]
    pub resources: Vec<String>,

    /// People and workloads with a role in this namespace, unless an older account is in it. An owner cannot remove the last member with the role Owner.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), extend("x-kubernetes-list-type" = "atomic"))]
    pub members: Vec<Member>,

    /// What its keys begin with: 2 to 16 of a-z and 0-9, beginning with a letter; by default `kw`. It cannot be changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 2, max = 16), pattern("^[a-z][a-z0-9]{1,15}$"))]
    #[x_kube(validation = Rule::new("self == oldSelf").message("keyPrefix cannot be changed: create a new account"))]
    pub key_prefix: Option<String>,

    /// The longest that any value of a key lives, counted from its issue: 1 minute to 10 years, such as `2160h`.
    #[serde(default, skip_serializing_if = "Option::is_none", serialize_with = "schema::as_go")]
    #[schemars(schema_with = "schema::duration")]
    #[x_kube(validation = schema::between("maxKeyLifetime", "1m", "87600h", "10 years"))]
    pub max_key_lifetime: Option<Duration>,

    /// Metadata for the upstream, such as the plan: up to 8 pairs that the verifier returns with every key of the account, and never interprets. A key cannot override them; it adds only names that are not set here.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::metadata")]
    #[x_kube(validation = Rule::new("self.all(k, k.matches('^[a-z]([-a-z0-9]{0,30}[a-z0-9])?$'))").message("keys of metadata are 1 to 32 of a-z, 0-9 and `-`, beginning with a letter, for they become header names"))]
    pub metadata: BTreeMap<String, String>,
}

/// Somebody with a role.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = Rule::new("(self.kind == 'ServiceAccount') == has(self.__namespace__)").message("a member of kind ServiceAccount needs its namespace; User and Group have none"))]
#[x_kube(validation = Rule::new("self.kind == 'ServiceAccount' || !self.name.startsWith('system:')").message("names that begin with system: are Kubernetes' own, such as everybody; name people and groups of yours"))]
#[x_kube(validation = Rule::new("self.kind != 'ServiceAccount' || self.name.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')").message("a ServiceAccount's name is made of a-z, 0-9, `-` and `.`"))]
pub struct Member {
    /// What `name` names.
    pub kind: MemberKind,
    /// The name, as the API server knows the user, group or ServiceAccount.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Of a ServiceAccount.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), pattern("^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub namespace: Option<String>,
    /// `Owner` manages keys, members and whether the account is disabled; `Admin` manages keys.
    pub role: MemberRole,
}

/// What a member is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum MemberKind {
    /// A person, as the API server authenticates them.
    User,
    /// A group of people.
    Group,
    /// A workload's identity.
    ServiceAccount,
}

/// What a member may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum MemberRole {
    /// Keys, members, and whether the account is disabled.
    Owner,
    /// Keys.
    Admin,
}

impl AccountSpec {
    /// The ceiling over the account's keys.
    pub fn ceiling(&self) -> Result<Grant, GrantError> {
        Grant::new(self.access_level, &self.scopes)
    }

    /// What its keys begin with, the default filled in.
    pub fn prefix(&self) -> &str {
        self.key_prefix.as_deref().unwrap_or(names::DEFAULT_KEY_PREFIX)
    }

    /// The longest that a value lives.
    pub fn max_lifetime(&self) -> Option<StdDuration> {
        self.max_key_lifetime.map(StdDuration::from)
    }
}
