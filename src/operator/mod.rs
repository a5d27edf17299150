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
use tokio::task::JoinError;

use crate::key::{Hasher, Pepper, SealingKey};
use crate::server::{self, Admin, Limits, ServeError, Shutdown};

pub mod api_key;
pub mod router;

mod account;
mod collect;
mod context;
mod enforcement;
mod entries;
mod events;
mod guard;
mod key_material;
mod metrics;
mod secrets;
mod site_ids;
mod streams;
mod suspension;
mod write;

use context::Context;
use enforcement::Enforcement;
use entries::Entries;
use metrics::Metrics;
use secrets::Secrets;
use streams::Wakes;

/// What `keywright operator` is told.
pub struct Config {
    /// Where probes and Prometheus ask.
    pub admin: SocketAddr,
    /// How many keys are reconciled at once.
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

/// Reconciles until a signal asks it to stop.
///
/// # Errors
/// When the admin address cannot be listened on, or no client can be made from the configuration there is.
pub async fn run(config: Config) -> Result<(), ServeError> {
    let client = server::connect().await?;
    let listener = server::bind(config.admin).await?;
    let mut registry = Registry::default();
    let metrics = Metrics::register(&mut registry);
    let not_ready: NotReady = Arc::new(Mutex::new(Some("starting".to_owned())));
    let probed = not_ready.clone();
    let admin =
        Admin::new(registry, move || probed.lock().unwrap_or_else(PoisonError::into_inner).clone().map_or(Ok(()), Err));
    let shutdown = Shutdown::on_signal(Duration::ZERO)?;
    let admin_server = {
        let limits = Limits { connections: server::ADMIN_CONNECTIONS };
        tokio::spawn(server::serve(listener, admin.router(), limits, None, shutdown.clone()))
    };
    tokio::select! {
        () = shutdown.wait() => {}
        (pepper, sealing_key) = prepare(&client, &not_ready) => {
            let enforcement = Arc::new(Enforcement::default());
            let (known, wakes, complete) = streams::follow(&client, enforcement.clone());
            let context = Arc::new(Context {
                known,
                enforcement,
                entries: Entries::new(client.clone()),
                secrets: Secrets::new(client.clone()),
                backoff: context::Backoff::default(),
                hasher: config.hasher.clone(),
                client,
                metrics,
                pepper: Arc::new(pepper),
                sealing_key: Arc::new(sealing_key),
                warn_before: config.warn_before,
                now: Timestamp::now,
            });
            if let Err(error) = reconcile_all(context, wakes, complete, config, not_ready, shutdown).await {
                tracing::error!(%error, "a controller panicked");
            }
        }
    }
    admin_server.abort();
    Ok(())
}

/// Everything that must be so before the first key is touched: the API server answers, the policies hold the
/// operator back, and the key material is there.
async fn prepare(client: &Client, not_ready: &NotReady) -> (Pepper, SealingKey) {
    let say = |why: &str| {
        tracing::warn!("not ready: {why}");
        *not_ready.lock().unwrap_or_else(PoisonError::into_inner) = Some(why.to_owned());
    };
    say("waiting for the Kubernetes API server");
    server::wait_for_api_server(client).await;
    let mut pause = Duration::from_millis(250);
    loop {
        let attempt = async {
            guard::check(client).await?;
            key_material::load(client).await
        };
        match attempt.await {
            Ok(material) => return material,
            Err(error) => say(&error.to_string()),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(10));
    }
}

async fn reconcile_all(
    context: Arc<Context>,
    wakes: Wakes,
    mut complete: watch::Receiver<bool>,
    config: Config,
    not_ready: NotReady,
    shutdown: Shutdown,
) -> Result<(), JoinError> {
    let guarded = tokio::spawn(guard::keep_checking(context.client.clone(), not_ready.clone()));
    let collector = tokio::spawn(collect::run(context.clone(), config.orphan_interval, config.orphan_grace));
    *not_ready.lock().unwrap_or_else(PoisonError::into_inner) = None;
    tracing::info!("ready: reconciling");
    let listed = tokio::select! {
        listed = complete.wait_for(|complete| *complete) => listed.is_ok(),
        () = shutdown.wait() => false,
    };
    let ended = if listed {
        let Wakes { keys, accounts, suspensions, gone, senders } = wakes;
        let accounts = tokio::spawn(account::run(context.clone(), accounts, shutdown.clone()));
        let suspensions = tokio::spawn(suspension::run(context.clone(), suspensions, shutdown.clone()));
        let removal = tokio::spawn(collect::remove_secrets(context.clone(), gone));
        let leases = tokio::spawn(enforcement::leases::run(context.clone(), senders));
        let keys = tokio::spawn(api_key::run(context, keys, config.concurrency, shutdown));
        let ended = tokio::try_join!(accounts, suspensions, keys).map(|_| ());
        leases.abort();
        removal.abort();
        ended
    } else {
        Ok(())
    };
    collector.abort();
    guarded.abort();
    ended
}
