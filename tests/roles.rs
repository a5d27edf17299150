//! Who may do what with keys, accounts and suspensions: each role as a real user, through RBAC and the policies. What is
//! tried stands in one table for each kind.

#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "roles/accounts.rs"]
mod accounts;
#[path = "roles/apply.rs"]
mod apply;
#[path = "roles/attempt.rs"]
mod attempt;
#[path = "roles/fat.rs"]
mod fat;
#[path = "roles/keys.rs"]
mod keys;
#[path = "roles/members.rs"]
mod members;
#[path = "roles/ownership.rs"]
mod ownership;
#[path = "support/mod.rs"]
mod support;
#[path = "roles/suspensions.rs"]
mod suspensions;
#[path = "roles/templates.rs"]
mod templates;

use std::collections::BTreeSet;

use attempt::{Answer, Attempt, Person, ROLES, one};
use keywright::api::{Account, ApiKey, Suspension};
use kube::{CustomResourceExt, Resource};
use serde_json::{Value, json};
use support::cluster::Cluster;
use support::eventually;
use support::space::Space;

/// What the policies say: what was tried, the verb that it takes, and who has it.
const GRANT: Answer = Answer::Told(
    "denied request: this changes more of an ApiKey than spec.disabled and spec.disabledReason, which takes the verb \
     grant on apikeys: ask for the ClusterRole keywright-owner or keywright-admin in this namespace",
);
const GOVERN: Answer = Answer::Told(
    "denied request: this changes more of an Account than spec.members and spec.disabled, which takes the verb govern \
     on accounts: ask the platform team, or for the ClusterRole keywright-platform in this namespace",
);
const CLAIMS_OF_KEYS: Answer = Answer::Told(
    "denied request: this claims more of an ApiKey in metadata.managedFields than a change of spec.disabled or \
     spec.disabledReason, which takes the verb grant on apikeys: send neither managedFields nor fields that stay as they are, as kubectl patch and the \
     plugin kubectl keywright do",
);
const CLAIMS_OF_ACCOUNTS: Answer = Answer::Told(
    "denied request: this claims more of an Account in metadata.managedFields than a change of spec.members or \
     spec.disabled, which takes the verb govern on accounts: send neither managedFields nor fields that stay as they \
     are, as kubectl patch and the plugin kubectl keywright do",
);
const NOTE_ON_KEYS: Answer = Answer::Told(
    "denied request: kubectl apply and replace write the annotation last-applied-configuration, which the next kubectl \
     apply obeys, and that takes the verb grant on apikeys. To change spec.disabled: kubectl patch apikey NAME \
     --field-manager=keywright --type=merge -p '{\"spec\":{\"disabled\":true}}', or the plugin kubectl keywright. To change more: ask for the \
     ClusterRole keywright-owner or keywright-admin in this namespace",
);
const NOTE_ON_ACCOUNTS: Answer = Answer::Told(
    "denied request: kubectl apply and replace write the annotation last-applied-configuration, which the next kubectl \
     apply obeys, and that takes the verb govern on accounts. To change spec.disabled: kubectl patch account \
     NAME --field-manager=keywright --type=merge -p '{\"spec\":{\"disabled\":true}}', or the plugin kubectl keywright; spec.members likewise. To \
     change more: ask the platform team, or for the ClusterRole keywright-platform in this namespace",
);
const ITSELF: Answer = Answer::Told(
    "denied request: this makes the requester a member of the Account, which takes the verb grant on apikeys: ask a \
     member, or a colleague of the platform team",
);
/// Annotation from which `kubectl apply` computes what to remove.
const NOTE: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// A namespace with an account, a key with every field set, and a suspension; and somebody of each role.
async fn scene() -> (&'static Cluster, Space) {
    let cluster = Cluster::shared().await;
    let space = Space::new(cluster).await;
    for role in &ROLES[..4] {
        let (role_flag, user) = (format!("--clusterrole={role}"), format!("--user={role}"));
        cluster.plane.kubectl(&["create", "rolebinding", role, &role_flag, &user, "-n", &space.name]).unwrap();
    }
    let admin = Person::new(cluster, None, &space.name).await.under("creator");
    let mut account = one::<Account>("acme", &accounts::spec());
    account["metadata"]["annotations"] = json!({NOTE: "{}", "example.com/mine": "x"});
    admin.create(&account).await.unwrap();
    let mut key = one::<ApiKey>("storefront", &keys::spec());
    key["metadata"]["finalizers"] = json!(["example.com/hold"]);
    key["metadata"]["ownerReferences"] = json!([keys::owner("real")]);
    key["metadata"]["annotations"] = json!({NOTE: "{}", "example.com/mine": "x"});
    admin.create(&key).await.unwrap();
    let git = admin.clone().under("git");
    git.apply(&one::<ApiKey>("storefront", &json!({"displayName": "Storefront"}))).await.unwrap();
    git.apply(&one::<Account>("acme", &json!({"displayName": "Acme"}))).await.unwrap();
    for (name, spec) in
        [("abuse", suspensions::spec()), ("hold", suspensions::hold()), ("account-hold", suspensions::account_hold())]
    {
        admin.create(&one::<Suspension>(name, &spec)).await.unwrap();
    }
    policies_act(cluster, &space).await;
    (cluster, space)
}

/// Policies act a moment after they are installed.
async fn policies_act(cluster: &Cluster, space: &Space) {
    for (role, kind, name, told) in
        [("keywright-key-writer", "apikeys", "storefront", GRANT), ("keywright-owner", "accounts", "acme", GOVERN)]
    {
        let person = Person::new(cluster, Some(role), &space.name).await;
        eventually("the policies act", async || {
            let outcome = person.merge(kind, name, &json!({"spec": {"displayName": "x"}})).await;
            told.check(&outcome)
        })
        .await;
    }
    let owner = Person::new(cluster, Some("keywright-owner"), &space.name).await;
    eventually("the policy of suspensions acts", async || {
        let outcome = owner.delete("suspensions", "abuse").await;
        Answer::Told("this Suspension is the platform's").check(&outcome)
    })
    .await;
}

/// Checks the refusal of a command.
fn refused(outcome: support::Result<String>, answer: Answer) {
    answer.check(&outcome.map(Value::String).map_err(|error| error.to_string())).unwrap();
}

async fn walk(attempts: Vec<Attempt>) {
    let (cluster, space) = scene().await;
    for (column, role) in ROLES.iter().enumerate() {
        let person = Person::new(cluster, Some(role), &space.name).await;
        for attempt in &attempts {
            let outcome = (attempt.call)(person.clone()).await;
            if let Err(wrong) = attempt.answers[column].check(&outcome) {
                panic!("{role} tries to {}: {wrong}", attempt.what);
            }
        }
    }
}

#[tokio::test]
async fn each_role_does_with_keys_what_its_name_says_and_the_others_are_told_which_role_they_lack() {
    walk(keys::attempts()).await;
}

#[tokio::test]
async fn each_role_does_with_accounts_what_its_name_says_and_the_others_are_told_which_role_they_lack() {
    walk(accounts::attempts()).await;
}

#[tokio::test]
async fn roles_suspend_on_their_own_behalf_only() {
    walk(suspensions::attempts()).await;
}

/// The fields of a kind's spec, as users of the API server see them.
fn fields<K: CustomResourceExt>() -> BTreeSet<String> {
    let crd = serde_json::to_value(K::crd()).unwrap();
    let spec = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"];
    spec.as_object().unwrap().keys().cloned().collect()
}

#[test]
fn the_tables_change_every_field_that_there_is() {
    let changed = |patches: Vec<(&str, Value)>| -> BTreeSet<String> {
        patches
            .into_iter()
            .flat_map(|(_, patch)| patch.as_object().unwrap().keys().cloned().collect::<Vec<_>>())
            .collect()
    };
    let of_keys = changed([keys::changes(), keys::immutables()].concat());
    assert_eq!(
        fields::<ApiKey>(),
        of_keys.into_iter().chain(["disabled", "disabledReason"].map(str::to_owned)).collect()
    );
    let of_accounts = changed([accounts::changes(), accounts::immutables()].concat());
    let by_owners = ["disabled", "members"].map(str::to_owned);
    assert_eq!(fields::<Account>(), of_accounts.into_iter().chain(by_owners).collect());
}

#[tokio::test]
async fn there_is_no_key_in_our_own_namespaces_not_even_for_a_cluster_administrator() {
    let (cluster, _) = scene().await;
    for namespace in ["keywright-system", "keywright-entries"] {
        let admin = Person::new(cluster, None, namespace).await;
        let outcome = admin.create(&one::<ApiKey>("new", &keys::spec())).await;
        Answer::Told("no ApiKey in Keywright's own namespaces; create it where its workload runs")
            .check(&outcome)
            .unwrap();
    }
}

#[tokio::test]
async fn own_service_accounts_as_members_are_refused() {
    let (cluster, space) = scene().await;
    let admin = Person::new(cluster, None, &space.name).await;
    for (namespace, name, is_ours) in [
        ("keywright-system", "keywright-operator", true),
        ("keywright-system", "keywright-verifier", true),
        ("keywright-entries", "anybody", true),
        ("keywright-system", "deployer", false),
        (&space.name, "keywright-operator", false),
    ] {
        let member = json!({"kind": "ServiceAccount", "namespace": namespace, "name": name, "role": "Admin"});
        let account =
            one::<Account>(&format!("of-{namespace}-{name}"), &json!({"accessLevel": "Full", "members": [member]}));
        let outcome = admin.create(&account).await;
        let expected = Answer::Told("Keywright's own ServiceAccounts are members of no account");
        (if is_ours { expected } else { Answer::May }).check(&outcome).unwrap();
    }
}

#[tokio::test]
async fn a_role_in_one_namespace_is_none_in_another() {
    let (cluster, _) = scene().await;
    let elsewhere = Space::new(cluster).await;
    for role in ROLES {
        let person = Person::new(cluster, Some(role), &elsewhere.name).await;
        for kind in [ApiKey::plural(&()), Account::plural(&()), Suspension::plural(&())] {
            Answer::Rbac.check(&person.list(&kind).await).unwrap();
        }
    }
}

#[tokio::test]
async fn a_key_writer_disables_and_enables_in_earnest() {
    let (cluster, space) = scene().await;
    let writer = Person::new(cluster, Some("keywright-key-writer"), &space.name).await.in_earnest();
    for disabled in [json!(true), json!(false), json!(true), json!(null)] {
        writer.merge("apikeys", "storefront", &json!({"spec": {"disabled": disabled}})).await.unwrap();
        let key = space.keys().get("storefront").await.unwrap();
        assert_eq!(key.spec.disabled, disabled == json!(true));
    }
}
