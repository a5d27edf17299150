//! The Site ID: 6 characters, one for each account, made once and kept for ever.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use keywright::key::site_ids;
use kube::api::{DeleteParams, ListParams, ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::json;

use super::support::cluster::Cluster;
use super::support::keywright::Running;
use super::support::proxy::{Fault, Proxy};
use super::support::space::{Space, both, neither};
use super::{space, until};

async fn public_key(space: &Space, name: &str) -> String {
    let account = until(space, name, "has a public key", |account| {
        account.status.as_ref().is_some_and(|status| status.public_key.is_some())
    });
    account.await.status.unwrap().public_key.unwrap()
}

fn entries(space: &Space) -> Api<Secret> {
    Api::namespaced(space.client.clone(), "keywright-entries")
}

/// The names of what is reserved for an account.
async fn reservations(space: &Space, name: &str) -> Vec<String> {
    let account = format!("{}/{name}", space.name).into_bytes();
    let all = entries(space).list(&ListParams::default().fields("type=keywright.dev/site-id")).await.unwrap();
    let is_its = |secret: &&Secret| secret.data.as_ref().is_some_and(|data| data["account"].0 == account);
    all.items.iter().filter(is_its).map(ResourceExt::name_any).collect()
}

/// What another account may have reserved before.
async fn reserve(space: &Space, id: &str, type_: &str, account: &str) {
    let secret = Secret {
        metadata: ObjectMeta { name: Some(id.to_ascii_lowercase()), ..ObjectMeta::default() },
        type_: Some(type_.to_owned()),
        data: Some(BTreeMap::from([("account".to_owned(), ByteString(account.as_bytes().to_vec()))])),
        ..Secret::default()
    };
    entries(space).create(&PostParams::default(), &secret).await.unwrap();
}

async fn wipe_status(space: &Space, name: &str) {
    let wiped = Patch::Merge(json!({"status": null}));
    space.accounts().patch_status(name, &PatchParams::default(), &wiped).await.unwrap();
}

fn candidates(space: &Space, name: &str) -> [String; 2] {
    let mut ids = site_ids(&space.name, name);
    [ids.next().unwrap().to_string(), ids.next().unwrap().to_string()]
}

#[tokio::test]
async fn every_account_has_a_site_id_of_its_own_and_an_object_that_reserves_it() {
    let (here, there, _both) = (space().await, space().await, both().await);
    let mut all = BTreeSet::new();
    for space in [&here, &there] {
        for n in 0..10 {
            let name = format!("acme-{n}");
            space.account(&name, json!({"accessLevel": "Full"})).await;
            let id = public_key(space, &name).await;
            assert!(id.len() == 6 && id.bytes().all(|b| matches!(b, b'A'..=b'Z' | b'2'..=b'9')), "{id}");
            assert!(!id.contains(['I', 'L', 'O']), "{id} has a look-alike");
            let reservation = entries(space).get(&id.to_ascii_lowercase()).await.unwrap();
            assert_eq!(reservation.type_.as_deref(), Some("keywright.dev/site-id"));
            assert_eq!(reservation.immutable, Some(true));
            assert_eq!(reservation.data.unwrap()["account"].0, format!("{}/{name}", space.name).into_bytes());
            assert!(reservation.metadata.owner_references.is_none(), "nothing takes it along");
            all.insert(id);
        }
    }
    assert_eq!(all.len(), 20);
}

#[tokio::test]
async fn the_longest_names_there_are_have_a_site_id_too() {
    let (space, both) = (space().await, both().await);
    let name = "a".repeat(253);
    space.account(&name, json!({"accessLevel": "Full"})).await;
    public_key(&space, &name).await;
    let key_name = "k".repeat(253);
    space.key(&key_name, json!({"account": name, "accessLevel": "Full"})).await;
    space.until_ready_is(&key_name, "Issued").await;
    let value = space.value(&key_name, "api-key").await;
    both.verifier.eventually_says("ok", &format!("scope=any&account={}/{name}", space.name), &value).await;
}

#[tokio::test]
async fn a_site_id_is_the_same_after_its_status_was_wiped_by_hand() {
    let (space, _both) = (space().await, both().await);
    space.account("acme", json!({"accessLevel": "Full"})).await;
    let id = public_key(&space, "acme").await;
    for _ in 0..3 {
        wipe_status(&space, "acme").await;
        assert_eq!(public_key(&space, "acme").await, id);
    }
    // A forged one does not last.
    let forged = Patch::Merge(json!({"status": {"publicKey": "AAAAAA"}}));
    space.accounts().patch_status("acme", &PatchParams::default(), &forged).await.unwrap();
    until(&space, "acme", "has its own again", |a| a.status.as_ref().unwrap().public_key.as_ref() == Some(&id)).await;
    assert_eq!(reservations(&space, "acme").await, [id.to_ascii_lowercase()]);
}

#[tokio::test]
async fn a_site_id_is_given_back_to_an_account_that_is_created_again() {
    let (space, _both) = (space().await, both().await);
    space.account("acme", json!({"accessLevel": "Full"})).await;
    let id = public_key(&space, "acme").await;
    let reservation = entries(&space).get(&id.to_ascii_lowercase()).await.unwrap();
    for _ in 0..2 {
        space.accounts().delete("acme", &DeleteParams::default()).await.unwrap();
        // Another account that comes in between does not get it, and shows that the operator has gone on.
        space.account("between", json!({"accessLevel": "Full"})).await;
        assert_ne!(public_key(&space, "between").await, id);
        space.accounts().delete("between", &DeleteParams::default()).await.unwrap();
        let kept = entries(&space).get(&id.to_ascii_lowercase()).await.unwrap();
        assert_eq!(kept.uid(), reservation.uid(), "the reservation outlives the account");
        space.account("acme", json!({"accessLevel": "ReadOnly"})).await;
        assert_eq!(public_key(&space, "acme").await, id);
    }
    assert_eq!(reservations(&space, "acme").await, [id.to_ascii_lowercase()]);
}

#[tokio::test]
async fn a_site_id_that_another_account_has_is_passed_over_for_the_second() {
    let (space, _both) = (space().await, both().await);
    let [first, second] = candidates(&space, "acme");
    reserve(&space, &first, "keywright.dev/site-id", "elsewhere/holder").await;
    space.account("acme", json!({"accessLevel": "Full"})).await;
    assert_eq!(public_key(&space, "acme").await, second);
    wipe_status(&space, "acme").await;
    assert_eq!(public_key(&space, "acme").await, second);
    let holder = entries(&space).get(&first.to_ascii_lowercase()).await.unwrap();
    assert_eq!(holder.data.unwrap()["account"].0, b"elsewhere/holder");

    // One of a name alike is not it, nor is what only looks like a reservation.
    let [first, second] = candidates(&space, "globex");
    reserve(&space, &first, "Opaque", &format!("{}/globex", space.name)).await;
    space.account("globex", json!({"accessLevel": "Full"})).await;
    assert_eq!(public_key(&space, "globex").await, second);
    let [first, second] = candidates(&space, "initech");
    reserve(&space, &first, "keywright.dev/site-id", &format!("{}/initech-2", space.name)).await;
    space.account("initech", json!({"accessLevel": "Full"})).await;
    assert_eq!(public_key(&space, "initech").await, second);
}

#[tokio::test]
async fn a_site_id_stays_when_an_earlier_one_becomes_free() {
    let (space, _both) = (space().await, both().await);
    let [first, second] = candidates(&space, "acme");
    reserve(&space, &first, "keywright.dev/site-id", "elsewhere/holder").await;
    space.account("acme", json!({"accessLevel": "Full"})).await;
    assert_eq!(public_key(&space, "acme").await, second);
    // As a restore of the cluster without that one would.
    entries(&space).delete(&first.to_ascii_lowercase(), &DeleteParams::default()).await.unwrap();
    space.patch_account("acme", json!({"spec": {"displayName": "Acme"}})).await;
    let account = until(&space, "acme", "is looked at again", |account| {
        account.status.as_ref().is_some_and(|status| status.observed_generation == account.metadata.generation)
    });
    assert_eq!(account.await.status.unwrap().public_key, Some(second), "it never changes");
}

#[tokio::test]
async fn a_secret_holds_the_site_id_where_its_key_asks_for_it() {
    let (space, _both) = (space().await, both().await);
    // The key is there first, and its value may be delivered before the account's status is written.
    let data = json!({"token": "value", "site": "siteId"});
    space.key("widget", json!({"account": "acme", "accessLevel": "Full", "secret": {"data": data}})).await;
    space.account("acme", json!({"accessLevel": "Full"})).await;
    space.until_ready_is("widget", "Issued").await;
    assert_eq!(space.value("widget", "site").await, public_key(&space, "acme").await);
}

#[tokio::test]
async fn an_operator_that_is_killed_at_the_reservation_or_the_status_comes_to_the_same_site_id() {
    let _neither = neither().await;
    let cluster = Cluster::shared().await;
    // The key material is made before, so that the first write of a Secret is the reservation.
    drop(Running::operator(cluster, &[]).await.unwrap().ready().await);
    for fault in [Fault::KillBefore, Fault::KillAfter] {
        let space = space().await;
        space.account("acme", json!({"accessLevel": "Full"})).await;
        let proxy = Proxy::start(cluster, Some((1, fault.clone()))).await.unwrap();
        let _killed = proxy.operator(cluster).unwrap();
        proxy.sprung().await;
        let reserved = reservations(&space, "acme").await;
        let [first, _] = candidates(&space, "acme");
        match fault {
            Fault::KillBefore => assert!(reserved.is_empty(), "{reserved:?}"),
            _ => assert_eq!(reserved, [first.to_ascii_lowercase()]),
        }
        assert!(space.accounts().get("acme").await.unwrap().status.is_none(), "nothing was said yet");
        let again = Running::operator(cluster, &[]).await.unwrap();
        assert_eq!(public_key(&space, "acme").await, first);
        again.process.kill();
        // Wiped while nobody looks.
        wipe_status(&space, "acme").await;
        let _third = Running::operator(cluster, &[]).await.unwrap();
        assert_eq!(public_key(&space, "acme").await, first);
        assert_eq!(reservations(&space, "acme").await, [first.to_ascii_lowercase()]);
    }
}

#[tokio::test]
async fn two_operators_at_once_reserve_one_site_id_for_each_account() {
    let _neither = neither().await;
    let cluster = Cluster::shared().await;
    let operators = (Running::operator(cluster, &[]).await.unwrap(), Running::operator(cluster, &[]).await.unwrap());
    let _operators = (operators.0.ready().await, operators.1.ready().await);
    let space = space().await;
    for n in 0..20 {
        let name = format!("acme-{n}");
        if n % 4 == 0 {
            let [first, _] = candidates(&space, &name);
            reserve(&space, &first, "keywright.dev/site-id", "elsewhere/holder").await;
        }
        space.account(&name, json!({"accessLevel": "Full"})).await;
    }
    for n in 0..20 {
        let name = format!("acme-{n}");
        let id = public_key(&space, &name).await;
        assert_eq!(id, candidates(&space, &name)[usize::from(n % 4 == 0)]);
        assert_eq!(reservations(&space, &name).await, [id.to_ascii_lowercase()]);
    }
}

#[tokio::test]
async fn a_namespace_that_is_deleted_and_made_again_gives_its_accounts_their_site_ids_back() {
    let (space, _both) = (space().await, both().await);
    let cluster = Cluster::shared().await;
    cluster.plane.with_controller_manager().unwrap();
    space.account("acme", json!({"accessLevel": "Full"})).await;
    let id = public_key(&space, "acme").await;
    cluster.plane.kubectl(&["delete", "namespace", &space.name, "--wait=true", "--timeout=60s"]).unwrap();
    assert_eq!(reservations(&space, "acme").await, [id.to_ascii_lowercase()]);
    cluster.plane.kubectl(&["create", "namespace", &space.name]).unwrap();
    space.account("acme", json!({"accessLevel": "Full"})).await;
    assert_eq!(public_key(&space, "acme").await, id);
}
