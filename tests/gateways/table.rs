//! What must be true behind every gateway.

use serde_json::{Value, json};
use tokio::net::TcpStream;

use super::fixture::{Gateway, Stage};
use super::support::http::{Answer, send};
use super::support::{Error, eventually};

/// Identity headers from outside, in every spelling that some server takes for ours.
const SPOOFS: [&str; 10] = [
    "X-Keywright-Account",
    "x-keywright-key",
    "X-KEYWRIGHT-SCOPES",
    "X_Keywright_Account",
    "X-Keywright_Site-Id",
    "X_KEYWRIGHT-KEY-ID",
    "X.Keywright.Account",
    "X-Keywright-Meta-Plan",
    // What no account here has, so that no gateway has a value to put in its place.
    "X-Keywright-Meta-Tier",
    "X-Keywright-Admin",
];

/// What an API lives by.
const ORDINARY: [(&str, &str); 4] = [
    ("Content-Type", "application/json"),
    ("If-None-Match", "\"v1\""),
    ("Traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
    ("Cookie", "basket=1"),
];

/// What the upstream was sent under any spelling of a name.
pub fn sent(answer: &Answer, name: &str) -> Vec<String> {
    let plain = |name: &str| name.to_ascii_lowercase().replace(|c: char| !c.is_ascii_alphanumeric(), "-");
    let echo = answer.json();
    let headers = echo["headers"].as_array().unwrap().iter();
    let same = headers.filter(|header| plain(header[0].as_str().unwrap()) == name);
    same.map(|header| header[1].as_str().unwrap().to_owned()).collect()
}

pub async fn eventually_passes(gateway: &Gateway, path: &str, key: &str) -> Answer {
    eventually("the key passes", async || {
        let answer = gateway.with_key("GET", path, key).await;
        if answer.status == 200 { Ok(answer) } else { Err::<_, Error>(format!("{answer:?}").into()) }
    })
    .await
}

pub async fn run(_: &Stage, gateway: &Gateway) {
    let space = &gateway.space;
    space.account("acme", json!({"accessLevel": "Full", "metadata": {"plan": "gold"}})).await;
    space.account("globex", json!({"accessLevel": "Full"})).await;
    let key = async |name: &str, spec: Value| {
        space.key(name, spec).await;
        space.until_ready_is(name, "Issued").await;
        space.value(name, "api-key").await
    };
    let full = key("full", json!({"account": "acme", "accessLevel": "Full"})).await;
    let reader = key("reader", json!({"account": "acme", "accessLevel": "ReadOnly"})).await;
    let other = key("other", json!({"account": "globex", "accessLevel": "Full"})).await;
    let disabled = key("disabled", json!({"account": "acme", "accessLevel": "Full", "disabled": true})).await;
    let expired = key("expired", json!({"account": "acme", "accessLevel": "Full"})).await;
    space.patch_key("expired", json!({"spec": {"expiresAt": "2020-01-01T00:00:00Z"}})).await;
    let scoped = key("scoped", json!({"account": "acme", "accessLevel": "Custom", "scopes": ["invoices:read"]})).await;
    // The newest of them, and the reservation of the Site ID that was made before.
    eventually_passes(gateway, "/catalogue", &scoped).await;

    who_calls_reaches_the_upstream_and_the_key_does_not(gateway, &full).await;
    let unknown = format!("kw_000000000000_{}", &full[16..]);
    for (what, method, path, key, status, code) in [
        ("a good key", "GET", "/orders/1", full.as_str(), 200, "ok"),
        ("a good key that writes", "POST", "/orders", &full, 200, "ok"),
        ("a reader that reads", "GET", "/orders", &reader, 200, "ok"),
        ("a reader that writes", "POST", "/orders", &reader, 403, "insufficient_scope"),
        ("a reader that deletes", "DELETE", "/orders/1", &reader, 403, "insufficient_scope"),
        ("a key with other scopes", "GET", "/orders", &scoped, 403, "insufficient_scope"),
        ("a key of another account", "GET", "/orders", &other, 403, "wrong_account"),
        ("a disabled key", "GET", "/orders", &disabled, 401, "disabled"),
        ("an expired key", "GET", "/orders", &expired, 401, "expired"),
        ("an unknown key", "GET", "/orders", &unknown, 401, "malformed"),
        ("a disabled key where the Site ID is enough", "GET", "/catalogue", &disabled, 401, "disabled"),
        ("a key of another account where any is enough", "GET", "/catalogue", &other, 200, "ok"),
    ] {
        let answer = gateway.with_key(method, path, key).await;
        assert_eq!(answer.status, status, "{what}: {answer:?}");
        let told = (status != 200).then_some(code);
        assert_eq!(answer.header("x-keywright-code"), told, "{what}: {answer:?}");
    }
    let answer = gateway.call("GET", "/orders", &[]).await;
    assert_eq!((answer.status, answer.header("www-authenticate")), (401, Some("Bearer realm=\"keywright\"")));
    assert_eq!(gateway.with_key("GET", "/elsewhere", &full).await.status, 403, "a route that asks nothing");

    let site_id = space.accounts().get("acme").await.unwrap().status.unwrap().public_key.unwrap();
    let answer = gateway.call("GET", "/catalogue", &[("X-API-Key", &site_id)]).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(sent(&answer, "x-keywright-account"), [format!("{}/acme", space.name)]);
    assert_eq!(sent(&answer, "x-keywright-key"), [""; 0], "nobody's key");
    assert_eq!(gateway.call("GET", "/orders", &[("X-API-Key", &site_id)]).await.status, 403, "it opens no data");
}

async fn who_calls_reaches_the_upstream_and_the_key_does_not(gateway: &Gateway, key: &str) {
    let bearer = format!("Bearer {key}");
    let mut headers = vec![("Authorization", bearer.as_str())];
    headers.extend(SPOOFS.map(|name| (name, "spoofed")));
    headers.extend(ORDINARY);
    let answer = gateway.call("GET", "/orders/1", &headers).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    for (name, value) in ORDINARY {
        assert_eq!(sent(&answer, &name.to_ascii_lowercase()), [value], "{}", gateway.name);
    }
    let space = &gateway.space.name;
    assert_eq!(sent(&answer, "x-keywright-account"), [format!("{space}/acme")]);
    assert_eq!(sent(&answer, "x-keywright-key"), [format!("{space}/full")]);
    assert_eq!(sent(&answer, "x-keywright-key-id"), [&key[3..15]]);
    assert_eq!(sent(&answer, "x-keywright-scopes"), ["*:*"]);
    assert_eq!(sent(&answer, "x-keywright-meta-plan"), ["gold"]);
    assert_eq!(sent(&answer, "x-keywright-site-id").len(), 1);
    // Never the echo itself: it holds what was sent.
    assert!(!answer.body.contains("spoofed"), "{}: a header from outside reached the upstream", gateway.name);
    assert!(!answer.body.contains(key), "the key reached the upstream");
    assert_eq!(answer.json()["method"], "GET");
}

pub async fn flip(_: &Stage, gateway: &Gateway) {
    let space = &gateway.space;
    let key = space.ready_key("storefront").await;
    eventually_passes(gateway, "/orders", &key).await;
    for disabled in [true, false, true, false] {
        space.patch_key("storefront", json!({"spec": {"disabled": disabled}})).await;
        let expected = if disabled { 401 } else { 200 };
        eventually(&format!("disabled: {disabled}"), async || {
            let answer = gateway.with_key("GET", "/orders", &key).await;
            if answer.status == expected { Ok(()) } else { Err(answer.status.to_string()) }
        })
        .await;
        // It stays so: nothing on the way keeps an old answer.
        for _ in 0..20 {
            assert_eq!(gateway.with_key("GET", "/orders", &key).await.status, expected);
        }
    }
}

pub async fn without_verifier(_: &Stage, gateway: &Gateway) {
    let key = gateway.space.ready_key("storefront").await;
    eventually_passes(gateway, "/orders", &key).await;
    gateway.verifiers[0].process.kill();
    // Traefik's own word for a question without an answer, which no setting changes.
    let refusal = if gateway.name == "traefik" { 500 } else { 503 };
    for path in ["/orders", "/catalogue"] {
        let answer = gateway.with_key("GET", path, &key).await;
        assert_eq!(answer.status, refusal, "{path}");
        assert!(!answer.body.contains("headers"), "{path}: the upstream was reached");
    }
}

/// Paths, queries and headers with which a client might ask another question than the route does. It asks for the
/// resource orders and for keys of acme.
pub async fn same_question(_: &Stage, gateway: &Gateway) {
    let space = &gateway.space;
    for account in ["acme", "globex"] {
        space.account(account, json!({"accessLevel": "Full"})).await;
    }
    let key = async |name: &str, account: &str, level: &str| {
        space.key(name, json!({"account": account, "accessLevel": level})).await;
        space.until_ready_is(name, "Issued").await;
        space.value(name, "api-key").await
    };
    let reader = key("reader", "acme", "ReadOnly").await;
    let other = key("other", "globex", "Full").await;
    eventually_passes(gateway, "/orders", &reader).await;
    eventually_passes(gateway, "/catalogue", &other).await;
    let globex = format!("{}/globex", space.name);
    let answer = gateway.with_key("GET", "/orders/-/scope=any/-/?scope=any", &reader).await;
    assert_eq!(answer.status, 200, "what looks like a question does no harm: {answer:?}");

    for path in [
        "/orders/-/../auth/scope=any/-/",
        "/orders/-/scope=any/-/",
        "/orders/scope=any/-/",
        "/orders/..%2f..%2fscope=any/-/",
        "/orders/%2e%2e/%2e%2e/scope=any/-/",
        "/orders/../../../auth/scope=any/-/orders",
        "/orders/..;/..;/scope=any/-/",
        "/orders//-//scope=any//-//",
        "/orders/%2d/scope=any",
        "/orders%3Fscope=any",
        "/orders%23",
        "/orders/%00/-/scope=any/-/",
        "/orders?scope=any",
        "/orders?scope=any&/-/",
        "/orders?resource=catalogue&scope=public&strip-key=false",
        &format!("/orders/account={globex}/-/"),
        &format!("/orders?account={globex}"),
        &format!("/orders&account={globex}"),
        &format!("/orders/-/?scope=any&account={globex}"),
        &format!("/orders%0d%0aaccount={globex}"),
    ] {
        for (method, key) in [("POST", &reader), ("GET", &other)] {
            let answer = gateway.with_key(method, path, key).await;
            assert!(matches!(answer.status, 400..=499), "{method} {path}: {}", answer.status);
            assert!(!answer.body.contains("\"headers\""), "{method} {path} reached the upstream");
        }
    }

    let bearer = format!("Bearer {reader}");
    for (name, value) in [
        ("X-Original-Method", "GET"),
        ("x-original-method", "GET"),
        ("X_Original_Method", "GET"),
        ("X-Forwarded-Method", "GET"),
        ("X-HTTP-Method-Override", "GET"),
        ("X-Envoy-Original-Method", "GET"),
        ("X-Original-URI", "/auth?scope=any"),
        ("X-Original-URL", "/auth?scope=any"),
        ("X-Forwarded-Uri", "/auth?scope=any"),
        ("X-Envoy-Original-Path", "/auth/scope=any/-/"),
        ("X-Rewrite-URL", "/auth/scope=any/-/"),
    ] {
        let headers = [("Authorization", bearer.as_str()), (name, value)];
        let answer = gateway.call("POST", "/orders", &headers).await;
        assert_eq!(answer.status, 403, "{name}: {answer:?}");
        assert_eq!(gateway.call("GET", "/orders", &headers).await.status, 200, "{name} does no harm");
    }
    for method in ["get", "GETT", "PATCH", "PUT", "DELETE", "PROPFIND"] {
        let answer = gateway.with_key(method, "/orders", &reader).await;
        assert_ne!(answer.status, 200, "a reader's {method}: {answer:?}");
    }
    for (one, two) in [("X-API-Key", "X-API-Key"), ("X-API-Key", "x-api-key"), ("Authorization", "X-API-Key")] {
        let of = |name: &str| if name == "Authorization" { bearer.clone() } else { reader.clone() };
        let answer = gateway.call("GET", "/orders", &[(one, &of(one)), (two, &of(two))]).await;
        assert!(matches!(answer.status, 400 | 401), "{one} and {two}: {answer:?}");
    }
}

/// A path that is no text is no question: it passes with a key or is the client's fault, and never the verifier's.
pub async fn bytes(_: &Stage, gateway: &Gateway) {
    let key = gateway.space.ready_key("storefront").await;
    eventually_passes(gateway, "/orders", &key).await;
    for (key, statuses) in [(key.as_str(), [200, 400]), ("nonsense", [401, 400])] {
        let host = &gateway.address;
        let head = format!(" HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nX-API-Key: {key}\r\n\r\n");
        let answer = send(&gateway.address, &[b"GET /orders/\xff\xfe", head.as_bytes()].concat()).await.unwrap();
        assert!(statuses.contains(&answer.status), "{}: {answer:?}", gateway.name);
    }
}

/// The files name an address; a server on every interface would answer at any other of the machine.
pub async fn loopback(_: &Stage, gateway: &Gateway) {
    let port = gateway.address.rsplit_once(':').unwrap().1;
    for elsewhere in ["127.0.0.2", "[::1]"] {
        let connected = TcpStream::connect(format!("{elsewhere}:{port}")).await;
        assert!(connected.is_err(), "{} answers on {elsewhere}", gateway.name);
    }
}
