//! Clients without a key that make the verifier hold memory, each kind until it is refused.

use std::time::Duration;

use keywright::server::open_as_many_files_as_allowed;
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

use super::wire::{Conversation, Dial, dial_from};
use super::{question, stage, turn, verifier};

/// Memory that connections may take, and that the test fills.
const MIB: usize = 24;
/// More than the budget allows of any kind.
const CONNECTIONS: usize = 1_500;
/// Bytes of a head that is a little below the limit of 64 KiB.
const HEAD: usize = 63 * 1024;
/// Time after which memory counts as settled.
const QUIET: Duration = Duration::from_secs(1);
/// Address of the attacker. The good client has 127.0.0.1.
const ATTACKER: &str = "127.0.0.2";
/// Streams at once on one connection.
const STREAMS: u32 = 100;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

fn frame(kind: u8, flags: u8, stream: u32, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), body].concat()
}

/// The beginning of a connection whose client reads no body.
fn greeting() -> Vec<u8> {
    let no_window = [0, 4, 0, 0, 0, 0];
    [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &frame(SETTINGS, 0, 0, &no_window)].concat()
}

/// Text of less than 127 bytes in HPACK, as it is.
fn text(text: &str) -> Vec<u8> {
    [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat()
}

/// Pseudo-headers of a request: indexed fields of the static table, and the path.
fn request(method: u8, path: &str) -> Vec<u8> {
    [&[method, 0x86, 4], &text(path)[..], &[1], &text("verifier")].concat()
}

const GET: u8 = 0x82;
const POST: u8 = 0x83;

/// As many fields as the limit of a head allows, of one byte each.
fn indexed_fields(limit: usize) -> Vec<u8> {
    // A new entry of the dynamic table, of which the others are copies. Each counts 34 bytes.
    let first = [&[0x40][..], &text("a"), &text("b")].concat();
    [first, vec![0xbe; limit / 34 - 10]].concat()
}

fn half_a_head() -> Vec<u8> {
    [&b"GET /auth HTTP/1.1\r\nHost: v\r\nX-A: "[..], &vec![b'a'; HEAD - 64]].concat()
}

fn half_a_header_block() -> Vec<u8> {
    // A literal of which the name has come, and of the value all but a byte.
    let literal = [&[0x00][..], &text("a"), &[0x7f], &[0x81, 0xef, 0x03]].concat();
    let first = frame(HEADERS, 0, 1, &[request(GET, "/auth"), literal].concat());
    let rest = vec![b'a'; 16 * 1024];
    let others = (0..3).flat_map(|_| frame(CONTINUATION, 0, 1, &rest));
    [greeting(), first, others.collect()].concat()
}

fn many_fields() -> Vec<u8> {
    let block = [request(GET, "/auth"), indexed_fields(HEAD)].concat();
    [greeting(), frame(HEADERS, 0, 1, &block)].concat()
}

fn on_each_stream(of_stream: impl Fn(u32) -> Vec<u8>) -> Vec<u8> {
    [greeting(), (0..STREAMS).flat_map(|n| of_stream(2 * n + 1)).collect()].concat()
}

fn unread_answers() -> Vec<u8> {
    on_each_stream(|stream| frame(HEADERS, END_HEADERS | END_STREAM, stream, &request(GET, "/auth?scope=any")))
}

fn questions_without_a_body() -> Vec<u8> {
    let block = [request(POST, "/v1/verify"), indexed_fields(16 * 1024)].concat();
    on_each_stream(|stream| frame(HEADERS, END_HEADERS, stream, &block))
}

fn unfinished_messages() -> Vec<u8> {
    let content = [&[0][..], &text("content-type"), &text("application/grpc")].concat();
    let block = [request(POST, "/envoy.service.auth.v3.Authorization/Check"), content].concat();
    // Part of a message of 200 KiB that never ends: all streams together have a window of 64 KiB.
    let message = [&[0, 0, 3, 32, 0][..], &[0; 600]].concat();
    on_each_stream(|stream| [frame(HEADERS, END_HEADERS, stream, &block), frame(DATA, 0, stream, &message)].concat())
}

fn quoted_questions() -> Vec<u8> {
    // The path is a literal of 60,000 control characters, percent-encoded by the client; JSON writes 6 bytes for each.
    let path = format!("/auth?{}", "%01".repeat(15_000));
    let length = path.len() - 127;
    let varint = [0x80 | u8::try_from(length & 127).unwrap(), 0x80 | u8::try_from(length >> 7 & 127).unwrap(), 2];
    let block = [&[GET, 0x86, 4, 0x7f], &varint[..], path.as_bytes(), &[1], &text("verifier")].concat();
    let frames = |stream| {
        let chunks: Vec<_> = block.chunks(16 * 1024).collect();
        let of = |(n, chunk): (usize, &&[u8])| {
            let kind = if n == 0 { HEADERS } else { CONTINUATION };
            let end_stream = if n == 0 { END_STREAM } else { 0 };
            let end_headers = if n + 1 == chunks.len() { END_HEADERS } else { 0 };
            frame(kind, end_stream | end_headers, stream, chunk)
        };
        chunks.iter().enumerate().flat_map(of).collect()
    };
    on_each_stream(frames)
}

fn trailers(path: &'static str) -> Vec<u8> {
    let trailers = indexed_fields(HEAD);
    let requests = on_each_stream(|stream| frame(HEADERS, END_HEADERS, stream, &request(POST, path)));
    let trailers = (0..STREAMS).flat_map(|n| frame(HEADERS, END_HEADERS | END_STREAM, 2 * n + 1, &trailers)).collect();
    [requests, trailers].concat()
}

async fn flood(what: &str, is_grpc: bool, attack: Vec<u8>) {
    let memory = format!("--connection-memory={}", 2 * MIB);
    let verifier = verifier(&[&memory, "--peer-share=50"]).await;
    let address = if is_grpc { &verifier.grpc } else { &verifier.address };
    let at_rest = verifier.settled_peak(QUIET).await;
    let mut held = Vec::new();
    for _ in 0..CONNECTIONS {
        let Ok(mut stream) = dial_from(ATTACKER, address).await else { continue };
        // One that is refused is closed while it is written to.
        let _ = timeout(Duration::from_secs(5), stream.write_all(&attack)).await;
        held.push(stream);
    }
    let grown = verifier.settled_peak(QUIET).await - at_rest;
    let mut good = Conversation::dial(Dial::to(&verifier.address)).await.unwrap();
    good.send(&question("").await).await.unwrap();
    assert!(good.answer().await.unwrap().unwrap().is_ok(), "{what}: a client of another address is served");
    eprintln!("{what}: {grown} KiB of {} for {} connections", MIB * 1024, held.len());
    assert!(grown < MIB * 1024, "{what}: {grown} KiB for {} connections", held.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_of_clients_without_a_key_is_bounded() {
    let _turn = turn().await;
    stage().await;
    open_as_many_files_as_allowed();
    flood("half a head", false, half_a_head()).await;
    flood("large heads", false, question(&format!("Cookie: {}\r\n", "a".repeat(60 * 1024))).await).await;
    for is_grpc in [false, true] {
        flood("half a header block", is_grpc, half_a_header_block()).await;
        flood("many fields", is_grpc, many_fields()).await;
        flood("unread answers", is_grpc, unread_answers()).await;
    }
    flood("questions without a body", false, questions_without_a_body()).await;
    flood("unfinished messages", true, unfinished_messages()).await;
    flood("quoted questions", false, quoted_questions()).await;
    flood("trailers", false, trailers("/auth?scope=any")).await;
    flood("trailers of no route", false, trailers("/nothing")).await;
    flood("trailers, gRPC", true, trailers("/envoy.service.auth.v3.Authorization/Check")).await;
}
