//! Secrets that hold the canary, in every state that changes how the API server answers.

use serde_json::{Value, json};

use super::super::{MARKER, owner};

/// The uid of the ApiKey that owns the delivered Secrets.
pub const OWNER: &str = "made-up";

/// A Secret with the canary in it.
pub struct Target {
    pub name: String,
    /// As the administrator creates it.
    pub object: Value,
    /// Returns true if it is deleted afterwards, and held by its finalizer.
    pub is_deleted: bool,
}

impl Target {
    fn new(kind: &str, state: &str, object: Value) -> Self {
        let mut target = Self { name: String::new(), object, is_deleted: state.ends_with("deleted") };
        target.rename(format!("{kind}-{state}"));
        target
    }

    pub fn rename(&mut self, name: String) {
        self.object["metadata"]["name"] = name.clone().into();
        self.name = name;
    }

    pub fn type_(&self) -> &str {
        self.object["type"].as_str().unwrap()
    }
}

/// Every state of a Secret, each of several types.
pub fn targets() -> Vec<Target> {
    let kinds = [
        ("opaque", "Opaque", false),
        ("tls", "kubernetes.io/tls", false),
        // Of Keywright's type, and of another ApiKey.
        ("another", "keywright.dev/api-key", false),
        ("delivered", "keywright.dev/api-key", true),
    ];
    kinds.into_iter().flat_map(|(kind, type_, is_ours)| of_kind(kind, type_, is_ours)).collect()
}

fn of_kind(kind: &str, type_: &str, is_ours: bool) -> Vec<Target> {
    let plain = || {
        let mut plain = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {}, "type": type_,
            "stringData": {"x": MARKER, "tls.crt": MARKER, "tls.key": MARKER}});
        if is_ours {
            plain["metadata"]["ownerReferences"] = json!([owner(OWNER)]);
            plain["metadata"]["annotations"] = json!({"keywright.dev/serial": "1"});
        }
        plain
    };
    let with = |field: &str, value: Value| {
        let mut object = plain();
        object["metadata"][field] = value;
        object
    };
    let mut frozen = plain();
    frozen["immutable"] = true.into();
    let mut all = vec![
        Target::new(kind, "plain", plain()),
        Target::new(kind, "frozen", frozen),
        Target::new(kind, "held", with("finalizers", json!(["example.com/slow"]))),
        Target::new(kind, "held-and-deleted", with("finalizers", json!(["example.com/slow"]))),
        Target::new(kind, "foreground-deleted", with("finalizers", json!(["foregroundDeletion", "example.com/slow"]))),
        Target::new(kind, "orphan", with("finalizers", json!(["orphan"]))),
    ];
    if is_ours {
        let serial = |serial: &str| with("annotations", json!({"keywright.dev/serial": serial}));
        let owners = json!([owner(OWNER), {"apiVersion": "v1", "kind": "ConfigMap", "name": "x", "uid": "other"}]);
        // `kubectl apply` of what `kubectl get` printed, emptied since.
        let mut applied = with("annotations", json!({"kubectl.kubernetes.io/last-applied-configuration": MARKER}));
        applied["stringData"] = json!({"x": ""});
        all.extend([
            Target::new(kind, "raised", serial("999999999999999999")),
            Target::new(kind, "mangled", serial("one")),
            Target::new(kind, "shared", with("ownerReferences", owners)),
            Target::new(kind, "applied", applied),
        ]);
    }
    all
}
