//! The `keywright` binary: operator, verifier, crds.

use std::process::ExitCode;

use clap::Parser;
use mimalloc::MiMalloc;

/// With the C library's own, a call through gRPC took nearly twice as long beside 100,000 keys: docs/PERFORMANCE.md.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

#[tokio::main]
async fn main() -> ExitCode {
    keywright::cli::Cli::parse().run().await
}
