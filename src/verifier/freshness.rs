//! How far each watch has come, and as of when what is known is known.
//!
//! A dead watch looks like a quiet one. So freshness is proven, as Raft's `ReadIndex` does: note the time T, ask the API
//! server for a consistent read, whose resourceVersion R covers everything before T; once the watch has come to R, the
//! view is fresh as of T.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};

/// How many resources are watched.
pub const WATCHES: usize = 4;

/// Nanoseconds of `CLOCK_BOOTTIME`, which goes on while the machine sleeps and which nobody sets.
pub type Moment = u64;

/// This moment.
pub fn now() -> Moment {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let (seconds, nanoseconds) = (u64::try_from(now.tv_sec), u64::try_from(now.tv_nsec));
    seconds.unwrap_or_default() * 1_000_000_000 + nanoseconds.unwrap_or_default()
}

/// As of when everything that is known is known: the oldest of all watches.
pub struct Freshness {
    /// Of each watch; 0 is never.
    as_of: [AtomicU64; WATCHES],
    /// The oldest of them.
    oldest: AtomicU64,
    watches: AtomicUsize,
    complete: Mutex<[bool; WATCHES]>,
    ready: watch::Sender<bool>,
    /// The same, to be read without a lock.
    is_ready: AtomicBool,
}

impl Default for Freshness {
    fn default() -> Self {
        Self {
            as_of: Default::default(),
            oldest: AtomicU64::new(0),
            watches: AtomicUsize::new(0),
            complete: Mutex::default(),
            ready: watch::Sender::new(false),
            is_ready: AtomicBool::new(false),
        }
    }
}

impl Freshness {
    /// The moment as of which everything is known; 0 is never.
    pub fn as_of(&self) -> Moment {
        self.oldest.load(Ordering::Acquire)
    }

    /// How old that is.
    pub fn age(&self) -> Option<Duration> {
        let as_of = self.as_of();
        (as_of > 0).then(|| Duration::from_nanos(now().saturating_sub(as_of)))
    }

    /// Is every list complete?
    pub fn is_ready(&self) -> bool {
        self.is_ready.load(Ordering::Acquire)
    }

    /// Turns true when every list is complete, and false while one is made anew because time ran back.
    pub fn ready(&self) -> watch::Receiver<bool> {
        self.ready.subscribe()
    }

    fn set_complete(&self, watch: usize, is_complete: bool) {
        let mut complete = self.complete.lock().unwrap_or_else(PoisonError::into_inner);
        complete[watch] = is_complete;
        let all = complete.iter().all(|complete| *complete);
        self.is_ready.store(all, Ordering::Release);
        self.ready.send_if_modified(|ready| std::mem::replace(ready, all) != all);
    }

    fn prove(&self, watch: usize, as_of: Moment) {
        self.as_of[watch].fetch_max(as_of, Ordering::AcqRel);
        let oldest = self.as_of.iter().map(|moment| moment.load(Ordering::Acquire)).min();
        self.oldest.fetch_max(oldest.unwrap_or_default(), Ordering::AcqRel);
    }
}

/// How far one watch has come.
pub struct Progress<'f> {
    /// For the log.
    pub name: &'static str,
    /// Which of the watches it is.
    number: usize,
    freshness: &'f Freshness,
    state: Mutex<State>,
    /// The API server knows less than we have seen: it was restored from a backup.
    ran_back: Notify,
}

/// The state of things when a consistent read was asked for.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    at: Moment,
    applied: u64,
}

#[derive(Default)]
struct State {
    /// The highest resourceVersion that the index has taken in.
    applied: u64,
    /// A read that the watch has not come to yet.
    awaited: Option<(u64, Moment)>,
}

impl<'f> Progress<'f> {
    /// At its beginning.
    pub fn new(name: &'static str, freshness: &'f Freshness) -> Self {
        let number = freshness.watches.fetch_add(1, Ordering::Relaxed) % WATCHES;
        Self { name, number, freshness, state: Mutex::default(), ran_back: Notify::new() }
    }

    /// A list is complete that was asked for at `asked`.
    pub fn listed(&self, version: &str, asked: Moment, is_complete: bool) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.applied = number(version).unwrap_or_default();
        state.awaited = None;
        self.freshness.prove(self.number, asked);
        self.freshness.set_complete(self.number, is_complete);
    }

    /// An event or a bookmark was taken in.
    pub fn applied(&self, version: &str, is_complete: bool) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.applied = state.applied.max(number(version).unwrap_or_default());
        let come_to = state.applied;
        if let Some((_, asked)) = state.awaited.take_if(|(awaited, _)| *awaited <= come_to) {
            self.freshness.prove(self.number, asked);
        }
        if is_complete {
            self.freshness.set_complete(self.number, true);
        }
    }

    /// What is to be noted before a consistent read is asked for.
    pub fn asking(&self) -> Asked {
        Asked { at: now(), applied: self.state.lock().unwrap_or_else(PoisonError::into_inner).applied }
    }

    /// A consistent read bore this version.
    pub fn read(&self, version: &str, Asked { at: asked, applied }: Asked) {
        let Some(version) = number(version) else { return };
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        // Less than was known before it was asked for; the watch may have gone on since.
        if version < applied {
            tracing::error!(
                watch = self.name,
                "the API server knows less than it did before, as after a restore; reading everything anew"
            );
            self.freshness.set_complete(self.number, false);
            self.ran_back.notify_one();
        } else if version <= state.applied {
            self.freshness.prove(self.number, asked);
        } else if state.awaited.is_none() {
            // One that waits already is the older and comes first.
            state.awaited = Some((version, asked));
        }
    }

    /// Returns when everything must be read anew.
    pub async fn ran_back(&self) {
        self.ran_back.notified().await;
    }
}

/// resourceVersions are comparable integers on every API server that we know; one that is none proves nothing.
fn number(version: &str) -> Option<u64> {
    version.parse().ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn all(freshness: &Freshness) -> [Progress<'_>; WATCHES] {
        ["a", "b", "c", "d"].map(|name| Progress::new(name, freshness))
    }

    #[test]
    fn everything_is_as_fresh_as_its_oldest_part_and_ready_when_all_lists_are_complete() {
        let freshness = Freshness::default();
        let watches = all(&freshness);
        for (number, watch) in (1u64..).zip(&watches) {
            assert!(!*freshness.ready().borrow());
            assert_eq!(freshness.as_of(), 0);
            watch.listed("100", number * 10, true);
        }
        assert!(*freshness.ready().borrow());
        assert_eq!(freshness.as_of(), 10);
    }

    #[test]
    fn a_read_proves_freshness_only_when_the_watch_has_come_to_it() {
        let freshness = Freshness::default();
        let watches = all(&freshness);
        for watch in &watches {
            watch.listed("100", 10, true);
        }
        let asked = Asked { at: 50, applied: 100 };
        for watch in &watches[1..] {
            watch.read("100", asked);
        }
        watches[0].read("105", asked);
        assert_eq!(freshness.as_of(), 10, "the change may be on its way");
        watches[0].applied("104", true);
        assert_eq!(freshness.as_of(), 10);
        watches[0].applied("105", true);
        assert_eq!(freshness.as_of(), 50);
    }

    #[test]
    fn an_api_server_that_knows_less_than_before_makes_us_unready_until_all_is_read_anew() {
        let freshness = Freshness::default();
        let watches = all(&freshness);
        for watch in &watches {
            watch.listed("100", 10, true);
        }
        watches[2].applied("110", true);
        watches[2].read("105", Asked { at: 20, applied: 100 });
        assert!(*freshness.ready().borrow(), "the watch has only gone on since");
        watches[2].read("90", Asked { at: 20, applied: 110 });
        assert!(!*freshness.ready().borrow());
        watches[2].listed("90", 30, true);
        assert!(*freshness.ready().borrow());
    }
}
