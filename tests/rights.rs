//! What the chart's accounts may do to a real API server, and above all what they may not.
//!
//! Raw requests: a client library sends only what it was made for, and an attacker sends the rest.

#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "rights/answers.rs"]
mod answers;
#[path = "rights/bindings.rs"]
mod bindings;
#[path = "rights/leases.rs"]
mod leases;
#[path = "rights/removal.rs"]
mod removal;
#[path = "support/mod.rs"]
mod support;
#[path = "rights/templates.rs"]
mod templates;

use std::path::{Path, PathBuf};

use axum::http::Request;
use data_encoding::BASE64;
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use support::cluster::Cluster;
use support::control_plane::client;
use support::eventually;
use support::process::{Process, free_ports};
use tokio::sync::OnceCell;

/// What stands in a foreign Secret. Its base64 ends with `=`, so that it is no name, type or label.
const MARKER: &str = "a-marker-that-nobody-may-read";

const DENIED: &str =
    "ValidatingAdmissionPolicy 'keywright-operator-secrets' with binding 'keywright-operator-secrets' denied request: ";
const OUR_TYPES_ONLY: &str = "the Keywright operator writes only Secrets of Keywright's own types, each in its place";
const ONE_OWNER_AND_A_SERIAL: &str = "a delivered Secret has exactly one owner, its ApiKey, and a serial";
const ANOTHER_OWNER: &str = "this Secret belongs to another ApiKey, or to none";
const KEY_MATERIAL_STAYS: &str = "the Keywright operator makes its key material and a Site ID once";
const TYPE_STAYS: &str = "type: Invalid value: \"keywright.dev/api-key\": field is immutable";

/// An HTTP request to the API server.
struct Ask {
    method: &'static str,
    path: String,
    content_type: String,
    body: Value,
}

fn ask(method: &'static str, path: &str) -> Ask {
    Ask { method, path: path.to_owned(), content_type: "application/json".to_owned(), body: Value::Null }
}

fn patch(kind: &str, path: &str, body: &Value) -> Ask {
    Ask { content_type: format!("application/{kind}"), ..ask("PATCH", path).with(body) }
}

impl Ask {
    fn with(mut self, body: &Value) -> Self {
        self.body = body.clone();
        self
    }
}

/// Every way to read one or many of a resource.
fn reads(all: &str, name: &str) -> Vec<(&'static str, Ask)> {
    vec![
        ("get", ask("GET", &format!("{all}/{name}"))),
        ("list", ask("GET", all)),
        ("list", ask("GET", &format!("{all}?resourceVersion=0&limit=1"))),
        ("list", ask("GET", &format!("{all}?fieldSelector=metadata.name%3D{name}"))),
        // Bounded, so that a watch that is allowed fails the test and does not hang it.
        ("watch", ask("GET", &format!("{all}?watch=1&timeoutSeconds=1"))),
        ("watch", ask("GET", &all.replace("v1/", "v1/watch/").replace("v1alpha1/", "v1alpha1/watch/"))),
    ]
}

/// A patch is a read as well, so no kind of it is left out.
fn patches_and_sweeps(all: &str, name: &str) -> Vec<(&'static str, Ask)> {
    let one = format!("{all}/{name}");
    let label = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"labels": {"a": "b"}}});
    let apply = patch("apply-patch+yaml", &format!("{one}?fieldManager=x&force=true"), &label);
    let merges = ["merge-patch+json", "strategic-merge-patch+json"].map(|kind| patch(kind, &one, &label));
    let patches = copying_patches(&one).into_iter().chain(merges).chain([apply]).map(|patch| ("patch", patch));
    patches.chain([("deletecollection", ask("DELETE", all))]).collect()
}

fn writes(all: &str, name: &str) -> Vec<(&'static str, Ask)> {
    let one = format!("{all}/{name}");
    let others = [("create", ask("POST", all)), ("update", ask("PUT", &one)), ("delete", ask("DELETE", &one))];
    patches_and_sweeps(all, name).into_iter().chain(others).collect()
}

/// JSON patches that copy what a Secret holds into a place where an error would quote it.
fn copying_patches(path: &str) -> Vec<Ask> {
    let copy = |to: &str| json!({"op": "copy", "from": "/data/x", "path": to});
    let labels = json!([{"op": "add", "path": "/metadata/labels", "value": {}}, copy("/metadata/labels/a")]);
    let patches = [json!([copy("/metadata/name")]), json!([copy("/type")]), labels];
    patches.iter().map(|body| patch("json-patch+json", path, body)).collect()
}

/// Somebody with rights of their own.
struct Caller {
    client: Client,
    sees_all: bool,
}

impl Caller {
    async fn send(&self, ask: &Ask) -> (u16, String) {
        let body = if ask.body.is_null() { Vec::new() } else { serde_json::to_vec(&ask.body).unwrap() };
        let request = Request::builder().method(ask.method).uri(&ask.path).header("content-type", &ask.content_type);
        let answer = self.client.send(request.body(Body::from(body)).unwrap()).await.unwrap();
        let status = answer.status().as_u16();
        let text = String::from_utf8(answer.into_body().collect_bytes().await.unwrap().to_vec()).unwrap();
        assert!(self.sees_all || !quotes_the_marker(&text), "{} {} was answered {text}", ask.method, ask.path);
        (status, text)
    }

    async fn may(&self, ask: Ask) -> Value {
        let (status, text) = self.send(&ask).await;
        assert!((200..300).contains(&status), "{} {} {}: {status} {text}", ask.method, ask.path, ask.body);
        serde_json::from_str(&text).unwrap()
    }

    async fn may_watch(&self, all: &str) {
        let (status, text) = self.send(&ask("GET", &format!("{all}?watch=1&timeoutSeconds=1"))).await;
        assert_eq!(status, 200, "{text}");
    }

    async fn may_not(&self, ask: Ask, because: &str) {
        let (status, text) = self.send(&ask).await;
        let Ask { method, path, body, .. } = &ask;
        assert!(matches!(status, 403 | 422), "{method} {path} {body}: {status} {text}");
        let status: Value = serde_json::from_str(&text).unwrap();
        let message = status["message"].as_str().unwrap();
        assert!(message.contains(because), "{method} {path} {body}: {message:?} does not say {because:?}");
    }

    /// Refused by RBAC, before anything is looked at.
    async fn has_no_right_to(&self, resource: &str, asks: Vec<(&str, Ask)>) {
        for (verb, ask) in asks {
            self.may_not(ask, &format!("cannot {verb} resource \"{resource}\"")).await;
        }
    }

    /// Refused by the policy, with this message.
    async fn is_held_back_from(&self, ask: Ask, message: &str) {
        self.may_not(ask, &format!("{DENIED}{message}")).await;
    }
}

/// Plain or in base64; the beginning is enough, for messages are cut.
fn quotes_the_marker(text: &str) -> bool {
    [MARKER, &BASE64.encode(MARKER.as_bytes())].iter().any(|form| text.contains(&form[..12]))
}

fn secrets(namespace: &str) -> String {
    format!("/api/v1/namespaces/{namespace}/secrets")
}

fn secret(namespace: &str, name: &str) -> String {
    format!("{}/{name}", secrets(namespace))
}

fn a_secret(name: &str, type_: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "type": type_, "stringData": {"y": "z"}})
}

fn with(mut object: Value, field: &str, value: Value) -> Value {
    object["metadata"][field] = value;
    object
}

/// As the operator delivers one.
fn delivered(name: &str, by: &Value, serial: &str) -> Value {
    let bare = with(a_secret(name, "keywright.dev/api-key"), "ownerReferences", json!([by]));
    with(bare, "annotations", json!({"keywright.dev/serial": serial}))
}

fn owner(uid: &str) -> Value {
    json!({"apiVersion": "keywright.dev/v1alpha1", "kind": "ApiKey", "name": "storefront", "uid": uid})
}

/// Everyone who matters, and a namespace with a Secret `foreign` that holds the marker.
struct Scene {
    cluster: &'static Cluster,
    namespace: String,
    admin: Caller,
    operator: Caller,
    verifier: Caller,
}

async fn scene() -> Scene {
    static INSTALLED: OnceCell<(&Cluster, PathBuf, PathBuf)> = OnceCell::const_new();
    let caller = async |kubeconfig: &Path| Caller { client: client(kubeconfig).await.unwrap(), sees_all: false };
    let install = async || {
        let cluster = Cluster::shared().await;
        let kubeconfig = async |of| cluster.kubeconfig_of(of).await.unwrap();
        let (operator, verifier) = (kubeconfig("keywright-operator").await, kubeconfig("keywright-verifier").await);
        let caller = caller(&operator).await;
        let try_it = ask("POST", "/api/v1/namespaces/default/secrets?dryRun=All").with(&a_secret("foreign", "Opaque"));
        eventually("the policy acts", async || {
            let (_, text) = caller.send(&try_it).await;
            if text.contains(DENIED) { Ok(()) } else { Err(text) }
        })
        .await;
        (cluster, operator, verifier)
    };
    let (cluster, operator, verifier) = INSTALLED.get_or_init(install).await;
    let namespace = cluster.namespace().await;
    let admin = Caller { client: cluster.plane.client().await.unwrap(), sees_all: true };
    let mut foreign = a_secret("foreign", "Opaque");
    foreign["stringData"] = json!({"x": MARKER});
    admin.may(ask("POST", &secrets(&namespace)).with(&foreign)).await;
    Scene { cluster, namespace, admin, operator: caller(operator).await, verifier: caller(verifier).await }
}

#[tokio::test]
async fn a_foreign_secret_cannot_be_read_by_the_operator_by_any_means() {
    let Scene { namespace, operator, .. } = scene().await;
    for all in [&secrets(&namespace), "/api/v1/secrets"] {
        operator.has_no_right_to("secrets", reads(all, "foreign")).await;
        operator.has_no_right_to("secrets", patches_and_sweeps(all, "foreign")).await;
    }
    operator.has_no_right_to("secrets", reads(&secrets("keywright-system"), "keywright-canary")).await;
}

#[tokio::test]
async fn a_patch_would_quote_a_secret_to_one_who_may_patch() {
    let Scene { namespace, admin, .. } = scene().await;
    // Should the API server stop doing so, the tests around this one would guard against nothing.
    for patch in copying_patches(&secret(&namespace, "foreign")) {
        let (status, text) = admin.send(&patch).await;
        assert!(matches!(status, 400 | 422) && quotes_the_marker(&text), "{}: {status} {text}", patch.body);
    }
}

#[tokio::test]
async fn a_foreign_secret_cannot_be_changed_or_deleted_by_the_operator() {
    let Scene { namespace, admin, operator, .. } = scene().await;
    let path = secret(&namespace, "foreign");
    let before = admin.may(ask("GET", &path)).await;
    let opaque = || a_secret("foreign", "Opaque");
    let (mut frozen, mut untyped) = (opaque(), opaque());
    frozen["immutable"] = true.into();
    untyped["type"] = Value::Null;
    let owned = with(opaque(), "ownerReferences", json!([owner("made-up")]));
    let precise = with(opaque(), "resourceVersion", before["metadata"]["resourceVersion"].clone());
    for change in [opaque(), owned, precise, frozen, untyped] {
        operator.is_held_back_from(ask("PUT", &path).with(&change), OUR_TYPES_ONLY).await;
    }
    operator.may_not(ask("PUT", &path).with(&a_secret("foreign", "keywright.dev/api-key")), TYPE_STAYS).await;
    operator.may_not(ask("PUT", &path).with(&delivered("foreign", &owner("made-up"), "1")), TYPE_STAYS).await;
    operator.is_held_back_from(ask("DELETE", &path), OUR_TYPES_ONLY).await;
    let at_once = json!({"gracePeriodSeconds": 0, "preconditions": {"uid": before["metadata"]["uid"]}});
    operator.is_held_back_from(ask("DELETE", &path).with(&at_once), OUR_TYPES_ONLY).await;
    assert_eq!(admin.may(ask("GET", &path)).await, before);
}

#[tokio::test]
async fn the_operator_makes_no_secrets_but_its_own_each_in_its_place() {
    let Scene { namespace, operator, .. } = scene().await;
    let service_account = json!({"kubernetes.io/service-account.name": "keywright-verifier"});
    let token = with(a_secret("stray", "kubernetes.io/service-account-token"), "annotations", service_account);
    let ours = |kind: &str| a_secret("stray", &format!("keywright.dev/{kind}"));
    let (key, opaque) = (delivered("stray", &owner("made-up"), "1"), a_secret("stray", "Opaque"));
    let unnamed = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"generateName": "stray-"}});
    let almost = a_secret("stray", "example.com/keywright.dev");
    let refused = [
        (namespace.as_str(), vec![opaque.clone(), unnamed, almost, ours("unheard-of")]),
        (&namespace, vec![ours("entry"), ours("pepper"), ours("sealing-key"), ours("site-id")]),
        ("keywright-system", vec![token, key.clone(), ours("entry"), ours("pepper"), ours("site-id")]),
        ("keywright-entries", vec![opaque, key, ours("sealing-key")]),
    ];
    for (place, made) in refused.iter().flat_map(|(place, all)| all.iter().map(move |made| (place, made))) {
        operator.is_held_back_from(ask("POST", &secrets(place)).with(made), OUR_TYPES_ONLY).await;
    }
    for kind in ["entry", "site-id"] {
        operator.may(ask("POST", &format!("{}?dryRun=All", secrets("keywright-entries"))).with(&ours(kind))).await;
    }
}

#[tokio::test]
async fn a_delivered_secret_needs_exactly_one_api_key_as_owner_and_a_serial() {
    let Scene { namespace, operator, .. } = scene().await;
    let (mut account, mut foreign) = (owner("made-up"), owner("made-up"));
    account["kind"] = "Account".into();
    foreign["apiVersion"] = "example.com/v1".into();
    let owners =
        [json!([]), Value::Null, json!([owner("made-up"), owner("another")]), json!([account]), json!([foreign])];
    let serials = ["", "-1", "one", "1 ", "9999999999999999999"].map(|serial| json!({"keywright.dev/serial": serial}));
    let sound = || delivered("stray", &owner("made-up"), "1");
    let owners = owners.map(|owners| with(sound(), "ownerReferences", owners));
    let serials = serials.into_iter().chain([json!({})]).map(|none| with(sound(), "annotations", none));
    for made in owners.into_iter().chain(serials) {
        operator.is_held_back_from(ask("POST", &secrets(&namespace)).with(&made), ONE_OWNER_AND_A_SERIAL).await;
    }
}

#[tokio::test]
async fn a_delivered_secret_moves_only_forward_and_stays_with_its_key() {
    let Scene { namespace, admin, operator, .. } = scene().await;
    let key = json!({"apiVersion": "keywright.dev/v1alpha1", "kind": "ApiKey", "metadata": {"name": "storefront"},
        "spec": {"account": "acme", "accessLevel": "Full"}});
    let keys = format!("/apis/keywright.dev/v1alpha1/namespaces/{namespace}/apikeys");
    let key = admin.may(ask("POST", &keys).with(&key)).await;
    let (owner_is, path) = (owner(key["metadata"]["uid"].as_str().unwrap()), secret(&namespace, "storefront"));
    let put = |owner: &Value, serial: &str| ask("PUT", &path).with(&delivered("storefront", owner, serial));
    operator.may(ask("POST", &secrets(&namespace)).with(&delivered("storefront", &owner_is, "2"))).await;
    operator.may(put(&owner_is, "2")).await;
    operator.may(put(&owner_is, "10")).await;
    for older in ["9", "2", "0"] {
        operator.is_held_back_from(put(&owner_is, older), "this Secret holds a newer value").await;
    }
    operator.is_held_back_from(put(&owner("made-up"), "11"), ANOTHER_OWNER).await;
    operator.may_not(ask("PUT", &path).with(&a_secret("storefront", "Opaque")), "field is immutable").await;
    // Whoever takes our mark off takes our guard off, but not our right to put it back.
    admin.may(patch("merge-patch+json", &path, &json!({"metadata": {"annotations": null}}))).await;
    operator.may(put(&owner_is, "3")).await;
    admin.may(patch("merge-patch+json", &path, &json!({"metadata": {"ownerReferences": null}}))).await;
    operator.is_held_back_from(put(&owner_is, "4"), ANOTHER_OWNER).await;
}

#[tokio::test]
async fn key_material_and_site_ids_are_made_once_and_then_neither_changed_nor_deleted() {
    let Scene { operator, .. } = scene().await;
    for (namespace, kind) in
        [("keywright-entries", "pepper"), ("keywright-system", "sealing-key"), ("keywright-entries", "site-id")]
    {
        let name = format!("keywright-{kind}");
        let (path, made) = (secret(namespace, &name), a_secret(&name, &format!("keywright.dev/{kind}")));
        let (status, text) = operator.send(&ask("POST", &secrets(namespace)).with(&made)).await;
        assert!(matches!(status, 201 | 409), "{text}");
        let before = operator.may(ask("GET", &path)).await;
        operator.is_held_back_from(ask("PUT", &path).with(&made), KEY_MATERIAL_STAYS).await;
        operator.is_held_back_from(ask("DELETE", &path), KEY_MATERIAL_STAYS).await;
        operator.has_no_right_to("secrets", patches_and_sweeps(&secrets(namespace), &name)).await;
        assert_eq!(operator.may(ask("GET", &path)).await, before);
    }
}

#[tokio::test]
async fn the_operator_gives_nobody_rights_and_does_not_free_itself() {
    let Scene { namespace, operator, .. } = scene().await;
    let (rbac, policies) = ("/apis/rbac.authorization.k8s.io/v1", "/apis/admissionregistration.k8s.io/v1");
    for (resource, within) in [
        ("roles", format!("{rbac}/namespaces/{namespace}")),
        ("clusterroles", rbac.to_owned()),
        ("clusterrolebindings", rbac.to_owned()),
        ("validatingadmissionpolicies", policies.to_owned()),
        ("validatingadmissionpolicybindings", policies.to_owned()),
        ("configmaps", "/api/v1/namespaces/kube-system".to_owned()),
    ] {
        operator.has_no_right_to(resource, writes(&format!("{within}/{resource}"), "keywright-operator-secrets")).await;
        operator.has_no_right_to(resource, reads(&format!("{within}/{resource}"), "keywright-operator-secrets")).await;
    }
    let token = ask("POST", "/api/v1/namespaces/keywright-system/serviceaccounts/keywright-verifier/token");
    operator.has_no_right_to("serviceaccounts/token", vec![("create", token.with(&json!({"spec": {}})))]).await;
}

#[tokio::test]
async fn the_verifier_reads_entries_and_writes_none_of_them() {
    let Scene { namespace, verifier, .. } = scene().await;
    for all in [&secrets(&namespace), "/api/v1/secrets"] {
        verifier.has_no_right_to("secrets", reads(all, "foreign")).await;
    }
    verifier.has_no_right_to("secrets", reads(&secrets("keywright-system"), "keywright-sealing-key")).await;
    for place in [&namespace, "keywright-system", "keywright-entries"] {
        verifier.has_no_right_to("secrets", writes(&secrets(place), "foreign")).await;
    }
    verifier.may(ask("GET", &secrets("keywright-entries"))).await;
    for kind in ["apikeys", "accounts", "suspensions"] {
        let all = format!("/apis/keywright.dev/v1alpha1/namespaces/{namespace}/{kind}");
        verifier.may(ask("GET", &all)).await;
        verifier.may_watch(&all).await;
        verifier.has_no_right_to(kind, writes(&all, "storefront")).await;
        let status = format!("{all}/storefront/status");
        let (update, patch) = (ask("PUT", &status), patch("merge-patch+json", &status, &json!({"status": {}})));
        verifier.has_no_right_to(&format!("{kind}/status"), vec![("update", update)]).await;
        if kind != "apikeys" {
            verifier.has_no_right_to(&format!("{kind}/status"), vec![("patch", patch)]).await;
        }
    }
}

#[tokio::test]
async fn of_a_keys_status_the_verifier_writes_only_its_use() {
    let Scene { namespace, admin, verifier, .. } = scene().await;
    let all = format!("/apis/keywright.dev/v1alpha1/namespaces/{namespace}/apikeys");
    let key = json!({"apiVersion": "keywright.dev/v1alpha1", "kind": "ApiKey", "metadata": {"name": "watched"},
        "spec": {"account": "acme", "accessLevel": "Full"}});
    admin.may(ask("POST", &all).with(&key)).await;
    let status = format!("{all}/watched/status");
    let given = json!({"status": {"state": "Active", "keyId": "7hx3k9m2pq4d"}});
    admin.may(patch("merge-patch+json", &status, &given)).await;
    let activity = json!({"asOf": "2030-01-01T00:00:00Z", "requests": {"allowed": 1, "denied": 0}});
    verifier.may(patch("merge-patch+json", &status, &json!({"status": {"activity": activity}}))).await;
    for (what, body) in [
        ("another field", json!({"state": "Disabled"})),
        ("a field beside it", json!({"activity": activity, "hint": "kw_0"})),
        ("a field that is not there", json!({"secretName": "other"})),
        ("a field taken away", json!({"keyId": null})),
    ] {
        let ask = patch("merge-patch+json", &status, &json!({"status": body}));
        let (code, text) = verifier.send(&ask).await;
        assert_eq!(code, 403, "{what}: {text}");
        assert!(text.contains("the Keywright verifier writes only status.activity"), "{what}: {text}");
    }
    let (code, text) = verifier.send(&patch("merge-patch+json", &status, &json!({"status": null}))).await;
    assert_eq!(code, 403, "{text}");
}

#[tokio::test]
async fn the_verifier_keeps_leases_beside_the_entries_and_nowhere_else() {
    let Scene { namespace, verifier, .. } = scene().await;
    let leases = |namespace: &str| format!("/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases");
    let (all, one) = (leases("keywright-entries"), format!("{}/stray", leases("keywright-entries")));
    let mut lease = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "stray"}});
    verifier.may(ask("POST", &all).with(&lease)).await;
    let made = verifier.may(ask("GET", &one)).await;
    lease["metadata"] = made["metadata"].clone();
    verifier.may(ask("PUT", &one).with(&lease)).await;
    verifier.may(ask("DELETE", &one)).await;
    // Another's is found by its name only, and the names are random.
    let lists = reads(&all, "stray").into_iter().filter(|(verb, _)| *verb != "get").collect();
    verifier.has_no_right_to("leases", lists).await;
    verifier.has_no_right_to("leases", patches_and_sweeps(&all, "stray")).await;
    for elsewhere in [&namespace, "keywright-system", "kube-system"] {
        verifier.has_no_right_to("leases", reads(&leases(elsewhere), "stray")).await;
        verifier.has_no_right_to("leases", writes(&leases(elsewhere), "stray")).await;
    }
}

#[tokio::test]
async fn the_built_in_roles_show_nobody_a_key() {
    let Scene { cluster: Cluster { plane, .. }, namespace, .. } = scene().await;
    // These roles are empty until the controller manager fills them with what aggregates into them.
    let args = [
        format!("--kubeconfig={}", plane.kubeconfig.display()),
        "--controllers=clusterrole-aggregation-controller".to_owned(),
        "--leader-elect=false".to_owned(),
        "--bind-address=127.0.0.1".to_owned(),
        format!("--secure-port={}", free_ports::<1>().unwrap()[0]),
    ];
    let (name, log) = ("kube-controller-manager", plane.dir.join("logs/role-aggregation.log"));
    let _filling = Process::start(name, &plane.bin.join(name), &args, &[], &log).unwrap();
    for role in ["view", "edit", "admin"] {
        let (account, bound) = (format!("--serviceaccount={namespace}:{role}"), format!("--clusterrole={role}"));
        plane.kubectl(&["create", "serviceaccount", role, "-n", &namespace]).unwrap();
        plane.kubectl(&["create", "rolebinding", role, &bound, &account, "-n", &namespace]).unwrap();
        let token = plane.kubectl(&["create", "token", role, "-n", &namespace]).unwrap();
        let kubeconfig = plane.dir.join(format!("{role}.kubeconfig"));
        plane.write_kubeconfig(&kubeconfig, &format!("token: {}", token.trim())).unwrap();
        let user = Caller { client: client(&kubeconfig).await.unwrap(), sees_all: false };
        eventually(&format!("{role} is filled"), async || {
            let (status, text) = user.send(&ask("GET", &format!("/api/v1/namespaces/{namespace}/configmaps"))).await;
            if status == 200 { Ok(()) } else { Err(text) }
        })
        .await;
        for kind in ["apikeys", "accounts", "suspensions"] {
            let all = format!("/apis/keywright.dev/v1alpha1/namespaces/{namespace}/{kind}");
            user.has_no_right_to(kind, reads(&all, "storefront")).await;
            user.has_no_right_to(kind, writes(&all, "storefront")).await;
        }
    }
}
