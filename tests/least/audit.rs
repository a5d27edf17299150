//! A control plane that writes down what our accounts ask of it.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use super::support::cluster::Cluster;
use super::support::control_plane::ControlPlane;
use super::support::rights::{Right, with_group};

/// What is written down: who asked for what, when the answer begins or is there, and nothing of what is in it.
const POLICY: &str = "apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
  - level: Metadata
    userGroups: [system:serviceaccounts:keywright-system]
  - level: None
";

pub struct Audited {
    pub cluster: Cluster,
    log: PathBuf,
}

impl Audited {
    /// With these namespaces, and then the chart with these values.
    pub async fn start(name: &str, namespaces: &[&str], values: &[&str]) -> Self {
        let dir = std::env::temp_dir().join(format!("keywright-test-{}", std::process::id())).join(name);
        fs::create_dir_all(&dir).unwrap();
        let (policy, log) = (dir.join("audit-policy.yaml"), dir.join("audit.log"));
        fs::write(&policy, POLICY).unwrap();
        let flags =
            [format!("--audit-policy-file={}", policy.display()), format!("--audit-log-path={}", log.display())];
        let cluster = Cluster::on(ControlPlane::start_with(&dir, &flags).await.unwrap());
        for namespace in namespaces {
            cluster.plane.kubectl(&["create", "namespace", namespace]).unwrap();
        }
        let sets: Vec<String> = values.iter().map(|value| format!("--set-json={value}")).collect();
        cluster.install_chart_with(&sets.iter().map(String::as_str).collect::<Vec<_>>()).unwrap();
        Self { cluster, log }
    }

    fn events(&self) -> Vec<Value> {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        // The last line may be half written.
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    fn decided(&self, decision: &str) -> BTreeSet<Right> {
        let decided = |event: &&Value| event["annotations"]["authorization.k8s.io/decision"].as_str() == Some(decision);
        self.events().iter().filter(decided).filter_map(used).collect()
    }

    /// What was asked for and allowed.
    pub fn used(&self) -> BTreeSet<Right> {
        self.decided("allow")
    }

    /// What was asked for and refused by RBAC.
    pub fn refused(&self) -> BTreeSet<Right> {
        self.decided("forbid")
    }

    /// Every request that was refused because of a right, in their order, and what was said of it.
    pub fn refusals(&self) -> Vec<(Right, String)> {
        let refusal = |event: &Value| {
            // Of what was asked for as metadata only, the log has no message.
            let message = event["responseStatus"]["message"].as_str().unwrap_or_default();
            let is_one = event["annotations"]["authorization.k8s.io/decision"] == "forbid"
                || message.contains("RBAC permissions");
            is_one.then(|| Some((used(event)?, message.to_owned())))?
        };
        self.events().iter().filter_map(refusal).collect()
    }

    /// Paths that were asked for and are no resources.
    pub fn others(&self) -> BTreeSet<String> {
        let none = |event: &&Value| event["objectRef"].is_null();
        self.events().iter().filter(none).map(|event| event["requestURI"].as_str().unwrap().to_owned()).collect()
    }
}

/// What a request needs.
fn used(event: &Value) -> Option<Right> {
    let text = |value: &Value| value.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    let user = event["user"]["username"].as_str()?;
    let account = user.strip_prefix("system:serviceaccount:keywright-system:")?;
    let object = event["objectRef"].as_object()?;
    let part = |name: &str| object.get(name).and_then(text);
    let resource = match part("subresource") {
        Some(sub) => format!("{}/{sub}", part("resource")?),
        None => part("resource")?,
    };
    Some(Right {
        account: account.to_owned(),
        namespace: part("namespace"),
        resource: with_group(&resource, &part("apiGroup").unwrap_or_default()),
        // RBAC is not asked about the name of what is to be made.
        name: part("name").filter(|_| event["verb"] != "create"),
        verb: event["verb"].as_str()?.to_owned(),
    })
}
