//! Proof of enforcement: which changes every verifier goes by. Here is the edge, which lists the verifiers' Leases while
//! something is in flight, wakes the objects whose status is to say something else, and collects silent Leases. What
//! counts as proof is in `changes`, which is pure.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{DeleteParams, ListParams, Preconditions};
use kube::{Api, Resource, ResourceExt};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use super::context::Context;
use super::router::Wake;
use super::streams::WakeSenders;
use crate::api::{Account, ApiKey, Suspension, names};

mod changes;
mod gates;
mod lease;
mod words;

use changes::{Changes, Look, Sight, Told};
use gates::Gates;
use lease::{Leases, Report, comparable};

pub use changes::{Kind, Standing};
pub use gates::{BOUND as GATE_BOUND, PassedOver};
pub use words::say;

/// How soon the Leases are looked at again just after a change.
const EAGER: Duration = Duration::from_millis(50);
/// For how long that is.
const EAGER_FOR: Duration = Duration::from_secs(2);
/// How soon later, while something is in flight.
const PATIENT: Duration = Duration::from_secs(1);
/// How soon while nothing is, to find Leases whose processes died.
const IDLE: Duration = Duration::from_mins(1);
/// How long the API server may take to answer.
const ANSWER: Duration = Duration::from_secs(10);

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
    pub fn listed<K: Tracked>(&self, uids: &HashSet<String>) {
        self.with(|state| {
            state.changes.listed(K::KIND, uids);
            if K::KIND == Kind::ApiKey {
                state.gates.listed(uids);
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

/// Looks at the Leases while something is in flight, for ever.
pub async fn run(context: Arc<Context>, wakes: WakeSenders) {
    let api = Api::<Lease>::namespaced(context.client.clone(), names::ENTRIES_NAMESPACE);
    let (label, value) = names::VERIFIER_LEASE_LABEL;
    // No resourceVersion: only a consistent list says what there was after it was asked for.
    let all = ListParams::default().labels(&format!("{label}={value}"));
    let enforcement = &context.enforcement;
    loop {
        if let Err(why) = look(&context, &wakes, &api, &all).await {
            tracing::warn!(why, "cannot list the verifiers' Leases, so no change is said to be Enforced; trying again");
            for name in enforcement.with(|state| state.gates.give_up(Instant::now())) {
                wakes.send(Wake::Key(name));
            }
            sleep(PATIENT).await;
        }
        // Changes may come faster than anybody need look.
        sleep(EAGER).await;
        let rest = enforcement.pause().saturating_sub(EAGER);
        // A permit may be left from what was looked at just now; that costs one list.
        let _ = timeout(rest, enforcement.stirred.notified()).await;
    }
}

async fn look(context: &Context, wakes: &WakeSenders, api: &Api<Lease>, all: &ListParams) -> Result<(), String> {
    let asked = Instant::now();
    context.metrics.lease_lists.inc();
    let list = timeout(ANSWER, api.list(all)).await.map_err(|_| format!("no answer in {ANSWER:?}"))?;
    let reports = list.map_err(|error| error.to_string())?.items.into_iter().map(Report::read).collect();
    let look = Look { asked, now: Instant::now(), wall: (context.now)() };
    judge(context, wakes, reports, &look);
    collect(context, api, look.now).await;
    Ok(())
}

fn judge(context: &Context, wakes: &WakeSenders, reports: Vec<Report>, look: &Look) {
    let (told, (opened, late), in_flight) = context.enforcement.with(|State { changes, gates, leases }| {
        leases.observe(reports, look.now);
        (changes.judge(leases, look), gates.judge(leases, look), changes.in_flight())
    });
    let metrics = &context.metrics;
    metrics.changes_in_flight.set(i64::try_from(in_flight).unwrap_or(i64::MAX));
    metrics.verifiers_passed_over.inc_by(late as u64);
    for name in opened {
        wakes.send(Wake::Key(name));
    }
    for Told { kind, name, took } in told {
        if let Some(took) = took {
            metrics.enforced_seconds.observe(took.as_secs_f64());
        }
        wakes.send(match kind {
            Kind::ApiKey => Wake::Key(name),
            Kind::Account => Wake::Account(name),
            Kind::Suspension => Wake::Suspension(name),
        });
    }
}

/// Deletes the Leases whose processes answer nothing any more, each in the version whose silence was measured: a renewal
/// that this operator has not heard of makes that fail.
async fn collect(context: &Context, api: &Api<Lease>, now: Instant) {
    for Report { name, uid, version, .. } in context.enforcement.with(|state| state.leases.silent(now)) {
        let sent = Instant::now();
        let preconditions = Preconditions { uid: Some(uid), resource_version: Some(version) };
        match timeout(ANSWER, api.delete(&name, &DeleteParams::default().preconditions(preconditions))).await {
            Ok(Ok(_)) => {
                context.enforcement.with(|state| state.changes.collected(sent));
                context.metrics.leases_collected.inc();
                tracing::info!(lease = name, "collected the Lease of a verifier that answers nothing any more");
            }
            // Renewed or gone since: the next look shows it.
            Ok(Err(kube::Error::Api(status))) if status.code == 404 || status.code == 409 => {}
            failed => {
                let why = failed.map_or_else(
                    |_| format!("no answer in {ANSWER:?}"),
                    |answer| answer.err().map_or_else(String::new, |error| error.to_string()),
                );
                tracing::warn!(lease = name, why, "a silent verifier's Lease was not collected; trying again");
            }
        }
    }
}
