//! Feeds the index from the API server: four watches and the pepper.
//!
//! The verifier waits for nobody: it watches ApiKeys, Accounts, Suspensions and entries itself. It is ready when every list is
//! complete, each a consistent read. A relist applies what it names as it comes and removes what it did not name at
//! its end, so that it loses no deletion and opens no window.

use std::collections::HashSet;
use std::fmt::Debug;
use std::hash::Hash;
use std::pin::pin;
use std::sync::Arc;

use futures::StreamExt;
use k8s_openapi::api::core::v1::Secret;
use kube::api::ObjectMeta;
use kube::core::{ApiResource, DeserializeGuard, NotUsed, Object};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, Resource};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::sync::watch;

use super::live::{Ceiling, FullName, Key, Uid};
use super::service::Service;
use crate::access::GrantError;
use crate::api::{Account, ApiKey, ApiKeySpec, Restrictions, Suspension, Target, names};
use crate::key::{Entry, Pepper};

/// Follows everything, for ever; marks the service ready when the first lists are complete.
pub async fn follow(client: Client, service: Arc<Service>) {
    let entries = Api::<Secret>::namespaced(client.clone(), names::ENTRIES_NAMESPACE);
    let suspensions = ApiResource::erase::<Suspension>(&());
    let any = watcher::Config::default();
    let of_type = any.clone().fields(&format!("type={}", names::ENTRY_SECRET_TYPE));
    let pepper = any.clone().fields(&format!("metadata.name={}", names::PEPPER_NAME));
    let [keys_done, accounts_done, suspensions_done, entries_done, pepper_done] = [(); 5].map(|()| Done::default());
    // An empty list is no pepper: `pepper_done` is set by the one that comes.
    let pepper_listed = Done::default();
    let all_done = async {
        for done in [&keys_done, &accounts_done, &suspensions_done, &entries_done, &pepper_done] {
            done.wait().await;
        }
        service.set_ready();
        tracing::info!(sizes = ?service.index.sizes(), "ready: every list is complete");
    };
    tokio::join!(
        follow_one(Api::<DeserializeGuard<ApiKey>>::all(client.clone()), any.clone(), Keys(&service), &keys_done),
        follow_one(
            Api::<DeserializeGuard<Account>>::all(client.clone()),
            any.clone(),
            Accounts(&service),
            &accounts_done
        ),
        follow_one(
            Api::<DeserializeGuard<Suspends>>::all_with(client, &suspensions),
            any,
            Suspensions(&service),
            &suspensions_done
        ),
        follow_one(entries.clone(), of_type, Entries(&service), &entries_done),
        follow_one(entries, pepper, PepperSecret { service: &service, done: &pepper_done }, &pepper_listed),
        all_done,
    );
}

/// A list is complete.
struct Done(watch::Sender<bool>);

impl Default for Done {
    fn default() -> Self {
        Self(watch::Sender::new(false))
    }
}

impl Done {
    fn set(&self) {
        self.0.send_replace(true);
    }

    async fn wait(&self) {
        // Fails only when the sender is gone, and it is right here.
        let _ = self.0.subscribe().wait_for(|done| *done).await;
    }
}

/// Where the events of one resource go.
trait Sink<K> {
    /// What tells two objects apart.
    type Id: Eq + Hash;

    /// Added or changed, readable or not.
    fn apply(&self, object: K) -> Self::Id;
    /// Deleted.
    fn delete(&self, object: &K);
    /// A list is complete and named these.
    fn reset(&self, listed: &HashSet<Self::Id>);
}

async fn follow_one<K, S>(api: Api<K>, config: watcher::Config, sink: S, done: &Done)
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
    S: Sink<K>,
{
    let mut events = pin!(watcher(api, config).default_backoff());
    let mut listed = HashSet::new();
    while let Some(event) = events.next().await {
        match event {
            Ok(Event::Init) => listed.clear(),
            Ok(Event::InitApply(object)) => {
                listed.insert(sink.apply(object));
            }
            Ok(Event::InitDone) => {
                sink.reset(&listed);
                listed = HashSet::new();
                done.set();
            }
            Ok(Event::Apply(object)) => {
                sink.apply(object);
            }
            Ok(Event::Delete(object)) => sink.delete(&object),
            Err(error) => tracing::warn!(%error, "a watch failed; answering from what is known and trying again"),
        }
    }
}

struct Keys<'s>(&'s Service);

impl Sink<DeserializeGuard<ApiKey>> for Keys<'_> {
    type Id = Uid;

    fn apply(&self, object: DeserializeGuard<ApiKey>) -> Uid {
        let (uid, name) = (uid(object.meta()), full_name(object.meta()));
        if is_being_deleted(object.meta()) {
            self.0.index.delete_key(&name, &uid);
            return uid;
        }
        let read = object.0.map_err(|e| e.to_string()).and_then(|key| read_key(key).map_err(|e| e.to_string()));
        match read {
            Ok(key) => self.0.index.apply_key(key),
            Err(error) => {
                tracing::warn!(%uid, %error, "an ApiKey cannot be read by this version; its key is refused");
                self.0.index.delete_key(&name, &uid);
            }
        }
        uid
    }

    fn delete(&self, object: &DeserializeGuard<ApiKey>) {
        self.0.index.delete_key(&full_name(object.meta()), &uid(object.meta()));
    }

    fn reset(&self, listed: &HashSet<Uid>) {
        self.0.index.reset_keys(listed);
    }
}

fn read_key(key: ApiKey) -> Result<Key, GrantError> {
    let (namespace, name) = full_name(&key.metadata);
    let (grant, revoke_before) = (key.spec.grant()?, key.spec.revoke_before());
    // Whole, so that a new field of the spec cannot be forgotten here.
    let ApiKeySpec {
        account,
        display_name,
        access_level: _,
        scopes: _,
        disabled,
        clone_from: _,
        expires_at,
        rotation: _,
        secret: _,
        metadata,
        restrictions,
    } = key.spec;
    // There is no member yet; one that is not known makes the whole object unreadable.
    let (None | Some(Restrictions {})) = restrictions;
    Ok(Key {
        uid: uid(&key.metadata),
        namespace,
        name,
        account: account.into(),
        display_name: display_name.map(Into::into),
        grant,
        disabled,
        expires_at: expires_at.map(|at| at.0),
        revoke_before,
        metadata,
    })
}

struct Accounts<'s>(&'s Service);

impl Sink<DeserializeGuard<Account>> for Accounts<'_> {
    type Id = FullName;

    fn apply(&self, object: DeserializeGuard<Account>) -> Self::Id {
        let (namespace, name) = full_name(object.meta());
        if is_being_deleted(object.meta()) {
            self.0.index.set_account(&namespace, &name, None);
            return (namespace, name);
        }
        let read = object.0.map_err(|e| e.to_string()).and_then(|account| {
            let grant = account.spec.ceiling().map_err(|e| e.to_string())?;
            let max_lifetime = account.spec.max_lifetime();
            Ok(Ceiling { grant, disabled: account.spec.disabled, max_lifetime, metadata: account.spec.metadata })
        });
        if let Err(error) = &read {
            tracing::warn!(%namespace, %name, %error, "an Account cannot be read by this version; its keys are refused");
        }
        self.0.index.set_account(&namespace, &name, read.ok());
        (namespace, name)
    }

    fn delete(&self, object: &DeserializeGuard<Account>) {
        let (namespace, name) = full_name(object.meta());
        self.0.index.set_account(&namespace, &name, None);
    }

    fn reset(&self, listed: &HashSet<Self::Id>) {
        self.0.index.reset_accounts(listed);
    }
}

/// As much of a Suspension as counts: whatever else a later version makes of it, its target stays refused.
type Suspends = Object<SuspendsSpec, NotUsed>;

#[derive(Clone, Debug, Deserialize)]
struct SuspendsSpec {
    target: Target,
}

struct Suspensions<'s>(&'s Service);

impl Sink<DeserializeGuard<Suspends>> for Suspensions<'_> {
    type Id = Uid;

    /// One that cannot be read any more goes on suspending what it did, and one that is being deleted until it is gone.
    fn apply(&self, object: DeserializeGuard<Suspends>) -> Uid {
        let (uid, (namespace, name)) = (uid(object.meta()), full_name(object.meta()));
        match object.0 {
            Ok(suspension) => self.0.index.apply_suspension(&uid, &namespace, suspension.spec.target),
            Err(error) => {
                tracing::error!(%namespace, %name, %error, "a Suspension cannot be read by this version; upgrade Keywright");
            }
        }
        uid
    }

    fn delete(&self, object: &DeserializeGuard<Suspends>) {
        self.0.index.delete_suspension(&uid(object.meta()));
    }

    fn reset(&self, listed: &HashSet<Uid>) {
        self.0.index.reset_suspensions(listed);
    }
}

struct Entries<'s>(&'s Service);

impl Sink<Secret> for Entries<'_> {
    type Id = Uid;

    fn apply(&self, object: Secret) -> Uid {
        let (_, uid) = full_name(&object.metadata);
        let stored = object.data.as_ref().and_then(|data| data.get(names::ENTRY_DATA_KEY));
        match stored.map(|json| Entry::from_json(&json.0)) {
            Some(Ok(entry)) => self.0.index.apply_entry(&uid, &entry),
            Some(Err(error)) => {
                tracing::warn!(entry = %uid, %error, "an entry cannot be read by this version; its key is refused");
                self.0.index.delete_entry(&uid);
            }
            None => self.0.index.delete_entry(&uid),
        }
        uid
    }

    fn delete(&self, object: &Secret) {
        self.0.index.delete_entry(&full_name(&object.metadata).1);
    }

    fn reset(&self, listed: &HashSet<Uid>) {
        self.0.index.reset_entries(listed);
    }
}

struct PepperSecret<'s> {
    service: &'s Service,
    done: &'s Done,
}

impl Sink<Secret> for PepperSecret<'_> {
    type Id = ();

    fn apply(&self, object: Secret) {
        let data = object.data.iter().flatten().map(|(name, bytes)| (name.as_str(), &bytes.0[..]));
        match Pepper::from_data(data) {
            Ok(pepper) => {
                self.service.index.set_pepper(Some(pepper));
                self.done.set();
            }
            Err(error) => {
                tracing::error!(%error, "the pepper cannot be read; keeping the one before, if there was one");
            }
        }
    }

    /// Tags that were made with it still check: forgetting it would only make every call slow.
    fn delete(&self, _: &Secret) {
        tracing::warn!("the pepper Secret was deleted; keeping what is in memory until the operator makes another");
    }

    fn reset(&self, _: &HashSet<()>) {}
}

/// Somebody's finalizer may hold an object for ever; its deletion counts from when it was asked for.
fn is_being_deleted(meta: &ObjectMeta) -> bool {
    meta.deletion_timestamp.is_some()
}

fn uid(meta: &ObjectMeta) -> Uid {
    meta.uid.as_deref().unwrap_or_default().into()
}

fn full_name(meta: &ObjectMeta) -> FullName {
    (meta.namespace.as_deref().unwrap_or_default().into(), meta.name.as_deref().unwrap_or_default().into())
}
