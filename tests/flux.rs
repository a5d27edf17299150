//! Changes in the cluster of objects that Flux applies, with Flux's own library: which its next reconciliation keeps, and which it undoes.

#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "support/mod.rs"]
mod support;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use kube::api::DeleteParams;
use serde_json::{Value, json};
use support::cluster::Cluster;
use support::documents::{commands, root, shell, succeeds};
use support::eventually;
use support::space::{Space, both};
use tokio::sync::{Mutex, MutexGuard};

/// The documents use one namespace, so the tests take turns.
static TURN: Mutex<()> = Mutex::const_new(());

/// Builds the program that applies as Flux does.
fn flux() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join("flux");
        let settings =
            [("GOTOOLCHAIN", "local"), ("GOWORK", "off"), ("GOFLAGS", "-mod=readonly"), ("CGO_ENABLED", "0")];
        let mut build = Command::new("go");
        build.args(["build", "-o"]).arg(&program).arg("./flux").envs(settings);
        let built = build.current_dir(root().join("tests/gitops/tools")).output().unwrap();
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        program
    })
}

/// An Account and a key in the namespace of the documents, as Git has them.
struct Shop {
    cluster: &'static Cluster,
    space: Space,
    _turn: MutexGuard<'static, ()>,
}

fn object(kind: &str, name: &str, spec: &Value) -> Value {
    let metadata = json!({"name": name, "namespace": "shop"});
    json!({"apiVersion": "keywright.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec})
}

fn manifests() -> Vec<Value> {
    vec![
        object("Account", "acme", &json!({"accessLevel": "Full"})),
        object("ApiKey", "storefront", &json!({"account": "acme", "accessLevel": "Full"})),
    ]
}

impl Shop {
    async fn new() -> Self {
        let turn = TURN.lock().await;
        // Compiled first: an API server that starts beside a compiler is late.
        flux();
        let cluster = Cluster::shared().await;
        if cluster.plane.kubectl(&["get", "namespace", "shop"]).is_err() {
            cluster.plane.kubectl(&["create", "namespace", "shop"]).unwrap();
        }
        let space = Space { name: "shop".to_owned(), client: cluster.plane.client().await.unwrap() };
        let shop = Self { cluster, space, _turn: turn };
        shop.reconcile();
        shop
    }

    /// Applies the manifests as Flux does.
    fn reconcile(&self) {
        let mut run = Command::new(flux());
        run.arg(&self.cluster.plane.kubeconfig).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut run = run.spawn().unwrap();
        let documents: Vec<String> = manifests().iter().map(Value::to_string).collect();
        run.stdin.take().unwrap().write_all(documents.join("\n---\n").as_bytes()).unwrap();
        let output = run.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// Runs a command of a document in a shell, with kubectl of the control plane.
    fn run(&self, command: &str) {
        let mut shell = shell(&self.cluster.plane, root(), command);
        shell.env("KUBE_EDITOR", "sed -i 's/accessLevel: Full/accessLevel: Full\\n  disabled: true/'");
        succeeds(command, &shell.output().unwrap());
    }

    /// Returns the specs of everything of Keywright's in the namespace.
    fn specs(&self) -> Vec<(String, Value)> {
        let all = ["get", "apikeys,accounts,suspensions", "-n", "shop", "-o", "json"];
        let list: Value = serde_json::from_str(&self.cluster.plane.kubectl(&all).unwrap()).unwrap();
        let spec =
            |object: &Value| (format!("{}/{}", object["kind"], object["metadata"]["name"]), object["spec"].clone());
        list["items"].as_array().unwrap().iter().map(spec).collect()
    }

    async fn end(self) {
        self.space.keys().delete("storefront", &DeleteParams::default()).await.unwrap();
        self.space.accounts().delete("acme", &DeleteParams::default()).await.unwrap();
        self.cluster.plane.kubectl(&["delete", "suspensions", "--all", "-n", "shop"]).unwrap();
    }
}

/// Beginnings of the commands that change something of Keywright's.
const CHANGES: [&str; 4] =
    ["kubectl patch apikey", "kubectl patch account", "kubectl create -f -", "kubectl apply --server-side"];

/// Returns the commands of a document that change something of Keywright's.
fn changes(document: &str) -> Vec<String> {
    let is_change = |command: &String| CHANGES.iter().any(|change| command.starts_with(change));
    commands(document).into_iter().filter(is_change).collect()
}

#[tokio::test]
async fn documented_commands_survive_flux() {
    let mut count = 0;
    for document in ["README.md", "docs/INSTALL.md", "docs/GITOPS.md"] {
        for command in changes(document) {
            let shop = Shop::new().await;
            let before = shop.specs();
            shop.run(&command);
            let changed = shop.specs();
            assert_ne!(changed, before, "{document}: {command} changes nothing");
            shop.reconcile();
            assert_eq!(shop.specs(), changed, "{document}: Flux undoes {command}");
            shop.end().await;
            count += 1;
        }
    }
    assert!(count >= 7, "{count} commands");
}

#[tokio::test]
async fn plain_patch_and_edit_are_undone_by_flux() {
    for command in [
        r#"kubectl patch apikey storefront -n shop --type=merge -p '{"spec":{"disabled":true}}'"#,
        "kubectl edit apikey storefront -n shop",
    ] {
        let shop = Shop::new().await;
        let before = shop.specs();
        shop.run(command);
        assert_ne!(shop.specs(), before, "{command} changes nothing");
        shop.reconcile();
        assert_eq!(shop.specs(), before, "{command}: docs/GITOPS.md states that it is undone");
        shop.end().await;
    }
}

/// What Argo CD runs, with and without `Replace=true`.
#[tokio::test]
async fn apply_keeps_a_patch_and_replace_keeps_a_suspension() {
    let shop = Shop::new().await;
    let file = shop.cluster.plane.dir.join("manifests.json");
    std::fs::write(&file, json!({"apiVersion": "v1", "kind": "List", "items": manifests()}).to_string()).unwrap();
    let file = file.display();
    shop.run(&format!("kubectl apply -f {file}"));
    for command in changes("docs/GITOPS.md").iter().filter(|command| !command.contains("--server-side")) {
        shop.run(command);
    }
    shop.run(r#"kubectl patch apikey storefront -n shop --type=merge -p '{"spec":{"displayName":"Storefront"}}'"#);
    let changed = shop.specs();
    shop.run(&format!("kubectl apply -f {file}"));
    assert_eq!(shop.specs(), changed, "a client-side apply removes what it applied before");
    shop.run(&format!("kubectl apply --server-side --force-conflicts --field-manager=argocd-controller -f {file}"));
    assert_eq!(shop.specs(), changed, "a server-side apply removes what its manager owns");
    let key = object("ApiKey", "storefront", &json!({"account": "acme", "accessLevel": "Full"}));
    let recorded = json!({"status": {"revokedBefore": "2099-01-01T00:00:00Z"}}).to_string();
    shop.run(&format!("kubectl patch apikey storefront -n shop --subresource=status --type=merge -p '{recorded}'"));
    shop.run(&format!("kubectl replace -f {file}"));
    let specs = shop.specs();
    assert!(specs.iter().any(|(_, spec)| *spec == key["spec"]), "{specs:?}");
    assert!(specs.iter().any(|(_, spec)| spec["by"] == "Owner"), "{specs:?}");
    shop.end().await;
}

#[tokio::test]
async fn value_stays_revoked_when_flux_removes_revoke_before() {
    let shop = Shop::new().await;
    let both = both().await;
    shop.space.until("storefront", "SecretAvailable", "Delivered").await;
    let value = shop.space.value("storefront", "api-key").await;
    both.verifier.eventually_says("ok", "scope=any", &value).await;
    let now = r#"{"spec":{"rotation":{"revokeBefore":"'$(date -u +%FT%TZ)'"}}}"#;
    shop.run(&format!("kubectl patch apikey storefront -n shop --type=merge -p '{now}'"));
    both.verifier.eventually_says("revoked", "scope=any", &value).await;
    eventually("it is recorded", async || {
        let key = shop.space.keys().get("storefront").await.map_err(|e| e.to_string())?;
        key.status.and_then(|status| status.revoked_before).map(drop).ok_or_else(|| "it is not".to_owned())
    })
    .await;
    shop.reconcile();
    let key = shop.space.until_observed("storefront").await;
    assert_eq!(key.spec.revoke_before(), None, "Flux removed it");
    assert_eq!(both.verifier.code("scope=any", &value).await, "revoked");
    shop.end().await;
}
