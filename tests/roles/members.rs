//! `spec.members` gives rights on keys. `keywright-platform` has none, and cannot name itself.

use keywright::api::Account;
use serde_json::{Value, json};

use super::apply::Kubectl;
use super::attempt::one;
use super::{ITSELF, refused};

fn account(member: &Value) -> Value {
    let mut member = member.clone();
    member["role"] = "Owner".into();
    one::<Account>("other", &json!({"accessLevel": "Full", "members": [member]}))
}

#[tokio::test]
async fn a_platform_user_is_no_member_by_own_hand() {
    let kubectl = Kubectl::new().await;
    let create =
        |user: &str| kubectl.file("keywright-platform", &["create"], &account(&json!({"kind": "User", "name": user})));
    refused(create("keywright-platform"), ITSELF);
    create("bob").unwrap();
}

#[tokio::test]
async fn a_group_of_a_platform_user_is_no_member_by_own_hand() {
    let kubectl = Kubectl::new().await;
    let create = |group: &str| {
        let member = json!({"kind": "Group", "name": group});
        kubectl.file("keywright-platform", &["create", "--as-group=team"], &account(&member))
    };
    refused(create("team"), ITSELF);
    create("other").unwrap();
}

#[tokio::test]
async fn a_platform_workload_is_no_member_by_own_hand() {
    let kubectl = Kubectl::new().await;
    let namespace = &kubectl.space.name;
    let subject = format!("--serviceaccount={namespace}:bot");
    let bind = ["create", "rolebinding", "bot", "--clusterrole=keywright-platform", &subject];
    kubectl.cluster.plane.kubectl(&[&bind[..], &["-n", namespace]].concat()).unwrap();
    let create = |of: &str| {
        let member = json!({"kind": "ServiceAccount", "name": "bot", "namespace": of});
        kubectl.file(&format!("system:serviceaccount:{namespace}:bot"), &["create"], &account(&member))
    };
    // The role acts a moment after it is bound.
    super::eventually("the role acts", async || match create(namespace) {
        Err(error) if error.to_string().contains("cannot create") => Err(error),
        other => Ok(other),
    })
    .await
    .map_or_else(|error| refused(Err(error), ITSELF), |created| panic!("{created}"));
    create("elsewhere").unwrap();
}

#[tokio::test]
async fn a_holder_of_rights_on_keys_is_a_member_by_own_hand() {
    let kubectl = Kubectl::new().await;
    let both = ["create", "rolebinding", "both", "--clusterrole=keywright-admin", "--user=keywright-platform", "-n"];
    kubectl.cluster.plane.kubectl(&[&both[..], &[&kubectl.space.name]].concat()).unwrap();
    let itself = account(&json!({"kind": "User", "name": "keywright-platform"}));
    super::eventually("the role acts", async || kubectl.file("keywright-platform", &["create"], &itself)).await;
}
