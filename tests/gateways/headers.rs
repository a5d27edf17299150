//! Identity headers and trailers from outside, and hop-by-hop headers that name those of the verifier.

use std::fmt::Write as _;

use serde_json::json;

use super::fixture::{ENVOY, ENVOY_OVER_HTTP, Gateway, Stage, stage};
use super::h2c;
use super::support::http::{Answer, send};
use super::table::{eventually_passes, sent};
use super::upstream::Received;

/// Every character of a header name but letters and digits. CGI of lighttpd and others reads each as `_`.
const SEPARATORS: &str = "!#$%&'*+-.^_`|~";

const IDENTITY: [&str; 6] = [
    "X-Keywright-Account",
    "X-Keywright-Key",
    "X-Keywright-Key-Id",
    "X-Keywright-Scopes",
    "X-Keywright-Site-Id",
    "X-Keywright-Meta-Plan",
];

/// Values of keys in a gateway's namespace.
pub struct Keys {
    /// Full access to acme, whose keys the route /orders accepts.
    pub full: String,
    /// Read access to acme.
    pub reader: String,
    /// Full access to globex, whose keys only the route /catalogue accepts.
    pub other: String,
}

/// Mints the keys, and waits until the gateway's verifier accepts them.
pub async fn keys(gateway: &Gateway) -> Keys {
    let space = &gateway.space;
    for account in ["acme", "globex"] {
        space.account(account, json!({"accessLevel": "Full", "metadata": {"plan": "gold"}})).await;
    }
    let key = async |name: &str, account: &str, level: &str| {
        space.key(name, json!({"account": account, "accessLevel": level})).await;
        space.until_ready_is(name, "Issued").await;
        space.value(name, "api-key").await
    };
    let full = key("full", "acme", "Full").await;
    let reader = key("reader", "acme", "ReadOnly").await;
    let other = key("other", "globex", "Full").await;
    for key in [&full, &reader, &other] {
        eventually_passes(gateway, "/catalogue", key).await;
    }
    Keys { full, reader, other }
}

/// A name as CGI writes it.
fn folded(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' }).collect()
}

/// Every spelling of an identity header with one separator, or with it and a hyphen.
fn spellings(separator: char) -> [String; 7] {
    let s = separator;
    [
        format!("X{s}Keywright{s}Account"),
        format!("x{s}keywright{s}key"),
        format!("X{s}KEYWRIGHT{s}KEY{s}ID"),
        format!("X-Keywright{s}Scopes"),
        format!("X{s}Keywright-Site-Id"),
        format!("X{s}Keywright{s}Meta{s}Plan"),
        format!("x-keywright{s}meta-tier"),
    ]
}

/// The upstream received the whole identity of the key `full`, once, and nothing that looks like it.
fn assert_identity(gateway: &Gateway, what: &str, answer: &Answer) {
    let received = Received::of(answer).unwrap_or_else(|| panic!("{} {what}: {}", gateway.name, answer.status));
    for name in IDENTITY {
        let values = sent(answer, &name.to_ascii_lowercase());
        assert_eq!(values.len(), 1, "{} {what}: {name} is {values:?}", gateway.name);
    }
    let account = format!("{}/acme", gateway.space.name);
    assert_eq!(sent(answer, "x-keywright-account"), [account], "{} {what}", gateway.name);
    // Never the body itself: it may hold the key.
    assert!(!answer.body.contains("spoofed"), "{} {what}: a header from outside reached the upstream", gateway.name);
    let mut trailers = received.lines("trailers").map(|(name, _)| folded(name));
    assert!(trailers.all(|name| !name.starts_with("x_keywright_")), "{} {what}: in trailers", gateway.name);
}

pub async fn spelled(_: &Stage, gateway: &Gateway) {
    let full = keys(gateway).await.full;
    for separator in SEPARATORS.chars() {
        let names = spellings(separator);
        let mut headers = vec![("X-API-Key", full.as_str())];
        headers.extend(names.iter().map(|name| (name.as_str(), "spoofed")));
        let answer = gateway.call("GET", "/orders/1", &headers).await;
        assert_identity(gateway, &format!("separator {separator}"), &answer);
        if gateway.speaks_h2c {
            let names = names.each_ref().map(|name| name.to_ascii_lowercase());
            let mut headers = vec![("x-api-key", full.as_str())];
            headers.extend(names.iter().map(|name| (name.as_str(), "spoofed")));
            let answer = h2c::call(&gateway.address, "/orders/1", &headers, &[]).await.unwrap();
            assert_identity(gateway, &format!("separator {separator} over HTTP/2"), &answer);
        }
    }
}

/// A request whose lines are written by hand; `Connection` may be among them.
async fn by_hand(gateway: &Gateway, method: &str, key: &str, lines: &[(&str, &str)], rest: &str) -> Answer {
    let host = &gateway.address;
    let mut text = format!("{method} /orders HTTP/1.1\r\nHost: {host}\r\nX-API-Key: {key}\r\n");
    for (name, value) in lines {
        let _ = write!(text, "{name}: {value}\r\n");
    }
    send(host, format!("{text}\r\n{rest}").as_bytes()).await.unwrap()
}

pub async fn nominated(_: &Stage, gateway: &Gateway) {
    let Keys { full, reader, .. } = keys(gateway).await;
    let all = IDENTITY.join(", ");
    let lower = all.to_ascii_lowercase();
    for nominated in IDENTITY.into_iter().chain([all.as_str(), &lower, "x-keywright-scopes,,\tX-KEYWRIGHT-ACCOUNT"]) {
        let close = format!("close, {nominated}");
        for lines in [
            &[("Connection", close.as_str())][..],
            &[("Connection", nominated), ("Connection", "close")],
            &[("connection", "close"), ("CONNECTION", nominated)],
            &[("Connection", "close"), ("Proxy-Connection", nominated), ("Keep-Alive", nominated)],
            &[("Connection", "close, TE"), ("TE", &format!("trailers, {nominated}"))],
            &[("Connection", &close), ("X-Keywright-Account", "spoofed"), ("X+Keywright+Scopes", "spoofed")],
        ] {
            let answer = by_hand(gateway, "GET", &full, lines, "").await;
            assert_identity(gateway, &format!("{lines:?}"), &answer);
        }
    }
    for nominated in ["X-Original-Method", "X-Forwarded-Method", "X-Original-Method, X-Forwarded-Method"] {
        let lines = [("Connection", &*format!("close, {nominated}")), ("X-Original-Method", "GET")];
        let answer = by_hand(gateway, "POST", &reader, &lines, "").await;
        assert_eq!(answer.status, 403, "{} {nominated}: {answer:?}", gateway.name);
    }
    for nominated in ["X-API-Key", "x-api-key, authorization"] {
        let lines = [("Connection", &*format!("close, {nominated}"))];
        let answer = by_hand(gateway, "GET", &full, &lines, "").await;
        assert!(!answer.body.contains(&full), "{} {nominated}: the key reached the upstream", gateway.name);
    }
}

/// Requests over a connection that the API upgraded to HTTP/2 would bypass the gateway.
pub async fn upgraded(_: &Stage, gateway: &Gateway) {
    let full = keys(gateway).await.full;
    let nominated = format!("Upgrade, HTTP2-Settings, {}, close", IDENTITY.join(", "));
    let protocols =
        ["h2c", "H2C", "websocket, h2c", "h2c\r\nUpgrade: websocket", "HTTP/2.0", "TLS/1.0", "h2c,websocket"];
    for (connection, protocol) in ["upgrade, close", &nominated].into_iter().flat_map(|c| protocols.map(|p| (c, p))) {
        let lines = [("Connection", connection), ("HTTP2-Settings", "AAMAAABk"), ("Upgrade", protocol)];
        let answer = by_hand(gateway, "GET", &full, &lines, "").await;
        may_refuse(gateway, protocol, &answer);
        let upgrade = Received::of(&answer).map_or_else(Vec::new, |_| sent(&answer, "upgrade"));
        assert!(upgrade.is_empty() || upgrade == ["websocket"], "{} {protocol}: {upgrade:?}", gateway.name);
    }
    // The files of Caddy and Traefik forward WebSockets, those of nginx and Envoy do not.
    for connection in ["upgrade", "keep-alive,Upgrade", &nominated] {
        let lines = [("Connection", connection), ("Upgrade", "websocket"), ("Connection", "close")];
        let answer = by_hand(gateway, "GET", &full, &lines, "").await;
        may_refuse(gateway, connection, &answer);
        if ["caddy", "traefik"].contains(&gateway.name) {
            assert_eq!(sent(&answer, "upgrade"), ["websocket"], "{} {connection}", gateway.name);
            assert_eq!(sent(&answer, "connection"), ["Upgrade"], "{} {connection}", gateway.name);
        }
    }
}

pub async fn trailed(_: &Stage, gateway: &Gateway) {
    let full = keys(gateway).await.full;
    for separator in SEPARATORS.chars() {
        let names = spellings(separator);
        let body = format!("4\r\nbody\r\n0\r\n{}: spoofed\r\n\r\n", names.join(": spoofed\r\n"));
        for announced in [names.join(", "), IDENTITY.join(","), "X-Checksum".to_owned(), String::new()] {
            let lines = [("Connection", "close"), ("Transfer-Encoding", "chunked"), ("Trailer", &announced)];
            let lines = if announced.is_empty() { &lines[..2] } else { &lines };
            let answer = by_hand(gateway, "POST", &full, lines, &body).await;
            may_refuse(gateway, &format!("trailers announced as {announced}"), &answer);
        }
        if let Some(answer) = trailed_over_h2c(gateway, &full, separator).await {
            may_refuse(gateway, &format!("trailers over HTTP/2 with {separator}"), &answer);
        }
    }
    let chunked = [("Connection", "close"), ("Transfer-Encoding", "chunked")];
    let answer = by_hand(gateway, "POST", &full, &chunked, "4\r\nbody\r\n0\r\n\r\n").await;
    // Caddy has nothing that sees trailers, so its file refuses what could have some.
    assert_eq!(answer.status, if gateway.name == "caddy" { 411 } else { 200 }, "{}", gateway.name);
    let announced = [("Connection", "close"), ("Content-Length", "0"), ("Trailer", "X-Keywright-Account")];
    assert_identity(gateway, "no trailers", &by_hand(gateway, "POST", &full, &announced, "").await);
}

/// A request with identity and a checksum in trailers; `None` if the gateway does not accept HTTP/2, or resets the stream.
async fn trailed_over_h2c(gateway: &Gateway, key: &str, separator: char) -> Option<Answer> {
    let names = spellings(separator).map(|name| name.to_ascii_lowercase());
    let announced = format!("{}, x-checksum", names.join(", "));
    let headers = [("x-api-key", key), ("te", "trailers"), ("trailer", announced.as_str())];
    let mut trailers = names.iter().map(|name| (name.as_str(), "spoofed")).collect::<Vec<_>>();
    trailers.push(("x-checksum", "1"));
    if gateway.speaks_h2c { h2c::call(&gateway.address, "/orders", &headers, &trailers).await } else { None }
}

/// A refusal is safe, and so is a request without what the client says of itself.
fn may_refuse(gateway: &Gateway, what: &str, answer: &Answer) {
    if Received::of(answer).is_some() {
        assert_identity(gateway, what, answer);
    } else {
        assert!((400..=499).contains(&answer.status), "{} {what}: {answer:?}", gateway.name);
    }
}

/// An API that is asked over HTTP/2, or so, gets trailers from Envoy.
#[tokio::test]
async fn envoy_removes_identity_from_trailers_that_api_accepts() {
    const API: &str = "- name: api\n      connect_timeout: 0.25s\n";
    let options = r#"{"@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions, explicit_http_config: {http_protocol_options: {enable_trailers: true}}}"#;
    let options = format!("{{envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {options}}}");
    let accepts = format!("{API}      typed_extension_protocol_options: {options}\n");
    for kind in [ENVOY, ENVOY_OVER_HTTP] {
        let gateway = stage().await.start_with(&kind, 1, &[(API, &accepts)]).await;
        let full = keys(&gateway).await.full;
        for separator in SEPARATORS.chars() {
            let answer = trailed_over_h2c(&gateway, &full, separator).await.unwrap();
            assert_identity(&gateway, &format!("trailers with {separator}"), &answer);
            let received = Received::of(&answer).unwrap();
            assert_eq!(received.lines("trailers").collect::<Vec<_>>(), [("x-checksum", "1")], "{}", gateway.name);
        }
    }
}

/// Envoy Gateway and Istio may have no filter of their own.
#[tokio::test]
async fn verifier_removes_any_spelling_for_envoy_without_filter() {
    let stage = stage().await;
    let without = [("(?i)x[^a-z0-9]keywright[^a-z0-9].*", "nothing"), ("DROP_HEADER", "ALLOW")];
    spelled(stage, &stage.start_with(&ENVOY, 1, &without).await).await;
}
