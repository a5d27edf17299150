//! A spec that somebody offers, and what is to become of it.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// A spec that somebody offers, in place of an earlier one if there is one.
#[derive(Clone, Debug)]
pub struct Offer {
    pub kind: &'static str,
    /// Where it matters.
    pub name: Option<String>,
    pub before: Option<Value>,
    pub spec: Value,
}

/// An offer, and if it is refused, what the message has to say.
#[derive(Debug)]
pub struct Case {
    pub offer: Offer,
    pub refusal: Option<String>,
}

pub fn accepts(offer: Offer) -> Case {
    Case { offer, refusal: None }
}

pub fn rejects(offer: Offer, because: impl Into<String>) -> Case {
    Case { offer, refusal: Some(because.into()) }
}

impl Offer {
    /// The least that a kind needs, and on top of it what is given.
    fn new(kind: &'static str, given: Value) -> Self {
        let mut spec = match kind {
            "ApiKey" => json!({"account": "acme", "accessLevel": "Full"}),
            "Account" => json!({"accessLevel": "Full"}),
            _ => json!({"target": {"kind": "ApiKey", "name": "storefront"}, "reason": "PaymentOverdue"}),
        };
        spec.as_object_mut().unwrap().extend(given.as_object().unwrap().clone());
        Self { kind, name: None, before: None, spec }
    }

    /// The same as a change of an object that was made with `before`.
    pub fn after(mut self, before: Value) -> Self {
        self.before = Some(Self::new(self.kind, before).spec);
        self
    }

    pub fn without(mut self, field: &str) -> Self {
        self.spec.as_object_mut().unwrap().remove(field);
        self
    }

    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }
}

pub fn key(given: Value) -> Offer {
    Offer::new("ApiKey", given)
}

pub fn account(given: Value) -> Offer {
    Offer::new("Account", given)
}

pub fn suspension(given: Value) -> Offer {
    Offer::new("Suspension", given)
}

/// A spec of which only one field matters.
pub type OfferOf<'a> = &'a dyn Fn(Value) -> Offer;

/// All transitions of a field that stays as it was made. `one` and `other` hold it, each with another value.
pub fn stays(offer: fn(Value) -> Offer, one: &Value, other: &Value, changed: &str, came_or_went: &str) -> Vec<Case> {
    let without = json!({});
    vec![
        accepts(offer(one.clone())),
        accepts(offer(one.clone()).after(one.clone())),
        accepts(offer(without.clone()).after(without.clone())),
        rejects(offer(other.clone()).after(one.clone()), changed),
        rejects(offer(one.clone()).after(without.clone()), came_or_went),
        rejects(offer(without).after(one.clone()), came_or_went),
    ]
}

/// What is within the bounds of a duration and what is not, in forms that can be read.
pub fn range(offer: OfferOf, good: &[&str], bad: &[&str], because: &str) -> Vec<Case> {
    let good = good.iter().map(|text| accepts(offer(json!(text))));
    good.chain(bad.iter().map(|text| rejects(offer(json!(text)), because))).collect()
}

/// Everything that is no duration in hours, minutes and seconds.
pub fn no_durations(offer: OfferOf, path: &str) -> Vec<Case> {
    let bad = [
        "", "0", "h", "3600", "-1h", "-0s", "+1h", "1d", "90d", "1w", "1.5h", "1ns", "1us", "1µs", "1ms", "1H", " 1h",
        "1h ", "1h\n", "1h 30m", "1h,30m", "100000s", "1h1m1s1s", "PT1H", "1e3s", "0x10s", "1_000s", "١h", "1hm", "h1",
    ];
    let how = "in hours, minutes and seconds such as 24h, 90m or 30s; a day is 24h";
    let too_short = || format!("{path} in body should be at least 2 chars long");
    let why = |text: &str| if text.len() < 2 { too_short() } else { how.to_owned() };
    let mut cases: Vec<_> = bad.iter().map(|text| rejects(offer(json!(text)), why(text))).collect();
    cases.push(rejects(offer(json!("99999h99999h99999h9")), format!("{path}: Too long")));
    cases.push(rejects(offer(json!(3600)), format!("{path} in body must be of type string")));
    cases
}

/// Everything that is no moment, and what the API server would take for one though we could not read it back.
pub fn no_moments(offer: OfferOf, path: &str) -> Vec<Case> {
    let bad = [
        "tomorrow",
        "2099-01-01",
        "2099-13-01T00:00:00Z",
        "2099-02-30T00:00:00Z",
        "2099-01-01T24:00:00Z",
        "2099-01-01T00:00:60Z",
        "2099-01-01T00:00:00",
        "90d",
        "",
        "-2099-01-01T00:00:00Z",
        "12099-01-01T00:00:00Z",
    ];
    let unreadable = [
        "2099-01-01T00:00:00+99:99",
        "2099-01-01T00:00:00+24:00",
        "2099-01-01T00:00:00x5Z",
        "2099-01-01T00:00:00.1234567890123Z",
        "2099-01-01t00:00:00z",
    ];
    let bad = bad.iter().map(|text| rejects(offer(json!(text)), format!("{path} in body must be of type date-time")));
    let unreadable = unreadable.iter().map(|text| rejects(offer(json!(text)), format!("{path} in body should match")));
    bad.chain(unreadable).collect()
}

/// `count` pairs that all hold the same.
pub fn pairs(count: usize, value: &str) -> BTreeMap<String, String> {
    (0..count).map(|n| (format!("k{n}"), value.to_owned())).collect()
}

/// `{key: value}`, whatever the key.
pub fn pair(key: &str, value: &str) -> Value {
    json!({ key: value })
}

/// Distinct names of this many characters that differ only at their end, which is the most work to compare.
pub fn long_names(count: usize, length: usize) -> impl Iterator<Item = String> {
    (0..count).map(move |n| format!("{n:0>length$}"))
}
