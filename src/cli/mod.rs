//! The commands of the `keywright` binary, one file each.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::telemetry::{self, LogFormat};

mod crds;
mod duration;
mod operator;
mod verifier;

/// It did not work.
const FAILED: u8 = 1;
/// The command line cannot be used.
const USAGE: u8 = 2;

/// API keys as Kubernetes resources.
#[derive(Parser)]
#[command(name = "keywright", version, propagate_version = true, arg_required_else_help = true)]
#[command(
    after_help = "Every flag of operator and verifier can be set in the environment: --admin-listen is KEYWRIGHT_ADMIN_LISTEN.\n\n\
Examples:\n  keywright operator\n  keywright verifier --listen 0.0.0.0:7070 --method-header X-Original-Method\n  keywright crds | kubectl apply -f -"
)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,

    /// What is logged: error, warn, info, debug, trace, or a list of <target>=<level>
    #[arg(long, global = true, env = "KEYWRIGHT_LOG", default_value = "info")]
    log: String,

    /// How log lines are written
    #[arg(long, global = true, env = "KEYWRIGHT_LOG_FORMAT", default_value = "text")]
    log_format: LogFormat,
}

#[derive(Subcommand)]
enum Command {
    /// Turn ApiKeys into entries and Secrets
    Operator(operator::Args),
    /// Answer "may this request pass?" for gateways
    Verifier(Box<verifier::Args>),
    /// Print the CustomResourceDefinitions, or write them into folders
    Crds(crds::Args),
}

impl Cli {
    /// Runs the command and says how it went: 0, 1 (failed) or 2 (usage).
    pub async fn run(self) -> ExitCode {
        if let Err(error) = telemetry::start(&self.log, self.log_format) {
            eprintln!("keywright: --log: {error}");
            return ExitCode::from(USAGE);
        }
        let outcome = match self.command {
            Command::Operator(args) => args.run().await,
            Command::Verifier(args) => args.run().await,
            Command::Crds(args) => args.run(),
        };
        match outcome {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("keywright: {error}");
                ExitCode::from(FAILED)
            }
        }
    }
}

/// What any command may fail with; it is only printed.
type Error = Box<dyn std::error::Error>;
