//! What verifiers say that they have applied is theirs to write; the operator reads it, and collects what dead ones leave.

use serde_json::json;

use super::{Scene, ask, patch, patches_and_sweeps, reads, scene};

fn leases(namespace: &str) -> String {
    format!("/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases")
}

#[tokio::test]
async fn the_operator_lists_and_collects_the_leases_of_verifiers_and_writes_none() {
    let Scene { namespace, admin, operator, .. } = scene().await;
    let (all, name) = (leases("keywright-entries"), "of-a-dead-verifier");
    let one = format!("{all}/{name}");
    let lease = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": name}});
    admin.may(ask("POST", &all).with(&lease)).await;
    let other_reads = reads(&all, name).into_iter().filter(|(verb, _)| *verb != "list").collect();
    operator.has_no_right_to("leases", other_reads).await;
    let writes = vec![("create", ask("POST", &all)), ("update", ask("PUT", &one).with(&lease))];
    operator.has_no_right_to("leases", writes).await;
    operator.has_no_right_to("leases", patches_and_sweeps(&all, name)).await;
    operator.may(ask("GET", &all)).await;
    operator.may(ask("DELETE", &one)).await;
    for elsewhere in ["keywright-system", "kube-system", &namespace] {
        operator.has_no_right_to("leases", reads(&leases(elsewhere), name)).await;
        operator
            .has_no_right_to("leases", vec![("delete", ask("DELETE", &format!("{}/{name}", leases(elsewhere))))])
            .await;
    }
}

#[tokio::test]
async fn the_operator_keeps_the_lease_of_who_acts_and_no_other_beside_it() {
    let Scene { admin, operator, .. } = scene().await;
    let all = leases("keywright-system");
    let lease =
        |name: &str| json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": name}});
    let (own, other) = (format!("{all}/keywright-operator"), format!("{all}/another"));
    admin.may(ask("POST", &all).with(&lease("another"))).await;
    operator.may(ask("POST", &all).with(&lease("keywright-operator"))).await;
    operator.may(ask("GET", &own)).await;
    operator.may(patch("merge-patch+json", &own, &json!({"spec": {"holderIdentity": "a"}}))).await;
    let writes = [("update", ask("PUT", &own).with(&lease("keywright-operator"))), ("delete", ask("DELETE", &own))];
    operator.has_no_right_to("leases", writes.into()).await;
    operator.has_no_right_to("leases", reads(&all, "another")).await;
    let writes = [("update", ask("PUT", &other).with(&lease("another"))), ("delete", ask("DELETE", &other))];
    operator.has_no_right_to("leases", writes.into()).await;
    operator.has_no_right_to("leases", patches_and_sweeps(&all, "another")).await;
}

#[tokio::test]
async fn the_operator_says_of_a_suspension_whether_it_is_enforced_and_touches_nothing_else_of_it() {
    let Scene { namespace, admin, operator, .. } = scene().await;
    let all = format!("/apis/keywright.dev/v1alpha1/namespaces/{namespace}/suspensions");
    let one = format!("{all}/abuse");
    let spec = json!({"target": {"kind": "ApiKey", "name": "storefront"}, "reason": "Abuse"});
    let made = json!({"apiVersion": "keywright.dev/v1alpha1", "kind": "Suspension", "metadata": {"name": "abuse"}, "spec": spec});
    let mut made = admin.may(ask("POST", &all).with(&made)).await;
    made["spec"]["reason"] = "Mercy".into();
    made["status"] = json!({"observedGeneration": 1});
    let said = operator.may(ask("PUT", &format!("{one}/status")).with(&made)).await;
    assert_eq!((&said["spec"]["reason"], &said["status"]), (&json!("Abuse"), &made["status"]));
    operator.has_no_right_to("suspensions", patches_and_sweeps(&all, "abuse")).await;
    let writes = [("create", ask("POST", &all)), ("update", ask("PUT", &one)), ("delete", ask("DELETE", &one))];
    operator.has_no_right_to("suspensions", writes.into()).await;
}
