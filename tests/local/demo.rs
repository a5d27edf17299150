//! The story of a key, told with kubectl and HTTP calls, a line a step. It fails when a step does.

use std::fmt::Write as _;
use std::time::Instant;

use super::support::http::{self, Answer};
use super::support::{Result, eventually};
use super::{VERIFIER, kubectl};

const NAMESPACE: &str = "demo";

const ACCOUNT: &str = r"
apiVersion: v1
kind: Namespace
metadata: {name: demo}
---
apiVersion: keywright.dev/v1alpha1
kind: Account
metadata: {name: acme, namespace: demo}
spec:
  accessLevel: Full
  members: [{kind: User, name: ada@example.com, role: Owner}]
";

const KEY: &str = r"
apiVersion: keywright.dev/v1alpha1
kind: ApiKey
metadata: {name: storefront, namespace: demo}
spec: {account: acme, displayName: Storefront, accessLevel: Full}
";

const CUSTOM_KEY: &str = r#"
apiVersion: keywright.dev/v1alpha1
kind: ApiKey
metadata: {name: exporter, namespace: demo}
spec: {account: acme, displayName: Order export, accessLevel: Custom, scopes: ["orders:read"]}
"#;

const CLONE: &str = r"
apiVersion: keywright.dev/v1alpha1
kind: ApiKey
metadata: {name: exporter-standby, namespace: demo}
spec: {account: acme, cloneFrom: {name: exporter}}
";

const SHOWN_ONCE: &str = r"
apiVersion: keywright.dev/v1alpha1
kind: ApiKey
metadata: {name: partner, namespace: demo}
spec: {account: acme, accessLevel: ReadOnly, secret: {delivery: Once, deleteAfter: 2s}}
";

const SUSPENSION: &str = r"
apiVersion: keywright.dev/v1alpha1
kind: Suspension
metadata: {name: overdue, namespace: demo}
spec:
  by: Platform
  target: {kind: ApiKey, name: exporter}
  reason: PaymentOverdue
  message: The invoice of October is not paid.
";

/// Counts the steps as they are told.
struct Story(u32);

impl Story {
    fn step(&mut self, what: &str) {
        self.0 += 1;
        println!("{:>3}. {what}", self.0);
    }
}

pub async fn demo() -> Result<()> {
    if http::get(&format!("127.0.0.1:{VERIFIER}"), "/", &[]).await.is_err() {
        return Err("nothing answers on 127.0.0.1:7070; run `make up` first".into());
    }
    let _ = kubectl(&["delete", "namespace", NAMESPACE, "--ignore-not-found", "--wait=true"])?;
    let mut story = Story(0);
    let first = create_and_disable(&mut story).await?;
    grants_and_clones(&mut story).await?;
    rotate(&mut story, &first).await?;
    show_once(&mut story).await?;
    suspend(&mut story).await?;
    find_and_rights(&mut story)?;
    delete(&mut story).await?;
    println!("\nThat was the life of a key. All {} steps did what they should.", story.0);
    Ok(())
}

async fn create_and_disable(story: &mut Story) -> Result<String> {
    apply(ACCOUNT)?;
    apply(KEY)?;
    story.step("An Account and an ApiKey are applied from YAML.");

    wait_ready("storefront")?;
    let owner = get("secret/storefront", "{.metadata.ownerReferences[0].kind}/{.metadata.ownerReferences[0].name}")?;
    expect("the Secret's owner", &owner, "ApiKey/storefront")?;
    let key = value("storefront")?;
    story.step(&format!(
        "Secret demo/storefront appears, owned by the ApiKey, with the value in `api-key`: {}…",
        &key[..16]
    ));

    let answer = until("scope=orders:write", Some(&key), 200, "ok").await?;
    let mut identity = String::new();
    for name in ["x-keywright-account", "x-keywright-key", "x-keywright-key-id", "x-keywright-scopes"] {
        let value = answer.header(name).ok_or_else(|| format!("the answer has no {name}"))?;
        write!(identity, "\n       {name}: {value}")?;
    }
    story.step(&format!("A call with it gets 200 and says who calls:{identity}"));

    ask("scope=orders:write", None, 401, "missing").await?;
    story.step("A call without gets 401 missing.");

    patch("storefront", r#"{"spec":{"disabled":true}}"#)?;
    let late = at_once("scope=orders:write", &key, 401, "disabled").await?;
    story.step(&format!("disabled: true, and calls get 401 disabled {late} after kubectl returned."));

    patch("storefront", r#"{"spec":{"disabled":false}}"#)?;
    let late = at_once("scope=orders:write", &key, 200, "ok").await?;
    story.step(&format!("disabled: false, and calls get 200 {late} after kubectl returned; the value is the same."));
    Ok(key)
}

async fn grants_and_clones(story: &mut Story) -> Result<()> {
    apply(CUSTOM_KEY)?;
    wait_ready("exporter")?;
    let custom = value("exporter")?;
    until("scope=orders:read", Some(&custom), 200, "ok").await?;
    ask("scope=orders:write", Some(&custom), 403, "insufficient_scope").await?;
    story.step("A Custom key with orders:read gets 200 for that and 403 for orders:write.");

    apply(CLONE)?;
    wait_ready("exporter-standby")?;
    let clone = value("exporter-standby")?;
    if clone == custom {
        return Err("the clone has its source's value".into());
    }
    expect("the clone's name for people", &get("apikey/exporter-standby", "{.status.displayName}")?, "Order export")?;
    until("scope=orders:read", Some(&clone), 200, "ok").await?;
    ask("scope=orders:write", Some(&clone), 403, "insufficient_scope").await?;
    story.step("Its clone is a different key, with the same name for people and the same scopes.");
    Ok(())
}

async fn rotate(story: &mut Story, old: &str) -> Result<()> {
    patch("storefront", r#"{"spec":{"rotation":{"revision":1,"overlap":"3s"}}}"#)?;
    let new = eventually("a new value in the Secret", async || match value("storefront") {
        Ok(value) if value != old => Ok(value),
        Ok(_) => Err("it is the old one".to_owned()),
        Err(error) => Err(error.to_string()),
    })
    .await;
    until("scope=any", Some(&new), 200, "ok").await?;
    ask("scope=any", Some(old), 200, "ok").await?;
    story
        .step("rotation.revision: 1, and the Secret has a new value; for the overlap of 3 s old and new both get 200.");
    until("scope=any", Some(old), 401, "retired").await?;
    ask("scope=any", Some(&new), 200, "ok").await?;
    story.step("After the overlap the old one gets 401 retired, and the new one 200.");
    Ok(())
}

async fn show_once(story: &mut Story) -> Result<()> {
    apply(SHOWN_ONCE)?;
    wait_ready("partner")?;
    let shown = value("partner")?;
    eventually("the Secret is gone", async || match value("partner") {
        Ok(_) => Err("it is there"),
        Err(_) => Ok(()),
    })
    .await;
    eventually("it is said", async || {
        let reason = get("apikey/partner", r#"{.status.conditions[?(@.type=="SecretAvailable")].reason}"#)?;
        expect("the condition's reason", &reason, "Revealed")
    })
    .await;
    until("scope=orders:read", Some(&shown), 200, "ok").await?;
    story.step("A key with delivery: Once is shown for 2 s; then its Secret is gone, and the key goes on working.");
    Ok(())
}

async fn suspend(story: &mut Story) -> Result<()> {
    let key = value("exporter")?;
    apply(SUSPENSION)?;
    let late = at_once("scope=orders:read", &key, 401, "suspended").await?;
    eventually("the owner reads why", async || {
        let reason = get("apikey/exporter", r#"{.status.state}/{.status.conditions[?(@.type=="Suspended")].reason}"#)?;
        expect("the state", &reason, "Suspended/PaymentOverdue")
    })
    .await;
    story.step(&format!(
        "The platform's Suspension: calls get 401 suspended {late} later, and the owner reads why in the status."
    ));
    kubectl(&["delete", "apikey", "exporter", "-n", NAMESPACE])?;
    apply(CUSTOM_KEY)?;
    wait_ready("exporter")?;
    let again = value("exporter")?;
    until("scope=orders:read", Some(&again), 401, "suspended").await?;
    story.step("Deleting and re-creating the key does not escape it: 401 suspended.");
    kubectl(&["delete", "suspension", "overdue", "-n", NAMESPACE])?;
    let late = at_once("scope=orders:read", &again, 200, "ok").await?;
    story.step(&format!("The Suspension is deleted, and calls get 200 {late} after kubectl returned."));
    Ok(())
}

fn find_and_rights(story: &mut Story) -> Result<()> {
    let site_id = get("account/acme", "{.status.publicKey}")?;
    story.step(&format!("The account has a public Site ID, safe to show: {site_id}"));
    let key = value("exporter")?;
    let selector = format!("--field-selector=status.keyId={}", &key[3..15]);
    let found = kubectl(&["get", "apikeys", "-A", &selector, "-o", "name"])?;
    expect("the key that was found", found.trim(), "apikey.keywright.dev/exporter")?;
    story.step(&format!("A key is found by a part of its value: kubectl get ak -A {selector}"));
    for (who, may) in [("ada@example.com", "yes"), ("eve@example.com", "no")] {
        let answer = kubectl(&["auth", "can-i", "list", "apikeys", "-n", NAMESPACE, "--as", who]);
        expect(who, if answer.is_ok() { "yes" } else { "no" }, may)?;
    }
    story.step("Ada, an Owner among the account's members, may list its keys; Eve may not.");
    Ok(())
}

async fn delete(story: &mut Story) -> Result<()> {
    let old = value("storefront")?;
    kubectl(&["delete", "apikey", "storefront", "-n", NAMESPACE])?;
    let late = at_once("scope=orders:write", &old, 401, "unknown").await?;
    story.step(&format!("kubectl delete, and calls get 401 unknown {late} after kubectl returned."));

    apply(KEY)?;
    wait_ready("storefront")?;
    let new = value("storefront")?;
    if new == old {
        return Err("the re-created key has the old value".into());
    }
    until("scope=orders:write", Some(&new), 200, "ok").await?;
    ask("scope=orders:write", Some(&old), 401, "unknown").await?;
    story.step("Re-created under the same name it has another value; the old one stays 401.");
    Ok(())
}

fn patch(key: &str, patch: &str) -> Result<()> {
    kubectl(&["patch", "apikey", key, "-n", NAMESPACE, "--type=merge", "-p", patch]).map(drop)
}

fn apply(manifest: &str) -> Result<()> {
    let file = super::state().join("demo.yaml");
    std::fs::write(&file, manifest)?;
    kubectl(&["apply", "-f", &file.display().to_string()]).map(drop)
}

fn wait_ready(key: &str) -> Result<()> {
    kubectl(&["wait", "--for=condition=Ready", &format!("apikey/{key}"), "-n", NAMESPACE, "--timeout=60s"]).map(drop)
}

fn get(what: &str, path: &str) -> Result<String> {
    kubectl(&["get", what, "-n", NAMESPACE, "-o", &format!("jsonpath={path}")])
}

fn value(secret: &str) -> Result<String> {
    let encoded = get(&format!("secret/{secret}"), "{.data.api-key}")?;
    Ok(String::from_utf8(data_encoding::BASE64.decode(encoded.as_bytes())?)?)
}

fn expect(what: &str, is: &str, should_be: &str) -> Result<()> {
    if is == should_be { Ok(()) } else { Err(format!("{what} is {is}, not {should_be}").into()) }
}

/// One call, with the answer that it must have.
async fn ask(query: &str, key: Option<&str>, status: u16, code: &str) -> Result<Answer> {
    let bearer = key.map(|key| format!("Bearer {key}"));
    let headers: Vec<(&str, &str)> = bearer.iter().map(|value| ("Authorization", value.as_str())).collect();
    let answer = http::get(&format!("127.0.0.1:{VERIFIER}"), &format!("/auth?{query}"), &headers).await?;
    let said = (answer.status, answer.header("x-keywright-code").unwrap_or_default());
    if said == (status, code) {
        Ok(answer)
    } else {
        Err(format!("the answer is {said:?}, not {:?}", (status, code)).into())
    }
}

/// The promise is milliseconds, and this machine may be busy; a second is a failure.
async fn at_once(query: &str, key: &str, status: u16, code: &str) -> Result<String> {
    let start = Instant::now();
    loop {
        match ask(query, Some(key), status, code).await {
            Ok(_) => return Ok(format!("{:.1} ms", start.elapsed().as_secs_f64() * 1e3)),
            Err(error) if start.elapsed().as_secs() >= 1 => return Err(error),
            Err(_) => {}
        }
    }
}

/// The same, for an answer that may take a moment: the entry's event and the Secret race each other.
async fn until(query: &str, key: Option<&str>, status: u16, code: &str) -> Result<Answer> {
    Ok(eventually(code, async || ask(query, key, status, code).await).await)
}
