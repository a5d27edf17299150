//! Two real operators at one API server: one acts, the other takes over, and no value is ever made twice.

#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "leader/loss.rs"]
mod loss;
#[path = "support/mod.rs"]
mod support;

use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::Lease;
use keywright::api::ApiKey;
use kube::Api;
use kube::api::DeleteParams;
use serde_json::json;
use support::cluster::Cluster;
use support::keywright::Running;
use support::space::Space;
use support::{eventually, http};
use tokio::sync::{Mutex, MutexGuard};

/// There is one Lease, so the tests of this binary take turns.
static TURN: Mutex<()> = Mutex::const_new(());

/// How long a leader that says nothing more is waited for.
const TERM: Duration = Duration::from_secs(15);

/// A test's turn: a namespace with an account, and two operators of which the first leads.
struct Scene {
    _turn: MutexGuard<'static, ()>,
    cluster: &'static Cluster,
    space: Space,
    leader: Running,
    other: Running,
}

async fn scene() -> Scene {
    let turn = TURN.lock().await;
    let cluster = Cluster::shared().await;
    let space = Space::new(cluster).await;
    // A test before may have ended without its operators letting go of it.
    let leases = Api::<Lease>::namespaced(space.client.clone(), "keywright-system");
    let _ = leases.delete("keywright-operator", &DeleteParams::default()).await;
    let leader = operator(cluster).await.ready().await;
    until_it_leads(&leader).await;
    let other = operator(cluster).await.ready().await;
    space.account("acme", json!({"accessLevel": "Full"})).await;
    Scene { _turn: turn, cluster, space, leader, other }
}

async fn operator(cluster: &Cluster) -> Running {
    Running::operator(cluster, &["--leader-election"]).await.unwrap()
}

async fn until_it_leads(operator: &Running) {
    eventually("it leads", async || match operator.metric::<u64>("keywright_leader").await {
        1 => Ok(()),
        _ => Err("it stands by"),
    })
    .await;
}

fn log(operator: &Running) -> String {
    std::fs::read_to_string(&operator.log).unwrap()
}

impl Scene {
    async fn new_keys(&self, count: usize, of: &str) -> Vec<ApiKey> {
        let mut keys = Vec::new();
        for n in 0..count {
            keys.push(self.space.key(&format!("{of}-{n}"), json!({"account": "acme", "accessLevel": "Full"})).await);
        }
        keys
    }

    /// The values of keys, when all are delivered, each of them the first that was made.
    async fn first_values(&self, keys: &[ApiKey]) -> Vec<String> {
        let mut values = Vec::new();
        for key in keys {
            let name = key.metadata.name.as_deref().unwrap();
            self.space.until(name, "SecretAvailable", "Delivered").await;
            values.push(self.space.value(name, "api-key").await);
            let record = self.space.record(key).await;
            assert_eq!(record["lastSerial"], 1, "{name}: {record}");
            assert_eq!(record["current"]["sealed"], json!(null), "{name} is delivered");
        }
        values
    }
}

#[tokio::test]
async fn one_acts_and_the_other_stands_by() {
    let scene = scene().await;
    let keys = scene.new_keys(10, "key").await;
    scene.first_values(&keys).await;
    assert_eq!(scene.leader.metric::<u64>("keywright_values_minted_total").await, 10);
    for nothing in ["keywright_leader", "keywright_reconciled_total", "keywright_lease_lists_total"] {
        assert_eq!(scene.other.metric::<u64>(nothing).await, 0, "{nothing}");
    }
    assert_eq!(http::get(&scene.other.admin, "/readyz", &[]).await.unwrap().status, 200);
    assert!(log(&scene.other).contains("standing by: another operator leads"), "{}", log(&scene.other));
}

#[tokio::test]
async fn on_a_clean_stop_the_other_leads_within_moments_and_finishes_what_was_begun() {
    let mut scene = scene().await;
    for turn in 0..3 {
        let before = scene.new_keys(10, &format!("before-{turn}")).await;
        let since = Instant::now();
        scene.leader.process.signal("TERM");
        let after = scene.new_keys(1, &format!("after-{turn}")).await;
        until_it_leads(&scene.other).await;
        let led = since.elapsed();
        scene.first_values(&after).await;
        let issued = since.elapsed();
        println!("after SIGTERM the other led in {led:?} and a new key was issued in {issued:?}");
        assert!(issued < Duration::from_secs(10), "{issued:?}");
        scene.first_values(&before).await;
        assert_eq!(scene.leader.process.wait().unwrap(), Some(0));
        let fresh = operator(scene.cluster).await.ready().await;
        scene.leader = std::mem::replace(&mut scene.other, fresh);
    }
}

#[tokio::test]
async fn a_stop_while_standing_by_takes_nothing_from_the_leader() {
    let scene = scene().await;
    assert_eq!(scene.other.process.terminate().unwrap(), Some(0));
    let keys = scene.new_keys(1, "key").await;
    scene.first_values(&keys).await;
    assert_eq!(scene.leader.metric::<u64>("keywright_leader").await, 1);
}

#[tokio::test]
async fn when_the_leader_dies_the_other_takes_over_after_its_term() {
    let scene = scene().await;
    let begun = scene.new_keys(10, "begun").await;
    let since = Instant::now();
    scene.leader.process.kill();
    until_it_leads(&scene.other).await;
    println!("after SIGKILL the other led in {:?}", since.elapsed());
    assert!(since.elapsed() < TERM + Duration::from_secs(10), "{:?}", since.elapsed());
    scene.first_values(&begun).await;
    let new = scene.new_keys(1, "new").await;
    scene.first_values(&new).await;
}

#[tokio::test]
async fn a_leader_that_was_paused_makes_nothing_twice_and_ends_when_it_wakes() {
    let scene = scene().await;
    let begun = scene.new_keys(20, "begun").await;
    // Somewhere in the middle of them.
    eventually("the first is begun", async || {
        match scene.leader.metric::<u64>("keywright_values_minted_total").await {
            0 => Err("none is"),
            _ => Ok(()),
        }
    })
    .await;
    scene.leader.process.signal("STOP");
    let since = Instant::now();
    until_it_leads(&scene.other).await;
    println!("after SIGSTOP the other led in {:?}", since.elapsed());
    let values = scene.first_values(&begun).await;
    let new = scene.new_keys(5, "new").await;
    let new_values = scene.first_values(&new).await;
    scene.leader.process.signal("CONT");
    assert_eq!(scene.leader.process.wait().unwrap(), Some(0));
    let said = log(&scene.leader);
    assert!(said.contains("this operator leads no more"), "{said}");
    assert_eq!(scene.first_values(&begun).await, values);
    assert_eq!(scene.first_values(&new).await, new_values);
    assert_eq!(scene.other.metric::<u64>("keywright_leader").await, 1);
}
