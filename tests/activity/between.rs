//! Stands between a verifier and the API server, and decides what becomes of each write of a key's use.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use futures::stream;
use kube::Client;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};

use super::support::Error;
use super::support::cluster::Cluster;
use super::support::eventually;
use super::support::keywright::Running;
use super::support::process::free_ports;
use super::support::proxy::anonymous;

/// What becomes of a write.
#[derive(Clone)]
pub enum Fate {
    /// It goes through.
    Pass,
    /// It does not arrive, and this is the answer.
    Refuse(StatusCode),
    /// It is applied, and the connection breaks before the answer.
    Unheard,
    /// It waits at the gate, however long; the verifier hears nothing.
    Hold(watch::Receiver<bool>),
}

/// A write that came by.
#[derive(Clone, Debug)]
pub struct Seen {
    pub at: Instant,
    /// What the API server said, once it has.
    pub answer: Option<StatusCode>,
}

type Rule = Box<dyn Fn(&str) -> Fate + Send + Sync>;

struct Shared {
    upstream: Client,
    rule: Mutex<Rule>,
    seen: Mutex<Vec<Seen>>,
}

/// A proxy; it serves as long as the test's runtime runs.
pub struct Between {
    shared: Arc<Shared>,
    kubeconfig: PathBuf,
}

impl Between {
    /// Everything passes.
    pub async fn start(cluster: &Cluster) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let upstream = anonymous(&cluster.plane.kubeconfig).await.unwrap();
        let shared = Arc::new(Shared { upstream, rule: Mutex::new(Box::new(|_| Fate::Pass)), seen: Mutex::default() });
        let router = Router::new().fallback(pass).with_state(shared.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        let token_file = cluster.refresh_token("keywright-verifier").await.unwrap();
        let kubeconfig = cluster.plane.dir.join(format!("between-{port}.kubeconfig"));
        let user = format!("tokenFile: \"{}\"", token_file.display());
        cluster.plane.write_kubeconfig_for(&kubeconfig, &format!("http://127.0.0.1:{port}"), &user).unwrap();
        Self { shared, kubeconfig }
    }

    /// A verifier behind it.
    pub async fn verifier(&self, cluster: &Cluster) -> Running {
        let [listen, admin] = free_ports().unwrap();
        let args = ["--shutdown-delay=0s"];
        Running::start(cluster, "verifier", &self.kubeconfig, Some(listen), admin, &args).unwrap().ready().await
    }

    /// From now on this decides, by the name of the key.
    pub fn rule(&self, rule: impl Fn(&str) -> Fate + Send + Sync + 'static) {
        *self.shared.rule.lock().unwrap() = Box::new(rule);
    }

    /// All writes so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.shared.seen.lock().unwrap().clone()
    }

    /// Waits until so many writes have come by, and returns all.
    pub async fn until_seen(&self, count: usize) -> Vec<Seen> {
        eventually(&format!("{count} writes"), async || match self.seen() {
            seen if seen.len() >= count => Ok(seen),
            seen => Err(seen.len()),
        })
        .await
    }
}

async fn pass(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, usize::MAX).await else { return StatusCode::BAD_GATEWAY.into_response() };
    let path = parts.uri.path();
    let key =
        path.strip_suffix("/status").and_then(|path| path.rsplit_once("/apikeys/")).map(|(_, key)| key.to_owned());
    let key = key.filter(|_| parts.method == Method::PATCH);
    let request = http::Request::from_parts(parts, kube::client::Body::from(body.to_vec()));
    let Some(key) = key else { return shared.forward(request).await };
    let fate = (shared.rule.lock().unwrap())(&key);
    let number = {
        let mut seen = shared.seen.lock().unwrap();
        seen.push(Seen { at: Instant::now(), answer: None });
        seen.len() - 1
    };
    if let Fate::Refuse(status) = fate {
        return refusal(status);
    }
    // It goes on even when the verifier has given up.
    let (answers, answer) = oneshot::channel();
    tokio::spawn(async move {
        if let Fate::Hold(mut gate) = fate.clone() {
            let _ = gate.wait_for(|is_open| *is_open).await;
        }
        let answer = shared.forward(request).await;
        shared.seen.lock().unwrap()[number].answer = Some(answer.status());
        let _ = answers.send(if matches!(fate, Fate::Unheard) { broken() } else { answer });
    });
    answer.await.unwrap_or_else(|_| StatusCode::BAD_GATEWAY.into_response())
}

impl Shared {
    async fn forward(&self, request: http::Request<kube::client::Body>) -> Response {
        match self.upstream.send(request).await {
            Ok(answer) => answer.map(Body::new),
            Err(error) => (StatusCode::BAD_GATEWAY, error.to_string()).into_response(),
        }
    }
}

/// As the API server says it.
fn refusal(status: StatusCode) -> Response {
    let body = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": status.as_u16(),
        "message": "as the test wants it", "reason": "Test"});
    (status, [("content-type", "application/json")], body.to_string()).into_response()
}

/// An answer that ends in a broken connection.
fn broken() -> Response {
    let error = Err::<Vec<u8>, Error>("the connection breaks".into());
    Response::new(Body::from_stream(stream::iter([error])))
}
