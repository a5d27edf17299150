//! Which keys have something to be written down, whose turn it is, and what of it may have arrived. Pure: moments come
//! from outside.
//!
//! A key that is quiet and of which everything is written is not here: there may be a million of them.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use super::turns::Turns;
use super::usage::{Rank, Totals, Usage};
use crate::key::KeyId;
use crate::verifier::fence::Moment;
use crate::verifier::subject::{Subject, Uid};

/// How long calls are gathered before a key is written after a quiet spell.
const GATHER: Duration = Duration::from_secs(2);
/// How long a key rests between two writes.
const REST: Duration = Duration::from_mins(1);
/// How long a key rests after a first write that did not work; twice as long each time, up to the rest between two.
const AGAIN: Duration = Duration::from_secs(1);

/// One of this many turns is for refusals while uses wait too.
const REFUSALS: u64 = 4;

/// The keys that were used lately.
#[derive(Default)]
pub struct Ledger {
    keys: HashMap<Owner, Tally>,
    queues: Queues,
    /// Turns given so far.
    turns: u64,
    /// The number of the last write of any key. No two writes of this process have the same: of a key that was forgotten in
    /// between an old one may stand in the status, and must not pass for a new one that did not arrive.
    sequence: i64,
}

/// A key may be queued more than once; its state decides which entry is valid.
type Queue = Turns<Owner>;

#[derive(Default)]
struct Queues {
    /// Keys of which at least one call is to be written that passed.
    uses: Queue,
    /// Keys of which only refused calls are to be written.
    refusals: Queue,
}

impl Queues {
    fn of(&mut self, rank: Rank) -> &mut Queue {
        match rank {
            Rank::Use => &mut self.uses,
            Rank::Refusal => &mut self.refusals,
        }
    }
}

/// Quarters of a second: the queue needs no finer time, and is much smaller so.
pub type Tick = u64;
/// One of them.
const TICK: Moment = 250_000_000;

/// An ApiKey, as it was at the first call; told from others by its uid.
#[derive(Clone)]
struct Owner(Arc<Subject>);

/// One key. There may be as many as keys in use, so it is kept small.
struct Tally {
    /// Most keys have one value.
    first: Held,
    state: State,
    /// Since when there is something to write; 0 is never.
    since: Moment,
    rest: Option<Box<Rest>>,
}

const _: () = assert!(size_of::<(Owner, Tally)>() == 56);

/// One value.
struct Held {
    id: KeyId,
    usage: Arc<Usage>,
}

/// What a key waits for.
#[derive(Clone, Copy)]
enum State {
    /// A call, or what becomes of its turn.
    Idle,
    /// A call; and until then it is not written again.
    Resting(Moment),
    /// Its turn.
    Queued(Rank, Tick),
}

/// What most keys do not have.
#[derive(Default)]
struct Rest {
    /// Further values, or further counters of a value that the index made anew.
    more: Vec<Held>,
    /// Writes that may have arrived or may yet: their numbers, and what they said.
    unsure: Vec<(i64, Vec<Taken>)>,
    /// How many writes in a row did not work.
    failures: u32,
}

/// What was counted of a value when it was looked at.
#[derive(Clone)]
pub struct Taken {
    /// The value.
    pub id: KeyId,
    /// What is not written down yet.
    pub totals: Totals,
    usage: Arc<Usage>,
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
    values: Vec<Held>,
}

impl Turn {
    /// What is counted now, and by whom: sources are the usages' own.
    pub fn take(&self) -> Vec<Taken> {
        self.values
            .iter()
            .map(|Held { id, usage }| Taken { id: *id, totals: usage.take(), usage: usage.clone() })
            .collect()
    }

    /// Of each value of the key.
    pub fn usages(&self) -> impl Iterator<Item = &Arc<Usage>> {
        self.values.iter().map(|held| &held.usage)
    }
}

impl Borrow<Uid> for Owner {
    fn borrow(&self) -> &Uid {
        self.0.uid_ref()
    }
}

impl Hash for Owner {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.uid_ref().hash(state);
    }
}

impl PartialEq for Owner {
    fn eq(&self, other: &Self) -> bool {
        self.0.uid_ref() == other.0.uid_ref()
    }
}

impl Eq for Owner {}

fn settle(taken: &[Taken]) {
    for Taken { usage, totals, .. } in taken {
        usage.settle(totals);
    }
}

fn nanos(duration: Duration) -> Moment {
    Moment::try_from(duration.as_nanos()).unwrap_or(Moment::MAX)
}

impl Ledger {
    /// The counters of a value, the same ones as long as there is something to write.
    pub fn usage(&mut self, id: KeyId, subject: &Arc<Subject>) -> Arc<Usage> {
        let known = self.keys.get(subject.uid_ref()).and_then(|tally| tally.values().find(|held| held.id == id));
        if let Some(held) = known {
            return held.usage.clone();
        }
        let usage = Arc::<Usage>::default();
        self.tally(id, subject, &usage);
        usage
    }

    /// Queues the key of a value of which calls are to be written.
    pub fn touch(&mut self, id: KeyId, subject: &Arc<Subject>, usage: &Arc<Usage>, rank: Rank, now: Moment) {
        let tally = self.tally(id, subject, usage);
        if tally.since == 0 {
            tally.since = now;
        }
        let gathered = now.saturating_add(nanos(GATHER));
        match tally.state {
            State::Idle => self.queue(subject.uid(), rank, gathered),
            State::Resting(until) => self.queue(subject.uid(), rank, gathered.max(until)),
            State::Queued(known, tick) if known < rank => self.queue(subject.uid(), rank, tick * TICK),
            State::Queued(..) => {}
        }
    }

    /// The key, and of it the value that is counted there: of one that was made anew meanwhile, a call may still be under way.
    fn tally(&mut self, id: KeyId, subject: &Arc<Subject>, usage: &Arc<Usage>) -> &mut Tally {
        let held = || Held { id, usage: usage.clone() };
        let tally = self.keys.entry(Owner(subject.clone())).or_insert_with(|| Tally::of(held()));
        if !tally.values().any(|held| Arc::ptr_eq(&held.usage, usage)) {
            tally.rest().more.push(held());
        }
        tally
    }

    fn queue(&mut self, uid: Uid, rank: Rank, due: Moment) {
        let Some((owner, _)) = self.keys.get_key_value(&uid) else { return };
        let (owner, tick) = (owner.clone(), due.div_ceil(TICK));
        self.queues.of(rank).push(tick, owner);
        if let Some(tally) = self.keys.get_mut(&uid) {
            tally.state = State::Queued(rank, tick);
        }
    }

    /// Returns the key whose turn it is: uses first, with a share of the turns for refusals.
    pub fn next(&mut self, now: Moment) -> Option<Turn> {
        let is_for_refusals = self.turns % REFUSALS == REFUSALS - 1;
        let (first, second) = if is_for_refusals { (Rank::Refusal, Rank::Use) } else { (Rank::Use, Rank::Refusal) };
        let turn = self.next_of(first, now).or_else(|| self.next_of(second, now))?;
        self.turns += 1;
        Some(turn)
    }

    fn next_of(&mut self, rank: Rank, now: Moment) -> Option<Turn> {
        while let Some((tick, owner)) = self.queues.of(rank).pop(now / TICK, |owner| owner.0.full_name().0) {
            // It may be gone, or have been put elsewhere.
            let tally = self.keys.get_mut(&owner);
            let is_next = |tally: &&mut Tally| matches!(tally.state, State::Queued(of, at) if of == rank && at == tick);
            if let Some(tally) = tally.filter(is_next) {
                tally.state = State::Idle;
                return Some(tally.turn(&owner.0, now));
            }
        }
        None
    }

    /// The status names this as our last write. One that timed out is known to have arrived when its number stands there, and
    /// then none of the others can: each was to be written over what stood there before.
    pub fn stands(&mut self, uid: Uid, sequence: Option<i64>) {
        let Some(rest) = self.keys.get_mut(&uid).and_then(|tally| tally.rest.as_mut()) else { return };
        if let Some((_, taken)) = rest.unsure.iter().find(|(number, _)| Some(*number) == sequence) {
            settle(taken);
            rest.unsure.clear();
        }
    }

    /// A write is about to be sent; its number.
    pub fn sending(&mut self, uid: Uid, taken: Vec<Taken>) -> i64 {
        let Some(tally) = self.keys.get_mut(&uid) else { return 0 };
        self.sequence += 1;
        tally.rest().unsure.push((self.sequence, taken));
        self.sequence
    }

    /// This stands in the status.
    pub fn arrived(&mut self, uid: Uid, taken: &[Taken], now: Moment) {
        settle(taken);
        let Some(tally) = self.keys.get_mut(&uid) else { return };
        // Most keys have nothing but this one value.
        tally.rest = tally.rest.take().filter(|rest| !rest.more.is_empty());
        if let Some(rest) = &mut tally.rest {
            rest.unsure.clear();
            rest.failures = 0;
        }
        let rested = now.saturating_add(nanos(REST));
        match tally.state {
            State::Idle | State::Resting(_) => tally.state = State::Resting(rested),
            // Calls that came meanwhile wait for the key's rest to be over.
            State::Queued(rank, due) => self.queue(uid, rank, rested.max(due * TICK)),
        }
    }

    /// It did not work. The key rests a little, and longer each time: one that can never be written must not take the
    /// others' turns.
    pub fn failed(&mut self, turn: &Turn, now: Moment) {
        let Some(tally) = self.keys.get_mut(&turn.uid) else { return };
        let failures = &mut tally.rest().failures;
        let rest = AGAIN.saturating_mul(1 << (*failures).min(6)).min(REST);
        *failures = failures.saturating_add(1);
        self.again(turn, now.saturating_add(nanos(rest)));
    }

    /// Somebody else wrote the key in between, each time it was tried. So it can be written, and waits no longer than for calls.
    pub fn outrun(&mut self, turn: &Turn, now: Moment) {
        self.again(turn, now.saturating_add(nanos(GATHER)));
    }

    /// It has another turn, and still knows since when it waits.
    fn again(&mut self, turn: &Turn, due: Moment) {
        let Some(tally) = self.keys.get_mut(&turn.uid) else { return };
        tally.since = if tally.since == 0 { turn.since } else { tally.since.min(turn.since) };
        let rank = tally.rank();
        self.queue(turn.uid, rank, due);
    }

    /// The key is gone.
    pub fn forget(&mut self, uid: Uid) {
        self.keys.remove(&uid);
    }

    /// Puts everything that is not written in the queue: the last chance before the process ends.
    pub fn touch_all(&mut self) {
        self.queues = Queues::default();
        let mut unwritten = Vec::new();
        for (owner, tally) in &mut self.keys {
            tally.state = State::Idle;
            if !tally.is_written() {
                unwritten.push((owner.0.uid(), tally.rank()));
            }
        }
        for (uid, rank) in unwritten {
            self.queue(uid, rank, 0);
        }
    }

    /// Forgets the keys of which everything is written, and which have rested.
    pub fn tidy(&mut self, now: Moment) {
        self.keys.retain(|_, tally| {
            if let Some(rest) = &mut tally.rest {
                rest.more.retain(|held| Arc::strong_count(&held.usage) > 1 || !held.usage.peek().is_nothing());
            }
            let is_over = match tally.state {
                State::Idle => true,
                State::Resting(until) => until <= now,
                State::Queued(..) => false,
            };
            !is_over || !tally.is_written()
        });
        self.keys.shrink_to(2 * self.keys.len());
    }

    /// How many keys wait, and since when the one that waits for longest.
    pub fn waiting(&self) -> (usize, Option<Moment>) {
        let waiting = || self.keys.values().filter(|tally| matches!(tally.state, State::Queued(..)));
        (waiting().count(), waiting().map(|tally| tally.since).filter(|since| *since > 0).min())
    }
}

impl Tally {
    fn of(first: Held) -> Self {
        Self { first, state: State::Idle, since: 0, rest: None }
    }

    /// Its turn has come.
    fn turn(&mut self, subject: &Subject, now: Moment) -> Turn {
        let values = self.values().map(|Held { id, usage }| Held { id: *id, usage: usage.clone() }).collect();
        let since = Some(std::mem::take(&mut self.since)).filter(|since| *since > 0).unwrap_or(now);
        let (namespace, name) = subject.full_name();
        Turn { uid: subject.uid(), namespace: namespace.into(), name: name.into(), since, values }
    }

    fn values(&self) -> impl Iterator<Item = &Held> {
        std::iter::once(&self.first).chain(self.rest.iter().flat_map(|rest| &rest.more))
    }

    fn rest(&mut self) -> &mut Rest {
        self.rest.get_or_insert_default()
    }

    fn rank(&self) -> Rank {
        self.values().map(|held| held.usage.peek().rank()).max().unwrap_or(Rank::Refusal)
    }

    fn is_written(&self) -> bool {
        self.values().all(|held| held.usage.peek().is_nothing())
    }
}
