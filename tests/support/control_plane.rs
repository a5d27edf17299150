//! A real etcd and kube-apiserver on free loopback ports, and on demand the controller manager.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use rcgen::KeyPair;

use super::process::{Process, free_ports, output, write_whole};
use super::{Result, eventually};

/// A running control plane; dropped, it is gone.
pub struct ControlPlane {
    /// Everything it keeps.
    pub dir: PathBuf,
    /// Its binaries.
    pub bin: PathBuf,
    /// Of a cluster administrator.
    pub kubeconfig: PathBuf,
    pub port: u16,
    api_server: Process,
    etcd: Process,
    controller_manager: OnceLock<Process>,
}

/// The admin's token; the API server listens on loopback only.
const ADMIN_TOKEN: &str = "keywright-local-admin";

/// The binaries, built if need be.
pub fn binaries() -> Result<PathBuf> {
    let build = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/controlplane/build");
    // Its progress is ours.
    let output = Command::new(build).stderr(std::process::Stdio::inherit()).output()?;
    if !output.status.success() {
        return Err("the control plane was not built; see above".into());
    }
    Ok(String::from_utf8(output.stdout)?.trim().into())
}

impl ControlPlane {
    /// Starts it and waits until it answers.
    pub async fn start(dir: &Path) -> Result<Self> {
        Self::start_with(dir, &[]).await
    }

    /// The same, with more flags for the API server.
    pub async fn start_with(dir: &Path, more: &[String]) -> Result<Self> {
        let bin = binaries()?;
        fs::create_dir_all(dir.join("logs"))?;
        let [etcd_port, etcd_peer, port] = free_ports()?;
        let log = |name: &str| dir.join("logs").join(format!("{name}.log"));
        let path = |name: &str| dir.join(name).display().to_string();

        let etcd = Process::start(
            "etcd",
            &bin.join("etcd"),
            &[
                format!("--data-dir={}", path("etcd")),
                format!("--listen-client-urls=http://127.0.0.1:{etcd_port}"),
                format!("--advertise-client-urls=http://127.0.0.1:{etcd_port}"),
                format!("--listen-peer-urls=http://127.0.0.1:{etcd_peer}"),
                "--unsafe-no-fsync".to_owned(),
                "--log-level=warn".to_owned(),
            ],
            &[],
            &log("etcd"),
        )?;
        let signing_key = KeyPair::generate()?;
        fs::write(dir.join("service-account.key"), signing_key.serialize_pem())?;
        fs::write(dir.join("service-account.pub"), signing_key.public_key_pem())?;
        fs::write(dir.join("tokens.csv"), format!("{ADMIN_TOKEN},admin,admin,system:masters\n"))?;
        let api_server = Process::start(
            "kube-apiserver",
            &bin.join("kube-apiserver"),
            &[
                vec![
                    format!("--etcd-servers=http://127.0.0.1:{etcd_port}"),
                    "--bind-address=127.0.0.1".to_owned(),
                    format!("--secure-port={port}"),
                    format!("--cert-dir={}", path("certs")),
                    format!("--service-account-key-file={}", path("service-account.pub")),
                    format!("--service-account-signing-key-file={}", path("service-account.key")),
                    "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
                    format!("--token-auth-file={}", path("tokens.csv")),
                    "--authorization-mode=RBAC".to_owned(),
                    "--service-cluster-ip-range=10.0.0.0/24".to_owned(),
                    "--endpoint-reconciler-type=none".to_owned(),
                ],
                more.to_vec(),
            ]
            .concat(),
            &[],
            &log("kube-apiserver"),
        )?;
        let kubeconfig = dir.join("kubeconfig");
        let plane =
            Self { dir: dir.to_owned(), bin, kubeconfig, port, api_server, etcd, controller_manager: OnceLock::new() };
        plane.wait().await?;
        Ok(plane)
    }

    async fn wait(&self) -> Result<()> {
        let certificate = self.dir.join("certs/apiserver.crt");
        eventually("the API server's certificate", async || {
            self.assert_alive();
            if certificate.exists() { Ok(()) } else { Err::<(), super::Error>("not there".into()) }
        })
        .await;
        self.write_kubeconfig(&self.kubeconfig, &format!("token: {ADMIN_TOKEN}"))?;
        let client = self.client().await?;
        eventually("the API server", async || {
            self.assert_alive();
            let request = http_get("/readyz")?;
            client.request_text(request).await.map_err(super::Error::from)
        })
        .await;
        Ok(())
    }

    fn assert_alive(&self) {
        if let Some(why) = self.etcd.ended().or_else(|| self.api_server.ended()) {
            panic!("{why}; see {}", self.dir.join("logs").display());
        }
    }

    /// Collects owned objects and empties namespaces, from now on.
    pub fn with_controller_manager(&self) -> Result<()> {
        if self.controller_manager.get().is_some() {
            return Ok(());
        }
        let process = Process::start(
            "kube-controller-manager",
            &self.bin.join("kube-controller-manager"),
            &[
                format!("--kubeconfig={}", self.kubeconfig.display()),
                "--controllers=garbage-collector-controller,namespace-controller".to_owned(),
                "--leader-elect=false".to_owned(),
                format!("--secure-port={}", free_ports::<1>()?[0]),
                "--bind-address=127.0.0.1".to_owned(),
            ],
            &[],
            &self.dir.join("logs/kube-controller-manager.log"),
        )?;
        let _ = self.controller_manager.set(process);
        Ok(())
    }

    /// A kubeconfig for this API server, with the given lines as the user.
    pub fn write_kubeconfig(&self, path: &Path, user: &str) -> Result<()> {
        self.write_kubeconfig_for(path, &format!("https://127.0.0.1:{}", self.port), user)
    }

    /// The same through something that stands before the API server.
    pub fn write_kubeconfig_for(&self, path: &Path, server: &str, user: &str) -> Result<()> {
        let authority = self.dir.join("certs/apiserver.crt").canonicalize()?;
        let authority = authority.display();
        write_whole(
            path,
            &format!(
                "apiVersion: v1\nkind: Config\ncurrent-context: keywright\n\
                 clusters: [{{name: keywright, cluster: {{server: \"{server}\", certificate-authority: \"{authority}\"}}}}]\n\
                 contexts: [{{name: keywright, context: {{cluster: keywright, user: keywright, namespace: default}}}}]\n\
                 users: [{{name: keywright, user: {{{user}}}}}]\n"
            ),
        )
    }

    /// A client with a cluster administrator's rights.
    pub async fn client(&self) -> Result<Client> {
        client(&self.kubeconfig).await
    }

    /// kubectl, as a cluster administrator.
    pub fn kubectl(&self, args: &[&str]) -> Result<String> {
        output(Command::new(self.bin.join("kubectl")).arg("--kubeconfig").arg(&self.kubeconfig).args(args))
    }

    pub fn helm(&self, args: &[&str]) -> Result<String> {
        output(Command::new(self.bin.join("helm")).arg("--kubeconfig").arg(&self.kubeconfig).args(args))
    }
}

/// A client from a kubeconfig file.
pub async fn client(kubeconfig: &Path) -> Result<Client> {
    let kubeconfig = Kubeconfig::read_from(kubeconfig)?;
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    Ok(Client::try_from(config)?)
}

/// A GET of a path of the API server.
pub fn http_get(path: &str) -> Result<http::Request<Vec<u8>>> {
    Ok(http::Request::get(path).body(Vec::new())?)
}
