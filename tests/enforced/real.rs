//! The same with real verifiers, which are paused, stopped and replaced.

use std::process::Command;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use kube::ResourceExt;
use serde_json::json;

use super::support::eventually;
use super::support::keywright::Running;
use super::{Scene, scene};

/// What a verifier is stale after; the least that there is.
const STALE: Duration = Duration::from_secs(15);

fn signal(verifier: &Running, name: &str) {
    let sent = Command::new("kill").arg(format!("-{name}")).arg(verifier.process.id().to_string()).status().unwrap();
    assert!(sent.success());
}

async fn verifier(scene: &Scene, max_staleness: &str) -> Running {
    let args = [max_staleness, "--shutdown-delay=0s"];
    Running::verifier(scene.cluster, &args).await.unwrap().ready().await
}

/// An enforced key, and two verifiers that know it.
async fn two(scene: &Scene, max_staleness: &str) -> ([Running; 2], String) {
    let both = [verifier(scene, max_staleness).await, verifier(scene, max_staleness).await];
    let key = scene.space.ready_key("storefront").await;
    for verifier in &both {
        verifier.eventually_says("ok", "scope=any", &key).await;
    }
    scene.space.until("storefront", "Enforced", "Acknowledged").await;
    (both, key)
}

#[tokio::test]
async fn a_paused_verifier_is_waited_for_until_it_answers_nothing_any_more() {
    let scene = scene().await;
    let ([awake, asleep], key) = two(&scene, "--max-staleness=15s").await;
    signal(&asleep, "STOP");
    let paused = Instant::now();
    scene.space.patch_key("storefront", json!({"spec": {"disabled": true}})).await;
    awake.eventually_says("disabled", "scope=any", &key).await;
    scene.space.until("storefront", "Enforced", "Outwaited").await;
    assert!(paused.elapsed() >= STALE, "{:?}", paused.elapsed());
    let ask = || async { asleep.code("scope=any", &key).await };
    // They are on their way before it wakes, and are the first that it reads.
    let (one, two, three, ()) = tokio::join!(ask(), ask(), ask(), async { signal(&asleep, "CONT") });
    for code in [one, two, three] {
        assert!(code == "not_ready" || code == "disabled", "{code}");
    }
    asleep.eventually_says("disabled", "scope=any", &key).await;
}

#[tokio::test]
async fn of_a_paused_verifier_that_never_gives_up_nothing_is_ever_proven() {
    let scene = scene().await;
    let ([awake, asleep], key) = two(&scene, "--max-staleness=0s").await;
    signal(&asleep, "STOP");
    scene.space.patch_key("storefront", json!({"spec": {"disabled": true}})).await;
    awake.eventually_says("disabled", "scope=any", &key).await;
    let said = scene.space.until("storefront", "Enforced", "VerifierUnreachable").await;
    let conditions = said.status.unwrap().conditions;
    assert!(conditions.iter().any(|c| c.type_ == "Enforced" && c.status == "Unknown"), "{conditions:?}");
    // It did not see the change: had it been called Enforced, this would have broken the promise.
    signal(&asleep, "CONT");
    asleep.eventually_says("disabled", "scope=any", &key).await;
    scene.space.until("storefront", "Enforced", "Acknowledged").await;
}

#[tokio::test]
async fn a_rolling_restart_of_verifiers_rewrites_no_status() {
    let scene = scene().await;
    let ([mut first, mut second], key) = two(&scene, "--max-staleness=15s").await;
    let before = eventually("the statuses rest", async || {
        let now = scene.space.keys().get("storefront").await.unwrap();
        let calm = now.status.as_ref().is_some_and(|status| status.activity.is_some());
        if calm { Ok(now) } else { Err("the use of the key is to be written once more") }
    })
    .await;
    for which in [&mut first, &mut second] {
        assert_eq!(which.process.terminate().unwrap(), Some(0));
        *which = verifier(&scene, "--max-staleness=15s").await;
        which.eventually_says("ok", "scope=any", &key).await;
    }
    let after = scene.space.keys().get("storefront").await.unwrap();
    let said =
        |key: &keywright::api::ApiKey| key.status.clone().map(|status| (status.conditions, status.observed_generation));
    assert_eq!(said(&after), said(&before));
    assert_eq!(after.metadata.generation, before.metadata.generation);
    // What the operator writes bears its name and the time of it.
    let written = |key: &keywright::api::ApiKey| -> Option<Timestamp> {
        let ours = key.managed_fields().iter().find(|fields| fields.manager.as_deref() == Some("keywright-operator"));
        ours?.time.as_ref().map(|time| time.0)
    };
    assert_eq!(written(&after), written(&before), "the operator wrote nothing");
}
