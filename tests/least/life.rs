//! All that can befall keys and accounts, so that every right has its use.

use kube::ResourceExt;
use serde_json::json;

use super::audit::Audited;
use super::programs::{operator, verifier};
use super::support::chart::render;
use super::support::eventually;
use super::support::space::Space;

/// Short times, so that what comes late comes soon.
pub const VALUES: &[&str] = &[
    "operator.orphanInterval=\"1s\"",
    "operator.orphanGrace=\"0s\"",
    "verifier.maxStaleness=\"15s\"",
    "verifier.shutdownDelaySeconds=0",
];

/// Lets keys live in a namespace; `done` is waited for before the programs end.
pub async fn whole(audited: &Audited, values: &[&str], namespace: &str, done: impl AsyncFnOnce()) {
    let (cluster, rendered) = (&audited.cluster, render(values));
    let space = Space { name: namespace.to_owned(), client: cluster.plane.client().await.unwrap() };
    let leads = operator(cluster, &rendered).await.ready().await;
    let answers = verifier(cluster, &rendered).await.ready().await;
    let dies = verifier(cluster, &rendered).await.ready().await;

    space.account("acme", json!({"accessLevel": "Full", "members": members(&["ada", "bob"])})).await;
    let value = space.ready_key("storefront").await;
    answers.eventually_says("ok", "scope=orders:read", &value).await;
    space.patch_key("storefront", json!({"spec": {"rotation": {"revision": 1}}})).await;
    space.until_serial("storefront", 2).await;
    space
        .key(
            "once",
            json!({"account": "acme", "accessLevel": "Full", "secret": {"delivery": "Once", "deleteAfter": "1s"}}),
        )
        .await;
    space.until_ready_is("once", "Issued").await;
    bound(audited, namespace, "ada").await;
    space.patch_account("acme", json!({"spec": {"members": members(&["eve", "eva"])}})).await;
    bound(audited, namespace, "eve").await;
    space.patch_account("acme", json!({"spec": {"members": []}})).await;
    suspend(audited, namespace);
    answers.eventually_says("suspended", "scope=orders:read", &value).await;
    let deleted = space.key("deleted", json!({"account": "acme", "accessLevel": "Full"})).await;
    space.until_ready_is("deleted", "Issued").await;
    space.keys().delete("deleted", &Default::default()).await.unwrap();
    eventually("the deleted key's entry is collected", async || {
        let entry = format!("secret/{}", deleted.uid().unwrap());
        match cluster.plane.kubectl(&["get", &entry, "-n", "keywright-entries"]) {
            Ok(_) => Err("it is there"),
            Err(_) => Ok(()),
        }
    })
    .await;
    annotate_leases(audited);
    // Its Lease stays, and is collected when it has been silent for long enough.
    dies.process.kill();
    space.patch_key("storefront", json!({"spec": {"disabled": true}})).await;
    // What it has counted is written down at its end, and its Lease deleted.
    let another = verifier(cluster, &rendered).await.ready().await;
    another.eventually_says("suspended", "scope=orders:read", &value).await;
    another.process.terminate().unwrap();
    done().await;
    answers.process.terminate().unwrap();
    leads.process.terminate().unwrap();
}

/// Two people, an owner and an admin.
fn members(names: &[&str; 2]) -> serde_json::Value {
    json!([{"kind": "User", "name": names[0], "role": "Owner"}, {"kind": "User", "name": names[1], "role": "Admin"}])
}

async fn bound(audited: &Audited, namespace: &str, name: &str) {
    eventually(&format!("{name} is bound"), async || {
        let said = audited.cluster.plane.kubectl(&["get", "rolebindings", "-n", namespace, "-o", "wide"]);
        let said = said.map_err(|error| error.to_string())?;
        if said.contains(name) { Ok(()) } else { Err(said) }
    })
    .await;
}

fn suspend(audited: &Audited, namespace: &str) {
    let file = audited.cluster.plane.dir.join("suspension.json");
    let spec = json!({"target": {"kind": "ApiKey", "name": "storefront"}, "reason": "Abuse"});
    let suspension = json!({"apiVersion": "keywright.dev/v1alpha1", "kind": "Suspension", "metadata": {"name": "abuse"}, "spec": spec});
    std::fs::write(&file, suspension.to_string()).unwrap();
    audited.cluster.plane.kubectl(&["apply", "-n", namespace, "-f", &file.display().to_string()]).unwrap();
}

/// A verifier whose Lease somebody else has written looks at it before it goes on.
fn annotate_leases(audited: &Audited) {
    let leases = ["annotate", "leases", "--all", "-n", "keywright-entries", "example.com/looked-at=yes"];
    audited.cluster.plane.kubectl(&leases).unwrap();
}
