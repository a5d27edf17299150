//! Ten thousand keys share a budget: time is given, so that half an hour takes a second.

use std::collections::HashMap;
use std::sync::Arc;

use keywright::key::KeyId;
use keywright::verifier::activity::ledger::{Ledger, Turn};
use keywright::verifier::activity::usage::Usage;
use keywright::verifier::code::Code;
use keywright::verifier::fence::Moment;
use keywright::verifier::subject::Uid;

use super::{ids, subject, uid, usage};

const SECOND: Moment = 1_000_000_000;
/// As often as the flusher looks.
const TICK: Moment = SECOND / 4;
/// Writes a second.
const BUDGET: u32 = 20;

/// A flusher whose writes all arrive.
struct World {
    ledger: Ledger,
    usages: Vec<(KeyId, Arc<Usage>)>,
    now: Moment,
    /// Quarters of a write.
    tokens: u32,
    written: HashMap<Uid, Moment>,
}

impl World {
    fn new(keys: usize) -> Self {
        let mut ledger = Ledger::default();
        let usages = ids(keys).into_iter().map(|id| (id, usage(&mut ledger, id))).collect();
        Self { ledger, usages, now: 1000 * SECOND, tokens: 4 * BUDGET, written: HashMap::new() }
    }

    fn call(&mut self, key: usize) {
        let (id, usage) = &self.usages[key];
        if let Some(rank) = usage.count(Code::Ok, u32::try_from(self.now / SECOND).unwrap()) {
            self.ledger.touch(*id, &subject(*id), usage, rank, self.now);
        }
    }

    /// A quarter of a second passes; the keys that were written.
    fn tick(&mut self) -> Vec<Turn> {
        self.now += TICK;
        self.tokens = (self.tokens + BUDGET).min(4 * BUDGET);
        let mut turns = Vec::new();
        while self.tokens >= 4
            && let Some(turn) = self.ledger.next(self.now)
        {
            self.tokens -= 4;
            turns.push(turn);
        }
        for turn in &turns {
            let taken = turn.take();
            self.ledger.sending(turn.uid, taken.clone());
            self.ledger.arrived(turn.uid, &taken, self.now);
            if let Some(before) = self.written.insert(turn.uid, self.now) {
                assert!(self.now - before >= 60 * SECOND, "a key was written twice within a minute");
            }
        }
        turns
    }
}

#[test]
fn of_ten_thousand_keys_that_are_all_active_none_waits_longer_than_the_budget_must_let_it() {
    let keys = 10_000;
    let mut world = World::new(keys);
    let bound = Moment::try_from(keys).unwrap() / Moment::from(BUDGET) * SECOND;
    let (mut writes, mut longest, mut last) = (0, 0, 0);
    // More than three times around.
    for tick in 0..4 * 1600 {
        if tick % 4 == 0 {
            (0..keys).for_each(|key| world.call(key));
        }
        let turns = world.tick();
        writes += turns.len();
        for turn in turns {
            assert!(turn.since >= last, "one that waits for longer came later");
            last = turn.since;
            longest = longest.max(world.now - turn.since);
        }
    }
    let (waiting, since) = world.ledger.waiting();
    longest = longest.max(world.now - since.unwrap());
    assert!(longest <= bound + 60 * SECOND, "{} s", longest / SECOND);
    assert!((31_900..=32_020).contains(&writes), "{writes} writes in 1600 s: the budget is used, and no more");
    assert!(world.written.len() == keys && waiting >= keys - 20, "all but the last were called again");
}

#[test]
fn a_first_use_after_a_quiet_spell_is_written_within_five_seconds_beside_a_thousand_busy_keys() {
    // Written once a minute each: five sixths of the budget.
    let busy = 1000;
    let mut world = World::new(busy + 1);
    let (mut used, mut waited) = (None, Vec::new());
    for tick in 0..4 * 1200 {
        if tick % 4 == 0 {
            (0..busy).for_each(|key| world.call(key));
        }
        // The first minutes' crowd is over; each time at another moment of the minute.
        if tick > 4 * 200 && tick % (4 * 73) == 0 {
            world.call(busy);
            used = Some(world.now);
        }
        let (quiet, _) = world.usages[busy];
        if world.tick().iter().any(|turn| turn.uid == uid(quiet)) {
            waited.push(world.now - used.take().unwrap());
        }
    }
    assert_eq!((waited.len(), used), (14, None));
    assert!(waited.iter().all(|waited| *waited <= 5 * SECOND), "{waited:?}");
}

#[test]
fn keys_whose_writes_fail_give_way_to_the_others_and_still_know_since_when_they_wait() {
    let keys = 100;
    let mut world = World::new(keys);
    (0..keys).for_each(|key| world.call(key));
    world.now += 3 * SECOND;
    // A key that can never be written must not stand before all others for ever.
    let failed: Vec<Turn> = (0..40).map(|_| world.ledger.next(world.now).unwrap()).collect();
    for turn in &failed {
        world.ledger.failed(turn, world.now);
    }
    assert_eq!(world.ledger.waiting(), (keys, Some(failed[0].since)));
    let others: Vec<Turn> = std::iter::from_fn(|| world.ledger.next(world.now)).collect();
    assert_eq!(others.len(), keys - failed.len());
    world.now += SECOND;
    let again: Vec<Turn> = std::iter::from_fn(|| world.ledger.next(world.now)).collect();
    assert!(again.iter().map(|turn| (turn.uid, turn.since)).eq(failed.iter().map(|turn| (turn.uid, turn.since))));
}

/// The seconds between the tries to write one key, of which none arrives.
fn gaps(seconds: u64, missed: impl Fn(&mut Ledger, usize, &Turn, Moment)) -> Vec<u64> {
    let mut world = World::new(1);
    world.call(0);
    let mut tries = Vec::new();
    for _ in 0..4 * seconds {
        world.now += TICK;
        if let Some(turn) = world.ledger.next(world.now) {
            missed(&mut world.ledger, tries.len(), &turn, world.now);
            tries.push(world.now / SECOND);
        }
    }
    tries.windows(2).map(|pair| pair[1] - pair[0]).collect()
}

#[test]
fn a_key_that_can_never_be_written_is_tried_once_a_minute_in_the_end() {
    let gaps = gaps(600, |ledger, _, turn, now| ledger.failed(turn, now));
    assert_eq!(gaps[..8], [1, 2, 4, 8, 16, 32, 60, 60]);
}

#[test]
fn a_key_that_others_write_all_the_while_is_tried_every_two_seconds_also_after_failures() {
    let gaps = gaps(20, |ledger, tried, turn, now| match tried {
        ..3 => ledger.failed(turn, now),
        _ => ledger.outrun(turn, now),
    });
    assert_eq!(gaps[..7], [1, 2, 4, 2, 2, 2, 2]);
}
