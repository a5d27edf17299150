//! What the API server admits as an `ApiKey` or an `Account`, and what it tells those whom it refuses.
//!
//! One table of cases for the CEL rules, asked twice: of the rules alone, which needs no cluster, and of a real API
//! server. The bounds of the schema itself only the API server knows to enforce.

#![allow(clippy::unwrap_used, clippy::panic, clippy::needless_pass_by_value)]

#[path = "support/mod.rs"]
mod support;

use std::collections::BTreeMap;

use axum::http::Request;
use keywright::api::{Account, ApiKey, crd_files};
use kube::Client;
use kube::client::Body;
use kube_cel::{ValidationError, Validator};
use serde::Deserialize;
use serde_json::{Value, json};
use support::Result;
use support::cluster::Cluster;

/// A spec that somebody offers, in place of an earlier one if there is one.
#[derive(Debug)]
struct Offer {
    kind: &'static str,
    before: Option<Value>,
    spec: Value,
}

/// An offer, and if it is refused, what the message has to say.
#[derive(Debug)]
struct Case {
    offer: Offer,
    refusal: Option<&'static str>,
}

fn accepts(offer: Offer) -> Case {
    Case { offer, refusal: None }
}

fn rejects(offer: Offer, because: &'static str) -> Case {
    Case { offer, refusal: Some(because) }
}

impl Offer {
    /// The least that a kind needs, and on top of it what is given.
    fn new(kind: &'static str, given: Value) -> Self {
        let mut spec = json!({"accessLevel": "Full"});
        if kind == "ApiKey" {
            spec["account"] = "acme".into();
        }
        spec.as_object_mut().unwrap().extend(given.as_object().unwrap().clone());
        Self { kind, before: None, spec }
    }

    /// The same as a change of an object that was made with `before`.
    fn after(mut self, before: Value) -> Self {
        self.before = Some(Self::new(self.kind, before).spec);
        self
    }

    fn without(mut self, field: &str) -> Self {
        self.spec.as_object_mut().unwrap().remove(field);
        self
    }
}

fn key(given: Value) -> Offer {
    Offer::new("ApiKey", given)
}

fn account(given: Value) -> Offer {
    Offer::new("Account", given)
}

fn custom(scopes: Value) -> Value {
    json!({"accessLevel": "Custom", "scopes": scopes})
}

fn many_scopes(count: usize) -> Value {
    (0..count).map(|n| format!("orders-{n}:read")).collect()
}

fn scope_of_length(length: usize) -> String {
    format!("{}:read", "a".repeat(length - ":read".len()))
}

fn secret_named(name: &str) -> Value {
    json!({"secret": {"name": name}})
}

fn secret_with(items: &[(&str, &str)]) -> Value {
    json!({"secret": {"data": items.iter().copied().collect::<BTreeMap<_, _>>()}})
}

/// `value` under one name, `keyId` under all others.
fn secret_of_size(count: usize) -> Value {
    let names: Vec<_> = (0..count).map(|n| n.to_string()).collect();
    let item = |n| if n == 0 { "value" } else { "keyId" };
    secret_with(&names.iter().enumerate().map(|(n, name)| (name.as_str(), item(n))).collect::<Vec<_>>())
}

const SCOPES_WITH_CUSTOM: &str = "accessLevel Custom needs 1 to 64 scopes; ReadOnly and Full take none";
const SCOPES_DIFFER: &str = "scopes must differ from each other";
const ACCOUNT_STAYS: &str = "account cannot be changed: create a new key for the other account";
const SECRET_NAME_STAYS: &str = "secret.name cannot be changed: create a new key, or clone this one";
const SECRET_NAME_STAYS_SET: &str = "secret.name cannot be set or removed later: create a new key, or clone this one";
const VALUE_IS_NEEDED: &str = "one key of the Secret must hold `value`, or nobody could ever read it";
const SECRET_KEYS: &str = "keys of a Secret are made of letters, digits, `-`, `_` and `.`, at most 253 of them, and are neither `.` nor begin with `..`";

/// What CEL rules decide.
fn rules() -> Vec<Case> {
    let long_name = "a".repeat(253);
    let too_long_name = "a".repeat(254);
    let mut cases = vec![
        accepts(key(json!({"account": "acme", "disabled": true})).after(json!({"account": "acme"}))),
        rejects(key(json!({"account": "globex"})).after(json!({"account": "acme"})), ACCOUNT_STAYS),
        accepts(key(secret_named("a"))),
        accepts(key(secret_named("a")).after(secret_named("a"))),
        accepts(key(json!({"secret": {}})).after(json!({}))),
        accepts(key(json!({})).after(json!({"secret": {}}))),
        rejects(key(secret_named("b")).after(secret_named("a")), SECRET_NAME_STAYS),
        rejects(key(secret_named("a")).after(json!({})), SECRET_NAME_STAYS_SET),
        rejects(key(secret_named("a")).after(json!({"secret": {}})), SECRET_NAME_STAYS_SET),
        rejects(key(json!({})).after(secret_named("a")), SECRET_NAME_STAYS_SET),
        rejects(key(json!({"secret": {}})).after(secret_named("a")), SECRET_NAME_STAYS_SET),
        accepts(key(secret_with(&[("token", "value")]))),
        accepts(key(secret_with(&[("token", "value"), ("copy", "value"), ("id", "keyId")]))),
        accepts(key(secret_with(&[("token", "value")])).after(secret_with(&[("api-key", "value")]))),
        rejects(key(secret_with(&[("id", "keyId")])), VALUE_IS_NEEDED),
        rejects(key(secret_with(&[])), VALUE_IS_NEEDED),
        rejects(key(secret_with(&[("id", "keyId")])).after(secret_with(&[("token", "value")])), VALUE_IS_NEEDED),
        accepts(key(secret_with(&[("API_KEY.v1-a", "value")]))),
        accepts(key(secret_with(&[(&long_name, "value")]))),
        rejects(key(secret_with(&[(&too_long_name, "value")])), SECRET_KEYS),
        accepts(key(json!({"expiresAt": "9999-12-29T23:59:59Z"}))),
        rejects(
            key(json!({"expiresAt": "9999-12-31T23:59:59Z"})),
            "expiresAt must be before 9999-12-30; leave it out for a key that does not expire",
        ),
    ];
    cases.extend(
        ["a key", "a/b", "schlüssel", "", ".", "..", "..a"]
            .map(|bad| rejects(key(secret_with(&[(bad, "value")])), SECRET_KEYS)),
    );
    for offer in [key, account] {
        cases.extend([
            accepts(offer(json!({"accessLevel": "ReadOnly"}))),
            accepts(offer(json!({"accessLevel": "Full"}))),
            accepts(offer(custom(many_scopes(1)))),
            accepts(offer(custom(many_scopes(64)))),
            accepts(offer(custom(json!(["orders:read", "orders:write"])))),
            accepts(offer(custom(many_scopes(2))).after(json!({"accessLevel": "Full"}))),
            accepts(offer(json!({"accessLevel": "Full"})).after(custom(many_scopes(2)))),
            rejects(offer(json!({"accessLevel": "Custom"})), SCOPES_WITH_CUSTOM),
            rejects(offer(custom(json!([]))), SCOPES_WITH_CUSTOM),
            rejects(offer(json!({"accessLevel": "Full", "scopes": ["orders:read"]})), SCOPES_WITH_CUSTOM),
            rejects(offer(json!({"accessLevel": "ReadOnly", "scopes": ["orders:read"]})), SCOPES_WITH_CUSTOM),
            rejects(offer(json!({"accessLevel": "Custom"})).after(custom(many_scopes(1))), SCOPES_WITH_CUSTOM),
            rejects(offer(custom(json!(["orders:read", "orders:read"]))), SCOPES_DIFFER),
            rejects(offer(custom(json!(["a:*", "b:*", "a:*"]))).after(custom(json!(["a:*", "b:*"]))), SCOPES_DIFFER),
        ]);
    }
    cases
}

/// What the schema decides.
fn bounds() -> Vec<Case> {
    let mut cases = vec![
        accepts(key(json!({"account": "a".repeat(253)}))),
        rejects(key(json!({"account": "a".repeat(254)})), "spec.account: Too long"),
        rejects(key(json!({"account": ""})), "spec.account in body should be at least 1 chars long"),
        rejects(key(json!({"account": 7})), "spec.account in body must be of type string"),
        rejects(key(json!({})).without("account"), "spec.account: Required value"),
        rejects(key(json!({})).without("account").after(json!({})), "spec.account: Required value"),
        accepts(key(secret_named("a-1.b"))),
        accepts(key(secret_named(&"a".repeat(253)))),
        rejects(key(secret_named(&"a".repeat(254))), "spec.secret.name: Too long"),
        accepts(key(secret_of_size(8))),
        rejects(key(secret_of_size(9)), "spec.secret.data: Too many: 9: must have at most 8 items"),
        rejects(key(secret_with(&[])), "spec.secret.data in body should have at least 1 properties"),
        rejects(key(secret_with(&[("id", "siteKey"), ("a", "value")])), r#"supported values: "value", "keyId""#),
        accepts(key(json!({"expiresAt": "2099-01-01T00:00:00Z"}))),
        accepts(key(json!({"expiresAt": "2099-01-01T00:00:00.5+02:00"}))),
        rejects(key(json!({"secret": {"nmae": "a"}})), r#"unknown field "spec.secret.nmae""#),
    ];
    cases.extend(
        ["A", "-a", "a-", "a_b", "a/b", "", "a..b", "a.-b"]
            .map(|bad| rejects(key(secret_named(bad)), "spec.secret.name in")),
    );
    cases.extend(
        ["tomorrow", "2099-01-01", "2099-13-01T00:00:00Z", "2099-01-01T00:00:00", "90d", ""]
            .map(|bad| rejects(key(json!({"expiresAt": bad})), "spec.expiresAt in body must be of type date-time")),
    );
    // The API server's date-time admits these, and we could not read them back.
    cases.extend(
        ["2099-01-01T00:00:00+99:99", "2099-01-01T00:00:00x5Z", "2099-01-01T00:00:00.1234567890123Z"]
            .map(|bad| rejects(key(json!({"expiresAt": bad})), "spec.expiresAt in body should match")),
    );
    for offer in [key, account] {
        cases.extend([
            rejects(offer(json!({})).without("accessLevel"), "spec.accessLevel: Required value"),
            rejects(offer(json!({"accessLevel": "Admin"})), r#"supported values: "ReadOnly", "Full", "Custom""#),
            rejects(offer(json!({"accessLevel": "full"})), r#"Unsupported value: "full""#),
            rejects(offer(custom(many_scopes(65))), "spec.scopes: Too many: 65: must have at most 64 items"),
            rejects(offer(custom(json!([]))), "spec.scopes in body should have at least 1 items"),
            accepts(offer(custom(json!([scope_of_length(100)])))),
            rejects(offer(custom(json!([scope_of_length(101)]))), "spec.scopes[0]: Too long"),
            accepts(offer(json!({"displayName": "é".repeat(128)}))),
            rejects(offer(json!({"displayName": "é".repeat(129)})), "spec.displayName: Too long"),
            rejects(offer(json!({"displayName": ""})), "spec.displayName in body should be at least 1 chars long"),
            accepts(offer(json!({"displayName": "Storefront", "disabled": false}))),
            rejects(offer(json!({"disabled": "yes"})), "spec.disabled in body must be of type boolean"),
            rejects(offer(json!({"frobnicate": true})), r#"unknown field "spec.frobnicate""#),
            // A null is what everyone means by it: nothing.
            accepts(offer(json!({"accessLevel": "Full", "scopes": null, "displayName": null}))),
            rejects(offer(json!({"accessLevel": "Custom", "scopes": null})), SCOPES_WITH_CUSTOM),
        ]);
        let good = ["*:read", "*:write", "*:*", "a:*", "0:read", "a-b.c_d:write"];
        cases.extend(good.map(|scope| accepts(offer(custom(json!([scope]))))));
        let bad = ["", "orders", ":read", "orders:", "orders:delete", "Orders:read", "-a:read", "a-:read", "a:read "];
        let more_bad = ["**:read", "a*:read", "a:b:read", "orders:READ", "orders read", "a:read\n", "ä:read"];
        cases.extend(
            bad.iter().chain(&more_bad).map(|scope| {
                rejects(offer(custom(json!(["orders:read", scope]))), "spec.scopes[1] in body should match")
            }),
        );
    }
    cases
}

/// By kind.
fn schemas() -> BTreeMap<String, Value> {
    let schema = |yaml: &str| {
        let crd: Value = serde_yaml_ng::from_str(yaml).unwrap();
        crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone()
    };
    crd_files().unwrap().iter().map(|file| (file.kind.clone(), schema(&file.yaml))).collect()
}

fn object(kind: &str, name: &str, spec: &Value) -> Value {
    json!({"apiVersion": "keywright.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec})
}

/// What is wrong with an answer to a case: `Ok` is an admitted object, `Err` the messages of a refusal.
fn judge(case: &Case, answer: std::result::Result<Value, String>) -> Option<String> {
    let verdict = match (case.refusal, answer) {
        (None, Ok(admitted)) => unreadable(&admitted)?,
        (None, Err(messages)) => format!("refused: {messages}"),
        (Some(because), Err(messages)) if messages.contains(because) => return None,
        (Some(because), Err(messages)) => format!("refused, but not with {because:?}: {messages}"),
        (Some(because), Ok(_)) => format!("admitted, though {because:?}"),
    };
    Some(format!("{:?}\n    {verdict}", case.offer))
}

/// What is admitted must be readable for us: an object that we cannot read is a key that is denied for no reason.
fn unreadable(admitted: &Value) -> Option<String> {
    let read = match admitted["kind"].as_str() {
        Some("ApiKey") => ApiKey::deserialize(admitted).map(drop),
        _ => Account::deserialize(admitted).map(drop),
    };
    read.err().map(|error| format!("admitted, but unreadable: {error}"))
}

fn assert_nothing_wrong(wrong: &[String]) {
    assert!(wrong.is_empty(), "{} cases went wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn the_rules_alone_admit_what_is_sound_and_refuse_the_rest_for_one_reason_each() {
    let schemas = schemas();
    let validator = Validator::new();
    let ask = |case: &Case| {
        let Offer { kind, before, spec } = &case.offer;
        let object_of = |spec| object(kind, "case", spec);
        let new = object_of(spec);
        let refusals = match validator.validate(&schemas[*kind], &new, before.as_ref().map(object_of).as_ref()) {
            Ok(()) => Vec::new(),
            Err(refusals) => refusals.into_vec(),
        };
        match refusals.as_slice() {
            [] => judge(case, Ok(new)),
            [ValidationError { message, .. }] => judge(case, Err(message.clone())),
            several => Some(format!("{:?}\n    refused for several reasons: {several:?}", case.offer)),
        }
    };
    assert_nothing_wrong(&rules().iter().filter_map(ask).collect::<Vec<_>>());
}

#[test]
fn every_rule_refuses_something_in_the_table() {
    fn messages(schema: &Value, found: &mut Vec<String>) {
        match schema {
            Value::Object(map) => {
                let own = map.get("x-kubernetes-validations").and_then(Value::as_array);
                found.extend(own.into_iter().flatten().map(|rule| rule["message"].as_str().unwrap().to_owned()));
                map.values().for_each(|child| messages(child, found));
            }
            Value::Array(items) => items.iter().for_each(|child| messages(child, found)),
            _ => {}
        }
    }
    let cases = rules();
    for (kind, schema) in schemas() {
        let mut found = Vec::new();
        messages(&schema, &mut found);
        assert!(!found.is_empty(), "{kind} has rules");
        for message in found {
            let refuses = |case: &Case| case.offer.kind == kind && case.refusal == Some(message.as_str());
            assert!(cases.iter().any(refuses), "{kind}: no case for the rule {message:?}");
        }
    }
}

/// Offers it to the API server, strictly, as kubectl does.
async fn offer(client: &Client, namespace: &str, name: &str, offer: &Offer) -> Result<(u16, Value)> {
    let plural = if offer.kind == "ApiKey" { "apikeys" } else { "accounts" };
    let all = format!("/apis/keywright.dev/v1alpha1/namespaces/{namespace}/{plural}");
    let send = async |method: &str, path: &str, body: &Value| -> Result<(u16, Value)> {
        let request = Request::builder().method(method).uri(format!("{path}?fieldValidation=Strict"));
        let request = request.header("content-type", "application/json").body(serde_json::to_vec(body)?)?;
        let answer = client.send(request.map(Body::from)).await?;
        Ok((answer.status().as_u16(), serde_json::from_slice(&answer.into_body().collect_bytes().await?)?))
    };
    let Some(before) = &offer.before else {
        return send("POST", &all, &object(offer.kind, name, &offer.spec)).await;
    };
    let (status, mut made) = send("POST", &all, &object(offer.kind, name, before)).await?;
    assert_eq!(status, 201, "what is there before is sound: {made}");
    made["spec"] = offer.spec.clone();
    send("PUT", &format!("{all}/{name}"), &made).await
}

#[tokio::test]
async fn the_api_server_admits_what_is_sound_and_tells_the_others_what_to_do() {
    let cluster = Cluster::shared().await;
    let client = cluster.plane.client().await.unwrap();
    let namespace = cluster.namespace().await;
    let mut wrong = Vec::new();
    for (number, case) in rules().iter().chain(&bounds()).enumerate() {
        let (status, answer) = offer(&client, &namespace, &format!("case-{number}"), &case.offer).await.unwrap();
        let answer = match status {
            200 | 201 => Ok(answer),
            400 | 422 => Err(answer["message"].as_str().unwrap_or_default().to_owned()),
            _ => Err(format!("an answer that nobody expected: {status} {answer}")),
        };
        wrong.extend(judge(case, answer));
    }
    assert_nothing_wrong(&wrong);
}
