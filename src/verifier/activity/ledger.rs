//! What of each key is written down already, and which key's turn it is next. Pure: moments come from outside.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use super::usage::{Totals, Usage};
use crate::key::KeyId;
use crate::verifier::fence::Moment;
use crate::verifier::subject::{Subject, Uid};

/// How long calls are gathered before a key is written after a quiet spell.
const GATHER: Duration = Duration::from_secs(2);
/// How long a key rests between two writes.
const REST: Duration = Duration::from_mins(1);
/// How long a key rests after a first write that did not work; twice as long each time, up to the rest between two.
const AGAIN: Duration = Duration::from_secs(1);

/// All keys that were used since this process began.
#[derive(Default)]
pub struct Ledger {
    keys: HashMap<Uid, Tally>,
    /// Whose turn it is when, the one that waits for longest first.
    queue: BTreeSet<(Moment, Uid)>,
    /// The number of the last write of any key. No two writes of this process have the same: of a key that was forgotten in
    /// between an old one may stand in the status, and must not pass for a new one that did not arrive.
    sequence: i64,
}

/// One key. There may be as many as keys in use, so it is kept small.
struct Tally {
    /// The ApiKey, as it was at the first call.
    subject: Arc<Subject>,
    values: Vec<Held>,
    /// Writes that may have arrived or may yet: their numbers, and what was counted when they were sent.
    unsure: Vec<(i64, HashMap<KeyId, Totals>)>,
    written: Option<Moment>,
    /// How many writes in a row did not work.
    failures: u32,
    queued: Option<Moment>,
    since: Option<Moment>,
}

/// One value, and what of it is known to have arrived.
struct Held {
    id: KeyId,
    usage: Arc<Usage>,
    committed: Totals,
}

/// A key whose turn it is.
pub struct Turn {
    /// `metadata.uid` of the ApiKey, as a print.
    pub uid: Uid,
    /// `metadata.namespace`
    pub namespace: Box<str>,
    /// `metadata.name`
    pub name: Box<str>,
    /// Since when there is something to write.
    pub since: Moment,
    usages: Vec<(KeyId, Arc<Usage>)>,
}

impl Turn {
    /// What is counted now, and by whom: sources are the usages' own.
    pub fn take(&self) -> HashMap<KeyId, Totals> {
        self.usages.iter().map(|(id, usage)| (*id, usage.take())).collect()
    }

    /// Of each value of the key.
    pub fn usages(&self) -> impl Iterator<Item = &Arc<Usage>> {
        self.usages.iter().map(|(_, usage)| usage)
    }
}

fn nanos(duration: Duration) -> Moment {
    Moment::try_from(duration.as_nanos()).unwrap_or(Moment::MAX)
}

impl Ledger {
    /// The counters of a value, the same ones each time it is asked for.
    pub fn usage(&mut self, id: KeyId, subject: &Arc<Subject>) -> Arc<Usage> {
        let tally = self.keys.entry(subject.uid()).or_insert_with(|| Tally::of(subject.clone()));
        if let Some(known) = tally.values.iter().find(|held| held.id == id) {
            return known.usage.clone();
        }
        let usage = Arc::<Usage>::default();
        tally.values.reserve_exact(1);
        tally.values.push(Held { id, usage: usage.clone(), committed: Totals::default() });
        usage
    }

    /// There is something to write of a key.
    pub fn touch(&mut self, uid: Uid, now: Moment) {
        let Some(tally) = self.keys.get_mut(&uid) else { return };
        tally.since.get_or_insert(now);
        if tally.queued.is_none() {
            let rested = tally.written.map_or(0, |written| written.saturating_add(nanos(REST)));
            self.queue(uid, rested.max(now.saturating_add(nanos(GATHER))));
        }
    }

    fn queue(&mut self, uid: Uid, due: Moment) {
        if let Some(tally) = self.keys.get_mut(&uid) {
            tally.queued = Some(due);
            self.queue.insert((due, uid));
        }
    }

    /// The key whose turn it is, if it is anybody's.
    pub fn next(&mut self, now: Moment) -> Option<Turn> {
        let &(due, uid) = self.queue.first()?;
        if due > now {
            return None;
        }
        self.queue.remove(&(due, uid));
        let tally = self.keys.get_mut(&uid)?;
        tally.queued = None;
        let usages = tally.values.iter().map(|held| (held.id, held.usage.clone())).collect();
        let (namespace, name) = tally.subject.full_name();
        let (namespace, name) = (namespace.into(), name.into());
        Some(Turn { uid, namespace, name, since: tally.since.take().unwrap_or(now), usages })
    }

    /// What is known to stand in the status, where that names this as our last write. A write that timed out is known to
    /// have arrived when its number stands there.
    pub fn base(&self, uid: Uid, sequence: Option<i64>) -> HashMap<KeyId, Totals> {
        let Some(tally) = self.keys.get(&uid) else { return HashMap::new() };
        let arrived = tally.unsure.iter().find(|(number, _)| Some(*number) == sequence);
        let committed = || tally.values.iter().map(|held| (held.id, held.committed)).collect();
        arrived.map_or_else(committed, |(_, totals)| totals.clone())
    }

    /// A write is about to be sent; its number.
    pub fn sending(&mut self, uid: Uid, totals: HashMap<KeyId, Totals>) -> i64 {
        let Some(tally) = self.keys.get_mut(&uid) else { return 0 };
        self.sequence += 1;
        tally.unsure.push((self.sequence, totals));
        self.sequence
    }

    /// These totals stand in the status.
    pub fn arrived(&mut self, uid: Uid, totals: &HashMap<KeyId, Totals>, now: Moment) {
        if let Some(tally) = self.keys.get_mut(&uid) {
            for held in &mut tally.values {
                held.committed = totals.get(&held.id).copied().unwrap_or(held.committed);
            }
            tally.unsure.clear();
            tally.written = Some(now);
            tally.failures = 0;
            // Calls that came meanwhile wait for the key's rest to be over.
            if let Some(due) = tally.queued.take() {
                self.queue.remove(&(due, uid));
                self.queue(uid, due.max(now.saturating_add(nanos(REST))));
            }
        }
    }

    /// It did not work. The key rests a little, and longer each time: one that can never be written must not take the
    /// others' turns.
    pub fn failed(&mut self, turn: &Turn, now: Moment) {
        if let Some(tally) = self.keys.get_mut(&turn.uid) {
            tally.since = Some(tally.since.map_or(turn.since, |since| since.min(turn.since)));
            let rest = AGAIN.saturating_mul(1 << tally.failures.min(6)).min(REST);
            tally.failures = tally.failures.saturating_add(1);
            if let Some(due) = tally.queued.take() {
                self.queue.remove(&(due, turn.uid));
            }
            self.queue(turn.uid, now.saturating_add(nanos(rest)));
        }
    }

    /// The key is gone.
    pub fn forget(&mut self, uid: Uid) {
        if let Some(due) = self.keys.remove(&uid).and_then(|tally| tally.queued) {
            self.queue.remove(&(due, uid));
        }
    }

    /// Puts everything that was ever counted in the queue: the last chance before the process ends.
    pub fn touch_all(&mut self) {
        self.queue.clear();
        let mut unwritten = Vec::new();
        for (uid, tally) in &mut self.keys {
            tally.queued = None;
            if !tally.is_written() {
                unwritten.push(*uid);
            }
        }
        for uid in unwritten {
            self.queue(uid, 0);
        }
    }

    /// Forgets the keys that nobody can call with any more and of which everything is written.
    pub fn tidy(&mut self) {
        self.keys.retain(|_, tally| {
            let is_held = tally.values.iter().any(|held| Arc::strong_count(&held.usage) > 1);
            tally.queued.is_some() || is_held || !tally.is_written()
        });
    }

    /// How many keys wait, and since when the one that waits for longest.
    pub fn waiting(&self) -> (usize, Option<Moment>) {
        let waiting = self.keys.values().filter(|tally| tally.queued.is_some());
        (self.queue.len(), waiting.filter_map(|tally| tally.since).min())
    }
}

impl Tally {
    fn of(subject: Arc<Subject>) -> Self {
        let (values, unsure) = (Vec::new(), Vec::new());
        Self { subject, values, unsure, written: None, failures: 0, queued: None, since: None }
    }

    fn is_written(&self) -> bool {
        self.values.iter().all(|held| held.usage.peek() == held.committed)
    }
}
