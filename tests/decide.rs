//! What `decide` says, and to whom: the order of the codes, every boundary to the nanosecond, whose grant counts, and
//! that nobody without the secret learns anything; and what upstreams are told of who has it.

#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "decide/facts.rs"]
mod facts;
#[path = "decide/monotone.rs"]
mod monotone;
#[path = "decide/told.rs"]
mod told;
#[path = "support/values.rs"]
mod values;

use std::time::Duration;

use facts::{Facts, NEW, OLD, UID, at, cloned, custom};
use jiff::{SignedDuration, Timestamp};
use keywright::access::{AccessLevel, Scope};
use keywright::key::{CredentialEnd, Pepper};
use keywright::verifier::code::Code;
use keywright::verifier::decide::Verdict;
use keywright::verifier::index::Index;
use values::{full, mint, presented, read_only};

const NANOSECOND: SignedDuration = SignedDuration::from_nanos(1);

/// Makes something speak against a call.
type Change = fn(&mut Facts);

/// What speaks against a call, in the order in which it is said.
const ORDER: [(Code, Change); 12] = [
    (Code::AccountNotFound, |facts| facts.account = false),
    (Code::AccountSuspended, |facts| facts.account_suspended = true),
    (Code::Suspended, |facts| facts.suspended = true),
    (Code::AccountDisabled, |facts| facts.account_disabled = true),
    (Code::Disabled, |facts| facts.disabled = true),
    (Code::Expired, |facts| facts.expires_at = Some(facts.now)),
    (Code::Expired, |facts| facts.max_lifetime = Some(Duration::from_secs(100))),
    (Code::Retired, |facts| facts.retires_at = Some(facts.now)),
    (Code::Revoked, |facts| facts.revoke_before = Some(facts.issued_at + NANOSECOND)),
    (Code::WrongAccount, |facts| facts.accounts = "&account=mall/acme&account=shop/globex"),
    (Code::InsufficientScope, |facts| facts.own = Some(custom(&["orders:read", "users:*"]))),
    (Code::InsufficientScope, |facts| facts.ceiling = read_only()),
];

/// Every choice of what speaks against a call, with the code that is due: 4096.
fn every_case() -> impl Iterator<Item = (Code, Facts)> {
    (0..1usize << ORDER.len()).map(|chosen| {
        let mut facts = Facts::fine();
        let mut first = Code::Ok;
        for (_, (code, apply)) in ORDER.iter().enumerate().filter(|(n, _)| chosen >> n & 1 == 1) {
            apply(&mut facts);
            first = if first == Code::Ok { *code } else { first };
        }
        (first, facts)
    })
}

/// A key with the id of a known one, whole and with the right checksum, as anyone can make who has seen the id.
fn forged(prefix: &str, of: &str, secret_of: &str) -> String {
    let (_, rest) = of.split_once('_').unwrap();
    let (id, _) = rest.split_once('_').unwrap();
    let secret = &secret_of[secret_of.len() - 49..secret_of.len() - 6];
    let body = format!("{prefix}_{id}_{secret}");
    let digits = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let crc = crc32fast::hash(body.as_bytes()) as usize;
    let crc = (0..6).rev().map(|place| char::from(digits[crc / 62usize.pow(place) % 62]));
    body.chars().chain(crc).collect()
}

fn tells_nothing(verdict: &Verdict<'_>) -> bool {
    verdict.holder.is_none() && verdict.unproven.is_none()
}

#[test]
fn the_first_code_that_applies_is_said_whatever_else_applies_too() {
    for (expected, facts) in every_case() {
        assert_eq!(facts.code(), expected, "{facts:?}");
    }
}

#[test]
fn only_who_has_the_secret_learns_more_than_unknown() {
    let others = [forged("kw", &OLD, &NEW), forged("kx", &OLD, &OLD), forged("kw", &NEW, &OLD), mint()];
    assert_eq!(forged("kw", &OLD, &OLD), *OLD, "a forgery with the right secret would be the key");
    assert_eq!(presented(&others[0]).id(), presented(&OLD).id());
    for (expected, facts) in every_case() {
        let index = facts.index();
        let view = index.look_up(&presented(&OLD));
        let verdict = facts.ask(&view);
        assert_eq!(verdict.code, expected);
        assert_eq!(verdict.holder.unwrap().id, presented(&OLD).id());
        for other in &others {
            let view = index.look_up(&presented(other));
            let verdict = facts.ask(&view);
            assert_eq!(verdict.code, Code::Unknown);
            assert!(tells_nothing(&verdict));
        }
    }
}

#[test]
fn a_verdict_that_nobody_reached_is_a_deny() {
    let verdict = Verdict::default();
    assert_eq!(verdict.code, Code::NotReady);
    assert!(tells_nothing(&verdict));
    let allowing: Vec<Code> = Code::ALL.into_iter().filter(|code| code.status() < 400).collect();
    assert_eq!(allowing, [Code::Ok]);
}

#[test]
fn an_index_that_knows_nothing_or_has_no_pepper_tells_nothing() {
    let facts = Facts::fine();
    let empty = Index::default();
    let blind = Index::default();
    facts.tell(&blind);
    for index in [empty, blind] {
        let view = index.look_up(&presented(&OLD));
        let verdict = facts.ask(&view);
        assert_eq!(verdict.code, Code::NotReady);
        assert!(tells_nothing(&verdict));
    }
}

#[test]
fn a_value_whose_pepper_is_gone_has_to_be_proven_before_anything_is_said() {
    for (_, facts) in every_case() {
        let index = facts.index();
        index.set_pepper(Some(Pepper::generate(at(0)).unwrap()));
        for text in [&*OLD, &forged("kw", &OLD, &NEW)] {
            let view = index.look_up(&presented(text));
            let verdict = facts.ask(&view);
            assert_eq!(verdict.code, Code::NotReady);
            assert!(verdict.holder.is_none());
            assert!(verdict.unproven.is_some());
        }
    }
}

#[test]
fn an_end_is_reached_to_the_nanosecond() {
    type End = fn(&mut Facts, Timestamp);
    let end = at(500);
    let ends: [(Code, End); 3] = [
        (Code::Expired, |facts, end| facts.expires_at = Some(end)),
        (Code::Expired, |facts, end| facts.max_lifetime = Some((end - facts.issued_at).try_into().unwrap())),
        (Code::Retired, |facts, end| facts.retires_at = Some(end)),
    ];
    for (code, set) in ends {
        for (end, now, expected) in [
            (end, end - NANOSECOND, Code::Ok),
            (end, end, code),
            (end, end + NANOSECOND, code),
            (end, Timestamp::MAX, code),
            (end + NANOSECOND, end, Code::Ok),
            (end - NANOSECOND, end, code),
        ] {
            let mut facts = Facts { now, ..Facts::fine() };
            set(&mut facts, end);
            assert_eq!(facts.code(), expected, "ends at {end}, asked at {now}");
        }
    }
}

#[test]
fn value_issued_in_the_second_of_a_revocation_is_revoked() {
    for (before, expected) in [
        (at(0) - NANOSECOND, Code::Ok),
        (at(0), Code::Revoked),
        (at(0) + NANOSECOND, Code::Revoked),
        (at(60), Code::Revoked),
        // In the future too: whatever is issued until then is meant.
        (Timestamp::MAX, Code::Revoked),
    ] {
        let facts = Facts { revoke_before: Some(before), ..Facts::fine() };
        assert_eq!(facts.code(), expected, "{before}");
    }
}

#[test]
fn each_value_has_its_own_age_and_its_own_revocation() {
    let aged = |now| Facts { max_lifetime: Some(Duration::from_secs(100)), now, ..Facts::fine() };
    for (facts, old, new) in [
        (aged(at(100) - NANOSECOND), Code::Ok, Code::Ok),
        (aged(at(100)), Code::Expired, Code::Ok),
        (aged(at(160) - NANOSECOND), Code::Expired, Code::Ok),
        (aged(at(160)), Code::Expired, Code::Expired),
        (Facts { revoke_before: Some(at(60) - NANOSECOND), ..Facts::fine() }, Code::Revoked, Code::Ok),
        (Facts { revoke_before: Some(at(60)), ..Facts::fine() }, Code::Revoked, Code::Revoked),
        (Facts { retires_at: Some(at(0)), ..Facts::fine() }, Code::Retired, Code::Ok),
    ] {
        assert_eq!((facts.code(), facts.code_of(&NEW)), (old, new), "{facts:?}");
    }
}

#[test]
fn recorded_end_refuses_whatever_spec_and_account_say() {
    for (end, code) in [(CredentialEnd::Revoked, Code::Revoked), (CredentialEnd::Expired, Code::Expired)] {
        let facts = Facts::fine();
        let index = facts.index();
        let mut entry = facts.entry();
        entry.retiring[0].ended = Some(end);
        index.apply_entry(UID, &entry);
        assert_eq!(facts.ask(&index.look_up(&presented(&OLD))).code, code);
        assert_eq!(facts.ask(&index.look_up(&presented(&NEW))).code, Code::Ok, "the newer value has not ended");
    }
}

#[test]
fn revocation_removed_before_its_record_arrives_stays() {
    let revoked = Facts { revoke_before: Some(at(0)), ..Facts::fine() };
    let index = revoked.index();
    let code = |text: &str| revoked.ask(&index.look_up(&presented(text))).code;
    assert_eq!((code(&OLD), code(&NEW)), (Code::Revoked, Code::Ok));
    index.apply_key(Facts::fine().key());
    assert_eq!((code(&OLD), code(&NEW)), (Code::Revoked, Code::Ok), "the ApiKey's event came first");
    index.apply_entry(UID, &Facts::fine().entry());
    assert_eq!(code(&OLD), Code::Revoked, "a list brought the entry again");
}

#[test]
fn a_lifetime_beyond_the_calendar_ends_nothing_and_one_of_nothing_ends_at_once() {
    let lives = |max_lifetime| Facts { max_lifetime: Some(max_lifetime), ..Facts::fine() };
    assert_eq!(lives(Duration::MAX).code(), Code::Ok);
    assert_eq!(lives(Duration::from_secs(u64::MAX / 2)).code(), Code::Ok);
    assert_eq!(Facts { now: at(0), ..lives(Duration::ZERO) }.code(), Code::Expired);
}

#[test]
fn a_route_accepts_the_account_of_one_namespace_and_not_its_namesake() {
    for (accounts, expected) in [
        ("", Code::Ok),
        ("&account=shop/acme", Code::Ok),
        ("&account=mall/acme&account=shop/acme", Code::Ok),
        ("&account=mall/acme", Code::WrongAccount),
        ("&account=shop/acme2", Code::WrongAccount),
        ("&account=shop/acm", Code::WrongAccount),
    ] {
        assert_eq!(Facts { accounts, ..Facts::fine() }.code(), expected, "{accounts}");
    }
}

/// A key without a grant of its own, and what its entry says that it took over.
fn clone_of(access_level: AccessLevel, scopes: &[&str]) -> Facts {
    Facts { own: None, cloned: Some(cloned(access_level, scopes)), ..Facts::fine() }
}

#[test]
fn a_clone_may_do_what_its_entry_says() {
    let asks = |scope, clone: Facts| Facts { scope, ..clone }.code();
    let orders = || clone_of(AccessLevel::Custom, &["orders:read"]);
    assert_eq!(asks("orders:write", clone_of(AccessLevel::Full, &[])), Code::Ok);
    assert_eq!(asks("orders:read", clone_of(AccessLevel::ReadOnly, &[])), Code::Ok);
    assert_eq!(asks("orders:write", clone_of(AccessLevel::ReadOnly, &[])), Code::InsufficientScope);
    assert_eq!(asks("orders:read", orders()), Code::Ok);
    assert_eq!(asks("orders:write", orders()), Code::InsufficientScope);
    assert_eq!(asks("users:read", orders()), Code::InsufficientScope);
    assert_eq!(asks("any", orders()), Code::Ok);
    assert_eq!(orders().code_of(&NEW), Code::InsufficientScope, "it survives a rotation");
}

#[test]
fn a_clone_s_own_grant_takes_over_be_it_wider_or_narrower() {
    let narrower = Facts { own: Some(read_only()), ..clone_of(AccessLevel::Full, &[]) };
    assert_eq!(narrower.code(), Code::InsufficientScope);
    let wider = Facts { own: Some(full()), ..clone_of(AccessLevel::ReadOnly, &[]) };
    assert_eq!(wider.code(), Code::Ok);
    // Taken back, what was cloned counts again.
    let index = wider.index();
    let back = Facts { own: None, ..wider };
    back.tell(&index);
    assert_eq!(back.ask(&index.look_up(&presented(&OLD))).code, Code::InsufficientScope);
}

#[test]
fn a_clone_without_a_record_is_refused_whatever_is_asked() {
    for scope in ["orders:read", "orders:write", "any", "public"] {
        let facts = Facts { own: None, cloned: None, scope, ..Facts::fine() };
        assert_eq!(facts.code(), Code::NotReady, "{scope}");
        assert!(facts.ask(&facts.index().look_up(&presented(&OLD))).holder.unwrap().grant().is_none());
        let disabled = Facts { disabled: true, ..facts };
        assert_eq!(disabled.code(), Code::Disabled, "what its owner can mend is said first");
    }
}

#[test]
fn a_record_of_a_grant_that_cannot_be_read_is_no_entry_even_beside_an_own_grant() {
    for (level, scopes) in [
        (AccessLevel::Full, &["orders:read"][..]),
        (AccessLevel::Custom, &[]),
        (AccessLevel::Custom, &["orders"]),
        (AccessLevel::Custom, &["orders:read", "orders:delete"]),
        (AccessLevel::Custom, &["orders:read"; 65]),
    ] {
        for own in [None, Some(full())] {
            let index = Facts::fine().index();
            let facts = Facts { own, ..clone_of(level, scopes) };
            facts.tell(&index);
            assert_eq!(facts.ask(&index.look_up(&presented(&OLD))).code, Code::Unknown, "{facts:?}");
        }
    }
}

#[test]
fn a_clone_is_never_wider_than_its_account_s_ceiling() {
    let under = |scope, ceiling| Facts { ceiling, scope, ..clone_of(AccessLevel::Custom, &["orders:*", "users:read"]) };
    let ceiling = || custom(&["orders:read", "users:*"]);
    assert_eq!(under("orders:write", full()).code(), Code::Ok);
    assert_eq!(under("orders:read", ceiling()).code(), Code::Ok);
    assert_eq!(under("orders:write", ceiling()).code(), Code::InsufficientScope);
    assert_eq!(under("users:write", ceiling()).code(), Code::InsufficientScope);
    let index = under("any", ceiling()).index();
    let view = index.look_up(&presented(&OLD));
    let grant = under("any", ceiling()).ask(&view).holder.unwrap().grant().unwrap();
    assert_eq!(grant.scopes().iter().map(Scope::to_string).collect::<Vec<_>>(), ["orders:read", "users:read"]);
}

#[test]
fn a_clone_has_its_source_s_display_name_until_it_has_its_own() {
    let facts = clone_of(AccessLevel::Full, &[]);
    let index = facts.index();
    let mut entry = facts.entry();
    entry.cloned.as_mut().unwrap().display_name = Some("Billing".into());
    index.apply_entry("uid-0", &entry);
    let shown = || {
        let view = index.look_up(&presented(&OLD));
        facts.ask(&view).holder.unwrap().live.display_name().map(str::to_owned)
    };
    assert_eq!(shown().as_deref(), Some("Billing"));
    let mut key = facts.key();
    key.display_name = Some("Invoices".into());
    index.apply_key(key);
    assert_eq!(shown().as_deref(), Some("Invoices"));
}

#[test]
fn a_holder_is_told_the_earliest_of_its_ends() {
    let ends_at = |facts: Facts| facts.ask(&facts.index().look_up(&presented(&OLD))).holder.unwrap().ends_at();
    let fine = Facts::fine;
    assert_eq!(ends_at(fine()), None);
    let all = |expires, age, retires| Facts {
        expires_at: Some(at(expires)),
        max_lifetime: Some(Duration::from_secs(age)),
        retires_at: Some(at(retires)),
        ..fine()
    };
    assert_eq!(ends_at(all(200, 300, 400)), Some(at(200)));
    assert_eq!(ends_at(all(400, 300, 350)), Some(at(300)));
    assert_eq!(ends_at(all(400, 300, 250)), Some(at(250)));
}
