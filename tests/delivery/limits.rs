//! Templates that the chart's value `deliveredSecrets` does not allow. The policy `keywright-keys` refuses such an ApiKey, but one
//! that was admitted before the list was narrowed stays.

use keywright::api::ApiKey;
use kube::api::{Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use serde_json::{Value, json};

use super::support::cluster::Cluster;
use super::support::space::Space;
use super::{run, secret, show_for, shown};

/// The keys of a namespace by a user whom the policy `keywright-keys` leaves alone.
async fn unchecked(space: &Space) -> Api<ApiKey> {
    let kubeconfig = Kubeconfig::read_from(&Cluster::shared().await.plane.kubeconfig).unwrap();
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
    config.auth_info.impersonate = Some("system:kube-controller-manager".to_owned());
    config.auth_info.impersonate_groups = Some(vec!["system:masters".to_owned()]);
    Api::namespaced(Client::try_from(config).unwrap(), &space.name)
}

async fn create(space: &Space, secret: Value) {
    let key = json!({"apiVersion": "keywright.dev/v1alpha1", "kind": "ApiKey", "metadata": {"name": "storefront"},
        "spec": {"account": "acme", "accessLevel": "Full", "secret": secret}});
    let key = serde_json::from_value(key).unwrap();
    unchecked(space).await.create(&PostParams::default(), &key).await.unwrap();
}

async fn label(space: &Space) {
    let labelled = Patch::Merge(json!({"spec": {"secret": {"labels": {"team": "shop"}}}}));
    unchecked(space).await.patch("storefront", &PatchParams::default(), &labelled).await.unwrap();
}

fn ready(key: &ApiKey) -> &str {
    let conditions = &key.status.as_ref().unwrap().conditions;
    &conditions.iter().find(|condition| condition.type_ == "Ready").unwrap().message
}

#[tokio::test]
async fn a_label_that_is_not_allowed_is_reported() {
    let (space, both) = run().await;
    create(&space, json!({"labels": {"team": "shop"}})).await;
    let key = space.until_ready_is("storefront", "SecretNotAllowed").await;
    let why = "Secret storefront is not written: deliveredSecrets.labels of Keywright's chart allows only app.kubernetes.io/.";
    assert!(ready(&key).starts_with(why), "{}", ready(&key));
    assert!(secret(&space).await.is_none());
    space.patch_key("storefront", json!({"spec": {"secret": {"labels": null}}})).await;
    space.until_ready_is("storefront", "Issued").await;
    let value = space.value("storefront", "api-key").await;
    both.verifier.eventually_says("ok", "scope=any", &value).await;
}

#[tokio::test]
async fn a_name_that_is_not_allowed_is_reported() {
    let (space, _both) = run().await;
    create(&space, json!({"name": "sh.helm.release.v1.shop.v1"})).await;
    let key = space.until_ready_is("storefront", "SecretNotAllowed").await;
    assert!(ready(&key).contains("deliveredSecrets.names"), "{}", ready(&key));
    assert!(space.secrets().get_opt("sh.helm.release.v1.shop.v1").await.unwrap().is_none());
}

#[tokio::test]
async fn a_key_with_a_label_that_is_not_allowed_stays_active() {
    let (space, both) = run().await;
    let old = space.ready_key("storefront").await;
    label(&space).await;
    space.patch_key("storefront", json!({"spec": {"rotation": {"revision": 1}}})).await;
    space.until_ready_is("storefront", "SecretNotAllowed").await;
    both.verifier.eventually_says("ok", "scope=any", &old).await;
    space.until_state_is("storefront", "Active").await;
}

#[tokio::test]
async fn a_value_shown_once_is_removed_in_spite_of_the_template() {
    let (space, _both) = run().await;
    shown(&space).await;
    label(&space).await;
    show_for(&space, "1s").await;
    space.until("storefront", "SecretAvailable", "Revealed").await;
    assert!(secret(&space).await.is_none());
}
