//! Several writers of one key's status, and keys that are rotated, deleted and made anew while calls are pending.

use std::collections::HashSet;

use axum::http::StatusCode;
use kube::api::DeleteParams;
use serde_json::json;

use super::between::{Between, Fate};
use super::fixture::{activity, operator, settled, stop, until_totals, verifier};
use super::requests;
use super::support::cluster::Cluster;
use super::support::eventually;
use super::support::space::Space;

#[tokio::test]
async fn a_rotation_goes_on_with_the_key_s_totals_and_tells_the_values_apart() {
    let cluster = Cluster::shared().await;
    let (_operator, verifier) = (operator().await, verifier(cluster, &[]).await);
    let space = Space::new(cluster).await;
    let old = space.ready_key("storefront").await;
    let mut passed = settled(&[&verifier], std::slice::from_ref(&old)).await[0];
    until_totals(&space, "storefront", |total| total.allowed == passed).await;
    space.patch_key("storefront", json!({"spec": {"rotation": {"revision": 1, "overlap": "1h"}}})).await;
    space.until_serial("storefront", 2).await;
    let new = space.value("storefront", "api-key").await;
    passed += settled(&[&verifier], std::slice::from_ref(&new)).await[0];
    for _ in 0..5 {
        assert_eq!(verifier.code("scope=any", &old).await, "ok");
        assert_eq!(verifier.code("scope=any", &new).await, "ok");
    }
    space.patch_key("storefront", json!({"spec": {"rotation": {"revokeBefore": "2020-01-01T00:00:00Z"}}})).await;
    space.until_observed("storefront").await;
    assert_eq!(verifier.code("scope=any", &old).await, "ok");
    stop(&verifier);
    let said = activity(&space, "storefront").await.unwrap();
    assert_eq!(said.requests, requests(passed + 11, 0));
    let values: HashSet<&str> = said.values.iter().map(|value| value.key_id.as_str()).collect();
    assert_eq!(values, HashSet::from([&old[3..15], &new[3..15]]));
    assert_eq!(said.values.iter().map(|value| &value.last_used_at).max(), said.last_used_at.as_ref());
}

#[tokio::test]
async fn a_key_that_is_gone_before_its_write_is_dropped_and_no_other_waits_for_it() {
    let cluster = Cluster::shared().await;
    let _operator = operator().await;
    let between = Between::start(cluster).await;
    between.rule(|_| Fate::Refuse(StatusCode::INTERNAL_SERVER_ERROR));
    let space = Space::new(cluster).await;
    let (gone, stays) = (space.ready_key("gone").await, space.ready_key("stays").await);
    let verifier = between.verifier(cluster).await;
    let passed = settled(&[&verifier], &[gone, stays]).await;
    between.until_seen(2).await;
    space.keys().delete("gone", &DeleteParams::default()).await.unwrap();
    between.rule(|_| Fate::Pass);
    let said = until_totals(&space, "stays", |total| total.allowed > 0).await;
    assert_eq!(said.requests, requests(passed[1], 0));
    eventually("it is dropped", async || match verifier.metric::<u64>("keywright_activity_dropped_total").await {
        1 => Ok(()),
        dropped => Err(dropped),
    })
    .await;
}

#[tokio::test]
async fn two_verifiers_and_the_operator_write_the_same_keys_at_once_and_every_call_counts_once() {
    const KEYS: usize = 4;
    let cluster = Cluster::shared().await;
    let _operator = operator().await;
    let space = Space::new(cluster).await;
    let mut keys = Vec::new();
    for n in 0..KEYS {
        keys.push(space.ready_key(&format!("key-{n}")).await);
    }
    // Their first writes are refused until all have come, so that they meet; the owner writes all the while.
    let (one, other) = (Between::start(cluster).await, Between::start(cluster).await);
    for between in [&one, &other] {
        between.rule(|_| Fate::Refuse(StatusCode::INTERNAL_SERVER_ERROR));
    }
    let (first, second) = (one.verifier(cluster).await, other.verifier(cluster).await);
    let passed = settled(&[&first, &second], &keys).await;
    let mut denied = 0;
    let calls = async {
        for _ in 0..25 {
            for key in &keys {
                assert_eq!(first.code("scope=any", key).await, "ok");
                assert_eq!(second.code("scope=any&account=a/b", key).await, "wrong_account");
            }
            denied += 1;
        }
        one.until_seen(KEYS).await;
        other.until_seen(KEYS).await;
        for between in [&one, &other] {
            between.rule(|_| Fate::Pass);
        }
        for n in 0..KEYS {
            until_totals(&space, &format!("key-{n}"), |total| total.allowed > 0 && total.denied > 0).await;
        }
    };
    let owner = async {
        for n in 0.. {
            let patch = json!({"spec": {"displayName": format!("Storefront {n}")}});
            space.patch_key(&format!("key-{}", n % KEYS), patch).await;
        }
    };
    tokio::select! {
        () = calls => {}
        () = owner => {}
    }
    let both = [first, second];
    let conflicts = both[0].metric::<u64>("keywright_activity_conflicts_total").await
        + both[1].metric::<u64>("keywright_activity_conflicts_total").await;
    tokio::task::spawn_blocking(move || both.iter().for_each(stop)).await.unwrap();
    for (n, passed) in passed.iter().enumerate() {
        let said = activity(&space, &format!("key-{n}")).await.unwrap();
        assert_eq!(said.requests, requests(passed + 25, denied), "key-{n}, after {conflicts} conflicts");
        assert_eq!(said.writers.len(), 2);
    }
}
