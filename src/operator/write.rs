//! How the operator signs, addresses and wipes what it writes.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use kube::api::{ObjectMeta, PostParams};
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

/// Overwrites the data of a Secret in memory.
pub fn wipe(data: &mut BTreeMap<String, ByteString>) {
    for bytes in data.values_mut() {
        bytes.0.zeroize();
    }
}
