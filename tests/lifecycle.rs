//! The life of a key on a real API server: operator and verifier as processes, under the chart's `ServiceAccount`s.

#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "support/mod.rs"]
mod support;

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Secret;
use keywright::api::{ApiKey, ApiKeyStatus};
use kube::ResourceExt;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use support::cluster::Cluster;
use support::keywright::Running;
use support::space::Space;
use support::{Result, eventually};
use tokio::sync::OnceCell;

/// One operator and one verifier for all tests of this binary.
struct Keywright {
    cluster: &'static Cluster,
    /// Held so that it goes on.
    #[allow(dead_code)]
    operator: Running,
    verifier: Running,
}

async fn keywright() -> &'static Keywright {
    static SHARED: OnceCell<Keywright> = OnceCell::const_new();
    SHARED
        .get_or_init(async || {
            let cluster = Cluster::shared().await;
            cluster.plane.with_controller_manager().unwrap();
            let operator = Running::operator(cluster, &[]).await.unwrap().ready().await;
            let verifier =
                Running::verifier(cluster, &["--method-header=X-Original-Method"]).await.unwrap().ready().await;
            Keywright { cluster, operator, verifier }
        })
        .await
}

async fn space() -> Space {
    Space::new(keywright().await.cluster).await
}

async fn verifier() -> &'static Running {
    &keywright().await.verifier
}

fn ready_message(key: &ApiKey) -> String {
    let conditions = &key.status.as_ref().unwrap().conditions;
    conditions.iter().find(|c| c.type_ == "Ready").unwrap().message.clone()
}

#[tokio::test]
async fn a_key_is_minted_delivered_accepted_disabled_and_accepted_again() {
    let space = space().await;
    let value = space.ready_key("storefront").await;

    let secret = space.secrets().get("storefront").await.unwrap();
    let key = space.keys().get("storefront").await.unwrap();
    let owner = &secret.owner_references()[0];
    assert_eq!(secret.type_.as_deref(), Some("keywright.dev/api-key"));
    assert_eq!(
        (owner.kind.as_str(), &owner.uid, owner.block_owner_deletion),
        ("ApiKey", key.metadata.uid.as_ref().unwrap(), Some(false))
    );
    assert_eq!(space.value("storefront", "key-id").await, value[3..15]);

    let bearer = format!("Bearer {value}");
    verifier().await.eventually_says("ok", "scope=orders:write", &value).await;
    let answer = verifier().await.auth("scope=orders:write", &[("Authorization", &bearer)]).await;
    let header = |name: &str| answer.header(name).unwrap_or_default().to_owned();
    assert_eq!(answer.status, 200);
    assert_eq!(header("x-keywright-account"), format!("{}/acme", space.name));
    assert_eq!(header("x-keywright-key"), format!("{}/storefront", space.name));
    assert_eq!(header("x-keywright-key-id"), value[3..15]);
    assert_eq!(header("x-keywright-scopes"), "*:*");
    assert_eq!(header("cache-control"), "no-store");

    space.patch_key("storefront", json!({"spec": {"disabled": true}})).await;
    verifier().await.eventually_says("disabled", "scope=any", &value).await;
    space.until_state_is("storefront", "Disabled").await;
    space.patch_key("storefront", json!({"spec": {"disabled": false}})).await;
    verifier().await.eventually_says("ok", "scope=any", &value).await;
    space.until_state_is("storefront", "Active").await;
    assert_eq!(space.value("storefront", "api-key").await, value, "the value is the same as before");
}

#[tokio::test]
async fn status_shows_what_the_user_needs() {
    let space = space().await;
    space.account("acme", json!({"accessLevel": "ReadOnly"})).await;
    let spec = json!({"account": "acme", "accessLevel": "Custom", "displayName": "Export", "scopes": ["orders:read"]});
    space.key("export", spec).await;
    let key = space.until("export", "SecretAvailable", "Delivered").await;
    let value = space.value("export", "api-key").await;
    let status = serde_json::to_value(key.status.unwrap()).unwrap();
    assert_eq!(status["state"], "Active");
    assert_eq!(status["keyId"], value[3..15]);
    assert_eq!(status["hint"], format!("{}_…", &value[..15]));
    assert_eq!(status["secretName"], "export");
    let grant = json!({"level": "Custom", "scopes": ["orders:read"]});
    assert_eq!(status["access"], json!({"granted": grant, "effective": grant}));
    assert_eq!(status["credentials"][0]["serial"], 1);
    assert_eq!(status["observedGeneration"], 1);
    let plane = &keywright().await.cluster.plane;
    let id = format!("--field-selector=status.keyId={}", &value[3..15]);
    for selector in [id.as_str(), "--field-selector=spec.displayName=Export", "--field-selector=status.state=Active"] {
        let found = plane.kubectl(&["get", "ak", "-n", &space.name, "-o", "name", selector]).unwrap();
        assert_eq!(found.trim(), "apikey.keywright.dev/export", "{selector}");
    }
}

#[tokio::test]
async fn a_custom_key_is_refused_outside_its_scopes_and_under_a_narrower_account() {
    let space = space().await;
    space.account("acme", json!({"accessLevel": "Full"})).await;
    space.key("export", json!({"account": "acme", "accessLevel": "Custom", "scopes": ["orders:*"]})).await;
    space.until_ready_is("export", "Issued").await;
    let value = space.value("export", "api-key").await;
    let verifier = verifier().await;
    verifier.eventually_says("ok", "scope=orders:write", &value).await;
    let bearer = format!("Bearer {value}");
    let answer = verifier.auth("scope=invoices:read", &[("Authorization", &bearer)]).await;
    assert_eq!((answer.status, answer.header("x-keywright-code")), (403, Some("insufficient_scope")));
    assert_eq!(
        answer.header("www-authenticate"),
        Some("Bearer realm=\"keywright\", error=\"insufficient_scope\", scope=\"invoices:read\"")
    );
    let problem: Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!((&problem["scope"], &problem["code"]), (&json!("invoices:read"), &json!("insufficient_scope")));

    space.patch_account("acme", json!({"spec": {"accessLevel": "ReadOnly"}})).await;
    verifier.eventually_says("insufficient_scope", "scope=orders:write", &value).await;
    assert_eq!(verifier.code("scope=orders:read", &value).await, "ok");
    let key = space.until_ready_is("export", "ScopeNotGranted").await;
    assert!(ready_message(&key).contains("does not grant orders:*"), "{}", ready_message(&key));
    space.patch_account("acme", json!({"spec": {"accessLevel": "Full"}})).await;
    verifier.eventually_says("ok", "scope=orders:write", &value).await;
    space.until_ready_is("export", "Issued").await;
}

#[tokio::test]
async fn a_deleted_key_is_refused_and_its_namesake_has_another_value() {
    let space = space().await;
    let old = space.ready_key("storefront").await;
    verifier().await.eventually_says("ok", "scope=any", &old).await;
    space.keys().delete("storefront", &DeleteParams::default()).await.unwrap();
    verifier().await.eventually_says("unknown", "scope=any", &old).await;

    space.key("storefront", json!({"account": "acme", "accessLevel": "Full"})).await;
    space.until_ready_is("storefront", "Issued").await;
    let new = space.value("storefront", "api-key").await;
    assert_ne!(new, old);
    verifier().await.eventually_says("ok", "scope=any", &new).await;
    assert_eq!(verifier().await.code("scope=any", &old).await, "unknown");
}

#[tokio::test]
async fn a_deletion_counts_from_when_it_is_asked_for_whatever_finalizer_holds_the_object() {
    let space = space().await;
    let value = space.ready_key("storefront").await;
    let verifier = verifier().await;
    verifier.eventually_says("ok", "scope=any", &value).await;
    let held = |finalizers: &[&str]| json!({"metadata": {"finalizers": finalizers}});
    let hold = held(&["example.com/slow"]);
    space.patch_account("acme", hold.clone()).await;
    space.accounts().delete("acme", &DeleteParams::default()).await.unwrap();
    verifier.eventually_says("account_not_found", "scope=any", &value).await;
    space.until_ready_is("storefront", "AccountNotFound").await;
    space.patch_account("acme", held(&[])).await;
    space.account("acme", json!({"accessLevel": "Full"})).await;
    verifier.eventually_says("ok", "scope=any", &value).await;

    space.patch_key("storefront", hold).await;
    space.keys().delete("storefront", &DeleteParams::default()).await.unwrap();
    verifier.eventually_says("unknown", "scope=any", &value).await;
    assert!(space.keys().get_opt("storefront").await.unwrap().is_some(), "the object is still there");
    space.patch_key("storefront", held(&[])).await;
}

#[tokio::test]
async fn an_account_that_is_disabled_or_gone_takes_its_keys_with_it_and_gives_them_back() {
    let space = space().await;
    let value = space.ready_key("storefront").await;
    let verifier = verifier().await;
    verifier.eventually_says("ok", "scope=any", &value).await;
    space.patch_account("acme", json!({"spec": {"disabled": true}})).await;
    verifier.eventually_says("account_disabled", "scope=any", &value).await;
    space.until_state_is("storefront", "Disabled").await;
    space.accounts().delete("acme", &DeleteParams::default()).await.unwrap();
    verifier.eventually_says("account_not_found", "scope=any", &value).await;
    let key = space.until_ready_is("storefront", "AccountNotFound").await;
    assert!(ready_message(&key).contains("Account acme does not exist"), "{}", ready_message(&key));
    space.account("acme", json!({"accessLevel": "Full"})).await;
    verifier.eventually_says("ok", "scope=any", &value).await;
    space.until_ready_is("storefront", "Issued").await;
    assert_eq!(space.value("storefront", "api-key").await, value);
}

#[tokio::test]
async fn an_expired_key_is_refused_and_revives_when_the_date_moves() {
    let space = space().await;
    let value = space.ready_key("trial").await;
    space.patch_key("trial", json!({"spec": {"expiresAt": "2020-01-01T00:00:00Z"}})).await;
    verifier().await.eventually_says("expired", "scope=any", &value).await;
    space.until_state_is("trial", "Expired").await;
    space.patch_key("trial", json!({"spec": {"expiresAt": "2099-01-01T00:00:00Z"}})).await;
    verifier().await.eventually_says("ok", "scope=any", &value).await;
}

#[tokio::test]
async fn a_key_waits_for_its_account_and_says_so() {
    let space = space().await;
    space.key("early", json!({"account": "late", "accessLevel": "Full"})).await;
    let key = space.until_ready_is("early", "AccountNotFound").await;
    assert!(ready_message(&key).contains("create it there"));
    assert!(space.secrets().get_opt("early").await.unwrap().is_none(), "nothing is minted yet");
    space.account("late", json!({"accessLevel": "Full"})).await;
    space.until_ready_is("early", "Issued").await;
}

#[tokio::test]
async fn a_foreign_secret_in_the_way_is_not_touched_and_the_key_waits_until_it_is_gone() {
    let space = space().await;
    space.account("acme", json!({"accessLevel": "Full"})).await;
    let foreign: Secret =
        serde_json::from_value(json!({"metadata": {"name": "taken"}, "stringData": {"password": "hunter2"}})).unwrap();
    let foreign = space.secrets().create(&PostParams::default(), &foreign).await.unwrap();
    space.key("taken", json!({"account": "acme", "accessLevel": "Full"})).await;
    let key = space.until_ready_is("taken", "SecretConflict").await;
    assert!(ready_message(&key).contains("Secret taken exists and is not this key's"), "{}", ready_message(&key));
    let after = space.secrets().get("taken").await.unwrap();
    assert_eq!(after.resource_version(), foreign.resource_version());
    space.secrets().delete("taken", &DeleteParams::default()).await.unwrap();
    space.until_ready_is("taken", "Issued").await;
    let value = space.value("taken", "api-key").await;
    verifier().await.eventually_says("ok", "scope=any", &value).await;
}

#[tokio::test]
async fn two_keys_that_want_one_secret_do_not_fight() {
    let space = space().await;
    space.account("acme", json!({"accessLevel": "Full"})).await;
    let spec = json!({"account": "acme", "accessLevel": "Full", "secret": {"name": "shared"}});
    space.key("first", spec.clone()).await;
    space.until_ready_is("first", "Issued").await;
    let value = space.value("shared", "api-key").await;
    space.key("second", spec).await;
    space.until_ready_is("second", "SecretConflict").await;
    assert_eq!(space.value("shared", "api-key").await, value);
}

#[tokio::test]
async fn a_removed_secret_is_said_and_mints_nothing() {
    let space = space().await;
    let value = space.ready_key("storefront").await;
    space.secrets().delete("storefront", &DeleteParams::default()).await.unwrap();
    // Any change makes the operator look again.
    space.patch_key("storefront", json!({"spec": {"displayName": "Storefront"}})).await;
    space.until("storefront", "SecretAvailable", "Removed").await;
    assert!(space.secrets().get_opt("storefront").await.unwrap().is_none());
    assert_eq!(verifier().await.code("scope=any", &value).await, "ok", "the key goes on working");
}

#[tokio::test]
async fn the_secret_has_the_shape_that_was_asked_for() {
    let space = space().await;
    space.account("acme", json!({"accessLevel": "Full"})).await;
    let secret = json!({"name": "auditor-credentials", "data": {"token": "value", "id": "keyId"}});
    space.key("auditor", json!({"account": "acme", "accessLevel": "ReadOnly", "secret": secret})).await;
    space.until_ready_is("auditor", "Issued").await;
    let data: BTreeMap<_, _> = space.secrets().get("auditor-credentials").await.unwrap().data.unwrap();
    assert_eq!(data.keys().collect::<Vec<_>>(), ["id", "token"]);
    let value = space.value("auditor-credentials", "token").await;
    verifier().await.eventually_says("ok", "scope=orders:read", &value).await;
    assert_eq!(verifier().await.code("scope=orders:write", &value).await, "insufficient_scope");
}

#[tokio::test]
async fn wiping_every_status_changes_nothing_but_a_rewrite_of_the_same_statuses() {
    let space = space().await;
    let value = space.ready_key("storefront").await;
    let before = space.until("storefront", "Enforced", "Acknowledged").await;
    let secret = space.secrets().get("storefront").await.unwrap();
    let entry = space.entry(&before).await;

    let wipe = json!({"metadata": {"resourceVersion": before.resource_version()}, "status": null});
    space.keys().patch_status("storefront", &PatchParams::default(), &Patch::Merge(wipe)).await.unwrap();
    let after = space.until("storefront", "Enforced", "Acknowledged").await;
    let without_times = |key: &ApiKey| {
        let mut status = key.status.clone().unwrap();
        for condition in &mut status.conditions {
            condition.last_transition_time.0 = jiff::Timestamp::UNIX_EPOCH;
        }
        (status.enforced_at, status.history) = (None, Vec::new());
        status
    };
    assert_eq!(without_times(&after), without_times(&before));
    assert_eq!(space.entry(&after).await.resource_version(), entry.resource_version());
    assert_eq!(space.secrets().get("storefront").await.unwrap().resource_version(), secret.resource_version());
    assert_eq!(verifier().await.code("scope=any", &value).await, "ok");
}

/// Waits until a generation is proven, and returns its status.
async fn until_enforced(space: &Space, generation: i64) -> ApiKeyStatus {
    eventually(&format!("generation {generation} is enforced"), async || {
        let key = space.keys().get("storefront").await.map_err(|e| e.to_string())?;
        let status = key.status.unwrap_or_default();
        let proven = status.conditions.iter().find(|c| c.type_ == "Enforced" && c.status == "True");
        let is_proven = proven.is_some_and(|c| c.observed_generation == Some(generation));
        if is_proven { Ok(status) } else { Err(format!("{:?}", status.conditions)) }
    })
    .await
}

#[tokio::test]
async fn status_dates_a_disabling_and_its_proof() {
    let space = space().await;
    verifier().await;
    space.ready_key("storefront").await;
    let generation = space.keys().get("storefront").await.unwrap().metadata.generation.unwrap();
    let before = until_enforced(&space, generation).await;
    assert_eq!(before.disabled_at, None);
    let issued = before.enforced_at.unwrap();
    eventually("the next second", async || {
        if jiff::Timestamp::now().as_second() > issued.0.as_second() { Ok(()) } else { Err("not yet") }
    })
    .await;
    space.patch_key("storefront", json!({"spec": {"disabled": true, "disabledReason": "posted in a chat"}})).await;
    let disabled = until_enforced(&space, generation + 1).await;
    let (disabled_at, enforced_at) = (disabled.disabled_at.unwrap(), disabled.enforced_at.unwrap());
    assert!(disabled_at.0 <= enforced_at.0 && enforced_at.0 > issued.0, "{disabled_at:?} {enforced_at:?} {issued:?}");
    space.patch_key("storefront", json!({"spec": {"disabled": false, "disabledReason": null}})).await;
    assert_eq!(until_enforced(&space, generation + 2).await.disabled_at, None);
}

/// Waits until the newest lines of the history have these reasons, newest first, and returns the message of the first.
async fn until_history(space: &Space, reasons: &[&str]) -> String {
    eventually(&format!("the history is {reasons:?}"), async || {
        let key = space.keys().get("storefront").await.map_err(|e| e.to_string())?;
        let history = key.status.unwrap_or_default().history;
        let is: Vec<&str> = history.iter().map(|line| line.reason.as_str()).collect();
        if is == reasons { Ok(history[0].message.clone()) } else { Err(format!("{is:?}")) }
    })
    .await
}

#[tokio::test]
async fn history_and_events_report_what_happened() {
    let space = space().await;
    verifier().await;
    space.ready_key("storefront").await;
    until_history(&space, &["Issued"]).await;
    space.patch_key("storefront", json!({"spec": {"disabled": true, "disabledReason": "posted in a chat"}})).await;
    let told = until_history(&space, &["Disabled", "Issued"]).await;
    assert_eq!(told, "every call with the key is refused: posted in a chat");
    space.patch_key("storefront", json!({"spec": {"disabled": false}})).await;
    until_history(&space, &["Enabled", "Disabled", "Issued"]).await;
    space.accounts().delete("acme", &DeleteParams::default()).await.unwrap();
    until_history(&space, &["AccountNotFound", "Enabled", "Disabled", "Issued"]).await;
    space.account("acme", json!({"accessLevel": "Full"})).await;
    until_history(&space, &["Resolved", "AccountNotFound", "Enabled", "Disabled", "Issued"]).await;
    space.patch_key("storefront", json!({"spec": {"rotation": {"revokeBefore": jiff::Timestamp::now()}}})).await;
    let told =
        until_history(&space, &["Revoked", "Resolved", "AccountNotFound", "Enabled", "Disabled", "Issued"]).await;
    assert!(told.contains("refused for good"), "{told}");
    for reason in ["Issued", "Disabled", "Enabled", "Resolved", "Revoked"] {
        space.event("storefront", reason).await;
    }
    space.keys().delete("storefront", &DeleteParams::default()).await.unwrap();
    space.event("storefront", "Deleted").await;
}

#[tokio::test]
async fn a_namespace_with_keys_deletes_and_takes_everything_along() -> Result<()> {
    let space = space().await;
    let value = space.ready_key("storefront").await;
    verifier().await.eventually_says("ok", "scope=any", &value).await;
    keywright().await.cluster.plane.kubectl(&["delete", "namespace", &space.name, "--wait=true", "--timeout=60s"])?;
    verifier().await.eventually_says("unknown", "scope=any", &value).await;
    Ok(())
}

#[tokio::test]
async fn events_tell_what_happened() {
    let space = space().await;
    space.ready_key("storefront").await;
    let plane = &keywright().await.cluster.plane;
    eventually("an Event", async || {
        let args = ["get", "events", "-n", &space.name, "-o", "jsonpath={.items[*].reason}"];
        let reasons = plane.kubectl(&args).map_err(|e| e.to_string())?;
        if reasons.contains("Issued") { Ok(()) } else { Err(reasons) }
    })
    .await;
}
