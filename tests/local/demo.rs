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
spec: {accessLevel: Full}
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
spec: {account: acme, accessLevel: Custom, scopes: ["orders:read"]}
"#;

pub async fn demo() -> Result<()> {
    let mut steps = 0;
    let mut step = |what: &str| {
        steps += 1;
        println!("{steps:>3}. {what}");
    };
    if http::get(&format!("127.0.0.1:{VERIFIER}"), "/", &[]).await.is_err() {
        return Err("nothing answers on 127.0.0.1:7070; run `make up` first".into());
    }
    let _ = kubectl(&["delete", "namespace", NAMESPACE, "--ignore-not-found", "--wait=true"])?;

    apply(ACCOUNT)?;
    apply(KEY)?;
    step("An Account and an ApiKey are applied from YAML.");

    wait_ready("storefront")?;
    let owner = get("secret/storefront", "{.metadata.ownerReferences[0].kind}/{.metadata.ownerReferences[0].name}")?;
    expect("the Secret's owner", &owner, "ApiKey/storefront")?;
    let old = value("storefront")?;
    step(&format!("Secret demo/storefront appears, owned by the ApiKey, with the value in `api-key`: {}…", &old[..16]));

    let answer = until("scope=orders:write", Some(&old), 200, "ok").await?;
    let mut identity = String::new();
    for name in ["x-keywright-account", "x-keywright-key", "x-keywright-key-id", "x-keywright-scopes"] {
        let value = answer.header(name).ok_or_else(|| format!("the answer has no {name}"))?;
        write!(identity, "\n       {name}: {value}")?;
    }
    step(&format!("A call with it gets 200 and says who calls:{identity}"));

    ask("scope=orders:write", None, 401, "missing").await?;
    step("A call without gets 401 missing.");

    let patch = |disabled: bool| {
        let patch = format!("{{\"spec\":{{\"disabled\":{disabled}}}}}");
        kubectl(&["patch", "apikey", "storefront", "-n", NAMESPACE, "--type=merge", "-p", &patch])
    };
    patch(true)?;
    let late = at_once("scope=orders:write", &old, 401, "disabled").await?;
    step(&format!("disabled: true, and calls get 401 disabled {late} after kubectl returned."));

    patch(false)?;
    let late = at_once("scope=orders:write", &old, 200, "ok").await?;
    step(&format!("disabled: false, and calls get 200 {late} after kubectl returned; the value is the same."));

    apply(CUSTOM_KEY)?;
    wait_ready("exporter")?;
    let custom = value("exporter")?;
    until("scope=orders:read", Some(&custom), 200, "ok").await?;
    ask("scope=orders:write", Some(&custom), 403, "insufficient_scope").await?;
    step("A Custom key with orders:read gets 200 for that and 403 for orders:write.");

    kubectl(&["delete", "apikey", "storefront", "-n", NAMESPACE])?;
    let late = at_once("scope=orders:write", &old, 401, "unknown").await?;
    step(&format!("kubectl delete, and calls get 401 unknown {late} after kubectl returned."));

    apply(KEY)?;
    wait_ready("storefront")?;
    let new = value("storefront")?;
    if new == old {
        return Err("the re-created key has the old value".into());
    }
    until("scope=orders:write", Some(&new), 200, "ok").await?;
    ask("scope=orders:write", Some(&old), 401, "unknown").await?;
    step("Re-created under the same name it has another value; the old one stays 401.");

    println!("\nThat was the life of a key. All {steps} steps did what they should.");
    Ok(())
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
