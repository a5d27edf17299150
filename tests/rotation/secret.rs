//! The Secret of a key that rotates: what is in it, and what is in its way.

use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use serde_json::json;

use super::support::eventually;
use super::support::space::Space;
use super::{record, rotate, rotated, run};

impl Space {
    /// A user makes a Secret immutable.
    pub(super) async fn freeze(&self, name: &str) -> Secret {
        let freeze = Patch::Merge(json!({"immutable": true}));
        self.secrets().patch(name, &PatchParams::default(), &freeze).await.unwrap()
    }

    pub(super) async fn remove(&self, secret: &Secret) {
        self.secrets().delete(&secret.name_any(), &DeleteParams::default()).await.unwrap();
    }
}

#[tokio::test]
async fn an_immutable_secret_stops_a_rotation_and_the_old_value_passes_until_the_user_deletes_it() {
    let (space, both) = run().await;
    let old = space.ready_key("storefront").await;
    let frozen = space.freeze("storefront").await;
    rotate(&space, json!({"revision": 1, "overlap": "0s"})).await;
    let key = space.until_ready_is("storefront", "SecretImmutable").await;
    let minted = space.record(&key).await["current"]["id"].clone();
    assert_eq!(space.value("storefront", "api-key").await, old);
    assert_eq!(both.verifier.code("scope=any", &old).await, "ok", "nothing took its place yet");

    space.remove(&frozen).await;
    space.until_serial("storefront", 2).await;
    space.until_ready_is("storefront", "Issued").await;
    let new = space.value("storefront", "api-key").await;
    assert_eq!(new[3..15], minted, "it is the value that was minted then");
    both.verifier.eventually_says("ok", "scope=any", &new).await;
    both.verifier.eventually_says("retired", "scope=any", &old).await;
}

#[tokio::test]
async fn a_key_whose_rotation_is_stopped_stays_active_for_its_old_value_passes() {
    let (space, both) = run().await;
    let old = space.ready_key("storefront").await;
    space.freeze("storefront").await;
    rotate(&space, json!({"revision": 1})).await;
    space.until_ready_is("storefront", "SecretImmutable").await;
    both.verifier.eventually_says("ok", "scope=any", &old).await;
    space.until_state_is("storefront", "Active").await;
}

#[tokio::test]
async fn a_foreign_secret_in_the_way_of_a_rotation_is_not_touched_and_the_old_value_passes() {
    let (space, both) = run().await;
    let old = space.ready_key("storefront").await;
    space.secrets().delete("storefront", &DeleteParams::default()).await.unwrap();
    let foreign = json!({"metadata": {"name": "storefront"}, "stringData": {"password": "hunter2"}});
    let foreign: Secret = serde_json::from_value(foreign).unwrap();
    let foreign = space.secrets().create(&PostParams::default(), &foreign).await.unwrap();
    rotate(&space, json!({"revision": 1, "overlap": "0s"})).await;
    space.until_ready_is("storefront", "SecretConflict").await;
    let now = space.secrets().get("storefront").await.unwrap();
    assert_eq!((now.uid(), now.resource_version()), (foreign.uid(), foreign.resource_version()));
    assert_eq!(both.verifier.code("scope=any", &old).await, "ok");

    space.remove(&foreign).await;
    space.until_serial("storefront", 2).await;
    let new = space.value("storefront", "api-key").await;
    both.verifier.eventually_says("ok", "scope=any", &new).await;
    both.verifier.eventually_says("retired", "scope=any", &old).await;
}

#[tokio::test]
async fn a_rotation_brings_a_removed_secret_back_with_the_new_value() {
    let (space, both) = run().await;
    let old = space.ready_key("storefront").await;
    let removed = space.secrets().get("storefront").await.unwrap();
    space.remove(&removed).await;
    let new = rotated(&space, &both, json!({"revision": 1}), 2).await;
    assert_ne!(new, old);
    let secret = space.secrets().get("storefront").await.unwrap();
    assert_ne!(secret.uid(), removed.uid());
    assert_eq!(record(&space).await["secret"]["uid"], secret.uid().unwrap());
    space.until_ready_is("storefront", "Issued").await;
}

#[tokio::test]
async fn the_secret_holds_what_the_template_says_and_a_change_of_it_counts_from_the_next_value_on() {
    let (space, both) = run().await;
    space.account("acme", json!({"accessLevel": "Full", "keyPrefix": "acme"})).await;
    let template = json!({
        "data": {"token": "value", "id": "keyId", "site": "siteId", "again": "value"},
        "labels": {"app.kubernetes.io/part-of": "shop"},
        "annotations": {"reloader.stakater.com/match": "true"},
    });
    space.key("storefront", json!({"account": "acme", "accessLevel": "Full", "secret": template})).await;
    space.until_ready_is("storefront", "Issued").await;
    let secret = space.secrets().get("storefront").await.unwrap();
    let value = space.value("storefront", "token").await;
    assert!(value.starts_with("acme_"), "{}", &value[..5]);
    assert_eq!(space.value("storefront", "again").await, value);
    assert_eq!(space.value("storefront", "id").await, value[5..17]);
    assert_eq!(space.value("storefront", "site").await, site_id(&space).await);
    assert_eq!(secret.labels()["app.kubernetes.io/part-of"], "shop");
    assert_eq!(secret.labels()["app.kubernetes.io/managed-by"], "keywright");
    assert_eq!(secret.annotations()["reloader.stakater.com/match"], "true");
    assert_eq!(secret.annotations()["keywright.dev/serial"], "1");
    both.verifier.eventually_says("ok", "scope=any", &value).await;

    let labels = json!({"app.kubernetes.io/part-of": "web"});
    let changed = json!({"data": {"token": null, "id": null, "again": null, "key": "value"}, "labels": labels});
    space.patch_key("storefront", json!({"spec": {"secret": changed}})).await;
    space.until_observed("storefront").await;
    assert_eq!(space.secrets().get("storefront").await.unwrap().resource_version(), secret.resource_version());
    let told = || async {
        let key = space.keys().get("storefront").await.unwrap().status.unwrap();
        key.conditions.into_iter().find(|one| one.type_ == "SecretAvailable").unwrap().message
    };
    assert!(
        told().await.contains("takes effect with the next value: raise spec.rotation.revision"),
        "{}",
        told().await
    );

    rotate(&space, json!({"revision": 1})).await;
    space.until_serial("storefront", 2).await;
    let secret = space.secrets().get("storefront").await.unwrap();
    assert_eq!(secret.data.as_ref().unwrap().keys().collect::<Vec<_>>(), ["key", "site"]);
    assert_eq!(secret.labels()["app.kubernetes.io/part-of"], "web");
    assert_eq!(secret.annotations()["reloader.stakater.com/match"], "true");
    let value = space.value("storefront", "key").await;
    both.verifier.eventually_says("ok", "scope=any", &value).await;
    assert!(told().await.ends_with("holds the value, or did at most 5 minutes ago"), "{}", told().await);
}

async fn site_id(space: &Space) -> String {
    eventually("the account has a Site ID", async || {
        let account = space.accounts().get("acme").await.map_err(|e| e.to_string())?;
        account.status.and_then(|status| status.public_key).ok_or_else(|| "none".to_owned())
    })
    .await
}

#[tokio::test]
async fn what_others_made_of_the_secret_does_not_stop_a_rotation() {
    let (space, both) = run().await;
    space.ready_key("storefront").await;
    let owners = space.secrets().get("storefront").await.unwrap().metadata.owner_references.unwrap();
    let other = json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "x", "uid": "made-up"});
    let owners: Vec<_> = owners.iter().map(|o| serde_json::to_value(o).unwrap()).chain([other]).collect();
    let marks = json!({"ownerReferences": owners, "annotations": {"keywright.dev/serial": null, "mine": "too"}});
    let meddle = Patch::Merge(json!({"metadata": marks, "stringData": {"extra": "data"}}));
    let meddled = space.secrets().patch("storefront", &PatchParams::default(), &meddle).await.unwrap();
    rotated(&space, &both, json!({"revision": 1}), 2).await;
    let secret = space.secrets().get("storefront").await.unwrap();
    assert_eq!(secret.uid(), meddled.uid());
    assert_eq!(secret.data.unwrap().len(), 2, "it holds what the template says, and nothing else");
}
