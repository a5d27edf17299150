//! Watches of ApiKeys and Accounts, each reflected into a store. An object that cannot be read by this version is
//! passed over and said in the log, so that it does not stall the watch of all others.

use std::collections::HashMap;
use std::fmt::Debug;
use std::future::ready;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::pin::Pin;

use futures::{Stream, StreamExt};
use kube::core::DeserializeGuard;
use kube::runtime::reflector::{Lookup, Store, store};
use kube::runtime::watcher::{self, Event, watcher};
use kube::runtime::{WatchStreamExt, reflector};
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::sync::watch;

use crate::api::{Account, ApiKey};

/// A watch, and what it has seen.
pub struct Reflected<K>
where
    K: Lookup<DynamicType = ()> + Clone + 'static,
{
    /// Events; the store is fed while they are taken.
    pub events: Pin<Box<dyn Stream<Item = Result<Event<K>, watcher::Error>> + Send>>,
    /// Everything there is.
    pub store: Store<K>,
    /// Turns true when the first list is complete. The store's own `wait_until_ready` wakes only one of those that
    /// wait for it (kube 5.0), and that one is the controller.
    pub complete: watch::Receiver<bool>,
}

/// All ApiKeys.
pub fn keys(client: &Client) -> Reflected<ApiKey> {
    reflected(client)
}

/// All Accounts.
pub fn accounts(client: &Client) -> Reflected<Account> {
    reflected(client)
}

fn reflected<K>(client: &Client) -> Reflected<K>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    let (reader, writer) = store();
    let api = Api::<DeserializeGuard<K>>::all(client.clone());
    let readable =
        watcher(api, watcher::Config::default()).default_backoff().filter_map(|event| ready(readable(event)));
    let (listed, complete) = watch::channel(false);
    let events = reflector(writer, readable).inspect(move |event| {
        if matches!(event, Ok(Event::InitDone)) {
            listed.send_replace(true);
        }
    });
    Reflected { events: Box::pin(events), store: reader, complete }
}

/// What each object looked like last.
#[derive(Default)]
pub struct Seen(HashMap<String, u64>);

impl Seen {
    /// Does it look other than before? `print` is what counts of it.
    pub fn is_new(&mut self, object: &impl ResourceExt, print: &impl Hash) -> bool {
        let mut hasher = DefaultHasher::new();
        print.hash(&mut hasher);
        let print = hasher.finish();
        self.0.insert(object.uid().unwrap_or_default(), print) != Some(print)
    }

    /// It was deleted.
    pub fn forget(&mut self, object: &impl ResourceExt) {
        self.0.remove(&object.uid().unwrap_or_default());
    }
}

fn readable<K: Resource<DynamicType = ()>>(
    event: Result<Event<DeserializeGuard<K>>, watcher::Error>,
) -> Option<Result<Event<K>, watcher::Error>> {
    let event = match event {
        Ok(Event::Init) => Event::Init,
        Ok(Event::InitDone) => Event::InitDone,
        Ok(Event::InitApply(guard)) => Event::InitApply(read(guard)?),
        Ok(Event::Apply(guard)) => Event::Apply(read(guard)?),
        Ok(Event::Delete(guard)) => Event::Delete(read(guard)?),
        Err(error) => {
            tracing::warn!(%error, "watching {} failed; trying again. Is the chart installed?", K::plural(&()));
            return None;
        }
    };
    Some(Ok(event))
}

fn read<K: Resource<DynamicType = ()>>(guard: DeserializeGuard<K>) -> Option<K> {
    match guard.0 {
        Ok(mut object) => {
            // By far the largest part of a small object, and of no use here.
            object.managed_fields_mut().clear();
            Some(object)
        }
        Err(invalid) => {
            let name = invalid.metadata.name.as_deref().unwrap_or_default();
            let namespace = invalid.metadata.namespace.as_deref().unwrap_or_default();
            tracing::warn!(kind = %K::kind(&()), namespace, name, error = %invalid.error, "cannot be read by this version; upgrade Keywright");
            None
        }
    }
}
