//! How the operator signs, addresses and wipes what it writes.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{ObjectMeta, PostParams};
use kube::{Resource, ResourceExt};
use zeroize::Zeroize;

use crate::api::names;

/// A write under the operator's own field manager.
pub fn by_us() -> PostParams {
    PostParams { dry_run: false, field_manager: Some(names::OPERATOR_MANAGER.to_owned()) }
}

/// The same as a dry run.
pub fn dry_run_by_us() -> PostParams {
    PostParams { dry_run: true, ..by_us() }
}

/// Was somebody else first? 409 is "already exists" as well as "conflict"; 404 means that it was deleted since it was read.
pub fn is_outrun(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 409 || status.code == 404)
}

/// What names exactly the object that was read, in the version that was read: a late write must not land on a re-created
/// namesake.
pub fn as_read(meta: &ObjectMeta) -> ObjectMeta {
    ObjectMeta {
        name: meta.name.clone(),
        namespace: meta.namespace.clone(),
        uid: meta.uid.clone(),
        resource_version: meta.resource_version.clone(),
        ..ObjectMeta::default()
    }
}

/// The labels of what we make: who manages it.
pub fn labels() -> BTreeMap<String, String> {
    BTreeMap::from([(names::MANAGED_BY_LABEL.to_owned(), names::MANAGED_BY.to_owned())])
}

/// Makes the garbage collector take away what we make together with the object that it is for.
pub fn owned_by<K: Resource<DynamicType = ()>>(object: &K) -> OwnerReference {
    owned_by_named::<K>(&object.name_any(), &object.uid().unwrap_or_default())
}

/// The same for an object of which only name and uid are known.
pub fn owned_by_named<K: Resource<DynamicType = ()>>(name: &str, uid: &str) -> OwnerReference {
    OwnerReference {
        api_version: K::api_version(&()).into_owned(),
        kind: K::kind(&()).into_owned(),
        name: name.to_owned(),
        uid: uid.to_owned(),
        controller: Some(true),
        // True would need rights on the object's finalizers on some platforms.
        block_owner_deletion: Some(false),
    }
}

/// Overwrites the data of a Secret in memory.
pub fn wipe(data: &mut BTreeMap<String, ByteString>) {
    for bytes in data.values_mut() {
        bytes.0.zeroize();
    }
}
