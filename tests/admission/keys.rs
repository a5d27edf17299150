//! What an `ApiKey` has to itself: account, clone, expiry, rotation, restrictions.

use serde_json::{Value, json};

use super::common::{custom, longest_metadata, longest_scopes};
use super::offer::{Case, Offer, accepts, key, no_durations, no_moments, range, rejects, stays};
use super::secrets::longest_secret;

const ACCOUNT_STAYS: &str = "account cannot be changed: create a new key for the other account";
const CLONE_STAYS: &str = "cloneFrom cannot be changed: create a new key";
const CLONE_STAYS_SET: &str = "cloneFrom cannot be set or removed later: create a new key";
const NOT_ITSELF: &str = "a key cannot be cloned from itself";
const LEVEL_IS_NEEDED: &str =
    "accessLevel is needed: ReadOnly, Full or Custom; only a key with cloneFrom may leave it out";
const SCOPES_WITH_CUSTOM: &str =
    "accessLevel Custom needs 1 to 64 scopes; ReadOnly, Full and a clone without accessLevel take none";
const EXPIRY: &str =
    "expiresAt must be from 1970-01-01 to before 9999-12-30; leave it out for a key that does not expire";
const ONE_LINE: &str = "disabledReason is one line of text, without control characters";
const REVOCATION_STAYS: &str = "rotation.revokeBefore revokes for good, and that is not recorded yet: keep it until \
    status.revokedBefore has it, a moment after the operator has seen it; a key without a value can be deleted and \
    created again";
const REVOKE_BEFORE: &str =
    "rotation.revokeBefore must be from 1970-01-01 to before 9999-12-30; to refuse every value set disabled: true";
const INTERVAL: &str = "rotation.interval must be 1m to 87600h (10 years), in hours, minutes and seconds such as 24h, 90m or 30s; a day is 24h";
const INTERVAL_AND_OVERLAP: &str =
    "rotation.interval must not be shorter than rotation.overlap, which is 24h where it is not set";
const OVERLAP: &str = "rotation.overlap must be 0s to 8760h (1 year), in hours, minutes and seconds such as 24h, 90m or 30s; a day is 24h";

fn clone_of(name: &str) -> Value {
    json!({"cloneFrom": {"name": name}})
}

/// With nothing of its own beside the source.
fn bare_clone_of(name: &str) -> Offer {
    key(clone_of(name)).without("accessLevel")
}

fn rotation(field: &'static str) -> impl Fn(Value) -> Offer {
    move |value| key(json!({"rotation": {field: value}}))
}

fn expiring(at: Value) -> Offer {
    key(json!({"expiresAt": at}))
}

/// Every field at once, each as large as it may be.
pub fn fullest() -> Value {
    json!({
        "account": "a".repeat(253),
        "displayName": "é".repeat(128),
        "disabledReason": "é".repeat(256),
        "accessLevel": "Custom",
        "scopes": longest_scopes(),
        "disabled": false,
        "cloneFrom": {"name": "b".repeat(253)},
        "expiresAt": "2099-01-01T00:00:00.123456789+02:00",
        "rotation": {
            "revision": 9_007_199_254_740_991_i64,
            "interval": "00001h00001m00001s",
            "overlap": "00001h00001m00001s",
            "revokeBefore": "2020-01-01T00:00:00.123456789+02:00",
        },
        "secret": longest_secret(),
        "metadata": longest_metadata(),
        "restrictions": {},
    })
}

/// What CEL rules decide.
pub fn rules() -> Vec<Case> {
    let mut cases = vec![
        accepts(key(fullest())),
        accepts(key(fullest()).after(fullest())),
        accepts(key(json!({"account": "acme", "disabled": true})).after(json!({"account": "acme"}))),
        accepts(key(json!({"account": "acme"})).after(json!({"account": "acme"}))),
        rejects(key(json!({"account": "globex"})).after(json!({"account": "acme"})), ACCOUNT_STAYS),
        rejects(key(json!({})).without("accessLevel"), LEVEL_IS_NEEDED),
        rejects(key(json!({})).without("accessLevel").after(json!({})), LEVEL_IS_NEEDED),
        accepts(bare_clone_of("a")),
        // What was its own is given up for what was cloned.
        accepts(bare_clone_of("a").after(clone_of("a"))),
        accepts(key(clone_of("a"))),
        accepts(key(json!({"accessLevel": "Custom", "scopes": ["a:read"], "cloneFrom": {"name": "a"}}))),
        rejects(key(json!({"scopes": ["a:read"], "cloneFrom": {"name": "a"}})), SCOPES_WITH_CUSTOM),
        rejects(
            key(json!({"scopes": ["a:read"], "cloneFrom": {"name": "a"}})).without("accessLevel"),
            SCOPES_WITH_CUSTOM,
        ),
        rejects(key(json!({"accessLevel": "Custom", "cloneFrom": {"name": "a"}})), SCOPES_WITH_CUSTOM),
        accepts(key(clone_of("b")).named("a")),
        rejects(key(clone_of("a")).named("a"), NOT_ITSELF),
        rejects(bare_clone_of("a.b-1").named("a.b-1"), NOT_ITSELF),
        accepts(expiring(json!("9999-12-29T23:59:59Z"))),
        // Whoever re-creates a key from its manifest may be late, and it is refused at once: no harm.
        accepts(expiring(json!("1970-01-01T00:00:00Z"))),
        accepts(expiring(json!("2020-01-01T00:00:00Z"))),
        accepts(expiring(json!("2020-01-01T00:00:00Z")).after(json!({"expiresAt": "2099-01-01T00:00:00Z"}))),
        accepts(expiring(json!("2099-01-01T00:00:00Z")).after(json!({"expiresAt": "2020-01-01T00:00:00Z"}))),
        accepts(key(json!({})).after(json!({"expiresAt": "2020-01-01T00:00:00Z"}))),
        rejects(expiring(json!("9999-12-30T00:00:00Z")), EXPIRY),
        rejects(expiring(json!("9999-12-31T23:59:59Z")), EXPIRY),
        rejects(expiring(json!("9999-12-29T23:59:59-00:01")), EXPIRY),
        accepts(rotation("revokeBefore")(json!("9999-12-29T23:59:59Z"))),
        rejects(rotation("revokeBefore")(json!("9999-12-30T00:00:00Z")), REVOKE_BEFORE),
        // Whether it is higher than all before is known to the entry alone.
        accepts(rotation("revision")(json!(1)).after(json!({"rotation": {"revision": 5}}))),
        accepts(key(json!({})).after(json!({"rotation": {"revision": 5}}))),
    ];
    let reason = |text: &str| key(json!({"disabledReason": text}));
    cases.extend([
        accepts(reason("posted in a chat: https://chat.example.com/1 – Grüße")),
        rejects(reason("posted\nApproved by: the platform"), ONE_LINE),
        rejects(reason("\u{1b}[31mred"), ONE_LINE),
        rejects(reason("\u{202e}reversed"), ONE_LINE),
        rejects(reason("one\u{2028}two"), ONE_LINE),
        accepts(reason("نمی\u{200c}شود 👩\u{200d}💻")),
    ]);
    let revoked = |at: &str| json!({"rotation": {"revokeBefore": at}});
    let (noon, later) = ("2026-11-22T12:00:00Z", "2026-11-22T13:00:00+00:30");
    cases.extend([
        accepts(key(revoked(noon)).after(revoked(noon))),
        accepts(key(revoked(later)).after(revoked(noon))),
        accepts(key(revoked(noon)).after(json!({"rotation": {"revision": 1}}))),
        // No operator has recorded it.
        rejects(key(revoked(noon)).after(revoked(later)), REVOCATION_STAYS),
        rejects(key(json!({"rotation": {"revision": 1}})).after(revoked(noon)), REVOCATION_STAYS),
        rejects(key(json!({})).after(revoked(noon)), REVOCATION_STAYS),
    ]);
    cases.extend(stays(key, &clone_of("a"), &clone_of("b"), CLONE_STAYS, CLONE_STAYS_SET));
    cases.extend([
        accepts(key(json!({"rotation": {"interval": "24h"}}))),
        rejects(key(json!({"rotation": {"interval": "23h59m59s"}})), INTERVAL_AND_OVERLAP),
        accepts(key(json!({"rotation": {"interval": "1h", "overlap": "60m"}}))),
        rejects(key(json!({"rotation": {"interval": "1h", "overlap": "61m"}})), INTERVAL_AND_OVERLAP),
    ]);
    cases.extend(range(
        &|interval| key(json!({"rotation": {"interval": interval, "overlap": "0s"}})),
        &["1m", "60s", "59s1s", "1h30m", "90m", "2160h", "87600h", "87599h60m", "00001h"],
        &["0s", "0h0m0s", "1s", "59s", "87600h1s", "87599h60m1s", "99999h", "99999h99999h99999h"],
        INTERVAL,
    ));
    cases.extend(range(
        &rotation("overlap"),
        &["0s", "0h", "1s", "24h", "1h30m", "8760h"],
        &["8760h1s", "99999h", "99999h99999h99999h"],
        OVERLAP,
    ));
    cases
}

/// What the schema decides.
pub fn bounds() -> Vec<Case> {
    let mut cases = vec![
        accepts(key(json!({"account": "a".repeat(253)}))),
        rejects(key(json!({"account": "a".repeat(254)})), "spec.account: Too long"),
        rejects(key(json!({"account": ""})), "spec.account in body should be at least 1 chars long"),
        rejects(key(json!({"account": 7})), "spec.account in body must be of type string"),
        rejects(key(json!({"account": null})), "spec.account: Required value"),
        accepts(key(json!({"disabledReason": "é".repeat(256)}))),
        rejects(key(json!({"disabledReason": "é".repeat(257)})), "spec.disabledReason: Too long"),
        rejects(key(json!({"disabledReason": ""})), "spec.disabledReason in body should be at least 1 chars long"),
        rejects(key(json!({})).without("account"), "spec.account: Required value"),
        rejects(key(json!({})).without("account").after(json!({})), "spec.account: Required value"),
        accepts(key(clone_of(&"a".repeat(253)))),
        rejects(key(clone_of(&"a".repeat(254))), "spec.cloneFrom.name: Too long"),
        rejects(key(clone_of("")), "spec.cloneFrom.name in body should be at least 1 chars long"),
        rejects(key(json!({"cloneFrom": {}})), "spec.cloneFrom.name: Required value"),
        rejects(key(json!({"cloneFrom": "a"})), "spec.cloneFrom in body must be of type object"),
        rejects(
            key(json!({"cloneFrom": {"name": "a", "namespace": "other"}})),
            r#"unknown field "spec.cloneFrom.namespace""#,
        ),
        accepts(key(json!({"cloneFrom": null, "rotation": null, "secret": null, "expiresAt": null}))),
        rejects(key(json!({"cloneFrom": null})).after(clone_of("a")), CLONE_STAYS_SET),
        rejects(key(json!({"accessLevel": null})), LEVEL_IS_NEEDED),
        accepts(bare_clone_of("a").after(custom_clone())),
        accepts(key(json!({"expiresAt": "2099-01-01T00:00:00Z"}))),
        accepts(key(json!({"expiresAt": "2099-01-01T00:00:00.5+02:00"}))),
        accepts(key(json!({"expiresAt": "2096-02-29T23:59:59.999999999-23:59"}))),
        accepts(key(json!({"expiresAt": "1970-01-01T00:00:00Z"}))),
        accepts(key(json!({"rotation": {}}))),
        accepts(key(json!({"rotation": null})).after(json!({"rotation": {"revision": 5}}))),
        rejects(key(json!({"rotation": {"revison": 1}})), r#"unknown field "spec.rotation.revison""#),
        accepts(rotation("revision")(json!(0))),
        accepts(rotation("revision")(json!(9_007_199_254_740_991_i64))),
        rejects(rotation("revision")(json!(9_007_199_254_740_992_i64)), "spec.rotation.revision"),
        // JSON knows no integers; it is stored as one.
        accepts(rotation("revision")(json!(3.0))),
        rejects(rotation("revision")(json!(-1)), "spec.rotation.revision"),
        rejects(rotation("revision")(json!(i64::MIN)), "spec.rotation.revision"),
        rejects(rotation("revision")(json!(1.5)), "spec.rotation.revision in body must be of type int"),
        rejects(rotation("revision")(json!(u64::MAX)), "spec.rotation.revision in body must be of type int"),
        rejects(rotation("revision")(json!("1")), "spec.rotation.revision in body must be of type integer"),
        accepts(key(json!({"restrictions": {}}))),
        accepts(key(json!({"restrictions": null}))),
        rejects(key(json!({"restrictions": []})), "spec.restrictions in body must be of type object"),
    ];
    // Whoever writes a limit means to narrow the key, so that none may be dropped without a word.
    let members = [
        json!({"networks": ["10.0.0.0/8"]}),
        json!({"rate": 0}),
        json!({"networks": []}),
        json!({"rate": null}),
        json!({"": {}}),
        json!({"a": {"b": {}}, "c": 1}),
    ];
    cases.extend(members.map(|members| rejects(key(json!({"restrictions": members})), "spec.restrictions")));
    cases.extend(no_durations(&rotation("interval"), "spec.rotation.interval"));
    cases.extend(no_durations(&rotation("overlap"), "spec.rotation.overlap"));
    cases.extend(no_moments(&expiring, "spec.expiresAt"));
    cases.extend(no_moments(&rotation("revokeBefore"), "spec.rotation.revokeBefore"));
    cases
}

fn custom_clone() -> Value {
    let mut spec = custom(json!(["a:read"]));
    spec["cloneFrom"] = json!({"name": "a"});
    spec
}
