//! Each right is taken away once, and something that people would miss does not happen.

//!
//! An attempt of the program after that must have been refused, and when the right is given back, it happens.

use std::fs;

use serde_json::{Value, json};

use super::audit::Audited;
use super::covers;
use super::deeds::{Stage, missed};
use super::life::VALUES;
use super::programs::{operator, verifier};
use super::support::chart::render;
use super::support::eventually;
use super::support::keywright::Running;
use super::support::rights::{Right, granted};
use super::support::space::Space;

const OPERATOR: &str = "keywright-operator";
const VERIFIER: &str = "keywright-verifier";

fn rights_of(account: &str) -> Vec<Right> {
    granted(&render(VALUES)).into_iter().filter(|right| right.account == account).collect()
}

/// One rule for each right.
fn rules<'r>(rights: impl Iterator<Item = &'r Right>) -> Vec<Value> {
    let rule = |right: &Right| {
        let (resource, group) = right.resource.split_once('.').unwrap_or((&right.resource, ""));
        let names: Vec<&String> = right.name.iter().collect();
        json!({"apiGroups": [group], "resources": [resource], "resourceNames": names, "verbs": [right.verb]})
    };
    rights.map(rule).collect()
}

/// The roles of an account, with these rights, instead of those that are there.
fn give(audited: &Audited, account: &str, rights: &[&Right]) {
    let mut items = Vec::new();
    for namespace in [None, Some("keywright-entries"), Some("keywright-system")] {
        let of = rights.iter().copied().filter(|right| right.namespace.as_deref() == namespace);
        let kind = if namespace.is_some() { "Role" } else { "ClusterRole" };
        let meta = json!({"name": account, "namespace": namespace});
        let group = "rbac.authorization.k8s.io";
        let version = format!("{group}/v1");
        items.push(json!({"apiVersion": version, "kind": kind, "metadata": meta, "rules": rules(of)}));
        let subject = json!({"kind": "ServiceAccount", "name": account, "namespace": "keywright-system"});
        items.push(
            json!({"apiVersion": version, "kind": format!("{kind}Binding"), "metadata": meta, "subjects": [subject],
            "roleRef": {"apiGroup": group, "kind": kind, "name": account}}),
        );
    }
    let list = json!({"apiVersion": "v1", "kind": "List", "items": items});
    let file = audited.cluster.plane.dir.join(format!("{account}.rights.json"));
    fs::write(&file, list.to_string()).unwrap();
    let apply = ["apply", "--server-side", "--force-conflicts", "-f", &file.display().to_string()];
    audited.cluster.plane.kubectl(&apply).unwrap();
}

/// Waits until the API server goes by it that an account has a right, or that it has it no more.
async fn acts(audited: &Audited, account: &str, right: &Right, may: bool) {
    let (resource, group) = right.resource.split_once('.').unwrap_or((&right.resource, ""));
    let (resource, sub) = resource.split_once('/').unwrap_or((resource, ""));
    let attributes = json!({"verb": right.verb, "group": group, "resource": resource, "subresource": sub, "name": right.name,
        "namespace": right.namespace.as_deref().unwrap_or("shop")});
    let user = format!("system:serviceaccount:keywright-system:{account}");
    let review = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
        "spec": {"user": user, "resourceAttributes": attributes}});
    let client = audited.cluster.plane.client().await.unwrap();
    eventually(&format!("{right:?} is {may}"), async || {
        let request = http::Request::post("/apis/authorization.k8s.io/v1/subjectaccessreviews");
        let request = request.header("content-type", "application/json").body(serde_json::to_vec(&review).unwrap());
        let answer: Value = client.request(request.unwrap()).await.map_err(|error| error.to_string())?;
        if answer["status"]["allowed"] == may { Ok(()) } else { Err(answer.to_string()) }
    })
    .await;
}

/// Waits until a request for what the right is for is refused that was not refused before.
async fn refused_anew(audited: &Audited, right: &Right, before: usize) {
    eventually(&format!("without {right:?} it is refused"), async || {
        let of = |(used, message): &(_, String)| match right.verb.as_str() {
            "bind" => message.contains("attempting to grant RBAC permissions not currently held"),
            _ => covers(right, used),
        };
        let refusals = audited.refusals();
        if refusals[before..].iter().any(of) { Ok(()) } else { Err(format!("{:?}", refusals.last())) }
    })
    .await;
}

/// Takes each right of an account away once, and gives it back.
async fn each_is_missed(name: &str, account: &'static str) {
    let audited = Audited::start(name, &[], VALUES).await;
    let all = rights_of(account);
    let whole: Vec<&Right> = all.iter().collect();
    give(&audited, account, &whole);
    for right in &all {
        acts(&audited, account, right, true).await;
    }
    let rendered = render(VALUES);
    let cluster = &audited.cluster;
    // Before an operator has made the pepper, no verifier is ready.
    let first = operator(cluster, &rendered).await.ready().await;
    let other: Running = match account {
        OPERATOR => {
            let verifier = verifier(cluster, &rendered).await.ready().await;
            first.process.terminate().unwrap();
            verifier
        }
        _ => first,
    };
    for right in &all {
        let deed = missed(right);
        let space = Space::new(cluster).await;
        let stage = Stage { audited: &audited, space: &space };
        if account == VERIFIER {
            space.ready_key("storefront").await;
        }
        let rest: Vec<&Right> = all.iter().filter(|one| *one != right).collect();
        give(&audited, account, &rest);
        acts(&audited, account, right, false).await;
        let refused = audited.refusals().len();
        let role = match account {
            OPERATOR => operator(cluster, &rendered).await,
            _ => verifier(cluster, &rendered).await,
        };
        let value = stage.trigger(deed, &role).await;
        refused_anew(&audited, right, if deed.is_tried_once() { refused } else { audited.refusals().len() }).await;
        assert!(stage.is_done(deed, &role, &value).await.is_err(), "{deed:?} happens without {right:?}");
        give(&audited, account, &whole);
        if !deed.is_tried_once() {
            let happens = format!("with {right:?} again: {deed:?}");
            eventually(&happens, async || stage.is_done(deed, &role, &value).await).await;
        }
        role.process.kill();
        acts(&audited, account, right, true).await;
        // What a killed process holds would be waited for.
        let of_all = [
            "delete",
            "leases",
            "--all",
            "-n",
            if account == OPERATOR { "keywright-system" } else { "keywright-entries" },
        ];
        cluster.plane.kubectl(&of_all).unwrap();
    }
    other.process.kill();
}

#[tokio::test]
async fn something_is_missed_when_any_right_of_the_operator_is_taken_away() {
    each_is_missed("operator", OPERATOR).await;
}

#[tokio::test]
async fn something_is_missed_when_any_right_of_the_verifier_is_taken_away() {
    each_is_missed("verifier", VERIFIER).await;
}
