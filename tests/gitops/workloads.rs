//! Workloads of docs/WORKLOADS.md and of examples/gitops/kustomize, and the references that kustomize renames.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use super::space;
use super::support::cluster::Cluster;
use super::support::space::Space;

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// Returns the output of kustomize for the example.
fn built(cluster: &Cluster) -> String {
    cluster.plane.kubectl(&["kustomize", &path("examples/gitops/kustomize").display().to_string()]).unwrap()
}

/// Applies manifests in a dry run of the API server.
fn try_to_apply(cluster: &Cluster, space: &Space, manifests: &str) {
    let file = cluster.plane.dir.join(format!("{}.yaml", space.name));
    fs::write(&file, manifests).unwrap();
    let file = file.display().to_string();
    let args = ["apply", "--dry-run=server", "-n", &space.name, "-f", &file];
    cluster.plane.kubectl(&args).unwrap_or_else(|error| panic!("{error}:\n{manifests}"));
}

#[tokio::test]
async fn api_server_accepts_manifests_of_workloads_page() {
    let cluster = Cluster::shared().await;
    let space = space().await;
    let page = fs::read_to_string(path("docs/WORKLOADS.md")).unwrap();
    let blocks = page.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect::<Vec<_>>();
    assert!(blocks.len() >= 4, "{blocks:?}");
    for manifests in blocks {
        try_to_apply(cluster, &space, manifests);
    }
}

#[tokio::test]
async fn api_server_accepts_kustomize_example() {
    let cluster = Cluster::shared().await;
    let space = space().await;
    let manifests = built(cluster).replace("namespace: shop", &format!("namespace: {}", space.name));
    try_to_apply(cluster, &space, &manifests);
}

#[tokio::test]
async fn kustomize_renames_references() {
    let yaml = built(Cluster::shared().await);
    let documents = serde_yaml_ng::Deserializer::from_str(&yaml).map(|d| Value::deserialize(d).unwrap());
    let objects = documents.collect::<Vec<_>>();
    for (kind, name, field, expected) in [
        ("ApiKey", "order-exporter", "/spec/account", "acme"),
        ("ApiKey", "order-exporter-standby", "/spec/account", "acme"),
        ("ApiKey", "order-exporter-standby", "/spec/cloneFrom/name", "order-exporter"),
        ("Suspension", "standby-unused", "/spec/target/name", "order-exporter-standby"),
        ("Deployment", "order-exporter", "/containers/0/envFrom/0/secretRef/name", "order-exporter"),
        ("Deployment", "order-exporter", "/containers/1/env/0/valueFrom/secretKeyRef/name", "order-exporter"),
        ("Deployment", "order-exporter", "/volumes/0/secret/secretName", "order-exporter-standby"),
        ("CronJob", "nightly-export", "/containers/0/envFrom/0/secretRef/name", "order-exporter"),
    ] {
        let is_it = |object: &&Value| object["kind"] == kind && object["metadata"]["name"] == format!("staging-{name}");
        let object = objects.iter().find(is_it).unwrap_or_else(|| panic!("no {kind} staging-{name}"));
        let path = match kind {
            "Deployment" => format!("/spec/template/spec{field}"),
            "CronJob" => format!("/spec/jobTemplate/spec/template/spec{field}"),
            _ => field.to_owned(),
        };
        let found = object.pointer(&path).and_then(Value::as_str);
        assert_eq!(found, Some(&*format!("staging-{expected}")), "{kind} {name}: {path}");
    }
}
