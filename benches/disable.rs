//! Disable → deny: from the PATCH's answer to the first refused call on each of two verifiers, with a real API server and
//! operator: idle, under writes that do not concern Keywright, and under writes to other keys, which operator and
//! verifiers take in.
//!
//! From the PATCH's answer on each verifier is asked in a closed loop over one kept connection, so that what is measured is
//! the way of the change and at most one call more; before it nobody is asked, so that asking does not slow the change.

#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs)]

#[path = "../tests/support/mod.rs"]
mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Patch, PatchParams};
use kube::client::Body;
use kube::{Api, Client};
use serde_json::json;
use support::cluster::Cluster;
use support::control_plane::http_get;
use support::keywright::Running;
use support::space::Space;
use support::{Result, eventually};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

/// In each of the two situations.
const FLIPS: usize = 300;
/// What the load aims at.
const WRITES_PER_SECOND: u64 = 500;
/// The load's patches under way at once, each of a key of its own.
const WRITERS: u64 = 25;
const KEY: &str = "flipped";

#[tokio::main]
async fn main() -> Result<()> {
    eprintln!("starting a control plane, an operator and two verifiers; minting {} keys", WRITERS + 1);
    let cluster = Cluster::shared().await;
    let _operator = Running::operator(cluster, &[]).await?.ready().await;
    let space = Space::new(cluster).await;
    let value = space.ready_key(KEY).await;
    for number in 0..WRITERS {
        space.ready_key(&busy(number)).await;
    }
    let verifiers =
        [Running::verifier(cluster, &[]).await?.ready().await, Running::verifier(cluster, &[]).await?.ready().await];
    let mut askers =
        [Asker::connect(&verifiers[0].address, &value).await?, Asker::connect(&verifiers[1].address, &value).await?];

    println!("from the PATCH's answer to the first refused call, in milliseconds; {FLIPS} flips each");
    println!("{:<12}{:<14} | {:>7} {:>7} {:>7} {:>7} | p99 at most", "", "", "p50", "p90", "p99", "max");
    report("idle", &flips(&space, &mut askers, true).await?, 5);
    for kind in [Kind::ConfigMaps, Kind::Keys] {
        let load = Load::start(cluster, &space, kind).await?;
        let loaded = flips(&space, &mut askers, false).await?;
        let [ours, all] = load.stop().await?;
        report(kind.name(), &loaded, 100);
        println!(
            "{:<12}{ours:.0} patches a second of {WRITES_PER_SECOND}; with those of all others {all:.0} writes",
            ""
        );
    }
    Ok(())
}

/// What the load patches.
#[derive(Clone, Copy)]
enum Kind {
    /// Nobody watches them.
    ConfigMaps,
    /// The specs of other keys: dearer for the API server, and each makes the operator write a status.
    Keys,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::ConfigMaps => "ConfigMaps",
            Self::Keys => "ApiKeys",
        }
    }
}

/// The key of a writer.
fn busy(number: u64) -> String {
    format!("busy-{number}")
}

/// The times of all flips, for each of the verifiers.
async fn flips(space: &Space, askers: &mut [Asker; 2], is_idle: bool) -> Result<Vec<[Duration; 2]>> {
    let [one, other] = askers;
    let mut times = Vec::with_capacity(FLIPS);
    for number in 0..FLIPS {
        let answered = disable(space, true).await?;
        let (first, second) = tokio::try_join!(one.until("disabled"), other.until("disabled"))?;
        times.push([first - answered, second - answered]);
        disable(space, false).await?;
        tokio::try_join!(one.until("ok"), other.until("ok"))?;
        if is_idle {
            // Until the operator has said its word too, the API server is not idle.
            space.until_observed(KEY).await;
        }
        if number % 50 == 49 {
            eprintln!("{} flips", number + 1);
        }
    }
    Ok(times)
}

/// Returns when the head of the PATCH's answer has come; reading the rest of it is not on the way of the change.
async fn disable(space: &Space, disabled: bool) -> Result<Instant> {
    let url = format!("/apis/keywright.dev/v1alpha1/namespaces/{}/apikeys", space.name);
    let patch = Patch::Merge(json!({"spec": {"disabled": disabled}}));
    let request = kube::core::Request::new(url).patch(KEY, &PatchParams::default(), &patch)?;
    let answer = space.client.send(request.map(Body::from)).await?;
    let answered = Instant::now();
    if answer.status() == 200 {
        Ok(answered)
    } else {
        Err(format!("the PATCH was answered {}", answer.status()).into())
    }
}

/// One kept connection to a verifier.
struct Asker {
    stream: TcpStream,
    question: Vec<u8>,
    answer: Vec<u8>,
}

impl Asker {
    async fn connect(address: &str, key: &str) -> Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let question = format!("GET /auth?scope=any HTTP/1.1\r\nHost: verifier\r\nX-API-Key: {key}\r\n\r\n");
        Ok(Self { stream, question: question.into_bytes(), answer: Vec::new() })
    }

    /// Asks until it is told this code, and returns when that was.
    async fn until(&mut self, code: &str) -> Result<Instant> {
        let code = format!("x-keywright-code: {code}\r\n");
        loop {
            self.stream.write_all(&self.question).await?;
            let head = self.read().await?;
            let now = Instant::now();
            if head.contains(&code) {
                return Ok(now);
            }
        }
    }

    /// The head of the next answer, when all of the answer is there.
    async fn read(&mut self) -> Result<String> {
        self.answer.clear();
        loop {
            if self.stream.read_buf(&mut self.answer).await? == 0 {
                return Err("the verifier closed the connection".into());
            }
            let text = std::str::from_utf8(&self.answer)?;
            let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).ok_or("no length")?;
            if body.len() >= length.parse()? {
                return Ok(format!("{head}\r\n"));
            }
        }
    }
}

/// Patches, in the background.
struct Load {
    client: Client,
    writers: JoinSet<()>,
    patched: Arc<AtomicU64>,
    before: u64,
    start: Instant,
}

impl Load {
    /// Over a client of its own, so that the PATCH that is measured does not wait behind these; returns when the load has
    /// come up to speed.
    async fn start(cluster: &Cluster, space: &Space, kind: Kind) -> Result<Self> {
        let client = cluster.plane.client().await?;
        let patched = Arc::new(AtomicU64::new(0));
        let mut writers = JoinSet::new();
        for number in 0..WRITERS {
            let space = Space { name: space.name.clone(), client: client.clone() };
            writers.spawn(write(space, kind, number, patched.clone()));
        }
        eventually("the load runs", async || {
            let so_far = patched.load(Ordering::Relaxed);
            if so_far > 2 * WRITERS { Ok(()) } else { Err(format!("{so_far} patches")) }
        })
        .await;
        let before = writes(&client).await?;
        patched.store(0, Ordering::Relaxed);
        Ok(Self { client, writers, patched, before, start: Instant::now() })
    }

    /// Patches a second, and all writes a second that the API server has answered.
    async fn stop(mut self) -> Result<[f64; 2]> {
        let seconds = self.start.elapsed().as_secs_f64();
        let rate = |count: u64| u32::try_from(count).map(|count| f64::from(count) / seconds);
        let patched = rate(self.patched.load(Ordering::Relaxed))?;
        let all = rate(writes(&self.client).await? - self.before)?;
        self.writers.shutdown().await;
        Ok([patched, all])
    }
}

/// One object's share of the load. What was missed is made up for, so that the rate holds as long as it can be reached.
async fn write(space: Space, kind: Kind, number: u64, patched: Arc<AtomicU64>) {
    let maps = Api::<ConfigMap>::namespaced(space.client.clone(), &space.name);
    let mut ticks = interval(Duration::from_micros(1_000_000 * WRITERS / WRITES_PER_SECOND));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    loop {
        ticks.tick().await;
        let turn = patched.load(Ordering::Relaxed).to_string();
        match kind {
            Kind::ConfigMaps => {
                let name = busy(number);
                let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": &name}, "data": {"turn": turn}});
                maps.patch(&name, &PatchParams::apply("bench"), &Patch::Apply(map)).await.map(drop).unwrap();
            }
            Kind::Keys => space.patch_key(&busy(number), json!({"spec": {"metadata": {"turn": turn}}})).await,
        }
        patched.fetch_add(1, Ordering::Relaxed);
    }
}

/// How many writes the API server has answered.
async fn writes(client: &Client) -> Result<u64> {
    let metrics = client.request_text(http_get("/metrics")?).await?;
    let is_write = |line: &&str| {
        let verb = |verb| line.contains(&format!("verb=\"{verb}\""));
        line.starts_with("apiserver_request_total{")
            && ["PATCH", "PUT", "POST", "DELETE", "APPLY"].into_iter().any(verb)
    };
    let counts = metrics.lines().filter(is_write).filter_map(|line| line.rsplit_once(' '));
    counts.map(|(_, count)| count.parse::<u64>().map_err(Into::into)).sum()
}

/// One line for each verifier, and one for whichever was the later.
fn report(situation: &str, times: &[[Duration; 2]], bound: u64) {
    type Pick = fn(&[Duration; 2]) -> Duration;
    let rows: [(&str, Pick); 3] =
        [("verifier 1", |t| t[0]), ("verifier 2", |t| t[1]), ("the later one", |t| t[0].max(t[1]))];
    for (who, pick) in rows {
        let mut sorted: Vec<Duration> = times.iter().map(pick).collect();
        sorted.sort_unstable();
        let at = |percent: usize| sorted[(sorted.len() * percent).div_ceil(100) - 1].as_secs_f64() * 1e3;
        let [p50, p90, p99, max] = [50, 90, 99, 100].map(at);
        println!("{situation:<12}{who:<14} | {p50:>7.2} {p90:>7.2} {p99:>7.2} {max:>7.2} | {bound}");
    }
}
