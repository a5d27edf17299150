//! Answers "may this request pass?" for any gateway.
//!
//! [`decide`], [`index`], [`question`] and [`code`] are pure; the other modules are the edge.

use std::net::SocketAddr;
use std::sync::Arc;

use kube::Client;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use crate::server::{self, Admin, ServeError, Shutdown};

pub mod code;
pub mod credential;
pub mod decide;
pub mod http;
pub mod index;
pub mod live;
pub mod metrics;
pub mod question;
pub mod service;
mod watch;

/// What `keywright verifier` is told.
pub struct Config {
    /// Where gateways ask.
    pub listen: SocketAddr,
    /// Where probes and Prometheus ask.
    pub admin: SocketAddr,
    /// Where keys are looked for in a request.
    pub places: credential::Places,
    /// The header in which the gateway tells the original method.
    pub method_header: Option<axum::http::HeaderName>,
    /// How many argon2id checks may run at once.
    pub slow_checks: usize,
}

/// Serves until a signal asks it to stop.
///
/// # Errors
/// When an address cannot be listened on, or no client can be made from the configuration there is.
pub async fn run(config: Config) -> Result<(), ServeError> {
    let client = server::connect().await?;
    let listener = server::bind(config.listen).await?;
    let admin_listener = server::bind(config.admin).await?;
    let mut registry = Registry::default();
    let metrics = metrics::Metrics::register(&mut registry);
    let service = Arc::new(service::Service::new(metrics, config.slow_checks));
    registry.register_collector(Box::new(IndexSize(service.clone())));

    let shutdown = Shutdown::on_signal()?;
    let probed = service.clone();
    let admin = Admin::new(registry, move || {
        if probed.is_ready() { Ok(()) } else { Err("waiting for complete lists from the API server".to_owned()) }
    });
    let admin_server = tokio::spawn(server::serve(admin_listener, admin.router(), shutdown.clone()));
    let followed = service.clone();
    let follower = tokio::spawn(follow(client, followed));
    let http = http::Http { service, places: config.places, method_header: config.method_header };
    tracing::info!(address = %config.listen, "answering /auth and /v1/verify");
    let served = server::serve(listener, http::router(http), shutdown).await;
    follower.abort();
    admin_server.abort();
    served
}

async fn follow(client: Client, service: Arc<service::Service>) {
    server::wait_for_api_server(&client).await;
    Box::pin(watch::follow(client, service)).await;
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
        Ok(())
    }
}
