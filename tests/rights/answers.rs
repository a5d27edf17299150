//! Requests whose answers could carry a Secret's data: each kind that the discovery document and the operator's rights
//! allow, sent against Secrets that hold a canary value. No answer may contain the canary.

#[path = "answers/requests.rs"]
mod requests;
#[path = "answers/targets.rs"]
mod targets;

use std::collections::BTreeSet;

use axum::http::Request;
use data_encoding::BASE64;
use futures::{StreamExt, stream};
use kube::client::Body;
use serde_json::{Value, json};

use super::support::chart::render;
use super::support::rights::{Right, granted, with_group};
use super::{Caller, MARKER, Scene, ask, scene, secret, secrets};
use requests::{ACCEPTS, Shot, bodies, creations, deletions, of_verb, sweep, updates};
use targets::{Target, targets};

/// The most requests that are under way at once.
const AT_ONCE: usize = 16;

/// Returns true if the bytes contain the canary, raw or in base64 at any of its three alignments.
fn holds_the_canary(bytes: &[u8]) -> bool {
    let contains = |needle: &[u8]| bytes.windows(needle.len()).any(|window| window == needle);
    // Messages are cut, so the beginning is enough.
    let aligned = (0..3).map(|before| {
        let encoded = BASE64.encode(&[&b"---"[..before], MARKER.as_bytes()].concat());
        // The first group mixes the canary with its neighbour.
        encoded[4 * usize::from(before > 0)..][..12].to_owned()
    });
    contains(&MARKER.as_bytes()[..12]) || aligned.into_iter().any(|text| contains(text.as_bytes()))
}

impl Caller {
    /// The whole answer: status, headers and body.
    async fn fire(&self, shot: &Shot) -> (u16, Vec<u8>) {
        let mut request = Request::builder().method(shot.method).uri(&shot.path);
        for (name, value) in &shot.headers {
            request = request.header(*name, value);
        }
        let answer = self.client.send(request.body(Body::from(shot.body.clone())).unwrap()).await.unwrap();
        let status = answer.status().as_u16();
        let mut all = format!("{:?}\n", answer.headers()).into_bytes();
        all.extend(answer.into_body().collect_bytes().await.unwrap());
        (status, all)
    }

    /// Sends all of them and returns those whose answer contains the canary.
    async fn fire_all(&self, shots: Vec<Shot>) -> Vec<String> {
        let fired = stream::iter(shots).map(async |shot| {
            let (status, answer) = self.fire(&shot).await;
            holds_the_canary(&answer).then(|| format!("{status} to {shot}"))
        });
        fired.buffer_unordered(AT_ONCE).filter_map(async |leak| leak).collect().await
    }
}

async fn place(admin: &Caller, namespace: &str, target: &Target) {
    let path = secret(namespace, &target.name);
    admin.may(ask("POST", &secrets(namespace)).with(&target.object)).await;
    if target.is_deleted {
        admin.may(ask("DELETE", &path)).await;
    }
}

async fn versions(admin: &Caller, namespace: &str) -> BTreeSet<(String, String)> {
    let list = admin.may(ask("GET", &secrets(namespace))).await;
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let items = list["items"].as_array().unwrap();
    items.iter().map(|item| (text(&item["metadata"]["name"]), text(&item["metadata"]["resourceVersion"]))).collect()
}

/// Fails with the first of the leaks, and their number.
#[track_caller]
fn assert_none(leaks: &[String]) {
    let first = &leaks[..leaks.len().min(10)];
    assert!(leaks.is_empty(), "{} answers contain the canary: {first:#?}", leaks.len());
}

#[tokio::test]
async fn canary_is_found_in_answers_that_hold_it() {
    let Scene { namespace, admin, .. } = scene().await;
    let path = secret(&namespace, "foreign");
    let mut forms = Vec::new();
    for accept in ACCEPTS.into_iter().filter(|accept| !accept.contains("Partial")) {
        let shot = Shot::new("GET", &format!("{path}?includeObject=Object")).header("accept", accept);
        let (status, answer) = admin.fire(&shot).await;
        // Not every API server has every form.
        if status != 406 {
            assert!(holds_the_canary(&answer), "{accept}: {status} {}", String::from_utf8_lossy(&answer));
            forms.push(accept);
        }
    }
    assert!(forms.len() >= 4, "{forms:?}");
    // Should the API server stop answering so, the tests of deletions would guard against nothing.
    for policy in ["Foreground", "Orphan"] {
        let shot = Shot::new("DELETE", &path).json(&json!({"propagationPolicy": policy, "dryRun": ["All"]}));
        let (status, answer) = admin.fire(&shot).await;
        assert!(status == 200 && holds_the_canary(&answer), "{policy}: {status}");
    }
}

#[tokio::test]
async fn deletions_of_a_secret_with_a_value_answer_no_value() {
    let Scene { namespace, admin, operator, .. } = scene().await;
    for target in targets() {
        place(&admin, &namespace, &target).await;
    }
    let before = versions(&admin, &namespace).await;
    let mut leaks = Vec::new();
    for target in targets() {
        leaks.extend(operator.fire_all(deletions(&secret(&namespace, &target.name))).await);
    }
    assert_none(&leaks);
    assert_eq!(versions(&admin, &namespace).await, before, "none was deleted or marked as deleted");
}

#[tokio::test]
async fn updates_and_creations_answer_no_value_of_another() {
    let Scene { namespace, admin, operator, .. } = scene().await;
    let mut leaks = Vec::new();
    for target in targets() {
        place(&admin, &namespace, &target).await;
        let (one, all) = (secret(&namespace, &target.name), secrets(&namespace));
        leaks.extend(operator.fire_all(updates(&one, &target)).await);
        for query in ["dryRun=All", ""] {
            leaks.extend(operator.fire_all(creations(&all, &target, query)).await);
        }
    }
    assert_none(&leaks);
}

#[tokio::test]
async fn updates_that_are_stored_answer_no_value() {
    let Scene { namespace, admin, operator, .. } = scene().await;
    let mut leaks = Vec::new();
    for mut target in targets() {
        let name = target.name.clone();
        // Each meets the Secret as it was.
        for number in 0..bodies(&target).len() {
            target.rename(format!("{name}-{number}"));
            place(&admin, &namespace, &target).await;
            let one = secret(&namespace, &target.name);
            let foreground = json!({"propagationPolicy": "Foreground"});
            let put = Shot::new("PUT", &one).json(&bodies(&target)[number]);
            // In this order: what the update left is deleted.
            for shot in [put, Shot::new("DELETE", &one).json(&foreground)] {
                leaks.extend(operator.fire_all(vec![shot]).await);
            }
        }
    }
    assert_none(&leaks);
}

/// What discovery lists: the path of its group version, its name with the subresource, its group, whether it is namespaced.
struct Resource {
    base: String,
    name: String,
    group: String,
    is_namespaced: bool,
}

async fn discovered(admin: &Caller) -> Vec<Resource> {
    let groups = admin.may(ask("GET", "/apis")).await;
    let versions = groups["groups"].as_array().unwrap().iter().flat_map(|group| {
        let versions = group["versions"].as_array().unwrap().iter();
        versions.map(|version| format!("/apis/{}", version["groupVersion"].as_str().unwrap()))
    });
    let mut all = Vec::new();
    for base in versions.chain(["/api/v1".to_owned()]) {
        let list = admin.may(ask("GET", &base)).await;
        let group = base.strip_prefix("/apis/").and_then(|rest| rest.split('/').next()).unwrap_or_default();
        all.extend(list["resources"].as_array().unwrap().iter().map(|one| Resource {
            base: base.clone(),
            name: one["name"].as_str().unwrap().to_owned(),
            group: group.to_owned(),
            is_namespaced: one["namespaced"].as_bool().unwrap(),
        }));
    }
    all
}

impl Resource {
    fn full_name(&self) -> String {
        with_group(&self.name, &self.group)
    }

    /// The collection, an object of this name in it, and the subresource.
    fn paths(&self, namespace: &str, name: &str) -> (String, String) {
        let place = if self.is_namespaced { format!("/namespaces/{namespace}") } else { String::new() };
        let (plural, sub) = self.name.split_once('/').map_or((&self.name[..], ""), |(plural, sub)| (plural, sub));
        let all = format!("{}{place}/{plural}", self.base);
        let one = [&all, name, sub].into_iter().filter(|part| !part.is_empty()).map(str::to_owned);
        (all.clone(), one.collect::<Vec<_>>().join("/"))
    }
}

#[tokio::test]
async fn each_right_of_the_operator_answers_no_value() {
    let Scene { namespace, admin, operator, .. } = scene().await;
    let discovered = discovered(&admin).await;
    let rights = granted(&render(&[])).into_iter().filter(|right| right.account == "keywright-operator");
    // `bind` is no verb of a request.
    let rights: Vec<Right> = rights.filter(|right| right.verb != "bind").collect();
    let mut leaks = Vec::new();
    for right in &rights {
        let versions: Vec<_> = discovered.iter().filter(|one| one.full_name() == right.resource).collect();
        assert!(!versions.is_empty(), "the discovery document does not list {right:?}");
        for resource in versions {
            let place = right.namespace.as_deref().unwrap_or(&namespace);
            let name = right.name.as_deref().unwrap_or("foreign");
            let (all, one) = resource.paths(place, name);
            leaks.extend(operator.fire_all(of_verb(&right.verb, &all, &one)).await);
        }
    }
    assert_none(&leaks);
}

#[tokio::test]
async fn resources_without_a_right_answer_no_value() {
    let Scene { namespace, admin, operator, .. } = scene().await;
    let mut shots = Vec::new();
    for resource in discovered(&admin).await {
        let (all, one) = resource.paths(&namespace, "foreign");
        shots.extend(sweep(&all, &one));
    }
    let paths = admin.may(ask("GET", "/")).await;
    shots.extend(paths["paths"].as_array().unwrap().iter().map(|path| Shot::new("GET", path.as_str().unwrap())));
    let impersonating = |who: &str| Shot::new("GET", &secret(&namespace, "foreign")).header("impersonate-user", who);
    shots.extend(["kubernetes-admin", "system:serviceaccount:kube-system:default"].map(impersonating));
    let count = shots.len();
    assert!(count > 1000, "the discovery document lists only enough for {count} requests");
    assert_none(&operator.fire_all(shots).await);
}
