//! Rotation on a real API server: a new value in the same Secret, an overlap, and no other value than was asked for.

#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "rotation/lifetime.rs"]
mod lifetime;
#[path = "rotation/revoke.rs"]
mod revoke;
#[path = "rotation/secret.rs"]
mod secret;
#[path = "support/mod.rs"]
mod support;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Event;
use keywright::api::Suspension;
use kube::api::{ListParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use support::cluster::Cluster;
use support::eventually;
use support::keywright::Running;
use support::space::{Both, Space, both, neither, passes_until};
use tokio::sync::{RwLockReadGuard, RwLockWriteGuard};

/// A namespace, and the operator and the verifier that the tests of this binary share.
async fn run() -> (Space, RwLockReadGuard<'static, Both>) {
    (Space::new(Cluster::shared().await).await, both().await)
}

/// A namespace with an issued key, and an operator that the test may stop. While the guard lives nothing else runs.
async fn operator_alone() -> (RwLockWriteGuard<'static, Option<Both>>, Space, Running, String) {
    let cluster = Cluster::shared().await;
    let space = Space::new(cluster).await;
    let guard = neither().await;
    let operator = Running::operator(cluster, &[]).await.unwrap().ready().await;
    let value = space.ready_key("storefront").await;
    (guard, space, operator, value)
}

async fn rotate(space: &Space, rotation: Value) {
    space.patch_key("storefront", json!({"spec": {"rotation": rotation}})).await;
}

/// Rotates, and returns the new value, which passes.
async fn rotated(space: &Space, both: &Both, rotation: Value, serial: i64) -> String {
    rotate(space, rotation).await;
    space.until_serial("storefront", serial).await;
    let value = space.value("storefront", "api-key").await;
    both.verifier.eventually_says("ok", "scope=any", &value).await;
    value
}

/// What the record says of the key.
async fn record(space: &Space) -> Value {
    space.record(&space.keys().get("storefront").await.unwrap()).await
}

fn moment(value: &Value) -> Timestamp {
    value.as_str().unwrap_or_else(|| panic!("no moment: {value}")).parse().unwrap()
}

async fn status(space: &Space) -> Value {
    serde_json::to_value(space.keys().get("storefront").await.unwrap().status).unwrap()
}

#[tokio::test]
async fn a_raised_revision_puts_a_new_value_into_the_same_secret_and_both_pass_until_the_overlap_ends() {
    let (space, both) = run().await;
    let old = space.ready_key("storefront").await;
    let before = space.secrets().get("storefront").await.unwrap();
    let new = rotated(&space, &both, json!({"revision": 1, "overlap": "4s"}), 2).await;
    assert_ne!(new, old);
    let after = space.secrets().get("storefront").await.unwrap();
    assert_eq!((after.uid(), &after.type_), (before.uid(), &before.type_), "it is the same Secret");
    assert_eq!(space.value("storefront", "key-id").await, new[3..15]);

    let record = record(&space).await;
    let (delivered, retires) = (moment(&record["current"]["deliveredAt"]), moment(&record["retiring"][0]["retiresAt"]));
    assert_eq!(retires.duration_since(delivered), SignedDuration::from_secs(4), "counted from the delivery");
    passes_until(&both.verifier, &old, retires, "retired").await;
    assert_eq!(both.verifier.code("scope=any", &new).await, "ok");
    space.event("storefront", "Rotated").await;
}

#[tokio::test]
async fn status_tells_of_each_value_while_it_is_accepted() {
    let (space, both) = run().await;
    let old = space.ready_key("storefront").await;
    let new = rotated(&space, &both, json!({"revision": 7, "overlap": "1h"}), 2).await;
    let (status_now, record) = (status(&space).await, record(&space).await);
    // The API server keeps whole seconds.
    let second = |at: &Value| json!(Timestamp::from_second(moment(at).as_second()).unwrap().to_string());
    let [current, retiring] = [&record["current"], &record["retiring"][0]];
    assert_eq!(
        status_now["credentials"],
        json!([
            {"keyId": new[3..15], "serial": 2, "revision": 7, "state": "Active", "issuedAt": second(&current["issuedAt"])},
            {"keyId": old[3..15], "serial": 1, "state": "Retiring", "issuedAt": second(&retiring["issuedAt"]), "retiresAt": second(&retiring["retiresAt"])},
        ])
    );
    assert_eq!((&status_now["keyId"], &status_now["state"]), (&json!(new[3..15]), &json!("Active")));
    assert_eq!(status_now["hint"], format!("{}_…", &new[..15]));
    rotated(&space, &both, json!({"revision": 8, "overlap": "2s"}), 3).await;
    eventually("the retired value leaves the status", async || {
        let credentials = status(&space).await["credentials"].clone();
        let serials: Vec<_> = credentials.as_array().unwrap().iter().map(|c| c["serial"].clone()).collect();
        if serials == [3, 1] { Ok(()) } else { Err(credentials.to_string()) }
    })
    .await;
}

#[tokio::test]
async fn without_an_overlap_the_old_value_is_refused_from_the_delivery_of_the_new_one_on() {
    let (space, both) = run().await;
    let old = space.ready_key("storefront").await;
    let new = rotated(&space, &both, json!({"revision": 1, "overlap": "0s"}), 2).await;
    both.verifier.eventually_says("retired", "scope=any", &old).await;
    assert_eq!(both.verifier.code("scope=any", &new).await, "ok");
    let record = record(&space).await;
    assert_eq!(record["retiring"][0]["retiresAt"], record["current"]["deliveredAt"]);
    eventually("status tells of one value", async || {
        let credentials = status(&space).await["credentials"].clone();
        if credentials.as_array().unwrap().len() == 1 { Ok(()) } else { Err(credentials.to_string()) }
    })
    .await;
}

#[tokio::test]
async fn a_rotation_without_a_word_on_overlap_leaves_the_old_value_a_day() {
    let (space, both) = run().await;
    space.ready_key("storefront").await;
    rotated(&space, &both, json!({"revision": 1}), 2).await;
    let record = record(&space).await;
    let overlap = moment(&record["retiring"][0]["retiresAt"]).duration_since(moment(&record["current"]["deliveredAt"]));
    assert_eq!(overlap, SignedDuration::from_hours(24));
}

#[tokio::test]
async fn a_further_rotation_during_an_overlap_leaves_each_value_its_own_time() {
    let (space, both) = run().await;
    let first = space.ready_key("storefront").await;
    let second = rotated(&space, &both, json!({"revision": 1, "overlap": "1h"}), 2).await;
    let retires = record(&space).await["retiring"][0]["retiresAt"].clone();
    let third = rotated(&space, &both, json!({"revision": 2, "overlap": "2h"}), 3).await;
    for value in [&first, &second, &third] {
        assert_eq!(both.verifier.code("scope=any", value).await, "ok");
    }
    let now = record(&space).await;
    let serials: Vec<&Value> = now["retiring"].as_array().unwrap().iter().map(|value| &value["serial"]).collect();
    assert_eq!((serials, &now["retiring"][1]["retiresAt"]), (vec![&json!(2), &json!(1)], &retires));
    assert_eq!(status(&space).await["credentials"].as_array().unwrap().len(), 3);

    // The answer to a leak ends all of them early.
    let now = Timestamp::now();
    let fourth = rotated(&space, &both, json!({"revision": 3, "revokeBefore": now, "overlap": "1h"}), 4).await;
    for value in [&first, &second, &third] {
        both.verifier.eventually_says("revoked", "scope=any", value).await;
    }
    assert_eq!(both.verifier.code("scope=any", &fourth).await, "ok");
}

#[tokio::test]
async fn at_most_five_earlier_values_work_at_the_same_time() {
    let (space, both) = run().await;
    let mut values = vec![space.ready_key("storefront").await];
    for revision in 1..=6 {
        let rotation = json!({"revision": revision, "overlap": "1h"});
        values.push(rotated(&space, &both, rotation, revision + 1).await);
    }
    both.verifier.eventually_says("unknown", "scope=any", &values[0]).await;
    for value in &values[1..] {
        assert_eq!(both.verifier.code("scope=any", value).await, "ok");
    }
}

#[tokio::test]
async fn a_lower_revision_is_ignored_with_a_warning_and_only_a_higher_one_than_ever_rotates() {
    let (space, both) = run().await;
    space.ready_key("storefront").await;
    let fifth = rotated(&space, &both, json!({"revision": 5, "overlap": "1h"}), 2).await;
    for (rotation, warned) in
        [(json!({"revision": 5, "overlap": "2h"}), 0), (json!(null), 0), (json!({"revision": 1}), 1)]
    {
        rotate(&space, rotation.clone()).await;
        space.until_observed("storefront").await;
        // Events are told after the status is written.
        eventually(&format!("{rotation} is warned of"), async || {
            let told = warnings(&space, "RevisionIgnored").await.len();
            if told == warned { Ok(()) } else { Err(told) }
        })
        .await;
        assert_eq!(record(&space).await["lastSerial"], 2, "{rotation}");
    }
    let note = space.event("storefront", "RevisionIgnored").await.message.unwrap();
    assert!(note.contains("revision 1 is not higher than 5") && note.contains("set it to 6"), "{note}");
    assert_eq!(space.value("storefront", "api-key").await, fifth);
    let sixth = rotated(&space, &both, json!({"revision": 6}), 3).await;
    assert_ne!(sixth, fifth);
}

#[tokio::test]
async fn revision_beyond_the_step_is_refused_and_emergency_rotation_goes_on() {
    let (space, both) = run().await;
    let old = space.ready_key("storefront").await;
    rotate(&space, json!({"revision": 9_007_199_254_740_991_i64})).await;
    space.until_ready_is("storefront", "RevisionTooHigh").await;
    assert_eq!(record(&space).await["lastSerial"], 1);
    assert_eq!(both.verifier.code("scope=any", &old).await, "ok");

    let revoke_before = Timestamp::now();
    let new = rotated(&space, &both, json!({"revision": 1, "revokeBefore": revoke_before}), 2).await;
    assert_ne!(new, old);
    space.until_ready_is("storefront", "Issued").await;
    both.verifier.eventually_says("revoked", "scope=any", &old).await;
}

async fn warnings(space: &Space, reason: &str) -> Vec<Event> {
    let events = Api::<Event>::namespaced(space.client.clone(), &space.name);
    let mut all = events.list(&ListParams::default()).await.unwrap().items;
    all.retain(|event| event.reason.as_deref() == Some(reason) && event.type_.as_deref() == Some("Warning"));
    all
}

#[tokio::test]
async fn revisions_that_are_raised_in_a_burst_end_with_one_value_for_the_last() {
    let (space, both) = run().await;
    space.ready_key("storefront").await;
    for revision in 1..=20 {
        rotate(&space, json!({"revision": revision, "overlap": "1h"})).await;
    }
    let settled = eventually("the last revision is delivered", async || {
        let record = record(&space).await;
        let current = &record["current"];
        if current["revision"] == 20 && current["deliveredAt"].is_string() {
            Ok(record)
        } else {
            Err(record.to_string())
        }
    })
    .await;
    let value = space.value("storefront", "api-key").await;
    assert_eq!(settled["current"]["id"], value[3..15]);
    both.verifier.eventually_says("ok", "scope=any", &value).await;
    let last = settled["lastSerial"].as_i64().unwrap();
    space.until_serial("storefront", last).await;
    assert_eq!(record(&space).await, settled, "and nothing more happens");
}

#[tokio::test]
async fn a_disabled_key_rotates_and_its_new_value_passes_once_it_is_enabled() {
    let (space, both) = run().await;
    let old = space.ready_key("storefront").await;
    space.patch_key("storefront", json!({"spec": {"disabled": true}})).await;
    space.until_state_is("storefront", "Disabled").await;
    rotate(&space, json!({"revision": 1})).await;
    space.until_serial("storefront", 2).await;
    let new = space.value("storefront", "api-key").await;
    assert_ne!(new, old);
    both.verifier.eventually_says("disabled", "scope=any", &new).await;
    assert_eq!(both.verifier.code("scope=any", &old).await, "disabled");
    space.until_state_is("storefront", "Disabled").await;
    space.patch_key("storefront", json!({"spec": {"disabled": false}})).await;
    both.verifier.eventually_says("ok", "scope=any", &new).await;
}

#[tokio::test]
async fn a_suspended_key_rotates_and_stays_suspended() {
    let (space, both) = run().await;
    space.ready_key("storefront").await;
    let suspensions = Api::<Suspension>::namespaced(space.client.clone(), &space.name);
    let spec = json!({"target": {"kind": "ApiKey", "name": "storefront"}, "reason": "Abuse"});
    let suspension = json!({"apiVersion": "keywright.dev/v1alpha1", "kind": "Suspension", "metadata": {"name": "abuse"}, "spec": spec});
    suspensions.create(&PostParams::default(), &serde_json::from_value(suspension).unwrap()).await.unwrap();
    space.until_state_is("storefront", "Suspended").await;
    rotate(&space, json!({"revision": 1})).await;
    space.until_serial("storefront", 2).await;
    let new = space.value("storefront", "api-key").await;
    both.verifier.eventually_says("suspended", "scope=any", &new).await;
    space.until_state_is("storefront", "Suspended").await;
}

#[tokio::test]
async fn a_key_that_is_created_with_a_revision_has_it_from_its_first_value_on() {
    let (space, _both) = run().await;
    space.account("acme", json!({"accessLevel": "Full"})).await;
    let spec = |revision: i64| json!({"account": "acme", "accessLevel": "Full", "rotation": {"revision": revision}});
    space.key("storefront", spec(3)).await;
    space.until_serial("storefront", 1).await;
    assert_eq!(status(&space).await["credentials"][0]["revision"], 3);
    rotate(&space, json!({"revision": 2})).await;
    space.event("storefront", "RevisionIgnored").await;
    assert_eq!(record(&space).await["lastSerial"], 1);
}
