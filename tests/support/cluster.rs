//! A control plane with the chart installed; one for each test binary, shared by its tests.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::{fs, process};

use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use keywright::api::OwnNamespaces;
use keywright::api::names::{ENTRIES_NAMESPACE, SYSTEM_NAMESPACE};
use kube::api::PostParams;
use kube::{Api, Client};
use serde_json::json;
use tokio::sync::OnceCell;

use super::Result;
use super::control_plane::{ControlPlane, client};
use super::process::write_whole;

/// The life of a token, in seconds; who runs longer asks for another in time.
pub const TOKEN_LIFE: i64 = 3600;

/// A control plane with the chart installed.
pub struct Cluster {
    pub plane: ControlPlane,
    /// Namespaces of the release and of entries.
    own: OwnNamespaces,
}

impl Cluster {
    /// A control plane on which the chart goes into its default namespaces.
    pub fn on(plane: ControlPlane) -> Self {
        Self {
            plane,
            own: OwnNamespaces { system: SYSTEM_NAMESPACE.to_owned(), entries: ENTRIES_NAMESPACE.to_owned() },
        }
    }

    /// Starts a control plane and installs the chart.
    pub async fn start(dir: &Path) -> Result<Self> {
        Self::start_in(dir, SYSTEM_NAMESPACE, ENTRIES_NAMESPACE).await
    }

    /// Starts a control plane and installs the chart into other namespaces.
    pub async fn start_in(dir: &Path, system: &str, entries: &str) -> Result<Self> {
        let own = OwnNamespaces::new(system.to_owned(), entries.to_owned())?;
        let cluster = Self { plane: ControlPlane::start(dir).await?, own };
        cluster.install_chart()?;
        Ok(cluster)
    }

    /// The one of this test binary. Its folder is in the system's temporary one; what killed runs left there goes first.
    pub async fn shared() -> &'static Self {
        static SHARED: OnceCell<Cluster> = OnceCell::const_new();
        SHARED
            .get_or_init(async || {
                sweep();
                let dir = std::env::temp_dir().join(format!("keywright-test-{}", process::id()));
                Self::start(&dir).await.expect("the control plane starts")
            })
            .await
    }

    /// `helm upgrade --install`, as users do. Its Deployments stay without pods, for there are no nodes.
    pub fn install_chart(&self) -> Result<()> {
        self.install_chart_with(&[])
    }

    /// The same with more arguments.
    pub fn install_chart_with(&self, more: &[&str]) -> Result<()> {
        let chart = Path::new(env!("CARGO_MANIFEST_DIR")).join("charts/keywright");
        let chart = chart.display().to_string();
        let entries = format!("entriesNamespace={}", self.own.entries);
        let install = ["upgrade", "--install", "keywright", &chart, "--namespace", &self.own.system, "--set", &entries];
        self.plane.helm(&[&install[..], &["--create-namespace"], more].concat())?;
        // `helm --wait` would wait for the pods as well.
        let crds = ["apikeys", "accounts", "suspensions"].map(|kind| format!("crd/{kind}.keywright.dev"));
        let established = ["wait", "--for=condition=Established", "--timeout=60s", &crds[0], &crds[1], &crds[2]];
        self.plane.kubectl(&established).map(drop)
    }

    /// A fresh token of one of the chart's `ServiceAccounts`, and the kubeconfig that reads it from a file.
    pub async fn kubeconfig_of(&self, service_account: &str) -> Result<PathBuf> {
        let kubeconfig = self.plane.dir.join(format!("{service_account}.kubeconfig"));
        let token_file = self.refresh_token(service_account).await?;
        self.plane.write_kubeconfig(&kubeconfig, &format!("tokenFile: \"{}\"", token_file.display()))?;
        Ok(kubeconfig)
    }

    /// Asks for a token and puts it in the place of the one before.
    pub async fn refresh_token(&self, service_account: &str) -> Result<PathBuf> {
        let accounts = Api::<ServiceAccount>::namespaced(self.plane.client().await?, &self.own.system);
        let request = TokenRequest {
            spec: TokenRequestSpec { expiration_seconds: Some(TOKEN_LIFE), ..TokenRequestSpec::default() },
            ..TokenRequest::default()
        };
        let answer = accounts.create_token_request(service_account, &PostParams::default(), &request).await?;
        let token = answer.status.ok_or("no token")?.token;
        let file = self.plane.dir.join(format!("{service_account}.token"));
        write_whole(&file, &token)?;
        Ok(file)
    }

    /// A client with the rights of one of the chart's `ServiceAccounts`.
    pub async fn client_as(&self, service_account: &str) -> Result<Client> {
        client(&self.kubeconfig_of(service_account).await?).await
    }

    /// A namespace of the test's own.
    pub async fn namespace(&self) -> String {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("test-{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let namespaces = Api::<Namespace>::all(self.plane.client().await.expect("a client"));
        let namespace = serde_json::from_value(json!({"metadata": {"name": name}})).expect("a namespace");
        namespaces.create(&PostParams::default(), &namespace).await.expect("a namespace");
        name
    }
}

/// Removes the folders of test binaries that run no more.
fn sweep() {
    for entry in fs::read_dir(std::env::temp_dir()).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let pid = name.to_str().and_then(|name| name.strip_prefix("keywright-test-"));
        if pid.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}
