//! Issuing: is a value minted once, and does the Secret stay the one that the entry knows?
//!
//! **Modelled**, as `operator/api_key/{plan,execute}.rs` and `operator/secrets.rs` do it, request by request: two operators that
//! both believe they lead; the entry, changed by compare-and-swap; the Secret with its uid, its version and its serial,
//! created, updated under the admission policies, looked at by dry run, undone and concealed; a user who asks for rotations, deletes the
//! Secret, makes one of the same name, and raises the serial that ours claims. An operator may be held between any two requests for any time, and may
//! die there. A write whose answer was lost is one after which the operator dies: it keeps nothing in memory from one attempt to
//! the next.
//!
//! **Left away.** Time: a Secret that is shown once may be concealed at any moment. `immutable: true`, and a serial that was taken off our Secret. A
//! Secret that a user copied with its owner reference. Deletion of the key, and orphans.
//!
//! **Bounds.** Two operators, rotations, deletions, foreign Secrets and raised serials as the test says, deaths without bound.

use std::fmt::{self, Debug};

use super::explorer::Model;

mod claims;
mod operator;

/// What the protocol asks for, so that each can be taken out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// The entry is changed only as it was read.
    Swap,
    /// A value is committed to the entry before it is written into the Secret.
    EntryBeforeSecret,
    /// A value is minted only when the newest is delivered.
    MintWhenDelivered,
    /// A Secret that is gone is noted, and nothing is minted for it.
    RemovedIsNoted,
    /// The policy refuses an update to a lower serial.
    PolicyOfSerial,
    /// The policy refuses an update of what is not ours.
    PolicyOfOwner,
    /// Who lost the swap removes what it wrote, if the entry does not know it.
    Undo,
    /// Only the very Secret that it wrote.
    UndoByUid,
    /// And only as it wrote it.
    UndoByVersion,
    /// That a Secret was shown is noted before it is concealed.
    RevealedIsNotedFirst,
    /// The entry is written between the look at a Secret that claims more than was minted, and the write that blanks it.
    EntryWrittenBetween,
    /// It is blanked in the version that was looked at.
    BlankedAsSeen,
    /// It is deleted in the version in which it was blanked.
    DeletedAsBlanked,
}

/// What is let pass of a Secret whose writer died before it could say so in the entry, or undo it, or that a user changed before
/// that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Forgives {
    Nothing,
    /// That it shows an older value until another looks.
    ForAWhile,
    /// That it shows the newest value for ever.
    TheNewest,
    /// That it shows any value for ever.
    Any,
}

/// What is explored.
#[derive(Clone, Copy)]
pub struct Issuing<const N: usize> {
    /// Is the Secret shown for a time only?
    pub once: bool,
    /// How often a rotation is asked for.
    pub rotations: u8,
    /// How often a user deletes the Secret.
    pub deletions: u8,
    /// How often a user makes one of that name.
    pub foreign: u8,
    /// How often a user raises the serial that our Secret claims.
    pub raises: u8,
    /// Do operators die?
    pub deaths: bool,
    /// What is let pass of a Secret that an operator wrote late, and could not undo.
    pub forgives: Forgives,
    /// What is not kept.
    pub without: Option<Rule>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Ended {
    Revealed,
    Removed,
}

/// What was delivered last: the Secret's uid, the serial, what became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Delivery {
    uid: u8,
    serial: u8,
    ended: Option<Ended>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Entry {
    serial: u8,
    is_delivered: bool,
    revision: u8,
    /// Of the newest value that was delivered.
    secret: Option<Delivery>,
    /// The version of the Secret that is about to be blanked, in an annotation of the entry's Secret: the next entry has none.
    blanking: u8,
}

/// The serial that a user writes into the annotation.
const RAISED: u8 = u8::MAX;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Secret {
    uid: u8,
    version: u8,
    is_ours: bool,
    /// Of the value in it.
    serial: u8,
    /// In its annotation.
    claims: u8,
    is_blank: bool,
    /// Whoever wrote it died before it could say so in the entry, or undo it; or a user changed it before that.
    is_left: bool,
}

/// What else an operator means to do in this attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Then {
    Rest,
    Mint(u8),
    Deliver,
}

/// The next request of an operator, with all that it holds in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Operator {
    Idle,
    Look(Option<Entry>),
    Mint { read: Option<Entry>, revision: u8 },
    Create { read: Entry },
    Update { read: Entry },
    Mark { read: Entry, uid: u8, version: u8 },
    ReadAgain { serial: u8, uid: u8, version: u8 },
    Undo { uid: u8, version: u8 },
    UndoDelete { uid: u8, version: u8 },
    NoteRemoved { read: Entry },
    See { read: Entry, then: Then },
    NoteRevealed { read: Entry, then: Then, uid: u8, version: u8 },
    Blank { read: Entry, then: Then, uid: u8, version: u8 },
    Delete { read: Entry, then: Then, uid: u8, version: u8 },
}

/// `Sight` in `operator/secrets.rs`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sight {
    /// The uid and the version of it, and whether it claims more than was minted.
    Ours(u8, u8, bool),
    Missing,
    Other,
}

/// What is planned: conceal or note first, then the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Plan {
    conceal: bool,
    note_removed: bool,
    then: Then,
}

/// Everything.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct State<const N: usize> {
    asked: u8,
    deletions: u8,
    foreign: u8,
    raises: u8,
    entry: Option<Entry>,
    secret: Option<Secret>,
    operators: [Operator; N],
    minted: u8,
    shown: u8,
    wrong: Option<Wrong>,
}

/// What no step may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Wrong {
    TwoValues,
    RolledBack,
    Foreign,
    Unasked,
}

/// What happens.
#[derive(Clone, Copy, Debug)]
enum Step {
    UserAsksForARotation,
    UserDeletesTheSecret,
    UserMakesASecretOfThatName,
    UserRaisesTheSerial,
    ReadsTheEntry,
    LooksAtTheSecret,
    Mints,
    CreatesTheSecret,
    UpdatesTheSecret,
    MarksItDelivered,
    ReadsTheEntryAgain,
    BlanksWhatItWrote,
    DeletesWhatItWrote,
    NotesThatItIsRemoved,
    LooksAgain,
    NotesThatItIsRevealed,
    BlanksTheSecret,
    DeletesTheSecret,
    DiesOrGivesUp,
}

/// What happens, and by which operator.
#[derive(Clone, Copy)]
pub struct Happens(Step, Option<usize>);

impl Debug for Happens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self(step, None) => write!(f, "{step:?}"),
            Self(step, Some(operator)) => write!(f, "{step:?} (operator {operator})"),
        }
    }
}

impl<const N: usize> State<N> {
    /// A number that nobody remembers: uids and versions are only ever compared for being the same.
    fn fresh(&self) -> u8 {
        let of_entry = |entry: Option<Entry>| entry.and_then(|entry| entry.secret).map_or(0, |delivery| delivery.uid);
        let blanking = |entry: Option<Entry>| entry.map_or(0, |entry| entry.blanking);
        let of_operators = self.operators.map(|operator| match operator {
            Operator::Idle => [0; 4],
            Operator::Look(read) | Operator::Mint { read, .. } => [of_entry(read), 0, 0, blanking(read)],
            Operator::ReadAgain { uid, version, .. }
            | Operator::Undo { uid, version }
            | Operator::UndoDelete { uid, version } => [uid, version, 0, 0],
            Operator::Mark { read, uid, version }
            | Operator::NoteRevealed { read, uid, version, .. }
            | Operator::Blank { read, uid, version, .. }
            | Operator::Delete { read, uid, version, .. } => [of_entry(Some(read)), uid, version, read.blanking],
            Operator::Create { read }
            | Operator::Update { read }
            | Operator::NoteRemoved { read }
            | Operator::See { read, .. } => [of_entry(Some(read)), 0, 0, read.blanking],
        });
        let secret = self.secret.map_or([0; 2], |secret| [secret.uid, secret.version]);
        let taken = [of_operators.as_flattened(), &secret, &[of_entry(self.entry), blanking(self.entry)]].concat();
        (1..=u8::MAX).find(|number| !taken.contains(number)).unwrap()
    }
}

impl Entry {
    fn minted(read: Option<Self>, revision: u8) -> Self {
        let (serial, secret) = read.map_or((0, None), |read| (read.serial, read.secret));
        Self { serial: serial + 1, is_delivered: false, revision, secret, blanking: 0 }
    }

    fn delivered(self, uid: u8) -> Self {
        let secret = Some(Delivery { uid, serial: self.serial, ended: None });
        Self { is_delivered: true, secret, blanking: 0, ..self }
    }

    fn ended(self, ended: Ended) -> Self {
        Self { secret: self.secret.map(|secret| Delivery { ended: Some(ended), ..secret }), blanking: 0, ..self }
    }

    /// `is_stray` in `execute.rs`.
    fn is_stray(self, serial: u8, uid: u8) -> bool {
        let is_known = self.secret.is_some_and(|secret| secret.uid == uid && secret.ended.is_none());
        !is_known && (self.serial > serial || self.is_delivered)
    }
}

impl<const N: usize> Issuing<N> {
    fn keeps(&self, rule: Rule) -> bool {
        self.without != Some(rule)
    }

    fn is_at_rest(&self, state: &State<N>) -> bool {
        let nothing = Plan { conceal: false, note_removed: false, then: Then::Rest };
        state.operators == [Operator::Idle; N] && self.plan(state, state.entry) == nothing
    }

    fn users(&self, state: &State<N>, to: &mut Vec<(Happens, State<N>)>) {
        if state.asked < self.rotations {
            to.push((Happens(Step::UserAsksForARotation, None), State { asked: state.asked + 1, ..*state }));
        }
        if state.secret.is_some() && state.deletions < self.deletions {
            let next = State { secret: None, deletions: state.deletions + 1, ..*state };
            to.push((Happens(Step::UserDeletesTheSecret, None), next));
        }
        if state.secret.is_none() && state.foreign < self.foreign {
            let number = state.fresh();
            let secret = Secret {
                uid: number,
                version: number,
                is_ours: false,
                serial: 0,
                claims: 0,
                is_blank: false,
                is_left: false,
            };
            let next = State { secret: Some(secret), foreign: state.foreign + 1, ..*state };
            to.push((Happens(Step::UserMakesASecretOfThatName, None), next));
        }
        if let Some(secret) = state.secret.filter(|secret| secret.is_ours && state.raises < self.raises) {
            // What an operator has written and means to undo is then no more as it wrote it.
            let is_left = secret.is_left || state.operators.iter().any(|one| written(one) == Some(secret.uid));
            let secret = Secret { claims: RAISED, version: state.fresh(), is_left, ..secret };
            let next = State { secret: Some(secret), raises: state.raises + 1, ..*state };
            to.push((Happens(Step::UserRaisesTheSerial, None), next));
        }
    }
}

/// The Secret that an operator has written and not yet accounted for.
fn written(operator: &Operator) -> Option<u8> {
    match operator {
        Operator::Mark { uid, .. } | Operator::ReadAgain { uid, .. } | Operator::Undo { uid, .. } => Some(*uid),
        _ => None,
    }
}

impl<const N: usize> Model for Issuing<N> {
    type State = State<N>;
    type Step = Happens;

    fn begin(&self) -> State<N> {
        State {
            asked: 0,
            deletions: 0,
            foreign: 0,
            raises: 0,
            entry: None,
            secret: None,
            operators: [Operator::Idle; N],
            minted: 0,
            shown: 0,
            wrong: None,
        }
    }

    fn steps(&self, state: &State<N>, to: &mut Vec<(Happens, State<N>)>) {
        self.users(state, to);
        for (n, operator) in state.operators.iter().enumerate() {
            let mut next = *state;
            let (step, then) = self.go(&mut next, *operator);
            next.operators[n] = then;
            to.push((Happens(step, Some(n)), next));
            if self.deaths && *operator != Operator::Idle {
                let mut next = *state;
                next.operators[n] = Operator::Idle;
                if let Some(secret) = next.secret.as_mut().filter(|secret| written(operator) == Some(secret.uid)) {
                    secret.is_left = true;
                }
                to.push((Happens(Step::DiesOrGivesUp, Some(n)), next));
            }
        }
    }

    fn wrong(&self, state: &State<N>) -> Option<&'static str> {
        match state.wrong {
            Some(Wrong::TwoValues) => return Some("two values of one serial"),
            Some(Wrong::RolledBack) => return Some("an update put an older value into the Secret"),
            Some(Wrong::Foreign) => return Some("a Secret that is not ours was overwritten"),
            Some(Wrong::Unasked) => return Some("a value was minted that nobody asked for"),
            None => {}
        }
        let delivery = state.entry.and_then(|entry| entry.secret);
        if delivery.is_some_and(|delivery| delivery.ended == Some(Ended::Removed)) && state.deletions == 0 {
            return Some("the Secret is said to be removed, and no user did that");
        }
        let is_delivered_in =
            |secret: Secret| delivery.is_some_and(|known| known.uid == secret.uid && known.ended.is_none());
        if state.secret.is_some_and(|secret| secret.is_blank && is_delivered_in(secret)) {
            return Some("the Secret is blank, and the entry says that it holds the value");
        }
        let ours = state.secret.filter(|secret| secret.is_ours && !secret.is_blank)?;
        let accepted = state.entry.map_or(0..=0, |entry| entry.serial.saturating_sub(1)..=entry.serial);
        if ours.serial >= state.shown && !accepted.contains(&ours.serial) {
            return Some("the newest value in a Secret is one that the entry does not hold");
        }
        let is_late = ours.serial < state.shown;
        let passes = |forgives| ours.is_left && self.forgives >= forgives;
        let is_accounted_for = state.operators.iter().any(|operator| written(operator) == Some(ours.uid));
        if is_late && !is_accounted_for && !passes(Forgives::ForAWhile) {
            return Some("a Secret shows an older value again, and nobody is about to undo it");
        }
        if !self.is_at_rest(state) || is_delivered_in(ours) {
            return None;
        }
        if is_late {
            return (!passes(Forgives::Any)).then_some("a stray Secret shows an older value for ever");
        }
        (!passes(Forgives::TheNewest)).then_some("a stray Secret stays for ever")
    }

    fn is_goal(&self, state: &State<N>) -> bool {
        // What a user has put in the way stays in the way until a user removes it.
        let is_concealed = self.once && state.entry.is_some_and(|entry| entry.secret.is_some());
        let is_blocked = |secret: Secret| !secret.is_ours || (secret.claims == RAISED && !is_concealed);
        self.is_at_rest(state) || state.secret.is_some_and(is_blocked)
    }
}
