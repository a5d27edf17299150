//! One resource: a list, then watches without end, and the proof that they are alive.
//!
//! A list applies what it names as it comes and removes what it did not name at its end, so that it loses no deletion and
//! opens no window. Watches are short, for a bookmark comes shortly before each one's end; the next goes on where it ended.

use std::collections::HashSet;
use std::fmt::Debug;
use std::hash::Hash;
use std::pin::pin;
use std::time::Duration;

use futures::StreamExt;
use kube::api::{ListParams, WatchEvent, WatchParams};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use tokio::time::{sleep, timeout};

use super::super::fence::Moment;
use super::super::freshness::{Progress, now};
use super::super::metrics::Metrics;

/// How many objects one page of a list holds.
const PAGE: u32 = 500;
/// How long one watch lasts, in seconds; bookmarks come about 2 s before its end.
const WATCH: u32 = 6;
/// A watch that says nothing for so long, its own end included, is dead.
const SILENCE: Duration = Duration::from_secs(10);
/// How often freshness is proven.
const PROOF: Duration = Duration::from_secs(3);
/// How long a request may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// Pauses after failures: the first, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// What the API server says when it no longer knows a resourceVersion.
const GONE: u16 = 410;

/// Where the events of one resource go.
pub trait Sink<K> {
    /// What tells two objects apart.
    type Id: Eq + Hash;

    /// Added or changed, readable or not.
    fn apply(&self, object: K) -> Self::Id;
    /// Is this something that nobody has to be told of soon? Asked before it is applied.
    fn is_old_news(&self, _object: &K) -> bool {
        false
    }
    /// Deleted.
    fn delete(&self, object: &K);
    /// A list is complete and named these.
    fn reset(&self, listed: &HashSet<Self::Id>);
    /// Has an event shown that everything must be read anew? Asked after each one.
    fn is_outdated(&self) -> bool {
        false
    }
    /// Is everything there without which nothing can be decided?
    fn is_complete(&self) -> bool {
        true
    }
}

/// Feeds the sink, for ever. A list and the watches that follow it come strictly one after the other: an event that came in
/// while a list is taken over could put an older object over a newer one.
pub async fn reflect<K, S>(api: &Api<K>, sink: S, progress: &Progress<'_>, metrics: &Metrics)
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
    S: Sink<K>,
{
    let mut pause = PAUSES.0;
    loop {
        match list(api, &sink, progress).await {
            Ok((version, asked)) => {
                pause = PAUSES.0;
                tokio::select! {
                    () = watch(api, &sink, progress, metrics, version) => {},
                    () = progress.is_void(asked) => {},
                }
            }
            Err(why) => {
                tracing::warn!(watch = progress.name, %why, "listing failed; answering from what is known and trying again");
                progress.list_failed(why);
                sleep(pause).await;
                pause = (pause * 2).min(PAUSES.1);
            }
        }
    }
}

/// A consistent read of everything, page by page; the version that it is of, and when it was asked for.
async fn list<K, S>(api: &Api<K>, sink: &S, progress: &Progress<'_>) -> Result<(String, Moment), String>
where
    K: Resource + Clone + DeserializeOwned + Debug,
    S: Sink<K>,
{
    let asked = progress.may_list().await;
    let mut params = ListParams::default().limit(PAGE);
    let mut listed = HashSet::new();
    let version = loop {
        let page = timeout(PATIENCE, api.list(&params)).await.map_err(|_| "no answer".to_owned())?;
        let page = page.map_err(|error| explain(&error))?;
        listed.extend(page.items.into_iter().map(|object| sink.apply(object)));
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => break page.metadata.resource_version.unwrap_or_default(),
        }
    };
    sink.reset(&listed);
    progress.listed(&version, asked, sink.is_complete());
    Ok((version, asked))
}

fn explain(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) if status.is_forbidden() => format!(
            "{}; apply the chart again, which gives the verifier its rights, in each namespace of --watch-namespaces if it has any, or take a namespace that is gone out of these",
            status.message
        ),
        error => error.to_string(),
    }
}

/// Why one watch ended.
enum End {
    /// Its time was over.
    Over,
    /// Something failed; the next goes on from the same version.
    Failed(String),
    /// Everything must be read anew.
    Relist,
}

/// Returns when everything must be read anew.
async fn watch<K, S>(api: &Api<K>, sink: &S, progress: &Progress<'_>, metrics: &Metrics, mut version: String)
where
    K: Resource + Clone + DeserializeOwned + Debug,
    S: Sink<K>,
{
    let mut pause = PAUSES.0;
    loop {
        match watch_once(api, sink, progress, metrics, &mut version).await {
            End::Over => pause = PAUSES.0,
            End::Relist => return,
            End::Failed(why) => {
                tracing::warn!(watch = progress.name, %why, "a watch failed; answering from what is known and trying again");
                sleep(pause).await;
                pause = (pause * 2).min(PAUSES.1);
            }
        }
    }
}

async fn watch_once<K, S>(
    api: &Api<K>,
    sink: &S,
    progress: &Progress<'_>,
    metrics: &Metrics,
    version: &mut String,
) -> End
where
    K: Resource + Clone + DeserializeOwned + Debug,
    S: Sink<K>,
{
    let params = WatchParams::default().timeout(WATCH);
    let events = match timeout(PATIENCE, api.watch(&params, version)).await {
        Ok(Ok(events)) => events,
        Ok(Err(kube::Error::Api(status))) if status.code == GONE => return End::Relist,
        Ok(Err(error)) => return End::Failed(error.to_string()),
        Err(_) => return End::Failed("no answer".to_owned()),
    };
    let mut events = pin!(events);
    loop {
        let event = match timeout(SILENCE, events.next()).await {
            Ok(Some(Ok(event))) => event,
            Ok(Some(Err(error))) => return End::Failed(error.to_string()),
            Ok(None) => return End::Over,
            Err(_) => return End::Failed(format!("silent for {SILENCE:?}")),
        };
        let (received, mut is_bookmark, mut is_urgent) = (now(), false, true);
        let seen = match event {
            WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                let seen = object.meta().resource_version.clone();
                is_urgent = !sink.is_old_news(&object);
                sink.apply(object);
                seen
            }
            WatchEvent::Deleted(object) => {
                sink.delete(&object);
                object.meta().resource_version.clone()
            }
            WatchEvent::Bookmark(bookmark) => {
                (is_bookmark, is_urgent) = (true, false);
                Some(bookmark.metadata.resource_version)
            }
            WatchEvent::Error(status) if status.code == GONE => return End::Relist,
            WatchEvent::Error(status) => return End::Failed(status.message),
        };
        // Only now: nobody may be told of what the index does not know yet.
        if let Some(seen) = seen {
            progress.applied(&seen, sink.is_complete(), is_urgent);
            *version = seen;
        }
        if !is_bookmark {
            metrics.applied(Duration::from_nanos(now().saturating_sub(received)));
        }
        if sink.is_outdated() {
            return End::Relist;
        }
    }
}

/// Proves again and again that the watches of a resource are alive, or says since when they are not. What a read in one
/// namespace bears is a version of the whole resource, so it covers what was before it in every namespace.
pub async fn prove<K>(api: &Api<K>, of_each: &[&Progress<'_>])
where
    K: Resource + Clone + DeserializeOwned + Debug,
{
    loop {
        sleep(PROOF).await;
        let asked: Vec<_> = of_each.iter().map(|progress| progress.asking()).collect();
        // Without a resourceVersion it is a consistent read.
        if let Ok(Ok(list)) = timeout(PATIENCE, api.list_metadata(&ListParams::default().limit(1))).await {
            for (progress, asked) in of_each.iter().zip(asked) {
                progress.read(list.metadata.resource_version.as_deref().unwrap_or_default(), asked);
            }
        }
    }
}
