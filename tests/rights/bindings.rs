//! The operator makes RoleBindings of an Account's members, and no other: by RBAC, and by a policy that would hold it
//! back even if RBAC let it do everything.

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::{Value, json};

use super::support::cluster::Cluster;
use super::{Ask, Caller, Scene, ask, eventually, patches_and_sweeps, reads, scene, with};

const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";
const DENIED: &str = "ValidatingAdmissionPolicy 'keywright-operator-bindings' with binding 'keywright-operator-bindings' denied request: ";
const OUR_ROLES_ONLY: &str =
    "the Keywright operator gives the roles keywright-owner and keywright-admin, each by its own binding, and no other";
const NOT_OF_MEMBERS: &str =
    "this RoleBinding is not one of an Account's members; the Keywright operator does not touch it";
const NOT_HERE: &str = "the Keywright operator gives roles only in the namespaces of accounts";

const OWNERS: &str = "keywright-members-owner";
const ADMINS: &str = "keywright-members-admin";

fn bindings(namespace: &str) -> String {
    format!("{RBAC}/namespaces/{namespace}/rolebindings")
}

fn plain(name: &str, role: &str) -> Value {
    let subject = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "Alice"});
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
        "subjects": [subject],
    })
}

fn account() -> Value {
    json!({"apiVersion": "keywright.dev/v1alpha1", "kind": "Account", "name": "acme", "uid": "made-up"})
}

fn labels() -> Value {
    json!({"app.kubernetes.io/managed-by": "keywright"})
}

/// As the operator makes one.
fn of_members(name: &str, role: &str) -> Value {
    with(with(plain(name, role), "labels", labels()), "ownerReferences", json!([account()]))
}

/// Bindings that are not an account's members', and what the policy says of them.
fn strange() -> Vec<(Value, &'static str)> {
    let owners = || of_members(OWNERS, "keywright-owner");
    let mut all = Vec::new();
    for role in ["view", "edit", "cluster-admin", "keywright-platform", "keywright-key-writer", "keywright-operator"] {
        all.push((of_members(OWNERS, role), OUR_ROLES_ONLY));
        all.push((of_members(role, role), OUR_ROLES_ONLY));
    }
    all.push((of_members(OWNERS, "keywright-admin"), OUR_ROLES_ONLY));
    all.push((of_members(ADMINS, "keywright-owner"), OUR_ROLES_ONLY));
    for name in ["keywright-owner", "keywright-members", "keywright-members-owner-2", "KEYWRIGHT-MEMBERS-OWNER"] {
        all.push((of_members(name, "keywright-owner"), OUR_ROLES_ONLY));
    }
    let (mut key, mut foreign) = (account(), account());
    key["kind"] = "ApiKey".into();
    foreign["apiVersion"] = "keywright.development/v1".into();
    for owner in [json!([]), json!([key]), json!([foreign])] {
        all.push((with(owners(), "ownerReferences", owner), NOT_OF_MEMBERS));
    }
    for labels in [json!({}), json!({"app.kubernetes.io/managed-by": "Helm"})] {
        all.push((with(owners(), "labels", labels), NOT_OF_MEMBERS));
    }
    all
}

/// One who bears the operator's name and whom RBAC stops from nothing, so that the policy alone is left.
async fn unbound_operator(cluster: &Cluster) -> Caller {
    let kubeconfig = Kubeconfig::read_from(&cluster.plane.kubeconfig).unwrap();
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
    config.auth_info.impersonate = Some("system:serviceaccount:keywright-system:keywright-operator".to_owned());
    config.auth_info.impersonate_groups = Some(vec!["system:masters".to_owned()]);
    let unbound = Caller { client: Client::try_from(config).unwrap(), sees_all: true };
    let stray =
        ask("POST", &format!("{}?dryRun=All", bindings("default"))).with(&of_members("stray", "keywright-owner"));
    eventually("the policy acts", async || {
        let (_, text) = unbound.send(&stray).await;
        if text.contains(DENIED) { Ok(()) } else { Err(text) }
    })
    .await;
    unbound
}

impl Caller {
    async fn is_kept_off(&self, ask: Ask, message: &str) {
        self.may_not(ask, &format!("{DENIED}{message}")).await;
    }

    /// By whichever of RBAC, policy and validation comes first.
    async fn is_refused(&self, ask: Ask) {
        let (status, text) = self.send(&ask).await;
        assert!(matches!(status, 403 | 422), "{} {} {}: {status} {text}", ask.method, ask.path, ask.body);
    }
}

#[tokio::test]
async fn the_operator_gives_members_the_roles_of_owner_and_admin_and_takes_them_again() {
    let Scene { namespace, operator, .. } = scene().await;
    let all = bindings(&namespace);
    for (name, role) in [(OWNERS, "keywright-owner"), (ADMINS, "keywright-admin")] {
        let (one, mut binding) = (format!("{all}/{name}"), of_members(name, role));
        operator.may(ask("POST", &all).with(&binding)).await;
        binding["subjects"][0]["name"] = "Bob".into();
        operator.may(ask("PUT", &one).with(&binding)).await;
        assert_eq!(operator.may(ask("GET", &one)).await["subjects"][0]["name"], "Bob");
        operator.may(ask("DELETE", &one)).await;
    }
}

#[tokio::test]
async fn the_operator_may_bind_two_roles_and_escalate_none() {
    let Scene { namespace, operator, .. } = scene().await;
    let may = async |verb: &str, resource: &str, name: &str, namespace: &str| {
        let attributes = json!({"group": "rbac.authorization.k8s.io", "verb": verb, "resource": resource, "name": name,
            "namespace": namespace});
        let review = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": attributes}});
        let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
        operator.may(ask("POST", path).with(&review)).await["status"]["allowed"] == true
    };
    for namespace in [namespace.as_str(), ""] {
        for role in ["keywright-owner", "keywright-admin"] {
            assert!(may("bind", "clusterroles", role, namespace).await, "bind {role} in {namespace:?}");
            assert!(!may("bind", "roles", role, namespace).await, "bind the Role {role} in {namespace:?}");
            assert!(!may("escalate", "clusterroles", role, namespace).await, "escalate {role} in {namespace:?}");
        }
        // No name stands for all of them.
        for role in ["keywright-platform", "keywright-key-writer", "keywright-operator", "view", "cluster-admin", ""] {
            for verb in ["bind", "escalate", "get", "update", "patch", "create", "delete"] {
                assert!(!may(verb, "clusterroles", role, namespace).await, "{verb} {role:?} in {namespace:?}");
            }
        }
        for verb in ["list", "watch", "patch", "deletecollection"] {
            assert!(!may(verb, "rolebindings", "", namespace).await, "{verb} rolebindings in {namespace:?}");
        }
    }
}

#[tokio::test]
async fn the_operator_neither_lists_nor_watches_nor_patches_bindings() {
    let Scene { namespace, operator, .. } = scene().await;
    for all in [bindings(&namespace), bindings("keywright-system"), format!("{RBAC}/rolebindings")] {
        let reads = reads(&all, OWNERS).into_iter().filter(|(verb, _)| *verb != "get").collect();
        operator.has_no_right_to("rolebindings", reads).await;
        operator.has_no_right_to("rolebindings", patches_and_sweeps(&all, OWNERS)).await;
    }
}

#[tokio::test]
async fn the_operator_makes_no_binding_but_those_of_members() {
    let Scene { cluster, namespace, operator, .. } = scene().await;
    let (all, unbound) = (bindings(&namespace), unbound_operator(cluster).await);
    for (binding, message) in strange() {
        // An update of what is not there creates it.
        let path = format!("{all}/{}", binding["metadata"]["name"].as_str().unwrap());
        for (method, path) in [("POST", &all), ("PUT", &path)] {
            unbound.is_kept_off(ask(method, path).with(&binding), message).await;
            operator.is_refused(ask(method, path).with(&binding)).await;
        }
    }
    let mut role = of_members(OWNERS, "keywright-owner");
    role["roleRef"]["kind"] = "Role".into();
    unbound.is_kept_off(ask("POST", &all).with(&role), OUR_ROLES_ONLY).await;
    let mut unnamed = of_members(OWNERS, "keywright-owner");
    unnamed["metadata"]["name"] = Value::Null;
    unnamed["metadata"]["generateName"] = format!("{OWNERS}-").into();
    operator.is_kept_off(ask("POST", &all).with(&unnamed), OUR_ROLES_ONLY).await;
}

#[tokio::test]
async fn the_operator_gives_no_role_in_our_own_namespaces_nor_in_all() {
    let Scene { cluster, operator, .. } = scene().await;
    let unbound = unbound_operator(cluster).await;
    for namespace in ["keywright-system", "keywright-entries"] {
        let all = bindings(namespace);
        for caller in [&operator, &unbound] {
            caller.is_kept_off(ask("POST", &all).with(&of_members(OWNERS, "keywright-owner")), NOT_HERE).await;
        }
        // What the chart put there is not to be had either.
        for caller in [&operator, &unbound] {
            caller.is_kept_off(ask("DELETE", &format!("{all}/keywright-operator")), NOT_HERE).await;
        }
    }
    let mut everywhere = of_members(OWNERS, "keywright-owner");
    everywhere["kind"] = "ClusterRoleBinding".into();
    let (all, one) = (format!("{RBAC}/clusterrolebindings"), format!("{RBAC}/clusterrolebindings/keywright-verifier"));
    let no_right = |verb, ask: Ask| vec![(verb, ask)];
    operator.has_no_right_to("clusterrolebindings", no_right("create", ask("POST", &all).with(&everywhere))).await;
    operator.has_no_right_to("clusterrolebindings", no_right("delete", ask("DELETE", &one))).await;
    unbound.is_kept_off(ask("POST", &all).with(&everywhere), NOT_HERE).await;
    unbound.is_kept_off(ask("DELETE", &one), NOT_HERE).await;
}

#[tokio::test]
async fn a_foreign_binding_is_neither_changed_nor_taken_over_nor_deleted() {
    let Scene { cluster, admin, operator, .. } = scene().await;
    let unbound = unbound_operator(cluster).await;
    let not_ours = [plain(OWNERS, "keywright-owner"), plain(OWNERS, "view"), plain("team", "keywright-owner")];
    for foreign in strange().into_iter().map(|(binding, _)| binding).chain(not_ours) {
        // Each in a namespace of its own, for most bear the same name.
        let namespace = cluster.namespace().await;
        let (all, name) = (bindings(&namespace), foreign["metadata"]["name"].as_str().unwrap().to_owned());
        let (one, role) = (format!("{all}/{name}"), foreign["roleRef"]["name"].as_str().unwrap().to_owned());
        let before = admin.may(ask("POST", &all).with(&foreign)).await;
        let mut changed = foreign.clone();
        changed["subjects"][0]["name"] = "Mallory".into();
        for caller in [&operator, &unbound] {
            for change in [&changed, &foreign, &of_members(&name, &role)] {
                caller.is_refused(ask("PUT", &one).with(change)).await;
            }
            caller.is_refused(ask("DELETE", &one)).await;
            caller.is_refused(ask("DELETE", &all)).await;
        }
        unbound.may_not(ask("PUT", &one).with(&of_members(&name, &role)), DENIED).await;
        unbound.may_not(ask("DELETE", &one), DENIED).await;
        assert_eq!(admin.may(ask("GET", &one)).await, before);
    }
}

#[tokio::test]
async fn our_own_binding_is_not_turned_into_a_foreign_one() {
    let Scene { cluster, namespace, operator, .. } = scene().await;
    let (all, unbound) = (bindings(&namespace), unbound_operator(cluster).await);
    let (one, ours) = (format!("{all}/{OWNERS}"), of_members(OWNERS, "keywright-owner"));
    operator.may(ask("POST", &all).with(&ours)).await;
    for caller in [&operator, &unbound] {
        for without in ["labels", "ownerReferences"] {
            caller.is_kept_off(ask("PUT", &one).with(&with(ours.clone(), without, Value::Null)), NOT_OF_MEMBERS).await;
        }
    }
    let mut other = ours.clone();
    other["roleRef"]["name"] = "keywright-admin".into();
    operator.is_refused(ask("PUT", &one).with(&other)).await;
}

/// Otherwise who has the operator's token has the keys of every namespace, and their disabling and enabling.
#[tokio::test]
async fn the_operator_gives_no_role_to_itself_nor_to_everybody() {
    let Scene { namespace, operator, .. } = scene().await;
    let group = "rbac.authorization.k8s.io";
    for subject in [
        json!({"kind": "ServiceAccount", "name": "keywright-operator", "namespace": "keywright-system"}),
        json!({"kind": "ServiceAccount", "name": "keywright-verifier", "namespace": "keywright-system"}),
        json!({"kind": "User", "apiGroup": group, "name": "system:serviceaccount:keywright-system:keywright-operator"}),
        json!({"kind": "Group", "apiGroup": group, "name": "system:serviceaccounts"}),
        json!({"kind": "Group", "apiGroup": group, "name": "system:authenticated"}),
        json!({"kind": "Group", "apiGroup": group, "name": "system:unauthenticated"}),
        json!({"kind": "User", "apiGroup": group, "name": "system:anonymous"}),
    ] {
        let mut binding = of_members(OWNERS, "keywright-owner");
        binding["subjects"] = json!([subject]);
        operator.is_kept_off(ask("POST", &format!("{}?dryRun=All", bindings(&namespace))).with(&binding), "").await;
    }
}
