//! What becomes of a delivered Secret: shown once and deleted, deleted by somebody else, and removed with its key.

#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "delivery/absence.rs"]
mod absence;
#[path = "delivery/foreign.rs"]
mod foreign;
#[path = "delivery/limits.rs"]
mod limits;
#[path = "delivery/meddled.rs"]
mod meddled;
#[path = "delivery/refused.rs"]
mod refused;
#[path = "support/mod.rs"]
mod support;

use futures::{StreamExt, TryStreamExt};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use keywright::api::ApiKey;
use kube::ResourceExt;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, WatchEvent, WatchParams};
use serde_json::{Value, json};
use support::cluster::Cluster;
use support::eventually;
use support::space::{Both, Space, both};
use tokio::sync::RwLockReadGuard;

/// A namespace with an account, and the operator and the verifier that the tests of this binary share.
async fn run() -> (Space, RwLockReadGuard<'static, Both>) {
    (space().await, both().await)
}

async fn space() -> Space {
    let space = Space::new(Cluster::shared().await).await;
    space.account("acme", json!({"accessLevel": "Full"})).await;
    space
}

fn once(delete_after: &str) -> Value {
    json!({"account": "acme", "accessLevel": "Full", "secret": {"delivery": "Once", "deleteAfter": delete_after}})
}

async fn show_for(space: &Space, delete_after: &str) {
    space.patch_key("storefront", json!({"spec": {"secret": {"deleteAfter": delete_after}}})).await;
}

/// A key whose Secret is there for an hour; its value.
async fn shown(space: &Space) -> String {
    space.key("storefront", once("1h")).await;
    space.until("storefront", "SecretAvailable", "Delivered").await;
    space.value("storefront", "api-key").await
}

/// A key whose Secret was shown for its time; its value.
async fn revealed(space: &Space) -> String {
    let value = shown(space).await;
    show_for(space, "1s").await;
    space.until("storefront", "SecretAvailable", "Revealed").await;
    value
}

async fn secret(space: &Space) -> Option<Secret> {
    space.secrets().get_opt("storefront").await.unwrap()
}

async fn until_gone(space: &Space) {
    eventually("the Secret is gone", async || if secret(space).await.is_none() { Ok(()) } else { Err("it is there") })
        .await;
}

/// What the record says of the Secret.
async fn ended(space: &Space) -> Value {
    let key = space.keys().get("storefront").await.unwrap();
    space.record(&key).await["secret"]["ended"].clone()
}

/// Any change makes the operator look again.
async fn nudge(space: &Space) -> ApiKey {
    let name = format!("Storefront at {}", Timestamp::now());
    space.patch_key("storefront", json!({"spec": {"displayName": name}})).await;
    space.until_observed("storefront").await
}

/// Somebody adds an owner, which keeps the Secret from the garbage collector.
async fn adopt(space: &Space) {
    let owners = secret(space).await.unwrap().metadata.owner_references.unwrap();
    let other = json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "x", "uid": "made-up"});
    let owners: Vec<_> = owners.iter().map(|o| serde_json::to_value(o).unwrap()).chain([other]).collect();
    let adopt = Patch::Merge(json!({"metadata": {"ownerReferences": owners}}));
    space.secrets().patch("storefront", &PatchParams::default(), &adopt).await.unwrap();
}

/// What follows from the spec and the entry. `Enforced` and `enforcedAt` follow from what
/// verifiers say, and `history` is a memory that a wiped status does not have.
fn told(key: &ApiKey) -> Value {
    let mut status = serde_json::to_value(&key.status).unwrap();
    let conditions = status["conditions"].as_array_mut().unwrap();
    conditions.retain(|condition| condition["type"] != "Enforced");
    for condition in conditions {
        condition["lastTransitionTime"] = Value::Null;
    }
    for field in ["enforcedAt", "history"] {
        status.as_object_mut().unwrap().remove(field);
    }
    status
}

/// Wipes the status, and returns what is said then.
async fn told_again(space: &Space, key: &ApiKey, reason: &str) -> Value {
    let wipe = Patch::Merge(json!({"metadata": {"uid": key.uid()}, "status": null}));
    space.keys().patch_status("storefront", &PatchParams::default(), &wipe).await.unwrap();
    told(&space.until("storefront", "SecretAvailable", reason).await)
}

#[tokio::test]
async fn a_secret_that_is_shown_once_is_blanked_and_deleted_after_its_time_and_the_key_goes_on_working() {
    let (space, both) = run().await;
    let version = space.secrets().list(&ListParams::default()).await.unwrap().metadata.resource_version.unwrap();
    let secrets = space.secrets();
    let history = secrets.watch(&WatchParams::default(), &version).await.unwrap();
    space.key("storefront", once("1s")).await;
    let history = history.take(3).try_collect::<Vec<_>>();
    let history = tokio::time::timeout(support::PATIENCE, history).await.unwrap().unwrap();
    let [WatchEvent::Added(first), WatchEvent::Modified(blank), WatchEvent::Deleted(_)] = &history[..] else {
        panic!("not written, blanked and deleted: {}", history.len());
    };
    let deleted = Timestamp::now();
    let value = String::from_utf8(first.data.as_ref().unwrap()["api-key"].0.clone()).unwrap();
    assert!(blank.data.as_ref().unwrap().values().all(|bytes| bytes.0.is_empty()), "blanked");

    let key = space.until("storefront", "SecretAvailable", "Revealed").await;
    let record = space.record(&key).await;
    let delivered: Timestamp = record["current"]["deliveredAt"].as_str().unwrap().parse().unwrap();
    assert!(deleted.duration_since(delivered).as_secs_f64() >= 1.0, "shown for less than its time");
    assert_eq!((&record["secret"]["ended"], &record["lastSerial"]), (&json!("revealed"), &json!(1)));
    let status = told(&key);
    assert_eq!((&status["state"], &status["secretName"]), (&json!("Active"), &Value::Null), "{status}");
    space.until_ready_is("storefront", "Issued").await;
    both.verifier.eventually_says("ok", "scope=any", &value).await;
    assert_eq!(told_again(&space, &key, "Revealed").await, status, "the record knows it, not the status");
    assert!(secret(&space).await.is_none(), "and nothing is shown again");
}

#[tokio::test]
async fn a_rotation_reveals_the_next_value_in_a_new_secret_for_its_time() {
    let (space, both) = run().await;
    let old = revealed(&space).await;
    show_for(&space, "1h").await;
    space.patch_key("storefront", json!({"spec": {"rotation": {"revision": 1, "overlap": "1h"}}})).await;
    space.until_serial("storefront", 2).await;
    let new = space.value("storefront", "api-key").await;
    assert_ne!(new, old);
    assert_eq!(ended(&space).await, Value::Null);
    both.verifier.eventually_says("ok", "scope=any", &new).await;
    show_for(&space, "1s").await;
    space.until("storefront", "SecretAvailable", "Revealed").await;
    assert!(secret(&space).await.is_none());
    assert_eq!(both.verifier.code("scope=any", &new).await, "ok");
    assert_eq!(both.verifier.code("scope=any", &old).await, "ok", "its overlap goes on");
}

#[tokio::test]
async fn a_rotation_while_the_secret_is_shown_begins_its_time_anew() {
    let (space, _both) = run().await;
    shown(&space).await;
    let before = secret(&space).await.unwrap();
    space.patch_key("storefront", json!({"spec": {"rotation": {"revision": 1}}})).await;
    space.until_serial("storefront", 2).await;
    assert_eq!(secret(&space).await.unwrap().uid(), before.uid());
    show_for(&space, "1s").await;
    space.until("storefront", "SecretAvailable", "Revealed").await;
    assert!(secret(&space).await.is_none());
}

#[tokio::test]
async fn a_secret_that_a_user_deletes_early_is_removed_and_not_revealed_and_nothing_is_minted() {
    let (space, both) = run().await;
    for delivery in ["Once", "Mounted"] {
        let name = delivery.to_lowercase();
        let spec = json!({"account": "acme", "accessLevel": "Full", "secret": {"delivery": delivery}});
        space.key(&name, spec).await;
        space.until(&name, "SecretAvailable", "Delivered").await;
        let value = space.value(&name, "api-key").await;
        space.secrets().delete(&name, &DeleteParams::default()).await.unwrap();
        let sooner = if delivery == "Once" {
            json!({"deleteAfter": "1s"})
        } else {
            json!({"labels": {"app.kubernetes.io/component": "b"}})
        };
        space.patch_key(&name, json!({"spec": {"secret": sooner}})).await;
        let key = space.until(&name, "SecretAvailable", "Removed").await;
        let record = space.record(&key).await;
        assert_eq!((&record["secret"]["ended"], &record["lastSerial"]), (&json!("removed"), &json!(1)), "{delivery}");
        assert!(space.secrets().get_opt(&name).await.unwrap().is_none(), "{delivery}");
        both.verifier.eventually_says("ok", "scope=any", &value).await;
    }
}

#[tokio::test]
async fn a_status_that_was_wiped_still_says_that_somebody_removed_the_secret() {
    let (space, _both) = run().await;
    space.ready_key("storefront").await;
    let removed = secret(&space).await.unwrap();
    space.secrets().delete("storefront", &DeleteParams::default()).await.unwrap();
    nudge(&space).await;
    let key = space.until("storefront", "SecretAvailable", "Removed").await;
    let record = space.record(&key).await;
    let expected = json!({"name": "storefront", "uid": removed.uid(), "ended": "removed"});
    for field in ["name", "uid", "ended"] {
        assert_eq!(record["secret"][field], expected[field], "{field} of the record: {record}");
    }
    let status = told(&key);
    assert_eq!(told_again(&space, &key, "Removed").await, status);
    assert_eq!(space.record(&key).await, record);
    assert!(secret(&space).await.is_none());
}

#[tokio::test]
async fn whether_a_secret_is_shown_once_may_be_decided_later() {
    let (space, _both) = run().await;
    space.ready_key("storefront").await;
    let deliver = async |secret: Value| space.patch_key("storefront", json!({"spec": {"secret": secret}})).await;
    deliver(json!({"delivery": "Once", "deleteAfter": "1h"})).await;
    space.until_observed("storefront").await;
    deliver(json!({"delivery": "Mounted", "deleteAfter": null})).await;
    space.until_observed("storefront").await;
    assert!(secret(&space).await.is_some());
    space.until("storefront", "SecretAvailable", "Delivered").await;
    deliver(json!({"delivery": "Once", "deleteAfter": "1s"})).await;
    space.until("storefront", "SecretAvailable", "Revealed").await;
    assert!(secret(&space).await.is_none());
    deliver(json!({"delivery": "Mounted", "deleteAfter": null})).await;
    let key = space.until_observed("storefront").await;
    assert!(secret(&space).await.is_none(), "what was deleted does not come back");
    assert_eq!(told(&key)["secretName"], Value::Null);
}

#[tokio::test]
async fn a_secret_is_concealed_also_while_the_key_cannot_be_honoured() {
    let (space, _both) = run().await;
    shown(&space).await;
    space.accounts().delete("acme", &DeleteParams::default()).await.unwrap();
    space.until_ready_is("storefront", "AccountNotFound").await;
    show_for(&space, "1s").await;
    space.until("storefront", "SecretAvailable", "Revealed").await;
    assert!(secret(&space).await.is_none());
}

#[tokio::test]
async fn one_time_secret_with_a_second_owner_is_removed() {
    let (space, _both) = run().await;
    shown(&space).await;
    adopt(&space).await;
    show_for(&space, "1s").await;
    space.until("storefront", "SecretAvailable", "Revealed").await;
    until_gone(&space).await;
}

#[tokio::test]
async fn a_secret_that_a_user_holds_with_a_finalizer_shows_nothing_after_its_time() {
    let (space, _both) = run().await;
    let value = shown(&space).await;
    let hold = Patch::Merge(json!({"metadata": {"finalizers": ["example.com/slow"]}}));
    space.secrets().patch("storefront", &PatchParams::default(), &hold).await.unwrap();
    show_for(&space, "1s").await;
    space.until("storefront", "SecretAvailable", "Revealed").await;
    let data = secret(&space).await.and_then(|secret| secret.data).unwrap_or_default();
    assert!(data.values().all(|bytes| bytes.0 != value.as_bytes()), "the value is still there");
}

#[tokio::test]
async fn what_a_late_leader_wrote_after_the_reveal_goes_at_the_next_look() {
    let (space, _both) = run().await;
    shown(&space).await;
    let mut late = secret(&space).await.unwrap();
    show_for(&space, "1s").await;
    space.until("storefront", "SecretAvailable", "Revealed").await;
    (late.metadata.uid, late.metadata.resource_version) = (None, None);
    space.secrets().create(&kube::api::PostParams::default(), &late).await.unwrap();
    nudge(&space).await;
    until_gone(&space).await;
    assert_eq!(ended(&space).await, "revealed");
}

#[tokio::test]
async fn frozen_one_time_secret_that_stops_a_rotation_is_reported() {
    let (space, _both) = run().await;
    shown(&space).await;
    let freeze = Patch::Merge(json!({"immutable": true}));
    space.secrets().patch("storefront", &PatchParams::default(), &freeze).await.unwrap();
    space.patch_key("storefront", json!({"spec": {"rotation": {"revision": 1}}})).await;
    space.until_ready_is("storefront", "SecretImmutable").await;
    show_for(&space, "1s").await;
    space.until("storefront", "SecretAvailable", "SecretImmutable").await;
    space.secrets().delete("storefront", &DeleteParams::default()).await.unwrap();
    // The next value is shown for its time.
    space.until("storefront", "SecretAvailable", "Revealed").await;
    let key = space.keys().get("storefront").await.unwrap();
    assert_eq!(space.record(&key).await["lastSerial"], 2);
}
