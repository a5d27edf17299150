//! What must not cost a call, and what may.

use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::json;

use super::fixture::{activity, operator, settled, stop, until_totals, verifier};
use super::support::cluster::Cluster;
use super::support::eventually;
use super::support::keywright::Running;
use super::support::process::free_ports;
use super::support::space::Space;
use super::support::wire::Wire;

#[tokio::test]
async fn what_was_counted_while_the_api_server_was_away_is_written_when_it_is_back() {
    let cluster = Cluster::shared().await;
    let _operator = operator().await;
    let wire = Wire::start(cluster).await;
    let [listen, admin] = free_ports().unwrap();
    let verifier = Running::start(cluster, "verifier", &wire.kubeconfig, Some(listen), admin, &[]).unwrap();
    let verifier = verifier.ready().await;
    let space = Space::new(cluster).await;
    let key = space.ready_key("storefront").await;
    let before = settled(&[&verifier], std::slice::from_ref(&key)).await[0];
    wire.sever().await;
    for _ in 0..5 {
        assert_eq!(verifier.code("scope=any", &key).await, "ok");
    }
    eventually("a write fails", async || match verifier.metric::<u64>("keywright_activity_failed_total").await {
        0 => Err("none yet"),
        _ => Ok(()),
    })
    .await;
    assert_eq!(activity(&space, "storefront").await, None);
    wire.mend();
    let said = until_totals(&space, "storefront", |total| total.allowed >= before + 5).await;
    assert_eq!((said.requests.allowed, said.requests.denied), (before + 5, 0));
}

#[tokio::test]
async fn a_status_that_was_wiped_or_edited_by_hand_is_gone_on_from_and_nothing_breaks() {
    let cluster = Cluster::shared().await;
    let (_operator, verifier) = (operator().await, verifier(cluster, &[]).await);
    let space = Space::new(cluster).await;
    let key = space.ready_key("storefront").await;
    let before = settled(&[&verifier], std::slice::from_ref(&key)).await[0];
    until_totals(&space, "storefront", |total| total.allowed == before).await;
    let edited =
        json!({"status": {"activity": {"asOf": "2020-01-01T00:00:00Z", "requests": {"allowed": 1000, "denied": 7}}}});
    space.keys().patch_status("storefront", &PatchParams::default(), &Patch::Merge(&edited)).await.unwrap();
    assert_eq!(verifier.code("scope=any", &key).await, "ok");
    stop(&verifier);
    let said = until_totals(&space, "storefront", |total| total.allowed > 1000).await;
    assert_eq!((said.requests.allowed, said.requests.denied), (1001, 7), "a person's numbers are gone on from");
}

#[tokio::test]
async fn a_key_that_is_deleted_with_calls_pending_is_dropped_and_its_namesake_begins_anew() {
    let cluster = Cluster::shared().await;
    let (_operator, verifier) = (operator().await, verifier(cluster, &[]).await);
    let space = Space::new(cluster).await;
    let key = space.ready_key("storefront").await;
    settled(&[&verifier], std::slice::from_ref(&key)).await;
    space.keys().delete("storefront", &DeleteParams::default()).await.unwrap();
    eventually("it is gone", async || match space.secrets().get_opt("storefront").await.unwrap() {
        Some(secret) => {
            // The operator may have been first.
            let _ = space.secrets().delete(&secret.metadata.name.unwrap(), &DeleteParams::default()).await;
            Err("its Secret is there")
        }
        None => Ok(()),
    })
    .await;
    let namesake = space.ready_key("storefront").await;
    let passed = settled(&[&verifier], std::slice::from_ref(&namesake)).await[0];
    stop(&verifier);
    let said = until_totals(&space, "storefront", |total| total.allowed > 0).await;
    assert_eq!(said.requests.allowed, passed);
}
