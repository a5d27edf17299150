//! How far each watch has come, and as of when what is known is known.
//!
//! A dead watch looks like a quiet one. So freshness is proven, as Raft's `ReadIndex` does: note the time T, ask the API
//! server for a consistent read, whose resourceVersion R covers everything before T; once the watch has come to R, the
//! view is fresh as of T. What follows from it stands in [`super::fence`]; here it is kept under one lock, and published as
//! one value, so that nobody ever sees an old proof beside a new Lease.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};

pub use super::fence::{Asked, WATCHES};
use super::fence::{Fence, Moment, Read, Watermarks};
use crate::api::{comparable, names};

/// This moment.
pub fn now() -> Moment {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let (seconds, nanoseconds) = (u64::try_from(now.tv_sec), u64::try_from(now.tv_nsec));
    seconds.unwrap_or_default() * 1_000_000_000 + nanoseconds.unwrap_or_default()
}

/// As of when everything that is known is known, and since when answers may be given.
pub struct Freshness {
    fence: Mutex<Fence>,
    /// What the fence says, to be read without a lock.
    since: AtomicU64,
    ready: watch::Sender<bool>,
    /// From when on what is asked for counts; none while there is no Lease.
    counts_from: watch::Sender<Option<Moment>>,
    /// The Lease is to say that an event was applied.
    changed: Notify,
    /// Why the Lease could not be written.
    trouble: Mutex<Option<String>>,
    /// Why lists failed, by the watch that they are of.
    failed_lists: Mutex<BTreeMap<String, String>>,
    watches: AtomicUsize,
    /// Namespace of the Lease, for messages.
    entries: String,
}

impl Default for Freshness {
    fn default() -> Self {
        Self::of(1, names::ENTRIES_NAMESPACE.to_owned())
    }
}

impl Freshness {
    /// Creates it for the watches of a number of namespaces; 1 if all are watched at once. `entries` is the Lease's namespace, for
    /// messages.
    pub fn of(namespaces: usize, entries: String) -> Self {
        Self {
            fence: Mutex::new(Fence::of(namespaces)),
            since: AtomicU64::new(0),
            ready: watch::Sender::new(false),
            counts_from: watch::Sender::new(None),
            changed: Notify::new(),
            trouble: Mutex::default(),
            failed_lists: Mutex::default(),
            watches: AtomicUsize::new(0),
            entries,
        }
    }

    /// What `--max-staleness` counts from; 0 is never, and nothing may be answered.
    pub fn since(&self) -> Moment {
        self.since.load(Ordering::Acquire)
    }

    /// How old what is known is.
    pub fn age(&self) -> Option<Duration> {
        age(self.look(Fence::fresh))
    }

    fn lease_age(&self) -> Option<Duration> {
        age(self.look(Fence::renewed_at))
    }

    /// How long ago it is that the fence counts from.
    pub fn fence_age(&self) -> Option<Duration> {
        age(self.since())
    }

    /// Turns true when every list is complete and the Lease is there, and false while lists are made anew.
    pub fn ready(&self) -> watch::Receiver<bool> {
        self.ready.subscribe()
    }

    /// Why nothing may be answered, and what to do about it; for a person.
    pub fn why_closed(&self, max_staleness: Duration) -> String {
        let trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let because = trouble.map(|trouble| format!(": {trouble}")).unwrap_or_default();
        let is_old =
            |age: Option<Duration>| max_staleness > Duration::ZERO && age.is_some_and(|age| age > max_staleness);
        if self.look(Fence::counts_from).is_none() {
            return format!("waiting for the API server to take its Lease in {}{because}", self.entries);
        }
        if is_old(self.age()) {
            return "what is known is older than --max-staleness: the API server cannot be reached".to_owned();
        }
        if is_old(self.lease_age()) {
            let place = &self.entries;
            return format!("its Lease in {place} was not renewed for longer than --max-staleness{because}");
        }
        let failed = self.failed_lists.lock().unwrap_or_else(PoisonError::into_inner);
        let because = failed.first_key_value().map(|(watch, why)| format!(": {watch}: {why}")).unwrap_or_default();
        format!(
            "waiting for complete lists from the API server, and for the pepper, which an operator makes when it starts{because}"
        )
    }

    /// Notes why the Lease could not be written, or that it was.
    pub fn set_trouble(&self, trouble: Option<String>) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }

    /// What the Lease may say is applied.
    pub fn watermarks(&self) -> Watermarks {
        self.look(Fence::watermarks)
    }

    /// The answer to a write of the Lease is there. Was there none before?
    pub fn lease_written(&self, sent: Moment, answered: Moment) -> bool {
        self.change(|fence| {
            let was_there = fence.counts_from().is_some();
            fence.lease_written(sent, answered);
            !was_there
        })
    }

    /// The Lease is gone, or is not what we wrote.
    pub fn lease_lost(&self) {
        self.change(Fence::lease_lost);
    }

    /// Nothing is answered any more, for good.
    pub fn close(&self) {
        self.change(Fence::close);
    }

    /// Returns when the Lease should say that an event was applied.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    fn look<R>(&self, look: impl FnOnce(&Fence) -> R) -> R {
        look(&self.fence.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What follows from a change is published before another can be made.
    fn change<R>(&self, change: impl FnOnce(&mut Fence) -> R) -> R {
        let mut fence = self.fence.lock().unwrap_or_else(PoisonError::into_inner);
        let result = change(&mut fence);
        let (since, counts_from) = (fence.since(), fence.counts_from());
        self.since.store(since, Ordering::Release);
        self.ready.send_if_modified(|ready| std::mem::replace(ready, since > 0) != (since > 0));
        self.counts_from.send_if_modified(|from| std::mem::replace(from, counts_from) != counts_from);
        result
    }
}

fn age(since: Moment) -> Option<Duration> {
    (since > 0).then(|| Duration::from_nanos(now().saturating_sub(since)))
}

/// How far one watch has come.
pub struct Progress<'f> {
    /// For the log.
    pub name: String,
    /// Which of the watches it is.
    number: usize,
    freshness: &'f Freshness,
}

impl<'f> Progress<'f> {
    /// At its beginning: of ApiKeys, Accounts and Suspensions in each namespace, and then of the records.
    pub fn new(name: impl Into<String>, freshness: &'f Freshness) -> Self {
        let all = freshness.look(Fence::watches);
        let number = freshness.watches.fetch_add(1, Ordering::Relaxed) % all;
        Self { name: name.into(), number, freshness }
    }

    /// Waits for the Lease and returns the moment from which on a list may be asked for.
    pub async fn may_list(&self) -> Moment {
        // It fails only without a sender, and that lives as long as this.
        let _ = self.freshness.counts_from.subscribe().wait_for(Option::is_some).await;
        now()
    }

    /// Returns when a list that was asked for at this moment counts no more: everything must be read anew.
    pub async fn is_void(&self, asked: Moment) {
        let _ = self.freshness.counts_from.subscribe().wait_for(|from| from.is_some_and(|from| asked < from)).await;
    }

    /// Notes why a list failed, for a person.
    pub fn list_failed(&self, why: String) {
        let mut failed = self.freshness.failed_lists.lock().unwrap_or_else(PoisonError::into_inner);
        failed.insert(self.name.clone(), why);
    }

    /// A list is complete that was asked for at `asked`.
    pub fn listed(&self, version: &str, asked: Moment, is_complete: bool) {
        self.freshness.failed_lists.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.name);
        let version = comparable(version).unwrap_or_default();
        self.freshness.change(|fence| fence.listed(self.number, version, asked, is_complete));
        self.freshness.changed.notify_one();
    }

    /// An event was taken in. A change of what is wanted is urgent: the Lease is to say so soon. For a bookmark that can wait, and
    /// for a mere change of status, of which verifiers themselves write many.
    pub fn applied(&self, version: &str, is_complete: bool, is_urgent: bool) {
        let version = comparable(version).unwrap_or_default();
        self.freshness.change(|fence| fence.applied(self.number, version, is_complete));
        if is_urgent {
            self.freshness.changed.notify_one();
        }
    }

    /// What is to be noted before a consistent read is asked for.
    pub fn asking(&self) -> Asked {
        Asked { at: now(), applied: self.freshness.look(|fence| fence.come_to(self.number)) }
    }

    /// A consistent read bore this version.
    pub fn read(&self, version: &str, asked: Asked) {
        let Some(version) = comparable(version) else { return };
        if self.freshness.change(|fence| fence.read(self.number, version, asked, now())) == Read::RanBack {
            tracing::error!(
                watch = self.name,
                "the API server knows less than it did before, as after a restore; reading everything anew"
            );
            self.freshness.changed.notify_one();
        }
    }
}
