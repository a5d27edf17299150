//! What comes in between: calls while a key is written, and while its value is made anew.

use std::sync::Arc;

use keywright::verifier::activity::ledger::Ledger;
use keywright::verifier::code::Code;
use keywright::verifier::fence::Moment;

use super::{ids, subject, usage};

const SECOND: Moment = 1_000_000_000;

#[test]
fn calls_that_come_while_a_key_is_written_wait_until_it_has_rested() {
    let (mut ledger, id) = (Ledger::default(), ids(1)[0]);
    let usage = usage(&mut ledger, id);
    let call = |ledger: &mut Ledger, now| {
        if let Some(rank) = usage.count(Code::Ok, 1) {
            ledger.touch(id, &subject(id), &usage, rank, now);
        }
    };
    call(&mut ledger, SECOND);
    let written = 4 * SECOND;
    let turn = ledger.next(written).unwrap();
    let taken = turn.take();
    call(&mut ledger, written);
    ledger.arrived(turn.uid, &taken, written);
    let again = (0..400).map(|tick| written + tick * SECOND / 4).find(|now| ledger.next(*now).is_some());
    assert_eq!(again, Some(written + 60 * SECOND));
}

#[test]
fn a_call_that_was_under_way_when_its_value_was_made_anew_is_counted() {
    let (mut ledger, id) = (Ledger::default(), ids(1)[0]);
    let old = usage(&mut ledger, id);
    // Nothing is left of a key that is quiet, and the index does not know its counters any more.
    ledger.tidy(SECOND);
    let new = usage(&mut ledger, id);
    assert!(!Arc::ptr_eq(&old, &new));
    for counters in [&new, &old] {
        let rank = counters.count(Code::Ok, 1).unwrap();
        ledger.touch(id, &subject(id), counters, rank, SECOND);
    }
    let taken = ledger.next(4 * SECOND).unwrap().take();
    assert_eq!(taken.iter().map(|taken| taken.totals.allowed).sum::<u64>(), 2);
}

/// Counts calls of keys in this order; the keys in the order of their turns.
fn order(calls: &[(usize, Code)]) -> Vec<usize> {
    let (mut ledger, ids) = (Ledger::default(), ids(calls.len()));
    let usages: Vec<_> = ids.iter().map(|id| usage(&mut ledger, *id)).collect();
    for (key, code) in calls {
        if let Some(rank) = usages[*key].count(*code, 1) {
            ledger.touch(ids[*key], &subject(ids[*key]), &usages[*key], rank, SECOND);
        }
    }
    let turns = std::iter::from_fn(|| ledger.next(10 * SECOND));
    turns.map(|turn| ids.iter().position(|id| subject(*id).uid() == turn.uid).unwrap()).collect()
}

#[test]
fn uses_are_written_before_refusals_that_came_first() {
    let refusals = (0..8).map(|key| (key, Code::Unknown));
    let uses = (8..12).map(|key| (key, Code::Ok));
    let calls: Vec<_> = refusals.chain(uses).collect();
    // One turn of four is for refusals, so that they are not starved.
    assert_eq!(order(&calls), [8, 9, 10, 0, 11, 1, 2, 3, 4, 5, 6, 7]);
}

#[test]
fn a_use_after_a_refusal_of_the_same_key_is_written_first() {
    let calls = [(0, Code::Unknown), (1, Code::Unknown), (2, Code::Unknown), (1, Code::Ok), (1, Code::Unknown)];
    assert_eq!(order(&calls), [1, 0, 2]);
}
