//! Entries whose ApiKey is gone: marked, and deleted only after the grace period; nothing else is ever touched.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/mod.rs"]
mod support;

use futures::{StreamExt, TryStreamExt};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use keywright::api::ApiKey;
use kube::api::{DeleteParams, ObjectMeta, PostParams, WatchEvent, WatchParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use support::cluster::Cluster;
use support::keywright::Running;
use support::space::Space;
use support::{PATIENCE, eventually};
use tokio::sync::{Mutex, MutexGuard};

/// Every operator collects the entries of every namespace, so the tests of this binary take turns.
static TURN: Mutex<()> = Mutex::const_new(());

const QUICK: [&str; 2] = ["--orphan-interval=200ms", "--orphan-grace=1s"];
const GRACE: SignedDuration = SignedDuration::from_secs(1);

/// An operator of the test's own, and a namespace.
struct Run {
    _turn: MutexGuard<'static, ()>,
    _operator: Running,
    space: Space,
}

async fn run(args: &[&str]) -> Run {
    let turn = TURN.lock().await;
    let cluster = Cluster::shared().await;
    let operator = Running::operator(cluster, args).await.unwrap().ready().await;
    Run { _turn: turn, _operator: operator, space: Space::new(cluster).await }
}

impl Run {
    fn entries(&self) -> Api<Secret> {
        Api::namespaced(self.space.client.clone(), "keywright-entries")
    }

    /// A key whose value is delivered, so that its entry changes no more by itself, and the entry.
    async fn key(&self, name: &str) -> (ApiKey, Secret) {
        self.space.ready_key(name).await;
        let key = self.space.until(name, "SecretAvailable", "Delivered").await;
        let entry = self.space.entry(&key).await;
        (key, entry)
    }

    /// Deletes the key, and the Secret that the garbage collector would.
    async fn delete(&self, name: &str) {
        self.space.keys().delete(name, &DeleteParams::default()).await.unwrap();
        self.space.secrets().delete(name, &DeleteParams::default()).await.unwrap();
    }

    async fn there_is(&self, entry: &Secret) -> Option<Secret> {
        self.entries().get_opt(&entry.name_any()).await.unwrap()
    }

    async fn until_marked(&self, entry: &Secret) -> Secret {
        eventually("the entry is marked", async || {
            let now = self.entries().get(&entry.name_any()).await.map_err(|e| e.to_string())?;
            if orphaned_at(&now).is_some() { Ok(now) } else { Err("no mark".to_owned()) }
        })
        .await
    }

    async fn until_gone(&self, entry: &Secret) {
        eventually(
            "the entry is gone",
            async || {
                if self.there_is(entry).await.is_none() { Ok(()) } else { Err("it is there") }
            },
        )
        .await;
    }

    /// Writes an entry of that name, as a restore would, with what the given one holds and a change of it.
    async fn forge(&self, name: &str, like: &Secret, change: impl FnOnce(&mut Value)) -> Secret {
        let mut json = read(like);
        change(&mut json);
        let forged = Secret {
            metadata: ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() },
            type_: like.type_.clone(),
            data: Some([("entry.json".to_owned(), ByteString(json.to_string().into_bytes()))].into()),
            ..Secret::default()
        };
        self.entries().create(&PostParams::default(), &forged).await.unwrap()
    }

    /// Holds that nobody wrote it since.
    async fn assert_untouched(&self, before: &Secret) {
        let after = self.there_is(before).await.expect("it is still there");
        assert_eq!(after.resource_version(), before.resource_version(), "{}", before.name_any());
    }
}

fn read(entry: &Secret) -> Value {
    serde_json::from_slice(&entry.data.as_ref().unwrap()["entry.json"].0).unwrap()
}

fn orphaned_at(entry: &Secret) -> Option<Timestamp> {
    read(entry)["orphanedAt"].as_str().map(|at| at.parse().unwrap())
}

#[tokio::test]
async fn the_entry_of_a_deleted_key_is_marked_kept_for_the_grace_period_and_then_deleted() {
    let run = run(&QUICK).await;
    let (_, living) = run.key("living").await;
    let (_, entry) = run.key("dying").await;
    let version = entry.resource_version().unwrap();
    let only = WatchParams::default().fields(&format!("metadata.name={}", entry.name_any()));
    let entries = run.entries();
    let history = entries.watch(&only, &version).await.unwrap();
    run.delete("dying").await;

    let history = history.map_ok(|event| (event, Timestamp::now())).take(2).try_collect::<Vec<_>>();
    let history = tokio::time::timeout(PATIENCE, history).await.expect("two changes").unwrap();
    let [(WatchEvent::Modified(marked), _), (WatchEvent::Deleted(last), deleted)] = &history[..] else {
        panic!("not marked, then deleted: {history:?}");
    };
    let since = orphaned_at(marked).expect("a mark");
    assert_eq!(orphaned_at(last), Some(since), "the mark is not renewed");
    assert!(deleted.duration_since(since) >= GRACE, "marked at {since}, deleted at {deleted}");
    let mut without_mark = read(marked);
    without_mark.as_object_mut().unwrap().remove("orphanedAt");
    assert_eq!(without_mark, read(&entry), "nothing else of it changed");
    // Several runs have looked at it by now.
    run.assert_untouched(&living).await;
}

#[tokio::test]
async fn with_the_default_grace_period_an_orphan_is_marked_once_and_kept() {
    let run = run(&QUICK[..1]).await;
    let mut entries = Vec::new();
    for name in ["first", "second", "third"] {
        entries.push(run.key(name).await.1);
    }
    let mut marked = Vec::new();
    // The mark of each is made by a later run than that of the one before, so the first is looked at again.
    for (name, entry) in ["first", "second", "third"].into_iter().zip(&entries) {
        run.delete(name).await;
        marked.push(run.until_marked(entry).await);
    }
    run.assert_untouched(&marked[0]).await;
}

#[tokio::test]
async fn a_key_that_was_created_again_keeps_its_own_entry_and_loses_its_predecessors() {
    let run = run(&QUICK).await;
    let (_, old) = run.key("storefront").await;
    run.delete("storefront").await;
    let (_, new) = run.key("storefront").await;
    assert_ne!(old.name_any(), new.name_any());
    run.until_gone(&old).await;
    run.assert_untouched(&new).await;
}

#[tokio::test]
async fn an_entry_that_names_a_living_key_with_another_uid_is_collected() {
    let run = run(&QUICK).await;
    let (_, living) = run.key("storefront").await;
    let uid = "00000000-0000-4000-8000-000000000001";
    let stray = run.forge(uid, &living, |entry| entry["owner"]["uid"] = json!(uid)).await;
    run.until_marked(&stray).await;
    run.until_gone(&stray).await;
    run.assert_untouched(&living).await;
}

#[tokio::test]
async fn a_mark_on_the_entry_of_a_living_key_is_taken_off() {
    let run = run(&QUICK).await;
    let (key, entry) = run.key("storefront").await;
    run.entries().delete(&entry.name_any(), &DeleteParams::default()).await.unwrap();
    // A restore brought back an entry that was marked long before.
    let restored =
        run.forge(&entry.name_any(), &entry, |json| json["orphanedAt"] = json!("2020-01-01T00:00:00Z")).await;
    eventually("the mark is taken off", async || {
        let now = run.space.entry(&key).await;
        if orphaned_at(&now).is_none() { Ok(()) } else { Err("still marked") }
    })
    .await;
    let now = run.space.entry(&key).await;
    assert_eq!((now.uid(), read(&now)), (restored.uid(), read(&entry)));
}

#[tokio::test]
async fn a_secret_of_another_type_in_the_namespace_of_entries_is_left_alone() {
    let run = run(&QUICK).await;
    let (_, dying) = run.key("dying").await;
    let uid = "00000000-0000-4000-8000-000000000002";
    let like = Secret { type_: Some("Opaque".to_owned()), ..dying.clone() };
    let foreign = run.forge(uid, &like, |entry| entry["owner"]["uid"] = json!(uid)).await;
    run.delete("dying").await;
    run.until_gone(&dying).await;
    run.assert_untouched(&foreign).await;
}
