//! A backup by plain kubectl comes back in another cluster: every key has the value that it had, no other is minted, and what
//! had been decided of it still counts. And the act of adoption itself: what it takes, and what is said where it is unclear.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/mod.rs"]
mod support;

#[path = "restore/act.rs"]
mod act;
#[path = "restore/cluster.rs"]
mod cluster;

use k8s_openapi::api::core::v1::Secret;
use keywright::api::ApiKey;
use kube::Api;
use kube::ResourceExt;
use kube::api::{Patch, PatchParams};
use serde_json::json;
use support::space::Space;

/// The records.
fn entries(space: &Space) -> Api<Secret> {
    Api::namespaced(space.client.clone(), "keywright-entries")
}

/// Offers an entry to the next key of its name, as whoever restores does.
async fn offer(space: &Space, entry: &str, until: &str) {
    let labels = json!({"metadata": {"labels": {"keywright.dev/adopt-until": until}}});
    entries(space).patch(entry, &PatchParams::default(), &Patch::Merge(labels)).await.unwrap();
}

fn key_id(key: &ApiKey) -> String {
    key.status.as_ref().and_then(|status| status.key_id.clone()).unwrap()
}

fn uid(key: &ApiKey) -> String {
    key.uid().unwrap()
}
