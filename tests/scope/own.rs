//! An installation whose namespaces have other names than the defaults.

use serde_json::json;

use super::support::cluster::Cluster;
use super::support::keywright::Running;
use super::support::space::Space;

const SYSTEM: &str = "tools";
const ENTRIES: &str = "tools-records";

/// Returns the arguments about namespaces in a Deployment of the chart.
fn namespace_args(cluster: &Cluster, role: &str) -> Vec<String> {
    let path = "jsonpath={.spec.template.spec.containers[0].args}";
    let args = cluster.plane.kubectl(&["get", "deployment", &format!("keywright-{role}"), "-n", SYSTEM, "-o", path]);
    let args: Vec<String> = serde_json::from_str(&args.unwrap()).unwrap();
    let about = |arg: &String| arg.starts_with("--system-namespace=") || arg.starts_with("--entries-namespace=");
    args.into_iter().filter(about).collect()
}

async fn started(cluster: &Cluster) -> (Running, Running) {
    let (operator, verifier) = (namespace_args(cluster, "operator"), namespace_args(cluster, "verifier"));
    assert_eq!((operator.len(), verifier.len()), (2, 1));
    let mut args: Vec<&str> = operator.iter().map(String::as_str).collect();
    args.push("--leader-election");
    let operator = Running::operator(cluster, &args).await.unwrap().ready().await;
    let args: Vec<&str> = verifier.iter().map(String::as_str).collect();
    (operator, Running::verifier(cluster, &args).await.unwrap().ready().await)
}

#[tokio::test]
async fn key_works_in_an_installation_with_other_namespaces() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = Cluster::start_in(&dir.path().join("cluster"), SYSTEM, ENTRIES).await.unwrap();
    let (_operator, verifier) = started(&cluster).await;
    let space = Space::new(&cluster).await;
    let members = json!([{"kind": "ServiceAccount", "namespace": SYSTEM, "name": "deployer", "role": "Admin"}]);
    space.account("acme", json!({"accessLevel": "Full", "members": members})).await;
    space.key("storefront", json!({"account": "acme", "accessLevel": "Full"})).await;
    space.until("storefront", "SecretAvailable", "Delivered").await;
    let key = space.value("storefront", "api-key").await;
    verifier.eventually_says("ok", "scope=any", &key).await;
    space.patch_key("storefront", json!({"spec": {"disabled": true}})).await;
    verifier.eventually_says("disabled", "scope=any", &key).await;
    space.until("storefront", "Enforced", "Acknowledged").await;

    let kubectl = |args: &[&str]| cluster.plane.kubectl(args);
    let deployer = format!("system:serviceaccount:{SYSTEM}:deployer");
    let mays = ["auth", "can-i", "create", "apikeys", "-n", &space.name, "--as", &deployer];
    assert_eq!(kubectl(&mays).unwrap().trim(), "yes", "others in the release's namespace may be members");
    let entries = kubectl(&["get", "secrets", "-n", ENTRIES, "-o", "jsonpath={.items[*].type}"]).unwrap();
    assert!(entries.contains("keywright.dev/entry") && entries.contains("keywright.dev/pepper"), "{entries}");
    let namespaces = kubectl(&["get", "namespaces", "-o", "name"]).unwrap();
    assert!(!namespaces.contains("keywright"), "{namespaces}");
    let moved = cluster.install_chart_with(&["--set", "entriesNamespace=elsewhere"]).unwrap_err().to_string();
    assert!(moved.contains(&format!("namespace {ENTRIES} has the labels of Keywright's entries")), "{moved}");
}
