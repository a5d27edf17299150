//! What an operator does, request by request.

use super::{Delivery, Ended, Entry, Issuing, Operator, Plan, Presence, Rule, Secret, State, Step, Then, Wrong};

impl<const N: usize> Issuing<N> {
    /// Would the API server take this update of ours?
    fn is_admitted(&self, there: Secret, serial: u8) -> bool {
        (there.is_ours || !self.keeps(Rule::PolicyOfOwner))
            && (!there.is_ours || serial >= there.serial || !self.keeps(Rule::PolicyOfSerial))
    }

    /// `Secrets::look`
    fn look(&self, state: &State<N>, delivery: Delivery) -> Presence {
        match state.secret {
            None => Presence::Missing,
            Some(there) if delivery.ended.is_none() && there.uid != delivery.uid => Presence::Other,
            Some(there) if self.is_admitted(there, delivery.serial) => Presence::Present,
            Some(_) => Presence::Other,
        }
    }

    /// `plan`
    pub(super) fn plan(&self, state: &State<N>, entry: Option<Entry>) -> Plan {
        let delivery = entry.and_then(|entry| entry.secret).filter(|secret| secret.ended != Some(Ended::Removed));
        let seen = delivery.map(|delivery| (delivery.ended, self.look(state, delivery)));
        let is_lost = seen == Some((None, Presence::Missing));
        let then = match entry {
            None => Then::Mint(state.asked),
            Some(entry) if !entry.is_delivered && self.keeps(Rule::MintWhenDelivered) => Then::Deliver,
            Some(entry) if state.asked > entry.revision => Then::Mint(state.asked),
            Some(_) if is_lost && !self.keeps(Rule::RemovedIsNoted) => Then::Mint(state.asked),
            Some(entry) if !entry.is_delivered => Then::Deliver,
            Some(_) => Then::Rest,
        };
        let conceal = matches!(seen, Some((None, Presence::Present)) if self.once)
            || seen == Some((Some(Ended::Revealed), Presence::Present));
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
        let secret = Secret { uid, version, is_ours: true, serial: read.serial, is_blank: false, is_left: false };
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
            Operator::Undo { uid, version } => {
                let (by_uid, by_version) = (self.keeps(Rule::UndoByUid), self.keeps(Rule::UndoByVersion));
                let is_meant =
                    |there: &Secret| !by_uid || (there.uid == uid && (!by_version || there.version == version));
                state.secret = state.secret.filter(|there| !is_meant(there));
                (Step::UndoesTheSecret, Operator::Idle)
            }
            Operator::NoteRemoved { read } => {
                self.swap(state, Some(read), read.ended(Ended::Removed));
                (Step::NotesThatItIsRemoved, Operator::Idle)
            }
            Operator::NoteRevealed { read, then, is_gone } => {
                let next = read.ended(Ended::Revealed);
                let is_noted = read == next || self.swap(state, Some(read), next);
                let on = if is_gone { after(next, then) } else { Operator::Blank { read: next, then } };
                (Step::NotesThatItIsRevealed, if is_noted { on } else { Operator::Idle })
            }
            Operator::Blank { read, then } => (Step::BlanksTheSecret, self.blank(state, read, then)),
            Operator::Delete { read, then, uid, version } => {
                let by_version = self.keeps(Rule::ConcealedByVersion);
                let is_meant = |there: &Secret| there.uid == uid && (!by_version || there.version == version);
                state.secret = state.secret.filter(|there| !is_meant(there));
                (Step::DeletesTheSecret, Operator::Blank { read, then })
            }
        }
    }

    fn begin_plan(&self, state: &State<N>, read: Option<Entry>) -> Operator {
        let plan = self.plan(state, read);
        match (read, plan) {
            (Some(read), Plan { note_removed: true, .. }) => Operator::NoteRemoved { read },
            (Some(read), Plan { conceal: true, then, .. }) if self.keeps(Rule::RevealedIsNotedFirst) => {
                Operator::NoteRevealed { read, then, is_gone: false }
            }
            (Some(read), Plan { conceal: true, then, .. }) => Operator::Blank { read, then },
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

    fn blank(&self, state: &mut State<N>, read: Entry, then: Then) -> Operator {
        let shown = read.secret.map_or(0, |delivery| delivery.serial);
        let serial = if self.keeps(Rule::ConcealedBySerial) { shown } else { read.serial };
        match state.secret {
            Some(there) if self.is_admitted(there, serial) => {
                touch(state, there, serial);
                let version = state.fresh();
                let blank = Secret { version, serial, is_ours: true, is_blank: true, is_left: false, ..there };
                state.secret = Some(blank);
                Operator::Delete { read, then, uid: there.uid, version }
            }
            _ if self.keeps(Rule::RevealedIsNotedFirst) => after(read, then),
            _ => Operator::NoteRevealed { read, then, is_gone: true },
        }
    }
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
    } else if serial < there.serial {
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
