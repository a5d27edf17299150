//! The pure plan, driven through random lives of a key in a small simulated world: owners and platform teams who change
//! their minds, people who delete, replace and freeze the Secret, time, and operators that sleep and die between any two
//! of their reads and writes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "plan/examples.rs"]
mod examples;
#[path = "plan/history.rs"]
mod history;
#[path = "plan/operator.rs"]
mod operator;
#[path = "plan/story.rs"]
mod story;
#[path = "plan/world.rs"]
mod world;

use proptest::prelude::*;
use story::{Story, hold_at_rest, rest, rest_after_crashes, story, tell};

/// Tells the story, lets the key come to rest with and without crashes on the way, and holds what must hold then.
fn live(story: &Story, operators: usize) {
    let end = tell(story, operators);
    if end.stray {
        return;
    }
    let (mut smooth, mut rough) = (end.clone(), end.clone());
    let is_free = rest(&mut smooth);
    hold_at_rest(&end, &smooth, is_free);
    assert_eq!(rest_after_crashes(&mut rough, &story.crashes), is_free);
    assert_eq!(smooth.outline(), rough.outline(), "what is reached depends on the spec, the entry and the time alone");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_to_a_key_each_serial_has_one_value_and_each_value_a_reason(story in story(1)) {
        live(&story, 1);
    }

    #[test]
    fn three_operators_that_know_nothing_of_each_other_make_one_history(story in story(3)) {
        live(&story, 3);
    }
}
