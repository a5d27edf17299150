//! What the verifier knows: entries, keys and accounts, joined so that one look-up finds all that a decision needs.
//!
//! Readers take no lock that a writer can hold. Writers (the watches) take turns behind one mutex; a change costs the
//! same whatever the index holds. An account's state is one shared cell, so that disabling an account with a million
//! keys is one store.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::{ArcSwapOption, Guard};
use jiff::Timestamp;

use super::live::{Account, AccountCell, Ceiling, Cloned, FullName, Key, Live, Site, Uid};
use crate::api::{Target, TargetKind};
use crate::key::{Entry, KeyId, Pepper, SiteId, Tag};

type LiveMap = papaya::HashMap<KeyId, Live, foldhash::fast::RandomState>;

type SiteMap = papaya::HashMap<SiteId, Site, foldhash::fast::RandomState>;

/// Everything that the verifier knows.
#[derive(Default)]
pub struct Index {
    live: LiveMap,
    sites: SiteMap,
    pepper: ArcSwapOption<Pepper>,
    sources: Mutex<Sources>,
}

/// The four resources as they were last seen, from which `live` is joined.
#[derive(Default)]
struct Sources {
    keys: HashMap<FullName, Arc<Key>>,
    entries: HashMap<Uid, Record>,
    accounts: HashMap<FullName, AccountCell>,
    suspensions: HashMap<Uid, (Box<str>, Target)>,
    /// How many suspensions each target has, by namespace.
    suspended: HashMap<(Box<str>, Target), usize>,
}

/// An entry.
struct Record {
    /// The ApiKey that it belongs to; its uid is the entry's.
    owner: FullName,
    values: Vec<Value>,
    cloned: Option<Arc<Cloned>>,
}

/// One value of an entry.
#[derive(Clone)]
struct Value {
    id: KeyId,
    serial: u64,
    /// The tag to compare with: the stored one, or the one that a proof gave in its place.
    tag: Tag,
    stored: Tag,
    record: Arc<str>,
    issued_at: Timestamp,
    retires_at: Option<Timestamp>,
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
    /// Suspensions.
    pub suspensions: usize,
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

/// The same for Site IDs, which few calls show: holding a map still has its price.
pub struct SiteView<'i>(papaya::HashMapRef<'i, SiteId, Site, foldhash::fast::RandomState, papaya::LocalGuard<'i>>);

impl SiteView<'_> {
    /// The account that has reserved this Site ID, be it there or not.
    pub fn site(&self, id: SiteId) -> Option<&Site> {
        self.0.get(&id)
    }
}

impl Index {
    /// A view for one decision.
    pub fn view(&self) -> View<'_> {
        View { live: self.live.pin(), pepper: self.pepper.load() }
    }

    /// A view for one decision on a Site ID.
    pub fn site_view(&self) -> SiteView<'_> {
        SiteView(self.sites.pin())
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
            accounts: sources.accounts.values().filter(|cell| cell.load().ceiling.is_some()).count(),
            suspensions: sources.suspensions.len(),
        }
    }

    /// An ApiKey was added or changed. One with the name of another is its re-creation.
    pub fn apply_key(&self, key: Key) {
        let mut sources = self.sources();
        let uid = key.uid.clone();
        let name = (key.namespace.clone(), key.name.clone());
        if let Some(before) = sources.keys.insert(name, Arc::new(key))
            && before.uid != uid
        {
            self.unlink(&sources, &before.uid);
        }
        self.link(&mut sources, &uid);
    }

    /// An ApiKey was deleted, or cannot be read any more.
    pub fn delete_key(&self, name: &FullName, uid: &str) {
        let mut sources = self.sources();
        if sources.keys.get(name).is_some_and(|key| *key.uid == *uid) {
            sources.keys.remove(name);
            self.unlink(&sources, uid);
        }
    }

    /// The list of ApiKeys is complete: what it did not name is gone.
    pub fn reset_keys(&self, listed: &HashSet<Uid>) {
        // Not in the loop's head: the lock would be held through the loop, which takes it again.
        let is_gone = |key: &&Arc<Key>| !listed.contains(&key.uid);
        let gone: Vec<Arc<Key>> = self.sources().keys.values().filter(is_gone).cloned().collect();
        for key in gone {
            self.delete_key(&(key.namespace.clone(), key.name.clone()), &key.uid);
        }
    }

    /// An entry was added or changed. An entry whose owner is another than its own name says is no entry, and neither is
    /// one that holds a clone's grant which cannot be read.
    pub fn apply_entry(&self, uid: &str, entry: &Entry) {
        let Some(mut record) = read(uid, entry) else { return self.delete_entry(uid) };
        let mut sources = self.sources();
        // What was proven of a value stays proven while its record is the same; a relist brings every entry again.
        for old in sources.entries.get(uid).into_iter().flat_map(|before| &before.values) {
            let is_same = |value: &&mut Value| {
                (value.id, value.serial, value.stored) == (old.id, old.serial, old.stored) && value.record == old.record
            };
            if let Some(value) = record.values.iter_mut().find(is_same) {
                value.tag = old.tag;
            }
        }
        let kept: HashSet<KeyId> = record.values.iter().map(|value| value.id).collect();
        if let Some(old) = sources.entries.insert(uid.into(), record) {
            self.remove(old.values.iter().filter(|value| !kept.contains(&value.id)));
        }
        self.link(&mut sources, uid);
    }

    /// An entry was deleted, or cannot be read any more.
    pub fn delete_entry(&self, uid: &str) {
        let removed = self.sources().entries.remove(uid);
        self.remove(removed.iter().flat_map(|record| &record.values));
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
        let mut sources = self.sources();
        let cell = account_cell(&mut sources, namespace, name);
        change(cell, |account| account.ceiling = ceiling.map(Arc::new));
    }

    /// The list of Accounts is complete: what it did not name is gone.
    pub fn reset_accounts(&self, listed: &HashSet<FullName>) {
        for (_, cell) in self.sources().accounts.iter().filter(|(name, _)| !listed.contains(*name)) {
            change(cell, |account| account.ceiling = None);
        }
    }

    /// A Site ID was reserved. Reservations are never taken back.
    pub fn set_site(&self, id: SiteId, namespace: &str, name: &str) {
        let mut sources = self.sources();
        let account = account_cell(&mut sources, namespace, name).clone();
        change(&account, |account| account.site_id = Some(id));
        self.sites.pin().insert(id, Site { id, namespace: namespace.into(), name: name.into(), account });
    }

    /// A Suspension was added or changed.
    pub fn apply_suspension(&self, uid: &str, namespace: &str, target: Target) {
        let mut sources = self.sources();
        let suspended = (Box::<str>::from(namespace), target);
        if sources.suspensions.get(uid) == Some(&suspended) {
            return;
        }
        self.lift(&mut sources, uid);
        sources.suspensions.insert(uid.into(), suspended.clone());
        *sources.suspended.entry(suspended.clone()).or_default() += 1;
        self.mark(&mut sources, &suspended, true);
    }

    /// A Suspension was deleted.
    pub fn delete_suspension(&self, uid: &str) {
        self.lift(&mut self.sources(), uid);
    }

    /// The list of Suspensions is complete: what it did not name is gone.
    pub fn reset_suspensions(&self, listed: &HashSet<Uid>) {
        let mut sources = self.sources();
        for uid in missing(sources.suspensions.keys(), listed) {
            self.lift(&mut sources, &uid);
        }
    }

    fn lift(&self, sources: &mut Sources, uid: &str) {
        let Some(suspended) = sources.suspensions.remove(uid) else { return };
        let left = sources.suspended.get_mut(&suspended).map_or(0, |count| {
            *count = count.saturating_sub(1);
            *count
        });
        if left == 0 {
            sources.suspended.remove(&suspended);
            self.mark(sources, &suspended, false);
        }
    }

    fn mark(&self, sources: &mut Sources, (namespace, target): &(Box<str>, Target), suspended: bool) {
        match target.kind {
            TargetKind::Account => {
                change(account_cell(sources, namespace, &target.name), |account| account.suspended = suspended);
            }
            TargetKind::ApiKey => {
                let name = (namespace.clone(), target.name.as_str().into());
                if let Some(uid) = sources.keys.get(&name).map(|key| key.uid.clone()) {
                    self.link(sources, &uid);
                }
            }
        }
    }

    /// A value was proven by its argon2id record: remember the tag that the current pepper gives it.
    pub fn remember(&self, id: KeyId, serial: u64, uid: &str, tag: Tag) {
        let mut sources = self.sources();
        let values = sources.entries.get_mut(uid).into_iter().flat_map(|record| &mut record.values);
        for value in values.filter(|value| value.id == id && value.serial == serial) {
            value.tag = tag;
        }
        self.link(&mut sources, uid);
    }

    /// Joins an entry's values with its ApiKey, when both are there and belong together.
    fn link(&self, sources: &mut Sources, uid: &str) {
        let key = sources.entries.get(uid).and_then(|record| sources.keys.get(&record.owner)).cloned();
        // An entry that has come to name another owner leaves the one before nothing.
        let Some(key) = key.filter(|key| *key.uid == *uid) else { return self.unlink(sources, uid) };
        let account = account_cell(sources, &key.namespace, &key.account).clone();
        let target = Target { kind: TargetKind::ApiKey, name: key.name.as_ref().to_owned() };
        let suspended = sources.suspended.contains_key(&(key.namespace.clone(), target));
        let live = self.live.pin();
        let Some(Record { values, cloned, .. }) = sources.entries.get(uid) else { return };
        for Value { id, serial, tag, stored: _, record, issued_at, retires_at } in values {
            let value = Live {
                id: *id,
                serial: *serial,
                tag: *tag,
                record: record.clone(),
                issued_at: *issued_at,
                retires_at: *retires_at,
                key: key.clone(),
                suspended,
                cloned: cloned.clone(),
                account: account.clone(),
                identity: ArcSwapOption::empty(),
            };
            live.insert(*id, value);
        }
    }

    fn unlink(&self, sources: &Sources, uid: &str) {
        self.remove(sources.entries.get(uid).into_iter().flat_map(|record| &record.values));
    }

    fn remove<'v>(&self, values: impl Iterator<Item = &'v Value>) {
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

fn read(uid: &str, entry: &Entry) -> Option<Record> {
    if entry.owner.uid != uid {
        return None;
    }
    let cloned = match &entry.cloned {
        Some(cloned) => Some(Arc::new(Cloned {
            grant: cloned.grant().ok()?,
            display_name: cloned.display_name.as_deref().map(Into::into),
        })),
        None => None,
    };
    let values = entry.credentials().map(|credential| Value {
        id: credential.id,
        serial: credential.serial,
        tag: credential.tag,
        stored: credential.tag,
        record: credential.hash.as_str().into(),
        issued_at: credential.issued_at,
        retires_at: credential.retires_at,
    });
    let owner = (entry.owner.namespace.as_str().into(), entry.owner.name.as_str().into());
    Some(Record { owner, values: values.collect(), cloned })
}

fn account_cell<'s>(sources: &'s mut Sources, namespace: &str, name: &str) -> &'s AccountCell {
    sources.accounts.entry((namespace.into(), name.into())).or_default()
}

/// Writers take turns, so nobody changes it in between.
fn change(cell: &AccountCell, what: impl FnOnce(&mut Account)) {
    let mut account = Account::clone(&cell.load());
    what(&mut account);
    cell.store(Arc::new(account));
}

fn missing<'u>(known: impl Iterator<Item = &'u Uid>, listed: &HashSet<Uid>) -> Vec<Uid> {
    known.filter(|uid| !listed.contains(*uid)).cloned().collect()
}
