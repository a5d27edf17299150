//! Objects with many entries of managedFields. The cost of the policies grows with them, and a key-writer can disable
//! these keys as well.

use keywright::api::ApiKey;
use serde_json::{Value, json};

use super::attempt::{Person, one};
use super::support::cluster::Cluster;
use super::support::space::Space;
use super::{CLAIMS_OF_KEYS, GRANT, scene};

const WRITER: &str = "keywright-key-writer";
/// The most entries of updates that the API server keeps.
const MOST_UPDATES: usize = 10;

async fn person(cluster: &Cluster, role: &str, space: &Space, manager: &'static str) -> Person {
    Person::new(cluster, Some(role), &space.name).await.in_earnest().under(manager)
}

async fn disable(who: &Person, disabled: bool) {
    who.merge("apikeys", "storefront", &json!({"spec": {"disabled": disabled}})).await.unwrap();
}

fn entries(key: &Value) -> Vec<Value> {
    key["metadata"]["managedFields"].as_array().unwrap().clone()
}

/// A key with entries that an owner wrote.
async fn key_with(made: Vec<Value>) -> (&'static Cluster, Space) {
    let (cluster, space) = scene().await;
    let owner = person(cluster, "keywright-owner", &space, "owner").await;
    owner.merge("apikeys", "storefront", &json!({"metadata": {"managedFields": made}})).await.unwrap();
    (cluster, space)
}

fn entry(manager: &str, operation: &str, fields: &Value) -> Value {
    json!({
        "manager": manager, "operation": operation, "apiVersion": "keywright.dev/v1alpha1",
        "time": "2020-01-01T00:00:00Z", "fieldsType": "FieldsV1", "fieldsV1": fields,
    })
}

/// Of an owner, with this many entries of server-side apply, or an entry of this many fields.
fn fat() -> [Vec<Value>; 3] {
    let named = json!({"f:spec": {"f:displayName": {}}});
    let own = json!({"f:spec": {"f:displayName": {}, "f:disabled": {}}});
    let fields: Value = (0..5000).map(|n| (format!("f:{n:040}"), json!({}))).collect();
    let many = |fields: &Value| (0..1000).map(|n| entry(&format!("m{n}"), "Apply", fields)).collect();
    [many(&named), many(&own), vec![entry("one", "Apply", &json!({"f:metadata": {"f:annotations": fields}}))]]
}

#[tokio::test]
async fn a_key_with_fat_managed_fields_is_disabled() {
    for made in fat() {
        let (cluster, space) = key_with(made).await;
        let writer = person(cluster, WRITER, &space, "writer").await;
        disable(&writer, true).await;
        disable(&writer, false).await;
    }
}

#[tokio::test]
async fn a_refusal_on_fat_managed_fields_says_what_is_refused() {
    for made in fat() {
        let (cluster, space) = key_with(made).await;
        let writer = person(cluster, WRITER, &space, "writer").await;
        let reset = json!({"metadata": {"managedFields": [{}]}});
        CLAIMS_OF_KEYS.check(&writer.merge("apikeys", "storefront", &reset).await).unwrap();
        let rename = json!({"spec": {"displayName": "Other"}});
        GRANT.check(&writer.merge("apikeys", "storefront", &rename).await).unwrap();
    }
}

/// One more than these, and the API server merges the two oldest into `ancient-changes`.
fn updates() -> Vec<Value> {
    (0..MOST_UPDATES)
        .map(|n| {
            let mut all =
                entry(&format!("m{n}"), "Update", &json!({"f:metadata": {"f:labels": {format!("f:{n}"): {}}}}));
            all["time"] = format!("2020-01-01T00:00:0{n}Z").into();
            all
        })
        .collect()
}

#[tokio::test]
async fn a_key_with_the_most_updates_is_disabled() {
    let (cluster, space) = key_with(updates()).await;
    for manager in ["first", "second", "third"] {
        let writer = person(cluster, WRITER, &space, manager).await;
        disable(&writer, true).await;
        disable(&writer, false).await;
    }
    let admin = Person::new(cluster, None, &space.name).await;
    let after = entries(&admin.get("apikeys", "storefront").await.unwrap());
    assert_eq!(after.len(), MOST_UPDATES);
    assert_eq!(after[0]["manager"], "ancient-changes");
}

#[tokio::test]
async fn a_merge_of_updates_loses_and_adds_no_field() {
    let (cluster, space) = key_with(updates()).await;
    let writer = person(cluster, WRITER, &space, "writer").await;
    let stored = entries(&writer.get("apikeys", "storefront").await.unwrap());
    let bucket = json!({"f:metadata": {"f:labels": {"f:0": {}, "f:1": {}}}});
    let mut more = bucket.clone();
    more["f:spec"] = json!({"f:displayName": {}});
    let less = json!({"f:metadata": {"f:labels": {"f:0": {}}}});
    for (fields, claims) in [(bucket, false), (more, true), (less, true)] {
        let merged: Vec<_> =
            [entry("ancient-changes", "Update", &fields)].into_iter().chain(stored[2..].iter().cloned()).collect();
        let mut object = one::<ApiKey>("storefront", &json!({"disabled": true}));
        object["metadata"] = json!({"managedFields": merged});
        let outcome = writer.merge("apikeys", "storefront", &object).await;
        assert_eq!(outcome.is_err(), claims, "{fields}: {outcome:?}");
    }
}
