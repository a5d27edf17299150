//! The verifier's index against a model that is too simple to be wrong: whatever events come, in whatever order, a
//! value is answered by what its ApiKey, its entry, its account and the suspensions are as last seen.

#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "index/model.rs"]
mod model;
#[path = "support/values.rs"]
mod values;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::LazyLock;

use jiff::Timestamp;
use keywright::access::AccessLevel;
use keywright::api::{Target, TargetKind};
use keywright::key::{Cloned, Credential, Entry, Owner, Pepper};
use keywright::verifier::code::Code;
use keywright::verifier::decide::decide;
use keywright::verifier::index::{Index, Sizes};
use keywright::verifier::subject::{Ceiling, FullName, Key, Uid};
use model::{EntryState, Event, KEYS, Model, NAMESPACES, NOW, TARGETS, TWINS, VALUES, event};
use proptest::prelude::*;
use values::{credential, full, mint, pepper, presented, read_only, record_of, route};

/// Every value that an ApiKey ever had.
static TEXTS: LazyLock<Vec<[String; VALUES]>> = LazyLock::new(|| {
    let mut texts: Vec<[String; VALUES]> = KEYS.iter().map(|_| std::array::from_fn(|_| mint())).collect();
    let [one, other] = TWINS;
    texts[other] = texts[one].to_vec().try_into().unwrap();
    texts
});

fn key(which: usize, disabled: bool) -> Key {
    let (uid, namespace, name) = KEYS[which];
    Key {
        uid: uid.into(),
        generation: 1,
        namespace: namespace.into(),
        name: name.into(),
        account: "acme".into(),
        display_name: None,
        grant: Some(full()),
        disabled,
        expires_at: None,
        revoke_before: None,
        metadata: BTreeMap::new(),
    }
}

fn entry(which: usize, state: &EntryState) -> Entry {
    let (uid, namespace, name) = KEYS[which];
    let owner = Owner { namespace: namespace.into(), name: name.into(), uid: uid.into() };
    let recorded = |value: usize| credential(&TEXTS[which][value], value as u64 + 1, Timestamp::UNIX_EPOCH);
    let cloned = state.cloned.map(|writes| cloned(if writes { AccessLevel::Full } else { AccessLevel::ReadOnly }));
    let mut entry = Entry::first(owner, recorded(state.current), cloned);
    for &(before, retires_at) in &state.retiring {
        let retires_at = retires_at.map(|at| Timestamp::from_second(at).unwrap());
        entry.retiring.push(Credential { retires_at, ..recorded(before) });
    }
    entry
}

fn cloned(access_level: AccessLevel) -> Cloned {
    Cloned { source: "source".into(), display_name: None, access_level, scopes: Vec::new() }
}

/// An entry with one value.
fn only(current: usize) -> EntryState {
    EntryState { current, retiring: Vec::new(), cloned: None }
}

fn ceiling(disabled: bool) -> Ceiling {
    Ceiling { grant: full(), disabled, max_lifetime: None, metadata: BTreeMap::new() }
}

fn name(which: usize) -> FullName {
    (KEYS[which].1, KEYS[which].2).into()
}

fn suspend(index: &Index, uid: &str, (namespace, kind, name): (&str, TargetKind, &str)) {
    index.apply_suspension(uid.into(), namespace, &Target { kind, name: name.into() });
}

fn apply(index: &Index, event: &Event) {
    let uids = |listed: &BTreeSet<usize>| listed.iter().map(|&which| KEYS[which].0.into()).collect::<HashSet<Uid>>();
    match event {
        Event::Key { which, disabled, own } => {
            let grant = own.map(|writes| if writes { full() } else { read_only() });
            index.apply_key(Key { grant, ..key(*which, *disabled) });
        }
        Event::NoKey(which) => index.delete_key(name(*which), KEYS[*which].0.into()),
        Event::Keys(listed) => index.reset_keys(&uids(listed)),
        Event::Entry(which, state) => index.apply_entry(KEYS[*which].0, &entry(*which, state)),
        Event::NoEntry(which) => index.delete_entry(KEYS[*which].0.into()),
        Event::ForeignEntry(which) => {
            index.apply_entry(KEYS[*which].0, &entry((which + 1) % KEYS.len(), &only(0)));
        }
        Event::NonsenseEntry(which) => {
            let nonsense = Cloned { scopes: vec!["orders:read".into()], ..cloned(AccessLevel::Full) };
            let mut entry = entry(*which, &only(0));
            entry.cloned = Some(nonsense);
            index.apply_entry(KEYS[*which].0, &entry);
        }
        Event::Entries(listed) => index.reset_entries(&uids(listed)),
        Event::Account { at, disabled } => index.set_account(NAMESPACES[*at], "acme", disabled.map(ceiling)),
        Event::Accounts(listed) => {
            index.reset_accounts(&listed.iter().map(|&at| (NAMESPACES[at], "acme").into()).collect());
        }
        Event::Suspension { uid, target } => suspend(index, &uid.to_string(), TARGETS[*target]),
        Event::NoSuspension(uid) => index.delete_suspension(uid.to_string().as_str().into()),
        Event::Suspensions(listed) => {
            index.reset_suspensions(&listed.iter().map(|uid| uid.to_string().as_str().into()).collect());
        }
        Event::Remember { which, value } => remember(index, *which, *value),
    }
}

/// As after a check of the argon2id record.
fn remember(index: &Index, which: usize, value: usize) {
    let presented = presented(&TEXTS[which][value]);
    let tag = pepper().tag_presented(&presented).unwrap();
    index.remember(presented.id(), &record_of(&TEXTS[which][value]), tag);
}

/// The code, and the uid of the ApiKey that a holder is told about.
fn answer(index: &Index, text: &str) -> (Code, Option<Uid>) {
    let (view, now) = (index.look_up(&presented(text)), Timestamp::from_second(NOW).unwrap());
    let verdict = decide(&view, &route("scope=orders:write"), now);
    (verdict.code, verdict.holder.map(|holder| holder.live.subject().uid()))
}

fn code(index: &Index, text: &str) -> Code {
    answer(index, text).0
}

/// With a pepper, and account `acme` in `shop`.
fn prepared() -> Index {
    let index = Index::default();
    index.set_pepper(Some(pepper()));
    index.set_account("shop", "acme", Some(ceiling(false)));
    index
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn the_index_says_what_the_model_says_after_every_event(events in proptest::collection::vec(event(), 1..60)) {
        let (index, mut model) = (Index::default(), Model::default());
        index.set_pepper(Some(pepper()));
        for event in &events {
            apply(&index, event);
            model.apply(event);
            for (which, texts) in TEXTS.iter().enumerate() {
                for (value, text) in texts.iter().enumerate() {
                    let of = model.holder(which, value);
                    let expected = model.code(of, value);
                    let holder = (expected != Code::Unknown).then(|| KEYS[of].0.into());
                    prop_assert_eq!(answer(&index, text), (expected, holder), "{} {} after {:?}", which, value, event);
                }
            }
            prop_assert_eq!(index.sizes(), model.sizes(), "after {:?}", event);
        }
    }
}

#[test]
fn a_re_created_key_takes_the_place_of_the_one_before_and_a_late_deletion_of_that_does_nothing() {
    let index = prepared();
    index.apply_entry("uid-1", &entry(1, &only(0)));
    index.apply_entry("uid-2", &entry(2, &only(1)));
    index.apply_key(key(1, false));
    assert_eq!((code(&index, &TEXTS[1][0]), code(&index, &TEXTS[2][1])), (Code::Ok, Code::Unknown));
    index.apply_key(key(2, false));
    assert_eq!((code(&index, &TEXTS[1][0]), code(&index, &TEXTS[2][1])), (Code::Unknown, Code::Ok));
    index.delete_key(name(1), "uid-1".into());
    index.apply_entry("uid-2", &entry(2, &only(2)));
    assert_eq!(code(&index, &TEXTS[2][2]), Code::Ok, "it is still known");
}

#[test]
fn an_entry_that_was_taken_over_and_is_restored_once_more_neither_counts_nor_disturbs() {
    let index = prepared();
    let retired = EntryState { current: 1, retiring: vec![(0, Some(NOW))], cloned: None };
    index.apply_entry("uid-2", &entry(2, &retired));
    index.apply_entry("uid-1", &entry(1, &only(0)));
    index.apply_key(key(2, false));
    assert_eq!(code(&index, &TEXTS[2][0]), Code::Retired, "as the key's own entry says");
    assert_eq!(code(&index, &TEXTS[2][1]), Code::Ok);
    index.delete_entry("uid-1".into());
    assert_eq!(code(&index, &TEXTS[2][0]), Code::Retired);
    index.apply_entry("uid-1", &entry(1, &only(1)));
    index.delete_entry("uid-2".into());
    assert_eq!(code(&index, &TEXTS[2][1]), Code::Unknown, "its ApiKey is not there");
}

#[test]
fn a_suspension_waits_for_its_target_and_outlives_it() {
    let index = prepared();
    suspend(&index, "s-1", TARGETS[1]);
    for which in [1, 2] {
        index.apply_entry(KEYS[which].0, &entry(which, &only(0)));
        index.apply_key(key(which, false));
        assert_eq!(code(&index, &TEXTS[which][0]), Code::Suspended);
        index.delete_key(name(which), KEYS[which].0.into());
    }
    index.apply_key(key(2, false));
    assert_eq!(code(&index, &TEXTS[2][0]), Code::Suspended);
    index.delete_suspension("s-1".into());
    assert_eq!(code(&index, &TEXTS[2][0]), Code::Ok);
}

#[test]
fn a_suspension_of_an_account_waits_for_it_and_outlives_it() {
    let index = prepared();
    index.apply_entry("uid-0", &entry(0, &only(0)));
    index.apply_key(key(0, false));
    suspend(&index, "s-1", TARGETS[5]);
    index.set_account("shop", "acme", None);
    assert_eq!(code(&index, &TEXTS[0][0]), Code::AccountNotFound);
    index.reset_accounts(&HashSet::new());
    index.set_account("shop", "acme", Some(ceiling(false)));
    assert_eq!(code(&index, &TEXTS[0][0]), Code::AccountSuspended);
    index.reset_suspensions(&HashSet::new());
    assert_eq!(code(&index, &TEXTS[0][0]), Code::Ok);
}

#[test]
fn a_target_that_is_suspended_twice_is_free_only_when_both_are_lifted() {
    for (target, suspended) in [(TARGETS[0], Code::Suspended), (TARGETS[5], Code::AccountSuspended)] {
        let index = prepared();
        index.apply_entry("uid-0", &entry(0, &only(0)));
        index.apply_key(key(0, false));
        suspend(&index, "s-1", target);
        suspend(&index, "s-2", target);
        // A relist names what is known already.
        suspend(&index, "s-2", target);
        index.delete_suspension("s-2".into());
        index.delete_suspension("s-2".into());
        assert_eq!(code(&index, &TEXTS[0][0]), suspended);
        index.delete_suspension("s-1".into());
        assert_eq!(code(&index, &TEXTS[0][0]), Code::Ok);
        assert_eq!(index.sizes(), Sizes { live: 1, keys: 1, entries: 1, accounts: 1, suspensions: 0 });
    }
}

#[test]
fn both_values_of_a_rotation_pass_until_the_entry_names_one_only() {
    let index = prepared();
    let codes = || TEXTS[0].each_ref().map(|text| code(&index, text));
    index.apply_key(key(0, false));
    for (state, expected) in [
        (only(0), [Code::Ok, Code::Unknown, Code::Unknown]),
        (EntryState { retiring: vec![(0, None)], ..only(1) }, [Code::Ok, Code::Ok, Code::Unknown]),
        (EntryState { retiring: vec![(0, Some(NOW + 1))], ..only(1) }, [Code::Ok, Code::Ok, Code::Unknown]),
        (EntryState { retiring: vec![(0, Some(NOW))], ..only(1) }, [Code::Retired, Code::Ok, Code::Unknown]),
        // A further rotation leaves the older one its time.
        (EntryState { retiring: vec![(1, None), (0, Some(NOW + 1))], ..only(2) }, [Code::Ok, Code::Ok, Code::Ok]),
        (EntryState { retiring: vec![(1, None), (0, Some(NOW))], ..only(2) }, [Code::Retired, Code::Ok, Code::Ok]),
        (EntryState { retiring: vec![(1, None)], ..only(2) }, [Code::Unknown, Code::Ok, Code::Ok]),
        (only(2), [Code::Unknown, Code::Unknown, Code::Ok]),
    ] {
        index.apply_entry("uid-0", &entry(0, &state));
        assert_eq!(codes(), expected, "{state:?}");
        // What changes the key reaches both values.
        index.apply_key(key(0, true));
        assert_eq!(codes().map(|code| code == Code::Ok), [false; VALUES], "{state:?}");
        index.apply_key(key(0, false));
        assert_eq!(codes(), expected, "{state:?}");
    }
}

#[test]
fn an_entry_under_a_foreign_name_is_no_entry() {
    let index = prepared();
    index.apply_key(key(0, false));
    index.apply_key(key(1, false));
    index.apply_entry("uid-0", &entry(1, &only(0)));
    assert_eq!(code(&index, &TEXTS[1][0]), Code::Unknown);
    // Nor is one that has the right name, and the uid of who had it before.
    let mut before = entry(0, &only(0));
    before.owner.uid = "uid-9".into();
    index.apply_entry("uid-0", &before);
    assert_eq!(code(&index, &TEXTS[0][0]), Code::Unknown);
}

#[test]
fn an_entry_that_comes_to_name_another_owner_leaves_the_one_before_nothing() {
    let index = prepared();
    index.apply_key(key(0, false));
    index.apply_entry("uid-0", &entry(0, &only(0)));
    assert_eq!(code(&index, &TEXTS[0][0]), Code::Ok);
    let mut moved = entry(0, &only(0));
    moved.owner.name = "elsewhere".into();
    index.apply_entry("uid-0", &moved);
    assert_eq!(code(&index, &TEXTS[0][0]), Code::Unknown);
    // What is still passed must at least hear of this.
    index.apply_key(key(0, true));
    assert_ne!(code(&index, &TEXTS[0][0]), Code::Ok);
}

#[test]
fn without_a_pepper_nothing_passes() {
    let index = Index::default();
    index.set_account("shop", "acme", Some(ceiling(false)));
    index.apply_key(key(0, false));
    index.apply_entry("uid-0", &entry(0, &only(0)));
    assert_eq!(code(&index, &TEXTS[0][0]), Code::NotReady);
}

/// An index whose pepper was lost after value 0 of the first key was minted: its tag is of the lost one.
fn with_a_lost_pepper() -> (Index, Entry) {
    let index = prepared();
    let lost = Pepper::generate(Timestamp::from_second(1).unwrap()).unwrap();
    let mut entry = entry(0, &only(0));
    entry.current.tag = lost.tag_presented(&presented(&TEXTS[0][0])).unwrap();
    index.apply_key(key(0, false));
    index.apply_entry("uid-0", &entry);
    assert_eq!(answer(&index, &TEXTS[0][0]), (Code::NotReady, None));
    (index, entry)
}

#[test]
fn a_value_that_was_proven_passes_by_its_new_tag() {
    let (index, _) = with_a_lost_pepper();
    remember(&index, 0, 0);
    assert_eq!(code(&index, &TEXTS[0][0]), Code::Ok);
    index.apply_key(key(0, true));
    assert_eq!(code(&index, &TEXTS[0][0]), Code::Disabled);
}

#[test]
fn a_proof_that_comes_late_revives_nothing() {
    let (index, _) = with_a_lost_pepper();
    index.apply_key(key(0, true));
    remember(&index, 0, 0);
    assert_eq!(code(&index, &TEXTS[0][0]), Code::Disabled);
    index.delete_key(name(0), "uid-0".into());
    remember(&index, 0, 0);
    assert_eq!(code(&index, &TEXTS[0][0]), Code::Unknown);
    index.apply_key(key(0, false));
    index.delete_entry("uid-0".into());
    remember(&index, 0, 0);
    assert_eq!(code(&index, &TEXTS[0][0]), Code::Unknown);
}

#[test]
fn a_proof_of_another_record_or_of_another_value_is_not_remembered() {
    let (index, _) = with_a_lost_pepper();
    let (own, other) = (presented(&TEXTS[0][0]), presented(&TEXTS[0][1]));
    let tag = || pepper().tag_presented(&own).unwrap();
    index.remember(own.id(), &record_of(&TEXTS[0][1]), tag());
    index.remember(other.id(), &record_of(&TEXTS[0][0]), tag());
    assert_eq!(code(&index, &TEXTS[0][0]), Code::NotReady);
}

#[test]
fn records_are_kept_only_where_a_pepper_is_gone_and_asked_for_again_when_one_goes() {
    let (first, second) = (pepper(), Pepper::generate(Timestamp::from_second(7).unwrap()).unwrap());
    let index = prepared();
    index.apply_key(key(0, false));
    index.apply_entry("uid-0", &entry(0, &only(0)));
    let both = Pepper::from_data(
        [&first, &second]
            .iter()
            .flat_map(|p| p.data())
            .map(|(v, k)| (v, k.to_vec()))
            .collect::<Vec<_>>()
            .iter()
            .map(|(v, k)| (v.as_str(), &k[..])),
    )
    .unwrap();
    assert!(!index.set_pepper(Some(both)), "every tag can still be checked");
    assert!(index.set_pepper(Some(second)), "the first is gone");
    assert_eq!(code(&index, &TEXTS[0][0]), Code::NotReady, "in doubt until it is read again");
    index.apply_entry("uid-0", &entry(0, &only(0)));
    remember(&index, 0, 0);
    assert_eq!(code(&index, &TEXTS[0][0]), Code::NotReady, "the proof was of the first");
}

#[test]
fn a_relist_that_brings_the_same_entry_again_does_not_forget_what_was_proven() {
    let (index, entry) = with_a_lost_pepper();
    remember(&index, 0, 0);
    index.apply_entry("uid-0", &entry);
    index.reset_entries(&HashSet::from(["uid-0".into()]));
    assert_eq!(code(&index, &TEXTS[0][0]), Code::Ok);
}

#[test]
fn only_a_generation_that_is_known_is_old_news() {
    let index = Index::default();
    let (uid, namespace, name) = KEYS[0];
    let knows = |generation| index.knows_key((namespace, name).into(), uid.into(), generation);
    assert!(!knows(1), "of a key that nobody has heard of");
    index.apply_key(Key { generation: 7, ..key(0, false) });
    assert!(knows(7) && !knows(6) && !knows(8));
    assert!(!index.knows_key((namespace, name).into(), "another".into(), 7), "it was re-created");
    index.delete_key((namespace, name).into(), uid.into());
    assert!(!knows(7));
}
