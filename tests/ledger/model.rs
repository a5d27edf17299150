//! Any order of calls, writes that arrive or do not and are answered or not, others' writes and forgotten keys, beside
//! a server that applies a write only on its condition.

use std::collections::HashMap;
use std::sync::Arc;

use keywright::key::KeyId;
use keywright::verifier::activity::ledger::{Ledger, Turn};
use keywright::verifier::activity::usage::{Totals, Usage};
use keywright::verifier::code::Code;
use keywright::verifier::fence::Moment;
use keywright::verifier::subject::Uid;
use proptest::collection::vec;
use proptest::prelude::*;

use super::{ids, subject, uid, usage};

const KEYS: usize = 3;
const SECOND: Moment = 1_000_000_000;

/// What becomes of a write.
#[derive(Clone, Copy, Debug)]
enum Fate {
    /// It is applied, and the answer comes.
    Answered,
    /// It is applied, and the answer is lost.
    Unheard,
    /// It is not applied, and the client sees an error.
    Refused,
    /// The client gives up; it may be applied later.
    Held,
    /// Not even what stands there can be read.
    Unread,
    /// Somebody else writes between the look and the write, which is refused; it is made anew at once.
    Overtaken,
}

#[derive(Clone, Debug)]
enum Step {
    Call {
        key: usize,
        allowed: bool,
    },
    /// The index makes the value anew, as when its ApiKey changes.
    Rebuilt {
        key: usize,
    },
    /// Keys of which all is written are forgotten.
    Tidied,
    Passed {
        seconds: u64,
    },
    Write(Fate),
    /// Somebody else writes the same object.
    Others {
        key: usize,
    },
    /// A write that was held back arrives.
    Late,
}

fn step() -> impl Strategy<Value = Step> {
    let fate = prop_oneof![
        3 => Just(Fate::Answered),
        2 => Just(Fate::Unheard),
        2 => Just(Fate::Refused),
        2 => Just(Fate::Held),
        1 => Just(Fate::Unread),
        1 => Just(Fate::Overtaken),
    ];
    prop_oneof![
        4 => (0..KEYS, any::<bool>()).prop_map(|(key, allowed)| Step::Call { key, allowed }),
        1 => (0..KEYS).prop_map(|key| Step::Rebuilt { key }),
        1 => Just(Step::Tidied),
        2 => (1..70u64).prop_map(|seconds| Step::Passed { seconds }),
        5 => fate.prop_map(Step::Write),
        1 => (0..KEYS).prop_map(|key| Step::Others { key }),
        2 => Just(Step::Late),
    ]
}

/// `status.activity` of one key.
#[derive(Default)]
struct Status {
    version: u64,
    allowed: u64,
    denied: u64,
    sequence: Option<i64>,
}

/// A write, as it is sent.
#[derive(Clone, Copy)]
struct Patch {
    uid: Uid,
    version: u64,
    allowed: u64,
    denied: u64,
    sequence: i64,
}

struct World {
    ledger: Ledger,
    now: Moment,
    ids: Vec<KeyId>,
    /// What the index holds.
    held: Vec<Option<Arc<Usage>>>,
    uids: Vec<Uid>,
    counted: Vec<(u64, u64)>,
    server: HashMap<Uid, Status>,
    late: Vec<Patch>,
}

impl World {
    fn new() -> Self {
        let (mut ledger, ids) = (Ledger::default(), ids(KEYS));
        let held: Vec<_> = ids.iter().map(|id| Some(usage(&mut ledger, *id))).collect();
        let uids = ids.iter().map(|id| uid(*id)).collect();
        let (counted, server) = (vec![(0, 0); KEYS], HashMap::new());
        Self { ledger, now: SECOND, ids, held, uids, counted, server, late: Vec::new() }
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Call { key, allowed } => {
                let id = self.ids[key];
                let usage = self.held[key].get_or_insert_with(|| usage(&mut self.ledger, id));
                if let Some(rank) = usage.count(if allowed { Code::Ok } else { Code::Disabled }, 1) {
                    self.ledger.touch(id, &subject(id), usage, rank, self.now);
                }
                let counted = &mut self.counted[key];
                *if allowed { &mut counted.0 } else { &mut counted.1 } += 1;
            }
            Step::Rebuilt { key } => self.held[key] = None,
            Step::Tidied => self.ledger.tidy(self.now),
            Step::Passed { seconds } => self.now += seconds * SECOND,
            Step::Write(fate) => {
                if let Some(turn) = self.ledger.next(self.now) {
                    self.write(&turn, fate);
                }
            }
            Step::Others { key } => self.status(self.uids[key]).version += 1,
            Step::Late => {
                if let Some(patch) = self.late.pop() {
                    self.apply(patch);
                }
            }
        }
    }

    fn status(&mut self, uid: Uid) -> &mut Status {
        self.server.entry(uid).or_default()
    }

    /// The server's: only on condition that nobody wrote since.
    fn apply(&mut self, patch: Patch) -> bool {
        let status = self.status(patch.uid);
        let is_current = status.version == patch.version;
        if is_current {
            status.version += 1;
            status.allowed += patch.allowed;
            status.denied += patch.denied;
            status.sequence = Some(patch.sequence);
        }
        is_current
    }

    /// As `flush` does it.
    fn write(&mut self, turn: &Turn, fate: Fate) {
        if matches!(fate, Fate::Unread) {
            return self.ledger.failed(turn, self.now);
        }
        let (version, sequence) = (self.status(turn.uid).version, self.status(turn.uid).sequence);
        self.ledger.stands(turn.uid, sequence);
        let taken = turn.take();
        let new = |pick: fn(&Totals) -> u64| -> u64 { taken.iter().map(|taken| pick(&taken.totals)).sum() };
        let (allowed, denied) = (new(|totals| totals.allowed), new(|totals| totals.denied));
        if (allowed, denied) == (0, 0) {
            return self.ledger.arrived(turn.uid, &taken, self.now);
        }
        let sequence = self.ledger.sending(turn.uid, taken.clone());
        let patch = Patch { uid: turn.uid, version, allowed, denied, sequence };
        match fate {
            Fate::Answered => {
                assert!(self.apply(patch));
                self.ledger.arrived(turn.uid, &taken, self.now);
            }
            Fate::Unheard => {
                assert!(self.apply(patch));
                self.ledger.failed(turn, self.now);
            }
            Fate::Refused => {
                // Whoever tidies meanwhile must know that it is under way.
                self.ledger.tidy(self.now);
                self.ledger.failed(turn, self.now);
            }
            Fate::Held => {
                self.late.push(patch);
                self.ledger.failed(turn, self.now);
            }
            Fate::Overtaken => {
                self.status(turn.uid).version += 1;
                assert!(!self.apply(patch));
                self.write(turn, Fate::Answered);
            }
            Fate::Unread => unreachable!("nothing was sent"),
        }
    }

    fn said(&self, key: usize) -> (u64, u64) {
        self.server.get(&self.uids[key]).map_or((0, 0), |status| (status.allowed, status.denied))
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

    #[test]
    fn no_call_is_lost_and_none_counted_twice_whatever_becomes_of_the_writes(
        steps in vec(step(), 0..80),
        is_stopped in any::<bool>(),
    ) {
        let mut world = World::new();
        for step in &steps {
            world.step(step);
            for (key, counted) in world.counted.iter().enumerate() {
                let said = world.said(key);
                prop_assert!(said.0 <= counted.0 && said.1 <= counted.1, "{said:?} of {counted:?} after {step:?}");
            }
        }
        // All is well from now on; or the process is told to stop, and has one more chance.
        if is_stopped {
            world.ledger.touch_all();
        }
        for _ in 0..10 {
            world.now += 61 * SECOND;
            while let Some(turn) = world.ledger.next(world.now) {
                world.write(&turn, Fate::Answered);
            }
            world.step(&Step::Late);
        }
        for (key, counted) in world.counted.iter().enumerate() {
            prop_assert_eq!(world.said(key), *counted);
        }
        prop_assert_eq!(world.ledger.waiting(), (0, None));
    }
}
