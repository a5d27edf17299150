//! The protocols, checked: every order in which things can happen, and what happens when a rule is not kept.

#![allow(clippy::panic, clippy::unwrap_used)]
// The stories are worth reading: `cargo test --test models -- --nocapture`.
#![allow(clippy::print_stdout)]
// What is explored is small, and asked by reference all the same, as every model is.
#![allow(clippy::trivially_copy_pass_by_ref)]

#[path = "models/adoption.rs"]
mod adoption;
#[path = "models/enforced/mod.rs"]
mod enforced;
#[path = "models/explorer.rs"]
mod explorer;
#[path = "models/issuing/mod.rs"]
mod issuing;
#[path = "models/revoking.rs"]
mod revoking;
