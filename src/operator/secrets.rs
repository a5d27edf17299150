//! The delivered Secrets, in the namespaces of their keys. The operator cannot read them: what is there is learnt
//! from how the API server answers a full write or a dry run of one. Never a patch: a JSON patch is a read.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{DeleteParams, ObjectMeta, Preconditions};
use kube::core::Status;
use kube::{Api, Client, ResourceExt};

use super::api_key::facts::Presence;
use super::write::{self, wipe};
use crate::api::{ApiKey, SecretItem, names};
use crate::key::{Credential, Delivery, Plaintext};

/// The delivered Secrets.
pub struct Secrets(Client);

/// A Secret that was just written.
#[derive(Clone, Debug, PartialEq)]
pub struct Written {
    /// Its name and uid.
    pub delivery: Delivery,
    version: String,
}

/// What a write came to.
#[derive(Clone, Debug, PartialEq)]
pub enum WriteOutcome {
    /// It holds the value.
    Written(Written),
    /// Its name is taken by one that is not ours to touch.
    Taken,
    /// It is ours, but a user made it immutable.
    Immutable,
    /// The chart's values do not allow its name, a label or an annotation. Contains the policy's message.
    NotAllowed(String),
}

/// What stands under the name of a Secret that was delivered before a restore.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// That Secret, under this uid.
    Uid(String),
    /// Nothing.
    Nothing,
    /// Another, or one with another value.
    Other,
}

/// Why a full write of ours was refused, where that says what is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    Exists,
    NotThere,
    NotOurs,
    Immutable,
    NotAllowed,
}

/// How often a write goes back and forth between "exists" and "is not there" before it is left to the next attempt.
const ATTEMPTS: usize = 4;

impl Secrets {
    /// With the operator's own rights.
    pub fn new(client: Client) -> Self {
        Self(client)
    }

    /// Writes the value: creates the Secret, or takes over the one that an earlier attempt created.
    pub async fn write(
        &self,
        key: &ApiKey,
        credential: &Credential,
        plaintext: &Plaintext,
        site_id: &str,
    ) -> Result<WriteOutcome, kube::Error> {
        let api = self.api(key);
        let name = key.secret_name();
        let mut secret = body(key, credential.serial, |item| match item {
            SecretItem::Value => plaintext.expose().as_bytes().to_vec(),
            SecretItem::KeyId => credential.id.to_string().into_bytes(),
            SecretItem::SiteId => site_id.as_bytes().to_vec(),
        });
        let mut outcome = Ok(WriteOutcome::Taken);
        for _ in 0..ATTEMPTS {
            let answer = match api.create(&write::by_us(), &secret).await {
                Err(error) if refusal(&error) == Some(Refusal::Exists) => {
                    api.replace(name, &write::by_us(), &secret).await
                }
                answer => answer,
            };
            outcome = match answer {
                Ok(mut answer) => {
                    let written = Written {
                        delivery: Delivery {
                            name: name.to_owned(),
                            uid: answer.uid().unwrap_or_default(),
                            ended: None,
                        },
                        version: answer.resource_version().unwrap_or_default(),
                    };
                    answer.data.as_mut().map(wipe);
                    Ok(WriteOutcome::Written(written))
                }
                Err(error) => match refusal(&error) {
                    // Deleted between the two writes.
                    Some(Refusal::NotThere) => continue,
                    Some(Refusal::NotOurs | Refusal::Exists) => Ok(WriteOutcome::Taken),
                    Some(Refusal::Immutable) => Ok(WriteOutcome::Immutable),
                    Some(Refusal::NotAllowed) => Ok(WriteOutcome::NotAllowed(words(&error))),
                    None => Err(error),
                },
            };
            break;
        }
        secret.data.as_mut().map(wipe);
        outcome
    }

    /// Is the Secret that was delivered still there? A dry run of an update tells. With its uid, unless it was revealed:
    /// then it is gone, and whatever of ours stands under the name is meant.
    pub async fn look(&self, key: &ApiKey, serial: u64, delivery: &Delivery) -> Result<Presence, kube::Error> {
        let uid = delivery.ended.is_none().then_some(delivery.uid.as_str());
        match self.try_to_update(key, serial, delivery, uid).await? {
            // The policy refuses a Secret of another key first.
            Ok(_) | Err(Refusal::Immutable | Refusal::NotAllowed) => Ok(Presence::Present),
            Err(Refusal::NotThere) => Ok(Presence::Missing),
            // Another uid, another type, or another owner.
            Err(Refusal::Exists | Refusal::NotOurs) => Ok(Presence::Other),
        }
    }

    /// Where is the Secret that was delivered before a restore? It must be of this ApiKey and hold the value of this
    /// serial: the policy refuses a lower serial than the one that is there, so a write with the one before is refused
    /// exactly where it is that very one or a newer, and a newer one refuses this serial too.
    pub async fn find(&self, key: &ApiKey, serial: u64, delivery: &Delivery) -> Result<Found, kube::Error> {
        let uid = match self.try_to_update(key, serial, delivery, None).await? {
            Ok(uid) => uid,
            Err(Refusal::NotThere) => return Ok(Found::Nothing),
            Err(Refusal::Exists | Refusal::NotOurs | Refusal::Immutable | Refusal::NotAllowed) => {
                return Ok(Found::Other);
            }
        };
        Ok(match self.try_to_update(key, serial.saturating_sub(1), delivery, Some(&uid)).await? {
            Err(Refusal::NotOurs) => Found::Uid(uid),
            Ok(_) | Err(_) => Found::Other,
        })
    }

    /// What would become of a full update: the uid of what is there, or why it is refused.
    async fn try_to_update(
        &self,
        key: &ApiKey,
        serial: u64,
        delivery: &Delivery,
        uid: Option<&str>,
    ) -> Result<Result<String, Refusal>, kube::Error> {
        let mut secret = blank(key, serial);
        secret.metadata.name = Some(delivery.name.clone());
        secret.metadata.uid = uid.map(str::to_owned);
        match self.api(key).replace(&delivery.name, &write::dry_run_by_us(), &secret).await {
            Ok(there) => Ok(Ok(there.uid().unwrap_or_default())),
            Err(error) => refusal(&error).map(Err).ok_or(error),
        }
    }

    /// Deletes whatever of ours stands under the name, until nothing does. It is blanked first, by an update that the
    /// policy refuses where the Secret holds a newer value, and deleted in the version of that answer.
    pub async fn conceal(&self, key: &ApiKey, serial: u64, delivery: &Delivery) -> Result<(), kube::Error> {
        let blank = blank(key, serial);
        for _ in 0..ATTEMPTS {
            match self.api(key).replace(&delivery.name, &write::by_us(), &blank).await {
                Ok(blanked) => {
                    let uid = blanked.uid().unwrap_or_default();
                    self.delete(&self.api(key), &delivery.name, &uid, blanked.resource_version()).await?;
                }
                Err(error) => match refusal(&error) {
                    Some(Refusal::NotThere | Refusal::NotOurs) => return Ok(()),
                    // Changed in between.
                    Some(Refusal::Exists) => {}
                    // It cannot be blanked, so it is known to be ours only by its uid.
                    Some(Refusal::Immutable) => {
                        return self.delete(&self.api(key), &delivery.name, &delivery.uid, None).await;
                    }
                    Some(Refusal::NotAllowed) | None => return Err(error),
                },
            }
        }
        Ok(())
    }

    /// Removes exactly what was written: somebody else had delivered already, and this one is a stray.
    pub async fn undo(&self, key: &ApiKey, written: &Written) -> Result<(), kube::Error> {
        let Written { delivery, version } = written;
        self.delete(&self.api(key), &delivery.name, &delivery.uid, Some(version.clone())).await
    }

    /// Removes the Secret of a key that is gone, whatever was done to it since.
    pub async fn remove(&self, namespace: &str, delivery: &Delivery) -> Result<(), kube::Error> {
        let api = Api::namespaced(self.0.clone(), namespace);
        self.delete(&api, &delivery.name, &delivery.uid, None).await
    }

    async fn delete(
        &self,
        api: &Api<Secret>,
        name: &str,
        uid: &str,
        version: Option<String>,
    ) -> Result<(), kube::Error> {
        let preconditions = Preconditions { resource_version: version, uid: Some(uid.to_owned()) };
        match api.delete(name, &DeleteParams::default().preconditions(preconditions)).await {
            // Gone or changed since: not ours to remove any more.
            Err(error) if write::is_outrun(&error) => Ok(()),
            Err(error) => Err(error),
            Ok(_) => Ok(()),
        }
    }

    fn api(&self, key: &ApiKey) -> Api<Secret> {
        Api::namespaced(self.0.clone(), key.metadata.namespace.as_deref().unwrap_or_default())
    }
}

/// The Secret without a value, and without labels and annotations of the template: one that the policy does not allow must
/// not keep a value from being removed.
fn blank(key: &ApiKey, serial: u64) -> Secret {
    let mut secret = body(key, serial, |_| Vec::new());
    secret.metadata.labels = Some(write::labels());
    secret.metadata.annotations = Some(serial_annotation(serial));
    secret
}

fn serial_annotation(serial: u64) -> BTreeMap<String, String> {
    BTreeMap::from([(names::SERIAL_ANNOTATION.to_owned(), serial.to_string())])
}

fn body(key: &ApiKey, serial: u64, value: impl Fn(SecretItem) -> Vec<u8>) -> Secret {
    let data = key.spec.secret_data().into_iter().map(|(name, item)| (name, ByteString(value(item))));
    // Ours come last, so that they win.
    let template = key.spec.secret.clone().unwrap_or_default();
    let (mut labels, mut annotations) = (template.labels, template.annotations);
    labels.extend(write::labels());
    annotations.extend(serial_annotation(serial));
    Secret {
        metadata: ObjectMeta {
            name: Some(key.secret_name().to_owned()),
            namespace: key.namespace(),
            labels: Some(labels),
            annotations: Some(annotations),
            owner_references: Some(vec![write::owned_by(key)]),
            ..ObjectMeta::default()
        },
        type_: Some(names::API_KEY_SECRET_TYPE.to_owned()),
        data: Some(data.collect()),
        ..Secret::default()
    }
}

/// Reads a refusal. Its words are the API server's, tested against the real one.
fn refusal(error: &kube::Error) -> Option<Refusal> {
    let kube::Error::Api(status) = error else { return None };
    let Status { code, message, .. } = &**status;
    match code {
        404 if is_namespace(status) => None,
        404 => Some(Refusal::NotThere),
        409 => Some(Refusal::Exists),
        _ if message.contains(names::OPERATOR_SECRETS_POLICY) => {
            let is_limit = message.contains(names::DELIVERED_SECRETS_VALUE);
            Some(if is_limit { Refusal::NotAllowed } else { Refusal::NotOurs })
        }
        // The type cannot change, so a Secret of another type answers this; whether it is immutable too is of no matter.
        422 if message.contains("type: Invalid value") => Some(Refusal::NotOurs),
        422 if message.contains("when `immutable` is set") => Some(Refusal::Immutable),
        _ => None,
    }
}

/// The message of a policy in a refusal.
fn words(error: &kube::Error) -> String {
    let kube::Error::Api(status) = error else { return String::new() };
    status.message.rsplit_once("denied request: ").map_or("", |(_, words)| words).to_owned()
}

/// The namespace itself is gone.
fn is_namespace(status: &Status) -> bool {
    status.details.as_ref().is_some_and(|details| details.kind == "namespaces")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn answered(code: u16, message: &str) -> kube::Error {
        kube::Error::Api(Status::failure(message, "").with_code(code).boxed())
    }

    #[test]
    fn refusals_tell_what_is_there() {
        for (code, message, expected) in [
            (404, "secrets \"a\" not found", Some(Refusal::NotThere)),
            (409, "secrets \"a\" already exists", Some(Refusal::Exists)),
            (422, "Secret \"a\" is invalid: type: Invalid value: \"x\": field is immutable", Some(Refusal::NotOurs)),
            (
                422,
                "secrets \"a\" is forbidden: ValidatingAdmissionPolicy 'keywright-operator-secrets' with binding …",
                Some(Refusal::NotOurs),
            ),
            (
                422,
                "… ValidatingAdmissionPolicy 'keywright-operator-secrets' with binding … denied request: deliveredSecrets.labels of …",
                Some(Refusal::NotAllowed),
            ),
            (422, "data: Forbidden: field is immutable when `immutable` is set", Some(Refusal::Immutable)),
            (403, "secrets is forbidden: exceeded quota", None),
            (500, "etcd is slow", None),
        ] {
            assert_eq!(refusal(&answered(code, message)), expected, "{message}");
        }
    }
}
