//! A decision end to end (parse, look up, tag, verdict) at 1 to 1,000,000 keys, hit and miss, beside its limit in
//! the same run: keyed BLAKE3 of the same bytes plus one look-up in a hash map of the same size.
//!
//! Own code rather than a framework, because what counts is the ratio: each round times both, one after the other, and
//! the median of the rounds' ratios holds when the machine's speed drifts.

#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs)]

mod support;

use std::collections::HashMap;
use std::hint::black_box;
use std::time::Instant;

use jiff::Timestamp;
use keywright::key::KeyId;
use keywright::verifier::code::Code;
use keywright::verifier::decide::decide;
use keywright::verifier::index::Index;
use keywright::verifier::question::Question;
use support::{Filled, filled, minted, presented};

const ROUNDS: usize = 31;
/// Calls in a round, at least; small indexes are asked again and again.
const CALLS: usize = 50_000;

fn main() {
    let heads = ["hit", "miss", "limit", "hit/limit", "miss/limit", "bytes/key"];
    let [hit, miss, limit, by_hit, by_miss, bytes] = heads;
    println!("{:>9} | {hit:>9} {miss:>9} {limit:>9} | {by_hit:>9} {by_miss:>10} | {bytes:>9}", "keys");
    for size in [1, 1_000, 100_000, 1_000_000] {
        row(size);
    }
    println!("nanoseconds a call; medians of {ROUNDS} rounds; ratios are taken round by round");
}

fn row(size: usize) {
    let before = resident();
    let Filled { index, known } = filled(size);
    let bytes = resident().saturating_sub(before) / size;
    let unknown = minted(known.len());
    let limit = Limit::of(size, &known);
    let rounds: Vec<[f64; 3]> = (0..ROUNDS)
        .map(|_| [decisions(&index, &known, Code::Ok), decisions(&index, &unknown, Code::Unknown), limit.time(&known)])
        .collect();
    let of = |pick: fn(&[f64; 3]) -> f64| median(rounds.iter().map(pick).collect());
    println!(
        "{size:>9} | {:>9.0} {:>9.0} {:>9.0} | {:>9.2} {:>10.2} | {bytes:>9}",
        of(|r| r[0]),
        of(|r| r[1]),
        of(|r| r[2]),
        of(|r| r[0] / r[2]),
        of(|r| r[1] / r[2]),
    );
}

fn decisions(index: &Index, keys: &[String], expected: Code) -> f64 {
    let question = Question::from_query("scope=orders:read", || None).unwrap();
    let now = Timestamp::now();
    timed(keys, |text| {
        let code = decide(&index.look_up(&presented(text)), &question, now).code;
        assert_eq!(code, expected);
    })
}

/// Memory of this process, in bytes.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
}

/// What no decision can be faster than.
struct Limit {
    map: HashMap<KeyId, [u8; 32], foldhash::fast::RandomState>,
    pepper: [u8; 32],
}

impl Limit {
    fn of(size: usize, known: &[String]) -> Self {
        let mut map: HashMap<_, _, foldhash::fast::RandomState> =
            known.iter().map(|text| (presented(text).id(), [7; 32])).collect();
        let filler = (0..).map(|n: u64| KeyId::from_bits(n.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
        map.extend(filler.take(size - map.len()).map(|id| (id, [7; 32])));
        Self { map, pepper: [9; 32] }
    }

    fn time(&self, keys: &[String]) -> f64 {
        timed(keys, |text| {
            let id = KeyId::parse(&text.as_bytes()[3..15]).unwrap();
            let tag = self.map.get(&id).unwrap();
            let hash = blake3::keyed_hash(&self.pepper, &text.as_bytes()[..59]);
            black_box(hash.as_bytes() == tag);
        })
    }
}

/// Nanoseconds a call.
fn timed(keys: &[String], mut call: impl FnMut(&str)) -> f64 {
    let times = CALLS.div_ceil(keys.len());
    let start = Instant::now();
    for _ in 0..times {
        for text in keys {
            call(black_box(text));
        }
    }
    start.elapsed().as_secs_f64() * 1e9 / f64::from(u32::try_from(times * keys.len()).unwrap())
}

fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}
