//! What may happen to a key: its owner, the platform team, people at the Secret, time, and operators that work, sleep
//! and die. And what must hold whatever did.

use std::time::Duration;

use jiff::Timestamp;
use keywright::api::{REVISION_STEP, Reason};
use keywright::key::{Ended, Entry, MOST_RETIRING};
use keywright::operator::api_key::facts::Source;
use keywright::operator::api_key::plan::{Action, limits};
use proptest::prelude::*;
use serde_json::json;

use super::operator::{Operator, Step};
use super::world::{Level, Object, Terms, Wish, World};

/// Far more steps than any pass takes.
const ENOUGH: usize = 100;
const SHOWN: &[u64] = &[1, 20, 120, 3600];

#[derive(Clone, Debug)]
pub enum Event {
    Revision(Option<i64>),
    Interval(Option<u64>),
    Overlap(Option<u64>),
    /// In seconds from now.
    RevokeBefore(Option<i64>),
    ExpiresAt(Option<i64>),
    Once(Option<u64>),
    Disabled(bool),
    Level(Option<Level>),
    Terms(Option<Terms>),
    Source(Source),
    SecretDeleted,
    SecretReplaced,
    SecretFrozen,
    /// In nanoseconds.
    Time(u64),
    /// Time goes on to the deadline, or to just before it.
    Deadline(bool),
    /// A whole pass of a fresh operator.
    Pass,
    /// One of the operators goes on by so many reads and writes, or begins.
    Steps(usize, usize),
    /// One of them dies.
    Crash(usize),
}

/// The life of a key: how it began, and what happened then.
#[derive(Clone, Debug)]
pub struct Story {
    pub wish: Wish,
    pub events: Vec<Event>,
    /// After how many steps the passes die that come when all is quiet, and which of two operators each is.
    pub crashes: Vec<(usize, usize)>,
}

fn seconds(from: &'static [u64]) -> impl Strategy<Value = Option<u64>> {
    proptest::option::of(proptest::sample::select(from))
}

fn moment() -> impl Strategy<Value = Option<i64>> {
    proptest::option::of(proptest::sample::select(&[-3600, -30, 0, 1, 30, 100, 3600][..]))
}

fn level() -> impl Strategy<Value = Level> {
    proptest::sample::select(&[Level::Full, Level::Full, Level::Narrow, Level::Wide, Level::Broken][..])
}

fn terms() -> impl Strategy<Value = Option<Terms>> {
    let resources = prop_oneof![Just(vec![]), Just(vec!["orders"]), Just(vec!["invoices"])];
    let terms = (level(), seconds(&[60, 90, 600]), resources, any::<bool>());
    let terms = terms.prop_map(|(level, lifetime, resources, disabled)| Terms { level, lifetime, resources, disabled });
    proptest::option::weighted(0.8, terms)
}

fn source() -> impl Strategy<Value = Source> {
    prop_oneof![
        Just(Source::Missing),
        Just(Source::Unresolved),
        Just(Source::Cycle),
        Just(Source::OtherAccount("other".into())),
        proptest::sample::select(&[Level::Full, Level::Narrow, Level::Wide][..])
            .prop_map(|l| Source::Found(l.cloned())),
    ]
}

fn user() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => proptest::option::of(0i64..8).prop_map(Event::Revision),
        1 => proptest::sample::select(&[REVISION_STEP, REVISION_STEP + 4, i64::MAX][..]).prop_map(|r| Event::Revision(Some(r))),
        2 => seconds(&[60, 90, 3600]).prop_map(Event::Interval),
        1 => seconds(&[0, 30, 200]).prop_map(Event::Overlap),
        1 => moment().prop_map(Event::RevokeBefore),
        1 => moment().prop_map(Event::ExpiresAt),
        2 => seconds(SHOWN).prop_map(Event::Once),
        1 => any::<bool>().prop_map(Event::Disabled),
        1 => proptest::option::weighted(0.8, level()).prop_map(Event::Level),
        2 => terms().prop_map(Event::Terms),
        1 => source().prop_map(Event::Source),
        2 => Just(Event::SecretDeleted),
        1 => Just(Event::SecretReplaced),
        1 => Just(Event::SecretFrozen),
    ]
}

fn time() -> impl Strategy<Value = Event> {
    let spans = &[1, 1_000_000_000, 15_000_000_000, 61_000_000_000, 100_000_000_000, 4_000_000_000_000][..];
    prop_oneof![proptest::sample::select(spans).prop_map(Event::Time), any::<bool>().prop_map(Event::Deadline),]
}

/// What happens while `operators` are at work.
fn event(operators: usize) -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => user(),
        4 => time(),
        4 => Just(Event::Pass),
        6 => (0..operators, 1usize..5).prop_map(|(which, steps)| Event::Steps(which, steps)),
        1 => (0..operators).prop_map(Event::Crash),
    ]
}

pub fn story(operators: usize) -> impl Strategy<Value = Story> {
    let wish = (any::<bool>(), seconds(SHOWN), seconds(&[60, 3600]), proptest::option::of(0i64..3));
    let wish = wish.prop_map(|(clone, once, interval, revision)| {
        let level = if clone { None } else { Some(Level::Full) };
        Wish { clone, level, revision, interval, once, ..Wish::default() }
    });
    let crashes = proptest::collection::vec((0usize..2, 1usize..7), 0..12);
    let events = proptest::collection::vec(event(operators), 1..50);
    (wish, events, crashes).prop_map(|(wish, events, crashes)| Story { wish, events, crashes })
}

/// Tells the story, and holds after every event what must hold. All operators are at rest at its end.
pub fn tell(story: &Story, operators: usize) -> World {
    let mut world = World::new(story.wish.clone());
    world.solo = operators == 1;
    let mut at_work: Vec<Option<Operator>> = vec![None; operators];
    for event in &story.events {
        happen(&mut world, &mut at_work, event);
        hold(&world);
    }
    for operator in at_work.into_iter().flatten() {
        assert!(!matches!(operator.work(&mut world, ENOUGH), Step::Going(_)), "it never ends");
        hold(&world);
    }
    world
}

fn happen(world: &mut World, at_work: &mut [Option<Operator>], event: &Event) {
    let from_now = |seconds: &Option<i64>| seconds.map(|s| world.now + jiff::SignedDuration::from_secs(s));
    match event {
        Event::Revision(revision) => world.wish.revision = *revision,
        Event::Interval(interval) => world.wish.interval = *interval,
        Event::Overlap(overlap) => world.wish.overlap = *overlap,
        Event::RevokeBefore(at) => world.revoke_before(from_now(at)),
        Event::ExpiresAt(at) => world.wish.expires_at = from_now(at),
        Event::Once(once) => world.wish.once = *once,
        Event::Disabled(disabled) => world.wish.disabled = *disabled,
        Event::Level(level) => world.wish.level = *level,
        Event::Terms(terms) => world.terms.clone_from(terms),
        Event::Source(source) => world.source.clone_from(source),
        Event::SecretDeleted => world.remove_secret(),
        Event::SecretReplaced => world.replace_by_foreign(),
        Event::SecretFrozen => freeze(world),
        Event::Time(nanos) => world.advance(Duration::from_nanos(*nanos)),
        Event::Deadline(is_reached) => {
            if let Some(at) = world.seen().plan(world.now).next {
                world.now = if *is_reached { at } else { just_before(at) };
            }
        }
        // An operator of the same process would not begin while it is at work on the key.
        Event::Pass if world.solo && at_work[0].is_some() => {}
        Event::Pass => {
            assert!(!matches!(Operator::start(world).work(world, ENOUGH), Step::Going(_)), "a pass ends");
        }
        Event::Steps(which, steps) => {
            let operator = at_work[*which].take().unwrap_or_else(|| Operator::start(world));
            if let Step::Going(operator) = operator.work(world, *steps) {
                at_work[*which] = Some(*operator);
            }
        }
        Event::Crash(which) => world.stray |= at_work[*which].take().is_some_and(|o| o.owes_an_undo(world)),
    }
}

/// A user makes the Secret immutable. Where it is a stray by then, its writer cannot know it again.
fn freeze(world: &mut World) {
    let known = world.read().and_then(|read| Some(read.entry.delivery()?.uid.clone()));
    if let Some(secret) = world.secret.as_mut().filter(|secret| secret.ours) {
        world.stray |= known.is_some_and(|uid| uid != secret.uid);
        secret.immutable = true;
        secret.version += 1_000_000;
    }
}

pub fn just_before(at: Timestamp) -> Timestamp {
    at - jiff::SignedDuration::from_nanos(1)
}

/// What holds at every moment.
fn hold(world: &World) {
    if let Some(read) = world.read() {
        hold_entry(&read.entry);
        let is_removed = read.entry.secret.is_some_and(|secret| secret.ended == Some(Ended::Removed));
        assert!(world.touched || !is_removed, "nobody but an operator removed the Secret");
    }
    let mut seen = world.seen();
    let plan = seen.plan(world.now);
    assert!(plan.next.is_none_or(|at| at > world.now));

    // Nothing changes before the deadline.
    let spans = [1, 20, 45, 60, 100, 3600, 100_000_000].map(|s| world.now + jiff::SignedDuration::from_secs(s));
    let before = plan.next.map(just_before);
    for at in spans.into_iter().filter(|at| plan.next.is_none_or(|end| *at < end)).chain(before) {
        assert_eq!(seen.plan(at), plan, "at {at}, from {}", world.now);
    }

    // Nothing is decided from status.
    let lie = json!({"state": "Expired", "keyId": "7hx3k9m2pq4d", "observedGeneration": 99});
    seen.key.status = Some(serde_json::from_value(lie).unwrap());
    assert_eq!(seen.plan(world.now), plan);
}

fn hold_entry(entry: &Entry) {
    let serials: Vec<u64> = entry.credentials().map(|credential| credential.serial).collect();
    assert!((1..=1 + MOST_RETIRING).contains(&serials.len()) && serials.is_sorted_by(|a, b| a > b), "{serials:?}");
    let is_delivered = entry.current.delivered_at.is_some();
    assert_eq!(entry.current.retires_at, None);
    assert_eq!(entry.current.sealed.is_none(), is_delivered, "the seal lasts until the delivery");
    for (place, retiring) in entry.retiring.iter().enumerate() {
        assert!(retiring.delivered_at.is_some() && retiring.sealed.is_none());
        let is_next_delivered = place > 0 || is_delivered;
        assert_eq!(retiring.retires_at.is_some(), is_next_delivered, "it retires from the delivery of the next on");
    }
}

/// Passes until one finds nothing to do. The clock stands still. `false` when something of the user's is in the way.
pub fn rest(world: &mut World) -> bool {
    for _ in 0..4 {
        match Operator::start(world).work(world, ENOUGH) {
            Step::Done(actions) if actions.is_empty() => return true,
            Step::Done(_) => hold(world),
            Step::Blocked => return false,
            Step::Going(_) => panic!("a pass ends"),
        }
    }
    panic!("{:?} is still to be done after 4 passes", world.seen().plan(world.now).actions);
}

/// The same, with two operators that take turns and die again and again on the way.
pub fn rest_after_crashes(world: &mut World, crashes: &[(usize, usize)]) -> bool {
    let mut at_work = [None, None];
    world.solo = false;
    for (which, steps) in crashes {
        let operator = at_work[*which].take().unwrap_or_else(|| Operator::start(world));
        if let Step::Going(operator) = operator.work(world, *steps) {
            // Every third one dies there, the others go on later.
            at_work[*which] = Some(*operator).filter(|o| steps % 3 != 0 || o.owes_an_undo(world));
        }
        hold(world);
    }
    for operator in at_work.into_iter().flatten() {
        operator.work(world, ENOUGH);
    }
    rest(world)
}

/// What is true of a key that is left alone, by its spec, its account, its entry and the time.
pub fn hold_at_rest(before: &World, world: &World, is_free: bool) {
    let key = world.key();
    let plan = world.seen().plan(world.now);
    let is_honourable = is_honourable(world);
    let is_problem = |reason| plan.problem.as_ref().is_some_and(|problem| problem.reason == reason);
    let second = world.now.as_second();
    let in_its_second = world.wish.revoke_before.is_some_and(|at| at <= world.now && at.as_second() == second);
    let (in_advance, oversteps) = (is_problem(Reason::RevokedInAdvance), is_problem(Reason::RevisionTooHigh));
    // Only a key that was never issued anything waits for its date to be moved.
    let expired = is_problem(Reason::Expired) && world.read().is_none();
    assert_eq!(plan.problem.is_none() || in_advance || oversteps || expired, is_honourable, "{:?}", plan.problem);
    if !is_free {
        assert_eq!(plan.actions, [Action::Deliver]);
        let secret = world.secret.as_ref().expect("something is in the way");
        assert!(!secret.ours || secret.immutable);
        return hold_secret(world, &world.entry());
    }
    let Some(read) = world.read() else {
        return assert!(!is_honourable || in_advance || in_its_second || oversteps || expired);
    };
    let entry = read.entry;
    if !is_honourable {
        let serial = before.read().map(|read| read.entry.last_serial);
        assert_eq!(serial, Some(entry.last_serial), "nothing is minted");
        return hold_secret(world, &entry);
    }
    assert!(entry.undelivered().is_none());
    let limits = limits(&key, world.account().as_ref());
    assert_eq!(entry.ending(&limits, world.now), None, "every end is recorded");
    if !in_advance && !in_its_second {
        let is_refused = key.spec.revision() > entry.revision + REVISION_STEP;
        assert_eq!(oversteps, is_refused);
        assert!(is_refused || entry.revision >= key.spec.revision(), "the revision that was asked for");
        let due = key.spec.rotation_interval().map(|interval| entry.current.issued_at + interval);
        let expires_at = world.wish.expires_at;
        let needs_none = |due| expires_at.is_some_and(|at| at <= world.now || at <= due);
        assert!(due.is_none_or(|due| due > world.now || needs_none(due)), "overdue");
    }
    hold_secret(world, &entry);
}

/// What stands under the name of the Secret when all is quiet.
fn hold_secret(world: &World, entry: &Entry) {
    let Some((delivery, delivered)) = entry.newest_delivery() else { return };
    let holds = world.secret.as_ref().filter(|secret| secret.ours);
    match delivery.ended {
        None => {
            if let Some(secret) = holds.filter(|secret| secret.uid == delivery.uid) {
                // The next value may stand there already, by an attempt that did not come to note it.
                assert!([delivered.serial, entry.last_serial].contains(&secret.serial));
                assert_eq!(secret.value.as_ref(), world.values.get(&secret.serial));
                if secret.serial > delivered.serial {
                    return;
                }
                let shown = world.key().spec.shown_for().map(|shown| delivered.delivered_at.unwrap() + shown);
                assert!(shown.is_none_or(|until| until > world.now), "shown for too long");
            } else {
                let waits = entry.undelivered().is_some();
                assert!(waits || world.secret.is_some(), "it is gone, and that is not noted");
            }
        }
        Some(Ended::Unseen) => panic!("nothing is restored in these stories"),
        Some(Ended::Revealed) => {
            let is_next = |secret: &&Object| secret.serial > delivered.serial;
            assert!(holds.as_ref().is_none_or(is_next), "it came back");
        }
        // What a user puts back is left alone.
        Some(Ended::Removed) => {}
    }
}

/// Can the spec be honoured? Told anew, in the few shapes that there are here.
fn is_honourable(world: &World) -> bool {
    let Some(terms) = &world.terms else { return false };
    let entry = world.read().map(|read| read.entry);
    let cloned = match (&entry, &world.source) {
        (Some(entry), _) => entry.cloned.clone(),
        (None, Source::Found(cloned)) if world.wish.clone => Some(cloned.clone()),
        (None, _) if world.wish.clone => return false,
        (None, _) => None,
    };
    let of_source = || [Level::Full, Level::Narrow, Level::Wide].into_iter().find(|l| Some(l.cloned()) == cloned);
    let Some(level) = world.wish.level.or_else(of_source) else { return false };
    match (level, terms.level) {
        (Level::Broken, _) | (_, Level::Broken) | (Level::Wide, Level::Narrow) => false,
        (Level::Full, _) => true,
        (Level::Narrow | Level::Wide, _) => terms.resources.is_empty() || terms.resources.contains(&"orders"),
    }
}
