//! The resources as users write them: types, rules, conditions, names. No I/O.

mod account;
mod activity;
mod api_key;
mod condition;
mod crds;
pub mod names;
mod namespaces;
mod reference;
mod schema;
mod status;
mod suspension;
mod versions;

pub use account::{Account, AccountSpec, Member, MemberKind, MemberRole};
pub use activity::{Activity, Bucket, Requests, Source, ValueUse, Writer};
pub use api_key::{
    ApiKey, ApiKeySpec, CloneSource, DeliveryMode, REVISION_STEP, Restrictions, Rotation, SecretItem, SecretTemplate,
};
pub use condition::{
    CONDITION_ENFORCED, CONDITION_EXPIRING, CONDITION_READY, CONDITION_SECRET_AVAILABLE, CONDITION_SUSPENDED,
    CONDITION_TARGET_FOUND, Conditions, Reason, condition,
};
pub use crds::{CrdFile, crd_files};
pub use namespaces::{Namespaces, OwnNamespaces, SameNamespace, namespace_name, watched_namespace};
pub use reference::reference;
pub use status::{
    Access, AccessGrant, AccountStatus, ApiKeyStatus, CredentialState, CredentialStatus, HistoryLine, KeyCounts, State,
    SuspensionStatus,
};
pub use suspension::{SuspendedBy, Suspension, SuspensionSpec, Target, TargetKind};
pub use versions::{comparable, listed, versions};
