//! Through a real Envoy that answers 200 itself: without any check, with its own, and with ours.
//!
//! Envoy and the verifier share a core; the client has the other.

use std::cell::RefCell;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::Scale;
use super::beside::{SLICES, Servers, Spread, median, once};
use super::http1::{self, Http};
use super::load::{Crowd, Keys, Outcome, Pace, run};
use super::process::Process;

/// Keep-alive connections of clients.
const CLIENTS: usize = 64;
/// Keys of a small gateway.
const FEW: usize = 1_000;
/// Envoy reads its configuration, which may hold all keys.
const PATIENCE: Duration = Duration::from_mins(2);

struct Case<'k> {
    name: String,
    envoy: Process,
    address: String,
    keys: &'k RefCell<Keys>,
}

pub async fn compare(servers: &Servers, scale: Scale) {
    let dir = TempDir::new().unwrap();
    let few = RefCell::new(servers.keys.borrow().first(FEW));
    let all = &servers.keys;
    let mut cases = Vec::new();
    let set_ups = [
        ("no check".to_owned(), all, None, vec![]),
        (format!("api_key_auth, {FEW} keys"), &few, Some(own(&few.borrow())), vec![]),
        (format!("api_key_auth, {} keys", scale.keys), all, Some(own(&all.borrow())), vec![]),
        ("keywright, gRPC".to_owned(), all, Some(over_grpc()), vec![cluster(&servers.real.grpc, true)]),
        ("keywright, HTTP".to_owned(), all, Some(over_http()), vec![cluster(&servers.real.http, false)]),
    ];
    for (name, keys, filter, clusters) in set_ups {
        eprintln!("starting Envoy: {name}");
        let is_open = filter.is_none();
        let case = Case::start(name, keys, filter, clusters, dir.path()).await;
        let key = keys.borrow_mut().draw().to_vec();
        assert!(once(&case.address, Http::asking_gateway(), &key).1, "{}: a good key passes", case.name);
        let stranger = servers.strangers.borrow_mut().draw().to_vec();
        assert_eq!(once(&case.address, Http::asking_gateway(), &stranger).1, is_open, "{}: a stranger", case.name);
        cases.push(case);
    }
    println!("\nThrough Envoy, {} keys, {} rounds of {:?}", scale.keys, scale.rounds, scale.span);
    let saturated = rounds(&cases, servers, scale, Pace::Saturate).await;
    let slowest =
        (0..cases.len()).map(|n| median(saturated.iter().map(|round| round[n].rate()))).fold(f64::MAX, f64::min);
    let mut paced = rounds(&cases, servers, scale, Pace::Open(slowest / 2.0)).await;
    println!("Envoy and verifier on one core; latencies at {:.0} calls a second", slowest / 2.0);
    println!(
        "  {:<28} {:>8} {:>9} {:>9} {:>7} {:>7} {:>9} | cpu of both, as often",
        "", "", "Envoy", "verifier", "", "", "Envoy"
    );
    println!(
        "  {:<28} {:>8} {:>9} {:>9} {:>7} {:>7} {:>9} | as without a check",
        "", "calls/s", "ns/call", "ns/call", "p50 µs", "p99 µs", "MB"
    );
    for (n, case) in cases.iter().enumerate() {
        let of = |pick: fn(&Outcome) -> f64| median(saturated.iter().map(|round| pick(&round[n])));
        let cost = |outcome: &Outcome| outcome.cpu(0) + outcome.cpu(1);
        let ratio = Spread::of(saturated.iter().map(|round| cost(&round[n]) / cost(&round[0])));
        let mut latency = |part| median(paced.iter_mut().map(|round| round[n].quantile(part)));
        let (p50, p99) = (latency(0.5), latency(0.99));
        let memory = case.envoy.memory().0 as f64 / 1024.0;
        let (rate, envoy, verifier) = (of(Outcome::rate), of(|o| o.cpu(0)), of(|o| o.cpu(1)));
        let name = &case.name;
        println!("  {name:<28} {rate:>8.0} {envoy:>9.0} {verifier:>9.0} {p50:>7.0} {p99:>7.0} {memory:>9.0} | {ratio}");
    }
}

async fn rounds(cases: &[Case<'_>], servers: &Servers, scale: Scale, pace: Pace) -> Vec<Vec<Outcome>> {
    let mut rounds = Vec::new();
    for number in 1..=scale.rounds {
        let mut crowds = Vec::new();
        for case in cases {
            crowds.push((http1::to_gateway(&case.address, CLIENTS).await, Outcome::default()));
        }
        for _ in 0..SLICES {
            for (case, (lanes, outcome)) in cases.iter().zip(&mut crowds) {
                let good = Crowd { lanes, keys: &mut case.keys.borrow_mut() };
                let watched = [&case.envoy, &servers.real.process];
                outcome.add(run(good, None, pace, scale.span / SLICES, &watched).await);
            }
        }
        let round: Vec<_> = crowds.into_iter().map(|(_, outcome)| outcome).collect();
        assert!(round.iter().all(|outcome| outcome.refused == 0), "every good key is good");
        let rates: Vec<_> = round.iter().map(|outcome| outcome.rate().round()).collect();
        eprintln!("through Envoy, round {number}: {rates:?} calls a second");
        rounds.push(round);
    }
    rounds
}

impl<'k> Case<'k> {
    async fn start(
        name: String,
        keys: &'k RefCell<Keys>,
        filter: Option<Value>,
        clusters: Vec<Value>,
        dir: &Path,
    ) -> Self {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let file = dir.join(format!("{}.json", address.port()));
        std::fs::write(&file, config(address.port(), filter, &clusters).to_string()).unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/gateways/tools");
        let tools = String::from_utf8(Command::new(script).output().unwrap().stdout).unwrap();
        let program = Path::new(tools.trim()).join("envoy");
        let file = file.display().to_string();
        let args = ["-c", &file, "--log-level", "error", "--concurrency", "1", "--disable-hot-restart"];
        let envoy = Process::start(&program, &args);
        let begin = Instant::now();
        while tokio::net::TcpStream::connect(address).await.is_err() {
            assert!(begin.elapsed() < PATIENCE, "Envoy does not listen: {name}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Self { name, envoy, address: address.to_string(), keys }
    }
}

/// The type of an extension, as Envoy wants it said.
fn typed(name: &str) -> String {
    format!("type.googleapis.com/envoy.extensions.{name}")
}

fn config(port: u16, filter: Option<Value>, clusters: &[Value]) -> Value {
    let is_grpc = filter.as_ref().is_some_and(|filter| filter["typed_config"]["grpc_service"].is_object());
    let mut route = json!({"match": {"prefix": "/"}, "direct_response": {"status": 200}});
    if is_grpc {
        route["typed_per_filter_config"]["envoy.filters.http.ext_authz"] = json!({
            "@type": typed("filters.http.ext_authz.v3.ExtAuthzPerRoute"),
            "check_settings": {"context_extensions": {"scope": "orders:read"}},
        });
    }
    let router = json!({
        "name": "envoy.filters.http.router",
        "typed_config": {"@type": typed("filters.http.router.v3.Router")},
    });
    let filters: Vec<Value> = filter.into_iter().chain([router]).collect();
    let manager = json!({
        "name": "envoy.filters.network.http_connection_manager",
        "typed_config": {
            "@type": typed("filters.network.http_connection_manager.v3.HttpConnectionManager"),
            "stat_prefix": "api",
            "route_config": {"virtual_hosts": [{"name": "api", "domains": ["*"], "routes": [route]}]},
            "http_filters": filters,
        },
    });
    let address = json!({"socket_address": {"address": "127.0.0.1", "port_value": port}});
    let listener = json!({"name": "api", "address": address, "filter_chains": [{"filters": [manager]}]});
    json!({"static_resources": {"listeners": [listener], "clusters": clusters}})
}

/// Envoy's own check.
fn own(keys: &Keys) -> Value {
    let credentials: Vec<Value> =
        keys.all().enumerate().map(|(n, key)| json!({"key": key, "client": format!("key-{n}")})).collect();
    json!({
        "name": "envoy.filters.http.api_key_auth",
        "typed_config": {
            "@type": typed("filters.http.api_key_auth.v3.ApiKeyAuth"),
            "credentials": credentials,
            "key_sources": [{"header": "x-api-key"}],
        },
    })
}

/// As in docs/gateways/envoy.yaml.
fn over_grpc() -> Value {
    ext_authz(json!({"grpc_service": {"envoy_grpc": {"cluster_name": "keywright"}, "timeout": "0.5s"}}))
}

/// As in docs/gateways/envoy-http.yaml.
fn over_http() -> Value {
    let identity = "x-keywright-(account|key|key-id|scopes|site-id|meta-.+)";
    ext_authz(json!({
        "allowed_headers": {"patterns": [{"exact": "x-api-key"}]},
        "http_service": {
            "server_uri": {"uri": "http://keywright", "cluster": "keywright", "timeout": "0.5s"},
            "path_prefix": "/auth/scope=orders:read/-",
            "authorization_response": {"allowed_upstream_headers": {"patterns": [{"safe_regex": {"regex": identity}}]}},
        },
    }))
}

fn ext_authz(service: Value) -> Value {
    let mut config = json!({
        "@type": typed("filters.http.ext_authz.v3.ExtAuthz"),
        "transport_api_version": "V3",
        "failure_mode_allow": false,
        "clear_route_cache": false,
        "encode_raw_headers": true,
        "validate_mutations": true,
    });
    config.as_object_mut().unwrap().extend(service.as_object().unwrap().clone());
    json!({"name": "envoy.filters.http.ext_authz", "typed_config": config})
}

fn cluster(address: &str, is_http2: bool) -> Value {
    let port: u16 = address.rsplit_once(':').unwrap().1.parse().unwrap();
    let endpoint = json!({"address": {"socket_address": {"address": "127.0.0.1", "port_value": port}}});
    let endpoints = json!([{"lb_endpoints": [{"endpoint": endpoint}]}]);
    let mut cluster = json!({
        "name": "keywright",
        "connect_timeout": "0.25s",
        "load_assignment": {"cluster_name": "keywright", "endpoints": endpoints},
    });
    if is_http2 {
        cluster["typed_extension_protocol_options"]["envoy.extensions.upstreams.http.v3.HttpProtocolOptions"] = json!({
            "@type": typed("upstreams.http.v3.HttpProtocolOptions"),
            "explicit_http_config": {"http2_protocol_options": {}},
        });
    }
    cluster
}
