//! What is claimed, and what happens when a rule is not kept.

use super::super::explorer::{Story, explore};
use super::{Enforced, Rule};

/// One verifier in full beside another that is done already, and everything that can fail.
const BESIDE_ANOTHER: Enforced<1> =
    Enforced { max_staleness: 1, another: true, faults: true, deleted_by_hand: false, without: None };
/// The same verifier alone.
const ALONE: Enforced<1> = Enforced { another: false, ..BESIDE_ANOTHER };
/// Verifiers that never fence themselves.
const UNFENCED: Enforced<1> = Enforced { max_staleness: 0, ..BESIDE_ANOTHER };

#[track_caller]
fn breaks<const N: usize>(model: Enforced<N>, rule: Rule) {
    let explored = explore(&Enforced { without: Some(rule), ..model });
    println!("without {rule:?}, {} states:\n{}", explored.states, explored.story());
}

#[test]
fn after_enforced_no_request_that_comes_is_allowed_and_whatever_fails_enforced_stays_within_reach() {
    explore(&BESIDE_ANOTHER).holds();
}

#[test]
fn with_a_finer_clock_too() {
    explore(&Enforced { max_staleness: 2, ..BESIDE_ANOTHER }).holds();
}

#[test]
fn with_one_verifier_only_too_and_in_runs_without_faults_enforced_stays_within_reach() {
    explore(&ALONE).is_safe();
    explore(&Enforced { faults: false, ..ALONE }).holds();
}

#[test]
fn with_two_verifiers_that_never_fence_themselves_too() {
    explore(&Enforced::<2> { max_staleness: 0, another: false, faults: false, deleted_by_hand: false, without: None })
        .holds();
}

#[test]
fn a_dead_verifier_without_a_fence_keeps_enforced_out_of_reach() {
    let explored = explore(&UNFENCED);
    explored.is_safe();
    println!("{}", explored.hopeless.as_ref().map_or(String::new(), Story::to_string));
    assert!(explored.hopeless.is_some());
}

#[test]
fn without_the_lease_before_the_list_a_verifier_allows_after_enforced() {
    breaks(BESIDE_ANOTHER, Rule::LeaseBeforeList);
}

#[test]
fn without_the_leases_answer_before_the_list_a_verifier_allows_after_enforced() {
    breaks(BESIDE_ANOTHER, Rule::AnswerBeforeList);
}

#[test]
fn a_proof_that_counts_from_its_answer_lets_a_verifier_allow_after_enforced() {
    breaks(BESIDE_ANOTHER, Rule::ProofCountsFromItsSending);
}

#[test]
fn a_read_that_the_watch_has_not_come_to_is_no_proof() {
    breaks(BESIDE_ANOTHER, Rule::ProofNeedsTheWatch);
}

#[test]
fn a_watermark_that_runs_before_the_index_lets_a_verifier_allow_after_enforced() {
    breaks(BESIDE_ANOTHER, Rule::IndexBeforeWatermark);
}

#[test]
fn an_older_event_of_an_overlapping_watch_lets_a_verifier_allow_after_enforced() {
    breaks(BESIDE_ANOTHER, Rule::OlderEventsAreDropped);
}

/// What is older than the list and above what was applied before it: the list's page is undone, and what the old watch
/// brings next is dropped.
#[test]
fn an_event_while_a_list_is_taken_in_lets_a_verifier_allow_after_enforced() {
    breaks(BESIDE_ANOTHER, Rule::NoEventsDuringAList);
}

#[test]
fn a_fence_of_renewals_only_lets_a_verifier_allow_after_enforced() {
    breaks(BESIDE_ANOTHER, Rule::FenceOfFreshness);
}

#[test]
fn a_fence_of_freshness_only_lets_a_verifier_allow_after_enforced() {
    breaks(BESIDE_ANOTHER, Rule::FenceOfRenewal);
}

#[test]
fn a_renewal_that_counts_from_its_answer_lets_a_verifier_allow_after_enforced() {
    breaks(BESIDE_ANOTHER, Rule::RenewalCountsFromItsSending);
}

#[test]
fn an_old_proof_beside_a_new_lease_lets_a_verifier_allow_after_enforced() {
    breaks(BESIDE_ANOTHER, Rule::NewProofAfterNewLease);
}

#[test]
fn a_proof_under_way_when_the_lease_was_found_gone_lets_a_verifier_allow_after_enforced() {
    breaks(BESIDE_ANOTHER, Rule::ProofUnderWayIsVoid);
}

#[test]
fn a_new_proof_before_the_new_leases_answer_lets_a_verifier_allow_after_enforced() {
    breaks(BESIDE_ANOTHER, Rule::AnswerBeforeNewProof);
}

#[test]
fn a_fence_that_loads_freshness_before_the_renewal_lets_a_verifier_allow_after_enforced() {
    breaks(BESIDE_ANOTHER, Rule::RenewalLoadedFirst);
}

#[test]
fn a_fence_before_the_request_is_read_lets_a_verifier_allow_after_enforced() {
    breaks(BESIDE_ANOTHER, Rule::FenceAfterRequest);
}

#[test]
fn a_fence_after_the_index_is_asked_lets_a_verifier_allow_after_enforced() {
    breaks(BESIDE_ANOTHER, Rule::FenceBeforeIndex);
}

#[test]
fn a_lease_deleted_before_answering_ends_lets_a_verifier_allow_after_enforced() {
    breaks(BESIDE_ANOTHER, Rule::StopBeforeDeletion);
}

#[test]
fn a_lease_that_is_collected_with_its_pod_lets_a_verifier_allow_after_enforced() {
    breaks(BESIDE_ANOTHER, Rule::LeaseIsNobodysChild);
}

#[test]
fn leases_listed_before_the_change_was_seen_let_a_verifier_allow_after_enforced() {
    breaks(BESIDE_ANOTHER, Rule::ListAfterChange);
}

#[test]
fn an_expired_lease_is_no_proof() {
    breaks(BESIDE_ANOTHER, Rule::ExpiryProvesNothing);
}

/// On one perfect clock one could count from the change; the API server's is a wall clock.
#[test]
fn a_wait_that_counts_from_a_time_stamp_of_the_change_lets_a_verifier_allow_after_enforced() {
    breaks(BESIDE_ANOTHER, Rule::WaitCountsFromSeeing);
}

#[test]
fn a_new_leader_that_keeps_the_old_ones_wait_lets_a_verifier_allow_after_enforced() {
    breaks(BESIDE_ANOTHER, Rule::NewLeaderWaitsAnew);
}

#[test]
fn a_margin_that_is_not_above_the_drift_lets_a_verifier_allow_after_enforced() {
    breaks(BESIDE_ANOTHER, Rule::MarginAboveDrift);
}

#[test]
fn a_lease_collected_too_early_lets_a_verifier_allow_after_enforced() {
    breaks(BESIDE_ANOTHER, Rule::CollectedLate);
}

#[test]
fn a_lease_of_a_verifier_without_a_fence_must_not_be_collected() {
    breaks(UNFENCED, Rule::NeverCollectedUnfenced);
}

#[test]
fn a_lease_collected_though_it_was_renewed_lets_a_verifier_allow_after_enforced() {
    breaks(BESIDE_ANOTHER, Rule::CollectedInItsVersion);
}

/// Nobody of ours may; the claim assumes it.
#[test]
fn a_lease_deleted_by_hand_beside_another_verifier_breaks_the_claim() {
    println!("{}", explore(&Enforced { deleted_by_hand: true, ..BESIDE_ANOTHER }).story());
}

/// Where nobody deletes Leases by hand this rule is one of honesty only: who has no Lease is fenced, or has yet to list.
#[test]
fn that_nobody_proves_nothing_matters_only_when_the_only_lease_is_deleted_by_hand() {
    explore(&Enforced { without: Some(Rule::NobodyProvesNothing), ..ALONE }).is_safe();
    explore(&Enforced { deleted_by_hand: true, ..ALONE }).is_safe();
    breaks(Enforced { deleted_by_hand: true, ..ALONE }, Rule::NobodyProvesNothing);
}
