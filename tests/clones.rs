//! Clones on a real API server: a different key with the same name and rights, resolved once.

#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "clones/grant.rs"]
mod grant;
#[path = "support/mod.rs"]
mod support;
#[path = "clones/unresolved.rs"]
mod unresolved;

use jiff::Timestamp;
use keywright::api::ApiKey;
use kube::api::DeleteParams;
use serde_json::{Value, json};
use support::cluster::Cluster;
use support::eventually;
use support::space::{Both, Space, both};
use tokio::sync::RwLockReadGuard;

/// A namespace with an account, and the operator and the verifier that the tests of this binary share.
async fn run() -> (Space, RwLockReadGuard<'static, Both>) {
    let space = Space::new(Cluster::shared().await).await;
    space.account("acme", json!({"accessLevel": "Full"})).await;
    (space, both().await)
}

/// A key that reads orders, ready.
async fn source(space: &Space) {
    let spec = json!({"account": "acme", "accessLevel": "Custom", "displayName": "Orders", "scopes": ["orders:read"]});
    space.key("source", spec).await;
    space.until("source", "SecretAvailable", "Delivered").await;
}

fn clone_of(name: &str) -> Value {
    json!({"account": "acme", "cloneFrom": {"name": name}})
}

/// A clone, ready; its value.
async fn cloned(space: &Space, name: &str, from: &str) -> String {
    space.key(name, clone_of(from)).await;
    delivered(space, name).await
}

async fn delivered(space: &Space, name: &str) -> String {
    space.until(name, "SecretAvailable", "Delivered").await;
    space.until_ready_is(name, "Issued").await;
    space.value(name, "api-key").await
}

async fn change(space: &Space, name: &str, spec: Value) {
    space.patch_key(name, json!({"spec": spec})).await;
}

fn told(key: &ApiKey) -> Value {
    serde_json::to_value(&key.status).unwrap()
}

/// What the operator says of the newest spec.
async fn observed(space: &Space, name: &str) -> Value {
    told(&space.until_observed(name).await)
}

fn orders_only() -> Value {
    access(json!({"level": "Custom", "scopes": ["orders:read"]}))
}

/// `status.access` of a grant that the account leaves whole.
fn access(grant: Value) -> Value {
    json!({"granted": grant, "effective": grant})
}

/// Holds that the value reads orders and does nothing else.
async fn assert_reads_orders_only(both: &Both, value: &str) {
    both.verifier.eventually_says("ok", "scope=orders:read", value).await;
    for question in ["scope=orders:write", "scope=invoices:read"] {
        assert_eq!(both.verifier.code(question, value).await, "insufficient_scope", "{question}");
    }
}

#[tokio::test]
async fn a_clone_has_another_value_and_the_name_and_rights_of_its_source() {
    let (space, both) = run().await;
    source(&space).await;
    let copy = cloned(&space, "copy", "source").await;
    assert_ne!(copy, space.value("source", "api-key").await);
    assert_reads_orders_only(&both, &copy).await;
    let status = observed(&space, "copy").await;
    assert_eq!(status["clonedFrom"], "source");
    assert_eq!(status["displayName"], "Orders");
    assert_eq!(status["access"], orders_only());
    assert_eq!(status["keyId"], copy[3..15]);
    let answer = support::http::post(&both.verifier.address, "/v1/verify", &json!({"key": copy}).to_string()).await;
    let answer = answer.unwrap().json();
    assert_eq!((&answer["displayName"], &answer["name"]), (&json!("Orders"), &json!("copy")), "{answer}");
    assert_eq!((&answer["accessLevel"], &answer["scopes"]), (&json!("Custom"), &json!(["orders:read"])), "{answer}");
}

#[tokio::test]
async fn a_clone_is_found_by_the_name_that_it_shows() {
    let (space, _both) = run().await;
    source(&space).await;
    cloned(&space, "copy", "source").await;
    cloned(&space, "renamed", "source").await;
    change(&space, "renamed", json!({"displayName": "Mine"})).await;
    eventually("the field selector finds them", async || {
        let plane = &Cluster::shared().await.plane;
        let find = |name: &str| {
            let selector = format!("--field-selector=status.displayName={name}");
            plane.kubectl(&["get", "ak", "-n", &space.name, "-o", "name", &selector]).unwrap()
        };
        let found = (find("Orders"), find("Mine"));
        let expected = ("apikey.keywright.dev/copy\napikey.keywright.dev/source\n", "apikey.keywright.dev/renamed\n");
        if (found.0.as_str(), found.1.as_str()) == expected { Ok(()) } else { Err(format!("{found:?}")) }
    })
    .await;
    change(&space, "renamed", json!({"displayName": null})).await;
    assert_eq!(observed(&space, "renamed").await["displayName"], "Orders", "the name that was cloned comes back");
}

#[tokio::test]
async fn neither_disabled_nor_expiry_nor_metadata_is_cloned() {
    let (space, both) = run().await;
    source(&space).await;
    let off = json!({"disabled": true, "expiresAt": "2020-01-01T00:00:00Z", "metadata": {"plan": "gold"}});
    change(&space, "source", off).await;
    space.until_state_is("source", "Expired").await;
    let copy = cloned(&space, "copy", "source").await;
    space.until_state_is("copy", "Active").await;
    assert_reads_orders_only(&both, &copy).await;
    let body = json!({"key": copy}).to_string();
    let answer = support::http::post(&both.verifier.address, "/v1/verify", &body).await.unwrap().json();
    assert_eq!((&answer["expiresAt"], &answer["metadata"]), (&Value::Null, &Value::Null), "{answer}");
}

#[tokio::test]
async fn what_becomes_of_the_source_is_of_no_matter_to_the_clone() {
    let (space, both) = run().await;
    source(&space).await;
    let copy = cloned(&space, "copy", "source").await;
    let before = observed(&space, "copy").await;
    change(&space, "source", json!({"accessLevel": "Full", "scopes": null, "displayName": "Everything"})).await;
    space.until_observed("source").await;
    change(&space, "copy", json!({"metadata": {"look": "again"}})).await;
    let after_edit = observed(&space, "copy").await;
    assert_reads_orders_only(&both, &copy).await;

    space.keys().delete("source", &DeleteParams::default()).await.unwrap();
    change(&space, "copy", json!({"metadata": {"look": "once more"}})).await;
    let after_deletion = observed(&space, "copy").await;
    assert_reads_orders_only(&both, &copy).await;
    for after in [&after_edit, &after_deletion] {
        for field in ["state", "clonedFrom", "displayName", "access", "keyId"] {
            assert_eq!(after[field], before[field], "{field}");
        }
    }
    space.until_ready_is("copy", "Issued").await;
    assert_eq!(delivered(&space, "copy").await, copy);
}

#[tokio::test]
async fn a_source_that_is_created_again_under_its_name_is_of_no_matter_either() {
    let (space, both) = run().await;
    source(&space).await;
    let copy = cloned(&space, "copy", "source").await;
    space.keys().delete("source", &DeleteParams::default()).await.unwrap();
    space.key("source", json!({"account": "acme", "accessLevel": "Full", "displayName": "Other"})).await;
    delivered(&space, "source").await;
    change(&space, "copy", json!({"metadata": {"look": "again"}})).await;
    let status = observed(&space, "copy").await;
    assert_eq!((&status["displayName"], &status["access"]), (&json!("Orders"), &orders_only()));
    assert_reads_orders_only(&both, &copy).await;
}

#[tokio::test]
async fn a_clone_of_a_clone_has_the_rights_of_the_first_and_the_words_of_the_last() {
    let (space, both) = run().await;
    source(&space).await;
    cloned(&space, "second", "source").await;
    change(&space, "second", json!({"displayName": "Second"})).await;
    space.until_observed("second").await;
    let third = cloned(&space, "third", "second").await;
    let status = observed(&space, "third").await;
    assert_eq!((&status["clonedFrom"], &status["displayName"]), (&json!("second"), &json!("Second")));
    assert_eq!(status["access"], orders_only());
    assert_reads_orders_only(&both, &third).await;
    change(&space, "second", json!({"accessLevel": "Full"})).await;
    space.until_observed("second").await;
    let fourth = cloned(&space, "fourth", "second").await;
    both.verifier.eventually_says("ok", "scope=invoices:write", &fourth).await;
    assert_reads_orders_only(&both, &third).await;
}

#[tokio::test]
async fn a_clone_keeps_its_rights_across_its_own_rotations() {
    let (space, both) = run().await;
    source(&space).await;
    cloned(&space, "copy", "source").await;
    space.keys().delete("source", &DeleteParams::default()).await.unwrap();
    let mut values = Vec::new();
    for revision in 1..=3 {
        change(&space, "copy", json!({"rotation": {"revision": revision, "overlap": "1h"}})).await;
        space.until_serial("copy", revision + 1).await;
        values.push(space.value("copy", "api-key").await);
    }
    assert_reads_orders_only(&both, &values[2]).await;
    assert_reads_orders_only(&both, &values[1]).await;
    let status = observed(&space, "copy").await;
    assert_eq!((&status["displayName"], &status["clonedFrom"]), (&json!("Orders"), &json!("source")));
    assert_eq!(status["access"], orders_only());
}

#[tokio::test]
async fn a_revoked_source_can_be_cloned_and_its_revocation_is_not() {
    let (space, both) = run().await;
    source(&space).await;
    change(&space, "source", json!({"rotation": {"revision": 9, "revokeBefore": Timestamp::now()}})).await;
    space.until_serial("source", 2).await;
    let copy = cloned(&space, "copy", "source").await;
    assert_reads_orders_only(&both, &copy).await;
    assert_eq!(observed(&space, "copy").await["credentials"][0]["revision"], Value::Null);
}
