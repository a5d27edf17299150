//! What operator and verifier do that people would miss.

use serde_json::{Value, json};

use super::audit::Audited;
use super::support::eventually;
use super::support::http;
use super::support::keywright::Running;
use super::support::rights::Right;
use super::support::space::Space;

/// What is missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    Issues,
    Delivers,
    TakesBack,
    SaysState,
    GivesSiteId,
    SaysSuspended,
    BindsOwners,
    ChangesMembers,
    UnbindsMembers,
    Tells,
    RemovesSecret,
    CollectsLease,
    /// Of a change of a key, that every verifier goes by it.
    Proves,
    Answers,
    SeesKeys,
    SeesAccounts,
    SeesSuspensions,
    SeesEntries,
    WritesUse,
    RemovesLease,
    /// After somebody else has written its Lease.
    KeepsLease,
}

/// What is missed without a right.
pub fn missed(right: &Right) -> Deed {
    let resource = right.resource.split('.').next().unwrap();
    let in_entries = right.namespace.as_deref() == Some("keywright-entries");
    if right.account == "keywright-verifier" {
        missed_of_verifier(resource, &right.verb)
    } else {
        missed_of_operator(resource, &right.verb, in_entries)
    }
}

fn missed_of_operator(resource: &str, verb: &str, in_entries: bool) -> Deed {
    match (resource, verb) {
        ("apikeys", "get") => Deed::RemovesSecret,
        ("apikeys/status", _) => Deed::SaysState,
        ("accounts/status", _) => Deed::GivesSiteId,
        ("suspensions/status", _) | ("suspensions", "watch") => Deed::SaysSuspended,
        ("secrets", "update") => Deed::Delivers,
        ("secrets", "delete") => Deed::TakesBack,
        ("rolebindings", "update") => Deed::ChangesMembers,
        ("rolebindings", "delete") => Deed::UnbindsMembers,
        ("rolebindings" | "clusterroles", _) => Deed::BindsOwners,
        ("events", _) => Deed::Tells,
        ("leases", "list") => Deed::Proves,
        ("leases", "delete") if in_entries => Deed::CollectsLease,
        _ => Deed::Issues,
    }
}

fn missed_of_verifier(resource: &str, verb: &str) -> Deed {
    match (resource, verb) {
        ("apikeys", "watch") => Deed::SeesKeys,
        ("accounts", "watch") => Deed::SeesAccounts,
        ("suspensions", "watch") => Deed::SeesSuspensions,
        ("secrets", "watch") => Deed::SeesEntries,
        ("apikeys", "get") | ("apikeys/status", _) => Deed::WritesUse,
        ("leases", "get") => Deed::KeepsLease,
        ("leases", "update") => Deed::Proves,
        ("leases", "delete") => Deed::RemovesLease,
        _ => Deed::Answers,
    }
}

impl Deed {
    /// What fails then is not tried again.
    pub fn is_tried_once(self) -> bool {
        matches!(self, Self::RemovesLease | Self::Tells)
    }
}

/// Where it happens.
pub struct Stage<'a> {
    pub audited: &'a Audited,
    pub space: &'a Space,
}

impl Stage<'_> {
    fn kubectl(&self, args: &[&str]) -> Result<String, String> {
        let args = [args, &["-n", &self.space.name]].concat();
        self.audited.cluster.plane.kubectl(&args).map_err(|error| error.to_string())
    }

    async fn account(&self, members: Value) {
        self.space.account("acme", json!({"accessLevel": "Full", "members": members})).await;
    }

    /// An account and a key of it.
    async fn key(&self, secret: Value) {
        self.account(json!([])).await;
        self.space.key("storefront", json!({"account": "acme", "accessLevel": "Full", "secret": secret})).await;
    }

    fn suspend(&self) {
        let spec = json!({"target": {"kind": "ApiKey", "name": "storefront"}, "reason": "Abuse"});
        let suspension = json!({"apiVersion": "keywright.dev/v1alpha1", "kind": "Suspension", "metadata": {"name": "abuse"}, "spec": spec});
        let file = self.audited.cluster.plane.dir.join("suspension.json");
        std::fs::write(&file, suspension.to_string()).unwrap();
        self.kubectl(&["create", "-f", &file.display().to_string()]).unwrap();
    }

    /// Has `kubectl get` something to say, and this in it?
    fn shows(&self, what: &[&str], words: &str) -> Result<(), String> {
        let said = self.kubectl(&[&["get"], what].concat())?;
        if !said.trim().is_empty() && said.contains(words) { Ok(()) } else { Err(format!("{what:?}: {said}")) }
    }

    fn shows_no(&self, what: &[&str]) -> Result<(), String> {
        let said = self.kubectl(&[&["get", "--ignore-not-found", "-o", "name"], what].concat())?;
        if said.is_empty() { Ok(()) } else { Err(said) }
    }

    fn leases(&self) -> usize {
        let args = ["get", "leases", "-n", "keywright-entries", "-o", "name"];
        self.audited.cluster.plane.kubectl(&args).unwrap().lines().count()
    }

    /// Gives cause for it; what it says is needed to look whether it is done.
    pub async fn trigger(&self, deed: Deed, role: &Running) -> String {
        let person = |name: &str| json!([{"kind": "User", "name": name, "role": "Owner"}, {"kind": "User", "name": name, "role": "Admin"}]);
        match deed {
            Deed::Issues | Deed::Delivers | Deed::SaysState | Deed::Tells | Deed::Proves if role.address.is_empty() => {
                self.key(json!({})).await;
            }
            Deed::TakesBack => self.key(json!({"delivery": "Once", "deleteAfter": "1s"})).await,
            Deed::GivesSiteId => self.account(json!([])).await,
            Deed::SaysSuspended => self.suspend(),
            Deed::BindsOwners => self.account(person("ada")).await,
            Deed::ChangesMembers | Deed::UnbindsMembers => {
                self.account(person("ada")).await;
                eventually("ada is bound", async || self.shows(&["rolebinding", "-o", "wide"], "ada")).await;
                let then = if deed == Deed::ChangesMembers { person("eve") } else { json!([]) };
                self.space.patch_account("acme", json!({"spec": {"members": then}})).await;
            }
            Deed::RemovesSecret => return self.deleted_key().await,
            Deed::CollectsLease => self.leave_a_lease().await,
            _ => return self.trigger_verifier(deed, role).await,
        }
        String::new()
    }

    /// A key that was issued and is deleted; its uid.
    async fn deleted_key(&self) -> String {
        self.space.ready_key("storefront").await;
        let uid = self.kubectl(&["get", "apikey", "storefront", "-o", "jsonpath={.metadata.uid}"]).unwrap();
        self.kubectl(&["delete", "apikey", "storefront"]).unwrap();
        uid
    }

    /// Of a verifier that is killed, while something is to be proven.
    async fn leave_a_lease(&self) {
        let killed =
            super::programs::verifier(&self.audited.cluster, &super::support::chart::render(super::life::VALUES)).await;
        until_ready(&killed).await;
        killed.process.kill();
        self.key(json!({})).await;
    }

    async fn trigger_verifier(&self, deed: Deed, role: &Running) -> String {
        eventually("it listens", async || http::get(&role.admin, "/livez", &[]).await).await;
        let value = self.space.value("storefront", "api-key").await;
        if deed == Deed::Answers {
            return value;
        }
        until_ready(role).await;
        role.eventually_says("ok", "scope=any", &value).await;
        match deed {
            Deed::SeesKeys | Deed::Proves => {
                self.space.patch_key("storefront", json!({"spec": {"disabled": true}})).await;
            }
            Deed::SeesAccounts => self.space.patch_account("acme", json!({"spec": {"disabled": true}})).await,
            Deed::SeesSuspensions => self.suspend(),
            Deed::SeesEntries => return self.space.ready_key("another").await,
            Deed::WritesUse | Deed::RemovesLease => role.process.signal("TERM"),
            Deed::KeepsLease => {
                let annotate = ["annotate", "leases", "--all", "-n", "keywright-entries", "example.com/looked-at=yes"];
                self.audited.cluster.plane.kubectl(&annotate).unwrap();
                self.space.patch_key("storefront", json!({"spec": {"disabled": true}})).await;
            }
            _ => unreachable!("{deed:?} is none of a verifier's"),
        }
        value
    }

    /// Is it done?
    pub async fn is_done(&self, deed: Deed, role: &Running, value: &str) -> Result<(), String> {
        let says = async |code: &str| {
            let said = role.code("scope=any", value).await;
            if said == code { Ok(()) } else { Err(said) }
        };
        let status =
            |kind: &str, path: &str| self.shows(&[kind, "-o", &format!("jsonpath={{.items[*].status{path}}}")], "");
        match deed {
            Deed::Issues => self.shows(&["secret", "storefront"], ""),
            Deed::Delivers => self.condition("Ready", "Issued"),
            Deed::TakesBack => self.condition("SecretAvailable", "Revealed"),
            Deed::RemovesSecret => self.shows_no(&["secret", "storefront"]),
            Deed::SaysState => status("apikeys", ".state"),
            Deed::GivesSiteId => status("accounts", ".publicKey"),
            Deed::SaysSuspended => status("suspensions", ".conditions"),
            Deed::BindsOwners => self.shows(&["rolebinding", "keywright-members-owner", "keywright-members-admin"], ""),
            Deed::ChangesMembers => self.shows(&["rolebinding", "-o", "wide"], "eve"),
            Deed::UnbindsMembers => self.shows_no(&["rolebinding"]),
            Deed::Tells => self.shows(&["events", "-o", "name"], ""),
            Deed::CollectsLease => {
                if self.leases() == 1 {
                    Ok(())
                } else {
                    Err("there are others".to_owned())
                }
            }
            Deed::Proves | Deed::KeepsLease => self.condition("Enforced", "Acknowledged"),
            Deed::Answers | Deed::SeesEntries => says("ok").await,
            Deed::SeesKeys => says("disabled").await,
            Deed::SeesAccounts => says("account_disabled").await,
            Deed::SeesSuspensions => says("suspended").await,
            Deed::WritesUse => status("apikeys", ".activity.requests"),
            Deed::RemovesLease => {
                if self.leases() == 0 {
                    Ok(())
                } else {
                    Err("it is there".to_owned())
                }
            }
        }
    }

    /// Says the key this of its newest spec?
    fn condition(&self, kind: &str, reason: &str) -> Result<(), String> {
        let said = self.kubectl(&["get", "apikey", "storefront", "-o", "json"])?;
        let key: Value = serde_json::from_str(&said).map_err(|error| error.to_string())?;
        let conditions = key["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let wanted = |one: &Value| {
            one["type"] == kind && one["reason"] == reason && one["observedGeneration"] == key["metadata"]["generation"]
        };
        if conditions.iter().any(wanted) { Ok(()) } else { Err(format!("{conditions:?}")) }
    }
}

async fn until_ready(role: &Running) {
    eventually("ready", async || {
        let answer = http::get(&role.admin, "/readyz", &[]).await.map_err(|error| error.to_string())?;
        if answer.status == 200 { Ok(()) } else { Err(answer.body) }
    })
    .await;
}
