//! The controller of Suspensions: reports whether the target exists, and whether every verifier refuses it. The target's own status
//! reports that it is suspended.

use std::sync::Arc;
use std::time::Duration;

use kube::ResourceExt;
use kube::runtime::reflector::ObjectRef;
use tokio::sync::mpsc;

use super::context::Context;
use super::enforcement::Kind;
use super::queue::Requeue;
use super::router::{FullName, Woken};
use super::{controller, enforcement, write};
use crate::api::{
    CONDITION_ENFORCED, CONDITION_TARGET_FOUND, Conditions, Reason, Suspension, SuspensionStatus, Target, TargetKind,
};
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

/// Returns true if the target exists, also if this version cannot parse it.
fn is_there(target: &Target, namespace: &str, context: &Context) -> bool {
    let name = (namespace.to_owned(), target.name.clone());
    let (kind, is_known) = match target.kind {
        TargetKind::ApiKey => (Kind::ApiKey, context.known.key(namespace, &target.name).is_some()),
        TargetKind::Account => (Kind::Account, context.known.account(namespace, &target.name).is_some()),
    };
    is_known || context.known.unreadable.get(kind, &name).is_some()
}

async fn reconcile(suspension: &Suspension, context: &Context) -> Result<(), kube::Error> {
    let meta = &suspension.metadata;
    if meta.deletion_timestamp.is_none() {
        let standing = context.enforcement.standing(suspension);
        let before = suspension.status.as_ref().map_or(&[][..], |status| &status.conditions);
        let mut conditions = Conditions::after(before.to_vec(), meta.generation, (context.now)());
        let target = &suspension.spec.target;
        if is_there(target, &suspension.namespace().unwrap_or_default(), context) {
            conditions.say(CONDITION_TARGET_FOUND, true, Reason::Found, format!("the target is {target}"));
            enforcement::say(&mut conditions, standing.as_ref(), before, meta.generation);
        } else {
            let message = format!(
                "there is no {target} in this namespace, so this suspends nothing until there is; correct the name in another Suspension if it is wrong"
            );
            conditions.say(CONDITION_TARGET_FOUND, false, Reason::TargetNotFound, message);
            conditions.say_unknown(
                CONDITION_ENFORCED,
                Reason::TargetNotFound,
                "there is no target that verifiers could refuse",
            );
        }
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
