//! Counting the calls of one value without a lock; where there are many, each thread in a cache line of its own.

use std::cell::Cell;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};
use std::sync::{Arc, LazyLock, OnceLock};

use crate::key::KeyId;
use crate::verifier::code::Code;
use crate::verifier::subject::Subject;

/// Unix time in whole seconds; it ends in 2106.
pub type Seconds = u32;

/// How many names of each kind are remembered for each value.
pub const SOURCES: usize = 8;

/// Up to how many calls the threads share one line.
const FEW: u64 = 1000;

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

/// What is counted of one value since this process began. Only ever added to, so that whoever writes it down elsewhere
/// knows what is new by a subtraction.
pub struct Usage {
    /// The value.
    pub id: KeyId,
    /// Its ApiKey, as it was at the first call.
    pub subject: Arc<Subject>,
    /// Somebody knows that there is something to write down.
    pending: AtomicBool,
    /// The share of all threads while there were few calls.
    first: Stripe,
    /// The share of each thread since there were many.
    shares: OnceLock<Box<[Padded]>>,
    /// The programs that call.
    pub products: Seen,
    networks: OnceLock<Box<Seen>>,
}

/// The latest few of the names that were seen, each as its hash and when: `hash << 32 | seconds`; 0 is none.
#[derive(Default)]
pub struct Seen([AtomicU64; SOURCES]);

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

/// The sum of all threads' shares at one moment.
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

impl Usage {
    pub(super) fn new(id: KeyId, subject: Arc<Subject>) -> Self {
        Self {
            id,
            subject,
            pending: AtomicBool::new(false),
            first: Stripe::default(),
            shares: OnceLock::new(),
            products: Seen::default(),
            networks: OnceLock::new(),
        }
    }

    /// Counts a call. True when somebody must be told that there is something to write down.
    pub fn count(&self, code: Code, now: Seconds) -> bool {
        let stripe = self.share();
        // In one order with `pending`: or a call could be counted too late to be seen and too early to tell anybody.
        if code == Code::Ok {
            stripe.allowed.fetch_add(1, Ordering::SeqCst);
            if stripe.last_used.load(Ordering::Relaxed) != now {
                stripe.last_used.fetch_max(now, Ordering::Relaxed);
            }
        } else {
            stripe.denied.fetch_add(1, Ordering::SeqCst);
            // Of several within a second the last one's code stays. A thread that was held up in between must not put an
            // earlier one in the place of another's, with whom it may share the stripe.
            let denied = u64::from(now) << 8 | code as u64;
            let is_newest = |known: u64| (low(known >> 8) <= now).then_some(denied);
            let _ = stripe.last_denied.fetch_update(Ordering::Relaxed, Ordering::Relaxed, is_newest);
        }
        !self.pending.load(Ordering::SeqCst) && !self.pending.swap(true, Ordering::SeqCst)
    }

    /// Where this thread counts. Most keys are called seldom, and a line of its own for each thread would be most of what is
    /// kept of them; those that are called often must not pass one line from core to core.
    fn share(&self) -> &Stripe {
        if let Some(shares) = self.shares.get() {
            return &shares[THREAD.get() & (*STRIPES - 1)].0;
        }
        if self.first.allowed.load(Ordering::Relaxed) + self.first.denied.load(Ordering::Relaxed) >= FEW {
            self.shares.get_or_init(|| std::iter::repeat_with(Padded::default).take(*STRIPES).collect());
        }
        &self.first
    }

    /// What there is, to be written down; whoever counts from now on tells somebody.
    pub fn take(&self) -> Totals {
        self.pending.store(false, Ordering::SeqCst);
        // Shares that were made just before are seen as well.
        fence(Ordering::SeqCst);
        self.peek()
    }

    /// What there is.
    pub fn peek(&self) -> Totals {
        let mut totals = Totals::default();
        for stripe in
            std::iter::once(&self.first).chain(self.shares.get().into_iter().flatten().map(|padded| &padded.0))
        {
            totals.allowed += stripe.allowed.load(Ordering::SeqCst);
            totals.denied += stripe.denied.load(Ordering::SeqCst);
            totals.last_used = totals.last_used.max(stripe.last_used.load(Ordering::Relaxed));
            let packed = stripe.last_denied.load(Ordering::Relaxed);
            let denied = Code::ALL.get((packed & 0xff) as usize).filter(|_| packed > 0);
            totals.last_denied = totals.last_denied.max(denied.map(|code| (low(packed >> 8), *code)));
        }
        totals
    }

    /// The networks that call, where somebody asked for them.
    pub fn networks(&self) -> &Seen {
        self.networks.get_or_init(Box::default)
    }

    /// The networks that were seen.
    pub(super) fn known_networks(&self) -> impl Iterator<Item = (u32, Seconds)> {
        self.networks.get().into_iter().flat_map(|seen| seen.all())
    }
}

impl Seen {
    /// A name was seen, by its hash. False when it is new here, and [`Seen::note`] is to be called.
    pub fn again(&self, hash: u32, now: Seconds) -> bool {
        let Some(slot) = self.0.iter().find(|slot| low(slot.load(Ordering::Relaxed) >> 32) == hash) else {
            return false;
        };
        let packed = u64::from(hash) << 32 | u64::from(now);
        if slot.load(Ordering::Relaxed) < packed {
            slot.store(packed, Ordering::Relaxed);
        }
        true
    }

    /// A name is new here; it takes the place of the one that was not seen for longest.
    pub fn note(&self, hash: u32, now: Seconds) {
        let oldest = self.0.iter().min_by_key(|slot| low(slot.load(Ordering::Relaxed)));
        if let Some(slot) = oldest {
            slot.store(u64::from(hash) << 32 | u64::from(now), Ordering::Relaxed);
        }
    }

    /// The hashes of all names, and when each was seen last.
    pub fn all(&self) -> impl Iterator<Item = (u32, Seconds)> {
        let seen = self.0.iter().map(|slot| slot.load(Ordering::Relaxed)).filter(|packed| *packed > 0);
        seen.map(|packed| (low(packed >> 32), low(packed)))
    }
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
