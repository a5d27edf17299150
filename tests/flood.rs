//! Floods: connections that send nothing, and keys that nobody has. A good key goes on being answered.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "flood/keys.rs"]
mod keys;
#[path = "flood/silence.rs"]
mod silence;
#[path = "support/mod.rs"]
mod support;
#[allow(dead_code)]
#[path = "serving/wire.rs"]
mod wire;

use support::cluster::Cluster;
use support::keywright::Running;
use support::space::Space;
use tokio::sync::{Mutex, MutexGuard, OnceCell};

/// What all tests of this binary share: the operator that minted one key.
struct Stage {
    cluster: &'static Cluster,
    /// Held so that it goes on.
    #[allow(dead_code)]
    operator: Running,
    /// Passes every route.
    key: String,
}

async fn stage() -> &'static Stage {
    static STAGE: OnceCell<Stage> = OnceCell::const_new();
    STAGE
        .get_or_init(async || {
            let cluster = Cluster::shared().await;
            let operator = Running::operator(cluster, &[]).await.unwrap().ready().await;
            let key = Space::new(cluster).await.ready_key("storefront").await;
            Stage { cluster, operator, key }
        })
        .await
}

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
