//! Keywright makes API keys a Kubernetes resource.
//!
//! The rooms, from the pure core outwards:
//!
//! - [`access`]: what a key may do. Levels, scopes, ceilings.
//! - [`key`]: what a key is. Plaintext, id, checksum, hash, tag, and the entry that is its record.
//! - [`api`]: the resources as users write them, and the fixed names.
//! - [`apiserver`]: requests whose answers no single object can disturb.
//! - [`operator`]: turns `ApiKey`s into entries and Secrets.
//! - [`verifier`]: answers "may this request pass?".
//! - [`cli`]: the commands of the `keywright` binary.
//!
//! `access`, `key`, `api`, `operator::{router, api_key::plan}` and `verifier::{decide, index, live}` know no client and no
//! server; `tests/house.rs` holds that.

pub mod access;
pub mod api;
pub mod apiserver;
pub mod cli;
pub mod key;
pub mod operator;
pub mod server;
pub mod telemetry;
pub mod verifier;
