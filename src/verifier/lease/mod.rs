//! Keeps this process's own Lease, from which the operator learns what it has applied.
//!
//! The Lease is there before anything is listed, and is deleted when nothing is answered any more. It is no child of the Pod: were
//! it gone while the process answers, nobody would wait for it. [`keeper`] says what is to be sent, `fence` what follows.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{DeleteParams, ObjectMeta, PostParams};
use kube::core::response::reason;
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

use super::fence::{WATCHES, Watermarks};
use super::freshness::now;
use super::metrics::Outcome;
use super::service::Service;
use crate::api::{Namespaces, listed, names, versions};
use crate::apiserver::Collection;

pub mod keeper;

use keeper::{Answer, Keeper, Known, Request, Said, Verdict};

/// How often it is renewed when nothing happens.
const INTERVAL: Duration = Duration::from_secs(5);
/// The least time between two writes: about 15 a second, however many events there are.
const SPACING: Duration = Duration::from_millis(67);
/// How long a write may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// Pauses after failures: the first, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(5));
/// What others are told of how long one renewal holds. Nothing follows from that.
const DURATION_SECONDS: i32 = 15;

/// This process's Lease.
struct Own {
    leases: Collection<Lease>,
    name: String,
    /// Those that are watched by themselves; none, where all are at once.
    namespaces: Vec<String>,
    max_staleness: Duration,
}

/// Keeps the Lease until told to stop, and then deletes it. Nothing may be answered any more by then.
pub async fn keep(
    leases: Collection<Lease>,
    service: Arc<Service>,
    name: String,
    namespaces: &Namespaces,
    max_staleness: Duration,
    stop: oneshot::Receiver<()>,
) {
    let namespaces = namespaces.each().into_iter().flatten().collect();
    let own = Own { leases, name, namespaces, max_staleness };
    let mut stop = pin!(stop);
    let (mut keeper, mut pause) = (Keeper::default(), PAUSES.0);
    loop {
        // A write that is under way is finished: one that came after the deletion would bring the Lease back.
        let verdict = own.write(&mut keeper, &service).await;
        let next = async {
            match verdict {
                Verdict::Renewed => {
                    sleep(SPACING).await;
                    let _ = timeout(INTERVAL, service.freshness.changed()).await;
                }
                Verdict::Repeated | Verdict::GoOn | Verdict::Lost => sleep(SPACING).await,
                Verdict::TryAgain => sleep(pause).await,
            }
        };
        tokio::select! {
            () = next => {},
            _ = &mut stop => break,
        }
        pause = if verdict == Verdict::TryAgain { (pause * 2).min(PAUSES.1) } else { PAUSES.0 };
    }
    if let Err(error) = own.leases.delete(&own.name, &DeleteParams::default()).await {
        tracing::debug!(lease = own.name, %error, "the Lease was not deleted");
    }
}

impl Own {
    /// Sends what is to be sent, and lets follow what follows from the answer.
    async fn write(&self, keeper: &mut Keeper, service: &Service) -> Verdict {
        // Before anything is asked of the API server, or of ourselves: it counts from here.
        let sent = now();
        let at = Timestamp::from_microsecond(Timestamp::now().as_microsecond()).unwrap_or_default();
        let request = keeper.next(Said { at, applied: service.freshness.watermarks() });
        let (answer, why) = match timeout(PATIENCE, self.send(&request)).await {
            Ok(Ok(answer)) => (answer, None),
            Ok(Err(error)) => read_error(&error),
            Err(_) => (Answer::Failed, Some(format!("no answer within {PATIENCE:?}"))),
        };
        service.metrics.wrote_lease(match answer {
            Answer::Written(_) | Answer::Found(..) => Outcome::written,
            Answer::Gone => Outcome::gone,
            Answer::Conflict => Outcome::conflict,
            Answer::Failed => Outcome::failed,
        });
        let verdict = keeper.answered(answer);
        match verdict {
            Verdict::Renewed | Verdict::Repeated => {
                if service.freshness.lease_written(sent, now()) {
                    tracing::info!(lease = self.name, "the Lease is there");
                }
            }
            Verdict::Lost => {
                tracing::warn!(
                    lease = self.name,
                    "the Lease was gone or not ours; reading everything anew before answering"
                );
                service.freshness.lease_lost();
            }
            Verdict::GoOn => return verdict,
            Verdict::TryAgain => {
                let why = why.unwrap_or_else(|| "the API server speaks of a conflict, and there is none".to_owned());
                tracing::warn!(lease = self.name, %why, "the Lease could not be written; trying again");
                service.freshness.set_trouble(Some(why));
                return verdict;
            }
        }
        service.freshness.set_trouble(None);
        verdict
    }

    async fn send(&self, request: &Request) -> Result<Answer, kube::Error> {
        let params = PostParams::default();
        let lease = match request {
            Request::Create(said) => self.leases.create(&params, &self.lease(said, None)).await?,
            Request::Update(said, known) => {
                self.leases.replace(&self.name, &params, &self.lease(said, Some(known))).await?
            }
            Request::Read => {
                let lease = self.leases.get(&self.name).await?;
                // One that cannot be parsed is not ours.
                let said = lease.0.as_ref().ok().and_then(|lease| self.said(lease));
                return Ok(Answer::Found(known(lease.meta()), said));
            }
        };
        Ok(Answer::Written(known(lease.meta())))
    }

    /// An update names the uid as well: by the version alone it would make a Lease that is gone anew.
    fn lease(&self, said: &Said, known: Option<&Known>) -> Lease {
        let (label, value) = names::VERIFIER_LEASE_LABEL;
        let labels = [(names::MANAGED_BY_LABEL, names::MANAGED_BY), (label, value)];
        let mut annotations = BTreeMap::from([
            (names::APPLIED_ANNOTATION.to_owned(), listed(&said.applied.least)),
            (names::MAX_STALENESS_ANNOTATION.to_owned(), milliseconds(self.max_staleness)),
        ]);
        if !self.namespaces.is_empty() {
            let each = self.namespaces.iter().zip(&said.applied.of_namespaces);
            let each: Vec<String> = each.map(|(name, applied)| format!("{name}={}", listed(applied))).collect();
            annotations.insert(names::APPLIED_IN_ANNOTATION.to_owned(), each.join(";"));
        }
        Lease {
            metadata: ObjectMeta {
                name: Some(self.name.clone()),
                uid: known.map(|known| known.uid.clone()),
                resource_version: known.map(|known| known.version.clone()),
                labels: Some(labels.map(|(name, value)| (name.to_owned(), value.to_owned())).into()),
                annotations: Some(annotations),
                ..ObjectMeta::default()
            },
            spec: Some(LeaseSpec {
                holder_identity: Some(self.name.clone()),
                lease_duration_seconds: Some(DURATION_SECONDS),
                renew_time: Some(MicroTime(said.at)),
                ..LeaseSpec::default()
            }),
        }
    }

    /// What a Lease says, if it is one that we could have written.
    fn said(&self, lease: &Lease) -> Option<Said> {
        let spec = lease.spec.as_ref()?;
        let said = Said { at: spec.renew_time.as_ref()?.0, applied: self.applied(lease)? };
        let ours = self.lease(&said, None);
        let is_ours = ours.spec == lease.spec && ours.metadata.annotations == lease.metadata.annotations;
        is_ours.then_some(said)
    }

    fn applied(&self, lease: &Lease) -> Option<Watermarks> {
        let annotations = lease.metadata.annotations.as_ref()?;
        let least: [u64; WATCHES] = versions(annotations.get(names::APPLIED_ANNOTATION)?)?;
        let of_namespaces = if self.namespaces.is_empty() {
            let [keys, accounts, suspensions, _] = least;
            vec![[keys, accounts, suspensions]]
        } else {
            let each = annotations.get(names::APPLIED_IN_ANNOTATION)?.split(';');
            each.map(|part| versions(part.split_once('=')?.1)).collect::<Option<_>>()?
        };
        Some(Watermarks { least, of_namespaces })
    }
}

fn known(lease: &ObjectMeta) -> Known {
    let text = |field: &Option<String>| field.clone().unwrap_or_default();
    Known { uid: text(&lease.uid), version: text(&lease.resource_version) }
}

/// Rounded up: nobody may wait for less than the fence does.
fn milliseconds(time: Duration) -> String {
    time.as_nanos().div_ceil(1_000_000).to_string()
}

/// Only what the API server says of the Lease itself counts; a proxy may say 404 to anything.
fn read_error(error: &kube::Error) -> (Answer, Option<String>) {
    match error {
        kube::Error::Api(status) if status.reason == reason::NOT_FOUND => (Answer::Gone, Some(status.message.clone())),
        kube::Error::Api(status) if [reason::CONFLICT, reason::ALREADY_EXISTS].contains(&&*status.reason) => {
            (Answer::Conflict, None)
        }
        kube::Error::Api(status) if status.is_forbidden() => {
            let todo =
                "install the chart's Role keywright-verifier, which allows create, get, update and delete on leases";
            (Answer::Failed, Some(format!("{}; {todo}", status.message)))
        }
        error => (Answer::Failed, Some(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_waits_for_less_than_the_fence_does() {
        assert_eq!(milliseconds(Duration::ZERO), "0");
        assert_eq!(milliseconds(Duration::from_nanos(15_000_000_001)), "15001");
        assert_eq!(milliseconds(Duration::from_mins(30)), "1800000");
    }
}
