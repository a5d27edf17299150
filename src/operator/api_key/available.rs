//! The condition `SecretAvailable`: whether the delivered Secret is there, and what to do where it is not.

use jiff::Timestamp;
use kube::ResourceExt;

use super::facts::{Facts, Presence};
use super::plan::is_overdue;
use crate::api::{ApiKey, CONDITION_SECRET_AVAILABLE, Conditions, Reason};
use crate::key::{Delivery, Ended, Entry};
use crate::operator::write;

/// Says it. `unseen` are the API server's words, where it refuses to show the Secret.
pub fn say(conditions: &mut Conditions, facts: &Facts<'_>, unseen: Option<&str>, now: Timestamp) {
    let newest_delivery = facts.entry.and_then(Entry::newest_delivery).map(|(delivery, _)| delivery);
    match (newest_delivery, unseen) {
        (Some(Delivery { name, .. }), Some(words)) => {
            let message = format!(
                "it is not known whether Secret {name} is there, for the API server refuses a dry run of its update: {words}"
            );
            conditions.say_unknown(CONDITION_SECRET_AVAILABLE, Reason::SecretRefused, message);
        }
        (Some(delivery), None) if is_overdue(facts, now) => {
            conditions.say(CONDITION_SECRET_AVAILABLE, true, Reason::SecretImmutable, overdue(delivery));
        }
        (delivery, _) => {
            let (available, reason, message) = secret_available(facts.key, delivery, facts.secret);
            conditions.say(CONDITION_SECRET_AVAILABLE, available, reason, message);
        }
    }
}

fn secret_available(key: &ApiKey, delivery: Option<&Delivery>, presence: Option<Presence>) -> (bool, Reason, String) {
    let Some(Delivery { name, ended, template, .. }) = delivery else {
        return (false, Reason::Issuing, "not delivered yet".to_owned());
    };
    match (ended, presence) {
        (Some(Ended::Revealed), Some(Presence::Present)) => (
            true,
            Reason::Delivered,
            format!("Secret {name} was shown for its time, holds the value still, and is being deleted"),
        ),
        (Some(Ended::Revealed), _) => (
            false,
            Reason::Revealed,
            format!(
                "Secret {name} was shown for its time and deleted; the key goes on working for whoever has its value. For a new value raise spec.rotation.revision"
            ),
        ),
        (Some(Ended::Unseen), presence) => (false, Reason::NotRestored, not_restored(key, name, presence)),
        (Some(Ended::Removed), _) | (None, Some(Presence::Missing) | None) => (
            false,
            Reason::Removed,
            format!(
                "Secret {name} was deleted; the key goes on working for whoever has its value, and no other is minted. For a new value raise spec.rotation.revision"
            ),
        ),
        (None, Some(Presence::Other)) => (
            false,
            Reason::SecretConflict,
            format!(
                "Secret {name} is not the one that the value was delivered in: another stands in its place, and it is not touched. Delete it if nobody needs it; for a new value raise spec.rotation.revision"
            ),
        ),
        (None, Some(Presence::Ending)) => (
            true,
            Reason::SecretEnding,
            format!("Secret {name} holds the value, is being deleted, and is held by a finalizer"),
        ),
        // Where it cannot be seen, that is said instead.
        (None, Some(Presence::Present | Presence::Frozen | Presence::Unknown)) => {
            (true, Reason::Delivered, holds(key, name, template.as_deref()))
        }
    }
}

/// Returns the message of a Secret that is there: as of when, and whether the spec has changed since.
fn holds(key: &ApiKey, secret: &str, template: Option<&str>) -> String {
    // The longest time between two looks is a constant, so that a look writes no status.
    let holds = format!("Secret {secret} holds the value, or did at most 5 minutes ago");
    if template.is_none_or(|template| template == key.spec.secret_digest()) {
        return holds;
    }
    format!(
        "{holds}. It was written from an earlier spec.secret; a change of data, labels or annotations takes effect with the next value: raise spec.rotation.revision"
    )
}

fn overdue(Delivery { name, .. }: &Delivery) -> String {
    format!(
        "Secret {name} holds the value for longer than spec.secret.deleteAfter: it was made immutable, so it cannot be blanked; delete it"
    )
}

/// Returns the message with the command to type: only a user of the cluster can tell that a Secret is this key's.
fn not_restored(key: &ApiKey, secret: &str, presence: Option<Presence>) -> String {
    let why = "the key goes on working for whoever has its value";
    if presence != Some(Presence::Other) {
        return format!(
            "Secret {secret} was not restored with the key; {why}. Restore it, or raise spec.rotation.revision for a new value"
        );
    }
    let owner = serde_json::to_string(&write::owned_by(key)).unwrap_or_default();
    format!(
        r#"Secret {secret} is there and is not this key's, or holds another value of it; {why}. If it was restored with the key, hand it over: kubectl patch secret {secret} -n {} --type=merge -p '{{"metadata":{{"ownerReferences":[{owner}]}}}}'; if not, delete it and raise spec.rotation.revision for a new value"#,
        key.namespace().unwrap_or_default()
    )
}
