//! Who may do what with keys and accounts: each role as a real user, through RBAC and the policies.

#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "support/mod.rs"]
mod support;

use std::fmt::Debug;

use keywright::api::{Account, ApiKey};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use serde_json::{Value, json};
use support::cluster::Cluster;
use support::eventually;
use support::space::Space;

const ROLES: [&str; 5] =
    ["keywright-owner", "keywright-admin", "keywright-key-writer", "keywright-platform", "stranger"];

/// What somebody tries.
struct Attempt {
    what: &'static str,
    /// Who may, in the order of [`ROLES`].
    may: [bool; 5],
    /// A part of what the others are told, where it is a policy that refuses them rather than RBAC.
    told: &'static str,
    call: fn(&Client, &str) -> Call,
}

type Call = std::pin::Pin<Box<dyn Future<Output = kube::Result<()>> + Send>>;

fn keys(client: &Client, namespace: &str) -> Api<ApiKey> {
    Api::namespaced(client.clone(), namespace)
}

fn accounts(client: &Client, namespace: &str) -> Api<Account> {
    Api::namespaced(client.clone(), namespace)
}

fn call<T: Debug>(future: impl Future<Output = kube::Result<T>> + Send + 'static) -> Call {
    Box::pin(async move { future.await.map(|_| ()) })
}

/// By dry run, so that every row begins with the same objects.
fn patch_key(client: &Client, namespace: &str, patch: Value) -> Call {
    let api = keys(client, namespace);
    call(async move { api.patch("storefront", &PatchParams::default().dry_run(), &Patch::Merge(patch)).await })
}

fn patch_account(client: &Client, namespace: &str, patch: Value) -> Call {
    let api = accounts(client, namespace);
    call(async move { api.patch("acme", &PatchParams::default().dry_run(), &Patch::Merge(patch)).await })
}

fn object<K: serde::de::DeserializeOwned>(kind: &str, spec: Value) -> K {
    let object =
        json!({"apiVersion": "keywright.dev/v1alpha1", "kind": kind, "metadata": {"name": "new"}, "spec": spec});
    serde_json::from_value(object).unwrap()
}

/// What the policies say; who RBAC stops is told by RBAC.
const GRANT: &str = "takes the verb grant on apikeys: ask for the ClusterRole keywright-owner or keywright-admin";
const GOVERN: &str = "takes the verb govern on accounts";

fn attempts() -> Vec<Attempt> {
    vec![
        Attempt {
            what: "list keys",
            may: [true, true, true, false, false],
            told: "",
            call: |c, ns| {
                let api = keys(c, ns);
                call(async move { api.list(&ListParams::default()).await })
            },
        },
        Attempt {
            what: "disable a key",
            may: [true, true, true, false, false],
            told: "",
            call: |c, ns| patch_key(c, ns, json!({"spec": {"disabled": true}})),
        },
        Attempt {
            what: "enable a key by taking the field away",
            may: [true, true, true, false, false],
            told: "",
            call: |c, ns| patch_key(c, ns, json!({"spec": {"disabled": null}})),
        },
        Attempt {
            what: "change what a key may do",
            may: [true, true, false, false, false],
            told: GRANT,
            call: |c, ns| patch_key(c, ns, json!({"spec": {"accessLevel": "ReadOnly"}})),
        },
        Attempt {
            what: "let a key expire",
            may: [true, true, false, false, false],
            told: GRANT,
            call: |c, ns| patch_key(c, ns, json!({"spec": {"expiresAt": "2030-01-01T00:00:00Z"}})),
        },
        Attempt {
            what: "take a field of a key away",
            may: [true, true, false, false, false],
            told: GRANT,
            call: |c, ns| patch_key(c, ns, json!({"spec": {"expiresAt": null, "displayName": null}})),
        },
        Attempt {
            what: "give a key a finalizer",
            may: [true, true, false, false, false],
            told: GRANT,
            call: |c, ns| patch_key(c, ns, json!({"metadata": {"finalizers": ["example.com/hold"]}})),
        },
        Attempt {
            what: "give a key an owner that does not exist",
            may: [true, true, false, false, false],
            told: GRANT,
            call: |c, ns| {
                let api = keys(c, ns);
                let uid = "00000000-0000-0000-0000-000000000000";
                let owner = json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "gone", "uid": uid}]);
                let patch = Patch::Merge(json!({"metadata": {"ownerReferences": owner}}));
                // For who may, a dry run: a real one would have the key collected.
                call(async move { api.patch("storefront", &PatchParams::default().dry_run(), &patch).await })
            },
        },
        Attempt {
            what: "create a key",
            may: [true, true, false, false, false],
            told: "",
            call: |c, ns| {
                let api = keys(c, ns);
                let key = object("ApiKey", json!({"account": "acme", "accessLevel": "Full"}));
                call(async move { api.create(&PostParams { dry_run: true, ..PostParams::default() }, &key).await })
            },
        },
        Attempt {
            what: "delete a key",
            may: [true, true, false, false, false],
            told: "",
            call: |c, ns| {
                let api = keys(c, ns);
                call(async move { api.delete("storefront", &DeleteParams::default().dry_run()).await })
            },
        },
        Attempt {
            what: "look at an account",
            may: [true, true, false, true, false],
            told: "",
            call: |c, ns| {
                let api = accounts(c, ns);
                call(async move { api.get("acme").await })
            },
        },
        Attempt {
            what: "disable an account",
            may: [true, false, false, true, false],
            told: "",
            call: |c, ns| patch_account(c, ns, json!({"spec": {"disabled": true}})),
        },
        Attempt {
            what: "raise an account's ceiling",
            may: [false, false, false, true, false],
            told: GOVERN,
            call: |c, ns| patch_account(c, ns, json!({"spec": {"accessLevel": "ReadOnly"}})),
        },
        Attempt {
            what: "create an account",
            may: [false, false, false, true, false],
            told: "",
            call: |c, ns| {
                let api = accounts(c, ns);
                let account = object("Account", json!({"accessLevel": "Full"}));
                call(async move { api.create(&PostParams { dry_run: true, ..PostParams::default() }, &account).await })
            },
        },
        Attempt {
            what: "delete an account",
            may: [false, false, false, true, false],
            told: "",
            call: |c, ns| {
                let api = accounts(c, ns);
                call(async move { api.delete("acme", &DeleteParams::default().dry_run()).await })
            },
        },
    ]
}

/// A client of somebody else, by the administrator's right to impersonate.
async fn client_of(cluster: &Cluster, user: &str) -> Client {
    let kubeconfig = Kubeconfig::read_from(&cluster.plane.kubeconfig).unwrap();
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
    config.auth_info.impersonate = Some(user.to_owned());
    Client::try_from(config).unwrap()
}

/// Policies act a moment after they are installed.
async fn policies_act(space: &Space, cluster: &Cluster) {
    let writer = client_of(cluster, "keywright-key-writer").await;
    eventually("the policies act", async || {
        let refused = patch_key(&writer, &space.name, json!({"spec": {"displayName": "x"}})).await;
        let accounts = patch_account(
            &client_of(cluster, "keywright-owner").await,
            &space.name,
            json!({"spec": {"displayName": "x"}}),
        );
        match (refused, accounts.await) {
            (Err(one), Err(two)) if one.to_string().contains(GRANT) && two.to_string().contains(GOVERN) => Ok(()),
            (one, two) => Err(format!("{one:?} {two:?}")),
        }
    })
    .await;
}

async fn peopled() -> (&'static Cluster, Space) {
    let cluster = Cluster::shared().await;
    let space = Space::new(cluster).await;
    for role in &ROLES[..4] {
        let (role_flag, user) = (format!("--clusterrole={role}"), format!("--user={role}"));
        cluster.plane.kubectl(&["create", "rolebinding", role, &role_flag, &user, "-n", &space.name]).unwrap();
    }
    space.account("acme", json!({"accessLevel": "Full", "displayName": "Acme"})).await;
    space.key("storefront", json!({"account": "acme", "accessLevel": "Full", "displayName": "Storefront"})).await;
    policies_act(&space, cluster).await;
    (cluster, space)
}

#[tokio::test]
async fn each_role_may_do_what_its_name_says_and_the_others_are_told_which_role_they_lack() {
    let (cluster, space) = peopled().await;
    for attempt in attempts() {
        for (role, may) in ROLES.iter().zip(attempt.may) {
            let client = client_of(cluster, role).await;
            let outcome = (attempt.call)(&client, &space.name).await;
            assert_eq!(outcome.is_ok(), may, "{role} tries to {}: {outcome:?}", attempt.what);
            if let Err(error) = outcome {
                let error = error.to_string();
                let by_rbac = error.contains("cannot ");
                assert!(by_rbac || error.contains(attempt.told), "{role} tries to {}: {error}", attempt.what);
            }
        }
    }
}

#[tokio::test]
async fn there_is_no_key_in_our_own_namespaces_not_even_for_a_cluster_administrator() {
    let (_, space) = peopled().await;
    for namespace in ["keywright-system", "keywright-entries"] {
        let key = object("ApiKey", json!({"account": "acme", "accessLevel": "Full"}));
        let refused = keys(&space.client, namespace).create(&PostParams::default(), &key).await.unwrap_err();
        assert!(refused.to_string().contains("no ApiKey in Keywright's own namespaces"), "{refused}");
    }
}

#[tokio::test]
async fn a_role_in_one_namespace_is_none_in_another() {
    let (cluster, _) = peopled().await;
    let elsewhere = Space::new(cluster).await;
    let owner = client_of(cluster, "keywright-owner").await;
    let refused = keys(&owner, &elsewhere.name).list(&ListParams::default()).await.unwrap_err();
    assert!(refused.to_string().contains("cannot list"), "{refused}");
}
