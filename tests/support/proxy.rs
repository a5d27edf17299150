//! Stands between an operator and the API server: writes down what passes, and at one chosen write kills the operator
//! or holds the write back.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, Weak};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use data_encoding::BASE64;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::Notify;

use super::Result;
use super::cluster::Cluster;
use super::keywright::Running;

/// What happens at the chosen write.
#[derive(Clone)]
pub enum Fault {
    /// The operator is killed and the write never arrives.
    KillBefore,
    /// The write arrives, and the operator is killed before it hears the answer.
    KillAfter,
    /// The write waits until it is let go.
    Hold(Arc<Notify>),
    /// The write arrives, and its answer loses its end.
    CutAnswer,
    /// The write arrives, and what was answered is never known.
    LoseAnswer,
}

/// A write of a Secret or of an ApiKey's status.
#[derive(Clone, Debug, PartialEq)]
pub enum Write {
    /// An entry, with the serial of its newest value.
    Entry { uid: String, serial: u64 },
    /// A delivered Secret, with the plaintext in it.
    Secret { owner: String, serial: String, value: String },
    /// A Secret or a Lease was deleted.
    Deleted,
    /// A status.
    Status { name: String },
    /// Key material.
    Other,
}

struct Shared {
    upstream: Client,
    /// The namespace whose writes are counted. `None`: all.
    namespace: Option<String>,
    /// The writes they happen at, counted from 1.
    faults: Vec<(usize, Fault)>,
    seen: Mutex<Vec<Write>>,
    /// Requests other than watches, by method and resource.
    requests: Mutex<BTreeMap<String, usize>>,
    sprung: Notify,
    /// Weak: whoever started the operator decides when it ends.
    victim: OnceLock<Weak<Running>>,
}

/// A proxy; it serves as long as the test's runtime runs.
pub struct Proxy {
    shared: Arc<Shared>,
    kubeconfig: PathBuf,
}

impl Proxy {
    /// Starts one with faults at the given writes, counted from 1.
    pub async fn start(cluster: &Cluster, faults: impl IntoIterator<Item = (usize, Fault)>) -> Result<Self> {
        Self::serve(cluster, None, faults).await
    }

    /// The same, but only writes of the keys of one namespace count: an operator also goes on with what it owes to those of other
    /// tests.
    pub async fn of(
        cluster: &Cluster,
        namespace: &str,
        faults: impl IntoIterator<Item = (usize, Fault)>,
    ) -> Result<Self> {
        Self::serve(cluster, Some(namespace.to_owned()), faults).await
    }

    async fn serve(
        cluster: &Cluster,
        namespace: Option<String>,
        faults: impl IntoIterator<Item = (usize, Fault)>,
    ) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let shared = Arc::new(Shared {
            upstream: anonymous(&cluster.plane.kubeconfig).await?,
            namespace,
            faults: faults.into_iter().collect(),
            seen: Mutex::default(),
            requests: Mutex::default(),
            sprung: Notify::new(),
            victim: OnceLock::new(),
        });
        let router = Router::new().fallback(pass).with_state(shared.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        let token_file = cluster.refresh_token("keywright-operator").await?;
        let kubeconfig = cluster.plane.dir.join(format!("proxy-{port}.kubeconfig"));
        let user = format!("tokenFile: \"{}\"", token_file.display());
        cluster.plane.write_kubeconfig_for(&kubeconfig, &format!("http://127.0.0.1:{port}"), &user)?;
        Ok(Self { shared, kubeconfig })
    }

    /// Starts an operator behind it.
    pub fn operator(&self, cluster: &Cluster) -> Result<Arc<Running>> {
        self.operator_with(cluster, &[])
    }

    /// The same with arguments.
    pub fn operator_with(&self, cluster: &Cluster, args: &[&str]) -> Result<Arc<Running>> {
        let operator = Arc::new(Running::operator_with(cluster, &self.kubeconfig, args)?);
        let _ = self.shared.victim.set(Arc::downgrade(&operator));
        Ok(operator)
    }

    /// Everything that was written through it, in order.
    pub fn seen(&self) -> Vec<Write> {
        self.shared.seen.lock().unwrap().clone()
    }

    /// Every request that was sent through it, but watches: how many of each method and resource, in its namespace or all.
    pub fn requests(&self) -> BTreeMap<String, usize> {
        self.shared.requests.lock().unwrap().clone()
    }

    /// Returns when the fault has happened.
    pub async fn sprung(&self) {
        self.shared.sprung.notified().await;
    }
}

/// A client with no identity of its own: the requests bring theirs.
pub async fn anonymous(kubeconfig: &Path) -> Result<Client> {
    let mut kubeconfig = Kubeconfig::read_from(kubeconfig)?;
    for user in &mut kubeconfig.auth_infos {
        user.auth_info = Some(kube::config::AuthInfo::default());
    }
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    Ok(Client::try_from(config)?)
}

async fn pass(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, usize::MAX).await else { return StatusCode::BAD_GATEWAY.into_response() };
    let query = parts.uri.query().unwrap_or_default();
    let path = parts.uri.path();
    shared.note(&parts.method, path, query);
    let counts = parts.method != Method::GET
        && !query.contains("dryRun")
        && !body.windows(8).any(|word| word == b"\"dryRun\"")
        && (path.contains("/secrets")
            || path.contains("/leases")
            || (path.contains("/apikeys/") && path.ends_with("/status")))
        && shared.namespace.as_ref().is_none_or(|namespace| concerns(namespace, path, &body));
    let fault = if counts { shared.count(&parts.method, &body) } else { None };
    match &fault {
        Some(Fault::KillBefore) => return shared.kill(),
        Some(Fault::Hold(gate)) => {
            shared.sprung.notify_one();
            gate.notified().await;
        }
        Some(Fault::KillAfter | Fault::CutAnswer | Fault::LoseAnswer) | None => {}
    }
    let request = http::Request::from_parts(parts, kube::client::Body::from(body.to_vec()));
    let answer = match shared.upstream.send(request).await {
        Ok(answer) => answer.map(Body::new),
        Err(error) => (StatusCode::BAD_GATEWAY, error.to_string()).into_response(),
    };
    match fault {
        Some(Fault::KillAfter) => shared.kill(),
        Some(Fault::CutAnswer) => cut(answer).await,
        Some(Fault::LoseAnswer) => StatusCode::BAD_GATEWAY.into_response(),
        _ => answer,
    }
}

async fn cut(answer: Response) -> Response {
    let bytes = to_bytes(answer.into_body(), usize::MAX).await.unwrap_or_default();
    Response::new(Body::from(bytes.slice(..bytes.len().saturating_sub(10))))
}

impl Shared {
    fn note(&self, method: &Method, path: &str, query: &str) {
        if query.contains("watch=") {
            return;
        }
        let segments: Vec<&str> = path.split('/').collect();
        let after = segments.iter().position(|segment| *segment == "namespaces").map_or(3, |place| place + 2);
        let resource = segments.get(after).unwrap_or(&"");
        let sub = segments.get(after + 2).map_or(String::new(), |sub| format!("/{sub}"));
        let verb = if *method == Method::GET && segments.len() == after + 1 { "LIST" } else { method.as_str() };
        let dry = if query.contains("dryRun") { " (dry run)" } else { "" };
        *self.requests.lock().unwrap().entry(format!("{verb} {resource}{sub}{dry}")).or_default() += 1;
    }

    fn count(&self, method: &Method, body: &[u8]) -> Option<Fault> {
        let mut seen = self.seen.lock().unwrap();
        seen.push(if method == Method::DELETE { Write::Deleted } else { read(body) });
        self.faults.iter().find(|(at, _)| *at == seen.len()).map(|(_, fault)| fault.clone())
    }

    fn kill(&self) -> Response {
        if let Some(operator) = self.victim.get().and_then(Weak::upgrade) {
            operator.process.kill();
        }
        self.sprung.notify_one();
        StatusCode::BAD_GATEWAY.into_response()
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn decoded(value: &Value) -> Vec<u8> {
    BASE64.decode(text(value).as_bytes()).unwrap_or_default()
}

/// The record in the Secret of an entry.
fn record(object: &Value) -> Value {
    serde_json::from_slice(&decoded(&object["data"]["entry.json"])).unwrap_or_default()
}

/// Is this a write in the namespace, or of the record of a key there?
fn concerns(namespace: &str, path: &str, body: &[u8]) -> bool {
    let object: Value = serde_json::from_slice(body).unwrap_or_default();
    path.contains(&format!("/namespaces/{namespace}/")) || record(&object)["owner"]["namespace"] == namespace
}

fn read(body: &[u8]) -> Write {
    let object: Value = serde_json::from_slice(body).unwrap_or_default();
    match object["type"].as_str() {
        Some("keywright.dev/entry") => {
            let entry = record(&object);
            Write::Entry { uid: text(&object["metadata"]["name"]), serial: entry["lastSerial"].as_u64().unwrap_or(0) }
        }
        Some("keywright.dev/api-key") => Write::Secret {
            owner: text(&object["metadata"]["ownerReferences"][0]["uid"]),
            serial: text(&object["metadata"]["annotations"]["keywright.dev/serial"]),
            value: String::from_utf8(decoded(&object["data"]["api-key"])).unwrap_or_default(),
        },
        _ if object["kind"] == "ApiKey" => Write::Status { name: text(&object["metadata"]["name"]) },
        _ => Write::Other,
    }
}
