//! What follows from an object that was admitted must be possible: otherwise its owner was told yes, and the operator
//! tries for ever.

use std::collections::BTreeMap;

use keywright::api::{Account, ApiKey, Suspension};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::offer::{Offer, account, key};
use super::support::cluster::Cluster;
use super::support::eventually;
use super::support::space::Space;
use super::{accounts, admitted, assert_nothing_wrong, cluster, keys, object, offer, path, send};

const RBAC: &str = "rbac.authorization.k8s.io";

fn bindings(namespace: &str) -> String {
    format!("/apis/{RBAC}/v1/namespaces/{namespace}/rolebindings")
}

fn binding(role: &str, subject: &Value) -> Value {
    json!({
        "apiVersion": format!("{RBAC}/v1"),
        "kind": "RoleBinding",
        "metadata": {"name": role},
        "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": role},
        "subjects": [subject],
    })
}

/// Why the API server would not create it.
async fn refused(client: &Client, path: &str, object: &Value) -> Option<String> {
    let (status, answer) = send(client, "POST", &format!("{path}?dryRun=All"), object).await.unwrap();
    (status != 201).then(|| format!("{answer}\n    {object}"))
}

#[tokio::test]
async fn a_secret_can_be_made_of_every_template_that_is_admitted() {
    let cluster = cluster().await;
    let Space { name, client } = Space::new(cluster).await;
    let mut wrong = Vec::new();
    for object in admitted(&client, &name).await {
        let template = &object["spec"]["secret"];
        if template.is_null() {
            continue;
        }
        let items: BTreeMap<String, Value> = Deserialize::deserialize(&template["data"]).unwrap_or_default();
        let secret = json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {
                "name": template["name"].as_str().unwrap_or("fallback"),
                "labels": template["labels"],
                "annotations": template["annotations"],
            },
            "type": "keywright.dev/api-key",
            "stringData": items.keys().map(|item| (item.clone(), json!("x"))).collect::<Value>(),
        });
        wrong.extend(refused(&client, &format!("/api/v1/namespaces/{name}/secrets"), &secret).await);
    }
    assert_nothing_wrong(&wrong);
}

/// One that cannot be bound would keep all the others from their roles.
#[tokio::test]
async fn a_member_is_refused_at_once_or_can_be_given_its_role() {
    let cluster = cluster().await;
    let Space { name, client } = Space::new(cluster).await;
    let names = ["deployer", "a.b-1", "Deployer", "a_b", "a/b", "system:x", "a b", "-a", "ä", "*", " ", "a\n"];
    let longest = "a".repeat(253);
    let mut wrong = Vec::new();
    for member in names.iter().chain([&longest.as_str()]) {
        for kind in ["User", "Group", "ServiceAccount"] {
            let is_workload = kind == "ServiceAccount";
            let mut subject = json!({"kind": kind, "name": member});
            if is_workload {
                subject["namespace"] = "shop".into();
            } else {
                subject["apiGroup"] = RBAC.into();
            }
            let mut spec = json!({"kind": kind, "name": member, "role": "Admin"});
            if is_workload {
                spec["namespace"] = "shop".into();
            }
            let account = object("Account", "case", &account(json!({"members": [spec]})).spec);
            if refused(&client, &path(&name, "Account"), &account).await.is_none() {
                wrong.extend(refused(&client, &bindings(&name), &binding("keywright-admin", &subject)).await);
            }
        }
    }
    assert_nothing_wrong(&wrong);
}

/// Whoever reads an object with our types, changes one field and writes it back, as every program does.
#[tokio::test]
async fn what_our_types_write_of_an_admitted_object_is_admitted_again() {
    fn rewritten<K: Serialize + for<'a> Deserialize<'a>>(object: &Value) -> Value {
        serde_json::to_value(K::deserialize(object).unwrap()).unwrap()
    }
    let cluster = cluster().await;
    let Space { name, client } = Space::new(cluster).await;
    let mut wrong = Vec::new();
    for before in admitted(&client, &name).await {
        let after = match before["kind"].as_str().unwrap() {
            "ApiKey" => rewritten::<ApiKey>(&before),
            "Account" => rewritten::<Account>(&before),
            _ => rewritten::<Suspension>(&before),
        };
        let kind = before["kind"].as_str().unwrap();
        let again = object(kind, "again", &after["spec"]);
        wrong.extend(refused(&client, &path(&name, kind), &again).await);
    }
    assert_nothing_wrong(&wrong);
}

/// A client of the user `kim`.
async fn kim(cluster: &Cluster) -> Client {
    let kubeconfig = Kubeconfig::read_from(&cluster.plane.kubeconfig).unwrap();
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
    config.auth_info.impersonate = Some("kim".to_owned());
    Client::try_from(config).unwrap()
}

/// The rules and the policies cost the API server by the size of what they look at, and it refuses what is too dear.
#[tokio::test]
async fn the_largest_key_and_account_can_still_be_disabled_by_those_who_may_do_little_else() {
    let cluster = cluster().await;
    let Space { name, client } = Space::new(cluster).await;
    let kim = kim(cluster).await;
    let largest_key = Offer { spec: keys::fullest(), ..key(json!({})) };
    let largest_account = Offer { spec: accounts::fullest(), ..account(json!({})) };
    for (largest, role) in [(largest_key, "keywright-key-writer"), (largest_account, "keywright-owner")] {
        let subject = json!({"apiGroup": RBAC, "kind": "User", "name": "kim"});
        send(&client, "POST", &bindings(&name), &binding(role, &subject)).await.unwrap();
        let made = offer(&client, &name, "largest", &largest).await.unwrap();
        let path = format!("{}/largest", path(&name, largest.kind));
        let kim_writes = async |field: &str, value: Value| {
            let mut changed = made.clone();
            changed["spec"][field] = value;
            send(&kim, "PUT", &path, &changed).await.unwrap()
        };
        // Until the role and the policy act, which take a moment, nothing is proven.
        eventually("the policy acts", async || match kim_writes("displayName", "x".into()).await {
            (403, answer) if answer["message"].as_str().unwrap().contains("which takes the verb") => Ok(()),
            (_, answer) => Err(answer),
        })
        .await;
        let (status, answer) = kim_writes("disabled", true.into()).await;
        assert_eq!((status, &answer["spec"]["disabled"]), (200, &json!(true)), "{answer}");
    }
}
