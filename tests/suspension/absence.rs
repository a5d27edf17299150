//! Somebody was away: the verifier, its watch, the operator, or all of them.

use kube::ResourceExt;
use kube::api::DeleteParams;
use serde_json::json;

use super::support::cluster::Cluster;
use super::support::keywright::Running;
use super::support::process::free_ports;
use super::support::space::{Space, both, neither};
use super::support::wire::Wire;
use super::support::{eventually, http};
use super::{lift, space, suspend, suspend_for, suspensions, until_caught_up, until_suspended_for, until_told};

/// Asks from the very start, and again until there is a verdict; returns what was said.
async fn first_verdict(verifier: &Running, value: &str) -> String {
    let bearer = format!("Bearer {value}");
    eventually("a first verdict", async || {
        let answer = http::get(&verifier.address, "/auth?scope=any", &[("Authorization", &bearer)]).await;
        let answer = answer.map_err(|e| e.to_string())?;
        match answer.header("x-keywright-code") {
            Some("not_ready") | None => Err(format!("{answer:?}")),
            Some(code) => Ok(code.to_owned()),
        }
    })
    .await
}

#[tokio::test]
async fn a_verifier_that_starts_anew_says_suspended_with_its_first_verdict() {
    let (space, both) = (space().await, both().await);
    let cluster = Cluster::shared().await;
    let (key, other) = (space.ready_key("storefront").await, space.ready_key("other").await);
    suspend(&space, "key", "ApiKey", "storefront").await;
    both.verifier.eventually_says("suspended", "scope=any", &key).await;
    let second = Running::verifier(cluster, &[]).await.unwrap();
    assert_eq!(first_verdict(&second, &key).await, "suspended");
    assert_eq!(second.code("scope=any", &other).await, "ok");
    suspend(&space, "account", "Account", "acme").await;
    both.verifier.eventually_says("account_suspended", "scope=any", &other).await;
    let third = Running::verifier(cluster, &[]).await.unwrap();
    assert_eq!(first_verdict(&third, &other).await, "account_suspended");
}

/// A verifier behind a wire, and two keys that pass.
async fn wired(space: &Space) -> (Wire, Running, [String; 2]) {
    let cluster = Cluster::shared().await;
    let values = [space.ready_key("storefront").await, space.ready_key("other").await];
    let wire = Wire::start(cluster).await;
    let [listen, admin] = free_ports().unwrap();
    let verifier = Running::start(cluster, "verifier", &wire.kubeconfig, Some(listen), admin, &[]).unwrap();
    let verifier = verifier.ready().await;
    for value in &values {
        verifier.eventually_says("ok", "scope=any", value).await;
    }
    (wire, verifier, values)
}

#[tokio::test]
async fn a_verifier_whose_watch_was_cut_learns_what_was_suspended_and_lifted_meanwhile() {
    let (space, _both) = (space().await, both().await);
    let (wire, verifier, [key, other]) = wired(&space).await;
    suspend(&space, "before", "ApiKey", "other").await;
    verifier.eventually_says("suspended", "scope=any", &other).await;

    wire.sever().await;
    suspend(&space, "meanwhile", "ApiKey", "storefront").await;
    lift(&space, "before").await;
    assert_eq!(verifier.code("scope=any", &key).await, "ok", "the wire was not cut, so this proves nothing");
    wire.mend();
    verifier.eventually_says("suspended", "scope=any", &key).await;
    verifier.eventually_says("ok", "scope=any", &other).await;

    // Lifted and suspended again for another reason, while nobody looked.
    wire.sever().await;
    lift(&space, "meanwhile").await;
    suspend_for(&space, "meanwhile", "ApiKey", "storefront", "Abuse").await;
    wire.mend();
    until_caught_up(&verifier).await;
    assert_eq!(verifier.code("scope=any", &key).await, "suspended");
}

#[tokio::test]
async fn a_verifier_that_must_list_anew_learns_what_was_suspended_and_lifted_meanwhile() {
    let (space, _both) = (space().await, both().await);
    let (wire, verifier, [key, other]) = wired(&space).await;
    suspend(&space, "before", "ApiKey", "other").await;
    verifier.eventually_says("suspended", "scope=any", &other).await;

    wire.sever().await;
    suspend(&space, "meanwhile", "ApiKey", "storefront").await;
    lift(&space, "before").await;
    wire.mend_late();
    verifier.eventually_says("suspended", "scope=any", &key).await;
    verifier.eventually_says("ok", "scope=any", &other).await;
    assert!(wire.has_relisted());

    // The same for an account, whose state is kept elsewhere.
    wire.sever().await;
    lift(&space, "meanwhile").await;
    suspend(&space, "account", "Account", "acme").await;
    wire.mend_late();
    verifier.eventually_says("account_suspended", "scope=any", &key).await;
    assert!(wire.has_relisted());
    wire.sever().await;
    lift(&space, "account").await;
    wire.mend_late();
    verifier.eventually_says("ok", "scope=any", &key).await;
    verifier.eventually_says("ok", "scope=any", &other).await;
    assert!(wire.has_relisted());
}

#[tokio::test]
async fn a_verifier_needs_no_operator_to_refuse_and_an_operator_catches_up_with_what_it_missed() {
    let space = space().await;
    let cluster = Cluster::shared().await;
    let value = {
        let _both = both().await;
        let value = space.ready_key("storefront").await;
        suspend(&space, "first", "ApiKey", "storefront").await;
        space.until_state_is("storefront", "Suspended").await;
        value
    };
    {
        let _neither = neither().await;
        let verifier = Running::verifier(cluster, &[]).await.unwrap().ready().await;
        lift(&space, "first").await;
        verifier.eventually_says("ok", "scope=any", &value).await;
        suspend(&space, "second", "Account", "acme").await;
        verifier.eventually_says("account_suspended", "scope=any", &value).await;
        lift(&space, "second").await;
        verifier.eventually_says("ok", "scope=any", &value).await;
    }
    let both = both().await;
    space.until_state_is("storefront", "Active").await;
    until_suspended_for(&space, "ak/storefront", None).await;
    until_told(&space, "ApiKey", "storefront", "SuspensionLifted").await;
    both.verifier.eventually_says("ok", "scope=any", &value).await;
}

#[tokio::test]
async fn a_namespace_with_suspensions_deletes_while_nobody_of_ours_runs() {
    let space = space().await;
    let cluster = Cluster::shared().await;
    cluster.plane.with_controller_manager().unwrap();
    {
        let _both = both().await;
        space.ready_key("storefront").await;
        suspend(&space, "key", "ApiKey", "storefront").await;
        suspend(&space, "account", "Account", "acme").await;
        suspend(&space, "early", "ApiKey", "not-there").await;
        space.until_state_is("storefront", "Suspended").await;
        until_suspended_for(&space, "acct/acme", Some("PaymentOverdue")).await;
    }
    let _neither = neither().await;
    let finalizers = [
        space.keys().get("storefront").await.unwrap().finalizers().to_vec(),
        space.accounts().get("acme").await.unwrap().finalizers().to_vec(),
        suspensions(&space).get("key").await.unwrap().finalizers().to_vec(),
    ];
    assert_eq!(finalizers, [const { Vec::<String>::new() }; 3]);
    cluster.plane.kubectl(&["delete", "namespace", &space.name, "--wait=true", "--timeout=60s"]).unwrap();
}

#[tokio::test]
async fn a_suspension_goes_when_its_target_is_long_gone() {
    let (space, both) = (space().await, both().await);
    let value = space.ready_key("storefront").await;
    suspend(&space, "key", "ApiKey", "storefront").await;
    both.verifier.eventually_says("suspended", "scope=any", &value).await;
    space.keys().delete("storefront", &DeleteParams::default()).await.unwrap();
    both.verifier.eventually_says("unknown", "scope=any", &value).await;
    lift(&space, "key").await;
    eventually("it is gone", async || {
        if suspensions(&space).get_opt("key").await.unwrap().is_none() { Ok(()) } else { Err("it is there") }
    })
    .await;
    // Nothing of it is left for a namesake.
    space.key("storefront", json!({"account": "acme", "accessLevel": "Full"})).await;
    space.until_ready_is("storefront", "Issued").await;
    let value = space.value("storefront", "api-key").await;
    both.verifier.eventually_says("ok", "scope=any", &value).await;
}
