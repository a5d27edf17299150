//! What the API server admits as an `ApiKey`, an `Account` or a `Suspension`, and what it tells those whom it refuses.
//!
//! One table of cases for the CEL rules, asked twice: of the rules alone, which needs no cluster, and of a real API
//! server. The bounds of the schema itself only the API server knows to enforce.

#![allow(clippy::unwrap_used, clippy::panic, clippy::needless_pass_by_value)]

#[path = "admission/accounts.rs"]
mod accounts;
#[path = "admission/common.rs"]
mod common;
#[path = "admission/consequences.rs"]
mod consequences;
#[path = "admission/keys.rs"]
mod keys;
#[path = "admission/names.rs"]
mod names;
#[path = "admission/offer.rs"]
mod offer;
#[path = "admission/secrets.rs"]
mod secrets;
#[path = "support/mod.rs"]
mod support;
#[path = "admission/suspensions.rs"]
mod suspensions;

use std::collections::BTreeMap;

use axum::http::Request;
use keywright::api::{Account, ApiKey, Suspension, crd_files};
use keywright::key::is_key_prefix;
use kube::Client;
use kube::client::Body;
use kube_cel::{ValidationError, Validator};
use offer::{Case, Offer};
use serde::Deserialize;
use serde_json::{Value, json};
use support::Result;
use support::cluster::Cluster;
use support::eventually;
use tokio::sync::OnceCell;

/// What CEL rules decide.
fn rules() -> Vec<Case> {
    [common::rules(), keys::rules(), secrets::rules(), accounts::rules(), suspensions::rules()]
        .into_iter()
        .flatten()
        .collect()
}

/// What the schema decides.
fn bounds() -> Vec<Case> {
    [common::bounds(), keys::bounds(), secrets::bounds(), accounts::bounds(), suspensions::bounds()]
        .into_iter()
        .flatten()
        .collect()
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
    let verdict = match (case.refusal.as_deref(), answer) {
        (None, Ok(admitted)) => unreadable(&admitted)?,
        (None, Err(messages)) => format!("refused: {messages}"),
        (Some(because), Err(messages)) if messages.contains(because) => return None,
        (Some(because), Err(messages)) => format!("refused, but not with {because:?}: {messages}"),
        (Some(because), Ok(_)) => format!("admitted, though {because:?}"),
    };
    Some(format!("{:?}\n    {verdict}", case.offer))
}

/// What is admitted must be readable for us: an object that we cannot read is a key that is denied for no reason, and a
/// Suspension that we cannot read suspends nobody.
fn unreadable(admitted: &Value) -> Option<String> {
    let read = match admitted["kind"].as_str().unwrap() {
        "ApiKey" => ApiKey::deserialize(admitted).map(|key| key.spec.grant().err().map(|error| error.to_string())),
        "Account" => Account::deserialize(admitted).map(|account| {
            let ceiling = account.spec.ceiling().err().map(|error| error.to_string());
            let prefix = account.spec.prefix();
            ceiling.or_else(|| (!is_key_prefix(prefix.as_bytes())).then(|| format!("{prefix} begins no key")))
        }),
        "Suspension" => Suspension::deserialize(admitted).map(|_| None),
        other => panic!("{other} is no kind of ours"),
    };
    match read {
        Ok(problem) => problem.map(|problem| format!("admitted, but {problem}")),
        Err(error) => Some(format!("admitted, but unreadable: {error}")),
    }
}

fn assert_nothing_wrong(wrong: &[String]) {
    assert!(wrong.is_empty(), "{} cases went wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn the_rules_alone_admit_what_is_sound_and_refuse_the_rest_for_one_reason_each() {
    let schemas = schemas();
    let validator = Validator::new();
    let ask = |case: &Case| {
        let Offer { kind, name, before, spec } = &case.offer;
        let object_of = |spec| object(kind, name.as_deref().unwrap_or("case"), spec);
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
            let refuses = |case: &Case| case.offer.kind == kind && case.refusal.as_deref() == Some(message.as_str());
            assert!(cases.iter().any(refuses), "{kind}: no case for the rule {message:?}");
        }
    }
}

/// The objects of a kind in a namespace.
fn path(namespace: &str, kind: &str) -> String {
    format!("/apis/keywright.dev/v1alpha1/namespaces/{namespace}/{}s", kind.to_ascii_lowercase())
}

/// Sends it as kubectl does, strictly.
async fn send(client: &Client, method: &str, path: &str, body: &Value) -> Result<(u16, Value)> {
    let mark = if path.contains('?') { '&' } else { '?' };
    let request = Request::builder().method(method).uri(format!("{path}{mark}fieldValidation=Strict"));
    let request = request.header("content-type", "application/json").body(serde_json::to_vec(body)?)?;
    let answer = client.send(request.map(Body::from)).await?;
    Ok((answer.status().as_u16(), serde_json::from_slice(&answer.into_body().collect_bytes().await?)?))
}

/// `Ok` is an admitted object, `Err` the messages of a refusal.
async fn offer(client: &Client, namespace: &str, name: &str, offer: &Offer) -> std::result::Result<Value, String> {
    let all = path(namespace, offer.kind);
    let (status, answer) = match &offer.before {
        None => send(client, "POST", &all, &object(offer.kind, name, &offer.spec)).await,
        Some(before) => {
            let (status, mut made) = send(client, "POST", &all, &object(offer.kind, name, before)).await.unwrap();
            assert_eq!(status, 201, "what is there before is sound: {made}");
            made["spec"] = offer.spec.clone();
            send(client, "PUT", &format!("{all}/{name}"), &made).await
        }
    }
    .unwrap();
    match status {
        200 | 201 => Ok(answer),
        400 | 422 => Err(answer["message"].as_str().unwrap_or_default().to_owned()),
        _ => Err(format!("an answer that nobody expected: {status} {answer}")),
    }
}

/// Everything of the tables that is admitted, as the API server gives it back.
async fn admitted(client: &Client, namespace: &str) -> Vec<Value> {
    let mut all = Vec::new();
    for (number, case) in rules().iter().chain(&bounds()).enumerate() {
        if case.refusal.is_none() {
            all.extend(offer(client, namespace, &format!("case-{number}"), &case.offer).await);
        }
    }
    all
}

/// A cluster whose chart allows every template of a Secret that the resource itself allows.
async fn cluster() -> &'static Cluster {
    static OPEN: OnceCell<&Cluster> = OnceCell::const_new();
    OPEN.get_or_init(async || {
        let cluster = Cluster::shared().await;
        let anything = r#"deliveredSecrets={"labels":["*"],"annotations":["*"],"names":".","refusedNames":[]}"#;
        cluster.install_chart_with(&["--set-json", anything]).unwrap();
        let client = cluster.plane.client().await.unwrap();
        let spec = json!({"account": "acme", "accessLevel": "Full",
            "secret": {"name": "a.b", "labels": {"a": "b"}, "annotations": {"a": "b"}}});
        let path = format!("{}?dryRun=All", path("default", "ApiKey"));
        eventually("the chart allows everything", async || {
            match send(&client, "POST", &path, &object("ApiKey", "a", &spec)).await.unwrap() {
                (201, _) => Ok(()),
                (_, answer) => Err(answer),
            }
        })
        .await;
        cluster
    })
    .await
}

#[tokio::test]
async fn the_api_server_admits_what_is_sound_and_tells_the_others_what_to_do() {
    let cluster = cluster().await;
    let client = cluster.plane.client().await.unwrap();
    let namespace = cluster.namespace().await;
    let mut wrong = Vec::new();
    for (number, case) in rules().iter().chain(&bounds()).enumerate() {
        let name = case.offer.name.clone().unwrap_or_else(|| format!("case-{number}"));
        wrong.extend(judge(case, offer(&client, &namespace, &name, &case.offer).await));
    }
    assert_nothing_wrong(&wrong);
}
