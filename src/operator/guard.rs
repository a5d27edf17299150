//! The operator goes on only when it is held back: RBAC lets it write Secrets in every namespace, and a
//! ValidatingAdmissionPolicy confines that to Secrets of our own types. So it tries, by dry run, to create, update and
//! delete one that is not ours, and each must be refused by that policy's name. The same with RoleBindings, of which it
//! writes those of an account's members and no other.

use std::collections::BTreeMap;
use std::sync::PoisonError;
use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::rbac::v1::{RoleBinding, RoleRef};
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
        "the operator's account may {0} that is not Keywright's: the ValidatingAdmissionPolicy {1} and its binding are missing or were changed; apply the chart again"
    )]
    NotHeldBack(&'static str, &'static str),
    /// The Secret to try it on is missing.
    #[error("Secret {namespace}/{name} is missing, on which the operator checks that it is held back; apply the chart again", namespace = names::SYSTEM_NAMESPACE, name = names::CANARY_NAME)]
    NoCanary,
    /// Refused, but by something else: whether the policy would have is not known.
    #[error("could not check that the operator is held back ({0}): {1}")]
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
    let policy = names::OPERATOR_SECRETS_POLICY;
    held_back("create a Secret", policy, api.create(&write, &foreign("keywright-canary-create")).await)?;
    let updated = api.replace(names::CANARY_NAME, &write, &foreign(names::CANARY_NAME)).await;
    held_back("update a Secret", policy, updated)?;
    let deleted = api.delete(names::CANARY_NAME, &DeleteParams::default().dry_run()).await;
    held_back("delete a Secret", policy, deleted)?;
    // One to a role that it may bind, for others are refused before any policy is asked.
    let bindings = Api::<RoleBinding>::namespaced(client.clone(), names::SYSTEM_NAMESPACE);
    let binding = RoleBinding {
        metadata: ObjectMeta { name: Some(names::CANARY_NAME.to_owned()), ..ObjectMeta::default() },
        role_ref: RoleRef {
            api_group: "rbac.authorization.k8s.io".to_owned(),
            kind: "ClusterRole".to_owned(),
            name: names::ADMIN_ROLE.to_owned(),
        },
        subjects: None,
    };
    held_back("create a RoleBinding", names::OPERATOR_BINDINGS_POLICY, bindings.create(&write, &binding).await)
}

fn held_back<T>(what: &'static str, policy: &'static str, answer: Result<T, kube::Error>) -> Result<(), GuardError> {
    match answer {
        Ok(_) => Err(GuardError::NotHeldBack(what, policy)),
        Err(kube::Error::Api(status)) if status.message.contains(policy) => Ok(()),
        Err(kube::Error::Api(status)) if status.is_not_found() => Err(GuardError::NoCanary),
        Err(error) => Err(GuardError::Unclear(what, Box::new(error))),
    }
}

/// Checks now and then; what is found stands in `/readyz` and in the log.
pub async fn keep_checking(client: Client, not_ready: NotReady) {
    let mut before = None;
    loop {
        tokio::time::sleep(INTERVAL).await;
        let found = check(&client).await.err().map(|error| error.to_string());
        if let Some(why) = &found {
            tracing::error!("{why}");
        }
        // Others say there too why they are not ready.
        if found != before {
            not_ready.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&found);
            before = found;
        }
    }
}
