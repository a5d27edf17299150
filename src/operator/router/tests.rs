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
    assert_eq!(router.key(&told), [normal(full("billing")), counts.clone()]);
    assert_eq!(router.key(&told), []);
    assert_eq!(router.key(&key("billing", 1)), [normal(full("billing")), counts], "wiped");
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
    let (own, clone, counts) = (normal(full("billing")), normal(full("copy")), Wake::Counts(full("acme")));
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
fn what_the_operator_says_of_an_account_does_not_wake_it_and_what_somebody_else_writes_does() {
    let mut router = Router::default();
    let account = |generation: i64, key: &str| {
        let mut account: Account = object("Account", "acme", generation, json!({"accessLevel": "Full"}));
        account.status = Some(serde_json::from_value(json!({"publicKey": key})).unwrap());
        account
    };
    let own = Wake::Account(full("acme"), Priority::Normal);
    assert!(router.account(&account(1, "")).contains(&own));
    router.says_of_account(&account(1, ""), account(1, "5H93YM").status.as_ref().unwrap());
    assert_eq!(router.account(&account(1, "5H93YM")), []);
    assert_eq!(router.account(&account(1, "OTHER1")), std::slice::from_ref(&own), "by hand");
    assert_eq!(router.account(&account(2, "5H93YM")), [own], "another spec");
}

/// A key with this spec, and a status that says so much.
fn told(generation: i64, spec: Value, status: Value) -> ApiKey {
    let mut key: ApiKey = object("ApiKey", "billing", generation, spec);
    key.status = Some(serde_json::from_value(status).unwrap());
    key
}

fn spec(disabled: bool, rotation: Value) -> Value {
    json!({"account": "acme", "accessLevel": "Full", "disabled": disabled, "rotation": rotation})
}

#[test]
fn disabled_or_revoked_key_with_a_credential_is_woken_first() {
    let issued = json!({"keyId": "7hx3k9m2pq4d", "highestRevision": 3});
    let moment = "2026-11-22T10:00:00Z";
    for (disabled, rotation, status, priority) in [
        (true, json!({"revision": 3}), &issued, Priority::High),
        (false, json!({"revision": 3, "revokeBefore": moment}), &issued, Priority::High),
        (true, json!({"revision": 2}), &issued, Priority::High),
        (true, json!({"revision": 4}), &issued, Priority::Normal),
        (true, json!({"revision": 3}), &json!({}), Priority::Normal),
        (false, json!({"revision": 3, "interval": "1h"}), &issued, Priority::Normal),
    ] {
        let mut router = Router::default();
        router.key(&told(1, spec(false, json!({"revision": 3})), status.clone()));
        let wakes = router.key(&told(2, spec(disabled, rotation.clone()), status.clone()));
        assert_eq!(wakes[0], Wake::Key(full("billing"), priority), "disabled {disabled}, {rotation}, {status}");
    }
}

#[test]
fn new_key_is_woken_in_its_turn_even_if_it_is_disabled() {
    let issued = json!({"keyId": "7hx3k9m2pq4d"});
    let wakes = Router::default().key(&told(1, spec(true, json!({})), issued));
    assert_eq!(wakes[0], normal(full("billing")));
}

#[test]
fn proof_of_a_key_that_waits_for_its_credential_is_no_report() {
    let rotation = json!({"revision": 3});
    let of = |status: Value| priority_of_report(&told(1, spec(false, rotation.clone()), status));
    assert_eq!(of(json!({"keyId": "7hx3k9m2pq4d", "highestRevision": 3})), Priority::High);
    assert_eq!(of(json!({"keyId": "7hx3k9m2pq4d", "highestRevision": 2})), Priority::Normal);
    assert_eq!(of(json!({"state": "Pending"})), Priority::Normal);
    assert_eq!(priority_of_report(&key("billing", 1)), Priority::Normal);
}

#[test]
fn disabled_account_is_woken_before_its_keys() {
    let mut router = Router::default();
    router.key(&key("billing", 1));
    router.account(&account("acme"));
    let disabled: Account = object("Account", "acme", 2, json!({"accessLevel": "Full", "disabled": true}));
    let first = Wake::Account(full("acme"), Priority::High);
    assert_eq!(router.account(&disabled), [first, normal(full("billing"))]);
}

#[test]
fn accounts_wake_their_keys_and_their_neighbours() {
    let mut router = Router::default();
    router.key(&key("billing", 1));
    assert_eq!(
        router.account(&account("acme")),
        [Wake::Account(full("acme"), Priority::Normal), normal(full("billing"))]
    );
    assert_eq!(router.account(&account("acme")), []);
    assert_eq!(
        router.account(&account("globex")),
        [Wake::Account(full("globex"), Priority::Normal), Wake::Account(full("acme"), Priority::Normal)]
    );
    let gone = router.account_gone(&full("acme"), "Account-acme");
    assert_eq!(gone, [Wake::Account(full("globex"), Priority::Normal), normal(full("billing"))]);
}

#[test]
fn a_source_wakes_its_clones() {
    let mut router = Router::default();
    router.key(&object("ApiKey", "copy", 1, json!({"account": "acme", "cloneFrom": {"name": "billing"}})));
    assert!(router.key(&key("billing", 1)).contains(&normal(full("copy"))));
    assert!(router.key_gone(&full("billing"), "ApiKey-billing").contains(&normal(full("copy"))));
    router.key(&key("billing", 1));
    router.key_gone(&full("copy"), "ApiKey-copy");
    assert!(!router.key(&key("billing", 2)).contains(&normal(full("copy"))));
}

#[test]
fn suspensions_wake_what_they_suspend_also_when_a_list_misses_them() {
    let mut router = Router::default();
    router.key(&key("billing", 1));
    let of = |kind: &str, name: &str| -> Suspension {
        object("Suspension", name, 1, json!({"target": {"kind": kind, "name": name}, "reason": "Abuse"}))
    };
    let own = |name: &str| Wake::Suspension(full(name), Priority::Normal);
    let suspended = Wake::Key(full("billing"), Priority::High);
    assert_eq!(router.suspension(&of("ApiKey", "billing")), [suspended, own("billing")]);
    assert_eq!(router.suspension(&of("ApiKey", "billing")), []);
    let mut told = of("ApiKey", "billing");
    told.status = Some(SuspensionStatus { observed_generation: Some(1), ..SuspensionStatus::default() });
    assert_eq!(router.suspension(&told), [own("billing")], "nobody else need know what is said of it");
    let both = [normal(full("billing")), Wake::Account(full("acme"), Priority::High)];
    assert_eq!(router.suspension(&of("Account", "acme")), [&both[..], &[own("acme")]].concat());
    let listed = HashSet::from(["Suspension-billing".to_owned()]);
    assert_eq!(router.suspensions_listed(None, &listed), both);
}

#[test]
fn target_that_appears_or_goes_wakes_its_suspensions() {
    let mut router = Router::default();
    let of = |kind: &str, target: &str, name: &str| -> Suspension {
        object("Suspension", name, 1, json!({"target": {"kind": kind, "name": target}, "reason": "Abuse"}))
    };
    router.suspension(&of("ApiKey", "billing", "of-key"));
    router.suspension(&of("Account", "acme", "of-account"));
    let wake = |name: &str| Wake::Suspension(full(name), Priority::Normal);
    assert!(router.key(&key("billing", 1)).contains(&wake("of-key")));
    assert!(!router.key(&key("billing", 2)).contains(&wake("of-key")), "it was there");
    assert!(router.key_gone(&full("billing"), "ApiKey-billing").contains(&wake("of-key")));
    router.suspension_gone("Suspension-of-key");
    assert!(!router.key(&key("billing", 1)).contains(&wake("of-key")), "lifted");
    let acme: Account = object("Account", "acme", 1, json!({"accessLevel": "Full"}));
    assert!(router.account(&acme).contains(&wake("of-account")));
    assert!(router.account_gone(&full("acme"), "Account-acme").contains(&wake("of-account")));
}

#[test]
fn a_key_that_a_list_misses_is_gone() {
    let mut router = Router::default();
    router.key(&key("billing", 1));
    let gone = Wake::KeyGone(full("ApiKey-billing"));
    assert_eq!(router.keys_listed(Some("another"), &HashSet::new()), [], "a list of another namespace");
    assert_eq!(router.keys_listed(Some("shop"), &HashSet::new()), [Wake::Counts(full("acme")), gone]);
}
