//! The runbook and the answers to auditors, command by command, on an API server that writes the audit log of `examples/audit`.

#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "support/mod.rs"]
mod support;

use std::path::Path;

use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::ListParams;
use support::cluster::Cluster;
use support::control_plane::ControlPlane;
use support::documents::{commands, root, shell, succeeds};
use support::keywright::Running;

/// Starts a control plane that writes `audit.log` into the folder, with Keywright and the examples.
async fn audited(folder: &Path) -> (Cluster, Running, Running) {
    let flags = [
        format!("--audit-policy-file={}", root().join("examples/audit/policy.yaml").display()),
        format!("--audit-log-path={}", folder.join("audit.log").display()),
    ];
    let plane = ControlPlane::start_with(&folder.join("cluster"), &flags).await.unwrap();
    plane.with_controller_manager().unwrap();
    let cluster = Cluster::on(plane);
    cluster.install_chart().unwrap();
    let operator = Running::operator(&cluster, &["--leader-election"]).await.unwrap().ready().await;
    let verifier = Running::verifier(&cluster, &[]).await.unwrap().ready().await;
    let examples = root().join("examples").display().to_string();
    cluster.plane.kubectl(&["apply", "-f", &examples]).unwrap();
    let wait = ["wait", "--for=condition=Ready", "apikeys", "--all", "-n", "shop", "--timeout=60s"];
    cluster.plane.kubectl(&wait).unwrap();
    (cluster, operator, verifier)
}

/// Returns the delivered values, in plain text and as the API server encodes them.
async fn values(cluster: &Cluster) -> Vec<String> {
    let secrets = Api::<Secret>::namespaced(cluster.plane.client().await.unwrap(), "shop");
    let all = secrets.list(&ListParams::default()).await.unwrap().items;
    let values = all.iter().filter_map(|secret| Some(secret.data.as_ref()?.get("api-key")?.0.clone()));
    let both = |value: Vec<u8>| [data_encoding::BASE64.encode(&value), String::from_utf8(value).unwrap()];
    values.flat_map(both).collect()
}

#[tokio::test]
async fn commands_of_runbook_and_audit_succeed() {
    let folder = tempfile::tempdir().unwrap();
    let (cluster, _operator, _verifier) = audited(folder.path()).await;
    std::os::unix::fs::symlink(root().join("examples"), folder.path().join("examples")).unwrap();
    let run = |command: &str| succeeds(command, &shell(&cluster.plane, folder.path(), command).output().unwrap());
    let before = values(&cluster).await;
    let runbook = commands("docs/RUNBOOK.md");
    assert!(runbook.len() > 40, "{}", runbook.len());
    for command in &runbook {
        run(command);
    }
    let answers: Vec<(String, String)> =
        commands("docs/AUDIT.md").into_iter().map(|command| (command.clone(), run(&command))).collect();
    // What the runbook did is in the log.
    for (words, found) in [
        ("$5 == 201", "storefront"),
        (r#"[\/"]disabled""#, "posted in a chat"),
        ("(revision|revokeBefore)", "storefront"),
        ("^suspensions", "storefront-leaked"),
        ("^delete", "order-exporter-standby"),
        ("(members|accessLevel|scopes)", "grace@example.com"),
    ] {
        let told = answers.iter().find(|(command, _)| command.contains(words)).unwrap_or_else(|| panic!("no {words}"));
        assert!(told.1.contains(found), "{}: {}", told.0, told.1);
    }
    let log = std::fs::read_to_string(folder.path().join("audit.log")).unwrap();
    let after = values(&cluster).await;
    assert!(before.len() > 4 && after != before);
    for value in before.iter().chain(&after) {
        assert!(!log.contains(value), "the audit log contains a value");
    }
}
