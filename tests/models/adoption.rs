//! Adoption: after a restore, does an entry come to the ApiKey of its name, to that one only, and is its value never lost?
//!
//! **Modelled**, as `operator/api_key/adopt.rs` and `operator/collect.rs` do it, request by request: two operators that both believe
//! they lead, each of which looks for the key's entry, lists the entries of its name, hands the old one over, creates the new
//! one and deletes the old one, or mints; the collector, which may come at any time; a user who deletes the key and creates
//! it anew. An operator may be held between any two requests, and may die there.
//!
//! **Left away.** What stands in the entry but the value; the delivered Secret, which `issuing` is about; the day until which an
//! entry is offered.

use std::fmt::Debug;

use super::explorer::{Model, explore};

/// What the protocol asks for, so that each can be taken out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    /// The old entry says whose it becomes before another entry holds its value.
    HandOver,
    /// And only as it was read.
    Swap,
    /// The list of entries is a consistent read, asked for when the key is there.
    ConsistentList,
    /// An entry is created, and never written over another.
    Create,
    /// The old entry goes when the new one is there.
    DeleteLast,
}

/// What is explored.
#[derive(Clone, Copy)]
struct Adoption {
    /// How often a user deletes the key and creates it anew.
    recreations: u8,
    without: Option<Rule>,
}

/// What was restored: whose it is, if it was handed over.
type Old = Option<Option<u8>>;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Value {
    Restored,
    Fresh,
}

/// The next request of an operator, with all that it holds in memory: which key it looks after.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Operator {
    Idle,
    List { key: u8 },
    HandOver { key: u8, read: Option<u8> },
    Adopt { key: u8 },
    Mint { key: u8 },
    Delete { key: u8, then_adopt: bool },
}

const KEYS: usize = 3;

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct State {
    /// The ApiKey of the name; each re-creation has the next number.
    key: u8,
    old: Old,
    /// By key.
    entries: [Option<Value>; KEYS],
    operators: [Operator; 2],
    /// For which keys the restored value has counted.
    counted: [bool; KEYS],
}

#[derive(Clone, Copy, Debug)]
#[allow(dead_code, reason = "what a step holds is for whoever reads the story")]
enum Step {
    UserCreatesTheKeyAnew,
    Collects,
    CollectsTheEntryOf(u8),
    LooksForTheEntry(usize),
    Acts(usize, Operator),
    Dies(usize),
}

impl Adoption {
    fn keeps(self, rule: Rule) -> bool {
        self.without != Some(rule)
    }

    /// What an operator finds under the name decides what it does next.
    fn choose(self, key: u8, old: Old) -> Operator {
        match old {
            Some(Some(to)) if to == key => Operator::Adopt { key },
            Some(None) if !self.keeps(Rule::HandOver) => Operator::Adopt { key },
            Some(None) => Operator::HandOver { key, read: None },
            Some(Some(_)) | None => Operator::Mint { key },
        }
    }

    /// One request: what it changes, and what comes next.
    fn act(self, state: &mut State, operator: Operator) -> Operator {
        match operator {
            Operator::Idle => Operator::Idle,
            Operator::List { key } => self.choose(key, state.old),
            Operator::HandOver { key, read } => {
                let may = state.old == Some(read) || !self.keeps(Rule::Swap);
                if may && state.old.is_some() {
                    state.old = Some(Some(key));
                    if self.keeps(Rule::DeleteLast) {
                        Operator::Adopt { key }
                    } else {
                        Operator::Delete { key, then_adopt: true }
                    }
                } else {
                    Operator::Idle
                }
            }
            Operator::Adopt { key } => {
                if self.create(state, key, Value::Restored) {
                    Operator::Delete { key, then_adopt: false }
                } else {
                    Operator::Idle
                }
            }
            Operator::Mint { key } => {
                self.create(state, key, Value::Fresh);
                Operator::Idle
            }
            Operator::Delete { key, then_adopt } => {
                // In the version that was read or written.
                if state.old == Some(Some(key)) || !self.keeps(Rule::HandOver) {
                    state.old = None;
                }
                if then_adopt { Operator::Adopt { key } } else { Operator::Idle }
            }
        }
    }

    fn create(self, state: &mut State, key: u8, value: Value) -> bool {
        let place = &mut state.entries[usize::from(key)];
        let may = place.is_none() || !self.keeps(Rule::Create);
        if may {
            *place = Some(value);
        }
        may
    }

    /// At once what a living key has taken over; late, so at any time here, what belongs to nobody.
    fn collector(state: &State, to: &mut Vec<(Step, State)>) {
        let current = state.entries[usize::from(state.key)];
        let is_inherited = current == Some(Value::Restored);
        if let Some(Some(handed_to)) = state.old
            && (is_inherited || handed_to != state.key)
        {
            to.push((Step::Collects, State { old: None, ..*state }));
        }
        for key in (0..state.key).filter(|key| state.entries[usize::from(*key)].is_some()) {
            let mut next = *state;
            next.entries[usize::from(key)] = None;
            to.push((Step::CollectsTheEntryOf(key), next));
        }
    }

    fn operators(self, state: &State, to: &mut Vec<(Step, State)>) {
        for (n, operator) in state.operators.into_iter().enumerate() {
            let mut push = |step, mut next: State, then| {
                next.operators[n] = then;
                to.push((step, next));
            };
            if operator == Operator::Idle {
                if state.entries[usize::from(state.key)].is_none() {
                    push(Step::LooksForTheEntry(n), *state, Operator::List { key: state.key });
                }
                continue;
            }
            let mut next = *state;
            let then = self.act(&mut next, operator);
            push(Step::Acts(n, operator), next, then);
            push(Step::Dies(n), *state, Operator::Idle);
            if let Operator::List { key } = operator
                && !self.keeps(Rule::ConsistentList)
            {
                // From a cache that does not have the restored entry yet.
                push(Step::Acts(n, operator), *state, self.choose(key, None));
            }
        }
    }
}

impl Model for Adoption {
    type State = State;
    type Step = Step;

    /// The entry is there and offered, and the key has just been created.
    fn begin(&self) -> State {
        State { key: 0, old: Some(None), entries: [None; KEYS], operators: [Operator::Idle; 2], counted: [false; KEYS] }
    }

    fn steps(&self, state: &State, to: &mut Vec<(Step, State)>) {
        if state.key < self.recreations {
            to.push((Step::UserCreatesTheKeyAnew, State { key: state.key + 1, ..*state }));
        }
        Self::collector(state, to);
        self.operators(state, to);
        for (_, next) in to {
            let key = usize::from(next.key);
            next.counted[key] |= next.entries[key] == Some(Value::Restored);
        }
    }

    fn wrong(&self, state: &State) -> Option<&'static str> {
        let holders = state.entries.iter().filter(|entry| **entry == Some(Value::Restored)).count();
        if state.counted.iter().filter(|counted| **counted).count() > 1 {
            return Some("the value came back for a key that was created anew");
        }
        if holders > 1 {
            return Some("two keys were given the value");
        }
        // Nobody touched the key.
        if self.recreations == 0 && state.entries[0] == Some(Value::Fresh) {
            return Some("another value was minted");
        }
        (self.recreations == 0 && holders == 0 && state.old.is_none()).then_some("the value is lost")
    }

    fn is_goal(&self, state: &State) -> bool {
        state.operators == [Operator::Idle; 2] && state.entries[usize::from(state.key)].is_some() && state.old.is_none()
    }
}

const RESTORED: Adoption = Adoption { recreations: 0, without: None };
const RECREATED: Adoption = Adoption { recreations: 2, without: None };

#[track_caller]
fn breaks(model: Adoption, rule: Rule, why: &str) {
    let explored = explore(&Adoption { without: Some(rule), ..model });
    println!("{}", explored.story());
    assert_eq!(explored.story().why, why);
}

#[test]
fn a_restored_entry_comes_to_the_key_of_its_name_with_its_value() {
    explore(&RESTORED).holds();
}

#[test]
fn whatever_becomes_of_that_key_no_other_gets_the_value() {
    explore(&RECREATED).holds();
}

#[test]
fn without_the_hand_over_a_key_that_is_created_anew_is_given_the_value_too() {
    breaks(RECREATED, Rule::HandOver, "two keys were given the value");
}

#[test]
fn without_the_swap_an_operator_that_slept_gives_the_value_to_a_second_key() {
    breaks(RECREATED, Rule::Swap, "two keys were given the value");
}

#[test]
fn from_a_stale_list_another_value_is_minted() {
    breaks(RESTORED, Rule::ConsistentList, "another value was minted");
}

#[test]
fn an_entry_that_is_written_over_another_mints_another_value() {
    breaks(RESTORED, Rule::Create, "another value was minted");
}

#[test]
fn an_entry_that_is_deleted_before_the_next_is_there_is_lost() {
    breaks(RESTORED, Rule::DeleteLast, "the value is lost");
}
