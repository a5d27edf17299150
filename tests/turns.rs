//! Turns of tenants on a real API server, counted in credentials that were issued and not in seconds.

#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "support/mod.rs"]
mod support;

use futures::StreamExt;
use futures::stream;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::ListParams;
use serde_json::{Value, json};
use support::cluster::Cluster;
use support::eventually;
use support::keywright::Running;
use support::proxy::Proxy;
use support::space::Space;
use tokio::sync::Mutex;

/// Keys of a tenant who has many.
const MANY: usize = 300;
/// Most of them that may come before another tenant's first key: one a turn, and those that are issued at the same time.
const BEFORE: usize = 8;

/// Keys whose requests are counted.
const COUNTED: usize = 50;
/// Most requests of one key, from its creation to the proof that it is enforced: a list of the entries of its name, the entry, the
/// Secret, the entry's mark, two writes of status, and an Event.
const REQUESTS: usize = 7;

/// One operator at a time: each test starts its own.
static TURN: Mutex<()> = Mutex::const_new(());

/// Two namespaces with an account. A list names the objects of the first one first.
async fn spaces(cluster: &Cluster) -> [Space; 2] {
    let mut spaces = [Space::new(cluster).await, Space::new(cluster).await];
    spaces.sort_by(|one, other| one.name.cmp(&other.name));
    for space in &spaces {
        space.account("acme", json!({"accessLevel": "Full"})).await;
    }
    spaces
}

async fn create_many(space: &Space) {
    let create = async |number: usize| {
        space.key(&format!("loud-{number}"), json!({"account": "acme", "accessLevel": "Full"})).await;
    };
    stream::iter(0..MANY).for_each_concurrent(16, create).await;
}

/// Times at which keys of a namespace were issued their credentials, by the records that there are.
async fn issued(space: &Space) -> Vec<Timestamp> {
    let entries = Api::<Secret>::namespaced(space.client.clone(), "keywright-entries");
    let all = entries.list(&ListParams::default().fields("type=keywright.dev/entry")).await.unwrap().items;
    let records = all.into_iter().map(|entry| serde_json::from_slice::<Value>(&entry.data.unwrap()["entry.json"].0));
    let ours = records.map(Result::unwrap).filter(|record| record["owner"]["namespace"] == *space.name);
    ours.map(|record| record["current"]["issuedAt"].as_str().unwrap().parse().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn first_key_of_a_tenant_waits_for_few_of_anothers_many() {
    let _turn = TURN.lock().await;
    let cluster = Cluster::shared().await;
    let [loud, quiet] = spaces(cluster).await;
    create_many(&loud).await;
    quiet.key("storefront", json!({"account": "acme", "accessLevel": "Full"})).await;
    let _operator = Running::operator(cluster, &[]).await.unwrap().ready().await;
    quiet.until_ready_is("storefront", "Issued").await;
    let mine = issued(&quiet).await[0];
    let before = issued(&loud).await.into_iter().filter(|at| *at < mine).count();
    assert!(before <= BEFORE, "{before} of the other tenant's {MANY} keys came before");
}

#[tokio::test(flavor = "multi_thread")]
async fn proof_comes_before_new_keys_of_its_own_namespace() {
    let _turn = TURN.lock().await;
    let cluster = Cluster::shared().await;
    let [space, _] = spaces(cluster).await;
    let operator = Running::operator(cluster, &[]).await.unwrap().ready().await;
    let verifier = Running::verifier(cluster, &[]).await.unwrap().ready().await;
    // The last of a list.
    space.ready_key("storefront").await;
    drop(operator);
    create_many(&space).await;
    space.patch_key("storefront", json!({"spec": {"disabled": true}})).await;
    let _operator = Running::operator(cluster, &[]).await.unwrap().ready().await;
    eventually("the change is proven", async || {
        let status = space.keys().get("storefront").await.unwrap().status.unwrap();
        let proven = status.conditions.iter().find(|condition| condition.type_ == "Enforced").unwrap();
        let is_proven = proven.status == "True" && proven.observed_generation == Some(2);
        if is_proven { Ok(()) } else { Err(format!("{proven:?}")) }
    })
    .await;
    let before = issued(&space).await.len() - 1;
    // Other tests would wait for the Lease of one that was killed.
    verifier.process.terminate().unwrap();
    assert!(before < MANY / 2, "{before} of {MANY} new keys came before");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_takes_few_requests() {
    let _turn = TURN.lock().await;
    let cluster = Cluster::shared().await;
    let proxy = Proxy::start(cluster, None).await.unwrap();
    let space = Space::new(cluster).await;
    // What it owes to the keys of other tests does not count.
    let only = format!("--watch-namespaces={}", space.name);
    let _operator = proxy.operator_with(cluster, &[&only]).unwrap();
    let verifier = Running::verifier(cluster, &[]).await.unwrap().ready().await;
    space.account("acme", json!({"accessLevel": "Full"})).await;
    space.ready_key("first").await;
    space.until("first", "Enforced", "Acknowledged").await;
    let before = proxy.requests();
    for number in 0..COUNTED {
        space.key(&format!("key-{number}"), json!({"account": "acme", "accessLevel": "Full"})).await;
    }
    for number in 0..COUNTED {
        space.until(&format!("key-{number}"), "Enforced", "Acknowledged").await;
    }
    // The account says how many there are when the last has been counted.
    eventually("all are counted", async || {
        let account = space.accounts().get("acme").await.map_err(|error| error.to_string())?;
        let active = account.status.and_then(|status| status.keys).map(|keys| keys.active);
        if active == Some(51) { Ok(()) } else { Err(format!("{active:?}")) }
    })
    .await;
    let mut counts = proxy.requests();
    for (what, count) in &mut counts {
        *count -= before.get(what).unwrap_or(&0);
    }
    let all: usize = counts.iter().filter(|(what, _)| is_of_keys(what)).map(|(_, count)| count).sum();
    assert!(all <= REQUESTS * COUNTED, "{all} for {COUNTED} keys: {counts:?}");
    verifier.process.terminate().unwrap();
    let others: usize = counts.values().sum::<usize>() - all;
    assert!(others <= 2 * COUNTED, "{others} that do not come with each key: {counts:?}");
}

/// Not those that come with time: polling of Leases while something waits for proof, and the account's counts.
fn is_of_keys(what: &str) -> bool {
    !["leases", "accounts", "rolebindings"].iter().any(|resource| what.contains(resource))
}
