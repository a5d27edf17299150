//! The controller of Suspensions: says whether every verifier goes by it. What it suspends is said of the target.

use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use kube::runtime::controller::{self, Action as Next, applier};
use kube::{Api, ResourceExt};
use tokio::sync::mpsc;

use super::context::Context;
use super::router::FullName;
use super::streams::requests;
use super::{enforcement, write};
use crate::api::{Conditions, Suspension, SuspensionStatus};
use crate::server::Shutdown;

/// How many are reconciled at once: each is one request.
const CONCURRENCY: u16 = 2;

/// Reconciles every Suspension that is woken, until told to stop.
pub async fn run(context: Arc<Context>, woken: mpsc::UnboundedReceiver<FullName>, shutdown: Shutdown) {
    let requests = requests(woken, shutdown);
    let reconcile = |suspension: Arc<Suspension>, context: Arc<Context>| {
        Box::pin(async move { reconcile(&suspension, &context).await.map(|()| Next::await_change()) })
    };
    let config = controller::Config::default().concurrency(CONCURRENCY);
    let suspensions = context.known.suspensions.clone();
    applier(reconcile, on_error, context, suspensions, Box::pin(requests), config).for_each(|_| ready(())).await;
}

fn on_error(suspension: Arc<Suspension>, error: &kube::Error, context: Arc<Context>) -> Next {
    let pause: Duration = context.backoff.after_failure(&suspension.uid().unwrap_or_default());
    let (namespace, name) = (suspension.namespace().unwrap_or_default(), suspension.name_any());
    // A conflict is everyday: it changed while it was looked at, or was lifted.
    if matches!(error, kube::Error::Api(status) if status.code == 409 || status.code == 404) {
        tracing::debug!(%namespace, %name, %error, "trying again in {pause:?}");
    } else {
        tracing::warn!(%namespace, %name, %error, "trying again in {pause:?}");
    }
    Next::requeue(pause)
}

async fn reconcile(suspension: &Suspension, context: &Context) -> Result<(), kube::Error> {
    let meta = &suspension.metadata;
    if meta.deletion_timestamp.is_none() {
        let standing = context.enforcement.standing(suspension);
        let before = suspension.status.as_ref().map_or(&[][..], |status| &status.conditions);
        let mut conditions = Conditions::after(before.to_vec(), meta.generation, (context.now)());
        enforcement::say(&mut conditions, standing.as_ref(), before, meta.generation);
        let status = SuspensionStatus { observed_generation: meta.generation, conditions: conditions.into_vec() };
        if suspension.status.as_ref() != Some(&status) {
            let api =
                Api::<Suspension>::namespaced(context.client.clone(), &suspension.namespace().unwrap_or_default());
            let (metadata, spec) = (write::as_read(meta), suspension.spec.clone());
            let object = Suspension { metadata, spec, status: Some(status) };
            api.replace_status(&suspension.name_any(), &write::by_us(), &object).await?;
        }
    }
    context.backoff.forget(&suspension.uid().unwrap_or_default());
    Ok(())
}
