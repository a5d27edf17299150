//! Calls from web pages of another origin, and the preflights before them, which have no key.

use super::fixture::{Gateway, Stage};
use super::support::http::Answer;
use super::table::eventually_passes;
use super::upstream::Received;

/// The origin that the files of docs/gateways allow.
const PAGE: (&str, &str) = ("Origin", "https://app.example.com");

/// Origins that the files do not allow.
const OTHERS: [&str; 5] = [
    "https://evil.example.com",
    "https://app.example.com.evil.example",
    "https://app.example.com:8443",
    "http://app.example.com",
    "null",
];

/// Header that makes an OPTIONS request with an origin a preflight.
const ASKS: (&str, &str) = ("Access-Control-Request-Method", "GET");

/// Returns the items of a list header in lower case. Lines with the same name form one list.
fn listed(answer: &Answer, name: &str) -> Vec<String> {
    let lines = answer.headers.iter().filter(|(n, _)| n == name);
    lines.flat_map(|(_, value)| value.split(',')).map(|item| item.trim().to_ascii_lowercase()).collect()
}

/// Returns the origins whose scripts may read an answer. Browsers refuse more than one.
fn allowed(answer: &Answer) -> Vec<String> {
    listed(answer, "access-control-allow-origin")
}

fn assert_stays_at_gateway(gateway: &Gateway, what: &str, answer: &Answer) {
    assert!(Received::of(answer).is_none(), "{} {what}: it reached the upstream", gateway.name);
}

pub async fn preflights(_: &Stage, gateway: &Gateway) {
    for path in ["/orders", "/orders/1?page=2", "/catalogue"] {
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE"] {
            let asked = [
                PAGE,
                ("Access-Control-Request-Method", method),
                ("Access-Control-Request-Headers", "authorization,content-type,x-api-key"),
            ];
            let answer = gateway.call("OPTIONS", path, &asked).await;
            assert!([200, 204].contains(&answer.status), "{} {path}: {answer:?}", gateway.name);
            assert_eq!(allowed(&answer), [PAGE.1], "{} {path}", gateway.name);
            let methods = listed(&answer, "access-control-allow-methods");
            assert!(methods.contains(&method.to_ascii_lowercase()), "{} {path}: {methods:?}", gateway.name);
            let headers = listed(&answer, "access-control-allow-headers");
            assert_eq!(headers, ["authorization", "x-api-key", "content-type"], "{} {path}", gateway.name);
            assert_stays_at_gateway(gateway, path, &answer);
        }
    }
}

pub async fn others(_: &Stage, gateway: &Gateway) {
    // Traefik answers every preflight itself.
    let status = if gateway.name == "traefik" { 200 } else { 401 };
    for origin in OTHERS {
        let answer = gateway.call("OPTIONS", "/orders", &[("Origin", origin), ASKS]).await;
        assert_eq!(answer.status, status, "{} {origin}: {answer:?}", gateway.name);
        assert_eq!(allowed(&answer), [""; 0], "{} {origin}", gateway.name);
        assert_stays_at_gateway(gateway, origin, &answer);
    }
    let answer = gateway.call("OPTIONS", "/elsewhere", &[PAGE, ASKS]).await;
    assert_eq!(answer.status, 403, "{}: a route that asks nothing", gateway.name);
    let answer = gateway.call("OPTIONS", "/orders/..%2fcatalogue", &[PAGE, ASKS]).await;
    assert_eq!(answer.status, 400, "{}: an ambiguous path", gateway.name);
}

pub async fn no_preflights(_: &Stage, gateway: &Gateway) {
    let cases: [(&str, &[(&str, &str)]); 5] = [
        ("OPTIONS", &[]),
        ("OPTIONS", &[PAGE]),
        ("OPTIONS", &[ASKS]),
        ("OPTIONS", &[PAGE, ("Access-Control-Request-Headers", "authorization")]),
        ("GET", &[PAGE, ASKS]),
    ];
    for (method, headers) in cases {
        let what = format!("{method} with {headers:?}");
        let answer = gateway.call(method, "/orders", headers).await;
        assert_eq!(answer.status, 401, "{} {what}: {answer:?}", gateway.name);
        assert_eq!(answer.header("x-keywright-code"), Some("missing"), "{} {what}", gateway.name);
        assert_stays_at_gateway(gateway, &what, &answer);
    }
    let key = gateway.space.ready_key("storefront").await;
    eventually_passes(gateway, "/orders", &key).await;
    let answer = gateway.with_key("OPTIONS", "/orders", &key).await;
    let received = Received::of(&answer).unwrap_or_else(|| panic!("{}: {}", gateway.name, answer.status));
    assert_eq!(received.text("method"), "OPTIONS", "{}", gateway.name);
}

pub async fn calls(_: &Stage, gateway: &Gateway) {
    let key = gateway.space.ready_key("storefront").await;
    eventually_passes(gateway, "/orders", &key).await;
    let bearer = ("Authorization", &*format!("Bearer {key}"));
    let answer = gateway.call("GET", "/orders", &[PAGE, bearer]).await;
    assert!(Received::of(&answer).is_some(), "{}: {}", gateway.name, answer.status);
    assert_eq!(allowed(&answer), [PAGE.1], "{}", gateway.name);
    let varies = listed(&answer, "vary").iter().any(|name| name == "origin");
    assert!(varies, "{}: {:?}", gateway.name, answer.headers);

    let answer = gateway.call("GET", "/orders", &[PAGE]).await;
    assert_eq!(answer.status, 401, "{}", gateway.name);
    assert_eq!(allowed(&answer), [PAGE.1], "{}: a script could not read the refusal", gateway.name);
    let exposed = listed(&answer, "access-control-expose-headers");
    assert_eq!(exposed, ["www-authenticate", "x-keywright-code"], "{}", gateway.name);

    for origin in OTHERS {
        let answer = gateway.call("GET", "/orders", &[("Origin", origin), bearer]).await;
        assert_eq!(answer.status, 200, "{} {origin}", gateway.name);
        assert_eq!(allowed(&answer), [""; 0], "{} {origin}", gateway.name);
    }
}
