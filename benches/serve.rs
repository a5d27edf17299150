//! What a verifier adds to the stack that it stands on: `/auth` and `Check` beside a server of the same stack that
//! answers the same bytes and looks at nothing; and behind a real Envoy, beside Envoy's own check and none.
//!
//! `cargo bench --bench serve -- [http|grpc|envoy|all] [--keys N] [--rounds N] [--seconds N]`
//!
//! Servers run as children, on a core of their own where there are two. What counts are the ratios: each is taken within
//! a round, in which the servers take turns, and the median of the rounds holds when the speed of the machine drifts.

#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::cast_precision_loss, missing_docs)]
#![allow(clippy::await_holding_refcell_ref)] // there is one task

#[path = "serve/answers.rs"]
mod answers;
#[path = "serve/beside.rs"]
mod beside;
#[path = "serve/child.rs"]
mod child;
#[path = "serve/envoy.rs"]
mod envoy;
#[path = "serve/grpc.rs"]
mod grpc;
#[path = "serve/http1.rs"]
mod http1;
#[path = "serve/load.rs"]
mod load;
#[path = "serve/process.rs"]
mod process;
#[path = "support/mod.rs"]
mod support;

use std::time::Duration;

use mimalloc::MiMalloc;

/// The program's.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// How much is measured.
#[derive(Clone, Copy)]
pub struct Scale {
    pub keys: usize,
    pub rounds: usize,
    pub span: Duration,
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let value = |name: &str| args.iter().position(|arg| arg == name).and_then(|at| args.get(at + 1)).cloned();
    let number = |name: &str, default: usize| value(name).map_or(default, |text| text.parse().unwrap());
    let keys = number("--keys", 100_000);
    if let Some(role) = value("--role") {
        return child::run(&role, keys);
    }
    let seconds = u64::try_from(number("--seconds", 3)).unwrap();
    let scale = Scale { keys, rounds: number("--rounds", 9), span: Duration::from_secs(seconds) };
    process::pin_client();
    let what = args.first().map_or("all", String::as_str);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let is = |name: &str| what == name || !["http", "grpc", "envoy"].contains(&what);
        let servers = beside::Servers::start(keys);
        if is("http") {
            beside::http(&servers, scale).await;
        }
        if is("grpc") {
            beside::grpc(&servers, scale).await;
        }
        servers.memory();
        if is("envoy") {
            envoy::compare(&servers, scale).await;
        }
    });
}
