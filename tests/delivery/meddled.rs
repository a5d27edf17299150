//! Secrets that somebody with rights on Secrets has changed: a claimed serial, a frozen one.

use kube::ResourceExt;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::json;

use super::support::cluster::Cluster;
use super::support::eventually;
use super::support::keywright::Running;
use super::support::space::{Space, neither};
use super::{ended, nudge, run, secret, show_for, shown, space, until_gone};

async fn claim(space: &Space, serial: &str) {
    let claim = Patch::Merge(json!({"metadata": {"annotations": {"keywright.dev/serial": serial}}}));
    space.secrets().patch("storefront", &PatchParams::default(), &claim).await.unwrap();
}

async fn freeze(space: &Space) {
    let freeze = Patch::Merge(json!({"immutable": true}));
    space.secrets().patch("storefront", &PatchParams::default(), &freeze).await.unwrap();
}

async fn delete(space: &Space) {
    space.secrets().delete("storefront", &DeleteParams::default()).await.unwrap();
}

#[tokio::test]
async fn a_secret_that_is_held_while_it_is_deleted_is_waited_for() {
    let (space, both) = run().await;
    let old = space.ready_key("storefront").await;
    let finalizers = async |finalizers: serde_json::Value| {
        let held = Patch::Merge(json!({"metadata": {"finalizers": finalizers}}));
        space.secrets().patch("storefront", &PatchParams::default(), &held).await.unwrap();
    };
    finalizers(json!(["backup.example.com/copy"])).await;
    delete(&space).await;
    space.patch_key("storefront", json!({"spec": {"rotation": {"revision": 1}}})).await;
    space.until_ready_is("storefront", "SecretEnding").await;
    space.until("storefront", "SecretAvailable", "SecretEnding").await;
    assert_eq!(space.value("storefront", "api-key").await, old, "nothing is written into it");
    both.verifier.eventually_says("ok", "scope=any", &old).await;
    finalizers(json!(null)).await;
    space.until_serial("storefront", 2).await;
    let new = space.value("storefront", "api-key").await;
    both.verifier.eventually_says("ok", "scope=any", &new).await;
}

#[tokio::test]
async fn one_time_secret_with_a_raised_serial_is_removed() {
    let (space, _both) = run().await;
    shown(&space).await;
    claim(&space, "999999999999999999").await;
    show_for(&space, "1s").await;
    until_gone(&space).await;
    space.until("storefront", "SecretAvailable", "Revealed").await;
    assert_eq!(ended(&space).await, "revealed");
}

#[tokio::test]
async fn one_time_secret_without_a_serial_is_removed() {
    let (space, _both) = run().await;
    shown(&space).await;
    let none = Patch::Merge(json!({"metadata": {"annotations": null}}));
    space.secrets().patch("storefront", &PatchParams::default(), &none).await.unwrap();
    show_for(&space, "1s").await;
    space.until("storefront", "SecretAvailable", "Revealed").await;
    until_gone(&space).await;
}

#[tokio::test]
async fn raised_serial_does_not_keep_a_value_across_a_rotation() {
    let (space, _both) = run().await;
    let old = shown(&space).await;
    claim(&space, "999999999999999999").await;
    space.patch_key("storefront", json!({"spec": {"rotation": {"revision": 1}}})).await;
    let key = space.until_ready_is("storefront", "SecretConflict").await;
    let ready = key.status.unwrap().conditions.into_iter().find(|condition| condition.type_ == "Ready").unwrap();
    assert!(ready.message.contains("keywright.dev/serial"), "{}", ready.message);
    show_for(&space, "1s").await;
    eventually("the old value is shown no more", async || {
        let data = secret(&space).await.and_then(|secret| secret.data).unwrap_or_default();
        if data.values().all(|bytes| bytes.0 != old.as_bytes()) { Ok(()) } else { Err("it is") }
    })
    .await;
    space.until("storefront", "SecretAvailable", "Revealed").await;
    let key = space.keys().get("storefront").await.unwrap();
    assert_eq!(space.record(&key).await["lastSerial"], 2);
}

#[tokio::test]
async fn mounted_secret_with_a_raised_serial_counts_as_delivered() {
    let (space, both) = run().await;
    let value = space.ready_key("storefront").await;
    claim(&space, "999999999999999999").await;
    let before = secret(&space).await.unwrap();
    nudge(&space).await;
    space.until("storefront", "SecretAvailable", "Delivered").await;
    assert_eq!(secret(&space).await.unwrap().resource_version(), before.resource_version());
    both.verifier.eventually_says("ok", "scope=any", &value).await;
}

#[tokio::test]
async fn frozen_one_time_secret_stays_and_is_reported() {
    let (space, _both) = run().await;
    shown(&space).await;
    freeze(&space).await;
    let before = secret(&space).await.unwrap();
    show_for(&space, "1s").await;
    let key = space.until("storefront", "SecretAvailable", "SecretImmutable").await;
    let condition = key.status.unwrap().conditions.into_iter().find(|one| one.type_ == "SecretAvailable").unwrap();
    assert_eq!(condition.status, "True", "the value can be read");
    assert!(condition.message.contains("delete it"), "{}", condition.message);
    space.event("storefront", "SecretImmutable").await;
    space.until_ready_is("storefront", "Issued").await;
    let now = secret(&space).await.unwrap();
    assert_eq!((now.uid(), now.resource_version()), (before.uid(), before.resource_version()));
    assert_eq!(ended(&space).await, json!(null), "the record does not call it revealed");

    delete(&space).await;
    nudge(&space).await;
    space.until("storefront", "SecretAvailable", "Removed").await;
}

#[tokio::test]
async fn frozen_secret_of_a_deleted_key_is_left_and_reported() {
    let (space, _both) = run().await;
    space.ready_key("storefront").await;
    freeze(&space).await;
    let before = secret(&space).await.unwrap();
    space.keys().delete("storefront", &DeleteParams::default()).await.unwrap();
    let event = space.event("storefront", "SecretImmutable").await;
    assert_eq!(event.type_.as_deref(), Some("Warning"));
    assert!(event.message.unwrap().contains("garbage collector"));
    let now = secret(&space).await.unwrap();
    assert_eq!((now.uid(), now.resource_version()), (before.uid(), before.resource_version()));
}

#[tokio::test]
async fn entry_of_a_deleted_key_with_a_frozen_secret_is_marked() {
    let _alone = neither().await;
    let (space, cluster) = (space().await, Cluster::shared().await);
    let operator = Running::operator(cluster, &["--orphan-interval=200ms"]).await.unwrap();
    space.ready_key("storefront").await;
    space.ready_key("other").await;
    let marked = async |name: &str| {
        let key = space.until(name, "SecretAvailable", "Delivered").await;
        space.keys().delete(name, &DeleteParams::default()).await.unwrap();
        eventually(&format!("the entry of {name} is marked"), async || {
            let record = space.record(&key).await;
            if record["orphanedAt"].is_string() { Ok(()) } else { Err(record.to_string()) }
        })
        .await;
    };
    freeze(&space).await;
    marked("storefront").await;
    let tries = || std::fs::read_to_string(&operator.log).unwrap().matches("was made immutable").count();
    let before = tries();
    assert!(before > 0, "the log says why it stays");
    // By a later run.
    marked("other").await;
    assert_eq!(tries(), before, "it is not tried again in every run");
}
