//! The controller of Suspensions: says whether every verifier goes by it. What it suspends is said of the target.

use std::sync::Arc;
use std::time::Duration;

use kube::ResourceExt;
use kube::runtime::reflector::ObjectRef;
use tokio::sync::mpsc;

use super::context::Context;
use super::queue::Requeue;
use super::router::{FullName, Woken};
use super::{controller, enforcement, write};
use crate::api::{Conditions, Suspension, SuspensionStatus};
use crate::apiserver::Collection;
use crate::server::Shutdown;

/// How many are reconciled at once: each is one request.
const CONCURRENCY: u16 = 2;

/// Reconciles every Suspension that is woken, until told to stop.
pub async fn run(context: Arc<Context>, woken: mpsc::UnboundedReceiver<Woken>, shutdown: Shutdown) {
    let look = async |(namespace, name): FullName| {
        let known = context.known.suspensions.get(&ObjectRef::new(&name).within(&namespace));
        let Some(suspension) = known else { return Requeue::Never };
        match reconcile(&suspension, &context).await {
            Ok(()) => Requeue::Never,
            Err(error) => Requeue::Retry(after(&error, &suspension, &context)),
        }
    };
    controller::run(woken, CONCURRENCY, shutdown.wait(), look).await;
}

/// How long to wait after an error.
fn after(error: &kube::Error, suspension: &Suspension, context: &Context) -> Duration {
    let pause = context.backoff.after_failure(&suspension.uid().unwrap_or_default());
    let (namespace, name) = (suspension.namespace().unwrap_or_default(), suspension.name_any());
    // A conflict is everyday: it changed while it was looked at, or was lifted.
    if write::is_outrun(error) {
        tracing::debug!(%namespace, %name, %error, "trying again in {pause:?}");
    } else {
        tracing::warn!(%namespace, %name, %error, "trying again in {pause:?}");
    }
    pause
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
            let suspensions = Collection::<Suspension>::new(&context.client, meta.namespace.as_deref());
            let (metadata, spec) = (write::as_read(meta), suspension.spec.clone());
            let object = Suspension { metadata, spec, status: Some(status) };
            suspensions.replace_status(&suspension.name_any(), &write::by_us(), &object).await?;
        }
    }
    context.backoff.forget(&suspension.uid().unwrap_or_default());
    Ok(())
}
