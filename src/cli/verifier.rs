//! `keywright verifier`

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use axum::http::HeaderName;

use super::duration;
use crate::api::{Namespaces, names, namespace_name, watched_namespace};
use crate::server::TlsFiles;
use crate::server::budget::Budget;
use crate::verifier::activity::Sources;
use crate::verifier::credential::Places;
use crate::verifier::question::Question;
use crate::verifier::{self, Config};

/// Answer "may this request pass?" for gateways.
#[derive(clap::Args)]
#[command(
    after_help = "Ask it:\n  curl -i 'http://127.0.0.1:7070/auth?scope=orders:read' -H \"Authorization: Bearer $KEY\"\n  \
curl http://127.0.0.1:7070/v1/verify -d '{\"key\":\"'$KEY'\",\"scope\":\"orders:read\"}'"
)]
pub(super) struct Args {
    /// Where gateways ask /auth and programs /v1/verify
    #[arg(long, env = "KEYWRIGHT_LISTEN", default_value = "127.0.0.1:7070")]
    listen: SocketAddr,

    /// Where Envoy asks its `ext_authz` over gRPC; off: nowhere
    #[arg(long, env = "KEYWRIGHT_GRPC_LISTEN", default_value = "127.0.0.1:7071", value_name = "ADDRESS|off")]
    grpc_listen: MayListen,

    /// Where probes and Prometheus ask /livez, /readyz and /metrics
    #[arg(long, env = "KEYWRIGHT_ADMIN_LISTEN", default_value = "127.0.0.1:7072")]
    admin_listen: SocketAddr,

    /// The namespaces whose keys are served, such as shop,billing; all, if it is left out. Keys elsewhere are unknown. Each
    /// namespace takes three watches, so with more than a few dozen watch all of them
    #[arg(long, env = "KEYWRIGHT_WATCH_NAMESPACES", value_name = "NAMES", value_delimiter = ',', value_parser = watched_namespace)]
    watch_namespaces: Vec<String>,

    /// Namespace of entries, the pepper and the verifiers' Leases
    #[arg(long, env = "KEYWRIGHT_ENTRIES_NAMESPACE", value_name = "NAME", default_value = names::ENTRIES_NAMESPACE, value_parser = namespace_name)]
    entries_namespace: String,

    /// The header that may hold the bare key
    #[arg(long, env = "KEYWRIGHT_KEY_HEADER", default_value = "x-api-key")]
    key_header: HeaderName,

    /// The Authorization scheme that may hold the key, besides Bearer
    #[arg(long, env = "KEYWRIGHT_AUTH_SCHEME", default_value = "ApiKey")]
    auth_scheme: String,

    /// The header in which the gateway tells the original request's method; resource= needs it. The gateway must
    /// always set it itself, or a client could
    #[arg(long, env = "KEYWRIGHT_METHOD_HEADER")]
    method_header: Option<HeaderName>,

    /// Requirement of gRPC requests that carry none, such as scope=any&account=shop/acme: for Gateway API's `ExternalAuth`, which
    /// cannot send one. Without this flag such requests are denied as `bad_route`. It holds for every host and path, so a route
    /// whose own requirement was forgotten has this one; use a verifier of its own for such routes
    #[arg(long, env = "KEYWRIGHT_DEFAULT_REQUIREMENT", value_name = "REQUIREMENT", value_parser = requirement)]
    default_requirement: Option<String>,

    /// Name of this pod. The name of the Lease begins with it, by which the chart's policy keeps the token of one pod from the Leases
    /// of others
    #[arg(long, env = "KEYWRIGHT_POD_NAME", value_name = "NAME")]
    pod_name: Option<String>,

    /// What is noted in status.activity of who calls with a key
    #[arg(long, env = "KEYWRIGHT_ACTIVITY_SOURCES", value_enum, default_value_t)]
    activity_sources: Sources,

    /// The header in which the gateway tells the client's address, such as X-Real-IP, for --activity-sources=networks; over
    /// gRPC Envoy tells it by itself. The gateway must always set it itself, or a client could
    #[arg(long, env = "KEYWRIGHT_CLIENT_HEADER")]
    client_header: Option<HeaderName>,

    /// How many argon2id checks may run at once, each with 19 MiB; they are needed only while tags are older than
    /// the pepper
    #[arg(long, env = "KEYWRIGHT_ARGON2_CHECKS", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..))]
    argon2_checks: u8,

    /// Past which age of what is known, or of the last renewal of this verifier's Lease, every call is answered 503 `not_ready`,
    /// as when the API server cannot be reached; 0s is never. At least 15s, for that old it may be when all is well. The operator
    /// waits for as long before it says Enforced of what a verifier that is silent may not know
    #[arg(long, env = "KEYWRIGHT_MAX_STALENESS", default_value = "30m", value_parser = max_staleness)]
    max_staleness: Duration,

    /// How many writes of keys' use (status.activity) are sent a second, at most; a key is written at most once a minute
    #[arg(long, env = "KEYWRIGHT_ACTIVITY_BUDGET", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    activity_budget: u32,

    /// Log this part of the answers, each as one line with the key's public id, the code, what the route wanted and the
    /// trace id: 0 is none, 0.01 every hundredth on average, 1 all. Refused calls are what an attacker can make many of
    #[arg(long, env = "KEYWRIGHT_ACCESS_LOG", default_value_t = 0.0, value_name = "PART", value_parser = part)]
    access_log: f64,

    /// How long after a signal to stop new calls are still taken, while /readyz says no already
    #[arg(long, env = "KEYWRIGHT_SHUTDOWN_DELAY", default_value = "5s", value_parser = duration::parse)]
    shutdown_delay: Duration,

    /// How many connections each of the two listeners bears; one more is told 503
    #[arg(long, env = "KEYWRIGHT_MAX_CONNECTIONS", default_value_t = 16_384, value_parser = clap::value_parser!(u32).range(1..))]
    max_connections: u32,

    /// Memory in MiB for connections to both listeners and for requests that are not answered yet. An HTTP/1 connection takes
    /// 24 KiB to 408 KiB by the size of its heads, an HTTP/2 connection 1.3 MiB, and each unfinished request 8 KiB or more. More is answered 503
    #[arg(long, env = "KEYWRIGHT_CONNECTION_MEMORY", default_value_t = 192, value_name = "MIB", value_parser = clap::value_parser!(u32).range(8..=65_536))]
    connection_memory: u32,

    /// Percentage of the connections and their memory that one peer address (one /64 of IPv6) may take
    #[arg(long, env = "KEYWRIGHT_PEER_SHARE", default_value_t = 50, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(1..=100))]
    peer_share: u8,

    /// Largest gRPC message in KiB. A larger one is denied with status 413 and code `too_large`
    #[arg(long, env = "KEYWRIGHT_MAX_MESSAGE", default_value_t = 256, value_name = "KIB", value_parser = clap::value_parser!(u32).range(8..=65_536))]
    max_message: u32,

    /// Time after which a connection without requests is closed, and maximum time for the head of a request. Use more than
    /// gateways keep idle connections
    #[arg(long, env = "KEYWRIGHT_IDLE_TIMEOUT", default_value = "75s", value_parser = idle_timeout)]
    idle_timeout: Duration,

    /// The certificate for HTTP and gRPC, as PEM; it is read again when it changes
    #[arg(long, env = "KEYWRIGHT_TLS_CERT", value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,

    /// Its private key, as PEM
    #[arg(long, env = "KEYWRIGHT_TLS_KEY", value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,

    /// Who issues the certificates of gateways, as PEM; with it, only gateways that show one are served
    #[arg(long, env = "KEYWRIGHT_TLS_CLIENT_CA", value_name = "FILE", requires = "tls_cert")]
    tls_client_ca: Option<PathBuf>,
}

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;
const SHORTEST_IDLE: Duration = Duration::from_secs(1);

fn bytes(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// An address, or `off`.
#[derive(Clone, Copy)]
struct MayListen(Option<SocketAddr>);

impl FromStr for MayListen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "off" {
            return Ok(Self(None));
        }
        let address =
            text.parse().map_err(|error| format!("{error}; give an address such as 127.0.0.1:7071, or off"))?;
        Ok(Self(Some(address)))
    }
}

fn requirement(text: &str) -> Result<String, String> {
    // The method decides nothing about the form.
    Question::from_default(text, b"GET").map(|_| text.to_owned()).map_err(|error| error.to_string())
}

fn part(text: &str) -> Result<f64, String> {
    let part = text.parse().ok().filter(|part| (0.0..=1.0).contains(part));
    part.ok_or_else(|| format!("{text} is no part of all: use a number from 0 to 1, such as 0.01"))
}

fn max_staleness(text: &str) -> Result<Duration, String> {
    match duration::parse(text)? {
        short if short > Duration::ZERO && short < verifier::FRESH => {
            Err(format!("{text} is less than {:?}: when all is well, what is known may be that old", verifier::FRESH))
        }
        bound => Ok(bound),
    }
}

fn idle_timeout(text: &str) -> Result<Duration, String> {
    let timeout = duration::parse(text)?;
    if timeout < SHORTEST_IDLE { Err(format!("{text} is too short: use 1s or more")) } else { Ok(timeout) }
}

impl Args {
    pub(super) async fn run(self) -> Result<(), super::Error> {
        let config = Config {
            listen: self.listen,
            grpc: self.grpc_listen.0,
            admin: self.admin_listen,
            namespaces: Namespaces::named(self.watch_namespaces),
            entries_namespace: self.entries_namespace,
            places: Places { header: self.key_header, scheme: self.auth_scheme },
            method_header: self.method_header,
            pod_name: self.pod_name,
            default_requirement: self.default_requirement,
            slow_checks: usize::from(self.argon2_checks),
            max_staleness: self.max_staleness,
            client_header: self.client_header,
            activity_sources: self.activity_sources,
            activity_budget: self.activity_budget,
            access_log: self.access_log,
            shutdown_delay: self.shutdown_delay,
            connections: bytes(self.max_connections),
            memory: Budget::new(MIB * bytes(self.connection_memory), self.peer_share),
            peer_share: self.peer_share,
            largest_message: KIB * bytes(self.max_message),
            idle: self.idle_timeout,
            tls: self.tls_cert.zip(self.tls_key).map(|(certificate, key)| TlsFiles {
                certificate,
                key,
                client_ca: self.tls_client_ca,
            }),
        };
        Ok(verifier::run(config).await?)
    }
}
