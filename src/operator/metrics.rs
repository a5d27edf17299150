//! What the operator counts.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// What the operator counts.
#[derive(Default)]
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
    /// Keys whose current value is near its end.
    expiring: Gauge,
    /// Their uids.
    expiring_uids: Mutex<HashSet<String>>,
}

impl Metrics {
    /// Registers them.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let all = [
            ("keywright_reconciled", "Reconciliations of keys that ended well", &metrics.reconciled),
            ("keywright_reconcile_failed", "Reconciliations of keys that failed and are tried again", &metrics.failed),
            ("keywright_values_minted", "Values committed to an entry", &metrics.minted),
            ("keywright_values_delivered", "Values delivered in a Secret", &metrics.delivered),
            ("keywright_swaps_lost", "Compare-and-swaps on an entry lost to somebody else", &metrics.swaps_lost),
            ("keywright_orphans_collected", "Entries of deleted keys that were removed", &metrics.orphans_collected),
        ];
        for (name, help, counter) in all {
            registry.register(name, help, counter.clone());
        }
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
