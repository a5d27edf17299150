//! What an operator does, request by request.

use super::{Ended, Entry, Issuing, Operator, Plan, Rule, Secret, Sight, State, Step, Then, Wrong};

impl<const N: usize> Issuing<N> {
    /// Returns true if the policy admits an update of ours that writes no value.
    fn is_ours(&self, there: Secret) -> bool {
        there.is_ours || !self.keeps(Rule::PolicyOfOwner)
    }

    /// Returns true if the policy admits an update of ours that writes the value of this serial.
    fn is_admitted(&self, there: Secret, serial: u8) -> bool {
        self.is_ours(there) && (!there.is_ours || serial >= there.claims || !self.keeps(Rule::PolicyOfSerial))
    }

    /// `Secrets::see`
    fn see(&self, state: &State<N>, entry: Entry) -> Option<Sight> {
        let delivery = entry.secret.filter(|secret| secret.ended != Some(Ended::Removed))?;
        let Some(there) = state.secret else { return Some(Sight::Missing) };
        let is_another = delivery.ended.is_none() && there.uid != delivery.uid;
        // A serial above all that were minted is a user's.
        let is_being_delivered = !self.is_admitted(there, delivery.serial) && self.is_admitted(there, entry.serial);
        let is_other = is_another || !self.is_ours(there) || is_being_delivered;
        let is_raised = !self.is_admitted(there, entry.serial);
        Some(if is_other { Sight::Other } else { Sight::Ours(there.uid, there.version, is_raised) })
    }

    /// `plan`
    pub(super) fn plan(&self, state: &State<N>, entry: Option<Entry>) -> Plan {
        let ended = entry.and_then(|entry| entry.secret).map(|delivery| delivery.ended);
        let seen = entry.and_then(|entry| self.see(state, entry));
        let is_lost = ended == Some(None) && seen == Some(Sight::Missing);
        let then = match entry {
            None => Then::Mint(state.asked),
            Some(entry) if !entry.is_delivered && self.keeps(Rule::MintWhenDelivered) => Then::Deliver,
            Some(entry) if state.asked > entry.revision => Then::Mint(state.asked),
            Some(_) if is_lost && !self.keeps(Rule::RemovedIsNoted) => Then::Mint(state.asked),
            Some(entry) if !entry.is_delivered => Then::Deliver,
            Some(_) => Then::Rest,
        };
        let is_over = ended == Some(Some(Ended::Revealed)) || (ended == Some(None) && self.once);
        let conceal = is_over && matches!(seen, Some(Sight::Ours(..)));
        Plan { conceal, note_removed: is_lost && then == Then::Rest, then }
    }

    /// Compare and swap; was it won?
    fn swap(&self, state: &mut State<N>, read: Option<Entry>, next: Entry) -> bool {
        let won = state.entry == read || !self.keeps(Rule::Swap);
        if won {
            state.entry = Some(next);
        }
        won
    }

    fn write(&self, state: &mut State<N>, read: Entry, uid: u8) -> Operator {
        if !self.keeps(Rule::EntryBeforeSecret) {
            mint(state, read.serial);
        }
        let version = state.fresh();
        let uid = if uid == 0 { version } else { uid };
        let (serial, claims) = (read.serial, read.serial);
        let mut secret = Secret { uid, version, is_ours: true, serial, claims, is_blank: false, is_left: false };
        // What changes nothing keeps its version.
        let is_same = |there: &Secret| Secret { version: there.version, is_left: there.is_left, ..secret } == *there;
        if let Some(there) = state.secret.filter(is_same) {
            secret.version = there.version;
        }
        let version = secret.version;
        state.secret = Some(secret);
        state.shown = state.shown.max(read.serial);
        Operator::Mark { read, uid, version }
    }

    /// The next request of an operator is answered; what it does next.
    pub(super) fn go(&self, state: &mut State<N>, operator: Operator) -> (Step, Operator) {
        match operator {
            Operator::Idle => (Step::ReadsTheEntry, Operator::Look(state.entry)),
            Operator::Look(read) => (Step::LooksAtTheSecret, self.begin_plan(state, read)),
            Operator::Mint { read, revision } => (Step::Mints, self.mint(state, read, revision)),
            Operator::Create { read } => match state.secret {
                Some(_) => (Step::CreatesTheSecret, Operator::Update { read }),
                None => (Step::CreatesTheSecret, self.write(state, read, 0)),
            },
            Operator::Update { read } => (Step::UpdatesTheSecret, self.update(state, read)),
            Operator::Mark { read, uid, version } => {
                let won = if self.keeps(Rule::EntryBeforeSecret) {
                    self.swap(state, Some(read), read.delivered(uid))
                } else {
                    self.swap(state, state.entry, read.delivered(uid))
                };
                let lost = Operator::ReadAgain { serial: read.serial, uid, version };
                (Step::MarksItDelivered, if won { Operator::Idle } else { lost })
            }
            Operator::ReadAgain { serial, uid, version } => {
                let is_stray = state.entry.is_none_or(|entry| entry.is_stray(serial, uid));
                let undo = is_stray && self.keeps(Rule::Undo);
                (Step::ReadsTheEntryAgain, if undo { Operator::Undo { uid, version } } else { Operator::Idle })
            }
            Operator::Undo { uid, version } => (Step::BlanksWhatItWrote, self.undo(state, uid, version)),
            Operator::UndoDelete { uid, version } => {
                self.delete(state, uid, version);
                (Step::DeletesWhatItWrote, Operator::Idle)
            }
            Operator::NoteRemoved { read } => {
                self.swap(state, Some(read), read.ended(Ended::Removed));
                (Step::NotesThatItIsRemoved, Operator::Idle)
            }
            Operator::See { read, then } => (Step::LooksAgain, self.look_again(state, read, then)),
            Operator::NoteRevealed { read, then, uid, version } => {
                let noted = read.ended(Ended::Revealed);
                let next = Entry { blanking: version, ..noted };
                let is_noted = self.swap(state, Some(read), next);
                let on = match (self.keeps(Rule::RevealedIsNotedFirst), self.keeps(Rule::EntryWrittenBetween)) {
                    (true, true) => Operator::Blank { read: next, then, uid, version },
                    (true, false) => Operator::See { read: next, then },
                    (false, _) => after(next, then),
                };
                (Step::NotesThatItIsRevealed, if is_noted { on } else { Operator::Idle })
            }
            Operator::Blank { read, then, uid, version } => {
                (Step::BlanksTheSecret, self.blank(state, Operator::Delete { read, then, uid, version }))
            }
            Operator::Delete { read, then, uid, version } => {
                self.delete(state, uid, version);
                let on = if self.keeps(Rule::RevealedIsNotedFirst) {
                    after(read, then)
                } else {
                    Operator::NoteRevealed { read, then, uid, version }
                };
                (Step::DeletesTheSecret, on)
            }
        }
    }

    /// What was looked at is what is blanked, with a write of the entry between both where it claims too much.
    fn look_again(&self, state: &State<N>, read: Entry, then: Then) -> Operator {
        let Some(Sight::Ours(uid, version, is_raised)) = self.see(state, read) else { return Operator::Idle };
        let is_noted = read.secret.is_some_and(|delivery| delivery.ended == Some(Ended::Revealed));
        let is_noted = is_noted || !self.keeps(Rule::RevealedIsNotedFirst);
        if is_noted && !(is_raised && self.keeps(Rule::EntryWrittenBetween)) {
            return Operator::Blank { read, then, uid, version };
        }
        Operator::NoteRevealed { read, then, uid, version }
    }

    /// Deletes it, if it is as it was blanked.
    fn delete(&self, state: &mut State<N>, uid: u8, version: u8) {
        // That the policy would refuse one with a value is left away.
        let is_as_blanked = |there: &Secret| there.version == version || !self.keeps(Rule::DeletedAsBlanked);
        let is_meant = |there: &Secret| there.uid == uid && is_as_blanked(there);
        state.secret = state.secret.filter(|there| !is_meant(there));
    }

    fn undo(&self, state: &mut State<N>, uid: u8, version: u8) -> Operator {
        let (by_uid, by_version) = (self.keeps(Rule::UndoByUid), self.keeps(Rule::UndoByVersion));
        let is_meant = |there: &Secret| !by_uid || (there.uid == uid && (!by_version || there.version == version));
        let Some(there) = state.secret.filter(|there| is_meant(there) && self.is_ours(*there)) else {
            return Operator::Idle;
        };
        let version = emptied(state, there, there.claims);
        Operator::UndoDelete { uid: there.uid, version }
    }

    fn begin_plan(&self, state: &State<N>, read: Option<Entry>) -> Operator {
        let plan = self.plan(state, read);
        match (read, plan) {
            (Some(read), Plan { note_removed: true, .. }) => Operator::NoteRemoved { read },
            (Some(read), Plan { conceal: true, then, .. }) => Operator::See { read, then },
            (None, Plan { then: Then::Mint(revision), .. }) => Operator::Mint { read: None, revision },
            (None, _) => Operator::Idle,
            (Some(read), Plan { then, .. }) => after(read, then),
        }
    }

    fn mint(&self, state: &mut State<N>, read: Option<Entry>, revision: u8) -> Operator {
        let next = Entry::minted(read, revision);
        if !self.keeps(Rule::EntryBeforeSecret) {
            return Operator::Create { read: next };
        }
        if !self.swap(state, read, next) {
            return Operator::Idle;
        }
        mint(state, next.serial);
        Operator::Create { read: next }
    }

    fn update(&self, state: &mut State<N>, read: Entry) -> Operator {
        match state.secret {
            None => Operator::Create { read },
            Some(there) if self.is_admitted(there, read.serial) => {
                touch(state, there, read.serial);
                self.write(state, read, there.uid)
            }
            // The name is taken.
            Some(_) => Operator::Idle,
        }
    }

    /// Blanks what is to be deleted, and gives that in the version of the answer.
    fn blank(&self, state: &mut State<N>, delete: Operator) -> Operator {
        let Operator::Delete { read, then, uid, version } = delete else { return delete };
        let as_seen = self.keeps(Rule::BlankedAsSeen);
        let is_meant = |there: &Secret| !as_seen || (there.uid == uid && there.version == version);
        let Some(there) = state.secret.filter(|there| is_meant(there) && self.is_ours(*there)) else {
            return Operator::Idle;
        };
        let version = emptied(state, there, read.serial);
        Operator::Delete { read, then, uid: there.uid, version }
    }
}

/// Blanks it, with this serial in its annotation; its version now.
fn emptied<const N: usize>(state: &mut State<N>, there: Secret, claims: u8) -> u8 {
    if !there.is_ours {
        state.wrong = Some(Wrong::Foreign);
    }
    let is_same = there.is_blank && there.claims == claims;
    let version = if is_same { there.version } else { state.fresh() };
    state.secret = Some(Secret { version, claims, is_ours: true, is_blank: true, is_left: false, ..there });
    version
}

/// A value comes into being.
fn mint<const N: usize>(state: &mut State<N>, serial: u8) {
    if state.minted & (1 << serial) != 0 {
        state.wrong = Some(Wrong::TwoValues);
    }
    if serial > state.asked + 1 {
        state.wrong = Some(Wrong::Unasked);
    }
    state.minted |= 1 << serial;
}

/// An update is admitted.
fn touch<const N: usize>(state: &mut State<N>, there: Secret, serial: u8) {
    if !there.is_ours {
        state.wrong = Some(Wrong::Foreign);
    } else if serial < there.serial && !there.is_blank {
        state.wrong = Some(Wrong::RolledBack);
    }
}

fn after(read: Entry, then: Then) -> Operator {
    match then {
        Then::Rest => Operator::Idle,
        Then::Mint(revision) => Operator::Mint { read: Some(read), revision },
        Then::Deliver if read.is_delivered => Operator::Idle,
        Then::Deliver => Operator::Create { read },
    }
}
