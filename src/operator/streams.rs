//! Watches of ApiKeys, Accounts and Suspensions, each reflected into a store, and what their changes wake.

use std::collections::HashSet;
use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use kube::api::ObjectMeta;
use kube::core::NamespaceResourceScope;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::sync::{mpsc, watch};

use super::enforcement::{Enforcement, Tracked};
use super::reflect::{Change, Objects, PACE, Reflected};
use super::router::{FullName, Listed, Priority, Router, Wake, Woken};
use super::unreadable::Unreadables;
use crate::api::{Account, AccountStatus, ApiKey, ApiKeyStatus, Namespaces, Suspension, TargetKind};
use crate::apiserver::{Collection, WatchHealth, reflect};

/// How long changes of keys are gathered before their account's counts are written.
const COUNT_PAUSE: Duration = Duration::from_secs(1);

/// Everything there is, as the watches have it.
pub struct Known {
    /// All ApiKeys.
    pub keys: Store<ApiKey>,
    /// All Accounts.
    pub accounts: Store<Account>,
    /// All Suspensions.
    pub suspensions: Store<Suspension>,
    /// ApiKeys and Accounts that this version cannot parse.
    pub unreadable: Arc<Unreadables>,
    switch: Arc<Switch>,
}

impl Known {
    /// What the operator is about to write of a key that it found at rest.
    pub fn says(&self, key: &ApiKey, status: Option<&ApiKeyStatus>) {
        self.switch.router.lock().unwrap_or_else(PoisonError::into_inner).says(key, status);
    }

    /// What the operator is about to write of an account.
    pub fn says_of_account(&self, account: &Account, status: &AccountStatus) {
        self.switch.router.lock().unwrap_or_else(PoisonError::into_inner).says_of_account(account, status);
    }

    /// One key.
    pub fn key(&self, namespace: &str, name: &str) -> Option<Arc<ApiKey>> {
        self.keys.get(&ObjectRef::new(name).within(namespace))
    }

    /// One account.
    pub fn account(&self, namespace: &str, name: &str) -> Option<Arc<Account>> {
        self.accounts.get(&ObjectRef::new(name).within(namespace))
    }

    /// Returns the Suspension of a target, if there is one. Of several the platform's comes first, then the first name.
    pub fn suspension(&self, namespace: &str, kind: TargetKind, name: &str) -> Option<Arc<Suspension>> {
        let concerns = |suspension: &Suspension| {
            let target = &suspension.spec.target;
            target.kind == kind && target.name == name && suspension.metadata.namespace.as_deref() == Some(namespace)
        };
        self.suspensions
            .state_filter(concerns)
            .into_iter()
            .min_by_key(|suspension| (suspension.spec.by, suspension.name_any()))
    }
}

/// Where wake-ups arrive. Unbounded, for a watch must never wait; what they hold is a name each.
pub struct Wakes {
    /// Keys to look at.
    pub keys: mpsc::UnboundedReceiver<Woken>,
    /// Accounts to look at.
    pub accounts: mpsc::UnboundedReceiver<Woken>,
    /// Suspensions to look at.
    pub suspensions: mpsc::UnboundedReceiver<Woken>,
    /// Keys that are gone, each by its namespace and uid.
    pub gone: mpsc::UnboundedReceiver<Woken>,
    /// Where all of them come from.
    pub senders: WakeSenders,
}

/// Sends wake-ups to those who wait for them.
#[derive(Clone)]
pub struct WakeSenders {
    keys: mpsc::UnboundedSender<Woken>,
    accounts: mpsc::UnboundedSender<Woken>,
    suspensions: mpsc::UnboundedSender<Woken>,
    gone: mpsc::UnboundedSender<Woken>,
    counts: Arc<Mutex<HashSet<FullName>>>,
}

impl WakeSenders {
    fn new() -> (Self, Wakes) {
        let (keys, keys_woken) = mpsc::unbounded_channel();
        let (accounts, accounts_woken) = mpsc::unbounded_channel();
        let (suspensions, suspensions_woken) = mpsc::unbounded_channel();
        let (gone, are_gone) = mpsc::unbounded_channel();
        let senders = Self { keys, accounts, suspensions, gone, counts: Arc::default() };
        let wakes = Wakes {
            keys: keys_woken,
            accounts: accounts_woken,
            suspensions: suspensions_woken,
            gone: are_gone,
            senders: senders.clone(),
        };
        (senders, wakes)
    }

    /// Sends one.
    pub fn send(&self, wake: Wake) {
        // Sending fails only when nobody reconciles any more.
        match wake {
            Wake::Key(name, priority) => drop(self.keys.send((name, priority))),
            Wake::Account(name, priority) => drop(self.accounts.send((name, priority))),
            Wake::Suspension(name, priority) => drop(self.suspensions.send((name, priority))),
            Wake::Counts(name) => drop(self.counts.lock().unwrap_or_else(PoisonError::into_inner).insert(name)),
            Wake::KeyGone(uid) => drop(self.gone.send((uid, Priority::Normal))),
        }
    }

    async fn flush_counts(&self) {
        loop {
            tokio::time::sleep(COUNT_PAUSE).await;
            let dirty = std::mem::take(&mut *self.counts.lock().unwrap_or_else(PoisonError::into_inner));
            for name in dirty {
                let _ = self.accounts.send((name, Priority::Normal));
            }
        }
    }
}

/// Watches everything, in a task of its own. The receiver turns true when every first list is complete: a key that is
/// reconciled before its account is known would get a status that says there is none.
pub fn follow(
    client: &Client,
    namespaces: &Namespaces,
    enforcement: Arc<Enforcement>,
    health: &WatchHealth,
) -> (Known, Wakes, watch::Receiver<bool>) {
    let (keys, accounts, suspensions) =
        (Objects::<ApiKey>::default(), Objects::<Account>::default(), Objects::<Suspension>::default());
    let (senders, wakes) = WakeSenders::new();
    let (complete, completed) = watch::channel(false);
    let unreadable = Arc::new(Unreadables::default());
    let switch = Arc::new(Switch { router: Mutex::default(), enforcement, senders, unreadable: unreadable.clone() });
    let known = Known {
        keys: keys.store(),
        accounts: accounts.store(),
        suspensions: suspensions.store(),
        unreadable,
        switch: switch.clone(),
    };
    let places = Places { client: client.clone(), namespaces: namespaces.each(), health: health.clone() };
    tokio::spawn(async move {
        let lists = watch::Sender::new(0);
        let all = 3 * places.namespaces.len();
        let all_listed = async {
            // Fails only when the sender is gone, and it is right here.
            let _ = lists.subscribe().wait_for(|lists| *lists == all).await;
            complete.send_replace(true);
        };
        let count = || lists.send_modify(|lists| *lists += 1);
        tokio::join!(
            drive(&places, &keys, &switch, &count),
            drive(&places, &accounts, &switch, &count),
            drive(&places, &suspensions, &switch, &count),
            switch.senders.flush_counts(),
            all_listed,
        );
    });
    (known, wakes, completed)
}

/// Namespaces to watch, and by which client.
struct Places {
    client: Client,
    namespaces: Vec<Option<String>>,
    health: WatchHealth,
}

/// Passes changes on to the router, the proof of enforcement and the queues.
struct Switch {
    router: Mutex<Router>,
    enforcement: Arc<Enforcement>,
    senders: WakeSenders,
    unreadable: Arc<Unreadables>,
}

impl Switch {
    fn ask(&self, wakes: impl FnOnce(&mut Router) -> Vec<Wake>) -> Vec<Wake> {
        wakes(&mut self.router.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn send(&self, wakes: Vec<Wake>) {
        for wake in wakes {
            self.senders.send(wake);
        }
    }
}

/// What the router is asked about one resource.
trait Routed: Tracked {
    fn seen(router: &mut Router, object: &Self) -> Vec<Wake>;
    fn gone(router: &mut Router, name: &FullName, uid: &str) -> Vec<Wake>;
    fn listed(router: &mut Router, of: Listed, uids: &HashSet<String>) -> Vec<Wake>;
}

impl Routed for ApiKey {
    fn seen(router: &mut Router, key: &Self) -> Vec<Wake> {
        router.key(key)
    }

    fn gone(router: &mut Router, name: &FullName, uid: &str) -> Vec<Wake> {
        router.key_gone(name, uid)
    }

    fn listed(router: &mut Router, of: Listed, uids: &HashSet<String>) -> Vec<Wake> {
        router.keys_listed(of, uids)
    }
}

impl Routed for Account {
    fn seen(router: &mut Router, account: &Self) -> Vec<Wake> {
        router.account(account)
    }

    fn gone(router: &mut Router, name: &FullName, uid: &str) -> Vec<Wake> {
        router.account_gone(name, uid)
    }

    fn listed(router: &mut Router, of: Listed, uids: &HashSet<String>) -> Vec<Wake> {
        router.accounts_listed(of, uids)
    }
}

impl Routed for Suspension {
    fn seen(router: &mut Router, suspension: &Self) -> Vec<Wake> {
        router.suspension(suspension)
    }

    fn gone(router: &mut Router, _: &FullName, uid: &str) -> Vec<Wake> {
        router.suspension_gone(uid)
    }

    fn listed(router: &mut Router, of: Listed, uids: &HashSet<String>) -> Vec<Wake> {
        router.suspensions_listed(of, uids)
    }
}

/// Follows one resource in all places. The store has each change before its wake-ups are sent, so a reconciliation finds it
/// there.
async fn drive<K>(places: &Places, objects: &Objects<K>, switch: &Switch, count: &(impl Fn() + Sync))
where
    K: Routed + Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug,
    K: DeserializeOwned + Send + Sync + 'static,
{
    join_all(places.namespaces.iter().map(async |namespace| {
        let collection = Collection::<K>::new(&places.client, namespace.as_deref());
        let place = Place { switch, namespace: namespace.as_deref(), count, list: Mutex::new((Vec::new(), true)) };
        let take = |change: Change<'_, K>| place.take(change);
        let sink = Reflected::new(objects, namespace.clone(), places.health.clone(), take);
        reflect(&collection, &sink, PACE, &places.health).await;
    }))
    .await;
}

/// One resource in one namespace, or in all of them.
struct Place<'s, C> {
    switch: &'s Switch,
    namespace: Listed<'s>,
    /// Counts a first list.
    count: C,
    /// Wake-ups that a list causes, which wait until it is complete, and whether it is the first one.
    list: Mutex<(Vec<Wake>, bool)>,
}

impl<C: Fn()> Place<'_, C> {
    fn take<K: Routed + Resource<DynamicType = ()>>(&self, change: Change<'_, K>) {
        let switch = self.switch;
        match change {
            Change::Listed(object) => {
                switch.enforcement.seen(object);
                switch.unreadable.forget::<K>(object.meta());
                let wakes = switch.ask(|router| K::seen(router, object));
                self.list.lock().unwrap_or_else(PoisonError::into_inner).0.extend(wakes);
            }
            Change::Complete(uids) => {
                switch.enforcement.listed::<K>(self.namespace, uids);
                let gone = switch.ask(|router| K::listed(router, self.namespace, uids));
                let (mut wakes, is_first) =
                    std::mem::take(&mut *self.list.lock().unwrap_or_else(PoisonError::into_inner));
                wakes.extend(gone);
                switch.send(wakes);
                if is_first {
                    (self.count)();
                }
            }
            // The keys of other namespaces need not wait for this one.
            Change::Forbidden => {
                if std::mem::take(&mut self.list.lock().unwrap_or_else(PoisonError::into_inner).1) {
                    (self.count)();
                }
            }
            Change::Applied(object) => {
                switch.enforcement.seen(object);
                switch.unreadable.forget::<K>(object.meta());
                switch.send(switch.ask(|router| K::seen(router, object)));
            }
            Change::Deleted(object) => {
                switch.unreadable.forget::<K>(object.meta());
                self.gone::<K>(object.meta());
            }
            Change::Unreadable(unreadable) => {
                let metadata = unreadable.metadata.clone();
                // First, so that a neighbouring account that is woken does not count as alone.
                let wake = switch.unreadable.add::<K>(*unreadable);
                self.gone::<K>(&metadata);
                switch.send(wake.into_iter().collect());
            }
            Change::UnreadableDeleted(meta) => {
                switch.unreadable.forget::<K>(meta);
                self.gone::<K>(meta);
            }
        }
    }

    fn gone<K: Routed>(&self, meta: &ObjectMeta) {
        let name = (meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default());
        let uid = meta.uid.as_deref().unwrap_or_default();
        self.switch.enforcement.gone(uid);
        self.switch.send(self.switch.ask(|router| K::gone(router, &name, uid)));
    }
}
