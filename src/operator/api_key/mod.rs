//! The controller of ApiKeys: observe → plan → execute → status.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use kube::ResourceExt;
use thiserror::Error;
use tokio::sync::mpsc;

use super::context::Context;
use super::controller;
use super::enforcement::{GATE_BOUND, Kind};
use super::entries::{StoreError, Stored};
use super::queue::Requeue;
use super::router::{FullName, Woken};
use super::{refusal, unreadable, write};
use crate::api::{ApiKey, Reason, TargetKind};
use crate::key::{Ended, MintError};
use crate::server::Shutdown;

pub mod adopt;
mod available;
mod events;
mod execute;
pub mod facts;
mod honour;
mod observe;
pub mod plan;
pub mod recent;
mod status;

use adopt::{Adoption, adopt};
use facts::{Facts, Presence, Problem};
use plan::plan;
use recent::Look;

/// How long one reconciliation may take before it is given up and tried again.
const PATIENCE: Duration = Duration::from_mins(1);
/// Longest time until a key at rest is looked at again, in two requests. Secrets cannot be watched, so a deleted one is noticed
/// then, or when somebody asks by [`RECONCILE_ANNOTATION`](crate::api::names::RECONCILE_ANNOTATION).
const REST: Duration = Duration::from_mins(5);
/// How often a lost compare-and-swap is followed by another look at once.
const ATTEMPTS: usize = 8;

/// Why a reconciliation failed. It is tried again.
#[derive(Debug, Error)]
pub enum Error {
    /// The entry was not read or not written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No value was minted.
    #[error(transparent)]
    Mint(#[from] MintError),
    /// The API server refused, or could not be reached.
    #[error("{0}")]
    Api(#[from] kube::Error),
    /// It took too long.
    #[error("gave up after {PATIENCE:?}")]
    TimedOut,
    /// The entry records a later generation of the ApiKey than the watch has delivered.
    #[error("the watch of ApiKeys is behind the key's record")]
    Outdated,
    /// A thread of ours panicked.
    #[error("hashing panicked")]
    Panicked,
}

impl Error {
    /// Returns true if the key's namespace is being deleted: the key goes with it, so this is no failure.
    fn is_ending(&self) -> bool {
        matches!(self, Self::Api(error) if refusal::is_ending(error))
    }
}

/// Reconciles every ApiKey that is woken, until told to stop.
pub async fn run(context: Arc<Context>, woken: mpsc::UnboundedReceiver<Woken>, concurrency: u16, shutdown: Shutdown) {
    let look = async |(namespace, name): FullName| {
        let Some(key) = context.known.key(&namespace, &name) else {
            return report_unreadable(&context, &(namespace, name)).await;
        };
        let outcome = tokio::time::timeout(PATIENCE, reconcile(&key, &context)).await.unwrap_or(Err(Error::TimedOut));
        match outcome {
            Ok(requeue) => {
                context.metrics.reconciled.inc();
                requeue
            }
            Err(error) if error.is_ending() => Requeue::After(REST),
            Err(error) => Requeue::Retry(after(&error, &key, &context)),
        }
    };
    controller::run(woken, concurrency, shutdown.wait(), look).await;
}

/// Writes the status of a key that this version cannot parse. A key that was deleted while it waited has none.
async fn report_unreadable(context: &Context, name: &FullName) -> Requeue {
    let Some(key) = context.known.unreadable.get(Kind::ApiKey, name) else { return Requeue::Never };
    let Err(error) = unreadable::report_key(context, &key).await else { return Requeue::Never };
    context.metrics.failed.inc();
    tracing::warn!(namespace = name.0, name = name.1, %error, "writing the status of an unreadable ApiKey failed");
    Requeue::Retry(context.backoff.after_failure(key.metadata.uid.as_deref().unwrap_or_default()))
}

/// How long to wait after an error.
fn after(error: &Error, key: &ApiKey, context: &Context) -> Duration {
    context.metrics.failed.inc();
    let pause = context.backoff.after_failure(&key.uid().unwrap_or_default());
    // A conflict is everyday: the key changed while it was looked at.
    let conflict = matches!(error, Error::Api(error) if write::is_outrun(error));
    if !conflict {
        tracing::warn!(namespace = key.namespace(), name = %key.name_any(), %error, "trying again in {pause:?}");
    }
    pause
}

async fn reconcile(key: &ApiKey, context: &Context) -> Result<Requeue, Error> {
    if key.metadata.deletion_timestamp.is_some() {
        return Ok(Requeue::Never);
    }
    let mut attempts = 0;
    loop {
        match attempt(key, context).await {
            Err(Error::Store(StoreError::Lost)) if attempts < ATTEMPTS => {
                context.metrics.swaps_lost.inc();
                attempts += 1;
            }
            outcome => return outcome,
        }
    }
}

/// What a reconciliation came to, before it is said.
struct Done {
    outcome: execute::Outcome,
    problem: Option<Problem>,
    /// The API server's words, where it refuses to show the Secret.
    unseen: Option<String>,
    /// Nothing was to be done.
    is_at_rest: bool,
    /// When the outcome was seen.
    at: Instant,
}

async fn attempt(key: &ApiKey, context: &Context) -> Result<Requeue, Error> {
    let uid = key.uid().unwrap_or_default();
    let namespace = key.namespace().unwrap_or_default();
    let account = context.known.account(&namespace, &key.spec.account);
    let now = (context.now)();
    let facts = Facts {
        key,
        account: account.as_deref(),
        entry: None,
        secret: None,
        source: None,
        warn_before: context.warn_before,
    };
    let Done { outcome, problem, unseen, is_at_rest, at } = work(context, &facts, now).await?;
    // A look that was refused, or that something stands in the way of, is made anew.
    let look = |outcome: &execute::Outcome| {
        let stored = outcome.entry.clone().filter(|_| problem.is_none() && unseen.is_none())?;
        Some(Look { stored, secret: outcome.secret, at })
    };
    if outcome.is_gated {
        if let Some(look) = look(&outcome) {
            context.recent.keep(key, key.status.as_ref(), look);
        }
        // Nothing is said of a value that is about to be delivered: one write of status, not two. The gate wakes the key.
        return Ok(Requeue::After(GATE_BOUND));
    }
    if outcome.entry.as_ref().is_some_and(|stored| stored.entry.undelivered().is_none()) {
        context.enforcement.delivered(&uid);
    }
    let facts = Facts { entry: outcome.entry.as_ref().map(|stored| &stored.entry), secret: outcome.secret, ..facts };
    let suspension = context.known.suspension(&namespace, TargetKind::Account, &key.spec.account);
    let suspension = suspension.or_else(|| context.known.suspension(&namespace, TargetKind::ApiKey, &key.name_any()));
    let standing = context.enforcement.standing(key);
    let said = status::Said {
        problem: problem.as_ref(),
        suspension: suspension.as_deref(),
        unseen: unseen.as_deref(),
        standing: standing.as_ref(),
    };
    let (status, news) = status::project(&facts, &said, now);
    // Counted, and only then looked for: a key that is deleted meanwhile has been forgotten already.
    context.metrics.is_expiring(&uid, status::is_expiring(&status));
    if context.known.key(&namespace, &key.name_any()).is_none_or(|known| known.uid() != key.uid()) {
        context.metrics.is_expiring(&uid, false);
    }
    // What is written of a key that something stands in the way of is no reason to try again before its pause is over.
    let is_said = is_at_rest || problem.is_some() || unseen.is_some();
    context.known.says(key, is_said.then_some(&status));
    if let Some(look) = look(&outcome) {
        context.recent.keep(key, Some(&status), look);
    }
    status::write(context, key, status, news).await?;
    Ok(Requeue::After(next(context, &facts, problem.as_ref(), now)))
}

/// Observes, plans and executes.
async fn work(context: &Context, facts: &Facts<'_>, now: Timestamp) -> Result<Done, Error> {
    let recent = context.recent.take(facts.key);
    let was_seen = recent.as_ref().map(|look| look.at);
    let start = Instant::now();
    let (entry, secret, unseen) = match recent {
        Some(Look { stored, secret, .. }) => (Some(stored), secret, None),
        None => match entry(context, facts.key).await? {
            Err(problem) => {
                let outcome = execute::Outcome { entry: None, secret: None, blocked: None, is_gated: false };
                return Ok(Done { outcome, problem: Some(problem), unseen: None, is_at_rest: false, at: start });
            }
            Ok(entry) => {
                let read = entry.as_ref().map(|stored| &stored.entry);
                let (secret, unseen) = observe::secret(context, facts.key, read).await?;
                (entry, secret, unseen)
            }
        },
    };
    let read = entry.as_ref().map(|stored| stored.entry.clone());
    if read.as_ref().is_some_and(|entry| entry.outdates(facts.key.metadata.generation)) {
        return Err(Error::Outdated);
    }
    let source = if read.is_none() { observe::source(context, facts.key).await? } else { None };
    let facts = Facts { entry: read.as_ref(), secret, source: source.as_ref(), ..*facts };
    let plan = plan(&facts, now);
    let is_idle = plan.actions.is_empty();
    let is_at_rest = is_idle && plan.problem.is_none() && unseen.is_none() && !plan.awaits_status;
    let outcome = match execute::execute(context, &facts, entry.clone(), plan.actions).await {
        Ok(outcome) => outcome,
        Err(error) => {
            let blocked = Some(execute::refused_write(&error, facts.key, context.entries.namespace()).ok_or(error)?);
            execute::Outcome { entry, secret, blocked, is_gated: false }
        }
    };
    let problem = outcome.blocked.clone().or(plan.problem);
    let at = was_seen.filter(|_| is_idle).unwrap_or(start);
    Ok(Done { outcome, problem, unseen, is_at_rest, at })
}

/// The key's record, be it one of before a restore; or why it cannot be told what it is.
async fn entry(context: &Context, key: &ApiKey) -> Result<Result<Option<Stored>, Problem>, Error> {
    // Of a key that was never issued anything, the entries of its name are asked for in any case.
    let is_issued = key.status.as_ref().is_some_and(|status| status.key_id.is_some());
    let own = if is_issued { observe::entry(context, &key.uid().unwrap_or_default()).await? } else { Ok(None) };
    Ok(match own {
        Err(unreadable) => Err(Problem::new(Reason::EntryUnreadable, unreadable)),
        Ok(Some(stored)) => Ok(Some(stored)),
        Ok(None) => match adopt(context, key).await? {
            Adoption::Nothing => Ok(None),
            Adoption::Done(stored) => Ok(Some(*stored)),
            Adoption::Refused(problem) => Err(problem),
        },
    })
}

/// When to look again. What only a change of ApiKey or Account can mend waits for that; what stands in the way
/// elsewhere, as a foreign Secret does, cannot be watched and is looked at again after a growing pause.
fn next(context: &Context, facts: &Facts<'_>, problem: Option<&Problem>, now: Timestamp) -> Duration {
    let blocked_elsewhere = problem.is_some_and(|p| {
        matches!(
            p.reason,
            Reason::SecretConflict
                | Reason::SecretImmutable
                | Reason::SecretNotAllowed
                | Reason::SecretEnding
                | Reason::SecretRefused
                | Reason::RecordRefused
                | Reason::EntryUnreadable
                | Reason::AdoptionUnclear
        )
    });
    let delivery = facts.entry.and_then(|entry| entry.secret.as_ref());
    let is_unseen = delivery.is_some_and(|delivery| delivery.ended == Some(Ended::Unseen));
    let uid = facts.key.uid().unwrap_or_default();
    let is_hidden = matches!(facts.secret, Some(Presence::Unknown | Presence::Ending));
    let pause = if blocked_elsewhere || is_unseen || is_hidden || plan::is_overdue(facts, now) {
        context.backoff.while_in_the_way(&uid)
    } else {
        context.backoff.forget(&uid);
        // Keys that a starting operator has looked at in one go spread out again.
        REST.mul_f64(rand::random_range(0.6..=1.0))
    };
    let until_deadline =
        plan::deadline(facts, now).map(|at| Duration::try_from(at.duration_since(now)).unwrap_or_default());
    until_deadline.map_or(pause, |until| until.min(pause))
}
