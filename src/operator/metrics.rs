//! What the operator counts.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// From what an idle cluster needs to what a dead verifier costs.
const ENFORCED_SECONDS: [f64; 14] = [0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0, 30.0, 120.0, 600.0, 1800.0, 3600.0];

/// What the operator counts.
pub struct Metrics {
    /// Reconciliations of keys that ended well.
    pub reconciled: Counter,
    /// Reconciliations of keys that failed and are tried again.
    pub failed: Counter,
    /// Values committed to an entry.
    pub minted: Counter,
    /// Values delivered in a Secret.
    pub delivered: Counter,
    /// Compare-and-swaps lost to another operator or an older self.
    pub swaps_lost: Counter,
    /// Entries of deleted keys that were removed.
    pub orphans_collected: Counter,
    /// Lists of the verifiers' Leases.
    pub lease_lists: Counter,
    /// Entries that were taken over after a restore.
    pub adopted: Counter,
    /// Leases of silent verifiers that were deleted.
    pub leases_collected: Counter,
    /// Verifiers that were not waited for any longer before a value was delivered.
    pub verifiers_passed_over: Counter,
    /// From when a change was seen to when every verifier was known to go by it.
    pub enforced_seconds: Histogram,
    /// Changes that not every verifier is known to go by.
    pub changes_in_flight: Gauge,
    /// 1 while this operator acts, 0 while it stands by.
    pub leader: Gauge,
    /// Keys whose current value is near its end.
    expiring: Gauge,
    /// Their uids.
    expiring_uids: Mutex<HashSet<String>>,
}

impl Metrics {
    /// Registers them.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            reconciled: Counter::default(),
            failed: Counter::default(),
            minted: Counter::default(),
            delivered: Counter::default(),
            swaps_lost: Counter::default(),
            orphans_collected: Counter::default(),
            adopted: Counter::default(),
            lease_lists: Counter::default(),
            leases_collected: Counter::default(),
            verifiers_passed_over: Counter::default(),
            enforced_seconds: Histogram::new(ENFORCED_SECONDS),
            changes_in_flight: Gauge::default(),
            leader: Gauge::default(),
            expiring: Gauge::default(),
            expiring_uids: Mutex::default(),
        };
        let all = [
            ("keywright_reconciled", "Reconciliations of keys that ended well", &metrics.reconciled),
            ("keywright_reconcile_failed", "Reconciliations of keys that failed and are tried again", &metrics.failed),
            ("keywright_values_minted", "Values committed to an entry", &metrics.minted),
            ("keywright_values_delivered", "Values delivered in a Secret", &metrics.delivered),
            ("keywright_swaps_lost", "Compare-and-swaps on an entry lost to somebody else", &metrics.swaps_lost),
            ("keywright_orphans_collected", "Entries of deleted keys that were removed", &metrics.orphans_collected),
            ("keywright_entries_adopted", "Entries that were taken over after a restore", &metrics.adopted),
            ("keywright_lease_lists", "Lists of the verifiers' Leases", &metrics.lease_lists),
            ("keywright_leases_collected", "Leases of silent verifiers that were deleted", &metrics.leases_collected),
            (
                "keywright_verifiers_passed_over",
                "Verifiers that were not waited for any longer before a value was delivered",
                &metrics.verifiers_passed_over,
            ),
        ];
        for (name, help, counter) in all {
            registry.register(name, help, counter.clone());
        }
        registry.register(
            "keywright_enforced_seconds",
            "From when a change was seen to when every verifier was known to go by it",
            metrics.enforced_seconds.clone(),
        );
        registry.register(
            "keywright_changes_in_flight",
            "Changes that not every verifier is known to go by yet",
            metrics.changes_in_flight.clone(),
        );
        registry.register(
            "keywright_leader",
            "1 while this operator acts, 0 while it stands by",
            metrics.leader.clone(),
        );
        registry.register(
            "keywright_keys_expiring",
            "Keys whose current value ends soon and is not renewed by itself",
            metrics.expiring.clone(),
        );
        metrics
    }

    /// Whether the current value of this key is near its end.
    pub fn is_expiring(&self, uid: &str, expiring: bool) {
        let mut uids = self.expiring_uids.lock().unwrap_or_else(PoisonError::into_inner);
        if expiring {
            uids.insert(uid.to_owned());
        } else {
            uids.remove(uid);
        }
        self.expiring.set(i64::try_from(uids.len()).unwrap_or(i64::MAX));
    }
}
