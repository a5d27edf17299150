//! The resources as users write them: types, rules, conditions, names. No I/O.

mod account;
mod api_key;
mod condition;
mod crds;
pub mod names;

pub use account::{Account, AccountSpec, AccountStatus};
pub use api_key::{Access, ApiKey, ApiKeySpec, ApiKeyStatus, CredentialStatus, SecretItem, SecretTemplate, State};
pub use condition::{CONDITION_READY, CONDITION_SECRET_AVAILABLE, Reason, set_condition};
pub use crds::{CrdFile, crd_files};
