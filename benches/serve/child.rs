//! The servers: the real one, and those of the same stack that look at nothing.
//!
//! Each says where it listens, and ends when its standard input does.

use std::io::{BufRead, Read, stdin};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use keywright::server::budget::Budget;
use keywright::server::{self, Limits, Protocols, Shutdown, bind, serve};
use keywright::telemetry::{self, LogFormat};
use keywright::verifier;
use keywright::verifier::access_log::AccessLog;
use keywright::verifier::credential::Places;
use keywright::verifier::ext_authz::ExtAuthz;
use keywright::verifier::ext_authz::server::{Server, most_bytes};
use keywright::verifier::freshness::{Progress, WATCHES, now};
use keywright::verifier::http::{self, Http};
use keywright::verifier::metrics::Metrics;
use keywright::verifier::service::Service;
use prometheus_client::registry::Registry;

use super::answers::{self, Answers};
use super::support::filled_for;

/// As the command line has it by default.
const MAX_STALENESS: Duration = Duration::from_mins(30);

#[tokio::main]
pub async fn run(role: &str, keys: usize) {
    // As the program has it by default: without it, spans of libraries cost more.
    telemetry::start("info", LogFormat::Text).unwrap();
    let shutdown = Shutdown::on_signal(Duration::ZERO).unwrap();
    match role {
        "real" => {
            let service = service(keys);
            let ext_authz = ExtAuthz::new(service.clone(), Places::default());
            let authorization = Server::new(ext_authz, Server::LARGEST_MESSAGE);
            let grpc = verifier::grpc_router(service.clone(), authorization, shutdown.clone());
            let method_header = Some(axum::http::HeaderName::from_static("x-original-method"));
            let http =
                http::routes(Http { service, places: Places::default(), method_header, client_header: None }, || true);
            listen(http, grpc, shutdown).await;
        }
        role => {
            let Answers { http, grpc } = Answers::hear(role);
            match role {
                "raw" => listen(http, grpc, shutdown).await,
                _ => listen(server::routed(http.routed()), grpc, shutdown).await,
            }
        }
    }
}

/// A service that is ready, as after its lists are complete. Its keys, which nobody will ever hold, are told to the process
/// that asks with them, and not kept.
fn service(keys: usize) -> Arc<Service> {
    let index = filled_for(keys, |_, key| println!("{key}"));
    let mut service = Service::new(Metrics::register(&mut Registry::default()), 1, MAX_STALENESS, AccessLog::new(0.0));
    service.index = index;
    service.freshness.lease_written(now(), now());
    for _ in 0..WATCHES {
        Progress::new("bench", &service.freshness).listed("1", now(), true);
    }
    Arc::new(service)
}

async fn listen(http: impl server::Answers, grpc: Router, shutdown: Shutdown) {
    let any: SocketAddr = ([127, 0, 0, 1], 0).into();
    let (http_listener, grpc_listener) = (bind(any).unwrap(), bind(any).unwrap());
    let address = |listener: &tokio::net::TcpListener| listener.local_addr().unwrap();
    println!("{} {}", address(&http_listener), address(&grpc_listener));
    std::thread::spawn(|| {
        let _ = stdin().lock().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    // The command line's defaults; all clients have one address here.
    let memory = Budget::new(192 << 20, 100);
    let limits = Limits {
        connections: 16_384,
        peer_share: 100,
        memory,
        head: Limits::HEAD,
        body: most_bytes(Server::LARGEST_MESSAGE),
        idle: Limits::IDLE,
        protocols: Protocols::All,
    };
    tokio::join!(
        serve(http_listener, http, limits.clone(), None, shutdown.clone()),
        serve(grpc_listener, server::routed(grpc), limits, None, shutdown),
    );
}

/// A line of standard input, which its sender wrote in hexadecimal digits.
pub fn heard() -> Vec<u8> {
    let mut line = String::new();
    stdin().lock().read_line(&mut line).unwrap();
    answers::HEX.decode(line.trim_end().as_bytes()).unwrap()
}
