//! The ceiling and the catalogue over an account's keys, and who may move them with server-side apply.

use std::fs;

use keywright::api::{Account, ApiKey};
use serde_json::{Value, json};

use super::support::cluster::Cluster;
use super::support::space::{Space, both};
use super::support::{Result, eventually};
use super::{space, until, until_the_answer_holds};

fn ready_message(key: &ApiKey) -> String {
    let conditions = &key.status.as_ref().unwrap().conditions;
    conditions.iter().find(|c| c.type_ == "Ready").unwrap().message.clone()
}

/// What the verifier enforces: the grant, cut to the ceiling of the Account.
fn access(key: &ApiKey) -> Value {
    serde_json::to_value(&key.status.as_ref().unwrap().access.as_ref().unwrap().effective).unwrap()
}

#[tokio::test]
async fn a_scope_outside_the_catalogue_is_said_to_be_a_typing_error_and_heals_when_it_is_added() {
    let (space, both) = (space().await, both().await);
    space.account("acme", json!({"accessLevel": "Full", "resources": ["orders", "invoices"]})).await;
    let scopes = json!(["orders:read", "ordes:write", "*:read"]);
    space.key("typo", json!({"account": "acme", "accessLevel": "Custom", "scopes": scopes})).await;
    let key = space.until_ready_is("typo", "UnknownScope").await;
    let message = ready_message(&key);
    assert!(
        message.contains("lists no resource ordes (did you mean orders?);") && message.contains("spec.resources"),
        "{message}"
    );
    assert!(space.secrets().get_opt("typo").await.unwrap().is_none(), "nothing is minted");
    space.until_state_is("typo", "Invalid").await;

    space.patch_account("acme", json!({"spec": {"resources": ["orders", "invoices", "ordes"]}})).await;
    space.until_ready_is("typo", "Issued").await;
    let value = space.value("typo", "api-key").await;
    both.verifier.eventually_says("ok", "scope=ordes:write", &value).await;

    // Taken out of the catalogue again: it is said, and the value stays.
    space.patch_account("acme", json!({"spec": {"resources": ["orders", "invoices"]}})).await;
    space.until_ready_is("typo", "UnknownScope").await;
    // The owner may mend it as well.
    space.patch_key("typo", json!({"spec": {"scopes": ["orders:read", "orders:write"]}})).await;
    space.until_ready_is("typo", "Issued").await;
    both.verifier.eventually_says("ok", "scope=orders:write", &value).await;
    both.verifier.eventually_says("insufficient_scope", "scope=ordes:write", &value).await;
    // No catalogue knows everything.
    space.patch_key("typo", json!({"spec": {"scopes": ["anything:read"]}})).await;
    space.until_ready_is("typo", "UnknownScope").await;
    space.patch_account("acme", json!({"spec": {"resources": null}})).await;
    space.until_ready_is("typo", "Issued").await;
    assert_eq!(space.value("typo", "api-key").await, value);
}

#[tokio::test]
async fn an_account_whose_own_ceiling_is_outside_its_catalogue_says_so() {
    let (space, _both) = (space().await, both().await);
    let spec = json!({"accessLevel": "Custom", "scopes": ["ordes:read"], "resources": ["orders"]});
    space.account("acme", spec).await;
    let is = |reason: &'static str| {
        move |account: &Account| {
            let conditions = account.status.iter().flat_map(|status| &status.conditions);
            conditions.into_iter().any(|c| c.type_ == "Ready" && c.reason == reason)
        }
    };
    until(&space, "acme", "UnknownScope", is("UnknownScope")).await;
    space.patch_account("acme", json!({"spec": {"scopes": ["orders:read"]}})).await;
    until(&space, "acme", "Accepted", is("Accepted")).await;
}

#[tokio::test]
async fn a_ceiling_that_is_narrowed_later_denies_says_so_and_widened_gives_everything_back() {
    let (space, both) = (space().await, both().await);
    let ceiling = |scopes: Value| json!({"spec": {"accessLevel": "Custom", "scopes": scopes}});
    space.account("acme", json!({"accessLevel": "Full"})).await;
    let wide = json!(["orders:read", "orders:write"]);
    space.key("custom", json!({"account": "acme", "accessLevel": "Custom", "scopes": wide})).await;
    space.key("full", json!({"account": "acme", "accessLevel": "Full"})).await;
    for name in ["custom", "full"] {
        space.until_ready_is(name, "Issued").await;
    }
    let (custom, full) = (space.value("custom", "api-key").await, space.value("full", "api-key").await);
    let verifier = &both.verifier;
    for value in [&custom, &full] {
        verifier.eventually_says("ok", "scope=orders:write", value).await;
    }

    space.patch_account("acme", ceiling(json!(["orders:read", "invoices:*"]))).await;
    for value in [&custom, &full] {
        verifier.eventually_says("insufficient_scope", "scope=orders:write", value).await;
        assert_eq!(verifier.code("scope=orders:read", value).await, "ok");
    }
    assert_eq!(verifier.code("scope=invoices:write", &full).await, "ok");
    assert_eq!(verifier.code("scope=invoices:write", &custom).await, "insufficient_scope");
    until_the_answer_holds(verifier, &custom, "scopes", json!(["orders:read"])).await;
    let key = space.until_ready_is("custom", "ScopeNotGranted").await;
    assert!(ready_message(&key).contains("Account acme does not grant orders:write"), "{}", ready_message(&key));
    assert_eq!(access(&key), json!({"level": "Custom", "scopes": ["orders:read"]}), "what is in force");
    eventually("Full is all that the account may", async || {
        let is = access(&space.keys().get("full").await.map_err(|error| error.to_string())?);
        if is["level"] == "Custom" { Ok(()) } else { Err(is.to_string()) }
    })
    .await;
    space.until_ready_is("full", "Issued").await;

    space.patch_account("acme", ceiling(json!(["orders:*"]))).await;
    for value in [&custom, &full] {
        verifier.eventually_says("ok", "scope=orders:write", value).await;
    }
    verifier.eventually_says("insufficient_scope", "scope=invoices:read", &full).await;
    let key = space.until_ready_is("custom", "Issued").await;
    assert_eq!(access(&key), json!({"level": "Custom", "scopes": ["orders:read", "orders:write"]}));
    space.patch_account("acme", json!({"spec": {"accessLevel": "Full", "scopes": null}})).await;
    verifier.eventually_says("ok", "scope=anything:write", &full).await;
    assert_eq!(space.value("custom", "api-key").await, custom);
    assert_eq!(space.value("full", "api-key").await, full);
}

/// Server-side apply as a field manager.
fn apply(space: &Space, cluster: &Cluster, manager: &str, force: bool, manifest: &Value) -> Result<String> {
    let file = cluster.plane.dir.join(format!("{}-{manager}.json", space.name));
    fs::write(&file, manifest.to_string())?;
    let (manager, file) = (format!("--field-manager={manager}"), file.display().to_string());
    let mut args = vec!["apply", "--server-side", "-n", &space.name, &manager, "-f", &file];
    args.extend(force.then_some("--force-conflicts"));
    cluster.plane.kubectl(&args)
}

fn object(kind: &str, name: &str, spec: &Value) -> Value {
    json!({"apiVersion": "keywright.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec})
}

#[tokio::test]
async fn a_scope_that_another_field_manager_adds_does_not_survive_the_owners_forced_apply() {
    let cluster = Cluster::shared().await;
    let (space, both) = (space().await, both().await);
    let verifier = &both.verifier;
    let key = |scopes: Value| {
        object("ApiKey", "export", &json!({"account": "acme", "accessLevel": "Custom", "scopes": scopes}))
    };
    let account = |scopes: Value| object("Account", "acme", &json!({"accessLevel": "Custom", "scopes": scopes}));
    apply(&space, cluster, "owner", false, &account(json!(["orders:*"]))).unwrap();
    apply(&space, cluster, "owner", false, &key(json!(["orders:read"]))).unwrap();
    space.until_ready_is("export", "Issued").await;
    let value = space.value("export", "api-key").await;
    verifier.eventually_says("ok", "scope=orders:read", &value).await;

    let wider = key(json!(["orders:read", "orders:write"]));
    let refused = apply(&space, cluster, "intruder", false, &wider).unwrap_err().to_string();
    assert!(refused.contains("conflict") && refused.contains(".spec.scopes"), "{refused}");
    let alone = key(json!(["orders:write"]));
    let refused = apply(&space, cluster, "intruder", false, &alone).unwrap_err().to_string();
    assert!(refused.contains("conflict"), "adding only its own is no way around it: {refused}");
    apply(&space, cluster, "intruder", true, &wider).unwrap();
    verifier.eventually_says("ok", "scope=orders:write", &value).await;
    apply(&space, cluster, "owner", true, &key(json!(["orders:read"]))).unwrap();
    verifier.eventually_says("insufficient_scope", "scope=orders:write", &value).await;
    assert_eq!(space.keys().get("export").await.unwrap().spec.scopes, ["orders:read"]);

    // The same with the ceiling.
    apply(&space, cluster, "intruder", true, &account(json!(["orders:*", "invoices:*"]))).unwrap();
    apply(&space, cluster, "owner", true, &account(json!(["orders:*"]))).unwrap();
    assert_eq!(space.accounts().get("acme").await.unwrap().spec.scopes, ["orders:*"]);
}
