//! Whatever is known: one restriction more never turns a deny into an allow.

use std::time::Duration;

use jiff::Timestamp;
use keywright::access::{AccessLevel, Grant, Scope};
use keywright::key::Cloned;
use keywright::verifier::code::Code;
use proptest::bool::weighted;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::facts::{Facts, OLD, at, cloned, custom};
use super::values::{full, presented, read_only};

const SCOPES: [&str; 6] = ["orders:read", "orders:write", "orders:*", "users:*", "*:read", "*:*"];

/// From nothing to much.
const ACCOUNTS: [&str; 3] = ["", "&account=shop/globex&account=shop/acme", "&account=mall/acme&account=shop/globex"];

/// One thing more that speaks against the call.
#[derive(Clone, Debug)]
enum Restriction {
    NoAccount,
    AccountSuspended,
    AccountDisabled,
    Ceiling(Grant),
    Lifetime(Duration),
    Suspended,
    Disabled,
    Expiry(Timestamp),
    RevokeBefore(Timestamp),
    Grant(Grant),
    NoRecord,
    Retirement(Timestamp),
    EarlierIssue(Timestamp),
    Asks(&'static str),
    Accepts(usize),
    TimePasses(Timestamp),
}

impl Restriction {
    fn apply(&self, facts: &mut Facts) {
        fn earlier<T: Ord>(this: Option<T>, other: T) -> Option<T> {
            this.into_iter().chain([other]).min()
        }
        match self {
            Self::NoAccount => facts.account = false,
            Self::AccountSuspended => facts.account_suspended = true,
            Self::AccountDisabled => facts.account_disabled = true,
            Self::Ceiling(grant) => facts.ceiling = facts.ceiling.under(grant),
            Self::Lifetime(max) => facts.max_lifetime = earlier(facts.max_lifetime, *max),
            Self::Suspended => facts.suspended = true,
            Self::Disabled => facts.disabled = true,
            Self::Expiry(at) => facts.expires_at = earlier(facts.expires_at, *at),
            Self::RevokeBefore(at) => facts.revoke_before = facts.revoke_before.max(Some(*at)),
            Self::Grant(grant) => match (&facts.own, &facts.cloned) {
                (Some(own), _) => facts.own = Some(own.under(grant)),
                (None, Some(before)) => facts.cloned = Some(recorded(&before.grant().unwrap().under(grant))),
                (None, None) => {}
            },
            // A clone without one has no grant; the own grant of any other key does not need it.
            Self::NoRecord => facts.cloned = None,
            Self::Retirement(at) => facts.retires_at = earlier(facts.retires_at, *at),
            Self::EarlierIssue(at) => facts.issued_at = facts.issued_at.min(*at),
            Self::Asks(scope) if facts.scope == "any" => facts.scope = scope,
            Self::Asks(_) => {}
            Self::Accepts(accounts) => {
                let before = ACCOUNTS.iter().position(|query| *query == facts.accounts).unwrap();
                facts.accounts = ACCOUNTS[before.max(*accounts)];
            }
            Self::TimePasses(until) => facts.now = facts.now.max(*until),
        }
    }
}

/// As an entry records it; what permits nothing cannot be written, and its entry is none.
fn recorded(grant: &Grant) -> Cloned {
    let scopes: Vec<String> = match grant.level() {
        AccessLevel::Custom => grant.scopes().iter().map(Scope::to_string).collect(),
        AccessLevel::Full | AccessLevel::ReadOnly => Vec::new(),
    };
    cloned(grant.level(), &scopes.iter().map(String::as_str).collect::<Vec<_>>())
}

/// Few moments, close to each other, so that they meet.
fn moment() -> impl Strategy<Value = Timestamp> {
    (0i64..6, -1i64..=1).prop_map(|(second, nanos)| at(second) + jiff::SignedDuration::from_nanos(nanos))
}

fn lifetime() -> impl Strategy<Value = Duration> {
    prop_oneof![
        8 => (0u64..6, select(&[0, 1, 999_999_999][..])).prop_map(|(seconds, nanos)| Duration::new(seconds, nanos)),
        1 => Just(Duration::MAX),
    ]
}

fn grant() -> impl Strategy<Value = Grant> {
    prop_oneof![
        2 => Just(full()),
        1 => Just(read_only()),
        3 => subsequence(&SCOPES[..], 1..4).prop_map(|scopes| custom(&scopes)),
    ]
}

fn asked() -> impl Strategy<Value = &'static str> {
    select(&["orders:read", "orders:write", "users:read", "any"][..])
}

fn facts() -> impl Strategy<Value = Facts> {
    let account = (weighted(0.95), weighted(0.05), weighted(0.05), grant(), option::weighted(0.3, lifetime()));
    let key = (
        weighted(0.05),
        weighted(0.05),
        option::weighted(0.3, moment()),
        option::weighted(0.3, moment()),
        option::of(grant()),
        option::weighted(0.8, grant()),
    );
    let value = (moment(), option::weighted(0.3, moment()));
    let question = (asked(), select(&ACCOUNTS[..]));
    (account, key, value, question, moment()).prop_map(|(account, key, value, question, now)| {
        let (account, account_suspended, account_disabled, ceiling, max_lifetime) = account;
        let (suspended, disabled, expires_at, revoke_before, own, cloned) = key;
        let (issued_at, retires_at) = value;
        let (scope, accounts) = question;
        Facts {
            account,
            account_suspended,
            account_disabled,
            ceiling,
            max_lifetime,
            suspended,
            disabled,
            expires_at,
            revoke_before,
            own,
            cloned: cloned.map(|grant| recorded(&grant)),
            issued_at,
            retires_at,
            scope,
            accounts,
            account_metadata: &[],
            key_metadata: &[],
            now,
        }
    })
}

fn restriction() -> impl Strategy<Value = Restriction> {
    let alone = [
        Restriction::NoAccount,
        Restriction::AccountSuspended,
        Restriction::AccountDisabled,
        Restriction::Suspended,
        Restriction::Disabled,
        Restriction::NoRecord,
    ];
    prop_oneof![
        6 => select(alone.to_vec()),
        1 => grant().prop_map(Restriction::Ceiling),
        1 => lifetime().prop_map(Restriction::Lifetime),
        1 => moment().prop_map(Restriction::Expiry),
        1 => moment().prop_map(Restriction::RevokeBefore),
        1 => grant().prop_map(Restriction::Grant),
        1 => moment().prop_map(Restriction::Retirement),
        1 => moment().prop_map(Restriction::EarlierIssue),
        1 => asked().prop_map(Restriction::Asks),
        1 => (0..ACCOUNTS.len()).prop_map(Restriction::Accepts),
        1 => moment().prop_map(Restriction::TimePasses),
    ]
}

/// Nothing speaks against the call: the same promise in another form, in which no order matters.
fn passes(facts: &Facts) -> bool {
    let is_before = |end: Option<Timestamp>| end.is_none_or(|end| facts.now < end);
    // An age that no calendar holds is none.
    let by_age = facts.max_lifetime.filter(|max| *max != Duration::MAX).map(|max| facts.issued_at + max);
    let grant = facts.own.clone().or(facts.cloned.as_ref().map(|cloned| cloned.grant().unwrap()));
    let permits = match Scope::concrete(facts.scope) {
        Ok(scope) => grant.is_some_and(|grant| grant.under(&facts.ceiling).allows(&scope)),
        Err(_) => grant.is_some(),
    };
    facts.account
        && !(facts.account_suspended || facts.account_disabled || facts.suspended || facts.disabled)
        && is_before(facts.expires_at)
        && is_before(by_age)
        && is_before(facts.retires_at)
        && facts.revoke_before.is_none_or(|before| before.as_second() < facts.issued_at.as_second())
        && (facts.accounts.is_empty() || facts.accounts.contains("shop/acme"))
        && permits
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn one_restriction_more_never_turns_a_deny_into_an_allow(before in facts(), restriction in restriction()) {
        let mut after = before.clone();
        restriction.apply(&mut after);
        // The same index hears of both, so that nothing of what it knew before may linger.
        let index = before.index();
        let was = before.ask(&index.look_up(&presented(&OLD))).code;
        after.tell(&index);
        let is = after.ask(&index.look_up(&presented(&OLD))).code;
        prop_assert!(is != Code::Ok || was == Code::Ok, "{was} became {is}");
        prop_assert_eq!(is, after.code(), "as if it had never known anything else");
    }

    #[test]
    fn a_call_passes_exactly_when_nothing_speaks_against_it(facts in facts()) {
        prop_assert_eq!(facts.code() == Code::Ok, passes(&facts), "{}", facts.code());
    }
}
