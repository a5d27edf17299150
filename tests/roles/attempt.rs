//! What somebody tries, by raw requests and by dry run, so that every row begins with the same objects.

use std::fmt::Debug;
use std::pin::Pin;

use axum::http::Request;
use kube::client::Body;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config, Resource};
use serde_json::{Value, json};

use crate::support::cluster::Cluster;

/// The columns of the tables. The stranger has no role at all.
pub const ROLES: [&str; 5] =
    ["keywright-owner", "keywright-admin", "keywright-key-writer", "keywright-platform", "stranger"];

/// What comes of it.
#[derive(Clone, Copy, Debug)]
pub enum Answer {
    May,
    /// RBAC stops it, and names verb and resource itself.
    Rbac,
    /// A policy, or a rule of the resource, says this.
    Told(&'static str),
}

/// A status and a body.
pub type Outcome = Result<Value, String>;

impl Answer {
    /// What is wrong about an outcome.
    pub fn check(self, outcome: &Outcome) -> Result<(), String> {
        let is_as_expected = match (self, outcome) {
            (Self::May, outcome) => outcome.is_ok(),
            (Self::Rbac, Err(told)) => told.contains("\" cannot ") && !told.contains("ValidatingAdmissionPolicy"),
            (Self::Told(wanted), Err(told)) => told.contains(wanted),
            (_, Ok(_)) => false,
        };
        if is_as_expected { Ok(()) } else { Err(format!("{self:?} was expected, and it was {outcome:?}")) }
    }
}

/// A row of a table.
pub struct Attempt {
    pub what: String,
    /// In the order of [`ROLES`].
    pub answers: [Answer; 5],
    pub call: Box<dyn Fn(Person) -> Call>,
}

pub type Call = Pin<Box<dyn Future<Output = Outcome>>>;

/// A row.
pub fn attempt<F: Future<Output = Outcome> + 'static>(
    what: impl Into<String>,
    answers: [Answer; 5],
    call: impl Fn(Person) -> F + 'static,
) -> Attempt {
    Attempt { what: what.into(), answers, call: Box::new(move |person| Box::pin(call(person))) }
}

/// An object as one writes it.
pub fn one<K: Resource<DynamicType = ()>>(name: &str, spec: &Value) -> Value {
    let kind = K::kind(&()).into_owned();
    json!({"apiVersion": "keywright.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec})
}

/// Somebody at work in a namespace.
#[derive(Clone)]
pub struct Person {
    client: Client,
    namespace: String,
    dry_run: bool,
    manager: &'static str,
}

impl Person {
    /// Somebody else, by the administrator's right to impersonate; or the administrator, in earnest.
    pub async fn new(cluster: &Cluster, user: Option<&str>, namespace: &str) -> Self {
        let kubeconfig = Kubeconfig::read_from(&cluster.plane.kubeconfig).unwrap();
        let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
        config.auth_info.impersonate = user.map(str::to_owned);
        let (client, namespace) = (Client::try_from(config).unwrap(), namespace.to_owned());
        Self { client, namespace, dry_run: user.is_some(), manager: "somebody" }
    }

    /// Writes under another field manager.
    pub fn under(self, manager: &'static str) -> Self {
        Self { manager, ..self }
    }

    pub fn in_earnest(self) -> Self {
        Self { dry_run: false, ..self }
    }

    async fn send(&self, method: &str, path: &str, content_type: &str, body: &Value) -> Outcome {
        let dry_run = if self.dry_run && method != "GET" { "&dryRun=All" } else { "" };
        let uri = format!(
            "/apis/keywright.dev/v1alpha1/namespaces/{}/{path}?fieldManager={}&force={}{dry_run}",
            self.namespace,
            self.manager,
            content_type.contains("apply")
        );
        let uri = if content_type.contains("apply") { uri } else { uri.replace("&force=false", "") };
        let body = if body.is_null() { Vec::new() } else { serde_json::to_vec(body).unwrap() };
        let request = Request::builder().method(method).uri(uri).header("content-type", content_type);
        let answer = self.client.send(request.body(Body::from(body)).unwrap()).await.unwrap();
        let status = answer.status();
        let bytes = answer.into_body().collect_bytes().await.unwrap();
        let body: Value = serde_json::from_slice(&bytes).unwrap();
        if status.is_success() { Ok(body) } else { Err(body["message"].as_str().unwrap_or_default().to_owned()) }
    }

    pub async fn list(&self, kind: &str) -> Outcome {
        self.send("GET", kind, "application/json", &Value::Null).await
    }

    pub async fn get(&self, kind: &str, name: &str) -> Outcome {
        self.send("GET", &format!("{kind}/{name}"), "application/json", &Value::Null).await
    }

    pub async fn create(&self, object: &Value) -> Outcome {
        self.send("POST", &plural(object), "application/json", object).await
    }

    pub async fn delete(&self, kind: &str, name: &str) -> Outcome {
        self.send("DELETE", &format!("{kind}/{name}"), "application/json", &Value::Null).await
    }

    pub async fn delete_all(&self, kind: &str) -> Outcome {
        self.send("DELETE", kind, "application/json", &Value::Null).await
    }

    /// `kubectl patch`.
    pub async fn merge(&self, kind: &str, name: &str, patch: &Value) -> Outcome {
        self.send("PATCH", &format!("{kind}/{name}"), "application/merge-patch+json", patch).await
    }

    pub async fn json_patch(&self, kind: &str, name: &str, patch: &Value) -> Outcome {
        self.send("PATCH", &format!("{kind}/{name}"), "application/json-patch+json", patch).await
    }

    /// `kubectl apply --server-side --force-conflicts`.
    pub async fn apply(&self, object: &Value) -> Outcome {
        let path = format!("{}/{}", plural(object), object["metadata"]["name"].as_str().unwrap());
        self.send("PATCH", &path, "application/apply-patch+yaml", object).await
    }

    /// `kubectl replace`; with what was written, and nothing of what is there.
    pub async fn replace(&self, object: &Value) -> Outcome {
        let path = format!("{}/{}", plural(object), object["metadata"]["name"].as_str().unwrap());
        self.send("PUT", &path, "application/json", object).await
    }
}

fn plural(object: &Value) -> String {
    format!("{}s", object["kind"].as_str().unwrap().to_lowercase())
}
