//! Where the events of each resource go: into the index, or, when they cannot be read, against the key.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use k8s_openapi::api::core::v1::Secret;
use kube::api::ObjectMeta;
use kube::core::{NotUsed, Object};
use serde::Deserialize;

use super::super::service::Service;
use super::super::subject::{Ceiling, FullName, Key, Uid};
use super::progress::Sink;
use crate::access::GrantError;
use crate::api::{AccountSpec, ApiKeySpec, Restrictions, Target, names};
use crate::apiserver::{Received, Unreadable};
use crate::key::{Entry, Pepper, SiteId};

/// What one watch has put into the index, which knows nothing of namespaces: a list of one namespace must not take away what
/// is in others. `None` where all namespaces are watched at once, for then it is everything.
struct Put<I, N>(Option<Mutex<HashMap<I, N>>>);

impl<I: Copy + Eq + Hash, N> Put<I, N> {
    fn new(is_one: bool) -> Self {
        Self(is_one.then(Mutex::default))
    }

    fn add(&self, id: I, name: impl FnOnce() -> N) {
        if let Some(all) = &self.0 {
            all.lock().unwrap_or_else(PoisonError::into_inner).insert(id, name());
        }
    }

    fn remove(&self, id: I) {
        if let Some(all) = &self.0 {
            all.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
        }
    }

    /// Forgets and returns what a list did not name.
    fn missing_in(&self, listed: &HashSet<I>) -> Option<Vec<(I, N)>> {
        let mut all = self.0.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner);
        Some(all.extract_if(|id, _| !listed.contains(id)).collect())
    }
}

/// ApiKeys without their status, which decisions do not use.
pub type KeySpecs = Object<ApiKeySpec, NotUsed>;

/// Accounts without their status.
pub type AccountSpecs = Object<AccountSpec, NotUsed>;

/// ApiKeys.
pub struct Keys<'s> {
    service: &'s Service,
    put: Put<Uid, FullName>,
}

impl<'s> Keys<'s> {
    pub fn new(service: &'s Service, is_one: bool) -> Self {
        Self { service, put: Put::new(is_one) }
    }
}

impl Sink<KeySpecs> for Keys<'_> {
    type Id = Uid;

    fn apply(&self, object: Received<KeySpecs>) -> Uid {
        let (uid, (namespace, name)) = (uid(object.meta()), names_of(object.meta()));
        let full_name = FullName::from((&*namespace, &*name));
        self.put.add(uid, || full_name);
        if is_being_deleted(object.meta()) {
            self.service.index.delete_key(full_name, uid);
            return uid;
        }
        let read = object.0.map_err(|e| e.error).and_then(|key| read_key(key).map_err(|e| e.to_string()));
        match read {
            Ok(key) => self.service.index.apply_key(key),
            Err(error) => {
                tracing::warn!(%namespace, %name, %error, "an ApiKey cannot be read by this version; its key is refused");
                self.service.watches.unreadable("apikeys");
                self.service.index.delete_key(full_name, uid);
            }
        }
        uid
    }

    /// A change of the spec, and the beginning of a deletion, raise the generation.
    fn is_old_news(&self, object: &Received<KeySpecs>) -> bool {
        let meta = object.meta();
        self.service.index.knows_key(full_name(meta), uid(meta), generation(meta))
    }

    fn delete(&self, object: &Received<KeySpecs>) {
        self.put.remove(uid(object.meta()));
        self.service.index.delete_key(full_name(object.meta()), uid(object.meta()));
    }

    fn reset(&self, listed: &HashSet<Uid>) {
        match self.put.missing_in(listed) {
            Some(gone) => gone.into_iter().for_each(|(uid, name)| self.service.index.delete_key(name, uid)),
            None => self.service.index.reset_keys(listed),
        }
    }
}

fn read_key(key: KeySpecs) -> Result<Key, GrantError> {
    let (namespace, name) = names_of(&key.metadata);
    let (grant, revoke_before) = (key.spec.grant()?, key.spec.revoke_before());
    // Whole, so that a new field of the spec cannot be forgotten here.
    let ApiKeySpec {
        account,
        display_name,
        access_level: _,
        scopes: _,
        disabled,
        disabled_reason: _,
        clone_from: _,
        expires_at,
        rotation: _,
        secret: _,
        metadata,
        restrictions,
    } = key.spec;
    // There is no member yet; one that is not known makes the whole object unreadable.
    let (None | Some(Restrictions {})) = restrictions;
    Ok(Key {
        uid: uid(&key.metadata),
        generation: generation(&key.metadata),
        namespace,
        name,
        account: account.into(),
        display_name: display_name.map(Into::into),
        grant,
        disabled,
        expires_at: expires_at.map(|at| at.0),
        revoke_before,
        metadata,
    })
}

/// Accounts.
pub struct Accounts<'s> {
    service: &'s Service,
    put: Put<FullName, (Box<str>, Box<str>)>,
}

impl<'s> Accounts<'s> {
    pub fn new(service: &'s Service, is_one: bool) -> Self {
        Self { service, put: Put::new(is_one) }
    }
}

impl Sink<AccountSpecs> for Accounts<'_> {
    type Id = FullName;

    fn apply(&self, object: Received<AccountSpecs>) -> Self::Id {
        let (namespace, name) = names_of(object.meta());
        let full_name = FullName::from((&*namespace, &*name));
        self.put.add(full_name, || (namespace.clone(), name.clone()));
        if is_being_deleted(object.meta()) {
            self.service.index.set_account(&namespace, &name, None);
            return full_name;
        }
        let read = object.0.map_err(|e| e.error).and_then(|account| {
            let grant = account.spec.ceiling().map_err(|e| e.to_string())?;
            let max_lifetime = account.spec.max_lifetime();
            Ok(Ceiling { grant, disabled: account.spec.disabled, max_lifetime, metadata: account.spec.metadata })
        });
        if let Err(error) = &read {
            tracing::warn!(%namespace, %name, %error, "an Account cannot be read by this version; its keys are refused");
            self.service.watches.unreadable("accounts");
        }
        self.service.index.set_account(&namespace, &name, read.ok());
        full_name
    }

    fn delete(&self, object: &Received<AccountSpecs>) {
        let (namespace, name) = names_of(object.meta());
        self.put.remove(full_name(object.meta()));
        self.service.index.set_account(&namespace, &name, None);
    }

    fn reset(&self, listed: &HashSet<Self::Id>) {
        match self.put.missing_in(listed) {
            Some(gone) => gone.into_iter().for_each(|(_, (namespace, name))| {
                self.service.index.set_account(&namespace, &name, None);
            }),
            None => self.service.index.reset_accounts(listed),
        }
    }
}

/// As much of a Suspension as counts: whatever else a later version makes of it, its target stays refused.
pub type Suspends = Object<SuspendsSpec, NotUsed>;

/// Its spec.
#[derive(Clone, Debug, Deserialize)]
pub struct SuspendsSpec {
    /// `spec.target`
    pub target: Target,
}

/// Suspensions.
pub struct Suspensions<'s> {
    service: &'s Service,
    put: Put<Uid, ()>,
}

impl<'s> Suspensions<'s> {
    pub fn new(service: &'s Service, is_one: bool) -> Self {
        Self { service, put: Put::new(is_one) }
    }
}

impl Sink<Suspends> for Suspensions<'_> {
    type Id = Uid;

    /// One that cannot be read any more goes on suspending what it did, and one that is being deleted until it is gone.
    fn apply(&self, object: Received<Suspends>) -> Uid {
        let (uid, (namespace, name)) = (uid(object.meta()), names_of(object.meta()));
        self.put.add(uid, || ());
        match object.0 {
            Ok(suspension) => self.service.index.apply_suspension(uid, &namespace, &suspension.spec.target),
            Err(Unreadable { error, .. }) => {
                tracing::error!(%namespace, %name, %error, "a Suspension cannot be read by this version; upgrade Keywright");
                self.service.watches.unreadable("suspensions");
            }
        }
        uid
    }

    fn delete(&self, object: &Received<Suspends>) {
        self.put.remove(uid(object.meta()));
        self.service.index.delete_suspension(uid(object.meta()));
    }

    fn reset(&self, listed: &HashSet<Uid>) {
        match self.put.missing_in(listed) {
            Some(gone) => gone.into_iter().for_each(|(uid, ())| self.service.index.delete_suspension(uid)),
            None => self.service.index.reset_suspensions(listed),
        }
    }
}

/// What stands in our own namespace: entries, reservations of Site IDs, and the pepper.
pub struct Records<'s> {
    service: &'s Service,
    /// A pepper is gone, and the argon2id records of its values were not kept while they were not needed.
    lacks_records: AtomicBool,
}

impl<'s> Records<'s> {
    pub fn new(service: &'s Service) -> Self {
        Self { service, lacks_records: AtomicBool::new(false) }
    }
}

impl Sink<Secret> for Records<'_> {
    type Id = Uid;

    fn apply(&self, object: Received<Secret>) -> Uid {
        let (_, name) = names_of(object.meta());
        let uid = Uid::from(&*name);
        match object.0 {
            Ok(object) => match object.type_.as_deref() {
                Some(names::ENTRY_SECRET_TYPE) => self.entry(&name, &object),
                Some(names::SITE_ID_SECRET_TYPE) => self.site(&name, &object),
                Some(names::PEPPER_SECRET_TYPE) if *name == *names::PEPPER_NAME => self.pepper(&object),
                _ => {}
            },
            Err(Unreadable { error, .. }) => {
                tracing::warn!(%name, %error, "a Secret cannot be read by this version; if it is an entry, its key is refused");
                self.service.watches.unreadable("secrets");
                self.service.index.delete_entry(uid);
            }
        }
        uid
    }

    /// A reservation is never taken back, and neither is what was read of it. Tags that were made with a pepper still
    /// check: forgetting it would only make every call slow.
    fn delete(&self, object: &Received<Secret>) {
        match object.0.as_ref().ok().and_then(|secret| secret.type_.as_deref()) {
            Some(names::ENTRY_SECRET_TYPE) | None => {
                self.service.index.delete_entry(Uid::from(&*names_of(object.meta()).1));
            }
            Some(names::PEPPER_SECRET_TYPE) => {
                tracing::warn!("the pepper Secret was deleted; keeping what is in memory until there is another");
            }
            _ => {}
        }
    }

    fn reset(&self, listed: &HashSet<Uid>) {
        self.service.index.reset_entries(listed);
    }

    fn is_outdated(&self) -> bool {
        self.lacks_records.swap(false, Ordering::Relaxed)
    }

    /// Without a pepper nothing can be checked.
    fn is_complete(&self) -> bool {
        self.service.index.pepper().is_some()
    }
}

impl Records<'_> {
    fn entry(&self, uid: &str, object: &Secret) {
        match item(object, names::ENTRY_DATA_KEY).map(Entry::from_json) {
            Some(Ok(entry)) => self.service.index.apply_entry(uid, &entry),
            Some(Err(error)) => {
                tracing::warn!(entry = %uid, %error, "an entry cannot be read by this version; its key is refused");
                self.service.index.delete_entry(Uid::from(uid));
            }
            None => self.service.index.delete_entry(Uid::from(uid)),
        }
    }

    fn site(&self, name: &str, object: &Secret) {
        let account =
            item(object, names::SITE_ID_DATA_KEY).and_then(|bytes| std::str::from_utf8(bytes).ok()?.split_once('/'));
        let id = SiteId::parse(name.to_ascii_uppercase().as_bytes());
        if let Some((id, (namespace, account))) = id.zip(account) {
            self.service.index.set_site(id, namespace, account);
        } else {
            tracing::warn!(%name, "a reservation of a Site ID cannot be read; the id opens nothing");
        }
    }

    fn pepper(&self, object: &Secret) {
        let data = object.data.iter().flatten().map(|(name, bytes)| (name.as_str(), &bytes.0[..]));
        match Pepper::from_data(data) {
            Ok(pepper) => {
                if self.service.index.set_pepper(Some(pepper)) {
                    self.lacks_records.store(true, Ordering::Relaxed);
                }
            }
            Err(error) => {
                tracing::error!(%error, "the pepper cannot be read; keeping the one before, if there was one");
            }
        }
    }
}

fn item<'s>(object: &'s Secret, name: &str) -> Option<&'s [u8]> {
    object.data.as_ref()?.get(name).map(|bytes| &bytes.0[..])
}

/// Somebody's finalizer may hold an object for ever; its deletion counts from when it was asked for.
fn is_being_deleted(meta: &ObjectMeta) -> bool {
    meta.deletion_timestamp.is_some()
}

fn uid(meta: &ObjectMeta) -> Uid {
    Uid::from(meta.uid.as_deref().unwrap_or_default())
}

fn names_of(meta: &ObjectMeta) -> (Box<str>, Box<str>) {
    (meta.namespace.as_deref().unwrap_or_default().into(), meta.name.as_deref().unwrap_or_default().into())
}

/// What changes whenever the spec does; nobody changes one four billion times.
fn generation(meta: &ObjectMeta) -> u32 {
    u32::try_from(meta.generation.unwrap_or_default() & i64::from(u32::MAX)).unwrap_or_default()
}

fn full_name(meta: &ObjectMeta) -> FullName {
    let (namespace, name) = names_of(meta);
    FullName::from((&*namespace, &*name))
}
