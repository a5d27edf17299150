//! How many of each there are, how they come and go, and what the chart leaves behind.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::MODES;
use super::support::chart::{Rendered, chart, helm, render, template};
use super::support::cluster::Cluster;

fn deployment<'r>(rendered: &'r Rendered, role: &str) -> &'r Value {
    &rendered.the("Deployment", &format!("keywright-{role}"))["spec"]
}

#[test]
fn there_are_two_of_each_and_one_goes_only_when_another_is_there() {
    let rendered = render(&[]);
    for role in ["operator", "verifier"] {
        let spec = deployment(&rendered, role);
        assert_eq!(spec["replicas"], 2);
        let strategy = json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}});
        assert_eq!(spec["strategy"], strategy, "{role}");
    }
}

#[test]
fn of_operators_one_leads_however_few_there_are() {
    for values in [&[][..], &["operator.replicas=1"]] {
        assert!(render(values).args("operator").contains(&"--leader-election"));
    }
    assert!(!render(&[]).args("verifier").contains(&"--leader-election"), "verifiers need no leader");
}

#[test]
fn pods_of_a_role_are_spread_over_nodes_and_zones_and_never_kept_from_running() {
    let rendered = render(&[]);
    for role in ["operator", "verifier"] {
        let spread = rendered.pod(role)["topologySpreadConstraints"].as_array().unwrap();
        let keys: Vec<_> = spread.iter().map(|one| one["topologyKey"].as_str().unwrap()).collect();
        assert_eq!(keys, ["kubernetes.io/hostname", "topology.kubernetes.io/zone"]);
        for one in spread {
            assert_eq!(one["whenUnsatisfiable"], "ScheduleAnyway");
            assert_eq!(one["labelSelector"]["matchLabels"], deployment(&rendered, role)["selector"]["matchLabels"]);
            // Of an update's old and new pods, each are spread for themselves.
            assert_eq!(one["matchLabelKeys"], json!(["pod-template-hash"]));
        }
    }
}

#[test]
fn a_verifier_has_the_time_that_its_stopping_takes() {
    // What it waits for after the delay: calls under way, its Lease, a write of activity under way, and the rest of it.
    let (drain, farewell, write, rest) = (10, 2, 10, 10);
    for delay in [0, 5, 120] {
        let rendered = render(&[&format!("verifier.shutdownDelaySeconds={delay}")]);
        let grace = rendered.pod("verifier")["terminationGracePeriodSeconds"].as_i64().unwrap();
        assert!(grace > delay + drain + farewell + write + rest, "{grace} s with a delay of {delay} s");
    }
}

#[test]
fn probes_ask_the_admin_port_and_nothing_else() {
    let rendered = render(&[]);
    for role in ["operator", "verifier"] {
        let container = rendered.container(role);
        for (probe, path) in [("startupProbe", "/livez"), ("livenessProbe", "/livez"), ("readinessProbe", "/readyz")] {
            assert_eq!(container[probe]["httpGet"], json!({"path": path, "port": "admin"}), "{role} {probe}");
        }
    }
}

#[test]
fn the_programs_listen_on_the_pods_address_and_on_the_ports_that_the_pod_names() {
    for host in ["0.0.0.0", "[::]"] {
        let rendered = render(&[&format!("listenHost=\"{host}\"")]);
        for (role, flag, name) in [
            ("operator", "admin-listen", "admin"),
            ("verifier", "listen", "http"),
            ("verifier", "grpc-listen", "grpc"),
            ("verifier", "admin-listen", "admin"),
        ] {
            let ports = rendered.container(role)["ports"].as_array().unwrap();
            let port = &ports.iter().find(|port| port["name"] == name).unwrap()["containerPort"];
            let arg = format!("--{flag}={host}:{port}");
            assert!(rendered.args(role).contains(&arg.as_str()), "{arg} is not in {:?}", rendered.args(role));
        }
    }
}

#[test]
fn a_drain_of_nodes_leaves_verifiers_and_is_not_held_up_by_those_that_are_not_ready() {
    let budget = &render(&[]).the("PodDisruptionBudget", "keywright-verifier")["spec"].clone();
    assert_eq!(budget["maxUnavailable"], 1);
    assert_eq!(budget["unhealthyPodEvictionPolicy"], "AlwaysAllow");
    let operators = &render(&[]).the("PodDisruptionBudget", "keywright-operator")["spec"].clone();
    assert_eq!(
        (&operators["maxUnavailable"], &operators["unhealthyPodEvictionPolicy"]),
        (&json!(1), &json!("AlwaysAllow"))
    );
    let off = render(&["verifier.podDisruptionBudget.enabled=false", "operator.podDisruptionBudget.enabled=false"]);
    assert_eq!(off.of_kind("PodDisruptionBudget").count(), 0);
}

#[test]
fn what_selects_pods_selects_those_of_its_role_and_never_changes() {
    for (mode, values) in MODES {
        let rendered = render(values);
        let labels = |role: &str| deployment(&rendered, role)["template"]["metadata"]["labels"].clone();
        for role in ["operator", "verifier"] {
            let fixed = json!({"app.kubernetes.io/name": "keywright", "app.kubernetes.io/component": role});
            assert_eq!(deployment(&rendered, role)["selector"]["matchLabels"], fixed, "{mode}");
            for (label, value) in fixed.as_object().unwrap() {
                assert_eq!(&labels(role)[label], value, "{mode}");
            }
        }
        for name in ["keywright-verifier", "keywright-verifier-headless"] {
            let service = &rendered.the("Service", name)["spec"]["selector"];
            assert_eq!(service, &deployment(&rendered, "verifier")["selector"]["matchLabels"], "{mode}");
        }
    }
}

#[test]
fn the_service_says_which_protocol_each_port_speaks() {
    let protocols = |values: &[&str]| {
        let rendered = render(values);
        let ports = rendered.the("Service", "keywright-verifier")["spec"]["ports"].as_array().unwrap().clone();
        let said = ports.iter().map(|port| [&port["name"], &port["port"], &port["appProtocol"]].map(Value::to_string));
        said.map(|said| said.join(" ").replace('"', "")).collect::<Vec<_>>()
    };
    assert_eq!(protocols(&[]), ["http 7070 http", "grpc 7071 kubernetes.io/h2c"]);
    assert_eq!(protocols(&["verifier.tls.secretName=\"a\""]), ["http 7070 https", "grpc 7071 https"]);
}

#[test]
fn whoever_keeps_connections_open_finds_each_verifier_that_is_ready_by_its_own_address() {
    let rendered = render(&["verifier.service.type=\"LoadBalancer\"", "verifier.service.annotations={\"a\":\"b\"}"]);
    let headless = rendered.the("Service", "keywright-verifier-headless");
    assert_eq!(headless["spec"]["clusterIP"], "None");
    assert!(headless["spec"]["publishNotReadyAddresses"].is_null(), "those that are not ready would refuse");
    assert!(headless["spec"]["type"].is_null() && headless["metadata"]["annotations"].is_null());
    assert_eq!(headless["spec"]["ports"], rendered.the("Service", "keywright-verifier")["spec"]["ports"]);
}

#[test]
fn a_verifier_that_nobody_asks_over_grpc_need_not_listen_there() {
    let callers = r#"networkPolicy.callers=[{"podSelector":{"matchLabels":{"app":"nginx"}}}]"#;
    let rendered = render(&["verifier.grpc.enabled=false", callers]);
    let container = &deployment(&rendered, "verifier")["template"]["spec"]["containers"][0];
    assert!(container["args"].as_array().unwrap().contains(&json!("--grpc-listen=off")), "{container}");
    let policy = &rendered.the("NetworkPolicy", "keywright-verifier")["spec"]["ingress"];
    let services = ["keywright-verifier", "keywright-verifier-headless"].map(|name| rendered.the("Service", name));
    for part in [&container["ports"], policy, &services[0]["spec"], &services[1]["spec"]] {
        let part = part.to_string();
        assert!(part.contains("\"http\"") && !part.contains("grpc") && !part.contains("7071"), "{part}");
    }
}

#[test]
fn crds_stay_when_the_chart_goes_unless_told_otherwise() {
    let kept = |values: &[&str]| {
        let rendered = render(values);
        let policy = |crd: &Value| crd["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep";
        let kept: Vec<bool> = rendered.of_kind("CustomResourceDefinition").map(policy).collect();
        kept
    };
    assert_eq!(kept(&[]), [true; 3]);
    assert_eq!(kept(&["crds.keep=false"]), [false; 3]);
    assert!(kept(&["crds.enabled=false"]).is_empty());
}

#[test]
fn the_records_of_keys_stay_when_the_chart_goes_whatever_it_is_told() {
    for (mode, values) in MODES {
        let rendered = render(values);
        let namespace = &rendered.the("Namespace", "keywright-entries")["metadata"];
        assert_eq!(namespace["annotations"]["helm.sh/resource-policy"], "keep", "{mode}");
        assert_eq!(namespace["labels"]["pod-security.kubernetes.io/enforce"], "restricted", "{mode}");
    }
}

#[test]
fn every_object_is_named_once_labelled_and_in_a_namespace_that_is_ours_or_watched() {
    for (mode, values) in MODES {
        let rendered = render(values);
        let mut seen = BTreeSet::new();
        for object in &rendered.0 {
            let meta = &object["metadata"];
            let name = format!("{} {}/{}", object["kind"], meta["namespace"], meta["name"]);
            assert!(seen.insert(name.clone()), "{mode}: {name} comes twice");
            if !matches!(object["kind"].as_str(), Some("CustomResourceDefinition" | "ConfigMap")) {
                assert_eq!(meta["labels"]["app.kubernetes.io/name"], "keywright", "{mode}: {name}");
            }
            let namespace = meta["namespace"].as_str().unwrap_or("keywright-system");
            assert!(["keywright-system", "keywright-entries", "shop", "team-b"].contains(&namespace), "{mode}: {name}");
        }
    }
}

#[test]
fn objects_of_ones_own_are_installed_too_and_their_templates_are_rendered() {
    let (_, everything) = MODES[2];
    let rendered = render(everything);
    assert_eq!(rendered.the("ConfigMap", "extra")["metadata"]["namespace"], "keywright-system");
}

#[test]
fn helm_finds_nothing_to_complain_about() {
    let chart = chart().display().to_string();
    for (mode, values) in MODES {
        let sets: Vec<String> = values.iter().map(|value| format!("--set-json={value}")).collect();
        let mut args = vec!["lint", "--strict", "--namespace", "keywright-system", "--kube-version", "1.33.0", &chart];
        args.extend(sets.iter().map(String::as_str));
        helm(&args).unwrap_or_else(|error| panic!("{mode}: {error}"));
    }
}

#[tokio::test]
async fn after_an_installation_the_next_commands_are_told() {
    let cluster = Cluster::shared().await;
    let chart = chart().display().to_string();
    let notes = |more: &[&str]| {
        let args = ["upgrade", "keywright", &chart, "--namespace", "keywright-system", "--dry-run=server"];
        let told = cluster.plane.helm(&[&args[..], more].concat()).unwrap();
        told.split_once("NOTES:").unwrap().1.to_owned()
    };
    let told = notes(&[]);
    assert!(told.trim_start().starts_with("Keywright"), "{told}");
    for words in [
        "kubectl rollout status -n keywright-system deployment/keywright-operator",
        "kubectl wait -n shop --for=condition=Ready apikey/storefront",
        "curl -i 'http://127.0.0.1:7070/auth?scope=orders:read'",
        "Nobody may ask the verifier yet",
        r#"--set-json 'networkPolicy.callers=[{"namespaceSelector":{"matchLabels":{"kubernetes.io/metadata.name":"#,
        "Set verifier.tls.secretName",
    ] {
        assert!(told.contains(words), "{words} is not in {told}");
    }
    let told = notes(&["--set-json=watchNamespaces=[\"team-b\"]", "--set-json=verifier.tls.secretName=\"a\""]);
    for words in ["for the namespaces team-b", "-n team-b --for=condition=Ready", "curl -ik 'https://127.0.0.1:7070"] {
        assert!(told.contains(words), "{words} is not in {told}");
    }
    assert!(!told.contains("in the clear"), "{told}");
    let gateway = r#"--set-json=networkPolicy.callers=[{"podSelector":{"matchLabels":{"app":"envoy"}}}]"#;
    let told = notes(&[gateway]);
    assert!(!told.contains("may ask the verifier"), "{told}");
    let told = notes(&[r#"--set-json=networkPolicy.callers=[{"namespaceSelector":{}}]"#]);
    assert!(told.contains("Every pod of the cluster may ask the verifier"), "{told}");
    let told = notes(&["--set-json=networkPolicy.enabled=false"]);
    assert!(!told.contains("may ask the verifier"), "{told}");
}

#[test]
fn another_name_of_the_release_changes_no_name_of_an_object() {
    let chart = chart().display().to_string();
    let other =
        helm(&["template", "other", &chart, "--namespace", "keywright-system", "--kube-version", "1.33.0"]).unwrap();
    for name in template(&[]).unwrap().0.iter().map(|object| object["metadata"]["name"].as_str().unwrap().to_owned()) {
        assert!(other.contains(&format!("name: {name}")), "{name}");
    }
}
