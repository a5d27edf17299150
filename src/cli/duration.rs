//! Durations on the command line, in Go's form: `90s`, `24h`, `1h30m`.

use std::time::Duration;

/// Parses one that is not zero, such as an interval.
pub(super) fn parse_positive(text: &str) -> Result<Duration, String> {
    match parse(text)? {
        Duration::ZERO => Err("zero would mean without a pause: use 1s or more".to_owned()),
        duration => Ok(duration),
    }
}

/// Parses one.
pub(super) fn parse(text: &str) -> Result<Duration, String> {
    let signed: jiff::SignedDuration =
        text.parse().map_err(|_| format!("`{text}` is no duration: write it like 90s, 15m or 24h"))?;
    Duration::try_from(signed).map_err(|_| format!("`{text}` is negative"))
}
