//! A wire between a verifier and the API server that can be cut, and mended in two ways: as after a broken connection,
//! where a watch goes on from where it was, and as after a long time, where it must list everything anew.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use futures::{StreamExt, stream};
use kube::config::{AuthInfo, KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::Error;
use super::cluster::Cluster;

/// A wire; it carries as long as the test's runtime runs.
pub struct Wire {
    shared: Arc<Shared>,
    pub kubeconfig: PathBuf,
}

struct Shared {
    upstream: Client,
    severed: watch::Sender<bool>,
    /// How often those who listen were deafened.
    deafened: watch::Sender<u32>,
    /// Of which resource which methods are refused, as without the right to them.
    refused: Mutex<Vec<(&'static str, &'static [&'static str])>>,
    /// All parts of all paths.
    seen: Mutex<HashSet<String>>,
    /// How many writes of Leases arrive, but their answers do not.
    lost: AtomicU32,
    /// The next watch of suspensions is told that it is too old.
    gone: AtomicBool,
}

impl Wire {
    pub async fn start(cluster: &Cluster) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut kubeconfig = Kubeconfig::read_from(&cluster.plane.kubeconfig).unwrap();
        // The requests bring an identity of their own.
        kubeconfig.auth_infos.iter_mut().for_each(|user| user.auth_info = Some(AuthInfo::default()));
        let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
        let shared = Arc::new(Shared {
            upstream: Client::try_from(config).unwrap(),
            severed: watch::Sender::new(false),
            deafened: watch::Sender::new(0),
            gone: AtomicBool::new(false),
            refused: Mutex::default(),
            seen: Mutex::default(),
            lost: AtomicU32::new(0),
        });
        let router = Router::new().fallback(pass).with_state(shared.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        let token_file = cluster.refresh_token("keywright-verifier").await.unwrap();
        let kubeconfig = cluster.plane.dir.join(format!("wire-{port}.kubeconfig"));
        let user = format!("tokenFile: \"{}\"", token_file.display());
        cluster.plane.write_kubeconfig_for(&kubeconfig, &format!("http://127.0.0.1:{port}"), &user).unwrap();
        Self { shared, kubeconfig }
    }

    /// Cuts it; what is sent from now on does not arrive.
    pub async fn sever(&self) {
        self.shared.severed.send_replace(true);
        // Every answer under way holds a receiver.
        self.shared.severed.closed().await;
    }

    /// Whoever listens now hears nothing any more, not even an end; whoever asks anew is answered.
    pub fn deafen(&self) {
        self.shared.deafened.send_modify(|times| *times += 1);
    }

    /// Mends it; watches go on from where they were.
    pub fn mend(&self) {
        self.shared.severed.send_replace(false);
    }

    /// Refuses these methods on a resource, and nothing else.
    pub fn refuse(&self, resource: &'static str, methods: &'static [&'static str]) {
        self.shared.refused.lock().unwrap().push((resource, methods));
    }

    /// Refuses nothing on this resource any more.
    pub fn permit(&self, resource: &str) {
        self.shared.refused.lock().unwrap().retain(|(refused, _)| *refused != resource);
    }

    /// Refuses nothing any more.
    pub fn refuse_nothing(&self) {
        self.shared.refused.lock().unwrap().clear();
    }

    /// The answers of so many writes of Leases are lost.
    pub fn lose_lease_answers(&self, count: u32) {
        self.shared.lost.store(count, Ordering::SeqCst);
    }

    /// Has anything been asked of this resource?
    pub fn has_seen(&self, resource: &str) -> bool {
        self.shared.seen.lock().unwrap().contains(resource)
    }

    /// Mends it so late that the watch of suspensions must list them anew.
    pub fn mend_late(&self) {
        self.shared.gone.store(true, Ordering::SeqCst);
        self.mend();
    }

    /// Was the watch told to list anew?
    pub fn has_relisted(&self) -> bool {
        !self.shared.gone.load(Ordering::SeqCst)
    }
}

impl Shared {
    fn refuses(&self, method: &str, path: &str) -> bool {
        let refused = self.refused.lock().unwrap();
        let names = |resource: &str| path.split('/').any(|part| part == resource);
        refused.iter().any(|(resource, methods)| names(resource) && methods.contains(&method))
    }

    fn loses_one(&self) -> bool {
        self.lost.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
    }
}

async fn pass(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let mut severed = shared.severed.subscribe();
    if *severed.borrow_and_update() {
        return StatusCode::BAD_GATEWAY.into_response();
    }
    shared.seen.lock().unwrap().extend(request.uri().path().split('/').map(str::to_owned));
    if shared.refuses(request.method().as_str(), request.uri().path()) {
        let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Forbidden",
            "message": "the wire refuses it", "code": 403});
        return (StatusCode::FORBIDDEN, status.to_string()).into_response();
    }
    let mut deafened = shared.deafened.subscribe();
    deafened.mark_unchanged();
    let (parts, body) = request.into_parts();
    let is_watch = parts.uri.query().is_some_and(|query| query.contains("watch=true"));
    if is_watch && parts.uri.path().ends_with("/suspensions") && shared.gone.swap(false, Ordering::SeqCst) {
        let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Expired",
            "message": "too old resource version", "code": 410});
        return format!("{}\n", json!({"type": "ERROR", "object": status})).into_response();
    }
    let Ok(body) = to_bytes(body, usize::MAX).await else { return StatusCode::BAD_GATEWAY.into_response() };
    let is_lost = parts.method == "PUT" && parts.uri.path().contains("/leases/") && shared.loses_one();
    let request = http::Request::from_parts(parts, kube::client::Body::from(body.to_vec()));
    match shared.upstream.send(request).await {
        Ok(_) if is_lost => StatusCode::BAD_GATEWAY.into_response(),
        Ok(answer) => answer.map(|body| {
            let cut = async move {
                // Fails only when the wire is gone.
                let _ = severed.wait_for(|severed| *severed).await;
            };
            let bytes = Body::new(body).into_data_stream().map(|bytes| bytes.map_err(Error::from));
            let heard = stream::unfold((bytes, deafened), async |(mut bytes, deafened)| {
                let next = bytes.next().await;
                if deafened.has_changed().unwrap_or_default() {
                    std::future::pending::<()>().await;
                }
                Some((next?, (bytes, deafened)))
            });
            Body::from_stream(heard.take_until(Box::pin(cut)))
        }),
        Err(error) => (StatusCode::BAD_GATEWAY, error.to_string()).into_response(),
    }
}
