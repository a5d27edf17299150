//! One question about one key, from text to verdict: what every transport calls.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use super::access_log::{AccessLog, Line};
use super::activity::{Activity, Caller};
use super::call::Call;
use super::code::Code;
use super::credential::Credential;
use super::decide::{Verdict, decide, decide_public};
use super::fence::Moment;
use super::freshness::{Freshness, now};
use super::index::Index;
use super::live::Live;
use super::metrics::{Metrics, Transport};
use super::question::Question;
use super::subject::{nanos, timestamp};
use crate::apiserver::{Kind, WatchHealth};
use crate::key::{self, KeyId, Parsed, Presented};

/// How long a check may wait for its turn in the argon2id pool before it is refused.
const POOL_PATIENCE: Duration = Duration::from_secs(2);

/// Decides, with everything that deciding needs.
pub struct Service {
    /// What is known.
    pub index: Index,
    /// What is counted.
    pub metrics: Metrics,
    /// How keys are used.
    pub activity: Activity,
    /// How far the watches have come.
    pub freshness: Freshness,
    /// Watches that fail.
    pub watches: WatchHealth,
    access_log: AccessLog,
    /// Past which age of what is known nothing is answered any more; 0 is never. In nanoseconds.
    max_staleness: u64,
    /// Unix nanoseconds; it never runs back, so that an expired key stays expired.
    latest: AtomicI64,
    /// Turns in the argon2id pool: a flood of slow checks must not take the processor from the fast ones.
    slow: Semaphore,
}

/// Counts as long as it lives, also when the caller goes away meanwhile.
struct Depth<'g>(&'g Gauge);

impl<'g> Depth<'g> {
    fn of(gauge: &'g Gauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for Depth<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// A value whose tag says nothing, for its pepper is gone: its argon2id record has to be checked first.
pub struct Unproven {
    id: KeyId,
    /// All of what was presented.
    text: Zeroizing<Vec<u8>>,
    record: Arc<String>,
    asked: Moment,
}

/// What came of that.
pub struct Proof {
    outcome: Result<(), Code>,
    asked: Moment,
}

impl Service {
    /// Not ready yet; `slow_checks` argon2id checks may run at once, each with 19 MiB of memory.
    pub fn new(metrics: Metrics, slow_checks: usize, max_staleness: Duration, access_log: AccessLog) -> Self {
        Self {
            index: Index::default(),
            metrics,
            access_log,
            activity: Activity::default(),
            freshness: Freshness::default(),
            watches: WatchHealth::default(),
            max_staleness: u64::try_from(max_staleness.as_nanos()).unwrap_or(u64::MAX),
            latest: AtomicI64::new(0),
            slow: Semaphore::new(slow_checks),
        }
    }

    /// May the index be asked? The fence: a verifier that was cut off or paused for too long, or that nobody waits for because its
    /// Lease is gone, knows it before it answers.
    pub fn is_ready(&self) -> bool {
        self.is_ready_for(now())
    }

    /// The same for a request that was read before `asked`. After a pause since then it may still be answered: it came before
    /// the pause, and what nobody waited for meanwhile is promised of later ones only.
    fn is_ready_for(&self, asked: Moment) -> bool {
        let since = self.freshness.since();
        let is_old = self.max_staleness > 0 && asked.saturating_sub(since) > self.max_staleness;
        since > 0 && !is_old
    }

    /// Why not, when not.
    pub fn readiness(&self) -> Result<(), String> {
        if !self.is_ready() {
            return Err(self.freshness.why_closed(Duration::from_nanos(self.max_staleness)));
        }
        // In an outage of the API server all verifiers go on until --max-staleness.
        self.watches.check(|kind| kind != Kind::Outage)
    }

    /// Has the memory brought in that a check of this will read, while the question is looked at.
    pub fn bring(&self, credential: &Result<Credential<'_>, Code>) {
        if let Ok(Credential::Key(presented)) = credential {
            self.index.bring(presented.id());
        }
    }

    /// The verdict on what a request shows, handed to `render` while the index is held still. The request was read before. It
    /// comes at once, unless something has to be proven first: see [`Service::ask_again`].
    pub fn check<R>(
        &self,
        call: &Call<'_>,
        credential: &Result<Credential<'_>, Code>,
        question: &Question,
        proof: Option<&Proof>,
        render: impl Fn(&Verdict<'_>) -> R,
    ) -> Result<R, Unproven> {
        let asked = proof.map_or_else(now, |proof| proof.asked);
        let render = |verdict: &Verdict<'_>| (verdict.code, render(verdict));
        let key_id = match credential {
            Ok(Credential::Key(presented)) => Some(presented.id()),
            Ok(Credential::Site(_)) | Err(_) => None,
        };
        let (code, answer) = match credential {
            _ if !self.is_ready_for(asked) => render(&Verdict::default()),
            Ok(Credential::Key(presented)) => {
                let unproven =
                    |record| Unproven { id: presented.id(), text: presented.text().to_vec().into(), record, asked };
                self.check_key(call, presented, question, proof, render).map_err(unproven)?
            }
            Ok(Credential::Site(id)) => render(&decide_public(self.index.site(*id).get(), question)),
            Err(code) => render(&Verdict { code: *code, ..Verdict::default() }),
        };
        let took = Duration::from_nanos(now().saturating_sub(asked));
        self.metrics.count(code, call.transport);
        self.metrics.took(took, call.transport);
        self.access_log.say(&Line { call, code, key_id, question, took });
        Ok(answer)
    }

    /// Asks, and asks again with the proof where something has to be proven first. `None` is a doubt.
    pub async fn settle<R>(&self, ask: impl Fn(Option<&Proof>) -> Result<R, Unproven>) -> Option<R> {
        match ask(None) {
            Ok(answer) => Some(answer),
            Err(unproven) => self.ask_again(unproven, ask).await,
        }
    }

    /// Proves what has to be proven, and asks again with that. `None` is a doubt.
    pub async fn ask_again<R>(
        &self,
        unproven: Unproven,
        ask: impl Fn(Option<&Proof>) -> Result<R, Unproven>,
    ) -> Option<R> {
        ask(Some(&self.prove(unproven).await)).ok()
    }

    /// A refusal of what is not even a question.
    pub fn refuse<R>(&self, code: Code, transport: Transport, render: impl FnOnce(&Verdict<'_>) -> R) -> R {
        let code = if self.is_ready() { code } else { Code::NotReady };
        self.metrics.count(code, transport);
        render(&Verdict { code, ..Verdict::default() })
    }

    /// The verdict, or the argon2id record that has to be checked before there is one.
    fn check_key<R>(
        &self,
        call: &Call<'_>,
        presented: &Presented<'_>,
        question: &Question,
        proof: Option<&Proof>,
        render: impl Fn(&Verdict<'_>) -> R,
    ) -> Result<R, Arc<String>> {
        // All that needs no value is done while it comes in.
        let (view, now, caller) = (self.index.look_up(presented), self.now(), self.activity.caller(call));
        let mut verdict = decide(&view, question, now);
        if let Some(record) = verdict.unproven.and_then(Live::record) {
            match proof {
                None => return Err(record.clone()),
                Some(Proof { outcome: Err(code), .. }) => {
                    verdict = Verdict { code: *code, attempted: verdict.unproven, ..Verdict::default() };
                }
                // The pepper changed in between; the caller may ask again.
                Some(Proof { outcome: Ok(()), .. }) => {}
            }
        }
        let answer = render(&verdict);
        self.count(presented, &verdict, now, &caller);
        Ok(answer)
    }

    /// Counts what was said of a key that exists.
    fn count(&self, presented: &Presented<'_>, verdict: &Verdict<'_>, now: Timestamp, caller: &Caller<'_, '_>) {
        if let Some(live) = verdict.attempted.filter(|_| verdict.code != Code::NotReady) {
            let id = presented.id();
            if let Some(usage) = self.activity.count(live, id, verdict.code, verdict.holder.is_some(), now, caller) {
                self.index.remember_usage(id, live.subject().uid(), &usage);
            }
        }
    }

    /// Checks the argon2id record, in the bounded pool, and remembers the tag that the current pepper gives.
    pub async fn prove(&self, unproven: Unproven) -> Proof {
        // In a box: a future of this size would be copied around with every call.
        Proof { asked: unproven.asked, outcome: Box::pin(self.check_record(unproven)).await }
    }

    async fn check_record(&self, Unproven { id, text, record, .. }: Unproven) -> Result<(), Code> {
        let _depth = Depth::of(&self.metrics.slow_depth);
        let Ok(Ok(_turn)) = tokio::time::timeout(POOL_PATIENCE, self.slow.acquire()).await else {
            self.metrics.slow_refused.inc();
            return Err(Code::NotReady);
        };
        self.metrics.slow_checks.inc();
        let to_check = record.clone();
        let checked = tokio::task::spawn_blocking(move || {
            let outcome = match key::parse(&text) {
                Parsed::Native(presented) => key::verify(&presented, &to_check),
                Parsed::Malformed | Parsed::Foreign => Ok(false),
            };
            (outcome, text)
        });
        let (outcome, text) = checked.await.map_err(|_| Code::NotReady)?;
        match outcome {
            Ok(true) => {}
            Ok(false) => return Err(Code::Unknown),
            Err(error) => {
                tracing::error!(key_id = %id, %error, "an entry's argon2id record cannot be checked; its key is refused");
                return Err(Code::NotReady);
            }
        }
        let Parsed::Native(presented) = key::parse(&text) else { return Err(Code::NotReady) };
        let tag = self.index.pepper().as_deref().and_then(|pepper| pepper.tag_presented(&presented));
        self.index.remember(id, &record, tag.ok_or(Code::NotReady)?);
        Ok(())
    }

    /// The wall clock, except that it never runs back.
    fn now(&self) -> Timestamp {
        let wall = Timestamp::now();
        let nanoseconds = nanos(wall);
        let latest = self.latest.fetch_max(nanoseconds, Ordering::Relaxed);
        if latest <= nanoseconds { wall } else { timestamp(latest).unwrap_or(wall) }
    }
}
