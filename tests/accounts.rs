//! Accounts: the Site ID, the counts, the ceiling and the catalogue over keys, and what becomes of keys with them.

#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "accounts/ceiling.rs"]
mod ceiling;
#[path = "accounts/site_ids.rs"]
mod site_ids;
#[path = "support/mod.rs"]
mod support;

use keywright::api::Account;
use kube::api::DeleteParams;
use serde_json::{Value, json};
use support::cluster::Cluster;
use support::keywright::Running;
use support::space::{Space, both};
use support::{eventually, http};

async fn space() -> Space {
    Space::new(Cluster::shared().await).await
}

/// Waits until something is true of an account.
async fn until(space: &Space, name: &str, what: &str, is: impl Fn(&Account) -> bool) -> Account {
    eventually(&format!("account {name}: {what}"), async || {
        let account = space.accounts().get(name).await.map_err(|e| e.to_string())?;
        if is(&account) { Ok(account) } else { Err(format!("{:?}", account.status)) }
    })
    .await
}

async fn until_counts_are(space: &Space, name: &str, [total, active, disabled]: [u32; 3]) {
    until(space, name, &format!("{total} keys, {active} active, {disabled} disabled"), |account| {
        let keys = account.status.as_ref().and_then(|status| status.keys);
        keys.is_some_and(|keys| (keys.total, keys.active, keys.disabled) == (total, active, disabled))
    })
    .await;
}

/// The answer to "who is it?".
async fn who(verifier: &Running, value: &str) -> Value {
    http::post(&verifier.address, "/v1/verify", &json!({"key": value}).to_string()).await.unwrap().json()
}

async fn until_the_answer_holds(verifier: &Running, value: &str, field: &str, expected: Value) {
    eventually(&format!("{field} is {expected}"), async || {
        let answer = who(verifier, value).await;
        if answer[field] == expected { Ok(()) } else { Err(answer.to_string()) }
    })
    .await;
}

#[tokio::test]
async fn the_counts_follow_fifty_keys_through_what_happens_to_them() {
    let (space, _both) = (space().await, both().await);
    space.account("acme", json!({"accessLevel": "Full"})).await;
    until_counts_are(&space, "acme", [0, 0, 0]).await;
    for n in 0..50 {
        space.key(&format!("key-{n}"), json!({"account": "acme", "accessLevel": "Full"})).await;
    }
    // One of another account, and one of an account that is not there.
    space.account("globex", json!({"accessLevel": "Full"})).await;
    space.key("theirs", json!({"account": "globex", "accessLevel": "Full"})).await;
    space.key("lost", json!({"account": "nobody", "accessLevel": "Full"})).await;
    until_counts_are(&space, "acme", [50, 50, 0]).await;
    until_counts_are(&space, "globex", [1, 1, 0]).await;
    for n in 0..10 {
        space.patch_key(&format!("key-{n}"), json!({"spec": {"disabled": true}})).await;
    }
    until_counts_are(&space, "acme", [50, 40, 10]).await;
    for n in 5..15 {
        space.keys().delete(&format!("key-{n}"), &DeleteParams::default()).await.unwrap();
    }
    until_counts_are(&space, "acme", [40, 35, 5]).await;
    space.patch_key("key-20", json!({"spec": {"expiresAt": "2020-01-01T00:00:00Z"}})).await;
    until_counts_are(&space, "acme", [40, 34, 5]).await;
    space.patch_account("acme", json!({"spec": {"disabled": true}})).await;
    until_counts_are(&space, "acme", [40, 0, 39]).await;
    space.patch_account("acme", json!({"spec": {"disabled": false}})).await;
    until_counts_are(&space, "acme", [40, 34, 5]).await;
    until_counts_are(&space, "globex", [1, 1, 0]).await;
}

#[tokio::test]
async fn an_account_that_comes_after_its_keys_counts_them() {
    let (space, _both) = (space().await, both().await);
    space.key("early", json!({"account": "acme", "accessLevel": "Full"})).await;
    space.until_ready_is("early", "AccountNotFound").await;
    space.account("acme", json!({"accessLevel": "Full"})).await;
    until_counts_are(&space, "acme", [1, 1, 0]).await;
}

#[tokio::test]
async fn answers_carry_metadata_of_both_and_the_accounts_wins() {
    let (space, both) = (space().await, both().await);
    space.account("acme", json!({"accessLevel": "Full", "metadata": {"plan": "basic", "team": "sales"}})).await;
    let key = json!({"account": "acme", "accessLevel": "Full", "metadata": {"plan": "gold", "tier": "1"}});
    space.key("storefront", key).await;
    space.until_ready_is("storefront", "Issued").await;
    let value = space.value("storefront", "api-key").await;
    let verifier = &both.verifier;
    verifier.eventually_says("ok", "scope=any", &value).await;
    let all = json!({"plan": "basic", "team": "sales", "tier": "1"});
    until_the_answer_holds(verifier, &value, "metadata", all).await;
    space.patch_key("storefront", json!({"spec": {"metadata": null}})).await;
    until_the_answer_holds(verifier, &value, "metadata", json!({"plan": "basic", "team": "sales"})).await;
    // A name that the account gives up is the key's again.
    space.patch_key("storefront", json!({"spec": {"metadata": {"team": "billing"}}})).await;
    space.patch_account("acme", json!({"spec": {"metadata": {"team": null}}})).await;
    until_the_answer_holds(verifier, &value, "metadata", json!({"plan": "basic", "team": "billing"})).await;
    space.patch_key("storefront", json!({"spec": {"metadata": null}})).await;
    space.patch_account("acme", json!({"spec": {"metadata": {"plan": "silver"}}})).await;
    until_the_answer_holds(verifier, &value, "metadata", json!({"plan": "silver"})).await;
}

#[tokio::test]
async fn a_disabled_account_refuses_every_key_and_enabled_again_takes_each_back_as_it_was() {
    let (space, both) = (space().await, both().await);
    let mut values = Vec::new();
    for name in ["one", "two", "three", "off"] {
        values.push(space.ready_key(name).await);
    }
    space.patch_key("off", json!({"spec": {"disabled": true}})).await;
    both.verifier.eventually_says("disabled", "scope=any", &values[3]).await;
    space.patch_account("acme", json!({"spec": {"disabled": true}})).await;
    both.verifier.eventually_says("account_disabled", "scope=any", &values[0]).await;
    // The account is one for all of its keys: the first refusal is the refusal of every one.
    for value in &values {
        assert_eq!(both.verifier.code("scope=any", value).await, "account_disabled");
    }
    for name in ["one", "two", "three", "off"] {
        space.until_state_is(name, "Disabled").await;
        space.until_ready_is(name, "Issued").await;
    }
    // One that comes meanwhile is minted, and refused.
    let late = space.ready_key("late").await;
    both.verifier.eventually_says("account_disabled", "scope=any", &late).await;
    space.patch_account("acme", json!({"spec": {"disabled": null}})).await;
    both.verifier.eventually_says("ok", "scope=any", &values[0]).await;
    for (value, code) in values.iter().zip(["ok", "ok", "ok", "disabled"]) {
        assert_eq!(both.verifier.code("scope=any", value).await, code);
    }
    both.verifier.eventually_says("ok", "scope=any", &late).await;
}

#[tokio::test]
async fn a_value_begins_with_the_prefix_of_its_account() {
    let (space, both) = (space().await, both().await);
    let longest = "a123456789abcdef";
    for (account, prefix) in [("short", "ab"), ("longest", longest), ("kwkw", "kwkw")] {
        space.account(account, json!({"accessLevel": "Full", "keyPrefix": prefix})).await;
        space.key(account, json!({"account": account, "accessLevel": "Full"})).await;
        space.until_ready_is(account, "Issued").await;
        let value = space.value(account, "api-key").await;
        assert!(value.starts_with(&format!("{prefix}_")), "{prefix}: {}", &value[..=prefix.len()]);
        both.verifier.eventually_says("ok", "scope=any", &value).await;
        let key = space.keys().get(account).await.unwrap();
        assert!(key.status.unwrap().hint.unwrap().starts_with(&format!("{prefix}_")));
        // The id is the same under another prefix, and the key is not.
        let other = format!("kx{}", &value[prefix.len()..]);
        assert_eq!(both.verifier.code("scope=any", &other).await, "malformed");
    }
}

#[tokio::test]
async fn a_deleted_account_takes_its_keys_along_and_its_namesake_gives_them_back() {
    let (space, both) = (space().await, both().await);
    let (one, two) = (space.ready_key("one").await, space.ready_key("two").await);
    both.verifier.eventually_says("ok", "scope=any", &one).await;
    space.accounts().delete("acme", &DeleteParams::default()).await.unwrap();
    both.verifier.eventually_says("account_not_found", "scope=any", &one).await;
    assert_eq!(both.verifier.code("scope=any", &two).await, "account_not_found");
    for name in ["one", "two"] {
        space.until_ready_is(name, "AccountNotFound").await;
        space.until_state_is(name, "Invalid").await;
    }
    // It comes back narrower and with another prefix; values that were minted stay as they are.
    space.account("acme", json!({"accessLevel": "ReadOnly", "keyPrefix": "acme"})).await;
    both.verifier.eventually_says("ok", "scope=orders:read", &one).await;
    both.verifier.eventually_says("insufficient_scope", "scope=orders:write", &two).await;
    for (name, value) in [("one", &one), ("two", &two)] {
        space.until_ready_is(name, "Issued").await;
        space.until_state_is(name, "Active").await;
        assert_eq!(space.value(name, "api-key").await, *value);
    }
    until_counts_are(&space, "acme", [2, 2, 0]).await;
}

#[tokio::test]
async fn several_accounts_without_members_share_a_namespace_and_nothing_else() {
    let (space, both) = (space().await, both().await);
    let names = ["acme", "globex", "initech"];
    for name in names {
        space.account(name, json!({"accessLevel": "Full"})).await;
    }
    let mut ids = Vec::new();
    for name in names {
        let accepted = |account: &Account| {
            let status = account.status.clone().unwrap_or_default();
            let ready = status.conditions.iter().any(|c| c.type_ == "Ready" && c.status == "True");
            ready && status.public_key.is_some()
        };
        ids.push(until(&space, name, "is accepted", accepted).await.status.unwrap().public_key.unwrap());
        space.key(name, json!({"account": name, "accessLevel": "Full"})).await;
        space.until_ready_is(name, "Issued").await;
    }
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), names.len(), "{ids:?}");
    for name in names {
        let value = space.value(name, "api-key").await;
        for other in names {
            let code = if other == name { "ok" } else { "wrong_account" };
            let question = format!("scope=any&account={}/{other}", space.name);
            both.verifier.eventually_says(code, &question, &value).await;
        }
    }
    let (acme, globex) = (space.value("acme", "api-key").await, space.value("globex", "api-key").await);
    space.patch_account("acme", json!({"spec": {"disabled": true}})).await;
    both.verifier.eventually_says("account_disabled", "scope=any", &acme).await;
    assert_eq!(both.verifier.code("scope=any", &globex).await, "ok");
    space.accounts().delete("acme", &DeleteParams::default()).await.unwrap();
    both.verifier.eventually_says("account_not_found", "scope=any", &acme).await;
    assert_eq!(both.verifier.code("scope=any", &globex).await, "ok");
}
