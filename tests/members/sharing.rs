//! RBAC ends at the namespace, so of several accounts in one only the oldest has members.

use serde_json::json;

use super::support::eventually;
use super::{ADMINS, OWNERS, Town, town, user};

/// Waits until accounts that are created from now on are younger than this one: the API server counts in seconds.
async fn until_older(town: &Town, account: &str) {
    let created = town.space.accounts().get(account).await.unwrap().metadata.creation_timestamp.unwrap().0;
    eventually("the next second", async || {
        if jiff::Timestamp::now().as_second() > created.as_second() { Ok(()) } else { Err("not yet") }
    })
    .await;
}

#[tokio::test]
async fn older_account_keeps_its_members() {
    let town = town().await;
    town.account("zeta", json!([user("Alice", "Owner"), user("Bob", "Admin")])).await;
    town.until_bound(OWNERS, "zeta", &["Alice"]).await;
    until_older(&town, "zeta").await;
    town.account("acme", json!([user("Mallory", "Owner")])).await;
    let told = town.until_ready_is("acme", "MembersNeedOwnNamespace").await;
    assert!(told.contains("Account zeta in this namespace is older"), "{told}");
    town.until_ready_is("zeta", "Accepted").await;
    town.until_bound(OWNERS, "zeta", &["Alice"]).await;
    town.until_bound(ADMINS, "zeta", &["Bob"]).await;
}

#[tokio::test]
async fn account_with_members_keeps_them_against_one_of_the_same_second() {
    let town = town().await;
    // Until both are of one second.
    for attempt in 0.. {
        let (first, second) = (format!("zeta-{attempt}"), format!("acme-{attempt}"));
        town.account(&first, json!([user("Alice", "Owner")])).await;
        town.until_bound(OWNERS, &first, &["Alice"]).await;
        town.account(&second, json!([user("Mallory", "Owner")])).await;
        town.until_ready_is(&second, "MembersNeedOwnNamespace").await;
        town.until_bound(OWNERS, &first, &["Alice"]).await;
        let created = async |name: &str| town.space.accounts().get(name).await.unwrap().metadata.creation_timestamp;
        if created(&first).await == created(&second).await {
            // Also while it has no members for a moment.
            for members in [json!([]), json!([user("Alice", "Owner")])] {
                town.space.patch_account(&first, json!({"spec": {"members": members}})).await;
                town.until_ready_is(&first, "Accepted").await;
            }
            town.until_bound(OWNERS, &first, &["Alice"]).await;
            return;
        }
        town.delete(&second).await;
        town.delete(&first).await;
        town.until_gone(OWNERS).await;
    }
}

#[tokio::test]
async fn younger_account_gets_its_members_when_the_older_is_deleted() {
    let town = town().await;
    town.account("acme", json!([user("Alice", "Owner")])).await;
    until_older(&town, "acme").await;
    town.account("globex", json!([user("Carol", "Owner")])).await;
    town.until_ready_is("globex", "MembersNeedOwnNamespace").await;
    town.delete("acme").await;
    town.until_bound(OWNERS, "globex", &["Carol"]).await;
    town.until_ready_is("globex", "Accepted").await;
}

#[tokio::test]
async fn accounts_without_members_share_a_namespace() {
    let town = town().await;
    for name in ["acme", "globex", "initech"] {
        town.account(name, json!([])).await;
    }
    for name in ["acme", "globex", "initech"] {
        town.until_ready_is(name, "Accepted").await;
        let key = json!({"account": name, "accessLevel": "Full"});
        town.space.key(name, key).await;
        town.space.until_ready_is(name, "Issued").await;
    }
}

#[tokio::test]
async fn younger_account_without_members_is_ready() {
    let town = town().await;
    town.account("acme", json!([])).await;
    until_older(&town, "acme").await;
    town.account("globex", json!([user("Alice", "Owner")])).await;
    town.until_ready_is("globex", "MembersNeedOwnNamespace").await;
    town.space.patch_account("globex", json!({"spec": {"members": []}})).await;
    town.until_ready_is("globex", "Accepted").await;
    assert!(town.bindings().get_opt(OWNERS).await.unwrap().is_none());
}

#[tokio::test]
async fn accounts_created_at_once_leave_one_with_members() {
    let town = town().await;
    let (one, two) = (json!([user("Alice", "Owner")]), json!([user("Mallory", "Admin")]));
    tokio::join!(town.account("acme", one), town.account("globex", two));
    // Which of the two is first within one second depends on which the operator sees first.
    let ready = async |name: &str| {
        let account = town.space.accounts().get(name).await.map_err(|e| e.to_string())?;
        let ready = account.status.unwrap_or_default().conditions.into_iter().find(|c| c.type_ == "Ready");
        ready.map(|ready| ready.reason).ok_or_else(|| format!("{name} is not looked at yet"))
    };
    let is_acme_first = eventually("one of them has members", async || {
        match (ready("acme").await?.as_str(), ready("globex").await?.as_str()) {
            ("Accepted", "MembersNeedOwnNamespace") => Ok(true),
            ("MembersNeedOwnNamespace", "Accepted") => Ok(false),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    let (bound, unbound) = if is_acme_first { (OWNERS, ADMINS) } else { (ADMINS, OWNERS) };
    let (first, member) = if is_acme_first { ("acme", "Alice") } else { ("globex", "Mallory") };
    town.until_bound(bound, first, &[member]).await;
    town.until_gone(unbound).await;
}
