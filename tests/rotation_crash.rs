//! The protocol of a rotation and of a one-time reveal, with an operator that is killed between any two of its writes,
//! with two at once, and with one that slept. As with the first issue: one value for each serial, and the value before
//! passes until there is another to use.

#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "support/mod.rs"]
mod support;

use std::collections::BTreeSet;
use std::sync::Arc;

use keywright::api::ApiKey;
use kube::ResourceExt;
use kube::api::DeleteParams;
use serde_json::{Value, json};
use support::cluster::Cluster;
use support::eventually;
use support::keywright::Running;
use support::proxy::{Fault, Proxy, Write};
use support::space::Space;
use tokio::sync::{Mutex, Notify, OnceCell};

/// Every operator reconciles every namespace, so the tests of this binary take turns.
static TURN: Mutex<()> = Mutex::const_new(());

/// One verifier for all tests: every value would wait for the Leases of those that were killed.
async fn verifier(cluster: &Cluster) -> &'static Running {
    static VERIFIER: OnceCell<Running> = OnceCell::const_new();
    VERIFIER.get_or_init(async || Running::verifier(cluster, &[]).await.unwrap()).await
}

/// A namespace with an account that has all that the operator gives it, and the operator.
async fn account(cluster: &Cluster) -> (Space, Running) {
    let operator = Running::operator(cluster, &[]).await.unwrap();
    let space = Space::new(cluster).await;
    space.account("acme", json!({"accessLevel": "Full"})).await;
    eventually("the account has its Site ID", async || {
        let account = space.accounts().get("acme").await.map_err(|e| e.to_string())?;
        account.status.and_then(|status| status.public_key).ok_or_else(|| "none".to_owned())
    })
    .await;
    (space, operator)
}

fn once(delete_after: &str) -> Value {
    json!({"account": "acme", "accessLevel": "Full", "secret": {"delivery": "Once", "deleteAfter": delete_after}})
}

/// Where a rotation begins.
#[derive(Clone, Copy)]
enum Begin {
    /// The Secret is there, and is updated.
    Delivered,
    /// The Secret was shown for its time, and another is created.
    Revealed,
}

/// A key at rest whose rotation is asked for, and no operator; the value so far.
async fn about_to_rotate(cluster: &Cluster, begin: Begin) -> (Space, String) {
    let (space, operator) = account(cluster).await;
    space.key("storefront", once("1h")).await;
    space.until("storefront", "SecretAvailable", "Delivered").await;
    let value = space.value("storefront", "api-key").await;
    if let Begin::Revealed = begin {
        show_for(&space, "1s").await;
        space.until("storefront", "SecretAvailable", "Revealed").await;
    }
    drop(operator);
    show_for(&space, "1h").await;
    rotate(&space, 1).await;
    (space, value)
}

async fn show_for(space: &Space, delete_after: &str) {
    space.patch_key("storefront", json!({"spec": {"secret": {"deleteAfter": delete_after}}})).await;
}

async fn rotate(space: &Space, revision: i64) {
    space.patch_key("storefront", json!({"spec": {"rotation": {"revision": revision, "overlap": "1h"}}})).await;
}

async fn secret_uid(space: &Space) -> Option<String> {
    space.secrets().get_opt("storefront").await.unwrap().and_then(|secret| secret.uid())
}

/// Lets an operator run into each fault at each write, until there is no such write any more; how often it was killed.
async fn killed_at_every_write(mut run_into: impl AsyncFnMut(usize, Fault) -> bool) -> usize {
    let mut crashes = 0;
    for at in 1.. {
        let before = crashes;
        for fault in [Fault::KillBefore, Fault::KillAfter] {
            crashes += usize::from(run_into(at, fault).await);
        }
        if crashes == before {
            break;
        }
    }
    crashes
}

/// The values that were written for a key, each with its serial.
fn values<'w>(writes: &'w [Write], key: &ApiKey) -> BTreeSet<(&'w str, &'w str)> {
    let uid = key.uid().unwrap();
    writes
        .iter()
        .filter_map(|write| match write {
            Write::Secret { owner, serial, value } if *owner == uid => Some((serial.as_str(), value.as_str())),
            _ => None,
        })
        .collect()
}

/// Holds what must be true of a key that rotated once, whatever happened on the way.
async fn assert_rotated_once(space: &Space, key: &ApiKey, writes: &[Write], old: &str, verifier: &Running) {
    let name = key.name_any();
    let new = space.value(&name, "api-key").await;
    assert_ne!(new, old);
    assert_eq!(values(writes, key), BTreeSet::from([("2", new.as_str())]), "one value, the one in the Secret");
    let record = space.record(key).await;
    let [current, retiring] = [&record["current"], &record["retiring"][0]];
    assert_eq!(record["lastSerial"], 2);
    assert_eq!((&current["id"], &current["sealed"]), (&json!(new[3..15]), &Value::Null));
    assert_eq!((&retiring["id"], &retiring["serial"]), (&json!(old[3..15]), &json!(1)));
    assert!(retiring["retiresAt"].is_string(), "the old value will end: {record}");
    let secret = space.secrets().get(&name).await.unwrap();
    assert_eq!((&record["secret"]["uid"], &record["secret"]["ended"]), (&json!(secret.uid()), &Value::Null));
    verifier.eventually_says("ok", "scope=any", &new).await;
    assert_eq!(verifier.code("scope=any", old).await, "ok", "its overlap has only begun");
}

/// Is the first write of each the entry?
fn is_entry_first(writes: &[Write]) -> bool {
    let secret = writes.iter().position(|write| matches!(write, Write::Secret { .. }));
    let entry = writes.iter().position(|write| matches!(write, Write::Entry { serial: 2, .. }));
    entry.is_some() && entry < secret
}

/// An operator runs into a fault during a rotation, and another goes on. Was the first one killed?
async fn rotate_with(cluster: &Cluster, verifier: &Running, begin: Begin, at: usize, fault: Fault) -> bool {
    let (space, old) = about_to_rotate(cluster, begin).await;
    let uid = secret_uid(&space).await;
    let proxy = Proxy::of(cluster, &space.name, Some((at, fault))).await.unwrap();
    let _operator = proxy.operator(cluster).unwrap();
    tokio::select! {
        () = proxy.sprung() => {}
        _ = space.until_serial("storefront", 2) => {}
    }
    let killed = proxy.seen().len() >= at;
    verifier.eventually_says("ok", "scope=any", &old).await;
    if let Some(secret) = space.secrets().get_opt("storefront").await.unwrap() {
        let readable = String::from_utf8(secret.data.unwrap()["api-key"].0.clone()).unwrap();
        verifier.eventually_says("ok", "scope=any", &readable).await;
    }
    let after = Proxy::of(cluster, &space.name, None).await.unwrap();
    let _second = if killed { Some(after.operator(cluster).unwrap()) } else { None };
    let key = space.until_serial("storefront", 2).await;
    let writes = [proxy.seen(), after.seen()].concat();
    assert!(is_entry_first(&writes), "the value is committed before it can be read: {writes:?}");
    assert_rotated_once(&space, &key, &writes, &old, verifier).await;
    if let Begin::Delivered = begin {
        assert_eq!(secret_uid(&space).await, uid, "it is the same Secret");
    }
    killed
}

#[tokio::test]
async fn an_operator_killed_between_any_two_writes_of_a_rotation_goes_on_with_the_same_value() {
    let _turn = TURN.lock().await;
    let cluster = Cluster::shared().await;
    let verifier = verifier(cluster).await;
    let crashes =
        killed_at_every_write(async |at, fault| rotate_with(cluster, verifier, Begin::Delivered, at, fault).await)
            .await;
    assert!(crashes >= 8, "entry, Secret, delivery mark and status, each before and after, but only {crashes}");
}

#[tokio::test]
async fn an_operator_killed_between_any_two_writes_of_a_second_reveal_goes_on_with_the_same_value() {
    let _turn = TURN.lock().await;
    let cluster = Cluster::shared().await;
    let verifier = verifier(cluster).await;
    let crashes =
        killed_at_every_write(async |at, fault| rotate_with(cluster, verifier, Begin::Revealed, at, fault).await).await;
    assert!(crashes >= 8, "entry, Secret, delivery mark and status, each before and after, but only {crashes}");
}

#[tokio::test]
async fn an_operator_killed_between_any_two_writes_of_a_concealment_goes_on_until_the_secret_is_gone() {
    let _turn = TURN.lock().await;
    let cluster = Cluster::shared().await;
    let verifier = verifier(cluster).await;
    let crashes =
        killed_at_every_write(async |at, fault| {
            let (space, operator) = account(cluster).await;
            space.key("storefront", once("1h")).await;
            space.until("storefront", "SecretAvailable", "Delivered").await;
            let value = space.value("storefront", "api-key").await;
            drop(operator);
            show_for(&space, "1s").await;
            let proxy = Proxy::of(cluster, &space.name, Some((at, fault))).await.unwrap();
            let _operator = proxy.operator(cluster).unwrap();
            tokio::select! {
                () = proxy.sprung() => {}
                _ = space.until("storefront", "SecretAvailable", "Revealed") => {}
            }
            let killed = proxy.seen().len() >= at;
            verifier.eventually_says("ok", "scope=any", &value).await;
            let after = Proxy::of(cluster, &space.name, None).await.unwrap();
            let _second = if killed { Some(after.operator(cluster).unwrap()) } else { None };
            let key = space.until("storefront", "SecretAvailable", "Revealed").await;
            eventually("the Secret is gone", async || {
                if secret_uid(&space).await.is_none() { Ok(()) } else { Err("it is there") }
            })
            .await;
            let writes = [proxy.seen(), after.seen()].concat();
            let shown: Vec<_> = values(&writes, &key).into_iter().filter(|(_, value)| !value.is_empty()).collect();
            assert_eq!(shown, [], "no value was written");
            let record = space.record(&key).await;
            assert_eq!((&record["lastSerial"], &record["secret"]["ended"]), (&json!(1), &json!("revealed")));
            assert_eq!(verifier.code("scope=any", &value).await, "ok");
            killed
        })
        .await;
    assert!(crashes >= 8, "entry, blank, deletion and status, each before and after, but only {crashes}");
}

#[tokio::test]
async fn two_operators_at_once_rotate_each_key_once() {
    let _turn = TURN.lock().await;
    let cluster = Cluster::shared().await;
    let verifier = verifier(cluster).await;
    let (space, operator) = account(cluster).await;
    let names: Vec<String> = (0..20).map(|n| format!("key-{n}")).collect();
    let mut old = Vec::new();
    for name in &names {
        space.key(name, json!({"account": "acme", "accessLevel": "Full"})).await;
    }
    for name in &names {
        space.until_serial(name, 1).await;
        old.push(space.value(name, "api-key").await);
    }
    drop(operator);
    let (one, two) =
        (Proxy::of(cluster, &space.name, None).await.unwrap(), Proxy::of(cluster, &space.name, None).await.unwrap());
    let _operators = (one.operator(cluster).unwrap(), two.operator(cluster).unwrap());
    for name in &names {
        space.patch_key(name, json!({"spec": {"rotation": {"revision": 1, "overlap": "1h"}}})).await;
    }
    for (name, old) in names.iter().zip(&old) {
        let key = space.until_serial(name, 2).await;
        let writes = [one.seen(), two.seen()].concat();
        assert_rotated_once(&space, &key, &writes, old, verifier).await;
    }
}

/// An operator that sleeps before its second write, which is the one of the Secret.
async fn asleep(cluster: &Cluster, space: &Space) -> (Proxy, Arc<Running>, Arc<Notify>) {
    let gate = Arc::new(Notify::new());
    let sleeper = Proxy::of(cluster, &space.name, Some((2, Fault::Hold(gate.clone())))).await.unwrap();
    let operator = sleeper.operator(cluster).unwrap();
    sleeper.sprung().await;
    assert!(matches!(sleeper.seen()[..], [Write::Entry { .. }, Write::Secret { .. }]), "{:?}", sleeper.seen());
    (sleeper, operator, gate)
}

#[tokio::test]
async fn an_operator_that_slept_across_a_rotation_cannot_roll_the_secret_back() {
    let _turn = TURN.lock().await;
    let cluster = Cluster::shared().await;
    let verifier = verifier(cluster).await;
    let (space, _) = about_to_rotate(cluster, Begin::Delivered).await;
    let (sleeper, _first, gate) = asleep(cluster, &space).await;
    let _second = Running::operator(cluster, &[]).await.unwrap();
    space.until_serial("storefront", 2).await;
    rotate(&space, 2).await;
    let key = space.until_serial("storefront", 3).await;
    let (third, secret) = (space.value("storefront", "api-key").await, secret_uid(&space).await);
    let record = space.record(&key).await;

    gate.notify_one();
    eventually("the sleeper learns that it was refused", async || {
        let seen = sleeper.seen();
        if seen.len() > 2 { Ok(()) } else { Err(format!("{seen:?}")) }
    })
    .await;
    // Any further change is reconciled by both, after what they had begun.
    space.patch_key("storefront", json!({"spec": {"displayName": "Storefront"}})).await;
    let key = space.until_observed("storefront").await;
    assert_eq!(space.value("storefront", "api-key").await, third);
    assert_eq!((secret_uid(&space).await, space.record(&key).await), (secret, record));
    space.until_ready_is("storefront", "Issued").await;
    verifier.eventually_says("ok", "scope=any", &third).await;
}

/// Waits until the sleeper has written the Secret, which it marks in the entry then, and there is no Secret. The other operator
/// may be the one that removes it.
async fn until_undone(space: &Space, sleeper: &Proxy) {
    eventually("the stray Secret came and went", async || {
        let kinds: Vec<_> = sleeper.seen().iter().map(std::mem::discriminant).collect();
        let marked = sleeper.seen().iter().skip(2).any(|write| matches!(write, Write::Entry { .. }));
        match (marked, secret_uid(space).await) {
            (true, None) => Ok(()),
            (_, there) => Err(format!("writes {kinds:?}, Secret {there:?}")),
        }
    })
    .await;
}

#[tokio::test]
async fn an_operator_that_slept_across_a_rotation_and_a_removal_takes_its_old_value_away_again() {
    let _turn = TURN.lock().await;
    let cluster = Cluster::shared().await;
    let (space, _) = about_to_rotate(cluster, Begin::Delivered).await;
    let (sleeper, _first, gate) = asleep(cluster, &space).await;
    let _second = Running::operator(cluster, &[]).await.unwrap();
    space.until_serial("storefront", 2).await;
    rotate(&space, 2).await;
    space.until_serial("storefront", 3).await;
    space.secrets().delete("storefront", &DeleteParams::default()).await.unwrap();
    gate.notify_one();
    until_undone(&space, &sleeper).await;
}

#[tokio::test]
async fn an_operator_that_slept_across_a_reveal_does_not_show_the_value_again() {
    let _turn = TURN.lock().await;
    let cluster = Cluster::shared().await;
    let verifier = verifier(cluster).await;
    let (space, operator) = account(cluster).await;
    drop(operator);
    space.key("storefront", once("1h")).await;
    let (sleeper, _first, gate) = asleep(cluster, &space).await;
    let _second = Running::operator(cluster, &[]).await.unwrap();
    space.until_serial("storefront", 1).await;
    let value = space.value("storefront", "api-key").await;
    show_for(&space, "1s").await;
    space.until("storefront", "SecretAvailable", "Revealed").await;
    assert_eq!(secret_uid(&space).await, None);
    gate.notify_one();
    until_undone(&space, &sleeper).await;
    let key = space.until("storefront", "SecretAvailable", "Revealed").await;
    assert_eq!(space.record(&key).await["secret"]["ended"], "revealed");
    verifier.eventually_says("ok", "scope=any", &value).await;
}

#[tokio::test]
async fn a_clone_that_was_resolved_before_a_crash_keeps_its_rights_whatever_became_of_its_source() {
    let _turn = TURN.lock().await;
    let cluster = Cluster::shared().await;
    let verifier = verifier(cluster).await;
    let (space, operator) = account(cluster).await;
    let spec = json!({"account": "acme", "accessLevel": "Custom", "displayName": "Orders", "scopes": ["orders:read"]});
    space.key("source", spec).await;
    space.until("source", "SecretAvailable", "Delivered").await;
    drop(operator);
    space.key("copy", json!({"account": "acme", "cloneFrom": {"name": "source"}})).await;
    let proxy = Proxy::of(cluster, &space.name, Some((1, Fault::KillAfter))).await.unwrap();
    let _operator = proxy.operator(cluster).unwrap();
    proxy.sprung().await;
    assert!(matches!(proxy.seen()[..], [Write::Entry { serial: 1, .. }]), "{:?}", proxy.seen());
    let wider = json!({"spec": {"accessLevel": "Full", "scopes": null, "displayName": "Everything"}});
    space.patch_key("source", wider).await;

    let _second = Running::operator(cluster, &[]).await.unwrap();
    let key = space.until("copy", "SecretAvailable", "Delivered").await;
    assert_eq!(key.status.unwrap().display_name.as_deref(), Some("Orders"));
    let value = space.value("copy", "api-key").await;
    verifier.eventually_says("ok", "scope=orders:read", &value).await;
    assert_eq!(verifier.code("scope=orders:write", &value).await, "insufficient_scope");
}
