//! Every doubt is a deny: whatever is damaged in what the verifier knows, whatever breaks while it decides and however a
//! request comes in, a call passes only when nothing speaks against it and nothing went wrong.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "doubt/ask.rs"]
mod ask;
#[path = "doubt/fault.rs"]
mod fault;
#[path = "doubt/socket.rs"]
mod socket;
#[path = "support/values.rs"]
#[allow(dead_code)]
mod values;
#[path = "doubt/world.rs"]
mod world;

use std::cell::Cell;
use std::time::Duration;

use ask::{Ask, Told, Transport};
use fault::Fault;
use futures::future::join_all;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use world::{Verifier, World};

/// A call, and what goes wrong with it.
#[derive(Clone, Debug)]
struct Case {
    world: World,
    ask: Ask,
    transport: Transport,
    fault: Fault,
}

impl Case {
    fn any() -> impl Strategy<Value = Self> {
        (World::any(), Ask::any(), Transport::any(), Fault::any()).prop_map(|(world, ask, transport, fault)| Self {
            world,
            ask,
            transport,
            fault,
        })
    }

    /// Nothing speaks against the call.
    fn passes(&self) -> bool {
        let Self { world, ask, transport, .. } = self;
        ask.is_valid_over(*transport) && world.passes(ask, *transport)
    }

    /// Deciding it asks for an argon2id record.
    fn needs_proof(&self) -> bool {
        self.ask.is_valid_over(self.transport) && self.world.needs_proof(self.ask.key)
    }

    /// The fault lies on the way of this call.
    fn is_struck(&self) -> bool {
        let is_verify = self.transport == Transport::Verify;
        match self.fault {
            Fault::None | Fault::GivenUp(_) => false,
            Fault::NoRuntime => is_verify || self.needs_proof(),
            Fault::LogPanics => self.needs_proof() && self.world.has_unreadable_record(),
            Fault::Body(_) => is_verify,
        }
    }
}

fn runner(cases: u32) -> TestRunner {
    TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() })
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

#[test]
fn whatever_is_damaged_and_whatever_breaks_a_call_passes_only_when_nothing_speaks_against_it() {
    let runtime = runtime();
    let (passed, struck, given_up) = (Cell::new(0), Cell::new(0), Cell::new(0));
    let count = |what: &Cell<u32>| what.set(what.get() + 1);
    let outcome = runner(6000).run(&Case::any(), |case| {
        let verifier = Verifier::of(&case.world, 1);
        let told = case.fault.during(&runtime, ask::asked(&verifier, &case.ask, case.transport, &case.fault));
        match &told {
            None => {
                prop_assert!(matches!(case.fault, Fault::GivenUp(_)), "{:?} is answered", case.fault);
                count(&given_up);
            }
            Some(told) if case.is_struck() => {
                prop_assert!(!told.passes, "{told:?}");
                prop_assert!(!case.fault.is_ours() || told.status == 503, "a panic of ours is a 503: {told:?}");
                count(&struck);
            }
            Some(told) => prop_assert_eq!(told.passes, case.passes(), "{:?}", told),
        }
        // Nothing of the fault remains.
        let again = runtime.block_on(ask::asked(&verifier, &case.ask, case.transport, &Fault::None));
        prop_assert_eq!(again.passes, case.passes(), "asked again: {:?}", again);
        if again.passes {
            count(&passed);
        }
        Ok(())
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
    for (what, times) in [("passed", passed), ("were struck", struck), ("were given up", given_up)] {
        assert!(times.get() > 100, "only {} of the calls {what}", times.get());
    }
}

#[test]
fn a_check_whose_turn_does_not_come_in_time_is_refused_over_every_transport() {
    let runtime = runtime();
    let waited = Cell::new(0);
    let calls = prop::collection::vec((Ask::any(), Transport::any()), 300);
    let outcome = runner(2).run(&(World::argon2(), calls), |(world, calls)| {
        // No turn at all: as if others held all of them for ever.
        let verifier = Verifier::of(&world, 0);
        let asked = calls.iter().map(|(ask, transport)| ask::asked(&verifier, ask, *transport, &Fault::None));
        let told: Vec<Told> = runtime.block_on(join_all(asked));
        for (told, (ask, transport)) in told.iter().zip(&calls) {
            let case = Case { world: world.clone(), ask: ask.clone(), transport: *transport, fault: Fault::None };
            if case.needs_proof() {
                prop_assert!(!told.passes && told.status == 503, "{told:?} to {case:?}");
                waited.set(waited.get() + 1);
            } else {
                prop_assert_eq!(told.passes, case.passes(), "{:?} to {:?}", told, case);
            }
        }
        Ok(())
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
    assert!(waited.get() > 100, "only {} of the calls waited", waited.get());
}

/// How long the last of many may take; the first of them hold the turns.
const LONG: Duration = Duration::from_secs(20);

#[test]
fn a_thousand_calls_given_up_while_they_wait_for_argon2id_leave_no_turn_taken() {
    let runtime = runtime();
    let verifier = Verifier::of(&World::proving(), 1);
    let ask = Ask::good();
    runtime.block_on(async {
        let calls = (0..1000).map(async |n| {
            let call = ask::asked(&verifier, &ask, Transport::ALL[n % 4], &Fault::None);
            ask::given_up(call, n / 4 % 5).await
        });
        for told in tokio::time::timeout(LONG, join_all(calls)).await.unwrap().into_iter().flatten() {
            assert!(told.passes || told.status == 503, "{told:?}");
        }
        for transport in Transport::ALL {
            assert!(ask::asked(&verifier, &ask, transport, &Fault::None).await.passes);
        }
    });
}
