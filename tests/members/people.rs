//! What members can really do: users and groups by impersonation, a workload with a token of its own.

use keywright::api::{Account, ApiKey};
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use serde_json::{Value, json};

use super::support::control_plane::client;
use super::{ADMINS, OWNERS, Town, eventually, town, user};

/// Somebody with rights of their own, or without.
struct Person {
    who: String,
    keys: Api<ApiKey>,
    accounts: Api<Account>,
}

impl Town {
    fn person(&self, who: &str, client: Client) -> Person {
        let namespace = &self.space.name;
        Person {
            who: who.to_owned(),
            keys: Api::namespaced(client.clone(), namespace),
            accounts: Api::namespaced(client, namespace),
        }
    }

    async fn user(&self, name: &str, groups: &[&str]) -> Person {
        let kubeconfig = Kubeconfig::read_from(&self.cluster.plane.kubeconfig).unwrap();
        let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
        config.auth_info.impersonate = Some(name.to_owned());
        config.auth_info.impersonate_groups = Some(groups.iter().map(|&group| group.to_owned()).collect());
        self.person(name, Client::try_from(config).unwrap())
    }

    /// A ServiceAccount of this namespace, by its token.
    async fn workload(&self, name: &str) -> Person {
        let (plane, namespace) = (&self.cluster.plane, &self.space.name);
        plane.kubectl(&["create", "serviceaccount", name, "-n", namespace]).unwrap();
        let token = plane.kubectl(&["create", "token", name, "-n", namespace]).unwrap();
        let kubeconfig = plane.dir.join(format!("{namespace}-{name}.kubeconfig"));
        plane.write_kubeconfig(&kubeconfig, &format!("token: {}", token.trim())).unwrap();
        self.person(name, client(&kubeconfig).await.unwrap())
    }
}

impl Person {
    async fn create_a_key(&self) -> kube::Result<ApiKey> {
        let key = json!({"apiVersion": "keywright.dev/v1alpha1", "kind": "ApiKey", "metadata": {"generateName": "new-"},
            "spec": {"account": "acme", "accessLevel": "Full"}});
        self.keys.create(&PostParams::default(), &serde_json::from_value(key).unwrap()).await
    }

    async fn set(&self, account: Value) -> kube::Result<Account> {
        self.accounts.patch("acme", &PatchParams::default(), &Patch::Merge(json!({"spec": account}))).await
    }

    /// RBAC acts a moment after a binding is written.
    async fn comes_to_manage_keys(&self) {
        eventually(&format!("{} manages keys", self.who), async || self.create_a_key().await).await;
        self.keys.list(&ListParams::default()).await.unwrap();
    }

    async fn comes_to_have_no_rights(&self) {
        eventually(&format!("{} has no rights", self.who), async || {
            let outcomes =
                [self.create_a_key().await.map(drop), self.keys.list(&ListParams::default()).await.map(drop)];
            if outcomes.iter().all(is_forbidden) { Ok(()) } else { Err(format!("{outcomes:?}")) }
        })
        .await;
        assert!(is_forbidden(&self.set(json!({"disabled": true})).await));
        assert!(is_forbidden(&self.accounts.get("acme").await));
    }

    async fn cannot_change_members(&self) {
        assert!(is_forbidden(&self.set(json!({"members": [user(&self.who, "Owner")]})).await), "{}", self.who);
        assert!(is_forbidden(&self.set(json!({"disabled": true})).await), "{}", self.who);
    }
}

fn is_forbidden<T>(outcome: &kube::Result<T>) -> bool {
    matches!(outcome, Err(kube::Error::Api(status)) if status.code == 403)
}

#[tokio::test]
async fn users_groups_and_workloads_get_the_rights_of_their_role_and_lose_them_with_it() {
    let town = town().await;
    let alice = town.user("Alice", &[]).await;
    let carol = town.user("Carol", &["shop-team"]).await;
    let deployer = town.workload("deployer").await;
    let stranger = town.user("shop-team", &["Alice", "deployer"]).await;
    let members = |role: &str| {
        json!([
            {"kind": "User", "name": "Alice", "role": role},
            {"kind": "Group", "name": "shop-team", "role": role},
            {"kind": "ServiceAccount", "name": "deployer", "namespace": town.space.name, "role": role},
        ])
    };
    town.account("acme", json!([])).await;
    for person in [&alice, &carol, &deployer, &stranger] {
        person.comes_to_have_no_rights().await;
    }
    town.members(members("Admin")).await;
    for person in [&alice, &carol, &deployer] {
        person.comes_to_manage_keys().await;
        person.cannot_change_members().await;
    }
    town.members(members("Owner")).await;
    for person in [&alice, &carol, &deployer] {
        eventually(&format!("{} is an owner", person.who), async || person.set(json!({"disabled": true})).await).await;
        person.comes_to_manage_keys().await;
        // An owner decides about members and `disabled`, and about no more.
        let told = person.set(json!({"accessLevel": "ReadOnly"})).await.unwrap_err().to_string();
        assert!(told.contains("takes the verb govern on accounts"), "{}: {told}", person.who);
    }
    // Who bears a group's name, or is in a group that bears a user's, is neither.
    stranger.comes_to_have_no_rights().await;
    town.members(json!([])).await;
    for person in [&alice, &carol, &deployer] {
        person.comes_to_have_no_rights().await;
    }
}

#[tokio::test]
async fn an_owner_makes_another_and_is_removed_by_that_one() {
    let town = town().await;
    let (alice, bob) = (town.user("Alice", &[]).await, town.user("Bob", &[]).await);
    town.account("acme", json!([user("Alice", "Owner")])).await;
    let both = json!({"members": [user("Alice", "Owner"), user("Bob", "Owner")]});
    eventually("Alice adds Bob", async || alice.set(both.clone()).await).await;
    town.until_bound(OWNERS, "acme", &["Alice", "Bob"]).await;
    let alone = json!({"members": [user("Bob", "Owner")]});
    eventually("Bob removes Alice", async || bob.set(alone.clone()).await).await;
    alice.comes_to_have_no_rights().await;
    bob.comes_to_manage_keys().await;
}

#[tokio::test]
async fn an_admin_does_not_make_themself_an_owner() {
    let town = town().await;
    let bob = town.user("Bob", &[]).await;
    town.account("acme", json!([user("Alice", "Owner"), user("Bob", "Admin")])).await;
    bob.comes_to_manage_keys().await;
    bob.cannot_change_members().await;
    town.until_bound(OWNERS, "acme", &["Alice"]).await;
    town.until_bound(ADMINS, "acme", &["Bob"]).await;
}

#[tokio::test]
async fn a_role_in_one_account_is_none_in_another_namespace() {
    let (here, there) = (town().await, town().await);
    here.account("acme", json!([user("Alice", "Owner")])).await;
    there.account("acme", json!([user("Bob", "Owner")])).await;
    here.user("Alice", &[]).await.comes_to_manage_keys().await;
    there.user("Bob", &[]).await.comes_to_manage_keys().await;
    there.user("Alice", &[]).await.comes_to_have_no_rights().await;
}

#[tokio::test]
async fn members_of_a_deleted_account_have_no_rights() {
    let town = town().await;
    let alice = town.user("Alice", &[]).await;
    town.account("acme", json!([user("Alice", "Owner")])).await;
    alice.comes_to_manage_keys().await;
    town.delete("acme").await;
    eventually("Alice has no rights", async || match alice.keys.list(&ListParams::default()).await {
        Err(kube::Error::Api(status)) if status.code == 403 => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
}

/// A deletion counts from when it is asked for, whoever holds it up.
#[tokio::test]
async fn members_of_an_account_whose_deletion_a_finalizer_holds_have_no_rights() {
    let town = town().await;
    let alice = town.user("Alice", &[]).await;
    town.account("acme", json!([user("Alice", "Owner")])).await;
    town.space.patch_account("acme", json!({"metadata": {"finalizers": ["example.com/hold"]}})).await;
    alice.comes_to_manage_keys().await;
    town.delete("acme").await;
    alice.comes_to_have_no_rights().await;
}
