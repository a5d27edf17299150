//! Answers of the greatest length, and the client program in status.activity.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use super::fixture::{Gateway, Stage};
use super::support::eventually;
use super::support::http::Answer;
use super::table::{eventually_passes, sent};

/// Returns 63 resource names of the greatest length, and that of the route /orders.
fn resources() -> Vec<String> {
    (1..64).map(|n| format!("{n:0>98}")).chain(["orders".to_owned()]).collect()
}

/// Returns 8 pairs of the greatest length.
fn metadata(first: char) -> BTreeMap<String, String> {
    (0..8).map(|n| (format!("{first}{n:0>31}"), "v".repeat(128))).collect()
}

/// Returns the scopes that the upstream received.
fn scopes(answer: &Answer) -> BTreeSet<String> {
    sent(answer, "x-keywright-scopes").concat().split(' ').map(str::to_owned).collect()
}

/// Sends the longest list of scopes of a spec, and then the longest that an account makes of two wildcards.
pub async fn longest(_: &Stage, gateway: &Gateway) {
    let space = &gateway.space;
    let all = resources();
    let listed = all.iter().map(|name| format!("{name}:*")).collect::<BTreeSet<_>>();
    space.account("acme", json!({"accessLevel": "Full", "metadata": metadata('a')})).await;
    let key = async |name: &str, scopes: &BTreeSet<String>| {
        let spec = json!({"account": "acme", "accessLevel": "Custom", "scopes": scopes, "metadata": metadata('k')});
        space.key(name, spec).await;
        space.until_ready_is(name, "Issued").await;
        space.value(name, "api-key").await
    };
    let long = key("long", &listed).await;
    let wide = key("wide", &["*:read", "*:write"].map(str::to_owned).into()).await;
    let answer = eventually_passes(gateway, "/orders", &long).await;
    assert_eq!(scopes(&answer), listed, "{}", gateway.name);

    space.patch_account("acme", json!({"spec": {"accessLevel": "Custom", "scopes": listed}})).await;
    let both = all.iter().flat_map(|name| [format!("{name}:read"), format!("{name}:write")]).collect::<BTreeSet<_>>();
    eventually("all scopes that both permit arrive", async || {
        let answer = gateway.with_key("GET", "/orders", &wide).await;
        let arrived = if answer.status == 200 { scopes(&answer) } else { BTreeSet::new() };
        let problem = format!("{}: {} with {} scopes", gateway.name, answer.status, arrived.len());
        if arrived == both { Ok(()) } else { Err(problem) }
    })
    .await;
}

/// Sends more headers than the verifier reads over HTTP/1. The outcome is that of docs/gateways/README.md.
pub async fn crowded(_: &Stage, gateway: &Gateway) {
    let key = gateway.space.ready_key("storefront").await;
    eventually_passes(gateway, "/catalogue", &key).await;
    let names = (0..120).map(|n| format!("X-Client-{n}")).collect::<Vec<_>>();
    let mut headers = vec![("X-API-Key", key.as_str())];
    headers.extend(names.iter().map(|name| (name.as_str(), "v")));
    let expected = match gateway.name {
        "nginx" => 503,
        "traefik" => 200,
        _ => 431,
    };
    let answer = gateway.call("GET", "/catalogue", &headers).await;
    assert_eq!(answer.status, expected, "{}", gateway.name);
}

pub async fn caller(_: &Stage, gateway: &Gateway) {
    let space = &gateway.space;
    let key = space.ready_key("storefront").await;
    let bearer = format!("Bearer {key}");
    // Every call has the header: status.activity is written after two seconds, and then not for a minute.
    let headers = [("Authorization", bearer.as_str()), ("User-Agent", "orders-batch/2.1 (nightly)")];
    eventually("the key passes", async || {
        let answer = gateway.call("GET", "/orders", &headers).await;
        if answer.status == 200 { Ok(()) } else { Err(answer.status) }
    })
    .await;
    let activity = eventually("the use of the key is written", async || {
        let key = space.keys().get("storefront").await.map_err(|e| e.to_string())?;
        key.status.and_then(|status| status.activity).ok_or_else(|| "there is none".to_owned())
    })
    .await;
    let names = activity.sources.iter().map(|source| source.name.as_str()).collect::<Vec<_>>();
    assert_eq!(names, ["orders-batch/2.1"], "{}", gateway.name);
}
