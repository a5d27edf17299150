//! What a real API server says of everything that is rendered.

use std::fs;

use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::PostParams;
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use super::MODES;
use super::support::chart::{Rendered, render};
use super::support::cluster::Cluster;
use super::support::eventually;

/// Kinds of the Prometheus Operator, with as much of their schemas as the chart uses: a misspelt field is refused.
const MONITORING: &str = include_str!("monitoring-crds.yaml");

/// A cluster that has whatever the modes ask for.
async fn cluster() -> &'static Cluster {
    static READY: OnceCell<&Cluster> = OnceCell::const_new();
    READY
        .get_or_init(async || {
            let cluster = Cluster::shared().await;
            let plane = &cluster.plane;
            for namespace in ["shop", "team-b"] {
                plane.kubectl(&["create", "namespace", namespace]).unwrap();
            }
            let crds = plane.dir.join("monitoring-crds.yaml");
            fs::write(&crds, MONITORING).unwrap();
            plane.kubectl(&["apply", "-f", &crds.display().to_string()]).unwrap();
            plane.kubectl(&["wait", "--for=condition=Established", "crd", "--all", "--timeout=60s"]).unwrap();
            cluster
        })
        .await
}

/// Asks for a dry run with strict validation of all of it, as for something new.
fn ask(cluster: &Cluster, name: &str, rendered: &Rendered) -> super::support::Result<String> {
    let list = json!({"apiVersion": "v1", "kind": "List", "items": rendered.0});
    let file = cluster.plane.dir.join(format!("{name}.json"));
    fs::write(&file, list.to_string())?;
    let apply = ["apply", "--server-side", "--force-conflicts", "--field-manager=test", "--dry-run=server"];
    cluster.plane.kubectl(&[&apply[..], &["--validate=strict", "-f", &file.display().to_string()]].concat())
}

#[tokio::test]
async fn every_object_of_every_mode_is_taken_by_a_real_api_server_with_strict_validation() {
    let cluster = cluster().await;
    for (at, (mode, values)) in MODES.iter().enumerate() {
        let rendered = render(values);
        let said = ask(cluster, &format!("mode-{at}"), &rendered).unwrap_or_else(|error| panic!("{mode}: {error}"));
        assert_eq!(said.lines().count(), rendered.0.len(), "{mode}: {said}");
    }
}

#[tokio::test]
async fn a_field_that_an_object_does_not_have_would_be_refused() {
    let cluster = cluster().await;
    // Were it not, the test before this one would prove nothing.
    for (mode, kind, path) in [
        (0, "Deployment", "/spec/template/spec/containers/0/securityContext"),
        (0, "NetworkPolicy", "/spec"),
        (0, "FlowSchema", "/spec"),
        (2, "ServiceMonitor", "/spec/endpoints/0"),
        (2, "PrometheusRule", "/spec/groups/0/rules/0"),
        (4, "PodMonitor", "/spec/podMetricsEndpoints/0"),
    ] {
        let mut object = render(MODES[mode].1).of_kind(kind).next().unwrap().clone();
        object.pointer_mut(path).unwrap()["misspelt"] = true.into();
        let Err(error) = ask(cluster, "misspelt", &Rendered(vec![object])) else { panic!("{kind} was taken") };
        assert!(error.to_string().contains("misspelt"), "{kind}: {error}");
    }
}

fn as_pod(spec: &Value) -> Pod {
    serde_json::from_value(json!({"metadata": {"generateName": "try-"}, "spec": spec})).unwrap()
}

#[tokio::test]
async fn the_pods_are_admitted_where_the_restricted_profile_is_enforced() {
    let cluster = cluster().await;
    let namespace = cluster.namespace().await;
    cluster
        .plane
        .kubectl(&["label", "namespace", &namespace, "pod-security.kubernetes.io/enforce=restricted"])
        .unwrap();
    let pods = Api::<Pod>::namespaced(cluster.plane.client().await.unwrap(), &namespace);
    let dry_run = PostParams { dry_run: true, ..PostParams::default() };
    for (mode, values) in MODES {
        let rendered = render(values);
        for role in ["operator", "verifier"] {
            let mut spec = rendered.pod(role).clone();
            // The account and the class are not in this namespace; neither says anything of the profile.
            spec.as_object_mut()
                .unwrap()
                .retain(|field, _| !["serviceAccountName", "priorityClassName"].contains(&field.as_str()));
            spec["automountServiceAccountToken"] = false.into();
            let mut root = spec.clone();
            root["securityContext"]["runAsNonRoot"] = false.into();
            cluster.plane.kubectl(&["create", "serviceaccount", "default", "-n", &namespace]).ok();
            pods.create(&dry_run, &as_pod(&spec)).await.unwrap_or_else(|error| panic!("{mode}: {role}: {error}"));
            let refused = pods.create(&dry_run, &as_pod(&root)).await.unwrap_err().to_string();
            assert!(refused.contains("violates PodSecurity \"restricted"), "{mode}: {role}: {refused}");
        }
    }
}

#[tokio::test]
async fn the_api_server_puts_our_requests_into_our_flow() {
    let cluster = cluster().await;
    let uid =
        |kind: &str, name: &str| cluster.plane.kubectl(&["get", kind, name, "-o", "jsonpath={.metadata.uid}"]).unwrap();
    let (schema, level) = (uid("flowschema", "keywright"), uid("prioritylevelconfiguration", "workload-high"));
    for role in ["operator", "verifier"] {
        let client = cluster.client_as(&format!("keywright-{role}")).await.unwrap();
        eventually(&format!("requests of the {role} are in our flow"), async || {
            let request =
                http::Request::get("/apis/keywright.dev/v1alpha1/apikeys?limit=1").body(Vec::new().into()).unwrap();
            let answer = client.send(request).await.map_err(|error| error.to_string())?;
            let said =
                |header: &str| answer.headers().get(header).and_then(|value| value.to_str().ok()).map(str::to_owned);
            let is = (said("x-kubernetes-pf-flowschema-uid"), said("x-kubernetes-pf-prioritylevel-uid"));
            if is == (Some(schema.clone()), Some(level.clone())) { Ok(()) } else { Err(format!("{is:?}")) }
        })
        .await;
    }
}
