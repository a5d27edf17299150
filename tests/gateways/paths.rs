//! Paths that a gateway and an API may read differently.

use futures::future::join_all;

use super::fixture::{Gateway, Stage};
use super::h2c;
use super::headers::{Keys, keys};
use super::support::http::{Answer, send};
use super::upstream::Received;

/// Paths that all gateways forward as they are.
const PLAIN: [&str; 11] = [
    "/catalogue",
    "/catalogue/",
    "/catalogue/a/b",
    "/catalogue/a%20b",
    "/catalogue/caf%C3%A9/%E2%82%AC",
    "/catalogue/a.b/..c/d../.../e",
    "/catalogue/a;v=1/b",
    "/catalogue/a,b=c@d:e+f~g!$&'()*",
    "/catalogue/a%3Fb%23c%3Bd%40e",
    "/catalogue?next=/../orders//%2f..%5c&again=%252e",
    "/catalogue/?",
];

/// Paths next to those of a route, which have no question.
const OUTSIDE: [&str; 16] = [
    "/",
    "/catalogue-admin",
    "/catalogue-admin/1",
    "/cataloguex",
    "/catalogue.json",
    "/catalogue;x=1",
    "/catalogue;/1",
    "/catalogue%20",
    "/catalogue%3F",
    "/catalogue%3Bx",
    "/CATALOGUE",
    "/Catalogue/1",
    "/orders-admin",
    "/ordersx/1",
    "/ORDERS",
    "/_keywright/orders",
];

/// Paths that all gateways refuse.
const REFUSED: [&str; 27] = [
    "/catalogue/%2f",
    "/catalogue/..%2forders",
    "/catalogue/..%2Forders",
    "/catalogue%2f..%2forders",
    "/orders/..%2fcatalogue",
    "/catalogue/%5c",
    "/catalogue/..%5corders",
    "/catalogue/..%5Corders",
    "/orders/..%5ccatalogue",
    "/catalogue/%2e%2e;/orders",
    "/catalogue/..%3b/orders",
    "/catalogue/..%3B/orders",
    "/catalogue/.%2e%3Ba/orders",
    "/catalogue/%252e%252e/orders",
    "/catalogue/..%252forders",
    "/catalogue/..%255corders",
    "/catalogue/%25%32%65%25%32%65/orders",
    "/catalogue/100%25",
    "/catalogue/%00",
    "/catalogue/..%00/orders",
    "/catalogue/..%0d/orders",
    "/catalogue/..%09/orders",
    "/catalogue/%c0%ae%c0%ae/orders",
    "/catalogue/..%c0%aforders",
    "/catalogue/%e0%80%ae%E0%80%AE/orders",
    "/catalogue/%f0%80%80%ae%F0%80%80%AE/orders",
    "/catalogue/%u002e%u002e/orders",
];

/// Paths that a gateway refuses, or forwards in the form in which it matched them.
const NORMALISED: [&str; 37] = [
    "/orders/%2e%2e/catalogue",
    "/orders/%2E%2E/catalogue",
    "/orders/.%2e/catalogue",
    "/orders/../catalogue",
    "/orders/../catalogue/../orders",
    "/orders//../catalogue",
    "/orders/a/../../catalogue",
    "/orders/..\\catalogue",
    "/orders\\..\\catalogue",
    "/catalogue/../orders",
    "/catalogue/%2e%2e/orders",
    "/catalogue/%2E%2E/orders",
    "/catalogue/%2e./orders",
    "/catalogue/..\\orders",
    "/catalogue\\..\\orders",
    "/catalogue/\\..\\../orders",
    "/catalogue/..;/orders",
    "/catalogue/..;a=b/orders",
    "/catalogue/a/..;/..;/orders",
    "/catalogue/..;",
    "/catalogue/.;/orders",
    "/catalogue/./../orders",
    "/catalogue//../orders",
    "/catalogue/..//orders",
    "/catalogue/..",
    "/catalogue/%2e%2e",
    "/catalogue/.",
    "/catalogue/a/..",
    "/catalogue//a",
    "//catalogue",
    "//orders/../catalogue",
    "/./catalogue",
    "/.//orders/..//catalogue",
    "/cat%61logue/../orders",
    "/%63atalogue/1",
    "/catalogue#/../orders",
    "/catalogue/#/../../orders",
];

/// Rows of the table in docs/gateways/README.md: status of a refusal, or the path that is forwarded, by Envoy, nginx, Caddy
/// and Traefik.
const DOCUMENTED: [(&str, [&str; 4]); 21] = [
    ("/catalogue/./a/../b", ["/catalogue/b", "400", "400", "/catalogue/b"]),
    ("/catalogue//a", ["/catalogue/a", "400", "400", "/catalogue/a"]),
    ("/catalogue/a/..;x=1/b", ["/catalogue/b", "400", "400", "400"]),
    ("/catalogue/a/.;/b", ["/catalogue/a/b", "400", "400", "400"]),
    ("/catalogue/a/..%3b/b", ["403", "400", "400", "400"]),
    ("/catalogue/a/%2e%2e;/b", ["403", "400", "400", "400"]),
    ("/catalogue/a%2fb", ["400", "400", "400", "400"]),
    ("/catalogue/a%5Cb", ["400", "400", "400", "400"]),
    ("/catalogue/a\\b", ["/catalogue/a/b", "400", "400", "400"]),
    ("/catalogue/a%25b", ["403", "400", "400", "400"]),
    ("/catalogue/a%0ab", ["403", "400", "400", "400"]),
    ("/catalogue/a%7Fb", ["403", "400", "400", "400"]),
    ("/catalogue/a%00b", ["400", "400", "400", "400"]),
    ("/catalogue/%61%2D%2e%5F%30", ["/catalogue/a-._0", "400", "400", "/catalogue/a-._0"]),
    ("/catalogue/%7Ea", ["/catalogue/~a", "/catalogue/%7Ea", "/catalogue/%7Ea", "/catalogue/~a"]),
    ("/catalogue/a%c0%ae", ["403", "400", "400", "400"]),
    ("/catalogue/a%ff", ["/catalogue/a%ff", "/catalogue/a%ff", "/catalogue/a%ff", "400"]),
    ("/catalogue/a%2", ["403", "400", "400", "400"]),
    ("/catalogue/#a", ["400", "400", "/catalogue/%23a", "400"]),
    ("/ORDERS", ["403", "403", "403", "403"]),
    ("/orders;x", ["403", "403", "403", "403"]),
];

/// The gateways do with a path what the documentation says.
pub async fn documented(_: &Stage, gateway: &Gateway) {
    let full = keys(gateway).await.full;
    let column = ["envoy", "nginx", "caddy", "traefik"].iter().position(|name| gateway.name.starts_with(name)).unwrap();
    let answers = join_all(DOCUMENTED.map(|(path, _)| gateway.with_key("GET", path, &full))).await;
    for ((path, expected), answer) in DOCUMENTED.iter().zip(answers) {
        let received = Received::of(&answer);
        let status = answer.status.to_string();
        let outcome = received.as_ref().map_or(status.as_str(), |received| received.text("target"));
        assert_eq!(outcome, expected[column], "{} {path}", gateway.name);
    }
}

pub async fn hold(_: &Stage, gateway: &Gateway) {
    let keys = keys(gateway).await;
    join_all(PLAIN.map(|path| is_forwarded(gateway, path, &keys.other))).await;
    // Envoy waits a second before it closes a connection after a refusal.
    join_all(OUTSIDE.iter().chain(&REFUSED).map(|path| is_refused(gateway, path, &keys.full))).await;
    // These keys answer only the question of /catalogue.
    join_all(REFUSED.iter().chain(&NORMALISED).map(|path| only_the_catalogue(gateway, path, &keys))).await;
}

async fn is_forwarded(gateway: &Gateway, path: &str, key: &str) {
    let answer = gateway.with_key("GET", path, key).await;
    let received = Received::of(&answer).unwrap_or_else(|| panic!("{} {path}: {}", gateway.name, answer.status));
    assert_eq!(received.text("target"), path, "{}", gateway.name);
}

async fn is_refused(gateway: &Gateway, path: &str, key: &str) {
    let answer = gateway.with_key("GET", path, key).await;
    assert!((400..=499).contains(&answer.status), "{} {path}: {}", gateway.name, answer.status);
    assert!(Received::of(&answer).is_none(), "{} {path} reached the upstream", gateway.name);
}

/// Requests a path in every way. A request that reaches the upstream is one for the catalogue, however the API reads its
/// path.
async fn only_the_catalogue(gateway: &Gateway, path: &str, keys: &Keys) {
    let mut answers = vec![
        gateway.with_key("GET", path, &keys.other).await,
        gateway.with_key("POST", path, &keys.reader).await,
        in_absolute_form(gateway, path, &keys.other).await,
    ];
    if gateway.speaks_h2c && !path.contains(['\\', '#']) {
        answers.extend(h2c::call(&gateway.address, path, &[("x-api-key", &keys.other)], &[]).await);
    }
    for received in answers.iter().filter_map(Received::of) {
        let target = received.text("target");
        for reading in [target.to_owned(), most_lenient(target)] {
            let rest = reading.strip_prefix("/catalogue");
            let is_below = rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '?']));
            assert!(is_below, "{}: {path} reached the upstream as {target}, which may be {reading}", gateway.name);
        }
    }
}

async fn in_absolute_form(gateway: &Gateway, path: &str, key: &str) -> Answer {
    let host = &gateway.address;
    let head =
        format!("GET http://{host}{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nX-API-Key: {key}\r\n\r\n");
    send(host, head.as_bytes()).await.unwrap()
}

/// Path as the most lenient API reads it: decoded until nothing is encoded, without parameters, and resolved.
fn most_lenient(target: &str) -> String {
    let path = target.split('?').next().unwrap();
    let mut decoded = path.to_owned();
    for _ in 0..4 {
        decoded = decode(&decoded);
    }
    let decoded = decoded.replace("\u{c0}\u{ae}", ".").replace("\u{c0}\u{af}", "/").replace('\\', "/");
    let mut segments = Vec::new();
    for segment in decoded.split(['/', '#']) {
        let segment = segment.split(';').next().unwrap().trim_matches(|c: char| c.is_control() || c == ' ');
        match segment {
            "" | "." => {}
            ".." => drop(segments.pop()),
            name => segments.push(name),
        }
    }
    format!("/{}", segments.join("/"))
}

fn decode(text: &str) -> String {
    let mut parts = text.split('%');
    let mut decoded = parts.next().unwrap().to_owned();
    for part in parts {
        let (code, digits) = if part.starts_with('u') { (part.get(1..5), 5) } else { (part.get(..2), 2) };
        match code.and_then(|code| u32::from_str_radix(code, 16).ok()).and_then(char::from_u32) {
            Some(c) => decoded.extend([c.to_string().as_str(), &part[digits..]]),
            None => decoded.extend(["%", part]),
        }
    }
    decoded
}
