//! A test's own namespace, as a cluster administrator sees it.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, Secret};
use keywright::api::{Account, ApiKey};
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};
use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::cluster::Cluster;
use super::eventually;
use super::keywright::Running;

/// The operator and the verifier that the tests of a binary share.
pub struct Both {
    pub operator: Running,
    pub verifier: Running,
}

static BOTH: RwLock<Option<Both>> = RwLock::const_new(None);

/// Both run as long as this is held; they are started if they do not.
pub async fn both() -> RwLockReadGuard<'static, Both> {
    loop {
        if let Ok(both) = RwLockReadGuard::try_map(BOTH.read().await, Option::as_ref) {
            return both;
        }
        let mut none = BOTH.write().await;
        if none.is_none() {
            let cluster = Cluster::shared().await;
            let operator = Running::operator(cluster, &[]).await.unwrap().ready().await;
            *none = Some(Both { operator, verifier: Running::verifier(cluster, &[]).await.unwrap().ready().await });
        }
    }
}

/// Both are killed, and neither runs as long as this is held, but what the test itself starts.
pub async fn neither() -> RwLockWriteGuard<'static, Option<Both>> {
    let mut guard = BOTH.write().await;
    *guard = None;
    guard
}

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

    /// What the record of a key says.
    pub async fn record(&self, key: &ApiKey) -> Value {
        let entry = self.entry(key).await;
        serde_json::from_slice(&entry.data.unwrap()["entry.json"].0).unwrap()
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

    /// Waits until the operator has said something of the newest spec, and returns the key.
    pub async fn until_observed(&self, name: &str) -> ApiKey {
        eventually(&format!("{name} is observed"), async || {
            let key = self.keys().get(name).await.map_err(|e| e.to_string())?;
            let observed = key.status.as_ref().and_then(|s| s.observed_generation);
            if observed == key.metadata.generation { Ok(key) } else { Err(format!("{observed:?}")) }
        })
        .await
    }

    /// Waits until the value with this serial is delivered, and returns the key.
    pub async fn until_serial(&self, name: &str, serial: i64) -> ApiKey {
        eventually(&format!("{name}: value {serial} is delivered"), async || {
            let key = self.keys().get(name).await.map_err(|e| e.to_string())?;
            let status = key.status.clone().unwrap_or_default();
            let newest = status.credentials.first().map(|credential| credential.serial);
            let delivered = status.conditions.iter().any(|c| c.type_ == "SecretAvailable" && c.reason == "Delivered");
            if newest == Some(serial) && delivered { Ok(key) } else { Err(format!("{status:?}")) }
        })
        .await
    }

    /// Waits for an Event about an object.
    pub async fn event(&self, about: &str, reason: &str) -> Event {
        let events = Api::<Event>::namespaced(self.client.clone(), &self.name);
        eventually(&format!("{about}: an Event {reason}"), async || {
            let all = events.list(&ListParams::default()).await.map_err(|e| e.to_string())?.items;
            let mut said = all.iter().filter(|event| event.involved_object.name.as_deref() == Some(about));
            let found = said.find(|event| event.reason.as_deref() == Some(reason)).cloned();
            found.ok_or_else(|| format!("{:?}", all.iter().map(|event| &event.reason).collect::<Vec<_>>()))
        })
        .await
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

/// Holds that a value passes until a moment and is refused from it on, however slow the answers are: each one counts
/// only where the moment lies clearly before the question or after the answer.
pub async fn passes_until(verifier: &Running, value: &str, end: Timestamp, then: &str) {
    eventually(&format!("the verifier says {then} at {end}"), async || {
        let asked = Timestamp::now();
        let said = verifier.code("scope=any", value).await;
        let answered = Timestamp::now();
        assert!(answered >= end || said == "ok", "{said} at {answered}, before {end}");
        assert!(asked < end || said == then, "{said} at {asked}, after {end}");
        if asked < end { Err("it is too early") } else { Ok(()) }
    })
    .await;
}
