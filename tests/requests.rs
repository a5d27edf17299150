//! What a verifier answers to requests of every shape, through raw HTTP: gateways and clients send what no library would.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "requests/beside.rs"]
mod beside;
#[path = "requests/documents.rs"]
mod documents;
#[path = "support/mod.rs"]
mod support;

use keywright::key::Plaintext;
use serde_json::json;
use support::cluster::Cluster;
use support::http::{self, Answer};
use support::keywright::Running;
use support::process::free_ports;
use support::space::Space;
use tokio::sync::OnceCell;

const REALM: &str = "Bearer realm=\"keywright\"";

/// One operator, one verifier and three keys for all tests of this binary.
struct Keywright {
    cluster: &'static Cluster,
    _operator: Running,
    verifier: Running,
    /// `<namespace>/<name>` of the account that has the keys.
    account: String,
    /// May do everything.
    full: String,
    /// May only read orders.
    reader: String,
    /// May do everything, and is disabled.
    off: String,
}

async fn keywright() -> &'static Keywright {
    static SHARED: OnceCell<Keywright> = OnceCell::const_new();
    SHARED
        .get_or_init(async || {
            let cluster = Cluster::shared().await;
            let operator = Running::operator(cluster, &[]).await.unwrap().ready().await;
            let verifier = Running::verifier(cluster, &["--method-header=X-Original-Method"]).await.unwrap();
            let verifier = verifier.ready().await;
            let space = Space::new(cluster).await;
            space.account("acme", json!({"accessLevel": "Full", "metadata": {"plan": "free"}})).await;
            let full = space.ready_key("full").await;
            let spec = json!({"account": "acme", "displayName": "Order reader", "accessLevel": "Custom",
                "scopes": ["orders:read"], "expiresAt": "2099-01-01T00:00:00Z",
                "metadata": {"plan": "enterprise", "team": "billing"}});
            space.key("reader", spec).await;
            space.until_ready_is("reader", "Issued").await;
            let reader = space.value("reader", "api-key").await;
            let off = space.ready_key("off").await;
            space.patch_key("off", json!({"spec": {"disabled": true}})).await;
            for (key, code) in [(&full, "ok"), (&reader, "ok"), (&off, "disabled")] {
                verifier.eventually_says(code, "scope=any", key).await;
            }
            let account = format!("{}/acme", space.name);
            Keywright { cluster, _operator: operator, verifier, account, full, reader, off }
        })
        .await
}

type Lines = Vec<Vec<u8>>;

fn line(name: &str, value: impl AsRef<[u8]>) -> Vec<u8> {
    [name.as_bytes(), b": ", value.as_ref()].concat()
}

/// The places where a key is looked for.
fn places(key: &str) -> [Vec<u8>; 3] {
    [
        line("Authorization", format!("Bearer {key}")),
        line("Authorization", format!("ApiKey {key}")),
        line("X-API-Key", key),
    ]
}

/// Sends exactly these header lines, and holds that the answer quotes no credential among them.
async fn ask(address: &str, request: &str, lines: &[Vec<u8>]) -> Answer {
    let mut bytes = format!("{request}\r\nHost: verifier\r\nConnection: close\r\n").into_bytes();
    for line in lines {
        bytes.extend([line, &b"\r\n"[..]].concat());
    }
    let answer = http::send(address, &[&bytes, &b"\r\n"[..]].concat()).await.expect("an answer");
    for word in lines.iter().flat_map(|line| line.split(|&b| b == b' ')).filter(|word| word.len() > 30) {
        assert_does_not_quote(&answer, &String::from_utf8_lossy(word));
    }
    answer
}

fn assert_does_not_quote(answer: &Answer, text: &str) {
    assert!(!format!("{answer:?}").contains(text), "quoted {text} in {answer:?}");
}

/// A gateway's question to the shared verifier.
async fn auth(query: &str, lines: &[Vec<u8>]) -> Answer {
    ask(&keywright().await.verifier.address, &format!("GET /auth?{query} HTTP/1.1"), lines).await
}

fn code(answer: &Answer) -> &str {
    answer.header("x-keywright-code").unwrap_or("none")
}

/// Holds everything that a denial promises; `challenge` is what `WWW-Authenticate` says.
fn assert_denied(what: &str, answer: &Answer, status: u16, code: &str, challenge: Option<&str>) {
    assert_eq!((answer.status, self::code(answer)), (status, code), "{what}: {answer:?}");
    assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{what}");
    assert_eq!(answer.header("cache-control"), Some("no-store"), "{what}");
    assert_eq!(answer.header("www-authenticate"), challenge, "{what}");
    let body = answer.json();
    let mut fields: Vec<_> = body.as_object().unwrap().keys().map(String::as_str).collect();
    fields.sort_unstable();
    let mut expected = vec!["code", "detail", "status", "title", "type"];
    // As the challenge does.
    if challenge.is_some_and(|challenge| challenge.contains("scope=\"")) {
        expected.insert(2, "scope");
    }
    assert_eq!(fields, expected, "{what}");
    assert_eq!(body["type"], format!("https://keywright.dev/problems/{code}"), "{what}");
    assert_eq!((&body["status"], &body["code"]), (&json!(status), &json!(code)), "{what}");
    for text in ["title", "detail"] {
        assert!(body[text].as_str().is_some_and(|text| text.len() > 5), "{what}: {text} says something: {body}");
    }
    let tells = ["account", "key", "key-id", "scopes"].map(|name| format!("x-keywright-{name}"));
    assert!(tells.iter().all(|name| answer.header(name).is_none()), "{what}: nobody is told who it is: {answer:?}");
}

/// A 401: with nothing presented only the realm is named.
fn assert_refused(what: &str, answer: &Answer, code: &str) {
    let invalid = format!("{REALM}, error=\"invalid_token\"");
    assert_denied(what, answer, 401, code, Some(if code == "missing" { REALM } else { &invalid }));
}

/// The text with its checksum: CRC-32 as six base62 digits.
fn with_checksum(text: &str) -> String {
    const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let crc = crc32fast::hash(text.as_bytes());
    let digit = |place: u32| char::from(DIGITS[(crc / 62u32.pow(place) % 62) as usize]);
    text.chars().chain((0..6).rev().map(digit)).collect()
}

/// The same key with one character exchanged.
fn flipped(key: &str, at: usize) -> String {
    let other = if key.as_bytes()[at] == b'a' { "b" } else { "a" };
    format!("{}{other}{}", &key[..at], &key[at + 1..])
}

const JWT: &str = "Bearer eyJhbGciOiJIUzI1NiJ9.e30.ZRrHA1JJJW8opsbCGfG_HACGpVUMN_a9IV7pAx_Zmeo";

#[tokio::test]
async fn a_request_without_one_whole_key_of_ours_is_refused() {
    let key = keywright().await.full.as_str();
    let value = |value: &[u8]| vec![line("X-API-Key", value)];
    let cases: Vec<(&str, Lines, &str)> = vec![
        ("no key", vec![], "missing"),
        ("a JWT alone", vec![line("Authorization", JWT)], "missing"),
        ("Basic alone", vec![line("Authorization", "Basic dXNlcjpwYXNzd29yZA==")], "missing"),
        ("another header", vec![line("X_API_Key", key)], "missing"),
        ("a cookie", vec![line("Cookie", format!("api-key={key}"))], "missing"),
        ("no scheme", vec![line("Authorization", key)], "missing"),
        ("an empty Bearer", vec![line("Authorization", "Bearer ")], "missing"),
        ("bytes as Bearer", vec![line("Authorization", b"Bearer \xff\xfe\x80")], "missing"),
        ("an empty key header, as if there were none", value(b""), "missing"),
        ("a scheme alone", vec![line("Authorization", "ApiKey")], "malformed"),
        ("nonsense", value(b"nonsense"), "malformed"),
        ("bytes that are no text", value(b"kw_\xff\xfe\x80"), "malformed"),
        ("8193 bytes", value(&[b'a'; 8193]), "malformed"),
        ("8193 bytes that begin with a key", value(format!("{key:a<8193}").as_bytes()), "malformed"),
        ("a key cut off", value(&key.as_bytes()[..key.len() - 1]), "malformed"),
        ("a key and more", value(format!("{key}a").as_bytes()), "malformed"),
        ("two keys in one line", value(format!("{key},{key}").as_bytes()), "malformed"),
        ("a wrong checksum", value(flipped(key, key.len() - 1).as_bytes()), "malformed"),
        ("a mistyped secret", value(flipped(key, 20).as_bytes()), "malformed"),
        ("a mistyped Bearer", vec![line("Authorization", format!("Bearer {}", flipped(key, 20)))], "malformed"),
    ];
    for (what, lines, code) in cases {
        assert_refused(what, &auth("scope=any", &lines).await, code);
    }
}

#[tokio::test]
async fn a_key_with_a_right_checksum_but_no_record_is_unknown() {
    let (full, reader) = (&keywright().await.full, &keywright().await.reader);
    let minted = Plaintext::mint("kw").unwrap();
    let (id, secret) = (&full[..16], &reader[16..reader.len() - 6]);
    assert_eq!(with_checksum(&full[..full.len() - 6]), *full, "the test's checksum is the product's");
    for (what, key) in [
        ("an id that nobody has", minted.expose()),
        ("the id of one key with the secret of another", &with_checksum(&format!("{id}{secret}"))),
        ("a secret in which one character was exchanged", &with_checksum(&flipped(full, 20)[..full.len() - 6])),
    ] {
        for lines in places(key).map(|line| vec![line]) {
            assert_refused(what, &auth("scope=any", &lines).await, "unknown");
        }
    }
}

#[tokio::test]
async fn more_than_one_credential_of_ours_is_refused_even_the_same_twice() {
    let (full, reader) = (&keywright().await.full, &keywright().await.reader);
    for first in places(full) {
        for second in places(full).into_iter().chain(places(reader)).chain([line("X-API-Key", "nonsense")]) {
            let what = format!("{} and {}", String::from_utf8_lossy(&first), String::from_utf8_lossy(&second));
            for lines in [[first.clone(), second.clone()], [second, first.clone()]] {
                assert_refused(&what, &auth("scope=any", &lines).await, "malformed");
            }
        }
    }
}

#[tokio::test]
async fn a_key_passes_in_each_place_however_the_names_are_written() {
    let key = &keywright().await.full;
    let mut cases: Vec<Lines> = places(key).map(|line| vec![line]).into();
    for name in ["x-api-key", "X-API-KEY", "X-Api-Key", "x-aPi-kEY"] {
        cases.push(vec![line(name, key)]);
    }
    for name in ["authorization", "AUTHORIZATION", "aUthorization"] {
        cases
            .extend(["bearer", "BEARER", "apikey", "APIKEY"].map(|scheme| vec![line(name, format!("{scheme} {key}"))]));
    }
    cases.push(vec![line("Authorization", JWT), line("X-API-Key", key)]);
    cases.push(vec![line("Authorization", JWT), line("Authorization", format!("ApiKey {key}"))]);
    for lines in cases {
        let answer = auth("scope=orders:write", &lines).await;
        assert_eq!((answer.status, code(&answer)), (200, "ok"), "{:?}", lines.iter().map(|l| l.escape_ascii()));
        assert_eq!(answer.header("x-keywright-key-id"), Some(&key[3..15]));
    }
}

#[tokio::test]
async fn the_gateways_own_method_and_http_version_make_no_difference() {
    let Keywright { verifier, full, .. } = keywright().await;
    let key = &places(full)[2..];
    for method in ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "BREW"] {
        for version in ["HTTP/1.0", "HTTP/1.1"] {
            let what = format!("{method} {version}");
            let request = |query: &str| format!("{method} /auth?{query} {version}");
            let answer = ask(&verifier.address, &request("scope=orders:write"), key).await;
            assert_eq!((answer.status, code(&answer)), (200, "ok"), "{what}");
            assert_refused(&what, &ask(&verifier.address, &request("scope=any"), &[]).await, "missing");
            let answer = ask(&verifier.address, &request("resource=orders"), key).await;
            assert_denied(&what, &answer, 403, "bad_route", None);
        }
    }
}

#[tokio::test]
async fn a_header_beyond_all_measure_is_refused_and_the_verifier_goes_on() {
    let Keywright { verifier, full, .. } = keywright().await;
    let huge = "a".repeat(1 << 20);
    let many = (0..1000).map(|n| format!("X-{n}: a\r\n")).collect::<Vec<_>>().concat();
    for headers in [format!("X-API-Key: {huge}\r\n"), format!("X-Huge: {huge}\r\nX-API-Key: {full}\r\n"), many] {
        let request = format!("GET /auth?scope=any HTTP/1.1\r\nHost: v\r\nConnection: close\r\n{headers}\r\n");
        // The server may close before all was read; then there is no answer, and that is no pass either.
        if let Ok(answer) = http::send(&verifier.address, request.as_bytes()).await {
            assert!((400..500).contains(&answer.status), "{answer:?}");
            assert_does_not_quote(&answer, full);
        }
    }
    assert_eq!(verifier.code("scope=any", full).await, "ok");
}

#[tokio::test]
async fn a_route_that_asks_nothing_nonsense_or_twice_is_told_what_to_do() {
    let key = &keywright().await.full;
    for (query, says) in [
        ("", "the route asks nothing: add scope=<resource>:<read|write>, resource=<name>, scope=any"),
        ("account=shop/acme", "the route asks nothing: add"),
        ("scope=any&scope=any", "give one scope or one resource"),
        ("scope=orders:read&scope=orders:write", "give one scope or one resource"),
        ("scope=orders:read&resource=orders", "give one scope or one resource"),
        ("scpoe=orders:read", "`scpoe` is no parameter of a route: use scope, resource, account and metadata"),
        ("scope=any&debug", "`debug` is no parameter of a route"),
        ("scope=", "scope: `` is not of the form <resource>:<read|write|*>"),
        ("scope=orders", "scope: `orders` is not of the form"),
        ("scope=orders:*", "a route asks for one resource and one action"),
        ("scope=*:read", "a route asks for one resource and one action"),
        ("scope=orders:delete", "`delete` is no action: use `read`, `write`"),
        ("scope=Orders:read", "`Orders` is no resource name: use lower-case letters"),
        (&format!("scope={}:read", "a".repeat(100)), "a scope has at most 100 characters"),
        ("resource=", "is no resource name"),
        ("resource=orders:read", "`orders:read` is no resource name"),
        ("scope=any&account=acme", "account: `acme` is not of the form <namespace>/<name>"),
        ("scope=any&account=a/b/c", "is not of the form <namespace>/<name>"),
        ("scope=any&account=", "is not of the form <namespace>/<name>"),
        ("scope=%", "not properly percent-encoded"),
        ("scope=%zz", "not properly percent-encoded"),
        ("scope=%ff", "not properly percent-encoded"),
    ] {
        // Whoever asks: a key that may do everything does not help.
        for lines in [vec![], vec![line("X-API-Key", key)]] {
            let lines = [lines, vec![line("X-Original-Method", "GET")]].concat();
            let answer = auth(query, &lines).await;
            assert_denied(query, &answer, 403, "bad_route", None);
            let detail = answer.json()["detail"].as_str().unwrap().to_owned();
            assert!(detail.contains(says), "{query}: {detail}");
        }
    }
}

#[tokio::test]
async fn a_resource_is_read_or_written_as_the_gateways_header_says_and_never_guessed() {
    let key = &keywright().await.reader;
    let lacks_write = format!("{REALM}, error=\"insufficient_scope\", scope=\"orders:write\"");
    for (methods, expected) in [
        (&["GET"][..], "ok"),
        (&["HEAD"], "ok"),
        (&["OPTIONS"], "ok"),
        (&["POST"], "insufficient_scope"),
        (&["DELETE"], "insufficient_scope"),
        (&["get"], "insufficient_scope"),
        (&[""], "insufficient_scope"),
        (&[], "bad_route"),
        (&["GET", "GET"], "bad_route"),
        (&["GET", "POST"], "bad_route"),
    ] {
        let mut lines = vec![line("X-API-Key", key)];
        lines.extend(methods.iter().map(|method| line("X-Original-Method", method)));
        let what = format!("{methods:?}");
        let answer = auth("resource=orders", &lines).await;
        match expected {
            "ok" => assert_eq!((answer.status, code(&answer)), (200, "ok"), "{what}"),
            "bad_route" => {
                assert_denied(&what, &answer, 403, "bad_route", None);
                assert!(answer.json()["detail"].as_str().unwrap().contains("--method-header"), "{answer:?}");
            }
            code => assert_denied(&what, &answer, 403, code, Some(&lacks_write)),
        }
    }
}

#[tokio::test]
async fn keys_of_other_accounts_than_the_route_names_are_refused() {
    let Keywright { account, full, .. } = keywright().await;
    let (namespace, ours) = (account.split_once('/').unwrap().0, format!("account={account}"));
    for (accounts, passes) in [
        (ours.clone(), true),
        (format!("account={namespace}%2Facme"), true),
        (format!("account=other/acme&{ours}"), true),
        (format!("{ours}&{ours}"), true),
        ("account=other/acme".to_owned(), false),
        (format!("account={namespace}/globex"), false),
        ("account=other/acme&account=other/globex".to_owned(), false),
    ] {
        let answer = auth(&format!("scope=any&{accounts}"), &places(full)[..1]).await;
        if passes {
            assert_eq!((answer.status, code(&answer)), (200, "ok"), "{accounts}");
        } else {
            assert_denied(&accounts, &answer, 403, "wrong_account", None);
        }
    }
}

#[tokio::test]
async fn a_verifier_without_complete_lists_refuses_everything_and_says_that_it_is_not_ready() {
    let Keywright { cluster, full, .. } = keywright().await;
    let [nobody, listen, admin] = free_ports().unwrap();
    let kubeconfig = cluster.plane.dir.join("nobody.kubeconfig");
    cluster.plane.write_kubeconfig_for(&kubeconfig, &format!("https://127.0.0.1:{nobody}"), "").unwrap();
    let verifier = Running::start(cluster, "verifier", &kubeconfig, Some(listen), admin, &[]).unwrap();
    let alive = support::eventually("it listens", || http::get(&verifier.admin, "/livez", &[])).await;
    assert_eq!(alive.status, 200);
    let ready = http::get(&verifier.admin, "/readyz", &[]).await.unwrap();
    assert_eq!(ready.status, 503);
    assert!(ready.body.starts_with("not ready: "), "{}", ready.body);
    for query in ["scope=any", "scope=orders:read", ""] {
        for lines in [vec![], vec![line("X-API-Key", full)], vec![line("X-API-Key", "nonsense")]] {
            let answer = ask(&verifier.address, &format!("GET /auth?{query} HTTP/1.1"), &lines).await;
            assert_denied(query, &answer, 503, "not_ready", None);
        }
    }
    let answer = http::post(&verifier.address, "/v1/verify", &json!({"key": full}).to_string()).await.unwrap();
    assert_denied("/v1/verify", &answer, 503, "not_ready", None);
}
