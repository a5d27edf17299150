//! `Suspension`: its target stays, its reason and message may be corrected.

use serde_json::{Value, json};

use super::offer::{Case, Offer, accepts, rejects, suspension};

const BY_STAYS: &str = "by cannot be changed: create another Suspension";
const TARGET_STAYS: &str = "target cannot be changed: create another Suspension";

fn of(kind: &str, name: &str) -> Value {
    json!({"target": {"kind": kind, "name": name}})
}

fn for_reason(reason: &str) -> Offer {
    suspension(json!({"reason": reason}))
}

/// What CEL rules decide.
pub fn rules() -> Vec<Case> {
    vec![
        accepts(suspension(of("ApiKey", "a"))),
        accepts(suspension(of("Account", "a"))),
        accepts(suspension(of("ApiKey", "a")).after(of("ApiKey", "a"))),
        rejects(suspension(of("ApiKey", "b")).after(of("ApiKey", "a")), TARGET_STAYS),
        rejects(suspension(of("Account", "a")).after(of("ApiKey", "a")), TARGET_STAYS),
        rejects(suspension(of("ApiKey", "a")).after(of("Account", "a")), TARGET_STAYS),
        accepts(suspension(json!({"reason": "Abuse", "message": "Call us."})).after(json!({"reason": "Leak"}))),
        accepts(suspension(json!({})).after(json!({"message": "Call us."}))),
        accepts(suspension(json!({"by": "Owner"}))),
        accepts(suspension(json!({"by": "Platform"})).after(json!({"by": "Platform"}))),
        rejects(suspension(json!({"by": "Owner"})).after(json!({"by": "Platform"})), BY_STAYS),
        rejects(suspension(json!({"by": "Platform"})).after(json!({"by": "Owner"})), BY_STAYS),
    ]
}

/// What the schema decides.
pub fn bounds() -> Vec<Case> {
    let mut cases = vec![
        // Something that is always there has no way of being set later.
        rejects(suspension(json!({})).without("target"), "spec.target: Required value"),
        rejects(suspension(json!({})).without("target").after(json!({})), "spec.target: Required value"),
        rejects(suspension(json!({"target": null})).after(json!({})), "spec.target: Required value"),
        rejects(suspension(json!({"target": {}})), "spec.target.name: Required value"),
        rejects(suspension(json!({"target": {"name": "a"}})), "spec.target.kind: Required value"),
        rejects(suspension(json!({"target": {"kind": "ApiKey"}})), "spec.target.name: Required value"),
        rejects(suspension(of("Secret", "a")), r#"supported values: "ApiKey", "Account""#),
        rejects(suspension(of("apikey", "a")), r#"supported values: "ApiKey", "Account""#),
        accepts(suspension(of("ApiKey", &"a".repeat(253)))),
        rejects(suspension(of("ApiKey", &"a".repeat(254))), "spec.target.name: Too long"),
        rejects(suspension(of("ApiKey", "")), "spec.target.name in body should be at least 1 chars long"),
        // Its target is in its own namespace, and nobody is to believe otherwise.
        rejects(
            suspension(json!({"target": {"kind": "ApiKey", "name": "a", "namespace": "shop"}})),
            r#"unknown field "spec.target.namespace""#,
        ),
        rejects(suspension(json!({"until": "2099-01-01T00:00:00Z"})), r#"unknown field "spec.until""#),
        rejects(suspension(json!({})).without("reason"), "spec.reason: Required value"),
        // By default it is the platform's.
        rejects(suspension(json!({"by": "Owner"})).after(json!({})), BY_STAYS),
        accepts(suspension(json!({"by": "Platform"})).after(json!({}))),
        rejects(suspension(json!({"by": "Admin"})), r#"supported values: "Platform", "Owner""#),
        accepts(for_reason("a")),
        accepts(for_reason("Payment_overdue2")),
        accepts(for_reason(&"R".repeat(64))),
        rejects(for_reason(&"R".repeat(65)), "spec.reason: Too long"),
        accepts(suspension(json!({"message": null}))),
        accepts(suspension(json!({"message": "é".repeat(1024)}))),
        rejects(suspension(json!({"message": "é".repeat(1025)})), "spec.message: Too long"),
        rejects(suspension(json!({"message": ""})), "spec.message in body should be at least 1 chars long"),
    ];
    cases.extend(
        ["", "payment overdue", "2late", "_a", "a_", "a-b", "a.", "ä", "A\n"]
            .map(|bad| rejects(for_reason(bad), "spec.reason in body should")),
    );
    cases
}
