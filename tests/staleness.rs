//! What a verifier does when it cannot know: it answers from what it knows, says how old that is, and past a bound answers
//! nothing.

#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "support/mod.rs"]
mod support;

use serde_json::json;
use support::cluster::Cluster;
use support::keywright::Running;
use support::process::free_ports;
use support::space::Space;
use support::wire::Wire;
use support::{eventually, http};

/// A verifier behind a wire, and a key that passes.
async fn wired(args: &[&str]) -> (Space, Running, Wire, Running, String) {
    let cluster = Cluster::shared().await;
    let operator = Running::operator(cluster, &[]).await.unwrap().ready().await;
    let space = Space::new(cluster).await;
    let key = space.ready_key("storefront").await;
    let wire = Wire::start(cluster).await;
    let [listen, admin] = free_ports().unwrap();
    let verifier = Running::start(cluster, "verifier", &wire.kubeconfig, Some(listen), admin, args).unwrap();
    let verifier = verifier.ready().await;
    verifier.eventually_says("ok", "scope=any", &key).await;
    (space, operator, wire, verifier, key)
}

/// The age of what is known, in seconds, as it says itself.
async fn age(verifier: &Running) -> f64 {
    let metrics = http::get(&verifier.admin, "/metrics", &[]).await.unwrap().body;
    let line = metrics.lines().find_map(|line| line.strip_prefix("keywright_index_age_seconds ")).unwrap();
    line.parse().unwrap()
}

async fn until_age(verifier: &Running, what: &str, is_so: impl Fn(f64) -> bool) {
    eventually(what, async || {
        let age = age(verifier).await;
        if is_so(age) { Ok(()) } else { Err(format!("{age} s")) }
    })
    .await;
}

#[tokio::test]
async fn without_the_api_server_a_verifier_answers_from_what_it_knows_and_says_how_old_that_is() {
    let (_space, _operator, wire, verifier, key) = wired(&[]).await;
    // It is proven every few seconds, also when nothing happens.
    until_age(&verifier, "it grows for a while", |age| age > 1.0).await;
    until_age(&verifier, "it is young again", |age| age < 4.0).await;
    wire.sever().await;
    until_age(&verifier, "it grows", |age| age > 15.0).await;
    assert_eq!(verifier.code("scope=any", &key).await, "ok");
    assert_eq!(http::get(&verifier.admin, "/readyz", &[]).await.unwrap().status, 200);
    wire.mend();
    until_age(&verifier, "it is young again", |age| age < 10.0).await;
}

#[tokio::test]
async fn past_its_bound_of_age_a_verifier_answers_nothing_until_it_knows_again() {
    let (space, _operator, wire, verifier, key) = wired(&["--max-staleness=15s"]).await;
    wire.sever().await;
    space.patch_key("storefront", json!({"spec": {"disabled": true}})).await;
    verifier.eventually_says("not_ready", "scope=any", &key).await;
    let ready = http::get(&verifier.admin, "/readyz", &[]).await.unwrap();
    assert_eq!(ready.status, 503);
    // Its Lease may have come to the bound some seconds before what it knows.
    assert!(ready.body.contains("--max-staleness"), "{}", ready.body);
    eventually("it says that what is known is too old", async || {
        let ready = http::get(&verifier.admin, "/readyz", &[]).await.unwrap().body;
        if ready.contains("what is known is older than --max-staleness") { Ok(()) } else { Err(ready) }
    })
    .await;
    wire.mend();
    verifier.eventually_says("disabled", "scope=any", &key).await;
}

#[tokio::test]
async fn a_watch_that_died_without_a_word_is_noticed_and_another_goes_on() {
    let (space, _operator, wire, verifier, key) = wired(&[]).await;
    wire.deafen();
    space.patch_key("storefront", json!({"spec": {"disabled": true}})).await;
    assert_eq!(verifier.code("scope=any", &key).await, "ok", "the watch lives, so this proves nothing");
    verifier.eventually_says("disabled", "scope=any", &key).await;
}

#[tokio::test]
async fn a_verifier_that_slept_past_its_bound_wakes_to_refuse() {
    let (space, _operator, wire, verifier, key) = wired(&["--max-staleness=15s"]).await;
    wire.sever().await;
    space.patch_key("storefront", json!({"spec": {"disabled": true}})).await;
    let pid = verifier.process.id().to_string();
    let signal = |name: &str| {
        let status = std::process::Command::new("kill").args([&format!("-{name}"), &pid]).status().unwrap();
        assert!(status.success());
    };
    let before = std::time::Instant::now();
    signal("STOP");
    eventually(
        "the bound has passed",
        async || {
            if before.elapsed().as_secs_f64() > 15.5 { Ok(()) } else { Err("not yet") }
        },
    )
    .await;
    signal("CONT");
    assert_eq!(verifier.code("scope=any", &key).await, "not_ready", "its first answer");
    wire.mend();
    verifier.eventually_says("disabled", "scope=any", &key).await;
}
