//! Changes that not every verifier is known to go by. Pure: sights and lists of Leases in, what is proven out.
//!
//! The rules are those of docs/PROTOCOLS.md: the wait begins when this very operator sees a change; only a list of Leases
//! that was asked for after that counts; each Lease has passed the change, or its own `--max-staleness` and the margin
//! have gone by since then; silence alone proves nothing.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::lease::{Leases, Observed};
use super::words;
use crate::api::Reason;
use crate::operator::router::FullName;

/// How long a verifier may take before it is named.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// What was changed; the number is its place in a Lease's versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An ApiKey.
    ApiKey = 0,
    /// An Account.
    Account = 1,
    /// A Suspension.
    Suspension = 2,
}

/// An object as an event shows it.
#[derive(Clone, Debug)]
pub struct Sight {
    /// What it is.
    pub kind: Kind,
    /// Its namespace and name.
    pub name: FullName,
    /// Its uid.
    pub uid: String,
    /// Its generation.
    pub generation: i64,
    /// Its resourceVersion, if it can be compared.
    pub version: Option<u64>,
    /// Does its status say `Enforced=True` of this generation?
    pub is_settled: bool,
}

/// A list of Leases: when it was asked for, and when it is judged.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    /// Before it was sent.
    pub asked: Instant,
    /// After its answer.
    pub now: Instant,
    /// The same for people.
    pub wall: Timestamp,
}

/// What is known of a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It was seen, and no list of Leases was looked at since.
    Seen,
    /// Not proven, and why.
    Unknown(Reason, String),
    /// Proven, and how.
    Enforced(Reason),
}

/// A change that is to be told of in its object's status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// What it is.
    pub kind: Kind,
    /// Its namespace and name.
    pub name: FullName,
    /// How long it took, where it is proven now.
    pub took: Option<Duration>,
}

struct Waiting {
    kind: Kind,
    name: FullName,
    generation: i64,
    /// Of the event in which this generation was first seen: later ones, of status, would put the end off for ever.
    needs: Option<u64>,
    seen: Instant,
    /// A Lease was collected since: its process answers nothing, until it has proven that it knows this.
    collected: bool,
    /// For whom, and for what reason: words are made only when this changes.
    because: Option<(Reason, Vec<String>)>,
    standing: Standing,
}

struct Proven {
    kind: Kind,
    generation: i64,
    reason: Reason,
}

/// Changes in flight, by the uid of their object.
#[derive(Default)]
pub struct Changes {
    waiting: HashMap<String, Waiting>,
    /// Until the status that says so has been seen.
    proven: HashMap<String, Proven>,
}

impl Changes {
    /// An object was seen. Is there something to wait for that was not before?
    pub fn seen(&mut self, sight: Sight, now: Instant) -> bool {
        let Sight { kind, name, uid, generation, version, is_settled } = sight;
        match self.proven.get(&uid) {
            Some(proven) if proven.generation == generation => {
                if is_settled {
                    self.proven.remove(&uid);
                }
                return false;
            }
            Some(_) => drop(self.proven.remove(&uid)),
            None => {}
        }
        if self.waiting.get(&uid).is_some_and(|waiting| waiting.generation == generation) {
            // Whoever wrote that it is settled, it is not.
            return false;
        }
        if is_settled {
            self.waiting.remove(&uid);
            return false;
        }
        let (because, standing) = (None, Standing::Seen);
        let waiting =
            Waiting { kind, name, generation, needs: version, seen: now, collected: false, because, standing };
        self.waiting.insert(uid, waiting);
        true
    }

    /// An object is gone, or about to be.
    pub fn gone(&mut self, uid: &str) {
        self.waiting.remove(uid);
        self.proven.remove(uid);
    }

    /// A list of all objects of a kind is complete: what it did not name is gone.
    pub fn listed(&mut self, kind: Kind, uids: &HashSet<String>) {
        self.waiting.retain(|uid, waiting| waiting.kind != kind || uids.contains(uid));
        self.proven.retain(|uid, proven| proven.kind != kind || uids.contains(uid));
    }

    /// What is known of a generation of an object; `None` if its status was settled when it was last seen.
    pub fn standing(&self, uid: &str, generation: i64) -> Option<Standing> {
        let waiting = self.waiting.get(uid).filter(|waiting| waiting.generation == generation);
        let proven = || self.proven.get(uid).filter(|proven| proven.generation == generation);
        waiting
            .map(|waiting| waiting.standing.clone())
            .or_else(|| proven().map(|proven| Standing::Enforced(proven.reason)))
    }

    /// How many are waited for.
    pub fn in_flight(&self) -> usize {
        self.waiting.len()
    }

    /// When the newest of them was seen.
    pub fn newest(&self) -> Option<Instant> {
        self.waiting.values().map(|waiting| waiting.seen).max()
    }

    /// Judges what was seen before the list was asked for; returns those whose status is to say something else now.
    pub fn judge(&mut self, leases: &Leases, look: &Look) -> Vec<Told> {
        let mut told = Vec::new();
        let mut proven = Vec::new();
        for (uid, waiting) in self.waiting.iter_mut().filter(|(_, waiting)| waiting.seen <= look.asked) {
            let tell = |took| Told { kind: waiting.kind, name: waiting.name.clone(), took };
            match verdict(waiting, leases, look) {
                Ok(reason) => {
                    told.push(tell(Some(look.now.duration_since(waiting.seen))));
                    proven.push((uid.clone(), reason));
                }
                Err((reason, by)) => {
                    let because = Some((reason, by.iter().map(|lease| lease.report.name.clone()).collect()));
                    if waiting.because == because {
                        continue;
                    }
                    // That it is waited for is what is said from the start.
                    if reason != Reason::AwaitingVerifiers {
                        told.push(tell(None));
                    }
                    let message = words::unknown(reason, &by, waiting.seen, look);
                    (waiting.because, waiting.standing) = (because, Standing::Unknown(reason, message));
                }
            }
        }
        for (uid, reason) in proven {
            if let Some(Waiting { kind, generation, .. }) = self.waiting.remove(&uid) {
                self.proven.insert(uid, Proven { kind, generation, reason });
            }
        }
        told
    }

    /// A silent Lease was deleted, in the version whose silence was measured, by a request sent at this moment.
    pub fn collected(&mut self, sent: Instant) {
        self.waiting.values_mut().filter(|waiting| waiting.seen <= sent).for_each(|waiting| waiting.collected = true);
    }
}

/// How it is proven, or why it is not and who is waited for.
fn verdict<'l>(waiting: &Waiting, leases: &'l Leases, look: &Look) -> Result<Reason, (Reason, Vec<&'l Observed>)> {
    if leases.is_empty() && !waiting.collected {
        return Err((Reason::NoVerifier, Vec::new()));
    }
    let waited = look.now.duration_since(waiting.seen);
    let (mut behind, mut unreadable, mut outwaited) = (Vec::new(), Vec::new(), waiting.collected);
    for lease in leases.iter() {
        match lease.report.says {
            None => unreadable.push(lease),
            Some(says) if waiting.needs.is_some_and(|needs| says.applied[waiting.kind as usize] >= needs) => {}
            Some(says) if says.is_fenced_after().is_some_and(|wait| waited >= wait) => outwaited = true,
            Some(_) => behind.push(lease),
        }
    }
    let is_late = |lease: &&Observed| look.now.duration_since(lease.first_seen.max(waiting.seen)) >= PATIENCE;
    if !unreadable.is_empty() {
        Err((Reason::NotComparable, unreadable))
    } else if behind.is_empty() {
        Ok(if outwaited { Reason::Outwaited } else { Reason::Acknowledged })
    } else if waiting.needs.is_none() {
        Err((Reason::NotComparable, Vec::new()))
    } else {
        behind.retain(is_late);
        let reason = if behind.is_empty() { Reason::AwaitingVerifiers } else { Reason::VerifierUnreachable };
        Err((reason, behind))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::lease::tests::report;
    use super::super::lease::{Report, Says};
    use super::*;
    use proptest::prelude::*;

    /// Changes, Leases, and a clock of seconds.
    struct Scene {
        changes: Changes,
        leases: Leases,
        start: Instant,
    }

    const NAMELESS: (String, String) = (String::new(), String::new());

    impl Scene {
        fn new() -> Self {
            Self { changes: Changes::default(), leases: Leases::default(), start: Instant::now() }
        }

        fn at(&self, seconds: u64) -> Instant {
            self.start + Duration::from_secs(seconds)
        }

        fn sees(&mut self, generation: i64, version: u64, is_settled: bool, at: u64) -> bool {
            let (name, uid, version) = (NAMELESS, "u-1".to_owned(), Some(version));
            let now = self.at(at);
            self.changes.seen(Sight { kind: Kind::ApiKey, name, uid, generation, version, is_settled }, now)
        }

        fn lists(&mut self, reports: Vec<Report>, at: u64) -> Vec<Told> {
            let now = self.at(at);
            self.leases.observe(reports, now);
            self.changes.judge(&self.leases, &Look { asked: now, now, wall: Timestamp::UNIX_EPOCH })
        }

        fn reason(&self, generation: i64) -> Option<Reason> {
            match self.changes.standing("u-1", generation)? {
                Standing::Seen => None,
                Standing::Unknown(reason, _) | Standing::Enforced(reason) => Some(reason),
            }
        }

        fn is_enforced(&self) -> bool {
            matches!(self.changes.standing("u-1", 1), Some(Standing::Enforced(_)))
        }
    }

    #[test]
    fn it_is_enforced_when_every_lease_has_passed_it_and_not_before() {
        let mut scene = Scene::new();
        assert!(scene.sees(1, 10, false, 0));
        assert_eq!(scene.lists(vec![report("a", 1, 10, None), report("b", 1, 9, None)], 0), [], "it is waited for");
        assert_eq!(scene.reason(1), Some(Reason::AwaitingVerifiers));
        let told = scene.lists(vec![report("a", 1, 10, None), report("b", 2, 11, None)], 1);
        assert_eq!(told[0].took, Some(Duration::from_secs(1)));
        assert_eq!((scene.reason(1), scene.changes.in_flight()), (Some(Reason::Acknowledged), 0));
        assert!(!scene.sees(1, 11, false, 1), "until its status says so it stays proven");
        assert_eq!(scene.reason(1), Some(Reason::Acknowledged));
        assert!(!scene.sees(1, 12, true, 1));
        assert_eq!(scene.changes.standing("u-1", 1), None, "and then nothing is kept");
        assert!(scene.sees(1, 13, false, 2), "a wiped status is proven anew");
    }

    #[test]
    fn a_list_that_was_asked_for_before_the_change_was_seen_proves_nothing() {
        let mut scene = Scene::new();
        scene.sees(1, 10, false, 1);
        let (asked, now) = (scene.start, scene.at(2));
        scene.leases.observe(vec![report("a", 1, 10, None)], now);
        assert_eq!(scene.changes.judge(&scene.leases, &Look { asked, now, wall: Timestamp::UNIX_EPOCH }), []);
        assert!(!scene.is_enforced());
    }

    #[test]
    fn the_version_of_the_first_sight_counts_and_a_new_generation_begins_anew() {
        let mut scene = Scene::new();
        scene.sees(1, 10, false, 0);
        scene.sees(1, 99, false, 1);
        scene.lists(vec![report("a", 1, 10, None)], 1);
        assert!(scene.is_enforced(), "later versions of the same generation are only of its status");
        assert!(scene.sees(2, 100, false, 2));
        assert_eq!(scene.changes.standing("u-1", 2), Some(Standing::Seen));
        scene.lists(vec![report("a", 2, 99, None)], 2);
        assert_eq!(scene.reason(2), Some(Reason::AwaitingVerifiers));
    }

    #[test]
    fn a_status_that_says_too_early_that_it_is_enforced_is_not_believed() {
        let mut scene = Scene::new();
        scene.sees(1, 10, false, 0);
        scene.lists(vec![report("a", 1, 9, None)], 0);
        assert!(!scene.sees(1, 11, true, 1), "written by hand");
        assert_eq!(scene.reason(1), Some(Reason::AwaitingVerifiers));
        // At the start of an operator it is: a restart rewrites nothing.
        let mut scene = Scene::new();
        assert!(!scene.sees(1, 10, true, 0));
        assert_eq!(scene.changes.standing("u-1", 1), None);
    }

    #[test]
    fn nobody_a_silent_one_and_one_that_cannot_be_read_are_told_apart_and_told_once() {
        let mut scene = Scene::new();
        scene.sees(1, 10, false, 0);
        let reasons = |scene: &mut Scene, reports: Vec<Report>, at| {
            let told = scene.lists(reports, at).len();
            (scene.reason(1).unwrap(), told)
        };
        assert_eq!(reasons(&mut scene, vec![], 0), (Reason::NoVerifier, 1));
        assert_eq!(reasons(&mut scene, vec![], 1), (Reason::NoVerifier, 0));
        assert_eq!(reasons(&mut scene, vec![report("a", 1, 0, None)], 60), (Reason::AwaitingVerifiers, 0), "it starts");
        assert_eq!(reasons(&mut scene, vec![report("a", 2, 0, None)], 65), (Reason::VerifierUnreachable, 1));
        assert_eq!(reasons(&mut scene, vec![report("a", 2, 0, None)], 9999), (Reason::VerifierUnreachable, 0));
        let nonsense = Report { says: None, ..report("b", 1, 0, None) };
        let both = vec![report("a", 3, 10, None), nonsense];
        assert_eq!(reasons(&mut scene, both, 9999), (Reason::NotComparable, 1));
        assert_eq!(reasons(&mut scene, vec![report("a", 3, 10, None)], 9999), (Reason::Acknowledged, 1));
    }

    #[test]
    fn versions_that_are_no_numbers_can_only_be_outwaited() {
        let mut scene = Scene::new();
        let name = NAMELESS;
        let sight =
            Sight { kind: Kind::Account, name, uid: "u-1".into(), generation: 1, version: None, is_settled: false };
        scene.changes.seen(sight, scene.start);
        scene.lists(vec![report("a", 1, 10, Some(Duration::from_secs(1)))], 2);
        assert_eq!(scene.reason(1), Some(Reason::NotComparable));
        scene.lists(vec![report("a", 1, 10, Some(Duration::from_secs(1)))], 3);
        assert_eq!(scene.reason(1), Some(Reason::Outwaited));
    }

    #[test]
    fn the_lease_that_was_collected_is_outwaited_for_what_was_seen_before() {
        let mut scene = Scene::new();
        scene.sees(1, 10, false, 5);
        scene.changes.collected(scene.at(4));
        scene.lists(vec![], 6);
        assert_eq!(scene.reason(1), Some(Reason::NoVerifier), "it was collected before the change was seen");
        scene.changes.collected(scene.at(6));
        scene.lists(vec![report("b", 1, 9, None)], 7);
        assert!(!scene.is_enforced(), "another has not passed");
        scene.lists(vec![], 8);
        assert_eq!(scene.reason(1), Some(Reason::Outwaited));
    }

    fn lease() -> impl Strategy<Value = Option<(u64, Option<u64>)>> {
        prop::option::weighted(0.9, (8..12_u64, prop::option::of(1..400_u64)))
    }

    proptest! {
        /// Whatever the Leases say and however long it was waited: exactly what the rule in one sentence says.
        #[test]
        fn every_lease_has_passed_or_its_own_time_is_over(
            leases in prop::collection::vec(lease(), 0..5), waited in 0..500_u64
        ) {
            let mut scene = Scene::new();
            scene.sees(1, 10, false, 0);
            let reports = leases.iter().enumerate().map(|(n, says)| {
                let says = says.map(|(applied, staleness)| {
                    Says { applied: [applied, 0, 0, 0], max_staleness: staleness.map(Duration::from_secs) }
                });
                Report { says, ..report(&n.to_string(), 1, 0, None) }
            });
            scene.lists(reports.collect(), waited);
            let is_over = |staleness: u64| waited * 100 >= staleness * 100 + staleness.max(200);
            let each = leases.iter().all(|says| {
                says.is_some_and(|(applied, staleness)| applied >= 10 || staleness.is_some_and(is_over))
            });
            prop_assert_eq!(scene.is_enforced(), each && !leases.is_empty());
        }
    }
}
