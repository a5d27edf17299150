//! When a change is said to be enforced, and when not.

use kube::ResourceExt;
use kube::api::{ListParams, Patch, PatchParams};
use serde_json::json;

use super::{ALL, Scene, scene};
use crate::support::eventually;
use crate::support::keywright::Running;

#[tokio::test]
async fn a_change_is_enforced_when_every_verifier_has_passed_it_and_never_before() {
    let scene = scene().await;
    scene.appears("a", ALL, 0).await;
    scene.appears("b", ALL, 0).await;
    scene.settled_key("storefront").await;
    // One that falls back plays one that is behind.
    let before = scene.version("storefront").await;
    scene.has_applied("b", before).await;
    scene.disable("storefront").await;
    scene.until("ak/storefront", "AwaitingVerifiers").await;
    scene.is_not_proven("ak/storefront").await;
    scene.has_applied("a", before).await;
    scene.has_applied("b", ALL).await;
    scene.is_not_proven("ak/storefront").await;
    scene.has_applied("a", ALL).await;
    let said = scene.until("ak/storefront", "Acknowledged").await;
    assert_eq!(said.status, "True");

    scene.has_applied("a", before).await;
    scene.space.patch_key("storefront", json!({"spec": {"disabled": false}})).await;
    scene.until("ak/storefront", "AwaitingVerifiers").await;
    scene.has_applied("a", ALL).await;
    scene.until("ak/storefront", "Acknowledged").await;
}

#[tokio::test]
async fn exactly_the_version_of_the_change_must_be_passed_and_what_verifiers_write_does_not_put_it_off() {
    let scene = scene().await;
    scene.appears("a", ALL, 0).await;
    scene.settled_key("storefront").await;
    scene.has_applied("a", 1).await;
    let patched = json!({"spec": {"disabled": true}});
    let keys = scene.space.keys();
    let changed = keys.patch("storefront", &PatchParams::default(), &Patch::Merge(patched)).await.unwrap();
    let version: u64 = changed.resource_version().unwrap().parse().unwrap();
    scene.until("ak/storefront", "AwaitingVerifiers").await;
    for hour in 0..5 {
        let activity =
            json!({"asOf": format!("2026-11-22T0{hour}:00:00Z"), "requests": {"allowed": hour, "denied": 0}});
        let status = Patch::Merge(json!({"status": {"activity": activity}}));
        keys.patch_status("storefront", &PatchParams::default(), &status).await.unwrap();
    }
    scene.has_applied("a", version - 1).await;
    scene.is_not_proven("ak/storefront").await;
    scene.has_applied("a", version).await;
    scene.until("ak/storefront", "Acknowledged").await;
}

#[tokio::test]
async fn without_a_verifier_nothing_is_known_and_one_that_comes_late_is_waited_for() {
    let scene = scene().await;
    scene.space.ready_key("storefront").await;
    let said = scene.until("ak/storefront", "NoVerifier").await;
    assert_eq!(said.status, "Unknown");
    scene.until("acct/acme", "NoVerifier").await;
    scene.appears("late", 1, 0).await;
    scene.is_not_proven("ak/storefront").await;
    scene.has_applied("late", ALL).await;
    scene.until("ak/storefront", "Acknowledged").await;
    scene.until("acct/acme", "Acknowledged").await;
}

#[tokio::test]
async fn accounts_and_suspensions_are_proven_too() {
    let scene = scene().await;
    scene.appears("a", ALL, 0).await;
    scene.settled_key("storefront").await;
    scene.until("acct/acme", "Acknowledged").await;
    scene.has_applied("a", 1).await;
    scene.space.patch_account("acme", json!({"spec": {"disabled": true}})).await;
    scene.suspend("abuse", "storefront").await;
    for object in ["acct/acme", "susp/abuse"] {
        scene.until(object, "AwaitingVerifiers").await;
        scene.is_not_proven(object).await;
    }
    scene.has_applied("a", ALL).await;
    for object in ["acct/acme", "susp/abuse"] {
        assert_eq!(scene.until(object, "Acknowledged").await.status, "True");
    }
    let columns = scene.cluster.plane.kubectl(&["get", "susp", "abuse", "-n", &scene.space.name]).unwrap();
    assert!(columns.contains("ENFORCED") && columns.contains("True"), "{columns}");
}

#[tokio::test]
async fn a_lease_that_cannot_be_read_proves_nothing_until_it_can() {
    let scene = scene().await;
    scene.appears("a", ALL, 0).await;
    scene.settled_key("storefront").await;
    let all = super::all_of(ALL);
    let nonsense = [
        ("", "0"),
        ("all", "0"),
        ("1,2,3", "0"),
        (&*all, ""),
        (&*all, "soon"),
        ("-1,-1,-1,-1", "1"),
        ("9e9,9,9,9", "1"),
    ];
    for (n, (applied, staleness)) in nonsense.into_iter().enumerate() {
        scene.appears_saying("odd", applied, staleness).await;
        scene.space.patch_key("storefront", json!({"spec": {"disabled": n % 2 == 0}})).await;
        let said = scene.until("ak/storefront", "NotComparable").await;
        assert!(said.message.contains("Lease odd"), "{}", said.message);
        scene.is_not_proven("ak/storefront").await;
        scene.goes("odd").await;
        scene.until("ak/storefront", "Acknowledged").await;
    }
}

#[tokio::test]
async fn a_status_that_was_wiped_or_edited_by_hand_is_proven_anew() {
    let scene = scene().await;
    scene.appears("a", ALL, 0).await;
    scene.settled_key("storefront").await;
    scene.has_applied("a", 1).await;
    let write = async |status: serde_json::Value| {
        let key = scene.space.keys().get("storefront").await.unwrap();
        let patch = Patch::Merge(json!({"metadata": {"resourceVersion": key.resource_version()}, "status": status}));
        scene.space.keys().patch_status("storefront", &PatchParams::default(), &patch).await.is_ok()
    };
    assert!(write(json!(null)).await);
    scene.until("ak/storefront", "AwaitingVerifiers").await;
    scene.is_not_proven("ak/storefront").await;

    let said = scene.enforced("ak/storefront").unwrap();
    let lie = json!([{"type": "Enforced", "status": "True", "reason": "Acknowledged", "message": "I say so",
        "observedGeneration": said.observed_generation, "lastTransitionTime": "2026-11-22T00:00:00Z"}]);
    eventually("the lie is written", async || {
        if write(json!({"conditions": lie})).await { Ok(()) } else { Err("the operator was faster") }
    })
    .await;
    eventually("the operator takes it back", async || match scene.enforced("ak/storefront") {
        Some(said) if said.status == "Unknown" => Ok(()),
        said => Err(format!("{said:?}")),
    })
    .await;
    scene.is_not_proven("ak/storefront").await;
    scene.has_applied("a", ALL).await;
    scene.until("ak/storefront", "Acknowledged").await;
}

async fn versions(scene: &Scene) -> Vec<(String, Option<String>)> {
    let keys = scene.space.keys().list(&ListParams::default()).await.unwrap();
    let settled = keys.iter().filter(|key| key.name_any().starts_with("settled"));
    settled.map(|key| (key.name_any(), key.resource_version())).collect()
}

#[tokio::test]
async fn verifiers_and_operators_that_are_restarted_rewrite_no_status() {
    let mut scene = scene().await;
    scene.appears("a", ALL, 0).await;
    scene.space.account("acme", json!({"accessLevel": "Full"})).await;
    for n in 0..20 {
        scene.space.key(&format!("settled-{n}"), json!({"account": "acme", "accessLevel": "Full"})).await;
    }
    for n in 0..20 {
        scene.until(&format!("ak/settled-{n}"), "Acknowledged").await;
    }
    scene.until("acct/acme", "Acknowledged").await;
    let before = versions(&scene).await;
    // While something is in flight the operator looks all the time.
    scene.space.ready_key("other").await;
    scene.appears("b", 0, 0).await;
    scene.disable("other").await;
    scene.is_not_proven("ak/other").await;
    scene.goes("a").await;
    scene.is_not_proven("ak/other").await;
    scene.goes("b").await;
    scene.until("ak/other", "NoVerifier").await;
    scene.operator = Running::operator(scene.cluster, &[]).await.unwrap().ready().await;
    scene.appears("c", 0, 0).await;
    scene.is_not_proven("ak/other").await;
    scene.has_applied("c", ALL).await;
    scene.until("ak/other", "Acknowledged").await;
    assert_eq!(versions(&scene).await, before);
}

/// Where the first verifier comes to many keys, each look is two requests.
#[tokio::test]
async fn what_is_proven_is_said_with_one_look_and_not_a_second_at_what_was_said() {
    const KEYS: u64 = 20;
    let scene = scene().await;
    scene.space.account("acme", json!({"accessLevel": "Full"})).await;
    for n in 0..KEYS {
        scene.space.key(&format!("billing-{n}"), json!({"account": "acme", "accessLevel": "Full"})).await;
    }
    let everybodys = async |reason: &str| {
        eventually(&format!("all are {reason}"), async || {
            let keys = scene.space.keys().list(&ListParams::default()).await.map_err(|error| error.to_string())?;
            let conditions = keys.items.iter().flat_map(|key| key.status.iter().flat_map(|status| &status.conditions));
            let said = conditions.filter(|condition| condition.type_ == "Enforced" && condition.reason == reason);
            let said = said.count();
            if said == keys.items.len() { Ok(()) } else { Err(said.to_string()) }
        })
        .await;
    };
    everybodys("NoVerifier").await;
    // Keys have their turn in order, so when the last one's is over, so are those of all others.
    scene.space.ready_key("before").await;
    everybodys("NoVerifier").await;
    let before: u64 = scene.operator.metric("keywright_reconciled_total").await;
    scene.appears("a", ALL, 0).await;
    everybodys("Acknowledged").await;
    scene.space.ready_key("after").await;
    everybodys("Acknowledged").await;
    let looks = scene.operator.metric::<u64>("keywright_reconciled_total").await - before;
    assert!((KEYS..KEYS * 3 / 2).contains(&looks), "{looks} looks");
}
