//! `maxKeyLifetime`: what it has ended stays ended.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::PostParams;
use kube::{Api, ResourceExt};
use serde_json::json;

use super::support::cluster::Cluster;
use super::support::keywright::Running;
use super::support::space::Space;
use super::{operator_alone, record};

/// Rewrites the record so that the value was issued an hour ago.
async fn age(space: &Space) {
    let mut entry = space.entry(&space.keys().get("storefront").await.unwrap()).await;
    let mut record = record(space).await;
    record["current"]["issuedAt"] = json!(Timestamp::now() - SignedDuration::from_hours(1));
    entry.data.as_mut().unwrap().insert("entry.json".to_owned(), ByteString(serde_json::to_vec(&record).unwrap()));
    let entries = Api::<Secret>::namespaced(space.client.clone(), "keywright-entries");
    entries.replace(&entry.name_any(), &PostParams::default(), &entry).await.unwrap();
}

#[tokio::test]
async fn value_too_old_for_its_account_stays_expired() {
    let (_nobody, space, operator, value) = operator_alone().await;
    drop(operator);
    age(&space).await;
    let cluster = Cluster::shared().await;
    let _operator = Running::operator(cluster, &[]).await.unwrap().ready().await;
    let verifier = Running::verifier(cluster, &[]).await.unwrap().ready().await;
    verifier.eventually_says("ok", "scope=any", &value).await;
    space.patch_account("acme", json!({"spec": {"maxKeyLifetime": "59m"}})).await;
    verifier.eventually_says("expired", "scope=any", &value).await;
    space.until_state_is("storefront", "Expired").await;
    assert_eq!(record(&space).await["current"]["ended"], "expired");
    space.patch_account("acme", json!({"spec": {"maxKeyLifetime": null, "disabled": true}})).await;
    verifier.eventually_says("account_disabled", "scope=any", &value).await;
    space.patch_account("acme", json!({"spec": {"disabled": false}})).await;
    verifier.eventually_says("expired", "scope=any", &value).await;
    space.until_state_is("storefront", "Expired").await;
    verifier.process.terminate().unwrap();
}
