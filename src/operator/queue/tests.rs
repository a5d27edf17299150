#![allow(clippy::unwrap_used)]

use super::*;
use proptest::prelude::*;

const SLOTS: u16 = 4;
/// Names that a loud tenant has woken.
const LOUD: usize = 10_000;

fn of(namespace: &str, number: usize) -> FullName {
    (namespace.to_owned(), number.to_string())
}

fn name(number: usize) -> FullName {
    of("shop", number)
}

/// Takes names and ends each at once, so that slots are no bound.
fn serve(queue: &mut Queue, now: Instant) -> impl Iterator<Item = FullName> + '_ {
    std::iter::from_fn(move || {
        let name = queue.take(now)?;
        queue.done(name.clone(), Requeue::Never, now);
        Some(name)
    })
}

/// Returns the number of names that are served before this one.
fn served_before(queue: &mut Queue, name: &FullName) -> usize {
    serve(queue, Instant::now()).take_while(|served| served != name).count()
}

/// A queue in which a loud tenant has woken [`LOUD`] names.
fn loud(priority: Priority) -> Queue {
    let mut queue = Queue::new(SLOTS);
    (0..LOUD).for_each(|number| queue.wake(of("loud", number), priority));
    queue
}

#[test]
fn names_of_one_namespace_wait_once_in_the_order_they_came() {
    let mut queue = Queue::new(SLOTS);
    for number in [3, 1, 3, 2, 1] {
        queue.wake(name(number), Priority::Normal);
    }
    assert_eq!(serve(&mut queue, Instant::now()).collect::<Vec<_>>(), [name(3), name(1), name(2)]);
}

#[test]
fn new_name_waits_for_one_name_of_each_other_namespace() {
    for priority in [Priority::Normal, Priority::High] {
        let mut queue = loud(priority);
        (0..LOUD).for_each(|number| queue.wake(of("louder", number), priority));
        queue.wake(name(1), priority);
        queue.wake(name(2), priority);
        assert_eq!(served_before(&mut queue, &name(1)), 2, "{priority:?}");
        assert_eq!(served_before(&mut queue, &name(2)), 2, "{priority:?}: the next round");
    }
}

#[test]
fn report_waits_for_no_name_of_normal_priority() {
    let mut queue = loud(Priority::Normal);
    queue.wake(name(1), Priority::High);
    assert_eq!(served_before(&mut queue, &name(1)), 0);
}

#[test]
fn flood_of_reports_leaves_the_ninth_turn_to_other_work() {
    let mut queue = loud(Priority::High);
    queue.wake(name(1), Priority::Normal);
    queue.wake(name(2), Priority::Normal);
    let bound = usize::try_from(HIGH_IN_A_ROW).unwrap();
    assert_eq!(served_before(&mut queue, &name(1)), bound);
    assert_eq!(served_before(&mut queue, &name(2)), bound);
}

#[test]
fn waiting_name_that_is_woken_for_a_report_moves_up() {
    let mut queue = loud(Priority::Normal);
    queue.wake(name(1), Priority::Normal);
    queue.wake(of("loud", LOUD - 1), Priority::High);
    let served: Vec<FullName> = serve(&mut queue, Instant::now()).collect();
    assert_eq!(served[0], of("loud", LOUD - 1));
    assert_eq!(served.len(), LOUD + 1, "each is served once");
}

#[test]
fn reserved_slot_takes_a_report_and_nothing_else() {
    let (mut queue, now) = (loud(Priority::Normal), Instant::now());
    let taken: Vec<FullName> = std::iter::from_fn(|| queue.take(now)).collect();
    assert_eq!(taken.len(), usize::from(SLOTS));
    queue.wake(name(1), Priority::High);
    queue.wake(name(2), Priority::High);
    assert_eq!(queue.take(now), Some(name(1)));
    assert_eq!(queue.take(now), None, "all slots are taken");
    queue.done(taken[0].clone(), Requeue::Never, now);
    assert_eq!(queue.take(now), Some(name(2)));
}

#[test]
fn reports_use_every_slot_and_other_work_gets_the_next_in_its_turn() {
    let (mut queue, now) = (loud(Priority::High), Instant::now());
    let taken: Vec<FullName> = std::iter::from_fn(|| queue.take(now)).collect();
    assert_eq!(taken.len(), usize::from(SLOTS) + 1);
    queue.wake(name(1), Priority::Normal);
    let mut begun = taken.len();
    for ended in taken {
        queue.done(ended, Requeue::Never, now);
        let next = queue.take(now).unwrap();
        begun += 1;
        if next == name(1) {
            break;
        }
    }
    assert_eq!(begun, usize::try_from(HIGH_IN_A_ROW).unwrap() + 1);
}

#[test]
fn resting_name_is_due_at_its_time_and_a_wake_up_comes_before() {
    let (mut queue, start) = (Queue::new(SLOTS), Instant::now());
    for number in [1, 2] {
        queue.wake(name(number), Priority::Normal);
        let taken = queue.take(start).unwrap();
        queue.done(taken, Requeue::After(Duration::from_secs(10)), start);
    }
    assert_eq!(queue.next_at(), Some(start + Duration::from_secs(10)));
    assert_eq!(queue.take(start + Duration::from_secs(9)), None);
    queue.wake(name(2), Priority::Normal);
    assert_eq!(queue.take(start + Duration::from_secs(9)), Some(name(2)));
    queue.done(name(2), Requeue::Never, start);
    assert_eq!(queue.take(start + Duration::from_secs(10)), Some(name(1)));
    queue.done(name(1), Requeue::After(Duration::MAX), start);
    assert_eq!(queue.take(start + Duration::from_hours(1)), None);
    assert_eq!(queue.next_at(), None, "a pause beyond all time is endless");
}

#[test]
fn failed_report_keeps_its_priority_and_a_successful_one_does_not() {
    for (requeue, before) in [(Requeue::Retry(Duration::ZERO), 0), (Requeue::After(Duration::ZERO), 1)] {
        let (mut queue, now) = (loud(Priority::Normal), Instant::now());
        queue.wake(name(1), Priority::High);
        let taken = queue.take(now).unwrap();
        queue.done(taken, requeue, now);
        assert_eq!(served_before(&mut queue, &name(1)), before, "{requeue:?}");
    }
}

#[test]
fn failed_report_that_is_woken_as_other_work_keeps_its_priority() {
    let (mut queue, now) = (loud(Priority::Normal), Instant::now());
    queue.wake(name(1), Priority::High);
    let taken = queue.take(now).unwrap();
    queue.done(taken, Requeue::Retry(Duration::from_hours(1)), now);
    queue.wake(name(1), Priority::Normal);
    assert_eq!(served_before(&mut queue, &name(1)), 0);
}

#[test]
fn name_woken_while_it_is_reconciled_is_reconciled_again() {
    let (mut queue, now) = (Queue::new(SLOTS), Instant::now());
    queue.wake(name(1), Priority::Normal);
    assert_eq!(queue.take(now), Some(name(1)));
    queue.wake(name(1), Priority::Normal);
    assert_eq!(queue.take(now), None, "no name is taken twice at once");
    queue.wake(name(2), Priority::Normal);
    queue.done(name(1), Requeue::After(Duration::from_hours(1)), now);
    assert_eq!(queue.take(now), Some(name(2)));
    assert_eq!(queue.take(now), Some(name(1)));
}

#[derive(Clone, Debug)]
enum Step {
    Wake(FullName, Priority),
    Take,
    Done { nth: usize, requeue: Requeue },
    Wait(u64),
}

fn priorities() -> impl Strategy<Value = Priority> {
    prop_oneof![Just(Priority::Normal), Just(Priority::High)]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let names = (prop::sample::select(&["a", "b", "c"][..]), 0..4_usize).prop_map(|(space, number)| of(space, number));
    let pause = || (0..20_u64).prop_map(Duration::from_secs);
    let requeue = prop_oneof![Just(Requeue::Never), pause().prop_map(Requeue::After), pause().prop_map(Requeue::Retry)];
    let step = prop_oneof![
        5 => (names, priorities()).prop_map(|(name, priority)| Step::Wake(name, priority)),
        3 => Just(Step::Take),
        3 => (any::<usize>(), requeue).prop_map(|(nth, requeue)| Step::Done { nth, requeue }),
        1 => (1..10_u64).prop_map(Step::Wait),
    ];
    prop::collection::vec(step, 0..300)
}

/// The same names by their claims alone, without lines and turns.
#[derive(Default)]
struct Expected {
    /// For each waiting name its priority and when it began to wait with that.
    waits: HashMap<FullName, (Priority, u64)>,
    taken: Vec<(FullName, Priority, Option<Priority>)>,
    rests: HashMap<FullName, (u64, Priority)>,
    /// Number of times that each other namespace was served while this one waited for its turn.
    passed: HashMap<(Priority, String), HashMap<String, usize>>,
    in_a_row: u32,
    line: u64,
}

impl Expected {
    fn wakes(&mut self, name: &FullName, mut priority: Priority) {
        if let Some((.., woken)) = self.taken.iter_mut().find(|(taken, ..)| taken == name) {
            *woken = (*woken).max(Some(priority));
            return;
        }
        if let Some((_, kept)) = self.rests.remove(name) {
            priority = priority.max(kept);
        }
        if self.waits.get(name).is_none_or(|(waits, _)| *waits < priority) {
            self.line += 1;
            self.waits.insert(name.clone(), (priority, self.line));
            self.forget_served_lines();
        }
    }

    fn rested(&mut self, clock: u64) {
        let mut over: Vec<_> = self.rests.iter().filter(|(_, (at, _))| *at <= clock).collect();
        over.sort_by_key(|(name, (at, _))| (*at, *name));
        let over: Vec<FullName> = over.into_iter().map(|(name, _)| name.clone()).collect();
        for name in &over {
            self.wakes(name, Priority::Normal);
        }
    }

    /// Holds everything that is promised of the name that comes next.
    fn takes(&mut self, taken: Option<FullName>) -> Result<(), TestCaseError> {
        let normal_taken = self.taken.iter().filter(|(_, priority, _)| *priority == Priority::Normal).count();
        let has_slot = self.taken.len() <= usize::from(SLOTS);
        let waits = |wanted: Priority| self.waits.values().any(|(priority, _)| *priority == wanted);
        let is_normal_free = has_slot && waits(Priority::Normal) && normal_taken < usize::from(SLOTS);
        let is_high_free = has_slot && waits(Priority::High);
        let Some(name) = taken else {
            prop_assert!(!is_high_free && !is_normal_free, "a name waits, and there is a slot");
            return Ok(());
        };
        let (priority, line) = self.waits.remove(&name).unwrap();
        match priority {
            Priority::High => {
                prop_assert!(is_high_free && (!is_normal_free || self.in_a_row < HIGH_IN_A_ROW));
                self.in_a_row += 1;
            }
            Priority::Normal => {
                prop_assert!(is_normal_free && (!is_high_free || self.in_a_row >= HIGH_IN_A_ROW));
                self.in_a_row = 0;
            }
        }
        let of_its_priority = || self.waits.iter().filter(|(_, (waits, _))| *waits == priority);
        for (other, (_, others)) in of_its_priority() {
            prop_assert!(other.0 != name.0 || *others > line, "{:?} came before {:?}", other, &name);
        }
        let others: BTreeSet<String> =
            of_its_priority().map(|((space, _), _)| space.clone()).filter(|space| *space != name.0).collect();
        self.passed.remove(&(priority, name.0.clone()));
        for other in others {
            let passed = self.passed.entry((priority, other)).or_default().entry(name.0.clone()).or_default();
            *passed += 1;
            prop_assert!(*passed <= 1, "{} is served twice in a round", name.0);
        }
        self.taken.push((name, priority, None));
        self.forget_served_lines();
        Ok(())
    }

    fn forget_served_lines(&mut self) {
        let waits = &self.waits;
        self.passed.retain(|(priority, space), _| waits.iter().any(|((s, _), (p, _))| s == space && p == priority));
    }

    fn done(&mut self, nth: usize, requeue: Requeue, clock: u64) -> Option<FullName> {
        let nth = nth.checked_rem(self.taken.len())?;
        let (name, priority, woken) = self.taken.swap_remove(nth);
        let (pause, kept) = match requeue {
            Requeue::Never => (None, Priority::Normal),
            Requeue::After(pause) => (Some(pause), Priority::Normal),
            Requeue::Retry(pause) => (Some(pause), priority),
        };
        if let Some(woken) = woken {
            self.wakes(&name, woken.max(kept));
        } else if let Some(pause) = pause {
            self.rests.insert(name.clone(), (clock + pause.as_secs(), kept));
        }
        Some(name)
    }
}

proptest! {
    #[test]
    fn every_name_gets_its_turn_in_every_history(steps in steps()) {
        let (mut queue, start, mut clock) = (Queue::new(SLOTS), Instant::now(), 0_u64);
        let mut expected = Expected::default();
        let drained = (0..40).flat_map(|_| [Step::Take, Step::Done { nth: 0, requeue: Requeue::Never }]);
        for step in steps.into_iter().chain([Step::Wait(1_000)]).chain(drained) {
            let now = start + Duration::from_secs(clock);
            match step {
                Step::Wait(seconds) => clock += seconds,
                Step::Wake(name, priority) => {
                    expected.wakes(&name, priority);
                    queue.wake(name, priority);
                }
                Step::Take => {
                    expected.rested(clock);
                    expected.takes(queue.take(now))?;
                }
                Step::Done { nth, requeue } => {
                    if let Some(name) = expected.done(nth, requeue, clock) {
                        queue.done(name, requeue, now);
                    }
                }
            }
        }
        prop_assert!(expected.waits.is_empty() && expected.rests.is_empty(), "every name has had a turn");
        prop_assert_eq!((queue.take(start + Duration::from_hours(1)), queue.next_at()), (None, None));
    }
}
