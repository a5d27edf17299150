//! Counting a call: of one value again and again, of values that are in no cache, from two threads at once, and beside
//! the decision that it comes after. Bound: 20 ns, and no more when another thread counts the same value.

#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs)]

mod support;

use std::hint::black_box;
use std::sync::Barrier;
use std::thread;
use std::time::Instant;

use jiff::Timestamp;
use keywright::key::KeyId;
use keywright::verifier::activity::Activity;
use keywright::verifier::call::Call;
use keywright::verifier::code::Code;
use keywright::verifier::decide::decide;
use keywright::verifier::index::Held;
use keywright::verifier::live::Live;
use keywright::verifier::metrics::Transport;
use keywright::verifier::question::Question;
use support::{Filled, filled, presented};

const ROUNDS: usize = 31;
/// Calls in a round.
const CALLS: usize = 200_000;
const KEYS: usize = 100_000;

fn main() {
    let filled = filled(KEYS);
    let activity = Activity::default();
    let agent = Call { transport: Transport::auth, header: &|_| Some(b"curl/8.5.0 (a program)"), client: &|| None };
    let bare = Call::bare(Transport::auth);
    let at = Timestamp::now();
    let count = |(id, live): &(KeyId, &Live), code, call: &Call<'_>| {
        activity.count(live, *id, code, true, at, &activity.caller(call))
    };
    // The first call of each makes its counters.
    let ids: Vec<KeyId> = filled.known.iter().map(|text| presented(text).id()).collect();
    for &id in &ids {
        let held = filled.index.held(id);
        let live = held.live().unwrap();
        let usage = count(&(id, live), Code::Ok, &agent).unwrap();
        filled.index.remember_usage(id, live.subject().uid(), &usage);
    }
    let held: Vec<Held> = ids.iter().map(|&id| filled.index.held(id)).collect();
    let values: Vec<(KeyId, &Live)> = ids.iter().zip(&held).map(|(&id, held)| (id, held.live().unwrap())).collect();
    let one = &values[..1];

    println!("nanoseconds a call, medians of {ROUNDS} rounds");
    for (what, values, code, call) in [
        ("one value, no User-Agent", one, Code::Ok, &bare),
        ("one value, with User-Agent", one, Code::Ok, &agent),
        ("one value, refused", one, Code::Disabled, &bare),
        ("50,000 values, no User-Agent", &values[..], Code::Ok, &bare),
        ("50,000 values, with User-Agent", &values[..], Code::Ok, &agent),
    ] {
        let rounds = (0..ROUNDS).map(|_| timed(values, |value| drop(count(value, code, call)))).collect();
        println!("{what:>42}: {:6.1}", median(rounds));
    }
    for (what, other) in [("one value, two threads at once", one), ("a value each, two threads at once", &values[1..2])]
    {
        let both = |values: &[(KeyId, &Live)]| timed(values, |value| drop(count(value, Code::Ok, &bare)));
        println!("{what:>42}: {:6.1}", median(together([one, other], both)));
    }
    beside(&filled, &activity, &agent);
}

/// The decision alone, and with its call counted.
fn beside(filled: &Filled, activity: &Activity, call: &Call<'_>) {
    let question = Question::from_query("scope=orders:read", || None).unwrap();
    let now = Timestamp::now();
    let decision = |text: &str, is_counted: bool| {
        let presented = presented(text);
        let view = filled.index.look_up(&presented);
        let verdict = decide(&view, &question, now);
        if let Some(live) = verdict.attempted.filter(|_| is_counted) {
            activity.count(live, presented.id(), verdict.code, verdict.holder.is_some(), now, &activity.caller(call));
        }
        assert_eq!(verdict.code, Code::Ok);
    };
    for (what, keys) in [("one key", &filled.known[..1]), ("50,000 keys", &filled.known[..])] {
        let round = |is_counted| timed(keys, |text: &String| decision(text, is_counted));
        let rounds: Vec<[f64; 2]> = (0..ROUNDS).map(|_| [round(false), round(true)]).collect();
        let of = |pick: fn(&[f64; 2]) -> f64| median(rounds.iter().map(pick).collect());
        let (alone, counted, ratio) = (of(|r| r[0]), of(|r| r[1]), of(|r| r[1] / r[0]));
        println!("a decision, {what}: {alone:.0} alone, {counted:.0} counted, {ratio:.3} times");
    }
}

/// Two threads at once, each with its own values and as long-lived as a server's; what each round took in either.
fn together<V: Sync>(values: [&[V]; 2], work: impl Fn(&[V]) -> f64 + Sync) -> Vec<f64> {
    let start = Barrier::new(2);
    let rounds = |values| {
        let round = |_| {
            start.wait();
            work(values)
        };
        (0..ROUNDS).map(round).collect::<Vec<f64>>()
    };
    thread::scope(|scope| {
        let [mine, its] = values;
        let other = scope.spawn(|| rounds(its));
        let own = rounds(mine);
        [own, other.join().unwrap()].concat()
    })
}

/// Nanoseconds a call.
fn timed<V>(values: &[V], mut call: impl FnMut(&V)) -> f64 {
    let times = CALLS.div_ceil(values.len());
    let start = Instant::now();
    for _ in 0..times {
        for value in values {
            call(black_box(value));
        }
    }
    start.elapsed().as_secs_f64() * 1e9 / f64::from(u32::try_from(times * values.len()).unwrap())
}

fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}
