//! The operator was down, or the key is gone.

use jiff::Timestamp;
use kube::ResourceExt;
use kube::api::DeleteParams;
use serde_json::json;

use super::support::cluster::Cluster;
use super::support::eventually;
use super::support::keywright::Running;
use super::support::space::{Space, neither};
use super::{adopt, run, show_for, shown, space, until_gone};

async fn delete(space: &Space) {
    space.keys().delete("storefront", &DeleteParams::default()).await.unwrap();
}

#[tokio::test]
async fn a_deleted_secret_is_noticed_when_somebody_asks() {
    let (space, both) = run().await;
    let value = space.ready_key("storefront").await;
    // Nothing else wakes the operator then. Verifiers that other tests have killed are waited for in vain.
    eventually("the key is at rest", async || {
        let key = space.keys().get("storefront").await.map_err(|error| error.to_string())?;
        let enforced = key.status.unwrap_or_default().conditions.into_iter().find(|said| said.type_ == "Enforced");
        enforced.filter(|said| said.reason != "AwaitingVerifiers").ok_or_else(|| "it waits for verifiers".to_owned())
    })
    .await;
    space.secrets().delete("storefront", &DeleteParams::default()).await.unwrap();
    let now = Timestamp::now().to_string();
    space
        .patch_key("storefront", json!({"metadata": {"annotations": {"keywright.dev/reconcile-requested-at": now}}}))
        .await;
    space.until("storefront", "SecretAvailable", "Removed").await;
    both.verifier.eventually_says("ok", "scope=any", &value).await;
}

#[tokio::test]
async fn the_secret_of_a_deleted_key_goes_although_somebody_added_an_owner() {
    let (space, _both) = run().await;
    space.ready_key("storefront").await;
    adopt(&space).await;
    delete(&space).await;
    until_gone(&space).await;
}

#[tokio::test]
async fn the_secret_of_a_key_that_was_deleted_while_the_operator_was_down_goes_although_somebody_added_an_owner() {
    let _alone = neither().await;
    let (space, cluster) = (space().await, Cluster::shared().await);
    let operator = Running::operator(cluster, &[]).await.unwrap();
    space.ready_key("storefront").await;
    let key = space.until("storefront", "SecretAvailable", "Delivered").await;
    drop(operator);
    adopt(&space).await;
    delete(&space).await;
    let _operator = Running::operator(cluster, &["--orphan-interval=1s"]).await.unwrap();
    until_gone(&space).await;
    eventually("the entry is marked", async || {
        let record = space.record(&key).await;
        if record["orphanedAt"].is_string() { Ok(()) } else { Err(record.to_string()) }
    })
    .await;
}

#[tokio::test]
async fn a_key_that_was_re_created_while_the_operator_was_down_gets_its_name_back() {
    let _alone = neither().await;
    let (space, cluster) = (space().await, Cluster::shared().await);
    let operator = Running::operator(cluster, &[]).await.unwrap();
    let old = space.ready_key("storefront").await;
    let before = space.until("storefront", "SecretAvailable", "Delivered").await;
    drop(operator);
    adopt(&space).await;
    delete(&space).await;
    space.key("storefront", json!({"account": "acme", "accessLevel": "Full"})).await;
    let _operator = Running::operator(cluster, &["--orphan-interval=1s"]).await.unwrap();
    let after = space.until("storefront", "SecretAvailable", "Delivered").await;
    assert_ne!(after.uid(), before.uid());
    assert_ne!(space.value("storefront", "api-key").await, old);
}

#[tokio::test]
async fn a_secret_whose_time_ended_while_the_operator_was_down_goes_when_it_is_back() {
    let _alone = neither().await;
    let (space, cluster) = (space().await, Cluster::shared().await);
    let operator = Running::operator(cluster, &[]).await.unwrap();
    shown(&space).await;
    drop(operator);
    show_for(&space, "1s").await;
    let _operator = Running::operator(cluster, &[]).await.unwrap();
    space.until("storefront", "SecretAvailable", "Revealed").await;
    until_gone(&space).await;
}

#[tokio::test]
async fn a_secret_that_was_deleted_while_the_operator_was_down_is_removed_and_stays_so() {
    let _alone = neither().await;
    let (space, cluster) = (space().await, Cluster::shared().await);
    let operator = Running::operator(cluster, &[]).await.unwrap();
    shown(&space).await;
    drop(operator);
    space.secrets().delete("storefront", &DeleteParams::default()).await.unwrap();
    let _operator = Running::operator(cluster, &[]).await.unwrap();
    let key = space.until("storefront", "SecretAvailable", "Removed").await;
    let record = space.record(&key).await;
    assert_eq!((&record["secret"]["ended"], &record["lastSerial"]), (&json!("removed"), &json!(1)));
}

/// In the order of a hash set, some would wait for ever while others come.
#[tokio::test]
async fn keys_that_came_while_the_operator_was_down_have_their_turn_in_the_order_of_the_list() {
    const ALL: usize = 120;
    let _alone = neither().await;
    let (space, cluster) = (space().await, Cluster::shared().await);
    let names: Vec<String> = (0..ALL).map(|number| format!("key-{number:03}")).collect();
    let mut keys = Vec::new();
    for name in &names {
        keys.push(space.key(name, json!({"account": "acme", "accessLevel": "Full"})).await);
    }
    let _operator = Running::operator(cluster, &[]).await.unwrap();
    for name in &names {
        space.until(name, "SecretAvailable", "Delivered").await;
    }
    let mut served: Vec<(Timestamp, usize)> = Vec::new();
    for (came, key) in keys.iter().enumerate() {
        let record = space.record(key).await;
        served.push((record["current"]["issuedAt"].as_str().unwrap().parse().unwrap(), came));
    }
    served.sort();
    for (turn, (_, came)) in served.iter().enumerate() {
        // Some at once, of which one may be slow.
        assert!(came.abs_diff(turn) < ALL / 2, "{} had turn {turn} of {ALL}", names[*came]);
    }
}
