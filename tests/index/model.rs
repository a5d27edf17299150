//! The model, too simple to be wrong: it keeps what came last, and looks everything up when it is asked.

use std::collections::{BTreeMap, BTreeSet};

use keywright::api::TargetKind;
use keywright::verifier::code::Code;
use keywright::verifier::index::Sizes;
use proptest::prelude::*;

/// The ApiKeys: uid, namespace, name. The third is the re-creation of the second, and the fourth its namesake elsewhere.
pub const KEYS: [(&str, &str, &str); 4] =
    [("uid-0", "shop", "first"), ("uid-1", "shop", "second"), ("uid-2", "shop", "second"), ("uid-3", "mall", "second")];

/// Which of them have the same values: the third took over the entry of the second, which may be restored once more.
pub const TWINS: [usize; 2] = [1, 2];

/// Where the accounts are; each is called `acme`, as every key says.
pub const NAMESPACES: [&str; 2] = ["shop", "mall"];

/// What is suspended. The two in the middle mean nobody: an account with a key's name and a key with an account's.
pub const TARGETS: [(&str, TargetKind, &str); 7] = [
    ("shop", TargetKind::ApiKey, "first"),
    ("shop", TargetKind::ApiKey, "second"),
    ("mall", TargetKind::ApiKey, "second"),
    ("shop", TargetKind::Account, "second"),
    ("shop", TargetKind::ApiKey, "acme"),
    ("shop", TargetKind::Account, "acme"),
    ("mall", TargetKind::Account, "acme"),
];

/// How many values each ApiKey has had in its life.
pub const VALUES: usize = 3;

/// The second at which everything is decided.
pub const NOW: i64 = 1000;

/// An entry: its newest value, and during overlaps those before, each with the second that it retires at, if it is known.
#[derive(Clone, Debug)]
pub struct EntryState {
    pub current: usize,
    pub retiring: Vec<(usize, Option<i64>)>,
    /// What was cloned permits writing.
    pub cloned: Option<bool>,
}

/// What a watch may say, and what a check may remember in between.
#[derive(Clone, Debug)]
pub enum Event {
    Key {
        which: usize,
        disabled: bool,
        /// Its own grant permits writing; `None` leaves it to what was cloned.
        own: Option<bool>,
    },
    NoKey(usize),
    Keys(BTreeSet<usize>),
    Entry(usize, EntryState),
    NoEntry(usize),
    /// It says that it is somebody else's.
    ForeignEntry(usize),
    /// It holds a clone's grant that cannot be read.
    NonsenseEntry(usize),
    Entries(BTreeSet<usize>),
    Account {
        at: usize,
        disabled: Option<bool>,
    },
    Accounts(BTreeSet<usize>),
    Suspension {
        uid: usize,
        target: usize,
    },
    NoSuspension(usize),
    Suspensions(BTreeSet<usize>),
    /// A value was proven that may be gone by now.
    Remember {
        which: usize,
        value: usize,
    },
}

pub fn event() -> impl Strategy<Value = Event> {
    let key = || 0..KEYS.len();
    let some = |of: usize| proptest::collection::btree_set(0..of, 0..=of);
    let own = prop_oneof![3 => Just(Some(true)), 1 => Just(Some(false)), 2 => Just(None)];
    prop_oneof![
        8 => (key(), proptest::bool::weighted(0.2), own)
            .prop_map(|(which, disabled, own)| Event::Key { which, disabled, own }),
        1 => key().prop_map(Event::NoKey),
        1 => some(KEYS.len()).prop_map(Event::Keys),
        8 => (key(), entry()).prop_map(|(which, state)| Event::Entry(which, state)),
        1 => key().prop_map(Event::NoEntry),
        1 => key().prop_map(Event::ForeignEntry),
        1 => key().prop_map(Event::NonsenseEntry),
        1 => some(KEYS.len()).prop_map(Event::Entries),
        5 => (0..NAMESPACES.len(), prop_oneof![5 => Just(Some(false)), 2 => Just(Some(true)), 1 => Just(None)])
            .prop_map(|(at, disabled)| Event::Account { at, disabled }),
        1 => some(NAMESPACES.len()).prop_map(Event::Accounts),
        3 => (0usize..4, 0..TARGETS.len()).prop_map(|(uid, target)| Event::Suspension { uid, target }),
        3 => (0usize..4).prop_map(Event::NoSuspension),
        1 => some(4).prop_map(Event::Suspensions),
        1 => (key(), 0..VALUES).prop_map(|(which, value)| Event::Remember { which, value }),
    ]
}

fn entry() -> impl Strategy<Value = EntryState> {
    let retires_at = prop_oneof![Just(None), Just(Some(NOW)), Just(Some(NOW + 1))];
    let cloned = prop_oneof![2 => Just(None), 2 => Just(Some(true)), 1 => Just(Some(false))];
    let distances = proptest::sample::subsequence((1..VALUES).collect::<Vec<_>>(), 0..VALUES);
    let times = proptest::collection::vec(retires_at, VALUES);
    (0..VALUES, distances, times, cloned).prop_map(|(current, distances, times, cloned)| EntryState {
        current,
        retiring: distances.iter().map(|distance| (current + distance) % VALUES).zip(times).collect(),
        cloned,
    })
}

/// An ApiKey, as last seen under its namespace and name.
struct KeyState {
    which: usize,
    disabled: bool,
    own: Option<bool>,
}

#[derive(Default)]
pub struct Model {
    keys: BTreeMap<(&'static str, &'static str), KeyState>,
    entries: BTreeMap<usize, EntryState>,
    /// Whether it is disabled.
    accounts: BTreeMap<usize, bool>,
    /// Target by uid.
    suspensions: BTreeMap<usize, usize>,
}

impl Model {
    pub fn apply(&mut self, event: &Event) {
        match event {
            Event::Key { which, disabled, own } => {
                let state = KeyState { which: *which, disabled: *disabled, own: *own };
                self.keys.insert(place(*which), state);
            }
            Event::NoKey(gone) => self.keys.retain(|_, key| key.which != *gone),
            Event::Keys(listed) => self.keys.retain(|_, key| listed.contains(&key.which)),
            Event::Entry(which, state) => drop(self.entries.insert(*which, state.clone())),
            Event::NoEntry(which) | Event::ForeignEntry(which) | Event::NonsenseEntry(which) => {
                self.entries.remove(which);
            }
            Event::Entries(listed) => self.entries.retain(|which, _| listed.contains(which)),
            Event::Account { at, disabled: Some(disabled) } => drop(self.accounts.insert(*at, *disabled)),
            Event::Account { at, disabled: None } => drop(self.accounts.remove(at)),
            Event::Accounts(listed) => self.accounts.retain(|at, _| listed.contains(at)),
            Event::Suspension { uid, target } => drop(self.suspensions.insert(*uid, *target)),
            Event::NoSuspension(uid) => drop(self.suspensions.remove(uid)),
            Event::Suspensions(listed) => self.suspensions.retain(|uid, _| listed.contains(uid)),
            // It says nothing that was not known.
            Event::Remember { .. } => {}
        }
    }

    /// Who answers for a value of this key: of twins the one that is there.
    pub fn holder(&self, which: usize, value: usize) -> usize {
        let names = |entry: &EntryState| entry.current == value || entry.retiring.iter().any(|(of, _)| *of == value);
        let answers = |twin: &&usize| self.joined(**twin).is_some_and(|(_, entry)| names(entry));
        if TWINS.contains(&which) { *TWINS.iter().find(answers).unwrap_or(&which) } else { which }
    }

    /// What a call that writes is told.
    pub fn code(&self, which: usize, value: usize) -> Code {
        let (namespace, name) = place(which);
        let Some((key, entry)) = self.joined(which) else { return Code::Unknown };
        let retires_at = match entry.retiring.iter().find(|(before, _)| *before == value) {
            _ if entry.current == value => None,
            Some((_, retires_at)) => *retires_at,
            None => return Code::Unknown,
        };
        let account = NAMESPACES.iter().position(|at| *at == namespace).and_then(|at| self.accounts.get(&at));
        let Some(account_disabled) = account else { return Code::AccountNotFound };
        let permits = key.own.or(entry.cloned);
        [
            (self.is_suspended((namespace, TargetKind::Account, "acme")), Code::AccountSuspended),
            (self.is_suspended((namespace, TargetKind::ApiKey, name)), Code::Suspended),
            (*account_disabled, Code::AccountDisabled),
            (key.disabled, Code::Disabled),
            (retires_at.is_some_and(|at| at <= NOW), Code::Retired),
            (permits.is_none(), Code::NotReady),
            (permits == Some(false), Code::InsufficientScope),
        ]
        .into_iter()
        .find_map(|(applies, code)| applies.then_some(code))
        .unwrap_or(Code::Ok)
    }

    pub fn sizes(&self) -> Sizes {
        let values = |which| self.joined(which).map_or(0, |(_, entry)| 1 + entry.retiring.len());
        Sizes {
            live: (0..KEYS.len()).map(values).sum(),
            keys: self.keys.len(),
            entries: self.entries.len(),
            accounts: self.accounts.len(),
            suspensions: self.suspensions.len(),
        }
    }

    fn joined(&self, which: usize) -> Option<(&KeyState, &EntryState)> {
        let key = self.keys.get(&place(which)).filter(|key| key.which == which)?;
        Some((key, self.entries.get(&which)?))
    }

    fn is_suspended(&self, target: (&str, TargetKind, &str)) -> bool {
        self.suspensions.values().any(|which| TARGETS[*which] == target)
    }
}

fn place(which: usize) -> (&'static str, &'static str) {
    let (_, namespace, name) = KEYS[which];
    (namespace, name)
}
