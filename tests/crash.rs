//! The issue protocol on a real API server: an operator that is killed between any two of its writes, two operators at
//! once, and one that slept. For one key and serial there is exactly one value, and its entry was there before it
//! could be read.

#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "support/mod.rs"]
mod support;

use std::collections::BTreeSet;
use std::sync::Arc;

use data_encoding::BASE64;
use keywright::api::ApiKey;
use kube::ResourceExt;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};
use support::cluster::Cluster;
use support::eventually;
use support::keywright::Running;
use support::proxy::{Fault, Proxy, Write};
use support::space::Space;
use tokio::sync::{Mutex, Notify};

/// Every operator reconciles every namespace, so the tests of this binary take turns.
static TURN: Mutex<()> = Mutex::const_new(());

async fn unready_key(space: &Space) -> ApiKey {
    space.account("acme", json!({"accessLevel": "Full"})).await;
    space.key("storefront", json!({"account": "acme", "accessLevel": "Full"})).await
}

/// A new key, and an operator with a fault at the write of its Secret. The key material is made before, and the account's
/// Site ID reserved, so that the first two writes for a key are its entry and its Secret.
async fn fault_at_the_secret(cluster: &Cluster, fault: Fault) -> (Space, ApiKey, Proxy, Arc<Running>) {
    faults_from_the_secret_on(cluster, vec![fault]).await
}

/// The same with faults at the writes that follow.
async fn faults_from_the_secret_on(cluster: &Cluster, faults: Vec<Fault>) -> (Space, ApiKey, Proxy, Arc<Running>) {
    let before = Running::operator(cluster, &[]).await.unwrap().ready().await;
    let space = Space::new(cluster).await;
    space.account("acme", json!({"accessLevel": "Full"})).await;
    eventually("the account has its Site ID", async || {
        let account = space.accounts().get("acme").await.map_err(|error| error.to_string())?;
        account.status.and_then(|status| status.public_key).ok_or_else(|| "none".to_owned())
    })
    .await;
    drop(before);
    let key = space.key("storefront", json!({"account": "acme", "accessLevel": "Full"})).await;
    let proxy = Proxy::of(cluster, &space.name, (2..).zip(faults)).await.unwrap();
    let operator = proxy.operator(cluster).unwrap();
    (space, key, proxy, operator)
}

/// Holds what must be true of a key whatever happened on the way.
async fn assert_one_value(space: &Space, key: &ApiKey, writes: &[Write], verifier: &Running) {
    let uid = key.uid().unwrap();
    let value = space.value(&key.name_any(), "api-key").await;
    let ours = |write: &&Write| matches!(write, Write::Secret { owner, .. } if *owner == uid);
    let values: BTreeSet<(&str, &str)> = writes
        .iter()
        .filter(ours)
        .map(|write| match write {
            Write::Secret { serial, value, .. } => (serial.as_str(), value.as_str()),
            _ => unreachable!("filtered"),
        })
        .collect();
    assert_eq!(values, BTreeSet::from([("1", value.as_str())]), "one value for serial 1, the one in the Secret");
    let first_secret = writes.iter().position(|write| ours(&write));
    let first_entry = writes.iter().position(|write| matches!(write, Write::Entry { uid: u, serial: 1 } if *u == uid));
    assert!(first_entry < first_secret, "the entry is committed before the value can be read");

    let entry = space.entry(key).await;
    let entry: Value = serde_json::from_slice(&entry.data.unwrap()["entry.json"].0).unwrap();
    assert_eq!(entry["lastSerial"], 1);
    assert_eq!(entry["current"]["id"], value[3..15]);
    assert_eq!(entry["current"]["sealed"], Value::Null, "the seal is erased");
    let secret = space.secrets().get(&key.name_any()).await.unwrap();
    assert_eq!(entry["secret"]["uid"], secret.uid().unwrap());
    verifier.eventually_says("ok", "scope=any", &value).await;
}

#[tokio::test]
async fn an_operator_killed_between_any_two_writes_goes_on_with_the_same_value() {
    let _turn = TURN.lock().await;
    let cluster = Cluster::shared().await;
    let verifier = Running::verifier(cluster, &[]).await.unwrap();
    let mut at = 0;
    let mut crashes = 0;
    loop {
        at += 1;
        let mut crashed = false;
        for fault in [Fault::KillBefore, Fault::KillAfter] {
            let space = Space::new(cluster).await;
            let key = unready_key(&space).await;
            let proxy = Proxy::of(cluster, &space.name, Some((at, fault))).await.unwrap();
            let _operator = proxy.operator(cluster).unwrap();
            let killed = tokio::select! {
                () = proxy.sprung() => true,
                _ = space.until("storefront", "SecretAvailable", "Delivered") => false,
            };
            let after = Proxy::of(cluster, &space.name, None).await.unwrap();
            let _second = if killed { Some(after.operator(cluster).unwrap()) } else { None };
            let key = space.until(&key.name_any(), "SecretAvailable", "Delivered").await;
            let writes = [proxy.seen(), after.seen()].concat();
            assert_one_value(&space, &key, &writes, &verifier).await;
            crashed |= killed;
            crashes += usize::from(killed);
        }
        if !crashed {
            break;
        }
    }
    assert!(crashes >= 8, "entry, Secret, delivery mark and status, each before and after, but only {crashes}");
}

#[tokio::test]
async fn an_operator_that_starts_over_settled_keys_writes_nothing() {
    let _turn = TURN.lock().await;
    let cluster = Cluster::shared().await;
    let space = Space::new(cluster).await;
    unready_key(&space).await;
    let first = Proxy::start(cluster, None).await.unwrap();
    let operator = first.operator(cluster).unwrap();
    space.until("storefront", "SecretAvailable", "Delivered").await;
    drop(operator);

    let second = Proxy::start(cluster, None).await.unwrap();
    let _operator = second.operator(cluster).unwrap();
    // A new key is reconciled after the old ones, which were there first.
    space.key("other", json!({"account": "acme", "accessLevel": "Full"})).await;
    let other = space.until("other", "SecretAvailable", "Delivered").await.uid().unwrap();
    let of_other = |write: &Write| match write {
        Write::Entry { uid, .. } => *uid == other,
        Write::Secret { owner, .. } => *owner == other,
        Write::Status { name } => name == "other",
        Write::Deleted | Write::Other => false,
    };
    let writes = second.seen();
    assert!(writes.iter().all(of_other), "{writes:?}");
}

#[tokio::test]
async fn two_operators_at_once_mint_one_value_for_each_key() {
    let _turn = TURN.lock().await;
    let cluster = Cluster::shared().await;
    let verifier = Running::verifier(cluster, &[]).await.unwrap();
    let (one, two) = (Proxy::start(cluster, None).await.unwrap(), Proxy::start(cluster, None).await.unwrap());
    let _operators = (one.operator(cluster).unwrap(), two.operator(cluster).unwrap());
    let space = Space::new(cluster).await;
    space.account("acme", json!({"accessLevel": "Full"})).await;
    for n in 0..30 {
        space.key(&format!("key-{n}"), json!({"account": "acme", "accessLevel": "Full"})).await;
    }
    for n in 0..30 {
        let key = space.until(&format!("key-{n}"), "SecretAvailable", "Delivered").await;
        let writes = [one.seen(), two.seen()].concat();
        let entries_first = entries_first(writes);
        assert_one_value(&space, &key, &entries_first, &verifier).await;
    }
    let minted_by = |proxy: &Proxy| proxy.seen().iter().filter(|w| matches!(w, Write::Entry { .. })).count();
    assert!(minted_by(&one) > 0 && minted_by(&two) > 0, "both took part");
}

/// Two logs have no common order; each keeps its own, and the entries of both are put before the Secrets.
fn entries_first(mut writes: Vec<Write>) -> Vec<Write> {
    writes.sort_by_key(|write| !matches!(write, Write::Entry { .. }));
    writes
}

#[tokio::test]
async fn an_answer_that_cannot_be_read_is_mended_and_not_written_into_the_log() {
    let _turn = TURN.lock().await;
    let cluster = Cluster::shared().await;
    let (space, _, _proxy, operator) = fault_at_the_secret(cluster, Fault::CutAnswer).await;
    space.until("storefront", "SecretAvailable", "Delivered").await;
    let value = space.value("storefront", "api-key").await;
    let log = std::fs::read_to_string(&operator.log).unwrap();
    assert!(log.contains("trying again"), "the cut answer was noticed: {log}");
    assert!(!log.contains(&value) && !log.contains(&BASE64.encode(value.as_bytes())), "the value is in the log");
}

#[tokio::test]
async fn the_secret_of_a_deleted_key_goes_without_the_garbage_collector_and_makes_room_for_a_namesake() {
    let _turn = TURN.lock().await;
    let cluster = Cluster::shared().await;
    let _operator = Running::operator(cluster, &[]).await.unwrap();
    let space = Space::new(cluster).await;
    unready_key(&space).await;
    space.until("storefront", "SecretAvailable", "Delivered").await;
    let old = space.value("storefront", "api-key").await;
    // A second owner would keep it from the garbage collector for ever.
    let other = json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "x", "uid": "made-up"});
    let owners = space.secrets().get("storefront").await.unwrap().metadata.owner_references.unwrap();
    let owners: Vec<Value> = owners.iter().map(|o| serde_json::to_value(o).unwrap()).chain([other]).collect();
    let adopt = Patch::Merge(json!({"metadata": {"ownerReferences": owners}}));
    space.secrets().patch("storefront", &PatchParams::default(), &adopt).await.unwrap();

    space.keys().delete("storefront", &DeleteParams::default()).await.unwrap();
    space.key("storefront", json!({"account": "acme", "accessLevel": "Full"})).await;
    space.until("storefront", "SecretAvailable", "Delivered").await;
    assert_ne!(space.value("storefront", "api-key").await, old);
}

#[tokio::test]
async fn a_secret_that_a_user_froze_between_two_writes_is_said_and_written_again_when_deleted() {
    let _turn = TURN.lock().await;
    let cluster = Cluster::shared().await;
    let (space, _, proxy, _operator) = fault_at_the_secret(cluster, Fault::KillAfter).await;
    proxy.sprung().await;
    let value = space.value("storefront", "api-key").await;
    let freeze = Patch::Merge(json!({"immutable": true}));
    space.secrets().patch("storefront", &PatchParams::default(), &freeze).await.unwrap();

    let _second = Running::operator(cluster, &[]).await.unwrap();
    space.until_ready_is("storefront", "SecretImmutable").await;
    space.secrets().delete("storefront", &DeleteParams::default()).await.unwrap();
    space.until("storefront", "SecretAvailable", "Delivered").await;
    assert_eq!(space.value("storefront", "api-key").await, value);
}

#[tokio::test]
async fn an_operator_that_slept_removes_the_stray_secret_that_it_writes_on_waking() {
    wakes_and_removes_its_stray(&[]).await;
}

#[tokio::test]
async fn it_removes_the_stray_too_when_it_never_hears_that_it_lost_the_swap() {
    wakes_and_removes_its_stray(&[Fault::LoseAnswer]).await;
}

/// An operator that slept before its write of the Secret, while another delivered and a user removed it.
async fn wakes_and_removes_its_stray(then: &[Fault]) {
    let _turn = TURN.lock().await;
    let cluster = Cluster::shared().await;
    let gate = Arc::new(Notify::new());
    let faults = [&[Fault::Hold(gate.clone())], then].concat();
    let (space, key, sleeper, _first) = faults_from_the_secret_on(cluster, faults).await;
    sleeper.sprung().await;
    assert!(matches!(sleeper.seen()[..], [Write::Entry { .. }, Write::Secret { .. }]), "{:?}", sleeper.seen());

    let awake = Proxy::of(cluster, &space.name, None).await.unwrap();
    let _second = awake.operator(cluster).unwrap();
    space.until(&key.name_any(), "SecretAvailable", "Delivered").await;
    space.secrets().delete("storefront", &DeleteParams::default()).await.unwrap();
    gate.notify_one();
    // The sleeper writes the Secret, loses the swap of the entry, and deletes what it wrote.
    eventually("the stray Secret came and went", async || {
        let deleted = sleeper.seen().iter().filter(|w| matches!(w, Write::Deleted)).count();
        let there = space.secrets().get_opt("storefront").await.map_err(|e| e.to_string())?;
        match (deleted, there) {
            (1.., None) => Ok(()),
            (deleted, there) => Err(format!("{deleted} deletions, Secret {}", there.is_some())),
        }
    })
    .await;
}
