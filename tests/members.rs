//! An account's members on a real API server: what becomes of them, and what they can then really do.

#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "members/people.rs"]
mod people;
#[path = "members/sharing.rs"]
mod sharing;
#[path = "members/strange.rs"]
mod strange;
#[path = "support/mod.rs"]
mod support;

use k8s_openapi::api::rbac::v1::{RoleBinding, Subject};
use keywright::api::Account;
use kube::api::{DeleteParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use support::cluster::Cluster;
use support::eventually;
use support::keywright::Running;
use support::space::Space;
use tokio::sync::OnceCell;

const OWNERS: &str = "keywright-members-owner";
const ADMINS: &str = "keywright-members-admin";

/// One operator for all tests of this binary, and the controllers that collect what is owned.
struct Keywright {
    cluster: &'static Cluster,
    _operator: Running,
}

async fn keywright() -> &'static Keywright {
    static SHARED: OnceCell<Keywright> = OnceCell::const_new();
    SHARED
        .get_or_init(async || {
            let cluster = Cluster::shared().await;
            cluster.plane.with_controller_manager().unwrap();
            let operator = Running::operator(cluster, &[]).await.unwrap().ready().await;
            Keywright { cluster, _operator: operator }
        })
        .await
}

/// A namespace with accounts in it.
struct Town {
    cluster: &'static Cluster,
    space: Space,
}

async fn town() -> Town {
    let cluster = keywright().await.cluster;
    Town { cluster, space: Space::new(cluster).await }
}

fn user(name: &str, role: &str) -> Value {
    json!({"kind": "User", "name": name, "role": role})
}

impl Town {
    fn bindings(&self) -> Api<RoleBinding> {
        Api::namespaced(self.space.client.clone(), &self.space.name)
    }

    async fn account(&self, name: &str, members: Value) {
        self.space.account(name, json!({"accessLevel": "Full", "members": members})).await;
    }

    /// The members of `acme`, from now on.
    async fn members(&self, members: Value) {
        self.space.patch_account("acme", json!({"spec": {"members": members}})).await;
    }

    async fn delete(&self, account: &str) {
        self.space.accounts().delete(account, &DeleteParams::default()).await.unwrap();
    }

    /// Waits until the condition `Ready` of the newest spec has this reason; its message.
    async fn until_ready_is(&self, account: &str, reason: &str) -> String {
        eventually(&format!("{account}: Ready with reason {reason}"), async || {
            let account = self.space.accounts().get(account).await.map_err(|e| e.to_string())?;
            let status = account.status.clone().unwrap_or_default();
            let ready = status.conditions.into_iter().find(|c| c.type_ == "Ready");
            let is = ready.filter(|c| c.reason == reason && c.observed_generation == account.metadata.generation);
            is.map(|c| c.message).ok_or_else(|| format!("{:?}", account.status))
        })
        .await
    }

    /// Waits until the binding names exactly these, in any order, and belongs to this account; the binding.
    async fn until_bound(&self, binding: &str, account: &str, names: &[&str]) -> RoleBinding {
        eventually(&format!("{binding} names {names:?}"), async || {
            let found = self.bindings().get(binding).await.map_err(|e| e.to_string())?;
            let account = self.space.accounts().get(account).await.map_err(|e| e.to_string())?;
            let mut subjects: Vec<&str> = found.subjects.iter().flatten().map(|s| s.name.as_str()).collect();
            subjects.sort_unstable();
            if subjects == names && is_owned_by(&found, &account) { Ok(found) } else { Err(format!("{found:?}")) }
        })
        .await
    }

    async fn until_gone(&self, binding: &str) {
        eventually(&format!("{binding} is gone"), async || match self.bindings().get_opt(binding).await {
            Ok(None) => Ok(()),
            other => Err(format!("{other:?}")),
        })
        .await;
    }

    /// Makes a RoleBinding as a user of the cluster would.
    async fn bind(&self, binding: Value) -> RoleBinding {
        let binding = serde_json::from_value(binding).unwrap();
        self.bindings().create(&PostParams::default(), &binding).await.unwrap()
    }
}

fn is_owned_by(binding: &RoleBinding, account: &Account) -> bool {
    let owners = binding.owner_references();
    owners.len() == 1 && Some(&owners[0].uid) == account.metadata.uid.as_ref()
}

#[tokio::test]
async fn members_become_one_binding_a_role_owned_by_the_account() {
    let town = town().await;
    let workload = json!({"kind": "ServiceAccount", "name": "deployer", "namespace": "ci", "role": "Admin"});
    let group = json!({"kind": "Group", "name": "shop-team", "role": "Owner"});
    town.account("acme", json!([user("Alice", "Owner"), group, workload, user("Bob", "Admin")])).await;
    let owners = town.until_bound(OWNERS, "acme", &["Alice", "shop-team"]).await;
    let admins = town.until_bound(ADMINS, "acme", &["Bob", "deployer"]).await;
    for (binding, role) in [(&owners, "keywright-owner"), (&admins, "keywright-admin")] {
        assert_eq!((binding.role_ref.kind.as_str(), binding.role_ref.name.as_str()), ("ClusterRole", role));
        let owner = &binding.owner_references()[0];
        assert_eq!((owner.kind.as_str(), owner.name.as_str()), ("Account", "acme"));
        assert_eq!((owner.controller, owner.block_owner_deletion), (Some(true), Some(false)));
        assert_eq!(binding.labels()["app.kubernetes.io/managed-by"], "keywright");
    }
    let of = |binding: &RoleBinding, name: &str| -> Subject {
        binding.subjects.iter().flatten().find(|subject| subject.name == name).unwrap().clone()
    };
    assert_eq!(of(&owners, "Alice").kind, "User");
    assert_eq!(of(&owners, "shop-team").kind, "Group");
    assert_eq!(of(&admins, "deployer").kind, "ServiceAccount");
    assert_eq!(of(&admins, "deployer").namespace.as_deref(), Some("ci"));
    town.until_ready_is("acme", "Accepted").await;
}

#[tokio::test]
async fn bindings_follow_the_members_and_go_with_the_last() {
    let town = town().await;
    town.account("acme", json!([user("Alice", "Owner"), user("Bob", "Owner")])).await;
    let first = town.until_bound(OWNERS, "acme", &["Alice", "Bob"]).await;
    town.members(json!([user("Alice", "Owner"), user("Bob", "Admin")])).await;
    let second = town.until_bound(OWNERS, "acme", &["Alice"]).await;
    assert_eq!(first.uid(), second.uid(), "it is changed in place");
    town.until_bound(ADMINS, "acme", &["Bob"]).await;
    town.members(json!([user("Bob", "Admin")])).await;
    town.until_gone(OWNERS).await;
    town.members(Value::Null).await;
    town.until_gone(ADMINS).await;
    town.until_ready_is("acme", "Accepted").await;
    town.members(json!([user("Alice", "Owner")])).await;
    town.until_bound(OWNERS, "acme", &["Alice"]).await;
}

#[tokio::test]
async fn a_binding_that_is_right_is_not_written_again() {
    let town = town().await;
    let group = json!({"kind": "Group", "name": "shop-team", "role": "Owner"});
    let workload = json!({"kind": "ServiceAccount", "name": "deployer", "namespace": "ci", "role": "Owner"});
    // Told twice, and in another order than ours.
    town.account("acme", json!([user("Zoe", "Owner"), workload, group, user("Alice", "Owner"), user("Zoe", "Owner")]))
        .await;
    let before = town.until_bound(OWNERS, "acme", &["Alice", "Zoe", "deployer", "shop-team"]).await;
    town.space.patch_account("acme", json!({"spec": {"disabled": true}})).await;
    town.until_ready_is("acme", "Accepted").await;
    assert_eq!(town.bindings().get(OWNERS).await.unwrap(), before);
}

#[tokio::test]
async fn a_binding_that_somebody_deleted_or_emptied_is_made_again_when_the_account_is_looked_at() {
    let town = town().await;
    town.account("acme", json!([user("Alice", "Owner"), user("Bob", "Admin")])).await;
    town.until_bound(OWNERS, "acme", &["Alice"]).await;
    let mut admins = town.until_bound(ADMINS, "acme", &["Bob"]).await;
    town.bindings().delete(OWNERS, &DeleteParams::default()).await.unwrap();
    admins.subjects = None;
    town.bindings().replace(ADMINS, &PostParams::default(), &admins).await.unwrap();
    town.space.patch_account("acme", json!({"spec": {"displayName": "Acme"}})).await;
    town.until_bound(OWNERS, "acme", &["Alice"]).await;
    town.until_bound(ADMINS, "acme", &["Bob"]).await;
}

#[tokio::test]
async fn the_bindings_go_with_the_account() {
    let town = town().await;
    town.account("acme", json!([user("Alice", "Owner"), user("Bob", "Admin")])).await;
    town.until_bound(OWNERS, "acme", &["Alice"]).await;
    town.until_bound(ADMINS, "acme", &["Bob"]).await;
    town.delete("acme").await;
    town.until_gone(OWNERS).await;
    town.until_gone(ADMINS).await;
}

#[tokio::test]
async fn a_re_created_account_takes_its_bindings_over() {
    let town = town().await;
    town.account("acme", json!([user("Alice", "Owner"), user("Bob", "Admin")])).await;
    town.until_bound(OWNERS, "acme", &["Alice"]).await;
    town.until_bound(ADMINS, "acme", &["Bob"]).await;
    town.delete("acme").await;
    // Before anybody has collected what the one before left.
    town.account("acme", json!([user("Bob", "Owner")])).await;
    town.until_bound(OWNERS, "acme", &["Bob"]).await;
    town.until_gone(ADMINS).await;
    town.until_ready_is("acme", "Accepted").await;
}

#[tokio::test]
async fn a_namespace_with_members_is_emptied() {
    let town = town().await;
    town.account("acme", json!([user("Alice", "Owner")])).await;
    town.until_bound(OWNERS, "acme", &["Alice"]).await;
    let namespaces = Api::<k8s_openapi::api::core::v1::Namespace>::all(town.space.client.clone());
    namespaces.delete(&town.space.name, &DeleteParams::default()).await.unwrap();
    eventually("the namespace is gone", async || match namespaces.get_opt(&town.space.name).await {
        Ok(None) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
}
