//! Deletion of delivered Secrets: the operator deletes a blank one, and may blank its own whatever the annotations claim.

use std::path::Path;

use serde_json::{Value, json};

use super::support::cluster::Cluster;
use super::support::http;
use super::support::keywright::Running;
use super::{
    ANOTHER_OWNER, Ask, Caller, Scene, ask, client, delivered, eventually, owner, patch, scene, secret, secrets,
};

const ONLY_BLANK: &str = "the Keywright operator deletes a delivered Secret only when it is blank";
const NO_DRY_RUN: &str = "the Keywright operator deletes no delivered Secret as a dry run";

/// Writes a delivered Secret of this serial as the operator does; without a value if `blank`.
fn put(path: &str, serial: &str, blank: bool) -> Ask {
    let mut body = delivered("storefront", &owner("made-up"), serial);
    if blank {
        body["stringData"] = Value::Null;
        body["data"] = json!({"y": ""});
    }
    ask("PUT", path).with(&body)
}

async fn place(operator: &Caller, namespace: &str) -> String {
    let made = delivered("storefront", &owner("made-up"), "1");
    operator.may(ask("POST", &secrets(namespace)).with(&made)).await;
    secret(namespace, "storefront")
}

#[tokio::test]
async fn delivered_secret_with_a_value_is_not_deleted() {
    let Scene { namespace, admin, operator, .. } = scene().await;
    let path = place(&operator, &namespace).await;
    let before = admin.may(ask("GET", &path)).await;
    operator.is_held_back_from(ask("DELETE", &path), ONLY_BLANK).await;
    operator.is_held_back_from(ask("DELETE", &format!("{path}?dryRun=All")), ONLY_BLANK).await;
    assert_eq!(admin.may(ask("GET", &path)).await, before);
}

#[tokio::test]
async fn delivered_secret_that_is_blank_is_deleted() {
    let Scene { namespace, operator, .. } = scene().await;
    let path = place(&operator, &namespace).await;
    operator.may(put(&path, "1", true)).await;
    operator.may(ask("DELETE", &path)).await;
    let (status, text) = operator.send(&put(&path, "1", true)).await;
    assert_eq!(status, 404, "{text}");
}

#[tokio::test]
async fn delivered_secret_without_data_is_deleted() {
    let Scene { namespace, operator, .. } = scene().await;
    let path = place(&operator, &namespace).await;
    let mut none = delivered("storefront", &owner("made-up"), "1");
    none["stringData"] = Value::Null;
    operator.may(ask("PUT", &path).with(&none)).await;
    operator.may(ask("DELETE", &path)).await;
}

#[tokio::test]
async fn blank_secret_is_not_deleted_as_a_dry_run() {
    let Scene { namespace, operator, .. } = scene().await;
    let path = place(&operator, &namespace).await;
    operator.may(put(&path, "1", true)).await;
    operator.is_held_back_from(ask("DELETE", &format!("{path}?dryRun=All")), NO_DRY_RUN).await;
    operator.is_held_back_from(ask("DELETE", &path).with(&json!({"dryRun": ["All"]})), NO_DRY_RUN).await;
}

#[tokio::test]
async fn one_value_among_blank_ones_keeps_a_secret() {
    let Scene { namespace, admin, operator, .. } = scene().await;
    let path = place(&operator, &namespace).await;
    operator.may(put(&path, "1", true)).await;
    admin.may(patch("merge-patch+json", &path, &json!({"stringData": {"x": "somebody's"}}))).await;
    operator.is_held_back_from(ask("DELETE", &path), ONLY_BLANK).await;
}

#[tokio::test]
async fn copy_of_the_data_in_an_annotation_keeps_a_secret() {
    let Scene { namespace, admin, operator, .. } = scene().await;
    let path = place(&operator, &namespace).await;
    operator.may(put(&path, "1", true)).await;
    let applied = json!({"metadata": {"annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}"}}});
    admin.may(patch("merge-patch+json", &path, &applied)).await;
    operator.is_held_back_from(ask("DELETE", &path), ONLY_BLANK).await;
}

#[tokio::test]
async fn blank_update_is_admitted_whatever_serial_is_claimed() {
    let Scene { namespace, admin, operator, .. } = scene().await;
    let path = place(&operator, &namespace).await;
    let raise = json!({"metadata": {"annotations": {"keywright.dev/serial": "999999999999999999"}}});
    admin.may(patch("merge-patch+json", &path, &raise)).await;
    operator.is_held_back_from(put(&path, "1", false), "this Secret holds a newer value").await;
    operator.may(put(&path, "1", true)).await;
    operator.may(ask("DELETE", &path)).await;
}

#[tokio::test]
async fn blank_update_of_another_keys_secret_is_refused() {
    let Scene { namespace, operator, .. } = scene().await;
    let path = place(&operator, &namespace).await;
    let mut blank = put(&path, "1", true);
    blank.body["metadata"]["ownerReferences"] = json!([owner("another")]);
    operator.is_held_back_from(blank, ANOTHER_OWNER).await;
}

#[tokio::test]
async fn dry_run_of_an_update_answers_the_stored_version() {
    // By this version the operator blanks.
    let Scene { namespace, admin, operator, .. } = scene().await;
    let path = place(&operator, &namespace).await;
    let label = json!({"metadata": {"labels": {"a": "b"}}});
    let stored = admin.may(patch("merge-patch+json", &path, &label)).await;
    let mut dry_run = put(&path, "1", true);
    dry_run.path = format!("{path}?dryRun=All");
    let answer = operator.may(dry_run).await;
    assert_eq!(answer["metadata"]["resourceVersion"], stored["metadata"]["resourceVersion"]);
}

/// The chart's policy with one expression of it replaced by `true`.
fn without(cluster: &Cluster, message: &str) {
    let name = "validatingadmissionpolicy/keywright-operator-secrets";
    let policy: Value = serde_json::from_str(&cluster.plane.kubectl(&["get", name, "-o", "json"]).unwrap()).unwrap();
    let validations = policy["spec"]["validations"].as_array().unwrap();
    let at = validations.iter().position(|one| one["message"] == message).unwrap();
    let patch = json!([{"op": "replace", "path": format!("/spec/validations/{at}/expression"), "value": "true"}]);
    cluster.plane.kubectl(&["patch", name, "--type=json", "-p", &patch.to_string()]).unwrap();
}

#[tokio::test]
async fn operator_that_may_delete_values_does_not_start() {
    let dir = std::env::temp_dir().join(format!("keywright-test-{}", std::process::id())).join("unguarded");
    let cluster = Cluster::start(&dir).await.unwrap();
    without(&cluster, ONLY_BLANK);
    let kubeconfig = cluster.kubeconfig_of("keywright-operator").await.unwrap();
    let caller = Caller { client: client(Path::new(&kubeconfig)).await.unwrap(), sees_all: false };
    let canary = ask("DELETE", &format!("{}?dryRun=All", secret("keywright-system", "keywright-canary-delivered")));
    eventually("the changed policy acts", async || {
        let (_, text) = caller.send(&canary).await;
        if text.contains(NO_DRY_RUN) { Ok(()) } else { Err(text) }
    })
    .await;
    let operator = Running::operator(&cluster, &[]).await.unwrap();
    eventually("it says why", async || {
        let answer = http::get(&operator.admin, "/readyz", &[]).await.map_err(|error| error.to_string())?;
        if answer.body.contains("may delete a delivered Secret with its value") { Ok(()) } else { Err(answer.body) }
    })
    .await;
}
