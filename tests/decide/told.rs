//! What an upstream is told of who calls.

use std::collections::BTreeMap;

use keywright::access::Grant;
use keywright::key::SiteId;
use keywright::verifier::answer::Answer;
use keywright::verifier::identity;
use keywright::verifier::index::Index;

use super::facts::{Facts, NEW, OLD, custom};
use super::values::{full, presented, read_only, route};

/// The headers of the answer to a call with this value that passes.
fn told(facts: &Facts, index: &Index, text: &str) -> BTreeMap<String, String> {
    told_on(facts, index, text, "scope=orders:read")
}

/// The same on a route with this question.
fn told_on(facts: &Facts, index: &Index, text: &str, question: &str) -> BTreeMap<String, String> {
    let view = index.look_up(&presented(text));
    let answer = Answer::to(&facts.ask(&view), &route(question));
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

/// The metadata that an upstream is told of a caller.
fn metadata(facts: &Facts) -> Vec<(String, String)> {
    let told = told_on(facts, &facts.index(), &OLD, "scope=orders:write&metadata=true");
    let pair =
        |(name, value): (&String, &String)| Some((name.strip_prefix("x-keywright-meta-")?.to_owned(), value.clone()));
    told.iter().filter_map(pair).collect()
}

#[test]
fn metadata_of_the_account_wins_over_its_keys() {
    let facts = Facts {
        account_metadata: &[("plan", "free"), ("region", "eu")],
        key_metadata: &[("plan", "enterprise"), ("team", "billing")],
        ..Facts::fine()
    };
    let told = metadata(&facts);
    let told: Vec<_> = told.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(told, [("plan", "free"), ("region", "eu"), ("team", "billing")]);
}

/// The rules of the CRD refuse these names; objects that were stored under other rules may have them.
#[test]
fn metadata_names_of_one_header_are_one_name() {
    for name in ["cost-centre", "Cost-Centre", "COST-CENTRE", "cost_centre", "cost.centre", "cost~centre"] {
        for (set, added) in [("cost-centre", name), (name, "cost-centre")] {
            let of_account: &'static [_] = Box::leak(Box::new([(set, "7")]));
            let of_key: &'static [_] = Box::leak(Box::new([(added, "8")]));
            let facts = Facts { account_metadata: of_account, key_metadata: of_key, ..Facts::fine() };
            assert_eq!(metadata(&facts), [(set.to_lowercase(), "7".to_owned())], "account {set}, key {added}");
        }
    }
}

#[test]
fn metadata_of_a_key_without_account_is_not_told() {
    let facts = Facts { account: false, key_metadata: &[("plan", "enterprise")], ..Facts::fine() };
    let index = facts.index();
    let view = index.look_up(&presented(&OLD));
    let holder = facts.ask(&view).holder.unwrap();
    assert_eq!(identity::metadata(&holder), BTreeMap::new());
}
