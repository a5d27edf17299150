//! Objects that the API server accepts and that parsers dislike: each role stores all it can, and the keys of another tenant
//! are minted, disabled and proven meanwhile.

#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "hostile/odd.rs"]
mod odd;
#[path = "support/mod.rs"]
mod support;
#[path = "hostile/watches.rs"]
mod watches;

use std::time::{Duration, Instant};

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::{Value, json};
use support::cluster::Cluster;
use support::keywright::Running;
use support::space::{Space, both, neither};
use support::{eventually, http};

/// Bound on how long a change of one tenant takes while another one stores odd objects: far below `--max-staleness`.
const SOON: Duration = Duration::from_secs(20);

/// A user who may do something in one namespace.
struct Person {
    client: Client,
    namespace: String,
}

impl Person {
    /// Binds the cluster role in the namespace to a user of the same name.
    async fn with_role(cluster: &Cluster, space: &Space, role: &str) -> Self {
        let (flag, user) = (format!("--clusterrole={role}"), format!("--user={role}"));
        cluster.plane.kubectl(&["create", "rolebinding", role, &flag, &user, "-n", &space.name]).unwrap();
        let kubeconfig = Kubeconfig::read_from(&cluster.plane.kubeconfig).unwrap();
        let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
        config.auth_info.impersonate = Some(role.to_owned());
        Self { client: Client::try_from(config).unwrap(), namespace: space.name.clone() }
    }

    /// Sends text to a path in the namespace, and returns the status of the answer.
    async fn send(&self, method: &str, path: &str, kind: &str, body: String) -> u16 {
        let path = path.replace("{ns}", &self.namespace);
        let request = ::http::Request::builder().method(method).uri(path).header("content-type", kind);
        match self.client.request_text(request.body(body.into_bytes()).unwrap()).await {
            Ok(_) => 200,
            Err(kube::Error::Api(status)) => status.code,
            Err(error) => panic!("{error}"),
        }
    }

    async fn merge(&self, resource: &str, name: &str, patch: String) -> u16 {
        let path = format!("/apis/keywright.dev/v1alpha1/namespaces/{{ns}}/{resource}/{name}");
        self.send("PATCH", &path, "application/merge-patch+json", patch).await
    }
}

/// Holds that another tenant notices nothing: a key is minted, passes, is disabled, and its status proves it.
async fn another_tenant_is_served(cluster: &Cluster, verifier: &Running, name: &str) {
    let start = Instant::now();
    another_tenant_disables_a_key(cluster, verifier, name).await.until(name, "Enforced", "Acknowledged").await;
    assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
}

/// The same without proof, for which every verifier that was killed is waited for.
async fn another_tenant_disables_a_key(cluster: &Cluster, verifier: &Running, name: &str) -> Space {
    let space = Space::new(cluster).await;
    let value = space.ready_key(name).await;
    verifier.eventually_says("ok", "scope=any", &value).await;
    space.patch_key(name, json!({"spec": {"disabled": true}})).await;
    verifier.eventually_says("disabled", "scope=any", &value).await;
    space
}

/// Waits until `/readyz` names a cause.
async fn until_not_ready(running: &Running, cause: &str) {
    eventually(&format!("/readyz says {cause}"), async || {
        let answer = http::get(&running.admin, "/readyz", &[]).await.map_err(|e| e.to_string())?;
        if answer.status == 503 && answer.body.contains(cause) { Ok(()) } else { Err(answer.body) }
    })
    .await;
}

fn nested(depth: usize) -> String {
    format!("{}1{}", r#"{"a":"#.repeat(depth), "}".repeat(depth))
}
