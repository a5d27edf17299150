//! Requests with large bodies, which the verifier never reads. Traefik can be told to send it the bodies all the same.

use super::fixture::{Gateway, Stage, TRAEFIK};
use super::support::http;
use super::table::eventually_passes;
use super::upstream::Received;

/// More than the buffers between a gateway and the verifier.
const BODY: usize = 700_000;
/// Calls one after the other: of those that were lost, it was 7 in 100.
const CALLS: usize = 100;

async fn post(gateway: &Gateway, key: &str, body: &str) -> http::Answer {
    let bearer = format!("Bearer {key}");
    http::request(&gateway.address, "POST", "/orders", &[("Authorization", &bearer)], body).await.unwrap()
}

async fn pass(gateway: &Gateway, calls: usize) -> String {
    let key = gateway.space.ready_key("storefront").await;
    eventually_passes(gateway, "/orders", &key).await;
    let body = "x".repeat(BODY);
    for call in 0..calls {
        let answer = post(gateway, &key, &body).await;
        assert!(Received::of(&answer).is_some(), "{}, call {call}: {answer:?}", gateway.name);
    }
    key
}

pub async fn large(_: &Stage, gateway: &Gateway) {
    pass(gateway, 10).await;
}

pub async fn forwarded(stage: &Stage) {
    let forwards = ("trustForwardHeader: false", "trustForwardHeader: false\n          forwardBody: true");
    let gateway = stage.start_with(&TRAEFIK, 1, &[forwards]).await;
    let key = pass(&gateway, CALLS).await;
    let unknown = format!("{}x", &key[..key.len() - 1]);
    let body = "x".repeat(BODY);
    for _ in 0..CALLS {
        assert_eq!(post(&gateway, &unknown, &body).await.status, 401);
    }
}
