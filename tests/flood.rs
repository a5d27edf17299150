//! Floods: connections that send nothing, and keys that nobody has. A good key goes on being answered.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "flood/keys.rs"]
mod keys;
#[path = "flood/memory.rs"]
mod memory;
#[path = "flood/silence.rs"]
mod silence;
#[path = "support/mod.rs"]
mod support;
#[allow(dead_code)]
#[path = "serving/wire.rs"]
mod wire;

use support::keywright::Running;
use support::stage::stage;
use tokio::sync::{Mutex, MutexGuard};

/// One flood at a time: each is as much as the machine can bear.
async fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::const_new(());
    TURN.lock().await
}

/// A verifier of the test's own. The key is older than it is, so it passes as soon as the verifier is ready.
async fn verifier(args: &[&str]) -> Running {
    Running::verifier(stage().await.cluster, args).await.unwrap().ready().await
}

/// A request of HTTP/1.1 about this key.
fn about(key: &str) -> Vec<u8> {
    format!("GET /auth?scope=any HTTP/1.1\r\nHost: verifier\r\nX-API-Key: {key}\r\n\r\n").into_bytes()
}

/// One that passes, with these header lines more.
async fn question(more: &str) -> Vec<u8> {
    let mut bytes = about(&stage().await.key);
    bytes.splice(bytes.len() - 2.., [more.as_bytes(), b"\r\n"].concat());
    bytes
}
