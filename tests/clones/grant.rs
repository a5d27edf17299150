//! What a clone may do: what it took over, what its own spec says instead, and never more than its account.

use serde_json::json;

use super::support::eventually;
use super::{assert_reads_orders_only, change, cloned, observed, orders_only, run, source};

#[tokio::test]
async fn a_clones_own_words_take_over_and_without_them_it_has_what_it_cloned() {
    let (space, both) = run().await;
    source(&space).await;
    let copy = cloned(&space, "copy", "source").await;
    change(&space, "copy", json!({"accessLevel": "Custom", "scopes": ["invoices:*"]})).await;
    both.verifier.eventually_says("ok", "scope=invoices:write", &copy).await;
    assert_eq!(both.verifier.code("scope=orders:read", &copy).await, "insufficient_scope");
    let access = super::access(json!({"level": "Custom", "scopes": ["invoices:*"]}));
    assert_eq!(observed(&space, "copy").await["access"], access);

    change(&space, "copy", json!({"accessLevel": "ReadOnly", "scopes": null})).await;
    both.verifier.eventually_says("ok", "scope=customers:read", &copy).await;
    assert_eq!(both.verifier.code("scope=orders:write", &copy).await, "insufficient_scope");

    change(&space, "copy", json!({"accessLevel": null, "scopes": null})).await;
    both.verifier.eventually_says("insufficient_scope", "scope=customers:read", &copy).await;
    assert_reads_orders_only(&both, &copy).await;
    assert_eq!(observed(&space, "copy").await["access"], orders_only());
}

#[tokio::test]
async fn a_clone_that_is_created_with_words_of_its_own_can_go_back_to_what_it_cloned() {
    let (space, both) = run().await;
    source(&space).await;
    let spec =
        json!({"account": "acme", "cloneFrom": {"name": "source"}, "accessLevel": "Full", "displayName": "Mine"});
    space.key("copy", spec).await;
    let copy = super::delivered(&space, "copy").await;
    both.verifier.eventually_says("ok", "scope=customers:write", &copy).await;
    let status = observed(&space, "copy").await;
    assert_eq!((&status["displayName"], &status["clonedFrom"]), (&json!("Mine"), &json!("source")));
    change(&space, "copy", json!({"accessLevel": null})).await;
    both.verifier.eventually_says("insufficient_scope", "scope=customers:write", &copy).await;
    assert_reads_orders_only(&both, &copy).await;
}

#[tokio::test]
async fn a_clone_is_never_wider_than_its_account() {
    let (space, both) = run().await;
    source(&space).await;
    space.key("everything", json!({"account": "acme", "accessLevel": "Full"})).await;
    super::delivered(&space, "everything").await;
    let (reader, full) = (cloned(&space, "reader", "source").await, cloned(&space, "full", "everything").await);
    both.verifier.eventually_says("ok", "scope=orders:read", &reader).await;
    both.verifier.eventually_says("ok", "scope=orders:write", &full).await;

    space.patch_account("acme", json!({"spec": {"accessLevel": "Custom", "scopes": ["invoices:read"]}})).await;
    both.verifier.eventually_says("insufficient_scope", "scope=orders:read", &reader).await;
    both.verifier.eventually_says("insufficient_scope", "scope=orders:write", &full).await;
    assert_eq!(both.verifier.code("scope=invoices:read", &full).await, "ok");
    space.until_ready_is("reader", "ScopeNotGranted").await;
    eventually("the status says what is left", async || {
        let access = observed(&space, "full").await["access"].take();
        let effective = json!({"level": "Custom", "scopes": ["invoices:read"]});
        if access == json!({"granted": {"level": "Full"}, "effective": effective}) { Ok(()) } else { Err(access) }
    })
    .await;

    // One that is made now fares no better.
    space.key("late", super::clone_of("source")).await;
    space.until_ready_is("late", "ScopeNotGranted").await;
    assert!(space.secrets().get_opt("late").await.unwrap().is_none());
    space.patch_account("acme", json!({"spec": {"accessLevel": "Full", "scopes": null}})).await;
    both.verifier.eventually_says("ok", "scope=orders:read", &reader).await;
    let late = super::delivered(&space, "late").await;
    assert_reads_orders_only(&both, &late).await;
}

#[tokio::test]
async fn a_clone_is_disabled_expired_and_deleted_by_itself() {
    let (space, both) = run().await;
    source(&space).await;
    let original = space.value("source", "api-key").await;
    let copy = cloned(&space, "copy", "source").await;
    both.verifier.eventually_says("ok", "scope=orders:read", &copy).await;
    change(&space, "copy", json!({"disabled": true})).await;
    both.verifier.eventually_says("disabled", "scope=orders:read", &copy).await;
    assert_eq!(both.verifier.code("scope=orders:read", &original).await, "ok");
    change(&space, "copy", json!({"disabled": false})).await;
    change(&space, "source", json!({"disabled": true})).await;
    both.verifier.eventually_says("ok", "scope=orders:read", &copy).await;
    both.verifier.eventually_says("disabled", "scope=orders:read", &original).await;
}
