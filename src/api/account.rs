//! `Account`: whom keys belong to, and the ceiling over all of them.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use super::api_key::scopes_schema;
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
    printcolumn(name = "Access", type_ = "string", json_path = ".spec.accessLevel"),
    printcolumn(name = "Disabled", type_ = "boolean", json_path = ".spec.disabled"),
    printcolumn(name = "Ready", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Display Name", type_ = "string", json_path = ".spec.displayName", priority = 1)
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = Rule::new(
    "self.accessLevel == 'Custom' ? has(self.scopes) && size(self.scopes) > 0 : !has(self.scopes) || size(self.scopes) == 0"
).message("accessLevel Custom needs 1 to 64 scopes; ReadOnly and Full take none"))]
pub struct AccountSpec {
    /// A person's name for the account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub display_name: Option<String>,

    /// The ceiling: a call passes only if the key's own grant and this one both allow it, at the moment of the call.
    pub access_level: AccessLevel,

    /// Only with accessLevel Custom: 1 to 64 of `<resource>:<read|write|*>`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "scopes_schema")]
    #[x_kube(validation = Rule::new("self.all(x, self.exists_one(y, x == y))").message("scopes must differ from each other"))]
    pub scopes: Vec<String>,

    /// While true, every key of the account is refused, from the very next call.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub disabled: bool,
}

impl AccountSpec {
    /// The ceiling over the account's keys.
    pub fn ceiling(&self) -> Result<Grant, GrantError> {
        Grant::new(self.access_level, &self.scopes)
    }
}

/// What Keywright says of an account. A projection: nothing is ever decided from it.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AccountStatus {
    /// The generation of the spec that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// `Ready`: keys of this account can be minted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}
