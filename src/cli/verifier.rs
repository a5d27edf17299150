//! `keywright verifier`

use std::net::SocketAddr;

use axum::http::HeaderName;

use crate::verifier::credential::Places;
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

    /// Where probes and Prometheus ask /livez, /readyz and /metrics
    #[arg(long, env = "KEYWRIGHT_ADMIN_LISTEN", default_value = "127.0.0.1:7072")]
    admin_listen: SocketAddr,

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

    /// How many argon2id checks may run at once, each with 19 MiB; they are needed only while tags are older than
    /// the pepper
    #[arg(long, env = "KEYWRIGHT_ARGON2_CHECKS", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..))]
    argon2_checks: u8,
}

impl Args {
    pub(super) async fn run(self) -> Result<(), super::Error> {
        let config = Config {
            listen: self.listen,
            admin: self.admin_listen,
            places: Places { header: self.key_header, scheme: self.auth_scheme },
            method_header: self.method_header,
            slow_checks: usize::from(self.argon2_checks),
        };
        Ok(verifier::run(config).await?)
    }
}
