//! What is not ours, and what members cannot be.

use kube::ResourceExt;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};

use super::{ADMINS, OWNERS, Town, eventually, town, user};

fn foreign(name: &str, role: &str) -> Value {
    json!({
        "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
        "subjects": [{"kind": "User", "name": "Somebody", "apiGroup": "rbac.authorization.k8s.io"}],
    })
}

/// As ours, but for what is changed of it.
fn alike(uid: &str, change: impl FnOnce(&mut Value)) -> Value {
    let mut binding = foreign(OWNERS, "keywright-owner");
    binding["metadata"]["labels"] = json!({"app.kubernetes.io/managed-by": "keywright"});
    binding["metadata"]["ownerReferences"] =
        json!([{"apiVersion": "keywright.dev/v1alpha1", "kind": "Account", "name": "acme", "uid": uid}]);
    change(&mut binding);
    binding
}

impl Town {
    /// Holds that a foreign binding is left alone and said to be in the way, and that its deletion heals the account.
    async fn a_foreign_binding_is_in_the_way(&self, binding: Value) {
        let before = self.bind(binding).await;
        self.members(json!([user("Alice", "Owner"), user("Bob", "Admin")])).await;
        let told = self.until_ready_is("acme", "MemberConflict").await;
        assert!(told.contains(OWNERS) && told.contains("Delete it"), "{told}");
        // The other role does not suffer from it.
        self.until_bound(ADMINS, "acme", &["Bob"]).await;
        // Neither does it go with the members.
        self.members(json!([])).await;
        self.until_ready_is("acme", "Accepted").await;
        assert_eq!(self.bindings().get(OWNERS).await.unwrap(), before);
        self.members(json!([user("Alice", "Owner")])).await;
        self.until_ready_is("acme", "MemberConflict").await;
        self.bindings().delete(OWNERS, &DeleteParams::default()).await.unwrap();
        self.space.patch_account("acme", json!({"spec": {"displayName": "Acme"}})).await;
        self.until_bound(OWNERS, "acme", &["Alice"]).await;
        self.until_ready_is("acme", "Accepted").await;
    }

    /// An account, and its uid.
    async fn acme(&self) -> String {
        self.account("acme", json!([])).await;
        self.until_ready_is("acme", "Accepted").await;
        self.space.accounts().get("acme").await.unwrap().uid().unwrap()
    }
}

#[tokio::test]
async fn a_binding_that_a_user_made_under_our_name_is_not_touched() {
    let town = town().await;
    town.acme().await;
    town.a_foreign_binding_is_in_the_way(foreign(OWNERS, "view")).await;
}

#[tokio::test]
async fn a_binding_to_the_very_role_that_a_user_made_under_our_name_is_not_touched() {
    let town = town().await;
    town.acme().await;
    town.a_foreign_binding_is_in_the_way(foreign(OWNERS, "keywright-owner")).await;
}

#[tokio::test]
async fn a_binding_of_ours_that_lost_its_label_is_not_touched() {
    let town = town().await;
    let uid = town.acme().await;
    town.a_foreign_binding_is_in_the_way(alike(&uid, |binding| binding["metadata"]["labels"] = json!({}))).await;
}

/// It bears our marks, and gives another role; the policy keeps the operator from it.
#[tokio::test]
async fn a_binding_with_our_marks_and_another_role_is_not_touched() {
    let town = town().await;
    let uid = town.acme().await;
    let other = alike(&uid, |binding| binding["roleRef"]["name"] = "view".into());
    town.a_foreign_binding_is_in_the_way(other).await;
}

/// Its subjects are as wanted, so that nothing but the role shows that the members do not have theirs.
#[tokio::test]
async fn an_account_is_not_ready_while_its_members_are_bound_to_another_role() {
    let town = town().await;
    let uid = town.acme().await;
    let other = alike(&uid, |binding| {
        binding["roleRef"]["name"] = "view".into();
        binding["subjects"][0]["name"] = "Alice".into();
    });
    town.bind(other).await;
    town.members(json!([user("Alice", "Owner")])).await;
    town.until_ready_is("acme", "MemberConflict").await;
}

/// Owned by a kind of another group whose name begins as ours does.
#[tokio::test]
async fn a_binding_owned_by_an_account_of_another_group_is_not_touched() {
    let town = town().await;
    let uid = town.acme().await;
    let other = alike(&uid, |binding| {
        binding["metadata"]["ownerReferences"][0]["apiVersion"] = "keywright.development/v1".into();
        // The account's uid under another kind would have it collected.
        binding["metadata"]["ownerReferences"][0]["uid"] = "another".into();
    });
    let before = town.bind(other).await;
    town.members(json!([user("Alice", "Owner")])).await;
    town.until_ready_is("acme", "MemberConflict").await;
    assert_eq!(town.bindings().get(OWNERS).await.map(|now| now.metadata.uid).unwrap(), before.metadata.uid);
}

/// It would outlive the account, and so would the rights.
#[tokio::test]
async fn nobody_takes_the_marks_off_a_binding_and_a_former_member_loses_the_role() {
    let town = town().await;
    let uid = town.acme().await;
    town.members(json!([user("Alice", "Owner")])).await;
    town.until_bound(OWNERS, "acme", &["Alice"]).await;
    for marks in [
        json!({"ownerReferences": null}),
        json!({"labels": {"app.kubernetes.io/managed-by": null}}),
        json!({"ownerReferences": [{"apiVersion": "v1", "kind": "ConfigMap", "name": "a", "uid": uid.replace('-', "0")}]}),
    ] {
        let patch = Patch::Merge(json!({"metadata": marks}));
        let error = town.bindings().patch(OWNERS, &PatchParams::default(), &patch).await.unwrap_err().to_string();
        assert!(error.contains("change spec.members of the Account"), "{error}");
    }
    // Other marks are free.
    let patch = Patch::Merge(json!({"metadata": {"annotations": {"note": "reviewed"}}}));
    town.bindings().patch(OWNERS, &PatchParams::default(), &patch).await.unwrap();
    town.members(json!([])).await;
    town.until_gone(OWNERS).await;
}

#[tokio::test]
async fn a_second_owner_of_a_binding_is_taken_off() {
    let town = town().await;
    town.account("acme", json!([user("Alice", "Owner")])).await;
    let mut owners = json!(town.until_bound(OWNERS, "acme", &["Alice"]).await.owner_references());
    let namespace =
        town.cluster.plane.kubectl(&["get", "namespace", &town.space.name, "-o", "jsonpath={.metadata.uid}"]);
    let second = json!({"apiVersion": "v1", "kind": "Namespace", "name": town.space.name, "uid": namespace.unwrap()});
    owners.as_array_mut().unwrap().push(second);
    let patch = Patch::Merge(json!({"metadata": {"ownerReferences": owners}}));
    town.bindings().patch(OWNERS, &PatchParams::default(), &patch).await.unwrap();
    town.space.patch_account("acme", json!({"spec": {"displayName": "Acme"}})).await;
    town.until_bound(OWNERS, "acme", &["Alice"]).await;
}

/// RBAC takes no such name. One member must not keep all others from their roles, nor the account from its status.
#[tokio::test]
async fn a_workload_whose_name_rbac_refuses_is_refused_or_said_and_hinders_nobody_else() {
    let town = town().await;
    town.acme().await;
    for name in ["Deployer", "de_ployer", "-", "a/b", "system:masters", "a b"] {
        let wrong = json!({"kind": "ServiceAccount", "name": name, "namespace": "ci", "role": "Owner"});
        let members = json!({"spec": {"members": [wrong, user("Alice", "Owner")]}});
        let patch = Patch::Merge(members);
        let outcome = town.space.accounts().patch("acme", &PatchParams::default(), &patch).await;
        let Ok(account) = outcome else { continue };
        eventually(&format!("something is said of the member {name:?}"), async || {
            let now = town.space.accounts().get("acme").await.map_err(|e| e.to_string())?;
            let observed = now.status.as_ref().and_then(|status| status.observed_generation);
            if observed == account.metadata.generation { Ok(()) } else { Err(format!("{:?}", now.status)) }
        })
        .await;
    }
}

#[tokio::test]
async fn nobody_of_kubernetes_and_nobody_without_a_name_becomes_a_member() {
    let town = town().await;
    town.acme().await;
    for (member, because) in [
        (json!({"kind": "User", "name": "system:anonymous", "role": "Owner"}), "Kubernetes' own"),
        (json!({"kind": "Group", "name": "system:authenticated", "role": "Admin"}), "Kubernetes' own"),
        (json!({"kind": "Group", "name": "system:masters", "role": "Admin"}), "Kubernetes' own"),
        (json!({"kind": "User", "name": "", "role": "Owner"}), "should be at least 1 chars"),
        (json!({"kind": "User", "name": "Alice", "namespace": "ci", "role": "Owner"}), "User and Group have none"),
        (json!({"kind": "ServiceAccount", "name": "deployer", "role": "Owner"}), "needs its namespace"),
        (json!({"kind": "Robot", "name": "Bender", "role": "Owner"}), "Unsupported value: \"Robot\""),
        (json!({"kind": "User", "name": "Alice", "role": "Platform"}), "Unsupported value: \"Platform\""),
        (json!({"kind": "User", "name": "Alice"}), "role: Required value"),
    ] {
        let patch = Patch::Merge(json!({"spec": {"members": [member]}}));
        let refused = town.space.accounts().patch("acme", &PatchParams::default(), &patch).await.unwrap_err();
        assert!(refused.to_string().contains(because), "{member}: {refused}");
    }
}
