//! What the owner of a suspended key or account tries: to apply the manifest again in every way there is, to delete and
//! create the target anew, and to be there first. Everything here is done as a user with the role keywright-owner.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use keywright::api::ApiKey;
use kube::ResourceExt;
use kube::api::DeleteParams;
use serde_json::{Value, json};

use super::support::cluster::Cluster;
use super::support::eventually;
use super::support::keywright::Running;
use super::support::space::{Space, both};
use super::{lift, space, suspend, suspensions, until_suspended_for, until_told};

/// kubectl as the owner, with a manifest where the arguments end with `-f`.
fn kubectl(
    cluster: &Cluster,
    space: &Space,
    args: &[&str],
    manifest: Option<&Value>,
) -> super::support::Result<String> {
    let file = cluster.plane.dir.join(format!("{}.json", space.name));
    let mut args = [&["--as=owner", "-n", &space.name], args].concat();
    let path = file.display().to_string();
    if let Some(manifest) = manifest {
        std::fs::write(&file, manifest.to_string())?;
        args.push(&path);
    }
    cluster.plane.kubectl(&args)
}

/// Makes `owner` one.
async fn owned(cluster: &Cluster) -> Space {
    let space = space().await;
    let args = ["create", "rolebinding", "owner", "--clusterrole=keywright-owner", "--user=owner", "-n", &space.name];
    cluster.plane.kubectl(&args).unwrap();
    space
}

fn manifest(display_name: &str) -> Value {
    json!({
        "apiVersion": "keywright.dev/v1alpha1", "kind": "ApiKey", "metadata": {"name": "storefront"},
        "spec": {"account": "acme", "accessLevel": "Full", "displayName": display_name, "disabled": false},
    })
}

/// The key with what was just applied, as the operator has seen it.
async fn until_seen(space: &Space, display_name: &str) -> ApiKey {
    eventually(&format!("the operator has seen {display_name}"), async || {
        let key = space.keys().get("storefront").await.map_err(|e| e.to_string())?;
        let status = key.status.clone().unwrap_or_default();
        let seen = status.observed_generation == key.metadata.generation
            && status.display_name.as_deref() == Some(display_name)
            && status.conditions.iter().any(|c| c.type_ == "Ready" && c.status == "True");
        if seen { Ok(key) } else { Err(format!("{status:?}")) }
    })
    .await
}

#[tokio::test]
async fn no_way_of_applying_the_owners_manifest_again_lifts_a_suspension() {
    let cluster = Cluster::shared().await;
    let (space, both) = (owned(cluster).await, both().await);
    space.account("acme", json!({"accessLevel": "Full"})).await;
    kubectl(cluster, &space, &["apply", "-f"], Some(&manifest("first"))).unwrap();
    space.until_ready_is("storefront", "Issued").await;
    let value = space.value("storefront", "api-key").await;
    both.verifier.eventually_says("ok", "scope=any", &value).await;
    let suspension = suspend(&space, "overdue", "ApiKey", "storefront").await;
    both.verifier.eventually_says("suspended", "scope=any", &value).await;

    let ways: [(&str, &[&str]); 5] = [
        ("applied", &["apply", "-f"]),
        ("server-side", &["apply", "--server-side", "-f"]),
        ("forced", &["apply", "--server-side", "--force-conflicts", "--field-manager=argocd-controller", "-f"]),
        ("forced-again", &["apply", "--server-side", "--force-conflicts", "-f"]),
        ("replaced", &["replace", "-f"]),
    ];
    for (name, args) in ways {
        kubectl(cluster, &space, args, Some(&manifest(name))).unwrap_or_else(|e| panic!("{name}: {e}"));
        let key = until_seen(&space, name).await;
        assert_eq!(both.verifier.code("scope=any", &value).await, "suspended", "{name}");
        let status = key.status.unwrap();
        assert_eq!(format!("{:?}", status.state.unwrap()), "Suspended", "{name}");
        assert!(status.conditions.iter().any(|c| c.type_ == "Suspended"), "{name}");
    }

    // Status is not the owner's to write, and the Suspension is there to be read only.
    let status = json!({"apiVersion": "keywright.dev/v1alpha1", "kind": "ApiKey", "metadata": {"name": "storefront"},
        "status": {"state": "Active"}});
    let refusals: [(&[&str], Option<&Value>); 4] = [
        (&["apply", "--server-side", "--force-conflicts", "--subresource=status", "-f"], Some(&status)),
        (&["delete", "suspension", "overdue"], None),
        (&["patch", "suspension", "overdue", "--type=merge", "-p", r#"{"spec": {"reason": "Fine"}}"#], None),
        (&["label", "suspension", "overdue", "mine=yes"], None),
    ];
    for (args, manifest) in refusals {
        let refused = kubectl(cluster, &space, args, manifest).unwrap_err().to_string();
        assert!(refused.contains("is forbidden") || refused.contains("forbidden: User"), "{args:?}: {refused}");
    }
    assert!(kubectl(cluster, &space, &["get", "susp", "overdue"], None).unwrap().contains("PaymentOverdue"));
    let after = suspensions(&space).get("overdue").await.unwrap();
    assert_eq!((after.spec, after.metadata.generation), (suspension.spec, suspension.metadata.generation));
    assert_eq!(after.metadata.labels, None);
    assert_eq!(both.verifier.code("scope=any", &value).await, "suspended");
    lift(&space, "overdue").await;
    both.verifier.eventually_says("ok", "scope=any", &value).await;
}

#[tokio::test]
async fn a_suspended_key_that_is_replaced_by_force_is_another_one_and_suspended() {
    let cluster = Cluster::shared().await;
    let (space, both) = (owned(cluster).await, both().await);
    space.account("acme", json!({"accessLevel": "Full"})).await;
    kubectl(cluster, &space, &["apply", "-f"], Some(&manifest("first"))).unwrap();
    let before = until_seen(&space, "first").await;
    let old = space.value("storefront", "api-key").await;
    suspend(&space, "overdue", "ApiKey", "storefront").await;
    both.verifier.eventually_says("suspended", "scope=any", &old).await;

    kubectl(cluster, &space, &["replace", "--force", "-f"], Some(&manifest("second"))).unwrap();
    let after = until_seen(&space, "second").await;
    assert_ne!(after.uid(), before.uid());
    let new = space.value("storefront", "api-key").await;
    assert_ne!(new, old);
    assert_eq!(until_never_ok(&both.verifier, &new, "suspended").await, "suspended");
    assert_eq!(both.verifier.code("scope=any", &old).await, "unknown");
    space.until_state_is("storefront", "Suspended").await;
    until_told(&space, "ApiKey", "storefront", "Suspended").await;
}

/// Asks until the verifier says so, and fails if it ever says `ok`.
async fn until_never_ok(verifier: &Running, value: &str, code: &str) -> String {
    eventually(&format!("the verifier says {code}"), async || {
        let said = verifier.code("scope=any", value).await;
        assert_ne!(said, "ok", "there was a moment in which it passed");
        if said == code { Ok(said) } else { Err(said) }
    })
    .await
}

#[tokio::test]
async fn a_suspended_key_stays_suspended_when_it_is_deleted_and_created_again() {
    let cluster = Cluster::shared().await;
    let (space, both) = (owned(cluster).await, both().await);
    let mut old = space.ready_key("storefront").await;
    suspend(&space, "overdue", "ApiKey", "storefront").await;
    both.verifier.eventually_says("suspended", "scope=any", &old).await;
    for _ in 0..3 {
        kubectl(cluster, &space, &["delete", "ak", "storefront"], None).unwrap();
        until_never_ok(&both.verifier, &old, "unknown").await;
        kubectl(cluster, &space, &["create", "-f"], Some(&manifest("again"))).unwrap();
        until_seen(&space, "again").await;
        let new = space.value("storefront", "api-key").await;
        until_never_ok(&both.verifier, &new, "suspended").await;
        space.until_state_is("storefront", "Suspended").await;
        old = new;
    }
    lift(&space, "overdue").await;
    both.verifier.eventually_says("ok", "scope=any", &old).await;
}

#[tokio::test]
async fn a_suspended_account_that_is_deleted_and_created_again_lets_no_call_pass_in_between() {
    let (space, both) = (space().await, both().await);
    let value = space.ready_key("storefront").await;
    both.verifier.eventually_says("ok", "scope=any", &value).await;
    suspend(&space, "overdue", "Account", "acme").await;
    both.verifier.eventually_says("account_suspended", "scope=any", &value).await;

    let done = Arc::new(AtomicBool::new(false));
    let address = both.verifier.address.clone();
    let asking = tokio::spawn(ask_until(done.clone(), address, value.clone()));
    for _ in 0..5 {
        let uid = space.accounts().get("acme").await.unwrap().uid();
        space.accounts().delete("acme", &DeleteParams::default()).await.unwrap();
        both.verifier.eventually_says("account_not_found", "scope=any", &value).await;
        space.account("acme", json!({"accessLevel": "Full"})).await;
        both.verifier.eventually_says("account_suspended", "scope=any", &value).await;
        assert_ne!(space.accounts().get("acme").await.unwrap().uid(), uid);
    }
    done.store(true, Ordering::SeqCst);
    let said = asking.await.unwrap();
    assert!(said.len() > 10, "asked {} times", said.len());
    assert!(said.iter().all(|code| code == "account_suspended" || code == "account_not_found"), "{said:?}");
    until_suspended_for(&space, "acct/acme", Some("PaymentOverdue")).await;
    space.until_state_is("storefront", "Suspended").await;
    lift(&space, "overdue").await;
    both.verifier.eventually_says("ok", "scope=any", &value).await;
}

async fn ask_until(done: Arc<AtomicBool>, address: String, value: String) -> Vec<String> {
    let bearer = format!("Bearer {value}");
    let mut said = Vec::new();
    while !done.load(Ordering::SeqCst) {
        let answer = super::support::http::get(&address, "/auth?scope=any", &[("Authorization", &bearer)]).await;
        said.push(answer.unwrap().header("x-keywright-code").unwrap_or("none").to_owned());
    }
    said
}

#[tokio::test]
async fn what_was_suspended_before_it_was_there_never_passes() {
    let (space, both) = (space().await, both().await);
    suspend(&space, "key", "ApiKey", "storefront").await;
    suspend(&space, "account", "Account", "acme").await;
    // The suspensions are known when another one, made after them, is.
    let other = Space::new(Cluster::shared().await).await;
    let known = other.ready_key("known").await;
    suspend(&other, "known", "ApiKey", "known").await;
    both.verifier.eventually_says("suspended", "scope=any", &known).await;

    let value = space.ready_key("storefront").await;
    until_never_ok(&both.verifier, &value, "account_suspended").await;
    space.until_state_is("storefront", "Suspended").await;
    until_suspended_for(&space, "acct/acme", Some("PaymentOverdue")).await;
    until_told(&space, "ApiKey", "storefront", "Suspended").await;
    lift(&space, "account").await;
    until_never_ok(&both.verifier, &value, "suspended").await;
    lift(&space, "key").await;
    both.verifier.eventually_says("ok", "scope=any", &value).await;
}

#[tokio::test]
async fn a_suspended_account_takes_no_key_of_another_account_along() {
    let (space, both) = (space().await, both().await);
    let value = space.ready_key("storefront").await;
    space.account("globex", json!({"accessLevel": "Full"})).await;
    space.key("theirs", json!({"account": "globex", "accessLevel": "Full"})).await;
    space.until_ready_is("theirs", "Issued").await;
    let theirs = space.value("theirs", "api-key").await;
    suspend(&space, "overdue", "Account", "acme").await;
    both.verifier.eventually_says("account_suspended", "scope=any", &value).await;
    both.verifier.eventually_says("ok", "scope=any", &theirs).await;
    space.until_state_is("storefront", "Suspended").await;
    space.until_state_is("theirs", "Active").await;
}
