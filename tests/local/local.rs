//! `make up`, `make demo` and `make down`: a real control plane with Keywright on it, on this machine.

#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::panic)]

#[path = "../support/mod.rs"]
mod support;

mod demo;
mod supervise;
mod up;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use support::Result;

/// Where gateways ask.
const VERIFIER: u16 = 7070;
/// Where Envoy asks.
const VERIFIER_GRPC: u16 = 7071;
/// The verifier's probes and metrics.
const VERIFIER_ADMIN: u16 = 7072;
/// The operator's probes and metrics.
const OPERATOR_ADMIN: u16 = 7073;

#[tokio::main]
async fn main() -> ExitCode {
    let command = std::env::args().nth(1).unwrap_or_default();
    let outcome = match command.as_str() {
        "up" => up::up().await,
        "down" => up::down(),
        "demo" => demo::demo().await,
        "supervise" => supervise::supervise().await,
        _ => {
            eprintln!("usage: local up | demo | down (see `make help`)");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nfailed: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Everything that `make up` keeps.
fn state() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(".local")
}

/// kubectl, as the README tells people to call it.
fn kubectl(args: &[&str]) -> Result<String> {
    let mut command = std::process::Command::new(state().join("bin/kubectl"));
    command.env("KUBECONFIG", state().join("kubeconfig")).current_dir(env!("CARGO_MANIFEST_DIR"));
    support::process::output(command.args(args))
}
