//! A clone whose source cannot be had: it says why, and completes when it can.

use kube::api::DeleteParams;
use serde_json::json;

use super::support::space::Space;
use super::{assert_reads_orders_only, clone_of, delivered, observed, run, source};

async fn assert_nothing_was_minted(space: &Space, name: &str) {
    assert!(space.secrets().get_opt(name).await.unwrap().is_none());
    let status = observed(space, name).await;
    assert_eq!((&status["keyId"], &status["clonedFrom"]), (&json!(null), &json!(null)), "{status}");
}

#[tokio::test]
async fn a_clone_waits_for_its_source_and_completes_when_it_appears() {
    let (space, both) = run().await;
    space.key("copy", clone_of("source")).await;
    space.until_ready_is("copy", "CloneSourceNotFound").await;
    space.until_state_is("copy", "Invalid").await;
    assert_nothing_was_minted(&space, "copy").await;
    source(&space).await;
    let value = delivered(&space, "copy").await;
    assert_reads_orders_only(&both, &value).await;
}

#[tokio::test]
async fn a_clone_with_words_of_its_own_waits_for_its_source_too() {
    let (space, _both) = run().await;
    let spec = json!({"account": "acme", "cloneFrom": {"name": "source"}, "accessLevel": "Full"});
    space.key("copy", spec).await;
    space.until_ready_is("copy", "CloneSourceNotFound").await;
    assert_nothing_was_minted(&space, "copy").await;
    source(&space).await;
    delivered(&space, "copy").await;
}

#[tokio::test]
async fn a_chain_of_clones_completes_from_its_end() {
    let (space, both) = run().await;
    space.key("third", clone_of("second")).await;
    space.until_ready_is("third", "CloneSourceNotFound").await;
    space.key("second", clone_of("source")).await;
    space.until_ready_is("second", "CloneSourceNotFound").await;
    space.until_ready_is("third", "CloneSourceNotReady").await;
    assert_nothing_was_minted(&space, "third").await;
    source(&space).await;
    delivered(&space, "second").await;
    let value = delivered(&space, "third").await;
    assert_reads_orders_only(&both, &value).await;
}

#[tokio::test]
async fn keys_that_clone_each_other_say_so_and_complete_when_one_of_them_is_made_otherwise() {
    let (space, both) = run().await;
    for (name, from) in [("one", "three"), ("two", "one"), ("three", "two")] {
        space.key(name, clone_of(from)).await;
    }
    for name in ["one", "two", "three"] {
        space.until_ready_is(name, "CloneCycle").await;
        space.until_state_is(name, "Invalid").await;
        assert_nothing_was_minted(&space, name).await;
    }
    space.keys().delete("two", &DeleteParams::default()).await.unwrap();
    let spec = json!({"account": "acme", "accessLevel": "Custom", "scopes": ["orders:read"]});
    space.key("two", spec).await;
    let (one, three) = (delivered(&space, "one").await, delivered(&space, "three").await);
    assert_reads_orders_only(&both, &one).await;
    assert_reads_orders_only(&both, &three).await;
}

#[tokio::test]
async fn two_keys_that_clone_each_other_say_so() {
    let (space, _both) = run().await;
    space.key("one", clone_of("two")).await;
    let mut spec = clone_of("one");
    spec["accessLevel"] = json!("Full");
    space.key("two", spec).await;
    for name in ["one", "two"] {
        space.until_ready_is(name, "CloneCycle").await;
        assert_nothing_was_minted(&space, name).await;
    }
}

#[tokio::test]
async fn a_key_of_another_account_is_not_cloned() {
    let (space, both) = run().await;
    space.account("globex", json!({"accessLevel": "Full"})).await;
    space.key("foreign", json!({"account": "globex", "accessLevel": "Full"})).await;
    delivered(&space, "foreign").await;
    space.key("copy", clone_of("foreign")).await;
    space.until_ready_is("copy", "CloneOtherAccount").await;
    space.until_state_is("copy", "Invalid").await;
    assert_nothing_was_minted(&space, "copy").await;
    space.keys().delete("foreign", &DeleteParams::default()).await.unwrap();
    let spec = json!({"account": "acme", "accessLevel": "Custom", "scopes": ["orders:read"]});
    space.key("foreign", spec).await;
    let value = delivered(&space, "copy").await;
    assert_reads_orders_only(&both, &value).await;
}

/// A key that is reconciled after everything that went before.
async fn delivered_after(space: &Space, name: &str) {
    space.key(name, json!({"account": "acme", "accessLevel": "Full"})).await;
    delivered(space, name).await;
}

#[tokio::test]
async fn a_clone_says_that_its_source_is_gone_when_it_goes_before_the_clone_was_resolved() {
    let (space, _both) = run().await;
    space.account("globex", json!({"accessLevel": "Full"})).await;
    space.key("foreign", json!({"account": "globex", "accessLevel": "Full"})).await;
    // Nothing but its deletion is to wake the clone.
    delivered(&space, "foreign").await;
    space.key("copy", clone_of("foreign")).await;
    space.until_ready_is("copy", "CloneOtherAccount").await;
    delivered_after(&space, "next").await;
    space.keys().delete("foreign", &DeleteParams::default()).await.unwrap();
    space.until_ready_is("copy", "CloneSourceNotFound").await;
}

#[tokio::test]
async fn a_source_that_is_being_deleted_is_not_cloned() {
    let (space, _both) = run().await;
    source(&space).await;
    let held = |finalizers: &[&str]| json!({"metadata": {"finalizers": finalizers}});
    space.patch_key("source", held(&["example.com/slow"])).await;
    space.keys().delete("source", &DeleteParams::default()).await.unwrap();
    space.key("copy", clone_of("source")).await;
    space.until_ready_is("copy", "CloneSourceNotFound").await;
    assert_nothing_was_minted(&space, "copy").await;
    space.patch_key("source", held(&[])).await;
}

#[tokio::test]
async fn a_clone_of_a_key_that_waits_for_its_account_is_resolved_all_the_same() {
    let (space, _both) = run().await;
    for (name, spec) in [
        ("original", json!({"account": "late", "accessLevel": "ReadOnly", "displayName": "Orders"})),
        ("copy", json!({"account": "late", "cloneFrom": {"name": "original"}})),
    ] {
        space.key(name, spec).await;
        space.until_ready_is(name, "AccountNotFound").await;
    }
    space.account("late", json!({"accessLevel": "Full"})).await;
    delivered(&space, "copy").await;
    let status = observed(&space, "copy").await;
    assert_eq!(
        (&status["displayName"], &status["access"]["effective"]["level"]),
        (&json!("Orders"), &json!("ReadOnly"))
    );
}
