//! What every reconciliation is given.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use kube::Client;

use super::api_key::recent::Recent;
use super::enforcement::Enforcement;
use super::entries::Entries;
use super::metrics::Metrics;
use super::secrets::Secrets;
use super::streams::Known;
use crate::api::Namespaces;
use crate::key::{Hasher, Pepper, SealingKey};

/// What every reconciliation is given.
pub struct Context {
    /// The API server.
    pub client: Client,
    /// Whose keys are looked after.
    pub namespaces: Namespaces,
    /// Everything there is, as the watches have it.
    pub known: Known,
    /// The records.
    pub entries: Entries,
    /// The delivered Secrets.
    pub secrets: Secrets,
    /// Which changes verifiers go by.
    pub enforcement: Arc<Enforcement>,
    /// Looks at keys that were reconciled a moment ago.
    pub recent: Recent,
    /// Pauses between attempts, by object.
    pub backoff: Backoff,
    /// Makes records.
    pub hasher: Hasher,
    /// Makes tags.
    pub pepper: Arc<Pepper>,
    /// Seals what is not delivered yet.
    pub sealing_key: Arc<SealingKey>,
    /// What is counted.
    pub metrics: Metrics,
    /// How long before its end a value is warned of.
    pub warn_before: Duration,
    /// The time.
    pub now: fn() -> Timestamp,
}

/// Exponential pauses by object: 250 ms, doubled with each failure, at most 5 minutes.
#[derive(Default)]
pub struct Backoff(Mutex<HashMap<String, u32>>);

impl Backoff {
    const FIRST: Duration = Duration::from_millis(250);
    const LONGEST: Duration = Duration::from_mins(5);
    const LONGEST_FOR_USER: Duration = Duration::from_secs(30);

    /// One more failure of this object: how long to wait.
    pub fn after_failure(&self, uid: &str) -> Duration {
        let mut failures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = failures.entry(uid.to_owned()).or_default();
        let pause = Self::FIRST.saturating_mul(1 << (*count).min(16)).min(Self::LONGEST);
        *count = count.saturating_add(1);
        pause
    }

    /// The same where only a user can clear the way, who should not wait for long afterwards.
    pub fn while_in_the_way(&self, uid: &str) -> Duration {
        self.after_failure(uid).min(Self::LONGEST_FOR_USER)
    }

    /// It worked, or the object is gone.
    pub fn forget(&self, uid: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_bound_and_begin_anew_after_success() {
        let backoff = Backoff::default();
        let pauses: Vec<u128> = (0..3).map(|_| backoff.after_failure("a").as_millis()).collect();
        assert_eq!(pauses, [250, 500, 1000]);
        assert_eq!(backoff.after_failure("b").as_millis(), 250);
        for _ in 0..40 {
            backoff.after_failure("a");
        }
        assert_eq!(backoff.after_failure("a"), Backoff::LONGEST);
        backoff.forget("a");
        assert_eq!(backoff.after_failure("a").as_millis(), 250);
    }
}
