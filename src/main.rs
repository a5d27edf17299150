//! The `keywright` binary: operator, verifier, crds.

use std::process::ExitCode;

use clap::Parser;

#[tokio::main]
async fn main() -> ExitCode {
    keywright::cli::Cli::parse().run().await
}
