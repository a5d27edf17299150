//! Turns `ApiKey`s into entries and Secrets.
//!
//! A controller is observe (I/O) → plan (pure) → execute (I/O) → status (I/O).

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kube::Client;
use kube::runtime::events::{Recorder, Reporter};
use prometheus_client::registry::Registry;
use tokio::sync::mpsc;
use tokio::task::JoinError;

use crate::api::names;
use crate::key::Hasher;
use crate::server::{self, Admin, ServeError, Shutdown};

pub mod api_key;

mod account;
mod collect;
mod context;
mod entries;
mod guard;
mod key_material;
mod metrics;
mod secrets;
mod streams;
mod write;

use context::Context;
use entries::Entries;
use metrics::Metrics;
use secrets::Secrets;

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
    let shutdown = Shutdown::on_signal()?;
    let admin_server = tokio::spawn(server::serve(listener, admin.router(), shutdown.clone()));
    tokio::select! {
        () = shutdown.wait() => {}
        (context, config) = prepare(client, config, metrics, &not_ready) => {
            if let Err(error) = reconcile_all(Arc::new(context), config, not_ready, shutdown).await {
                tracing::error!(%error, "a controller panicked");
            }
        }
    }
    admin_server.abort();
    Ok(())
}

/// Everything that must be so before the first key is touched: the API server answers, the policies hold the
/// operator back, and the key material is there.
async fn prepare(client: Client, config: Config, metrics: Metrics, not_ready: &NotReady) -> (Context, Config) {
    let say = |why: &str| {
        tracing::warn!("not ready: {why}");
        *not_ready.lock().unwrap_or_else(PoisonError::into_inner) = Some(why.to_owned());
    };
    say("waiting for the Kubernetes API server");
    server::wait_for_api_server(&client).await;
    let mut pause = Duration::from_millis(250);
    loop {
        let attempt = async {
            guard::check(&client).await?;
            key_material::load(&client).await
        };
        match attempt.await {
            Ok((pepper, sealing_key)) => {
                let reporter = Reporter { controller: names::OPERATOR_MANAGER.to_owned(), instance: None };
                let context = Context {
                    entries: Entries::new(client.clone()),
                    secrets: Secrets::new(client.clone()),
                    recorder: Recorder::new(client.clone(), reporter),
                    backoff: context::Backoff::default(),
                    hasher: config.hasher.clone(),
                    client,
                    metrics,
                    pepper: Arc::new(pepper),
                    sealing_key: Arc::new(sealing_key),
                };
                return (context, config);
            }
            Err(error) => say(&error.to_string()),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(10));
    }
}

async fn reconcile_all(
    context: Arc<Context>,
    config: Config,
    not_ready: NotReady,
    shutdown: Shutdown,
) -> Result<(), JoinError> {
    let (accounts, keys) = (streams::accounts(&context.client), streams::keys(&context.client));
    let (changes, changed) = mpsc::unbounded_channel();
    let known_accounts =
        api_key::Accounts { store: accounts.store.clone(), complete: accounts.complete.clone(), changed };
    let listed = [accounts.complete.clone(), keys.complete.clone()];
    let stopping = shutdown.clone();
    // Told to stop, a controller takes no more events; one whose list is not complete yet would wait for it for ever.
    let stopped_early = async move {
        stopping.wait().await;
        if listed.iter().all(|complete| *complete.borrow()) {
            std::future::pending::<()>().await;
        }
    };
    let guarded = tokio::spawn(guard::keep_checking(context.client.clone(), not_ready.clone()));
    let collector = tokio::spawn(collect::run(context.clone(), config.orphan_interval, config.orphan_grace));
    let account_controller = tokio::spawn(account::run(context.clone(), accounts, changes, shutdown.clone()));
    let key_controller = tokio::spawn(api_key::run(context, keys, known_accounts, config.concurrency, shutdown));
    *not_ready.lock().unwrap_or_else(PoisonError::into_inner) = None;
    tracing::info!("ready: reconciling");
    let ended = tokio::select! {
        ended = async { tokio::try_join!(account_controller, key_controller) } => ended.map(|_| ()),
        () = stopped_early => Ok(()),
    };
    collector.abort();
    guarded.abort();
    ended
}
