//! What a Suspension reports of its target, and who suspends.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::DeleteParams;
use serde_json::json;

use super::support::cluster::Cluster;
use super::support::eventually;
use super::support::space::{Space, both};
use super::{lift, space, suspend, suspend_as, suspended, suspensions};

/// Waits until a condition of a Suspension has a status and a reason, and returns its message.
async fn until(space: &Space, name: &str, condition: &str, expected: (&str, &str)) -> String {
    eventually(&format!("{condition} of {name} is {expected:?}"), async || {
        let suspension = suspensions(space).get(name).await.map_err(|e| e.to_string())?;
        let conditions: Vec<Condition> = suspension.status.unwrap_or_default().conditions;
        let found = conditions.into_iter().find(|one| one.type_ == condition);
        match found {
            Some(is) if (is.status.as_str(), is.reason.as_str()) == expected => Ok(is.message),
            other => Err(format!("{other:?}")),
        }
    })
    .await
}

/// Waits until `Enforced` is about verifiers. Those that other tests of this binary have killed would be waited for.
async fn until_provable(space: &Space, name: &str) {
    eventually(&format!("{name} waits for verifiers"), async || {
        let suspension = suspensions(space).get(name).await.map_err(|e| e.to_string())?;
        let conditions: Vec<Condition> = suspension.status.unwrap_or_default().conditions;
        let enforced = conditions.into_iter().find(|one| one.type_ == "Enforced");
        match enforced {
            Some(is) if is.reason != "TargetNotFound" => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
}

#[tokio::test]
async fn suspension_without_a_target_is_not_enforced() {
    let (space, both) = (space().await, both().await);
    suspend(&space, "early", "ApiKey", "storefront").await;
    let told = until(&space, "early", "TargetFound", ("False", "TargetNotFound")).await;
    assert!(told.contains("there is no ApiKey storefront in this namespace"), "{told}");
    until(&space, "early", "Enforced", ("Unknown", "TargetNotFound")).await;
    let value = space.ready_key("storefront").await;
    until(&space, "early", "TargetFound", ("True", "Found")).await;
    until_provable(&space, "early").await;
    both.verifier.eventually_says("suspended", "scope=any", &value).await;
    space.keys().delete("storefront", &DeleteParams::default()).await.unwrap();
    until(&space, "early", "TargetFound", ("False", "TargetNotFound")).await;
    until(&space, "early", "Enforced", ("Unknown", "TargetNotFound")).await;
}

#[tokio::test]
async fn suspension_of_an_account_finds_it_when_it_is_created() {
    let (space, _both) = (space().await, both().await);
    suspend(&space, "early", "Account", "acme").await;
    until(&space, "early", "TargetFound", ("False", "TargetNotFound")).await;
    space.account("acme", json!({"accessLevel": "Full"})).await;
    until(&space, "early", "TargetFound", ("True", "Found")).await;
    until_provable(&space, "early").await;
}

#[tokio::test]
async fn owner_s_suspension_refuses_the_key_and_names_its_owner() {
    let (space, both) = (space().await, both().await);
    let cluster = Cluster::shared().await;
    let value = space.ready_key("storefront").await;
    let target = json!({"kind": "ApiKey", "name": "storefront"});
    suspend_as(
        &space,
        "a-hold",
        json!({"target": target, "by": "Owner", "reason": "Leak", "message": "It was posted."}),
    )
    .await;
    both.verifier.eventually_says("suspended", "scope=any", &value).await;
    space.until_state_is("storefront", "Suspended").await;
    let message = || suspended(&space, cluster, "ak/storefront").map(|condition| condition.message);
    eventually("the owner's words", async || match message().as_deref() {
        Some("suspended by its owner: It was posted.") => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    // Of several the platform's comes first, whatever the names.
    suspend_as(&space, "overdue", json!({"target": target, "reason": "PaymentOverdue"})).await;
    eventually("the platform's words", async || match message().as_deref() {
        Some("suspended by the platform") => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    lift(&space, "a-hold").await;
    lift(&space, "overdue").await;
    both.verifier.eventually_says("ok", "scope=any", &value).await;
}
