//! Expiry on a real API server: to the second at the verifier, said before and after by the operator.

#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "support/mod.rs"]
mod support;

use jiff::{SignedDuration, Timestamp};
use keywright::api::ApiKey;
use kube::ResourceExt;
use kube::api::DeleteParams;
use serde_json::{Value, json};
use support::cluster::Cluster;
use support::keywright::Running;
use support::space::{Space, passes_until};
use support::{eventually, http};
use tokio::sync::{Mutex, MutexGuard};

/// Every operator counts the keys of every namespace, so the tests of this binary take turns.
static TURN: Mutex<()> = Mutex::const_new(());

/// A namespace with a key, and an operator of the test's own that warns an hour before.
struct Run {
    _turn: MutexGuard<'static, ()>,
    cluster: &'static Cluster,
    operator: Running,
    space: Space,
    value: String,
}

async fn run() -> Run {
    let turn = TURN.lock().await;
    let cluster = Cluster::shared().await;
    let operator = operator(cluster).await;
    let space = Space::new(cluster).await;
    let value = space.ready_key("trial").await;
    Run { _turn: turn, cluster, operator, space, value }
}

async fn operator(cluster: &Cluster) -> Running {
    Running::operator(cluster, &["--expiry-warning=1h"]).await.unwrap().ready().await
}

async fn verifier(run: &Run) -> Running {
    let verifier = Running::verifier(run.cluster, &[]).await.unwrap().ready().await;
    verifier.eventually_says("ok", "scope=any", &run.value).await;
    verifier
}

fn in_seconds(seconds: i64) -> Timestamp {
    let now = Timestamp::from_second(Timestamp::now().as_second()).unwrap();
    now + SignedDuration::from_secs(seconds)
}

impl Run {
    async fn expire_at(&self, at: Timestamp) {
        self.space.patch_key("trial", json!({"spec": {"expiresAt": at}})).await;
    }

    /// What the operator says of the newest spec.
    async fn observed(&self) -> Value {
        told(&self.space.until_observed("trial").await)
    }

    async fn until_expiring(&self, expected: usize) {
        let line = format!("keywright_keys_expiring {expected}");
        eventually(&line, async || {
            let text = http::get(&self.operator.admin, "/metrics", &[]).await.map_err(|e| e.to_string())?.body;
            if text.lines().any(|l| l == line) { Ok(()) } else { Err(text) }
        })
        .await;
    }

    /// Leaves no key behind that the next test would count.
    async fn end(self) {
        self.space.keys().delete_collection(&DeleteParams::default(), &kube::api::ListParams::default()).await.unwrap();
        self.until_expiring(0).await;
    }
}

fn told(key: &ApiKey) -> Value {
    serde_json::to_value(&key.status).unwrap()
}

fn condition(status: &Value, type_: &str) -> Option<Value> {
    status["conditions"].as_array().unwrap().iter().find(|c| c["type"] == type_).cloned()
}

#[tokio::test]
async fn a_key_expires_to_the_second_while_the_operator_is_down() {
    let run = run().await;
    let verifier = verifier(&run).await;
    run.operator.process.kill();
    let end = in_seconds(4);
    run.expire_at(end).await;
    passes_until(&verifier, &run.value, end, "expired").await;
    let second = Running::verifier(run.cluster, &[]).await.unwrap().ready().await;
    second.eventually_says("expired", "scope=any", &run.value).await;

    // What the operator says of it, it says when it is back.
    let back = Run { operator: operator(run.cluster).await, ..run };
    back.space.until_state_is("trial", "Expired").await;
    back.end().await;
}

#[tokio::test]
async fn an_overlap_ends_to_the_second_while_the_operator_is_down() {
    let run = run().await;
    let verifier = verifier(&run).await;
    run.space.patch_key("trial", json!({"spec": {"rotation": {"revision": 1, "overlap": "6s"}}})).await;
    let key = run.space.until_serial("trial", 2).await;
    run.operator.process.kill();
    let retires = run.space.record(&key).await["retiring"][0]["retiresAt"].clone();
    passes_until(&verifier, &run.value, retires.as_str().unwrap().parse().unwrap(), "retired").await;
    let new = run.space.value("trial", "api-key").await;
    assert_eq!(verifier.code("scope=any", &new).await, "ok");
}

#[tokio::test]
async fn the_operator_says_by_itself_that_a_key_has_expired() {
    let run = run().await;
    let end = in_seconds(4);
    run.expire_at(end).await;
    run.space.until_state_is("trial", "Expired").await;
    let said = Timestamp::now();
    assert!(said >= end, "said at {said}, before {end}");
    let event = run.space.event("trial", "Expired").await;
    assert_eq!(event.type_.as_deref(), Some("Warning"));
    let status = told(&run.space.keys().get("trial").await.unwrap());
    assert_eq!(condition(&status, "Ready").unwrap()["status"], "True", "an expired key is ready");
    assert_eq!(condition(&status, "Expiring"), None, "it has ended");
    run.until_expiring(0).await;
    run.end().await;
}

#[tokio::test]
async fn a_key_that_is_near_its_end_is_warned_of_by_a_condition_an_event_and_a_metric() {
    let run = run().await;
    run.until_expiring(0).await;
    run.expire_at(in_seconds(2 * 3600)).await;
    assert_eq!(condition(&run.observed().await, "Expiring"), None, "it is too early");
    run.until_expiring(0).await;

    let end = in_seconds(1800);
    run.expire_at(end).await;
    let expiring = condition(&run.observed().await, "Expiring").unwrap();
    assert_eq!((&expiring["status"], &expiring["reason"]), (&json!("True"), &json!("ExpiresSoon")));
    assert!(expiring["message"].as_str().unwrap().contains(&end.to_string()), "{expiring}");
    let event = run.space.event("trial", "ExpiresSoon").await;
    assert_eq!(event.type_.as_deref(), Some("Warning"));
    run.until_expiring(1).await;

    run.expire_at(in_seconds(2 * 3600)).await;
    assert_eq!(condition(&run.observed().await, "Expiring"), None);
    run.until_expiring(0).await;
    run.end().await;
}

#[tokio::test]
async fn the_warning_comes_by_itself_when_its_time_has_come() {
    let run = run().await;
    let due = in_seconds(3);
    run.expire_at(due + SignedDuration::from_hours(1)).await;
    let key = run.space.until("trial", "Expiring", "ExpiresSoon").await;
    let since = condition(&told(&key), "Expiring").unwrap()["lastTransitionTime"].clone();
    assert!(since.as_str().unwrap().parse::<Timestamp>().unwrap() >= due, "too early: {since}");
    run.until_expiring(1).await;
    run.end().await;
}

#[tokio::test]
async fn an_operator_that_starts_anew_counts_the_keys_near_their_end_and_forgets_deleted_ones() {
    let run = run().await;
    run.expire_at(in_seconds(1800)).await;
    run.space.until("trial", "Expiring", "ExpiresSoon").await;
    let before = run.space.until_observed("trial").await;
    run.operator.process.kill();
    let run = Run { operator: operator(run.cluster).await, ..run };
    run.until_expiring(1).await;
    let after = run.space.keys().get("trial").await.unwrap();
    assert_eq!(after.resource_version(), before.resource_version(), "and it has nothing new to say");
    run.end().await;
}

#[tokio::test]
async fn moving_the_date_forward_revives_an_expired_key_with_its_value() {
    let run = run().await;
    let verifier = verifier(&run).await;
    run.expire_at(in_seconds(-1)).await;
    verifier.eventually_says("expired", "scope=any", &run.value).await;
    run.space.until_state_is("trial", "Expired").await;
    let end = in_seconds(5);
    run.expire_at(end).await;
    verifier.eventually_says("ok", "scope=any", &run.value).await;
    run.space.until_state_is("trial", "Active").await;
    assert_eq!(run.space.value("trial", "api-key").await, run.value);
    passes_until(&verifier, &run.value, end, "expired").await;
    run.space.until_state_is("trial", "Expired").await;
    run.space.patch_key("trial", json!({"spec": {"expiresAt": null}})).await;
    verifier.eventually_says("ok", "scope=any", &run.value).await;
    run.space.until_state_is("trial", "Active").await;
    run.end().await;
}

#[tokio::test]
async fn a_key_that_is_created_with_a_date_in_the_past_is_not_ready_until_the_date_is_moved() {
    let run = run().await;
    let verifier = verifier(&run).await;
    let spec = json!({"account": "acme", "accessLevel": "Full", "expiresAt": "2020-01-01T00:00:00Z"});
    run.space.key("late", spec).await;
    run.space.until_ready_is("late", "Expired").await;
    run.space.until_state_is("late", "Expired").await;
    assert!(run.space.secrets().get_opt("late").await.unwrap().is_none(), "no value is minted");
    run.space.patch_key("late", json!({"spec": {"expiresAt": in_seconds(7200)}})).await;
    run.space.until_ready_is("late", "Issued").await;
    let value = run.space.value("late", "api-key").await;
    verifier.eventually_says("ok", "scope=any", &value).await;
    run.end().await;
}

#[tokio::test]
async fn a_rotation_does_not_help_against_the_keys_own_date() {
    let run = run().await;
    let verifier = verifier(&run).await;
    run.expire_at(in_seconds(-1)).await;
    run.space.patch_key("trial", json!({"spec": {"rotation": {"revision": 1}}})).await;
    run.space.until_serial("trial", 2).await;
    let new = run.space.value("trial", "api-key").await;
    verifier.eventually_says("expired", "scope=any", &new).await;
    run.space.until_state_is("trial", "Expired").await;
    run.end().await;
}
