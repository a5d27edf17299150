//! What a verifier answers to Envoy over gRPC, asked as Envoy asks and as nobody should.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "ext_authz/client.rs"]
mod client;
#[path = "ext_authz/headers.rs"]
mod headers;
#[path = "ext_authz/messages.rs"]
mod messages;
#[path = "ext_authz/ready.rs"]
mod ready;
#[path = "support/mod.rs"]
mod support;

use std::collections::HashMap;

use client::{Answer, Client, Keywright, ask, bearer, client, http, keywright, request, with_http};
use envoy_types::ext_authz::v3::pb::CheckRequest;
use envoy_types::pb::envoy::service::auth::v3::AttributeContext;
use envoy_types::pb::envoy::service::auth::v3::attribute_context::Request;
use futures::future::join_all;
use serde_json::{Value, json};
use tonic::Code as Rpc;

/// A question as a route's extensions, or the headers of a client.
type Pairs<'p> = &'p [(&'p str, &'p str)];

const ANY: Pairs<'_> = &[("scope", "any")];
const PUBLIC: Pairs<'_> = &[("scope", "public")];
const REALM: &str = "Bearer realm=\"keywright\"";

fn identity(answer: &Answer) -> Vec<&str> {
    answer.names().into_iter().filter(|name| *name != "x-keywright-code").collect()
}

#[tokio::test]
async fn the_code_of_the_answer_is_for_the_gateway_alone() {
    let Keywright { full, site, .. } = keywright().await;
    for (question, key) in [(ANY, full), (PUBLIC, site)] {
        let answer = ask(&client().await, request(question, "GET", &[("x-api-key", key)])).await;
        assert_eq!((answer.status, answer.header("x-keywright-code")), (200, None));
    }
}

#[tokio::test]
async fn the_upstream_and_the_gateway_are_told_who_calls() {
    let Keywright { namespace, full, site, .. } = keywright().await;
    let client = client().await;
    let account = keywright().await.account();
    let question = [("scope", "orders:write"), ("account", account.as_str()), ("metadata", "true")];
    let answer = ask(&client, request(&question, "GET", &[("authorization", &bearer(full))])).await;
    assert_eq!((answer.status, answer.rpc), (200, Rpc::Ok as i32));
    let id = &full[3..15];
    let key = format!("{namespace}/full");
    let expected = [
        ("x-keywright-account", account.as_str()),
        ("x-keywright-key", &key),
        ("x-keywright-key-id", id),
        ("x-keywright-meta-plan", "gold"),
        ("x-keywright-meta-region", "eu"),
        ("x-keywright-meta-team", "billing"),
        ("x-keywright-scopes", "*:*"),
        ("x-keywright-site-id", site),
    ];
    for (name, value) in expected {
        assert_eq!(answer.header(name), Some(value), "{name}");
    }
    assert_eq!(identity(&answer), expected.map(|(name, _)| name), "and nothing else");
    assert_eq!(answer.remove, [""; 0]);
    let caller = json!({"account": account, "key": key, "keyId": id, "scopes": ["*:*"], "siteId": site,
        "metadata": {"plan": "gold", "region": "eu", "team": "billing"}});
    assert_eq!(answer.caller, caller);
    assert!(!format!("{answer:?}").contains(full.as_str()), "the key is not repeated");

    let answer = ask(&client, request(ANY, "GET", &[("authorization", &bearer(full))])).await;
    assert!(answer.names().iter().all(|name| !name.contains("meta")), "only who asks for metadata is sent it");
    assert_eq!(answer.caller, caller, "the gateway always has it");
}

#[tokio::test]
async fn the_scopes_that_are_told_are_those_of_the_key() {
    let reader = &keywright().await.reader;
    let request = request(&[("scope", "orders:read")], "POST", &[("x-api-key", reader)]);
    let answer = ask(&client().await, request).await;
    assert_eq!(answer.header("x-keywright-scopes"), Some("orders:read"));
    assert_eq!(answer.caller["scopes"], json!(["orders:read"]));
}

#[tokio::test]
async fn a_refusal_is_an_http_response_with_status_problem_and_challenge() {
    type Case<'c> = (Pairs<'c>, Option<&'c str>, i32, &'c str, Option<&'c str>);

    let Keywright { full, reader, off, other, .. } = keywright().await;
    let client = client().await;
    let account = keywright().await.account();
    let minted = keywright::key::Plaintext::mint("kw").unwrap();
    let invalid = format!("{REALM}, error=\"invalid_token\"");
    let insufficient = format!("{REALM}, error=\"insufficient_scope\", scope=\"orders:write\"");
    let ours = [("scope", "any"), ("account", account.as_str())];
    let cases: [Case<'_>; 7] = [
        (ANY, None, 401, "missing", Some(REALM)),
        (ANY, Some("nonsense"), 401, "malformed", Some(&invalid)),
        (ANY, Some(minted.expose()), 401, "unknown", Some(&invalid)),
        (ANY, Some(off), 401, "disabled", Some(&invalid)),
        (&[("scope", "orders:write")], Some(reader), 403, "insufficient_scope", Some(&insufficient)),
        (&ours, Some(other), 403, "wrong_account", None),
        (&[], Some(full), 403, "bad_route", None),
    ];
    for (question, key, status, code, challenge) in cases {
        let rpc = if status == 401 { Rpc::Unauthenticated } else { Rpc::PermissionDenied };
        let headers: Vec<_> = key.into_iter().map(|key| ("x-api-key", key)).collect();
        let answer = ask(&client, request(question, "GET", &headers)).await;
        assert_eq!((answer.status, answer.rpc, answer.code()), (status, rpc as i32, code), "{answer:?}");
        assert_eq!(answer.header("www-authenticate"), challenge, "{code}");
        assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{code}");
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{code}");
        let body: Value = serde_json::from_str(&answer.body).unwrap();
        assert_eq!(body["type"], format!("https://keywright.dev/problems/{code}"));
        assert_eq!((&body["status"], &body["code"]), (&json!(status), &json!(code)));
        assert!(body["title"].as_str().is_some() && body["detail"].as_str().is_some(), "{body}");
        assert_eq!(answer.caller, Value::Null, "{code}: nobody is named");
        let tells = |name: &&str| name.starts_with("x-keywright-") && *name != "x-keywright-code";
        assert_eq!(answer.names().into_iter().filter(tells).count(), 0, "{code}: nobody is named: {answer:?}");
        if let Some(key) = key.filter(|key| key.len() > 30) {
            assert!(!format!("{answer:?}").contains(key), "{code}: the key is not quoted");
        }
    }
}

#[tokio::test]
async fn a_route_without_a_question_that_is_understood_is_refused_whatever_the_key() {
    let full = &keywright().await.full;
    let client = client().await;
    let bearer = bearer(full);
    let of = |question: &[(&str, &str)]| request(question, "GET", &[("authorization", &bearer)]);
    let bare = |attributes: Option<AttributeContext>| CheckRequest { attributes };
    let extensions = HashMap::from([("scope".to_owned(), "any".to_owned())]);
    let no_request = AttributeContext { context_extensions: extensions.clone(), ..AttributeContext::default() };
    let no_http = AttributeContext { request: Some(Request::default()), ..no_request.clone() };
    for (what, request, says) in vec![
        ("no attributes", bare(None), "no HTTP attributes"),
        ("no request", bare(Some(no_request)), "no HTTP attributes"),
        ("no HTTP", bare(Some(no_http)), "no HTTP attributes"),
        ("no question", of(&[]), "asks nothing"),
        ("an account alone", of(&[("account", "shop/acme")]), "asks nothing"),
        ("a mistyped name", of(&[("scpoe", "any")]), "scpoe"),
        ("a name in another case", of(&[("Scope", "any")]), "Scope"),
        ("a name with a blank", of(&[("scope ", "any")]), "scope "),
        ("an unknown name beside a good one", of(&[("scope", "any"), ("tenant", "acme")]), "tenant"),
        ("a scope and a resource", of(&[("scope", "any"), ("resource", "orders")]), "twice"),
        ("an empty scope", of(&[("scope", "")]), "scope"),
        ("an empty resource", of(&[("resource", "")]), "scope"),
        ("a wildcard", of(&[("scope", "*:*")]), "scope"),
        ("a list of scopes", of(&[("scope", "orders:read,orders:write")]), "scope"),
        ("an account without namespace", of(&[("scope", "any"), ("account", "acme")]), "account"),
        ("one bad account of two", of(&[("scope", "any"), ("account", "shop/acme, acme")]), "account"),
        ("a flag that is none", of(&[("scope", "any"), ("strip-key", "yes")]), "strip-key"),
        ("a flag in another case", of(&[("scope", "any"), ("metadata", "True")]), "metadata"),
    ] {
        let answer = ask(&client, request).await;
        assert_eq!((answer.status, answer.code()), (403, "bad_route"), "{what}: {answer:?}");
        let body: Value = serde_json::from_str(&answer.body).unwrap();
        assert!(body["detail"].as_str().unwrap().contains(says), "{what}: {body}");
    }
}

#[tokio::test]
async fn an_account_list_that_is_empty_does_not_accept_every_account() {
    let full = &keywright().await.full;
    for list in ["", " ", ",", " , "] {
        let question = [("scope", "any"), ("account", list)];
        let answer = ask(&client().await, request(&question, "GET", &[("x-api-key", full)])).await;
        assert_eq!((answer.status, answer.code()), (403, "bad_route"), "{list:?}: {answer:?}");
    }
}

#[tokio::test]
async fn an_account_list_accepts_those_that_it_names() {
    let Keywright { namespace, full, other, .. } = keywright().await;
    let client = client().await;
    let both = format!("{namespace}/acme,{namespace}/globex");
    let spaced = format!(" {namespace}/globex , {namespace}/acme ");
    let mine = format!("{namespace}/acme");
    let elsewhere = "elsewhere/acme".to_owned();
    for (list, of_acme, of_globex) in [(both, 200, 200), (spaced, 200, 200), (mine, 200, 403), (elsewhere, 403, 403)] {
        let question = [("scope", "any"), ("account", list.as_str())];
        for (key, status) in [(full, of_acme), (other, of_globex)] {
            let answer = ask(&client, request(&question, "GET", &[("x-api-key", key)])).await;
            assert_eq!(answer.status, status, "{list}: {answer:?}");
        }
    }
}

#[tokio::test]
async fn a_resource_is_read_or_written_as_envoy_says_and_not_as_a_client_says() {
    let reader = &keywright().await.reader;
    let client = client().await;
    let question = &[("resource", "orders")];
    for (method, status) in [
        ("GET", 200),
        ("HEAD", 200),
        ("OPTIONS", 200),
        ("POST", 403),
        ("PUT", 403),
        ("PATCH", 403),
        ("DELETE", 403),
        ("CONNECT", 403),
        ("get", 403),
        ("", 403),
        ("GET ", 403),
        ("GET\0", 403),
    ] {
        let other = if status == 200 { "POST" } else { "GET" };
        for name in [":method", "x-original-method", "x-http-method-override", "x-forwarded-method", "method"] {
            let headers = [("x-api-key", reader.as_str()), (name, other)];
            let answer = ask(&client, request(question, method, &headers)).await;
            assert_eq!(answer.status, status, "{method:?}, and {name} says {other}: {answer:?}");
        }
    }
    for path in ["/-/scope=any/-/", "/?scope=any", "/orders?resource=other&scope=public"] {
        let mut told = http("POST");
        told.headers =
            HashMap::from([("x-api-key".to_owned(), reader.clone()), ("scope".to_owned(), "any".to_owned())]);
        told.path = path.to_owned();
        told.query = "scope=any".to_owned();
        assert_eq!(ask(&client, with_http(question, told)).await.status, 403, "{path} asks nothing");
    }
}

#[tokio::test]
async fn a_site_id_opens_what_is_public_and_nothing_else() {
    let Keywright { site, .. } = keywright().await;
    let client = client().await;
    let account = keywright().await.account();
    let answer = ask(&client, request(PUBLIC, "GET", &[("x-api-key", site)])).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(identity(&answer), ["x-keywright-account", "x-keywright-site-id"], "nobody's key");
    assert_eq!(answer.caller, json!({"account": account, "siteId": site}));
    let scheme = format!("ApiKey {site}");
    assert_eq!(ask(&client, request(PUBLIC, "GET", &[("authorization", &scheme)])).await.status, 200);

    let elsewhere = [("scope", "public"), ("account", "elsewhere/acme")];
    let questions: [(&[(&str, &str)], &str); 4] = [
        (ANY, "insufficient_scope"),
        (&[("scope", "orders:read")], "insufficient_scope"),
        (&[("resource", "orders")], "insufficient_scope"),
        (&elsewhere, "wrong_account"),
    ];
    for (question, code) in questions {
        let answer = ask(&client, request(question, "GET", &[("x-api-key", site)])).await;
        assert_eq!((answer.status, answer.code()), (403, code), "{question:?}: {answer:?}");
    }
    let bearer = bearer(site);
    let nobody = keywright::key::site_ids("nowhere", "nobody").next().unwrap();
    let two = [("x-api-key", site.as_str()), ("authorization", scheme.as_str())];
    let shown: [(&[(&str, &str)], &str); 4] = [
        (&[("authorization", &bearer)], "missing"),
        (&[("x-api-key", nobody.as_str())], "unknown"),
        (&two, "malformed"),
        (&[], "missing"),
    ];
    for (headers, code) in shown {
        let answer = ask(&client, request(PUBLIC, "GET", headers)).await;
        assert_eq!((answer.status, answer.code()), (401, code), "{headers:?}: {answer:?}");
    }
}

#[tokio::test]
async fn a_thousand_calls_at_once_each_get_their_own_answer() {
    let Keywright { full, reader, off, other, .. } = keywright().await;
    let client = client().await;
    let account = keywright().await.account();
    let question = [("scope", "orders:write"), ("account", account.as_str())];
    let keys = [(full, "ok"), (reader, "insufficient_scope"), (off, "disabled"), (other, "wrong_account")];
    let calls = (0..1000).map(|number| {
        let (key, code) = keys[number % keys.len()];
        let call = ask(&client, request(&question, "GET", &[("x-api-key", key)]));
        async move {
            let answer = call.await;
            assert_eq!(answer.code(), code, "{answer:?}");
            assert_eq!(answer.header("x-keywright-key-id"), (code == "ok").then_some(&key[3..15]));
        }
    });
    join_all(calls).await;
}

/// Asks so many at once, gives every other up after so many turns of the runtime, on their way that far, and holds that
/// those between are answered.
async fn give_up_every_other(client: &Client, calls: usize, turns: usize) {
    let full = keywright().await.full.clone();
    let ask = |_| {
        let (mut client, full) = (client.clone(), full.clone());
        tokio::spawn(async move { client.check(request(ANY, "GET", &[("x-api-key", &full)])).await })
    };
    let calls: Vec<_> = (0..calls).map(ask).collect();
    for _ in 0..turns {
        tokio::task::yield_now().await;
    }
    for call in calls.iter().step_by(2) {
        call.abort();
    }
    for call in calls.into_iter().skip(1).step_by(2) {
        let answer = client::read(call.await.unwrap().unwrap().into_inner());
        assert_eq!(answer.status, 200, "{answer:?}");
    }
}

#[tokio::test]
async fn calls_that_are_given_up_leave_the_others_unharmed() {
    let client = client().await;
    for turns in 0..100 {
        give_up_every_other(&client, 10, turns % 10).await;
    }
    let mut hasty = tonic::Request::new(with_http(ANY, http("GET")));
    hasty.set_timeout(std::time::Duration::from_nanos(1));
    if let Ok(answer) = client.clone().check(hasty).await {
        assert_eq!(client::read(answer.into_inner()).code(), "missing", "in time by a hair");
    }
    let answer = ask(&client, request(ANY, "GET", &[("x-api-key", &keywright().await.full)])).await;
    assert_eq!(answer.status, 200, "{answer:?}");
}

/// Envoy asks for all its clients over a few connections and gives up what a client gives up: one client that comes and
/// goes must not end the calls of the others.
#[tokio::test]
async fn many_calls_that_are_given_up_at_once_leave_the_others_unharmed() {
    let client = client().await;
    for turns in 0..50 {
        give_up_every_other(&client, 100, turns % 10).await;
    }
}
