//! Since when may answers be given? How far each watch has come, as of when what it knows is known, and when the Lease was
//! last renewed. Pure: what happened goes in, one moment comes out.
//!
//! `tests/models/enforced` shows that each of these rules is needed, and that together they are enough.

/// Nanoseconds of `CLOCK_BOOTTIME`, which goes on while the machine sleeps and which nobody sets.
pub type Moment = u64;

/// How many resources are watched in each namespace, or in all of them at once: ApiKeys, Accounts, Suspensions.
pub const OF_NAMESPACE: usize = 3;

/// How many watches there are where all namespaces are watched at once: those, and that of the records.
pub const WATCHES: usize = OF_NAMESPACE + 1;

/// What the Lease may say is applied: resourceVersions of ApiKeys, Accounts, Suspensions and records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watermarks {
    /// The least of all watches of each resource.
    pub least: [u64; WATCHES],
    /// The first three in each namespace that is watched by itself.
    pub of_namespaces: Vec<[u64; OF_NAMESPACE]>,
}

impl Watermarks {
    /// Is nothing of this more than what the other says?
    pub fn are_reached_by(&self, other: &Self) -> bool {
        let each = self.of_namespaces.iter().flatten().zip(other.of_namespaces.iter().flatten());
        self.of_namespaces.len() == other.of_namespaces.len()
            && self.least.iter().zip(&other.least).chain(each).all(|(this, that)| this <= that)
    }
}

/// There is no Lease, so nothing that is asked for counts.
const NEVER: Moment = Moment::MAX;

/// All that the fence looks at.
#[derive(Debug)]
pub struct Fence {
    /// Those of the first namespace, of the next, and so on, and then that of the records.
    watches: Vec<Watch>,
    /// When the last renewal of the Lease that was acknowledged was sent; 0 is never.
    renewed: Moment,
    /// What was asked for before this counts for nothing.
    not_before: Moment,
    is_closed: bool,
}

/// How far one watch has come.
#[derive(Clone, Debug, Default)]
struct Watch {
    /// The highest resourceVersion that the index has taken in.
    applied: u64,
    /// A read that the watch has not come to yet.
    awaited: Option<(u64, Moment)>,
    /// As of when what it knows is known; 0 is never.
    as_of: Moment,
    is_complete: bool,
}

/// The state of things when a consistent read was asked for.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    /// When.
    pub at: Moment,
    /// How far the watch had come.
    pub applied: u64,
}

/// What became of the answer to a consistent read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    /// It counts now, or when the watch has come to it.
    Taken,
    /// The API server knows less than it did before, as after a restore: everything is to be read anew.
    RanBack,
}

impl Default for Fence {
    fn default() -> Self {
        Self::of(1)
    }
}

impl Fence {
    /// Of watches in so many namespaces; in one, where all are watched at once.
    pub fn of(namespaces: usize) -> Self {
        let watches = vec![Watch::default(); OF_NAMESPACE * namespaces + 1];
        Self { watches, renewed: 0, not_before: NEVER, is_closed: false }
    }

    /// How many watches there are.
    pub fn watches(&self) -> usize {
        self.watches.len()
    }

    /// What `--max-staleness` counts from: the older of the last proof and the last renewal. 0 is never: nothing may be
    /// answered at all, whatever `--max-staleness` is.
    pub fn since(&self) -> Moment {
        let is_complete = self.watches.iter().all(|watch| watch.is_complete);
        if is_complete && !self.is_closed { self.fresh().min(self.renewed) } else { 0 }
    }

    /// As of when everything is known; 0 is never.
    pub fn fresh(&self) -> Moment {
        self.watches.iter().map(|watch| watch.as_of).min().unwrap_or_default()
    }

    /// When the last acknowledged renewal was sent; 0 is never.
    pub fn renewed_at(&self) -> Moment {
        self.renewed
    }

    /// What is asked for from this moment on counts; none while there is no Lease.
    pub fn counts_from(&self) -> Option<Moment> {
        (self.not_before != NEVER).then_some(self.not_before)
    }

    /// The resourceVersions that the Lease may say are applied; 0 where nothing was proven since the Lease is there.
    pub fn watermarks(&self) -> Watermarks {
        let mut said = self.watches.iter().map(|watch| if watch.as_of > 0 { watch.applied } else { 0 });
        let namespaces = self.watches.len() / OF_NAMESPACE;
        let of_namespaces: Vec<[u64; OF_NAMESPACE]> =
            (0..namespaces).map(|_| std::array::from_fn(|_| said.next().unwrap_or_default())).collect();
        let least = |resource: usize| of_namespaces.iter().map(|applied| applied[resource]).min().unwrap_or_default();
        Watermarks { least: [least(0), least(1), least(2), said.next().unwrap_or_default()], of_namespaces }
    }

    /// How far a watch has come.
    pub fn come_to(&self, watch: usize) -> u64 {
        self.watches[watch].applied
    }

    /// A list is complete that was asked for at `asked`.
    pub fn listed(&mut self, watch: usize, version: u64, asked: Moment, is_complete: bool) {
        let of = &mut self.watches[watch];
        // Perhaps less than before: time may have run back.
        (of.applied, of.awaited, of.is_complete) = (version, None, is_complete);
        self.prove(watch, asked);
    }

    /// The index has taken in what this version stands for.
    pub fn applied(&mut self, watch: usize, version: u64, is_complete: bool) {
        let of = &mut self.watches[watch];
        of.applied = of.applied.max(version);
        of.is_complete |= is_complete;
        let come_to = of.applied;
        if let Some((_, asked)) = of.awaited.take_if(|(awaited, _)| *awaited <= come_to) {
            self.prove(watch, asked);
        }
    }

    /// A consistent read bore this version.
    pub fn read(&mut self, watch: usize, version: u64, asked: Asked, now: Moment) -> Read {
        if asked.at < self.not_before {
            return Read::Taken;
        }
        let of = &mut self.watches[watch];
        // Less than was known before it was asked for; the watch may have gone on since.
        if version < asked.applied {
            self.void(now);
            return Read::RanBack;
        }
        if version <= of.applied {
            self.prove(watch, asked.at);
        } else if of.awaited.is_none_or(|(awaited, _)| version < awaited) {
            // One that waits already is the older and comes first, unless it is of a history that is no more.
            of.awaited = Some((version, asked.at));
        }
        Read::Taken
    }

    /// Nothing that was proven before counts, nor does what is under way. How far the watches had come is forgotten as well: it
    /// may be of a history that is no more.
    fn void(&mut self, not_before: Moment) {
        self.not_before = not_before;
        for watch in &mut self.watches {
            *watch = Watch { is_complete: watch.is_complete, ..Watch::default() };
        }
    }

    /// The Lease is gone, or is not what we wrote: meanwhile nobody waited for us.
    pub fn lease_lost(&mut self) {
        self.renewed = 0;
        self.void(NEVER);
    }

    /// The answer to a write of the Lease is there.
    pub fn lease_written(&mut self, sent: Moment, answered: Moment) {
        self.renewed = self.renewed.max(sent);
        if self.not_before == NEVER {
            self.not_before = answered;
        }
    }

    /// Nothing is answered any more, for good.
    pub fn close(&mut self) {
        self.is_closed = true;
    }

    fn prove(&mut self, watch: usize, asked: Moment) {
        if asked >= self.not_before {
            let of = &mut self.watches[watch];
            of.as_of = of.as_of.max(asked);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marks(least: [u64; WATCHES]) -> Watermarks {
        let [keys, accounts, suspensions, _] = least;
        Watermarks { least, of_namespaces: vec![[keys, accounts, suspensions]] }
    }

    /// With a Lease written at 5 and all lists asked for at 10.
    fn followed() -> Fence {
        let mut fence = Fence::default();
        fence.lease_written(5, 6);
        for watch in 0..WATCHES {
            fence.listed(watch, 100, 10, true);
        }
        fence.lease_written(1000, 1001);
        fence
    }

    fn asked(at: Moment) -> Asked {
        Asked { at, applied: 100 }
    }

    fn all_read(fence: &mut Fence, version: u64, at: Moment) {
        for watch in 0..WATCHES {
            assert_eq!(fence.read(watch, version, asked(at), at), Read::Taken);
        }
    }

    #[test]
    fn everything_is_as_fresh_as_its_oldest_part_and_open_when_all_lists_are_complete() {
        let mut fence = Fence::default();
        fence.lease_written(5, 6);
        for watch in 0..WATCHES {
            assert_eq!(fence.since(), 0);
            fence.listed(watch, 100, 10 + watch as u64, watch != 3);
        }
        assert_eq!((fence.fresh(), fence.since()), (10, 0), "the last is not complete");
        fence.applied(3, 101, true);
        assert_eq!(fence.since(), 5);
    }

    #[test]
    fn it_counts_from_the_older_of_the_last_proof_and_the_last_renewal() {
        let mut fence = followed();
        assert_eq!(fence.since(), 10, "the proof");
        all_read(&mut fence, 100, 2000);
        assert_eq!(fence.since(), 1000, "the renewal");
        fence.lease_written(900, 2001);
        assert_eq!(fence.since(), 1000, "an answer that comes late makes nothing older");
    }

    #[test]
    fn a_read_proves_freshness_only_when_the_watch_has_come_to_it() {
        let mut fence = followed();
        for watch in 1..WATCHES {
            fence.read(watch, 100, asked(50), 51);
        }
        fence.read(0, 105, asked(50), 51);
        assert_eq!(fence.fresh(), 10, "the change may be on its way");
        fence.applied(0, 104, true);
        assert_eq!(fence.fresh(), 10);
        fence.applied(0, 105, true);
        assert_eq!(fence.fresh(), 50);
    }

    #[test]
    fn without_a_lease_no_list_counts_and_nothing_is_open() {
        let mut fence = Fence::default();
        for watch in 0..WATCHES {
            fence.listed(watch, 100, 10, true);
        }
        assert_eq!((fence.since(), fence.counts_from()), (0, None));
        fence.lease_written(20, 30);
        assert_eq!((fence.since(), fence.counts_from()), (0, Some(30)), "they were asked for before it was there");
        for watch in 0..WATCHES {
            fence.listed(watch, 100, 29, true);
        }
        assert_eq!(fence.since(), 0, "and so were these");
        for watch in 0..WATCHES {
            fence.listed(watch, 100, 30, true);
        }
        assert_eq!(fence.since(), 20);
    }

    #[test]
    fn a_lease_that_was_lost_makes_every_proof_void_and_every_one_under_way() {
        let mut fence = followed();
        fence.read(0, 105, asked(40), 41);
        fence.lease_lost();
        assert_eq!((fence.since(), fence.watermarks()), (0, marks([0; 4])));
        for watch in 0..WATCHES {
            fence.applied(watch, 105, true);
        }
        all_read(&mut fence, 100, 45);
        fence.lease_written(50, 60);
        all_read(&mut fence, 100, 59);
        fence.listed(1, 120, 59, true);
        assert_eq!(
            (fence.since(), fence.watermarks()),
            (0, marks([0; 4])),
            "all were asked for before its answer was there"
        );
        all_read(&mut fence, 100, 60);
        assert_eq!((fence.since(), fence.watermarks()), (50, marks([105, 120, 105, 105])));
    }

    #[test]
    fn an_api_server_that_knows_less_than_before_shuts_it_until_all_is_read_anew() {
        let mut fence = followed();
        fence.applied(2, 110, true);
        assert_eq!(fence.read(2, 105, Asked { at: 20, applied: 100 }, 21), Read::Taken, "the watch has only gone on");
        assert_eq!(fence.read(2, 90, Asked { at: 22, applied: 110 }, 23), Read::RanBack);
        assert_eq!((fence.since(), fence.watermarks(), fence.counts_from()), (0, marks([0; 4]), Some(23)));
        assert_eq!(fence.read(2, 91, Asked { at: 22, applied: 110 }, 24), Read::Taken, "of that we know");
        assert_eq!(fence.read(2, 91, Asked { at: 25, applied: fence.come_to(2) }, 26), Read::Taken, "and still do");
        for watch in 0..WATCHES {
            assert_eq!(fence.since(), 0);
            fence.listed(watch, 90, 30, true);
        }
        assert_eq!((fence.since(), fence.watermarks()), (30, marks([90; 4])));
    }

    #[test]
    fn a_version_of_a_history_that_is_no_more_is_not_waited_for() {
        let mut fence = followed();
        fence.read(0, 5000, asked(20), 21);
        fence.listed(0, 100, 22, true);
        fence.read(0, 5000, Asked { at: 22, applied: 90 }, 23);
        fence.read(0, 103, asked(30), 31);
        fence.applied(0, 103, true);
        all_read(&mut fence, 100, 30);
        assert_eq!(fence.fresh(), 30);
    }

    #[test]
    fn with_namespaces_it_is_open_when_all_are_listed_as_fresh_as_the_oldest_and_each_says_how_far_it_is() {
        let mut fence = Fence::of(2);
        fence.lease_written(5, 6);
        for watch in 0..fence.watches() {
            assert_eq!(fence.since(), 0);
            fence.listed(watch, 100 + watch as u64, 10 + watch as u64, true);
        }
        assert_eq!((fence.since(), fence.fresh(), fence.watches()), (5, 10, 7));
        let said = fence.watermarks();
        assert_eq!(said.of_namespaces, [[100, 101, 102], [103, 104, 105]]);
        assert_eq!(said.least, [100, 101, 102, 106]);
        fence.applied(0, 200, true);
        let later = fence.watermarks();
        assert_eq!((later.least[0], later.of_namespaces[0][0]), (103, 200), "the other namespace is behind");
        assert!(said.are_reached_by(&later) && !later.are_reached_by(&said) && said.are_reached_by(&said));
        assert!(!said.are_reached_by(&Fence::of(1).watermarks()), "of other namespaces");
        for watch in 1..fence.watches() {
            fence.read(watch, 100, asked(50), 51);
        }
        assert_eq!(fence.fresh(), 10, "one watch is not proven");
    }

    #[test]
    fn once_closed_it_stays_closed() {
        let mut fence = followed();
        fence.close();
        fence.lease_written(3000, 3001);
        all_read(&mut fence, 100, 3000);
        assert_eq!(fence.since(), 0);
    }
}
