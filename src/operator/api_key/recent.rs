//! What the last look at a key showed, for a reconciliation that follows soon. A new value is first minted, then delivered once
//! verifiers have it, then proven to be enforced: without this each step would read again what an answer has just shown.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use kube::ResourceExt;

use super::facts::Presence;
use crate::api::names::RECONCILE_ANNOTATION;
use crate::api::{ApiKey, ApiKeyStatus};
use crate::operator::entries::Stored;

/// Time for which a look counts. Writes are compared and swapped, so an old look leads to no wrong write, only to a status that
/// is corrected later.
const FRESH: Duration = Duration::from_secs(5);
/// Most looks that are kept.
const MOST: usize = 1024;

/// What is there.
#[derive(Clone)]
pub struct Look {
    /// The key's record.
    pub stored: Stored,
    /// What stands under the name of its Secret, if anybody asked.
    pub secret: Option<Presence>,
    /// When this was seen.
    pub at: Instant,
}

/// Recent looks by uid.
#[derive(Default)]
pub struct Recent(Mutex<HashMap<String, (Look, Seen)>>);

/// The key as it was. Of another one nothing is known: somebody may have changed what the look was of as well.
#[derive(PartialEq)]
struct Seen {
    generation: Option<i64>,
    requested: Option<String>,
    /// As it is stored: the API server keeps no fractions of seconds.
    status: String,
}

impl Seen {
    fn of(key: &ApiKey, status: Option<&ApiKeyStatus>) -> Self {
        let status = ApiKeyStatus { activity: None, ..status.cloned().unwrap_or_default() };
        let requested = key.annotations().get(RECONCILE_ANNOTATION).cloned();
        let status = serde_json::to_string(&status).unwrap_or_default();
        Self { generation: key.metadata.generation, requested, status }
    }
}

impl Recent {
    /// Keeps a look at a key that has this status now.
    pub fn keep(&self, key: &ApiKey, status: Option<&ApiKeyStatus>, look: Look) {
        let mut recent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if recent.len() >= MOST {
            recent.retain(|_, (look, _)| look.at.elapsed() < FRESH);
        }
        if recent.len() < MOST {
            recent.insert(key.uid().unwrap_or_default(), (look, Seen::of(key, status)));
        }
    }

    /// Returns the last look at a key, once, if it still counts.
    pub fn take(&self, key: &ApiKey) -> Option<Look> {
        let (look, seen) =
            self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(key.metadata.uid.as_deref()?)?;
        (look.at.elapsed() < FRESH && seen == Seen::of(key, key.status.as_ref())).then_some(look)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::key::Entry;

    fn key(generation: i64, state: &str, requested: &str) -> ApiKey {
        let meta = json!({"name": "billing", "uid": "u-1", "generation": generation, "annotations": {RECONCILE_ANNOTATION: requested}});
        let spec = json!({"account": "acme", "accessLevel": "Full"});
        let key = json!({"apiVersion": "keywright.dev/v1alpha1", "kind": "ApiKey", "metadata": meta, "spec": spec, "status": {"state": state}});
        serde_json::from_value(key).unwrap()
    }

    fn look(at: Instant) -> Look {
        let json = r#"{"format":1,"owner":{"namespace":"shop","name":"billing","uid":"u-1"},"lastSerial":1,"current":{"id":"7hx3k9m2pq4d","prefix":"kw","serial":1,"issuedAt":"2026-11-22T10:00:00Z","hash":"x","tag":"1:BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc="}}"#;
        let stored = Stored::for_tests(Entry::from_json(json.as_bytes()).unwrap(), None, None);
        Look { stored, secret: Some(Presence::Present), at }
    }

    #[test]
    fn a_look_counts_once_for_the_same_key_and_not_for_long() {
        let recent = Recent::default();
        let keep = |at| {
            let key = key(1, "Pending", "");
            recent.keep(&key, key.status.as_ref(), look(at));
        };
        keep(Instant::now());
        assert!(recent.take(&key(1, "Pending", "")).is_some());
        assert!(recent.take(&key(1, "Pending", "")).is_none(), "once");
        for other in [key(2, "Pending", ""), key(1, "Active", ""), key(1, "Pending", "now")] {
            keep(Instant::now());
            assert!(recent.take(&other).is_none());
        }
        if let Some(long_ago) = Instant::now().checked_sub(FRESH) {
            keep(long_ago);
            assert!(recent.take(&key(1, "Pending", "")).is_none());
        }
    }

    #[test]
    fn what_another_operator_wrote_ends_it() {
        let recent = Recent::default();
        let (before, after) = (key(1, "Pending", ""), key(1, "Active", ""));
        recent.keep(&before, after.status.as_ref(), look(Instant::now()));
        assert!(recent.take(&after).is_some(), "the status that was written");
        recent.keep(&before, after.status.as_ref(), look(Instant::now()));
        assert!(recent.take(&before).is_none(), "another");
    }
}
