//! Ten thousand connections that send nothing.

use std::fs;
use std::time::{Duration, Instant};

use futures::future::join_all;
use keywright::server::open_as_many_files_as_allowed;
use rustix::process::{Resource, Rlimit, setrlimit};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::support::eventually;
use super::support::keywright::Running;
use super::wire::{Dial, check, http2, plain};
use super::{stage, turn, verifier};

const SILENT: usize = 10_000;
const SILENT_GRPC: usize = 3_000;
/// Less than what the kernel keeps in a listener's queue.
const BATCH: usize = 500;
/// What the HTTP listener bears besides.
const SPARE: usize = 100;
/// They may be silent for 10 seconds; the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(30);
/// The soft limit of open files that processes are usually started with.
const USUAL_FILES: u64 = 1024;
/// Of memory, for each.
const KIB_EACH: usize = 8;

/// So many connections that say nothing.
async fn dialled(address: &str, count: usize) -> Vec<TcpStream> {
    let mut streams = Vec::with_capacity(count);
    for _ in 0..count {
        streams.push(TcpStream::connect(address).await.unwrap());
    }
    streams
}

/// The same, each batch when the verifier has taken those before: a kernel whose queue is full lets the next wait for seconds, and
/// the first are closed after 10.
async fn silent(verifier: &Running, address: &str, count: usize) -> Vec<TcpStream> {
    let (before, mut streams) = (open_files(verifier), Vec::with_capacity(count));
    while streams.len() < count {
        streams.extend(dialled(address, BATCH).await);
        until_open(verifier, |open| open >= before + streams.len()).await;
    }
    streams
}

/// What a connection was told before it was closed.
async fn told(mut stream: TcpStream) -> String {
    let mut text = Vec::new();
    // One that is reset is closed as well.
    let _ = timeout(PATIENCE, stream.read_to_end(&mut text)).await.expect("it is closed");
    String::from_utf8(text).unwrap()
}

fn open_files(verifier: &Running) -> usize {
    fs::read_dir(format!("/proc/{}/fd", verifier.process.id())).unwrap().count()
}

async fn until_open(verifier: &Running, is_right: impl Fn(usize) -> bool) {
    eventually("the verifier's connections", async || {
        let open = open_files(verifier);
        if is_right(open) { Ok(()) } else { Err(format!("{open} open files")) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_connections_that_send_nothing_keep_no_good_key_from_its_answer_and_are_closed() {
    let _turn = turn().await;
    stage().await;
    let needed = u64::try_from(SILENT + SILENT_GRPC + 1000).unwrap();
    let allowed = open_as_many_files_as_allowed();
    assert!(
        allowed.is_none_or(|allowed| allowed >= needed),
        "this test opens {needed} files: ulimit -Hn says {allowed:?}"
    );
    // It starts as most programs do, and helps itself.
    setrlimit(Resource::Nofile, Rlimit { current: Some(USUAL_FILES), maximum: allowed }).unwrap();
    // All clients have one address here.
    let verifier = verifier(&[&format!("--max-connections={}", SILENT + SPARE), "--peer-share=100"]).await;
    open_as_many_files_as_allowed();
    let mut kept = plain(&verifier.address).await;
    kept.assert_passes().await;
    let (files, at_rest) = (open_files(&verifier), verifier.memory("VmRSS"));

    let mut silence = silent(&verifier, &verifier.address, SILENT).await;
    silence.extend(silent(&verifier, &verifier.grpc, SILENT_GRPC).await);
    until_open(&verifier, |open| open >= files + SILENT + SILENT_GRPC).await;
    let under_silence = verifier.memory("VmRSS");
    let start = Instant::now();
    for _ in 0..20 {
        kept.assert_passes().await;
        plain(&verifier.address).await.assert_passes().await;
        assert_eq!(check(http2(Dial::to(&verifier.grpc)).await.unwrap()).await.unwrap(), 0);
    }
    assert!(start.elapsed() < Duration::from_secs(5), "60 answers took {:?}", start.elapsed());
    let bound = at_rest + (SILENT + SILENT_GRPC) * KIB_EACH;
    assert!(under_silence < bound, "{under_silence} KiB, and {at_rest} at rest");

    let excess = dialled(&verifier.address, 2 * SPARE).await;
    kept.assert_passes().await;
    let told_503 = join_all(excess.into_iter().map(told)).await;
    let told_503 = told_503.iter().filter(|text| text.starts_with("HTTP/1.1 503 ")).count();
    // One connection is kept, and those of before may be closed in the meantime.
    assert!((1..=SPARE + 1).contains(&told_503), "{told_503} of {} too many were told", SPARE + 1);
    let said = join_all(silence.into_iter().map(told)).await;
    assert!(said.iter().all(String::is_empty), "they are closed without a word");
    until_open(&verifier, |open| open < files + SPARE).await;
    kept.assert_passes().await;

    let _again =
        [silent(&verifier, &verifier.address, SILENT).await, silent(&verifier, &verifier.grpc, SILENT_GRPC).await];
    until_open(&verifier, |open| open >= files + SILENT + SILENT_GRPC).await;
    kept.assert_passes().await;
    let again = verifier.memory("VmRSS");
    assert!(again < under_silence + under_silence / 4, "{again} KiB, and {under_silence} the first time");
    eprintln!(
        "KiB of memory: {at_rest} at rest, {under_silence} and {again} under {} connections",
        SILENT + SILENT_GRPC
    );
}
