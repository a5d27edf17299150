//! The controller of Accounts: says whether keys of it can be minted.

use std::future::ready;
use std::sync::Arc;

use futures::StreamExt;
use jiff::Timestamp;
use kube::runtime::controller::{self, Action as Next, ReconcileRequest, applier};
use kube::runtime::reflector::ObjectRef;
use kube::runtime::watcher::{self, Event};
use kube::{Api, ResourceExt};
use tokio::sync::mpsc;

use super::context::Context;
use super::streams::{Reflected, Seen};
use super::write;
use crate::api::{Account, AccountStatus, CONDITION_READY, Reason, set_condition};
use crate::server::Shutdown;

/// How many are reconciled at once: there are few, and each is one write at most.
const CONCURRENCY: u16 = 2;

/// Accounts whose keys must be looked at again; each is said after the store knows of it.
pub type Changed = mpsc::UnboundedReceiver<ObjectRef<Account>>;

/// Reconciles every Account until told to stop, and passes on which ones changed.
pub async fn run(
    context: Arc<Context>,
    accounts: Reflected<Account>,
    changes: mpsc::UnboundedSender<ObjectRef<Account>>,
    shutdown: Shutdown,
) {
    let mut seen = Seen::default();
    let changed = accounts.events.filter_map(move |event| {
        let (account, changed, gone) = match event {
            Ok(Event::Apply(account) | Event::InitApply(account)) => {
                (ObjectRef::from_obj(&account), seen.is_new(&account, &account.metadata.generation), false)
            }
            Ok(Event::Delete(account)) => {
                seen.forget(&account);
                (ObjectRef::from_obj(&account), true, true)
            }
            Ok(Event::Init | Event::InitDone) | Err(_) => return ready(None),
        };
        if changed {
            // Fails only when nobody reconciles keys any more.
            let _ = changes.send(account.clone());
        }
        ready((!gone).then_some(account))
    });
    let requests = changed
        .map(|account| Ok::<_, watcher::Error>(ReconcileRequest::from(account)))
        .take_until(async move { shutdown.wait().await });
    let reconcile = |account: Arc<Account>, context: Arc<Context>| {
        Box::pin(async move { reconcile(&account, &context).await.map(|()| Next::await_change()) })
    };
    let config = controller::Config::default().concurrency(CONCURRENCY);
    applier(reconcile, on_error, context, accounts.store, Box::pin(requests), config).for_each(|_| ready(())).await;
}

fn on_error(account: Arc<Account>, error: &kube::Error, context: Arc<Context>) -> Next {
    let pause = context.backoff.after_failure(&account.uid().unwrap_or_default());
    tracing::debug!(namespace = account.namespace(), name = %account.name_any(), %error, "trying again in {pause:?}");
    Next::requeue(pause)
}

async fn reconcile(account: &Account, context: &Context) -> Result<(), kube::Error> {
    let status = project(account, Timestamp::now());
    if account.metadata.deletion_timestamp.is_none() && account.status.as_ref() != Some(&status) {
        let object =
            Account { metadata: write::as_read(&account.metadata), spec: account.spec.clone(), status: Some(status) };
        let api = Api::<Account>::namespaced(context.client.clone(), &account.namespace().unwrap_or_default());
        api.replace_status(&account.name_any(), &write::by_us(), &object).await?;
    }
    context.backoff.forget(&account.uid().unwrap_or_default());
    Ok(())
}

fn project(account: &Account, now: Timestamp) -> AccountStatus {
    let generation = account.metadata.generation;
    let mut conditions = account.status.clone().unwrap_or_default().conditions;
    conditions.retain(|c| c.type_ == CONDITION_READY);
    let (ready, reason, message) = match account.spec.ceiling() {
        Ok(_) if account.spec.disabled => (true, Reason::Accepted, "every key of this account is refused".to_owned()),
        Ok(_) => (true, Reason::Accepted, "keys of this account can be minted".to_owned()),
        Err(error) => (false, Reason::InvalidSpec, error.to_string()),
    };
    set_condition(&mut conditions, CONDITION_READY, ready, reason, &message, generation, now);
    AccountStatus { observed_generation: generation, conditions }
}
