//! A test's own namespace, as a cluster administrator sees it.

use k8s_openapi::api::core::v1::Secret;
use keywright::api::{Account, ApiKey};
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};

use super::cluster::Cluster;
use super::eventually;

/// A test's own namespace, as a cluster administrator sees it.
pub struct Space {
    pub name: String,
    pub client: Client,
}

impl Space {
    pub async fn new(cluster: &Cluster) -> Self {
        Self { name: cluster.namespace().await, client: cluster.plane.client().await.unwrap() }
    }

    pub fn keys(&self) -> Api<ApiKey> {
        Api::namespaced(self.client.clone(), &self.name)
    }

    pub fn accounts(&self) -> Api<Account> {
        Api::namespaced(self.client.clone(), &self.name)
    }

    pub fn secrets(&self) -> Api<Secret> {
        Api::namespaced(self.client.clone(), &self.name)
    }

    /// The record of a key.
    pub async fn entry(&self, key: &ApiKey) -> Secret {
        let entries = Api::<Secret>::namespaced(self.client.clone(), "keywright-entries");
        entries.get(&key.uid().unwrap()).await.unwrap()
    }

    pub async fn account(&self, name: &str, spec: Value) {
        let account = serde_json::from_value(
            json!({"apiVersion": "keywright.dev/v1alpha1", "kind": "Account", "metadata": {"name": name}, "spec": spec}),
        );
        self.accounts().create(&PostParams::default(), &account.unwrap()).await.unwrap();
    }

    pub async fn key(&self, name: &str, spec: Value) -> ApiKey {
        let key = serde_json::from_value(
            json!({"apiVersion": "keywright.dev/v1alpha1", "kind": "ApiKey", "metadata": {"name": name}, "spec": spec}),
        );
        self.keys().create(&PostParams::default(), &key.unwrap()).await.unwrap()
    }

    pub async fn patch_key(&self, name: &str, patch: Value) {
        self.keys().patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    }

    pub async fn patch_account(&self, name: &str, patch: Value) {
        self.accounts().patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    }

    /// Waits until the condition `Ready` has this reason, and returns the key.
    pub async fn until_ready_is(&self, name: &str, reason: &str) -> ApiKey {
        self.until(name, "Ready", reason).await
    }

    pub async fn until(&self, name: &str, condition: &str, reason: &str) -> ApiKey {
        eventually(&format!("{name}: {condition} with reason {reason}"), async || {
            let key = self.keys().get(name).await.map_err(|e| e.to_string())?;
            let is = key.status.as_ref().and_then(|s| s.conditions.iter().find(|c| c.type_ == condition));
            if is.is_some_and(|c| c.reason == reason) { Ok(key) } else { Err(format!("{is:?}")) }
        })
        .await
    }

    pub async fn until_state_is(&self, name: &str, state: &str) {
        eventually(&format!("{name} is {state}"), async || {
            let key = self.keys().get(name).await.map_err(|e| e.to_string())?;
            let is = key.status.and_then(|s| s.state).map(|s| format!("{s:?}"));
            if is.as_deref() == Some(state) { Ok(()) } else { Err(format!("{is:?}")) }
        })
        .await;
    }

    /// The plaintext in a Secret.
    pub async fn value(&self, secret: &str, item: &str) -> String {
        let secret = self.secrets().get(secret).await.unwrap();
        String::from_utf8(secret.data.unwrap()[item].0.clone()).unwrap()
    }

    /// An account and a key of it, ready; the key's value.
    pub async fn ready_key(&self, name: &str) -> String {
        if self.accounts().get_opt("acme").await.unwrap().is_none() {
            self.account("acme", json!({"accessLevel": "Full"})).await;
        }
        self.key(name, json!({"account": "acme", "accessLevel": "Full"})).await;
        self.until_ready_is(name, "Issued").await;
        self.value(name, "api-key").await
    }
}
