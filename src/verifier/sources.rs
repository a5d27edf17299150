//! What the index joins: what each watch has brought, by what names it, and what that makes of a value.

use std::collections::HashMap;
use std::sync::Arc;

use super::live::{Live, Value};
use super::subject::{AccountCell, FullName, Subject, Uid};
use crate::api::TargetKind;
use crate::key::KeyId;

/// A value that an entry names.
#[derive(Clone)]
pub enum Slot {
    /// Its ApiKey is there.
    Live(Live),
    /// The ApiKey of this entry is not there, or not any more.
    Waiting(Uid, Value),
}

/// With its id and the count of its owners it fills two cache lines, and no third one has to be waited for.
const _: () = assert!(size_of::<(KeyId, Slot)>() + 8 <= 128);

impl Slot {
    pub fn value(&self) -> Value {
        match self {
            Self::Live(live) => live.value(),
            Self::Waiting(_, value) => value.clone(),
        }
    }

    /// The entry that it is of.
    pub fn uid(&self) -> Uid {
        match self {
            Self::Live(live) => live.subject.uid(),
            Self::Waiting(uid, _) => *uid,
        }
    }

    pub fn is_live(&self) -> bool {
        matches!(self, Self::Live(_))
    }
}

/// What joins values with their ApiKeys, accounts and suspensions.
#[derive(Default)]
pub struct Sources {
    pub keys: HashMap<FullName, Arc<Subject>>,
    pub entries: HashMap<Uid, Record>,
    /// What further entries say of a value, as after a restore: one was taken over, and is there once more. In the index is
    /// the one whose ApiKey is there.
    pub doubles: HashMap<KeyId, Vec<(Uid, Value)>>,
    pub accounts: HashMap<FullName, Arc<AccountCell>>,
    pub suspensions: HashMap<Uid, Suspended>,
    /// How many suspensions each target has.
    pub suspended: HashMap<Suspended, usize>,
    /// How many of the values are live.
    pub live: usize,
}

impl Sources {
    /// The cell of an account, be it there or not.
    pub fn account(&mut self, namespace: &str, name: &str) -> &Arc<AccountCell> {
        let cell = self.accounts.entry(FullName::from((namespace, name)));
        cell.or_insert_with(|| Arc::new(AccountCell::new(namespace, name)))
    }

    /// Is the ApiKey of this entry there?
    pub fn is_live(&self, uid: Uid) -> bool {
        let owner = self.entries.get(&uid).and_then(|record| self.keys.get(&record.owner));
        owner.is_some_and(|key| key.uid() == uid)
    }

    /// What a value of this entry is now.
    pub fn slot(&self, uid: Uid, owner: FullName, value: Value) -> Slot {
        match self.keys.get(&owner).filter(|key| key.uid() == uid) {
            Some(subject) => {
                let suspended = self.suspended.contains_key(&Suspended { kind: TargetKind::ApiKey, target: owner });
                Slot::Live(Live::new(value, subject.clone(), suspended))
            }
            None => Slot::Waiting(uid, value),
        }
    }
}

/// An entry: whose it is, and its values, which stand in the index.
pub struct Record {
    /// The ApiKey that it belongs to; its uid is the entry's.
    pub owner: FullName,
    pub current: KeyId,
    /// Few have any.
    pub retiring: Box<[KeyId]>,
}

impl Record {
    pub fn values(&self) -> impl Iterator<Item = KeyId> + use<> {
        std::iter::once(self.current).chain(self.retiring.clone())
    }
}

/// What a suspension refuses.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Suspended {
    pub kind: TargetKind,
    pub target: FullName,
}
