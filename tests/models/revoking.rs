//! Revocation: does a value that a `revokeBefore` covered stay refused when the field is moved or removed again?
//!
//! **Modelled**, request by request: a user who sets the field to before the issue of a value, to now, or to the future, moves and removes it,
//! and asks for a second value; the API server, whose rule keeps the field; two operators that each read the ApiKey and its entry, record the end
//! in the entry, report it in status and issue the second value, and may stop between any two requests; a verifier whose watches of ApiKeys and
//! entries deliver in any order relative to each other.
//!
//! **Left out.** Restarts of verifiers: a new one is taken to list everything at one moment. Delivery, which `issuing` is about.

use std::collections::VecDeque;

use super::explorer::{Model, explore};

/// Rules of the protocol. A mutant lacks one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    /// The API server keeps the field until status has recorded it.
    Keep,
    /// The end is recorded in the entry.
    Record,
    /// Status follows the entry.
    RecordFirst,
    /// The entry has the generation of the ApiKey that was recorded, and an operator with an earlier one does nothing.
    Generation,
    /// A value is issued only after what the entry has recorded.
    IssueAfter,
    /// The entry lets a value be issued only when status reports no later field.
    ReleaseAfter,
    /// The verifier keeps a value refused that it has refused as revoked.
    Latch,
}

#[derive(Clone, Copy, Default)]
struct Revoking {
    without: Option<Rule>,
    /// It begins with a field of the future that is recorded.
    is_revoked: bool,
}

/// `revokeBefore`. The first value is issued between `Past` and `Now`, the second between `Now` and `Future`.
type Field = Option<Moment>;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Moment {
    Past,
    Now,
    Future,
}

const VALUES: usize = 2;

/// Does the field cover a value?
fn covers(field: Field, value: usize) -> bool {
    field >= Some([Moment::Now, Moment::Future][value])
}

/// The entry, changed by compare-and-swap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Entry {
    recorded: Field,
    generation: u8,
    ended: [bool; VALUES],
    issued: [bool; VALUES],
}

/// The ApiKey: what the user wants and what status reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    spec: Field,
    /// Changes with the field.
    generation: u8,
    status: Field,
    /// A second value is asked for.
    wants: bool,
}

/// The next request of an operator, with what it has read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Operator {
    Idle,
    Record { key: Key, version: u8, entry: Entry },
    Status { key: Key, version: u8, entry: Entry },
    Release { key: Key, entry: Entry },
    Issue { key: Key, entry: Entry },
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct State {
    key: Key,
    /// Changes with every write of the ApiKey.
    version: u8,
    entry: Entry,
    /// How often the user may still change the field.
    changes: u8,
    operators: [Operator; 2],
    /// The ApiKey as the watch of the second operator has it; the first one's is never late.
    late: (Key, u8),
    /// Events of the ApiKey and of the entry that the verifier has not taken in.
    keys: VecDeque<Field>,
    entries: VecDeque<[bool; VALUES]>,
    /// What the verifier has taken in.
    sees: (Field, [bool; VALUES]),
    latched: [bool; VALUES],
    /// The verifier has refused the value as revoked.
    refused: [bool; VALUES],
    /// A field covered the value while it was there.
    revoked: [bool; VALUES],
}

#[derive(Clone, Copy, Debug)]
#[allow(dead_code, reason = "the fields are for readers of the story")]
enum Step {
    UserWrites(Field),
    UserAsksForAValue,
    OperatorReads(usize),
    LateWatchDelivers,
    OperatorActs(usize, Operator),
    OperatorStops(usize),
    VerifierTakesKey(Field),
    VerifierTakesEntry,
}

impl State {
    fn verifier_refuses(&self, value: usize) -> bool {
        covers(self.sees.0, value) || self.sees.1[value] || self.latched[value]
    }

    fn write_key(&mut self, key: Key) {
        if key.spec != self.key.spec {
            self.keys.push_back(key.spec);
        }
        self.key = key;
        self.version = self.version.wrapping_add(1);
        for value in 0..VALUES {
            self.revoked[value] |= self.entry.issued[value] && covers(key.spec, value);
        }
    }

    /// Returns true if nobody was first.
    fn swap(&mut self, read: Entry, next: Entry) -> bool {
        let may = self.entry == read;
        if may && next != read {
            if next.ended != read.ended {
                self.entries.push_back(next.ended);
            }
            self.entry = next;
        }
        may
    }
}

impl Revoking {
    fn keeps(self, rule: Rule) -> bool {
        self.without != Some(rule)
    }

    fn user(self, state: &State, to: &mut Vec<(Step, State)>) {
        if !state.key.wants {
            let mut next = state.clone();
            next.write_key(Key { wants: true, ..state.key });
            to.push((Step::UserAsksForAValue, next));
        }
        if state.changes == 0 {
            return;
        }
        for field in [None, Some(Moment::Past), Some(Moment::Now), Some(Moment::Future)] {
            let is_kept = field >= state.key.spec || state.key.status >= state.key.spec || !self.keeps(Rule::Keep);
            if field == state.key.spec || !is_kept {
                continue;
            }
            let mut next = State { changes: state.changes - 1, ..state.clone() };
            next.write_key(Key { spec: field, generation: state.key.generation + 1, ..state.key });
            to.push((Step::UserWrites(field), next));
        }
    }

    /// What an operator does with what it has read.
    fn first(self, key: Key, version: u8, entry: Entry) -> Operator {
        if self.keeps(Rule::RecordFirst) {
            Operator::Record { key, version, entry }
        } else {
            Operator::Status { key, version, entry }
        }
    }

    /// What follows when the end is recorded and status is written.
    fn then(self, key: Key, entry: Entry) -> Operator {
        if !key.wants || entry.issued[1] || key.spec == Some(Moment::Future) {
            return Operator::Idle;
        }
        if entry.recorded != Some(Moment::Future) || !self.keeps(Rule::IssueAfter) {
            return Operator::Issue { key, entry };
        }
        Operator::Release { key, entry }
    }

    fn act(self, state: &mut State, operator: Operator) -> Operator {
        match operator {
            Operator::Idle => Operator::Idle,
            Operator::Record { key, version, entry } => {
                let mut next = Entry { recorded: entry.recorded.max(key.spec), ..entry };
                if key.spec.is_some() && self.keeps(Rule::Generation) {
                    next.generation = key.generation;
                }
                for value in 0..VALUES {
                    let ends = entry.issued[value] && covers(key.spec, value) && self.keeps(Rule::Record);
                    next.ended[value] |= ends;
                }
                if !state.swap(entry, next) {
                    return Operator::Idle;
                }
                match self.then(key, next) {
                    // Before status is written.
                    Operator::Issue { .. } if !self.keeps(Rule::IssueAfter) => Operator::Issue { key, entry: next },
                    then if !self.keeps(Rule::RecordFirst) => then,
                    _ => Operator::Status { key, version, entry: next },
                }
            }
            Operator::Status { key, version, entry } => {
                let is_recorded = entry.recorded >= key.spec || !self.keeps(Rule::RecordFirst);
                let status = key.spec.filter(|_| is_recorded);
                if status != key.status {
                    if state.version != version {
                        return Operator::Idle;
                    }
                    state.write_key(Key { status, ..key });
                }
                let key = Key { status, ..key };
                if self.keeps(Rule::RecordFirst) {
                    self.then(key, entry)
                } else {
                    Operator::Record { key, version: state.version, entry }
                }
            }
            Operator::Release { key, entry } => {
                let generation = if self.keeps(Rule::Generation) { key.generation } else { entry.generation };
                let next = Entry { recorded: key.spec, generation, ..entry };
                if state.swap(entry, next) { Operator::Issue { key, entry: next } } else { Operator::Idle }
            }
            Operator::Issue { entry, .. } => {
                state.swap(entry, Entry { issued: [true; VALUES], ..entry });
                Operator::Idle
            }
        }
    }

    fn operators(self, state: &State, to: &mut Vec<(Step, State)>) {
        for (n, operator) in state.operators.into_iter().enumerate() {
            let mut push = |step, mut next: State, then| {
                next.operators[n] = then;
                to.push((step, next));
            };
            if operator == Operator::Idle {
                let (key, version) = if n == 1 { state.late } else { (state.key, state.version) };
                let is_outdated = state.entry.generation > key.generation;
                let releases_early = !self.keeps(Rule::ReleaseAfter)
                    && key.wants
                    && !state.entry.issued[1]
                    && state.entry.recorded == Some(Moment::Future)
                    && key.spec != Some(Moment::Future);
                let then = if releases_early {
                    Operator::Release { key, entry: state.entry }
                } else {
                    self.first(key, version, state.entry)
                };
                if !Self::is_at_rest(key, state.entry) && !is_outdated {
                    push(Step::OperatorReads(n), state.clone(), then);
                }
                if n == 1 && state.late.1 != state.version {
                    let next = State { late: (state.key, state.version), ..state.clone() };
                    push(Step::LateWatchDelivers, next, Operator::Idle);
                }
                continue;
            }
            let mut next = state.clone();
            let then = self.act(&mut next, operator);
            push(Step::OperatorActs(n, operator), next, then);
            push(Step::OperatorStops(n), state.clone(), Operator::Idle);
        }
    }

    /// Nothing is left to do for an operator.
    fn is_at_rest(key: Key, entry: Entry) -> bool {
        let issues = key.wants && !entry.issued[1] && key.spec != Some(Moment::Future);
        key.status == key.spec && !issues
    }

    fn verifier(self, state: &State, to: &mut Vec<(Step, State)>) {
        let mut take = |step, mut next: State| {
            for value in 0..VALUES {
                // A value that is not issued is asked for by nobody.
                let refuses = next.entry.issued[value] && next.verifier_refuses(value);
                next.refused[value] |= refuses;
                next.latched[value] |= refuses && self.keeps(Rule::Latch);
            }
            to.push((step, next));
        };
        if let Some(field) = state.keys.front() {
            let mut next = state.clone();
            next.keys.pop_front();
            next.sees.0 = *field;
            take(Step::VerifierTakesKey(*field), next);
        }
        if let Some(ended) = state.entries.front() {
            let mut next = state.clone();
            next.entries.pop_front();
            next.sees.1 = *ended;
            take(Step::VerifierTakesEntry, next);
        }
    }
}

impl Model for Revoking {
    type State = State;
    type Step = Step;

    fn begin(&self) -> State {
        let field = self.is_revoked.then_some(Moment::Future);
        let first = [self.is_revoked, false];
        State {
            key: Key { spec: field, generation: 0, status: field, wants: false },
            version: 0,
            entry: Entry { recorded: field, generation: 0, ended: first, issued: [true, false] },
            changes: 3,
            operators: [Operator::Idle; 2],
            late: (Key { spec: field, generation: 0, status: field, wants: false }, 0),
            keys: VecDeque::new(),
            entries: VecDeque::new(),
            sees: (field, first),
            latched: first,
            refused: first,
            revoked: first,
        }
    }

    fn steps(&self, state: &State, to: &mut Vec<(Step, State)>) {
        self.user(state, to);
        self.operators(state, to);
        self.verifier(state, to);
    }

    fn wrong(&self, state: &State) -> Option<&'static str> {
        for value in 0..VALUES {
            if state.refused[value] && !state.verifier_refuses(value) {
                return Some("a verifier accepts a value that it has refused");
            }
            let new_verifier_accepts = !covers(state.key.spec, value) && !state.entry.ended[value];
            if state.revoked[value] && new_verifier_accepts {
                return Some("a new verifier accepts a revoked value");
            }
        }
        None
    }

    fn is_goal(&self, state: &State) -> bool {
        Self::is_at_rest(state.key, state.entry) && state.operators == [Operator::Idle; 2] && state.keys.is_empty()
    }
}

#[track_caller]
fn breaks(rule: Rule, why: &str) {
    let is_revoked = matches!(rule, Rule::IssueAfter | Rule::ReleaseAfter | Rule::Generation);
    let explored = explore(&Revoking { without: Some(rule), is_revoked });
    println!("{}", explored.story());
    assert_eq!(explored.story().why, why);
}

#[test]
fn revoked_value_stays_refused() {
    explore(&Revoking::default()).holds();
    explore(&Revoking { is_revoked: true, ..Revoking::default() }).holds();
}

#[test]
fn without_the_api_server_s_rule_it_revives() {
    breaks(Rule::Keep, "a new verifier accepts a revoked value");
}

#[test]
fn without_the_record_in_the_entry_it_revives() {
    breaks(Rule::Record, "a new verifier accepts a revoked value");
}

#[test]
fn with_status_before_the_entry_it_revives() {
    breaks(Rule::RecordFirst, "a new verifier accepts a revoked value");
}

#[test]
fn without_the_generation_a_late_release_revives_it() {
    breaks(Rule::Generation, "a new verifier accepts a revoked value");
}

#[test]
fn with_a_value_of_the_recorded_time_it_revives() {
    breaks(Rule::IssueAfter, "a new verifier accepts a revoked value");
}

#[test]
fn with_a_release_before_status_it_revives() {
    breaks(Rule::ReleaseAfter, "a new verifier accepts a revoked value");
}

#[test]
fn without_the_latch_the_removal_overtakes_the_record() {
    breaks(Rule::Latch, "a verifier accepts a value that it has refused");
}
