//! Collects entries whose ApiKey is gone. Late and with care, for they may be a restore in progress: an entry goes only
//! when a live look says that its ApiKey is not there or has another uid, and said so a grace period ago; and only so
//! many in one run. One that is offered to a new key of its name waits for it, and one that was taken over goes at once. Entries of keys in namespaces that are not looked after are nobody's orphans. Its Secret goes at once: its value is refused already, and Kubernetes' garbage collector may take half
//! a minute, or for ever where somebody added a second owner, and until then a re-created key would find its name taken.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::Resource;
use tokio::sync::mpsc;

use super::api_key::adopt::is_open;
use super::context::Context;
use super::controller;
use super::entries::{StoreError, Stored};
use super::events::{self, News};
use super::queue::Requeue;
use super::router::{FullName, Woken};
use super::secrets::Removal;
use crate::api::{ApiKey, Reason};
use crate::apiserver::Collection;
use crate::key::{Delivery, Entry, Owner};
use crate::server::Shutdown;

/// The most entries that one run deletes.
const CAP: usize = 100;
/// Most deleted keys whose Secrets are removed at once.
const CONCURRENCY: u16 = 2;

/// What to do with one entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Keep,
    Mark,
    Unmark,
    Delete,
}

/// Who there is for an entry.
#[derive(Clone, Copy)]
struct Owners {
    /// Its ApiKey.
    alive: bool,
    /// An ApiKey that took it over.
    is_inherited: bool,
}

/// Looks for orphans at every interval, for ever.
pub async fn run(context: Arc<Context>, interval: Duration, grace: Duration) {
    loop {
        tokio::time::sleep(interval).await;
        if let Err(error) = collect(&context, grace).await {
            tracing::warn!(%error, "looking for entries without an ApiKey failed; trying again in {interval:?}");
        }
    }
}

async fn collect(context: &Context, grace: Duration) -> Result<(), StoreError> {
    let mut deleted = 0;
    let all = context.entries.list().await?;
    let heirs: HashMap<&str, &Entry> =
        all.iter().filter_map(|heir| Some((heir.entry.adopted_from.as_deref()?, &heir.entry))).collect();
    for stored in all.iter().filter(|stored| context.namespaces.contain(&stored.entry.owner.namespace)) {
        let Some(alive) = is_alive(context, &stored.entry).await else { continue };
        let is_inherited = match heirs.get(stored.entry.owner.uid.as_str()) {
            Some(heir) => is_alive(context, heir).await == Some(true),
            None => false,
        };
        let outcome = match judge(stored, Owners { alive, is_inherited }, (context.now)(), grace) {
            Verdict::Keep => continue,
            // Marked only when the Secret is gone or stays for good, so that it is tried again.
            Verdict::Mark if !remove_secret(context, &stored.entry).await => continue,
            Verdict::Mark => mark(context, stored, Some((context.now)())).await,
            Verdict::Unmark => mark(context, stored, None).await,
            Verdict::Delete if deleted == CAP => continue,
            Verdict::Delete => {
                deleted += 1;
                context.entries.delete(stored).await
            }
        };
        match outcome {
            // Somebody changed it in the meantime: the next run looks again.
            Ok(()) | Err(StoreError::Lost) => {}
            Err(error) => return Err(error),
        }
    }
    if deleted > 0 {
        context.metrics.orphans_collected.inc_by(deleted as u64);
        tracing::info!(deleted, "collected entries of deleted ApiKeys");
    }
    Ok(())
}

/// Removes the Secrets of keys as they are deleted, each named by its namespace and uid.
pub async fn remove_secrets(context: Arc<Context>, gone: mpsc::UnboundedReceiver<Woken>, shutdown: Shutdown) {
    let remove = async |(_, uid): FullName| {
        context.metrics.is_expiring(&uid, false);
        match context.entries.get(&uid).await {
            // What looks deleted may only be unreadable for this version.
            Ok(Some(stored)) if is_alive(&context, &stored.entry).await == Some(false) => {
                remove_secret(&context, &stored.entry).await;
                let note = "every call with the key is refused, and its Secret is removed".to_owned();
                tell(&context, &stored.entry.owner, News { warning: false, reason: "Deleted".to_owned(), note }).await;
            }
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(%uid, %error, "the Secret of a deleted ApiKey is left to the garbage collector");
            }
        }
        Requeue::Never
    };
    controller::run(gone, CONCURRENCY, shutdown.wait(), remove).await;
}

/// Returns true if the Secret is gone, or stays for good.
async fn remove_secret(context: &Context, entry: &Entry) -> bool {
    let Some(delivery) = &entry.secret else { return true };
    let Owner { namespace, name, .. } = &entry.owner;
    match context.secrets.remove(&entry.owner, entry.last_serial, delivery).await {
        Ok(Removal::Gone) => true,
        Ok(Removal::Frozen) => {
            let why = "was made immutable, so it cannot be blanked";
            leave(context, &entry.owner, delivery, (Reason::SecretImmutable, why)).await;
            true
        }
        Ok(Removal::NotOurs) => {
            let why = "names the ApiKey as its owner no more, so the policy refuses its removal";
            leave(context, &entry.owner, delivery, (Reason::SecretConflict, why)).await;
            true
        }
        Ok(Removal::Changed) => {
            tracing::warn!(%namespace, %name, "the Secret of a deleted ApiKey changes all the time; trying again later");
            false
        }
        Err(error) => {
            tracing::warn!(%namespace, %name, %error, "the Secret of a deleted ApiKey could not be removed; trying again later");
            false
        }
    }
}

/// Leaves a Secret that the operator cannot remove, and reports it in an Event about the deleted ApiKey.
async fn leave(context: &Context, owner: &Owner, delivery: &Delivery, (reason, why): (Reason, &str)) {
    let note = format!(
        "Secret {} of the deleted ApiKey {why}; it is left to the garbage collector, which removes it unless it has another owner. Every call with its value is refused; delete it if it stays",
        delivery.name
    );
    tracing::warn!(namespace = %owner.namespace, name = %owner.name, "{note}");
    tell(context, owner, News { warning: true, reason: reason.as_str().to_owned(), note }).await;
}

/// Publishes an Event about a deleted ApiKey.
async fn tell(context: &Context, owner: &Owner, news: News) {
    let key = ObjectReference {
        api_version: Some(ApiKey::api_version(&()).into_owned()),
        kind: Some(ApiKey::kind(&()).into_owned()),
        namespace: Some(owner.namespace.clone()),
        name: Some(owner.name.clone()),
        uid: Some(owner.uid.clone()),
        ..ObjectReference::default()
    };
    events::publish_about(&context.client, &key, news, (context.now)()).await;
}

/// A live look, never the cache. `None` when it is not known.
async fn is_alive(context: &Context, entry: &Entry) -> Option<bool> {
    let keys = Collection::<ApiKey>::new(&context.client, Some(&entry.owner.namespace));
    match keys.get_opt(&entry.owner.name).await {
        Ok(found) => Some(found.is_some_and(|key| key.meta().uid.as_deref() == Some(&entry.owner.uid))),
        Err(error) => {
            tracing::warn!(%error, "cannot tell whether an entry's ApiKey exists; it is kept");
            None
        }
    }
}

fn judge(stored: &Stored, owners: Owners, now: Timestamp, grace: Duration) -> Verdict {
    // Where the label is no date, a person still has to say what is meant.
    let is_offered = stored.adopt_until().is_some_and(|until| is_open(until, now).unwrap_or(true));
    match (owners.alive, stored.entry.orphaned_at) {
        (true, None) if stored.adopt_until().is_none() => Verdict::Keep,
        // Offered, it would come back with the next key of its name.
        (true, _) => Verdict::Unmark,
        (false, _) if owners.is_inherited => Verdict::Delete,
        (false, _) if is_offered => Verdict::Keep,
        (false, None) => Verdict::Mark,
        (false, Some(since)) => {
            let waited = Duration::try_from(now.duration_since(since)).unwrap_or_default();
            if waited >= grace { Verdict::Delete } else { Verdict::Keep }
        }
    }
}

async fn mark(context: &Context, stored: &Stored, since: Option<Timestamp>) -> Result<(), StoreError> {
    context.entries.replace(stored, &stored.entry.orphaned(since)).await.map(|_| ())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn an_orphan_is_marked_first_and_deleted_only_after_the_grace_period_unless_it_is_offered_or_taken_over() {
        let stored = r#"{"format":1,"owner":{"namespace":"shop","name":"billing","uid":"u-1"},"lastSerial":1,"current":{"id":"7hx3k9m2pq4d","prefix":"kw","serial":1,"issuedAt":"2026-11-22T10:00:00Z","hash":"x","tag":"1:BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc="}}"#;
        let entry = Entry::from_json(stored.as_bytes()).unwrap();
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let entry = |until: Option<&str>| Stored::for_tests(entry.clone(), None, until);
        let marked =
            |until| Stored::for_tests(entry(None).entry.orphaned(Some(at("2026-11-22T00:00:00Z"))), None, until);
        let noon = at("2026-11-22T12:00:00Z");
        let judged = |stored: Stored, alive, is_inherited, now| {
            judge(&stored, Owners { alive, is_inherited }, now, Duration::from_hours(24))
        };
        assert_eq!(judged(entry(None), true, false, noon), Verdict::Keep);
        assert_eq!(judged(entry(None), false, false, noon), Verdict::Mark);
        assert_eq!(judged(marked(None), true, false, noon), Verdict::Unmark);
        assert_eq!(judged(marked(None), false, false, noon), Verdict::Keep);
        let back = at("2026-11-21T00:00:00Z");
        assert_eq!(judged(marked(None), false, false, back), Verdict::Keep, "a clock set back deletes nothing");
        let late = at("2026-11-23T00:00:00Z");
        assert_eq!(judged(marked(None), false, false, late), Verdict::Delete);

        let (open, over) = (Some("2026-11-23"), Some("2026-11-22"));
        assert_eq!(judged(entry(open), false, false, noon), Verdict::Keep, "it waits for a key of its name");
        assert_eq!(judged(marked(open), false, false, late), Verdict::Keep);
        assert_eq!(judged(marked(Some("soon")), false, false, late), Verdict::Keep, "somebody meant something");
        assert_eq!(judged(marked(over), false, false, late), Verdict::Delete);
        assert_eq!(judged(entry(open), true, false, noon), Verdict::Unmark, "its own key is there");
        assert_eq!(judged(entry(None), false, true, noon), Verdict::Delete, "another key has its values");
        assert_eq!(judged(entry(open), false, true, noon), Verdict::Delete, "also when it is restored once more");
    }
}
