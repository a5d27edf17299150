//! `Suspension`: the platform has disabled a key or an account on its owner's behalf.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::SuspensionStatus;

// Its own kind, because then plain RBAC decides who may create and lift it, no re-sync of the owner's manifests undoes
// it, and deleting and re-creating the target does not escape it. Unknown fields are passed over here: whatever a later
// version brings, the target stays refused.
/// What the platform has suspended, and why.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "keywright.dev",
    version = "v1alpha1",
    kind = "Suspension",
    namespaced,
    status = "SuspensionStatus",
    derive = "PartialEq",
    shortname = "susp",
    category = "keywright",
    doc = "The platform has disabled an API key or an account on its owner's behalf. While it exists the target is refused, whatever the target's own spec says, and also when that is deleted and created again.",
    selectable = ".spec.target.kind",
    selectable = ".spec.target.name",
    printcolumn(name = "Kind", type_ = "string", json_path = ".spec.target.kind"),
    printcolumn(name = "Target", type_ = "string", json_path = ".spec.target.name"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".spec.reason"),
    printcolumn(
        name = "Enforced",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Enforced")].status"#
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Message", type_ = "string", json_path = ".spec.message", priority = 1)
)]
#[serde(rename_all = "camelCase")]
pub struct SuspensionSpec {
    /// What is suspended, in the same namespace. It need not exist yet. It cannot be changed.
    #[x_kube(validation = Rule::new("self == oldSelf").message("target cannot be changed: create another Suspension"))]
    pub target: Target,

    /// Why, in one word for programs, such as `PaymentOverdue`: it stands in the condition `Suspended` of the target.
    #[schemars(length(min = 1, max = 64), pattern("^[A-Za-z]([A-Za-z0-9_]*[A-Za-z0-9])?$"))]
    pub reason: String,

    /// Why, and what to do, in a sentence for the owner, who reads it in the target's status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub message: Option<String>,
}

/// What is suspended.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Target {
    /// A key, or an account with all of its keys.
    pub kind: TargetKind,
    /// Its name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// What can be suspended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum TargetKind {
    /// One key.
    ApiKey,
    /// Every key of an account.
    Account,
}

impl SuspensionSpec {
    /// Why, for the owner.
    pub fn words(&self) -> &str {
        self.message.as_deref().unwrap_or("suspended by the platform")
    }
}
