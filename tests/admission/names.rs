//! The names of the objects themselves, of which the schema says nothing.

use serde_json::json;

use super::offer::{Offer, account, key, suspension};
use super::{cluster, object, offer, path, send, unreadable};

fn one_of_each() -> [Offer; 3] {
    [key(json!({})), account(json!({})), suspension(json!({}))]
}

#[tokio::test]
async fn names_of_253_characters_are_admitted_and_longer_or_odder_ones_are_not() {
    let cluster = cluster().await;
    let client = cluster.plane.client().await.unwrap();
    let namespace = cluster.namespace().await;
    for one in one_of_each() {
        for name in ["a".repeat(253), format!("{}.b-1", "a".repeat(249)), "0".to_owned()] {
            let admitted = offer(&client, &namespace, &name, &one).await.unwrap();
            assert_eq!(unreadable(&admitted), None, "{name}");
        }
        for name in ["a".repeat(254).as_str(), "A", "a_b", "a..b", "-a", "ä", "*", "a/b"] {
            let refusal = offer(&client, &namespace, name, &one).await.unwrap_err();
            assert!(refusal.contains("metadata.name"), "{name}: {refusal}");
        }
    }
}

#[tokio::test]
async fn a_key_of_253_characters_cannot_be_cloned_from_itself_either() {
    let cluster = cluster().await;
    let client = cluster.plane.client().await.unwrap();
    let namespace = cluster.namespace().await;
    let name = "a".repeat(253);
    let clone = key(json!({"cloneFrom": {"name": name}}));
    let refusal = offer(&client, &namespace, &name, &clone).await.unwrap_err();
    assert!(refusal.contains("a key cannot be cloned from itself"), "{refusal}");
    offer(&client, &namespace, &name[1..], &clone).await.unwrap();
}

#[tokio::test]
async fn a_name_may_be_left_to_the_api_server() {
    let cluster = cluster().await;
    let client = cluster.plane.client().await.unwrap();
    let namespace = cluster.namespace().await;
    let clone = key(json!({"cloneFrom": {"name": "ci-"}})).without("accessLevel");
    for Offer { kind, spec, .. } in one_of_each().into_iter().chain([clone]) {
        let mut unnamed = object(kind, "", &spec);
        unnamed["metadata"] = json!({"generateName": "ci-"});
        let (status, made) = send(&client, "POST", &path(&namespace, kind), &unnamed).await.unwrap();
        assert_eq!(status, 201, "{made}");
        assert_eq!(unreadable(&made), None);
        assert!(made["metadata"]["name"].as_str().unwrap().len() > "ci-".len(), "{made}");
    }
}
