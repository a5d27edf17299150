//! ApiKeys and Accounts that this version cannot parse: verifiers refuse them, and their status says so.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::Resource;
use kube::api::ObjectMeta;
use kube::core::NamespaceResourceScope;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::context::Context;
use super::enforcement::{Kind, Tracked};
use super::router::{FullName, Priority, Wake};
use super::write;
use crate::api::{Account, AccountStatus, ApiKey, ApiKeyStatus, CONDITION_READY, Conditions, Reason, State};
use crate::apiserver::{Collection, Unreadable};

/// Unreadable objects by kind and name.
#[derive(Default)]
pub struct Unreadables(Mutex<HashMap<(Kind, FullName), Arc<Unreadable>>>);

impl Unreadables {
    /// Adds an object. Returns the wake-up that gets its status written, if its kind has one for that.
    pub fn add<K: Tracked>(&self, unreadable: Unreadable) -> Option<Wake> {
        let name = full_name(&unreadable.metadata);
        self.all().insert((K::KIND, name.clone()), Arc::new(unreadable));
        match K::KIND {
            Kind::ApiKey => Some(Wake::Key(name, Priority::Normal)),
            Kind::Account => Some(Wake::Account(name, Priority::Normal)),
            Kind::Suspension => None,
        }
    }

    /// Removes an object that is gone or can be parsed.
    pub fn forget<K: Tracked>(&self, meta: &ObjectMeta) {
        self.all().remove(&(K::KIND, full_name(meta)));
    }

    /// Finds an object.
    pub fn get(&self, kind: Kind, name: &FullName) -> Option<Arc<Unreadable>> {
        self.all().get(&(kind, name.clone())).cloned()
    }

    /// Returns the metadata of the unreadable objects of this kind in a namespace.
    pub fn in_namespace(&self, kind: Kind, namespace: &str) -> Vec<ObjectMeta> {
        let all = self.all();
        let found = all.iter().filter(|((of, name), _)| *of == kind && name.0 == namespace);
        found.map(|(_, unreadable)| unreadable.metadata.clone()).collect()
    }

    fn all(&self) -> MutexGuard<'_, HashMap<(Kind, FullName), Arc<Unreadable>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn full_name(meta: &ObjectMeta) -> FullName {
    (meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default())
}

/// Writes the status of an unreadable ApiKey.
pub async fn report_key(context: &Context, unreadable: &Unreadable) -> Result<(), kube::Error> {
    let generation = unreadable.metadata.generation;
    report::<ApiKey, ApiKeyStatus>(context, unreadable, |status| {
        status.state = Some(State::Invalid);
        status.observed_generation = generation;
        &mut status.conditions
    })
    .await
}

/// Writes the status of an unreadable Account.
pub async fn report_account(context: &Context, unreadable: &Unreadable) -> Result<(), kube::Error> {
    let generation = unreadable.metadata.generation;
    report::<Account, AccountStatus>(context, unreadable, |status| {
        status.observed_generation = generation;
        &mut status.conditions
    })
    .await
}

/// Replaces the conditions of the status by one that names the cause, and keeps the rest, such as activity.
async fn report<K, S>(
    context: &Context,
    unreadable: &Unreadable,
    update: impl FnOnce(&mut S) -> &mut Vec<Condition>,
) -> Result<(), kube::Error>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + DeserializeOwned + Send + 'static,
    S: Serialize + DeserializeOwned + Default + Clone + PartialEq,
{
    let meta = &unreadable.metadata;
    let before: S =
        unreadable.status.as_ref().and_then(|text| serde_json::from_str(text.get()).ok()).unwrap_or_default();
    let mut status = before.clone();
    let conditions = update(&mut status);
    let mut next = Conditions::after(std::mem::take(conditions), meta.generation, (context.now)());
    let message = format!(
        "this version of Keywright cannot read the object, so it is refused: {}; correct the spec or upgrade Keywright",
        unreadable.error
    );
    next.say(CONDITION_READY, false, Reason::InvalidSpec, message);
    *conditions = next.into_vec();
    if status == before {
        return Ok(());
    }
    // The API server takes nothing but the status from this.
    let object = json!({
        "apiVersion": K::api_version(&()),
        "kind": K::kind(&()),
        "metadata": write::as_read(meta),
        "spec": {},
        "status": status,
    });
    let objects = Collection::<K>::new(&context.client, meta.namespace.as_deref());
    let name = meta.name.as_deref().unwrap_or_default();
    objects.replace_status(name, &write::by_us(), &object).await
}
