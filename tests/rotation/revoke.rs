//! `revokeBefore`: the answer to a leak.

use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::{moment, record, rotate, rotated, run, status};

/// Whole seconds, for a typed object keeps no fractions.
fn in_seconds(seconds: i64) -> Timestamp {
    let now = Timestamp::from_second(Timestamp::now().as_second()).unwrap();
    now + SignedDuration::from_secs(seconds)
}

fn ready(status: &serde_json::Value) -> &serde_json::Value {
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
async fn a_revocation_between_two_values_refuses_the_older_one_only() {
    let (space, both) = run().await;
    let old = space.ready_key("storefront").await;
    let new = rotated(&space, &both, json!({"revision": 1, "overlap": "1h"}), 2).await;
    assert_eq!(both.verifier.code("scope=any", &old).await, "ok");
    let issued = moment(&record(&space).await["current"]["issuedAt"]);
    rotate(&space, json!({"revokeBefore": issued})).await;
    both.verifier.eventually_says("revoked", "scope=any", &old).await;
    assert_eq!(both.verifier.code("scope=any", &new).await, "ok", "one issued at that very moment passes");
    space.until_observed("storefront").await;
    space.until_state_is("storefront", "Active").await;
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
    assert!(issued >= moment_of_revocation, "issued at {issued}, before {moment_of_revocation}");
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
    assert!(issued >= moment_of_revocation, "issued at {issued}, before {moment_of_revocation}");
    let value = space.value("storefront", "api-key").await;
    both.verifier.eventually_says("ok", "scope=any", &value).await;
}

#[tokio::test]
async fn a_revocation_that_is_taken_back_gives_its_values_back() {
    let (space, both) = run().await;
    let value = space.ready_key("storefront").await;
    rotate(&space, json!({"revokeBefore": in_seconds(3600)})).await;
    both.verifier.eventually_says("revoked", "scope=any", &value).await;
    rotate(&space, json!({"revokeBefore": null})).await;
    both.verifier.eventually_says("ok", "scope=any", &value).await;
    space.until_state_is("storefront", "Active").await;
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
