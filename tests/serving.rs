//! How a verifier serves: TLS, bounds on connections and heads, requests of bad shape, and the way it stops. Real processes,
//! and clients that speak the protocols by hand, so that they see every byte.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/mod.rs"]
mod support;

#[path = "serving/certificates.rs"]
mod certificates;
#[path = "serving/drain.rs"]
mod drain;
#[path = "serving/frames.rs"]
mod frames;
#[path = "serving/limits.rs"]
mod limits;
#[path = "serving/peers.rs"]
mod peers;
#[path = "serving/reload.rs"]
mod reload;
#[path = "serving/shapes.rs"]
mod shapes;
#[path = "serving/slow.rs"]
mod slow;
#[path = "serving/tls.rs"]
mod tls;
#[path = "serving/unread.rs"]
mod unread;
#[path = "serving/wire.rs"]
mod wire;

use support::keywright::Running;
use support::stage::stage;
use wire::{Conversation, Dial, http2, plain};

/// A verifier of the test's own. The key is older than it is, so it passes as soon as the verifier is ready.
async fn verifier(args: &[&str]) -> Running {
    Running::verifier(stage().await.cluster, args).await.unwrap().ready().await
}

/// A request of HTTP/1.1 that passes, with these header lines more.
async fn question(more: &str) -> Vec<u8> {
    let key = &stage().await.key;
    format!("GET /auth?scope=any HTTP/1.1\r\nHost: verifier\r\nX-API-Key: {key}\r\n{more}\r\n").into_bytes()
}

#[tokio::test]
async fn one_connection_takes_many_requests_one_after_the_other_and_all_at_once() {
    let verifier = verifier(&[]).await;
    let mut connection = Conversation::open(&verifier.address).await.unwrap();
    for _ in 0..3 {
        connection.assert_passes().await;
    }
    connection.send(&question("").await.repeat(5)).await.unwrap();
    for _ in 0..5 {
        assert!(connection.answer().await.unwrap().unwrap().is_ok());
    }
    connection.send(&question("Connection: close\r\n").await).await.unwrap();
    let last = connection.answer().await.unwrap().unwrap();
    assert!(last.is_ok() && last.answer.header("connection") == Some("close"), "{last:?}");
    assert!(connection.answer().await.unwrap().is_none(), "it closes when it is asked to");
}

#[tokio::test]
async fn http_1_0_closes_unless_it_is_asked_to_stay() {
    let verifier = verifier(&[]).await;
    let text = String::from_utf8(question("").await).unwrap().replace("HTTP/1.1", "HTTP/1.0");
    let mut connection = Conversation::open(&verifier.address).await.unwrap();
    connection.send(text.as_bytes()).await.unwrap();
    assert!(connection.answer().await.unwrap().unwrap().is_ok());
    assert!(connection.answer().await.unwrap().is_none());

    let mut connection = Conversation::open(&verifier.address).await.unwrap();
    let stay = text.replace("Host:", "Connection: keep-alive\r\nHost:");
    for _ in 0..2 {
        connection.send(stay.as_bytes()).await.unwrap();
        assert!(connection.answer().await.unwrap().unwrap().is_ok());
    }
}

#[tokio::test]
async fn the_plain_ports_speak_http_2_to_who_begins_with_it() {
    let verifier = verifier(&[]).await;
    let mut channel = http2(Dial::to(&verifier.address)).await.unwrap();
    for _ in 0..2 {
        assert_eq!(wire::auth_over(&mut channel, "").await.unwrap(), (http::Version::HTTP_2, "ok".to_owned()));
    }
    assert_eq!(wire::check(http2(Dial::to(&verifier.grpc)).await.unwrap()).await.unwrap(), 0);
}

#[tokio::test]
async fn whoever_speaks_tls_to_a_plain_port_is_refused_and_the_port_goes_on() {
    let verifier = verifier(&[]).await;
    let authority = certificates::Authority::new();
    for address in [&verifier.address, &verifier.grpc] {
        let dial = Dial { address: address.clone(), tls: Some(authority.client(None, &["h2", "http/1.1"])) };
        assert!(dial.stream().await.is_err());
    }
    plain(&verifier.address).await.assert_passes().await;
}
