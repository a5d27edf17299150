//! What an `Account` has to itself: catalogue, members, key prefix, the life of its keys.

use serde_json::{Value, json};

use super::common::{longest_metadata, longest_scopes};
use super::offer::{Case, Offer, accepts, account, long_names, no_durations, range, rejects, stays};

const RESOURCES_DIFFER: &str = "resources must differ from each other";
const NAMESPACE_OF_A_SERVICE_ACCOUNT: &str =
    "a member of kind ServiceAccount needs its namespace; User and Group have none";
const NOT_OF_THE_SYSTEM: &str =
    "names that begin with system: are Kubernetes' own, such as everybody; name people and groups of yours";
const WORKLOAD_NAME: &str = "a ServiceAccount's name is made of a-z, 0-9, `-` and `.`";
const PREFIX_STAYS: &str = "keyPrefix cannot be changed: create a new account";
const PREFIX_STAYS_SET: &str = "keyPrefix cannot be set or removed later: create a new account";
const LIFETIME: &str = "maxKeyLifetime must be 1m to 87600h (10 years), in hours, minutes and seconds such as 24h, 90m or 30s; a day is 24h";

fn with_resources(resources: Value) -> Offer {
    account(json!({"resources": resources}))
}

fn with_member(member: Value) -> Offer {
    account(json!({"members": [member]}))
}

fn prefixed(prefix: &str) -> Value {
    json!({"keyPrefix": prefix})
}

fn lifetime(text: Value) -> Offer {
    account(json!({"maxKeyLifetime": text}))
}

fn person(name: &str) -> Value {
    json!({"kind": "User", "name": name, "role": "Owner"})
}

fn workload(namespace: &str, name: &str) -> Value {
    json!({"kind": "ServiceAccount", "namespace": namespace, "name": name, "role": "Admin"})
}

fn many_people(count: usize) -> Value {
    long_names(count, 253).map(|name| person(&name)).collect()
}

/// Every field at once, each as large as it may be.
pub fn fullest() -> Value {
    json!({
        "displayName": "é".repeat(128),
        "accessLevel": "Custom",
        "scopes": longest_scopes(),
        "disabled": false,
        "resources": long_names(128, 98).collect::<Vec<_>>(),
        "members": many_people(64),
        "keyPrefix": "a".repeat(16),
        "maxKeyLifetime": "00001h00001m00001s",
        "metadata": longest_metadata(),
    })
}

/// What CEL rules decide.
pub fn rules() -> Vec<Case> {
    let mut cases = vec![
        accepts(account(fullest())),
        accepts(account(fullest()).after(fullest())),
        accepts(with_resources(json!(["orders", "a-b.c_d", "0"]))),
        accepts(with_resources(json!(["orders"])).after(json!({"resources": ["users"]}))),
        rejects(with_resources(json!(["orders", "users", "orders"])), RESOURCES_DIFFER),
        rejects(with_resources(json!(["a", "a"])).after(json!({"resources": ["a"]})), RESOURCES_DIFFER),
        accepts(with_member(person("kim@example.com"))),
        accepts(with_member(json!({"kind": "Group", "name": "team:billing", "role": "Admin"}))),
        accepts(with_member(workload("shop", "deployer"))),
        accepts(account(json!({})).after(json!({"members": [person("kim")]}))),
        rejects(
            with_member(json!({"kind": "ServiceAccount", "name": "deployer", "role": "Admin"})),
            NAMESPACE_OF_A_SERVICE_ACCOUNT,
        ),
        rejects(
            with_member(json!({"kind": "User", "name": "kim", "namespace": "shop", "role": "Admin"})),
            NAMESPACE_OF_A_SERVICE_ACCOUNT,
        ),
        rejects(with_member(workload("shop", "Deployer")), WORKLOAD_NAME),
        rejects(with_member(workload("shop", "a/b")), WORKLOAD_NAME),
        rejects(
            with_member(json!({"kind": "Group", "name": "team", "namespace": "shop", "role": "Admin"})),
            NAMESPACE_OF_A_SERVICE_ACCOUNT,
        ),
        // Only the last of them is wrong.
        rejects(
            account(json!({"members": [person("kim"), workload("shop", "a"), person("system:admin")]}))
                .after(json!({"members": [person("kim")]})),
            NOT_OF_THE_SYSTEM,
        ),
        accepts(with_member(person("systems:ops"))),
    ];
    let everybody = ["system:authenticated", "system:unauthenticated", "system:masters", "system:"];
    cases.extend(
        everybody.map(|name| {
            rejects(with_member(json!({"kind": "Group", "name": name, "role": "Owner"})), NOT_OF_THE_SYSTEM)
        }),
    );
    let system = ["system:anonymous", "system:serviceaccount:shop:deployer", "system:kube-controller-manager"];
    cases.extend(system.map(|name| rejects(with_member(person(name)), NOT_OF_THE_SYSTEM)));
    cases.extend(stays(account, &prefixed("acme"), &prefixed("globex"), PREFIX_STAYS, PREFIX_STAYS_SET));
    // The default, in words, is a change too: who sets it may come to set another.
    cases.push(rejects(account(prefixed("kw")).after(json!({})), PREFIX_STAYS_SET));
    cases.extend(range(
        &lifetime,
        &["1m", "60s", "1h30m", "2160h", "87600h"],
        &["0s", "1s", "59s", "87600h1s", "99999h99999h99999h"],
        LIFETIME,
    ));
    cases
}

/// What the schema decides.
pub fn bounds() -> Vec<Case> {
    let level = "spec.accessLevel: Required value";
    let mut cases = vec![
        rejects(account(json!({})).without("accessLevel"), level),
        rejects(account(json!({})).without("accessLevel").after(json!({})), level),
        rejects(account(json!({"accessLevel": null})), level),
        accepts(with_resources(long_names(128, 98).collect())),
        rejects(with_resources(long_names(129, 8).collect()), "spec.resources: Too many: 129"),
        rejects(with_resources(json!([])), "spec.resources in body should have at least 1 items"),
        rejects(with_resources(json!(["a".repeat(99)])), "spec.resources[0]: Too long"),
        rejects(with_resources(json!([null])), "spec.resources[0] in body must be of type string"),
        accepts(account(json!({"members": []}))),
        accepts(account(json!({"members": many_people(64)}))),
        rejects(account(json!({"members": many_people(65)})), "spec.members: Too many: 65"),
        rejects(with_member(json!(null)), "spec.members[0] in body must be of type object"),
        rejects(with_member(person("")), "spec.members[0].name in body should be at least 1 chars long"),
        rejects(with_member(person(&"a".repeat(254))), "spec.members[0].name: Too long"),
        rejects(
            with_member(json!({"kind": "Robot", "name": "r2", "role": "Admin"})),
            r#"supported values: "User", "Group", "ServiceAccount""#,
        ),
        rejects(
            with_member(json!({"kind": "user", "name": "kim", "role": "Admin"})),
            r#"supported values: "User", "Group", "ServiceAccount""#,
        ),
        rejects(
            with_member(json!({"kind": "User", "name": "kim", "role": "Root"})),
            r#"supported values: "Owner", "Admin""#,
        ),
        rejects(with_member(json!({"name": "kim", "role": "Admin"})), "spec.members[0].kind: Required value"),
        rejects(with_member(json!({"kind": "User", "role": "Admin"})), "spec.members[0].name: Required value"),
        rejects(with_member(json!({"kind": "User", "name": "kim"})), "spec.members[0].role: Required value"),
        rejects(
            with_member(json!({"kind": "User", "name": "kim", "role": "Admin", "apiGroup": "x"})),
            r#"unknown field "spec.members[0].apiGroup""#,
        ),
        accepts(with_member(workload(&"a".repeat(63), "deployer"))),
        rejects(with_member(workload(&"a".repeat(64), "deployer")), "spec.members[0].namespace: Too long"),
        rejects(
            with_member(json!({"kind": "ServiceAccount", "name": "a", "namespace": null, "role": "Admin"})),
            NAMESPACE_OF_A_SERVICE_ACCOUNT,
        ),
        accepts(account(prefixed("kw"))),
        accepts(account(prefixed("a0"))),
        accepts(account(prefixed(&"z".repeat(16)))),
        rejects(account(prefixed(&"z".repeat(17))), "spec.keyPrefix: Too long"),
        rejects(account(json!({"keyPrefix": null})).after(prefixed("acme")), PREFIX_STAYS_SET),
    ];
    cases.extend(
        ["*", "Orders", "-a", "a-", "a b", "a:read", "", "ä", "a\n"]
            .map(|bad| rejects(with_resources(json!(["orders", bad])), "spec.resources[1] in body should")),
    );
    cases.extend(
        ["Shop", "-a", "a-", "a.b", "a/b", "", "a\n"]
            .map(|bad| rejects(with_member(workload(bad, "deployer")), "spec.members[0].namespace in body should")),
    );
    cases.extend(
        ["", "k", "Kw", "kW", "0k", "k_w", "k-w", "k.w", "kw\n", " kw", "kä"]
            .map(|bad| rejects(account(prefixed(bad)), "spec.keyPrefix in body should")),
    );
    cases.extend(no_durations(&lifetime, "spec.maxKeyLifetime"));
    cases
}
