//! Revocation: does a value that a `revokeBefore` covered stay refused when the field is removed again?
//!
//! **Modelled**, request by request: a user who sets the field, to a moment before or after the value's issue, and removes it; the API
//! server, whose rule keeps the field; an operator that reads the ApiKey, records the end in the entry and then in status, and may stop
//! between any two requests; a verifier whose watches of ApiKeys and entries deliver in any order relative to each other.
//!
//! **Left out.** Restarts of verifiers: a new one is taken to list everything at one moment. Rotation, which `issuing` is about.

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
    /// The verifier keeps a value refused that it has refused as revoked.
    Latch,
}

#[derive(Clone, Copy, Default)]
struct Revoking {
    without: Option<Rule>,
}

/// `revokeBefore`: before or after the issue of the value.
type Field = Option<Moment>;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Moment {
    BeforeIssue,
    AfterIssue,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Operator {
    Idle,
    Record { read: Field, then_status: bool },
    Status { read: Field, then_record: bool },
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct State {
    spec: Field,
    status: Field,
    /// The entry says that the value has ended.
    ended: bool,
    /// How often the user may still change the field.
    changes: u8,
    operator: Operator,
    /// Events of the ApiKey and of the entry that the verifier has not taken in.
    keys: VecDeque<Field>,
    entry_event: bool,
    /// What the verifier has taken in.
    sees: (Field, bool),
    latched: bool,
    /// The verifier has refused the value as revoked.
    refused: bool,
    /// A field that covered the value was removed.
    removed: bool,
}

#[derive(Clone, Copy, Debug)]
#[allow(dead_code, reason = "the fields are for readers of the story")]
enum Step {
    UserWrites(Field),
    OperatorReads,
    OperatorActs(Operator),
    OperatorStops,
    VerifierTakesKey(Field),
    VerifierTakesEntry,
}

impl State {
    fn verifier_refuses(&self) -> bool {
        self.sees.0 == Some(Moment::AfterIssue) || self.sees.1 || self.latched
    }
}

impl Revoking {
    fn keeps(self, rule: Rule) -> bool {
        self.without != Some(rule)
    }

    fn user(self, state: &State, to: &mut Vec<(Step, State)>) {
        if state.changes == 0 {
            return;
        }
        for field in [None, Some(Moment::BeforeIssue), Some(Moment::AfterIssue)] {
            let is_kept = field >= state.spec || state.status >= state.spec || !self.keeps(Rule::Keep);
            if field == state.spec || !is_kept {
                continue;
            }
            let mut next = State { spec: field, changes: state.changes - 1, ..state.clone() };
            next.removed |= state.spec == Some(Moment::AfterIssue);
            next.keys.push_back(field);
            to.push((Step::UserWrites(field), next));
        }
    }

    fn operator(self, state: &State, to: &mut Vec<(Step, State)>) {
        let read = state.spec;
        let first = if self.keeps(Rule::RecordFirst) {
            Operator::Record { read, then_status: true }
        } else {
            Operator::Status { read, then_record: true }
        };
        let mut next = state.clone();
        let step = Step::OperatorActs(state.operator);
        match state.operator {
            Operator::Idle if state.spec == state.status => return,
            Operator::Idle => {
                next.operator = first;
                to.push((Step::OperatorReads, next));
                return;
            }
            Operator::Record { read, then_status } => {
                if read == Some(Moment::AfterIssue) && self.keeps(Rule::Record) && !state.ended {
                    (next.ended, next.entry_event) = (true, true);
                }
                next.operator =
                    if then_status { Operator::Status { read, then_record: false } } else { Operator::Idle };
            }
            Operator::Status { read, then_record } => {
                // Also where the field was moved meanwhile: what was recorded is true all the same.
                next.status = read;
                next.operator =
                    if then_record { Operator::Record { read, then_status: false } } else { Operator::Idle };
            }
        }
        to.push((step, next));
        to.push((Step::OperatorStops, State { operator: Operator::Idle, ..state.clone() }));
    }

    fn verifier(self, state: &State, to: &mut Vec<(Step, State)>) {
        let mut take = |step, mut next: State| {
            let refuses = next.verifier_refuses();
            next.refused |= refuses;
            next.latched |= refuses && self.keeps(Rule::Latch);
            to.push((step, next));
        };
        if let Some(field) = state.keys.front() {
            let mut next = state.clone();
            next.keys.pop_front();
            next.sees.0 = *field;
            take(Step::VerifierTakesKey(*field), next);
        }
        if state.entry_event {
            take(Step::VerifierTakesEntry, State { entry_event: false, sees: (state.sees.0, true), ..state.clone() });
        }
    }
}

impl Model for Revoking {
    type State = State;
    type Step = Step;

    fn begin(&self) -> State {
        State {
            spec: None,
            status: None,
            ended: false,
            changes: 5,
            operator: Operator::Idle,
            keys: VecDeque::new(),
            entry_event: false,
            sees: (None, false),
            latched: false,
            refused: false,
            removed: false,
        }
    }

    fn steps(&self, state: &State, to: &mut Vec<(Step, State)>) {
        self.user(state, to);
        self.operator(state, to);
        self.verifier(state, to);
    }

    fn wrong(&self, state: &State) -> Option<&'static str> {
        if state.refused && !state.verifier_refuses() {
            return Some("a verifier accepts a value that it has refused");
        }
        let is_new_verifier_accepting = state.spec != Some(Moment::AfterIssue) && !state.ended;
        (state.removed && is_new_verifier_accepting).then_some("a new verifier accepts a revoked value")
    }

    fn is_goal(&self, state: &State) -> bool {
        state.spec == state.status && state.operator == Operator::Idle && state.keys.is_empty() && !state.entry_event
    }
}

#[track_caller]
fn breaks(rule: Rule, why: &str) {
    let explored = explore(&Revoking { without: Some(rule) });
    println!("{}", explored.story());
    assert_eq!(explored.story().why, why);
}

#[test]
fn revoked_value_stays_refused() {
    explore(&Revoking::default()).holds();
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
fn without_the_latch_the_removal_overtakes_the_record() {
    breaks(Rule::Latch, "a verifier accepts a value that it has refused");
}
