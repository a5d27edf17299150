//! The operator goes on only when it is held back: RBAC lets it write Secrets in every namespace, and a
//! ValidatingAdmissionPolicy confines that to Secrets of our own types. So it tries, by dry run, to create, update and
//! delete one that is not ours, and each must be refused by that policy's name.

use std::collections::BTreeMap;
use std::sync::PoisonError;
use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use kube::api::{DeleteParams, ObjectMeta};
use kube::{Api, Client};
use thiserror::Error;

use super::NotReady;
use super::write::dry_run_by_us;
use crate::api::names;

/// How often the check is repeated while running.
const INTERVAL: Duration = Duration::from_mins(5);

/// Why the operator does not go on.
#[derive(Debug, Error)]
pub enum GuardError {
    /// It could do what it must not be able to do.
    #[error(
        "the operator's account may {0} a Secret that is not Keywright's: the ValidatingAdmissionPolicy {policy} and its binding are missing or were changed; apply the chart again",
        policy = names::OPERATOR_SECRETS_POLICY
    )]
    NotHeldBack(&'static str),
    /// The Secret to try it on is missing.
    #[error("Secret {namespace}/{name} is missing, on which the operator checks that it is held back; apply the chart again", namespace = names::SYSTEM_NAMESPACE, name = names::CANARY_NAME)]
    NoCanary,
    /// Refused, but by something else: whether the policy would have is not known.
    #[error("could not check that the operator is held back from other Secrets ({0}): {1}")]
    Unclear(&'static str, #[source] Box<kube::Error>),
}

/// Tries all three.
pub async fn check(client: &Client) -> Result<(), GuardError> {
    let api = Api::<Secret>::namespaced(client.clone(), names::SYSTEM_NAMESPACE);
    let write = dry_run_by_us();
    let foreign = |name: &str| Secret {
        metadata: ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() },
        type_: Some("Opaque".to_owned()),
        string_data: Some(BTreeMap::new()),
        ..Secret::default()
    };
    held_back("create", api.create(&write, &foreign("keywright-canary-create")).await)?;
    held_back("update", api.replace(names::CANARY_NAME, &write, &foreign(names::CANARY_NAME)).await)?;
    held_back("delete", api.delete(names::CANARY_NAME, &DeleteParams::default().dry_run()).await)
}

fn held_back<T>(what: &'static str, answer: Result<T, kube::Error>) -> Result<(), GuardError> {
    match answer {
        Ok(_) => Err(GuardError::NotHeldBack(what)),
        Err(kube::Error::Api(status)) if status.message.contains(names::OPERATOR_SECRETS_POLICY) => Ok(()),
        Err(kube::Error::Api(status)) if status.is_not_found() => Err(GuardError::NoCanary),
        Err(error) => Err(GuardError::Unclear(what, Box::new(error))),
    }
}

/// Checks now and then; what is found stands in `/readyz` and in the log.
pub async fn keep_checking(client: Client, not_ready: NotReady) {
    loop {
        tokio::time::sleep(INTERVAL).await;
        let found = check(&client).await.err().map(|error| error.to_string());
        if let Some(why) = &found {
            tracing::error!("{why}");
        }
        *not_ready.lock().unwrap_or_else(PoisonError::into_inner) = found;
    }
}
