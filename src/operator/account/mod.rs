//! The controller of Accounts: reserves the Site ID, gives the members their roles, and says what there is.

use std::sync::Arc;
use std::time::Duration;

use kube::ResourceExt;
use tokio::sync::mpsc;

use super::context::Context;
use super::enforcement::Kind;
use super::queue::Requeue;
use super::router::{FullName, Woken};
use super::{controller, refusal, site_ids, unreadable, write};
use crate::api::{Account, TargetKind};
use crate::server::Shutdown;

mod members;
mod status;

/// How many are reconciled at once: there are few, and each is a handful of requests.
const CONCURRENCY: u16 = 2;
/// How often an account at rest is looked at again: RoleBindings are not watched, so a changed one is mended then.
const REST: Duration = Duration::from_mins(15);

/// Reconciles every Account that is woken, until told to stop.
pub async fn run(context: Arc<Context>, woken: mpsc::UnboundedReceiver<Woken>, shutdown: Shutdown) {
    let look = async |(namespace, name): FullName| {
        let Some(account) = context.known.account(&namespace, &name) else {
            return report_unreadable(&context, &(namespace, name)).await;
        };
        match reconcile(&account, &context).await {
            Ok(pause) => Requeue::After(pause),
            Err(error) if refusal::is_ending(&error) => Requeue::After(REST),
            Err(error) => Requeue::Retry(after(&error, &account, &context)),
        }
    };
    controller::run(woken, CONCURRENCY, shutdown.wait(), look).await;
}

/// Writes the status of an account that this version cannot parse. One that was deleted while it waited has none.
async fn report_unreadable(context: &Context, name: &FullName) -> Requeue {
    let Some(account) = context.known.unreadable.get(Kind::Account, name) else { return Requeue::Never };
    let Err(error) = unreadable::report_account(context, &account).await else { return Requeue::Never };
    tracing::warn!(namespace = name.0, name = name.1, %error, "writing the status of an unreadable Account failed");
    Requeue::Retry(context.backoff.after_failure(account.metadata.uid.as_deref().unwrap_or_default()))
}

/// How long to wait after an error.
fn after(error: &kube::Error, account: &Account, context: &Context) -> Duration {
    let pause = context.backoff.after_failure(&account.uid().unwrap_or_default());
    let (namespace, name) = (account.namespace().unwrap_or_default(), account.name_any());
    // A conflict is everyday: the account changed while it was looked at.
    if write::is_outrun(error) {
        tracing::debug!(%namespace, %name, %error, "trying again in {pause:?}");
    } else {
        tracing::warn!(%namespace, %name, %error, "trying again in {pause:?}");
    }
    pause
}

/// Returns how long it may rest.
async fn reconcile(account: &Account, context: &Context) -> Result<Duration, kube::Error> {
    let (namespace, name) = (account.namespace().unwrap_or_default(), account.name_any());
    let is_neighbour = |other: &Account| {
        other.metadata.namespace == account.metadata.namespace && other.metadata.name != account.metadata.name
    };
    let neighbours = context.known.accounts.state_filter(is_neighbour);
    let unreadable = context.known.unreadable.in_namespace(Kind::Account, &namespace);
    let members = members::apply(&context.client, account, &neighbours, &unreadable).await?;
    if account.metadata.deletion_timestamp.is_some() {
        return Ok(REST);
    }
    let entries = context.entries.namespace();
    let (site_id, refused) = match site_ids::reserve(&context.client, entries, (&namespace, &name)).await {
        Ok(site_id) => (site_id, None),
        // What was reserved before stays reserved.
        Err(error) => {
            let words = refusal::refused(&error).ok_or(error)?;
            let refused =
                format!("the Site ID is not reserved in namespace {entries}, for the API server refuses it: {words}");
            (account.status.as_ref().and_then(|status| status.public_key.clone()), Some(refused))
        }
    };
    let suspension = context.known.suspension(&namespace, TargetKind::Account, &name);
    let of_account =
        |key: &crate::api::ApiKey| key.metadata.namespace == account.metadata.namespace && key.spec.account == name;
    let keys = context.known.keys.state_filter(of_account);
    let settled = refused.is_none() && matches!(members, members::Members::Bound | members::Members::NotOldest { .. });
    let standing = context.enforcement.standing(account);
    let suspension = suspension.as_deref();
    let facts = status::Facts { account, site_id, refused, members, suspension, keys: &keys, standing };
    status::write(context, &facts, status::project(&facts, (context.now)())).await?;
    let uid = account.uid().unwrap_or_default();
    if !settled {
        return Ok(context.backoff.while_in_the_way(&uid));
    }
    context.backoff.forget(&uid);
    Ok(REST)
}
