//! Objects of a megabyte each: starting with them takes little more memory than running with them, and stays below the
//! chart's limit.

#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "support/mod.rs"]
mod support;

use serde_json::{Value, json};
use support::cluster::Cluster;
use support::keywright::Running;
use support::space::Space;

/// Objects, of about a megabyte each.
const FAT: usize = 200;

/// Memory limit of the chart, in bytes.
fn limit(role: &str) -> u64 {
    let values = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/charts/keywright/values.yaml")).unwrap();
    let values: Value = serde_yaml_ng::from_str(&values).unwrap();
    let limit = values[role]["resources"]["limits"]["memory"].as_str().unwrap().to_owned();
    limit.strip_suffix("Mi").unwrap().parse::<u64>().unwrap() << 20
}

/// Resident memory in bytes: now, and at its highest.
fn memory(running: &Running) -> (u64, u64) {
    let status = std::fs::read_to_string(format!("/proc/{}/status", running.process.id())).unwrap();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
    };
    (field("VmRSS:"), field("VmHWM:"))
}

/// Creates ApiKeys whose `managedFields` hold a megabyte.
async fn store_fat_keys(space: &Space) {
    space.account("acme", json!({"accessLevel": "Full"})).await;
    let fields = format!(r#"{{"f:{}":{{}}}}"#, "x".repeat(1_000_000));
    let entry = format!(
        r#"{{"manager":"x","operation":"Update","apiVersion":"keywright.dev/v1alpha1","time":"2026-01-01T00:00:00Z","fieldsType":"FieldsV1","fieldsV1":{fields}}}"#
    );
    let patch = format!(r#"{{"metadata":{{"managedFields":[{entry}]}}}}"#).into_bytes();
    for number in 0..FAT {
        let name = format!("fat-{number}");
        space.key(&name, json!({"account": "acme", "accessLevel": "Full", "disabled": true})).await;
        let path = format!("/apis/keywright.dev/v1alpha1/namespaces/{}/apikeys/{name}", space.name);
        let request = ::http::Request::patch(path).header("content-type", "application/merge-patch+json");
        space.client.request_text(request.body(patch.clone()).unwrap()).await.unwrap();
    }
}

#[tokio::test]
async fn fat_objects_cost_memory_one_at_a_time() {
    let cluster = Cluster::shared().await;
    let space = Space::new(cluster).await;
    store_fat_keys(&space).await;
    let operator = Running::operator(cluster, &[]).await.unwrap().ready().await;
    let verifier = Running::verifier(cluster, &[]).await.unwrap().ready().await;
    let value = Space::new(cluster).await.ready_key("beside").await;
    verifier.eventually_says("ok", "scope=any", &value).await;
    for (role, running) in [("operator", &operator), ("verifier", &verifier)] {
        let (now, peak) = memory(running);
        println!("{role}: {} MiB at its highest, {} MiB now", peak >> 20, now >> 20);
        assert!(peak < limit(role), "{role}: {} MiB", peak >> 20);
        assert!(peak * 10 <= now * 13, "{role}: {} MiB at its highest, {} MiB now", peak >> 20, now >> 20);
    }
}
