//! The platform suspends a key or an account, and nothing that its owner does escapes it.

#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "suspension/absence.rs"]
mod absence;
#[path = "suspension/escape.rs"]
mod escape;
#[path = "support/mod.rs"]
mod support;
#[path = "suspension/target.rs"]
mod target;

use k8s_openapi::api::core::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use keywright::api::Suspension;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use support::cluster::Cluster;
use support::eventually;
use support::keywright::Running;
use support::space::{Space, both};

const WHY: &str = "The invoice of May is not paid; write to billing@example.com";

async fn space() -> Space {
    Space::new(Cluster::shared().await).await
}

fn suspensions(space: &Space) -> Api<Suspension> {
    Api::namespaced(space.client.clone(), &space.name)
}

async fn suspend(space: &Space, name: &str, kind: &str, target: &str) -> Suspension {
    suspend_for(space, name, kind, target, "PaymentOverdue").await
}

async fn suspend_for(space: &Space, name: &str, kind: &str, target: &str, reason: &str) -> Suspension {
    let spec = json!({"target": {"kind": kind, "name": target}, "reason": reason, "message": WHY});
    suspend_as(space, name, spec).await
}

async fn suspend_as(space: &Space, name: &str, spec: Value) -> Suspension {
    let suspension = json!({"apiVersion": "keywright.dev/v1alpha1", "kind": "Suspension", "metadata": {"name": name},
        "spec": spec});
    let suspension = serde_json::from_value(suspension).unwrap();
    suspensions(space).create(&PostParams::default(), &suspension).await.unwrap()
}

async fn lift(space: &Space, name: &str) {
    suspensions(space).delete(name, &DeleteParams::default()).await.unwrap();
}

/// The condition `Suspended` of an object as kubectl names it, such as `ak/storefront`.
fn suspended(space: &Space, cluster: &Cluster, object: &str) -> Option<Condition> {
    let text = cluster.plane.kubectl(&["get", object, "-n", &space.name, "-o", "json"]).unwrap();
    let object: Value = serde_json::from_str(&text).unwrap();
    let conditions: Vec<Condition> = serde_json::from_value(object["status"]["conditions"].clone()).unwrap_or_default();
    conditions.into_iter().find(|condition| condition.type_ == "Suspended")
}

/// Waits until the condition `Suspended` has this reason; `None` waits until it is not there.
async fn until_suspended_for(space: &Space, object: &str, reason: Option<&str>) -> Option<Condition> {
    let cluster = Cluster::shared().await;
    eventually(&format!("{object} is suspended for {reason:?}"), async || {
        let condition = suspended(space, cluster, object);
        let is = condition.as_ref().map(|condition| condition.reason.as_str());
        if is == reason { Ok(condition) } else { Err(format!("it is for {is:?}")) }
    })
    .await
}

/// Waits for an Event of an object, and returns its type and its message.
async fn until_told(space: &Space, kind: &str, name: &str, reason: &str) -> (String, String) {
    let events = Api::<Event>::namespaced(space.client.clone(), &space.name);
    eventually(&format!("an Event {reason} of {kind} {name}"), async || {
        let all = events.list(&kube::api::ListParams::default()).await.map_err(|e| e.to_string())?;
        let concerns = |event: &&Event| {
            let object = &event.involved_object;
            object.kind.as_deref() == Some(kind) && object.name.as_deref() == Some(name)
        };
        let of_object: Vec<&Event> = all.items.iter().filter(concerns).collect();
        match of_object.iter().find(|event| event.reason.as_deref() == Some(reason)) {
            Some(event) => Ok((event.type_.clone().unwrap_or_default(), event.message.clone().unwrap_or_default())),
            None => Err(format!("only {:?}", of_object.iter().map(|event| &event.reason).collect::<Vec<_>>())),
        }
    })
    .await
}

/// Waits until a verifier has seen all that was done with suspensions before: one that is made now comes after it in the
/// same watch.
async fn until_caught_up(verifier: &Running) {
    let other = space().await;
    let value = other.ready_key("sentinel").await;
    suspend(&other, "sentinel", "ApiKey", "sentinel").await;
    verifier.eventually_says("suspended", "scope=any", &value).await;
}

#[tokio::test]
async fn a_suspended_key_is_refused_its_owner_reads_why_and_lifted_it_passes_with_the_same_value() {
    let (space, both) = (space().await, both().await);
    let value = space.ready_key("storefront").await;
    let other = space.ready_key("other").await;
    both.verifier.eventually_says("ok", "scope=orders:write", &value).await;

    let generation = space.keys().get("storefront").await.unwrap().metadata.generation;
    suspend(&space, "overdue", "ApiKey", "storefront").await;
    both.verifier.eventually_says("suspended", "scope=orders:write", &value).await;
    space.until_state_is("storefront", "Suspended").await;
    let condition = until_suspended_for(&space, "ak/storefront", Some("PaymentOverdue")).await.unwrap();
    assert_eq!(
        (condition.status.as_str(), condition.message.as_str()),
        ("True", &*format!("suspended by the platform: {WHY}"))
    );
    assert_eq!(condition.observed_generation, generation);
    let told = until_told(&space, "ApiKey", "storefront", "Suspended").await;
    assert_eq!(told, ("Warning".to_owned(), format!("suspended by the platform: {WHY}")));
    let key = space.until("storefront", "Ready", "Issued").await;
    assert_eq!(key.metadata.generation, generation, "nothing was written into the owner's spec");
    assert_eq!(both.verifier.code("scope=orders:write", &other).await, "ok", "the other key of the account passes");

    lift(&space, "overdue").await;
    both.verifier.eventually_says("ok", "scope=orders:write", &value).await;
    space.until_state_is("storefront", "Active").await;
    assert!(until_suspended_for(&space, "ak/storefront", None).await.is_none());
    assert_eq!(until_told(&space, "ApiKey", "storefront", "SuspensionLifted").await.0, "Normal");
    assert_eq!(space.value("storefront", "api-key").await, value);
}

#[tokio::test]
async fn a_suspended_account_is_refused_with_every_key_and_each_says_why() {
    let (space, both) = (space().await, both().await);
    let values = [space.ready_key("one").await, space.ready_key("two").await];
    for value in &values {
        both.verifier.eventually_says("ok", "scope=any", value).await;
    }
    suspend(&space, "overdue", "Account", "acme").await;
    for value in &values {
        both.verifier.eventually_says("account_suspended", "scope=any", value).await;
    }
    for object in ["acct/acme", "ak/one", "ak/two"] {
        let condition = until_suspended_for(&space, object, Some("PaymentOverdue")).await.unwrap();
        assert_eq!(
            (condition.status.as_str(), condition.message.as_str()),
            ("True", &*format!("suspended by the platform: {WHY}")),
            "{object}"
        );
    }
    space.until_state_is("one", "Suspended").await;
    assert_eq!(
        until_told(&space, "ApiKey", "one", "Suspended").await,
        ("Warning".to_owned(), format!("suspended by the platform: {WHY}"))
    );
    // A key that comes later is no way around it.
    let third = space.ready_key("three").await;
    both.verifier.eventually_says("account_suspended", "scope=any", &third).await;

    lift(&space, "overdue").await;
    for value in values.iter().chain([&third]) {
        both.verifier.eventually_says("ok", "scope=any", value).await;
    }
    for object in ["acct/acme", "ak/one", "ak/two", "ak/three"] {
        until_suspended_for(&space, object, None).await;
    }
    space.until_state_is("one", "Active").await;
    assert_eq!(until_told(&space, "ApiKey", "one", "SuspensionLifted").await.0, "Normal");
}

#[tokio::test]
async fn the_owner_of_a_suspended_account_finds_events_at_the_account_too() {
    let (space, _both) = (space().await, both().await);
    space.account("acme", json!({"accessLevel": "Full"})).await;
    suspend(&space, "overdue", "Account", "acme").await;
    assert_eq!(
        until_told(&space, "Account", "acme", "Suspended").await,
        ("Warning".to_owned(), format!("suspended by the platform: {WHY}"))
    );
    lift(&space, "overdue").await;
    assert_eq!(until_told(&space, "Account", "acme", "SuspensionLifted").await.0, "Normal");
}

#[tokio::test]
async fn of_two_suspensions_of_one_key_both_must_be_lifted() {
    let (space, both) = (space().await, both().await);
    let value = space.ready_key("storefront").await;
    suspend_for(&space, "a", "ApiKey", "storefront", "PaymentOverdue").await;
    suspend_for(&space, "b", "ApiKey", "storefront", "Abuse").await;
    both.verifier.eventually_says("suspended", "scope=any", &value).await;
    until_suspended_for(&space, "ak/storefront", Some("PaymentOverdue")).await;
    lift(&space, "a").await;
    until_suspended_for(&space, "ak/storefront", Some("Abuse")).await;
    until_caught_up(&both.verifier).await;
    assert_eq!(both.verifier.code("scope=any", &value).await, "suspended");
    lift(&space, "b").await;
    both.verifier.eventually_says("ok", "scope=any", &value).await;
    until_suspended_for(&space, "ak/storefront", None).await;
}

#[tokio::test]
async fn of_two_suspensions_of_one_account_both_must_be_lifted_and_its_keys_may_have_more() {
    let (space, both) = (space().await, both().await);
    let value = space.ready_key("storefront").await;
    suspend_for(&space, "a", "Account", "acme", "PaymentOverdue").await;
    suspend_for(&space, "b", "Account", "acme", "Abuse").await;
    suspend_for(&space, "c", "ApiKey", "storefront", "Leaked").await;
    both.verifier.eventually_says("account_suspended", "scope=any", &value).await;
    until_suspended_for(&space, "acct/acme", Some("PaymentOverdue")).await;
    lift(&space, "a").await;
    until_suspended_for(&space, "acct/acme", Some("Abuse")).await;
    until_suspended_for(&space, "ak/storefront", Some("Abuse")).await;
    until_caught_up(&both.verifier).await;
    assert_eq!(both.verifier.code("scope=any", &value).await, "account_suspended");
    lift(&space, "b").await;
    both.verifier.eventually_says("suspended", "scope=any", &value).await;
    until_suspended_for(&space, "ak/storefront", Some("Leaked")).await;
    until_suspended_for(&space, "acct/acme", None).await;
    lift(&space, "c").await;
    both.verifier.eventually_says("ok", "scope=any", &value).await;
}

#[tokio::test]
async fn a_suspension_concerns_the_kind_and_the_namespace_that_it_names_and_no_other() {
    let (here, there, both) = (space().await, space().await, both().await);
    // The key has its account's name.
    let (ours, theirs) = (here.ready_key("acme").await, there.ready_key("acme").await);
    let sibling = there.ready_key("sibling").await;
    both.verifier.eventually_says("ok", "scope=any", &ours).await;
    both.verifier.eventually_says("ok", "scope=any", &sibling).await;
    suspend(&there, "key", "ApiKey", "acme").await;
    both.verifier.eventually_says("suspended", "scope=any", &theirs).await;
    assert_eq!(both.verifier.code("scope=any", &sibling).await, "ok", "the account is not meant");
    assert_eq!(both.verifier.code("scope=any", &ours).await, "ok", "nor is the other namespace");
    lift(&there, "key").await;
    suspend(&there, "account", "Account", "acme").await;
    both.verifier.eventually_says("account_suspended", "scope=any", &sibling).await;
    assert_eq!(both.verifier.code("scope=any", &ours).await, "ok");
    there.until_state_is("sibling", "Suspended").await;
    for object in ["ak/acme", "acct/acme"] {
        assert_eq!(suspended(&here, Cluster::shared().await, object), None);
    }
}

#[tokio::test]
async fn what_the_owner_did_meanwhile_counts_when_the_suspension_is_lifted() {
    let (space, both) = (space().await, both().await);
    let value = space.ready_key("storefront").await;
    suspend(&space, "overdue", "ApiKey", "storefront").await;
    both.verifier.eventually_says("suspended", "scope=any", &value).await;
    space.patch_key("storefront", json!({"spec": {"disabled": true}})).await;
    lift(&space, "overdue").await;
    both.verifier.eventually_says("disabled", "scope=any", &value).await;
    space.until_state_is("storefront", "Disabled").await;
}

#[tokio::test]
async fn a_reason_that_changes_is_said_anew() {
    let (space, _both) = (space().await, both().await);
    space.ready_key("storefront").await;
    suspend(&space, "overdue", "ApiKey", "storefront").await;
    until_suspended_for(&space, "ak/storefront", Some("PaymentOverdue")).await;
    let spec = Patch::Merge(json!({"spec": {"reason": "Abuse", "message": null}}));
    suspensions(&space).patch("overdue", &PatchParams::default(), &spec).await.unwrap();
    let condition = until_suspended_for(&space, "ak/storefront", Some("Abuse")).await.unwrap();
    assert!(!condition.message.is_empty(), "without a message there is still a sentence");
    let target = Patch::Merge(json!({"spec": {"target": {"name": "other"}}}));
    let refused = suspensions(&space).patch("overdue", &PatchParams::default(), &target).await.unwrap_err();
    assert!(refused.to_string().contains("target cannot be changed"), "{refused}");
}

#[tokio::test]
async fn a_suspension_that_somebodys_finalizer_holds_goes_on_until_it_is_gone() {
    let (space, both) = (space().await, both().await);
    let value = space.ready_key("storefront").await;
    suspend(&space, "overdue", "ApiKey", "storefront").await;
    let hold = |finalizers: &[&str]| Patch::Merge(json!({"metadata": {"finalizers": finalizers}}));
    let held = hold(&["example.com/approval"]);
    suspensions(&space).patch("overdue", &PatchParams::default(), &held).await.unwrap();
    both.verifier.eventually_says("suspended", "scope=any", &value).await;
    space.until_state_is("storefront", "Suspended").await;
    lift(&space, "overdue").await;
    // A change of the key after the deletion shows that both have gone on.
    space.patch_key("storefront", json!({"spec": {"displayName": "Storefront"}})).await;
    eventually("the operator has seen the change", async || {
        let key = space.keys().get("storefront").await.map_err(|e| e.to_string())?;
        let shown = key.status.as_ref().and_then(|status| status.display_name.clone());
        if shown.is_some() { Ok(()) } else { Err(format!("{:?}", key.resource_version())) }
    })
    .await;
    assert!(suspended(&space, Cluster::shared().await, "ak/storefront").is_some());
    until_caught_up(&both.verifier).await;
    assert_eq!(both.verifier.code("scope=any", &value).await, "suspended");
    suspensions(&space).patch("overdue", &PatchParams::default(), &hold(&[])).await.unwrap();
    both.verifier.eventually_says("ok", "scope=any", &value).await;
}

#[tokio::test]
async fn the_longest_message_there_is_reaches_the_owner_in_condition_and_event() {
    let (space, _both) = (space().await, both().await);
    space.ready_key("storefront").await;
    // 1024 characters, of which each takes more than one byte.
    let message = "é".repeat(1024);
    let target = json!({"kind": "ApiKey", "name": "storefront"});
    suspend_as(&space, "long", json!({"target": target, "reason": "Abuse", "message": message})).await;
    let condition = until_suspended_for(&space, "ak/storefront", Some("Abuse")).await.unwrap();
    assert_eq!(condition.message, format!("suspended by the platform: {message}"));
    let (_, told) = until_told(&space, "ApiKey", "storefront", "Suspended").await;
    assert!(told.starts_with("suspended by the platform: ééé"), "{told}");
}

#[tokio::test]
async fn a_second_suspension_is_told_in_its_own_words() {
    let (space, _both) = (space().await, both().await);
    space.ready_key("storefront").await;
    let target = json!({"kind": "ApiKey", "name": "storefront"});
    for (name, reason, message) in
        [("a", "PaymentOverdue", "The invoice is not paid"), ("b", "Abuse", "Too many calls")]
    {
        suspend_as(&space, name, json!({"target": target, "reason": reason, "message": message})).await;
        until_suspended_for(&space, "ak/storefront", Some(reason)).await;
        let events = Api::<Event>::namespaced(space.client.clone(), &space.name);
        eventually(&format!("an Event that says {message}"), async || {
            let all = events.list(&kube::api::ListParams::default()).await.map_err(|e| e.to_string())?.items;
            let said: Vec<String> = all.into_iter().filter_map(|event| event.message).collect();
            if said.iter().any(|said| said.contains(message)) { Ok(()) } else { Err(format!("{said:?}")) }
        })
        .await;
        lift(&space, name).await;
        until_suspended_for(&space, "ak/storefront", None).await;
    }
}
