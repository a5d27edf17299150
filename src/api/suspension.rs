//! `Suspension`: the platform, or an owner, holds a key or an account apart from its own spec.

use std::fmt;

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::SuspensionStatus;

// Its own kind, because then plain RBAC decides who may create and lift it, no re-sync of the owner's manifests undoes
// it, and deleting and re-creating the target does not escape it. Unknown fields are passed over here: whatever a later
// version brings, the target stays refused.
/// A hold on a key or an account, and its reason.
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
    doc = "A hold on an API key or an account, by the platform or by its owner. While it exists every call of the target is refused, whatever the target's own spec contains, also after the target is deleted and created again. No sync of the target's manifests lifts it.",
    selectable = ".spec.target.kind",
    selectable = ".spec.target.name",
    printcolumn(name = "Kind", type_ = "string", json_path = ".spec.target.kind"),
    printcolumn(name = "Target", type_ = "string", json_path = ".spec.target.name"),
    printcolumn(name = "By", type_ = "string", json_path = ".spec.by"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".spec.reason"),
    printcolumn(
        name = "Found",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="TargetFound")].status"#
    ),
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

    /// Party that suspends, by default `Platform`. Owners, admins and key-writers create and lift Suspensions `by: Owner` of keys, owners also of their Account; all others take the role `keywright-platform`. State it in manifests: an apply that leaves it out keeps what is there. It cannot be changed.
    #[serde(default)]
    #[x_kube(validation = Rule::new("self == oldSelf").message("by cannot be changed: create another Suspension"))]
    pub by: SuspendedBy,

    /// Why, in one word for programs, such as `PaymentOverdue`: it stands in the condition `Suspended` of the target.
    #[schemars(length(min = 1, max = 64), pattern("^[A-Za-z]([A-Za-z0-9_]*[A-Za-z0-9])?$"))]
    pub reason: String,

    /// Why, and what to do, in a sentence for the owner, who reads it in the target's status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub message: Option<String>,
}

/// Party that suspends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum SuspendedBy {
    /// The platform team, on the owner's behalf.
    #[default]
    Platform,
    /// An owner, an admin or a key-writer of the namespace.
    Owner,
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

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            TargetKind::ApiKey => "ApiKey",
            TargetKind::Account => "Account",
        };
        write!(f, "{kind} {}", self.name)
    }
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
    /// Returns the message of the condition `Suspended`: who suspends, and why.
    pub fn words(&self) -> String {
        let by = match self.by {
            SuspendedBy::Platform => "the platform",
            SuspendedBy::Owner => "its owner",
        };
        match &self.message {
            Some(message) => format!("suspended by {by}: {message}"),
            None => format!("suspended by {by}"),
        }
    }
}
