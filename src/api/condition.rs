//! Conditions: what they are called, and how one is set so that an unchanged one stays untouched.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

/// The spec can be honoured and is. A disabled or expired key is Ready.
pub const CONDITION_READY: &str = "Ready";
/// Every verifier goes by this generation of the spec. Unknown until that is proven.
pub const CONDITION_ENFORCED: &str = "Enforced";
/// The Secret with the plaintext is there.
pub const CONDITION_SECRET_AVAILABLE: &str = "SecretAvailable";

/// The platform has suspended the key or its account. There only while it is true; the reason is the Suspension's.
pub const CONDITION_SUSPENDED: &str = "Suspended";
/// The target of a Suspension exists.
pub const CONDITION_TARGET_FOUND: &str = "TargetFound";
/// The key's current value is near its end. There only while it is true.
pub const CONDITION_EXPIRING: &str = "Expiring";

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
    /// The chart's value `deliveredSecrets` does not allow the Secret's name, a label or an annotation.
    SecretNotAllowed,
    /// The Secret is being deleted, and somebody's finalizer holds it.
    SecretEnding,
    /// The API server refuses the Secret: a quota, a policy or a webhook of the cluster. The message contains its words.
    SecretRefused,
    /// The API server refuses what Keywright records about the object in its own namespace. The message contains its words.
    RecordRefused,
    /// Ready is false: `spec.expiresAt` was past when the key was created, so no value is minted.
    Expired,
    /// The sealed value cannot be opened with the sealing key that is there.
    SealingKeyLost,
    /// The record of the key cannot be read by this version.
    EntryUnreadable,
    /// The Secret is there.
    Delivered,
    /// Somebody deleted the Secret.
    Removed,
    /// The Secret of before a restore was not seen yet.
    NotRestored,
    /// It cannot be told which entry of before a restore the key takes over.
    AdoptionUnclear,
    /// A scope names a resource that the Account does not list.
    UnknownScope,
    /// The key to clone from is not there.
    CloneSourceNotFound,
    /// The key to clone from is a clone itself, and not resolved yet.
    CloneSourceNotReady,
    /// The keys clone each other in a circle.
    CloneCycle,
    /// The key to clone from belongs to another account.
    CloneOtherAccount,
    /// `revokeBefore` lies in the future: a value minted now would be refused.
    RevokedInAdvance,
    /// A revision is not higher than every one before. Said in an Event.
    RevisionIgnored,
    /// A revision exceeds the highest one before by too much, and is not recorded.
    RevisionTooHigh,
    /// The Secret was shown for its time and deleted.
    Revealed,
    /// The current value is near its end.
    ExpiresSoon,
    /// An Account with members shares its namespace with an older one.
    MembersNeedOwnNamespace,
    /// The RoleBinding of the members is not ours to touch.
    MemberConflict,
    /// Every Site ID that was tried is reserved for another account.
    NoSiteId,
    /// The API server refuses a member.
    MemberRefused,
    /// Ready, said of an Account.
    Accepted,
    /// Enforced: every verifier has said that it goes by it.
    Acknowledged,
    /// Enforced: every verifier that has not said so answers nothing any more.
    Outwaited,
    /// Enforced is unknown for a moment: verifiers are being waited for.
    AwaitingVerifiers,
    /// Enforced is unknown: no verifier has a Lease.
    NoVerifier,
    /// Enforced is unknown: a verifier is silent, and it has no --max-staleness or that time is not over.
    VerifierUnreachable,
    /// Enforced is unknown: resourceVersions of this API server are no numbers.
    NotComparable,
    /// `TargetFound` is true.
    Found,
    /// `TargetFound` is false, and Enforced unknown: there is no object of that kind and name in the namespace.
    TargetNotFound,
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
            Reason::SecretNotAllowed => "SecretNotAllowed",
            Reason::SecretEnding => "SecretEnding",
            Reason::SecretRefused => "SecretRefused",
            Reason::RecordRefused => "RecordRefused",
            Reason::Expired => "Expired",
            Reason::SealingKeyLost => "SealingKeyLost",
            Reason::EntryUnreadable => "EntryUnreadable",
            Reason::Delivered => "Delivered",
            Reason::Removed => "Removed",
            Reason::NotRestored => "NotRestored",
            Reason::AdoptionUnclear => "AdoptionUnclear",
            Reason::UnknownScope => "UnknownScope",
            Reason::CloneSourceNotFound => "CloneSourceNotFound",
            Reason::CloneSourceNotReady => "CloneSourceNotReady",
            Reason::CloneCycle => "CloneCycle",
            Reason::CloneOtherAccount => "CloneOtherAccount",
            Reason::RevokedInAdvance => "RevokedInAdvance",
            Reason::RevisionIgnored => "RevisionIgnored",
            Reason::RevisionTooHigh => "RevisionTooHigh",
            Reason::Revealed => "Revealed",
            Reason::ExpiresSoon => "ExpiresSoon",
            Reason::MembersNeedOwnNamespace => "MembersNeedOwnNamespace",
            Reason::MemberConflict => "MemberConflict",
            Reason::NoSiteId => "NoSiteId",
            Reason::MemberRefused => "MemberRefused",
            Reason::Accepted => "Accepted",
            Reason::Acknowledged => "Acknowledged",
            Reason::Outwaited => "Outwaited",
            Reason::AwaitingVerifiers => "AwaitingVerifiers",
            Reason::NoVerifier => "NoVerifier",
            Reason::VerifierUnreachable => "VerifierUnreachable",
            Reason::NotComparable => "NotComparable",
            Reason::Found => "Found",
            Reason::TargetNotFound => "TargetNotFound",
        }
    }
}

impl AsRef<str> for Reason {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

/// Returns the condition of a type, if there is one.
pub fn condition<'c>(conditions: &'c [Condition], type_: &str) -> Option<&'c Condition> {
    conditions.iter().find(|condition| condition.type_ == type_)
}

/// Conditions of one status. `lastTransitionTime` moves only when a status does, or when `Enforced` is of another generation, so that
/// the same facts give the same bytes. A condition that is not said again is removed.
pub struct Conditions {
    before: Vec<Condition>,
    said: Vec<Condition>,
    generation: Option<i64>,
    now: Timestamp,
}

impl Conditions {
    /// In the place of those before, of this generation of the spec.
    pub fn after(before: Vec<Condition>, generation: Option<i64>, now: Timestamp) -> Self {
        Self { before, said: Vec::new(), generation, now }
    }

    /// Says one.
    pub fn say(&mut self, type_: &str, status: bool, reason: impl AsRef<str>, message: impl Into<String>) {
        self.say_status(type_, if status { "True" } else { "False" }, reason, message);
    }

    /// Says that one cannot be known.
    pub fn say_unknown(&mut self, type_: &str, reason: impl AsRef<str>, message: impl Into<String>) {
        self.say_status(type_, "Unknown", reason, message);
    }

    fn say_status(&mut self, type_: &str, status: &str, reason: impl AsRef<str>, message: impl Into<String>) {
        let is_same = |before: &&Condition| {
            let proves_another = type_ == CONDITION_ENFORCED && before.observed_generation != self.generation;
            before.type_ == type_ && before.status == status && !proves_another
        };
        let same = self.before.iter().find(is_same);
        self.said.push(Condition {
            type_: type_.to_owned(),
            status: status.to_owned(),
            reason: reason.as_ref().to_owned(),
            message: message.into(),
            observed_generation: self.generation,
            last_transition_time: same.map_or_else(|| Time(self.now), |c| c.last_transition_time.clone()),
        });
    }

    /// All that was said.
    pub fn into_vec(self) -> Vec<Condition> {
        self.said
    }
}
