//! `--watch-namespaces`: operator and verifiers with rights in some namespaces only, who leave all others alone.

#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "scope/enforced.rs"]
mod enforced;
#[path = "scope/own.rs"]
mod own;
#[path = "support/mod.rs"]
mod support;

use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Secret;
use keywright::api::ApiKey;
use kube::api::{DeleteParams, ListParams};
use kube::{Api, ResourceExt};
use serde_json::json;
use support::cluster::Cluster;
use support::keywright::Running;
use support::space::Space;
use support::{eventually, http};
use tokio::sync::{Mutex, MutexGuard, OnceCell};

/// Every operator collects Leases, so the tests of this binary take turns.
static TURN: Mutex<()> = Mutex::const_new(());

/// Three namespaces; in the first two both programs have rights, and in the third they had while a key was minted there.
struct Land {
    cluster: &'static Cluster,
    shop: Space,
    billing: Space,
    elsewhere: Space,
    /// A key of that one which was served when everything was watched.
    foreign: String,
}

async fn land() -> Land {
    static MADE: OnceCell<([String; 3], String)> = OnceCell::const_new();
    let cluster = Cluster::shared().await;
    let (names, foreign) = MADE.get_or_init(async || make(cluster).await).await;
    // A client ends with the runtime of the test that made it.
    let client = cluster.plane.client().await.unwrap();
    let [shop, billing, elsewhere] = names.clone().map(|name| Space { name, client: client.clone() });
    Land { cluster, shop, billing, elsewhere, foreign: foreign.clone() }
}

/// The namespaces' names, and the foreign key.
async fn make(cluster: &Cluster) -> ([String; 3], String) {
    let [shop, billing, elsewhere] = [Space::new(cluster).await, Space::new(cluster).await, Space::new(cluster).await];
    let everywhere = Running::operator(cluster, &[]).await.unwrap().ready().await;
    let foreign = elsewhere.ready_key("foreign").await;
    elsewhere.ready_key("dying").await;
    drop(everywhere);
    let kubectl = |args: &[&str]| cluster.plane.kubectl(args).unwrap();
    for program in ["keywright-operator", "keywright-verifier"] {
        kubectl(&["delete", "clusterrolebinding", program]);
        let (name, role) = (format!("scoped-{program}"), format!("--clusterrole={program}"));
        let account = format!("--serviceaccount=keywright-system:{program}");
        let own = ["keywright-system", "keywright-entries"];
        let own = if program == "keywright-operator" { &own[..] } else { &[] };
        for namespace in [&*shop.name, &*billing.name].iter().chain(own) {
            kubectl(&["create", "rolebinding", &name, "-n", namespace, &role, &account]);
        }
    }
    ([shop.name, billing.name, elsewhere.name], foreign)
}

fn watching(spaces: &[&Space]) -> String {
    let names: Vec<&str> = spaces.iter().map(|space| space.name.as_str()).collect();
    format!("--watch-namespaces={}", names.join(","))
}

impl Land {
    async fn operator(&self, spaces: &[&Space], more: &[&str]) -> Running {
        let scope = watching(spaces);
        Running::operator(self.cluster, &[&[&*scope], more].concat()).await.unwrap().ready().await
    }

    async fn verifier(&self, spaces: &[&Space], more: &[&str]) -> Running {
        let scope = watching(spaces);
        Running::verifier(self.cluster, &[&[&*scope], more].concat()).await.unwrap()
    }

    /// Gives a program its rights in a namespace, or takes them.
    fn may(&self, program: &str, act: &str, space: &Space) {
        let (name, role) = (format!("scoped-{program}"), format!("--clusterrole={program}"));
        let account = format!("--serviceaccount=keywright-system:{program}");
        let who = if act == "create" { vec![&*role, &*account] } else { Vec::new() };
        let args = [&[act, "rolebinding", &name, "-n", &space.name], &who[..]].concat();
        self.cluster.plane.kubectl(&args).unwrap();
    }

    fn leases(&self) -> Api<Lease> {
        Api::namespaced(self.shop.client.clone(), "keywright-entries")
    }
}

/// Nobody's Lease but those of the test's own.
async fn turn(land: &Land) -> MutexGuard<'static, ()> {
    let turn = TURN.lock().await;
    land.leases().delete_collection(&DeleteParams::default(), &ListParams::default()).await.unwrap();
    turn
}

async fn new_key(space: &Space, name: &str) -> String {
    space.ready_key(name).await;
    space.until(name, "SecretAvailable", "Delivered").await;
    space.value(name, "api-key").await
}

#[tokio::test]
async fn keys_in_the_named_namespaces_live_and_all_others_are_left_alone_and_unknown() {
    let land = land().await;
    let _turn = turn(&land).await;
    let operator = land.operator(&[&land.shop, &land.billing], &[]).await;
    let verifier = land.verifier(&[&land.shop, &land.billing], &[]).await.ready().await;
    let unseen = land.elsewhere.key("unseen", json!({"account": "acme", "accessLevel": "Full"})).await;
    let (ours, theirs) = (new_key(&land.shop, "storefront").await, new_key(&land.billing, "storefront").await);
    for key in [&ours, &theirs] {
        verifier.eventually_says("ok", "scope=any", key).await;
    }
    assert_eq!(verifier.code("scope=any", &land.foreign).await, "unknown");
    land.shop.patch_key("storefront", json!({"spec": {"disabled": true}})).await;
    verifier.eventually_says("disabled", "scope=any", &ours).await;
    land.billing.patch_account("acme", json!({"spec": {"disabled": true}})).await;
    verifier.eventually_says("account_disabled", "scope=any", &theirs).await;
    land.billing.patch_account("acme", json!({"spec": {"disabled": false}})).await;
    verifier.eventually_says("ok", "scope=any", &theirs).await;
    land.billing.keys().delete("storefront", &DeleteParams::default()).await.unwrap();
    verifier.eventually_says("unknown", "scope=any", &theirs).await;
    let unseen: ApiKey = land.elsewhere.keys().get(&unseen.name_any()).await.unwrap();
    assert_eq!(unseen.status, None, "nobody looks after it");
    drop(operator);
}

#[tokio::test]
async fn lists_of_one_namespace_take_nothing_away_from_another() {
    let land = land().await;
    let _turn = turn(&land).await;
    let _operator = land.operator(&[&land.shop, &land.billing], &[]).await;
    let verifier = land.verifier(&[&land.shop, &land.billing], &[]).await.ready().await;
    let keys = [new_key(&land.shop, "listed").await, new_key(&land.billing, "listed").await];
    for key in &keys {
        verifier.eventually_says("ok", "scope=any", key).await;
    }
    // Without its Lease it reads everything anew.
    let all = land.leases().list(&ListParams::default()).await.unwrap();
    let [lease] = &all.items[..] else { panic!("one Lease: {all:?}") };
    land.leases().delete(&lease.name_any(), &DeleteParams::default()).await.unwrap();
    eventually("the Lease is made anew", async || {
        let now = land.leases().get_opt(&lease.name_any()).await.unwrap();
        if now.is_some_and(|now| now.uid() != lease.uid()) { Ok(()) } else { Err("not yet") }
    })
    .await;
    for key in &keys {
        eventually("it answers again", async || {
            let said = verifier.code("scope=any", key).await;
            // Once missed, only the next event of the key would bring it back.
            assert_ne!(said, "unknown");
            if said == "ok" { Ok(()) } else { Err(said) }
        })
        .await;
    }
    let sizes = http::get(&verifier.admin, "/metrics", &[]).await.unwrap().body;
    assert!(sizes.contains("keywright_index_accounts 2\n"), "{sizes}");
}

#[tokio::test]
async fn entries_of_keys_in_other_namespaces_are_nobodys_orphans() {
    let land = land().await;
    let _turn = turn(&land).await;
    // It could see that the key is gone, if it looked.
    land.may("keywright-operator", "create", &land.elsewhere);
    let _operator = land.operator(&[&land.shop], &["--orphan-interval=200ms", "--orphan-grace=1s"]).await;
    let entries = Api::<Secret>::namespaced(land.shop.client.clone(), "keywright-entries");
    let foreign = land.elsewhere.keys().get("dying").await.unwrap();
    let before = land.elsewhere.entry(&foreign).await;
    land.elsewhere.keys().delete("dying", &DeleteParams::default()).await.unwrap();
    for name in ["first", "second"] {
        new_key(&land.shop, name).await;
        let ours = land.shop.keys().get(name).await.unwrap();
        land.shop.keys().delete(name, &DeleteParams::default()).await.unwrap();
        eventually("the entry is collected", async || {
            let there = entries.get_opt(&ours.uid().unwrap()).await.unwrap();
            if there.is_none() { Ok(()) } else { Err("it is there") }
        })
        .await;
    }
    // Several runs have passed it by now.
    let after = entries.get(&foreign.uid().unwrap()).await.unwrap();
    assert_eq!(after.resource_version(), before.resource_version());
    land.may("keywright-operator", "delete", &land.elsewhere);
}

#[tokio::test]
async fn a_namespace_without_rights_is_said_and_keeps_nobody_but_its_verifiers_from_starting() {
    let land = land().await;
    let _turn = turn(&land).await;
    let both = [&land.shop, &land.elsewhere];
    let operator = land.operator(&both, &[]).await;
    new_key(&land.shop, "beside").await;
    let log = std::fs::read_to_string(&operator.log).unwrap();
    assert!(log.contains("remove it from the list") && log.contains(&land.elsewhere.name), "{log}");
    let verifier = land.verifier(&both, &[]).await;
    let says = [&*format!("in {}: ", land.elsewhere.name), "--watch-namespaces"];
    eventually("the verifier says what to do", async || {
        let answer = http::get(&verifier.admin, "/readyz", &[]).await.map_err(|e| e.to_string())?;
        let is_said = answer.status == 503 && says.iter().all(|words| answer.body.contains(words));
        if is_said { Ok(()) } else { Err(answer.body) }
    })
    .await;
}
