//! What an upstream is told of who calls.

use std::collections::BTreeMap;

use keywright::access::Grant;
use keywright::key::SiteId;
use keywright::verifier::answer::Answer;
use keywright::verifier::index::Index;

use super::facts::{Facts, NEW, OLD, custom};
use super::values::{full, presented, read_only, route};

/// The headers of the answer to a call with this value that passes.
fn told(facts: &Facts, index: &Index, text: &str) -> BTreeMap<String, String> {
    let view = index.look_up(&presented(text));
    let answer = Answer::to(&facts.ask(&view), &route("scope=orders:read"));
    let pair = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
        (name.as_str().to_owned(), value.to_str().unwrap().to_owned())
    };
    let told: BTreeMap<_, _> = answer.headers.iter().map(pair).collect();
    assert_eq!(told.len(), answer.headers.len(), "each is said once");
    told
}

#[test]
fn each_thing_about_a_caller_is_told_under_its_own_name_whatever_the_account_has_told_of_others() {
    let site_id = "5H93YM";
    let facts = |own: Grant, ceiling: Grant| Facts { own: Some(own), ceiling, scope: "orders:read", ..Facts::fine() };
    for (own, ceiling, scopes) in [
        (full(), full(), "*:*"),
        (full(), custom(&["orders:*"]), "orders:*"),
        (read_only(), full(), "*:read"),
        (read_only(), custom(&["orders:*"]), "orders:read"),
        (custom(&["orders:read", "users:write"]), full(), "orders:read users:write"),
        (custom(&["orders:read", "users:write"]), custom(&["orders:*"]), "orders:read"),
    ] {
        let facts = facts(own, ceiling);
        let index = facts.index();
        for reserved in [None, Some(site_id)] {
            if let Some(id) = reserved {
                index.set_site(SiteId::parse(id.as_bytes()).unwrap(), "shop", "acme");
            }
            for text in [&OLD, &NEW, &OLD] {
                let all = [
                    Some(("cache-control", "no-store")),
                    Some(("x-keywright-account", "shop/acme")),
                    Some(("x-keywright-code", "ok")),
                    Some(("x-keywright-key", "shop/billing")),
                    Some(("x-keywright-key-id", &text[3..15])),
                    Some(("x-keywright-scopes", scopes)),
                    reserved.map(|id| ("x-keywright-site-id", id)),
                ];
                let expected = all.into_iter().flatten().map(|(name, value)| (name.to_owned(), value.to_owned()));
                assert_eq!(told(&facts, &index, text), expected.collect(), "{scopes}");
            }
        }
    }
}
