//! Which values the chart takes, and what it says of others.

use std::fs;

use serde_json::{Map, Value, json};

use super::support::chart::{chart, render, template, try_render};

pub fn schema() -> Value {
    serde_json::from_str(&fs::read_to_string(chart().join("values.schema.json")).unwrap()).unwrap()
}

pub fn values() -> Value {
    serde_yaml_ng::from_str(&fs::read_to_string(chart().join("values.yaml")).unwrap()).unwrap()
}

fn properties(schema: &Value) -> Option<&Map<String, Value>> {
    schema.get("properties")?.as_object()
}

/// The paths of all objects whose fields are given.
fn strict_objects(path: &str, schema: &Value, all: &mut Vec<String>) {
    let Some(fields) = properties(schema) else { return };
    all.push(path.to_owned());
    for (name, field) in fields {
        strict_objects(&if path.is_empty() { name.clone() } else { format!("{path}.{name}") }, field, all);
    }
}

/// Holds that Helm refuses these arguments and says why.
fn refused(values: &[&str], says: &str) {
    let Err(error) = try_render(values) else { panic!("{values:?} was taken") };
    assert!(error.to_string().contains(says), "{values:?}: expected `{says}` in: {error}");
}

#[test]
fn a_value_that_is_not_there_is_refused_on_every_level() {
    let mut paths = Vec::new();
    strict_objects("", &schema(), &mut paths);
    assert!(paths.len() > 15, "{paths:?}");
    for path in paths {
        let value = if path.is_empty() { "replica=1".to_owned() } else { format!("{path}.replica=1") };
        refused(&[&value], "additional properties 'replica' not allowed");
    }
}

#[test]
fn every_value_has_a_default_a_type_and_a_sentence_that_describes_it() {
    fn compare(path: &str, schema: &Value, value: &Value) {
        let said = schema["description"].as_str().unwrap_or_default();
        assert!(said.ends_with('.'), "{path} is described by {said:?}");
        let Some(fields) = properties(schema) else { return };
        assert_eq!(schema["additionalProperties"], false, "{path}");
        for (name, field) in fields.iter().filter(|(name, _)| !["enabled", "global"].contains(&name.as_str())) {
            let path = format!("{path}.{name}");
            compare(&path, field, value.get(name).unwrap_or_else(|| panic!("{path} has no default")));
        }
        for name in value.as_object().unwrap().keys() {
            assert!(fields.contains_key(name), "{path}.{name} is in values.yaml and not in the schema");
        }
    }
    compare("", &schema(), &values());
}

#[test]
fn a_value_that_cannot_work_is_refused() {
    for (value, at) in [
        ("entriesNamespace=\"Entries\"", "/entriesNamespace"),
        ("entriesNamespace=\"\"", "/entriesNamespace"),
        ("watchNamespaces=[\"shop\",\"shop\"]", "/watchNamespaces"),
        ("watchNamespaces=\"shop\"", "/watchNamespaces"),
        ("watchNamespaces=[\"a,b\"]", "/watchNamespaces/0"),
        ("image.digest=\"latest\"", "/image/digest"),
        ("image.pullPolicy=\"Sometimes\"", "/image/pullPolicy"),
        ("image.repository=\"\"", "/image/repository"),
        ("listenHost=\"127.0.0.1\"", "/listenHost"),
        ("deliveredSecrets.labels=[\"a/b/c\"]", "/deliveredSecrets/labels/0"),
        ("deliveredSecrets.labels=[\"/\"]", "/deliveredSecrets/labels/0"),
        ("deliveredSecrets.labels=[\"example.com/*\"]", "/deliveredSecrets/labels/0"),
        ("deliveredSecrets.annotations=[\"\"]", "/deliveredSecrets/annotations/0"),
        ("deliveredSecrets.annotations=[\"a'b\"]", "/deliveredSecrets/annotations/0"),
        ("deliveredSecrets.names=\"\"", "/deliveredSecrets/names"),
        ("deliveredSecrets.refusedNames=[\"\"]", "/deliveredSecrets/refusedNames/0"),
        ("log.format=\"xml\"", "/log/format"),
        ("operator.replicas=-1", "/operator/replicas"),
        ("operator.replicas=\"2\"", "/operator/replicas"),
        ("operator.concurrency=0", "/operator/concurrency"),
        ("operator.argon2.memoryKiB=7", "/operator/argon2/memoryKiB"),
        ("operator.orphanGrace=\"a while\"", "/operator/orphanGrace"),
        ("operator.orphanInterval=\"0\"", "/operator/orphanInterval"),
        ("verifier.maxStaleness=1800", "/verifier/maxStaleness"),
        ("verifier.maxStaleness=\"1d\"", "/verifier/maxStaleness"),
        ("verifier.methodHeader=\"a: b\"", "/verifier/methodHeader"),
        ("verifier.keyHeader=\"\"", "/verifier/keyHeader"),
        ("verifier.accessLog=1.5", "/verifier/accessLog"),
        ("verifier.activity.sources=\"names\"", "/verifier/activity/sources"),
        ("verifier.activity.budget=1001", "/verifier/activity/budget"),
        ("verifier.argon2Checks=0", "/verifier/argon2Checks"),
        ("verifier.shutdownDelaySeconds=\"5s\"", "/verifier/shutdownDelaySeconds"),
        ("verifier.tls.clientCASecretName=\"ca\"", "/verifier/tls/secretName"),
        ("verifier.podDisruptionBudget.maxUnavailable=\"some\"", "/verifier/podDisruptionBudget/maxUnavailable"),
        ("verifier.extraArgs=[1]", "/verifier/extraArgs/0"),
        ("verifier.podAnnotations={\"a\":true}", "/verifier/podAnnotations/a"),
        ("networkPolicy.apiServer.cidrs=[\"10.0.0.1\"]", "/networkPolicy/apiServer/cidrs/0"),
        ("networkPolicy.apiServer.ports=[]", "/networkPolicy/apiServer/ports"),
        ("flowSchema.matchingPrecedence=0", "/flowSchema/matchingPrecedence"),
        ("prometheusRule.indexAgeSeconds=10", "/prometheusRule/indexAgeSeconds"),
        ("crds.enabled=\"yes\"", "/crds/enabled"),
        ("enabled=\"yes\"", "/enabled"),
        ("extraObjects=[\"text\"]", "/extraObjects/0"),
    ] {
        refused(&[value], at);
    }
}

#[test]
fn a_value_at_the_edge_of_what_works_is_taken() {
    for value in [
        "operator.replicas=0",
        "verifier.maxStaleness=\"0\"",
        "verifier.maxStaleness=\"0s\"",
        "verifier.maxStaleness=\"1h30m\"",
        "operator.orphanGrace=\"0s\"",
        "verifier.accessLog=0.01",
        "verifier.shutdownDelaySeconds=0",
        "verifier.podDisruptionBudget.maxUnavailable=0",
        "watchNamespaces=[\"a\"]",
        "global={\"anything\":1}",
    ] {
        render(&[value]);
    }
}

#[test]
fn policies_state_what_the_api_server_would_fill_in() {
    let rendered = render(&[]);
    let mut count = 0;
    for policy in rendered.of_kind("ValidatingAdmissionPolicy") {
        let constraints = &policy["spec"]["matchConstraints"];
        let stated = ["matchPolicy", "namespaceSelector", "objectSelector"].map(|field| constraints[field].clone());
        assert_eq!(stated, [json!("Equivalent"), json!({}), json!({})], "{policy}");
        let rules = constraints["resourceRules"].as_array().unwrap();
        assert!(rules.iter().all(|rule| rule["scope"] == "*") && policy["spec"]["failurePolicy"] == "Fail", "{policy}");
        count += 1;
    }
    assert_eq!(count, 8);
}

#[test]
fn a_kubernetes_that_is_too_old_is_refused() {
    let error = template(&["--kube-version", "1.32.9"]).err().expect("it was taken").to_string();
    assert!(error.contains(">=1.33.0-0 which is incompatible with Kubernetes v1.32.9"), "{error}");
}

#[test]
fn pods_are_not_scraped_twice() {
    refused(&["serviceMonitor.enabled=true", "podMonitor.enabled=true"], "serviceMonitor or podMonitor, not both");
}

#[test]
fn large_numbers_reach_the_programs_as_they_are() {
    let rendered = render(&["verifier.maxConnections=2000000", "operator.argon2.memoryKiB=1048576"]);
    assert!(rendered.args("verifier").contains(&"--max-connections=2000000"), "{:?}", rendered.args("verifier"));
    assert!(rendered.args("operator").contains(&"--argon2-memory=1048576"), "{:?}", rendered.args("operator"));
    assert_eq!(values()["verifier"]["maxConnections"], json!(16384));
}
