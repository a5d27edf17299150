//! Logs: one line an event, to stderr. Never a key, never a header.

use clap::ValueEnum;
use tracing_subscriber::filter::{FilterExt, filter_fn};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, fmt, registry};

/// It writes down whole answers that it cannot read, and an answer may hold a Secret.
const NEVER: &str = "kube_client::client";

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For collectors.
    Json,
}

/// Starts logging. `filter` is a level or a list of `target=level`.
///
/// # Errors
/// When the filter cannot be read.
pub fn start(filter: &str, format: LogFormat) -> Result<(), tracing_subscriber::filter::ParseError> {
    let filter = EnvFilter::builder().parse(filter)?.and(filter_fn(|event| event.target() != NEVER));
    let lines = fmt::layer().with_writer(std::io::stderr);
    match format {
        LogFormat::Text => registry().with(lines.with_ansi(false).with_filter(filter)).init(),
        LogFormat::Json => registry().with(lines.json().flatten_event(true).with_filter(filter)).init(),
    }
    Ok(())
}
