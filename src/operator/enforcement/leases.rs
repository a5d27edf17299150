//! The edge of the proof: lists the verifiers' Leases while something is in flight, wakes the objects whose status is to
//! say something else, and collects silent Leases.

use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{DeleteParams, ListParams, Preconditions};
use tokio::time::{sleep, timeout};

use super::changes::Told;
use super::lease::{Look, Report};
use super::{EAGER, Kind, PATIENT, State};
use crate::api::names;
use crate::apiserver::Collection;
use crate::operator::context::Context;
use crate::operator::router::{Priority, Wake, priority_of_report};
use crate::operator::streams::WakeSenders;
use crate::operator::write;

/// How long the API server may take to answer.
const ANSWER: Duration = Duration::from_secs(10);

/// Looks at the Leases while something is in flight, for ever.
pub async fn run(context: Arc<Context>, wakes: WakeSenders) {
    let leases = Collection::<Lease>::new(&context.client, Some(context.entries.namespace()));
    let (label, value) = names::VERIFIER_LEASE_LABEL;
    // No resourceVersion: only a consistent list says what there was after it was asked for.
    let all = ListParams::default().labels(&format!("{label}={value}"));
    let enforcement = &context.enforcement;
    loop {
        if let Err(why) = look(&context, &wakes, &leases, &all).await {
            tracing::warn!(why, "cannot list the verifiers' Leases, so no change is said to be Enforced; trying again");
            for name in enforcement.with(|state| state.gates.give_up(Instant::now())) {
                wakes.send(Wake::Key(name, Priority::Normal));
            }
            sleep(PATIENT).await;
        }
        // Changes may come faster than anybody need look.
        sleep(EAGER).await;
        let rest = enforcement.pause().saturating_sub(EAGER);
        // A permit may be left from what was looked at just now; that costs one list.
        let _ = timeout(rest, enforcement.stirred.notified()).await;
    }
}

async fn look(
    context: &Context,
    wakes: &WakeSenders,
    leases: &Collection<Lease>,
    all: &ListParams,
) -> Result<(), String> {
    let asked = Instant::now();
    context.metrics.lease_lists.inc();
    let mut reports = Vec::new();
    let list = leases.list(all, ANSWER, |lease| reports.push(Report::read(lease)));
    let listed = timeout(ANSWER, list).await.map_err(|_| format!("no answer in {ANSWER:?}"))?;
    listed.map_err(|error| error.to_string())?;
    let namespace = context.entries.namespace();
    let look = Look { asked, now: Instant::now(), wall: (context.now)(), namespace };
    judge(context, wakes, reports, &look);
    collect(context, leases, look.now).await;
    Ok(())
}

fn judge(context: &Context, wakes: &WakeSenders, reports: Vec<Report>, look: &Look) {
    let (told, (opened, late), in_flight) = context.enforcement.with(|State { changes, gates, leases }| {
        leases.observe(reports, look.now);
        (changes.judge(leases, look), gates.judge(leases, look), changes.in_flight())
    });
    let metrics = &context.metrics;
    metrics.changes_in_flight.set(i64::try_from(in_flight).unwrap_or(i64::MAX));
    metrics.verifiers_passed_over.inc_by(late as u64);
    for name in opened {
        wakes.send(Wake::Key(name, Priority::Normal));
    }
    for Told { kind, name, took } in told {
        if let Some(took) = took {
            metrics.enforced_seconds.observe(took.as_secs_f64());
        }
        wakes.send(match kind {
            Kind::ApiKey => {
                let known = context.known.key(&name.0, &name.1);
                Wake::Key(name, known.map_or(Priority::Normal, |key| priority_of_report(&key)))
            }
            Kind::Account => Wake::Account(name, Priority::High),
            Kind::Suspension => Wake::Suspension(name, Priority::High),
        });
    }
}

/// Deletes the Leases whose processes answer nothing any more, each in the version whose silence was measured: a renewal
/// that this operator has not heard of makes that fail.
async fn collect(context: &Context, leases: &Collection<Lease>, now: Instant) {
    for Report { name, uid, version, says, .. } in context.enforcement.with(|state| state.leases.silent(now)) {
        let sent = Instant::now();
        let preconditions = Preconditions { uid: Some(uid), resource_version: Some(version) };
        match timeout(ANSWER, leases.delete(&name, &DeleteParams::default().preconditions(preconditions))).await {
            Ok(Ok(())) => {
                if let Some(says) = says {
                    context.enforcement.with(|state| state.changes.collected(&says, sent));
                }
                context.metrics.leases_collected.inc();
                tracing::info!(lease = name, "collected the Lease of a verifier that answers nothing any more");
            }
            // Renewed or gone since: the next look shows it.
            Ok(Err(error)) if write::is_outrun(&error) => {}
            failed => {
                let why = failed.map_or_else(
                    |_| format!("no answer in {ANSWER:?}"),
                    |answer| answer.err().map_or_else(String::new, |error| error.to_string()),
                );
                tracing::warn!(lease = name, why, "a silent verifier's Lease was not collected; trying again");
            }
        }
    }
}
