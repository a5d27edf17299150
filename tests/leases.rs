//! The verifier's half of `Enforced`: each process has a Lease of its own that says what it has applied, and a process that
//! cannot keep it answers nothing.

#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "support/mod.rs"]
mod support;

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use serde_json::json;
use support::cluster::Cluster;
use support::keywright::Running;
use support::process::free_ports;
use support::space::{Space, both};
use support::wire::Wire;
use support::{eventually, http};

async fn leases() -> Api<Lease> {
    let cluster = Cluster::shared().await;
    Api::namespaced(cluster.plane.client().await.unwrap(), "keywright-entries")
}

/// A verifier behind a wire.
async fn wired(args: &[&str]) -> (Wire, Running) {
    let wire = Wire::start(Cluster::shared().await).await;
    let verifier = behind(&wire, args).await.ready().await;
    (wire, verifier)
}

/// One that may not be ready yet.
async fn behind(wire: &Wire, args: &[&str]) -> Running {
    let cluster = Cluster::shared().await;
    let [listen, admin] = free_ports().unwrap();
    Running::start(cluster, "verifier", &wire.kubeconfig, Some(listen), admin, args).unwrap()
}

/// The name of a verifier's Lease, as its log says.
async fn name_of(verifier: &Running) -> String {
    eventually("the log names the Lease", async || {
        let log = fs::read_to_string(&verifier.log).unwrap();
        let found = log.lines().filter(|line| line.contains("the Lease is there")).find_map(|line| {
            let (_, rest) = line.split_once("lease=")?;
            Some(rest.trim_matches('"').to_owned())
        });
        found.ok_or(log)
    })
    .await
}

async fn lease_of(verifier: &Running) -> Lease {
    leases().await.get(&name_of(verifier).await).await.unwrap()
}

fn annotation<'l>(lease: &'l Lease, name: &str) -> &'l str {
    &lease.metadata.annotations.as_ref().unwrap()[name]
}

/// What a Lease says is applied, of ApiKeys, Accounts, Suspensions and entries.
fn applied(lease: &Lease) -> Vec<u64> {
    annotation(lease, "keywright.dev/applied").split(',').map(|version| version.parse().unwrap()).collect()
}

/// Why a verifier is not ready.
async fn until_not_ready_because(verifier: &Running, why: &str) {
    eventually(&format!("not ready: {why}"), async || {
        let answer = http::get(&verifier.admin, "/readyz", &[]).await.map_err(|e| e.to_string())?;
        if answer.status == 503 && answer.body.contains(why) { Ok(()) } else { Err(answer.body) }
    })
    .await;
}

fn signal(verifier: &Running, name: &str) {
    let pid = verifier.process.id().to_string();
    assert!(Command::new("kill").args([&format!("-{name}"), &pid]).status().unwrap().success());
}

#[tokio::test]
async fn a_verifier_has_a_lease_before_it_lists_and_is_not_ready_without_one() {
    let both = both().await;
    let wire = Wire::start(Cluster::shared().await).await;
    wire.refuse("leases", &["POST"]);
    // 0 turns off the bound of age, and not this.
    let verifier = behind(&wire, &["--max-staleness=0s"]).await;
    until_not_ready_because(&verifier, "install the chart's Role keywright-verifier").await;
    eventually("it has tried again and again", async || {
        let failed = verifier.metric::<f64>("keywright_lease_writes_total{outcome=\"failed\"}").await;
        if failed > 2.0 { Ok(()) } else { Err(format!("{failed} times")) }
    })
    .await;
    assert!(!wire.has_seen("apikeys") && !wire.has_seen("secrets"), "it listed");
    wire.refuse_nothing();
    let verifier = verifier.ready().await;
    let lease = lease_of(&verifier).await;
    let labels = lease.metadata.labels.as_ref().unwrap();
    assert_eq!(labels["app.kubernetes.io/component"], "verifier");
    assert_eq!(labels["app.kubernetes.io/managed-by"], "keywright");
    assert_eq!(annotation(&lease, "keywright.dev/max-staleness-ms"), "0");
    assert_eq!(lease.metadata.owner_references, None, "it is nobody's child");
    let spec = lease.spec.as_ref().unwrap();
    assert_eq!(spec.holder_identity.as_ref(), lease.metadata.name.as_ref());
    assert_eq!(spec.lease_duration_seconds, Some(15));
    let another = lease_of(&both.verifier).await;
    assert_ne!(another.metadata.name, lease.metadata.name, "each has one of its own");
    assert_eq!(annotation(&another, "keywright.dev/max-staleness-ms"), "1800000");
}

#[tokio::test]
async fn a_lease_says_within_moments_that_a_change_was_applied() {
    let both = both().await;
    let space = Space::new(Cluster::shared().await).await;
    space.ready_key("storefront").await;
    let (leases, name) = (leases().await, name_of(&both.verifier).await);
    let start = Instant::now();
    for disabled in [true, false].repeat(5) {
        let change = Patch::Merge(json!({"spec": {"disabled": disabled}}));
        let key = space.keys().patch("storefront", &PatchParams::default(), &change).await.unwrap();
        let version: u64 = key.metadata.resource_version.unwrap().parse().unwrap();
        eventually("the Lease has passed it", async || {
            let lease = leases.get(&name).await.unwrap();
            if applied(&lease)[0] >= version { Ok(()) } else { Err(format!("{:?}", applied(&lease))) }
        })
        .await;
    }
    // Without a change it is renewed every 5 seconds, which would make 50 of these.
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
    let events = both.verifier.metric::<f64>("keywright_event_applied_seconds_count").await;
    assert!(events >= 10.0, "{events} events");
}

#[tokio::test]
async fn a_flood_of_changes_makes_no_flood_of_renewals() {
    let _both = both().await;
    let space = Space::new(Cluster::shared().await).await;
    space.ready_key("storefront").await;
    let verifier = Running::verifier(Cluster::shared().await, &[]).await.unwrap().ready().await;
    let leases = leases().await;
    let name = name_of(&verifier).await;
    let written = async || verifier.metric::<f64>("keywright_lease_writes_total{outcome=\"written\"}").await;
    let (start, before) = (Instant::now(), written().await);
    for round in 0..20 {
        let patches = (0..10).map(|number| {
            let note = format!("{round}-{number}");
            space.patch_key("storefront", json!({"spec": {"metadata": {"note": note}}}))
        });
        futures::future::join_all(patches).await;
    }
    let version: u64 =
        space.keys().get("storefront").await.unwrap().metadata.resource_version.unwrap().parse().unwrap();
    eventually("the Lease has passed them all", async || {
        let applied = applied(&leases.get(&name).await.unwrap())[0];
        if applied >= version { Ok(()) } else { Err(format!("{applied} of {version}")) }
    })
    .await;
    let (renewals, took) = (written().await - before, start.elapsed().as_secs_f64());
    assert!(renewals <= 15.0 * took + 2.0, "{renewals} in {took} s");
}

#[tokio::test]
async fn a_verifier_whose_lease_is_gone_answers_nothing_until_it_has_another_and_has_read_everything_anew() {
    let _both = both().await;
    let space = Space::new(Cluster::shared().await).await;
    let key = space.ready_key("storefront").await;
    let (wire, verifier) = wired(&["--max-staleness=0s"]).await;
    verifier.eventually_says("ok", "scope=any", &key).await;
    let before = lease_of(&verifier).await;
    let name = before.metadata.name.clone().unwrap();
    wire.refuse("leases", &["POST"]);
    leases().await.delete(&name, &DeleteParams::default()).await.unwrap();
    verifier.eventually_says("not_ready", "scope=any", &key).await;
    until_not_ready_because(&verifier, "waiting for the API server to take its Lease").await;
    // With a Lease, but nothing read anew.
    wire.refuse("accounts", &["GET"]);
    wire.permit("leases");
    let after = eventually("there is another", async || leases().await.get(&name).await).await;
    assert_ne!(after.metadata.uid, before.metadata.uid);
    until_not_ready_because(&verifier, "waiting for complete lists").await;
    assert_eq!(verifier.code("scope=any", &key).await, "not_ready");
    assert_eq!(applied(&lease_of(&verifier).await)[1], 0, "it says nothing of accounts");
    wire.refuse_nothing();
    verifier.eventually_says("ok", "scope=any", &key).await;
}

#[tokio::test]
async fn a_lease_that_somebody_else_wrote_makes_a_verifier_read_everything_anew() {
    let _both = both().await;
    let space = Space::new(Cluster::shared().await).await;
    let key = space.ready_key("storefront").await;
    let (wire, verifier) = wired(&[]).await;
    verifier.eventually_says("ok", "scope=any", &key).await;
    wire.refuse("accounts", &["GET"]);
    let patch = Patch::Merge(json!({"spec": {"holderIdentity": "somebody-else"}}));
    leases().await.patch(&name_of(&verifier).await, &PatchParams::default(), &patch).await.unwrap();
    verifier.eventually_says("not_ready", "scope=any", &key).await;
    wire.refuse_nothing();
    verifier.eventually_says("ok", "scope=any", &key).await;
    let lease = lease_of(&verifier).await;
    assert_eq!(lease.spec.unwrap().holder_identity, lease.metadata.name, "it is its own again");
}

#[tokio::test]
async fn a_renewal_whose_answer_was_lost_disturbs_nobody() {
    let _both = both().await;
    let space = Space::new(Cluster::shared().await).await;
    let key = space.ready_key("storefront").await;
    let (wire, verifier) = wired(&[]).await;
    verifier.eventually_says("ok", "scope=any", &key).await;
    wire.lose_lease_answers(1);
    eventually("it has noticed", async || {
        assert_eq!(verifier.code("scope=any", &key).await, "ok");
        let noticed = verifier.metric::<f64>("keywright_lease_writes_total{outcome=\"conflict\"}").await;
        if noticed > 0.0 { Ok(()) } else { Err("not yet") }
    })
    .await;
    let lease = lease_of(&verifier).await;
    eventually("it goes on", async || {
        assert_eq!(verifier.code("scope=any", &key).await, "ok");
        let now = lease_of(&verifier).await.metadata.resource_version;
        if now == lease.metadata.resource_version { Err("not yet") } else { Ok(()) }
    })
    .await;
}

#[tokio::test]
async fn a_verifier_that_cannot_renew_its_lease_fences_itself_though_its_watches_live() {
    let _both = both().await;
    let space = Space::new(Cluster::shared().await).await;
    let key = space.ready_key("storefront").await;
    let (wire, verifier) = wired(&["--max-staleness=15s"]).await;
    verifier.eventually_says("ok", "scope=any", &key).await;
    wire.refuse("leases", &["PUT"]);
    let start = Instant::now();
    // Before its bound of age it answers: the API server may be away for that long.
    eventually("half of the time has passed", async || {
        assert_eq!(verifier.code("scope=any", &key).await, "ok");
        if start.elapsed() > Duration::from_secs(7) { Ok(()) } else { Err("not yet") }
    })
    .await;
    verifier.eventually_says("not_ready", "scope=any", &key).await;
    assert!(verifier.metric::<f64>("keywright_index_age_seconds").await < 15.0, "its watches live");
    assert!(verifier.metric::<f64>("keywright_fence_age_seconds").await > 15.0);
    until_not_ready_because(&verifier, "its Lease in keywright-entries was not renewed").await;
    until_not_ready_because(&verifier, "install the chart's Role keywright-verifier").await;
    wire.refuse_nothing();
    verifier.eventually_says("ok", "scope=any", &key).await;
}

#[tokio::test]
async fn a_verifier_that_slept_past_its_bound_allows_nothing_that_was_disabled_meanwhile() {
    let _both = both().await;
    let cluster = Cluster::shared().await;
    let space = Space::new(cluster).await;
    let key = space.ready_key("storefront").await;
    let verifier = Running::verifier(cluster, &["--max-staleness=15s"]).await.unwrap().ready().await;
    verifier.eventually_says("ok", "scope=any", &key).await;
    signal(&verifier, "STOP");
    let start = Instant::now();
    space.patch_key("storefront", json!({"spec": {"disabled": true}})).await;
    eventually("the bound has passed", async || {
        if start.elapsed() > Duration::from_millis(15_500) { Ok(()) } else { Err("not yet") }
    })
    .await;
    // They wait for it when it wakes.
    let first = async || verifier.code("scope=any", &key).await;
    let (one, two, three, ()) = tokio::join!(first(), first(), first(), async { signal(&verifier, "CONT") });
    for said in [one, two, three] {
        assert_eq!(said, "not_ready");
    }
    verifier.eventually_says("disabled", "scope=any", &key).await;
}

#[tokio::test]
async fn a_verifier_that_is_told_to_stop_takes_its_lease_along_when_it_has_stopped_answering() {
    let _both = both().await;
    let cluster = Cluster::shared().await;
    let verifier = Running::verifier(cluster, &["--shutdown-delay=1h"]).await.unwrap().ready().await;
    let (leases, name) = (leases().await, name_of(&verifier).await);
    signal(&verifier, "TERM");
    until_not_ready_because(&verifier, "stopping").await;
    let renewed = leases.get(&name).await.unwrap();
    eventually("it is renewed for as long as it answers", async || {
        let now = leases.get(&name).await.unwrap();
        if now.metadata.resource_version == renewed.metadata.resource_version { Err("not yet") } else { Ok(()) }
    })
    .await;
    assert_ne!(verifier.code("scope=any", "nonsense").await, "not_ready", "it still answers");
    // A second signal is not waited for.
    assert_eq!(verifier.process.terminate().unwrap(), Some(0));
    assert_eq!(leases.get_opt(&name).await.unwrap(), None);
}

/// A kubeconfig with a token of the verifier's that names a pod.
async fn of_pod(pod: &str) -> PathBuf {
    let plane = &Cluster::shared().await.plane;
    let client = plane.client().await.unwrap();
    let object = json!({"metadata": {"name": pod}, "spec": {"serviceAccountName": "keywright-verifier",
        "containers": [{"name": "verifier", "image": "keywright"}]}});
    let pods = Api::<Pod>::namespaced(client.clone(), "keywright-system");
    let made = pods.create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap();
    let bound = json!({"kind": "Pod", "apiVersion": "v1", "name": pod, "uid": made.metadata.uid});
    let request = json!({"spec": {"audiences": [], "expirationSeconds": 3600, "boundObjectRef": bound}});
    let accounts = Api::<ServiceAccount>::namespaced(client, "keywright-system");
    let request = serde_json::from_value(request).unwrap();
    let answer = accounts.create_token_request("keywright-verifier", &PostParams::default(), &request).await.unwrap();
    let kubeconfig = plane.dir.join(format!("{pod}.kubeconfig"));
    plane.write_kubeconfig(&kubeconfig, &format!("token: \"{}\"", answer.status.unwrap().token)).unwrap();
    kubeconfig
}

#[tokio::test]
async fn token_of_a_pod_writes_no_lease_of_another() {
    let both = both().await;
    let cluster = Cluster::shared().await;
    let (one, other) = (of_pod("keywright-verifier-one").await, of_pod("keywright-verifier-other").await);
    let as_pod = |kubeconfig: &PathBuf, args: &[&str]| {
        let kubectl =
            Command::new(cluster.plane.bin.join("kubectl")).arg("--kubeconfig").arg(kubeconfig).args(args).output();
        let output = kubectl.unwrap();
        if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
    };
    let [listen, admin] = free_ports().unwrap();
    let flag = ["--pod-name=keywright-verifier-one"];
    let verifier = Running::start(cluster, "verifier", &one, Some(listen), admin, &flag).unwrap().ready().await;
    let name = name_of(&verifier).await;
    assert!(name.starts_with("keywright-verifier-one."), "{name}");
    let foreign = name_of(&both.verifier).await;
    let write = |verb: &str, of: &str| {
        let manifest = cluster.plane.dir.join(format!("{verb}-{of}.yaml"));
        let metadata = format!("{{name: {of}, namespace: keywright-entries}}");
        fs::write(&manifest, format!("apiVersion: coordination.k8s.io/v1\nkind: Lease\nmetadata: {metadata}\n"))
            .unwrap();
        vec![verb.to_owned(), "-f".to_owned(), manifest.display().to_string()]
    };
    let delete = |of: &str| ["delete", "lease", "-n", "keywright-entries", of].map(str::to_owned).to_vec();
    for (what, args) in [
        ("create", write("create", "keywright-verifier-one.another")),
        ("update", write("replace", &name)),
        ("update", write("replace", &foreign)),
        ("delete", delete(&name)),
        ("delete", delete(&foreign)),
    ] {
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let error = as_pod(&other, &args).expect_err(what);
        assert!(error.contains("begin with the name of its pod"), "{what}: {error}");
    }
    assert_eq!(verifier.process.terminate().unwrap(), Some(0));
    assert!(leases().await.get_opt(&name).await.unwrap().is_none(), "its own it deletes");
}
