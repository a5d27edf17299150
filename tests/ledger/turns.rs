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
        if usage.count(Code::Ok, 1) {
            ledger.touch(id, &subject(id), &usage, now);
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
        assert!(counters.count(Code::Ok, 1));
        ledger.touch(id, &subject(id), counters, SECOND);
    }
    let taken = ledger.next(4 * SECOND).unwrap().take();
    assert_eq!(taken.iter().map(|taken| taken.totals.allowed).sum::<u64>(), 2);
}
