//! Who may connect to the pods, and they to whom.

use serde_json::{Value, json};

use super::support::chart::{Rendered, render};

const GATEWAY: &str =
    r#"networkPolicy.callers=[{"namespaceSelector":{"matchLabels":{"kubernetes.io/metadata.name":"gateway"}}}]"#;

fn policy<'r>(rendered: &'r Rendered, role: &str) -> &'r Value {
    &rendered.the("NetworkPolicy", &format!("keywright-{role}"))["spec"]
}

/// Who may connect to the port of this name.
fn let_in<'p>(policy: &'p Value, port: &str) -> Vec<&'p Value> {
    let rules = policy["ingress"].as_array().map_or(&[][..], Vec::as_slice);
    let to_port = |rule: &&Value| rule["ports"].as_array().unwrap().iter().any(|one| one["port"] == port);
    rules.iter().filter(to_port).map(|rule| &rule["from"]).collect()
}

#[test]
fn what_is_not_let_in_or_out_stays_where_it_is() {
    let rendered = render(&[]);
    for role in ["operator", "verifier"] {
        assert_eq!(policy(&rendered, role)["policyTypes"], json!(["Ingress", "Egress"]));
        let selector = &rendered.the("Deployment", &format!("keywright-{role}"))["spec"]["selector"];
        assert_eq!(&policy(&rendered, role)["podSelector"], selector);
    }
}

#[test]
fn only_those_who_are_named_ask_the_verifier_and_they_do_not_see_its_metrics() {
    let rendered = render(&[GATEWAY]);
    let gateway = json!([{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "gateway"}}}]);
    let verifier = policy(&rendered, "verifier");
    for port in ["http", "grpc"] {
        assert_eq!(let_in(verifier, port), [&gateway]);
    }
    assert_eq!(let_in(verifier, "admin"), [&json!([{"namespaceSelector": {}}])]);
}

#[test]
fn verifier_without_named_callers_admits_nobody() {
    let rendered = render(&[]);
    for port in ["http", "grpc"] {
        assert!(let_in(policy(&rendered, "verifier"), port).is_empty(), "{port}");
    }
}

#[test]
fn metrics_without_named_scrapers_are_open_to_all_pods() {
    let rendered = render(&[]);
    for role in ["operator", "verifier"] {
        assert_eq!(let_in(policy(&rendered, role), "admin"), [&json!([{"namespaceSelector": {}}])]);
    }
}

#[test]
fn where_nobody_is_named_nobody_is_let_in() {
    let rendered = render(&["networkPolicy.callers=[]", "networkPolicy.scrapers=[]"]);
    for role in ["operator", "verifier"] {
        assert!(policy(&rendered, role)["ingress"].is_null());
        assert_eq!(policy(&rendered, role)["policyTypes"], json!(["Ingress", "Egress"]));
    }
}

#[test]
fn nobody_asks_the_operator_anything_but_how_it_is() {
    let rendered = render(&[]);
    let rules = policy(&rendered, "operator")["ingress"].as_array().unwrap();
    assert_eq!(rules.len(), 1);
    assert_eq!(rules[0]["ports"], json!([{"port": "admin", "protocol": "TCP"}]));
}

#[test]
fn pods_reach_names_and_the_api_server_and_nothing_else() {
    let rendered = render(&["networkPolicy.apiServer={\"cidrs\":[\"10.0.0.1/32\"],\"ports\":[6443]}"]);
    for role in ["operator", "verifier"] {
        let egress = &policy(&rendered, role)["egress"];
        let names = json!({"ports": [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}]});
        let api = json!({"ports": [{"port": 6443, "protocol": "TCP"}], "to": [{"ipBlock": {"cidr": "10.0.0.1/32"}}]});
        assert_eq!(egress, &json!([names, api]));
    }
}

#[test]
fn policies_can_be_left_to_others() {
    assert_eq!(render(&["networkPolicy.enabled=false"]).of_kind("NetworkPolicy").count(), 0);
}

#[test]
fn requests_of_both_accounts_and_of_nobody_else_go_before_those_of_others() {
    let rendered = render(&[]);
    let spec = &rendered.the("FlowSchema", "keywright")["spec"];
    assert_eq!(spec["priorityLevelConfiguration"]["name"], "workload-high");
    let subjects = spec["rules"][0]["subjects"].as_array().unwrap();
    let names: Vec<String> = subjects.iter().map(|subject| subject["serviceAccount"].to_string()).collect();
    let of = |role: &str| json!({"name": format!("keywright-{role}"), "namespace": "keywright-system"}).to_string();
    assert_eq!(names, [of("operator"), of("verifier")]);
    assert_eq!(spec["rules"].as_array().unwrap().len(), 1);
    assert_eq!(render(&["flowSchema.enabled=false"]).of_kind("FlowSchema").count(), 0);
}
