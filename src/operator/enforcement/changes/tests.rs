//! What counts as proof, and what does not.

#![allow(clippy::unwrap_used)]

use super::*;
use crate::operator::enforcement::lease::tests::report;
use crate::operator::enforcement::lease::{Report, Says};
use jiff::Timestamp;
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
        self.changes.judge(&self.leases, &Look { asked: now, now, wall: Timestamp::UNIX_EPOCH, namespace: "entries" })
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
    assert_eq!(
        scene.changes.judge(&scene.leases, &Look { asked, now, wall: Timestamp::UNIX_EPOCH, namespace: "entries" }),
        []
    );
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
    let sight = Sight { kind: Kind::Account, name, uid: "u-1".into(), generation: 1, version: None, is_settled: false };
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
    let everywhere = Says { applied: [0; 4], namespaces: None, max_staleness: None };
    scene.changes.collected(&everywhere, scene.at(4));
    scene.lists(vec![], 6);
    assert_eq!(scene.reason(1), Some(Reason::NoVerifier), "it was collected before the change was seen");
    scene.changes.collected(&elsewhere(20), scene.at(6));
    scene.lists(vec![], 6);
    assert_eq!(scene.reason(1), Some(Reason::NoVerifier), "it was of a process that watches other namespaces");
    scene.changes.collected(&everywhere, scene.at(6));
    scene.lists(vec![report("b", 1, 9, None)], 7);
    assert!(!scene.is_enforced(), "another has not passed");
    scene.lists(vec![], 8);
    assert_eq!(scene.reason(1), Some(Reason::Outwaited));
}

/// What one says that watches only another namespace than that of the changes here.
fn elsewhere(applied: u64) -> Says {
    in_one("elsewhere", applied)
}

fn in_one(namespace: &str, applied: u64) -> Says {
    let namespaces = Some([(namespace.to_owned(), [applied; 3])].into());
    Says { applied: [applied; 4], namespaces, max_staleness: None }
}

#[test]
fn one_that_does_not_watch_the_namespace_is_not_waited_for_and_proves_nothing() {
    let mut scene = Scene::new();
    let says = |says: Says, name: &str, version: u64| Report { says: Some(says), ..report(name, version, 0, None) };
    scene.sees(1, 10, false, 0);
    scene.lists(vec![says(elsewhere(20), "a", 1)], 0);
    assert_eq!(scene.reason(1), Some(Reason::NoVerifier), "nobody serves its keys");
    // What it has applied in all of its namespaces is less than what it has applied in this one.
    let here = |applied: u64| Says { applied: [1; 4], ..in_one("", applied) };
    scene.lists(vec![says(elsewhere(1), "a", 2), says(here(9), "b", 1)], 1);
    assert!(!scene.is_enforced());
    scene.lists(vec![says(elsewhere(1), "a", 2), says(here(10), "b", 2)], 2);
    assert_eq!(scene.reason(1), Some(Reason::Acknowledged));
}

type Lease = (u64, Option<u64>, Option<bool>);

/// What it has applied, its max-staleness, and whether it watches all namespaces, that of the change, or another.
fn lease() -> impl Strategy<Value = Option<Lease>> {
    prop::option::weighted(0.9, (8..12_u64, prop::option::of(1..400_u64), prop::option::of(any::<bool>())))
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
            let says = says.map(|(applied, staleness, is_here)| {
                let named = is_here.map(|is_here| in_one(if is_here { "" } else { "elsewhere" }, applied));
                let everywhere = Says { applied: [applied, 0, 0, 0], namespaces: None, max_staleness: None };
                Says { max_staleness: staleness.map(Duration::from_secs), ..named.unwrap_or(everywhere) }
            });
            Report { says, ..report(&n.to_string(), 1, 0, None) }
        });
        scene.lists(reports.collect(), waited);
        let is_over = |staleness: u64| waited * 100 >= staleness * 100 + staleness.max(200);
        let concerned = || leases.iter().filter(|says| says.is_none_or(|(_, _, is_here)| is_here != Some(false)));
        let each = concerned().all(|says| {
            says.is_some_and(|(applied, staleness, _)| applied >= 10 || staleness.is_some_and(is_over))
        });
        prop_assert_eq!(scene.is_enforced(), each && concerned().count() > 0);
    }
}
