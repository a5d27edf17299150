//! Watches whose events cannot be attributed to an object: nothing is missed, and `/readyz` names the cause. No API server
//! sends such events, so a proxy does.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::response::Response;
use tokio::net::TcpListener;

use super::support::process::free_ports;
use super::support::proxy::anonymous;
use super::*;

/// A proxy that spoils the watches of ApiKeys while it is told to.
struct Spoiler {
    kubeconfig: PathBuf,
    spoils: Arc<AtomicBool>,
}

impl Spoiler {
    async fn start(cluster: &Cluster, account: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let spoils = Arc::new(AtomicBool::new(false));
        let state = (anonymous(&cluster.plane.kubeconfig).await.unwrap(), spoils.clone());
        tokio::spawn(async move { axum::serve(listener, Router::new().fallback(pass).with_state(state)).await });
        let token_file = cluster.refresh_token(account).await.unwrap();
        let kubeconfig = cluster.plane.dir.join(format!("spoiler-{port}.kubeconfig"));
        let user = format!("tokenFile: \"{}\"", token_file.display());
        cluster.plane.write_kubeconfig_for(&kubeconfig, &format!("http://127.0.0.1:{port}"), &user).unwrap();
        Self { kubeconfig, spoils }
    }

    fn spoil(&self, spoils: bool) {
        self.spoils.store(spoils, Ordering::SeqCst);
    }
}

async fn pass(State((upstream, spoils)): State<(Client, Arc<AtomicBool>)>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let is_watch = parts.uri.path().ends_with("/apikeys") && parts.uri.query().is_some_and(|q| q.contains("watch="));
    if is_watch && spoils.load(Ordering::SeqCst) {
        return Response::new(Body::from("{\"type\":\"ADDED\",\"object\":{\"metadata\":{}}}\n"));
    }
    let body = to_bytes(body, usize::MAX).await.unwrap();
    let request = ::http::Request::from_parts(parts, kube::client::Body::from(body.to_vec()));
    upstream.send(request).await.unwrap().map(Body::new)
}

#[tokio::test]
async fn a_verifier_whose_watch_is_spoiled_misses_nothing() {
    let cluster = Cluster::shared().await;
    let _held = neither().await;
    let _operator = Running::operator(cluster, &[]).await.unwrap().ready().await;
    let space = Space::new(cluster).await;
    let value = space.ready_key("storefront").await;
    let spoiler = Spoiler::start(cluster, "keywright-verifier").await;
    let [listen, admin] = free_ports().unwrap();
    let verifier = Running::start(cluster, "verifier", &spoiler.kubeconfig, Some(listen), admin, &[]).unwrap();
    let verifier = verifier.ready().await;
    spoiler.spoil(true);
    space.patch_key("storefront", json!({"spec": {"disabled": true}})).await;
    verifier.eventually_says("disabled", "scope=any", &value).await;
    space.patch_key("storefront", json!({"spec": {"disabled": false}})).await;
    verifier.eventually_says("ok", "scope=any", &value).await;
    until_not_ready(&verifier, "the watch of apikeys has failed for").await;
    until_not_ready(&verifier, "cannot be parsed").await;
    assert!(verifier.metric::<f64>("keywright_watch_failing_seconds").await > 0.0);
    spoiler.spoil(false);
    verifier.ready().await;
}

#[tokio::test]
async fn an_operator_whose_watch_is_spoiled_misses_nothing() {
    let cluster = Cluster::shared().await;
    let _held = neither().await;
    let spoiler = Spoiler::start(cluster, "keywright-operator").await;
    let operator = Running::operator_with(cluster, &spoiler.kubeconfig, &[]).unwrap().ready().await;
    spoiler.spoil(true);
    Space::new(cluster).await.ready_key("storefront").await;
    until_not_ready(&operator, "the watch of apikeys has failed for").await;
    Space::new(cluster).await.ready_key("storefront").await;
    spoiler.spoil(false);
    operator.ready().await;
}
