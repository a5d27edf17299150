//! Counting from several threads while another takes.

use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use keywright::verifier::activity::ledger::Ledger;
use keywright::verifier::activity::usage::Totals;
use keywright::verifier::code::Code;

use super::{ids, usage};

/// One that counts refusals, one that counts both, and others that pass; more than the machine may have cores.
const THREADS: u64 = 4;

/// Counts so often on each thread, while this thread takes whenever it was told to; what was taken last.
fn race(calls: u64) -> Totals {
    let usage = usage(&mut Ledger::default(), ids(1)[0]);
    let (is_told, is_over, start) = (AtomicBool::new(false), AtomicBool::new(false), Barrier::new(5));
    let count = |thread: u64| {
        start.wait();
        for call in 0..calls {
            let is_denied = thread == 0 || (thread == 1 && call % 2 == 0);
            let seconds = u32::try_from(call).unwrap() + 1;
            if usage.count(if is_denied { Code::Disabled } else { Code::Ok }, seconds).is_some() {
                is_told.store(true, Ordering::SeqCst);
            }
        }
    };
    let take = || {
        start.wait();
        let mut taken = Totals::default();
        loop {
            let is_last = is_over.load(Ordering::SeqCst);
            if is_told.swap(false, Ordering::SeqCst) {
                let now = usage.take();
                assert!(now.allowed >= taken.allowed && now.denied >= taken.denied, "what was counted never shrinks");
                taken = now;
            } else if is_last {
                return taken;
            }
        }
    };
    thread::scope(|scope| {
        let taken = scope.spawn(take);
        let count = &count;
        let counters: Vec<_> = (0..THREADS).map(|thread| scope.spawn(move || count(thread))).collect();
        for counter in counters {
            counter.join().unwrap();
        }
        is_over.store(true, Ordering::SeqCst);
        taken.join().unwrap()
    })
}

fn expected(calls: u64) -> Totals {
    let last = u32::try_from(calls).unwrap();
    let denied = calls + calls.div_ceil(2);
    Totals { allowed: THREADS * calls - denied, denied, last_used: last, last_denied: Some((last, Code::Disabled)) }
}

#[test]
fn whoever_counts_last_tells_somebody_and_nothing_that_was_counted_is_left() {
    // Short ones, for it is the end of each that tells.
    for _ in 0..2000 {
        assert_eq!(race(10), expected(10));
    }
    assert_eq!(race(200_000), expected(200_000));
}
