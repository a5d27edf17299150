//! Bounds: on connections, on silence, on heads.

use std::time::{Duration, Instant};

use futures::future::{join_all, try_join_all};

use super::certificates::{Authority, Files};
use super::support::eventually;
use super::wire::{Conversation, Dial, auth_over, check, http2, plain};
use super::{question, verifier};

/// A new connection may be silent for 10 seconds; the machine may be busy.
const SILENCE: Duration = Duration::from_secs(15);

#[tokio::test]
async fn one_connection_too_many_is_told_503_and_closed_and_has_its_turn_when_another_ends() {
    let verifier = verifier(&["--max-connections=8", "--peer-share=100"]).await;
    let mut eight = Vec::new();
    for _ in 0..8 {
        let mut connection = plain(&verifier.address).await;
        connection.assert_passes().await;
        eight.push(connection);
    }
    for _ in 0..3 {
        let mut ninth = plain(&verifier.address).await;
        let heard = ninth.answer().await.unwrap().expect("it is told");
        assert_eq!((heard.answer.status, heard.code()), (503, "not_ready"), "{heard:?}");
        assert_eq!(heard.answer.header("connection"), Some("close"));
        assert!(heard.answer.header("retry-after").is_some());
        assert!(ninth.answer().await.unwrap().is_none(), "it is closed");
    }
    // One that asks at once is told as well, although nobody reads its question.
    let mut ninth = plain(&verifier.address).await;
    let _ = ninth.send(&question("").await).await;
    let heard = ninth.answer().await.unwrap().expect("it is told");
    assert_eq!((heard.answer.status, heard.code()), (503, "not_ready"), "{heard:?}");
    for connection in &mut eight {
        connection.assert_passes().await;
    }
    assert_eq!(
        check(http2(Dial::to(&verifier.grpc)).await.unwrap()).await.unwrap(),
        0,
        "each listener has its own eight"
    );

    drop(eight.pop());
    eventually("the next is served", async || {
        let mut next = plain(&verifier.address).await;
        next.send(&question("").await).await.map_err(|e| e.to_string())?;
        match next.answer().await.map_err(|e| e.to_string())? {
            Some(heard) if heard.is_ok() => Ok(()),
            heard => Err(format!("{heard:?}")),
        }
    })
    .await;
}

#[tokio::test]
async fn under_tls_one_connection_too_many_is_closed() {
    let authority = Authority::new();
    let files = Files::new(&authority.issue());
    let [certificate, key] = files.flags();
    let verifier = verifier(&["--max-connections=1", &certificate, &key]).await;
    let dial = || Dial { address: verifier.address.clone(), tls: Some(authority.client(None, &["http/1.1"])) };
    let mut first = Conversation::dial(dial()).await.unwrap();
    first.assert_passes().await;
    assert!(Conversation::dial(dial()).await.is_err());
    first.assert_passes().await;
    drop(first);
    eventually("the next is served", async || Conversation::dial(dial()).await.map(drop)).await;
}

#[tokio::test]
async fn a_connection_that_sends_nothing_is_closed_after_ten_seconds() {
    let authority = Authority::new();
    let files = Files::new(&authority.issue());
    let [certificate, key] = files.flags();
    let (open, encrypted) = (verifier(&[]).await, verifier(&[&certificate, &key]).await);
    let start = Instant::now();
    let until_closed = async |address: &str, first: &[u8]| {
        let mut connection = plain(address).await;
        connection.send(first).await.unwrap();
        assert!(connection.answer().await.unwrap().is_none());
        let after = start.elapsed();
        assert!((Duration::from_secs(5)..SILENCE).contains(&after), "{address} after {after:?}");
    };
    // The last begins a handshake and does not go on.
    join_all([
        until_closed(&open.address, b""),
        until_closed(&open.grpc, b""),
        until_closed(&encrypted.address, b""),
        until_closed(&encrypted.grpc, b"\x16\x03\x01\x02"),
    ])
    .await;
}

#[tokio::test]
async fn two_hundred_connections_that_say_nothing_keep_no_good_one_from_its_answer() {
    let verifier = verifier(&[]).await;
    let half = question("").await;
    let idle = (0..200).map(async |n: usize| {
        let mut connection = Conversation::open(&verifier.address).await?;
        // Nothing, a word, or half a head.
        connection.send(&half[..[0, 1, half.len() / 2][n % 3]]).await?;
        Ok::<_, std::io::Error>(connection)
    });
    let idle = try_join_all(idle).await.unwrap();
    let start = Instant::now();
    for _ in 0..20 {
        plain(&verifier.address).await.assert_passes().await;
    }
    assert!(start.elapsed() < Duration::from_secs(5), "20 answers took {:?}", start.elapsed());
    assert_eq!(idle.len(), 200);
}

#[tokio::test]
async fn a_head_that_comes_in_pieces_is_read() {
    let verifier = verifier(&[]).await;
    let mut connection = plain(&verifier.address).await;
    for byte in question("").await.chunks(1) {
        connection.send(byte).await.unwrap();
        tokio::task::yield_now().await;
    }
    assert!(connection.answer().await.unwrap().unwrap().is_ok());
}

#[tokio::test]
async fn a_head_of_more_than_64_kb_is_refused_in_either_version_and_the_server_goes_on() {
    let verifier = verifier(&[]).await;
    let padding = |length: usize| "a".repeat(length);
    let mut within = plain(&verifier.address).await;
    within.send(&question(&format!("Cookie: {}\r\n", padding(48 * 1024))).await).await.unwrap();
    assert!(within.answer().await.unwrap().unwrap().is_ok(), "browsers send cookies");

    // In HTTP/1 hyper looks at the bound between two reads, so that up to twice as much may come through.
    for (what, more) in [
        ("one long header", format!("Cookie: {}\r\n", padding(130 * 1024))),
        ("many headers", format!("X-A: {}\r\n", padding(1500)).repeat(90)),
        ("a long name", format!("{}: a\r\n", padding(130 * 1024))),
        ("more headers than anyone sends", "X-A: a\r\n".repeat(2000)),
    ] {
        let mut connection = plain(&verifier.address).await;
        let _ = connection.send(&question(&more).await).await;
        // It may close before it has read everything, and then the answer may be lost.
        if let Ok(Some(heard)) = connection.answer().await {
            assert!([400, 431].contains(&heard.answer.status), "{what}: {heard:?}");
        }
        assert!(!matches!(connection.answer().await, Ok(Some(_))), "{what}: closed");
    }
    let mut connection = plain(&verifier.address).await;
    let _ = connection.send(format!("GET /auth?scope=any&{} HTTP/1.1\r\n\r\n", padding(130 * 1024)).as_bytes()).await;
    if let Ok(Some(heard)) = connection.answer().await {
        assert!([400, 414, 431].contains(&heard.answer.status), "a long target: {heard:?}");
    }

    let mut channel = http2(Dial::to(&verifier.address)).await.unwrap();
    assert_eq!(auth_over(&mut channel, &padding(48 * 1024)).await.unwrap().1, "ok");
    assert!(auth_over(&mut channel, &padding(65 * 1024)).await.map_or(true, |(_, code)| code != "ok"));
    let mut channel = http2(Dial::to(&verifier.address)).await.unwrap();
    assert_eq!(auth_over(&mut channel, "").await.unwrap().1, "ok");
    plain(&verifier.address).await.assert_passes().await;
}
