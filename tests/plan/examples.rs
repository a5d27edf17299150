//! Single lives of a key, told in order.

use std::time::Duration;

use jiff::Timestamp;
use keywright::api::{REVISION_STEP, Reason};
use keywright::key::Ended;
use keywright::operator::api_key::facts::Facts;
use keywright::operator::api_key::plan::{Action, Plan, warning};

use super::operator::{Operator, Step};
use super::story::{just_before, rest};
use super::world::{Level, Terms, Wish, World};

const DAY: Duration = Duration::from_hours(24);
const WEEK: Duration = Duration::from_hours(168);
const HOUR: u64 = 3600;

/// A key that was minted, delivered and left alone.
fn settled(wish: Wish) -> World {
    let mut world = World::new(wish);
    assert!(rest(&mut world));
    world
}

fn plan(world: &World) -> Plan {
    world.seen().plan(world.now)
}

/// Of the current value, and of the one that retires.
fn serials(world: &World) -> (u64, Option<u64>) {
    let entry = world.entry();
    (entry.current.serial, entry.retiring.first().map(|retiring| retiring.serial))
}

fn ended(world: &World) -> Option<Ended> {
    world.entry().delivery().unwrap().ended
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// An operator that fell asleep just before its write of the given number; the reads do not count.
fn asleep_before_write(number: usize, world: &mut World) -> Operator {
    // It reads the entry, looks at the Secret, and then each step is a write.
    match Operator::start(world).work(world, number + 1) {
        Step::Going(operator) => *operator,
        Step::Done(_) | Step::Blocked => panic!("it came to its end"),
    }
}

#[test]
fn a_revision_that_was_seen_before_is_ignored_also_after_there_was_none() {
    let mut world = settled(Wish { revision: Some(5), ..Wish::default() });
    for (revision, serial) in [(None, 1), (Some(1), 1), (Some(5), 1), (Some(6), 2), (Some(5), 2), (Some(7), 3)] {
        world.wish.revision = revision;
        rest(&mut world);
        assert_eq!(world.entry().last_serial, serial, "{revision:?}");
    }
    assert_eq!(world.entry().revision, 7);
}

/// The highest that the CRD takes.
const MAX_REVISION: i64 = 9_007_199_254_740_991;

fn problem(world: &World) -> Option<Reason> {
    plan(world).problem.map(|problem| problem.reason)
}

#[test]
fn revision_beyond_the_step_is_refused_and_a_lower_one_counts() {
    for highest in [0, 5] {
        let mut world = settled(Wish { revision: Some(highest), ..Wish::default() });
        for refused in [highest + REVISION_STEP + 1, MAX_REVISION] {
            world.wish.revision = Some(refused);
            rest(&mut world);
            assert_eq!(problem(&world), Some(Reason::RevisionTooHigh), "{refused} after {highest}");
            assert_eq!((world.entry().last_serial, world.entry().revision), (1, highest));
        }
        world.wish.revision = Some(highest + 1);
        rest(&mut world);
        assert_eq!((problem(&world), world.entry().last_serial), (None, 2), "after {highest}");
        world.wish.revision = Some(highest + 1 + REVISION_STEP);
        rest(&mut world);
        assert_eq!((problem(&world), world.entry().last_serial), (None, 3), "after {highest}");
    }
}

#[test]
fn refused_revision_names_the_next_one() {
    let mut world = settled(Wish { revision: Some(5), ..Wish::default() });
    world.wish.revision = Some(MAX_REVISION);
    let message = plan(&world).problem.unwrap().message;
    assert!(message.contains("9007199254740991 exceeds 5") && message.ends_with("set it to 6"), "{message}");
}

#[test]
fn new_key_with_a_revision_beyond_the_step_waits_for_a_lower_one() {
    let mut world = World::new(Wish { revision: Some(MAX_REVISION), ..Wish::default() });
    assert!(rest(&mut world));
    assert!(world.read().is_none());
    assert_eq!(problem(&world), Some(Reason::RevisionTooHigh));
    // A Unix time in seconds.
    world.wish.revision = Some(1_800_000_000);
    rest(&mut world);
    assert_eq!((problem(&world), world.entry().revision), (None, 1_800_000_000));
}

#[test]
fn refused_revision_does_not_stop_the_interval() {
    let mut world = settled(Wish { revision: Some(5), interval: Some(HOUR), ..Wish::default() });
    world.wish.revision = Some(MAX_REVISION);
    world.advance(seconds(HOUR));
    rest(&mut world);
    assert_eq!((world.entry().last_serial, world.entry().current.revision, world.entry().revision), (2, 5, 5));
    assert_eq!(problem(&world), Some(Reason::RevisionTooHigh));
}

#[test]
fn refused_revision_does_not_stop_a_delivery() {
    let mut world = World::new(Wish::default());
    drop(asleep_before_write(2, &mut world));
    world.wish.revision = Some(MAX_REVISION);
    rest(&mut world);
    assert!(world.entry().undelivered().is_none());
    assert_eq!(problem(&world), Some(Reason::RevisionTooHigh));
}

#[test]
fn a_lower_revision_does_not_hide_the_highest_one_when_the_interval_mints() {
    let mut world = settled(Wish { revision: Some(5), interval: Some(HOUR), ..Wish::default() });
    world.wish.revision = Some(1);
    world.advance(seconds(HOUR));
    rest(&mut world);
    assert_eq!((world.entry().last_serial, world.entry().current.revision, world.entry().revision), (2, 1, 5));
    world.wish.revision = Some(4);
    assert_eq!(plan(&world).actions, []);
}

#[test]
fn without_overlap_the_value_before_ends_with_the_delivery_of_the_next() {
    let mut world = settled(Wish { overlap: Some(0), ..Wish::default() });
    world.wish.revision = Some(1);
    rest(&mut world);
    assert_eq!(serials(&world), (2, Some(1)));
    let entry = world.entry();
    assert_eq!(entry.retiring[0].retires_at, entry.current.delivered_at);
    assert_eq!(plan(&world), Plan::default(), "there is nothing to wait for");
}

#[test]
fn the_overlap_counts_from_a_delivery_that_came_late() {
    let mut world = settled(Wish { overlap: Some(60), ..Wish::default() });
    world.wish.revision = Some(1);
    world.replace_by_foreign();
    assert!(!rest(&mut world), "another Secret is in the way");
    world.advance(DAY);
    assert_eq!(world.entry().retiring[0].retires_at, None, "it works until the new one is delivered");
    world.remove_secret();
    rest(&mut world);
    assert_eq!(plan(&world).next, Some(world.now + seconds(60)));
}

#[test]
fn a_further_rotation_during_an_overlap_ends_the_older_value() {
    let mut world = settled(Wish::default());
    for (revision, expected) in [(1, (2, Some(1))), (2, (3, Some(2)))] {
        world.wish.revision = Some(revision);
        rest(&mut world);
        assert_eq!(serials(&world), expected);
    }
}

#[test]
fn a_disabled_key_rotates_and_so_does_one_of_a_disabled_account() {
    // The plan does not even know of suspensions.
    let mut world = settled(Wish { interval: Some(HOUR), disabled: true, ..Wish::default() });
    world.terms = Some(Terms { disabled: true, ..Terms::default() });
    world.wish.revision = Some(1);
    rest(&mut world);
    assert_eq!(world.entry().last_serial, 2);
    world.advance(seconds(HOUR));
    rest(&mut world);
    assert_eq!(world.entry().last_serial, 3);
}

#[test]
fn a_key_that_expires_before_its_interval_is_over_rotates_when_it_revives() {
    let mut world = settled(Wish { interval: Some(HOUR), ..Wish::default() });
    let expires_at = world.now + seconds(HOUR - 1);
    world.wish.expires_at = Some(expires_at);
    assert_eq!(plan(&world).next, Some(expires_at - super::world::WARN_BEFORE));
    world.advance(DAY);
    assert_eq!(plan(&world), Plan::default());
    world.wish.expires_at = Some(world.now + DAY);
    assert_eq!(plan(&world).actions.len(), 2);
}

#[test]
fn a_key_that_has_expired_does_not_rotate_when_its_interval_was_over_before_and_nobody_looked() {
    let mut world = settled(Wish { interval: Some(HOUR), ..Wish::default() });
    world.wish.expires_at = Some(world.now + seconds(HOUR + 1));
    // No operator was there in between.
    world.advance(DAY);
    assert_eq!(plan(&world).actions, []);
}

#[test]
fn a_value_that_would_be_revoked_in_advance_is_minted_at_that_moment_and_not_before() {
    let mut world = settled(Wish::default());
    let moment = world.now + seconds(100);
    world.wish.revoke_before = Some(moment);
    world.wish.revision = Some(1);
    assert_eq!(plan(&world).actions, [Action::NoteEnds], "the value that is there has ended");
    rest(&mut world);
    let waiting = plan(&world);
    assert_eq!(waiting.problem.as_ref().map(|problem| problem.reason), Some(Reason::RevokedInAdvance));
    assert_eq!((&waiting.actions[..], waiting.next), (&[][..], Some(moment)));
    assert_eq!(world.seen().plan(just_before(moment)), waiting);
    world.now = moment;
    let in_that_second = plan(&world);
    let next_second = moment + seconds(1);
    assert_eq!((in_that_second.problem, in_that_second.next), (None, Some(next_second)));
    world.now = next_second;
    rest(&mut world);
    assert_eq!(world.entry().last_serial, 2);
    assert_eq!(world.entry().current.issued_at, next_second, "it is not revoked itself");
}

#[test]
fn moved_revocation_is_released_when_status_reports_no_later_one() {
    let mut world = settled(Wish::default());
    let far = world.now + seconds(100_000);
    world.wish.revoke_before = Some(far);
    rest(&mut world);
    (world.wish.revoke_before, world.wish.revision) = (None, Some(1));
    let mut seen = world.seen();
    let status = |at: Timestamp| serde_json::from_value(serde_json::json!({"revokedBefore": at})).unwrap();
    seen.key.status = Some(status(far));
    let waiting = seen.plan(world.now);
    assert_eq!(
        (&waiting.actions[..], waiting.awaits_status),
        (&[][..], true),
        "the API server would take it for recorded"
    );
    seen.key.status = Some(status(world.now - jiff::SignedDuration::from_secs(9)));
    let still = seen.plan(world.now);
    assert_eq!((&still.actions[..], still.awaits_status), (&[][..], true), "it is later than none");
    let plan = world.seen().plan(world.now);
    assert_eq!((plan.actions.first(), plan.awaits_status), (Some(&Action::Release), false));
    rest(&mut world);
    assert_eq!((world.entry().last_serial, world.entry().revoked_before), (2, None));
}

#[test]
fn a_value_that_is_shown_once_goes_when_its_time_is_over_and_comes_back_with_the_next_only() {
    let mut world = settled(Wish { once: Some(60), ..Wish::default() });
    let until = world.now + seconds(60);
    assert_eq!(plan(&world).next, Some(until));
    world.now = just_before(until);
    assert_eq!(plan(&world).actions, []);
    world.now = until;
    assert_eq!(plan(&world).actions, [Action::Conceal]);
    rest(&mut world);
    assert_eq!((&world.secret, ended(&world), serials(&world)), (&None, Some(Ended::Revealed), (1, None)));

    world.wish.once = None;
    assert_eq!(plan(&world), Plan::default(), "to be mounted, but it cannot be read again");
    world.wish.revision = Some(1);
    rest(&mut world);
    assert!(world.secret.is_some() && ended(&world).is_none());
}

#[test]
fn a_secret_that_somebody_deleted_is_noted_as_removed_and_nothing_is_minted() {
    for once in [None, Some(60)] {
        let mut world = settled(Wish { once, ..Wish::default() });
        world.remove_secret();
        assert_eq!(plan(&world).actions, [Action::NoteRemoved]);
        rest(&mut world);
        world.advance(DAY);
        assert_eq!(plan(&world), Plan::default());
        assert_eq!((ended(&world), serials(&world)), (Some(Ended::Removed), (1, None)));
    }
}

#[test]
fn a_secret_is_concealed_in_time_also_when_the_key_cannot_be_honoured_any_more() {
    let mut world = settled(Wish { once: Some(60), ..Wish::default() });
    world.terms = None;
    world.advance(seconds(60));
    rest(&mut world);
    assert_eq!((&world.secret, ended(&world)), (&None, Some(Ended::Revealed)));
}

#[test]
fn a_secret_is_concealed_in_time_also_when_the_next_value_is_committed_and_cannot_be_delivered() {
    let mut world = settled(Wish { once: Some(60), ..Wish::default() });
    world.wish.revision = Some(1);
    // Dies with the second value committed; then the account goes.
    asleep_before_write(2, &mut world);
    world.terms = None;
    world.advance(DAY);
    rest(&mut world);
    assert_eq!(world.entry().last_serial, 2);
    assert_eq!(world.secret, None, "the first value was to be shown for a minute");
}

#[test]
fn what_an_operator_that_slept_writes_after_the_reveal_is_removed_by_the_next_pass() {
    let mut world = World::new(Wish { once: Some(60), ..Wish::default() });
    let sleeper = asleep_before_write(2, &mut world);
    rest(&mut world);
    world.advance(DAY);
    rest(&mut world);
    assert_eq!(ended(&world), Some(Ended::Revealed));
    // It wakes, writes, and dies.
    assert!(matches!(sleeper.work(&mut world, 1), Step::Going(_)));
    assert!(world.secret.is_some());
    rest(&mut world);
    assert_eq!(world.secret, None);
}

/// It cannot be told from a copy that a user has put back, and that must not be lost.
#[test]
fn what_stands_there_after_the_removal_was_noted_is_left_alone() {
    let mut world = World::new(Wish::default());
    let sleeper = asleep_before_write(2, &mut world);
    rest(&mut world);
    world.remove_secret();
    rest(&mut world);
    assert_eq!(ended(&world), Some(Ended::Removed));
    assert!(matches!(sleeper.work(&mut world, 1), Step::Going(_)));
    rest(&mut world);
    assert!(world.secret.is_some());
}

#[test]
fn an_operator_that_slept_over_a_rotation_cannot_bring_the_old_value_back() {
    let mut world = World::new(Wish::default());
    let sleeper = asleep_before_write(2, &mut world);
    rest(&mut world);
    world.wish.revision = Some(1);
    rest(&mut world);
    assert!(matches!(sleeper.work(&mut world, 100), Step::Blocked), "the policy refuses a serial that falls");
    let secret = world.secret.as_ref().unwrap();
    assert_eq!((secret.serial, secret.value.as_ref()), (2, world.values.get(&2)));
}

#[test]
fn a_clone_keeps_what_it_was_made_from() {
    let mut world = settled(Wish { clone: true, level: None, ..Wish::default() });
    world.source = keywright::operator::api_key::facts::Source::Missing;
    world.wish.revision = Some(1);
    rest(&mut world);
    assert_eq!((world.entry().last_serial, world.entry().cloned), (2, Some(Level::Wide.cloned())));
    world.terms = Some(Terms { level: Level::Narrow, ..Terms::default() });
    assert_eq!(plan(&world).problem.map(|problem| problem.reason), Some(Reason::ScopeNotGranted));
}

/// Since when the current value's end is warned of, and when it ends: both after its issue.
fn warned(wish: Wish, lifetime: Option<Duration>) -> Option<(Duration, Duration)> {
    let mut world = settled(wish);
    world.terms = Some(Terms { lifetime: lifetime.map(|lifetime| lifetime.as_secs()), ..Terms::default() });
    let seen = world.seen();
    let facts = Facts { warn_before: WEEK, ..seen.facts() };
    let since_issue = |at: Timestamp| at.duration_since(world.entry().current.issued_at).unsigned_abs();
    warning(&facts, world.now).map(|(since, until)| (since_issue(since), since_issue(until)))
}

#[test]
fn the_end_of_a_value_is_warned_of_a_week_before_unless_a_rotation_comes_first() {
    let start = World::new(Wish::default()).now;
    let with = |expires: Option<u32>, interval: Option<u32>| Wish {
        expires_at: expires.map(|days| start + DAY * days),
        interval: interval.map(|days| (DAY * days).as_secs()),
        ..Wish::default()
    };
    let days = |since: u32, until: u32| Some((DAY * since, DAY * until));
    for (expires, interval, lifetime, expected) in [
        (None, None, None, None),
        (Some(30), None, None, days(23, 30)),
        (None, None, Some(20), days(13, 20)),
        (Some(30), None, Some(20), days(13, 20)),
        // The rotation replaces the value, and not the key.
        (None, Some(10), Some(20), None),
        (Some(30), Some(10), Some(20), None),
        (Some(30), Some(10), None, days(23, 30)),
        // It comes too late.
        (None, Some(20), Some(20), days(13, 20)),
        (Some(15), Some(20), None, days(8, 15)),
    ] {
        let found = warned(with(expires, interval), lifetime.map(|days: u32| DAY * days));
        assert_eq!(found, expected, "expires {expires:?}, interval {interval:?}, lifetime {lifetime:?}");
    }
}
