//! List and watch of one resource, without end.
//!
//! A list and the watches that follow it come strictly one after the other: an event that arrived during a list could put an
//! older object over a newer one. A watch resumes where the last one ended. After an event that cannot be attributed to an
//! object nothing is resumed: everything is listed again.

use std::pin::pin;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use futures::StreamExt;
use kube::api::{ListParams, WatchEvent, WatchParams};
use kube::{Error, Resource};
use serde::de::DeserializeOwned;
use tokio::time::{sleep, timeout};

use super::collection::Collection;
use super::health::{Failure, Stage, WatchHealth};
use super::received::Received;

/// Bounds the wait for an answer, and for the next object of a list.
const PATIENCE: Duration = Duration::from_secs(30);
/// HTTP status of a resourceVersion that is too old to resume from.
const GONE: u16 = 410;

/// Duration of one watch.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Seconds until the API server ends a watch; it sends a bookmark about 2 s before.
    pub watch: u32,
    /// Time without any event, end included, after which a watch counts as dead.
    pub silence: Duration,
}

/// Receiver of a resource.
pub trait Sink<K>: Sync {
    /// Whatever [`Sink::may_list`] returned for the list that is current.
    type Ticket: Copy + Send + Sync;

    /// Resource and namespace, for logs and metrics.
    fn name(&self) -> &str;
    /// Waits until a list may be requested.
    fn may_list(&self) -> impl Future<Output = Self::Ticket> + Send;
    /// Returns when the list of this ticket no longer counts.
    fn is_void(&self, ticket: Self::Ticket) -> impl Future<Output = ()> + Send;
    /// A list begins.
    fn list_started(&self);
    /// An object of a list that is not complete yet.
    fn listed(&self, object: Received<K>);
    /// A list is complete: objects that it did not contain are gone.
    fn list_completed(&self, version: &str, ticket: Self::Ticket);
    /// An object was added or changed.
    fn applied(&self, object: Received<K>);
    /// An object was deleted.
    fn deleted(&self, object: Received<K>);
    /// Everything up to this version was delivered.
    fn bookmark(&self, version: &str);
    /// Returns true if an event has shown that everything must be listed again.
    fn is_outdated(&self) -> bool {
        false
    }
    /// A list or watch failed and is tried again.
    fn failed(&self, failure: &Failure);
}

/// End of a watch.
enum End {
    /// It lasted as long as requested.
    Over,
    /// It failed. The next one resumes from the same version.
    Failed(Failure),
    /// Everything must be listed again; a failure may be the cause.
    Relist(Option<Failure>),
}

/// Follows a resource until dropped.
pub async fn reflect<K, S>(objects: &Collection<K>, sink: &S, pace: Pace, health: &WatchHealth)
where
    K: Resource + Clone + DeserializeOwned + Send + 'static,
    S: Sink<K>,
{
    let mut pauses = backoff();
    loop {
        let ticket = sink.may_list().await;
        sink.list_started();
        let failure = match objects.list(&ListParams::default(), PATIENCE, |object| sink.listed(object)).await {
            Ok(version) => {
                health.works(sink.name(), Stage::List);
                sink.list_completed(&version, ticket);
                tokio::select! {
                    failure = watch(objects, sink, pace, health, version, &mut pauses) => failure,
                    () = sink.is_void(ticket) => None,
                }
            }
            Err(error) => Some(Failure::new(Stage::List, &error)),
        };
        if let Some(failure) = failure {
            health.failed(sink.name(), &failure);
            sink.failed(&failure);
            sleep(pauses.next().unwrap_or(PATIENCE)).await;
        }
    }
}

/// Watches from `version` on. Returns when everything must be listed again.
async fn watch<K, S>(
    objects: &Collection<K>,
    sink: &S,
    pace: Pace,
    health: &WatchHealth,
    mut version: String,
    pauses: &mut ExponentialBackoff,
) -> Option<Failure>
where
    K: Resource + Clone + DeserializeOwned + Send + 'static,
    S: Sink<K>,
{
    loop {
        let resumed = version.clone();
        let end = watch_once(objects, sink, pace, &mut version).await;
        if matches!(end, End::Over) || version != resumed {
            health.works(sink.name(), Stage::Watch);
            *pauses = backoff();
        }
        match end {
            End::Over => {}
            End::Relist(failure) => return failure,
            End::Failed(failure) => {
                health.failed(sink.name(), &failure);
                sink.failed(&failure);
                sleep(pauses.next().unwrap_or(PATIENCE)).await;
            }
        }
    }
}

async fn watch_once<K, S>(objects: &Collection<K>, sink: &S, pace: Pace, version: &mut String) -> End
where
    K: Resource + Clone + DeserializeOwned + Send + 'static,
    S: Sink<K>,
{
    let params = WatchParams::default().timeout(pace.watch);
    let events = match timeout(PATIENCE, objects.watch(&params, version)).await {
        Ok(Ok(events)) => events,
        Ok(Err(error)) => return ended(&error),
        Err(_) => return End::Failed(Failure::silent(Stage::Watch, PATIENCE)),
    };
    let mut events = pin!(events);
    loop {
        let event = match timeout(pace.silence, events.next()).await {
            Ok(Some(Ok(event))) => event,
            Ok(Some(Err(error))) => return ended(&error),
            Ok(None) => return End::Over,
            Err(_) => return End::Failed(Failure::silent(Stage::Watch, pace.silence)),
        };
        let seen = match event {
            WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                let seen = object.meta().resource_version.clone();
                sink.applied(object);
                seen
            }
            WatchEvent::Deleted(object) => {
                let seen = object.meta().resource_version.clone();
                sink.deleted(object);
                seen
            }
            WatchEvent::Bookmark(bookmark) => {
                sink.bookmark(&bookmark.metadata.resource_version);
                Some(bookmark.metadata.resource_version)
            }
            WatchEvent::Error(status) => return ended(&Error::Api(status)),
        };
        if let Some(seen) = seen {
            *version = seen;
        }
        if sink.is_outdated() {
            return End::Relist(None);
        }
    }
}

fn ended(error: &Error) -> End {
    match error {
        Error::Api(status) if status.code == GONE => End::Relist(None),
        Error::SerdeError(_) => End::Relist(Some(Failure::new(Stage::Watch, error))),
        // kube parses an event that it cannot read as a Status, of which every field is optional.
        Error::Api(status) if status.code == 0 => End::Relist(Some(Failure::unattributable())),
        error => End::Failed(Failure::new(Stage::Watch, error)),
    }
}

/// 100 ms, doubled up to 5 s, with jitter, so that many watches do not retry at once.
fn backoff() -> ExponentialBackoff {
    ExponentialBuilder::new()
        .with_min_delay(Duration::from_millis(100))
        .with_max_delay(Duration::from_secs(5))
        .with_jitter()
        .without_max_times()
        .build()
}
