//! A real control plane with Keywright installed on it: for the tests, and for `make up`.

#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

pub mod chart;
pub mod cluster;
pub mod control_plane;
pub mod documents;
pub mod http;
pub mod keywright;
pub mod process;
pub mod proxy;
pub mod rights;
pub mod space;
pub mod stage;
pub mod wire;

use std::fmt::Display;
use std::future::Future;
use std::time::{Duration, Instant};

/// How long a condition may take to come true. Generous: it is a bound on hanging, not an expectation.
pub const PATIENCE: Duration = Duration::from_mins(1);

pub type Error = Box<dyn std::error::Error + Send + Sync>;
pub type Result<T> = std::result::Result<T, Error>;

/// Asks again and again until there is an answer, and fails with the last refusal when patience ends.
pub async fn eventually<T, E, F>(what: &str, mut ask: impl FnMut() -> F) -> T
where
    E: Display,
    F: Future<Output = std::result::Result<T, E>>,
{
    let start = Instant::now();
    loop {
        match ask().await {
            Ok(answer) => return answer,
            Err(error) if start.elapsed() > PATIENCE => panic!("{what}: {error}"),
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}
