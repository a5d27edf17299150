//! What keys and accounts share: access level and scopes, names for people, metadata.

use serde_json::{Value, json};

use super::offer::{Case, Offer, accepts, account, key, long_names, pair, pairs, rejects};

const KEY_SCOPES_WITH_CUSTOM: &str =
    "accessLevel Custom needs 1 to 64 scopes; ReadOnly, Full and a clone without accessLevel take none";
const ACCOUNT_SCOPES_WITH_CUSTOM: &str = "accessLevel Custom needs 1 to 64 scopes; ReadOnly and Full take none";
const SCOPE: &str = "a scope is a resource, a colon, and read, write or *, such as orders:read, orders:* or *:read; resources are made of a-z, 0-9, `-`, `_` and `.`";
const SCOPES_DIFFER: &str = "scopes must differ from each other";
const METADATA_KEYS: &str =
    "keys of metadata are 1 to 32 of a-z, 0-9 and `-`, beginning with a letter, for they become header names";

/// What offers a kind, and its words for scopes that do not fit the level.
type Kind = (fn(Value) -> Offer, &'static str);

fn both() -> [Kind; 2] {
    [(key, KEY_SCOPES_WITH_CUSTOM), (account, ACCOUNT_SCOPES_WITH_CUSTOM)]
}

pub fn custom(scopes: Value) -> Value {
    json!({"accessLevel": "Custom", "scopes": scopes})
}

fn many_scopes(count: usize) -> Value {
    (0..count).map(|n| format!("orders-{n}:read")).collect()
}

fn scope_of_length(length: usize) -> String {
    format!("{}:read", "a".repeat(length - ":read".len()))
}

/// As many scopes as there may be, each as long as it may be.
pub fn longest_scopes() -> Value {
    long_names(64, 95).map(|name| format!("{name}:read")).collect()
}

/// As many pairs as there may be, each as long as it may be.
pub fn longest_metadata() -> Value {
    (0..8).map(|n| (format!("{n:a>32}"), json!("~".repeat(128)))).collect()
}

fn with_metadata(metadata: Value) -> Value {
    json!({"metadata": metadata})
}

/// What CEL rules decide.
pub fn rules() -> Vec<Case> {
    let mut cases = Vec::new();
    for (offer, scopes_with_custom) in both() {
        cases.extend([
            accepts(offer(json!({"accessLevel": "ReadOnly"}))),
            accepts(offer(json!({"accessLevel": "Full"}))),
            accepts(offer(custom(many_scopes(1)))),
            accepts(offer(custom(many_scopes(64)))),
            accepts(offer(custom(longest_scopes()))),
            accepts(offer(custom(json!(["orders:read", "orders:write"])))),
            accepts(offer(custom(many_scopes(2))).after(json!({"accessLevel": "Full"}))),
            accepts(offer(json!({"accessLevel": "Full"})).after(custom(many_scopes(2)))),
            rejects(offer(json!({"accessLevel": "Custom"})), scopes_with_custom),
            rejects(offer(custom(json!([]))), scopes_with_custom),
            rejects(offer(custom(json!(["orders:delete"]))), SCOPE),
            rejects(offer(json!({"accessLevel": "Full", "scopes": ["orders:read"]})), scopes_with_custom),
            rejects(offer(json!({"accessLevel": "ReadOnly", "scopes": ["orders:read"]})), scopes_with_custom),
            rejects(offer(json!({"accessLevel": "Custom"})).after(custom(many_scopes(1))), scopes_with_custom),
            rejects(
                offer(json!({"accessLevel": "Full", "scopes": ["orders:read"]})).after(custom(many_scopes(1))),
                scopes_with_custom,
            ),
            rejects(offer(custom(json!(["orders:read", "orders:read"]))), SCOPES_DIFFER),
            rejects(offer(custom(json!(["a:*", "b:*", "a:*"]))).after(custom(json!(["a:*", "b:*"]))), SCOPES_DIFFER),
            accepts(offer(with_metadata(json!({})))),
            accepts(offer(with_metadata(json!({"plan": "gold", "tier-2": "", "x": " ~"})))),
            accepts(offer(with_metadata(longest_metadata()))),
            accepts(offer(with_metadata(json!({"plan": "gold"}))).after(with_metadata(json!({"plan": "tin"})))),
            rejects(offer(with_metadata(pair(&"a".repeat(33), "x"))), METADATA_KEYS),
            rejects(offer(with_metadata(json!({"A": "x"}))).after(with_metadata(json!({"a": "x"}))), METADATA_KEYS),
        ]);
        let bad = ["", "Plan", "2nd", "-a", "a-", "a_b", "a.b", "a b", "a:", "a\r\nb", "ä"];
        cases.extend(bad.map(|bad| rejects(offer(with_metadata(pair(bad, "x"))), METADATA_KEYS)));
    }
    cases
}

/// What the schema decides.
pub fn bounds() -> Vec<Case> {
    let mut cases = Vec::new();
    for (offer, scopes_with_custom) in both() {
        cases.extend([
            rejects(offer(json!({"accessLevel": "Admin"})), r#"supported values: "ReadOnly", "Full", "Custom""#),
            rejects(offer(json!({"accessLevel": "full"})), r#"Unsupported value: "full""#),
            rejects(offer(custom(many_scopes(65))), "spec.scopes: Too many: 65: must have at most 64 items"),
            rejects(offer(custom(many_scopes(1000))), "spec.scopes: Too many: 1000: must have at most 64 items"),
            rejects(offer(custom(json!([]))), "spec.scopes in body should have at least 1 items"),
            rejects(offer(custom(json!("orders:read"))), "spec.scopes in body must be of type array"),
            rejects(offer(custom(json!([null]))), "spec.scopes[0] in body must be of type string"),
            accepts(offer(custom(json!([scope_of_length(100)])))),
            rejects(offer(custom(json!([scope_of_length(101)]))), "spec.scopes[0]: Too long"),
            accepts(offer(json!({"displayName": "é".repeat(128)}))),
            rejects(offer(json!({"displayName": "é".repeat(129)})), "spec.displayName: Too long"),
            rejects(offer(json!({"displayName": ""})), "spec.displayName in body should be at least 1 chars long"),
            accepts(offer(json!({"displayName": "Storefront", "disabled": false}))),
            rejects(offer(json!({"disabled": "yes"})), "spec.disabled in body must be of type boolean"),
            rejects(offer(json!({"frobnicate": true})), r#"unknown field "spec.frobnicate""#),
            // A null is what everyone means by it: nothing.
            accepts(offer(json!({"accessLevel": "Full", "scopes": null, "displayName": null, "metadata": null}))),
            accepts(offer(with_metadata(json!({"plan": null})))),
            rejects(offer(json!({"accessLevel": "Custom", "scopes": null})), scopes_with_custom),
            accepts(offer(with_metadata(json!(pairs(8, "x"))))),
            rejects(offer(with_metadata(json!(pairs(9, "x")))), "spec.metadata: Too many: 9"),
            rejects(offer(with_metadata(pair("a", &"x".repeat(129)))), "spec.metadata.a: Too long"),
            rejects(offer(with_metadata(json!({"a": 7}))), "spec.metadata.a in body must be of type string"),
        ]);
        // They travel in HTTP headers.
        cases.extend(
            ["a\nb", "a\n", "a\r", "a\tb", "\0", "\u{7f}", "é"]
                .map(|bad| rejects(offer(with_metadata(pair("a", bad))), "spec.metadata.a in body should match")),
        );
        let good = ["*:read", "*:write", "*:*", "a:*", "0:read", "a-b.c_d:write"];
        cases.extend(good.map(|scope| accepts(offer(custom(json!([scope]))))));
        let bad = ["", "orders", ":read", "orders:", "orders:delete", "Orders:read", "-a:read", "a-:read", "a:read "];
        let more_bad = ["**:read", "a*:read", "a:b:read", "orders:READ", "orders read", "a:read\n", "ä:read"];
        cases.extend(
            bad.iter().chain(&more_bad).map(|scope| rejects(offer(custom(json!(["orders:read", scope]))), SCOPE)),
        );
    }
    cases
}
