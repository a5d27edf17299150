//! What it costs to write down how keys are used, when all of many are in use: a real verifier, API server and operator, and
//! a call with each key again and again, until the verifier has had the time to write each key and to let it rest.
//!
//! `cargo bench --bench active -- [--keys N] [--budget N]`; with 10,000 keys and 20 writes a second that is 10 minutes and those that
//! minting them takes.

#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::cast_precision_loss, missing_docs)]

#[path = "../tests/support/mod.rs"]
mod support;

use std::time::{Duration, Instant};

use futures::future::join_all;
use jiff::Timestamp;
use kube::Client;
use kube::api::ListParams;
use support::cluster::Cluster;
use support::control_plane::http_get;
use support::http;
use support::keywright::{Running, sum};
use support::space::Space;
use support::{Error, Result};
use tokio::time::{MissedTickBehavior, interval};

/// Keys that are minted at once.
const MINTING: usize = 64;
/// Calls a second with all keys together.
const CALLS: u32 = 200;
/// How long a key rests between two writes.
const REST: Duration = Duration::from_mins(1);
/// How long the API server is looked at before anybody calls, and between two looks.
const WINDOW: Duration = Duration::from_secs(30);

#[tokio::main]
async fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().collect();
    let number = |name: &str, default: usize| {
        let at = args.iter().position(|arg| arg == name);
        at.and_then(|at| args.get(at + 1)).map_or(Ok(default), |text| text.parse())
    };
    let (count, budget) = (number("--keys", 10_000)?, number("--budget", 20)?);
    let cluster = Cluster::shared().await;
    // Nothing here depends on what a record costs.
    let cheap = ["--argon2-memory=8", "--argon2-iterations=1", "--concurrency=16"];
    let _operator = Running::operator(cluster, &cheap).await?.ready().await;
    let space = Space::new(cluster).await;
    let values = mint(&space, count).await;
    let verifier = Running::verifier(cluster, &[&format!("--activity-budget={budget}")]).await?.ready().await;
    let plane = cluster.plane.client().await?;

    println!("{count} keys, {budget} writes a second, {CALLS} calls a second");
    println!("{:>9} {:>12} {:>14} {:>12} {:>10}", "seconds", "writes/s", "API server, %", "requests/s", "lag, s");
    let mut before = Look::at(&plane, &verifier).await?;
    tokio::time::sleep(WINDOW).await;
    let idle = Look::at(&plane, &verifier).await?;
    idle.print_since(&before, Duration::ZERO);
    before = idle;
    let (start, span) = (Instant::now(), Duration::from_secs_f64(count as f64 / budget as f64) + REST + WINDOW);
    let calling = call(&verifier, &values);
    let looking = async {
        while start.elapsed() < span {
            tokio::time::sleep(WINDOW).await;
            let now = Look::at(&plane, &verifier).await?;
            now.print_since(&before, start.elapsed());
            before = now;
        }
        Ok::<(), Error>(())
    };
    tokio::select! {
        called = calling => return called,
        looked = looking => looked?,
    }
    say_ages(&space, count, budget).await
}

async fn mint(space: &Space, count: usize) -> Vec<String> {
    let start = Instant::now();
    // The first makes the account of them all.
    let mut values = vec![space.ready_key("key-0").await];
    // In waves: kube's scheduler takes what is due in any order, so that under a steady stream of new keys one may wait long.
    while values.len() < count {
        let next = values.len()..count.min(values.len() + MINTING);
        values.extend(join_all(next.map(async |number| space.ready_key(&format!("key-{number}")).await)).await);
        if values.len() / 1000 > (values.len() - MINTING.min(values.len())) / 1000 {
            eprintln!("{} keys minted in {:.0?}", values.len(), start.elapsed());
        }
    }
    values
}

/// For ever, with one key after the other.
async fn call(verifier: &Running, values: &[String]) -> Result<()> {
    let mut ticks = interval(Duration::from_secs(1) / CALLS);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    for value in values.iter().cycle() {
        ticks.tick().await;
        let headers = [("X-API-Key", value.as_str()), ("User-Agent", "bench/1.0")];
        let answer = http::get(&verifier.address, "/auth?scope=any", &headers).await?;
        if answer.status != 200 {
            return Err(format!("a good key was answered {}", answer.status).into());
        }
    }
    Ok(())
}

/// The counters at one moment.
struct Look {
    at: Instant,
    written: f64,
    lag: f64,
    /// Seconds of processor time.
    processor: f64,
    requests: f64,
}

impl Look {
    async fn at(plane: &Client, verifier: &Running) -> Result<Self> {
        let own = http::get(&verifier.admin, "/metrics", &[]).await?.body;
        let api_server = plane.request_text(http_get("/metrics")?).await?;
        Ok(Self {
            at: Instant::now(),
            written: sum(&own, "keywright_activity_written_total"),
            lag: sum(&own, "keywright_activity_lag_seconds"),
            processor: sum(&api_server, "process_cpu_seconds_total"),
            requests: sum(&api_server, "apiserver_request_total"),
        })
    }

    fn print_since(&self, before: &Self, elapsed: Duration) {
        let seconds = (self.at - before.at).as_secs_f64();
        let rate = |now: f64, before: f64| (now - before) / seconds;
        println!(
            "{:>9.0} {:>12.1} {:>14.1} {:>12.1} {:>10.1}",
            elapsed.as_secs_f64(),
            rate(self.written, before.written),
            100.0 * rate(self.processor, before.processor),
            rate(self.requests, before.requests),
            self.lag
        );
    }
}

/// How long ago each key was written: none is to wait for longer than keys by budget, and its rest.
async fn say_ages(space: &Space, count: usize, budget: usize) -> Result<()> {
    let now = Timestamp::now();
    let keys = space.keys().list(&ListParams::default()).await?;
    let activities = keys.into_iter().filter_map(|key| key.status?.activity);
    let ages: Vec<f64> = activities.map(|activity| now.duration_since(activity.as_of.0).as_secs_f64()).collect();
    let oldest = ages.iter().copied().fold(0.0, f64::max);
    println!(
        "{} of {count} keys are written down, the oldest {oldest:.0} s ago; keys by budget is {} s",
        ages.len(),
        count / budget
    );
    Ok(())
}
