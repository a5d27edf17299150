//! `Enforced` on a real API server: what the operator says of a change, given what verifiers say in their Leases. The
//! tests play the verifiers, so that each can say what no real one would.

#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "enforced/change.rs"]
mod change;
#[path = "enforced/gate.rs"]
mod gate;
#[path = "enforced/real.rs"]
mod real;
#[path = "enforced/silence.rs"]
mod silence;
#[path = "support/mod.rs"]
mod support;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use keywright::api::Suspension;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use support::cluster::Cluster;
use support::eventually;
use support::keywright::Running;
use support::space::Space;
use tokio::sync::{Mutex, MutexGuard};

/// Leases are the whole cluster's, so the tests of this binary take turns.
static TURN: Mutex<()> = Mutex::const_new(());

/// More than any resourceVersion there will be.
const ALL: u64 = 1 << 60;

/// A test's turn: a namespace, an operator, and no Lease but those of its own.
struct Scene {
    _turn: MutexGuard<'static, ()>,
    cluster: &'static Cluster,
    space: Space,
    operator: Running,
}

async fn scene() -> Scene {
    let turn = TURN.lock().await;
    let cluster = Cluster::shared().await;
    let space = Space::new(cluster).await;
    leases(&space).delete_collection(&DeleteParams::default(), &ListParams::default()).await.unwrap();
    let operator = Running::operator(cluster, &[]).await.unwrap().ready().await;
    Scene { _turn: turn, cluster, space, operator }
}

fn leases(space: &Space) -> Api<Lease> {
    Api::namespaced(space.client.clone(), "keywright-entries")
}

fn annotations(applied: &str, max_staleness: &str) -> Value {
    json!({"keywright.dev/applied": applied, "keywright.dev/max-staleness-ms": max_staleness})
}

fn all_of(version: u64) -> String {
    format!("{version},{version},{version},{version}")
}

impl Scene {
    /// A verifier writes its Lease.
    async fn appears(&self, name: &str, applied: u64, max_staleness: u64) {
        self.appears_saying(name, &all_of(applied), &max_staleness.to_string()).await;
    }

    async fn appears_saying(&self, name: &str, applied: &str, max_staleness: &str) {
        let labels = json!({"app.kubernetes.io/component": "verifier"});
        let metadata = json!({"name": name, "labels": labels, "annotations": annotations(applied, max_staleness)});
        let lease = serde_json::from_value(json!({"metadata": metadata, "spec": {"holderIdentity": name}})).unwrap();
        leases(&self.space).create(&PostParams::default(), &lease).await.unwrap();
    }

    /// A verifier renews its Lease and says how far it is.
    async fn has_applied(&self, name: &str, applied: u64) {
        let renewed = jiff::Timestamp::now();
        let renewal = json!({"metadata": {"annotations": {"keywright.dev/applied": all_of(applied)}},
            "spec": {"renewTime": format!("{renewed:.6}")}});
        leases(&self.space).patch(name, &PatchParams::default(), &Patch::Merge(renewal)).await.unwrap();
    }

    /// A verifier has stopped, or a person says that it has.
    async fn goes(&self, name: &str) {
        leases(&self.space).delete(name, &DeleteParams::default()).await.unwrap();
    }

    async fn is_there(&self, name: &str) -> bool {
        self.lease_uid(name).await.is_some()
    }

    async fn lease_uid(&self, name: &str) -> Option<String> {
        leases(&self.space).get_opt(name).await.unwrap().and_then(|lease| lease.uid())
    }

    /// Waits until the operator has read the Leases as they are now, and done what follows.
    async fn until_looked_at(&self) {
        self.until_looked_at_by(&self.operator).await;
    }

    async fn until_looked_at_by(&self, operator: &Running) {
        let looks = async || operator.metric::<u64>("keywright_lease_lists_total").await;
        // One may be under way, and what comes of the next is done when the one after it begins.
        let enough = looks().await + 3;
        eventually("the operator looks at the Leases", async || {
            let so_far = looks().await;
            if so_far >= enough { Ok(()) } else { Err(format!("{so_far} times so far")) }
        })
        .await;
    }

    /// What is said of the present generation of an object as kubectl names it, such as `ak/storefront`.
    fn enforced(&self, object: &str) -> Option<Condition> {
        let text = self.cluster.plane.kubectl(&["get", object, "-n", &self.space.name, "-o", "json"]).unwrap();
        let object: Value = serde_json::from_str(&text).unwrap();
        let conditions: Vec<Condition> =
            serde_json::from_value(object["status"]["conditions"].clone()).unwrap_or_default();
        let generation = object["metadata"]["generation"].as_i64();
        conditions.into_iter().find(|said| said.type_ == "Enforced" && said.observed_generation == generation)
    }

    /// Waits until `Enforced` has this reason; before, it may not have turned True.
    async fn until(&self, object: &str, reason: &str) -> Condition {
        let is_true = matches!(reason, "Acknowledged" | "Outwaited");
        eventually(&format!("{object} is {reason}"), async || {
            let said = self.enforced(object).ok_or("nothing is said of it")?;
            assert!(is_true || said.status == "Unknown", "{said:?}");
            if said.reason == reason { Ok(said) } else { Err(format!("{said:?}")) }
        })
        .await
    }

    /// Holds that it is not true, also after the operator has looked at what is there now.
    async fn is_not_proven(&self, object: &str) {
        self.until_looked_at().await;
        assert!(self.enforced(object).is_none_or(|said| said.status == "Unknown"), "{:?}", self.enforced(object));
    }

    /// A key that is issued and proven, with verifiers that go by all there is.
    async fn settled_key(&self, name: &str) -> String {
        let value = self.space.ready_key(name).await;
        self.until(&format!("ak/{name}"), "Acknowledged").await;
        value
    }

    async fn disable(&self, name: &str) {
        self.space.patch_key(name, json!({"spec": {"disabled": true}})).await;
    }

    async fn version(&self, name: &str) -> u64 {
        self.space.keys().get(name).await.unwrap().resource_version().unwrap().parse().unwrap()
    }

    async fn suspend(&self, name: &str, target: &str) {
        let spec = json!({"target": {"kind": "ApiKey", "name": target}, "reason": "Abuse"});
        let suspension = json!({"apiVersion": "keywright.dev/v1alpha1", "kind": "Suspension", "metadata": {"name": name}, "spec": spec});
        let api = Api::<Suspension>::namespaced(self.space.client.clone(), &self.space.name);
        api.create(&PostParams::default(), &serde_json::from_value(suspension).unwrap()).await.unwrap();
    }
}
