//! `spec.secret` of an `ApiKey`: the template of the Secret that is delivered.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::offer::{Case, Offer, accepts, key, long_names, no_durations, pair, pairs, range, rejects, stays};

const NAME_STAYS: &str = "secret.name cannot be changed: create a new key, or clone this one";
const NAME_STAYS_SET: &str = "secret.name cannot be set or removed later: create a new key, or clone this one";
const VALUE_IS_NEEDED: &str = "one key of the Secret must hold `value`, or nobody could ever read it";
const DATA_KEYS: &str = "keys of a Secret are made of letters, digits, `-`, `_` and `.`, at most 253 of them, and are neither `.` nor begin with `..`";
const ONLY_ONCE: &str = "secret.deleteAfter goes only with delivery: Once";
const DELETE_AFTER: &str = "secret.deleteAfter must be 1s to 8760h (1 year), in hours, minutes and seconds such as 24h, 90m or 30s; a day is 24h";
const LABEL_KEYS: &str = "keys of secret.labels are [<domain>/]<name>, and neither keywright.dev/ nor app.kubernetes.io/managed-by, which are Keywright's own";
const ANNOTATION_KEYS: &str = "keys of secret.annotations are [<domain>/]<name>, and neither keywright.dev/ nor app.kubernetes.io/managed-by, which are Keywright's own";

fn with(template: Value) -> Offer {
    key(json!({"secret": template}))
}

fn named(name: &str) -> Value {
    json!({"secret": {"name": name}})
}

fn with_data(items: &[(&str, &str)]) -> Offer {
    with(json!({"data": items.iter().copied().collect::<BTreeMap<_, _>>()}))
}

fn deleted_after(text: Value) -> Offer {
    with(json!({"delivery": "Once", "deleteAfter": text}))
}

/// `value` under one name, `keyId` under all others.
fn data_of_size(count: usize) -> Value {
    (0..count).map(|n| (n.to_string(), json!(if n == 0 { "value" } else { "keyId" }))).collect()
}

/// As long as it may be.
fn longest_domain() -> String {
    ["a".repeat(63), "b".repeat(63), "c".repeat(61)].join(".")
}

/// Every field at once, each as large as it may be.
pub fn longest_secret() -> Value {
    let keys = || long_names(8, 63).map(|name| format!("{}/{name}", longest_domain()));
    let labels: BTreeMap<_, _> = keys().map(|key| (key, "v".repeat(63))).collect();
    let annotations: BTreeMap<_, _> = keys().map(|key| (key, "é".repeat(1024))).collect();
    let data: BTreeMap<_, _> = long_names(8, 253).map(|name| (name, "value")).collect();
    json!({
        "name": "a".repeat(253),
        "delivery": "Once",
        "deleteAfter": "00001h00001m00001s",
        "data": data,
        "labels": labels,
        "annotations": annotations,
    })
}

/// What CEL rules decide.
pub fn rules() -> Vec<Case> {
    let (long, too_long) = ("a".repeat(253), "a".repeat(254));
    let mut cases = vec![
        accepts(with(json!({})).after(json!({}))),
        accepts(key(json!({})).after(json!({"secret": {}}))),
        rejects(key(named("a")).after(json!({"secret": {}})), NAME_STAYS_SET),
        rejects(with(json!({})).after(named("a")), NAME_STAYS_SET),
        accepts(with_data(&[("token", "value")])),
        accepts(with_data(&[("token", "value"), ("copy", "value"), ("id", "keyId"), ("site", "siteId")])),
        accepts(with_data(&[("token", "value")]).after(json!({"secret": {"data": {"api-key": "value"}}}))),
        rejects(with_data(&[("id", "keyId"), ("site", "siteId")]), VALUE_IS_NEEDED),
        rejects(with_data(&[]), VALUE_IS_NEEDED),
        rejects(with_data(&[("id", "keyId")]).after(json!({"secret": {"data": {"token": "value"}}})), VALUE_IS_NEEDED),
        accepts(with_data(&[("API_KEY.v1-a", "value")])),
        accepts(with_data(&[(&long, "value")])),
        rejects(with_data(&[(&too_long, "value")]), DATA_KEYS),
        accepts(with(json!({"delivery": "Mounted"}))),
        accepts(with(json!({"delivery": "Once"}))),
        accepts(with(json!({"delivery": "Once"})).after(json!({"secret": {"delivery": "Mounted"}}))),
        rejects(with(json!({"deleteAfter": "1h"})), ONLY_ONCE),
        rejects(with(json!({"delivery": "Mounted", "deleteAfter": "1h"})), ONLY_ONCE),
        rejects(
            with(json!({"delivery": "Mounted", "deleteAfter": "1h"}))
                .after(json!({"secret": {"delivery": "Once", "deleteAfter": "1h"}})),
            ONLY_ONCE,
        ),
    ];
    cases.extend(stays(key, &named("a"), &named("b"), NAME_STAYS, NAME_STAYS_SET));
    cases.extend(
        ["a key", "a/b", "schlüssel", "", ".", "..", "..a", "a\n"]
            .map(|bad| rejects(with_data(&[(bad, "value")]), DATA_KEYS)),
    );
    cases.extend(range(
        &deleted_after,
        &["1s", "59m60s", "1h30m", "8760h"],
        &["0s", "0h0m0s", "8760h1s", "99999h99999h99999h"],
        DELETE_AFTER,
    ));
    for (field, because) in [("labels", LABEL_KEYS), ("annotations", ANNOTATION_KEYS)] {
        let with_key = |key: &str| with(json!({field: pair(key, "x")}));
        let good = [
            "team",
            "A_b.c-1",
            "example.com/team",
            "a/b",
            "keywright.dev",
            "keywright.device/a",
            "my.keywright.dev/a",
            "app.kubernetes.io/name",
        ];
        cases.extend(good.iter().map(|key| accepts(with_key(key))));
        cases.push(accepts(with_key(&"a".repeat(63))));
        cases.push(accepts(with_key(&format!("{}/{}", longest_domain(), "a".repeat(63)))));
        let ours = ["keywright.dev/serial", "keywright.dev/anything", "app.kubernetes.io/managed-by"];
        let bad =
            ["", "/", "a/", "/a", "a/b/c", "-a", "a-", "a b", "ä", "a\n", "Example.com/a", "a_b/c", "a..b/c", "-a/b"];
        cases.extend(ours.iter().chain(&bad).map(|key| rejects(with_key(key), because)));
        cases.push(rejects(with_key(&"a".repeat(64)), because));
        cases.push(rejects(with_key(&format!("{}a/{}", longest_domain(), "a".repeat(63))), because));
        cases.push(rejects(with_key("keywright.dev/serial").after(json!({"secret": {field: {"a": "b"}}})), because));
    }
    cases
}

/// What the schema decides.
pub fn bounds() -> Vec<Case> {
    let mut cases = vec![
        accepts(key(named("a-1.b"))),
        accepts(key(named(&"a".repeat(253)))),
        rejects(key(named(&"a".repeat(254))), "spec.secret.name: Too long"),
        rejects(with(json!({"name": null})).after(named("a")), NAME_STAYS_SET),
        accepts(with(json!({"data": data_of_size(8)}))),
        rejects(with(json!({"data": data_of_size(9)})), "spec.secret.data: Too many: 9: must have at most 8 items"),
        rejects(with_data(&[]), "spec.secret.data in body should have at least 1 properties"),
        rejects(with_data(&[("id", "siteKey"), ("a", "value")]), r#"supported values: "value", "keyId", "siteId""#),
        rejects(with(json!({"nmae": "a"})), r#"unknown field "spec.secret.nmae""#),
        rejects(with(json!({"type": "Opaque"})), r#"unknown field "spec.secret.type""#),
        rejects(with(json!({"delivery": "once"})), r#"supported values: "Mounted", "Once""#),
        rejects(with(json!({"delivery": null, "deleteAfter": "1h"})), ONLY_ONCE),
        accepts(with(json!({"labels": null, "annotations": null, "data": null}))),
        accepts(with(json!({"labels": {"a": null}, "annotations": {"a": null}}))),
        accepts(with(json!({"labels": pairs(8, "")}))),
        rejects(with(json!({"labels": pairs(9, "x")})), "spec.secret.labels: Too many: 9"),
        accepts(with(json!({"labels": {"a": "x".repeat(63), "b": "A-1_b.c"}}))),
        rejects(with(json!({"labels": {"a": "x".repeat(64)}})), "spec.secret.labels.a: Too long"),
        rejects(with(json!({"labels": {"a": true}})), "spec.secret.labels.a in body must be of type string"),
        accepts(with(json!({"annotations": pairs(8, "any text, ümlauts\nand lines")}))),
        rejects(with(json!({"annotations": pairs(9, "x")})), "spec.secret.annotations: Too many: 9"),
        rejects(with(json!({"annotations": {"a": "x".repeat(1025)}})), "spec.secret.annotations.a: Too long"),
    ];
    cases.extend(
        ["A", "-a", "a-", "a_b", "a/b", "", "a..b", "a.-b"].map(|bad| rejects(key(named(bad)), "spec.secret.name in")),
    );
    cases.extend(
        ["-a", "a-", "a b", "a/b", "ä", "a\n", "."]
            .map(|bad| rejects(with(json!({"labels": {"a": bad}})), "spec.secret.labels.a in body should match")),
    );
    cases.extend(no_durations(&deleted_after, "spec.secret.deleteAfter"));
    cases
}
