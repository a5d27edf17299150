//! `Enforced`: when status says that a change is enforced, does no verifier allow by what was before it?
//!
//! **Modelled.** One key, which is disabled once, on an API server with one linear history. Verifiers that start (Lease, list,
//! ready), watch with any delay, list anew, prove freshness, renew their Lease, stop or crash, and answer requests. An operator
//! that sees the change, lists the Leases, concludes, collects silent Leases, and crashes. Whoever has two things to do one
//! after the other may be held between them for any time: that is a pause, a slow network, a partition. Writes and
//! answers get lost. The operator's clock may gain a tick on the others' while a wait lasts.
//!
//! **Left away.** One resource instead of four: a change is of one resource, and the fence takes the oldest of four
//! proofs, so the other three can only close it earlier. One change: a generation is concluded by itself. One drift of one
//! tick: of all waits only the one that ends in `Enforced` counts. A wait for each Lease's own staleness, which is less than the
//! design's wait for the largest. What happens to a process that crashed and came back under a new name is what happens to
//! two processes. A restore of etcd from a backup, where versions run back, is not in it.
//!
//! **Bounds.** `max-staleness` 1 or 2 ticks, or 0 which is never; the drift 1, the margin 2. One verifier in full, beside which
//! another may have acknowledged everything already (whatever others do can only delay the conclusion, or save it from being
//! `NoVerifier`), and two in full with fewer faults.

use std::fmt::{self, Debug};

use super::explorer::Model;

mod claims;
mod operator;
mod verifier;

/// How many ticks the operator's clock may gain during a wait.
const DRIFT: u8 = 1;

/// What the protocol asks for, so that each can be taken out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// A verifier writes its Lease before it lists.
    LeaseBeforeList,
    /// It has the answer to that write before it lists.
    AnswerBeforeList,
    /// The moment of a proof is noted before its read is sent.
    ProofCountsFromItsSending,
    /// The watch must come to what the read showed.
    ProofNeedsTheWatch,
    /// The index takes a change in before it is said to be applied.
    IndexBeforeWatermark,
    /// Where watches overlap, an event not above what was applied is dropped.
    OlderEventsAreDropped,
    /// No event is taken in while a list is.
    NoEventsDuringAList,
    /// The fence looks at the last proof of freshness.
    FenceOfFreshness,
    /// The fence looks at the last acknowledged renewal.
    FenceOfRenewal,
    /// A renewal counts from when it was sent.
    RenewalCountsFromItsSending,
    /// Where the Lease was gone, the proof there is counts for nothing.
    NewProofAfterNewLease,
    /// Nor does one that is under way.
    ProofUnderWayIsVoid,
    /// The next is asked for when the new Lease's answer is there.
    AnswerBeforeNewProof,
    /// Of the two, the renewal is loaded first: its successor comes only after the proof was made void.
    RenewalLoadedFirst,
    /// The request is read before the fence is looked at.
    FenceAfterRequest,
    /// The fence is looked at before the index is asked.
    FenceBeforeIndex,
    /// A verifier stops answering before it deletes its Lease.
    StopBeforeDeletion,
    /// Nobody deletes the Lease of a process that answers, as the garbage collector would with its Pod's child.
    LeaseIsNobodysChild,
    /// The operator lists the Leases after it has seen the change.
    ListAfterChange,
    /// That a Lease has expired proves nothing.
    ExpiryProvesNothing,
    /// The wait counts from when this operator saw the change.
    WaitCountsFromSeeing,
    /// A new leader's waits begin anew.
    NewLeaderWaitsAnew,
    /// The margin is above what clocks can drift apart.
    MarginAboveDrift,
    /// No verifier at all is no proof.
    NobodyProvesNothing,
    /// A Lease is collected only after `max-staleness` and a margin of silence.
    CollectedLate,
    /// Never where `max-staleness` is 0.
    NeverCollectedUnfenced,
    /// It is deleted in the version whose silence was measured.
    CollectedInItsVersion,
}

/// What is explored.
#[derive(Clone, Copy)]
pub struct Enforced<const N: usize> {
    /// In ticks; 0 is never.
    pub max_staleness: u8,
    /// Is there another verifier, which has acknowledged already?
    pub another: bool,
    /// Do messages get lost, operators and verifiers crash, verifiers stop?
    pub faults: bool,
    /// Does somebody delete Leases by hand?
    pub deleted_by_hand: bool,
    /// What is not kept.
    pub without: Option<Rule>,
}

/// A message to the API server and its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Read {
    None,
    /// So long ago.
    Sent(u8),
    /// The same; did it show the change?
    Answered(u8, bool),
    /// It is a list, and the index has taken in what it shows.
    Listing(u8, bool),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Write {
    None,
    Sent { age: u8, mark: bool, creates: bool },
    Applied(u8),
    NotFound,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Life {
    Off,
    Starting,
    /// Its list is complete, its Lease is not there yet.
    Listed,
    Ready,
    /// It goes on answering though its Lease is deleted.
    Leaving,
    Stopped,
    Dead,
}

/// How far a request has come; only those count that are read after `Enforced`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Request {
    None,
    /// The fence was looked at before there was one.
    Foreseen,
    Read,
    /// One half of the fence was looked at.
    Half,
    /// All of it was.
    Passed,
    /// The index said yes, and the fence was not looked at.
    Judged,
}

/// One verifier, its Lease, and what the operator's watch knows of that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Verifier {
    life: Life,
    joined: bool,
    refuses: bool,
    applied: bool,
    fresh: u8,
    renewed: u8,
    read: Read,
    write: Write,
    request: Request,
    lease: Option<bool>,
    is_latest: bool,
    silent: Option<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Listed {
    Absent,
    Behind,
    Passed,
}

/// Everything.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct State<const N: usize> {
    disabled: bool,
    drifted: u8,
    waited: Option<u8>,
    listed: Option<[Listed; N]>,
    enforced: bool,
    allowed: bool,
    verifiers: [Verifier; N],
}

/// What happens.
#[derive(Clone, Copy, Debug)]
pub enum Step {
    KeyIsDisabled,
    TimePasses,
    TheOperatorsClockGains,
    OperatorSeesTheChange,
    OperatorListsLeases,
    OperatorSaysEnforced,
    OperatorFindsNoProof,
    OperatorIsReplaced,
    OperatorSeesTheLease,
    OperatorCollectsTheLease,
    SomebodyDeletesTheLease,
    Starts,
    SendsItsLease,
    ItsLeaseIsWritten,
    ItsLeaseIsNotFound,
    AnswerToItsLease,
    WriteOrAnswerIsLost,
    SendsAConsistentRead,
    ItsReadIsAnswered,
    ReadIsLost,
    TakesAPageIn,
    TakesItsListOver,
    GetsAnEventInBetween,
    ProvesItsFreshness,
    AppliesTheChange,
    SaysAppliedTooEarly,
    GetsAnOlderEvent,
    Stops,
    DeletesItsLease,
    Dies,
    LooksAtTheFenceTooEarly,
    ReadsARequest,
    LooksAtItsRenewal,
    LooksAtItsFreshness,
    AsksTheIndexTooEarly,
    Allows,
    Refuses,
}

/// What happens, and to which verifier.
#[derive(Clone, Copy)]
pub struct Happens(Step, Option<usize>);

impl Debug for Happens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self(step, None) => write!(f, "{step:?}"),
            Self(step, Some(verifier)) => write!(f, "{step:?} (verifier {verifier})"),
        }
    }
}

type To<const N: usize> = Vec<(Happens, State<N>)>;

impl<const N: usize> Enforced<N> {
    fn keeps(&self, rule: Rule) -> bool {
        self.without != Some(rule)
    }

    /// How long the operator waits.
    fn wait(&self) -> u8 {
        self.max_staleness + DRIFT + u8::from(self.keeps(Rule::MarginAboveDrift))
    }

    fn never(&self) -> u8 {
        self.max_staleness + 1
    }

    fn older(&self, age: u8) -> u8 {
        if self.max_staleness == 0 { age } else { (age + 1).min(self.never()) }
    }

    fn is_young(&self, age: u8) -> bool {
        age <= self.max_staleness
    }

    fn time(&self, state: &State<N>, to: &mut To<N>) {
        let mut later = *state;
        self.operators_clock(&mut later);
        if state.drifted < DRIFT {
            to.push((Happens(Step::TheOperatorsClockGains, None), State { drifted: state.drifted + 1, ..later }));
        }
        for verifier in &mut later.verifiers {
            verifier.fresh = self.older(verifier.fresh);
            verifier.renewed = self.older(verifier.renewed);
            verifier.read = match verifier.read {
                Read::None => Read::None,
                Read::Sent(age) => Read::Sent(self.older(age)),
                Read::Answered(age, shows) => Read::Answered(self.older(age), shows),
                Read::Listing(age, shows) => Read::Listing(self.older(age), shows),
            };
            verifier.write = match verifier.write {
                Write::Sent { age, mark, creates } => Write::Sent { age: self.older(age), mark, creates },
                Write::Applied(age) => Write::Applied(self.older(age)),
                other => other,
            };
        }
        to.push((Happens(Step::TimePasses, None), later));
    }

    fn operators_clock(&self, state: &mut State<N>) {
        let older = |age: u8| (age + 1).min(self.wait());
        state.waited = state.waited.map(older);
        for verifier in &mut state.verifiers {
            verifier.silent = verifier.silent.map(older);
        }
    }

    fn off(&self) -> Verifier {
        Verifier {
            life: Life::Off,
            joined: false,
            refuses: false,
            applied: false,
            fresh: self.never(),
            renewed: self.never(),
            read: Read::None,
            write: Write::None,
            request: Request::None,
            lease: None,
            is_latest: false,
            silent: None,
        }
    }
}

fn lose_lease(verifier: &mut Verifier) {
    (verifier.lease, verifier.is_latest, verifier.silent) = (None, false, None);
}

fn put<const N: usize>(state: &State<N>, n: usize, step: Step, change: &dyn Fn(&mut Verifier), to: &mut To<N>) {
    let mut next = *state;
    change(&mut next.verifiers[n]);
    to.push((Happens(step, Some(n)), next));
}

impl<const N: usize> Model for Enforced<N> {
    type State = State<N>;
    type Step = Happens;

    fn begin(&self) -> State<N> {
        State {
            disabled: false,
            drifted: 0,
            waited: None,
            listed: None,
            enforced: false,
            allowed: false,
            verifiers: [self.off(); N],
        }
    }

    fn steps(&self, state: &State<N>, to: &mut To<N>) {
        self.time(state, to);
        self.operator(state, to);
        for n in 0..N {
            self.life(state, n, to);
            self.lease(state, n, to);
            self.watch(state, n, to);
            self.requests(state, n, to);
        }
    }

    fn wrong(&self, state: &State<N>) -> Option<&'static str> {
        state.allowed.then_some("a request that came after Enforced was allowed")
    }

    fn is_goal(&self, state: &State<N>) -> bool {
        state.enforced
    }
}
