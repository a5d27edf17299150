//! Does what was planned. The order of the writes is the issue protocol: commit the value to the entry, write the
//! Secret, mark it delivered. A crash after any of them is mended by doing the rest with the same value.

use jiff::Timestamp;
use kube::ResourceExt;

use super::Error;
use super::plan::{Action, Problem};
use crate::api::{ApiKey, Reason, names};
use crate::key::{Credential, Entry, EntryError, Owner, Plaintext};
use crate::operator::context::Context;
use crate::operator::entries::{StoreError, Stored};
use crate::operator::secrets::{WriteOutcome, Written};

/// How far it came.
pub enum Outcome {
    /// All was done; this is the entry now.
    Done(Option<Stored>),
    /// Something of the user's is in the way.
    Blocked(Option<Stored>, Problem),
}

/// Does the actions in order. [`StoreError::Lost`] means: observe and plan anew.
pub async fn execute(
    context: &Context,
    key: &ApiKey,
    mut entry: Option<Stored>,
    actions: &[Action],
) -> Result<Outcome, Error> {
    for action in actions {
        match (action, entry) {
            (Action::Mint { serial }, None) => entry = Some(mint(context, key, *serial).await?),
            (Action::Deliver, Some(stored)) => match deliver(context, key, &stored).await? {
                Ok(next) => entry = Some(next),
                Err(problem) => return Ok(Outcome::Blocked(Some(stored), problem)),
            },
            // The plan and the entry do not fit together: somebody changed it.
            (Action::Mint { .. }, Some(_)) | (Action::Deliver, None) => return Err(StoreError::Lost.into()),
        }
    }
    Ok(Outcome::Done(entry))
}

/// The commit point: from here on this value is the one of this serial.
async fn mint(context: &Context, key: &ApiKey, serial: u64) -> Result<Stored, Error> {
    let owner = Owner {
        namespace: key.namespace().unwrap_or_default(),
        name: key.name_any(),
        uid: key.uid().unwrap_or_default(),
    };
    let plaintext = Plaintext::mint(names::DEFAULT_KEY_PREFIX)?;
    let credential = record(context, plaintext, serial, &owner.uid).await?;
    let stored = context.entries.create(&Entry::first(owner, credential)).await?;
    context.metrics.minted.inc();
    let id = stored.entry.current.id;
    tracing::info!(namespace = %stored.entry.owner.namespace, name = %stored.entry.owner.name, key_id = %id, serial, "minted");
    Ok(stored)
}

/// argon2id takes 20 ms of a core, which other keys' reconciliations need not wait for.
async fn record(context: &Context, plaintext: Plaintext, serial: u64, uid: &str) -> Result<Credential, Error> {
    let (hasher, uid) = (context.hasher.clone(), uid.to_owned());
    let (pepper, sealing_key) = (context.pepper.clone(), context.sealing_key.clone());
    tokio::task::spawn_blocking(move || {
        Credential::record(&plaintext, serial, &uid, &hasher, &pepper, &sealing_key, Timestamp::now())
    })
    .await
    .map_err(|_| Error::Panicked)?
    .map_err(|error| StoreError::Entry(error).into())
}

async fn deliver(context: &Context, key: &ApiKey, stored: &Stored) -> Result<Result<Stored, Problem>, Error> {
    let credential = stored.entry.undelivered().ok_or(StoreError::Lost)?;
    let sealed = credential.sealed.as_ref().ok_or(StoreError::Lost)?;
    let plaintext = match context.sealing_key.open(sealed, &stored.entry.owner.uid, credential.id) {
        Ok(plaintext) => plaintext,
        Err(error) => {
            let message = format!("{error}; nobody can read this value any more: delete and re-create the ApiKey");
            return Ok(Err(Problem::new(Reason::SealingKeyLost, message)));
        }
    };
    let name = key.secret_name();
    let written = match context.secrets.write(key, credential, &plaintext).await? {
        WriteOutcome::Written(written) => written,
        WriteOutcome::Taken => {
            let message = format!(
                "Secret {name} exists and is not this key's; it is not touched. Delete or rename it, or create the key with another spec.secret.name"
            );
            return Ok(Err(Problem::new(Reason::SecretConflict, message)));
        }
        WriteOutcome::Immutable => {
            let message = format!(
                "Secret {name} was made immutable, so the value cannot be written; delete it, and it is written again"
            );
            return Ok(Err(Problem::new(Reason::SecretImmutable, message)));
        }
    };
    drop(plaintext);
    let next = stored.entry.delivered(written.delivery.clone(), Timestamp::now());
    match context.entries.replace(stored, &next).await {
        Ok(stored) => {
            context.metrics.delivered.inc();
            tracing::info!(namespace = %next.owner.namespace, name = %next.owner.name, key_id = %next.current.id, "delivered");
            Ok(Ok(stored))
        }
        Err(StoreError::Lost) => {
            undo_a_stray(context, key, &written, credential.serial).await?;
            Err(StoreError::Lost.into())
        }
        Err(error) => Err(error.into()),
    }
}

/// Somebody else changed the entry first. If the value was delivered elsewhere or a newer one was, or the entry is
/// gone, then what we just wrote is a stray, and nobody would ever remove it.
async fn undo_a_stray(context: &Context, key: &ApiKey, written: &Written, serial: u64) -> Result<(), Error> {
    let now = match context.entries.get(&key.uid().unwrap_or_default()).await? {
        Some(stored) => stored.entry,
        None => return Ok(context.secrets.undo(key, written).await?),
    };
    if is_stray(&now, serial, &written.delivery.uid) {
        context.secrets.undo(key, written).await?;
    }
    Ok(())
}

/// Is a Secret that was written with this serial, under this uid, other than the one that the entry knows?
fn is_stray(now: &Entry, serial: u64, secret_uid: &str) -> bool {
    let delivered_elsewhere = now.undelivered().is_none() && now.secret.as_ref().is_none_or(|s| s.uid != secret_uid);
    now.last_serial > serial || delivered_elsewhere
}

impl From<EntryError> for Error {
    fn from(error: EntryError) -> Self {
        StoreError::Entry(error).into()
    }
}
