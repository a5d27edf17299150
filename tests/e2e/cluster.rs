//! kubectl, helm, and the workload on the cluster.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::support::control_plane::binaries;
use super::support::process::output;
use super::support::{Result, eventually};

/// Where the workloads of this run are.
pub const NAMESPACE: &str = "keywright-e2e";
/// One that is deleted while Keywright is not there.
pub const LEAVING: &str = "keywright-e2e-leaving";
/// Admits the gateway of this run to the verifier, on clusters that enforce network policies.
const CALLERS: &str = r#"--set-json=networkPolicy.callers=[{"namespaceSelector":{"matchLabels":{"kubernetes.io/metadata.name":"keywright-e2e"}}}]"#;
/// Where the chart goes.
pub const SYSTEM: &str = "keywright-system";

pub struct Cluster {
    tools: PathBuf,
    /// What the chart is told besides, such as where its image is.
    values: Vec<String>,
}

impl Cluster {
    pub fn of_kubeconfig() -> Result<Self> {
        if std::env::var_os("KUBECONFIG").is_none() {
            return Err("set KUBECONFIG to a cluster that may be used for this, with its administrator's rights".into());
        }
        let values = std::env::var("HELM_ARGS").unwrap_or_default();
        let values = values.split_whitespace().map(str::to_owned).collect();
        Ok(Self { tools: binaries()?, values })
    }

    pub fn kubectl(&self, args: &[&str]) -> Result<String> {
        let mut command = Command::new(self.tools.join("kubectl"));
        output(command.args(args).current_dir(env!("CARGO_MANIFEST_DIR")))
    }

    pub fn json(&self, args: &[&str]) -> Result<Value> {
        Ok(serde_json::from_str(&self.kubectl(&[&["get", "-o", "json"], args].concat())?)?)
    }

    /// Runs helm for our release and waits until all of it is ready, or gone.
    pub fn helm(&self, args: &[&str]) -> Result<()> {
        let mut command = Command::new(self.tools.join("helm"));
        command.current_dir(env!("CARGO_MANIFEST_DIR"));
        command.args(args).args(["--namespace", SYSTEM, "--wait", "--timeout", "3m"]);
        if ["install", "upgrade"].contains(&args[0]) {
            command.arg(CALLERS).args(&self.values);
        }
        output(&mut command).map(drop)
    }

    /// This run uninstalls the release that it finds: it must be its own.
    pub fn refuse_if_taken(&self) -> Result<()> {
        let mut command = Command::new(self.tools.join("helm"));
        if output(command.args(["status", "keywright", "--namespace", SYSTEM])).is_ok() {
            return Err("Keywright is installed on this cluster: this run would uninstall it. Take another cluster, or `helm uninstall keywright -n keywright-system` first".into());
        }
        self.forget_verifiers()?;
        self.delete_namespaces()
    }

    /// Of verifiers whose pods are gone. `helm uninstall` takes their rights before they stop, so that they cannot delete their
    /// Leases themselves, and nothing would be `Enforced` until each was outwaited.
    pub fn forget_verifiers(&self) -> Result<()> {
        self.kubectl(&["delete", "leases", "--all", "-n", "keywright-entries"]).map(drop)
    }

    fn delete_namespaces(&self) -> Result<()> {
        self.kubectl(&["delete", "namespace", NAMESPACE, LEAVING, "--ignore-not-found", "--timeout=2m"]).map(drop)
    }

    pub fn clear_up(&self) -> Result<()> {
        self.delete_namespaces()?;
        self.helm(&["uninstall", "keywright"])
    }

    /// Applies manifests.yaml, with the Envoy of docs/gateways between.
    pub fn apply_workloads(&self) -> Result<()> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut config = std::fs::read_to_string(root.join("docs/gateways/envoy.yaml"))?;
        let address = |host: &str, port: &str| format!("address: {host}, port_value: {port}");
        for (from, to) in [
            (address("127.0.0.1", "10000"), address("0.0.0.0", "10000")),
            (
                address("127.0.0.1", "7071"),
                address("keywright-verifier-headless.keywright-system.svc.cluster.local", "7071"),
            ),
            (address("127.0.0.1", "9000"), address("api.keywright-e2e.svc.cluster.local", "9000")),
            ("connect_timeout: 0.25s".to_owned(), "connect_timeout: 0.25s\n      type: STRICT_DNS".to_owned()),
            ("shop/acme".to_owned(), format!("{NAMESPACE}/acme")),
        ] {
            if !config.contains(&from) {
                return Err(
                    format!("docs/gateways/envoy.yaml no longer says {from:?}, which is another in a cluster").into()
                );
            }
            config = config.replace(&from, &to);
        }
        let file = tempfile::NamedTempFile::new()?;
        std::fs::write(file.path(), config)?;
        self.kubectl(&["create", "namespace", NAMESPACE])?;
        let file = format!("--from-file=envoy.yaml={}", file.path().display());
        self.kubectl(&["create", "configmap", "envoy", "-n", NAMESPACE, &file])?;
        self.kubectl(&["apply", "-f", "tests/e2e/manifests.yaml"]).map(drop)
    }

    pub fn rolled_out(&self, namespace: &str, deployment: &str) -> Result<()> {
        let deployment = format!("deployment/{deployment}");
        self.kubectl(&["rollout", "status", "-n", namespace, &deployment, "--timeout=3m"]).map(drop)
    }

    pub fn wait_for(&self, namespace: &str, what: &str, condition: &str) -> Result<()> {
        self.kubectl(&["wait", "-n", namespace, what, &format!("--for={condition}"), "--timeout=1m"]).map(drop)
    }

    /// The names of a namespace's pods.
    pub fn pods(&self, namespace: &str) -> Result<BTreeSet<String>> {
        let names = self.kubectl(&["get", "pods", "-n", namespace, "-o", "name"])?;
        Ok(names.lines().map(str::to_owned).collect())
    }

    /// Waits until these pods are gone, those that end slowly too.
    pub async fn until_gone(&self, namespace: &str, pods: &BTreeSet<String>) {
        eventually("the pods before are gone", async || {
            let now = self.pods(namespace)?;
            match now.intersection(pods).next() {
                Some(pod) => Err(format!("{pod} is there").into()),
                None => Result::Ok(()),
            }
        })
        .await;
    }

    /// Asks the workload's pod something.
    pub fn ask_client(&self, path: &str) -> Result<Value> {
        let path = format!("/api/v1/namespaces/{NAMESPACE}/services/client:8080/proxy{path}");
        Ok(serde_json::from_str(&self.kubectl(&["get", "--raw", &path])?)?)
    }

    /// Calls through the gateway until that is the answer, and returns what it said.
    pub async fn eventually_says(&self, key: &str, status: u16, code: &str) -> Value {
        eventually(&format!("a call with {key}"), async || {
            let said = self.ask_client(&format!("/call?key={key}"))?;
            if said["status"] == status && said["code"] == code {
                Result::Ok(said)
            } else {
                Err(said.to_string().into())
            }
        })
        .await
    }
}
