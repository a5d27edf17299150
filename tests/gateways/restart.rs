//! Verifiers that come and go, and clients that go, while others call.

use std::convert::Infallible;
use std::process::Command;

use futures::future::join_all;
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tonic::transport::Endpoint;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::fixture::{ALL, CADDY, ENVOY, ENVOY_OVER_HTTP, Gateway, Kind, NGINX, Stage, TRAEFIK, stage};
use super::service::Service;
use super::support::keywright::Running;
use super::support::{eventually, http};
use super::table::eventually_passes;

/// A key that is accepted and one that is not.
struct Keys {
    good: String,
    disabled: String,
}

impl Keys {
    async fn new(gateway: &Gateway) -> Self {
        let space = &gateway.space;
        let good = space.ready_key("storefront").await;
        space.key("disabled", json!({"account": "acme", "accessLevel": "Full", "disabled": true})).await;
        space.until_ready_is("disabled", "Issued").await;
        let disabled = space.value("disabled", "api-key").await;
        for verifier in &gateway.verifiers {
            verifier.eventually_says("disabled", "scope=any", &disabled).await;
            verifier.eventually_says("ok", "scope=any", &good).await;
        }
        eventually_passes(gateway, "/orders", &good).await;
        Self { good, disabled }
    }

    /// Calls with both as long as somebody waits for it. Refusals for want of a verifier are `tolerated`, or they are not.
    async fn keep_calling(&self, gateway: &Gateway, tolerated: bool) -> Infallible {
        loop {
            for (key, right) in [(&self.good, 200), (&self.disabled, 401)] {
                let answer = gateway.with_key("GET", "/orders", key).await;
                let is_unavailable = tolerated && (500..600).contains(&answer.status);
                assert!(answer.status == right || is_unavailable, "{}: {answer:?}, not {right}", gateway.name);
            }
        }
    }

    /// Does something while calls go on.
    async fn during<T>(&self, gateway: &Gateway, tolerated: bool, what: impl Future<Output = T>) -> T {
        let call = || self.keep_calling(gateway, tolerated);
        tokio::select! {
            (never, ..) = async { tokio::join!(call(), call(), call(), call()) } => match never {},
            done = what => done,
        }
    }
}

/// One verifier, one gateway: for a while there is nobody to ask.
async fn restarted(stage: &Stage, kind: &Kind) {
    let gateway = stage.start(kind).await;
    let keys = Keys::new(&gateway).await;
    let restart = async {
        let next = stage.restart(&gateway, &gateway.verifiers[0]).await;
        eventually_passes(&gateway, "/orders", &keys.good).await;
        next
    };
    let _next = keys.during(&gateway, true, restart).await;
    for _ in 0..20 {
        assert_eq!(gateway.with_key("GET", "/orders", &keys.good).await.status, 200, "{}", gateway.name);
        assert_eq!(gateway.with_key("GET", "/orders", &keys.disabled).await.status, 401, "{}", gateway.name);
    }
}

#[tokio::test]
async fn a_verifier_that_is_restarted_during_traffic_gives_no_wrong_answer() {
    let stage = stage().await;
    join_all(ALL.iter().map(|kind| restarted(stage, kind))).await;
}

/// Two verifiers that the gateway knows, restarted one after the other.
async fn rolled(kind: &Kind, second: (&str, &str)) {
    let stage = stage().await;
    restart_each(stage, &stage.start_with(kind, 2, &[second]).await).await;
}

async fn restart_each(stage: &Stage, gateway: &Gateway) {
    let keys = Keys::new(gateway).await;
    let restarts = async {
        let mut running = Vec::new();
        for verifier in &gateway.verifiers {
            running.push(stage.restart(gateway, verifier).await);
        }
        running
    };
    keys.during(gateway, false, restarts).await;
}

#[tokio::test]
async fn envoy_loses_no_call_while_two_verifiers_are_restarted_one_after_the_other() {
    const ONE: &str = "- endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: 7071}}}";
    let two = format!("{ONE}\n              {}", ONE.replace("7071", "7081"));
    rolled(&ENVOY, (ONE, &two)).await;
}

#[tokio::test]
async fn envoy_over_http_loses_no_call_while_two_verifiers_are_restarted_one_after_the_other() {
    const ONE: &str = "- endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: 7070}}}";
    let two = format!("{ONE}\n              {}", ONE.replace("7070", "7080"));
    rolled(&ENVOY_OVER_HTTP, (ONE, &two)).await;
}

#[tokio::test]
async fn caddy_loses_no_call_while_two_verifiers_are_restarted_one_after_the_other() {
    rolled(&CADDY, ("forward_auth 127.0.0.1:7070", "forward_auth 127.0.0.1:7070 127.0.0.1:7080")).await;
}

#[tokio::test]
async fn traefik_loses_no_call_while_two_verifiers_behind_a_service_are_restarted_one_after_the_other() {
    let stage = stage().await;
    let service = Service::start().await;
    let gateway = stage.start_with(&TRAEFIK, 2, &[("127.0.0.1:7070", &service.address)]).await;
    service.leads_to(gateway.verifiers.iter().map(|verifier| verifier.address.clone()).collect());
    restart_each(stage, &gateway).await;
}

#[tokio::test]
async fn nginx_loses_no_call_while_two_verifiers_are_restarted_one_after_the_other() {
    const ONE: &str = "server 127.0.0.1:7070 fail_timeout=1s;";
    rolled(&NGINX, (ONE, &format!("{ONE} {}", ONE.replace("7070", "7080")))).await;
}

async fn health(verifier: &Running) -> Result<ServingStatus, tonic::Status> {
    let channel = Endpoint::from_shared(format!("http://{}", verifier.grpc)).unwrap().connect_lazy();
    let request = HealthCheckRequest { service: "envoy.service.auth.v3.Authorization".to_owned() };
    Ok(HealthClient::new(channel).check(request).await?.into_inner().status())
}

#[tokio::test]
async fn a_verifier_that_is_told_to_stop_says_so_where_gateways_ask_while_it_still_answers() {
    let stage = stage().await;
    let gateway = stage.start(&ENVOY).await;
    let keys = Keys::new(&gateway).await;
    let verifier = &gateway.verifiers[0];
    let readyz = async || http::get(&verifier.address, "/readyz", &[]).await.unwrap().status;
    assert_eq!((health(verifier).await.unwrap(), readyz().await), (ServingStatus::Serving, 200));
    signal(verifier, "TERM");
    let told = eventually("not serving", async || match health(verifier).await {
        Ok(ServingStatus::NotServing) => Ok(()),
        other => Err(format!("{other:?}")),
    });
    keys.during(&gateway, false, told).await;
    assert_eq!(readyz().await, 503);
    assert_eq!(gateway.with_key("GET", "/orders", &keys.good).await.status, 200, "it still answers");
    assert!(verifier.process.ended().is_none());
}

fn signal(verifier: &Running, name: &str) {
    let id = verifier.process.id().to_string();
    assert!(Command::new("kill").args([&format!("-{name}"), &id]).status().unwrap().success());
}

/// All calls of an Envoy go over one connection to the verifier. A server that takes many calls given up at once for an
/// attack ends that connection, and with it everybody's calls.
#[tokio::test]
async fn clients_that_go_in_the_middle_of_a_call_disturb_no_other() {
    let stage = stage().await;
    // Patient enough for a slow machine: the verifier stands still for a moment.
    let gateway = stage.start_with(&ENVOY, 1, &[("timeout: 0.5s", "timeout: 10s")]).await;
    let keys = Keys::new(&gateway).await;
    let verifier = &gateway.verifiers[0];
    for _ in 0..3 {
        signal(verifier, "STOP");
        let call = format!("GET /orders HTTP/1.1\r\nHost: api\r\nX-API-Key: {}\r\n\r\n", keys.good);
        for _ in 0..100 {
            let mut client = TcpStream::connect(&gateway.address).await.unwrap();
            client.write_all(call.as_bytes()).await.unwrap();
        }
        let other = gateway.with_key("GET", "/orders", &keys.good);
        let resumed = async {
            // Envoy answers this one itself, and only when it has seen those before it go.
            let answer = gateway.with_key("GET", "/orders/%2f", &keys.good).await;
            signal(verifier, "CONT");
            answer.status
        };
        let (other, seen) = tokio::join!(other, resumed);
        assert_eq!((other.status, seen), (200, 400), "{other:?}");
    }
}
