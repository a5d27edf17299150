//! The books of what was counted, without a cluster: no call is lost or written twice whatever becomes of a write, and
//! ten thousand keys share a budget fairly.

#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "ledger/model.rs"]
mod model;
#[path = "ledger/scale.rs"]
mod scale;
#[path = "../benches/support/mod.rs"]
mod support;
#[path = "ledger/threads.rs"]
mod threads;
#[path = "ledger/turns.rs"]
mod turns;

use std::sync::{Arc, LazyLock};

use keywright::key::KeyId;
use keywright::verifier::activity::ledger::Ledger;
use keywright::verifier::activity::usage::Usage;
use keywright::verifier::subject::{Subject, Uid};
use support::{Filled, filled_with, presented};

/// Keys as the index knows them; each test has a ledger of its own.
static FILLED: LazyLock<Filled> = LazyLock::new(|| filled_with(10_000, 10_000));

/// The ids of so many keys.
fn ids(count: usize) -> Vec<KeyId> {
    FILLED.known[..count].iter().map(|text| presented(text).id()).collect()
}

/// The ApiKey of a value.
fn subject(id: KeyId) -> Arc<Subject> {
    FILLED.index.held(id).live().unwrap().subject().clone()
}

/// The counters of a key, as its first call asks for them.
fn usage(ledger: &mut Ledger, id: KeyId) -> Arc<Usage> {
    ledger.usage(id, &subject(id))
}

/// The key that a value is of.
fn uid(id: KeyId) -> Uid {
    subject(id).uid()
}
