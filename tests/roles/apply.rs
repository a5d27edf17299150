//! The real kubectl, and the effect of a write on the next `kubectl apply` of another user.

use std::fs;
use std::process::Command;

use keywright::api::{Account, ApiKey};
use kube::ResourceExt;
use serde_json::{Value, json};

use super::attempt::{Person, one};
use super::support::Result;
use super::support::cluster::Cluster;
use super::support::process::output;
use super::support::space::Space;
use super::{NOTE, NOTE_ON_ACCOUNTS, NOTE_ON_KEYS, refused, scene};

const OWNER: &str = "keywright-owner";
const WRITER: &str = "keywright-key-writer";
const PLATFORM: &str = "keywright-platform";

/// kubectl in the test's namespace.
pub struct Kubectl {
    pub cluster: &'static Cluster,
    pub space: Space,
}

impl Kubectl {
    pub async fn new() -> Self {
        let (cluster, space) = scene().await;
        Self { cluster, space }
    }

    fn run(&self, who: &str, args: &[&str]) -> Result<String> {
        self.cluster.plane.kubectl(&[&["--as", who, "-n", &self.space.name], args].concat())
    }

    /// A command that takes a file.
    pub fn file(&self, who: &str, command: &[&str], object: &Value) -> Result<String> {
        let file = self.cluster.plane.dir.join(format!("{}.json", self.space.name));
        fs::write(&file, serde_json::to_vec(object)?)?;
        self.run(who, &[command, &["-f", &file.display().to_string()]].concat())
    }

    fn apply(&self, who: &str, object: &Value) -> Result<String> {
        self.file(who, &["apply"], object)
    }

    fn patch(&self, who: &str, what: &str, spec: &Value) -> Result<String> {
        self.run(who, &["patch", what, "--type=merge", "-p", &json!({"spec": spec}).to_string()])
    }

    /// `kubectl edit` with an editor that runs a script of sed.
    fn edit(&self, who: &str, what: &str, script: &str) -> Result<String> {
        let plane = &self.cluster.plane;
        let mut edit = Command::new(plane.bin.join("kubectl"));
        edit.env("KUBE_EDITOR", format!("sed -i '{script}'")).arg("--kubeconfig").arg(&plane.kubeconfig);
        output(edit.args(["--as", who, "-n", &self.space.name, "edit", what]))
    }

    async fn person(&self, role: &str) -> Person {
        Person::new(self.cluster, Some(role), &self.space.name).await.in_earnest()
    }
}

fn key(spec: Value) -> Value {
    let mut all = json!({"account": "acme", "accessLevel": "Full"});
    all.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    one::<ApiKey>("exporter", &all)
}

fn account(spec: Value) -> Value {
    let mut all = json!({"accessLevel": "Full"});
    all.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    one::<Account>("other", &all)
}

#[tokio::test]
async fn apply_by_a_key_writer_is_refused_and_names_patch() {
    let kubectl = Kubectl::new().await;
    kubectl.apply(OWNER, &key(json!({}))).unwrap();
    refused(kubectl.apply(WRITER, &key(json!({"disabled": true}))), NOTE_ON_KEYS);
    kubectl.patch(WRITER, "apikey/exporter", &json!({"disabled": true})).unwrap();
    assert!(kubectl.space.keys().get("exporter").await.unwrap().spec.disabled);
}

#[tokio::test]
async fn apply_by_an_owner_to_an_account_is_refused_and_names_patch() {
    let kubectl = Kubectl::new().await;
    kubectl.apply(PLATFORM, &account(json!({}))).unwrap();
    refused(kubectl.apply(OWNER, &account(json!({"disabled": true}))), NOTE_ON_ACCOUNTS);
    kubectl.patch(OWNER, "account/other", &json!({"disabled": true})).unwrap();
    assert!(kubectl.space.accounts().get("other").await.unwrap().spec.disabled);
}

#[tokio::test]
async fn edit_and_replace_by_a_key_writer_change_disabled() {
    let kubectl = Kubectl::new().await;
    kubectl.file(OWNER, &["create"], &key(json!({"disabled": false}))).unwrap();
    let mut read: Value =
        serde_json::from_str(&kubectl.run(WRITER, &["get", "apikey", "exporter", "-o", "json"]).unwrap()).unwrap();
    read["spec"]["disabled"] = true.into();
    kubectl.file(WRITER, &["replace"], &read).unwrap();
    assert!(kubectl.space.keys().get("exporter").await.unwrap().spec.disabled);
    // kubectl edit leaves the note as it is.
    kubectl.apply(OWNER, &key(json!({}))).unwrap();
    kubectl.edit(WRITER, "apikey/exporter", "s/disabled: true/disabled: false/").unwrap();
    assert!(!kubectl.space.keys().get("exporter").await.unwrap().spec.disabled);
}

/// Without the annotation that a key-writer sets, the owner's apply removes only what the owner applied before.
#[tokio::test]
async fn a_note_of_a_key_writer_revives_nothing() {
    let kubectl = Kubectl::new().await;
    kubectl.apply(OWNER, &key(json!({}))).unwrap();
    let ends = json!({"expiresAt": "2020-01-01T00:00:00Z", "rotation": {"revokeBefore": "2020-01-01T00:00:00Z"}});
    kubectl.patch(OWNER, "apikey/exporter", &ends).unwrap();
    let note = json!({"metadata": {"annotations": {NOTE: key(ends).to_string()}}});
    let _ = kubectl.person(WRITER).await.merge("apikeys", "exporter", &note).await;
    kubectl.apply(OWNER, &key(json!({}))).unwrap();
    let after = kubectl.space.keys().get("exporter").await.unwrap();
    assert!(after.spec.expires_at.is_some(), "expiresAt is gone");
    assert!(after.spec.revoke_before().is_some(), "revokeBefore is gone");
}

#[tokio::test]
async fn a_note_of_an_owner_raises_no_ceiling() {
    let kubectl = Kubectl::new().await;
    kubectl.apply(PLATFORM, &account(json!({}))).unwrap();
    let ceiling = json!({"maxKeyLifetime": "1h", "resources": ["orders"]});
    kubectl.patch(PLATFORM, "account/other", &ceiling).unwrap();
    let note = json!({"metadata": {"annotations": {NOTE: account(ceiling).to_string()}}});
    let _ = kubectl.person(OWNER).await.merge("accounts", "other", &note).await;
    kubectl.apply(PLATFORM, &account(json!({}))).unwrap();
    let after = kubectl.space.accounts().get("other").await.unwrap();
    assert!(after.spec.max_key_lifetime.is_some(), "maxKeyLifetime is gone");
    assert!(!after.spec.resources.is_empty(), "resources are gone");
}

#[tokio::test]
async fn a_reset_of_a_key_writer_keeps_no_field_alive() {
    let kubectl = Kubectl::new().await;
    let apply = |spec: Value| kubectl.file(OWNER, &["apply", "--server-side", "--field-manager=git"], &key(spec));
    apply(json!({"metadata": {"plan": "gold"}})).unwrap();
    let reset = json!({"metadata": {"managedFields": [{}]}});
    let _ = kubectl.person(WRITER).await.merge("apikeys", "exporter", &reset).await;
    apply(json!({})).unwrap();
    let after = kubectl.space.keys().get("exporter").await.unwrap();
    assert!(after.spec.metadata.is_empty(), "what the manifest no longer states is still there");
    assert_eq!(after.managed_fields().len(), 1);
}
