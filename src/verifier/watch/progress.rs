//! The verifier's side of list and watch: feeds the index, records how far each watch has come, and proves that it is alive.

use std::collections::HashSet;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use kube::Resource;
use serde::de::DeserializeOwned;
use tokio::time::{sleep, timeout};

use super::super::fence::Moment;
use super::super::freshness::{Progress, now};
use super::super::metrics::Metrics;
use crate::apiserver::health::{Failure, Kind, Stage};
use crate::apiserver::{self, Collection, Pace, Received};

/// Watches are short, because a bookmark comes shortly before the end of each.
pub const PACE: Pace = Pace { watch: 6, silence: Duration::from_secs(10) };
/// Interval between proofs of freshness.
const PROOF: Duration = Duration::from_secs(3);
/// Bounds the wait for a consistent read.
const PATIENCE: Duration = Duration::from_secs(30);

/// Receiver of the events of one resource.
pub trait Sink<K>: Sync {
    /// Identity of an object.
    type Id: Eq + Hash + Send;

    /// Takes an object that was listed, added or changed, readable or not.
    fn apply(&self, object: Received<K>) -> Self::Id;
    /// Returns true if nobody has to be told of this object soon. Called before it is applied.
    fn is_old_news(&self, _object: &Received<K>) -> bool {
        false
    }
    /// Takes an object that was deleted.
    fn delete(&self, object: &Received<K>);
    /// A list is complete and contained these.
    fn reset(&self, listed: &HashSet<Self::Id>);
    /// Returns true if an event has shown that everything must be listed again. Called after each event.
    fn is_outdated(&self) -> bool {
        false
    }
    /// Returns true if everything is there without which nothing can be decided.
    fn is_complete(&self) -> bool {
        true
    }
}

/// A sink, with the progress of its watch.
pub struct Watched<'s, K, S: Sink<K>> {
    sink: S,
    progress: &'s Progress<'s>,
    metrics: &'s Metrics,
    listed: Mutex<HashSet<S::Id>>,
}

impl<'s, K: Resource, S: Sink<K>> Watched<'s, K, S> {
    /// A list applies what it contains as it arrives and removes the rest at its end, so it loses no deletion and opens no
    /// window.
    pub fn new(sink: S, progress: &'s Progress<'s>, metrics: &'s Metrics) -> Self {
        Self { sink, progress, metrics, listed: Mutex::default() }
    }

    /// Records an event after the index has taken it: the Lease must not state what the index does not know yet.
    fn advance(&self, version: Option<&str>, is_urgent: bool, received: Moment) {
        if let Some(version) = version {
            self.progress.applied(version, self.sink.is_complete(), is_urgent);
        }
        self.metrics.applied(Duration::from_nanos(now().saturating_sub(received)));
    }
}

impl<K: Resource, S: Sink<K>> apiserver::Sink<K> for Watched<'_, K, S>
where
    Self: Sync,
{
    type Ticket = Moment;

    fn name(&self) -> &str {
        &self.progress.name
    }

    fn may_list(&self) -> impl Future<Output = Moment> + Send {
        self.progress.may_list()
    }

    fn is_void(&self, asked: Moment) -> impl Future<Output = ()> + Send {
        self.progress.is_void(asked)
    }

    fn list_started(&self) {
        self.listed.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn listed(&self, object: Received<K>) {
        let id = self.sink.apply(object);
        self.listed.lock().unwrap_or_else(PoisonError::into_inner).insert(id);
    }

    fn list_completed(&self, version: &str, asked: Moment) {
        let listed = std::mem::take(&mut *self.listed.lock().unwrap_or_else(PoisonError::into_inner));
        self.sink.reset(&listed);
        self.progress.listed(version, asked, self.sink.is_complete());
    }

    fn applied(&self, object: Received<K>) {
        let (received, version) = (now(), object.meta().resource_version.clone());
        let is_urgent = !self.sink.is_old_news(&object);
        self.sink.apply(object);
        self.advance(version.as_deref(), is_urgent, received);
    }

    fn deleted(&self, object: Received<K>) {
        let received = now();
        self.sink.delete(&object);
        self.advance(object.meta().resource_version.as_deref(), true, received);
    }

    fn bookmark(&self, version: &str) {
        self.progress.applied(version, self.sink.is_complete(), false);
    }

    fn is_outdated(&self) -> bool {
        self.sink.is_outdated()
    }

    fn failed(&self, failure: &Failure) {
        let (watch, why) = (&self.progress.name, explain(failure));
        match failure.stage {
            Stage::List => {
                tracing::warn!(watch, why, "listing failed; answering from what is known and trying again");
                self.progress.list_failed(why);
            }
            Stage::Watch => {
                tracing::warn!(watch, why, "a watch failed; answering from what is known and trying again");
            }
        }
    }
}

fn explain(failure: &Failure) -> String {
    match failure.kind {
        Kind::Forbidden => format!(
            "{}; apply the chart again, which gives the verifier its rights, in each namespace of --watch-namespaces if it has any, or remove a namespace that no longer exists from these",
            failure.cause
        ),
        Kind::Outage | Kind::Fault => failure.cause.clone(),
    }
}

/// Proves again and again that the watches of a resource are alive. A read in one namespace returns a version of the whole
/// resource, so it covers what was before it in every namespace.
pub async fn prove<K: Resource + DeserializeOwned + Send + 'static>(
    objects: &Collection<K>,
    of_each: &[&Progress<'_>],
) {
    loop {
        sleep(PROOF).await;
        let asked: Vec<_> = of_each.iter().map(|progress| progress.asking()).collect();
        if let Ok(Ok(version)) = timeout(PATIENCE, objects.version()).await {
            for (progress, asked) in of_each.iter().zip(asked) {
                progress.read(&version, asked);
            }
        }
    }
}
