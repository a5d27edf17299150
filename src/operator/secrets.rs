//! The delivered Secrets, in the namespaces of their keys. The operator cannot read them: what is there is learnt
//! from how the API server answers a full write or a dry run of one. Never a patch: a JSON patch is a read.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{DeleteParams, ObjectMeta, Preconditions};
use kube::{Client, ResourceExt};

use super::refusal::{Refusal, refusal, refused, screened, words};
use super::write::{self, wipe};
use crate::api::{ApiKey, SecretItem, names};
use crate::apiserver::Collection;
use crate::key::{Credential, Delivery, Owner, Plaintext};

/// The delivered Secrets.
pub struct Secrets(Client);

/// A Secret in the version that was just written or seen.
#[derive(Clone, Debug, PartialEq)]
pub struct Written {
    /// Its name and uid.
    pub delivery: Delivery,
    version: String,
    /// It is being deleted, and somebody's finalizer holds it.
    is_ending: bool,
}

impl Written {
    /// The resourceVersion.
    pub fn version(&self) -> &str {
        &self.version
    }
}

/// What a write came to.
#[derive(Clone, Debug, PartialEq)]
pub enum WriteOutcome {
    /// It holds the value.
    Written(Written),
    /// Its name is taken by one that is not ours to touch.
    Taken,
    /// It is ours, and its annotation claims a serial above every one that was minted.
    Claimed,
    /// It is ours, but a user made it immutable.
    Immutable,
    /// The chart's values do not allow its name, a label or an annotation. Contains the policy's message.
    NotAllowed(String),
    /// The API server refuses it for another reason. Contains its words.
    Refused(String),
}

/// A delivered Secret, as a dry run of an update shows it.
#[derive(Clone, Debug, PartialEq)]
pub enum Sight {
    /// The Secret, in this version.
    Ours(Written),
    /// The Secret, in this version; its annotation claims a serial above every one that was minted.
    Claimed(Written),
    /// The Secret; a user made it immutable.
    Frozen,
    /// The Secret, in this version; it is being deleted, and somebody's finalizer holds it.
    Ending(Written),
    /// Nothing.
    Nothing,
    /// Another Secret, or one that holds a value which is being delivered.
    Other,
    /// The Secret changed between two requests.
    Changed,
}

/// Outcome of a removal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removal {
    /// The Secret is gone, or another one has its name.
    Gone,
    /// The Secret changed meanwhile.
    Changed,
    /// A user made the Secret immutable: it cannot be blanked, and one with a value is not deleted.
    Frozen,
    /// The Secret belongs to no ApiKey, or to another one.
    NotOurs,
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

/// Most requests of one write, which goes back and forth between "exists" and "is not there", or of one removal, before it is
/// left to the next attempt.
const ATTEMPTS: usize = 8;

impl Secrets {
    /// With the operator's own rights.
    pub fn new(client: Client) -> Self {
        Self(client)
    }

    /// Writes the value: updates the Secret, or creates it. `is_known` says which of the two is tried first: where a quota of
    /// Secrets is full, an attempt to create one is refused whether or not there is one of that name.
    pub async fn write(
        &self,
        key: &ApiKey,
        credential: &Credential,
        (plaintext, site_id): (&Plaintext, &str),
        is_known: bool,
    ) -> Result<WriteOutcome, kube::Error> {
        let secrets = self.of(key);
        let name = key.secret_name();
        let mut secret = body(key, credential.serial, |item| match item {
            SecretItem::Value => plaintext.expose().as_bytes().to_vec(),
            SecretItem::KeyId => credential.id.to_string().into_bytes(),
            SecretItem::SiteId => site_id.as_bytes().to_vec(),
        });
        let mut outcome = Ok(WriteOutcome::Taken);
        let mut is_update = is_known;
        for _ in 0..ATTEMPTS {
            let answer = if is_update {
                secrets.replace(name, &write::by_us(), &secret).await
            } else {
                secrets.create(&write::by_us(), &secret).await
            };
            outcome = match answer.map_err(|error| screened(error, [plaintext.secret()])) {
                Ok(answer) => {
                    let written = written(name, answer.meta());
                    answer.0.ok().and_then(|secret| secret.data).as_mut().map(wipe);
                    Ok(WriteOutcome::Written(written))
                }
                Err(error) => match refusal(&error) {
                    Some(Refusal::NotThere) if is_update => {
                        is_update = false;
                        continue;
                    }
                    Some(Refusal::Exists) if !is_update => {
                        is_update = true;
                        continue;
                    }
                    Some(Refusal::NotOurs | Refusal::Exists | Refusal::NotThere) => Ok(WriteOutcome::Taken),
                    Some(Refusal::Newer) => Ok(WriteOutcome::Claimed),
                    Some(Refusal::Immutable) => Ok(WriteOutcome::Immutable),
                    Some(Refusal::NotAllowed) => Ok(WriteOutcome::NotAllowed(words(&error))),
                    None => match refused(&error) {
                        Some(words) => Ok(WriteOutcome::Refused(words)),
                        None => Err(error),
                    },
                },
            };
            break;
        }
        secret.data.as_mut().map(wipe);
        outcome
    }

    /// Finds the Secret that the newest delivered value, of this serial, went to: with its uid, unless it was revealed; then
    /// it is gone, and any Secret of this key under the name is meant. One that claims a higher serial, up to the last that
    /// was minted, is being delivered. A serial above that was written by a user, and claims nothing.
    pub async fn see(
        &self,
        key: &ApiKey,
        (serial, last_serial): (u64, u64),
        delivery: &Delivery,
    ) -> Result<Sight, kube::Error> {
        let uid = delivery.ended.is_none().then_some(delivery.uid.as_str());
        match self.try_to_update(key, Some(serial), delivery, (uid, None)).await? {
            Ok(seen) if seen.is_ending => Ok(Sight::Ending(seen)),
            Ok(seen) => Ok(Sight::Ours(seen)),
            Err(Refusal::Newer) => self.see_claimed(key, last_serial, delivery, uid).await,
            Err(Refusal::Immutable) if uid.is_some() => Ok(Sight::Frozen),
            // Only its uid tells whether it is this key's, for no policy is asked about it.
            Err(Refusal::Immutable) => {
                let same = self.try_to_update(key, Some(serial), delivery, (Some(&delivery.uid), None)).await?;
                Ok(if same == Err(Refusal::Immutable) { Sight::Frozen } else { Sight::Other })
            }
            // The chart's limits concern labels, and this write has none of users. If they refuse it, it stays.
            Err(Refusal::NotAllowed) => Ok(Sight::Frozen),
            Err(Refusal::NotThere) => Ok(Sight::Nothing),
            // Another uid, another type, or another owner.
            Err(Refusal::Exists | Refusal::NotOurs) => Ok(Sight::Other),
        }
    }

    /// The same of a Secret that claims a higher serial than the newest delivered value has.
    async fn see_claimed(
        &self,
        key: &ApiKey,
        last_serial: u64,
        delivery: &Delivery,
        uid: Option<&str>,
    ) -> Result<Sight, kube::Error> {
        let Ok(seen) = self.try_to_update(key, None, delivery, (uid, None)).await? else { return Ok(Sight::Changed) };
        let in_this_version = (Some(seen.delivery.uid.as_str()), Some(seen.version.clone()));
        Ok(match self.try_to_update(key, Some(last_serial), delivery, in_this_version).await? {
            Err(Refusal::Newer) => Sight::Claimed(seen),
            Ok(_) => Sight::Other,
            Err(_) => Sight::Changed,
        })
    }

    /// Where is the Secret that was delivered before a restore? It must be of this ApiKey and hold the value of this
    /// serial: the policy refuses a lower serial than the one that is there, so a write with the one before is refused
    /// exactly where it is that very one or a newer, and a newer one refuses this serial too.
    pub async fn find(&self, key: &ApiKey, serial: u64, delivery: &Delivery) -> Result<Found, kube::Error> {
        let uid = match self.try_to_update(key, Some(serial), delivery, (None, None)).await? {
            Ok(seen) => seen.delivery.uid,
            Err(Refusal::NotThere) => return Ok(Found::Nothing),
            Err(Refusal::Exists | Refusal::NotOurs | Refusal::Newer | Refusal::Immutable | Refusal::NotAllowed) => {
                return Ok(Found::Other);
            }
        };
        let before = serial.saturating_sub(1);
        Ok(match self.try_to_update(key, Some(before), delivery, (Some(&uid), None)).await? {
            Err(Refusal::Newer) => Found::Uid(uid),
            Ok(_) | Err(_) => Found::Other,
        })
    }

    /// What would become of a full update with a value of this serial, or of a blank one, of which the policy asks no serial:
    /// the version of what is there, or why it is refused.
    async fn try_to_update(
        &self,
        key: &ApiKey,
        serial: Option<u64>,
        delivery: &Delivery,
        (uid, version): (Option<&str>, Option<String>),
    ) -> Result<Result<Written, Refusal>, kube::Error> {
        // As little as possible of what users say, for other policies may be asked as well.
        let mut secret = bare(write::owned_by(key), serial.unwrap_or_default());
        secret.data = serial.map(|_| BTreeMap::from([("value".to_owned(), ByteString(b"none".to_vec()))]));
        secret.metadata.name = Some(delivery.name.clone());
        secret.metadata.uid = uid.map(str::to_owned);
        secret.metadata.resource_version = version;
        match self.of(key).replace(&delivery.name, &write::dry_run_by_us(), &secret).await {
            Ok(there) => Ok(Ok(written(&delivery.name, there.meta()))),
            Err(error) => refusal(&error).map(Err).ok_or(error),
        }
    }

    /// Blanks exactly what was written or seen, with this serial, and deletes it.
    pub async fn take_away(&self, key: &ApiKey, serial: u64, what: &Written) -> Result<Removal, kube::Error> {
        let mut blank = bare(write::owned_by(key), serial);
        let names = key.spec.secret_data().into_keys();
        blank.data = Some(names.map(|name| (name, ByteString::default())).collect());
        blank.metadata.name = Some(what.delivery.name.clone());
        blank.metadata.uid = Some(what.delivery.uid.clone());
        blank.metadata.resource_version = Some(what.version.clone());
        self.blank_and_delete(&self.of(key), &blank).await
    }

    /// Removes the Secret of a key that is gone, whatever users did to it since, if it can be blanked.
    pub async fn remove(&self, owner: &Owner, serial: u64, delivery: &Delivery) -> Result<Removal, kube::Error> {
        let mut blank = bare(write::owned_by_named::<ApiKey>(&owner.name, &owner.uid), serial);
        blank.metadata.name = Some(delivery.name.clone());
        blank.metadata.uid = Some(delivery.uid.clone());
        let secrets = Collection::new(&self.0, Some(&owner.namespace));
        for _ in 0..ATTEMPTS {
            let removal = self.blank_and_delete(&secrets, &blank).await?;
            if removal != Removal::Changed {
                return Ok(removal);
            }
        }
        Ok(Removal::Changed)
    }

    /// The policy refuses the deletion of a Secret with a value, for the answer to a deletion may hold what is deleted. So
    /// the Secret is blanked first, and deleted in the version of that answer.
    async fn blank_and_delete(&self, secrets: &Collection<Secret>, blank: &Secret) -> Result<Removal, kube::Error> {
        let name = blank.metadata.name.as_deref().unwrap_or_default();
        let blanked = match secrets.replace(name, &write::by_us(), blank).await {
            Ok(blanked) => written(name, blanked.meta()),
            Err(error) => {
                return match refusal(&error) {
                    Some(Refusal::NotThere) => Ok(Removal::Gone),
                    Some(Refusal::Exists) if blank.metadata.resource_version.is_none() => Ok(Removal::Gone),
                    Some(Refusal::Exists | Refusal::Newer) => Ok(Removal::Changed),
                    Some(Refusal::NotOurs) => Ok(Removal::NotOurs),
                    Some(Refusal::Immutable) => Ok(Removal::Frozen),
                    Some(Refusal::NotAllowed) | None => Err(error),
                };
            }
        };
        let preconditions = Preconditions { resource_version: Some(blanked.version), uid: Some(blanked.delivery.uid) };
        match secrets.delete(name, &DeleteParams::default().preconditions(preconditions)).await {
            Ok(()) => Ok(Removal::Gone),
            Err(error) if refusal(&error) == Some(Refusal::NotThere) => Ok(Removal::Gone),
            Err(error) if write::is_outrun(&error) => Ok(Removal::Changed),
            Err(error) => Err(error),
        }
    }

    fn of(&self, key: &ApiKey) -> Collection<Secret> {
        Collection::new(&self.0, key.metadata.namespace.as_deref())
    }
}

fn body(key: &ApiKey, serial: u64, value: impl Fn(SecretItem) -> Vec<u8>) -> Secret {
    let data = key.spec.secret_data().into_iter().map(|(name, item)| (name, ByteString(value(item))));
    let mut secret = bare(write::owned_by(key), serial);
    secret.data = Some(data.collect());
    secret.metadata.name = Some(key.secret_name().to_owned());
    secret.metadata.namespace = key.namespace();
    // Ours come last, so that they win.
    let template = key.spec.secret.clone().unwrap_or_default();
    let with_ours = |mut theirs: BTreeMap<String, String>, ours: &mut Option<BTreeMap<String, String>>| {
        theirs.append(ours.get_or_insert_default());
        *ours = Some(theirs);
    };
    with_ours(template.labels, &mut secret.metadata.labels);
    with_ours(template.annotations, &mut secret.metadata.annotations);
    secret
}

/// A delivered Secret without name and data.
fn bare(owner: OwnerReference, serial: u64) -> Secret {
    Secret {
        metadata: ObjectMeta {
            labels: Some(write::labels()),
            annotations: Some(BTreeMap::from([(names::SERIAL_ANNOTATION.to_owned(), serial.to_string())])),
            owner_references: Some(vec![owner]),
            ..ObjectMeta::default()
        },
        type_: Some(names::API_KEY_SECRET_TYPE.to_owned()),
        ..Secret::default()
    }
}

/// The version that an answer is of.
fn written(name: &str, answer: &ObjectMeta) -> Written {
    Written {
        delivery: Delivery {
            name: name.to_owned(),
            uid: answer.uid.clone().unwrap_or_default(),
            ended: None,
            template: None,
        },
        version: answer.resource_version.clone().unwrap_or_default(),
        is_ending: answer.deletion_timestamp.is_some(),
    }
}
