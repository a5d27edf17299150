//! The controller of ApiKeys: observe → plan → execute → status.

use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, stream};
use jiff::Timestamp;
use kube::ResourceExt;
use kube::runtime::controller::{self, Action as Next, ReconcileRequest, applier};
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher;
use thiserror::Error;
use tokio::sync::{mpsc, watch};

use super::account::Changed;
use super::context::Context;
use super::entries::StoreError;
use super::streams::Reflected;
use crate::api::{Account, ApiKey, Reason};
use crate::key::MintError;
use crate::server::Shutdown;

mod execute;
mod observe;
pub mod plan;
mod status;
mod trigger;

use execute::Outcome;
use plan::{Problem, plan};

/// How long one reconciliation may take before it is given up and tried again.
const PATIENCE: Duration = Duration::from_mins(1);
/// How often a key at rest is looked at again: Secrets cannot be watched, so a removed one is noticed then.
const REST: Duration = Duration::from_mins(15);
/// A user who has cleared the way should not wait longer than this.
const LONGEST_WAIT_FOR_USER: Duration = Duration::from_secs(30);
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
    /// A thread of ours panicked.
    #[error("hashing panicked")]
    Panicked,
}

/// What the controller of Accounts knows.
pub struct Accounts {
    /// All of them.
    pub store: Store<Account>,
    /// Is the first list complete?
    pub complete: watch::Receiver<bool>,
    /// Those that changed.
    pub changed: Changed,
}

/// Reconciles every ApiKey until told to stop.
pub async fn run(
    context: Arc<Context>,
    keys: Reflected<ApiKey>,
    accounts: Accounts,
    concurrency: u16,
    shutdown: Shutdown,
) {
    let Accounts { store: accounts, mut complete, changed } = accounts;
    // A key that is looked at before its account is known would be told that there is none.
    if complete.wait_for(|complete| *complete).await.is_err() {
        return;
    }
    let of_accounts = trigger::keys_of_changed_accounts(changed, keys.store.clone());
    let (deleted, gone) = mpsc::unbounded_channel();
    let of_keys = trigger::changed_keys(keys.events, deleted);
    let queue = stream::select(of_keys, of_accounts).take_until(async move { shutdown.wait().await });
    let reconcile = move |key: Arc<ApiKey>, context: Arc<Context>| {
        let accounts = accounts.clone();
        Box::pin(async move {
            tokio::time::timeout(PATIENCE, reconcile(&key, &context, &accounts)).await.unwrap_or(Err(Error::TimedOut))
        })
    };
    let config = controller::Config::default().concurrency(concurrency);
    let removed = remove_secrets(context.clone(), gone);
    let requests = queue.map(|key| Ok::<_, watcher::Error>(ReconcileRequest::from(key)));
    let reconciled = applier(reconcile, on_error, context.clone(), keys.store, requests, config).for_each(|outcome| {
        match outcome {
            Ok(_) => {
                context.metrics.reconciled.inc();
            }
            // Deleted while it waited for its turn; or it was said by `on_error`.
            Err(controller::Error::ObjectNotFound(_) | controller::Error::ReconcilerFailed(..)) => {}
            Err(error) => tracing::warn!(%error, "the queue of keys"),
        }
        ready(())
    });
    // The first ends when its sender goes with the queue, which the second owns.
    tokio::join!(removed, reconciled);
}

/// Removes the Secrets of deleted keys. Kubernetes' garbage collector would too, but it may take half a minute, and not
/// at all where somebody added a second owner; until then a re-created key finds its name taken.
async fn remove_secrets(context: Arc<Context>, mut gone: mpsc::UnboundedReceiver<ApiKey>) {
    while let Some(key) = gone.recv().await {
        let removal = async {
            let stored = context.entries.get(&key.uid().unwrap_or_default()).await?;
            match stored.and_then(|stored| stored.entry.secret) {
                Some(delivery) => Ok(context.secrets.remove(&key, &delivery).await?),
                None => Ok::<_, Error>(()),
            }
        };
        match tokio::time::timeout(PATIENCE, removal).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(namespace = key.namespace(), name = %key.name_any(), %error, "the Secret of a deleted ApiKey is left to the garbage collector");
            }
            Err(_) => tracing::warn!("the Secret of a deleted ApiKey is left to the garbage collector: no answer"),
        }
    }
}

fn on_error(key: Arc<ApiKey>, error: &Error, context: Arc<Context>) -> Next {
    context.metrics.failed.inc();
    let pause = context.backoff.after_failure(&key.uid().unwrap_or_default());
    // A conflict is everyday: the key changed while it was looked at.
    let conflict = matches!(error, Error::Api(kube::Error::Api(status)) if status.code == 409 || status.code == 404);
    if !conflict {
        tracing::warn!(namespace = key.namespace(), name = %key.name_any(), %error, "trying again in {pause:?}");
    }
    Next::requeue(pause)
}

async fn reconcile(key: &ApiKey, context: &Context, accounts: &Store<Account>) -> Result<Next, Error> {
    if key.metadata.deletion_timestamp.is_some() {
        return Ok(Next::await_change());
    }
    let mut attempts = 0;
    loop {
        match attempt(key, context, accounts).await {
            Err(Error::Store(StoreError::Lost)) if attempts < ATTEMPTS => {
                context.metrics.swaps_lost.inc();
                attempts += 1;
            }
            outcome => return outcome,
        }
    }
}

async fn attempt(key: &ApiKey, context: &Context, accounts: &Store<Account>) -> Result<Next, Error> {
    let uid = key.uid().unwrap_or_default();
    let account = accounts.get(&ObjectRef::new(&key.spec.account).within(&key.namespace().unwrap_or_default()));
    let now = Timestamp::now();
    let (entry, problem, deadline) = match observe::entry(context, &uid).await? {
        Err(unreadable) => (None, Some(Problem::new(Reason::EntryUnreadable, unreadable)), None),
        Ok(entry) => {
            let facts =
                plan::Facts { key, account: account.as_deref(), entry: entry.as_ref().map(|stored| &stored.entry) };
            let plan = plan(&facts, now);
            match execute::execute(context, key, entry, &plan.actions).await? {
                Outcome::Done(entry) => (entry, plan.problem, plan.next),
                Outcome::Blocked(entry, problem) => (entry, Some(problem), plan.next),
            }
        }
    };
    let entry = entry.as_ref().map(|stored| &stored.entry);
    let secret = observe::secret(context, key, entry).await?;
    let facts = status::Facts { key, account: account.as_deref(), entry, secret, problem: problem.as_ref() };
    status::write(context, key, status::project(&facts, now)).await?;
    Ok(next(context, &uid, problem.as_ref(), deadline, now))
}

/// When to look again. What only a change of ApiKey or Account can mend waits for that; what stands in the way
/// elsewhere, as a foreign Secret does, cannot be watched and is looked at again after a growing pause.
fn next(context: &Context, uid: &str, problem: Option<&Problem>, deadline: Option<Timestamp>, now: Timestamp) -> Next {
    let blocked_elsewhere = problem.is_some_and(|p| {
        matches!(p.reason, Reason::SecretConflict | Reason::SecretImmutable | Reason::EntryUnreadable)
    });
    let pause = if blocked_elsewhere {
        context.backoff.after_failure(uid).min(LONGEST_WAIT_FOR_USER)
    } else {
        context.backoff.forget(uid);
        REST
    };
    let until_deadline = deadline.map(|at| Duration::try_from(at.duration_since(now)).unwrap_or_default());
    Next::requeue(until_deadline.map_or(pause, |until| until.min(pause)))
}
