//! Connections of one peer address, and connections that nobody uses.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{interval, timeout};

use super::frames::{Connection, Outcome};
use super::support::{PATIENCE, eventually};
use super::wire::{Dial, dial_from, plain};
use super::{question, verifier};

/// The smallest budget: 8 MiB. A peer may take half, and HTTP/2 takes 1.3 MiB of it for a connection.
const SMALL: [&str; 2] = ["--connection-memory=8", "--peer-share=50"];
const IDLE: &str = "--idle-timeout=1s";
/// An HTTP/2 connection without a stream ends after up to twice the idle time, and a few seconds for its last words.
const CLOSED: Duration = Duration::from_secs(15);
const GREETING: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// Begins HTTP/2, and returns true if the server answers with its settings.
async fn is_served(stream: &mut TcpStream) -> bool {
    let mut settings = [0; 9];
    let asked = async {
        stream.write_all(GREETING).await?;
        stream.read_exact(&mut settings).await
    };
    timeout(PATIENCE, asked).await.expect("settings, or the end").is_ok()
}

#[tokio::test]
async fn one_peer_takes_its_share_and_leaves_the_rest() {
    let verifier = verifier(&SMALL).await;
    let mut held = Vec::new();
    let refused = loop {
        let mut stream = dial_from("127.0.0.2", &verifier.address).await.unwrap();
        if !is_served(&mut stream).await {
            break held.len();
        }
        held.push(stream);
    };
    assert!((2..8).contains(&refused), "{refused} connections");
    let mut other = dial_from("127.0.0.3", &verifier.address).await.unwrap();
    assert!(is_served(&mut other).await, "another peer is served");
    plain(&verifier.address).await.assert_passes().await;
    held.pop();
    eventually("a connection that ends returns its share", async || {
        let mut next = dial_from("127.0.0.2", &verifier.address).await.unwrap();
        if is_served(&mut next).await { Ok(()) } else { Err("refused") }
    })
    .await;
}

#[tokio::test]
async fn a_peer_over_its_share_is_answered_503_over_http_1() {
    let verifier = verifier(&SMALL).await;
    let whole = question("").await;
    let mut held = Vec::new();
    let answer = loop {
        let mut stream = dial_from("127.0.0.2", &verifier.address).await.unwrap();
        stream.write_all(&whole).await.unwrap();
        let mut answer = vec![0; 1024];
        let read = timeout(PATIENCE, stream.read(&mut answer)).await.unwrap().unwrap();
        answer.truncate(read);
        if answer.starts_with(b"HTTP/1.1 503 ") {
            break String::from_utf8(answer).unwrap();
        }
        held.push(stream);
        assert!(held.len() < 4096 / 8, "nothing is refused");
    };
    assert!(answer.contains("x-keywright-code: not_ready") && answer.contains("retry-after: 1"), "{answer}");
    plain(&verifier.address).await.assert_passes().await;
}

async fn until_closed(mut stream: TcpStream) -> Duration {
    let start = Instant::now();
    let mut rest = Vec::new();
    let _ = timeout(PATIENCE, stream.read_to_end(&mut rest)).await.expect("it is closed");
    start.elapsed()
}

#[tokio::test]
async fn idle_http_2_connections_are_closed() {
    let verifier = verifier(&[IDLE]).await;
    // One that never asks, and one that does not let its answer be sent.
    let unread = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\x06\x04\0\0\0\0\0\0\x04\0\0\0\0\0\0\x06\x01\x05\0\0\0\x01\x82\x86\x04\x02/a";
    for (what, address, bytes) in [
        ("no stream", &verifier.address, GREETING),
        ("no stream, gRPC", &verifier.grpc, GREETING),
        ("an unread answer", &verifier.address, &unread[..]),
    ] {
        let mut stream = dial_from("127.0.0.1", address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let took = until_closed(stream).await;
        assert!((Duration::from_millis(900)..CLOSED).contains(&took), "{what}: {took:?}");
    }
}

#[tokio::test]
async fn an_http_2_connection_in_use_stays() {
    let verifier = verifier(&[IDLE]).await;
    let mut connection = Connection::open(Dial::to(&verifier.grpc)).await.unwrap();
    let mut pace = interval(Duration::from_millis(200));
    for _ in 0..25 {
        pace.tick().await;
        let outcome = connection.call("/envoy.service.auth.v3.Authorization/Check").await.unwrap();
        assert_eq!(outcome, Outcome::Answered);
    }
}

#[tokio::test]
async fn half_a_head_is_given_up_after_the_idle_timeout() {
    let verifier = verifier(&[IDLE]).await;
    let mut stream = dial_from("127.0.0.1", &verifier.address).await.unwrap();
    stream.write_all(b"GET /auth HTTP/1.1\r\nHost").await.unwrap();
    let took = until_closed(stream).await;
    assert!((Duration::from_millis(900)..CLOSED).contains(&took), "{took:?}");
}
