//! What a manifest owns is its own: applied again it changes nothing, and the operator writes beside it. And what
//! people and tools read of it: columns, field selectors, conditions as kstatus has them.

#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "gitops/examples.rs"]
mod examples;
#[path = "gitops/glance.rs"]
mod glance;
#[path = "gitops/statuses.rs"]
mod statuses;
#[path = "support/mod.rs"]
mod support;
#[path = "gitops/workloads.rs"]
mod workloads;

use std::fs;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use kube::api::{DeleteParams, ListParams};
use kube::{Resource, ResourceExt};
use serde_json::{Value, json};
use support::Result;
use support::cluster::Cluster;
use support::eventually;
use support::space::{Space, both};

const OPERATOR: &str = "keywright-operator";

async fn space() -> Space {
    Space::new(Cluster::shared().await).await
}

/// Server-side apply, as Flux does it.
fn apply(cluster: &Cluster, space: &Space, manifests: &[Value]) -> Result<String> {
    let file = cluster.plane.dir.join(format!("{}.json", space.name));
    let list = json!({"apiVersion": "v1", "kind": "List", "items": manifests});
    fs::write(&file, list.to_string())?;
    let file = file.display().to_string();
    cluster.plane.kubectl(&["apply", "--server-side", "--field-manager=flux", "-n", &space.name, "-f", &file])
}

fn manifest(kind: &str, name: &str, spec: Value) -> Value {
    let metadata = json!({"name": name, "labels": {"team": "sales"}, "annotations": {"example.com/ticket": "42"}});
    json!({"apiVersion": "keywright.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec})
}

/// What a field manager owns of an object, by subresource.
fn owned_by<'m>(managed: &'m [ManagedFieldsEntry], manager: &str) -> Vec<(&'m str, Vec<&'m str>)> {
    let of_manager = managed.iter().filter(|entry| entry.manager.as_deref() == Some(manager));
    of_manager
        .map(|entry| {
            let fields = entry.fields_v1.as_ref().and_then(|fields| fields.0.as_object()).unwrap();
            (entry.subresource.as_deref().unwrap_or_default(), fields.keys().map(String::as_str).collect())
        })
        .collect()
}

/// Holds that the operator owns the status and nothing else.
fn assert_owns_only_status<K: Resource>(object: &K) {
    let managed = object.meta().managed_fields.as_deref().unwrap_or_default();
    assert_eq!(owned_by(managed, OPERATOR), [("status", vec!["f:status"])], "{managed:#?}");
    let managers: Vec<&str> = managed.iter().filter_map(|entry| entry.manager.as_deref()).collect();
    assert_eq!(managers.len(), 2, "the manifest's and the operator's, but {managers:?}");
}

#[tokio::test]
async fn the_operator_owns_the_status_and_leaves_spec_and_metadata_to_the_manifest() {
    let cluster = Cluster::shared().await;
    let (space, _both) = (space().await, both().await);
    let account = manifest("Account", "acme", json!({"accessLevel": "Full"}));
    let key = |spec: Value| manifest("ApiKey", "storefront", spec);
    let member = json!([{"kind": "User", "name": "alice", "role": "Owner"}]);
    let steps = [
        (json!({"accessLevel": "Full"}), json!({"account": "acme", "accessLevel": "Full"}), "Active"),
        (
            json!({"accessLevel": "Full", "members": member}),
            json!({"account": "acme", "accessLevel": "ReadOnly"}),
            "Active",
        ),
        (
            json!({"accessLevel": "Full"}),
            json!({"account": "acme", "accessLevel": "Full", "rotation": {"revision": 1, "overlap": "90m"}}),
            "Active",
        ),
        (
            json!({"accessLevel": "Full", "disabled": true}),
            json!({"account": "acme", "accessLevel": "Full"}),
            "Disabled",
        ),
        (
            json!({"accessLevel": "Custom", "scopes": ["a:read"]}),
            json!({"account": "acme", "accessLevel": "Custom", "scopes": ["b:read"]}),
            "Invalid",
        ),
    ];
    apply(cluster, &space, &[account, key(json!({"account": "acme", "accessLevel": "Full"}))]).unwrap();
    for (account, spec, state) in steps {
        let manifests = [manifest("Account", "acme", account.clone()), key(spec.clone())];
        apply(cluster, &space, &manifests).unwrap();
        until_settled(&space).await;
        space.until_state_is("storefront", state).await;
        let (account_now, key_now) =
            (space.accounts().get("acme").await.unwrap(), space.keys().get("storefront").await.unwrap());
        assert_owns_only_status(&account_now);
        assert_owns_only_status(&key_now);
        // As the API server has them: our own types would write a duration in another way.
        assert_eq!((spec_of(cluster, &space, "acct/acme"), spec_of(cluster, &space, "ak/storefront")), (account, spec));
        for (labels, annotations, finalizers) in [
            (account_now.labels(), account_now.annotations(), account_now.finalizers()),
            (key_now.labels(), key_now.annotations(), key_now.finalizers()),
        ] {
            assert_eq!(json!(labels), json!({"team": "sales"}));
            assert_eq!(json!(annotations), json!({"example.com/ticket": "42"}));
            assert!(finalizers.is_empty());
        }
    }

    // What the manifest gives up goes: nobody else has come to own it.
    let mut bare = key(json!({"account": "acme", "accessLevel": "Custom", "scopes": ["a:read"]}));
    bare["metadata"] = json!({"name": "storefront"});
    apply(cluster, &space, &[bare]).unwrap();
    let key = space.keys().get("storefront").await.unwrap();
    assert!(key.labels().is_empty() && key.annotations().is_empty(), "{:?}", key.metadata);
    assert!(key.spec.rotation.is_none());
}

fn spec_of(cluster: &Cluster, space: &Space, object: &str) -> Value {
    let text = cluster.plane.kubectl(&["get", object, "-n", &space.name, "-o", "jsonpath={.spec}"]).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// Waits until every status speaks of the spec that there is, and every account counts its keys.
async fn until_settled(space: &Space) {
    eventually("what there is has been seen", async || {
        let keys = space.keys().list(&ListParams::default()).await.map_err(|e| e.to_string())?;
        let accounts = space.accounts().list(&ListParams::default()).await.map_err(|e| e.to_string())?;
        for key in &keys.items {
            let seen = key.status.as_ref().and_then(|status| status.observed_generation);
            if seen != key.metadata.generation {
                return Err(key.name_any());
            }
        }
        for account in &accounts.items {
            let status = account.status.clone().unwrap_or_default();
            let keys = keys.items.iter().filter(|key| key.spec.account == account.name_any());
            let total = u32::try_from(keys.count()).unwrap();
            if status.observed_generation != account.metadata.generation || status.keys.map(|k| k.total) != Some(total)
            {
                return Err(account.name_any());
            }
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn conditions_are_as_kstatus_reads_them_through_the_life_of_a_key() {
    let (space, _both) = (space().await, both().await);
    space.key("storefront", json!({"account": "acme", "accessLevel": "Full"})).await;
    let invalid = space.until_ready_is("storefront", "AccountNotFound").await;
    assert_is_kstatus(&json!(invalid), "False");
    space.account("acme", json!({"accessLevel": "Full"})).await;
    space.until_ready_is("storefront", "Issued").await;
    for (patch, ready) in [
        (json!({"displayName": "Storefront"}), "True"),
        (json!({"disabled": true}), "True"),
        (json!({"disabled": null, "expiresAt": "2020-01-01T00:00:00Z"}), "True"),
        (json!({"expiresAt": null, "rotation": {"revision": 1}}), "True"),
        (json!({"rotation": {"revokeBefore": "2099-01-01T00:00:00Z", "revision": 2}}), "False"),
        (json!({"rotation": null}), "True"),
    ] {
        let before = space.keys().get("storefront").await.unwrap().metadata.generation;
        space.patch_key("storefront", json!({"spec": patch})).await;
        let key = eventually("the status speaks of this generation", async || {
            let key = space.keys().get("storefront").await.map_err(|e| e.to_string())?;
            let seen = key.status.as_ref().and_then(|status| status.observed_generation);
            if seen == key.metadata.generation && seen > before { Ok(key) } else { Err(format!("{seen:?}")) }
        })
        .await;
        assert_is_kstatus(&json!(key), ready);
    }
    until_settled(&space).await;
    space.patch_account("acme", json!({"spec": {"disabled": true}})).await;
    until_settled(&space).await;
    assert_is_kstatus(&json!(space.accounts().get("acme").await.unwrap()), "True");
    space.keys().delete("storefront", &DeleteParams::default()).await.unwrap();
    until_settled(&space).await;
}

/// As `kstatus` and `kubectl wait` read an object.
fn assert_is_kstatus(object: &Value, ready: &str) {
    let (status, generation) = (&object["status"], &object["metadata"]["generation"]);
    assert_eq!(&status["observedGeneration"], generation);
    let conditions = status["conditions"].as_array().unwrap();
    for condition in conditions {
        assert_eq!(&condition["observedGeneration"], generation, "{condition}");
        assert!(!["Reconciling", "Stalled"].contains(&condition["type"].as_str().unwrap()), "{condition}");
        for word in ["reason", "message", "lastTransitionTime"] {
            assert!(condition[word].as_str().is_some_and(|text| !text.is_empty()), "{condition}");
        }
    }
    let is_ready = conditions.iter().find(|condition| condition["type"] == "Ready").unwrap();
    assert_eq!(is_ready["status"], ready, "{is_ready}");
}
