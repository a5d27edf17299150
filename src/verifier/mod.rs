//! Answers "may this request pass?" for any gateway.
//!
//! [`decide`], [`index`], [`table`], [`live`], [`identity`], [`answer`], [`question`], [`code`] and [`fence`] are pure; the other modules are the
//! edge: one for each transport, and [`service`], which all of them ask.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use tokio::sync::oneshot;
use tokio::time::timeout;
use tonic::server::NamedService;
use tonic_health::ServingStatus;

use self::activity::flush::Flusher;
use self::ext_authz::server::Server;
use crate::api::Namespaces;
use crate::apiserver::Collection;
use crate::key::KeyId;
use crate::server::budget::Budget;
use crate::server::{self, Admin, Limits, Protocols, ServeError, Shutdown};

pub mod access_log;
pub mod activity;
pub mod answer;
pub mod call;
pub mod code;
pub mod credential;
pub mod decide;
pub mod ext_authz;
pub mod fence;
pub mod freshness;
mod headers;
pub mod http;
pub mod identity;
pub mod index;
mod lease;
pub mod live;
pub mod metrics;
pub mod question;
pub mod service;
mod sources;
pub mod subject;
mod table;
mod told;
mod watch;

/// What is known is proven to be younger than this, when all is well: a probe every 3 s, and a watch that comes to it at
/// its next bookmark.
pub const FRESH: Duration = Duration::from_secs(15);

/// How long the deletion of the Lease may hold up the end of the process. Where it fails, the operator waits for
/// `--max-staleness` once more.
const FAREWELL: Duration = Duration::from_secs(2);
/// Interval at which gRPC's health service follows readiness.
const HEALTH_INTERVAL: Duration = Duration::from_secs(1);

/// What `keywright verifier` is told.
pub struct Config {
    /// Where gateways ask.
    pub listen: SocketAddr,
    /// Where Envoy asks over gRPC, if it does.
    pub grpc: Option<SocketAddr>,
    /// Where probes and Prometheus ask.
    pub admin: SocketAddr,
    /// Whose keys are served.
    pub namespaces: Namespaces,
    /// Namespace of entries, the pepper and the verifiers' Leases.
    pub entries_namespace: String,
    /// Where keys are looked for in a request.
    pub places: credential::Places,
    /// The header in which the gateway tells the original method.
    pub method_header: Option<axum::http::HeaderName>,
    /// Name of the pod, if it is known: the Lease's name begins with it.
    pub pod_name: Option<String>,
    /// Requirement of Envoy's routes that carry none.
    pub default_requirement: Option<String>,
    /// The header in which the gateway tells the client's address.
    pub client_header: Option<axum::http::HeaderName>,
    /// What is noted of who calls.
    pub activity_sources: activity::Sources,
    /// How many argon2id checks may run at once.
    pub slow_checks: usize,
    /// Past which age of what is known nothing is answered any more; zero is never.
    pub max_staleness: Duration,
    /// How many writes of keys' use are sent a second, at most.
    pub activity_budget: u32,
    /// Which part of the answers is logged; 0 is none, 1 is all.
    pub access_log: f64,
    /// How long after a signal to stop new calls are still taken, so that whoever balances them learns of it first.
    pub shutdown_delay: Duration,
    /// How many connections each listener bears.
    pub connections: usize,
    /// Memory for connections to both listeners and what they send.
    pub memory: Budget,
    /// Percentage of connections and memory that one peer address may take.
    pub peer_share: u8,
    /// Bytes of the largest gRPC message.
    pub largest_message: usize,
    /// Time after which a connection without requests is closed.
    pub idle: Duration,
    /// TLS for HTTP and gRPC.
    pub tls: Option<server::TlsFiles>,
}

/// Serves until a signal asks it to stop.
///
/// # Errors
/// When an address cannot be listened on, or no client can be made from the configuration there is.
pub async fn run(config: Config) -> Result<(), ServeError> {
    let client = server::connect().await?;
    let listener = server::bind(config.listen)?;
    let grpc_listener = match config.grpc {
        Some(address) => Some(server::bind(address)?),
        None => None,
    };
    let admin_listener = server::bind(config.admin)?;
    let mut registry = Registry::default();
    let metrics = metrics::Metrics::register(&mut registry);
    let mut service = service::Service::new(
        metrics,
        config.slow_checks,
        config.max_staleness,
        access_log::AccessLog::new(config.access_log),
    );
    service.activity = activity::Activity::new(config.activity_sources);
    service.freshness = freshness::Freshness::of(config.namespaces.each().len(), config.entries_namespace.clone());
    let service = Arc::new(service);
    registry.register_collector(Box::new(IndexSize(service.clone())));
    registry.register_collector(Box::new(service.watches.clone()));
    registry.register_collector(Box::new(config.memory.clone()));

    let shutdown = Shutdown::on_signal(config.shutdown_delay)?;
    let (probed, stopping) = (service.clone(), shutdown.clone());
    let admin =
        Admin::new(
            registry,
            move || {
                if stopping.is_asked_for() { Err("stopping".to_owned()) } else { probed.readiness() }
            },
        );
    let limits = Limits {
        connections: config.connections,
        peer_share: config.peer_share,
        memory: config.memory,
        head: Limits::HEAD,
        body: credential::MAX_CREDENTIAL_LEN,
        idle: config.idle,
        protocols: Protocols::All,
    };
    let grpc_limits = Limits { body: ext_authz::server::most_bytes(config.largest_message), ..limits.clone() };
    let tls = config.tls.map(server::Tls::load).transpose()?;
    server::prepare_for(2 * config.connections + server::ADMIN_CONNECTIONS);
    let admin_server = tokio::spawn(server::serve(
        admin_listener,
        server::routed(admin.router()),
        server::admin_limits(),
        None,
        shutdown.clone(),
    ));
    let name = process_name();
    let lease_name = config.pod_name.as_ref().map_or_else(|| name.clone(), |pod| format!("{pod}.{name}"));
    let flusher = Arc::new(Flusher::new(service.clone(), client.clone(), name.clone(), config.activity_budget));
    let flushing = tokio::spawn({
        let flusher = flusher.clone();
        async move { flusher.run().await }
    });
    let entries = config.entries_namespace;
    let leases = Collection::new(&client, Some(&entries));
    let follower = tokio::spawn({
        let (client, service, namespaces) = (client.clone(), service.clone(), config.namespaces.clone());
        async move {
            server::wait_for_api_server(&client).await;
            watch::follow(client, service, &namespaces, &entries).await;
        }
    });
    let (stop, stopped) = oneshot::channel();
    let keeper = tokio::spawn({
        let (service, namespaces) = (service.clone(), config.namespaces.clone());
        async move { lease::keep(leases, service, lease_name, &namespaces, config.max_staleness, stopped).await }
    });
    let over_grpc = async {
        if let Some(listener) = grpc_listener {
            let ext_authz = ext_authz::ExtAuthz::new(service.clone(), config.places.clone())
                .with_default(config.default_requirement);
            let authorization = Server::new(ext_authz, config.largest_message);
            let router = grpc_router(service.clone(), authorization, shutdown.clone());
            server::serve(listener, server::routed(router), grpc_limits, tls.clone(), shutdown.clone()).await;
        }
    };
    let (ready, stopping) = (service.clone(), shutdown.clone());
    let is_ready = move || ready.readiness().is_ok() && !stopping.is_asked_for();
    let http = http::Http {
        service: service.clone(),
        places: config.places.clone(),
        method_header: config.method_header,
        client_header: config.client_header,
    };
    let grpc_address = config.grpc.map_or("off".to_owned(), |address| address.to_string());
    tracing::info!(address = %config.listen, grpc = grpc_address, namespaces = %config.namespaces, "answering /auth, /v1/verify and ext_authz");
    tokio::join!(
        server::serve(listener, http::routes(http, is_ready), limits, tls.clone(), shutdown.clone()),
        over_grpc,
    );
    // A connection that would not end may ask on; nothing is allowed any more. So nobody need wait for what this verifier knows.
    service.freshness.close();
    let _ = stop.send(());
    let _ = timeout(FAREWELL, keeper).await;
    follower.abort();
    flushing.abort();
    // Until it has ended: a write that is under way must be known to be.
    let _ = flushing.await;
    flusher.finish().await;
    admin_server.abort();
    Ok(())
}

/// No two processes have the same, wherever they run.
fn process_name() -> String {
    format!("keywright-verifier-{}", KeyId::from_bits(rand::random()))
}

/// `ext_authz`, and the gRPC health service, which says whether this verifier is ready.
pub fn grpc_router(service: Arc<service::Service>, authorization: Server, shutdown: Shutdown) -> axum::Router {
    let (health, health_service) = tonic_health::server::health_reporter();
    let mut ready = service.freshness.ready();
    tokio::spawn(async move {
        let mut before = None;
        loop {
            ready.mark_unchanged();
            let is_ready = service.readiness().is_ok() && !shutdown.is_asked_for();
            let status = if is_ready { ServingStatus::Serving } else { ServingStatus::NotServing };
            if before != Some(status) {
                health.set_service_status("", status).await;
                health.set_service_status(Server::NAME, status).await;
                before = Some(status);
            }
            tokio::select! {
                changed = ready.changed() => if changed.is_err() { return },
                // A watch that fails makes it unready without a change of freshness.
                () = tokio::time::sleep(HEALTH_INTERVAL) => {}
                () = shutdown.asked_for(), if !shutdown.is_asked_for() => {}
            }
        }
    });
    tonic::service::Routes::new(health_service).add_service(authorization).into_axum_router()
}

/// Sizes of the index, asked when scraped.
struct IndexSize(Arc<service::Service>);

impl std::fmt::Debug for IndexSize {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("IndexSize")
    }
}

impl prometheus_client::collector::Collector for IndexSize {
    fn encode(&self, mut encoder: prometheus_client::encoding::DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        use prometheus_client::encoding::EncodeMetric;
        let sizes = self.0.index.sizes();
        let kinds = [
            ("values", sizes.live),
            ("keys", sizes.keys),
            ("entries", sizes.entries),
            ("accounts", sizes.accounts),
            ("suspensions", sizes.suspensions),
        ];
        for (kind, size) in kinds {
            let gauge = ConstGauge::new(i64::try_from(size).unwrap_or(i64::MAX));
            let name = format!("keywright_index_{kind}");
            let metric = encoder.encode_descriptor(
                &name,
                "Objects that the verifier's index holds",
                None,
                gauge.metric_type(),
            )?;
            gauge.encode(metric)?;
        }
        let (waiting, since) = self.0.activity.waiting();
        let waiting = ConstGauge::new(i64::try_from(waiting).unwrap_or(i64::MAX));
        let help = "Keys whose use is to be written down";
        waiting.encode(encoder.encode_descriptor(
            "keywright_activity_waiting",
            help,
            None,
            waiting.metric_type(),
        )?)?;
        let lag = since.map_or(0, |since| freshness::now().saturating_sub(since));
        let lag = ConstGauge::new(Duration::from_nanos(lag).as_secs_f64());
        let help = "Seconds since a call that is not written down yet, of the key that waits for longest";
        lag.encode(encoder.encode_descriptor("keywright_activity_lag_seconds", help, None, lag.metric_type())?)?;
        let age = ConstGauge::new(self.0.freshness.age().map_or(f64::INFINITY, |age| age.as_secs_f64()));
        let help = "Seconds since the moment as of which everything that is known is known";
        let metric = encoder.encode_descriptor("keywright_index_age_seconds", help, None, age.metric_type())?;
        age.encode(metric)?;
        let age = ConstGauge::new(self.0.freshness.fence_age().map_or(f64::INFINITY, |age| age.as_secs_f64()));
        let help = "Seconds of which --max-staleness is the bound: since what is known was proven, or since the Lease was renewed";
        let metric = encoder.encode_descriptor("keywright_fence_age_seconds", help, None, age.metric_type())?;
        age.encode(metric)?;
        Ok(())
    }
}
