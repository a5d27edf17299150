//! Keys that nobody has, and what is no key: argon2id is never asked.

use keywright::key::Plaintext;
use tokio::task::JoinSet;

use super::support::http;
use super::support::keywright::Running;
use super::wire::{Dial, check_key, http2, plain};
use super::{about, stage, turn, verifier};

const CALLS_EACH: usize = 1_500;
const CLIENTS: usize = 6;
/// As the status of the gRPC answer.
const UNAUTHENTICATED: i32 = 16;

/// In turn: a key that was never issued, a known id with another secret, and one that is cut off.
fn bad_key(good: &str, number: usize) -> (String, &'static str) {
    let minted = Plaintext::mint("kw").unwrap();
    match number % 3 {
        0 => (minted.expose().to_owned(), "unknown"),
        1 => (with_checksum(&format!("{}{}", &good[..16], &minted.expose()[16..59])), "unknown"),
        _ => (good[..64].to_owned(), "malformed"),
    }
}

/// The text with its checksum: CRC-32 as six base62 digits.
fn with_checksum(text: &str) -> String {
    const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let crc = crc32fast::hash(text.as_bytes());
    let digit = |place: u32| char::from(DIGITS[(crc / 62u32.pow(place) % 62) as usize]);
    text.chars().chain((0..6).rev().map(digit)).collect()
}

async fn flood_http(address: String) {
    let good = &stage().await.key;
    let mut connection = plain(&address).await;
    for number in 0..CALLS_EACH {
        let (key, code) = bad_key(good, number);
        connection.send(&about(&key)).await.unwrap();
        let heard = connection.answer().await.unwrap().expect("an answer");
        assert_eq!((heard.answer.status, heard.code()), (401, code));
    }
}

async fn flood_grpc(address: String) {
    let good = &stage().await.key;
    let channel = http2(Dial::to(&address)).await.unwrap();
    for number in 0..CALLS_EACH {
        let (key, _) = bad_key(good, number);
        assert_eq!(check_key(channel.clone(), &key).await.unwrap(), UNAUTHENTICATED);
    }
}

/// The sum of a counter over these labels.
async fn counted(verifier: &Running, what: &str) -> usize {
    let metrics = http::get(&verifier.admin, "/metrics", &[]).await.unwrap().body;
    let line = metrics.lines().find_map(|line| line.strip_prefix(what)).expect("the metric");
    line.trim().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_keys_that_nobody_has_asks_argon2id_nothing_and_keeps_no_good_key_from_its_answer() {
    let _turn = turn().await;
    let verifier = verifier(&[]).await;
    let good = &stage().await.key;
    let mut flood = JoinSet::new();
    for _ in 0..CLIENTS {
        flood.spawn(flood_http(verifier.address.clone()));
        flood.spawn(flood_grpc(verifier.grpc.clone()));
    }
    let (mut kept, channel) = (plain(&verifier.address).await, http2(Dial::to(&verifier.grpc)).await.unwrap());
    let mut answered = 0;
    while !flood.is_empty() {
        kept.assert_passes().await;
        assert_eq!(check_key(channel.clone(), good).await.unwrap(), 0);
        answered += 1;
        while let Some(ended) = flood.try_join_next() {
            ended.unwrap();
        }
    }
    assert!(answered > 100, "only {answered} calls of the good key in all that time");
    for (transport, passed) in [("auth", answered), ("grpc", answered)] {
        let of = async |code: &str| {
            let name = format!("keywright_verify_total{{code=\"{code}\",transport=\"{transport}\"}}");
            counted(&verifier, &name).await
        };
        let said = [of("ok").await, of("unknown").await, of("malformed").await];
        assert_eq!(said, [passed, CLIENTS * CALLS_EACH * 2 / 3, CLIENTS * CALLS_EACH / 3], "{transport}");
    }
    assert_eq!(counted(&verifier, "keywright_argon2_checks_total").await, 0);
    assert_eq!(counted(&verifier, "keywright_argon2_refused_total").await, 0);
}
