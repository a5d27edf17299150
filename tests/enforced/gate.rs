//! A value works everywhere before it can be read, as far as verifiers that live are concerned.

use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Secret;
use kube::{Api, ResourceExt};
use serde_json::json;

use super::{ALL, Scene, scene};
use crate::support::{eventually, http};

async fn new_key(scene: &Scene, name: &str) -> u64 {
    let key = scene.space.key(name, json!({"account": "acme", "accessLevel": "Full"})).await;
    eventually("its value is minted", async || {
        let entry = entries(scene).get_opt(&key.uid().unwrap()).await.map_err(|e| e.to_string())?;
        let version = entry.and_then(|entry| entry.metadata.resource_version).ok_or("no entry yet")?;
        version.parse().map_err(|_| version)
    })
    .await
}

fn entries(scene: &Scene) -> Api<Secret> {
    Api::namespaced(scene.space.client.clone(), "keywright-entries")
}

async fn is_delivered(scene: &Scene, name: &str) -> bool {
    scene.space.secrets().get_opt(name).await.unwrap().is_some()
}

#[tokio::test]
async fn a_value_is_not_delivered_before_every_live_verifier_has_its_entry() {
    let scene = scene().await;
    scene.appears("a", ALL, 0).await;
    scene.appears("b", ALL, 0).await;
    scene.space.account("acme", json!({"accessLevel": "Full"})).await;
    scene.until("acct/acme", "Acknowledged").await;
    scene.has_applied("b", 1).await;
    let version = new_key(&scene, "storefront").await;
    scene.until_looked_at().await;
    scene.has_applied("b", version - 1).await;
    scene.until_looked_at().await;
    assert!(!is_delivered(&scene, "storefront").await);
    scene.has_applied("b", version).await;
    scene.space.until("storefront", "SecretAvailable", "Delivered").await;
}

#[tokio::test]
async fn a_verifier_that_stays_silent_is_passed_over_once_and_that_is_said() {
    let scene = scene().await;
    scene.appears("a", ALL, 0).await;
    scene.space.account("acme", json!({"accessLevel": "Full"})).await;
    scene.until("acct/acme", "Acknowledged").await;
    scene.has_applied("a", 1).await;
    let since = Instant::now();
    new_key(&scene, "first").await;
    scene.space.until("first", "SecretAvailable", "Delivered").await;
    assert!(since.elapsed() >= Duration::from_secs(2), "{:?}", since.elapsed());
    let said = scene.space.event("first", "VerifierPassedOver").await;
    assert!(said.message.as_deref().unwrap().ends_with("keywright-entries: a"), "{said:?}");
    for name in ["second", "third"] {
        new_key(&scene, name).await;
        scene.space.until(name, "SecretAvailable", "Delivered").await;
    }
    let metrics = http::get(&scene.operator.admin, "/metrics", &[]).await.unwrap().body;
    assert!(metrics.contains("keywright_verifiers_passed_over_total 1\n"), "{metrics}");
}
