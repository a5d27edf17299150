//! Which of several operators acts: the one that holds the Lease `keywright-operator`.
//!
//! Two that both believe it do no harm: every write is a compare-and-swap or guarded by a policy, and what is waited for
//! each measures by itself. The Lease is there so that work is done once. `kube-lease-manager` takes and renews it; two
//! things it does not tell, so they are looked for here: that the holder let go before its term was over, and that our
//! own term is over while no renewal gets through.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, Client};
use kube_lease_manager::{LeaseManager, LeaseManagerBuilder, LeaseManagerError};
use thiserror::Error;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::api::names::{OPERATOR_LEASE, OPERATOR_MANAGER};
use crate::key::KeyId;

/// How long a leader that says nothing more is waited for.
const TERM: Duration = Duration::from_secs(15);
/// How long before its end it is renewed: by so much may another operator's clock be ahead, and for so long may the API
/// server not answer.
const EARLY: Duration = Duration::from_secs(10);
/// How often everybody looks who holds it.
const LOOK: Duration = Duration::from_secs(1);
/// How long one look, or letting go, may take.
const ANSWER: Duration = Duration::from_secs(2);
/// How long the first look of a manager may take.
const BEGINNING: Duration = Duration::from_secs(10);
/// Pauses after failures: the first, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(5));

/// Why this operator cannot stand for leader.
#[derive(Debug, Error)]
enum Obstacle {
    /// The API server forbids it.
    #[error(
        "may not keep Lease {OPERATOR_LEASE} in its own namespace, by which operators agree who acts: {0}; apply the chart again, whose Role keywright-operator in that namespace allows create, get and patch on leases, or run one operator only, without --leader-election"
    )]
    Forbidden(String),
    /// Anything else.
    #[error("cannot keep Lease {OPERATOR_LEASE} in its own namespace, by which operators agree who acts: {0}")]
    Failed(String),
}

impl From<LeaseManagerError> for Obstacle {
    fn from(error: LeaseManagerError) -> Self {
        match error {
            LeaseManagerError::KubeError(error) => error.into(),
            error => Self::Failed(error.to_string()),
        }
    }
}

impl From<kube::Error> for Obstacle {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) if status.is_forbidden() => Self::Forbidden(status.message),
            error => Self::Failed(error.to_string()),
        }
    }
}

/// An operator that would act if no other did.
pub struct Candidate {
    client: Client,
    namespace: String,
    api: Api<Lease>,
    identity: String,
}

impl Candidate {
    /// Creates a candidate for the Lease in `namespace`, under a name of this process's own: after a restart it is another candidate, also in the same pod.
    pub fn new(client: Client, namespace: String) -> Self {
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let identity = format!("{host}_{}", KeyId::from_bits(rand::random()));
        Self { api: Api::namespaced(client.clone(), &namespace), client, namespace, identity }
    }

    /// Returns when this operator leads. `stands` is told why it cannot even stand, and when it can.
    pub async fn wins(self, stands: impl Fn(Result<(), String>)) -> Leader {
        let mut pause = PAUSES.0;
        loop {
            match self.stand(&stands).await {
                Ok(Some(manager)) => {
                    tracing::info!(identity = self.identity, "this operator leads");
                    return Leader { manager, api: self.api, identity: self.identity };
                }
                Ok(None) => pause = PAUSES.0,
                Err(obstacle) => {
                    stands(Err(obstacle.to_string()));
                    sleep(pause).await;
                    pause = (pause * 2).min(PAUSES.1);
                }
            }
        }
    }

    /// One attempt: `None` when another is due, for what the manager has read is no longer so.
    async fn stand(&self, stands: impl Fn(Result<(), String>)) -> Result<Option<LeaseManager>, Obstacle> {
        // The field manager is what tells candidates apart when two take the Lease at once.
        let manager = LeaseManagerBuilder::new(self.client.clone(), OPERATOR_LEASE)
            .with_namespace(&self.namespace)
            .with_identity(&self.identity)
            .with_field_manager(format!("{OPERATOR_MANAGER}-{}", self.identity))
            .with_duration(TERM.as_secs())
            .with_grace(EARLY.as_secs());
        let late = |_| Obstacle::Failed(format!("no answer in {BEGINNING:?}"));
        let manager = timeout(BEGINNING, manager.build()).await.map_err(late)??;
        tokio::select! {
            leads = manager.changed() => return Ok(leads?.then_some(manager)),
            freed = self.freed(stands) => freed?,
        }
        Ok(None)
    }

    /// Returns when nobody holds the Lease.
    async fn freed(&self, stands: impl Fn(Result<(), String>)) -> Result<(), Obstacle> {
        let mut named = None;
        loop {
            sleep(LOOK).await;
            let Ok(lease) = timeout(ANSWER, self.api.get_opt(OPERATOR_LEASE)).await else { continue };
            let Some(holder) = holder(lease?.as_ref()) else { return Ok(()) };
            stands(Ok(()));
            if holder != self.identity && named.as_ref() != Some(&holder) {
                tracing::info!(leader = holder, "standing by: another operator leads");
                named = Some(holder);
            }
        }
    }
}

/// The operator that acts.
pub struct Leader {
    manager: LeaseManager,
    api: Api<Lease>,
    identity: String,
}

impl Leader {
    /// Keeps the Lease, and returns when it is lost, and how.
    pub async fn until_lost(&self) -> String {
        tokio::select! {
            why = self.renew() => why,
            why = self.term() => why,
        }
    }

    async fn renew(&self) -> String {
        loop {
            match self.manager.changed().await {
                Ok(true) => {}
                Ok(false) => return "another operator has taken the Lease".to_owned(),
                Err(error) => {
                    tracing::warn!("{}; trying again", Obstacle::from(error));
                    sleep(LOOK).await;
                }
            }
        }
    }

    /// A manager does not say when its renewals got through, and one request may hang for minutes.
    async fn term(&self) -> String {
        let mut end = Instant::now() + TERM;
        loop {
            let look = async {
                sleep(LOOK).await;
                timeout(ANSWER, self.api.get_opt(OPERATOR_LEASE)).await
            };
            tokio::select! {
                () = sleep_until(end) => return format!("the Lease was not renewed for {TERM:?}"),
                seen = look => {
                    // Without an answer what was seen last goes on to count.
                    let Ok(Ok(lease)) = seen else { continue };
                    match holder(lease.as_ref()) {
                        Some(holder) if holder == self.identity => end = Instant::now() + left(lease, Timestamp::now()),
                        Some(holder) => return format!("{holder} has taken the Lease"),
                        None => return "the Lease was deleted, or taken away".to_owned(),
                    }
                }
            }
        }
    }

    /// Lets go of it, so that another need not wait for the end of the term.
    pub async fn release(self) {
        match timeout(ANSWER, self.manager.release()).await {
            Ok(Ok(())) => tracing::info!("this operator leads no more"),
            Ok(Err(error)) => tracing::warn!(%error, "the Lease was not released; another operator leads in {TERM:?}"),
            Err(_) => tracing::warn!("the Lease was not released in {ANSWER:?}; another operator leads in {TERM:?}"),
        }
    }
}

fn holder(lease: Option<&Lease>) -> Option<String> {
    lease?.spec.as_ref()?.holder_identity.clone().filter(|holder| !holder.is_empty())
}

/// What is left of the term of a Lease that is ours: its times are our own clock's.
fn left(lease: Option<Lease>, now: Timestamp) -> Duration {
    let renewed = lease.and_then(|lease| lease.spec?.renew_time).map_or(Timestamp::UNIX_EPOCH, |time| time.0);
    let since = Duration::try_from(now.duration_since(renewed)).unwrap_or_default();
    TERM.saturating_sub(since)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::json;

    fn lease(spec: serde_json::Value) -> Lease {
        serde_json::from_value(json!({"spec": spec})).unwrap()
    }

    #[test]
    fn a_lease_without_a_holder_is_free() {
        assert_eq!(holder(None), None);
        for free in [json!({}), json!({"holderIdentity": ""}), json!({"renewTime": "2026-11-22T10:00:00.000000Z"})] {
            assert_eq!(holder(Some(&lease(free))), None);
        }
        assert_eq!(holder(Some(&lease(json!({"holderIdentity": "a"})))).as_deref(), Some("a"));
    }

    #[test]
    fn a_term_ends_15_seconds_after_its_renewal_and_never_begins_in_the_future() {
        let renewed = || Some(lease(json!({"renewTime": "2026-11-22T10:00:00.000000Z"})));
        let at =
            |second| "2026-11-22T10:00:00Z".parse::<Timestamp>().unwrap() + jiff::SignedDuration::from_secs(second);
        assert_eq!(left(renewed(), at(4)), Duration::from_secs(11));
        assert_eq!(left(renewed(), at(15)), Duration::ZERO);
        assert_eq!(left(renewed(), at(900)), Duration::ZERO);
        assert_eq!(left(renewed(), at(-5)), TERM, "the clock was set back");
        assert_eq!(left(Some(lease(json!({}))), at(0)), Duration::ZERO);
    }
}
