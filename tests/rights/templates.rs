//! Names, labels and annotations of delivered Secrets: the operator writes none that the chart's values do not allow.

use serde_json::{Value, json};

use super::{Caller, Scene, a_secret, ask, delivered, owner, scene, secret, secrets, with};

const LABELS: &str = "deliveredSecrets.labels of Keywright's chart allows only app.kubernetes.io/";
const ANNOTATIONS: &str =
    "deliveredSecrets.annotations of Keywright's chart allows only app.kubernetes.io/, reloader.stakater.com/";
const NAMES: &str =
    "deliveredSecrets.names and deliveredSecrets.refusedNames of Keywright's chart do not allow this name";

fn sound() -> Value {
    let ours = json!({"app.kubernetes.io/managed-by": "keywright", "app.kubernetes.io/part-of": "shop"});
    with(delivered("stray", &owner("made-up"), "1"), "labels", ours)
}

fn with_each(field: &str, key: &str) -> Value {
    let mut made = sound();
    made["metadata"][field][key] = "x".into();
    made
}

async fn may_create(operator: &Caller, namespace: &str, made: &Value) {
    operator.may(ask("POST", &format!("{}?dryRun=All", secrets(namespace))).with(made)).await;
}

#[tokio::test]
async fn a_delivered_secret_has_no_label_beyond_the_list() {
    let Scene { namespace, operator, .. } = scene().await;
    may_create(&operator, &namespace, &sound()).await;
    for key in ["owner", "keywright.dev/x", "argocd.argoproj.io/secret-type", "app.kubernetes.iox/name"] {
        operator.is_held_back_from(ask("POST", &secrets(&namespace)).with(&with_each("labels", key)), LABELS).await;
    }
}

#[tokio::test]
async fn a_delivered_secret_has_no_annotation_beyond_the_list() {
    let Scene { namespace, operator, .. } = scene().await;
    may_create(&operator, &namespace, &with_each("annotations", "reloader.stakater.com/match")).await;
    for key in [
        "replicator.v1.mittwald.de/replicate-to",
        "reflector.v1.k8s.emberstack.com/reflection-allowed",
        "keywright.dev/x",
    ] {
        let made = with_each("annotations", key);
        operator.is_held_back_from(ask("POST", &secrets(&namespace)).with(&made), ANNOTATIONS).await;
    }
}

#[tokio::test]
async fn a_delivered_secret_has_no_name_of_other_programs() {
    let Scene { namespace, operator, .. } = scene().await;
    for name in ["sh.helm.release.v1.shop.v2", "bootstrap-token-abcdef", "default-token-x7k2p", "a.b"] {
        let made = with(sound(), "name", name.into());
        operator.is_held_back_from(ask("POST", &secrets(&namespace)).with(&made), NAMES).await;
    }
    let mut unnamed = with(sound(), "name", Value::Null);
    unnamed["metadata"]["generateName"] = "sh.helm.release.v1.shop.v".into();
    operator.is_held_back_from(ask("POST", &secrets(&namespace)).with(&unnamed), NAMES).await;
}

/// A list that was narrowed later stops no rotation of what was delivered before.
#[tokio::test]
async fn what_a_delivered_secret_has_stays_allowed() {
    let Scene { namespace, admin, operator, .. } = scene().await;
    let before = with(delivered("a.b", &owner("made-up"), "1"), "labels", json!({"team": "shop"}));
    admin.may(ask("POST", &secrets(&namespace)).with(&before)).await;
    let path = secret(&namespace, "a.b");
    let put = |labels: Value| ask("PUT", &path).with(&with(delivered("a.b", &owner("made-up"), "2"), "labels", labels));
    operator.may(put(json!({"team": "shop"}))).await;
    operator.is_held_back_from(put(json!({"team": "web"})), LABELS).await;
    operator.is_held_back_from(put(json!({"team": "shop", "owner": "helm"})), LABELS).await;
}

#[tokio::test]
async fn the_lists_leave_keywrights_own_secrets_alone() {
    let Scene { operator, .. } = scene().await;
    let entry = with(a_secret("stray", "keywright.dev/entry"), "labels", json!({"keywright.dev/owner": "x"}));
    may_create(&operator, "keywright-entries", &entry).await;
}
