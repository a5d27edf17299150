//! What is tried with accounts.

use keywright::api::Account;
use serde_json::{Value, json};

use super::attempt::Answer::{May, Rbac, Told};
use super::attempt::{Answer, Attempt, attempt, one};
use super::{CLAIMS_OF_ACCOUNTS, GOVERN, ITSELF, NOTE, NOTE_ON_ACCOUNTS, ownership};

const READERS: [Answer; 5] = [May, May, Rbac, May, Rbac];
/// Who may change members and `disabled`.
const OWNERS: [Answer; 5] = [May, Rbac, Rbac, May, Rbac];
/// Roles that may leave the account without an Owner.
const LAST_OWNER: [Answer; 5] = [
    Told("this takes the role of the last Owner of the Account away: name another Owner in spec.members first"),
    Rbac,
    Rbac,
    May,
    Rbac,
];
/// Who may change everything else, where the owner has RBAC's verb and lacks `govern`.
const GOVERNORS: [Answer; 5] = [GOVERN, Rbac, Rbac, May, Rbac];
/// Roles that may write the note of `kubectl apply`.
const APPLIERS: [Answer; 5] = [NOTE_ON_ACCOUNTS, Rbac, Rbac, May, Rbac];
/// Roles that may claim fields in managedFields.
const CLAIMANTS: [Answer; 5] = [CLAIMS_OF_ACCOUNTS, Rbac, Rbac, May, Rbac];
/// Who may do what the owner has no verb for.
const PLATFORM: [Answer; 5] = [Rbac, Rbac, Rbac, May, Rbac];
const NOBODY: [Answer; 5] = [Rbac; 5];

/// An account with every field set that can be set together.
pub fn spec() -> Value {
    json!({
        "displayName": "Acme", "accessLevel": "Custom", "scopes": ["orders:*"], "resources": ["orders", "invoices"],
        "members": [member("Alice", "Owner")], "keyPrefix": "acme", "maxKeyLifetime": "2160h",
        "metadata": {"tier": "one"},
    })
}

fn member(name: &str, role: &str) -> Value {
    json!({"kind": "User", "name": name, "role": role})
}

/// Changes of every field that may be changed but `members` and `disabled`.
pub fn changes() -> Vec<(&'static str, Value)> {
    vec![
        ("rename it", json!({"displayName": "Other"})),
        ("take its display name away", json!({"displayName": null})),
        ("raise its ceiling", json!({"accessLevel": "Full", "scopes": null})),
        ("lower its ceiling", json!({"accessLevel": "ReadOnly", "scopes": null})),
        ("widen its ceiling", json!({"scopes": ["orders:*", "invoices:read"]})),
        ("add a resource", json!({"resources": ["orders", "invoices", "payments"]})),
        ("take its catalogue away", json!({"resources": null})),
        ("let its keys live longer", json!({"maxKeyLifetime": "87600h"})),
        ("let its keys live for ever", json!({"maxKeyLifetime": null})),
        ("change what upstreams are told", json!({"metadata": {"tier": "two"}})),
        ("take away what upstreams are told", json!({"metadata": null})),
    ]
}

/// Fields that nobody changes.
pub fn immutables() -> Vec<(&'static str, Value)> {
    vec![("change its prefix", json!({"keyPrefix": "other"})), ("take its prefix away", json!({"keyPrefix": null}))]
}

pub fn attempts() -> Vec<Attempt> {
    let mut all = vec![
        attempt("list accounts", READERS, async |who| who.list("accounts").await),
        attempt("look at an account", READERS, async |who| who.get("accounts", "acme").await),
    ];
    all.extend(by_owners());
    all.extend(changes().into_iter().map(|(what, spec)| patch(what, GOVERNORS, json!({"spec": spec}))));
    let told = Told("create a new account");
    let answers = [told, Rbac, Rbac, told, Rbac];
    all.extend(immutables().into_iter().map(|(what, spec)| patch(what, answers, json!({"spec": spec}))));
    all.extend(under_cover());
    all.extend(ownership::attempts::<Account>("acme", OWNERS, CLAIMANTS));
    all.extend(claims());
    all.extend(births_and_deaths());
    all
}

fn patch(what: &str, answers: [Answer; 5], patch: Value) -> Attempt {
    attempt(format!("{what} (of an account)"), answers, move |who| {
        let patch = patch.clone();
        async move { who.merge("accounts", "acme", &patch).await }
    })
}

fn by_owners() -> Vec<Attempt> {
    let set = |field: &str, value: Value| json!({"spec": {field: value}});
    let add = json!([{"op": "add", "path": "/spec/members/-", "value": member("Mallory", "Owner")}]);
    vec![
        patch("disable it", OWNERS, set("disabled", json!(true))),
        patch("enable it", OWNERS, set("disabled", json!(false))),
        patch("take `disabled` away", OWNERS, set("disabled", Value::Null)),
        patch("add a member", OWNERS, set("members", json!([member("Alice", "Owner"), member("Bob", "Admin")]))),
        patch("change a member's role", OWNERS, {
            set("members", json!([member("Alice", "Admin"), member("Bob", "Owner")]))
        }),
        patch("make the last Owner an Admin", LAST_OWNER, set("members", json!([member("Alice", "Admin")]))),
        patch("remove all members", LAST_OWNER, set("members", json!([]))),
        patch("take members away", LAST_OWNER, set("members", Value::Null)),
        patch("make the platform a member", [May, Rbac, Rbac, ITSELF, Rbac], {
            set("members", json!([member("Alice", "Owner"), member("keywright-platform", "Admin")]))
        }),
        attempt("add a member by JSON patch", OWNERS, move |who| {
            let add = add.clone();
            async move { who.json_patch("accounts", "acme", &add).await }
        }),
        attempt("set the members by server-side apply", OWNERS, async |who| {
            who.apply(&one::<Account>("acme", &json!({"members": [member("Mallory", "Owner")]}))).await
        }),
        attempt("set the members and disable it by server-side apply", OWNERS, async |who| {
            let spec = json!({"disabled": true, "members": [member("Mallory", "Owner")]});
            who.apply(&one::<Account>("acme", &spec)).await
        }),
    ]
}

/// Server-side apply of fields that stay as they are: the manager would own them.
fn claims() -> Vec<Attempt> {
    let apply = |what: &str, answers, manager: &'static str, spec: Value| {
        attempt(what, answers, move |who| {
            let object = one::<Account>("acme", &spec);
            async move { who.under(manager).apply(&object).await }
        })
    };
    let members = json!([member("Mallory", "Owner")]);
    let is_there = json!([member("Alice", "Owner")]);
    vec![
        apply("claim an account's level beside its members", CLAIMANTS, "somebody", {
            json!({"accessLevel": "Custom", "members": members.clone()})
        }),
        apply("claim members as they are", CLAIMANTS, "somebody", json!({"members": is_there.clone()})),
        apply("claim members as they are beside disabling an account", CLAIMANTS, "somebody", {
            json!({"members": is_there, "disabled": true})
        }),
        apply("take an account's fields from its manifest", CLAIMANTS, "git", json!({"members": members.clone()})),
        apply("set members as kubectl apply --server-side", APPLIERS, "kubectl", json!({"members": members})),
    ]
}

fn under_cover() -> Vec<Attempt> {
    let owner = json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "somewhere", "uid": "gone"});
    vec![
        patch("raise it under cover of its members", GOVERNORS, {
            json!({"spec": {"members": [], "disabled": false, "accessLevel": "Full", "scopes": null}})
        }),
        patch("give it a finalizer", GOVERNORS, json!({"metadata": {"finalizers": ["example.com/hold"]}})),
        patch("give it an owner that is not there", GOVERNORS, json!({"metadata": {"ownerReferences": [owner]}})),
        patch("label it", GOVERNORS, json!({"metadata": {"labels": {"a": "b"}}})),
        patch("annotate it", GOVERNORS, json!({"metadata": {"annotations": {"a": "b"}}})),
        patch("take its annotation away", GOVERNORS, json!({"metadata": {"annotations": {"example.com/mine": null}}})),
        patch("change kubectl's note on it", APPLIERS, json!({"metadata": {"annotations": {NOTE: "{\"spec\":{}}"}}})),
        patch("take kubectl's note away", APPLIERS, json!({"metadata": {"annotations": {NOTE: null}}})),
        patch("give it a generateName", GOVERNORS, json!({"metadata": {"generateName": "other-"}})),
        patch("give it a selfLink", GOVERNORS, json!({"metadata": {"selfLink": "/elsewhere"}})),
        attempt("write its status", NOBODY, async |who| {
            who.merge("accounts", "acme/status", &json!({"status": {"publicKey": "ABCDEF"}})).await
        }),
        attempt("replace an account by another", GOVERNORS, async |who| {
            let mut read = who.get("accounts", "acme").await?;
            read["spec"] = json!({"accessLevel": "Full", "keyPrefix": "acme"});
            who.replace(&read).await
        }),
        attempt("raise an account by server-side apply", GOVERNORS, async |who| {
            who.apply(&one::<Account>("acme", &json!({"scopes": ["orders:*", "invoices:*"]}))).await
        }),
    ]
}

fn births_and_deaths() -> Vec<Attempt> {
    vec![
        attempt("create an account", PLATFORM, async |who| who.create(&one::<Account>("new", &spec())).await),
        attempt("create an account by server-side apply", PLATFORM, async |who| {
            who.apply(&one::<Account>("new", &spec())).await
        }),
        attempt("delete an account", PLATFORM, async |who| who.delete("accounts", "acme").await),
        attempt("delete all accounts at once", NOBODY, async |who| who.delete_all("accounts").await),
    ]
}
