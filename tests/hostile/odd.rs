//! One odd object at a time, from every role.

use super::*;

/// A value of `managedFields`.
fn managed_fields() -> Vec<(&'static str, String)> {
    let entry = |time: &str, fields: &str| {
        format!(
            r#"[{{"manager":"x","operation":"Update","apiVersion":"keywright.dev/v1alpha1","time":"{time}","fieldsType":"FieldsV1","fieldsV1":{fields}}}]"#
        )
    };
    let plain = r#"{"f:spec":{"f:account":{}}}"#;
    vec![
        ("a time that no library parses", entry("9999-12-31T23:59:59Z", plain)),
        ("the first year", entry("0001-01-01T00:00:00Z", plain)),
        ("a leap second", entry("2016-12-31T23:59:60Z", plain)),
        ("fields 200 deep", entry("2026-01-01T00:00:00Z", &nested(200))),
        ("fields 5000 deep", entry("2026-01-01T00:00:00Z", &nested(5000))),
        ("an empty entry", "[{}]".to_owned()),
        ("none", "[]".to_owned()),
        ("half a megabyte", entry("2026-01-01T00:00:00Z", &format!(r#"{{"f:{}":{{}}}}"#, "x".repeat(500_000)))),
    ]
}

/// Patches of metadata, by what is odd.
fn metadata() -> Vec<(String, String)> {
    let fields = managed_fields().into_iter();
    let mut all: Vec<_> = fields
        .map(|(what, fields)| {
            (format!("managedFields: {what}"), format!(r#"{{"metadata":{{"managedFields":{fields}}}}}"#))
        })
        .collect();
    let fat = "x".repeat(250_000);
    all.push(("a fat annotation".to_owned(), json!({"metadata": {"annotations": {"a": fat}}}).to_string()));
    let strange = "\u{0}\u{1}\u{feff}\u{202e}\"\\";
    all.push(("strange characters".to_owned(), json!({"metadata": {"annotations": {"a": strange}}}).to_string()));
    all.push(("half a surrogate".to_owned(), r#"{"metadata":{"annotations":{"a":"\ud800"}}}"#.to_owned()));
    let owner = json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "none", "uid": "none"});
    all.push(("a dangling owner".to_owned(), json!({"metadata": {"ownerReferences": [owner]}}).to_string()));
    all.push(("a finalizer".to_owned(), json!({"metadata": {"finalizers": ["example.com/hold"]}}).to_string()));
    all
}

/// Patches of an ApiKey's spec.
fn specs() -> Vec<(String, String)> {
    let mut all = vec![
        ("restrictions 200 deep".to_owned(), format!(r#"{{"spec":{{"restrictions":{}}}}}"#, nested(200))),
        ("a number out of range".to_owned(), r#"{"spec":{"restrictions":{"a":1e999}}}"#.to_owned()),
        ("a name of control characters".to_owned(), json!({"spec": {"displayName": "\u{0}\n\u{202e}"}}).to_string()),
    ];
    for time in
        ["9999-12-31T23:59:59Z", "0001-01-01T00:00:00Z", "2016-12-31T23:59:60Z", "2026-06-30T23:59:59.999999999999Z"]
    {
        all.push((format!("expiresAt {time}"), json!({"spec": {"expiresAt": time}}).to_string()));
        all.push((format!("revokeBefore {time}"), json!({"spec": {"rotation": {"revokeBefore": time}}}).to_string()));
    }
    for duration in ["99999999999h", "-1h", "1ns", "0s", "PT1H"] {
        all.push((format!("interval {duration}"), json!({"spec": {"rotation": {"interval": duration}}}).to_string()));
        all.push((format!("overlap {duration}"), json!({"spec": {"rotation": {"overlap": duration}}}).to_string()));
    }
    all
}

/// Creates an object for each patch and applies it. Returns how many were stored.
async fn store(space: &Space, person: &Person, resource: &str, patches: &[(String, String)]) -> usize {
    let mut stored = 0;
    for (number, (what, patch)) in patches.iter().enumerate() {
        let name = format!("odd-{number}");
        match resource {
            "apikeys" => drop(space.key(&name, json!({"account": "acme", "accessLevel": "Full"})).await),
            _ => space.account(&name, json!({"accessLevel": "Full"})).await,
        }
        let status = person.merge(resource, &name, patch.clone()).await;
        assert!([200, 400, 403, 413, 422, 500].contains(&status), "{what}: {status}");
        stored += usize::from(status == 200);
    }
    stored
}

#[tokio::test]
async fn odd_apikeys_of_each_role_disturb_no_other_tenant() {
    let (cluster, both) = (Cluster::shared().await, both().await);
    let patches = [metadata(), specs()].concat();
    for role in ["keywright-key-writer", "keywright-admin", "keywright-owner"] {
        let space = Space::new(cluster).await;
        space.account("acme", json!({"accessLevel": "Full"})).await;
        let person = Person::with_role(cluster, &space, role).await;
        eventually("the role counts", async || {
            let status = person.merge("apikeys", "none", "{}".to_owned()).await;
            if status == 404 { Ok(()) } else { Err(status.to_string()) }
        })
        .await;
        let stored = store(&space, &person, "apikeys", &patches).await;
        assert!(role == "keywright-key-writer" || stored >= 8, "{role} stored {stored}");
        another_tenant_is_served(cluster, &both.verifier, &format!("beside-{role}")).await;
    }
    assert_eq!(http::get(&both.verifier.admin, "/readyz", &[]).await.unwrap().status, 200);
    assert_eq!(http::get(&both.operator.admin, "/readyz", &[]).await.unwrap().status, 200);
}

#[tokio::test]
async fn odd_accounts_disturb_no_other_tenant() {
    let (cluster, both) = (Cluster::shared().await, both().await);
    for role in ["keywright-owner", "keywright-platform"] {
        let space = Space::new(cluster).await;
        let person = Person::with_role(cluster, &space, role).await;
        eventually("the role counts", async || {
            let status = person.merge("accounts", "none", "{}".to_owned()).await;
            if status == 404 { Ok(()) } else { Err(status.to_string()) }
        })
        .await;
        let stored = store(&space, &person, "accounts", &metadata()).await;
        assert!(role == "keywright-owner" || stored >= 8, "{role} stored {stored}");
        another_tenant_is_served(cluster, &both.verifier, &format!("beside-{role}")).await;
    }
}

#[tokio::test]
async fn odd_objects_that_are_there_keep_nobody_from_starting() {
    let cluster = Cluster::shared().await;
    let space = Space::new(cluster).await;
    space.account("acme", json!({"accessLevel": "Full"})).await;
    let admin = Person { client: space.client.clone(), namespace: space.name.clone() };
    store(&space, &admin, "apikeys", &[metadata(), specs()].concat()).await;
    let _held = neither().await;
    let operator = Running::operator(cluster, &[]).await.unwrap().ready().await;
    let verifier = Running::verifier(cluster, &[]).await.unwrap().ready().await;
    another_tenant_disables_a_key(cluster, &verifier, "after-a-start").await;
    assert_eq!(http::get(&operator.admin, "/readyz", &[]).await.unwrap().status, 200);
}

/// Adds a field to the schema of a resource, as a later version would.
fn add_field(cluster: &Cluster, resource: &str) {
    let path = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/later";
    let patch = json!([{"op": "add", "path": path, "value": {"type": "integer"}}]).to_string();
    let crd = format!("{resource}.keywright.dev");
    cluster.plane.kubectl(&["patch", "crd", &crd, "--type=json", "-p", &patch]).unwrap();
}

/// Changes the field of a later version until the verifier answers so and the status names the field. A watch that is older than
/// the schema does not show the field, and it may be the verifier's or the operator's.
async fn set_later_until(space: &Space, resource: &str, name: &str, (verifier, value, code): (&Running, &str, &str)) {
    let admin = Person { client: space.client.clone(), namespace: space.name.clone() };
    let later = std::cell::Cell::new(0);
    eventually(&format!("the verifier says {code}"), async || {
        later.set(later.get() + 1);
        let patch = json!({"spec": {"later": later.get()}}).to_string();
        assert_eq!(admin.merge(resource, name, patch).await, 200);
        let said = verifier.code("scope=any", value).await;
        let status = raw(space, resource, name).await.map_err(|e| e.to_string())?["status"].to_string();
        let is_named = status.contains("unknown field `later`");
        if said == code && is_named { Ok(()) } else { Err(format!("it says {said}, and the status {status}")) }
    })
    .await;
}

#[tokio::test]
async fn an_unreadable_key_is_refused_and_its_status_says_so() {
    let (cluster, both) = (Cluster::shared().await, both().await);
    let space = Space::new(cluster).await;
    let value = space.ready_key("storefront").await;
    both.verifier.eventually_says("ok", "scope=any", &value).await;
    add_field(cluster, "apikeys");
    set_later_until(&space, "apikeys", "storefront", (&both.verifier, &value, "unknown")).await;
    let status = until_state_is(&space, "storefront", "Invalid").await;
    let ready = status["conditions"].as_array().unwrap().iter().find(|c| c["type"] == "Ready").unwrap().clone();
    assert_eq!(ready["status"], "False");
    assert_eq!(ready["reason"], "InvalidSpec");
    assert!(ready["message"].as_str().unwrap().contains("unknown field `later`"), "{ready}");
    assert!(both.verifier.metric::<u64>("keywright_unreadable_objects_total").await > 0);
    assert!(both.operator.metric::<u64>("keywright_unreadable_objects_total").await > 0);
    assert_eq!(space.value("storefront", "api-key").await, value, "its Secret stays");
    let admin = Person { client: space.client.clone(), namespace: space.name.clone() };
    let without = json!({"spec": {"later": null}}).to_string();
    assert_eq!(admin.merge("apikeys", "storefront", without).await, 200);
    both.verifier.eventually_says("ok", "scope=any", &value).await;
    until_state_is(&space, "storefront", "Active").await;
}

#[tokio::test]
async fn an_unreadable_account_refuses_its_keys_only() {
    let (cluster, both) = (Cluster::shared().await, both().await);
    let space = Space::new(cluster).await;
    let value = space.ready_key("storefront").await;
    both.verifier.eventually_says("ok", "scope=any", &value).await;
    space.account("other", json!({"accessLevel": "Full"})).await;
    space.key("beside", json!({"account": "other", "accessLevel": "Full"})).await;
    space.until_ready_is("beside", "Issued").await;
    let beside = space.value("beside", "api-key").await;
    add_field(cluster, "accounts");
    set_later_until(&space, "accounts", "acme", (&both.verifier, &value, "account_not_found")).await;
    assert_eq!(both.verifier.code("scope=any", &beside).await, "ok");
    eventually("its status says so", async || {
        let account = raw(&space, "accounts", "acme").await.map_err(|e| e.to_string())?;
        let said = account["status"]["conditions"].to_string();
        if said.contains("unknown field `later`") { Ok(()) } else { Err(said) }
    })
    .await;
}

async fn raw(space: &Space, resource: &str, name: &str) -> kube::Result<Value> {
    let path = format!("/apis/keywright.dev/v1alpha1/namespaces/{}/{resource}/{name}", space.name);
    space.client.request(::http::Request::get(path).body(Vec::new()).unwrap()).await
}

/// Waits until a key has a state, and returns its status, read without the types of this version.
async fn until_state_is(space: &Space, name: &str, state: &str) -> Value {
    eventually(&format!("{name} is {state}"), async || {
        let key = raw(space, "apikeys", name).await.map_err(|e| e.to_string())?;
        if key["status"]["state"] == state { Ok(key["status"].clone()) } else { Err(key["status"].to_string()) }
    })
    .await
}

#[tokio::test]
async fn a_delivered_secrets_managed_fields_stop_no_rotation() {
    let (cluster, both) = (Cluster::shared().await, both().await);
    let space = Space::new(cluster).await;
    let old = space.ready_key("storefront").await;
    both.verifier.eventually_says("ok", "scope=any", &old).await;
    let admin = Person { client: space.client.clone(), namespace: space.name.clone() };
    for (what, fields) in managed_fields() {
        let patch = format!(r#"{{"metadata":{{"managedFields":{}}}}}"#, fields.replace("keywright.dev/v1alpha1", "v1"));
        let path = "/api/v1/namespaces/{ns}/secrets/storefront";
        let status = admin.send("PATCH", path, "application/merge-patch+json", patch).await;
        assert!([200, 400, 413, 422, 500].contains(&status), "{what}: {status}");
    }
    let now = jiff::Timestamp::now().to_string();
    space.patch_key("storefront", json!({"spec": {"rotation": {"revision": 1, "revokeBefore": now}}})).await;
    space.until_serial("storefront", 2).await;
    both.verifier.eventually_says("revoked", "scope=any", &old).await;
    let new = space.value("storefront", "api-key").await;
    both.verifier.eventually_says("ok", "scope=any", &new).await;
}

#[tokio::test]
async fn a_lease_with_odd_managed_fields_hides_no_other() {
    let (cluster, both) = (Cluster::shared().await, both().await);
    let admin = Person { client: cluster.plane.client().await.unwrap(), namespace: "keywright-entries".to_owned() };
    // As of a verifier that has applied nothing, and answers nothing after a millisecond.
    let annotations = json!({"keywright.dev/applied": "0,0,0,0", "keywright.dev/max-staleness-ms": "1"});
    let labels = json!({"app.kubernetes.io/component": "verifier"});
    let lease = json!({"metadata": {"name": "odd", "labels": labels, "annotations": annotations}, "spec": {}});
    let path = "/apis/coordination.k8s.io/v1/namespaces/{ns}/leases";
    assert_eq!(admin.send("POST", path, "application/json", lease.to_string()).await, 200);
    let odd = managed_fields().swap_remove(0).1.replace("keywright.dev/v1alpha1", "coordination.k8s.io/v1");
    let patch = format!(r#"{{"metadata":{{"managedFields":{odd}}}}}"#);
    let odd = format!("{path}/odd");
    // It may have been collected already.
    let status = admin.send("PATCH", &odd, "application/merge-patch+json", patch).await;
    assert!([200, 404].contains(&status), "{status}");
    another_tenant_is_served(cluster, &both.verifier, "beside-a-lease").await;
    eventually("the Lease is collected", async || {
        let status = admin.send("GET", &odd, "application/json", String::new()).await;
        if status == 404 { Ok(()) } else { Err(status.to_string()) }
    })
    .await;
}

#[tokio::test]
async fn a_members_rolebinding_with_odd_managed_fields_is_mended() {
    let (cluster, both) = (Cluster::shared().await, both().await);
    let _held = &both.operator;
    let space = Space::new(cluster).await;
    let members = json!([{"kind": "User", "name": "ada", "role": "Owner"}]);
    space.account("acme", json!({"accessLevel": "Full", "members": members})).await;
    let admin = Person { client: space.client.clone(), namespace: space.name.clone() };
    let path = "/apis/rbac.authorization.k8s.io/v1/namespaces/{ns}/rolebindings/keywright-members-owner";
    let odd = managed_fields().swap_remove(0).1.replace("keywright.dev/v1alpha1", "rbac.authorization.k8s.io/v1");
    let patch = format!(r#"{{"metadata":{{"managedFields":{odd}}},"subjects":[]}}"#);
    eventually("the binding is there", async || {
        let status = admin.send("PATCH", path, "application/merge-patch+json", patch.clone()).await;
        if status == 200 { Ok(()) } else { Err(status.to_string()) }
    })
    .await;
    space.patch_account("acme", json!({"spec": {"disabled": true}})).await;
    eventually("the member is back", async || {
        let binding = cluster.plane.kubectl(&[
            "get",
            "rolebinding",
            "keywright-members-owner",
            "-n",
            &space.name,
            "-o",
            "jsonpath={.subjects}",
        ]);
        let binding = binding.map_err(|e| e.to_string())?;
        if binding.contains("ada") { Ok(()) } else { Err(binding) }
    })
    .await;
}
