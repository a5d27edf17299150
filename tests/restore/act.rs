//! The act of adoption, one key at a time.

use k8s_openapi::api::core::v1::Secret;
use keywright::api::ApiKey;
use kube::ResourceExt;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use super::support::cluster::Cluster;
use super::support::eventually;
use super::support::keywright::Running;
use super::support::proxy::{Fault, Proxy};
use super::support::space::{Space, both, neither};
use super::{entries, key_id, offer, uid};

const LONG: &str = "2099-12-31";

/// The record of a key that is gone, with a Secret that belongs to nobody, as a restore leaves them; and the key's value.
async fn restored(space: &Space, name: &str) -> (Secret, String) {
    let value = space.ready_key(name).await;
    let key = space.until(name, "SecretAvailable", "Delivered").await;
    let (entry, mut secret) = (space.entry(&key).await, space.secrets().get(name).await.unwrap());
    space.keys().delete(name, &DeleteParams::default()).await.unwrap();
    eventually("its Secret is gone", async || match space.secrets().get_opt(name).await {
        Ok(None) => Ok(()),
        other => Err(format!("{:?}", other.map(|secret| secret.map(|secret| secret.name_any())))),
    })
    .await;
    secret.metadata = kube::api::ObjectMeta {
        name: secret.metadata.name,
        annotations: secret.metadata.annotations,
        labels: secret.metadata.labels,
        ..kube::api::ObjectMeta::default()
    };
    space.secrets().create(&PostParams::default(), &secret).await.unwrap();
    (entry, value)
}

async fn anew(space: &Space, name: &str) -> ApiKey {
    space.key(name, json!({"account": "acme", "accessLevel": "Full"})).await
}

fn message(key: &ApiKey, condition: &str) -> String {
    let conditions = &key.status.as_ref().unwrap().conditions;
    conditions.iter().find(|c| c.type_ == condition).unwrap().message.clone()
}

#[tokio::test]
async fn a_label_that_is_no_day_mints_nothing_and_counts_when_it_is_put_right() {
    let both = both().await;
    let space = Space::new(Cluster::shared().await).await;
    let (entry, value) = restored(&space, "billing").await;
    offer(&space, &entry.name_any(), "tomorrow").await;
    anew(&space, "billing").await;
    let key = space.until_ready_is("billing", "AdoptionUnclear").await;
    assert!(message(&key, "Ready").contains("2026-11-23"), "{}", message(&key, "Ready"));
    assert_eq!(both.verifier.code("scope=any", &value).await, "unknown");
    offer(&space, &entry.name_any(), LONG).await;
    // What wakes it here is a change; left alone it looks again by itself.
    space.patch_key("billing", json!({"spec": {"displayName": "Billing"}})).await;
    space.until_ready_is("billing", "Issued").await;
    both.verifier.eventually_says("ok", "scope=any", &value).await;
}

#[tokio::test]
async fn a_secret_that_is_nobody_s_is_handed_over_by_the_command_that_status_says() {
    let both = both().await;
    let cluster = Cluster::shared().await;
    let space = Space::new(cluster).await;
    let (entry, value) = restored(&space, "billing").await;
    offer(&space, &entry.name_any(), LONG).await;
    anew(&space, "billing").await;
    let key = space.until("billing", "SecretAvailable", "NotRestored").await;
    both.verifier.eventually_says("ok", "scope=any", &value).await;

    let message = message(&key, "SecretAvailable");
    let (_, command) = message.split_once("hand it over: kubectl ").unwrap();
    let (words, patch) = command.split_once(" -p '").unwrap();
    let mut args: Vec<&str> = words.split(' ').collect();
    args.extend(["-p", patch.split_once('\'').unwrap().0]);
    cluster.plane.kubectl(&args).unwrap();
    space.patch_key("billing", json!({"spec": {"displayName": "Billing"}})).await;
    space.until("billing", "SecretAvailable", "Delivered").await;
    assert_eq!(space.value("billing", "api-key").await, value, "as it was restored");
    let secret = space.secrets().get("billing").await.unwrap();
    let record = space.record(&key).await["secret"].take();
    assert_eq!((&record["name"], &record["uid"]), (&json!("billing"), &json!(secret.uid())));
}

#[tokio::test]
async fn a_secret_with_another_value_of_the_key_is_not_taken_for_the_newest() {
    let _both = both().await;
    let space = Space::new(Cluster::shared().await).await;
    let (entry, value) = restored(&space, "billing").await;
    offer(&space, &entry.name_any(), LONG).await;
    let key = anew(&space, "billing").await;
    let owner = json!([{"apiVersion": "keywright.dev/v1alpha1", "kind": "ApiKey", "name": "billing", "uid": uid(&key), "controller": true}]);
    for serial in ["0", "2"] {
        let metadata = json!({"ownerReferences": owner, "annotations": {"keywright.dev/serial": serial}});
        let patch = Patch::Merge(json!({"metadata": metadata}));
        space.secrets().patch("billing", &PatchParams::default(), &patch).await.unwrap();
        space.patch_key("billing", json!({"spec": {"displayName": serial}})).await;
        space.until_observed("billing").await;
        space.until("billing", "SecretAvailable", "NotRestored").await;
    }
    assert_eq!(space.value("billing", "api-key").await, value, "it is not touched");
}

#[tokio::test]
async fn of_two_entries_that_are_offered_none_is_taken_until_one_is_left() {
    let both = both().await;
    let space = Space::new(Cluster::shared().await).await;
    let (first, old) = restored(&space, "billing").await;
    space.secrets().delete("billing", &DeleteParams::default()).await.unwrap();
    let (second, value) = restored(&space, "billing").await;
    for entry in [&first, &second] {
        offer(&space, &entry.name_any(), LONG).await;
    }
    anew(&space, "billing").await;
    let key = space.until_ready_is("billing", "AdoptionUnclear").await;
    for entry in [&first, &second] {
        assert!(message(&key, "Ready").contains(&entry.name_any()), "{}", message(&key, "Ready"));
    }
    let unlabelled = json!({"metadata": {"labels": {"keywright.dev/adopt-until": null}}});
    entries(&space).patch(&first.name_any(), &PatchParams::default(), &Patch::Merge(unlabelled)).await.unwrap();
    space.patch_key("billing", json!({"spec": {"displayName": "Billing"}})).await;
    space.until_ready_is("billing", "Issued").await;
    both.verifier.eventually_says("ok", "scope=any", &value).await;
    assert_eq!(both.verifier.code("scope=any", &old).await, "unknown");
}

#[tokio::test]
async fn what_is_not_offered_or_is_offered_no_longer_does_not_come_back() {
    let both = both().await;
    let space = Space::new(Cluster::shared().await).await;
    for (name, until) in [("billing", None), ("orders", Some("2020-01-01"))] {
        let (entry, value) = restored(&space, name).await;
        space.secrets().delete(name, &DeleteParams::default()).await.unwrap();
        if let Some(until) = until {
            offer(&space, &entry.name_any(), until).await;
        }
        anew(&space, name).await;
        let key = space.until_ready_is(name, "Issued").await;
        assert_ne!(key_id(&key), value[3..15]);
        assert_eq!(both.verifier.code("scope=any", &value).await, "unknown");
    }
}

/// Of the old entry, the new one, and what the key's status says: each before and after.
#[tokio::test]
async fn an_operator_killed_between_any_two_writes_of_an_adoption_goes_on_with_the_same_value() {
    let _neither = neither().await;
    let cluster = Cluster::shared().await;
    let verifier = Running::verifier(cluster, &[]).await.unwrap();
    let mut crashes = 0;
    for at in 1.. {
        let mut crashed = false;
        for fault in [Fault::KillBefore, Fault::KillAfter] {
            let space = Space::new(cluster).await;
            let before = Running::operator(cluster, &[]).await.unwrap().ready().await;
            let (entry, value) = restored(&space, "billing").await;
            drop(before);
            offer(&space, &entry.name_any(), LONG).await;
            anew(&space, "billing").await;
            let proxy = Proxy::start(cluster, Some((at, fault))).await.unwrap();
            let _operator = proxy.operator(cluster).unwrap();
            let killed = tokio::select! {
                () = proxy.sprung() => true,
                _ = space.until("billing", "SecretAvailable", "NotRestored") => false,
            };
            let _second = if killed { Some(Running::operator(cluster, &[]).await.unwrap()) } else { None };
            let key = space.until("billing", "SecretAvailable", "NotRestored").await;
            assert_eq!(key_id(&key), value[3..15]);
            verifier.eventually_says("ok", "scope=any", &value).await;
            let record: Value = space.record(&key).await;
            assert_eq!((&record["lastSerial"], &record["adoptedFrom"]), (&json!(1), &json!(entry.name_any())));
            crashed |= killed;
            crashes += usize::from(killed);
        }
        if !crashed {
            break;
        }
    }
    assert!(crashes >= 6, "hand over, take over, delete and status, each before and after, but only {crashes}");
}
