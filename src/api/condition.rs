//! Conditions: what they are called, and how one is set so that an unchanged one stays untouched.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

/// The spec can be honoured and is. A disabled or expired key is Ready.
pub const CONDITION_READY: &str = "Ready";
/// The Secret with the plaintext is there.
pub const CONDITION_SECRET_AVAILABLE: &str = "SecretAvailable";

/// Why a condition is as it is. Users alert on these; they do not change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Ready: minted and delivered.
    Issued,
    /// Ready is false for a moment: the value is being minted or delivered.
    Issuing,
    /// The Account that the key names is not there.
    AccountNotFound,
    /// The Account is there but cannot be read by this version.
    AccountInvalid,
    /// A scope lies beyond the Account's ceiling.
    ScopeNotGranted,
    /// The spec contradicts itself, or has fields that this version does not know.
    InvalidSpec,
    /// The Secret's name is taken by one that is not ours to touch.
    SecretConflict,
    /// A user made our Secret immutable.
    SecretImmutable,
    /// The sealed value cannot be opened with the sealing key that is there.
    SealingKeyLost,
    /// The record of the key cannot be read by this version.
    EntryUnreadable,
    /// The Secret is there.
    Delivered,
    /// Somebody deleted the Secret.
    Removed,
    /// Ready, said of an Account.
    Accepted,
}

impl Reason {
    /// As it stands in `reason`.
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::Issued => "Issued",
            Reason::Issuing => "Issuing",
            Reason::AccountNotFound => "AccountNotFound",
            Reason::AccountInvalid => "AccountInvalid",
            Reason::ScopeNotGranted => "ScopeNotGranted",
            Reason::InvalidSpec => "InvalidSpec",
            Reason::SecretConflict => "SecretConflict",
            Reason::SecretImmutable => "SecretImmutable",
            Reason::SealingKeyLost => "SealingKeyLost",
            Reason::EntryUnreadable => "EntryUnreadable",
            Reason::Delivered => "Delivered",
            Reason::Removed => "Removed",
            Reason::Accepted => "Accepted",
        }
    }
}

/// Sets one condition. `lastTransitionTime` moves only when the status does, so that the same facts give the same bytes.
pub fn set_condition(
    conditions: &mut Vec<Condition>,
    type_: &str,
    status: bool,
    reason: Reason,
    message: &str,
    generation: Option<i64>,
    now: Timestamp,
) {
    let status = if status { "True" } else { "False" };
    let since = conditions
        .iter()
        .find(|c| c.type_ == type_ && c.status == status)
        .map_or_else(|| Time(now), |c| c.last_transition_time.clone());
    let condition = Condition {
        type_: type_.to_owned(),
        status: status.to_owned(),
        reason: reason.as_str().to_owned(),
        message: message.to_owned(),
        observed_generation: generation,
        last_transition_time: since,
    };
    match conditions.iter_mut().find(|c| c.type_ == type_) {
        Some(old) => *old = condition,
        None => conditions.push(condition),
    }
}
