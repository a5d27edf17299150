#![allow(clippy::unwrap_used)]

use super::*;
use proptest::prelude::*;

fn name(number: u8) -> FullName {
    ("shop".to_owned(), number.to_string())
}

#[test]
fn who_was_woken_first_is_next_and_once_whoever_else_comes() {
    let (mut queue, now) = (Queue::default(), Instant::now());
    for number in [3, 1, 3, 2, 1] {
        queue.wake(name(number));
    }
    let order: Vec<FullName> = std::iter::from_fn(|| queue.take(now)).collect();
    assert_eq!(order, [name(3), name(1), name(2)]);
}

#[test]
fn what_rests_is_due_at_its_time_and_a_wake_up_does_not_wait_for_that() {
    let (mut queue, start) = (Queue::default(), Instant::now());
    for number in [1, 2] {
        queue.wake(name(number));
        let taken = queue.take(start).unwrap();
        queue.done(taken, Some(Duration::from_secs(10)), start);
    }
    assert_eq!(queue.next_at(), Some(start + Duration::from_secs(10)));
    assert_eq!(queue.take(start + Duration::from_secs(9)), None);
    queue.wake(name(2));
    assert_eq!(queue.take(start + Duration::from_secs(9)), Some(name(2)));
    queue.done(name(2), None, start);
    assert_eq!(queue.take(start + Duration::from_secs(10)), Some(name(1)));
    queue.done(name(1), Some(Duration::MAX), start);
    assert_eq!((queue.take(start + Duration::from_hours(1)), queue.next_at()), (None, None), "nobody else was to come");
}

#[test]
fn what_is_woken_while_it_is_looked_at_is_looked_at_again_behind_all_who_wait() {
    let (mut queue, now) = (Queue::default(), Instant::now());
    queue.wake(name(1));
    assert_eq!(queue.take(now), Some(name(1)));
    queue.wake(name(1));
    assert_eq!(queue.take(now), None, "nobody is looked at twice at once");
    queue.wake(name(2));
    queue.done(name(1), Some(Duration::from_hours(1)), now);
    assert_eq!(queue.take(now), Some(name(2)));
    assert_eq!(queue.take(now), Some(name(1)));
}

#[derive(Clone, Debug)]
enum Step {
    Wake(u8),
    Take,
    Done { nth: usize, pause: Option<u64> },
    Wait(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => (0..8_u8).prop_map(Step::Wake),
        3 => Just(Step::Take),
        3 => (any::<usize>(), prop::option::of(0..20_u64)).prop_map(|(nth, pause)| Step::Done { nth, pause }),
        1 => (1..10_u64).prop_map(Step::Wait),
    ];
    prop::collection::vec(step, 0..200)
}

/// Since when each name has something to be looked at for, as one sees it who knows nothing of how it is kept.
#[derive(Default)]
struct Expected {
    /// For each name the place in line of what it waits for.
    waits: HashMap<FullName, (u64, u64)>,
    taken: Vec<FullName>,
    woken_meanwhile: Vec<FullName>,
    rests: HashMap<FullName, u64>,
    line: u64,
}

impl Expected {
    fn waits(&mut self, name: FullName, since: u64) {
        self.line += 1;
        self.rests.remove(&name);
        self.waits.entry(name).or_insert((since, self.line));
    }
}

proptest! {
    /// Nobody is passed over: whoever is taken has waited for longest, and when all is done, all who were woken were taken.
    #[test]
    fn whatever_comes_in_between_the_one_that_has_waited_for_longest_is_next(steps in steps()) {
        let (mut queue, start, mut clock) = (Queue::default(), Instant::now(), 0_u64);
        let mut expected = Expected::default();
        let end = [vec![Step::Wait(1_000)], vec![Step::Take; 16]].concat();
        for step in steps.into_iter().chain(end) {
            let now = start + Duration::from_secs(clock);
            match step {
                Step::Wait(seconds) => clock += seconds,
                Step::Wake(number) if expected.taken.contains(&name(number)) => {
                    queue.wake(name(number));
                    expected.woken_meanwhile.push(name(number));
                }
                Step::Wake(number) => {
                    queue.wake(name(number));
                    expected.waits(name(number), clock);
                }
                Step::Take => {
                    let mut over: Vec<_> = expected.rests.iter().filter(|(_, at)| **at <= clock).map(|(n, at)| (*at, n.clone())).collect();
                    over.sort();
                    for (_, name) in over {
                        expected.waits(name, clock);
                    }
                    let longest = expected.waits.iter().min_by_key(|(_, (_, line))| *line).map(|(name, _)| name.clone());
                    let taken = queue.take(now);
                    prop_assert_eq!(&taken, &longest);
                    if let Some(name) = taken {
                        expected.waits.remove(&name);
                        expected.taken.push(name);
                    }
                }
                Step::Done { nth, pause } => {
                    if expected.taken.is_empty() {
                        continue;
                    }
                    let name = expected.taken.swap_remove(nth % expected.taken.len());
                    queue.done(name.clone(), pause.map(Duration::from_secs), now);
                    if expected.woken_meanwhile.contains(&name) {
                        expected.woken_meanwhile.retain(|woken| *woken != name);
                        expected.waits(name, clock);
                    } else if let Some(pause) = pause {
                        expected.rests.insert(name, clock + pause);
                    }
                }
            }
        }
        prop_assert!(expected.waits.is_empty() && expected.rests.is_empty(), "everybody has had a turn");
    }
}
