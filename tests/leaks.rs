//! Plaintext stands in the clear in one place. A whole run at the most talkative log level, and then a search for every
//! value of it everywhere else.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/mod.rs"]
mod support;

use std::collections::BTreeSet;
use std::fs;

use data_encoding::{BASE64, BASE64URL_NOPAD, HEXLOWER};
use k8s_openapi::api::core::v1::Secret;
use keywright::api::Suspension;
use kube::api::{DeleteParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use support::cluster::Cluster;
use support::eventually;
use support::http;
use support::keywright::Running;
use support::space::Space;

/// What a value looks like where it leaks.
struct Needle {
    what: String,
    form: &'static str,
    text: String,
}

/// Every form of a key's value that a program might write down without meaning to.
fn needles(name: &str, value: &str) -> Vec<Needle> {
    let secret = &value[16..59];
    let needle = |form, text| Needle { what: name.to_owned(), form, text };
    let mut all = vec![
        needle("plaintext", value.to_owned()),
        needle("secret part", secret.to_owned()),
        needle("base64 of the plaintext", BASE64.encode(value.as_bytes())),
        needle("hexadecimal", HEXLOWER.encode(secret.as_bytes())),
        // `{:?}` of bytes.
        needle("a list of bytes", format!("{:?}", secret.as_bytes()).trim_matches(['[', ']']).to_owned()),
        needle(
            "a list of bytes as JSON",
            serde_json::to_string(secret.as_bytes()).unwrap().trim_matches(['[', ']']).to_owned(),
        ),
    ];
    // Inside something longer that is encoded as a whole; what the neighbours change is cut off at both ends.
    for before in 0..3 {
        let padded = [&b"---"[..before], secret.as_bytes()].concat();
        let encoded = BASE64URL_NOPAD.encode(&padded);
        let inner = encoded[before + 1..encoded.len() - 2].to_owned();
        all.push(needle("base64 inside of something", inner));
    }
    all
}

/// What is found of the needles in a text, or in what is base64 in it when it is JSON.
fn found(needles: &[Needle], text: &str) -> Vec<String> {
    let hit = |needle: &&Needle| text.contains(&needle.text);
    needles.iter().filter(hit).map(|needle| format!("{} of {}", needle.form, needle.what)).collect()
}

/// Every string in it, decoded where it is base64.
fn decoded(json: &Value) -> Vec<String> {
    match json {
        Value::String(text) => {
            BASE64.decode(text.as_bytes()).iter().map(|bytes| String::from_utf8_lossy(bytes).into_owned()).collect()
        }
        Value::Array(items) => items.iter().flat_map(decoded).collect(),
        Value::Object(fields) => fields.values().flat_map(decoded).collect(),
        _ => Vec::new(),
    }
}

fn found_in_object(needles: &[Needle], object: &Value) -> Vec<String> {
    let texts = decoded(object).into_iter().chain([object.to_string()]);
    texts.flat_map(|text| found(needles, &text)).collect()
}

/// Every object of every kind that the API server keeps, with managedFields.
fn everything(cluster: &Cluster) -> Vec<Value> {
    let kinds = cluster.plane.kubectl(&["api-resources", "--verbs=list", "-o", "name"]).unwrap();
    let kinds: Vec<&str> = kinds.split_whitespace().filter(|kind| !kind.starts_with("componentstatuses")).collect();
    let args = ["get", &kinds.join(","), "--all-namespaces", "--show-managed-fields", "-o", "json"];
    let list: Value = serde_json::from_str(&cluster.plane.kubectl(&args).unwrap()).unwrap();
    list["items"].as_array().unwrap().clone()
}

fn kind_and_name(object: &Value) -> String {
    let metadata = &object["metadata"];
    format!("{} {}/{}", object["kind"], metadata["namespace"], metadata["name"])
}

/// Uses a key in every way, right and wrong; the answers.
async fn call(verifier: &Running, key: &str) -> Vec<http::Answer> {
    let mistyped = format!("{}{}", &key[..key.len() - 1], if key.ends_with('a') { 'b' } else { 'a' });
    let bearer = format!("Bearer {key}");
    let mut answers = Vec::new();
    for query in ["scope=orders:read", "scope=any&account=other/acme", "", &format!("scope=any&api_key={key}")] {
        answers.push(verifier.auth(query, &[("Authorization", &bearer)]).await);
    }
    for headers in [
        &[("X-API-Key", key)][..],
        &[("X-API-Key", &mistyped)],
        &[("Authorization", key)],
        &[("Authorization", &bearer), ("X-API-Key", key)],
        &[("Cookie", key), ("User-Agent", key), ("Referer", key)],
    ] {
        answers.push(verifier.auth("scope=orders:write", headers).await);
    }
    for body in [
        json!({"key": key}).to_string(),
        json!({"key": key, "scope": "orders:write"}).to_string(),
        json!({"key": mistyped}).to_string(),
        json!({"key": [key]}).to_string(),
        json!({key: "key"}).to_string(),
        format!("{{\"key\": \"{key}"),
    ] {
        answers.push(http::post(&verifier.address, "/v1/verify", &body).await.unwrap());
    }
    answers.push(http::get(&verifier.address, &format!("/{key}?{key}"), &[]).await.unwrap());
    answers
}

/// Keys through all that can befall one; every value, by a name for it.
async fn whole_run(space: &Space, verifier: &Running) -> (Vec<(String, String)>, Vec<http::Answer>) {
    let mut values = Vec::new();
    let mut answers = Vec::new();
    for name in ["full", "disabled", "deleted", "expired"] {
        values.push((name.to_owned(), space.ready_key(name).await));
    }
    // This one is minted and cannot be delivered before the other Secret is out of its way.
    let foreign: Secret = serde_json::from_value(json!({"metadata": {"name": "late"}})).unwrap();
    space.secrets().create(&PostParams::default(), &foreign).await.unwrap();
    space.key("late", json!({"account": "acme", "accessLevel": "Custom", "scopes": ["orders:read"]})).await;
    space.until_ready_is("late", "SecretConflict").await;
    space.secrets().delete("late", &DeleteParams::default()).await.unwrap();
    space.until_ready_is("late", "Issued").await;
    values.push(("late".to_owned(), space.value("late", "api-key").await));
    for (_, value) in &values {
        verifier.eventually_says("ok", "scope=orders:read", value).await;
        answers.extend(call(verifier, value).await);
    }

    space.patch_key("disabled", json!({"spec": {"disabled": true}})).await;
    space.patch_key("expired", json!({"spec": {"expiresAt": "2020-01-01T00:00:00Z"}})).await;
    space.keys().delete("deleted", &DeleteParams::default()).await.unwrap();
    eventually("the deleted key's Secret is collected", async || {
        match space.secrets().get_opt("deleted").await.map_err(|e| e.to_string())? {
            None => Ok(()),
            Some(_) => Err("it is there".to_owned()),
        }
    })
    .await;
    let again = space.ready_key("deleted").await;
    verifier.eventually_says("ok", "scope=any", &again).await;
    for (at, code) in [(1, "disabled"), (2, "unknown"), (3, "expired")] {
        verifier.eventually_says(code, "scope=any", &values[at].1).await;
    }
    values.push(("deleted, again".to_owned(), again));
    values.extend(later_life(space, verifier).await);
    for (_, value) in &values {
        answers.extend(call(verifier, value).await);
    }
    (values, answers)
}

/// A rotation, a clone, a value that is shown once, a suspension.
async fn later_life(space: &Space, verifier: &Running) -> Vec<(String, String)> {
    space.patch_key("full", json!({"spec": {"rotation": {"revision": 1}}})).await;
    space.key("copy", json!({"account": "acme", "cloneFrom": {"name": "late"}})).await;
    let shown =
        json!({"delivery": "Once", "deleteAfter": "2s", "annotations": {"app.kubernetes.io/component": "shown once"}});
    space.key("shown", json!({"account": "acme", "accessLevel": "Full", "secret": shown})).await;
    space.until_ready_is("shown", "Issued").await;
    let mut values = vec![("shown".to_owned(), space.value("shown", "api-key").await)];
    space.until("shown", "SecretAvailable", "Revealed").await;
    space.until_ready_is("copy", "Issued").await;
    values.push(("copy".to_owned(), space.value("copy", "api-key").await));
    eventually("the rotation is delivered", async || {
        let key = space.keys().get("full").await.map_err(|e| e.to_string())?;
        let serials: Vec<i64> = key.status.iter().flat_map(|s| &s.credentials).map(|c| c.serial).collect();
        let is_retiring = key.status.iter().flat_map(|s| &s.credentials).any(|c| c.retires_at.is_some());
        if serials == [2, 1] && is_retiring { Ok(()) } else { Err(format!("{serials:?}")) }
    })
    .await;
    values.push(("full, rotated".to_owned(), space.value("full", "api-key").await));
    let suspension = json!({
        "apiVersion": "keywright.dev/v1alpha1", "kind": "Suspension", "metadata": {"name": "late"},
        "spec": {"target": {"kind": "ApiKey", "name": "late"}, "reason": "Abuse"},
    });
    let suspensions = Api::<Suspension>::namespaced(space.client.clone(), &space.name);
    suspensions.create(&PostParams::default(), &serde_json::from_value(suspension).unwrap()).await.unwrap();
    space.until_state_is("late", "Suspended").await;
    for (_, value) in &values {
        verifier.eventually_says("ok", "scope=orders:read", value).await;
    }
    values
}

#[tokio::test]
async fn no_value_of_a_whole_run_is_anywhere_but_in_its_secret() {
    let cluster = Cluster::shared().await;
    cluster.plane.with_controller_manager().unwrap();
    let operator = Running::operator(cluster, &["--log=trace"]).await.unwrap().ready().await;
    let verifier = Running::verifier(cluster, &["--log=trace"]).await.unwrap().ready().await;
    let space = Space::new(cluster).await;
    let (values, answers) = whole_run(&space, &verifier).await;
    assert_eq!(values.iter().map(|(_, value)| value).collect::<BTreeSet<_>>().len(), 9, "nine values, each its own");
    let needles: Vec<Needle> = values.iter().flat_map(|(name, value)| needles(name, value)).collect();

    // The search finds what is there to be found, in every form.
    let secret = space.secrets().get("disabled").await.unwrap();
    let as_json = found_in_object(&needles, &serde_json::to_value(&secret).unwrap());
    for form in ["plaintext", "secret part", "base64 of the plaintext", "base64 inside of something"] {
        assert!(as_json.contains(&format!("{form} of disabled")), "{form}: {as_json:?}");
    }
    let as_debug = found(&needles, &format!("{secret:?}"));
    assert!(as_debug.contains(&"a list of bytes of disabled".to_owned()), "{as_debug:?}");

    let mut leaks = Vec::new();
    let mut search = |place: &str, hits: Vec<String>| leaks.extend(hits.iter().map(|hit| format!("{place}: {hit}")));

    let objects = everything(cluster);
    let delivered = |object: &Value| {
        // The chart's canary is of that type, and holds no value.
        let is_canary = object["metadata"]["name"] == "keywright-canary-delivered";
        object["kind"] == "Secret" && object["type"] == "keywright.dev/api-key" && !is_canary
    };
    for mut object in objects.clone() {
        if delivered(&object) {
            // Around the value, nothing may repeat it.
            object.as_object_mut().unwrap().remove("data");
        }
        search(&kind_and_name(&object), found_in_object(&needles, &object));
    }
    for log in fs::read_dir(cluster.plane.dir.join("logs")).unwrap() {
        let log = log.unwrap().path();
        let text = String::from_utf8_lossy(&fs::read(&log).unwrap()).into_owned();
        search(&log.display().to_string(), found(&needles, &text));
    }
    for running in [&operator, &verifier] {
        let name = &running.process.name;
        search(
            &format!("{name} /metrics"),
            found(&needles, &http::get(&running.admin, "/metrics", &[]).await.unwrap().body),
        );
    }
    for answer in &answers {
        search("an answer", found(&needles, &format!("{answer:?}")));
    }
    assert!(leaks.is_empty(), "{leaks:#?}");

    // What was searched is what was meant to be.
    let count = |kind: &str| objects.iter().filter(|object| object["kind"] == kind).count();
    assert!(objects.iter().filter(|object| delivered(object)).count() == 6, "six Secrets are there");
    assert!(count("ApiKey") == 7 && count("Account") == 1 && count("Event") > 5, "keys, account and events");
    let entries = objects.iter().filter(|object| object["type"] == "keywright.dev/entry");
    assert_eq!(entries.count(), 8, "the deleted key's entry is still kept");
    assert!(objects.iter().any(|object| !object["metadata"]["managedFields"].is_null()), "managedFields are shown");
    for running in [&operator, &verifier] {
        let log = fs::read_to_string(&running.log).unwrap();
        assert!(log.contains(" TRACE ") && log.contains("kube_client") && log.contains("hyper"), "{:?}", running.log);
    }
    let audit = secret.name_any();
    assert!(fs::read_to_string(&operator.log).unwrap().contains(&audit), "the operator spoke of {audit}");
}
