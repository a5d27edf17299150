//! What operator and verifier share at the edge: listening, stopping, the admin port, the API server's client.

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use kube::config::{Kubeconfig, KubeconfigError};
use kube::{Client, Config};
use prometheus_client::registry::Registry;
use thiserror::Error as ThisError;
use tokio::net::{TcpListener, TcpSocket};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

pub mod body;
pub mod budget;
mod files;
mod guarded;
mod inbound;
mod lingering;
mod metered;
mod paced;
mod proxy;
mod serve;
mod tls;

use budget::Budget;

pub use files::{open_as_many_files_as_allowed, prepare_for};
pub use inbound::Inbound;
pub use serve::{Answers, Limits, Protocols, routed, serve};
pub use tls::{Tls, TlsError, TlsFiles};

/// The longest pause between two attempts to reach the API server.
const MAX_PAUSE: Duration = Duration::from_secs(10);

/// Bytes that the kernel may hold of what a client does not read. It doubles the number.
const SEND_BUFFER: u32 = 64 * 1024;
/// Connections that the kernel keeps until they are accepted.
const BACKLOG: u32 = 1024;

/// Connections at once to an admin port: probes, Prometheus, and a person.
pub const ADMIN_CONNECTIONS: usize = 64;
/// Bytes of memory for the connections to an admin port.
pub const ADMIN_MEMORY: usize = 8 * 1024 * 1024;

/// Limits of an admin port.
pub fn admin_limits() -> Limits {
    Limits {
        connections: ADMIN_CONNECTIONS,
        // So that no client of the port keeps the kubelet's probes out.
        peer_share: 50,
        memory: Budget::new(ADMIN_MEMORY, 50),
        head: Limits::ADMIN_HEAD,
        body: 0,
        idle: Limits::IDLE,
        protocols: Protocols::Http1,
    }
}

/// Why a server did not start or did not go on.
#[derive(Debug, ThisError)]
pub enum ServeError {
    /// Somebody else listens there.
    #[error(
        "{0} is already in use: stop what listens there, or choose another address with --listen, --grpc-listen or --admin-listen"
    )]
    InUse(SocketAddr),
    /// Any other failure to listen.
    #[error("cannot listen on {0}: {1}")]
    Listen(SocketAddr, io::Error),
    /// The files for TLS cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Signals cannot be handled.
    #[error("cannot handle signals: {0}")]
    Signal(io::Error),
    /// No configuration of the API server's client.
    #[error("no configuration for the Kubernetes API: set KUBECONFIG, or run in a pod with a ServiceAccount ({0})")]
    NoCluster(Box<kube::config::InferConfigError>),
    /// The kubeconfig cannot be read. What kube says of it quotes the line, and that may hold a token.
    #[error("the kubeconfig that KUBECONFIG names is not valid: `kubectl config view` shows where")]
    BadKubeconfig,
    /// The proxy's URL cannot be used.
    #[error(
        "the proxy to the Kubernetes API, from proxy-url of the kubeconfig or from HTTPS_PROXY, must be a URL that begins with http://, https:// or socks5://; if requests are to go there directly, name the API server in NO_PROXY"
    )]
    BadProxy,
    /// The configuration does not make a client.
    #[error("the configuration for the Kubernetes API cannot be used: {0}")]
    Client(Box<kube::Error>),
}

/// Listens on an address.
///
/// # Errors
/// If the address is in use or cannot be listened on.
pub fn bind(address: SocketAddr) -> Result<TcpListener, ServeError> {
    listen(address).map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => ServeError::InUse(address),
        _ => ServeError::Listen(address, error),
    })
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    // Accepted connections inherit it.
    socket.set_send_buffer_size(SEND_BUFFER)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Tells when SIGTERM or SIGINT has come, and when it is time to stop because of it.
#[derive(Clone)]
pub struct Shutdown {
    asked_for: watch::Receiver<bool>,
    due: watch::Receiver<bool>,
}

impl Shutdown {
    /// Begins to listen for the signals. It is time to stop `delay` after one; a second one is not waited for.
    pub fn on_signal(delay: Duration) -> Result<Self, ServeError> {
        let mut term = signal(SignalKind::terminate()).map_err(ServeError::Signal)?;
        let mut int = signal(SignalKind::interrupt()).map_err(ServeError::Signal)?;
        let (asks, asked_for) = watch::channel(false);
        let (stops, due) = watch::channel(false);
        tokio::spawn(async move {
            tokio::select! { _ = term.recv() => {}, _ = int.recv() => {} }
            tracing::info!("stopping");
            asks.send_replace(true);
            tokio::select! { () = tokio::time::sleep(delay) => {}, _ = term.recv() => {}, _ = int.recv() => {} }
            stops.send_replace(true);
            // Held until the end: a receiver whose sender is gone would take that for the signal.
            tokio::join!(asks.closed(), stops.closed());
        });
        Ok(Self { asked_for, due })
    }

    /// Has a signal come?
    pub fn is_asked_for(&self) -> bool {
        // It changes only once, and of this receiver nothing is ever marked as seen. To borrow the value would take a lock.
        self.asked_for.has_changed().unwrap_or(true)
    }

    /// Returns when a signal has come.
    pub async fn asked_for(&self) {
        // An error means that the sender is gone, which is the end as well.
        let _ = self.asked_for.clone().wait_for(|asked| *asked).await;
    }

    /// Returns when it is time to stop.
    pub async fn wait(&self) {
        let _ = self.due.clone().wait_for(|stop| *stop).await;
    }
}

/// A client from KUBECONFIG or the pod's ServiceAccount. It does not reach for the network yet.
pub async fn connect() -> Result<Client, ServeError> {
    let mut config =
        Config::infer().await.map_err(|error| match error.source().and_then(<dyn Error>::downcast_ref) {
            Some(KubeconfigError::Parse(_)) => ServeError::BadKubeconfig,
            _ => ServeError::NoCluster(Box::new(error)),
        })?;
    let kubeconfig = Kubeconfig::read().ok();
    let declared = kubeconfig.as_ref().and_then(proxy::declared).map(str::to_owned);
    let url = declared.or_else(|| proxy::Environment::read().proxy_for(&config.cluster_url));
    config.proxy_url = url.map(|url| usable(&url)).transpose()?;
    // Longer than any watch, so that a connection that died silently is noticed at last.
    config.read_timeout = Some(Duration::from_secs(330));
    config.reset_reader_on_write = true;
    Client::try_from(config).map_err(|e| ServeError::Client(Box::new(e)))
}

/// Parses the URL of a proxy. An error does not quote it, for it may contain a password.
fn usable(url: &str) -> Result<Uri, ServeError> {
    let parsed = url.parse::<Uri>().ok().filter(|url| url.host().is_some());
    parsed.filter(|url| matches!(url.scheme_str(), Some("http" | "https" | "socks5"))).ok_or(ServeError::BadProxy)
}

/// Waits until the API server answers, and says so while it does not.
pub async fn wait_for_api_server(client: &Client) {
    let mut pause = Duration::from_millis(250);
    while let Err(error) = client.apiserver_version().await {
        tracing::warn!(
            %error,
            "the Kubernetes API server does not answer; trying again in {pause:?}. Check that it runs and that KUBECONFIG names it"
        );
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(MAX_PAUSE);
    }
}

/// `/livez`, `/readyz` and `/metrics`.
#[derive(Clone)]
pub struct Admin(Arc<AdminState>);

struct AdminState {
    registry: Registry,
    ready: Box<dyn Fn() -> Result<(), String> + Send + Sync>,
}

impl Admin {
    /// `ready` says why not, when not.
    pub fn new(registry: Registry, ready: impl Fn() -> Result<(), String> + Send + Sync + 'static) -> Self {
        Self(Arc::new(AdminState { registry, ready: Box::new(ready) }))
    }

    /// The routes.
    pub fn router(&self) -> Router {
        let (probed, scraped) = (self.clone(), self.clone());
        Router::new()
            .route("/livez", get(async || "ok\n"))
            .route("/readyz", get(move || std::future::ready(probed.readyz())))
            .route("/metrics", get(move || std::future::ready(scraped.metrics())))
    }

    fn readyz(&self) -> Response {
        match (self.0.ready)() {
            Ok(()) => "ok\n".into_response(),
            Err(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {why}\n")).into_response(),
        }
    }

    fn metrics(&self) -> Response {
        let mut text = String::new();
        match prometheus_client::encoding::text::encode(&mut text, &self.0.registry) {
            Ok(()) => {
                let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
                ([(header::CONTENT_TYPE, kind)], Body::from(text)).into_response()
            }
            Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
        }
    }
}
