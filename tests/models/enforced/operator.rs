//! What the operator does.

use super::{Enforced, Happens, Listed, Rule, State, Step, To, Verifier, lose_lease, put};

impl<const N: usize> Enforced<N> {
    pub(super) fn operator(&self, state: &State<N>, to: &mut To<N>) {
        if !state.disabled {
            to.push((Happens(Step::KeyIsDisabled, None), State { disabled: true, ..*state }));
        }
        if !state.enforced {
            self.conclude(state, to);
        }
        if self.faults {
            let mut next = *state;
            next.listed = None;
            // Of an older leader's moment, on another machine's clock, nothing is known.
            next.waited = state.waited.filter(|_| !self.keeps(Rule::NewLeaderWaitsAnew)).map(|_| self.wait());
            next.verifiers.iter_mut().for_each(|verifier| verifier.silent = None);
            next.verifiers.iter_mut().for_each(|verifier| verifier.is_latest = false);
            to.push((Happens(Step::OperatorIsReplaced, None), next));
        }
        for (n, verifier) in state.verifiers.iter().enumerate().filter(|(_, verifier)| verifier.lease.is_some()) {
            let mut with = |step: Step, change: &dyn Fn(&mut Verifier)| put(state, n, step, change, to);
            let is_fenced = self.max_staleness > 0 || !self.keeps(Rule::NeverCollectedUnfenced);
            if is_fenced && !verifier.is_latest {
                with(Step::OperatorSeesTheLease, &|v| (v.silent, v.is_latest) = (Some(0), true));
            }
            let enough = if self.keeps(Rule::CollectedLate) { self.wait() } else { 1 };
            let is_read = verifier.is_latest || !self.keeps(Rule::CollectedInItsVersion);
            if is_fenced && is_read && verifier.silent.is_some_and(|silent| silent >= enough) {
                with(Step::OperatorCollectsTheLease, &lose_lease);
            }
            if self.deleted_by_hand || !self.keeps(Rule::LeaseIsNobodysChild) {
                with(Step::SomebodyDeletesTheLease, &lose_lease);
            }
        }
    }

    fn conclude(&self, state: &State<N>, to: &mut To<N>) {
        if state.disabled && state.waited.is_none() {
            let waited = if self.keeps(Rule::WaitCountsFromSeeing) { 0 } else { self.wait() };
            to.push((Happens(Step::OperatorSeesTheChange, None), State { waited: Some(waited), ..*state }));
        }
        if state.listed.is_none() && (state.waited.is_some() || !self.keeps(Rule::ListAfterChange)) {
            let listed = state.verifiers.map(|verifier| match verifier.lease {
                None => Listed::Absent,
                Some(false) => Listed::Behind,
                Some(true) => Listed::Passed,
            });
            to.push((Happens(Step::OperatorListsLeases, None), State { listed: Some(listed), ..*state }));
        }
        let (Some(listed), Some(waited)) = (state.listed, state.waited) else { return };
        let is_over = self.max_staleness > 0 && waited >= self.wait();
        let anybody = self.another || listed.iter().any(|listed| *listed != Listed::Absent);
        let proven = listed.iter().zip(&state.verifiers).all(|(listed, verifier)| {
            let expired = !self.keeps(Rule::ExpiryProvesNothing) && verifier.silent.is_some_and(|silent| silent > 0);
            *listed != Listed::Behind || is_over || expired
        });
        if proven && (anybody || !self.keeps(Rule::NobodyProvesNothing)) {
            let next = State { enforced: true, waited: None, listed: None, ..*state };
            to.push((Happens(Step::OperatorSaysEnforced, None), next));
        } else {
            to.push((Happens(Step::OperatorFindsNoProof, None), State { listed: None, ..*state }));
        }
    }
}
