//! Does what was planned. The order of the writes is the issue protocol: commit the value to the entry, write the
//! Secret, mark it delivered. A crash after any of them is mended by doing the rest with the same value.

use kube::ResourceExt;

use super::Error;
use super::adopt::owner;
use super::events;
use super::facts::{Facts, Presence, Problem};
use super::observe;
use super::plan::{Action, limits};
use crate::api::{ApiKey, Reason, SecretItem, names};
use crate::key::{Cloned, Credential, Delivery, Ended, Entry, EntryError, Minting, Plaintext};
use crate::operator::context::Context;
use crate::operator::entries::{StoreError, Stored};
use crate::operator::refusal::refused;
use crate::operator::secrets::{Found, Removal, Sight, WriteOutcome, Written};
use crate::operator::site_ids;

/// What follows a refusal.
const AGAIN: &str = "It is tried again at least every 30 seconds";

/// How far it came.
pub struct Outcome {
    /// The entry now.
    pub entry: Option<Stored>,
    /// What stands under the name of the Secret now.
    pub secret: Option<Presence>,
    /// Something of the user's that is in the way.
    pub blocked: Option<Problem>,
    /// Verifiers are waited for before the value is delivered.
    pub is_gated: bool,
}

/// What became of a delivery.
enum Delivered {
    Done(Box<Stored>),
    Blocked(Problem),
    Gated,
}

/// What became of the removal of a Secret that was shown for its time.
enum Concealed {
    Done(Box<Stored>),
    Blocked(Box<Stored>, Problem),
}

/// Does the actions in order. [`StoreError::Lost`] means: observe and plan anew.
pub async fn execute(
    context: &Context,
    facts: &Facts<'_>,
    entry: Option<Stored>,
    actions: Vec<Action>,
) -> Result<Outcome, Error> {
    let mut outcome = Outcome { entry, secret: facts.secret, blocked: None, is_gated: false };
    for action in actions {
        match (action, outcome.entry.take()) {
            (Action::Mint { serial, revision, cloned }, before) => {
                let minted = mint(context, facts, before.as_ref(), serial, revision, cloned).await?;
                outcome.entry = Some(minted);
            }
            (Action::Deliver, Some(stored)) => match deliver(context, facts, &stored).await? {
                Delivered::Done(next) => {
                    outcome.entry = Some(*next);
                    outcome.secret = Some(Presence::Present);
                }
                Delivered::Blocked(problem) => {
                    return Ok(Outcome { entry: Some(stored), blocked: Some(problem), ..outcome });
                }
                Delivered::Gated => return Ok(Outcome { entry: Some(stored), is_gated: true, ..outcome }),
            },
            (Action::NoteSeen, Some(stored)) => {
                outcome.entry = Some(note_seen(context, facts.key, &stored).await?);
            }
            (Action::NoteEnds, Some(stored)) => {
                let limits = limits(facts.key, facts.account);
                outcome.entry = Some(match stored.entry.ending(&limits, (context.now)()) {
                    Some(next) => context.entries.replace(&stored, &next).await?,
                    None => stored,
                });
            }
            (Action::Release, Some(stored)) => {
                let released = stored.entry.released(&limits(facts.key, facts.account));
                outcome.entry = Some(context.entries.replace(&stored, &released).await?);
            }
            (Action::NoteRemoved, Some(stored)) => {
                let removed = stored.entry.ended(Ended::Removed);
                outcome.entry = Some(context.entries.replace(&stored, &removed).await?);
            }
            (Action::Conceal, Some(stored)) => match conceal(context, facts.key, stored).await? {
                Concealed::Done(stored) => {
                    outcome.entry = Some(*stored);
                    outcome.secret = Some(Presence::Missing);
                }
                Concealed::Blocked(stored, problem) => {
                    return Ok(Outcome { entry: Some(*stored), blocked: Some(problem), ..outcome });
                }
            },
            // The plan and the entry do not fit together: somebody changed it.
            (_, None) => return Err(StoreError::Lost.into()),
        }
    }
    Ok(outcome)
}

/// Takes away a Secret that was shown for its time, in the version in which it was seen, after that is noted: whoever comes
/// after a crash then goes on with it. Where a user has raised its serial, it cannot be told from one that holds the next
/// value, so the entry is written in any case. An operator that has put the next value there, and has not marked it, loses the
/// swap then; one that puts it there later changes the version.
async fn conceal(context: &Context, key: &ApiKey, stored: Stored) -> Result<Concealed, Error> {
    let revealed = stored.entry.ended(Ended::Revealed);
    let (stored, seen) = match observe::sight(context, key, Some(&stored.entry)).await? {
        Sight::Ours(seen) | Sight::Ending(seen) if revealed == stored.entry => (stored, seen),
        Sight::Ours(seen) | Sight::Ending(seen) => (context.entries.replace(&stored, &revealed).await?, seen),
        Sight::Claimed(seen) => {
            (context.entries.replace_before_blanking(&stored, &revealed, seen.version()).await?, seen)
        }
        Sight::Frozen | Sight::Nothing | Sight::Other | Sight::Changed => return Err(StoreError::Lost.into()),
    };
    match context.secrets.take_away(key, stored.entry.last_serial, &seen).await {
        Ok(Removal::Gone) => Ok(Concealed::Done(Box::new(stored))),
        Ok(Removal::Changed | Removal::Frozen | Removal::NotOurs) => Err(StoreError::Lost.into()),
        Err(error) => match refused(&error) {
            Some(words) => {
                let name = &seen.delivery.name;
                let message = format!(
                    "Secret {name} was shown for its time and is not deleted, for the API server refuses that: {words}. {AGAIN}; delete the Secret, or have the refusal lifted"
                );
                Ok(Concealed::Blocked(Box::new(stored), Problem::new(Reason::SecretRefused, message)))
            }
            None => Err(error.into()),
        },
    }
}

/// Its uid in this cluster is what every later look goes by.
async fn note_seen(context: &Context, key: &ApiKey, stored: &Stored) -> Result<Stored, Error> {
    let (delivery, delivered) = stored.entry.newest_delivery().ok_or(StoreError::Lost)?;
    match context.secrets.find(key, delivered.serial, delivery).await? {
        Found::Uid(uid) => Ok(context.entries.replace(stored, &stored.entry.seen(uid)).await?),
        Found::Nothing | Found::Other => Err(StoreError::Lost.into()),
    }
}

/// The commit point: from here on this value is the one of this serial.
async fn mint(
    context: &Context,
    facts: &Facts<'_>,
    before: Option<&Stored>,
    serial: u64,
    revision: i64,
    cloned: Option<Cloned>,
) -> Result<Stored, Error> {
    let key = facts.key;
    let owner = owner(key);
    let prefix = facts.account.map_or(names::DEFAULT_KEY_PREFIX, |account| account.spec.prefix());
    let credential = record(context, Plaintext::mint(prefix)?, serial, revision, &owner.uid).await?;
    let stored = match before {
        None => context.entries.create(&Entry::first(owner, credential, cloned)).await?,
        Some(before) => context.entries.replace(before, &before.entry.rotated(credential)).await?,
    };
    context.metrics.minted.inc();
    let Entry { owner, current, .. } = &stored.entry;
    tracing::info!(namespace = %owner.namespace, name = %owner.name, key_id = %current.id, serial, "minted");
    Ok(stored)
}

/// argon2id takes 20 ms of a core, which other keys' reconciliations need not wait for.
async fn record(
    context: &Context,
    plaintext: Plaintext,
    serial: u64,
    revision: i64,
    uid: &str,
) -> Result<Credential, Error> {
    let (hasher, uid) = (context.hasher.clone(), uid.to_owned());
    let (pepper, sealing_key, now) = (context.pepper.clone(), context.sealing_key.clone(), context.now);
    tokio::task::spawn_blocking(move || {
        let minting = Minting { serial, revision, owner_uid: &uid };
        Credential::record(&plaintext, minting, &hasher, &pepper, &sealing_key, now())
    })
    .await
    .map_err(|_| Error::Panicked)?
    .map_err(|error| StoreError::Entry(error).into())
}

async fn deliver(context: &Context, facts: &Facts<'_>, stored: &Stored) -> Result<Delivered, Error> {
    let key = facts.key;
    let credential = stored.entry.undelivered().ok_or(StoreError::Lost)?;
    let sealed = credential.sealed.as_ref().ok_or(StoreError::Lost)?;
    let blocked = |reason, message: String| Ok(Delivered::Blocked(Problem::new(reason, message)));
    let plaintext = match context.sealing_key.open(sealed, &stored.entry.owner.uid, credential.id) {
        Ok(plaintext) => plaintext,
        Err(error) => {
            let message = format!("{error}; nobody can read this value any more: delete and re-create the ApiKey");
            return blocked(Reason::SealingKeyLost, message);
        }
    };
    let Some(site_id) = site_id(context, key).await? else {
        let message =
            "spec.secret.data asks for a siteId, and every one that was tried is reserved for another account";
        return blocked(Reason::NoSiteId, message.to_owned());
    };
    let Some(passed_over) = context.enforcement.gate(key, facts.account, stored.version()) else {
        return Ok(Delivered::Gated);
    };
    let name = key.secret_name();
    let is_known = stored.entry.secret.as_ref().is_some_and(|secret| secret.ended.is_none() && secret.name == name);
    let written = match context.secrets.write(key, credential, (&plaintext, &site_id), is_known).await? {
        WriteOutcome::Written(written) => written,
        WriteOutcome::Taken => {
            let holder = match holder(context, key) {
                Some(other) => format!("is ApiKey {other}'s"),
                None => "is not this key's".to_owned(),
            };
            let message = format!(
                "Secret {name} exists and {holder}; it is not touched. Delete or rename it, or create the key with another spec.secret.name"
            );
            return blocked(Reason::SecretConflict, message);
        }
        WriteOutcome::Claimed => {
            let message = format!(
                "Secret {name} has a higher serial in its annotation {} than any value of this key, and it is not touched; delete the Secret, and it is written again",
                names::SERIAL_ANNOTATION
            );
            return blocked(Reason::SecretConflict, message);
        }
        WriteOutcome::Immutable => {
            let message = format!(
                "Secret {name} was made immutable, so the value cannot be written; delete it, and it is written again"
            );
            return blocked(Reason::SecretImmutable, message);
        }
        WriteOutcome::NotAllowed(limit) => {
            let message = format!(
                "Secret {name} is not written: {limit}. Change spec.secret.labels or spec.secret.annotations, or create the key with another spec.secret.name, or have the value changed"
            );
            return blocked(Reason::SecretNotAllowed, message);
        }
        WriteOutcome::Refused(words) => {
            let message = format!(
                "Secret {name} is not written, for the API server refuses it: {words}. {AGAIN}. If a quota is full, delete what is not needed or have it raised; if a policy refuses the Secret, change spec.secret or have the policy changed"
            );
            return blocked(Reason::SecretRefused, message);
        }
    };
    drop(plaintext);
    let stored = mark(context, key, stored, &written).await?;
    events::tell_passed_over(context, key, &passed_over).await;
    Ok(Delivered::Done(Box::new(stored)))
}

/// Notes that the value stands in the Secret. Whatever goes wrong there, a 409 whose answer was lost too, what was written
/// may be a stray.
async fn mark(context: &Context, key: &ApiKey, stored: &Stored, written: &Written) -> Result<Stored, Error> {
    let delivery = Delivery { template: Some(key.spec.secret_digest()), ..written.delivery.clone() };
    let next = stored.entry.delivered(delivery, key.spec.overlap(), (context.now)());
    match context.entries.replace(stored, &next).await {
        Ok(stored) => {
            context.metrics.delivered.inc();
            tracing::info!(namespace = %next.owner.namespace, name = %next.owner.name, key_id = %next.current.id, "delivered");
            Ok(stored)
        }
        Err(error) => {
            undo_a_stray(context, key, written, next.current.serial).await?;
            Err(error.into())
        }
    }
}

/// Another key whose Secret has the same name.
fn holder(context: &Context, key: &ApiKey) -> Option<String> {
    let wants_the_same = |other: &ApiKey| {
        other.metadata.namespace == key.metadata.namespace
            && other.metadata.name != key.metadata.name
            && other.secret_name() == key.secret_name()
    };
    context.known.keys.state_filter(wants_the_same).iter().map(|other| other.name_any()).min()
}

/// The account's Site ID, where the Secret is to hold it.
async fn site_id(context: &Context, key: &ApiKey) -> Result<Option<String>, Error> {
    if !key.spec.secret_data().values().any(|item| *item == SecretItem::SiteId) {
        return Ok(Some(String::new()));
    }
    let namespace = key.namespace().unwrap_or_default();
    let reserved =
        site_ids::reserve(&context.client, context.entries.namespace(), (&namespace, &key.spec.account)).await;
    Ok(reserved.map_err(|error| StoreError::Api(Box::new(error)))?)
}

/// Somebody else may have changed the entry first. If the value was delivered elsewhere or a newer one was, or the entry is
/// gone, then what we just wrote is a stray, and nobody would ever remove it.
async fn undo_a_stray(context: &Context, key: &ApiKey, written: &Written, serial: u64) -> Result<(), Error> {
    let now = context.entries.get(&key.uid().unwrap_or_default()).await?;
    if now.is_none_or(|stored| is_stray(&stored.entry, serial, &written.delivery.uid)) {
        context.secrets.take_away(key, serial, written).await?;
    }
    Ok(())
}

/// Is a Secret that was written with this serial, under this uid, other than the one that the entry knows? Where it is
/// the same, the write changed nothing: the policy refuses a lower serial than the one that is there.
fn is_stray(now: &Entry, serial: u64, secret_uid: &str) -> bool {
    let is_known = now.secret.as_ref().is_some_and(|secret| secret.uid == secret_uid && secret.ended.is_none());
    !is_known && (now.last_serial > serial || now.undelivered().is_none())
}

/// Returns the problem, where the API server refuses a write of a record or of a key's Secret.
pub fn refused_write(error: &Error, key: &ApiKey, entries: &str) -> Option<Problem> {
    let (reason, what, words) = match error {
        Error::Store(StoreError::Api(error)) => {
            let what = format!("the record of the key in namespace {entries}");
            (Reason::RecordRefused, what, refused(error)?)
        }
        Error::Api(error) => (Reason::SecretRefused, format!("Secret {}", key.secret_name()), refused(error)?),
        _ => return None,
    };
    let message =
        format!("{what} is not written, for the API server refuses it: {words}. {AGAIN}; ask the platform team");
    Some(Problem::new(reason, message))
}

impl From<EntryError> for Error {
    fn from(error: EntryError) -> Self {
        StoreError::Entry(error).into()
    }
}
