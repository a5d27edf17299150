//! What verifiers do.

use super::{Enforced, Happens, Life, Read, Request, Rule, State, Step, To, Verifier, Write, lose_lease, put};

impl<const N: usize> Enforced<N> {
    pub(super) fn lease(&self, state: &State<N>, n: usize, to: &mut To<N>) {
        let verifier = state.verifiers[n];
        let mut with = |step: Step, change: &dyn Fn(&mut Verifier)| put(state, n, step, change, to);
        match verifier.write {
            Write::None => {
                if matches!(verifier.life, Life::Starting | Life::Listed | Life::Ready) {
                    let write = Write::Sent { age: 0, mark: verifier.applied, creates: !verifier.joined };
                    with(Step::SendsItsLease, &|v| v.write = write);
                }
                return;
            }
            Write::Sent { age, mark, creates } if creates || verifier.lease.is_some() => {
                with(Step::ItsLeaseIsWritten, &|v| {
                    (v.lease, v.is_latest, v.write) = (Some(mark), false, Write::Applied(age));
                });
            }
            Write::Sent { .. } => with(Step::ItsLeaseIsNotFound, &|v| v.write = Write::NotFound),
            Write::Applied(age) => with(Step::AnswerToItsLease, &|v| {
                v.renewed = if self.keeps(Rule::RenewalCountsFromItsSending) { age } else { 0 };
                (v.joined, v.write) = (true, Write::None);
                if v.life == Life::Listed {
                    v.life = Life::Ready;
                }
            }),
            Write::NotFound => with(Step::AnswerToItsLease, &|v| {
                (v.joined, v.write) = (false, Write::None);
                if self.keeps(Rule::NewProofAfterNewLease) {
                    v.fresh = self.never();
                }
                if self.keeps(Rule::ProofUnderWayIsVoid) {
                    lose_read(v);
                }
            }),
        }
        if self.faults {
            with(Step::WriteOrAnswerIsLost, &|v| v.write = Write::None);
        }
    }

    pub(super) fn watch(&self, state: &State<N>, n: usize, to: &mut To<N>) {
        let verifier = state.verifiers[n];
        let mut with = |step: Step, change: &dyn Fn(&mut Verifier)| put(state, n, step, change, to);
        let is_following = matches!(verifier.life, Life::Ready | Life::Leaving);
        let is_listing = matches!(verifier.read, Read::Listing(..));
        match verifier.read {
            Read::None => {
                let is_written = matches!(verifier.write, Write::Sent { .. } | Write::Applied(_));
                let may = match verifier.life {
                    Life::Starting if !self.keeps(Rule::LeaseBeforeList) => true,
                    Life::Starting if !self.keeps(Rule::AnswerBeforeList) => verifier.joined || is_written,
                    Life::Ready if !self.keeps(Rule::AnswerBeforeNewProof) => true,
                    Life::Starting | Life::Ready | Life::Leaving => verifier.joined,
                    Life::Off | Life::Listed | Life::Stopped | Life::Dead => false,
                };
                if may {
                    with(Step::SendsAConsistentRead, &|v| v.read = Read::Sent(0));
                }
            }
            Read::Sent(age) => {
                with(Step::ItsReadIsAnswered, &|v| v.read = Read::Answered(age, state.disabled));
            }
            Read::Answered(age, shows) => {
                let age = if self.keeps(Rule::ProofCountsFromItsSending) { age } else { 0 };
                if verifier.life == Life::Starting {
                    let life = if verifier.joined { Life::Ready } else { Life::Listed };
                    with(Step::TakesItsListOver, &|v| {
                        (v.life, v.refuses, v.applied, v.fresh, v.read) = (life, shows, shows, age, Read::None);
                    });
                    return;
                }
                if verifier.applied >= shows || !self.keeps(Rule::ProofNeedsTheWatch) {
                    with(Step::ProvesItsFreshness, &|v| (v.fresh, v.read) = (v.fresh.min(age), Read::None));
                }
                with(Step::TakesAPageIn, &|v| (v.refuses, v.read) = (v.refuses || shows, Read::Listing(age, shows)));
            }
            Read::Listing(age, shows) => with(Step::TakesItsListOver, &|v| {
                (v.applied, v.fresh, v.read) = (v.applied || shows, v.fresh.min(age), Read::None);
            }),
        }
        if self.faults && verifier.read != Read::None {
            with(Step::ReadIsLost, &lose_read);
        }
        if is_listing && !verifier.applied && !self.keeps(Rule::NoEventsDuringAList) {
            with(Step::GetsAnEventInBetween, &|v| v.refuses = false);
        }
        if is_following && !is_listing && state.disabled {
            if !verifier.applied && !self.keeps(Rule::IndexBeforeWatermark) {
                with(Step::SaysAppliedTooEarly, &|v| v.applied = true);
            }
            if !verifier.refuses && (!verifier.applied || !self.keeps(Rule::IndexBeforeWatermark)) {
                with(Step::AppliesTheChange, &|v| (v.refuses, v.applied) = (true, true));
            }
            if verifier.refuses && !self.keeps(Rule::OlderEventsAreDropped) {
                with(Step::GetsAnOlderEvent, &|v| v.refuses = false);
            }
        }
    }

    pub(super) fn life(&self, state: &State<N>, n: usize, to: &mut To<N>) {
        let verifier = state.verifiers[n];
        let mut with = |step: Step, change: &dyn Fn(&mut Verifier)| put(state, n, step, change, to);
        let is_running = !matches!(verifier.life, Life::Off | Life::Stopped | Life::Dead);
        if verifier.life == Life::Off {
            with(Step::Starts, &|v| v.life = Life::Starting);
        }
        if self.faults && is_running {
            with(Step::Dies, &|v| *v = self.ended(v, Life::Dead));
            // What is under way is finished first.
            if verifier.request == Request::None {
                let life = if verifier.life == Life::Leaving { Life::Dead } else { Life::Stopped };
                with(Step::Stops, &|v| *v = self.ended(v, life));
            }
        }
        if verifier.life == Life::Stopped && verifier.lease.is_some() {
            with(Step::DeletesItsLease, &|v| {
                lose_lease(v);
                v.life = Life::Dead;
            });
        }
        if verifier.life == Life::Ready && !self.keeps(Rule::StopBeforeDeletion) {
            with(Step::DeletesItsLease, &|v| {
                lose_lease(v);
                (v.life, v.write) = (Life::Leaving, Write::None);
            });
        }
    }

    /// Of a process that is no more there is nothing to tell but its Lease.
    fn ended(&self, verifier: &Verifier, life: Life) -> Verifier {
        let Verifier { lease, is_latest, silent, .. } = *verifier;
        Verifier { life, lease, is_latest, silent, ..self.off() }
    }

    pub(super) fn requests(&self, state: &State<N>, n: usize, to: &mut To<N>) {
        let verifier = state.verifiers[n];
        if !matches!(verifier.life, Life::Ready | Life::Leaving) {
            return;
        }
        let is_renewed = self.is_young(verifier.renewed) || !self.keeps(Rule::FenceOfRenewal);
        let is_fresh = self.is_young(verifier.fresh) || !self.keeps(Rule::FenceOfFreshness);
        let (mut first, mut second) = ((Step::LooksAtItsRenewal, is_renewed), (Step::LooksAtItsFreshness, is_fresh));
        if !self.keeps(Rule::RenewalLoadedFirst) {
            std::mem::swap(&mut first, &mut second);
        }
        let mut go = |step: Step, request: Request| put(state, n, step, &|v| v.request = request, to);
        match verifier.request {
            Request::None if !self.keeps(Rule::FenceAfterRequest) => {
                if is_renewed && is_fresh {
                    go(Step::LooksAtTheFenceTooEarly, Request::Foreseen);
                }
            }
            Request::None if state.enforced => go(Step::ReadsARequest, Request::Read),
            Request::Foreseen if state.enforced => go(Step::ReadsARequest, Request::Passed),
            Request::None | Request::Foreseen => {}
            Request::Read if !self.keeps(Rule::FenceBeforeIndex) => {
                let judged = if verifier.refuses { Request::None } else { Request::Judged };
                go(Step::AsksTheIndexTooEarly, judged);
            }
            Request::Read if first.1 => go(first.0, Request::Half),
            Request::Half if second.1 => go(second.0, Request::Passed),
            Request::Passed if verifier.refuses => go(Step::Refuses, Request::None),
            Request::Judged if !(is_renewed && is_fresh) => go(Step::Refuses, Request::None),
            Request::Passed | Request::Judged => {
                to.push((Happens(Step::Allows, Some(n)), State { allowed: true, ..*state }));
            }
            Request::Read | Request::Half => go(Step::Refuses, Request::None),
        }
    }
}

/// Of a list that was not taken over to its end, older events may undo what it showed.
fn lose_read(verifier: &mut Verifier) {
    (verifier.refuses, verifier.read) = (verifier.refuses && verifier.applied, Read::None);
}
