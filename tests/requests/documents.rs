//! The documents for callers have every code and every path.

use keywright::verifier::code::Code;
use serde_json::Value;

use super::support::documents::root;

fn text(document: &str) -> String {
    std::fs::read_to_string(root().join(document)).unwrap()
}

#[test]
fn openapi_has_the_codes_and_paths_of_the_verifier() {
    let api: Value = serde_yaml_ng::from_str(&text("docs/openapi.yaml")).unwrap();
    let codes: Vec<&str> =
        api["components"]["schemas"]["Code"]["enum"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert_eq!(codes, Code::ALL.map(Code::as_str));
    let paths: Vec<&String> = api["paths"].as_object().unwrap().keys().collect();
    assert_eq!(paths, ["/auth", "/livez", "/metrics", "/readyz", "/v1/verify"]);
    // Written in the routers as they are here, but for /auth, which has path parameters too.
    let routers = text("src/verifier/http.rs") + &text("src/server/mod.rs");
    for path in paths {
        assert!(routers.contains(&format!("\"{path}")), "{path}");
    }
}

#[test]
fn page_for_callers_has_each_code_with_its_status() {
    let page = text("docs/CALLERS.md");
    for code in Code::ALL {
        let row = format!("| `{code}` | {} | ", code.status());
        assert_eq!(page.matches(&row).count(), 1, "{row}");
    }
}
