//! What was observed of one ApiKey, and what may be wrong with it. Pure.

use std::time::Duration;

use crate::api::{Account, ApiKey, Reason};
use crate::key::{Cloned, Entry};

/// What was observed.
#[derive(Clone, Copy)]
pub struct Facts<'a> {
    /// The key, as its owner declares it.
    pub key: &'a ApiKey,
    /// Its account; `None` when it is not there.
    pub account: Option<&'a Account>,
    /// Its record; `None` when no value was ever committed.
    pub entry: Option<&'a Entry>,
    /// What stands under the name of its Secret, once delivered.
    pub secret: Option<Presence>,
    /// What there is to clone; asked for only while there is no record.
    pub source: Option<&'a Source>,
    /// How long before its end a value is warned of.
    pub warn_before: Duration,
}

/// What stands under the name of a delivered Secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// Ours; of one that was delivered before a restore, that it is the very one.
    Present,
    /// Ours, and a user made it immutable.
    Frozen,
    /// Ours; it is being deleted, and somebody's finalizer holds it.
    Ending,
    /// Nothing.
    Missing,
    /// Something else.
    Other,
    /// The API server refuses the dry run that would show it.
    Unknown,
}

/// What was found where a clone's source should be.
#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    /// Nothing.
    Missing,
    /// A clone whose own source is not resolved yet.
    Unresolved,
    /// Going from source to source, one comes back to the key.
    Cycle,
    /// A key of another account.
    OtherAccount(String),
    /// This.
    Found(Cloned),
}

/// Why the spec is not honoured, in words for the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// For programs.
    pub reason: Reason,
    /// What to do.
    pub message: String,
}

impl Problem {
    /// A reason, and what to do about it.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }
}
