//! What `kubectl get`, field selectors and `kubectl wait` show at a glance.

use k8s_openapi::api::core::v1::Event;
use keywright::api::ApiKey;
use kube::api::{DeleteParams, ListParams, PostParams};
use serde_json::{Value, json};

use super::space;
use super::support::cluster::Cluster;
use super::support::eventually;
use super::support::space::{Space, both};

fn get(cluster: &Cluster, space: &Space, args: &[&str]) -> String {
    cluster.plane.kubectl(&[&["get", "-n", &space.name], args].concat()).unwrap()
}

/// A table of kubectl: columns are two spaces or more apart.
fn table(text: &str) -> Vec<Vec<String>> {
    let cells =
        |line: &str| line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).map(str::to_owned).collect();
    text.lines().map(cells).collect()
}

/// The cell under a header, by position: an empty cell shifts none of the others.
fn cell<'t>(text: &'t str, header: &str) -> &'t str {
    let mut lines = text.lines();
    let (head, row) = (lines.next().unwrap(), lines.next().unwrap());
    let at = head.find(header).unwrap_or_else(|| panic!("no column {header} in {head}"));
    let next = head[at + header.len()..].find(|c: char| c != ' ').map(|n| at + header.len() + n);
    let cut = |index: usize| row.char_indices().nth(index).map_or(row.len(), |(byte, _)| byte);
    row[cut(at)..next.map_or(row.len(), cut)].trim()
}

#[tokio::test]
async fn the_columns_say_what_matters() {
    let cluster = Cluster::shared().await;
    let (space, _both) = (space().await, both().await);
    space.account("acme", json!({"accessLevel": "Full", "displayName": "Acme Corporation"})).await;
    let spec = json!({"account": "acme", "accessLevel": "ReadOnly", "displayName": "Storefront",
        "expiresAt": "2099-01-01T00:00:00Z"});
    space.key("storefront", spec).await;
    space.until_ready_is("storefront", "Issued").await;
    let id = space.value("storefront", "key-id").await;
    let suspension = json!({"apiVersion": "keywright.dev/v1alpha1", "kind": "Suspension", "metadata": {"name": "later"},
        "spec": {"target": {"kind": "ApiKey", "name": "other"}, "reason": "Abuse", "message": "Too many calls"}});
    let suspensions = kube::Api::<keywright::api::Suspension>::namespaced(space.client.clone(), &space.name);
    suspensions.create(&PostParams::default(), &serde_json::from_value(suspension).unwrap()).await.unwrap();
    eventually("the account has counted", async || {
        let text = get(cluster, &space, &["acct"]);
        if cell(&text, "KEYS") == "1" && cell(&text, "ACTIVE") == "1" { Ok(()) } else { Err(text) }
    })
    .await;

    let keys = get(cluster, &space, &["ak"]);
    let rows = table(&keys);
    assert_eq!(rows[0], ["NAME", "ACCOUNT", "ACCESS", "STATE", "KEY", "LAST USED", "AGE"]);
    assert_eq!(rows[1][..5], ["storefront", "acme", "ReadOnly", "Active", &format!("kw_{id}_…")]);
    let keys = get(cluster, &space, &["ak", "-o", "wide"]);
    let wide = ["DISPLAY NAME", "GRANTED", "EXPIRES", "ENFORCED", "REQUESTS", "SECRET", "REASON"];
    assert_eq!(table(&keys)[0][7..], wide);
    assert_eq!(cell(&keys, "DISPLAY NAME"), "Storefront");
    assert_eq!(cell(&keys, "GRANTED"), "ReadOnly");
    assert_eq!((cell(&keys, "SECRET"), cell(&keys, "REASON")), ("storefront", "Issued"));

    let accounts = get(cluster, &space, &["acct"]);
    assert_eq!(
        table(&accounts)[0],
        ["NAME", "SITE ID", "ACCESS", "KEYS", "ACTIVE", "ACCOUNT DISABLED", "READY", "AGE"]
    );
    assert_eq!((cell(&accounts, "ACCESS"), cell(&accounts, "READY")), ("Full", "True"));
    assert_eq!(cell(&accounts, "SITE ID").len(), 6);
    let accounts = get(cluster, &space, &["acct", "-o", "wide"]);
    assert_eq!((cell(&accounts, "DISPLAY NAME"), cell(&accounts, "REASON")), ("Acme Corporation", "Accepted"));

    let suspensions = get(cluster, &space, &["susp", "-o", "wide"]);
    assert_eq!(
        table(&suspensions)[0],
        ["NAME", "KIND", "TARGET", "BY", "REASON", "FOUND", "ENFORCED", "AGE", "MESSAGE"]
    );
    assert_eq!(table(&suspensions)[1][..5], ["later", "ApiKey", "other", "Platform", "Abuse"]);
    assert_eq!(cell(&suspensions, "MESSAGE"), "Too many calls");
    let all = get(cluster, &space, &["keywright", "-o", "name"]);
    for one in ["account.keywright.dev/acme", "apikey.keywright.dev/storefront", "suspension.keywright.dev/later"] {
        assert!(all.contains(one), "{all}");
    }
}

#[tokio::test]
async fn the_column_expires_tells_a_moment_that_is_still_to_come() {
    let cluster = Cluster::shared().await;
    let space = space().await;
    let spec = json!({"account": "acme", "accessLevel": "Full", "expiresAt": "2099-01-01T00:00:00Z"});
    space.key("trial", spec).await;
    let keys = get(cluster, &space, &["ak", "-o", "wide"]);
    assert!(cell(&keys, "EXPIRES").contains("2099"), "{keys}");
}

#[tokio::test]
async fn keys_are_found_by_what_is_said_of_them() {
    let cluster = Cluster::shared().await;
    let (space, _both) = (space().await, both().await);
    space.account("acme", json!({"accessLevel": "Full"})).await;
    space.account("globex", json!({"accessLevel": "Full"})).await;
    let key = async |name: &str, spec: Value| space.key(name, spec).await;
    key("source", json!({"account": "acme", "accessLevel": "Full", "displayName": "Shop"})).await;
    key("copy", json!({"account": "acme", "cloneFrom": {"name": "source"}})).await;
    key("off", json!({"account": "acme", "accessLevel": "Full", "disabled": true})).await;
    key("theirs", json!({"account": "globex", "accessLevel": "Full"})).await;
    let mut ids = Vec::new();
    for name in ["source", "copy", "off", "theirs"] {
        space.until_ready_is(name, "Issued").await;
        ids.push(space.value(name, "key-id").await);
    }
    space.until_state_is("off", "Disabled").await;
    for (selector, found) in [
        (format!("status.keyId={}", ids[1]), &["copy"][..]),
        ("spec.displayName=Shop".to_owned(), &["source"]),
        ("status.displayName=Shop".to_owned(), &["copy", "source"]),
        ("status.state=Disabled".to_owned(), &["off"]),
        ("status.state=Active".to_owned(), &["copy", "source", "theirs"]),
        ("spec.account=globex".to_owned(), &["theirs"]),
        (format!("spec.account=acme,status.state!=Active,status.keyId={}", ids[2]), &["off"]),
        ("status.keyId=000000000000".to_owned(), &[]),
    ] {
        let names = get(cluster, &space, &["ak", "-o", "name", "--field-selector", &selector]);
        let names: Vec<&str> = names.lines().map(|name| name.trim_start_matches("apikey.keywright.dev/")).collect();
        assert_eq!(names, found, "{selector}");
    }
    let account = space.accounts().get("globex").await.unwrap().status.unwrap().public_key.unwrap();
    let by_site_id = format!("status.publicKey={account}");
    let found = get(cluster, &space, &["acct", "-o", "name", "--field-selector", &by_site_id]);
    assert_eq!(found.trim(), "account.keywright.dev/globex");
}

#[tokio::test]
async fn kubectl_waits_until_it_is_ready() {
    let cluster = Cluster::shared().await;
    let (space, _both) = (space().await, both().await);
    let wait = |what: &[&str], timeout: &str| {
        let args = [&["wait", "-n", &space.name, timeout], what].concat();
        cluster.plane.kubectl(&args)
    };
    space.key("early", json!({"account": "acme", "accessLevel": "Full"})).await;
    space.until_ready_is("early", "AccountNotFound").await;
    wait(&["--for=condition=Ready=false", "ak/early"], "--timeout=20s").unwrap();
    wait(&["--for=condition=Ready", "ak/early"], "--timeout=1s").unwrap_err();
    space.account("acme", json!({"accessLevel": "Full"})).await;
    wait(&["--for=condition=Ready", "ak/early", "acct/acme"], "--timeout=20s").unwrap();
    wait(&["--for=condition=SecretAvailable", "ak/early"], "--timeout=20s").unwrap();
    wait(&["--for=jsonpath={.status.state}=Active", "ak/early"], "--timeout=20s").unwrap();
    assert!(!space.value("early", "api-key").await.is_empty(), "ready means that the value can be read");
}

#[tokio::test]
async fn of_keys_that_want_one_secret_exactly_one_gets_it_and_the_others_are_told() {
    let (space, both) = (space().await, both().await);
    let names = ["a", "b", "c", "d"];
    let spec = json!({"account": "acme", "accessLevel": "Full", "secret": {"name": "shared"}});
    for name in names {
        space.key(name, spec.clone()).await;
    }
    // All of them are set off at once.
    space.account("acme", json!({"accessLevel": "Full"})).await;
    let keys = eventually("each has its outcome", async || {
        let keys = space.keys().list(&ListParams::default()).await.map_err(|e| e.to_string())?.items;
        let decided = keys.iter().filter(|key| ["Issued", "SecretConflict"].contains(&ready(key).0.as_str()));
        if decided.count() == names.len() {
            Ok(keys)
        } else {
            Err(format!("{:?}", keys.iter().map(ready).collect::<Vec<_>>()))
        }
    })
    .await;
    let (won, lost): (Vec<&ApiKey>, Vec<&ApiKey>) = keys.iter().partition(|key| ready(key).0 == "Issued");
    assert_eq!((won.len(), lost.len()), (1, names.len() - 1));
    for key in &lost {
        let (_, message) = ready(key);
        assert!(message.contains("Secret shared") && message.contains("spec.secret.name"), "{message}");
        assert!(key.status.as_ref().unwrap().secret_name.is_none(), "it has none");
    }
    let value = space.value("shared", "api-key").await;
    let winner = won[0].metadata.name.clone().unwrap();
    assert_eq!(won[0].status.as_ref().unwrap().key_id.as_deref(), Some(&value[3..15]), "and it is the winner's");
    both.verifier.eventually_says("ok", "scope=any", &value).await;

    // Room is made, and one of the others takes it, with a value of its own.
    for other in lost.iter().skip(1) {
        space.keys().delete(other.metadata.name.as_ref().unwrap(), &DeleteParams::default()).await.unwrap();
    }
    space.keys().delete(&winner, &DeleteParams::default()).await.unwrap();
    let heir = lost[0].metadata.name.clone().unwrap();
    // Secrets are not watched; a change of the key makes the operator look at once.
    eventually("the old Secret is gone", async || {
        let now = space.secrets().get_opt("shared").await.unwrap();
        let owner = now.and_then(|secret| secret.metadata.owner_references?.first().map(|owner| owner.name.clone()));
        if owner.as_ref() == Some(&winner) { Err("it is there") } else { Ok(()) }
    })
    .await;
    space.patch_key(&heir, json!({"spec": {"displayName": "Heir"}})).await;
    space.until_ready_is(&heir, "Issued").await;
    let inherited = space.value("shared", "api-key").await;
    assert_ne!(inherited, value);
    both.verifier.eventually_says("ok", "scope=any", &inherited).await;
    both.verifier.eventually_says("unknown", "scope=any", &value).await;
}

/// The reason and the message of the condition Ready.
fn ready(key: &ApiKey) -> (String, String) {
    let conditions = key.status.iter().flat_map(|status| &status.conditions);
    let ready = conditions.into_iter().find(|condition| condition.type_ == "Ready");
    ready.map(|condition| (condition.reason.clone(), condition.message.clone())).unwrap_or_default()
}

/// Waits for an Event of a key.
async fn until_told(space: &Space, name: &str, reason: &str) -> String {
    let events = kube::Api::<Event>::namespaced(space.client.clone(), &space.name);
    eventually(&format!("an Event {reason}"), async || {
        let all = events.list(&ListParams::default()).await.map_err(|e| e.to_string())?.items;
        let mut of_key = all.iter().filter(|event| event.involved_object.name.as_deref() == Some(name));
        let found = of_key.find(|event| event.reason.as_deref() == Some(reason));
        found.and_then(|event| event.message.clone()).ok_or_else(|| format!("{} Events", all.len()))
    })
    .await
}

#[tokio::test]
async fn what_is_wrong_with_many_long_scopes_is_told_in_an_event_too() {
    let (space, _both) = (space().await, both().await);
    space.account("acme", json!({"accessLevel": "Custom", "scopes": ["orders:read"]})).await;
    // As many and as long as a key may have.
    let scopes: Vec<String> = (0..64).map(|n| format!("{}{n}:read", "r".repeat(90))).collect();
    space.key("wide", json!({"account": "acme", "accessLevel": "Custom", "scopes": scopes})).await;
    space.until_ready_is("wide", "ScopeNotGranted").await;
    assert!(until_told(&space, "wide", "ScopeNotGranted").await.starts_with("Account acme does not grant"));
}

#[tokio::test]
async fn a_key_with_the_longest_name_there_is_has_events_too() {
    let (space, _both) = (space().await, both().await);
    let name = "k".repeat(253);
    space.ready_key(&name).await;
    until_told(&space, &name, "Issued").await;
}
