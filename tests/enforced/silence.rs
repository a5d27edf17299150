//! Verifiers that say nothing any more: their time is waited out, and their Leases are collected.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::{ALL, Scene, scene};
use crate::support::eventually;
use crate::support::keywright::Running;
use crate::support::proxy::{Fault, Proxy};

/// A verifier that renews and does not get on, for ever.
async fn renewing(scene: &Scene, name: &str) {
    loop {
        scene.has_applied(name, 1).await;
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_verifier_that_renews_and_never_passes_is_outwaited_and_its_lease_stays() {
    let scene = scene().await;
    scene.appears("a", ALL, 1000).await;
    scene.appears("b", ALL, 0).await;
    scene.settled_key("storefront").await;
    scene.has_applied("a", 1).await;
    let since = Instant::now();
    scene.disable("storefront").await;
    eventually("storefront is outwaited", async || {
        scene.has_applied("a", 1).await;
        let said = scene.enforced("ak/storefront").ok_or("nothing is said of it")?;
        if said.reason == "Outwaited" { Ok(()) } else { Err(format!("{said:?}")) }
    })
    .await;
    // 1 second, and 2 for what clocks may be apart.
    assert!(since.elapsed() >= Duration::from_secs(3), "{:?}", since.elapsed());
    assert!(scene.is_there("a").await);
}

#[tokio::test]
async fn the_only_verifier_gone_silent_is_outwaited_and_its_lease_is_collected() {
    let scene = scene().await;
    scene.appears("a", ALL, 1000).await;
    scene.space.account("acme", serde_json::json!({"accessLevel": "Full"})).await;
    let key = serde_json::json!({"account": "acme", "accessLevel": "Full"});
    scene.space.key("storefront", key).await;
    scene.until("ak/storefront", "Acknowledged").await;
    scene.has_applied("a", 1).await;
    let since = Instant::now();
    scene.disable("storefront").await;
    let said = scene.until("ak/storefront", "Outwaited").await;
    assert_eq!(said.status, "True");
    assert!(since.elapsed() >= Duration::from_secs(3), "{:?}", since.elapsed());
    eventually("its Lease is collected", async || if scene.is_there("a").await { Err("it is there") } else { Ok(()) })
        .await;
}

#[tokio::test]
async fn one_without_max_staleness_is_waited_for_until_a_person_says_that_it_is_dead() {
    let scene = scene().await;
    scene.appears("other", ALL, 0).await;
    scene.settled_key("storefront").await;
    scene.appears("dead", 1, 0).await;
    scene.appears("fenced", 1, 1000).await;
    scene.disable("storefront").await;
    let said = scene.until("ak/storefront", "VerifierUnreachable").await;
    let advice = "kubectl delete lease -n keywright-entries dead";
    assert!(said.message.contains(advice), "{}", said.message);
    eventually("the other Lease is collected", async || {
        if scene.is_there("fenced").await { Err("it is there") } else { Ok(()) }
    })
    .await;
    scene.is_not_proven("ak/storefront").await;
    assert!(scene.is_there("dead").await, "it may answer by what it knew for ever");
    scene.goes("dead").await;
    assert_eq!(scene.until("ak/storefront", "Outwaited").await.status, "True");
}

#[tokio::test]
async fn an_operator_that_starts_begins_its_waits_afresh() {
    let mut scene = scene().await;
    scene.appears("a", ALL, 9000).await;
    scene.appears("b", ALL, 0).await;
    scene.settled_key("storefront").await;
    scene.has_applied("a", 1).await;
    scene.disable("storefront").await;
    // Said after 5 of 11 seconds.
    let said = scene.until("ak/storefront", "VerifierUnreachable").await;
    assert!(said.message.contains("when it is outwaited at"), "{}", said.message);
    scene.operator.process.kill();
    let since = Instant::now();
    scene.operator = Running::operator(scene.cluster, &[]).await.unwrap().ready().await;
    tokio::select! {
        _ = scene.until("ak/storefront", "Outwaited") => {}
        () = renewing(&scene, "a") => {}
    }
    assert!(since.elapsed() >= Duration::from_secs(11), "{:?}", since.elapsed());
}

#[tokio::test]
async fn a_lease_that_was_renewed_after_its_silence_was_measured_is_not_collected() {
    let scene = scene().await;
    scene.operator.process.kill();
    scene.appears("a", ALL, 1000).await;
    let uid = scene.lease_uid("a").await;
    let gate = Arc::new(Notify::new());
    let proxy = Proxy::start(scene.cluster, [(1, Fault::Hold(gate.clone()))]).await.unwrap();
    let operator = proxy.operator(scene.cluster).unwrap();
    proxy.sprung().await;
    scene.has_applied("a", 1).await;
    gate.notify_one();
    tokio::select! {
        () = scene.until_looked_at_by(&operator) => {}
        () = renewing(&scene, "a") => {}
    }
    assert_eq!(scene.lease_uid("a").await, uid);
    assert!(uid.is_some());
}
