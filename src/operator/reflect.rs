//! One resource, watched in each namespace that is followed, or in all at once, and reflected into one store. An object that
//! cannot be read by this version is passed over and said in the log, so that it does not stall the watch of all others.

use std::collections::HashSet;
use std::fmt::Debug;
use std::pin::Pin;

use futures::stream::{SelectAll, select_all};
use futures::{Stream, StreamExt};
use kube::core::{DeserializeGuard, NamespaceResourceScope};
use kube::runtime::WatchStreamExt;
use kube::runtime::reflector::Store;
use kube::runtime::reflector::store::Writer;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;

use crate::api::Namespaces;
use crate::server;

/// What a watch shows. The store has it already.
pub enum Change<K> {
    /// An object of a list that is not complete yet.
    Listed(usize, K),
    /// That list is complete, and named these uids.
    Complete(usize, HashSet<String>),
    /// The API server forbids to list this namespace.
    Barred(usize),
    /// Added or changed.
    Applied(K),
    /// Deleted.
    Deleted(K),
}

type Watched<K> = Pin<Box<dyn Stream<Item = (usize, Result<Event<DeserializeGuard<K>>, watcher::Error>)> + Send>>;

/// A resource in each namespace, which its number stands for.
pub struct Reflected<K: Resource<DynamicType = ()> + Clone + 'static> {
    namespaces: Vec<Option<String>>,
    events: SelectAll<Watched<K>>,
    /// What lists that are not complete have named, by namespace.
    listed: Vec<HashSet<String>>,
    writer: Writer<K>,
}

impl<K> Reflected<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + DeserializeOwned
        + Send
        + Sync
        + 'static,
{
    /// Begins to watch when it is asked for changes.
    pub fn new(client: &Client, followed: &Namespaces) -> (Store<K>, Self) {
        let namespaces = followed.each();
        let watches = namespaces.iter().enumerate().map(|(number, namespace)| -> Watched<K> {
            let api = server::api::<DeserializeGuard<K>>(client, namespace.as_deref());
            let events = watcher(api, watcher::Config::default()).default_backoff();
            Box::pin(events.map(move |event| (number, event)))
        });
        let (events, listed) = (select_all(watches), vec![HashSet::new(); namespaces.len()]);
        // A list that the store took over as a whole would put out what it holds of other namespaces, so each object goes in
        // by itself.
        let writer = Writer::default();
        (writer.as_reader(), Self { namespaces, events, listed, writer })
    }

    /// By number.
    pub fn namespaces(&self) -> &[Option<String>] {
        &self.namespaces
    }

    /// What the watches show next; they go on for ever.
    pub async fn next(&mut self) -> Option<Change<K>> {
        loop {
            let (number, event) = self.events.next().await?;
            if let Some(change) = self.take(number, event) {
                return Some(change);
            }
        }
    }

    fn take(&mut self, number: usize, event: Result<Event<DeserializeGuard<K>>, watcher::Error>) -> Option<Change<K>> {
        Some(match event {
            Ok(Event::Init) => {
                self.listed[number].clear();
                return None;
            }
            Ok(Event::InitApply(guard)) => {
                let object = read(guard)?;
                self.listed[number].insert(object.uid().unwrap_or_default());
                Change::Listed(number, self.put(object))
            }
            Ok(Event::InitDone) => {
                let listed = std::mem::take(&mut self.listed[number]);
                self.put_out(number, &listed);
                Change::Complete(number, listed)
            }
            Ok(Event::Apply(guard)) => {
                let object = read(guard)?;
                Change::Applied(self.put(object))
            }
            Ok(Event::Delete(guard)) => {
                let gone = Event::Delete(read(guard)?);
                self.writer.apply_watcher_event(&gone);
                let Event::Delete(object) = gone else { return None };
                Change::Deleted(object)
            }
            Err(error) => return self.failed(number, &error),
        })
    }

    fn put(&mut self, object: K) -> K {
        let there = Event::Apply(object.clone());
        self.writer.apply_watcher_event(&there);
        object
    }

    /// Takes out of the store what a list of this namespace did not name.
    fn put_out(&mut self, number: usize, listed: &HashSet<String>) {
        let namespace = &self.namespaces[number];
        let is_gone = |object: &K| {
            (namespace.is_none() || object.meta().namespace == *namespace)
                && !listed.contains(object.meta().uid.as_deref().unwrap_or_default())
        };
        for object in self.writer.as_reader().state_filter(is_gone) {
            self.writer.apply_watcher_event(&Event::Delete(K::clone(&object)));
        }
    }

    fn failed(&self, number: usize, error: &watcher::Error) -> Option<Change<K>> {
        let what = K::plural(&());
        match (error, &self.namespaces[number]) {
            (watcher::Error::InitialListFailed(kube::Error::Api(status)), Some(namespace)) if status.is_forbidden() => {
                tracing::warn!(
                    namespace,
                    error = status.message,
                    "may not list {what} in a namespace of --watch-namespaces, so its keys are not looked after; others are. Create the namespace and apply the chart again, which gives the rights there, or take it out"
                );
                Some(Change::Barred(number))
            }
            _ => {
                tracing::warn!(%error, "watching {what} failed; trying again. Is the chart installed?");
                None
            }
        }
    }
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
