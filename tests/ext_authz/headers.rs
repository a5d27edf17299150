//! What of a client's headers is taken for a key, and what of them does not reach the upstream.

use super::client::{Answer, Keywright, ask, bearer, client, keywright, raw_request, request};
use super::support::{Error, eventually};
use super::{ANY, PUBLIC, Pairs};

const JWT: &str = "Bearer eyJhbGciOiJIUzI1NiJ9.e30.ZRrHA1JJJW8opsbCGfG_HACGpVUMN_a9IV7pAx_Zmeo";
const STRIP: &[(&str, &str)] = &[("scope", "any"), ("strip-key", "true")];

/// Of these names of a client's headers, those that do not reach the upstream; no others count.
fn gone<'n>(answer: &Answer, names: &[&'n str]) -> Vec<&'n str> {
    let is_gone = |name: &&&str| answer.remove.iter().any(|removed| removed.eq_ignore_ascii_case(name));
    names.iter().filter(is_gone).copied().collect()
}

#[tokio::test]
async fn the_header_that_held_the_key_is_removed_on_request_and_no_other_is() {
    let Keywright { full, site, .. } = keywright().await;
    let client = client().await;
    let (bearer, scheme, site_scheme) = (bearer(full), format!("ApiKey {full}"), format!("ApiKey {site}"));
    let public = [("scope", "public"), ("strip-key", "true")];
    let cases: [(Pairs<'_>, Pairs<'_>, &[&str]); 9] = [
        (STRIP, &[("authorization", &bearer)], &["authorization"]),
        (STRIP, &[("authorization", &scheme)], &["authorization"]),
        (STRIP, &[("x-api-key", full)], &["x-api-key"]),
        (STRIP, &[("authorization", JWT), ("x-api-key", full)], &["x-api-key"]),
        (STRIP, &[("authorization", "Basic dXNlcjpwYXNz"), ("x-api-key", full)], &["x-api-key"]),
        (&public, &[("authorization", &site_scheme)], &["authorization"]),
        (&public, &[("authorization", JWT), ("x-api-key", site)], &["x-api-key"]),
        (ANY, &[("authorization", &bearer)], &[]),
        (ANY, &[("x-api-key", full)], &[]),
    ];
    for (question, headers, expected) in cases {
        let more = [headers, &[("accept", "*/*"), ("cookie", "api-key=1"), ("x-api-key-id", "1")]].concat();
        let names: Vec<_> = more.iter().map(|(name, _)| *name).collect();
        let lines: Vec<_> = more.iter().map(|(name, value)| (*name, value.as_bytes())).collect();
        for request in [request(question, "GET", &more), raw_request(question, &lines)] {
            let answer = ask(&client, request).await;
            assert_eq!(answer.status, 200, "{names:?}: {answer:?}");
            assert_eq!(gone(&answer, &names), expected, "{names:?}: {:?}", answer.remove);
        }
    }
    let lines = [("authorization", JWT.as_bytes()), ("authorization", bearer.as_bytes())];
    let answer = ask(&client, raw_request(STRIP, &lines)).await;
    assert_eq!(
        (answer.status, answer.remove),
        (200, vec!["x-api-key".into(), "authorization".into()]),
        "the key is gone"
    );
    let answer = ask(&client, request(STRIP, "GET", &[("x-api-key", "nonsense")])).await;
    assert_eq!((answer.status, answer.remove.len()), (401, 0), "a refusal changes nothing");
}

/// Characters of a header name that CGI of some servers reads as the separator, but `-`, `_` and `.`.
const OTHER_SEPARATORS: &str = "!#$%&'*+^`|~";

/// A name in every spelling of its separators, in lower, upper and mixed case.
fn spellings(name: &str) -> Vec<String> {
    let mut all = vec![String::new()];
    for c in name.chars() {
        let choices = if c == '-' { vec!['-', '_', '.'] } else { vec![c] };
        all = all.iter().flat_map(|head| choices.iter().map(move |c| format!("{head}{c}"))).collect();
    }
    for separator in OTHER_SEPARATORS.chars().map(String::from) {
        all.extend([
            name.replace('-', &separator),
            name.replacen('-', &separator, 1),
            name.replacen('-', &separator, 2),
        ]);
    }
    let mixed = |name: &String| {
        name.chars().enumerate().map(|(at, c)| if at % 2 == 0 { c.to_ascii_uppercase() } else { c }).collect()
    };
    let cased = all.iter().flat_map(|name| [name.to_ascii_uppercase(), mixed(name)]).collect::<Vec<_>>();
    all.into_iter().chain(cased).collect()
}

#[tokio::test]
async fn identity_headers_from_outside_are_overwritten_or_removed_in_every_spelling() {
    let full = keywright().await.full.as_bytes();
    let client = client().await;
    let ours = ["account", "key", "key-id", "scopes", "site-id", "meta-plan", "code", "anything", ""];
    for name in ours.iter().flat_map(|name| spellings(&format!("x-keywright-{name}"))) {
        let lines = [("x-api-key", full), (name.as_str(), &b"spoofed"[..]), (name.as_str(), &b"twice"[..])];
        let joined = [("x-api-key", std::str::from_utf8(full).unwrap()), (name.as_str(), "spoofed,twice")];
        for request in [raw_request(ANY, &lines), request(ANY, "GET", &joined)] {
            let answer = ask(&client, request).await;
            assert_eq!(answer.status, 200, "{name}: {answer:?}");
            let is_overwritten = answer.names().iter().any(|set| set.eq_ignore_ascii_case(&name));
            assert!(is_overwritten != answer.remove.contains(&name), "{name}: {answer:?}");
        }
    }
    for name in ["x-keywrighter", "keywright-account", "x-keywright", "xkeywright-account", "my-x-keywright-account"] {
        let lines = [("x-api-key", full), (name, &b"someone else's"[..])];
        assert_eq!(ask(&client, raw_request(ANY, &lines)).await.remove, [""; 0], "{name} is not ours");
    }
    let lines = [("x-api-key", keywright().await.site.as_bytes()), ("x-keywright-key", &b"spoofed"[..])];
    let answer = ask(&client, raw_request(PUBLIC, &lines)).await;
    assert_eq!((answer.status, answer.remove), (200, vec!["x-keywright-key".to_owned()]), "a Site ID has no key");
}

/// Envoy removes after it sets, and knows no case. It sends lower case alone, so that this is for others who ask.
#[tokio::test]
async fn no_header_that_is_set_is_also_removed() {
    let full = &keywright().await.full;
    for name in spellings("x-keywright-account") {
        let answer = ask(&client().await, request(ANY, "GET", &[("x-api-key", full), (&name, "spoofed")])).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(gone(&answer, &answer.names()), [""; 0], "{name}");
    }
}

#[tokio::test]
async fn two_keys_are_refused_in_lines_of_their_own_and_joined_by_envoy() {
    let Keywright { full, reader, site, .. } = keywright().await;
    let client = client().await;
    for (first, second) in [(full, full), (full, reader), (reader, full), (full, site), (site, full)] {
        for (one, two) in
            [("x-api-key", "x-api-key"), ("authorization", "x-api-key"), ("authorization", "authorization")]
        {
            let value =
                |name: &str, key: &str| if name == "authorization" { format!("ApiKey {key}") } else { key.into() };
            let (one_value, two_value) = (value(one, first), value(two, second));
            let lines = [(one, one_value.as_bytes()), (two, two_value.as_bytes())];
            let answer = ask(&client, raw_request(ANY, &lines)).await;
            assert_eq!(answer.code(), "malformed", "{one} and {two}: {answer:?}");
            for comma in [",", ", "] {
                let joined = [one_value.as_str(), comma, two_value.as_str()].concat();
                let headers = if one == two {
                    vec![(one, joined.as_str())]
                } else {
                    vec![(one, one_value.as_str()), (two, two_value.as_str())]
                };
                let answer = ask(&client, request(ANY, "GET", &headers)).await;
                assert_eq!(answer.code(), "malformed", "{one} and {two}: {answer:?}");
            }
        }
    }
    let joined = [bearer(full), bearer(reader)].join(",");
    let answer = ask(&client, request(ANY, "GET", &[("authorization", &joined)])).await;
    assert_eq!(answer.status, 401, "{answer:?}");
}

/// Two lines of Authorization and one of X-API-Key: in lines of their own they are seen to hold two keys.
#[tokio::test]
async fn a_second_key_behind_a_foreign_authorization_is_refused_however_envoy_tells_it() {
    let Keywright { full, reader, .. } = keywright().await;
    let client = client().await;
    for foreign in [JWT, "Basic dXNlcjpwYXNz"] {
        let second = bearer(reader);
        let lines = [foreign.as_bytes(), second.as_bytes()].map(|value| ("authorization", value));
        let lines = [&lines[..], &[("x-api-key", full.as_bytes())]].concat();
        assert_eq!(ask(&client, raw_request(ANY, &lines)).await.code(), "malformed", "{foreign}");
        let joined = format!("{foreign},{second}");
        let answer = ask(&client, request(ANY, "GET", &[("authorization", &joined), ("x-api-key", full)])).await;
        assert_eq!(answer.code(), "malformed", "{foreign}: {answer:?}");
    }
}

#[tokio::test]
async fn names_count_in_every_case_but_in_no_other_spelling() {
    let full = &keywright().await.full;
    let client = client().await;
    let bearer = bearer(full);
    for (name, value, code) in [
        ("X-API-Key", full, "ok"),
        ("x-Api-kEY", full, "ok"),
        ("AUTHORIZATION", &bearer, "ok"),
        ("Authorization", &bearer, "ok"),
        ("X_API_Key", full, "missing"),
        ("x.api.key", full, "missing"),
        ("x-api-key ", full, "missing"),
        ("x-api-key\0", full, "missing"),
        ("", full, "missing"),
        (":authority", full, "missing"),
        ("cookie", full, "missing"),
        ("proxy-authorization", &bearer, "missing"),
    ] {
        for request in [request(ANY, "GET", &[(name, value)]), raw_request(ANY, &[(name, value.as_bytes())])] {
            assert_eq!(ask(&client, request).await.code(), code, "{name:?}");
        }
    }
    let both = [("X-API-Key", full.as_str()), ("x-api-key", full.as_str())];
    assert_eq!(ask(&client, request(ANY, "GET", &both)).await.code(), "malformed", "two keys, told apart by case");
}

#[tokio::test]
async fn bytes_that_no_key_has_are_refused_wherever_they_stand() {
    let full = keywright().await.full.as_bytes();
    let client = client().await;
    for byte in (0..=0x1f_u8).chain([0x7f, 0x80, 0xa0, 0xff]) {
        // A key is trimmed of white space, as HTTP servers do.
        let edges = if byte.is_ascii_whitespace() { 0 } else { 2 };
        let inside = [&full[..20], &[byte], &full[20..]].concat();
        let around = [[&[byte], full].concat(), [full, &[byte]].concat()];
        for value in std::iter::once(&inside).chain(&around[..edges]) {
            let answer = ask(&client, raw_request(ANY, &[("x-api-key", value)])).await;
            assert_eq!(answer.code(), "malformed", "byte {byte:#x}");
            let value = [b"ApiKey ", &value[..]].concat();
            let answer = ask(&client, raw_request(ANY, &[("authorization", &value)])).await;
            assert_eq!(answer.code(), "malformed", "byte {byte:#x}");
            let value = [b"Bearer ", &value[7..]].concat();
            let answer = ask(&client, raw_request(ANY, &[("authorization", &value)])).await;
            assert_eq!(answer.status, 401, "byte {byte:#x}");
        }
    }
}

#[tokio::test]
async fn a_header_of_64_kb_is_refused_as_a_key_and_passed_over_elsewhere() {
    let full = keywright().await.full.as_bytes();
    let client = client().await;
    let long = [full, &vec![b'a'; 65536 - full.len()]].concat();
    assert_eq!(ask(&client, raw_request(ANY, &[("x-api-key", &long)])).await.code(), "malformed");
    let scheme = [b"ApiKey ", &long[..]].concat();
    assert_eq!(ask(&client, raw_request(ANY, &[("authorization", &scheme)])).await.code(), "malformed");
    let token = [b"Bearer ", &long[..]].concat();
    assert_eq!(ask(&client, raw_request(ANY, &[("authorization", &token)])).await.code(), "missing", "no key of ours");
    let spoof = format!("x-keywright-{}", "a".repeat(65536));
    let lines = [("x-api-key", full), ("cookie", &long[..]), (&long_name(), b"1"), (&spoof, b"1")];
    let answer = ask(&client, raw_request(ANY, &lines)).await;
    assert_eq!((answer.status, answer.remove), (200, vec![spoof]));
}

fn long_name() -> String {
    "a".repeat(65536)
}

#[tokio::test]
async fn a_key_disabled_is_refused_over_grpc_and_enabled_passes_again() {
    let space = super::support::space::Space::new(keywright().await.cluster).await;
    let key = space.ready_key("storefront").await;
    let client = client().await;
    for (disabled, code) in [(false, "ok"), (true, "disabled"), (false, "ok")] {
        space.patch_key("storefront", serde_json::json!({"spec": {"disabled": disabled}})).await;
        eventually(&format!("the answer is {code}"), async || {
            let answer = ask(&client, request(ANY, "GET", &[("x-api-key", &key)])).await;
            if answer.code() == code { Ok(()) } else { Err::<_, Error>(answer.code().into()) }
        })
        .await;
    }
}
