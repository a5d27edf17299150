#![allow(clippy::unwrap_used)]

use super::*;
use crate::api::SuspensionStatus;
use kube::api::ObjectMeta;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

fn object<K: DeserializeOwned>(kind: &str, name: &str, generation: i64, spec: Value) -> K {
    let meta = json!({"namespace": "shop", "name": name, "uid": format!("{kind}-{name}"), "generation": generation});
    serde_json::from_value(
        json!({"apiVersion": "keywright.dev/v1alpha1", "kind": kind, "metadata": meta, "spec": spec}),
    )
    .unwrap()
}

fn key(name: &str, generation: i64) -> ApiKey {
    object("ApiKey", name, generation, json!({"account": "acme", "accessLevel": "Full"}))
}

fn account(name: &str) -> Account {
    object("Account", name, 1, json!({"accessLevel": "Full"}))
}

fn full(name: &str) -> FullName {
    ("shop".into(), name.into())
}

#[test]
fn an_unchanged_object_wakes_nobody_and_a_wiped_status_does() {
    let mut router = Router::default();
    let mut told = key("billing", 1);
    told.status = Some(serde_json::from_value(json!({"state": "Active"})).unwrap());
    let counts = Wake::Counts(full("acme"));
    assert_eq!(router.key(&told), [Wake::Key(full("billing")), counts.clone()]);
    assert_eq!(router.key(&told), []);
    assert_eq!(router.key(&key("billing", 1)), [Wake::Key(full("billing")), counts], "wiped");
}

#[test]
fn what_the_operator_says_of_a_key_wakes_others_and_not_itself_and_what_somebody_else_writes_does() {
    let mut router = Router::default();
    router.key(&object("ApiKey", "copy", 1, json!({"account": "acme", "cloneFrom": {"name": "billing"}})));
    let bare = key("billing", 1);
    let with = |state: &str, generation: i64| {
        let status = serde_json::from_value(json!({"state": state})).unwrap();
        ApiKey { status: Some(status), ..key("billing", generation) }
    };
    let (own, clone, counts) = (Wake::Key(full("billing")), Wake::Key(full("copy")), Wake::Counts(full("acme")));
    assert_eq!(router.key(&bare), [own.clone(), clone.clone(), counts.clone()]);
    router.says(&bare, with("Active", 1).status.as_ref());
    assert_eq!(router.key(&with("Active", 1)), [clone.clone(), counts.clone()]);
    assert_eq!(router.key(&with("Active", 2)), [own.clone(), clone.clone()], "another spec");
    assert_eq!(router.key(&with("Disabled", 1)), [own.clone(), clone.clone(), counts.clone()], "by hand");
    assert_eq!(router.key(&bare), [own.clone(), clone.clone(), counts.clone()], "wiped");
    let again =
        ApiKey { metadata: ObjectMeta { uid: Some("another".into()), ..bare.metadata.clone() }, ..with("Active", 1) };
    assert!(router.key(&again).contains(&own), "re-created");
    router.says(&again, again.status.as_ref());
    router.says(&again, None);
    router.key(&bare);
    assert!(router.key(&with("Active", 1)).contains(&own), "something was done");
}

#[test]
fn accounts_wake_their_keys_and_their_neighbours() {
    let mut router = Router::default();
    router.key(&key("billing", 1));
    assert_eq!(router.account(&account("acme")), [Wake::Account(full("acme")), Wake::Key(full("billing"))]);
    assert_eq!(router.account(&account("acme")), []);
    assert_eq!(router.account(&account("globex")), [Wake::Account(full("globex")), Wake::Account(full("acme"))]);
    let gone = router.account_gone(&full("acme"), "Account-acme");
    assert_eq!(gone, [Wake::Account(full("globex")), Wake::Key(full("billing"))]);
}

#[test]
fn a_source_wakes_its_clones() {
    let mut router = Router::default();
    router.key(&object("ApiKey", "copy", 1, json!({"account": "acme", "cloneFrom": {"name": "billing"}})));
    assert!(router.key(&key("billing", 1)).contains(&Wake::Key(full("copy"))));
    assert!(router.key_gone(&full("billing"), "ApiKey-billing").contains(&Wake::Key(full("copy"))));
    router.key(&key("billing", 1));
    router.key_gone(&full("copy"), "ApiKey-copy");
    assert!(!router.key(&key("billing", 2)).contains(&Wake::Key(full("copy"))));
}

#[test]
fn suspensions_wake_what_they_suspend_also_when_a_list_misses_them() {
    let mut router = Router::default();
    router.key(&key("billing", 1));
    let of = |kind: &str, name: &str| -> Suspension {
        object("Suspension", name, 1, json!({"target": {"kind": kind, "name": name}, "reason": "Abuse"}))
    };
    let own = |name: &str| Wake::Suspension(full(name));
    assert_eq!(router.suspension(&of("ApiKey", "billing")), [Wake::Key(full("billing")), own("billing")]);
    assert_eq!(router.suspension(&of("ApiKey", "billing")), []);
    let mut told = of("ApiKey", "billing");
    told.status = Some(SuspensionStatus { observed_generation: Some(1), ..SuspensionStatus::default() });
    assert_eq!(router.suspension(&told), [own("billing")], "nobody else need know what is said of it");
    let both = [Wake::Key(full("billing")), Wake::Account(full("acme"))];
    assert_eq!(router.suspension(&of("Account", "acme")), [&both[..], &[own("acme")]].concat());
    let listed = HashSet::from(["Suspension-billing".to_owned()]);
    assert_eq!(router.suspensions_listed(None, &listed), both);
}

#[test]
fn a_key_that_a_list_misses_is_gone() {
    let mut router = Router::default();
    router.key(&key("billing", 1));
    let gone = Wake::KeyGone("ApiKey-billing".into());
    assert_eq!(router.keys_listed(Some("another"), &HashSet::new()), [], "a list of another namespace");
    assert_eq!(router.keys_listed(Some("shop"), &HashSet::new()), [Wake::Counts(full("acme")), gone]);
}
