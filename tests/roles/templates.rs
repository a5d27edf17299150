//! `spec.secret`: the operator makes that Secret for a user who needs no rights on Secrets.

use keywright::api::ApiKey;
use serde_json::{Value, json};

use super::attempt::{Answer, Person, one};
use super::scene;
use super::support::eventually;

const LABELS: Answer = Answer::Told(
    "a key of spec.secret.labels is not allowed, for other programs act on it. Allowed: app.kubernetes.io/; ask",
);
const ANNOTATIONS: Answer = Answer::Told(
    "a key of spec.secret.annotations is not allowed, for other programs act on it. Allowed: app.kubernetes.io/, reloader.stakater.com/; ask",
);
const NAME: Answer =
    Answer::Told("the name of the delivered Secret is not allowed, for other programs have Secrets of such names");

fn key(name: &str, secret: &Value) -> Value {
    one::<ApiKey>(name, &json!({"account": "acme", "accessLevel": "Full", "secret": secret}))
}

async fn create(who: &Person, secret: Value) -> Result<Value, String> {
    who.create(&key("new", &secret)).await
}

async fn owner() -> Person {
    let (cluster, space) = scene().await;
    Person::new(cluster, Some("keywright-owner"), &space.name).await
}

#[tokio::test]
async fn a_label_that_is_not_listed_is_refused() {
    let owner = owner().await;
    for label in
        ["owner", "team", "argocd.argoproj.io/secret-type", "xapp.kubernetes.io/name", "reloader.stakater.com/match"]
    {
        LABELS.check(&create(&owner, json!({"labels": {label: "x"}})).await).unwrap();
    }
    create(&owner, json!({"labels": {"app.kubernetes.io/part-of": "shop"}})).await.unwrap();
}

#[tokio::test]
async fn an_annotation_that_is_not_listed_is_refused() {
    let owner = owner().await;
    for annotation in
        ["replicator.v1.mittwald.de/replicate-to", "reflector.v1.k8s.emberstack.com/reflection-allowed", "note"]
    {
        ANNOTATIONS.check(&create(&owner, json!({"annotations": {annotation: "x"}})).await).unwrap();
    }
    let reloaders = json!({"reloader.stakater.com/match": "true", "app.kubernetes.io/component": "api"});
    create(&owner, json!({"annotations": reloaders})).await.unwrap();
}

#[tokio::test]
async fn a_name_that_other_programs_use_is_refused() {
    let owner = owner().await;
    for name in
        ["sh.helm.release.v1.shop.v2", "bootstrap-token-abcdef", "default-token-x7k2p", "builder-dockercfg-x7k2p"]
    {
        NAME.check(&create(&owner, json!({"name": name})).await).unwrap();
        // A Secret without a name of its own has the key's.
        NAME.check(&owner.create(&key(name, &json!({}))).await).unwrap();
    }
    create(&owner, json!({"name": "credentials"})).await.unwrap();
}

#[tokio::test]
async fn a_refused_template_that_is_there_is_no_obstacle() {
    let (cluster, space) = scene().await;
    // The policies leave Kubernetes' own controllers alone.
    let unchecked = Person::new(cluster, Some("system:kube-controller-manager"), &space.name).await.in_earnest();
    let binding = ["create", "rolebinding", "unchecked", "--clusterrole=keywright-owner", "-n", &space.name];
    cluster.plane.kubectl(&[&binding[..], &["--user=system:kube-controller-manager"]].concat()).unwrap();
    let secret = json!({"name": "a.b", "labels": {"team": "shop"}, "annotations": {"note": "x"}});
    eventually("the role acts", async || unchecked.create(&key("old", &secret)).await).await;
    let person = async |role| Person::new(cluster, Some(role), &space.name).await.in_earnest();
    let set = |spec: Value| json!({"spec": spec});
    let writer = person("keywright-key-writer").await;
    writer.merge("apikeys", "old", &set(json!({"disabled": true}))).await.unwrap();
    let owner = person("keywright-owner").await;
    owner.merge("apikeys", "old", &set(json!({"displayName": "Old"}))).await.unwrap();
    let changed = owner.merge("apikeys", "old", &set(json!({"secret": {"labels": {"team": "web"}}}))).await;
    LABELS.check(&changed).unwrap();
    owner.merge("apikeys", "old", &set(json!({"secret": {"labels": {"team": null}}}))).await.unwrap();
}
