//! Beside `/auth`: `POST /v1/verify`, the admin port, and what does not exist.

use serde_json::{Value, json};

use super::support::http::{self, Answer};
use super::{Keywright, ask, assert_does_not_quote, auth, code, flipped, keywright, line, places, with_checksum};

async fn verify(body: &str) -> Answer {
    http::post(&keywright().await.verifier.address, "/v1/verify", body).await.unwrap()
}

#[tokio::test]
async fn a_program_that_asks_about_a_key_learns_who_it_is_only_if_its_secret_is_right() {
    let Keywright { account, full, reader, off, .. } = keywright().await;
    let stranger = with_checksum(&format!("{}{}", &full[..16], &reader[16..reader.len() - 6]));
    for (ask, code, known) in [
        (json!({"key": reader}), "ok", true),
        (json!({"key": reader, "scope": "orders:read", "account": account}), "ok", true),
        (json!({"key": reader, "scope": "orders:write"}), "insufficient_scope", true),
        (json!({"key": reader, "account": "other/acme"}), "wrong_account", true),
        (json!({"key": off}), "disabled", true),
        (json!({"key": stranger}), "unknown", false),
        (json!({"key": flipped(reader, 20)}), "malformed", false),
        (json!({"key": "nonsense"}), "malformed", false),
        (json!({"key": ""}), "missing", false),
    ] {
        let answer = verify(&ask.to_string()).await;
        assert_eq!(answer.status, 200, "{ask}: {answer:?}");
        assert_eq!(answer.header("content-type"), Some("application/json"), "{ask}");
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{ask}");
        let body = answer.json();
        assert_eq!((&body["valid"], &body["code"]), (&json!(code == "ok"), &json!(code)), "{ask}");
        assert_eq!(body.as_object().unwrap().len() > 2, known, "{ask}: {body}");
        if let Some(key) = ask["key"].as_str().filter(|key| key.len() > 8) {
            assert_does_not_quote(&answer, key);
        }
    }
    let who = json!({"valid": true, "code": "ok", "keyId": reader[3..15], "account": account, "name": "reader",
        "displayName": "Order reader", "accessLevel": "Custom", "scopes": ["orders:read"], "expiresAt": "2099-01-01T00:00:00Z",
        "metadata": {"plan": "free", "team": "billing"}});
    assert_eq!(verify(&json!({"key": reader}).to_string()).await.json(), who);
}

#[tokio::test]
async fn a_body_that_is_no_question_is_refused_and_not_quoted() {
    let Keywright { verifier, full, .. } = keywright().await;
    let long = format!(r#"{{"key": "{full}{}"}}"#, "a".repeat(8192));
    for (what, body, status) in [
        ("nothing", String::new(), 400),
        ("no JSON", full.clone(), 400),
        ("broken JSON", format!(r#"{{"key": "{full}""#), 400),
        ("an unknown field", format!(r#"{{"key": "{full}", "scopes": "orders:read"}}"#), 400),
        ("no key", r#"{"scope": "any"}"#.to_owned(), 400),
        ("a key twice", format!(r#"{{"key": "{full}", "key": "{full}"}}"#), 400),
        ("a key of another type", r#"{"key": 7}"#.to_owned(), 400),
        ("a list", format!(r#"["{full}"]"#), 400),
        ("a scope that cannot be asked for", format!(r#"{{"key": "{full}", "scope": "orders"}}"#), 400),
        ("an account that is none", format!(r#"{{"key": "{full}", "account": "acme"}}"#), 400),
        ("more than 8 kB", long, 413),
    ] {
        let answer = verify(&body).await;
        assert_eq!(answer.status, status, "{what}: {answer:?}");
        assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{what}");
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{what}");
        let said = answer.json();
        assert_eq!((&said["status"], said.get("valid")), (&json!(status), None::<&Value>), "{what}");
        assert_does_not_quote(&answer, full);
    }
    for method in ["GET", "PUT", "DELETE"] {
        let answer = http::request(&verifier.address, method, "/v1/verify", &[], "").await.unwrap();
        assert_eq!(answer.status, 405, "{method}");
    }
}

#[tokio::test]
async fn other_paths_do_not_exist() {
    let Keywright { verifier, full, .. } = keywright().await;
    for path in ["/", "/AUTH", "/authorize?scope=any", "//auth", "/v1", "/v1/verify/", "/metrics", "/livez", "/readyz/"]
    {
        let answer = ask(&verifier.address, &format!("GET {path} HTTP/1.1"), &places(full)[..1]).await;
        assert_eq!((answer.status, code(&answer)), (404, "none"), "{path}");
    }
    let answer = ask(&verifier.admin, "GET /auth?scope=any HTTP/1.1", &places(full)[..1]).await;
    assert_eq!(answer.status, 404, "the admin port answers no questions");
}

/// By which gateways choose among several; whoever else reaches it learns nothing more.
#[tokio::test]
async fn where_gateways_ask_it_is_said_whether_this_one_is_ready_and_nothing_else() {
    let Keywright { verifier, full, .. } = keywright().await;
    let answer = ask(&verifier.address, "GET /readyz HTTP/1.1", &places(full)[..1]).await;
    assert_eq!((answer.status, code(&answer), answer.body.as_str()), (200, "none", ""));
    let answer = http::request(&verifier.address, "POST", "/readyz", &[], "").await.unwrap();
    assert_eq!(answer.status, 405);
}

#[tokio::test]
async fn answers_are_counted_by_code_and_transport_and_never_by_key() {
    let Keywright { verifier, full, .. } = keywright().await;
    let counted = async |code: &str, transport: &str| {
        let text = http::get(&verifier.admin, "/metrics", &[]).await.unwrap().body;
        let series = format!("keywright_verify_total{{code=\"{code}\",transport=\"{transport}\"}} ");
        text.lines().find_map(|line| line.strip_prefix(&series)?.parse::<u64>().ok()).expect("a counter")
    };
    for (code, key) in [("ok", full.as_str()), ("malformed", "kw_nonsense")] {
        let before = (counted(code, "auth").await, counted(code, "verify").await);
        auth("scope=any", &[line("X-API-Key", key)]).await;
        verify(&json!({"key": key}).to_string()).await;
        let after = (counted(code, "auth").await, counted(code, "verify").await);
        assert!(after.0 > before.0 && after.1 > before.1, "{code}: {before:?}, then {after:?}");
    }
    let text = http::get(&verifier.admin, "/metrics", &[]).await.unwrap().body;
    assert!(!text.contains(&full[3..15]), "{text}");
    for path in ["/livez", "/readyz"] {
        let answer = http::get(&verifier.admin, path, &[]).await.unwrap();
        assert_eq!((answer.status, answer.body.trim()), (200, "ok"), "{path}");
    }
}
