//! The statuses that Argo CD's checks and kstatus are tested with are what the operator really writes: each file of
//! testdata is held against a real run, or written by one with `KEYWRIGHT_UPDATE` set.

use std::fs;
use std::path::{Path, PathBuf};

use k8s_openapi::api::coordination::v1::Lease;
use keywright::api::{Account, ApiKey, Suspension};
use kube::Resource;
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, PostParams};
use kube::discovery::ApiResource;
use serde_json::{Value, json};

use super::support::cluster::Cluster;
use super::support::eventually;
use super::support::keywright::Running;
use super::support::space::{Space, neither};

/// In place of what differs from run to run.
const MOMENT: &str = "2026-11-22T10:00:00Z";
const KEY_ID: &str = "7hx3k9m2pq4d";

fn customizations() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/gitops/argocd/resource_customizations/keywright.dev")
}

/// A namespace whose objects are read as the API server has them.
struct Scene {
    space: Space,
}

impl Scene {
    fn api<K: Resource<DynamicType = ()>>(&self) -> Api<DynamicObject> {
        Api::namespaced_with(self.space.client.clone(), &self.space.name, &ApiResource::erase::<K>(&()))
    }

    async fn create<K: Resource<DynamicType = ()>>(&self, name: &str, spec: Value) {
        let (api_version, kind) = (K::api_version(&()), K::kind(&()));
        let object = json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": name}, "spec": spec});
        let object = serde_json::from_value(object).unwrap();
        self.api::<K>().create(&PostParams::default(), &object).await.unwrap();
    }

    /// Holds that an object comes to be as the file says.
    async fn becomes<K: Resource<DynamicType = ()>>(&self, name: &str, file: &str, until: impl Fn(&Value) -> bool) {
        let object = eventually(&format!("{name} is as {file} says"), async || {
            let object = json!(self.api::<K>().get(name).await.map_err(|e| e.to_string())?);
            if until(&object) { Ok(object) } else { Err(object["status"].to_string()) }
        })
        .await;
        let path = customizations().join(&*K::kind(&())).join("testdata").join(file);
        let found = serde_yaml_ng::to_string(&timeless(object)).unwrap();
        if std::env::var_os("KEYWRIGHT_UPDATE").is_some() {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, &found).unwrap();
        }
        let committed = fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(
            found,
            committed,
            "{} is no longer what the operator writes; set KEYWRIGHT_UPDATE=1",
            path.display()
        );
    }
}

/// Without what differs from run to run.
fn timeless(mut object: Value) -> Value {
    let namespace = object["metadata"]["namespace"].as_str().unwrap().to_owned();
    let generation = object["metadata"]["generation"].take();
    object["metadata"] = json!({"name": object["metadata"]["name"], "namespace": "shop", "generation": generation});
    if object["status"].is_null() {
        return object;
    }
    let status = &mut object["status"];
    let issued = status["keyId"].as_str().map(str::to_owned);
    for (field, constant) in [("keyId", KEY_ID), ("publicKey", "K3W7QX")] {
        if !status[field].is_null() {
            status[field] = json!(constant);
        }
    }
    if let (Some(id), Some(hint)) = (&issued, status["hint"].as_str()) {
        status["hint"] = json!(hint.replace(id, KEY_ID));
    }
    for field in ["disabledAt", "enforcedAt"] {
        if !status[field].is_null() {
            status[field] = json!(MOMENT);
        }
    }
    for line in list(status, "history") {
        line["at"] = json!(MOMENT);
        let message = line["message"].as_str().unwrap().replace(&namespace, "shop");
        line["message"] = json!(issued.as_ref().map_or_else(|| message.clone(), |id| message.replace(id, KEY_ID)));
    }
    for (index, credential) in list(status, "credentials").enumerate() {
        credential["keyId"] = json!(if index == 0 { KEY_ID } else { "m2pq4d7hx3k9" });
        credential["issuedAt"] = json!(MOMENT);
        if !credential["retiresAt"].is_null() {
            credential["retiresAt"] = json!("2026-11-23T10:00:00Z");
        }
    }
    for condition in list(status, "conditions") {
        condition["lastTransitionTime"] = json!(MOMENT);
        condition["message"] = json!(condition["message"].as_str().unwrap().replace(&namespace, "shop"));
    }
    object
}

fn list<'s>(status: &'s mut Value, field: &str) -> impl Iterator<Item = &'s mut Value> + use<'s> {
    status.get_mut(field).and_then(Value::as_array_mut).into_iter().flatten()
}

pub fn condition<'o>(object: &'o Value, type_: &str) -> Option<&'o Value> {
    object["status"]["conditions"].as_array()?.iter().find(|condition| condition["type"] == type_)
}

fn said(object: &Value, type_: &str, reason: &str) -> bool {
    let generation = &object["metadata"]["generation"];
    condition(object, type_).is_some_and(|c| c["reason"] == reason && &c["observedGeneration"] == generation)
}

fn enforced(object: &Value) -> bool {
    said(object, "Enforced", "Acknowledged")
}

fn key(more: Value) -> Value {
    let mut spec = json!({"account": "acme", "accessLevel": "Full"});
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    spec
}

#[tokio::test]
async fn the_statuses_that_argo_cd_and_flux_are_tested_with_are_what_the_operator_writes() {
    let cluster = Cluster::shared().await;
    let _alone = neither().await;
    let scene = Scene { space: Space::new(cluster).await };
    // Those of verifiers that were killed would be waited for.
    let leases = Api::<Lease>::namespaced(scene.space.client.clone(), "keywright-entries");
    leases.delete_collection(&DeleteParams::default(), &ListParams::default()).await.unwrap();
    nobody_runs(&scene).await;
    let _operator = Running::operator(cluster, &[]).await.unwrap().ready().await;
    no_verifier_runs(&scene).await;
    let _verifier = Running::verifier(cluster, &[]).await.unwrap().ready().await;
    keys(&scene).await;
    accounts(&scene).await;
}

async fn nobody_runs(scene: &Scene) {
    scene.create::<Account>("acme", json!({"accessLevel": "Full"})).await;
    scene.create::<ApiKey>("storefront", key(json!({}))).await;
    scene.create::<ApiKey>("late", key(json!({}))).await;
    let overdue = json!({"target": {"kind": "ApiKey", "name": "late"}, "reason": "PaymentOverdue"});
    scene.create::<Suspension>("overdue", overdue).await;
    scene.becomes::<Account>("acme", "progressing_new.yaml", |_| true).await;
    scene.becomes::<ApiKey>("storefront", "progressing_new.yaml", |_| true).await;
    scene.becomes::<Suspension>("overdue", "progressing_new.yaml", |_| true).await;
}

async fn no_verifier_runs(scene: &Scene) {
    let unproven = |object: &Value| said(object, "Enforced", "NoVerifier");
    let file = "progressing_no_verifier.yaml";
    scene.becomes::<Suspension>("overdue", file, unproven).await;
    let nowhere = json!({"target": {"kind": "ApiKey", "name": "nobody-s"}, "reason": "PaymentOverdue"});
    scene.create::<Suspension>("nowhere", nowhere).await;
    let lacks_target = |object: &Value| said(object, "Enforced", "TargetNotFound");
    scene.becomes::<Suspension>("nowhere", "progressing_target_not_found.yaml", lacks_target).await;
    let issued = |object: &Value| unproven(object) && said(object, "Ready", "Issued");
    scene.becomes::<ApiKey>("storefront", file, |key| issued(key) && said(key, "SecretAvailable", "Delivered")).await;
    let counted = |account: &Value| unproven(account) && account["status"]["keys"]["active"] == 1;
    scene.becomes::<Account>("acme", file, counted).await;
}

async fn keys(scene: &Scene) {
    let space = &scene.space;
    let done = |object: &Value| enforced(object) && said(object, "Ready", "Issued");
    let in_state = |state: &'static str| move |key: &Value| done(key) && key["status"]["state"] == state;
    scene.becomes::<ApiKey>("storefront", "healthy_issued.yaml", in_state("Active")).await;
    scene.becomes::<Account>("acme", "healthy_accepted.yaml", enforced).await;
    scene.becomes::<Suspension>("overdue", "healthy_enforced.yaml", enforced).await;
    space.patch_key("storefront", json!({"spec": {"rotation": {"revision": 4}}})).await;
    let two = |key: &Value| done(key) && key["status"]["credentials"][1]["retiresAt"].is_string();
    scene.becomes::<ApiKey>("storefront", "healthy_rotated.yaml", two).await;
    space.patch_key("storefront", json!({"spec": {"disabled": true}})).await;
    scene.becomes::<ApiKey>("storefront", "suspended_disabled.yaml", in_state("Disabled")).await;

    scene.becomes::<ApiKey>("late", "suspended_by_platform.yaml", in_state("Suspended")).await;
    scene.create::<ApiKey>("ended", key(json!({}))).await;
    space.until_ready_is("ended", "Issued").await;
    space.patch_key("ended", json!({"spec": {"expiresAt": "2020-01-01T00:00:00Z"}})).await;
    scene.becomes::<ApiKey>("ended", "degraded_expired.yaml", in_state("Expired")).await;
    scene.create::<ApiKey>("lost", key(json!({"account": "nobody"}))).await;
    let lost = |key: &Value| enforced(key) && said(key, "Ready", "AccountNotFound");
    scene.becomes::<ApiKey>("lost", "degraded_account_not_found.yaml", lost).await;
    scene.create::<Account>("narrow", json!({"accessLevel": "Custom", "scopes": ["orders:read"]})).await;
    let wide = json!({"account": "narrow", "accessLevel": "Custom", "scopes": ["orders:write"]});
    scene.create::<ApiKey>("wide", wide).await;
    let refused = |key: &Value| enforced(key) && said(key, "Ready", "ScopeNotGranted");
    scene.becomes::<ApiKey>("wide", "degraded_scope_not_granted.yaml", refused).await;
    let revoked = key(json!({"rotation": {"revokeBefore": "2099-01-01T00:00:00Z"}}));
    scene.create::<ApiKey>("early", revoked).await;
    let early = |key: &Value| enforced(key) && said(key, "Ready", "RevokedInAdvance");
    scene.becomes::<ApiKey>("early", "degraded_revoked_in_advance.yaml", early).await;
}

async fn accounts(scene: &Scene) {
    scene.create::<Account>("off", json!({"accessLevel": "Full", "disabled": true})).await;
    scene.becomes::<Account>("off", "suspended_disabled.yaml", enforced).await;
    let typing_error = json!({"accessLevel": "Custom", "scopes": ["oders:read"], "resources": ["orders"]});
    scene.create::<Account>("odd", typing_error).await;
    let unknown = |account: &Value| enforced(account) && said(account, "Ready", "UnknownScope");
    scene.becomes::<Account>("odd", "degraded_unknown_scope.yaml", unknown).await;
    let target = json!({"kind": "Account", "name": "closed"});
    let closed = json!({"target": target, "reason": "ContractEnded", "message": "The contract has ended."});
    scene.create::<Suspension>("closed", closed).await;
    scene.create::<Account>("closed", json!({"accessLevel": "Full"})).await;
    let suspended = |account: &Value| enforced(account) && said(account, "Suspended", "ContractEnded");
    scene.becomes::<Account>("closed", "suspended_by_platform.yaml", suspended).await;
}
