//! From one cluster into another, by the scripts of `examples/backup`.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use kube::ResourceExt;
use kube::api::DeleteParams;
use serde_json::{Value, json};

use super::support::cluster::Cluster;
use super::support::eventually;
use super::support::keywright::Running;
use super::support::space::Space;
use super::{entries, key_id};

/// The values that people hold, and what they are told with them.
const HELD: [(&str, &str); 7] = [
    ("billing", "ok"),
    ("copy", "ok"),
    ("off", "disabled"),
    ("overdue", "suspended"),
    ("renewed", "ok"),
    ("shown", "ok"),
    ("scoped", "insufficient_scope"),
];

/// What there was.
struct Before {
    values: Vec<(&'static str, String)>,
    /// Of `renewed`, the value before the last, during its overlap.
    retiring: String,
    /// Of a key that was deleted before the backup.
    deleted: String,
    /// The public id of the value that waits to be delivered.
    waiting: String,
    site_id: Value,
}

fn script(cluster: &Cluster, name: &str, args: &[&str]) -> Output {
    let path = format!("{}:{}", cluster.plane.bin.display(), std::env::var("PATH").unwrap());
    Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/backup").join(name))
        .args(args)
        .env("KUBECONFIG", &cluster.plane.kubeconfig)
        .env("PATH", path)
        .output()
        .unwrap()
}

#[track_caller]
fn succeeds(output: &Output) -> String {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}{err}");
    out.into_owned()
}

fn folder(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("keywright-test-{}", std::process::id())).join(name)
}

async fn create(space: &Space, kind: &str, name: &str, spec: Value) {
    let manifest =
        json!({"apiVersion": "keywright.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec});
    match kind {
        "ApiKey" => drop(space.key(name, manifest["spec"].clone()).await),
        "Account" => space.account(name, manifest["spec"].clone()).await,
        _ => {
            let api = kube::Api::<keywright::api::Suspension>::namespaced(space.client.clone(), &space.name);
            api.create(&kube::api::PostParams::default(), &serde_json::from_value(manifest).unwrap()).await.unwrap();
        }
    }
}

/// One of each sort.
async fn fill(cluster: &Cluster, space: &Space) -> Before {
    let operator = ["--orphan-interval=200ms", "--orphan-grace=24h"];
    let _operator = Running::operator(cluster, &operator).await.unwrap().ready().await;
    let of = |more: Value| {
        let mut spec = json!({"account": "acme", "accessLevel": "Full"});
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        spec
    };
    space.account("acme", json!({"accessLevel": "Full"})).await;
    for (name, more) in [
        ("billing", json!({})),
        ("off", json!({"disabled": true})),
        ("overdue", json!({})),
        ("renewed", json!({"rotation": {"overlap": "24h"}})),
        ("shown", json!({"secret": {"delivery": "Once", "deleteAfter": "1h", "name": "look-once"}})),
        ("scoped", json!({"accessLevel": "Custom", "scopes": ["orders:read"]})),
        ("deleted", json!({})),
    ] {
        create(space, "ApiKey", name, of(more)).await;
        space.until_ready_is(name, "Issued").await;
    }
    create(space, "ApiKey", "copy", json!({"account": "acme", "cloneFrom": {"name": "billing"}})).await;
    space.until_ready_is("copy", "Issued").await;
    let suspension = json!({"target": {"kind": "ApiKey", "name": "overdue"}, "reason": "PaymentOverdue"});
    create(space, "Suspension", "overdue", suspension).await;

    let retiring = space.value("renewed", "api-key").await;
    space.patch_key("renewed", json!({"spec": {"rotation": {"revision": 1}}})).await;
    space.until_serial("renewed", 2).await;

    // Something of a user's is in its way.
    let taken = json!({"metadata": {"name": "waiting"}, "stringData": {"a": "b"}});
    space.secrets().create(&kube::api::PostParams::default(), &serde_json::from_value(taken).unwrap()).await.unwrap();
    create(space, "ApiKey", "waiting", of(json!({}))).await;
    let waiting = key_id(&space.until_ready_is("waiting", "SecretConflict").await);

    let deleted = space.value("deleted", "api-key").await;
    let record = space.entry(&space.keys().get("deleted").await.unwrap()).await.name_any();
    space.keys().delete("deleted", &DeleteParams::default()).await.unwrap();
    eventually("it is marked as an orphan", async || {
        let secret = entries(space).get(&record).await.map_err(|e| e.to_string())?;
        let json: Value = serde_json::from_slice(&secret.data.unwrap()["entry.json"].0).unwrap();
        if json["orphanedAt"].is_string() { Ok(()) } else { Err(json.to_string()) }
    })
    .await;

    let mut values = Vec::new();
    for (name, _) in HELD {
        let secret = if name == "shown" { "look-once" } else { name };
        values.push((name, space.value(secret, "api-key").await));
    }
    let site_id = public_key(space).await;
    Before { values, retiring, deleted, waiting, site_id }
}

async fn public_key(space: &Space) -> Value {
    eventually("the account has its Site ID", async || {
        let account = space.accounts().get("acme").await.map_err(|e| e.to_string())?;
        account.status.and_then(|status| status.public_key).map(Value::from).ok_or("none yet".to_owned())
    })
    .await
}

async fn holds(before: &Before, space: &Space, verifier: &Running) {
    for ((name, value), (_, code)) in before.values.iter().zip(HELD) {
        let key = space.until_ready_is(name, "Issued").await;
        assert_eq!(key_id(&key), value[3..15], "{name}");
        verifier.eventually_says(code, "scope=orders:write", value).await;
        let key = space.until(name, "SecretAvailable", "Delivered").await;
        let secret = key.status.unwrap().secret_name.unwrap();
        assert_eq!(space.value(&secret, "api-key").await, *value, "{name}");
    }
    verifier.eventually_says("ok", "scope=orders:write", &before.retiring).await;
    // In its way was nothing of ours, so it was not in the backup, and the value is delivered now.
    let waiting = space.until_ready_is("waiting", "Issued").await;
    assert_eq!(key_id(&waiting), before.waiting);
    let value = space.value("waiting", "api-key").await;
    assert_eq!(value[3..15], before.waiting);
    verifier.eventually_says("ok", "scope=orders:write", &value).await;
    assert_eq!(public_key(space).await, before.site_id);
}

#[tokio::test]
async fn every_key_comes_back_in_another_cluster_with_its_value_and_what_was_decided_of_it() {
    let one = Cluster::start(&folder("one")).await.unwrap();
    let space = Space::new(&one).await;
    let before = fill(&one, &space).await;
    let backup = folder("backup").display().to_string();
    let said = succeeds(&script(&one, "backup", &[&backup]));
    assert!(said.contains("/records.json") && said.contains("/restore "), "{said}");
    drop(one);

    let two = Cluster::start(&folder("two")).await.unwrap();
    two.plane.with_controller_manager().unwrap();
    let refused = script(&two, "restore", &[&backup, "2099-12-31"]);
    let why = String::from_utf8(refused.stderr).unwrap();
    assert!(!refused.status.success() && why.contains("--replicas=0"), "{why}");
    two.install_chart_with(&["--set", "operator.replicas=0"]).unwrap();
    succeeds(&script(&two, "restore", &[&backup, "2099-12-31"]));

    let space = Space { name: space.name, client: two.plane.client().await.unwrap() };
    let verifier = Running::verifier(&two, &[]).await.unwrap().ready().await;
    let billing = &before.values[0].1;
    verifier.eventually_says("unknown", "scope=any", billing).await;
    let often = ["--orphan-interval=200ms"];
    let operator = Running::operator(&two, &often).await.unwrap().ready().await;
    holds(&before, &space, &verifier).await;
    assert_eq!(operator.metric::<u64>("keywright_values_minted_total").await, 0, "nothing was minted");
    assert_eq!(operator.metric::<u64>("keywright_entries_adopted_total").await, 8);

    // A key that had been deleted before does not come back under its name.
    space.key("deleted", json!({"account": "acme", "accessLevel": "Full"})).await;
    space.until_ready_is("deleted", "Issued").await;
    assert_ne!(space.value("deleted", "api-key").await, before.deleted);
    assert_eq!(verifier.code("scope=any", &before.deleted).await, "unknown");

    // Once more, as after a doubt whether it was all.
    drop(operator);
    succeeds(&script(&two, "restore", &[&backup, "2099-12-31"]));
    holds(&before, &space, &verifier).await;
    let operator = Running::operator(&two, &often).await.unwrap().ready().await;
    eventually("what was restored once more is collected, but for the record of the deleted key", async || {
        let all = entries(&space).list(&kube::api::ListParams::default().fields("type=keywright.dev/entry")).await;
        let offered =
            |secret: &&k8s_openapi::api::core::v1::Secret| secret.labels().contains_key("keywright.dev/adopt-until");
        let left = all.map_err(|e| e.to_string())?.items.iter().filter(offered).count();
        if left == 1 { Ok(()) } else { Err(format!("{left} are left")) }
    })
    .await;
    holds(&before, &space, &verifier).await;
    assert_eq!(operator.metric::<u64>("keywright_values_minted_total").await, 0);

    // The restored Secret is the key's own: the next value goes into it.
    let secret = space.secrets().get("billing").await.unwrap();
    space.patch_key("billing", json!({"spec": {"rotation": {"revision": 1}}})).await;
    space.until_serial("billing", 2).await;
    assert_eq!(space.secrets().get("billing").await.unwrap().uid(), secret.uid());
    verifier.eventually_says("ok", "scope=any", &space.value("billing", "api-key").await).await;
}
