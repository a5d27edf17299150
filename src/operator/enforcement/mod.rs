//! Proof of enforcement: which changes every verifier goes by. What counts as proof is in `changes`, which is pure;
//! [`leases`] is the edge.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{Resource, ResourceExt};
use tokio::sync::Notify;

use super::router::Listed;
use crate::api::{Account, ApiKey, Suspension, comparable};

mod changes;
mod gates;
mod lease;
pub mod leases;
mod words;

use changes::{Changes, Sight};
use gates::Gates;
use lease::Leases;

pub use changes::Kind;
pub use gates::{BOUND as GATE_BOUND, PassedOver};
pub use words::{Standing, say};

/// How soon the Leases are looked at again just after a change.
const EAGER: Duration = Duration::from_millis(50);
/// For how long that is.
const EAGER_FOR: Duration = Duration::from_secs(2);
/// How soon later, while something is in flight.
const PATIENT: Duration = Duration::from_secs(1);
/// How soon while nothing is, to find Leases whose processes died.
const IDLE: Duration = Duration::from_mins(1);

/// What verifiers are waited for.
pub trait Tracked: Resource<DynamicType = ()> {
    /// What it is.
    const KIND: Kind;
    /// What is said of it.
    fn conditions(&self) -> &[Condition];
}

impl Tracked for ApiKey {
    const KIND: Kind = Kind::ApiKey;
    fn conditions(&self) -> &[Condition] {
        self.status.as_ref().map_or(&[], |status| &status.conditions)
    }
}

impl Tracked for Account {
    const KIND: Kind = Kind::Account;
    fn conditions(&self) -> &[Condition] {
        self.status.as_ref().map_or(&[], |status| &status.conditions)
    }
}

impl Tracked for Suspension {
    const KIND: Kind = Kind::Suspension;
    fn conditions(&self) -> &[Condition] {
        self.status.as_ref().map_or(&[], |status| &status.conditions)
    }
}

/// What is in flight, and what this operator has seen of the Leases.
#[derive(Default)]
pub struct Enforcement {
    state: Mutex<State>,
    /// Something is in flight that was not before.
    stirred: Notify,
}

#[derive(Default)]
struct State {
    changes: Changes,
    gates: Gates,
    leases: Leases,
}

impl Enforcement {
    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// An event or a list shows an object. To be called before whoever is woken by it can ask for its standing.
    pub fn seen<K: Tracked>(&self, object: &K) {
        let (now, meta) = (Instant::now(), object.meta());
        if meta.deletion_timestamp.is_some() {
            // Nothing more is said of it.
            return self.gone(&object.uid().unwrap_or_default());
        }
        let sight = Sight {
            kind: K::KIND,
            name: (object.namespace().unwrap_or_default(), object.name_any()),
            uid: object.uid().unwrap_or_default(),
            generation: meta.generation.unwrap_or_default(),
            version: meta.resource_version.as_deref().and_then(comparable),
            is_settled: words::is_settled(object.conditions(), meta.generation),
        };
        if self.with(|state| state.changes.seen(sight, now)) {
            self.stirred.notify_one();
        }
    }

    /// An object is gone.
    pub fn gone(&self, uid: &str) {
        self.with(|state| {
            state.changes.gone(uid);
            state.gates.forget(uid);
        });
    }

    /// A list of all objects of a kind is complete.
    pub fn listed<K: Tracked>(&self, of: Listed, uids: &HashSet<String>) {
        self.with(|state| {
            state.changes.listed(K::KIND, of, uids);
            if K::KIND == Kind::ApiKey {
                state.gates.listed(of, uids);
            }
        });
    }

    /// What is known of the generation of an object that is looked at.
    pub fn standing<K: Tracked>(&self, object: &K) -> Option<Standing> {
        let (uid, generation) = (object.uid().unwrap_or_default(), object.meta().generation.unwrap_or_default());
        self.with(|state| state.changes.standing(&uid, generation))
    }

    /// May the value in this version of a key's entry be delivered? If not, the key is woken when it may.
    pub fn gate(&self, key: &ApiKey, account: Option<&Account>, entry: &str) -> Option<PassedOver> {
        let now = Instant::now();
        let version = |version: Option<String>| comparable(version.as_deref().unwrap_or("0"));
        let account = account.and_then(ResourceExt::resource_version);
        let (Some(key_needs), Some(account), Some(entry)) =
            (version(key.resource_version()), version(account), comparable(entry))
        else {
            // Nobody can tell who has it.
            return Some(PassedOver::new());
        };
        let name = (key.namespace().unwrap_or_default(), key.name_any());
        let uid = key.uid().unwrap_or_default();
        let opened = self.with(|state| state.gates.ask(&uid, name, [key_needs, account, 0, entry], now));
        if opened.is_none() {
            self.stirred.notify_one();
        }
        opened
    }

    /// Nothing of a key waits to be delivered.
    pub fn delivered(&self, uid: &str) {
        self.with(|state| state.gates.forget(uid));
    }

    /// How long until the Leases are to be looked at again.
    fn pause(&self) -> Duration {
        let now = Instant::now();
        let (newest, in_flight, silent) = self.with(|state| {
            let newest = state.changes.newest().max(state.gates.newest());
            (newest, newest.is_some(), state.leases.next_silent())
        });
        match newest {
            Some(newest) if now.duration_since(newest) < EAGER_FOR => EAGER,
            _ if in_flight => PATIENT,
            _ => silent.map_or(IDLE, |at| at.saturating_duration_since(now).clamp(PATIENT, IDLE)),
        }
    }
}
