//! RBAC ends at the namespace, so members count only while their account is alone in it.

use serde_json::json;

use super::{ADMINS, OWNERS, town, user};

#[tokio::test]
async fn a_second_account_takes_the_members_their_roles_and_its_deletion_gives_them_back() {
    let town = town().await;
    town.account("acme", json!([user("Alice", "Owner"), user("Bob", "Admin")])).await;
    town.until_bound(OWNERS, "acme", &["Alice"]).await;
    town.until_bound(ADMINS, "acme", &["Bob"]).await;
    town.account("globex", json!([])).await;
    let told = town.until_ready_is("acme", "MembersNeedOwnNamespace").await;
    assert!(told.contains("alone in its namespace"), "{told}");
    town.until_gone(OWNERS).await;
    town.until_gone(ADMINS).await;
    town.until_ready_is("globex", "Accepted").await;
    town.delete("globex").await;
    town.until_bound(OWNERS, "acme", &["Alice"]).await;
    town.until_bound(ADMINS, "acme", &["Bob"]).await;
    town.until_ready_is("acme", "Accepted").await;
}

#[tokio::test]
async fn of_two_accounts_with_members_in_one_namespace_neither_has_any() {
    let town = town().await;
    town.account("acme", json!([user("Alice", "Owner")])).await;
    town.until_bound(OWNERS, "acme", &["Alice"]).await;
    town.account("globex", json!([user("Mallory", "Owner")])).await;
    town.until_ready_is("acme", "MembersNeedOwnNamespace").await;
    town.until_ready_is("globex", "MembersNeedOwnNamespace").await;
    town.until_gone(OWNERS).await;
    // The one that stays has the namespace to itself, whichever came first.
    town.delete("acme").await;
    town.until_bound(OWNERS, "globex", &["Mallory"]).await;
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
async fn an_account_that_gives_its_members_up_is_ready_beside_another() {
    let town = town().await;
    town.account("globex", json!([])).await;
    town.account("acme", json!([user("Alice", "Owner")])).await;
    town.until_ready_is("acme", "MembersNeedOwnNamespace").await;
    town.members(json!([])).await;
    town.until_ready_is("acme", "Accepted").await;
    assert!(town.bindings().get_opt(OWNERS).await.unwrap().is_none());
}

#[tokio::test]
async fn accounts_that_come_at_once_leave_no_binding_behind() {
    let town = town().await;
    let (one, two) = (json!([user("Alice", "Owner")]), json!([user("Mallory", "Admin")]));
    tokio::join!(town.account("acme", one), town.account("globex", two));
    town.until_ready_is("acme", "MembersNeedOwnNamespace").await;
    town.until_ready_is("globex", "MembersNeedOwnNamespace").await;
    town.until_gone(OWNERS).await;
    town.until_gone(ADMINS).await;
}
