//! Which keys to look at, and when. What the verifiers write into `status.activity` must not wake the operator, and a
//! status that was wiped by hand must; so a key counts as changed when its uid, its generation or the rest of its
//! status is another.

use std::pin::Pin;

use futures::future::ready;
use futures::{Stream, StreamExt, stream};
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher::{self, Event};
use tokio::sync::mpsc;

use crate::api::{Account, ApiKey};
use crate::operator::account::Changed;
use crate::operator::streams::Seen;

type Events<K> = Pin<Box<dyn Stream<Item = Result<Event<K>, watcher::Error>> + Send>>;
type Refs = Pin<Box<dyn Stream<Item = ObjectRef<ApiKey>> + Send>>;

/// Keys that were added or changed. One that was deleted is passed to `deleted`: the verifier refuses it by itself, and
/// its entry is collected later, but its Secret goes now.
pub fn changed_keys(events: Events<ApiKey>, deleted: mpsc::UnboundedSender<ApiKey>) -> Refs {
    let mut seen = Seen::default();
    Box::pin(events.filter_map(move |event| {
        let changed = match event {
            Ok(Event::Apply(key) | Event::InitApply(key)) => {
                let print = (key.metadata.generation, serde_json::to_string(&key.status).ok());
                seen.is_new(&key, &print).then(|| ObjectRef::from_obj(&key))
            }
            Ok(Event::Delete(key)) => {
                seen.forget(&key);
                // Fails only when nobody reconciles keys any more.
                let _ = deleted.send(key);
                None
            }
            Ok(Event::Init | Event::InitDone) | Err(_) => None,
        };
        ready(changed)
    }))
}

/// The keys of Accounts that were added, changed or deleted.
pub fn keys_of_changed_accounts(changed: Changed, keys: Store<ApiKey>) -> Refs {
    let changed = stream::unfold(changed, async |mut changed| Some((changed.recv().await?, changed)));
    Box::pin(changed.flat_map(move |account| stream::iter(keys_of(&keys, &account))))
}

fn keys_of(keys: &Store<ApiKey>, account: &ObjectRef<Account>) -> Vec<ObjectRef<ApiKey>> {
    let of_account = |key: &ApiKey| key.metadata.namespace == account.namespace && key.spec.account == account.name;
    keys.state_filter(of_account).iter().map(|key| ObjectRef::from_obj(&**key)).collect()
}
