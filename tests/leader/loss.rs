//! What becomes of operators that may not keep the Lease, or whose Lease is taken away.

use std::time::Instant;

use k8s_openapi::api::rbac::v1::Role;
use kube::Api;
use kube::api::{DeleteParams, PostParams};

use super::support::keywright::Running;
use super::support::{eventually, http};
use super::{Lease, Scene, TERM, log, scene, until_it_leads};

fn roles(scene: &Scene) -> Api<Role> {
    Api::namespaced(scene.space.client.clone(), "keywright-system")
}

/// The chart's Role, as it is and without its rules on Leases.
async fn role(scene: &Scene) -> (Role, Role) {
    let whole = roles(scene).get("keywright-operator").await.unwrap();
    let mut without = whole.clone();
    let is_of_leases = |resources: &Option<Vec<String>>| resources.as_ref().is_some_and(|all| all[0] == "leases");
    without.rules.as_mut().unwrap().retain(|rule| !is_of_leases(&rule.resources));
    assert_ne!(without.rules, whole.rules);
    (whole, without)
}

async fn put(scene: &Scene, role: &Role) {
    let mut role = role.clone();
    role.metadata.resource_version = None;
    roles(scene).replace("keywright-operator", &PostParams::default(), &role).await.unwrap();
}

async fn until_it_says_what_to_do(operator: &Running) {
    eventually("it says what to do", async || {
        let answer = http::get(&operator.admin, "/readyz", &[]).await.map_err(|e| e.to_string())?;
        let says = [
            "may not keep Lease keywright-operator in its own namespace",
            "apply the chart again",
            "--leader-election",
        ];
        if answer.status == 503 && says.iter().all(|words| answer.body.contains(words)) {
            Ok(())
        } else {
            Err(format!("{} {}", answer.status, answer.body))
        }
    })
    .await;
}

#[tokio::test]
async fn a_leader_that_may_not_renew_ends_with_its_term_and_nobody_leads_until_somebody_may() {
    let scene = scene().await;
    let (whole, without) = role(&scene).await;
    put(&scene, &without).await;
    let since = Instant::now();
    let code = scene.leader.process.wait().unwrap();
    let took = since.elapsed();
    println!("a leader that could not renew ended after {took:?}");
    let said = log(&scene.leader);
    assert_eq!(code, Some(0), "{said}");
    assert!(took < TERM + TERM / 5, "{took:?}");
    assert!(said.contains("may not keep Lease") && said.contains("the Lease was not renewed for 15s"), "{said}");
    until_it_says_what_to_do(&scene.other).await;
    assert_eq!(scene.other.metric::<u64>("keywright_leader").await, 0);
    put(&scene, &whole).await;
    until_it_leads(&scene.other).await;
    let keys = scene.new_keys(1, "key").await;
    scene.first_values(&keys).await;
}

#[tokio::test]
async fn a_leader_whose_lease_is_deleted_ends_and_the_other_makes_it_anew() {
    let scene = scene().await;
    let leases = Api::<Lease>::namespaced(scene.space.client.clone(), "keywright-system");
    leases.delete("keywright-operator", &DeleteParams::default()).await.unwrap();
    assert_eq!(scene.leader.process.wait().unwrap(), Some(0));
    until_it_leads(&scene.other).await;
    let keys = scene.new_keys(1, "key").await;
    scene.first_values(&keys).await;
}
