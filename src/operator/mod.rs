//! Turns `ApiKey`s into entries and Secrets.
//!
//! A controller is observe (I/O) → plan (pure) → execute (I/O) → status (I/O).

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use kube::Client;
use prometheus_client::registry::Registry;
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};

use crate::api::{Namespaces, OwnNamespaces};
use crate::apiserver::{Kind, WatchHealth};
use crate::key::{Hasher, Pepper, SealingKey};
use crate::server::{self, Admin, ServeError, Shutdown};

pub mod api_key;

pub mod router;

mod account;
mod collect;
mod context;
mod controller;
mod enforcement;
mod entries;
mod events;
mod guard;
mod key_material;
mod key_states;
mod leader;
mod metrics;
mod queue;
mod reflect;
mod refusal;
mod secrets;
mod site_ids;
mod streams;
mod suspension;
mod unreadable;
mod write;

use api_key::recent::Recent;
use context::Context;
use enforcement::Enforcement;
use entries::Entries;
use key_states::KeyStates;
use leader::Candidate;
use metrics::Metrics;
use secrets::Secrets;
use streams::Wakes;

/// What `keywright operator` is told.
pub struct Config {
    /// Where probes and Prometheus ask.
    pub admin: SocketAddr,
    /// Whether others may run that act when this one does not.
    pub leader_election: bool,
    /// Namespaces of the installation.
    pub own: OwnNamespaces,
    /// Whose keys are looked after.
    pub namespaces: Namespaces,
    /// Most keys that are reconciled at once; one more slot is reserved for proofs of enforcement.
    pub concurrency: u16,
    /// Makes the records.
    pub hasher: Hasher,
    /// How often entries without an ApiKey are looked for.
    pub orphan_interval: Duration,
    /// How long an entry without an ApiKey is kept.
    pub orphan_grace: Duration,
    /// How long before its end a value is warned of.
    pub warn_before: Duration,
}

/// Why not ready; `None` when ready.
type NotReady = Arc<Mutex<Option<String>>>;

/// Reconciles until a signal asks it to stop, or another operator is to.
///
/// # Errors
/// When the admin address cannot be listened on, or no client can be made from the configuration there is.
pub async fn run(config: Config) -> Result<(), ServeError> {
    let client = server::connect().await?;
    let listener = server::bind(config.admin)?;
    let mut registry = Registry::default();
    let metrics = Metrics::register(&mut registry);
    let watches = WatchHealth::default();
    registry.register_collector(Box::new(watches.clone()));
    let key_states = KeyStates::default();
    registry.register_collector(Box::new(key_states.clone()));
    let not_ready: NotReady = Arc::new(Mutex::new(Some("starting".to_owned())));
    let probed = not_ready.clone();
    let probed_watches = watches.clone();
    let admin = Admin::new(registry, move || {
        probed.lock().unwrap_or_else(PoisonError::into_inner).clone().map_or(Ok(()), Err)?;
        // A namespace that may not be listed is left out, and the others are reconciled.
        probed_watches.check(|kind| kind != Kind::Forbidden)
    });
    let shutdown = Shutdown::on_signal(Duration::ZERO)?;
    let admin_server = {
        let limits = server::admin_limits();
        tokio::spawn(server::serve(listener, server::routed(admin.router()), limits, None, shutdown.clone()))
    };
    tokio::select! {
        () = shutdown.wait() => {}
        material = prepare(&client, &config.own, &not_ready) => {
            take_part(client, material, (metrics, watches, key_states), config, not_ready, &shutdown).await;
        }
    }
    admin_server.abort();
    Ok(())
}

/// Everything that must be so before the first key is touched: the API server answers, the policies hold the
/// operator back, and the key material is there.
async fn prepare(client: &Client, own: &OwnNamespaces, not_ready: &NotReady) -> (Pepper, SealingKey) {
    let say = |why: &str| {
        tracing::warn!("not ready: {why}");
        *not_ready.lock().unwrap_or_else(PoisonError::into_inner) = Some(why.to_owned());
    };
    say("waiting for the Kubernetes API server");
    server::wait_for_api_server(client).await;
    let mut pause = Duration::from_millis(250);
    loop {
        let attempt = async {
            guard::check(client, &own.system).await?;
            key_material::load(client, own).await
        };
        match attempt.await {
            Ok(material) => return material,
            Err(error) => say(&error.to_string()),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(10));
    }
}

/// Acts while no other operator does. Who stands by watches nothing yet, so that what a leader goes by it has seen itself,
/// from when it leads. Whoever loses the Lease ends: nothing of what was under way may go on.
async fn take_part(
    client: Client,
    material: (Pepper, SealingKey),
    (metrics, watches, key_states): (Metrics, WatchHealth, KeyStates),
    config: Config,
    not_ready: NotReady,
    shutdown: &Shutdown,
) {
    let mut guarded = JoinSet::new();
    guarded.spawn(guard::keep_checking(client.clone(), config.own.system.clone(), not_ready.clone()));
    let leader = if config.leader_election {
        let won = Candidate::new(client.clone(), config.own.system.clone())
            .wins(|stands| say_whether_it_stands(&not_ready, stands));
        tokio::select! {
            () = shutdown.wait() => return,
            leader = won => Some(leader),
        }
    } else {
        None
    };
    metrics.leader.set(1);
    let leads = metrics.leader.clone();
    let work = act(client, material, (metrics, watches, key_states), config, &not_ready, shutdown);
    let Some(leader) = leader else { return work.await };
    let lost = tokio::select! {
        () = work => None,
        why = leader.until_lost() => Some(why),
    };
    leads.set(0);
    match lost {
        None => leader.release().await,
        Some(why) => tracing::error!(
            "this operator leads no more: {why}; ending, so that it is started again and stands by with nothing under way"
        ),
    }
}

fn say_whether_it_stands(not_ready: &NotReady, stands: Result<(), String>) {
    let why = stands.err();
    if let Some(why) = &why {
        tracing::warn!("not ready: {why}");
    }
    *not_ready.lock().unwrap_or_else(PoisonError::into_inner) = why;
}

/// Reconciles until told to stop; dropped, it does nothing more.
async fn act(
    client: Client,
    (pepper, sealing_key): (Pepper, SealingKey),
    (metrics, watches, key_states): (Metrics, WatchHealth, KeyStates),
    config: Config,
    not_ready: &NotReady,
    shutdown: &Shutdown,
) {
    let enforcement = Arc::new(Enforcement::default());
    let (known, wakes, complete) = streams::follow(&client, &config.namespaces, enforcement.clone(), &watches);
    key_states.watch(known.keys.clone());
    let context = Arc::new(Context {
        namespaces: config.namespaces.clone(),
        known,
        enforcement,
        entries: Entries::new(&client, config.own.entries.clone()),
        secrets: Secrets::new(client.clone()),
        recent: Recent::default(),
        backoff: context::Backoff::default(),
        hasher: config.hasher.clone(),
        client,
        metrics,
        pepper: Arc::new(pepper),
        sealing_key: Arc::new(sealing_key),
        warn_before: config.warn_before,
        now: Timestamp::now,
    });
    *not_ready.lock().unwrap_or_else(PoisonError::into_inner) = None;
    tracing::info!(namespaces = %config.namespaces, "ready: reconciling");
    if let Err(error) = reconcile_all(context, wakes, complete, config, shutdown).await {
        tracing::error!(%error, "a controller panicked");
    }
}

async fn reconcile_all(
    context: Arc<Context>,
    wakes: Wakes,
    mut complete: watch::Receiver<bool>,
    config: Config,
    shutdown: &Shutdown,
) -> Result<(), JoinError> {
    let mut beside = JoinSet::new();
    beside.spawn(collect::run(context.clone(), config.orphan_interval, config.orphan_grace));
    tokio::select! {
        listed = complete.wait_for(|complete| *complete) => if listed.is_err() { return Ok(()) },
        () = shutdown.wait() => return Ok(()),
    }
    let Wakes { keys, accounts, suspensions, gone, senders } = wakes;
    beside.spawn(enforcement::leases::run(context.clone(), senders));
    let mut controllers = JoinSet::new();
    controllers.spawn(account::run(context.clone(), accounts, shutdown.clone()));
    controllers.spawn(suspension::run(context.clone(), suspensions, shutdown.clone()));
    controllers.spawn(collect::remove_secrets(context.clone(), gone, shutdown.clone()));
    controllers.spawn(api_key::run(context, keys, config.concurrency, shutdown.clone()));
    while let Some(ended) = controllers.join_next().await {
        ended?;
    }
    Ok(())
}
