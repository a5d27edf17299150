//! What the API server refuses: a quota and a policy of the cluster that Keywright does not know.

use k8s_openapi::api::admissionregistration::v1::{ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding};
use k8s_openapi::api::core::v1::{ResourceQuota, Secret};
use keywright::api::ApiKey;
use keywright::key::Owner;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use super::support::eventually;
use super::support::space::Space;
use super::{revealed, run, show_for, shown};

/// Makes a quota of Secrets say that so many are allowed, and as many as there are in use. No controller counts here.
async fn allow_secrets(space: &Space, hard: i64) {
    let quotas = Api::<ResourceQuota>::namespaced(space.client.clone(), &space.name);
    let hard = json!({"count/secrets": hard.to_string()});
    let quota = json!({"metadata": {"name": "secrets"}, "spec": {"hard": hard}});
    if quotas.get_opt("secrets").await.unwrap().is_none() {
        quotas.create(&PostParams::default(), &serde_json::from_value(quota.clone()).unwrap()).await.unwrap();
    }
    quotas.patch("secrets", &PatchParams::default(), &Patch::Merge(&quota)).await.unwrap();
    let used = space.secrets().list(&ListParams::default()).await.unwrap().items.len();
    let status = json!({"status": {"hard": hard, "used": {"count/secrets": used.to_string()}}});
    quotas.patch_status("secrets", &PatchParams::default(), &Patch::Merge(status)).await.unwrap();
    let (allowed, probe) = (hard_allows(used, &quota), json!({"metadata": {"generateName": "probe-"}}));
    let probe: Secret = serde_json::from_value(probe).unwrap();
    let dry_run = PostParams { dry_run: true, ..PostParams::default() };
    eventually("the quota counts", async || {
        let is_allowed = space.secrets().create(&dry_run, &probe).await.is_ok();
        if is_allowed == allowed { Ok(()) } else { Err(format!("a Secret more is allowed: {is_allowed}")) }
    })
    .await;
}

fn hard_allows(used: usize, quota: &Value) -> bool {
    quota["spec"]["hard"]["count/secrets"].as_str().unwrap().parse::<usize>().unwrap() > used
}

/// A policy of the cluster about the Secrets of one namespace. Dropped, it stays; its namespace is this test's alone.
struct Policy<'s> {
    space: &'s Space,
    name: String,
}

impl<'s> Policy<'s> {
    /// Makes one for a namespace, and waits until `probe` is refused by it.
    async fn start(
        space: &'s Space,
        namespace: &str,
        (operations, expression, message): (&[&str], &str, &str),
        probe: impl AsyncFn() -> kube::Result<()>,
    ) -> Self {
        let name = format!("{}-cluster-rule", space.name);
        let rules =
            json!([{"apiGroups": [""], "apiVersions": ["v1"], "resources": ["secrets"], "operations": operations}]);
        let policy = json!({"metadata": {"name": name}, "spec": {
            "matchConstraints": {"resourceRules": rules,
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}}},
            "validations": [{"expression": expression, "messageExpression": message}]}});
        let binding = json!({"metadata": {"name": name}, "spec": {"policyName": name, "validationActions": ["Deny"]}});
        let policies = Api::<ValidatingAdmissionPolicy>::all(space.client.clone());
        policies.create(&PostParams::default(), &serde_json::from_value(policy).unwrap()).await.unwrap();
        let bindings = Api::<ValidatingAdmissionPolicyBinding>::all(space.client.clone());
        bindings.create(&PostParams::default(), &serde_json::from_value(binding).unwrap()).await.unwrap();
        eventually("the policy refuses", async || match probe().await {
            Ok(()) => Err("it allows".to_owned()),
            Err(error) if error.to_string().contains(&name) => Ok(()),
            Err(error) => Err(error.to_string()),
        })
        .await;
        Self { space, name }
    }

    async fn end(self) {
        let bindings = Api::<ValidatingAdmissionPolicyBinding>::all(self.space.client.clone());
        bindings.delete(&self.name, &DeleteParams::default()).await.unwrap();
        let policies = Api::<ValidatingAdmissionPolicy>::all(self.space.client.clone());
        policies.delete(&self.name, &DeleteParams::default()).await.unwrap();
    }
}

/// A write of a Secret of no one's, which the API server would take but for a policy. Not stored.
async fn probe(space: &Space, namespace: &str, labels: Value) -> kube::Result<()> {
    let secrets = Api::<Secret>::namespaced(space.client.clone(), namespace);
    let secret = json!({"metadata": {"generateName": "probe-", "labels": labels}});
    let dry_run = PostParams { dry_run: true, ..PostParams::default() };
    secrets.create(&dry_run, &serde_json::from_value(secret).unwrap()).await.map(drop)
}

/// Refuses every write of a Secret, and no dry run.
async fn closed_to_writes(space: &Space) -> Policy<'_> {
    let only_dry_runs = "request.dryRun && object.metadata.?generateName.orValue('') == ''";
    let rule: (&[&str], _, _) = (&["CREATE", "UPDATE"], only_dry_runs, "'closed for audit'");
    Policy::start(space, &space.name, rule, async || probe(space, &space.name, json!({})).await).await
}

fn message(key: &ApiKey, condition: &str) -> String {
    let conditions = &key.status.as_ref().unwrap().conditions;
    conditions.iter().find(|said| said.type_ == condition).unwrap().message.clone()
}

async fn rotate(space: &Space, rotation: Value) {
    space.patch_key("storefront", json!({"spec": {"rotation": rotation}})).await;
}

#[tokio::test]
async fn a_full_quota_of_secrets_does_not_stop_a_rotation() {
    let (space, both) = run().await;
    let old = space.ready_key("storefront").await;
    allow_secrets(&space, 1).await;
    rotate(&space, json!({"revision": 1})).await;
    space.until_serial("storefront", 2).await;
    let new = space.value("storefront", "api-key").await;
    assert_ne!(new, old);
    both.verifier.eventually_says("ok", "scope=any", &new).await;
}

#[tokio::test]
async fn a_full_quota_of_secrets_is_reported_with_the_api_servers_words() {
    let (space, _both) = run().await;
    allow_secrets(&space, 0).await;
    space.key("storefront", json!({"account": "acme", "accessLevel": "Full"})).await;
    let key = space.until_ready_is("storefront", "SecretRefused").await;
    let words = "exceeded quota: secrets, requested: count/secrets=1, used: count/secrets=0, limited: count/secrets=0";
    assert!(message(&key, "Ready").contains(words), "{}", message(&key, "Ready"));
    space.until_state_is("storefront", "Pending").await;
    let event = space.event("storefront", "SecretRefused").await;
    assert!(event.message.as_deref().unwrap_or_default().contains(words), "{event:?}");
    allow_secrets(&space, 1).await;
    space.until_ready_is("storefront", "Issued").await;
}

#[tokio::test]
async fn a_leaked_value_whose_successor_is_refused_is_reported_as_expired() {
    let (space, both) = run().await;
    let leaked = space.ready_key("storefront").await;
    let policy = closed_to_writes(&space).await;
    rotate(&space, json!({"revision": 1, "revokeBefore": jiff::Timestamp::now()})).await;
    both.verifier.eventually_says("revoked", "scope=any", &leaked).await;
    let key = space.until_ready_is("storefront", "SecretRefused").await;
    assert!(message(&key, "Ready").contains("closed for audit"), "{}", message(&key, "Ready"));
    space.until_state_is("storefront", "Expired").await;
    policy.end().await;
    space.until_serial("storefront", 2).await;
    space.until_state_is("storefront", "Active").await;
}

#[tokio::test]
async fn a_policy_that_quotes_the_value_is_not_repeated() {
    let (space, _both) = run().await;
    let quoting = "'not ' + string(object.?data['api-key'].orValue('bXVjaA=='))";
    let policy = Policy::start(&space, &space.name, (&["CREATE"], "false", quoting), async || {
        probe(&space, &space.name, json!({})).await
    })
    .await;
    space.key("storefront", json!({"account": "acme", "accessLevel": "Full"})).await;
    let key = space.until_ready_is("storefront", "SecretRefused").await;
    assert!(message(&key, "Ready").contains("its words quote the value and are not repeated"), "{key:?}");
    policy.end().await;
    space.until_ready_is("storefront", "Issued").await;
}

#[tokio::test]
async fn a_secret_that_the_api_server_does_not_show_is_reported_as_unknown_and_disabling_goes_on() {
    let (space, both) = run().await;
    let value = space.ready_key("storefront").await;
    let policy = Policy::start(
        &space,
        &space.name,
        (&["CREATE", "UPDATE"], "false", "'every Secret needs a team'"),
        async || probe(&space, &space.name, json!({})).await,
    )
    .await;
    space.patch_key("storefront", json!({"spec": {"disabled": true}})).await;
    space.until_state_is("storefront", "Disabled").await;
    let key = space.until("storefront", "SecretAvailable", "SecretRefused").await;
    assert!(message(&key, "SecretAvailable").contains("every Secret needs a team"), "{key:?}");
    both.verifier.eventually_says("disabled", "scope=any", &value).await;
    policy.end().await;
    space.until("storefront", "SecretAvailable", "Delivered").await;
}

#[tokio::test]
async fn a_value_shown_once_whose_removal_is_refused_is_reported() {
    let (space, _both) = run().await;
    shown(&space).await;
    // The look passes, and the write does not.
    let policy = closed_to_writes(&space).await;
    show_for(&space, "1s").await;
    let key = space.until_ready_is("storefront", "SecretRefused").await;
    assert!(message(&key, "Ready").contains("closed for audit"), "{}", message(&key, "Ready"));
    assert!(message(&key, "SecretAvailable").contains("holds the value still"), "{key:?}");
    policy.end().await;
    space.until("storefront", "SecretAvailable", "Revealed").await;
    assert!(space.secrets().get_opt("storefront").await.unwrap().is_none());
}

#[tokio::test]
async fn a_record_that_is_refused_is_reported() {
    let (space, _both) = run().await;
    let owner = Owner { namespace: space.name.clone(), name: "storefront".to_owned(), uid: String::new() };
    let label = json!({"keywright.dev/owner": owner.label()});
    let expression = format!("object.metadata.?labels['keywright.dev/owner'].orValue('') != '{}'", owner.label());
    let policy = Policy::start(&space, "keywright-entries", (&["CREATE"], &expression, "'no room'"), async || {
        probe(&space, "keywright-entries", label.clone()).await
    })
    .await;
    space.key("storefront", json!({"account": "acme", "accessLevel": "Full"})).await;
    let key = space.until_ready_is("storefront", "RecordRefused").await;
    assert!(message(&key, "Ready").contains("no room"), "{}", message(&key, "Ready"));
    assert!(key.status.unwrap().key_id.is_none() && key.metadata.uid.is_some());
    policy.end().await;
    space.until_ready_is("storefront", "Issued").await;
}

#[tokio::test]
async fn a_value_is_shown_again_after_its_secret_was_refused() {
    let (space, both) = run().await;
    revealed(&space).await;
    allow_secrets(&space, 0).await;
    show_for(&space, "1h").await;
    rotate(&space, json!({"revision": 1})).await;
    space.until_ready_is("storefront", "SecretRefused").await;
    allow_secrets(&space, 1).await;
    let key = space.until_serial("storefront", 2).await;
    assert_eq!(key.name_any(), "storefront");
    let value = space.value("storefront", "api-key").await;
    both.verifier.eventually_says("ok", "scope=any", &value).await;
}
