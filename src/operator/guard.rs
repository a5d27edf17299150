//! The operator goes on only when it is held back: RBAC lets it write Secrets in every namespace, and a
//! ValidatingAdmissionPolicy confines that to Secrets of our own types. So it tries, by dry run, to create, update and
//! delete one that is not ours, and each must be refused by that policy's name. The same with the deletion of a delivered
//! Secret that holds a value, for the answer could hold it too, and with RoleBindings, of which it writes those of an
//! account's members and no other.

use std::collections::BTreeMap;
use std::sync::PoisonError;
use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::rbac::v1::{RoleBinding, RoleRef};
use kube::Client;
use kube::api::{DeleteParams, ObjectMeta};
use thiserror::Error;

use super::NotReady;
use super::write::dry_run_by_us;
use crate::api::names;
use crate::apiserver::Collection;

/// How often the check is repeated while running.
const INTERVAL: Duration = Duration::from_mins(5);

/// Why the operator does not go on.
#[derive(Debug, Error)]
pub enum GuardError {
    /// It could do what it must not be able to do.
    #[error(
        "the operator's account may {0}: the ValidatingAdmissionPolicy {1} and its binding are missing or were changed; apply the chart again"
    )]
    NotHeldBack(&'static str, &'static str),
    /// The Secret to try it on is missing.
    #[error(
        "Secret {0} is missing in the operator's namespace, on which it checks that it is held back; apply the chart again, or correct --system-namespace"
    )]
    NoCanary(&'static str),
    /// Refused, but by something else: whether the policy would have is not known.
    #[error("could not check that the operator is held back ({0}): {1}")]
    Unclear(&'static str, #[source] Box<kube::Error>),
}

/// The message of the policy's rule on deletions, by which it is told from the others.
const ONLY_BLANK: &str = "the Keywright operator deletes a delivered Secret only when it is blank";

/// Tries each request in the operator's own namespace.
pub async fn check(client: &Client, system: &str) -> Result<(), GuardError> {
    let secrets = Collection::<Secret>::new(client, Some(system));
    let (write, delete) = (dry_run_by_us(), DeleteParams::default().dry_run());
    let foreign = |name: &str| Secret {
        metadata: ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() },
        type_: Some("Opaque".to_owned()),
        string_data: Some(BTreeMap::new()),
        ..Secret::default()
    };
    let refused = |what| Refused { what, policy: names::OPERATOR_SECRETS_POLICY, rule: "", canary: names::CANARY_NAME };
    let created = secrets.create(&write, &foreign("keywright-canary-create")).await;
    refused("create a Secret that is not Keywright's").in_answer(created)?;
    let updated = secrets.replace(names::CANARY_NAME, &write, &foreign(names::CANARY_NAME)).await;
    refused("update a Secret that is not Keywright's").in_answer(updated)?;
    let deleted = secrets.delete(names::CANARY_NAME, &delete).await;
    refused("delete a Secret that is not Keywright's").in_answer(deleted)?;
    let deleted = secrets.delete(names::DELIVERED_CANARY_NAME, &delete).await;
    let only_blank = refused("delete a delivered Secret with its value");
    Refused { rule: ONLY_BLANK, canary: names::DELIVERED_CANARY_NAME, ..only_blank }.in_answer(deleted)?;
    // One to a role that it may bind, for others are refused before any policy is asked.
    let bindings = Collection::<RoleBinding>::new(client, Some(system));
    let binding = RoleBinding {
        metadata: ObjectMeta { name: Some(names::CANARY_NAME.to_owned()), ..ObjectMeta::default() },
        role_ref: RoleRef {
            api_group: "rbac.authorization.k8s.io".to_owned(),
            kind: "ClusterRole".to_owned(),
            name: names::ADMIN_ROLE.to_owned(),
        },
        subjects: None,
    };
    let bound = refused("create a RoleBinding that is not Keywright's");
    Refused { policy: names::OPERATOR_BINDINGS_POLICY, ..bound }.in_answer(bindings.create(&write, &binding).await)
}

/// A request that a policy must refuse.
struct Refused {
    what: &'static str,
    policy: &'static str,
    /// Words of the rule that must refuse it, where the policy has others that would.
    rule: &'static str,
    /// The Secret that it is tried on.
    canary: &'static str,
}

impl Refused {
    fn in_answer<T>(self, answer: Result<T, kube::Error>) -> Result<(), GuardError> {
        let Self { what, policy, rule, canary } = self;
        match answer {
            Err(kube::Error::Api(status)) if status.message.contains(policy) && status.message.contains(rule) => Ok(()),
            Err(kube::Error::Api(status)) if status.is_not_found() => Err(GuardError::NoCanary(canary)),
            Err(kube::Error::Api(status)) if status.message.contains(policy) => {
                Err(GuardError::NotHeldBack(what, policy))
            }
            Err(error) => Err(GuardError::Unclear(what, Box::new(error))),
            Ok(_) => Err(GuardError::NotHeldBack(what, policy)),
        }
    }
}

/// Checks now and then; what is found stands in `/readyz` and in the log.
pub async fn keep_checking(client: Client, system: String, not_ready: NotReady) {
    let mut before = None;
    loop {
        tokio::time::sleep(INTERVAL).await;
        let found = check(&client, &system).await.err().map(|error| error.to_string());
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
