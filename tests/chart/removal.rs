//! What stays when the chart goes, and what becomes of it when the chart comes back.

use super::support::cluster::Cluster;
use super::support::eventually;
use super::support::keywright::Running;
use super::support::space::Space;

#[tokio::test]
async fn keys_outlive_the_chart_block_nothing_while_it_is_gone_and_work_again_when_it_is_back() {
    let dir = std::env::temp_dir().join(format!("keywright-test-{}", std::process::id())).join("removal");
    // One of its own, for the other tests need the chart.
    let cluster = Cluster::start(&dir).await.unwrap();
    cluster.plane.with_controller_manager().unwrap();
    let (stays, goes) = (Space::new(&cluster).await, Space::new(&cluster).await);
    let operator = Running::operator(&cluster, &[]).await.unwrap().ready().await;
    let value = stays.ready_key("storefront").await;
    goes.ready_key("storefront").await;
    operator.process.terminate().unwrap();

    let release = ["keywright", "--namespace", "keywright-system"];
    cluster.plane.helm(&[&["uninstall"], &release[..]].concat()).unwrap();
    let gone = ["get", "deployments,clusterroles,flowschemas,validatingadmissionpolicies", "-A", "-l"];
    let gone =
        cluster.plane.kubectl(&[&gone[..], &["app.kubernetes.io/name=keywright", "-o", "name"]].concat()).unwrap();
    assert_eq!(gone, "", "the chart left these");
    assert_eq!(stays.value("storefront", "api-key").await, value);
    cluster.plane.kubectl(&["delete", "namespace", &goes.name, "--wait=false"]).unwrap();
    eventually("a namespace with keys goes while nothing of ours is there", async || {
        let there = cluster.plane.kubectl(&["get", "namespace", &goes.name, "--ignore-not-found"]);
        let there = there.map_err(|error| error.to_string())?;
        if there.is_empty() { Ok(()) } else { Err(there) }
    })
    .await;

    cluster.install_chart().unwrap();
    let operator = Running::operator(&cluster, &[]).await.unwrap().ready().await;
    let verifier = Running::verifier(&cluster, &[]).await.unwrap().ready().await;
    verifier.eventually_says("ok", "scope=any", &value).await;
    // The operator goes by the same record: what it issues next is the second value, not another first one.
    stays.patch_key("storefront", serde_json::json!({"spec": {"rotation": {"revision": 1}}})).await;
    stays.until_serial("storefront", 2).await;
    verifier.eventually_says("ok", "scope=any", &value).await;
    drop(operator);
}
