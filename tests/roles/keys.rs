//! What is tried with keys.

use keywright::api::ApiKey;
use serde_json::{Value, json};

use super::attempt::Answer::{May, Rbac, Told};
use super::attempt::{Answer, Attempt, attempt, one};
use super::{CLAIMS_OF_KEYS, GRANT, NOTE, NOTE_ON_KEYS, ownership};

/// Whoever sees keys.
const READERS: [Answer; 5] = [May, May, May, Rbac, Rbac];
/// Who may flip `disabled`.
const SWITCHERS: [Answer; 5] = READERS;
/// Who may change a key, where the key-writer has RBAC's verb and lacks `grant`.
const GRANTERS: [Answer; 5] = [May, May, GRANT, Rbac, Rbac];
/// Roles that may write the note of `kubectl apply`.
const APPLIERS: [Answer; 5] = [May, May, NOTE_ON_KEYS, Rbac, Rbac];
/// Roles that may claim fields in managedFields.
const CLAIMANTS: [Answer; 5] = [May, May, CLAIMS_OF_KEYS, Rbac, Rbac];
/// Who may do what the key-writer has no verb for.
const MANAGERS: [Answer; 5] = [May, May, Rbac, Rbac, Rbac];
const NOBODY: [Answer; 5] = [Rbac; 5];

/// A key with every field set that can be set together.
pub fn spec() -> Value {
    json!({
        "account": "acme", "displayName": "Storefront", "accessLevel": "Custom", "scopes": ["orders:read"],
        "expiresAt": "2099-01-01T00:00:00Z", "rotation": {"revision": 5, "interval": "2160h", "overlap": "1h"},
        "secret": {"name": "credentials", "labels": {"app.kubernetes.io/part-of": "shop"}}, "metadata": {"plan": "gold"},
    })
}

/// An owner; of an owner that does not exist the key would be collected.
pub fn owner(uid: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "somewhere", "uid": uid})
}

/// Changes of every field that may be changed but `disabled` and its reason; each set, changed and taken away.
pub fn changes() -> Vec<(&'static str, Value)> {
    vec![
        ("rename it", json!({"displayName": "Other"})),
        ("take its display name away", json!({"displayName": null})),
        ("raise its access level", json!({"accessLevel": "Full", "scopes": null})),
        ("lower its access level", json!({"accessLevel": "ReadOnly", "scopes": null})),
        ("widen its scopes", json!({"scopes": ["orders:read", "orders:write"]})),
        ("set its scopes to others", json!({"scopes": ["invoices:read"]})),
        ("let it expire", json!({"expiresAt": "2030-01-01T00:00:00Z"})),
        ("let it never expire", json!({"expiresAt": null})),
        ("rotate it", json!({"rotation": {"revision": 6}})),
        ("rotate it back", json!({"rotation": {"revision": 4}})),
        ("change when it rotates", json!({"rotation": {"interval": "1h", "overlap": "1h"}})),
        ("change how long the value before lives", json!({"rotation": {"overlap": null}})),
        ("revoke its values", json!({"rotation": {"revokeBefore": "2030-01-01T00:00:00Z"}})),
        ("stop its rotation", json!({"rotation": null})),
        ("have it delivered once", json!({"secret": {"delivery": "Once"}})),
        ("have its value under another name", json!({"secret": {"data": {"token": "value"}}})),
        ("label its Secret", json!({"secret": {"labels": {"app.kubernetes.io/part-of": "other"}}})),
        ("annotate its Secret", json!({"secret": {"annotations": {"reloader.stakater.com/match": "true"}}})),
        ("change what upstreams are told", json!({"metadata": {"plan": "platinum"}})),
        ("take away what upstreams are told", json!({"metadata": null})),
        ("begin a restriction", json!({"restrictions": {}})),
    ]
}

/// Fields that nobody changes.
pub fn immutables() -> Vec<(&'static str, Value)> {
    vec![
        ("move it to another account", json!({"account": "other"})),
        ("make a clone of it", json!({"cloneFrom": {"name": "another"}})),
        ("have its value elsewhere", json!({"secret": {"name": "elsewhere"}})),
        ("forget where its value is", json!({"secret": null})),
    ]
}

pub fn attempts() -> Vec<Attempt> {
    let mut all = vec![
        attempt("list keys", READERS, async |who| who.list("apikeys").await),
        attempt("look at a key", READERS, async |who| who.get("apikeys", "storefront").await),
    ];
    all.extend(switches());
    all.extend(changes().into_iter().map(|(what, spec)| patch(what, GRANTERS, json!({"spec": spec}))));
    let told = Told(" later: create a new key");
    let cannot = Told("cannot be changed: create a new key");
    for (index, (what, spec)) in immutables().into_iter().enumerate() {
        let told = if index % 2 == 0 { cannot } else { told };
        all.push(patch(what, [told, told, told, Rbac, Rbac], json!({"spec": spec})));
    }
    all.extend(beside_the_spec());
    all.extend(ways_around_a_patch());
    all.extend(ownership::attempts::<ApiKey>("storefront", SWITCHERS, CLAIMANTS));
    all.extend(claims());
    all.extend(births_and_deaths());
    all
}

fn patch(what: &str, answers: [Answer; 5], patch: Value) -> Attempt {
    attempt(format!("{what} (of a key)"), answers, move |who| {
        let patch = patch.clone();
        async move { who.merge("apikeys", "storefront", &patch).await }
    })
}

fn switches() -> Vec<Attempt> {
    let set = |disabled: Value| json!({"spec": {"disabled": disabled}});
    vec![
        patch("disable it", SWITCHERS, set(json!(true))),
        patch("enable it", SWITCHERS, set(json!(false))),
        patch("take `disabled` away", SWITCHERS, set(Value::Null)),
        patch("give the reason of `disabled`", SWITCHERS, {
            json!({"spec": {"disabled": true, "disabledReason": "posted in a chat"}})
        }),
        patch("take the reason of `disabled` away", SWITCHERS, json!({"spec": {"disabledReason": null}})),
        attempt("disable a key by server-side apply", SWITCHERS, async |who| {
            who.apply(&one::<ApiKey>("storefront", &json!({"disabled": true}))).await
        }),
        attempt("disable a key by JSON patch", SWITCHERS, async |who| {
            who.json_patch("apikeys", "storefront", &json!([{"op": "add", "path": "/spec/disabled", "value": true}]))
                .await
        }),
        patch(
            "widen it under cover of disabling it",
            GRANTERS,
            json!({"spec": {"disabled": true, "accessLevel": "Full", "scopes": null}}),
        ),
    ]
}

/// A dangling owner deletes an object, and a finalizer holds its namespace.
fn beside_the_spec() -> Vec<Attempt> {
    let owners = |owners: Value| json!({"metadata": {"ownerReferences": owners}});
    let finalizers = |finalizers: Value| json!({"metadata": {"finalizers": finalizers}});
    vec![
        patch("give it one more finalizer", GRANTERS, finalizers(json!(["example.com/hold", "example.com/more"]))),
        patch("change its finalizer", GRANTERS, finalizers(json!(["example.com/other"]))),
        patch("take its finalizer away", GRANTERS, finalizers(Value::Null)),
        patch("give it an owner that is not there", GRANTERS, owners(json!([owner("real"), owner("gone")]))),
        patch("give it another owner", GRANTERS, owners(json!([owner("other")]))),
        patch("take its owner away", GRANTERS, owners(json!([]))),
        attempt("write its status", NOBODY, async |who| {
            who.merge("apikeys", "storefront/status", &json!({"status": {"state": "Active"}})).await
        }),
        // Other tools find and prune objects by them.
        patch("label it", GRANTERS, json!({"metadata": {"labels": {"a": "b"}}})),
        patch("annotate it", GRANTERS, json!({"metadata": {"annotations": {"a": "b"}}})),
        patch("take its annotation away", GRANTERS, json!({"metadata": {"annotations": {"example.com/mine": null}}})),
        patch("change kubectl's note on it", APPLIERS, json!({"metadata": {"annotations": {NOTE: "{\"spec\":{}}"}}})),
        patch("take kubectl's note away", APPLIERS, json!({"metadata": {"annotations": {NOTE: null}}})),
        patch("change kubectl's note under cover of disabling it", APPLIERS, {
            json!({"metadata": {"annotations": {NOTE: "[]"}}, "spec": {"disabled": true}})
        }),
        patch("give it a generateName", GRANTERS, json!({"metadata": {"generateName": "other-"}})),
        patch("give it a selfLink", GRANTERS, json!({"metadata": {"selfLink": "/elsewhere"}})),
    ]
}

/// Server-side apply of fields that stay as they are: the manager would own them.
fn claims() -> Vec<Attempt> {
    let apply = |what: &str, answers, manager: &'static str, spec: Value| {
        attempt(what, answers, move |who| {
            let object = one::<ApiKey>("storefront", &spec);
            async move { who.under(manager).apply(&object).await }
        })
    };
    let named = json!({"displayName": "Storefront"});
    let both = json!({"displayName": "Storefront", "disabled": true});
    vec![
        apply("claim a field of a key", CLAIMANTS, "somebody", named),
        apply("claim a field of a key beside disabling it", CLAIMANTS, "somebody", both.clone()),
        apply("disable a key under the manager of its manifest", SWITCHERS, "git", both),
        apply("take a key's fields from its manifest", CLAIMANTS, "git", json!({"disabled": true})),
        apply("disable a key as kubectl apply --server-side", APPLIERS, "kubectl", json!({"disabled": true})),
    ]
}

fn ways_around_a_patch() -> Vec<Attempt> {
    let widened = json!({"scopes": ["orders:read", "orders:write"]});
    let bare = json!({"account": "acme", "accessLevel": "Full", "secret": {"name": "credentials"}});
    vec![
        attempt("widen a key by server-side apply", GRANTERS, move |who| {
            let object = one::<ApiKey>("storefront", &widened);
            async move { who.apply(&object).await }
        }),
        attempt("widen a key by JSON patch", GRANTERS, async |who| {
            let add = json!([{"op": "add", "path": "/spec/scopes/-", "value": "orders:write"}]);
            who.json_patch("apikeys", "storefront", &add).await
        }),
        attempt("replace a key by another", GRANTERS, move |who| {
            let object = one::<ApiKey>("storefront", &bare);
            async move {
                let read = who.get("apikeys", "storefront").await?;
                let mut object = object;
                for kept in ["resourceVersion", "annotations"] {
                    object["metadata"][kept] = read["metadata"][kept].clone();
                }
                who.replace(&object).await
            }
        }),
        attempt("disable a key by replacing it", SWITCHERS, async |who| {
            let mut read = who.get("apikeys", "storefront").await?;
            read["spec"]["disabled"] = true.into();
            who.replace(&read).await
        }),
    ]
}

fn births_and_deaths() -> Vec<Attempt> {
    let create = |what: &str, answers, spec: Value| {
        let object = one::<ApiKey>("new", &spec);
        attempt(what, answers, move |who| {
            let object = object.clone();
            async move { who.create(&object).await }
        })
    };
    vec![
        create("create a key", MANAGERS, spec()),
        create("create a disabled key", MANAGERS, json!({"account": "acme", "accessLevel": "Full", "disabled": true})),
        create("clone a key", MANAGERS, json!({"account": "acme", "cloneFrom": {"name": "storefront"}})),
        attempt("create a key by server-side apply", MANAGERS, async |who| {
            who.apply(&one::<ApiKey>("new", &json!({"account": "acme", "accessLevel": "Full"}))).await
        }),
        attempt("delete a key", MANAGERS, async |who| who.delete("apikeys", "storefront").await),
        attempt("delete all keys at once", NOBODY, async |who| who.delete_all("apikeys").await),
    ]
}
