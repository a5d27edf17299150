//! What the verifier knows: entries, keys and accounts, joined so that one look-up finds all that a decision needs.
//!
//! Readers take no lock that a writer can hold. Writers (the watches) take turns behind one mutex; a change costs the
//! same whatever the index holds. An account's state is one shared cell, so that disabling an account with a million
//! keys is one store.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::{ArcSwapOption, Guard};

use super::activity::usage::Usage;
use super::live::{Cloned, Live, Value};
use super::sources::{Record, Slot, Sources, Suspended};
use super::subject::{Ceiling, FullName, Key, Site, Subject, Uid};
use super::table::{Found, Table};
use crate::access::GrantError;
use crate::api::{Target, TargetKind};
use crate::key::{Entry, KeyId, Pepper, Presented, SiteId, Tag};

/// Everything that the verifier knows.
#[derive(Default)]
pub struct Index {
    values: Table<Slot>,
    sites: Table<Site>,
    pepper: ArcSwapOption<Pepper>,
    sources: Mutex<Sources>,
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

/// A presented key, and what is known of it at this moment.
pub struct View<'p> {
    /// What was presented.
    pub presented: Presented<'p>,
    /// The keys of the tags.
    pub(super) pepper: Guard<Option<Arc<Pepper>>>,
    /// What the newest pepper makes of it.
    pub(super) shown: Option<Tag>,
    value: Held,
}

impl View<'_> {
    /// The value with its id, if there is one whose ApiKey exists.
    pub fn live(&self) -> Option<&Live> {
        self.value.live()
    }
}

/// What an id stands for, or nothing.
pub struct Held(Found<Slot>);

impl Held {
    /// The value, if its ApiKey exists.
    pub fn live(&self) -> Option<&Live> {
        match self.0.get()? {
            Slot::Live(live) => Some(live),
            Slot::Waiting(..) => None,
        }
    }
}

impl Index {
    /// Has the memory brought in that [`Index::look_up`] reads first.
    pub fn bring(&self, id: KeyId) {
        self.values.bring(id.bits());
    }

    /// What a decision needs to know of a presented key. Its tag is made whether its id exists or not, and while the value comes
    /// in: time does not tell which ids exist.
    pub fn look_up<'p>(&self, presented: &Presented<'p>) -> View<'p> {
        let (value, pepper) = (self.held(presented.id()), self.pepper());
        let shown = pepper.as_deref().and_then(|pepper| pepper.tag_presented(presented));
        View { presented: *presented, pepper, shown, value }
    }

    /// What this id stands for.
    pub fn held(&self, id: KeyId) -> Held {
        Held(self.values.find(id.bits()))
    }

    /// The account that has reserved this Site ID, be it there or not.
    pub(super) fn site(&self, id: SiteId) -> Found<Site> {
        self.sites.find(id.bits())
    }

    /// The keys of the tags.
    pub fn pepper(&self) -> Guard<Option<Arc<Pepper>>> {
        self.pepper.load()
    }

    /// The installation's pepper has been read. True when a version is gone that was there before: the argon2id records
    /// of the values whose tags were made with it must be read again, for they are kept only where they are needed.
    pub fn set_pepper(&self, pepper: Option<Pepper>) -> bool {
        let before = self.pepper();
        let is_gone = |version| pepper.as_ref().is_none_or(|pepper| !pepper.versions().any(|kept| kept == version));
        let has_lost = before.as_ref().is_some_and(|before| before.versions().any(is_gone));
        self.pepper.store(pepper.map(Arc::new));
        has_lost
    }

    /// How many of each the index holds.
    pub fn sizes(&self) -> Sizes {
        let sources = self.sources();
        Sizes {
            live: sources.live,
            keys: sources.keys.len(),
            entries: sources.entries.len(),
            accounts: sources.accounts.values().filter(|cell| cell.now().ceiling.is_some()).count(),
            suspensions: sources.suspensions.len(),
        }
    }

    /// An ApiKey was added or changed. One with the name of another is its re-creation.
    pub fn apply_key(&self, key: Key) {
        let mut sources = self.sources();
        let (uid, name) = (key.uid, FullName::from((&*key.namespace, &*key.name)));
        let account = sources.account(&key.namespace, &key.account).clone();
        let before = sources.keys.insert(name, Arc::new(Subject::new(key, account)));
        if let Some(before) = before.filter(|before| before.uid() != uid) {
            self.join(&mut sources, before.uid());
        }
        self.join(&mut sources, uid);
    }

    /// Is this generation of an ApiKey known?
    pub fn knows_key(&self, name: FullName, uid: Uid, generation: u32) -> bool {
        self.sources().keys.get(&name).is_some_and(|key| (key.uid(), key.generation()) == (uid, generation))
    }

    /// An ApiKey was deleted, or cannot be read any more.
    pub fn delete_key(&self, name: FullName, uid: Uid) {
        let mut sources = self.sources();
        if sources.keys.get(&name).is_some_and(|key| key.uid() == uid) {
            sources.keys.remove(&name);
            self.join(&mut sources, uid);
        }
    }

    /// The list of ApiKeys is complete: what it did not name is gone.
    pub fn reset_keys(&self, listed: &HashSet<Uid>) {
        let mut sources = self.sources();
        let gone: Vec<Uid> =
            sources.keys.extract_if(|_, key| !listed.contains(&key.uid())).map(|(_, key)| key.uid()).collect();
        for uid in gone {
            self.join(&mut sources, uid);
        }
    }

    /// An entry was added or changed. An entry whose owner is another than its own name says is no entry, and neither is
    /// one that holds a clone's grant which cannot be read.
    pub fn apply_entry(&self, uid: &str, entry: &Entry) {
        let uid_print = Uid::from(uid);
        let cloned = match cloned(entry) {
            Ok(cloned) if entry.owner.uid == uid => cloned,
            _ => return self.delete_entry(uid_print),
        };
        let mut sources = self.sources();
        let owner = FullName::from((entry.owner.namespace.as_str(), entry.owner.name.as_str()));
        let retiring = entry.retiring.iter().map(|retiring| retiring.id).collect();
        let record = Record { owner, current: entry.current.id, retiring };
        let kept: Vec<KeyId> = record.values().collect();
        if let Some(before) = sources.entries.insert(uid_print, record) {
            self.remove(&mut sources, uid_print, before.values().filter(|id| !kept.contains(id)));
        }
        let pepper = self.pepper();
        for credential in entry.credentials() {
            let mut value = Value::read(credential, cloned.as_ref(), pepper.as_deref());
            // What was proven of a value stays proven while its record is the same; a relist brings every entry again.
            let before = self.values.find(credential.id.bits());
            if let Some(before) = before.get().filter(|slot| slot.uid() == uid_print).map(Slot::value) {
                if value.record().is_some() && value.record() == before.record() {
                    value.tag = before.tag;
                }
                // A revocation that was seen in the spec outlasts its removal, in whichever order the watches bring the two.
                value.ended = value.ended.or(before.ended);
            }
            let slot = sources.slot(uid_print, owner, value);
            self.put(&mut sources, uid_print, credential.id, slot);
        }
    }

    /// An entry was deleted, or cannot be read any more.
    pub fn delete_entry(&self, uid: Uid) {
        let mut sources = self.sources();
        if let Some(record) = sources.entries.remove(&uid) {
            self.remove(&mut sources, uid, record.values());
        }
    }

    /// The list of entries is complete: what it did not name is gone.
    pub fn reset_entries(&self, listed: &HashSet<Uid>) {
        let mut sources = self.sources();
        let gone: Vec<(Uid, Record)> = sources.entries.extract_if(|uid, _| !listed.contains(uid)).collect();
        for (uid, record) in gone {
            self.remove(&mut sources, uid, record.values());
        }
    }

    /// An Account was added or changed; `None` when it was deleted, or cannot be read any more.
    pub fn set_account(&self, namespace: &str, name: &str, ceiling: Option<Ceiling>) {
        let mut sources = self.sources();
        sources.account(namespace, name).change(|account| account.ceiling = ceiling.map(Arc::new));
    }

    /// The list of Accounts is complete: what it did not name is gone.
    pub fn reset_accounts(&self, listed: &HashSet<FullName>) {
        for (_, cell) in self.sources().accounts.iter().filter(|(name, _)| !listed.contains(name)) {
            cell.change(|account| account.ceiling = None);
        }
    }

    /// A Site ID was reserved. Reservations are never taken back.
    pub fn set_site(&self, id: SiteId, namespace: &str, name: &str) {
        let mut sources = self.sources();
        let account = sources.account(namespace, name).clone();
        account.change(|account| account.site_id = Some(id));
        self.sites.insert(id.bits(), Site { id, account });
    }

    /// A Suspension was added or changed.
    pub fn apply_suspension(&self, uid: Uid, namespace: &str, target: &Target) {
        let mut sources = self.sources();
        let suspended = Suspended { kind: target.kind, target: FullName::from((namespace, target.name.as_str())) };
        if sources.suspensions.get(&uid) == Some(&suspended) {
            return;
        }
        self.lift(&mut sources, uid);
        if target.kind == TargetKind::Account {
            sources.account(namespace, &target.name);
        }
        sources.suspensions.insert(uid, suspended);
        *sources.suspended.entry(suspended).or_default() += 1;
        self.mark(&mut sources, suspended, true);
    }

    /// A Suspension was deleted.
    pub fn delete_suspension(&self, uid: Uid) {
        self.lift(&mut self.sources(), uid);
    }

    /// The list of Suspensions is complete: what it did not name is gone.
    pub fn reset_suspensions(&self, listed: &HashSet<Uid>) {
        let mut sources = self.sources();
        let gone: Vec<Uid> = sources.suspensions.keys().filter(|uid| !listed.contains(uid)).copied().collect();
        for uid in gone {
            self.lift(&mut sources, uid);
        }
    }

    fn lift(&self, sources: &mut Sources, uid: Uid) {
        let Some(suspended) = sources.suspensions.remove(&uid) else { return };
        let left = sources.suspended.get_mut(&suspended).map_or(0, |count| {
            *count = count.saturating_sub(1);
            *count
        });
        if left == 0 {
            sources.suspended.remove(&suspended);
            self.mark(sources, suspended, false);
        }
    }

    fn mark(&self, sources: &mut Sources, Suspended { kind, target }: Suspended, suspended: bool) {
        match kind {
            TargetKind::Account => {
                if let Some(cell) = sources.accounts.get(&target) {
                    cell.change(|account| account.suspended = suspended);
                }
            }
            TargetKind::ApiKey => {
                if let Some(uid) = sources.keys.get(&target).map(|key| key.uid()) {
                    self.join(sources, uid);
                }
            }
        }
    }

    /// A value was proven by its argon2id record: remember the tag that the current pepper gives it.
    pub fn remember(&self, id: KeyId, record: &str, tag: Tag) {
        let mut sources = self.sources();
        let held = self.held(id);
        if let Some(live) = held.live()
            && live.record().is_some_and(|known| *known.as_str() == *record)
        {
            let (uid, value) = (live.subject.uid(), Value { tag, ..live.value() });
            let slot = sources.slot(uid, FullName::from(live.subject.full_name()), value);
            self.put(&mut sources, uid, id, slot);
        }
    }

    /// In what the calls of a value are counted from now on. Whoever calls may say so: nothing else of the value changes, and
    /// nobody waits; where a writer is at work, the next call says it again.
    pub fn remember_usage(&self, id: KeyId, uid: Uid, usage: &Arc<Usage>) {
        self.values.try_change(id.bits(), |slot| match slot {
            Slot::Live(live) if live.subject.uid() == uid => Some(Slot::Live(live.counted_in(usage))),
            Slot::Live(_) | Slot::Waiting(..) => None,
        });
    }

    /// Joins an entry's values with its ApiKey when both are there and belong together, and parts them when not.
    fn join(&self, sources: &mut Sources, uid: Uid) {
        let Some(record) = sources.entries.get(&uid) else { return };
        let (owner, ids) = (record.owner, record.values());
        for id in ids {
            let own = self.values.find(id.bits()).get().filter(|slot| slot.uid() == uid).map(Slot::value);
            let double = || Some(sources.doubles.get(&id)?.iter().find(|(of, _)| *of == uid)?.1.clone());
            if let Some(value) = own.or_else(double) {
                let slot = sources.slot(uid, owner, value);
                self.put(sources, uid, id, slot);
            }
        }
    }

    fn put(&self, sources: &mut Sources, uid: Uid, id: KeyId, slot: Slot) {
        let has_other = self.values.find(id.bits()).get().is_some_and(|other| other.uid() != uid);
        if !has_other && !sources.doubles.contains_key(&id) {
            let is_live = slot.is_live();
            let was_live = was_live(self.values.insert(id.bits(), slot));
            sources.live = sources.live + usize::from(is_live) - usize::from(was_live);
            return;
        }
        let mut claims = self.claims(sources, id);
        claims.retain(|(of, _)| *of != uid);
        claims.push((uid, slot.value()));
        self.settle(sources, id, claims);
    }

    fn remove(&self, sources: &mut Sources, uid: Uid, ids: impl Iterator<Item = KeyId>) {
        for id in ids {
            let mut claims = self.claims(sources, id);
            claims.retain(|(of, _)| *of != uid);
            self.settle(sources, id, claims);
        }
    }

    /// What all entries say of a value.
    fn claims(&self, sources: &mut Sources, id: KeyId) -> Vec<(Uid, Value)> {
        let mut claims = sources.doubles.remove(&id).unwrap_or_default();
        claims.extend(self.values.find(id.bits()).get().map(|slot| (slot.uid(), slot.value())));
        claims
    }

    /// Of them the one counts whose ApiKey is there. Two have the same name, so only one can.
    fn settle(&self, sources: &mut Sources, id: KeyId, mut claims: Vec<(Uid, Value)>) {
        let live = claims.iter().position(|(uid, _)| sources.is_live(*uid));
        let counts = live.or(claims.len().checked_sub(1)).map(|at| claims.swap_remove(at));
        let slot = counts.and_then(|(uid, value)| Some(sources.slot(uid, sources.entries.get(&uid)?.owner, value)));
        let is_live = slot.as_ref().is_some_and(Slot::is_live);
        let before = match slot {
            Some(slot) => self.values.insert(id.bits(), slot),
            None => self.values.remove(id.bits()),
        };
        sources.live = sources.live + usize::from(is_live) - usize::from(was_live(before));
        if !claims.is_empty() {
            sources.doubles.insert(id, claims);
        }
    }

    fn sources(&self) -> MutexGuard<'_, Sources> {
        // A panic between two steps of a writer leaves at worst a value that is not joined, which is a deny.
        self.sources.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn was_live(before: Option<Found<Slot>>) -> bool {
    before.is_some_and(|before| before.get().is_some_and(Slot::is_live))
}

fn cloned(entry: &Entry) -> Result<Option<Arc<Cloned>>, GrantError> {
    let read = |cloned: &crate::key::Cloned| {
        let display_name = cloned.display_name.as_deref().map(Into::into);
        Ok(Arc::new(Cloned { grant: cloned.grant()?.into(), display_name }))
    };
    entry.cloned.as_ref().map(read).transpose()
}
