//! What is claimed, and what happens when a rule is not kept.

use super::super::explorer::explore;
use super::{Forgives, Issuing, Rule};

/// The Secret stays; a rotation, a deletion, a foreign Secret, and operators that die.
const MOUNTED: Issuing<2> = Issuing {
    once: false,
    rotations: 1,
    deletions: 1,
    foreign: 1,
    raises: 0,
    deaths: true,
    forgives: Forgives::Any,
    without: None,
};
/// The Secret is shown for a time; nobody deletes it but we.
const ONCE: Issuing<2> =
    Issuing { once: true, rotations: 2, deletions: 0, foreign: 0, forgives: Forgives::ForAWhile, ..MOUNTED };

#[track_caller]
fn breaks<const N: usize>(model: Issuing<N>, rule: Rule, why: &str) {
    let explored = explore(&Issuing { without: Some(rule), ..model });
    let story = explored.story();
    println!("without {rule:?}, {} states:\n{story}", explored.states);
    assert_eq!(story.why, why);
}

#[test]
fn while_nobody_dies_there_is_one_value_for_a_serial_and_no_stray_stays() {
    for once in [false, true] {
        explore(&Issuing { once, deaths: false, forgives: Forgives::Nothing, ..MOUNTED }).holds();
        explore(&Issuing { once, rotations: 2, deaths: false, forgives: Forgives::Nothing, ..MOUNTED }).holds();
    }
}

#[test]
fn when_operators_die_anywhere_all_that_can_stay_is_a_secret_whose_writer_died_before_it_could_undo_it() {
    explore(&MOUNTED).holds();
    explore(&Issuing { rotations: 2, foreign: 0, ..MOUNTED }).holds();
    explore(&Issuing { once: true, foreign: 0, ..MOUNTED }).holds();
}

#[test]
fn after_revealed_nothing_readable_stays_whoever_dies() {
    explore(&ONCE).holds();
}

/// A write that arrives after its sender gave up and went on is that of a third operator, who then dies.
#[test]
fn a_write_that_arrives_late_makes_no_difference() {
    let mounted = Issuing::<3> {
        once: false,
        rotations: 1,
        deletions: 0,
        foreign: 0,
        raises: 0,
        deaths: true,
        forgives: Forgives::Nothing,
        without: None,
    };
    explore(&mounted).holds();
    explore(&Issuing { deletions: 1, deaths: false, ..mounted }).holds();
}

/// What remains: it slept across the delivery and the Secret's removal, wrote, and died just then.
#[test]
fn a_late_write_whose_writer_dies_stays_and_across_a_rotation_it_is_the_older_value() {
    for (forgives, why) in [
        (Forgives::ForAWhile, "a stray Secret stays for ever"),
        (Forgives::TheNewest, "a stray Secret shows an older value for ever"),
    ] {
        let explored = explore(&Issuing { forgives, ..MOUNTED });
        println!("{}", explored.story());
        assert_eq!(explored.story().why, why);
    }
}

#[test]
fn without_the_swap_there_are_two_values_of_one_serial() {
    breaks(MOUNTED, Rule::Swap, "two values of one serial");
}

#[test]
fn a_secret_written_before_the_entry_holds_a_value_that_nobody_accepts() {
    breaks(MOUNTED, Rule::EntryBeforeSecret, "the newest value in a Secret is one that the entry does not hold");
}

#[test]
fn a_value_minted_before_the_last_was_delivered_drops_the_one_that_workloads_hold() {
    let model = Issuing { rotations: 2, foreign: 0, ..MOUNTED };
    breaks(model, Rule::MintWhenDelivered, "the newest value in a Secret is one that the entry does not hold");
}

#[test]
fn if_a_removed_secret_is_not_noted_a_value_is_minted_that_nobody_asked_for() {
    breaks(MOUNTED, Rule::RemovedIsNoted, "a value was minted that nobody asked for");
}

#[test]
fn without_the_policy_an_operator_that_slept_rolls_the_secret_back() {
    breaks(MOUNTED, Rule::PolicyOfSerial, "an update put an older value into the Secret");
}

#[test]
fn without_the_policy_a_secret_that_is_not_ours_is_overwritten() {
    breaks(MOUNTED, Rule::PolicyOfOwner, "a Secret that is not ours was overwritten");
}

#[test]
fn without_the_undo_a_stray_stays() {
    breaks(MOUNTED, Rule::Undo, "a stray Secret stays for ever");
}

const LOST: &str = "the Secret is said to be removed, and no user did that";
const DROPPED: &str = "the Secret is blank, and the entry says that it holds the value";

#[test]
fn an_undo_without_the_uid_or_the_version_deletes_what_another_has_delivered() {
    breaks(ONCE, Rule::UndoByUid, DROPPED);
    breaks(ONCE, Rule::UndoByVersion, DROPPED);
}

#[test]
fn a_secret_that_is_concealed_before_that_is_noted_counts_as_removed_by_a_user() {
    breaks(ONCE, Rule::RevealedIsNotedFirst, DROPPED);
}

#[test]
fn entry_must_be_written_between_look_and_blanking() {
    breaks(ONCE, Rule::EntryWrittenBetween, DROPPED);
}

#[test]
fn secret_must_be_blanked_in_the_version_seen() {
    breaks(ONCE, Rule::BlankedAsSeen, DROPPED);
}

#[test]
fn blanked_secret_must_be_deleted_in_that_version() {
    breaks(ONCE, Rule::DeletedAsBlanked, LOST);
}

#[test]
fn raised_serial_keeps_no_value_that_was_shown_once() {
    explore(&Issuing { raises: 1, rotations: 1, ..ONCE }).holds();
    explore(&Issuing { raises: 2, rotations: 1, deaths: false, forgives: Forgives::ForAWhile, ..ONCE }).holds();
}

#[test]
fn raised_serial_of_a_mounted_secret_is_safe() {
    explore(&Issuing { raises: 1, foreign: 0, ..MOUNTED }).holds();
}
