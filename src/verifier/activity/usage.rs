//! Counting the calls of one value without a lock; where there are many, each thread in a cache line of its own.

use std::cell::Cell;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};
use std::sync::{LazyLock, OnceLock};

use crate::verifier::code::Code;

/// Unix time in whole seconds; it ends in 2106.
pub type Seconds = u32;

/// How many names of each kind are remembered for each value.
const SOURCES: usize = 8;

/// Up to how many calls the threads share one line.
const FEW: u32 = 1000;

/// More threads than this share their cache lines.
const MOST_STRIPES: usize = 8;

/// How many stripes a value has: a power of two, so that a thread finds its own without a division.
static STRIPES: LazyLock<usize> = LazyLock::new(|| {
    let threads = std::thread::available_parallelism().map_or(1, Into::into);
    usize::min(threads.next_power_of_two(), MOST_STRIPES)
});

thread_local! {
    static THREAD: Cell<usize> = {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        Cell::new(COUNT.fetch_add(1, Ordering::Relaxed))
    };
}

/// What is counted of one value and not known to be written down elsewhere: whoever does that takes it off.
///
/// There are as many as keys in use, and most calls wait for their memory: with the counts of its owners it fills one
/// cache line.
#[derive(Default)]
pub struct Usage {
    /// The share of all threads while there were few calls. Each that came meanwhile may still count there once more.
    allowed: AtomicU32,
    denied: AtomicU32,
    last_used: AtomicU32,
    /// [`Rank`] that the ledger knows of what is to be written; 0 is nothing.
    pending: AtomicU8,
    /// `seconds << 8 | code`
    last_denied: AtomicU64,
    /// The first of the programs that called, as in [`Seen`].
    product: AtomicU64,
    rest: OnceLock<Box<Rest>>,
}

/// With the strong and the weak count.
const _: () = assert!(size_of::<Usage>() + 16 == 64);

/// What values that are called seldom and by one program do not have.
#[derive(Default)]
struct Rest {
    /// The share of each thread since there were many calls.
    shares: OnceLock<Box<[Padded]>>,
    /// The other programs that call.
    products: Seen,
    networks: Seen,
    /// What of all shares was written down: calls that passed, and that were refused.
    written: [AtomicU64; 2],
}

/// The latest few of the names that were seen, each as its hash and when: `hash << 32 | seconds`; 0 is none.
#[derive(Default)]
struct Seen([AtomicU64; SOURCES]);

/// In a cache line of its own.
#[derive(Default)]
#[repr(align(64))]
struct Padded(Stripe);

/// The share of one thread.
#[derive(Default)]
struct Stripe {
    allowed: AtomicU64,
    denied: AtomicU64,
    last_used: AtomicU32,
    /// `seconds << 8 | code`
    last_denied: AtomicU64,
}

/// The sum of all threads' shares at one moment, without what was written down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Calls that passed.
    pub allowed: u64,
    /// Calls that were refused.
    pub denied: u64,
    /// The last that passed; 0 is none.
    pub last_used: Seconds,
    /// The last that was refused, and why.
    pub last_denied: Option<(Seconds, Code)>,
}

impl Totals {
    /// Returns the priority of writing this.
    pub fn rank(&self) -> Rank {
        if self.allowed > 0 { Rank::Use } else { Rank::Refusal }
    }

    /// Was nothing counted?
    pub fn is_nothing(&self) -> bool {
        (self.allowed, self.denied) == (0, 0)
    }
}

/// Priority of a write. Anyone who knows a key's public id can make refusals, so they come after uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rank {
    /// Refused calls only.
    Refusal = 1,
    /// At least one call passed.
    Use = 2,
}

/// Of what calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The product of a `User-Agent`.
    Product,
    /// The client's network.
    Network,
}

impl Usage {
    /// Counts a call. Returns the rank that the ledger does not know yet of what is to be written.
    pub fn count(&self, code: Code, now: Seconds) -> Option<Rank> {
        let share = self.share();
        // When comes before how often: whoever sees the call sees its time. And that in one order with `pending`: or a call
        // could be counted too late to be seen and too early to tell anybody.
        if code == Code::Ok {
            let last_used = share.map_or(&self.last_used, |share| &share.last_used);
            if last_used.load(Ordering::Relaxed) != now {
                last_used.fetch_max(now, Ordering::Relaxed);
            }
            match share {
                Some(share) => drop(share.allowed.fetch_add(1, Ordering::SeqCst)),
                None => drop(self.allowed.fetch_add(1, Ordering::SeqCst)),
            }
        } else {
            // Of several within a second the last one's code stays. A thread that was held up in between must not put an
            // earlier one in the place of another's, with whom it may share the stripe.
            let denied = u64::from(now) << 8 | code as u64;
            let is_newest = |known: u64| (low(known >> 8) <= now).then_some(denied);
            let last_denied = share.map_or(&self.last_denied, |share| &share.last_denied);
            let _ = last_denied.fetch_update(Ordering::Relaxed, Ordering::Relaxed, is_newest);
            match share {
                Some(share) => drop(share.denied.fetch_add(1, Ordering::SeqCst)),
                None => drop(self.denied.fetch_add(1, Ordering::SeqCst)),
            }
        }
        let rank = if code == Code::Ok { Rank::Use } else { Rank::Refusal };
        let is_new = self.pending.load(Ordering::SeqCst) < rank as u8
            && self.pending.fetch_max(rank as u8, Ordering::SeqCst) < rank as u8;
        is_new.then_some(rank)
    }

    /// Where this thread counts; `None` is where all of them do. Most keys are called seldom, and a line of its own for each
    /// thread would be most of what is kept of them; those that are called often must not pass one line from core to core.
    fn share(&self) -> Option<&Stripe> {
        if let Some(shares) = self.rest.get().and_then(|rest| rest.shares.get()) {
            return Some(&shares[THREAD.get() & (*STRIPES - 1)].0);
        }
        if self.allowed.load(Ordering::Relaxed) + self.denied.load(Ordering::Relaxed) >= FEW {
            self.rest().shares.get_or_init(|| std::iter::repeat_with(Padded::default).take(*STRIPES).collect());
        }
        None
    }

    fn rest(&self) -> &Rest {
        self.rest.get_or_init(Box::default)
    }

    /// What there is, to be written down; whoever counts from now on tells somebody.
    pub fn take(&self) -> Totals {
        self.pending.store(0, Ordering::SeqCst);
        // Shares that were made just before are seen as well.
        fence(Ordering::SeqCst);
        self.peek()
    }

    /// What there is.
    pub fn peek(&self) -> Totals {
        let mut totals = Totals {
            allowed: self.allowed.load(Ordering::SeqCst).into(),
            denied: self.denied.load(Ordering::SeqCst).into(),
            last_used: self.last_used.load(Ordering::Relaxed),
            last_denied: denial(&self.last_denied),
        };
        for Padded(stripe) in self.rest.get().and_then(|rest| rest.shares.get()).into_iter().flatten() {
            totals.allowed += stripe.allowed.load(Ordering::SeqCst);
            totals.denied += stripe.denied.load(Ordering::SeqCst);
            totals.last_used = totals.last_used.max(stripe.last_used.load(Ordering::Relaxed));
            totals.last_denied = totals.last_denied.max(denial(&stripe.last_denied));
        }
        if let Some(Rest { written: [allowed, denied], .. }) = self.rest.get().map(Box::as_ref) {
            totals.allowed = totals.allowed.saturating_sub(allowed.load(Ordering::SeqCst));
            totals.denied = totals.denied.saturating_sub(denied.load(Ordering::SeqCst));
        }
        totals
    }

    /// This much of it was written down. Whoever takes and who settles is the same.
    pub fn settle(&self, taken: &Totals) {
        if let Some(rest) = self.rest.get().filter(|rest| rest.shares.get().is_some()) {
            rest.written[0].fetch_add(taken.allowed, Ordering::SeqCst);
            rest.written[1].fetch_add(taken.denied, Ordering::SeqCst);
        } else {
            // There are no shares, so that all of it was counted here.
            self.allowed.fetch_sub(low(taken.allowed), Ordering::SeqCst);
            self.denied.fetch_sub(low(taken.denied), Ordering::SeqCst);
        }
    }

    /// A caller was seen, by the hash of its name. False when it is new here, and [`Usage::note`] is to be called.
    pub fn again(&self, source: Source, hash: u32, now: Seconds) -> bool {
        let is_first = source == Source::Product && again(&self.product, hash, now);
        is_first || self.rest.get().is_some_and(|rest| rest.seen(source).again(hash, now))
    }

    /// A caller is new here; it takes the place of the one that was not seen for longest.
    pub fn note(&self, source: Source, hash: u32, now: Seconds) {
        let is_first = source == Source::Product
            && self.product.compare_exchange(0, packed(hash, now), Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if !is_first {
            self.rest().seen(source).note(hash, now);
        }
    }

    /// The hashes of all callers' names, and when each was seen last.
    pub fn sources(&self, source: Source) -> impl Iterator<Item = (u32, Seconds)> {
        let first = (source == Source::Product).then_some(&self.product);
        let others = self.rest.get().into_iter().flat_map(move |rest| &rest.seen(source).0);
        let seen = first.into_iter().chain(others).map(|slot| slot.load(Ordering::Relaxed));
        seen.filter(|packed| *packed > 0).map(|packed| (low(packed >> 32), low(packed)))
    }
}

impl Rest {
    fn seen(&self, source: Source) -> &Seen {
        match source {
            Source::Product => &self.products,
            Source::Network => &self.networks,
        }
    }
}

impl Seen {
    fn again(&self, hash: u32, now: Seconds) -> bool {
        self.0.iter().any(|slot| again(slot, hash, now))
    }

    fn note(&self, hash: u32, now: Seconds) {
        let oldest = self.0.iter().min_by_key(|slot| low(slot.load(Ordering::Relaxed)));
        if let Some(slot) = oldest {
            slot.store(packed(hash, now), Ordering::Relaxed);
        }
    }
}

/// Is it this name that stands there? Then it was seen now.
fn again(slot: &AtomicU64, hash: u32, now: Seconds) -> bool {
    let (known, packed) = (slot.load(Ordering::Relaxed), packed(hash, now));
    let is_it = low(known >> 32) == hash;
    if is_it && known < packed {
        slot.store(packed, Ordering::Relaxed);
    }
    is_it
}

fn packed(hash: u32, now: Seconds) -> u64 {
    u64::from(hash) << 32 | u64::from(now)
}

fn denial(last_denied: &AtomicU64) -> Option<(Seconds, Code)> {
    let packed = last_denied.load(Ordering::Relaxed);
    let code = Code::ALL.get((packed & 0xff) as usize).filter(|_| packed > 0);
    code.map(|code| (low(packed >> 8), *code))
}

/// The lower half.
fn low(packed: u64) -> u32 {
    u32::try_from(packed & u64::from(u32::MAX)).unwrap_or_default()
}

/// The hash of a name, the same as long as this process runs; never 0.
pub fn hash_of(name: &[u8]) -> u32 {
    static STATE: LazyLock<foldhash::fast::RandomState> = LazyLock::new(Default::default);
    low(STATE.hash_one(name)).max(1)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn of_those_who_call_the_first_and_the_latest_are_remembered_each_with_when_it_was_seen_last() {
        for (source, most) in [(Source::Product, SOURCES + 1), (Source::Network, SOURCES)] {
            let usage = Usage::default();
            let seen = || usage.sources(source).collect::<BTreeMap<u32, Seconds>>();
            assert!(!usage.again(source, 7, 1) && seen().is_empty());
            let all: Vec<u32> = (1..=u32::try_from(most).unwrap_or_default()).collect();
            for name in &all {
                usage.note(source, *name, *name);
            }
            assert!(all.iter().all(|name| usage.again(source, *name, name + 10)));
            assert_eq!(seen(), all.iter().map(|name| (*name, name + 10)).collect());
            assert!(usage.again(source, 2, 1), "an earlier time");
            usage.note(source, 99, 99);
            let kept = seen();
            assert_eq!((kept.len(), kept.get(&99), kept.get(&3)), (most, Some(&99), Some(&13)));
            let gone = if source == Source::Product { 2 } else { 1 };
            assert!(!kept.contains_key(&gone), "what was not seen for longest gives way");
        }
    }

    #[test]
    fn a_value_that_is_called_seldom_by_one_program_takes_one_cache_line_and_no_more() {
        let usage = Usage::default();
        usage.note(Source::Product, 1, 1);
        for _ in 0..FEW {
            usage.count(Code::Ok, 1);
        }
        assert!(usage.rest.get().is_none());
        usage.count(Code::Ok, 1);
        assert!(usage.rest.get().is_some_and(|rest| rest.shares.get().is_some()));
        usage.count(Code::Ok, 1);
        assert_eq!(usage.peek().allowed, u64::from(FEW) + 2, "what is counted in both places is one");
    }

    #[test]
    fn what_was_written_down_is_taken_off_wherever_it_was_counted() {
        for many in [1, FEW - 1, FEW + 1, 3 * FEW] {
            let usage = Usage::default();
            let count = |code| (0..many).for_each(|_| _ = usage.count(code, 1));
            count(Code::Ok);
            let taken = usage.take();
            // Meanwhile others call, and the value may turn into one that is called often.
            count(Code::Disabled);
            usage.settle(&taken);
            let left = usage.peek();
            assert_eq!((left.allowed, left.denied), (0, many.into()));
            usage.settle(&left);
            assert!(usage.peek().is_nothing());
            count(Code::Ok);
            assert_eq!(usage.peek().allowed, u64::from(many));
        }
    }
}
