//! Operator, verifier, upstream, and gateways on free ports.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::sync::OnceCell;

use super::support::cluster::Cluster;
use super::support::keywright::Running;
use super::support::process::{Process, free_ports, output};
use super::support::space::Space;
use super::support::{self, eventually, http};
use super::upstream;

/// What all tests of this binary share.
pub struct Stage {
    cluster: &'static Cluster,
    pub upstream: String,
}

/// A gateway of docs/gateways.
pub struct Kind {
    pub name: &'static str,
    files: &'static [&'static str],
    port: &'static str,
    /// What tells it the method over HTTP.
    method_header: &'static str,
    /// Accepts HTTP/2 without TLS.
    speaks_h2c: bool,
    run: fn(&Path) -> (&'static str, Vec<String>),
}

pub const ENVOY: Kind = Kind {
    name: "envoy",
    files: &["envoy.yaml"],
    port: "10000",
    method_header: "X-Original-Method",
    speaks_h2c: true,
    run: |dir| run_envoy(&dir.join("envoy.yaml")),
};

pub const ENVOY_OVER_HTTP: Kind = Kind {
    name: "envoy-http",
    files: &["envoy-http.yaml"],
    port: "10001",
    method_header: "X-Original-Method",
    speaks_h2c: true,
    run: |dir| run_envoy(&dir.join("envoy-http.yaml")),
};

pub const NGINX: Kind = Kind {
    name: "nginx",
    files: &[
        "nginx.conf",
        "keywright-ask.conf",
        "keywright-cors.conf",
        "keywright-headers.conf",
        "keywright-identity.conf",
    ],
    port: "8080",
    method_header: "X-Original-Method",
    speaks_h2c: false,
    run: |dir| {
        // One process, so that none outlives the test.
        let settings = "daemon off; master_process off; pid nginx.pid; error_log stderr warn;";
        let args = ["-p", &dir.display().to_string(), "-c", "nginx.conf", "-g", settings];
        ("nginx", args.map(str::to_owned).to_vec())
    },
};

pub const CADDY: Kind = Kind {
    name: "caddy",
    files: &["Caddyfile"],
    port: "8081",
    method_header: "X-Original-Method",
    speaks_h2c: false,
    run: |dir| {
        let config = dir.join("Caddyfile").display().to_string();
        ("caddy", ["run", "--adapter", "caddyfile", "--config", &config].map(str::to_owned).to_vec())
    },
};

pub const TRAEFIK: Kind = Kind {
    name: "traefik",
    files: &["traefik.yaml", "traefik-routes.yaml"],
    port: "8082",
    method_header: "X-Forwarded-Method",
    speaks_h2c: true,
    run: |dir| ("traefik", vec![format!("--configFile={}", dir.join("traefik.yaml").display())]),
};

/// Envoy asks over gRPC and over HTTP, the others over HTTP.
pub const ALL: [Kind; 5] = [ENVOY, ENVOY_OVER_HTTP, NGINX, CADDY, TRAEFIK];

/// A running gateway.
pub struct Gateway {
    pub name: &'static str,
    pub address: String,
    /// The account that its routes accept.
    pub space: Space,
    #[allow(dead_code)]
    process: Process,
    /// Of its own: a test may take them away.
    pub verifiers: Vec<Arc<Running>>,
    method_header: &'static str,
    pub speaks_h2c: bool,
}

pub async fn stage() -> &'static Stage {
    static STAGE: OnceCell<Stage> = OnceCell::const_new();
    STAGE
        .get_or_init(async || Stage {
            cluster: support::stage::stage().await.cluster,
            upstream: upstream::start().await,
        })
        .await
}

fn method_header(name: &str) -> String {
    format!("--method-header={name}")
}

/// Where the gateways' programs are; they are fetched once.
fn tools() -> PathBuf {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/gateways/tools");
    PathBuf::from(output(&mut Command::new(script)).unwrap().trim())
}

fn run_envoy(config: &Path) -> (&'static str, Vec<String>) {
    let config = config.display().to_string();
    (
        "envoy",
        ["-c", &config, "--log-level", "warning", "--concurrency", "1", "--disable-hot-restart"]
            .map(str::to_owned)
            .to_vec(),
    )
}

/// Each number that is one of these ports becomes the port of the address beside it, in one pass: a free port may hold
/// the digits of another.
fn with_ports(text: &str, ports: &[(&str, &String)]) -> String {
    let word = |word: &str| {
        let number = word.trim_end_matches(|c: char| !c.is_ascii_digit());
        let address = ports.iter().find(|(port, _)| *port == number).map(|(_, address)| address.as_str());
        let port = address.and_then(|address| address.rsplit_once(':')).map_or(number, |(_, port)| port);
        format!("{port}{}", &word[number.len()..])
    };
    text.split_inclusive(|c: char| !c.is_ascii_digit()).map(word).collect()
}

impl Stage {
    /// Starts a gateway with the files of docs/gateways; only ports and the account's namespace are put in their place.
    pub async fn start(&self, kind: &Kind) -> Gateway {
        self.start_with(kind, 1, &[]).await
    }

    /// The same before so many verifiers, of which the second has the ports 7080 and 7081 in the files, and with these
    /// texts of the files replaced by others.
    pub async fn start_with(&self, kind: &Kind, verifiers: usize, changes: &[(&str, &str)]) -> Gateway {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let &Kind { name, method_header, speaks_h2c, .. } = kind;
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let dir = self.cluster.plane.dir.join(format!("{name}-{number}"));
        std::fs::create_dir_all(&dir).unwrap();
        let space = Space::new(self.cluster).await;
        let flag = self::method_header(method_header);
        let mut running = Vec::new();
        for _ in 0..verifiers {
            let verifier = Running::verifier(self.cluster, &[&flag]).await.unwrap().ready().await;
            running.push(Arc::new(verifier));
        }
        let [free] = free_ports().unwrap();
        let free = format!(":{free}");
        let mut ports = vec![(kind.port, &free), ("9000", &self.upstream)];
        for (verifier, [http, grpc]) in running.iter().zip([["7070", "7071"], ["7080", "7081"]]) {
            ports.extend([(http, &verifier.address), (grpc, &verifier.grpc)]);
        }
        for file in kind.files {
            let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/gateways").join(file);
            let mut text = std::fs::read_to_string(docs).unwrap();
            for (from, to) in changes {
                text = text.replace(from, to);
            }
            let text = with_ports(&text.replace("shop/acme", &format!("{}/acme", space.name)), &ports);
            std::fs::write(dir.join(file), text.replace("/etc/traefik", &dir.display().to_string())).unwrap();
        }
        let (program, args) = (kind.run)(&dir);
        let log = self.cluster.plane.dir.join("logs").join(format!("{name}-{number}.log"));
        let process = Process::start(name, &tools().join(program), &args, &[], &log).unwrap();
        let address = format!("127.0.0.1{free}");
        eventually(&format!("{name} answers"), async || {
            assert!(process.ended().is_none(), "{}: {}", name, std::fs::read_to_string(&log).unwrap_or_default());
            // Traefik listens before it has read its routes.
            let answer = http::get(&address, "/orders", &[]).await?;
            if answer.status == 404 { Err(support::Error::from("it has no routes")) } else { Ok(()) }
        })
        .await;
        Gateway { name, address, space, process, verifiers: running, method_header, speaks_h2c }
    }

    /// Stops a gateway's verifier as Kubernetes does, and starts another where it was.
    pub async fn restart(&self, gateway: &Gateway, verifier: &Arc<Running>) -> Running {
        let last = verifier.clone();
        let ended = tokio::task::spawn_blocking(move || last.process.terminate().unwrap()).await.unwrap();
        assert_eq!(ended, Some(0), "{}", std::fs::read_to_string(&verifier.log).unwrap());
        let kubeconfig = self.cluster.kubeconfig_of("keywright-verifier").await.unwrap();
        let args = [method_header(gateway.method_header), format!("--grpc-listen={}", verifier.grpc)];
        let port = verifier.address.rsplit_once(':').unwrap().1.parse().unwrap();
        let [admin] = free_ports().unwrap();
        let args = args.each_ref().map(String::as_str);
        Running::start(self.cluster, "verifier", &kubeconfig, Some(port), admin, &args).unwrap().ready().await
    }
}

impl Gateway {
    /// A call from outside.
    pub async fn call(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> http::Answer {
        http::request(&self.address, method, path, headers, "").await.unwrap()
    }

    /// A call with a key: the status, and the code where the gateway passes it on.
    pub async fn with_key(&self, method: &str, path: &str, key: &str) -> http::Answer {
        self.call(method, path, &[("Authorization", &format!("Bearer {key}"))]).await
    }
}
