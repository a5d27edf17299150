//! Somebody else's Secret under the name that ours had.

use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use kube::api::{DeleteParams, PostParams};
use serde_json::json;

use super::support::cluster::Cluster;
use super::support::keywright::Running;
use super::support::space::{Space, neither};
use super::{nudge, revealed, run, secret, space};

async fn take_the_name(space: &Space) -> Secret {
    let foreign = json!({"metadata": {"name": "storefront"}, "stringData": {"password": "hunter2"}});
    let foreign = serde_json::from_value(foreign).unwrap();
    space.secrets().create(&PostParams::default(), &foreign).await.unwrap()
}

async fn assert_untouched(space: &Space, before: &Secret) {
    let now = secret(space).await.unwrap();
    assert_eq!((now.uid(), now.resource_version()), (before.uid(), before.resource_version()));
}

#[tokio::test]
async fn a_foreign_secret_that_took_the_name_after_the_reveal_is_never_touched() {
    let (space, both) = run().await;
    let old = revealed(&space).await;
    let foreign = take_the_name(&space).await;
    nudge(&space).await;
    assert_untouched(&space, &foreign).await;
    space.until("storefront", "SecretAvailable", "Revealed").await;

    space.patch_key("storefront", json!({"spec": {"rotation": {"revision": 1}}})).await;
    space.until_ready_is("storefront", "SecretConflict").await;
    assert_untouched(&space, &foreign).await;
    both.verifier.eventually_says("ok", "scope=any", &old).await;
    space.patch_key("storefront", json!({"spec": {"secret": {"deleteAfter": "1h"}}})).await;
    space.secrets().delete("storefront", &DeleteParams::default()).await.unwrap();
    space.until_serial("storefront", 2).await;
    let new = space.value("storefront", "api-key").await;
    both.verifier.eventually_says("ok", "scope=any", &new).await;
}

#[tokio::test]
async fn another_keys_secret_that_took_the_name_after_the_reveal_is_never_touched() {
    let (space, both) = run().await;
    revealed(&space).await;
    space.key("other", json!({"account": "acme", "accessLevel": "Full", "secret": {"name": "storefront"}})).await;
    space.until("other", "SecretAvailable", "Delivered").await;
    let others = secret(&space).await.unwrap();
    nudge(&space).await;
    assert_untouched(&space, &others).await;
    let value = space.value("storefront", "api-key").await;
    both.verifier.eventually_says("ok", "scope=any", &value).await;
    space.keys().delete("storefront", &DeleteParams::default()).await.unwrap();
    // The next key is reconciled after what the deletion began.
    space.ready_key("next").await;
    assert_untouched(&space, &others).await;
}

#[tokio::test]
async fn a_foreign_secret_in_place_of_one_that_was_mounted_is_said_and_not_touched() {
    let _alone = neither().await;
    let (space, cluster) = (space().await, Cluster::shared().await);
    // It is not to see that for a moment there was none.
    let operator = Running::operator(cluster, &[]).await.unwrap();
    space.ready_key("storefront").await;
    drop(operator);
    space.secrets().delete("storefront", &DeleteParams::default()).await.unwrap();
    let foreign = take_the_name(&space).await;
    let _operator = Running::operator(cluster, &[]).await.unwrap();
    space.until("storefront", "SecretAvailable", "SecretConflict").await;
    space.keys().delete("storefront", &DeleteParams::default()).await.unwrap();
    // The next key is reconciled after what the deletion began.
    space.ready_key("next").await;
    assert_untouched(&space, &foreign).await;
}
