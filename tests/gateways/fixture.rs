//! Operator, verifier, upstream, and gateways on free ports.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use axum::Router;
use axum::extract::Request;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::OnceCell;

use super::support::cluster::Cluster;
use super::support::keywright::Running;
use super::support::process::{Process, free_ports, output};
use super::support::space::Space;
use super::support::{eventually, http};

/// What all tests of this binary share.
pub struct Stage {
    cluster: &'static Cluster,
    /// Held so that it goes on.
    #[allow(dead_code)]
    operator: Running,
    pub upstream: String,
}

/// A running gateway.
pub struct Gateway {
    pub name: &'static str,
    pub address: String,
    /// The account that its routes accept.
    pub space: Space,
    #[allow(dead_code)]
    process: Process,
    /// Of its own, when a test is to take it away.
    pub verifier: Arc<Running>,
}

pub async fn stage() -> &'static Stage {
    static STAGE: OnceCell<Stage> = OnceCell::const_new();
    STAGE
        .get_or_init(async || {
            let cluster = Cluster::shared().await;
            let operator = Running::operator(cluster, &[]).await.unwrap().ready().await;
            Stage { cluster, operator, upstream: upstream().await }
        })
        .await
}

async fn verifier(cluster: &Cluster) -> Running {
    Running::verifier(cluster, &["--method-header=X-Original-Method"]).await.unwrap().ready().await
}

/// Answers with what it was sent: method, path, and every header under the name that it came by.
async fn upstream() -> String {
    let echo = async |request: Request| {
        let headers: Vec<Value> = request
            .headers()
            .iter()
            .map(|(name, value)| json!([name.as_str(), String::from_utf8_lossy(value.as_bytes())]))
            .collect();
        json!({"method": request.method().as_str(), "path": request.uri().path(), "headers": headers}).to_string()
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    // A runtime of its own: that of a test ends with the test.
    let listener = listener.into_std().unwrap();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            axum::serve(TcpListener::from_std(listener).unwrap(), Router::new().fallback(echo)).await.unwrap();
        });
    });
    address
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
    pub async fn envoy(&self) -> Gateway {
        self.gateway("envoy", &["envoy.yaml"], "10000", |dir| run_envoy(&dir.join("envoy.yaml"))).await
    }

    pub async fn envoy_over_http(&self) -> Gateway {
        self.gateway("envoy-http", &["envoy-http.yaml"], "10001", |dir| run_envoy(&dir.join("envoy-http.yaml"))).await
    }

    pub async fn nginx(&self) -> Gateway {
        let files = ["nginx.conf", "keywright-ask.conf", "keywright-identity.conf"];
        let run = |dir: &Path| {
            let settings = "daemon off; pid nginx.pid; error_log stderr warn;";
            let args = ["-p", &dir.display().to_string(), "-c", "nginx.conf", "-g", settings];
            ("nginx", args.map(str::to_owned).to_vec())
        };
        self.gateway("nginx", &files, "8080", run).await
    }

    pub async fn caddy(&self) -> Gateway {
        let run = |dir: &Path| {
            let config = dir.join("Caddyfile").display().to_string();
            ("caddy", ["run", "--adapter", "caddyfile", "--config", &config].map(str::to_owned).to_vec())
        };
        self.gateway("caddy", &["Caddyfile"], "8081", run).await
    }

    /// Starts one with the files of docs/gateways; only ports and the account's namespace are put in their place.
    async fn gateway(
        &self,
        name: &'static str,
        files: &[&str],
        port: &str,
        run: impl Fn(&Path) -> (&'static str, Vec<String>),
    ) -> Gateway {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let dir = self.cluster.plane.dir.join(format!("{name}-{number}"));
        std::fs::create_dir_all(&dir).unwrap();
        let space = Space::new(self.cluster).await;
        let verifier = Arc::new(verifier(self.cluster).await);
        let [free] = free_ports().unwrap();
        for file in files {
            let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/gateways").join(file);
            let text = std::fs::read_to_string(docs).unwrap();
            let text = text.replace("shop/acme", &format!("{}/acme", space.name));
            let free = format!(":{free}");
            let ports =
                [(port, &free), ("7070", &verifier.address), ("7071", &verifier.grpc), ("9000", &self.upstream)];
            std::fs::write(dir.join(file), with_ports(&text, &ports)).unwrap();
        }
        let (program, args) = run(&dir);
        let log = self.cluster.plane.dir.join("logs").join(format!("{name}-{number}.log"));
        let process = Process::start(name, &tools().join(program), &args, &[], &log).unwrap();
        let address = format!("127.0.0.1:{free}");
        eventually(&format!("{name} answers"), async || {
            assert!(process.ended().is_none(), "{}: {}", name, std::fs::read_to_string(&log).unwrap_or_default());
            http::get(&address, "/nothing", &[]).await.map(drop)
        })
        .await;
        Gateway { name, address, space, process, verifier }
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
