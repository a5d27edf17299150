//! What the verifier knows: entries, keys and accounts, joined so that one look-up finds all that a decision needs.
//!
//! Readers take no lock that a writer can hold. Writers (the watches) take turns behind one mutex; a change costs the
//! same whatever the index holds. An account's state is one shared cell, so that disabling an account with a million
//! keys is one store.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::{ArcSwapOption, Guard};
use jiff::Timestamp;

use crate::access::Grant;
use crate::key::{Entry, KeyId, Pepper, Tag};

/// A uid of the API server.
pub type Uid = Box<str>;

/// An ApiKey as far as decisions need it.
#[derive(Clone, Debug, PartialEq)]
pub struct Key {
    /// `metadata.uid`
    pub uid: Uid,
    /// `metadata.namespace`
    pub namespace: Box<str>,
    /// `metadata.name`
    pub name: Box<str>,
    /// `spec.account`
    pub account: Box<str>,
    /// `spec.displayName`
    pub display_name: Option<Box<str>>,
    /// What it may do, before the ceiling.
    pub grant: Grant,
    /// `spec.disabled`
    pub disabled: bool,
    /// `spec.expiresAt`
    pub expires_at: Option<Timestamp>,
}

/// An Account as far as decisions need it.
#[derive(Clone, Debug, PartialEq)]
pub struct Ceiling {
    /// What any of its keys may do.
    pub grant: Grant,
    /// `spec.disabled`
    pub disabled: bool,
}

/// A value whose ApiKey exists: everything that `decide` looks at.
#[derive(Clone)]
pub struct Live {
    /// The public id.
    pub id: KeyId,
    /// Which minting it is.
    pub serial: u64,
    /// The keyed hash to compare with.
    pub tag: Tag,
    /// The argon2id record, for when the tag's pepper is gone.
    pub record: Arc<str>,
    /// Its ApiKey.
    pub key: Arc<Key>,
    account: AccountCell,
}

impl Live {
    /// Its account's ceiling at this moment; `None` when the account is not there.
    pub fn ceiling(&self) -> Guard<Option<Arc<Ceiling>>> {
        self.account.load()
    }
}

/// An account's state, shared by all its keys; empty when the account is not there.
type AccountCell = Arc<ArcSwapOption<Ceiling>>;

type LiveMap = papaya::HashMap<KeyId, Live, foldhash::fast::RandomState>;

/// Everything that the verifier knows.
#[derive(Default)]
pub struct Index {
    live: LiveMap,
    pepper: ArcSwapOption<Pepper>,
    sources: Mutex<Sources>,
}

/// The three resources as they were last seen, from which `live` is joined.
#[derive(Default)]
struct Sources {
    keys: HashMap<Uid, Arc<Key>>,
    entries: HashMap<Uid, Vec<Value>>,
    /// By namespace and name.
    accounts: HashMap<(Box<str>, Box<str>), AccountCell>,
}

/// One value of an entry.
#[derive(Clone)]
struct Value {
    id: KeyId,
    serial: u64,
    tag: Tag,
    record: Arc<str>,
}

/// How many of each the index holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    /// Values that a call could be made with.
    pub live: usize,
    /// ApiKeys.
    pub keys: usize,
    /// Entries.
    pub entries: usize,
    /// Accounts.
    pub accounts: usize,
}

/// A moment's view for one decision. Values that it lends stay valid while it lives.
pub struct View<'i> {
    live: papaya::HashMapRef<'i, KeyId, Live, foldhash::fast::RandomState, papaya::LocalGuard<'i>>,
    /// The keys of the tags.
    pub pepper: Guard<Option<Arc<Pepper>>>,
}

impl View<'_> {
    /// The value with this id, if its ApiKey exists.
    pub fn get(&self, id: KeyId) -> Option<&Live> {
        self.live.get(&id)
    }
}

impl Index {
    /// A view for one decision.
    pub fn view(&self) -> View<'_> {
        View { live: self.live.pin(), pepper: self.pepper.load() }
    }

    /// The installation's pepper has been read.
    pub fn set_pepper(&self, pepper: Option<Pepper>) {
        self.pepper.store(pepper.map(Arc::new));
    }

    /// How many of each the index holds.
    pub fn sizes(&self) -> Sizes {
        let sources = self.sources();
        Sizes {
            live: self.live.len(),
            keys: sources.keys.len(),
            entries: sources.entries.len(),
            accounts: sources.accounts.values().filter(|cell| cell.load().is_some()).count(),
        }
    }

    /// An ApiKey was added or changed.
    pub fn apply_key(&self, key: Key) {
        let mut sources = self.sources();
        let uid = key.uid.clone();
        sources.keys.insert(uid.clone(), Arc::new(key));
        self.link(&mut sources, &uid);
    }

    /// An ApiKey was deleted, or cannot be read any more.
    pub fn delete_key(&self, uid: &str) {
        let mut sources = self.sources();
        if sources.keys.remove(uid).is_some() {
            self.unlink(sources.entries.get(uid).map_or(&[], Vec::as_slice));
        }
    }

    /// The list of ApiKeys is complete: what it did not name is gone.
    pub fn reset_keys(&self, listed: &HashSet<Uid>) {
        // Not in the loop's head: the lock would be held through the loop, which takes it again.
        let gone = missing(self.sources().keys.keys(), listed);
        for uid in gone {
            self.delete_key(&uid);
        }
    }

    /// An entry was added or changed. An entry whose owner is another than its own name says is no entry.
    pub fn apply_entry(&self, uid: &str, entry: &Entry) {
        if entry.owner.uid != uid {
            return self.delete_entry(uid);
        }
        let mut sources = self.sources();
        let current = &entry.current;
        let values = vec![Value {
            id: current.id,
            serial: current.serial,
            tag: current.tag,
            record: current.hash.as_str().into(),
        }];
        if let Some(old) = sources.entries.insert(uid.into(), values) {
            let kept: Vec<KeyId> = sources.entries[uid].iter().map(|v| v.id).collect();
            self.unlink(&old.into_iter().filter(|v| !kept.contains(&v.id)).collect::<Vec<_>>());
        }
        self.link(&mut sources, uid);
    }

    /// An entry was deleted, or cannot be read any more.
    pub fn delete_entry(&self, uid: &str) {
        let values = self.sources().entries.remove(uid);
        self.unlink(&values.unwrap_or_default());
    }

    /// The list of entries is complete: what it did not name is gone.
    pub fn reset_entries(&self, listed: &HashSet<Uid>) {
        let gone = missing(self.sources().entries.keys(), listed);
        for uid in gone {
            self.delete_entry(&uid);
        }
    }

    /// An Account was added or changed; `None` when it was deleted, or cannot be read any more.
    pub fn set_account(&self, namespace: &str, name: &str, ceiling: Option<Ceiling>) {
        account_cell(&mut self.sources(), namespace, name).store(ceiling.map(Arc::new));
    }

    /// The list of Accounts is complete: what it did not name is gone.
    pub fn reset_accounts(&self, listed: &HashSet<(Box<str>, Box<str>)>) {
        for (_, cell) in self.sources().accounts.iter().filter(|(name, _)| !listed.contains(*name)) {
            cell.store(None);
        }
    }

    /// A value was proven by its argon2id record: remember the tag that the current pepper gives it.
    pub fn remember(&self, id: KeyId, serial: u64, uid: &str, tag: Tag) {
        let mut sources = self.sources();
        let values = sources.entries.get_mut(uid).into_iter().flatten();
        for value in values.filter(|value| value.id == id && value.serial == serial) {
            value.tag = tag;
        }
        self.link(&mut sources, uid);
    }

    fn link(&self, sources: &mut Sources, uid: &str) {
        let Some(key) = sources.keys.get(uid).cloned() else { return };
        let account = account_cell(sources, &key.namespace, &key.account).clone();
        let live = self.live.pin();
        for Value { id, serial, tag, record } in sources.entries.get(uid).into_iter().flatten() {
            let (key, account, record) = (key.clone(), account.clone(), record.clone());
            live.insert(*id, Live { id: *id, serial: *serial, tag: *tag, record, key, account });
        }
    }

    fn unlink(&self, values: &[Value]) {
        let live = self.live.pin();
        for value in values {
            live.remove(&value.id);
        }
    }

    fn sources(&self) -> MutexGuard<'_, Sources> {
        // A panic between two steps of a writer leaves at worst a value that is not linked, which is a deny.
        self.sources.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn account_cell<'s>(sources: &'s mut Sources, namespace: &str, name: &str) -> &'s AccountCell {
    sources.accounts.entry((namespace.into(), name.into())).or_default()
}

fn missing<'u>(known: impl Iterator<Item = &'u Uid>, listed: &HashSet<Uid>) -> Vec<Uid> {
    known.filter(|uid| !listed.contains(*uid)).cloned().collect()
}
