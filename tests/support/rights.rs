//! What the chart's accounts are given, as it is rendered.

use std::collections::BTreeSet;

use serde_json::Value;

use super::chart::Rendered;

/// The two accounts of the chart.
pub const ACCOUNTS: [&str; 2] = ["keywright-operator", "keywright-verifier"];

/// One verb on one resource.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Right {
    pub account: String,
    /// A namespace; none is all of them.
    pub namespace: Option<String>,
    /// With its group, such as `leases.coordination.k8s.io`.
    pub resource: String,
    /// The only object that it is about; none is all of them.
    pub name: Option<String>,
    pub verb: String,
}

/// Every right that our accounts are given.
pub fn granted(rendered: &Rendered) -> BTreeSet<Right> {
    let bindings = rendered.of_kind("ClusterRoleBinding").chain(rendered.of_kind("RoleBinding"));
    bindings.flat_map(|binding| by(rendered, binding)).collect()
}

fn by(rendered: &Rendered, binding: &Value) -> Vec<Right> {
    let namespace = &binding["metadata"]["namespace"];
    let role = rendered.of_kind(binding["roleRef"]["kind"].as_str().unwrap()).find(|role| {
        role["metadata"]["name"] == binding["roleRef"]["name"]
            && (role["kind"] == "ClusterRole" || role["metadata"]["namespace"] == *namespace)
    });
    let role = role.unwrap_or_else(|| panic!("no role for {binding}"));
    let rules = role["rules"].as_array().unwrap();
    let mut all = Vec::new();
    for subject in binding["subjects"].as_array().unwrap() {
        assert_eq!((&subject["kind"], &subject["namespace"]), (&"ServiceAccount".into(), &"keywright-system".into()));
        for rule in rules {
            all.extend(of_rule(subject["name"].as_str().unwrap(), namespace.as_str(), rule));
        }
    }
    all
}

fn texts(list: &Value) -> Vec<&str> {
    list.as_array().into_iter().flatten().map(|text| text.as_str().unwrap()).collect()
}

fn of_rule(account: &str, namespace: Option<&str>, rule: &Value) -> Vec<Right> {
    let names = texts(&rule["resourceNames"]);
    let names: Vec<Option<&str>> = if names.is_empty() { vec![None] } else { names.into_iter().map(Some).collect() };
    let mut all = Vec::new();
    for group in texts(&rule["apiGroups"]) {
        for resource in texts(&rule["resources"]) {
            for name in &names {
                for verb in texts(&rule["verbs"]) {
                    all.push(Right {
                        account: account.to_owned(),
                        namespace: namespace.map(str::to_owned),
                        resource: with_group(resource, group),
                        name: name.map(str::to_owned),
                        verb: verb.to_owned(),
                    });
                }
            }
        }
    }
    all
}

/// As kubectl writes it.
pub fn with_group(resource: &str, group: &str) -> String {
    if group.is_empty() { resource.to_owned() } else { format!("{resource}.{group}") }
}
