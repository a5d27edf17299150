//! One resource in one namespace, or in all of them, reflected into a store.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Debug;
use std::future::{pending, ready};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kube::Resource;
use kube::api::ObjectMeta;
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher::Event;

use crate::api::names::RECONCILE_ANNOTATION;
use crate::apiserver::health::{Failure, Kind, Stage, WatchHealth};
use crate::apiserver::{Pace, Received, Sink, Unreadable};

/// Long enough to cost the API server little; short enough that a dead watch is noticed within a minute.
pub const PACE: Pace = Pace { watch: 30, silence: Duration::from_secs(40) };

/// Longest value of the annotation that asks for a reconciliation, in bytes. A longer one is ignored.
const LONGEST_REQUEST: usize = 64;

/// A change of a resource. The store has it already.
pub enum Change<'c, K> {
    /// An object of a list that is not complete yet.
    Listed(&'c K),
    /// That list is complete and contained these uids.
    Complete(&'c HashSet<String>),
    /// This namespace may not be listed.
    Forbidden,
    /// Added or changed.
    Applied(&'c K),
    /// Deleted.
    Deleted(&'c K),
    /// Added or changed, and cannot be parsed by this version. A copy that could be parsed is no longer in the store.
    Unreadable(Box<Unreadable>),
    /// Deleted, and could not be parsed.
    UnreadableDeleted(&'c ObjectMeta),
}

/// Store of all objects of a resource, into which the watch of each namespace writes.
pub struct Objects<K: Resource<DynamicType = ()> + Clone + 'static>(Mutex<Writer<K>>);

impl<K: Resource<DynamicType = ()> + Clone + 'static> Default for Objects<K> {
    fn default() -> Self {
        Self(Mutex::new(Writer::default()))
    }
}

impl<K: Resource<DynamicType = ()> + Clone + 'static> Objects<K> {
    /// Handle for readers.
    pub fn store(&self) -> Store<K> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).as_reader()
    }

    /// kube's `Store` takes a list over as a whole, and with it what it holds of other namespaces goes. So each object is put
    /// in by itself.
    fn write(&self, event: &Event<K>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).apply_watcher_event(event);
    }
}

/// Sink of one watch.
pub struct Reflected<'o, K: Resource<DynamicType = ()> + Clone + 'static, T> {
    name: String,
    namespace: Option<String>,
    objects: &'o Objects<K>,
    health: WatchHealth,
    /// uids that a list has contained so far.
    listed: Mutex<HashSet<String>>,
    take: T,
}

impl<'o, K, T> Reflected<'o, K, T>
where
    K: Resource<DynamicType = ()> + Clone + 'static,
    T: Fn(Change<'_, K>),
{
    /// Passes each change on to `take`.
    pub fn new(objects: &'o Objects<K>, namespace: Option<String>, health: WatchHealth, take: T) -> Self {
        let place = namespace.as_ref().map_or_else(String::new, |namespace| format!(" in {namespace}"));
        let name = format!("{}{place}", K::plural(&()));
        Self { name, namespace, objects, health, listed: Mutex::default(), take }
    }

    /// Puts an object into the store, without the fields that nobody reads: labels and annotations may be large. The one
    /// annotation that is read says when somebody asked for a reconciliation.
    fn put(&self, mut object: K) -> K {
        let meta = object.meta_mut();
        let requested = meta.annotations.as_mut().and_then(|annotations| annotations.remove(RECONCILE_ANNOTATION));
        let requested = requested.filter(|at| at.len() <= LONGEST_REQUEST);
        meta.annotations = requested.map(|at| BTreeMap::from([(RECONCILE_ANNOTATION.to_owned(), at)]));
        (meta.labels, meta.owner_references) = (None, None);
        self.objects.write(&Event::Apply(object.clone()));
        object
    }

    fn stored(&self, meta: &ObjectMeta) -> Option<Arc<K>> {
        let name = ObjectRef::new(meta.name.as_deref()?).within(meta.namespace.as_deref()?);
        self.objects.store().get(&name).filter(|object| object.meta().uid == meta.uid)
    }

    fn unreadable(&self, unreadable: Unreadable) {
        let meta = &unreadable.metadata;
        tracing::warn!(
            kind = %K::kind(&()), namespace = meta.namespace, name = meta.name, error = unreadable.error,
            "cannot be read by this version; correct its spec or upgrade Keywright"
        );
        self.health.unreadable(&K::plural(&()));
        if let Some(before) = self.stored(meta) {
            self.objects.write(&Event::Delete(K::clone(&before)));
        }
        (self.take)(Change::Unreadable(Box::new(unreadable)));
    }
}

impl<K, T> Sink<K> for Reflected<'_, K, T>
where
    K: Resource<DynamicType = ()> + Clone + Debug + Send + Sync + 'static,
    T: Fn(Change<'_, K>) + Send + Sync,
{
    type Ticket = ();

    fn name(&self) -> &str {
        &self.name
    }

    fn may_list(&self) -> impl Future<Output = ()> + Send {
        ready(())
    }

    fn is_void(&self, (): ()) -> impl Future<Output = ()> + Send {
        pending()
    }

    fn list_started(&self) {
        self.listed.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn listed(&self, object: Received<K>) {
        match object.0 {
            Ok(object) => {
                let object = self.put(object);
                let uid = object.meta().uid.clone().unwrap_or_default();
                self.listed.lock().unwrap_or_else(PoisonError::into_inner).insert(uid);
                (self.take)(Change::Listed(&object));
            }
            Err(unreadable) => self.unreadable(unreadable),
        }
    }

    fn list_completed(&self, _version: &str, (): ()) {
        let listed = std::mem::take(&mut *self.listed.lock().unwrap_or_else(PoisonError::into_inner));
        let is_gone = |object: &K| {
            (self.namespace.is_none() || object.meta().namespace == self.namespace)
                && !listed.contains(object.meta().uid.as_deref().unwrap_or_default())
        };
        for object in self.objects.store().state_filter(is_gone) {
            self.objects.write(&Event::Delete(K::clone(&object)));
        }
        (self.take)(Change::Complete(&listed));
    }

    fn applied(&self, object: Received<K>) {
        match object.0 {
            Ok(object) => (self.take)(Change::Applied(&self.put(object))),
            Err(unreadable) => self.unreadable(unreadable),
        }
    }

    fn deleted(&self, object: Received<K>) {
        match object.0 {
            Ok(object) => {
                self.objects.write(&Event::Delete(object.clone()));
                (self.take)(Change::Deleted(&object));
            }
            Err(Unreadable { metadata, .. }) => (self.take)(Change::UnreadableDeleted(&metadata)),
        }
    }

    fn bookmark(&self, _version: &str) {}

    fn failed(&self, failure: &Failure) {
        let Failure { stage, kind, cause } = failure;
        if (*kind, *stage) == (Kind::Forbidden, Stage::List)
            && let Some(namespace) = &self.namespace
        {
            tracing::warn!(
                namespace,
                error = cause,
                "may not list {} in a namespace of --watch-namespaces, so its keys are not reconciled; others are. Create the namespace and apply the chart again, which grants the rights there, or remove it from the list",
                K::plural(&())
            );
            return (self.take)(Change::Forbidden);
        }
        tracing::warn!(watch = self.name, error = cause, "a watch failed; trying again. Is the chart installed?");
    }
}
