//! Watches of ApiKeys, Accounts and Suspensions, each reflected into a store, and what their changes wake.

use std::collections::HashSet;
use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kube::core::NamespaceResourceScope;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::sync::{mpsc, watch};

use super::enforcement::{Enforcement, Tracked};
use super::reflect::{Change, Reflected};
use super::router::{FullName, Listed, Router, Wake};
use crate::api::{Account, ApiKey, ApiKeyStatus, Namespaces, Suspension, TargetKind};

/// How long changes of keys are gathered before their account's counts are written.
const COUNT_PAUSE: Duration = Duration::from_millis(500);

/// Everything there is, as the watches have it.
pub struct Known {
    /// All ApiKeys.
    pub keys: Store<ApiKey>,
    /// All Accounts.
    pub accounts: Store<Account>,
    /// All Suspensions.
    pub suspensions: Store<Suspension>,
    switch: Arc<Switch>,
}

impl Known {
    /// What the operator is about to write of a key that it found at rest.
    pub fn says(&self, key: &ApiKey, status: Option<&ApiKeyStatus>) {
        self.switch.router.lock().unwrap_or_else(PoisonError::into_inner).says(key, status);
    }

    /// One key.
    pub fn key(&self, namespace: &str, name: &str) -> Option<Arc<ApiKey>> {
        self.keys.get(&ObjectRef::new(name).within(namespace))
    }

    /// One account.
    pub fn account(&self, namespace: &str, name: &str) -> Option<Arc<Account>> {
        self.accounts.get(&ObjectRef::new(name).within(namespace))
    }

    /// Why something is suspended, if it is. Of several the one whose name comes first.
    pub fn suspension(&self, namespace: &str, kind: TargetKind, name: &str) -> Option<Arc<Suspension>> {
        let concerns = |suspension: &Suspension| {
            let target = &suspension.spec.target;
            target.kind == kind && target.name == name && suspension.metadata.namespace.as_deref() == Some(namespace)
        };
        self.suspensions.state_filter(concerns).into_iter().min_by_key(|suspension| suspension.name_any())
    }
}

/// Where wake-ups arrive. Unbounded, for a watch must never wait; what they hold is a name each.
pub struct Wakes {
    /// Keys to look at.
    pub keys: mpsc::UnboundedReceiver<FullName>,
    /// Accounts to look at.
    pub accounts: mpsc::UnboundedReceiver<FullName>,
    /// Suspensions to look at.
    pub suspensions: mpsc::UnboundedReceiver<FullName>,
    /// The uids of keys that are gone.
    pub gone: mpsc::UnboundedReceiver<String>,
    /// Where all of them come from.
    pub senders: WakeSenders,
}

/// Sends wake-ups to those who wait for them.
#[derive(Clone)]
pub struct WakeSenders {
    keys: mpsc::UnboundedSender<FullName>,
    accounts: mpsc::UnboundedSender<FullName>,
    suspensions: mpsc::UnboundedSender<FullName>,
    gone: mpsc::UnboundedSender<String>,
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
            Wake::Key(name) => drop(self.keys.send(name)),
            Wake::Account(name) => drop(self.accounts.send(name)),
            Wake::Suspension(name) => drop(self.suspensions.send(name)),
            Wake::Counts(name) => drop(self.counts.lock().unwrap_or_else(PoisonError::into_inner).insert(name)),
            Wake::KeyGone(uid) => drop(self.gone.send(uid)),
        }
    }

    async fn flush_counts(&self) {
        loop {
            tokio::time::sleep(COUNT_PAUSE).await;
            let dirty = std::mem::take(&mut *self.counts.lock().unwrap_or_else(PoisonError::into_inner));
            for name in dirty {
                let _ = self.accounts.send(name);
            }
        }
    }
}

/// Watches everything, in a task of its own. The receiver turns true when every first list is complete: a key that is
/// looked at before its account is known would be told that there is none.
pub fn follow(
    client: &Client,
    namespaces: &Namespaces,
    enforcement: Arc<Enforcement>,
) -> (Known, Wakes, watch::Receiver<bool>) {
    let (keys, key_events) = Reflected::<ApiKey>::new(client, namespaces);
    let (accounts, account_events) = Reflected::<Account>::new(client, namespaces);
    let (suspensions, suspension_events) = Reflected::<Suspension>::new(client, namespaces);
    let all = 3 * namespaces.each().len();
    let (senders, wakes) = WakeSenders::new();
    let (complete, completed) = watch::channel(false);
    let switch = Arc::new(Switch { router: Mutex::default(), enforcement, senders });
    let known = Known { keys, accounts, suspensions, switch: switch.clone() };
    tokio::spawn(async move {
        let lists = watch::Sender::new(0);
        let all_listed = async {
            // Fails only when the sender is gone, and it is right here.
            let _ = lists.subscribe().wait_for(|lists| *lists == all).await;
            complete.send_replace(true);
        };
        let count = || lists.send_modify(|lists| *lists += 1);
        tokio::join!(
            drive(key_events, &switch, count, Router::key, Router::key_gone, Router::keys_listed),
            drive(account_events, &switch, count, Router::account, Router::account_gone, Router::accounts_listed),
            drive(
                suspension_events,
                &switch,
                count,
                Router::suspension,
                |router, _, uid| router.suspension_gone(uid),
                Router::suspensions_listed
            ),
            switch.senders.flush_counts(),
            all_listed,
        );
    });
    (known, wakes, completed)
}

/// Passes on what events say.
struct Switch {
    router: Mutex<Router>,
    enforcement: Arc<Enforcement>,
    senders: WakeSenders,
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

/// Takes the changes of one resource. The store has them before, so whoever is woken finds the change there; who is woken by
/// a list waits until it is complete.
async fn drive<K>(
    mut watched: Reflected<K>,
    switch: &Switch,
    count: impl Fn(),
    apply: impl Fn(&mut Router, &K) -> Vec<Wake>,
    gone: impl Fn(&mut Router, &FullName, &str) -> Vec<Wake>,
    listed: impl Fn(&mut Router, Listed, &HashSet<String>) -> Vec<Wake>,
) where
    K: Tracked + Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug,
    K: DeserializeOwned + Send + Sync + 'static,
{
    // Whom each list wakes, and whether it is the first one.
    let mut lists: Vec<(Vec<Wake>, bool)> = watched.namespaces().iter().map(|_| (Vec::new(), true)).collect();
    while let Some(change) = watched.next().await {
        match change {
            Change::Listed(number, object) => {
                switch.enforcement.seen(&object);
                lists[number].0.extend(switch.ask(|router| apply(router, &object)));
            }
            Change::Complete(number, uids) => {
                let of = watched.namespaces()[number].as_deref();
                switch.enforcement.listed::<K>(of, &uids);
                let (wakes, is_first) = &mut lists[number];
                wakes.extend(switch.ask(|router| listed(router, of, &uids)));
                switch.send(std::mem::take(wakes));
                if std::mem::take(is_first) {
                    count();
                }
            }
            // The keys of other namespaces need not wait for this one.
            Change::Barred(number) => {
                if std::mem::take(&mut lists[number].1) {
                    count();
                }
            }
            Change::Applied(object) => {
                switch.enforcement.seen(&object);
                switch.send(switch.ask(|router| apply(router, &object)));
            }
            Change::Deleted(object) => {
                let name = (object.namespace().unwrap_or_default(), object.name_any());
                let uid = object.uid().unwrap_or_default();
                switch.enforcement.gone(&uid);
                switch.send(switch.ask(|router| gone(router, &name, &uid)));
            }
        }
    }
}
