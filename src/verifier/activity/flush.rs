//! Writes what was counted into `status.activity`: each key at most once a minute, all together within a budget, and
//! every call exactly once, whatever other verifiers write and whether or not an answer comes back.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream;
use jiff::Timestamp;
use kube::Client;
use kube::api::{Patch, PatchParams};
use kube::core::Object;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::json;
use tokio::time::{Instant, sleep, timeout};

use super::fold::{Delta, fold};
use super::ledger::{Taken, Turn};
use super::usage::{Seconds, Source};
use crate::api::{Activity, ApiKey, Writer, names};
use crate::apiserver::Collection;
use crate::verifier::freshness::now;
use crate::verifier::service::Service;
use crate::verifier::subject::Uid;

/// How often it is looked whose turn it is.
const TICK: Duration = Duration::from_millis(250);
/// How often keys that are gone are forgotten.
const TIDY: Duration = Duration::from_mins(1);
/// How long one request may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often a write is tried anew at once when somebody else changed the key in between.
const ATTEMPTS: usize = 5;
/// Pauses of all writing while the API server cannot take them: the first, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// At the end: how many writes at once, and how long they may take together.
const AT_THE_END: (usize, Duration) = (8, Duration::from_secs(10));

/// Writes for ever.
pub struct Flusher {
    service: Arc<Service>,
    client: Client,
    /// The name of this process.
    writer: String,
    /// Writes a second.
    budget: u32,
}

/// An ApiKey of which only `status.activity` is read.
type Used = Object<IgnoredAny, UsedStatus>;

/// The part of a status that verifiers write.
#[derive(Clone, Debug, Default, Deserialize)]
struct UsedStatus {
    activity: Option<Activity>,
}

/// What became of a write.
enum Outcome {
    Written,
    /// There was nothing new after all.
    Nothing,
    /// The key is gone, and with it what was counted.
    Gone,
    /// Somebody else changed the key in between, each time.
    Outrun,
    /// The API server cannot take it now.
    Busy,
}

/// What the API server said against it.
enum Refusal {
    Conflict,
    Gone,
    Busy,
}

impl Flusher {
    /// For the process of this name; `budget` is how many writes a second it may send.
    pub fn new(service: Arc<Service>, client: Client, writer: String, budget: u32) -> Self {
        Self { service, client, writer, budget }
    }

    /// Writes until dropped.
    pub async fn run(&self) {
        let (mut tokens, mut refilled, mut tidied) = (f64::from(self.budget), Instant::now(), Instant::now());
        let mut pause = PAUSES.0;
        loop {
            sleep(TICK).await;
            tokens += refilled.elapsed().as_secs_f64() * f64::from(self.budget);
            (tokens, refilled) = (tokens.min(f64::from(self.budget)), Instant::now());
            let mut turns = Vec::new();
            while tokens >= 1.0
                && let Some(turn) = self.next()
            {
                tokens -= 1.0;
                turns.push(turn);
            }
            if tokens < 1.0 {
                self.service.metrics.activity.exhausted.inc();
            }
            let written = stream::iter(turns).map(|turn| self.write(turn)).buffer_unordered(4);
            // Every one to its end, for a turn that is dropped comes back to nobody.
            let outcomes: Vec<Outcome> = written.collect().await;
            // Where others can be written, it is the key and not the API server.
            let is_busy = outcomes.iter().any(|outcome| matches!(outcome, Outcome::Busy));
            if is_busy && !outcomes.iter().any(|outcome| matches!(outcome, Outcome::Written)) {
                sleep(pause).await;
                pause = (pause * 2).min(PAUSES.1);
            } else {
                pause = PAUSES.0;
            }
            if tidied.elapsed() > TIDY {
                self.service.activity.ledger().tidy(now());
                tidied = Instant::now();
            }
        }
    }

    /// Writes all that is left, as far as there is time.
    pub async fn finish(&self) {
        let all = async {
            loop {
                self.service.activity.ledger().touch_all();
                let turns = stream::iter(std::iter::from_fn(|| self.next()));
                turns.map(|turn| self.write(turn)).buffer_unordered(AT_THE_END.0).for_each(async |_| ()).await;
                if self.service.activity.waiting().0 == 0 {
                    return;
                }
                sleep(PAUSES.0).await;
            }
        };
        let written = timeout(AT_THE_END.1, all).await;
        let (left, _) = self.service.activity.waiting();
        if written.is_err() || left > 0 {
            tracing::warn!(keys = left, "stopped before the use of all keys was written down");
        }
    }

    fn next(&self) -> Option<Turn> {
        self.service.activity.ledger().next(now())
    }

    async fn write(&self, turn: Turn) -> Outcome {
        let metrics = &self.service.metrics.activity;
        let outcome = self.attempts(&turn).await;
        match outcome {
            Outcome::Written => drop(metrics.written.inc()),
            Outcome::Nothing => {}
            Outcome::Gone => {
                metrics.dropped.inc();
                self.service.activity.ledger().forget(turn.uid);
            }
            Outcome::Outrun => {
                metrics.failed.inc();
                self.service.activity.ledger().outrun(&turn, now());
            }
            Outcome::Busy => {
                metrics.failed.inc();
                self.service.activity.ledger().failed(&turn, now());
            }
        }
        outcome
    }

    async fn attempts(&self, turn: &Turn) -> Outcome {
        for _ in 0..ATTEMPTS {
            match self.attempt(turn).await {
                Ok(outcome) => return outcome,
                Err(Refusal::Conflict) => drop(self.service.metrics.activity.conflicts.inc()),
                Err(Refusal::Gone) => return Outcome::Gone,
                Err(Refusal::Busy) => return Outcome::Busy,
            }
        }
        Outcome::Outrun
    }

    /// Reads what stands there, adds what is new, and writes it on condition that nobody else did in between.
    async fn attempt(&self, turn: &Turn) -> Result<Outcome, Refusal> {
        let keys = Collection::<Used>::of::<ApiKey>(&self.client, Some(&turn.namespace));
        let key = timeout(PATIENCE, keys.get(&turn.name)).await.map_err(|_| Refusal::Busy)?.map_err(refusal)?;
        if key.meta().uid.as_deref().map(Uid::from) != Some(turn.uid) {
            return Err(Refusal::Gone);
        }
        let version = key.meta().resource_version.clone();
        // Counts that cannot be parsed, as a person may have written them, start again from zero.
        let before = key.0.ok().and_then(|key| key.status).and_then(|status| status.activity);
        let ours = before.as_ref().and_then(|before| before.writers.iter().find(|writer| writer.name == self.writer));
        self.service.activity.ledger().stands(turn.uid, ours.map(|writer| writer.sequence));
        let taken = turn.take();
        let delta = self.delta(turn, &taken);
        if delta.is_nothing() {
            self.service.activity.ledger().arrived(turn.uid, &taken, now());
            return Ok(Outcome::Nothing);
        }
        let sequence = self.service.activity.ledger().sending(turn.uid, taken.clone());
        let writer = Writer { name: self.writer.clone(), sequence };
        let activity = fold(before, &delta, &writer, Timestamp::now());
        let patch = Patch::Merge(json!({
            "metadata": {"resourceVersion": version},
            "status": {"activity": activity},
        }));
        let params = PatchParams { field_manager: Some(names::VERIFIER_MANAGER.to_owned()), ..PatchParams::default() };
        let sent = keys.patch_status(&turn.name, &params, &patch);
        timeout(PATIENCE, sent).await.map_err(|_| Refusal::Busy)?.map_err(refusal)?;
        self.service.activity.ledger().arrived(turn.uid, &taken, now());
        Ok(Outcome::Written)
    }

    fn delta(&self, turn: &Turn, taken: &[Taken]) -> Delta {
        let at = |seconds: Seconds| Timestamp::from_second(seconds.into()).unwrap_or(Timestamp::UNIX_EPOCH);
        let count = |new: u64| i64::try_from(new).unwrap_or(i64::MAX);
        let mut delta = Delta::default();
        for Taken { id, totals, .. } in taken {
            delta.requests.allowed += count(totals.allowed);
            delta.requests.denied += count(totals.denied);
            if totals.allowed > 0 {
                delta.values.push((id.to_string(), at(totals.last_used)));
            }
            if totals.denied > 0 {
                let denied = totals.last_denied.map(|(seconds, code)| (at(seconds), code.as_str()));
                delta.last_denied = delta.last_denied.max(denied);
            }
        }
        let named = |(hash, seconds)| Some((self.service.activity.named(hash)?, at(seconds)));
        delta.sources = turn.usages().flat_map(|usage| usage.sources(Source::Product)).filter_map(named).collect();
        delta.networks = turn.usages().flat_map(|usage| usage.sources(Source::Network)).filter_map(named).collect();
        delta
    }
}

fn refusal(error: kube::Error) -> Refusal {
    match error {
        kube::Error::Api(status) if status.code == 404 => Refusal::Gone,
        kube::Error::Api(status) if status.code == 409 => Refusal::Conflict,
        error => {
            tracing::warn!(%error, "the use of a key cannot be written down now; trying again");
            Refusal::Busy
        }
    }
}
