//! What must outlive an uninstallation: keys, Secrets, entries, CRDs.

use std::collections::BTreeMap;

use serde_json::Value;

use super::cluster::{Cluster, NAMESPACE};
use super::support::Result;

/// What counts of each object, by its kind and name. It holds values of keys: never print it.
pub struct Kept(BTreeMap<String, Value>);

impl Kept {
    pub fn of(cluster: &Cluster) -> Result<Self> {
        let mut kept = BTreeMap::new();
        for (namespace, kinds) in [(NAMESPACE, "apikeys,accounts,secrets"), ("keywright-entries", "secrets")] {
            let listed = cluster.json(&["-n", namespace, kinds])?;
            for object in listed["items"].as_array().into_iter().flatten() {
                let name = format!("{} {namespace}/{}", object["kind"], object["metadata"]["name"]);
                let counts = serde_json::json!([
                    object["metadata"]["uid"],
                    object["spec"],
                    object["data"],
                    object["status"]["keyId"],
                    object["status"]["credentials"],
                    object["status"]["publicKey"],
                ]);
                kept.insert(name, counts);
            }
        }
        let definitions = cluster.kubectl(&["get", "crd", "-o", "name"])?;
        let ours = definitions.lines().filter(|name| name.ends_with(".keywright.dev"));
        kept.extend(ours.map(|name| (name.to_owned(), Value::Null)));
        if !kept.keys().any(|name| name.contains("keywright-entries/")) {
            return Err("no entry is in keywright-entries".into());
        }
        Ok(Self(kept))
    }

    pub fn must_be_untouched(&self, cluster: &Cluster) -> Result<()> {
        let now = Self::of(cluster)?;
        for (name, was) in &self.0 {
            match now.0.get(name) {
                Some(is) if is == was => {}
                Some(_) => return Err(format!("{name} has changed").into()),
                None => return Err(format!("{name} is gone").into()),
            }
        }
        match now.0.keys().find(|name| !self.0.contains_key(*name)) {
            Some(name) => Err(format!("{name} is new").into()),
            None => Ok(()),
        }
    }
}
