//! Watches that fail, for `/readyz`, metrics and alerts. A watch that fails looks like a quiet one, so each failure is kept
//! until the watch works again.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use kube::Error;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;

/// Time after which a watch that fails makes its process not ready.
pub const TOLERANCE: Duration = Duration::from_secs(30);

/// Request that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The list before the watches.
    List,
    /// A watch.
    Watch,
}

/// Kind of a failure, by who can mend it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The API server cannot be reached or is overloaded; other processes fail as well.
    Outage,
    /// The API server refuses the request for lack of rights.
    Forbidden,
    /// The API server answers, and the answer cannot be used.
    Fault,
}

/// Failure of a list or watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Request that failed.
    pub stage: Stage,
    /// Who can mend it.
    pub kind: Kind,
    /// Cause in words.
    pub cause: String,
}

impl Failure {
    /// Classifies an error.
    pub fn new(stage: Stage, error: &Error) -> Self {
        let (kind, cause) = match error {
            Error::Api(status) if status.is_forbidden() => (Kind::Forbidden, status.message.clone()),
            Error::Api(status) if status.code == 429 || status.code >= 500 => (Kind::Outage, status.message.clone()),
            Error::Api(status) => (Kind::Fault, status.message.clone()),
            Error::SerdeError(error) => (Kind::Fault, format!("an answer of the API server cannot be parsed: {error}")),
            error => (Kind::Outage, error.to_string()),
        };
        Self { stage, kind, cause }
    }

    /// An event that cannot be attributed to an object.
    pub fn unattributable() -> Self {
        let cause = "an event of the API server cannot be parsed; a proxy between them may have changed it".to_owned();
        Self { stage: Stage::Watch, kind: Kind::Fault, cause }
    }

    /// No data for some time.
    pub fn silent(stage: Stage, time: Duration) -> Self {
        Self { stage, kind: Kind::Outage, cause: format!("the API server sent nothing for {time:?}") }
    }
}

/// State of all watches of one process.
#[derive(Clone, Default)]
pub struct WatchHealth(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// By name of the watch. Absent while it works.
    failing: BTreeMap<String, (Instant, Failure)>,
    watches: BTreeSet<String>,
    unreadable: BTreeMap<String, u64>,
}

/// Resources that are counted from zero on, so that an increase can be seen from the first object on.
const RESOURCES: [&str; 4] = ["accounts", "apikeys", "secrets", "suspensions"];

impl WatchHealth {
    /// Records a failure. The time counts from the first one since the watch worked.
    pub fn failed(&self, watch: &str, failure: &Failure) {
        let mut state = self.state();
        let since = state.failing.get(watch).map_or_else(Instant::now, |(since, _)| *since);
        state.failing.insert(watch.to_owned(), (since, failure.clone()));
    }

    /// Records that a request of this stage succeeded. A list alone does not show that watches work.
    pub fn works(&self, watch: &str, stage: Stage) {
        let mut state = self.state();
        state.watches.insert(watch.to_owned());
        if stage == Stage::Watch || state.failing.get(watch).is_some_and(|(_, failure)| failure.stage == stage) {
            state.failing.remove(watch);
        }
    }

    /// Counts an object that this version cannot parse.
    pub fn unreadable(&self, resource: &str) {
        *self.state().unreadable.entry(resource.to_owned()).or_default() += 1;
    }

    /// Returns the first watch that has failed for longer than [`TOLERANCE`] in a way that `counts`.
    pub fn check(&self, counts: impl Fn(Kind) -> bool) -> Result<(), String> {
        let state = self.state();
        let is_due = |(since, failure): &(Instant, Failure)| since.elapsed() >= TOLERANCE && counts(failure.kind);
        match state.failing.iter().find(|(_, failing)| is_due(failing)) {
            None => Ok(()),
            Some((watch, (since, Failure { cause, .. }))) => {
                Err(format!("the watch of {watch} has failed for {} s: {cause}", since.elapsed().as_secs()))
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for WatchHealth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WatchHealth")
    }
}

impl Collector for WatchHealth {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let state = self.state();
        let help = "Time for which a watch has failed; 0 while it works";
        let gauge = ConstGauge::new(0.0);
        let mut family =
            encoder.encode_descriptor("keywright_watch_failing", help, Some(&Unit::Seconds), gauge.metric_type())?;
        let known: BTreeSet<&String> = state.watches.iter().chain(state.failing.keys()).collect();
        for watch in known {
            let since = state.failing.get(watch).map(|(since, _)| since.elapsed().as_secs_f64());
            ConstGauge::new(since.unwrap_or(0.0)).encode(family.encode_family(&[("watch", watch.as_str())])?)?;
        }
        let help = "Objects received that this version cannot parse; each is refused";
        let counter = ConstCounter::new(0_u64);
        let mut family =
            encoder.encode_descriptor("keywright_unreadable_objects", help, None, counter.metric_type())?;
        for resource in RESOURCES {
            let count = state.unreadable.get(resource).copied().unwrap_or_default();
            ConstCounter::new(count).encode(family.encode_family(&[("resource", resource)])?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn fault(stage: Stage) -> Failure {
        Failure { stage, kind: Kind::Fault, cause: "broken".to_owned() }
    }

    fn since(health: &WatchHealth) -> Option<Instant> {
        health.state().failing.get("apikeys").map(|(since, _)| *since)
    }

    #[test]
    fn a_failure_counts_from_the_first_one() {
        let health = WatchHealth::default();
        health.failed("apikeys", &fault(Stage::Watch));
        let first = since(&health).unwrap();
        health.failed("apikeys", &fault(Stage::List));
        assert_eq!(since(&health), Some(first));
        assert_eq!(health.check(|_| true), Ok(()), "not yet");
    }

    #[test]
    fn a_list_does_not_end_the_failure_of_a_watch() {
        let health = WatchHealth::default();
        health.failed("apikeys", &fault(Stage::Watch));
        health.works("apikeys", Stage::List);
        assert!(since(&health).is_some());
        health.works("apikeys", Stage::Watch);
        assert!(since(&health).is_none());
    }

    #[test]
    fn a_list_ends_the_failure_of_a_list() {
        let health = WatchHealth::default();
        health.failed("apikeys", &fault(Stage::List));
        health.works("apikeys", Stage::List);
        assert!(since(&health).is_none());
    }

    #[test]
    fn a_lasting_failure_is_named_with_its_cause() {
        let health = WatchHealth::default();
        let long_ago = Instant::now().checked_sub(TOLERANCE).unwrap();
        health.state().failing.insert("apikeys".to_owned(), (long_ago, fault(Stage::Watch)));
        assert_eq!(health.check(|kind| kind == Kind::Outage), Ok(()));
        let why = health.check(|kind| kind == Kind::Fault).unwrap_err();
        assert!(why.starts_with("the watch of apikeys has failed for 3"), "{why}");
        assert!(why.ends_with(": broken"), "{why}");
    }
}
