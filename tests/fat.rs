//! Memory of a starting operator beside many objects of a megabyte each.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[allow(dead_code)]
#[path = "support/mod.rs"]
mod support;

use std::time::Duration;

use futures::{StreamExt, stream};
use serde_json::{Value, json};
use support::cluster::Cluster;
use support::eventually;
use support::keywright::Running;
use support::space::Space;

const KEYS: usize = 200;
/// Bytes of the name of a field of managedFields. One name, because the API server's work grows with their number.
const NAME: usize = 1_000_000;
/// Requests at the same time.
const AT_ONCE: usize = 8;
/// Time after which memory counts as settled.
const QUIET: Duration = Duration::from_secs(2);
/// The chart's limit of the operator.
const LIMIT: usize = 256 * 1024;

fn managed_fields() -> Value {
    let fields = json!({format!("f:{}", "a".repeat(NAME)): {}});
    json!([{
        "manager": "fat", "operation": "Update", "apiVersion": "keywright.dev/v1alpha1",
        "time": "2020-01-01T00:00:00Z", "fieldsType": "FieldsV1", "fieldsV1": {"f:metadata": {"f:annotations": fields}},
    }])
}

/// Peak of resident memory of an operator that starts, in KiB.
async fn peak_of_a_start(cluster: &Cluster) -> usize {
    let operator = Running::operator(cluster, &[]).await.unwrap().ready().await;
    eventually("all keys are read", async || {
        let keys: usize = operator.metric("keywright_reconciled_total").await;
        if keys >= KEYS { Ok(()) } else { Err(format!("{keys} reconciliations")) }
    })
    .await;
    operator.settled_peak(QUIET).await
}

#[tokio::test]
async fn two_hundred_fat_keys_cost_a_starting_operator_little() {
    let cluster = Cluster::shared().await;
    let space = Space::new(cluster).await;
    let names: Vec<_> = (0..KEYS).map(|n| format!("key-{n}")).collect();
    {
        let _operator = Running::operator(cluster, &[]).await.unwrap().ready().await;
        let _verifier = Running::verifier(cluster, &[]).await.unwrap().ready().await;
        space.account("acme", json!({"accessLevel": "Full"})).await;
        let issued = async |name: &String| {
            space.key(name, json!({"account": "acme", "accessLevel": "Full"})).await;
            space.until_ready_is(name, "Issued").await;
        };
        stream::iter(&names).for_each_concurrent(AT_ONCE, issued).await;
    }
    let thin = peak_of_a_start(cluster).await;
    let patch = json!({"metadata": {"managedFields": managed_fields()}});
    let fattened = async |name: &String| space.patch_key(name, patch.clone()).await;
    stream::iter(&names).for_each_concurrent(AT_ONCE, fattened).await;
    let peak = peak_of_a_start(cluster).await;
    eprintln!("{thin} KiB with thin keys, {peak} KiB with fat ones");
    assert!(peak < LIMIT && peak * 10 < thin * 13, "{peak} KiB, and {thin} with thin keys");
}
