//! Metrics of keys by state, computed from the watched ApiKeys when they are scraped.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, OnceLock};

use jiff::{SignedDuration, Timestamp};
use kube::runtime::reflector::Store;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;

use crate::api::{ApiKey, CONDITION_READY, State, condition};

/// Time for which a refused call counts as use.
const RECENT: SignedDuration = SignedDuration::from_hours(1);

/// Most accounts with a time series of their own.
const ACCOUNTS: usize = 1000;

/// Metrics of keys by state. Empty on an operator that does not lead.
#[derive(Clone, Default)]
pub struct KeyStates(Arc<OnceLock<Store<ApiKey>>>);

impl KeyStates {
    /// Sets the store, from which every scrape reads.
    pub fn watch(&self, keys: Store<ApiKey>) {
        let _ = self.0.set(keys);
    }
}

impl fmt::Debug for KeyStates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyStates")
    }
}

/// Numbers of keys, and of refused calls by account.
#[derive(Debug, Default, PartialEq, Eq)]
struct Counts {
    states: BTreeMap<&'static str, i64>,
    not_ready: BTreeMap<String, i64>,
    refused_in_use: BTreeMap<&'static str, i64>,
    denied: BTreeMap<(String, String), i64>,
}

impl Counts {
    fn add(&mut self, key: &ApiKey, now: Timestamp) {
        let status = key.status.as_ref();
        let state = status.and_then(|status| status.state).map_or("Pending", name);
        *self.states.entry(state).or_default() += 1;
        let Some(status) = status else { return };
        if let Some(ready) = condition(&status.conditions, CONDITION_READY).filter(|ready| ready.status != "True") {
            *self.not_ready.entry(ready.reason.clone()).or_default() += 1;
        }
        let Some(activity) = &status.activity else { return };
        let is_recent = activity.last_denied_at.as_ref().is_some_and(|at| now.duration_since(at.0) < RECENT);
        if is_recent && matches!(status.state, Some(State::Disabled | State::Expired | State::Suspended)) {
            *self.refused_in_use.entry(state).or_default() += 1;
        }
        if activity.requests.denied > 0 {
            let account = (key.metadata.namespace.clone().unwrap_or_default(), key.spec.account.clone());
            *self.denied.entry(account).or_default() += activity.requests.denied;
        }
    }

    /// Keeps the accounts with the most refused calls.
    fn bound(mut self) -> Self {
        if self.denied.len() > ACCOUNTS {
            let mut all: Vec<_> = std::mem::take(&mut self.denied).into_iter().collect();
            all.sort_unstable_by_key(|(_, denied)| std::cmp::Reverse(*denied));
            self.denied = all.into_iter().take(ACCOUNTS).collect();
        }
        self
    }
}

fn name(state: State) -> &'static str {
    match state {
        State::Invalid => "Invalid",
        State::Expired => "Expired",
        State::Suspended => "Suspended",
        State::Disabled => "Disabled",
        State::Pending => "Pending",
        State::Active => "Active",
    }
}

impl Collector for KeyStates {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let now = Timestamp::now();
        let mut counts = Counts::default();
        for key in self.0.get().map(Store::state).unwrap_or_default() {
            counts.add(&key, now);
        }
        let counts = counts.bound();
        let gauge = MetricType::Gauge;
        let mut metric = encoder.encode_descriptor("keywright_keys", "Keys by state", None, gauge)?;
        for (state, count) in &counts.states {
            metric.encode_family(&[("state", *state)])?.encode_gauge(count)?;
        }
        let help = "Keys whose condition Ready is not True, by its reason";
        let mut metric = encoder.encode_descriptor("keywright_keys_not_ready", help, None, gauge)?;
        for (reason, count) in &counts.not_ready {
            metric.encode_family(&[("reason", reason.as_str())])?.encode_gauge(count)?;
        }
        let help = "Disabled, expired and suspended keys with a refused call in the last hour, by state";
        let mut metric = encoder.encode_descriptor("keywright_keys_refused_in_use", help, None, gauge)?;
        for (state, count) in &counts.refused_in_use {
            metric.encode_family(&[("state", *state)])?.encode_gauge(count)?;
        }
        let help = "Refused calls of all keys that an account has, as verifiers counted them; of the 1000 accounts with the most";
        let mut metric = encoder.encode_descriptor("keywright_account_denied", help, None, gauge)?;
        for ((namespace, account), denied) in &counts.denied {
            let labels = [("namespace", namespace.as_str()), ("account", account.as_str())];
            metric.encode_family(&labels)?.encode_gauge(denied)?;
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::json;

    fn key(account: &str, status: serde_json::Value) -> ApiKey {
        serde_json::from_value(json!({
            "apiVersion": "keywright.dev/v1alpha1", "kind": "ApiKey", "metadata": {"name": "a", "namespace": "shop"},
            "spec": {"account": account, "accessLevel": "Full"}, "status": status,
        }))
        .unwrap()
    }

    #[test]
    fn keys_are_counted_by_state_reason_and_account() {
        let now: Timestamp = "2026-11-27T12:00:00Z".parse().unwrap();
        let activity = |denied_at: &str| json!({"asOf": denied_at, "lastDeniedAt": denied_at, "requests": {"allowed": 1, "denied": 3}});
        let invalid = json!({"state": "Invalid", "conditions": [{"type": "Ready", "status": "False",
            "reason": "AccountNotFound", "message": "", "lastTransitionTime": "2026-11-27T11:00:00Z"}]});
        let mut counts = Counts::default();
        for key in [
            key("acme", json!({"state": "Active", "activity": activity("2026-11-27T11:59:00Z")})),
            key("acme", json!({"state": "Disabled", "activity": activity("2026-11-27T11:59:00Z")})),
            key("acme", json!({"state": "Disabled", "activity": activity("2026-11-27T10:59:00Z")})),
            key("globex", invalid),
            key("globex", json!({})),
        ] {
            counts.add(&key, now);
        }
        assert_eq!(counts.states, BTreeMap::from([("Active", 1), ("Disabled", 2), ("Invalid", 1), ("Pending", 1)]));
        assert_eq!(counts.not_ready, BTreeMap::from([("AccountNotFound".to_owned(), 1)]));
        assert_eq!(counts.refused_in_use, BTreeMap::from([("Disabled", 1)]), "one was called in the last hour");
        assert_eq!(counts.denied, BTreeMap::from([(("shop".to_owned(), "acme".to_owned()), 9)]));
    }

    #[test]
    fn accounts_are_bounded_by_refused_calls() {
        let denied = (0..=1000).map(|n| (("shop".to_owned(), format!("acct-{n}")), n)).collect();
        let counts = Counts { denied, ..Counts::default() }.bound();
        assert_eq!(counts.denied.len(), ACCOUNTS);
        assert!(!counts.denied.contains_key(&("shop".to_owned(), "acct-0".to_owned())));
    }
}
