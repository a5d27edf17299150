//! Schemas that several resources share, tighter than what the types alone would give: an item without a bound makes a
//! CRD too expensive for its rules, and what we could not read back we would have to refuse.

use kube::core::{Duration, Rule};
use schemars::{Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};

/// The type's own description speaks of Go; the field's must win.
pub(super) fn time(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "format": "date-time"})
}

/// Without the format `uint32`, which API servers do not know and `helm install` warns of.
pub(super) fn count(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "integer", "minimum": 0})
}

/// The API server's `date-time` admits more than RFC 3339 does, such as an offset of 99 hours.
pub(super) fn moment(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "format": "date-time",
        "maxLength": 35,
        "pattern": r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}([.]\d{1,9})?(Z|[+-]([01]\d|2[0-3]):[0-5]\d)$",
    })
}

/// Go's form in whole hours, minutes and seconds; five digits keep the sum within what CEL can count. The form is checked by the
/// rule of each field, whose message is a sentence; that of a pattern is a regular expression.
pub(super) fn duration(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "minLength": 2, "maxLength": 18})
}

/// Form of a duration, for CEL.
const DURATION: &str = "matches('^([0-9]{1,5}[hms]){1,3}$')";

/// Refuses a duration that has another form or lies outside of these bounds, of which `longest` is also said in words.
pub(super) fn between(field: &str, shortest: &str, longest: &str, words: &str) -> Rule {
    let range = format!("duration(self) >= duration('{shortest}') && duration(self) <= duration('{longest}')");
    let message = format!(
        "{field} must be {shortest} to {longest} ({words}), in hours, minutes and seconds such as 24h, 90m or 30s; a day is 24h"
    );
    Rule::new(format!("self.{DURATION} && {range}")).message(message.as_str())
}

/// Refuses an interval that would fill the record with retiring values. Of a duration in another form its own rule tells.
pub(super) fn interval_spans_overlap() -> Rule {
    let overlap = "(has(self.overlap) ? self.overlap : '24h')";
    let is_formless = format!("[self.interval, {overlap}].exists(d, !d.{DURATION})");
    Rule::new(format!("!has(self.interval) || {is_formless} || duration(self.interval) >= duration({overlap})"))
        .message("rotation.interval must not be shorter than rotation.overlap, which is 24h where it is not set")
}

/// Refuses to remove `revokeBefore` or to move it back while its effect is not recorded: until then only the spec contains it.
pub(super) fn revocation_stays() -> Rule {
    let before = |object: &str| format!("{object}.spec.rotation.revokeBefore");
    let has = |object: &str| format!("has({object}.spec.rotation) && has({})", before(object));
    let (was, is) = (before("oldSelf"), before("self"));
    let is_kept = format!("({} && {is} >= {was})", has("self"));
    // Whole seconds are recorded, and each is covered whole.
    let is_recorded = format!(
        "(has(self.status) && has(self.status.revokedBefore) && self.status.revokedBefore + duration('1s') > {was})"
    );
    Rule::new(format!("!({}) || {is_kept} || {is_recorded}", has("oldSelf"))).message(
        "rotation.revokeBefore revokes for good, and that is not recorded yet: keep it until status.revokedBefore has it, a moment after the operator has seen it; a key without a value can be deleted and created again",
    )
}

/// Writes a duration as [`duration`] takes it: kube's own form, such as `7776000s` or `0ns`, does not fit.
#[allow(clippy::ref_option)] // serde hands over a reference.
pub(super) fn as_go<S: Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    let go = duration.map(|duration| {
        let seconds = std::time::Duration::from(duration).as_secs();
        let parts = [(seconds / 3600, 'h'), (seconds / 60 % 60, 'm'), (seconds % 60, 's')];
        let parts: Vec<String> = parts.iter().filter(|(n, _)| *n > 0).map(|(n, unit)| format!("{n}{unit}")).collect();
        if parts.is_empty() { "0s".to_owned() } else { parts.concat() }
    });
    go.serialize(serializer)
}

/// Atomic, because in a set another field manager's addition would survive the owner's forced apply.
pub(super) fn scopes(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "minItems": 1,
        "maxItems": 64,
        "x-kubernetes-list-type": "atomic",
        "items": {
            "type": "string",
            "maxLength": 100,
            "x-kubernetes-validations": [{
                "rule": r"self.matches('^([*]|[a-z0-9]([a-z0-9._-]*[a-z0-9])?):(read|write|[*])$')",
                "message": "a scope is a resource, a colon, and read, write or *, such as orders:read, orders:* or *:read; resources are made of a-z, 0-9, `-`, `_` and `.`",
            }],
        },
    })
}

/// Resource names, as scopes have them before the colon.
pub(super) fn resources(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "minItems": 1,
        "maxItems": 128,
        "x-kubernetes-list-type": "atomic",
        "items": {"type": "string", "minLength": 1, "maxLength": 98, "pattern": "^[a-z0-9]([a-z0-9._-]*[a-z0-9])?$"},
    })
}

/// Pairs that travel in HTTP headers.
pub(super) fn metadata(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": 8,
        "x-kubernetes-map-type": "atomic",
        "additionalProperties": {"type": "string", "maxLength": 128, "pattern": "^[ -~]*$"},
    })
}

/// Labels of a Secret; their keys are checked by a rule.
pub(super) fn labels(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": 8,
        "additionalProperties": {"type": "string", "maxLength": 63, "pattern": "^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$"},
    })
}

/// Annotations of a Secret; their keys are checked by a rule.
pub(super) fn annotations(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "object", "maxProperties": 8, "additionalProperties": {"type": "string", "maxLength": 1024}})
}

/// No limit exists yet. Members are kept and refused, rather than dropped: whoever writes one means to narrow the key.
pub(super) fn restrictions(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "object", "maxProperties": 0, "x-kubernetes-preserve-unknown-fields": true})
}
