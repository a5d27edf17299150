//! `revokeBefore`: the answer to a leak.

use jiff::{SignedDuration, Timestamp};
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use super::support::cluster::Cluster;
use super::support::eventually;
use super::support::keywright::Running;
use super::support::space::Space;
use super::{moment, operator_alone, record, rotate, rotated, run, status};

/// Whole seconds, for a typed object keeps no fractions.
fn in_seconds(seconds: i64) -> Timestamp {
    let now = Timestamp::from_second(Timestamp::now().as_second()).unwrap();
    now + SignedDuration::from_secs(seconds)
}

fn ready(status: &Value) -> &Value {
    status["conditions"].as_array().unwrap().iter().find(|c| c["type"] == "Ready").unwrap()
}

#[tokio::test]
async fn values_issued_before_a_revocation_are_refused_at_once_and_a_higher_revision_gives_a_new_one() {
    let (space, both) = run().await;
    let old = space.ready_key("storefront").await;
    let revoke_before = Timestamp::now();
    rotate(&space, json!({"revokeBefore": revoke_before})).await;
    both.verifier.eventually_says("revoked", "scope=any", &old).await;
    space.until_state_is("storefront", "Expired").await;
    let said = status(&space).await;
    assert_eq!(ready(&said)["status"], "True", "the spec is honoured");
    assert!(ready(&said)["message"].as_str().unwrap().contains("raise spec.rotation.revision"), "{said}");
    assert_eq!(record(&space).await["lastSerial"], 1, "nothing is minted that nobody asked for");

    let new = rotated(&space, &both, json!({"revision": 1}), 2).await;
    space.until_state_is("storefront", "Active").await;
    assert_ne!(new, old);
    assert_eq!(both.verifier.code("scope=any", &old).await, "revoked", "the overlap does not help it");
}

#[tokio::test]
async fn a_revision_that_is_raised_with_the_revocation_gives_a_value_that_passes() {
    let (space, both) = run().await;
    let old = space.ready_key("storefront").await;
    let new =
        rotated(&space, &both, json!({"revision": 1, "revokeBefore": Timestamp::now(), "overlap": "1h"}), 2).await;
    both.verifier.eventually_says("revoked", "scope=any", &old).await;
    assert_eq!(both.verifier.code("scope=any", &new).await, "ok");
    space.until_ready_is("storefront", "Issued").await;
}

#[tokio::test]
async fn revocation_covers_the_second_of_an_issue() {
    let (space, both) = run().await;
    let old = space.ready_key("storefront").await;
    let issued = moment(&record(&space).await["current"]["issuedAt"]).as_second();
    eventually("the next second", async || if Timestamp::now().as_second() > issued { Ok(()) } else { Err("not yet") })
        .await;
    let new = rotated(&space, &both, json!({"revision": 1, "overlap": "1h"}), 2).await;
    assert_eq!(both.verifier.code("scope=any", &old).await, "ok");
    // As status shows it: in whole seconds.
    rotate(&space, json!({"revokeBefore": status(&space).await["credentials"][1]["issuedAt"]})).await;
    both.verifier.eventually_says("revoked", "scope=any", &old).await;
    assert_eq!(both.verifier.code("scope=any", &new).await, "ok", "it was issued in a later second");
    space.until_observed("storefront").await;
    space.until_state_is("storefront", "Active").await;
    let states: Vec<Value> =
        status(&space).await["credentials"].as_array().unwrap().iter().map(|one| one["state"].clone()).collect();
    assert_eq!(states, ["Active", "Revoked"]);
}

#[tokio::test]
async fn with_a_revocation_in_the_future_the_next_value_is_minted_when_it_has_come() {
    let (space, both) = run().await;
    let old = space.ready_key("storefront").await;
    let moment_of_revocation = in_seconds(5);
    rotate(&space, json!({"revision": 1, "revokeBefore": moment_of_revocation})).await;
    both.verifier.eventually_says("revoked", "scope=any", &old).await;
    space.until_ready_is("storefront", "RevokedInAdvance").await;

    space.until_serial("storefront", 2).await;
    space.until_ready_is("storefront", "Issued").await;
    let new = space.value("storefront", "api-key").await;
    both.verifier.eventually_says("ok", "scope=any", &new).await;
    let issued = moment(&record(&space).await["current"]["issuedAt"]);
    assert!(
        issued.as_second() > moment_of_revocation.as_second(),
        "issued at {issued}, not after {moment_of_revocation}"
    );
}

#[tokio::test]
async fn a_new_key_waits_for_a_revocation_in_the_future_too() {
    let (space, both) = run().await;
    space.account("acme", json!({"accessLevel": "Full"})).await;
    let moment_of_revocation = in_seconds(4);
    let rotation = json!({"revokeBefore": moment_of_revocation});
    space.key("storefront", json!({"account": "acme", "accessLevel": "Full", "rotation": rotation})).await;
    space.until_ready_is("storefront", "RevokedInAdvance").await;
    let key = space.until_serial("storefront", 1).await;
    let issued = moment(&space.record(&key).await["current"]["issuedAt"]);
    assert!(
        issued.as_second() > moment_of_revocation.as_second(),
        "issued at {issued}, not after {moment_of_revocation}"
    );
    let value = space.value("storefront", "api-key").await;
    both.verifier.eventually_says("ok", "scope=any", &value).await;
}

/// Waits until status has recorded a revocation.
async fn until_recorded(space: &Space) {
    eventually("the revocation is recorded", async || match status(space).await["revokedBefore"].as_str() {
        Some(_) => Ok(()),
        None => Err("it is not"),
    })
    .await;
}

#[tokio::test]
async fn revoked_value_stays_revoked_without_revoke_before() {
    let (space, both) = run().await;
    let old = space.ready_key("storefront").await;
    for revoke_before in [Timestamp::now(), in_seconds(3600)] {
        rotate(&space, json!({"revokeBefore": revoke_before})).await;
        both.verifier.eventually_says("revoked", "scope=any", &old).await;
        until_recorded(&space).await;
        rotate(&space, json!({"revokeBefore": null})).await;
        space.until_observed("storefront").await;
        assert_eq!(both.verifier.code("scope=any", &old).await, "revoked");
        space.until_state_is("storefront", "Expired").await;
        assert_eq!(record(&space).await["current"]["ended"], "revoked");
    }
    let fresh = Running::verifier(Cluster::shared().await, &[]).await.unwrap().ready().await;
    assert_eq!(fresh.code("scope=any", &old).await, "revoked", "a verifier that never saw the field");
    fresh.process.terminate().unwrap();
    let new = rotated(&space, &both, json!({"revision": 1}), 2).await;
    assert_ne!(new, old);
    assert_eq!(both.verifier.code("scope=any", &old).await, "revoked");
}

/// Patches the key; the API server may refuse that.
async fn try_to(space: &Space, patch: &Value) -> kube::Result<()> {
    space.keys().patch("storefront", &PatchParams::default(), &Patch::Merge(patch)).await.map(drop)
}

#[tokio::test]
async fn revoke_before_stays_in_the_spec_until_it_is_recorded() {
    let (_nobody, space, operator, _) = operator_alone().await;
    drop(operator);
    rotate(&space, json!({"revokeBefore": "2026-11-22T10:00:00.5Z"})).await;
    let remove = json!({"spec": {"rotation": {"revokeBefore": null}}});
    let earlier = json!({"spec": {"rotation": {"revokeBefore": "2026-11-22T10:00:00Z"}}});
    for patch in [&remove, &earlier, &json!({"spec": {"rotation": null}})] {
        let refusal = try_to(&space, patch).await.unwrap_err().to_string();
        assert!(refusal.contains("keep it until status.revokedBefore has it"), "{patch}: {refusal}");
    }
    let _operator = Running::operator(Cluster::shared().await, &[]).await.unwrap().ready().await;
    until_recorded(&space).await;
    try_to(&space, &remove).await.unwrap();
}

/// A later revocation must not count as recorded because an earlier one of a later time was.
#[tokio::test]
async fn revocation_of_the_next_value_is_recorded_too() {
    let (_nobody, space, operator, _) = operator_alone().await;
    let remove = json!({"spec": {"rotation": {"revokeBefore": null}}});
    rotate(&space, json!({"revokeBefore": "9000-01-01T00:00:00Z"})).await;
    until_recorded(&space).await;
    rotate(&space, json!({"revokeBefore": null, "revision": 1})).await;
    space.until_serial("storefront", 2).await;
    assert_eq!(status(&space).await["revokedBefore"], Value::Null);
    // With a fraction, which a rounding up would take for the second in which the next value is issued.
    rotate(&space, json!({"revokeBefore": Timestamp::now(), "revision": 2})).await;
    space.until_serial("storefront", 3).await;
    until_recorded(&space).await;
    drop(operator);
    let issued = status(&space).await["credentials"][0]["issuedAt"].clone();
    rotate(&space, json!({"revokeBefore": issued})).await;
    let refusal = try_to(&space, &remove).await.unwrap_err().to_string();
    assert!(refusal.contains("keep it until status.revokedBefore has it"), "{refusal}");
}

#[tokio::test]
async fn a_value_that_was_revoked_before_its_delivery_gives_way_to_the_next() {
    let (space, both) = run().await;
    space.ready_key("storefront").await;
    // Something in the way keeps the second value from its Secret.
    let frozen = space.freeze("storefront").await;
    rotate(&space, json!({"revision": 1})).await;
    space.until_ready_is("storefront", "SecretImmutable").await;
    rotate(&space, json!({"revision": 2, "revokeBefore": Timestamp::now()})).await;
    space.remove(&frozen).await;
    space.until_serial("storefront", 3).await;
    let value = space.value("storefront", "api-key").await;
    both.verifier.eventually_says("ok", "scope=any", &value).await;
}
