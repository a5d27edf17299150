//! The chart as Helm renders it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use serde::Deserialize;
use serde_json::Value;

use super::Result;
use super::control_plane::binaries;
use super::process::output;

/// The oldest Kubernetes that the chart is for.
pub const OLDEST: &str = "1.33.0";

/// Where the chart is.
pub fn chart() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("charts/keywright")
}

/// Helm with these arguments, without a cluster.
pub fn helm(args: &[&str]) -> Result<String> {
    static HELM: OnceLock<PathBuf> = OnceLock::new();
    let helm = HELM.get_or_init(|| binaries().expect("the control plane's binaries").join("helm"));
    output(Command::new(helm).args(args))
}

/// Everything that is installed with these arguments.
pub struct Rendered(pub Vec<Value>);

/// `helm template`, with values such as `verifier.replicas=3`.
pub fn render(values: &[&str]) -> Rendered {
    try_render(values).unwrap()
}

/// The same, where it may be refused.
pub fn try_render(values: &[&str]) -> Result<Rendered> {
    let sets: Vec<String> = values.iter().map(|value| format!("--set-json={value}")).collect();
    template(&sets.iter().map(String::as_str).collect::<Vec<_>>())
}

/// `helm template` with any arguments.
pub fn template(more: &[&str]) -> Result<Rendered> {
    let chart = chart().display().to_string();
    let mut args = vec!["template", "keywright", &chart];
    for (flag, value) in [("--namespace", "keywright-system"), ("--kube-version", OLDEST)] {
        if !more.contains(&flag) {
            args.extend([flag, value]);
        }
    }
    let text = helm(&[&args, more].concat())?;
    let documents = serde_yaml_ng::Deserializer::from_str(&text).map(Value::deserialize);
    let objects = documents.filter(|object| !matches!(object, Ok(Value::Null))).collect::<std::result::Result<_, _>>();
    Ok(Rendered(objects?))
}

impl Rendered {
    pub fn of_kind<'r>(&'r self, kind: &'r str) -> impl Iterator<Item = &'r Value> {
        self.0.iter().filter(move |object| object["kind"] == kind)
    }

    pub fn find(&self, kind: &str, name: &str) -> Option<&Value> {
        self.0.iter().find(|object| object["kind"] == kind && object["metadata"]["name"] == name)
    }

    /// The one of this kind and name.
    pub fn the(&self, kind: &str, name: &str) -> &Value {
        self.find(kind, name).unwrap_or_else(|| panic!("there is no {kind} {name}"))
    }

    /// The pod's spec of a role.
    pub fn pod(&self, role: &str) -> &Value {
        &self.the("Deployment", &format!("keywright-{role}"))["spec"]["template"]["spec"]
    }

    /// The only container of a role.
    pub fn container(&self, role: &str) -> &Value {
        let containers = self.pod(role)["containers"].as_array().unwrap();
        assert_eq!(containers.len(), 1);
        &containers[0]
    }

    /// What a role's program is told.
    pub fn args(&self, role: &str) -> Vec<&str> {
        self.container(role)["args"].as_array().unwrap().iter().map(|arg| arg.as_str().unwrap()).collect()
    }
}
