//! The verifier's index against a model that is too simple to be wrong: whatever events come, in whatever order, a
//! value passes exactly when its ApiKey, its entry and its account are there as last seen.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::LazyLock;

use jiff::Timestamp;
use keywright::access::{AccessLevel, Grant};
use keywright::key::{Credential, Entry, Owner, Parsed, Pepper, Plaintext, Presented, parse};
use keywright::verifier::code::Code;
use keywright::verifier::decide::decide;
use keywright::verifier::index::Index;
use keywright::verifier::live::{Ceiling, Key};
use keywright::verifier::question::Question;
use proptest::prelude::*;

/// Two ApiKeys; the third has the name of the second and is its re-creation.
const UIDS: [&str; 3] = ["uid-0", "uid-1", "uid-2"];
const NAMES: [&str; 3] = ["first", "second", "second"];

/// Two values for each ApiKey, as before and after a change of its entry.
static VALUES: LazyLock<Vec<[String; 2]>> = LazyLock::new(|| {
    let mint = || Plaintext::mint("kw").unwrap().expose().to_owned();
    UIDS.iter().map(|_| [mint(), mint()]).collect()
});

static PEPPER: LazyLock<Vec<(String, Vec<u8>)>> = LazyLock::new(|| {
    let pepper = Pepper::generate(Timestamp::UNIX_EPOCH).unwrap();
    pepper.data().map(|(name, bytes)| (name, bytes.to_vec())).collect()
});

fn pepper() -> Pepper {
    Pepper::from_data(PEPPER.iter().map(|(name, bytes)| (name.as_str(), &bytes[..]))).unwrap()
}

fn presented(text: &str) -> Presented<'_> {
    match parse(text.as_bytes()) {
        Parsed::Native(presented) => presented,
        Parsed::Malformed | Parsed::Foreign => panic!("a minted key"),
    }
}

fn full() -> Grant {
    Grant::new::<&str>(AccessLevel::Full, &[]).unwrap()
}

fn key(which: usize, disabled: bool) -> Key {
    Key {
        uid: UIDS[which].into(),
        namespace: "shop".into(),
        name: NAMES[which].into(),
        account: "acme".into(),
        display_name: None,
        grant: Some(full()),
        disabled,
        expires_at: None,
        revoke_before: None,
        metadata: BTreeMap::new(),
    }
}

fn entry(which: usize, value: usize) -> Entry {
    let text = &VALUES[which][value];
    let owner = Owner { namespace: "shop".into(), name: NAMES[which].into(), uid: UIDS[which].into() };
    let credential = Credential {
        id: presented(text).id(),
        prefix: "kw".into(),
        serial: value as u64 + 1,
        revision: 0,
        issued_at: Timestamp::UNIX_EPOCH,
        delivered_at: None,
        retires_at: None,
        hash: String::new(),
        tag: pepper().tag_presented(&presented(text)).unwrap(),
        sealed: None,
    };
    Entry::first(owner, credential, None)
}

/// What a watch may say.
#[derive(Clone, Debug)]
enum Event {
    Key(usize, bool),
    NoKey(usize),
    Keys(BTreeSet<usize>),
    Entry(usize, usize),
    NoEntry(usize),
    Entries(BTreeSet<usize>),
    Account(Option<bool>),
    NoAccounts,
}

fn event() -> impl Strategy<Value = Event> {
    let some = || proptest::collection::btree_set(0usize..3, 0..3);
    prop_oneof![
        3 => (0usize..3, any::<bool>()).prop_map(|(which, disabled)| Event::Key(which, disabled)),
        1 => (0usize..3).prop_map(Event::NoKey),
        1 => some().prop_map(Event::Keys),
        3 => (0usize..3, 0usize..2).prop_map(|(which, value)| Event::Entry(which, value)),
        1 => (0usize..3).prop_map(Event::NoEntry),
        1 => some().prop_map(Event::Entries),
        2 => any::<Option<bool>>().prop_map(Event::Account),
        1 => Just(Event::NoAccounts),
    ]
}

#[derive(Default)]
struct Model {
    keys: BTreeMap<usize, bool>,
    entries: BTreeMap<usize, usize>,
    account: Option<bool>,
}

impl Model {
    fn apply(&mut self, event: &Event) {
        match event {
            Event::Key(which, disabled) => drop(self.keys.insert(*which, *disabled)),
            Event::NoKey(which) => drop(self.keys.remove(which)),
            Event::Keys(listed) => self.keys.retain(|which, _| listed.contains(which)),
            Event::Entry(which, value) => drop(self.entries.insert(*which, *value)),
            Event::NoEntry(which) => drop(self.entries.remove(which)),
            Event::Entries(listed) => self.entries.retain(|which, _| listed.contains(which)),
            Event::Account(disabled) => self.account = *disabled,
            Event::NoAccounts => self.account = None,
        }
    }

    fn code(&self, which: usize, value: usize) -> Code {
        match (self.keys.get(&which), self.entries.get(&which), self.account) {
            (Some(_), Some(current), None) if *current == value => Code::AccountNotFound,
            (Some(_), Some(current), Some(true)) if *current == value => Code::AccountDisabled,
            (Some(true), Some(current), _) if *current == value => Code::Disabled,
            (Some(false), Some(current), _) if *current == value => Code::Ok,
            _ => Code::Unknown,
        }
    }
}

fn apply(index: &Index, event: &Event) {
    let uids = |listed: &BTreeSet<usize>| listed.iter().map(|&which| UIDS[which].into()).collect::<HashSet<_>>();
    match event {
        Event::Key(which, disabled) => index.apply_key(key(*which, *disabled)),
        Event::NoKey(which) => index.delete_key(&("shop".into(), NAMES[*which].into()), UIDS[*which]),
        Event::Keys(listed) => index.reset_keys(&uids(listed)),
        Event::Entry(which, value) => index.apply_entry(UIDS[*which], &entry(*which, *value)),
        Event::NoEntry(which) => index.delete_entry(UIDS[*which]),
        Event::Entries(listed) => index.reset_entries(&uids(listed)),
        Event::Account(disabled) => {
            index.set_account(
                "shop",
                "acme",
                disabled.map(|disabled| Ceiling {
                    grant: full(),
                    disabled,
                    max_lifetime: None,
                    metadata: BTreeMap::new(),
                }),
            );
        }
        Event::NoAccounts => index.reset_accounts(&HashSet::new()),
    }
}

fn code(index: &Index, text: &str) -> Code {
    let question = Question::from_query("scope=any", None).unwrap();
    decide(&index.view(), &presented(text), &question, Timestamp::UNIX_EPOCH).code
}

proptest! {
    #[test]
    fn the_index_says_what_the_model_says_after_every_event(events in proptest::collection::vec(event(), 1..40)) {
        let (index, mut model) = (Index::default(), Model::default());
        index.set_pepper(Some(pepper()));
        for event in &events {
            apply(&index, event);
            model.apply(event);
            for (which, values) in VALUES.iter().enumerate() {
                for (value, text) in values.iter().enumerate() {
                    prop_assert_eq!(code(&index, text), model.code(which, value), "{} {} after {:?}", which, value, event);
                }
            }
        }
        let sizes = index.sizes();
        prop_assert_eq!((sizes.keys, sizes.entries), (model.keys.len(), model.entries.len()));
        let live = model.keys.keys().filter(|which| model.entries.contains_key(which)).count();
        prop_assert_eq!(sizes.live, live);
    }
}

#[test]
fn an_entry_under_a_foreign_name_is_no_entry() {
    let index = Index::default();
    index.set_pepper(Some(pepper()));
    index.set_account(
        "shop",
        "acme",
        Some(Ceiling { grant: full(), disabled: false, max_lifetime: None, metadata: BTreeMap::new() }),
    );
    index.apply_key(key(0, false));
    index.apply_entry("uid-0", &entry(1, 0));
    assert_eq!(code(&index, &VALUES[1][0]), Code::Unknown);
}

#[test]
fn without_a_pepper_nothing_passes() {
    let index = Index::default();
    index.set_account(
        "shop",
        "acme",
        Some(Ceiling { grant: full(), disabled: false, max_lifetime: None, metadata: BTreeMap::new() }),
    );
    index.apply_key(key(0, false));
    index.apply_entry("uid-0", &entry(0, 0));
    assert_eq!(code(&index, &VALUES[0][0]), Code::NotReady);
}
