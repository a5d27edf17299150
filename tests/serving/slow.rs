//! Clients that begin something and do not go on. Each holds one of the connections there are; none may hold it for ever.

use std::time::{Duration, Instant};

use super::certificates::{Authority, Files};
use super::support::keywright::Running;
use super::wire::{Conversation, Dial, plain};
use super::{question, verifier};

/// More than the longest time for a first byte or a body, or for what is left unread.
const PATIENCE: Duration = Duration::from_secs(100);

/// Waits until the only connection that this verifier bears is free again.
async fn until_free(verifier: &Running, dial: impl Fn() -> Dial) {
    let start = Instant::now();
    loop {
        let asked = async {
            let mut next = Conversation::dial(dial()).await.ok()?;
            next.send(&question("").await).await.ok()?;
            next.answer().await.ok()?
        };
        match asked.await {
            Some(heard) if heard.is_ok() => return,
            heard => assert!(start.elapsed() < PATIENCE, "{}: still {heard:?}", verifier.address),
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

async fn assert_let_go(first: &[u8]) {
    let verifier = verifier(&["--max-connections=1"]).await;
    let mut slow = plain(&verifier.address).await;
    let _ = tokio::time::timeout(Duration::from_secs(1), slow.send(first)).await;
    until_free(&verifier, || Dial::to(&verifier.address)).await;
}

#[tokio::test]
async fn the_first_word_of_http_2_and_no_more_is_let_go() {
    assert_let_go(b"PRI * HT").await;
}

#[tokio::test]
async fn http_2_agreed_upon_in_tls_and_then_silence_is_let_go() {
    let authority = Authority::new();
    let files = Files::new(&authority.issue());
    let [certificate, key] = files.flags();
    let verifier = verifier(&["--max-connections=1", &certificate, &key]).await;
    let dial = |protocol| Dial { address: verifier.address.clone(), tls: Some(authority.client(None, &[protocol])) };
    let _slow = Conversation::dial(dial("h2")).await.unwrap();
    until_free(&verifier, || dial("http/1.1")).await;
}

#[tokio::test]
async fn half_a_body_is_let_go() {
    assert_let_go(b"POST /v1/verify HTTP/1.1\r\nHost: v\r\nContent-Length: 100\r\n\r\n{").await;
}

#[tokio::test]
async fn a_client_that_asks_and_never_reads_is_let_go() {
    assert_let_go(&question("").await.repeat(100_000)).await;
}
