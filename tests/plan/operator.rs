//! An operator at work on the simulated world: it does what `execute` does, one read or write a step, so that it can be
//! left asleep, or die, between any two of them.

use std::collections::VecDeque;

use jiff::Timestamp;
use keywright::api::Reason;
use keywright::key::{Delivery, Ended, Entry, Minting};
use keywright::operator::api_key::plan::{Action, limits};

use super::world::{Object, Read, Refusal, Seen, UID, World};

#[derive(Clone)]
pub struct Operator {
    /// Key, account and source as its cache had them when the pass began, the rest when it looked.
    pub seen: Seen,
    pub now: Timestamp,
    /// What was planned, for the eye and for the count of passes that found something to do.
    pub planned: Vec<Action>,
    phase: Phase,
}

#[derive(Clone)]
enum Phase {
    Read,
    Look,
    Do(Option<Read>, VecDeque<Action>),
    Mark(Read, Object, VecDeque<Action>),
    Undo(Object),
    Blank(Read, VecDeque<Action>),
    Delete(Read, String, Option<u64>, VecDeque<Action>),
}

pub enum Step {
    Going(Box<Operator>),
    /// With what it had planned.
    Done(Vec<Action>),
    /// Something of the user's is in the way.
    Blocked,
}

impl Operator {
    pub fn start(world: &World) -> Self {
        Self {
            seen: Seen { read: None, secret: None, ..world.seen() },
            now: world.now,
            planned: Vec::new(),
            phase: Phase::Read,
        }
    }

    /// Would its death leave a Secret behind that it alone knows of?
    pub fn owes_an_undo(&self, world: &World) -> bool {
        match &self.phase {
            Phase::Mark(read, ..) => world.read().is_none_or(|now| now.version != read.version),
            Phase::Undo(_) => true,
            _ => false,
        }
    }

    /// The next read or write.
    pub fn step(mut self, world: &mut World) -> Step {
        let phase = match self.phase.clone() {
            Phase::Read => {
                self.seen.read = world.read();
                Phase::Look
            }
            Phase::Look => {
                self.seen.secret = world.look(self.seen.read.as_ref().map(|read| &read.entry));
                let plan = self.seen.plan(self.now);
                let mints = plan.actions.iter().any(|action| matches!(action, Action::Mint { .. }));
                // A refused revision alone does not stop the interval.
                let stops = plan.problem.as_ref().is_some_and(|problem| problem.reason != Reason::RevisionTooHigh);
                assert!(!stops || !mints, "{plan:?}");
                self.planned = plan.actions;
                Phase::Do(self.seen.read.clone(), self.planned.clone().into())
            }
            Phase::Do(read, mut actions) => match (actions.pop_front(), read) {
                (None, _) => return Step::Done(self.planned),
                (Some(Action::Mint { serial, revision, cloned }), read) => {
                    let (credential, value) = world.mint(Minting { serial, revision, owner_uid: UID });
                    let next = match &read {
                        None => Entry::first(World::owner(), credential, cloned),
                        Some(read) => read.entry.rotated(credential),
                    };
                    match world.swap(read.as_ref(), &next, &self) {
                        Some(read) => {
                            assert_eq!(world.values.insert(serial, value), None, "a second value for serial {serial}");
                            Phase::Do(Some(read), actions)
                        }
                        None => return self.again(world),
                    }
                }
                (Some(Action::Deliver), Some(read)) => {
                    let value = World::open(read.entry.undelivered().expect("planned for one that is not delivered"));
                    match world.write(read.entry.last_serial, Some(value)) {
                        Ok(written) => Phase::Mark(read, written, actions),
                        Err(_) => return Step::Blocked,
                    }
                }
                (Some(Action::NoteEnds), Some(read)) => {
                    let limits = limits(&self.seen.key, self.seen.account.as_ref());
                    let next = read.entry.ending(&limits, self.now).expect("planned where something ends");
                    match world.swap(Some(&read), &next, &self) {
                        Some(read) => Phase::Do(Some(read), actions),
                        None => return self.again(world),
                    }
                }
                (Some(Action::Release), Some(read)) => {
                    let next = read.entry.released(&limits(&self.seen.key, self.seen.account.as_ref()));
                    match world.swap(Some(&read), &next, &self) {
                        Some(read) => Phase::Do(Some(read), actions),
                        None => return self.again(world),
                    }
                }
                (Some(Action::NoteRemoved), Some(read)) => match self.end(&read, Ended::Removed, world) {
                    Some(read) => Phase::Do(Some(read), actions),
                    None => return self.again(world),
                },
                (Some(Action::Conceal), Some(read)) => match self.end(&read, Ended::Revealed, world) {
                    Some(read) => Phase::Blank(read, actions),
                    None => return self.again(world),
                },
                (Some(Action::NoteSeen), Some(_)) => panic!("nothing is restored in these stories"),
                (Some(action), None) => panic!("{action:?} without an entry"),
            },
            Phase::Mark(read, written, actions) => {
                let delivery =
                    Delivery { name: "billing".into(), uid: written.uid.clone(), ended: None, template: None };
                let next = read.entry.delivered(delivery, self.seen.key.spec.overlap(), world.now);
                match world.swap(Some(&read), &next, &self) {
                    Some(read) => Phase::Do(Some(read), actions),
                    None => Phase::Undo(written),
                }
            }
            Phase::Undo(written) => {
                if world.read().is_none_or(|read| is_stray(&read.entry, &written)) {
                    world.delete(&written.uid, Some(written.version));
                }
                return self.again(world);
            }
            Phase::Blank(read, actions) => match world.write(read.entry.newest_delivery().unwrap().1.serial, None) {
                Ok(blanked) => Phase::Delete(read, blanked.uid, Some(blanked.version), actions),
                Err(Refusal::Immutable) => {
                    let uid = read.entry.newest_delivery().unwrap().0.uid.clone();
                    Phase::Delete(read, uid, None, actions)
                }
                Err(Refusal::NotThere | Refusal::NotOurs) => Phase::Do(Some(read), actions),
            },
            Phase::Delete(read, uid, version, actions) => {
                world.delete(&uid, version);
                // Until nothing is there; an immutable one is known by its uid alone.
                if version.is_some() { Phase::Blank(read, actions) } else { Phase::Do(Some(read), actions) }
            }
        };
        Step::Going(Box::new(Self { phase, ..self }))
    }

    /// Works until the pass is over, or for so many steps.
    pub fn work(mut self, world: &mut World, steps: usize) -> Step {
        for _ in 0..steps {
            match self.step(world) {
                Step::Going(next) => self = *next,
                over => return over,
            }
        }
        Step::Going(Box::new(self))
    }

    /// It lost a swap: it looks again at once, with the key that it has.
    fn again(self, world: &World) -> Step {
        let seen = Seen { account: world.account(), source: world.source.clone(), ..self.seen };
        Step::Going(Box::new(Self { seen, now: world.now, phase: Phase::Read, ..self }))
    }

    fn end(&self, read: &Read, how: Ended, world: &mut World) -> Option<Read> {
        if read.entry.secret.as_ref().is_some_and(|delivery| delivery.ended == Some(how)) {
            return Some(read.clone());
        }
        world.swap(Some(read), &read.entry.ended(how), self)
    }
}

fn is_stray(now: &Entry, written: &Object) -> bool {
    let is_known = now.secret.as_ref().is_some_and(|secret| secret.uid == written.uid && secret.ended.is_none());
    !is_known && (now.last_serial > written.serial || now.undelivered().is_none())
}
