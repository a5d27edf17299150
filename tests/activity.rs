//! How keys are used, as their status says it: exact to the call, whatever happens between the verifiers and the API server.

#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "activity/between.rs"]
mod between;
#[path = "activity/exact.rs"]
mod exact;
#[path = "activity/faults.rs"]
mod faults;
#[path = "activity/fixture.rs"]
mod fixture;
#[path = "activity/loss.rs"]
mod loss;
#[path = "activity/races.rs"]
mod races;
#[path = "support/mod.rs"]
mod support;

use fixture::{operator, until_totals, verifier};
use keywright::api::{Activity, Requests};
use serde_json::json;
use support::cluster::Cluster;
use support::space::Space;

fn requests(allowed: i64, denied: i64) -> Requests {
    Requests { allowed, denied }
}

#[tokio::test]
async fn the_status_of_a_key_says_how_often_and_when_and_by_whom_it_was_used() {
    let cluster = Cluster::shared().await;
    let (_operator, verifier) = (operator().await, verifier(cluster, &[]).await);
    let space = Space::new(cluster).await;
    let key = space.ready_key("storefront").await;
    verifier.eventually_says("ok", "scope=any", &key).await;
    let bearer = format!("Bearer {key}");
    for agent in ["curl/8.5.0", "Mozilla/5.0 (X11; Linux x86_64)", "curl/8.5.0", "evil\u{7f}\u{1}"] {
        verifier.auth("scope=orders:read", &[("Authorization", &bearer), ("User-Agent", agent)]).await;
    }
    let activity: Activity = until_totals(&space, "storefront", |total| total.allowed >= 4).await;
    let names: Vec<&str> = activity.sources.iter().map(|source| source.name.as_str()).collect();
    assert!(names.contains(&"curl/8.5.0") && names.contains(&"Mozilla/5.0"), "{names:?}");
    assert!(names.iter().all(|name| name.bytes().all(|byte| byte.is_ascii_graphic())), "{names:?}");
    let used = activity.last_used_at.unwrap();
    assert!(used.0 <= activity.as_of.0 && activity.last_denied_at.is_none());
    assert_eq!((activity.values.len(), activity.hours.len(), activity.days.len()), (1, 1, 1));
    assert_eq!((&*activity.values[0].key_id, &activity.values[0].last_used_at), (&key[3..15], &used));
    assert_eq!(activity.hours[0].requests, activity.requests);
    assert_eq!((activity.writers.len(), activity.writers[0].sequence), (1, 1));
}

#[tokio::test]
async fn networks_are_noted_only_on_request_and_only_from_the_header_that_the_gateway_sets() {
    let cluster = Cluster::shared().await;
    let _operator = operator().await;
    let quiet = verifier(cluster, &["--activity-sources=none"]).await;
    let curious = verifier(cluster, &["--activity-sources=networks", "--client-header=X-Real-IP"]).await;
    let space = Space::new(cluster).await;
    for (name, verifier) in [("quiet", &quiet), ("curious", &curious)] {
        let key = space.ready_key(name).await;
        verifier.eventually_says("ok", "scope=any", &key).await;
        let bearer = format!("Bearer {key}");
        for client in ["203.0.113.77", "203.0.113.78", "2001:db8:aaaa::1", "nonsense"] {
            let headers = [("X-Real-IP", client), ("X-Forwarded-For", "192.0.2.1"), ("User-Agent", "curl/8.5.0")];
            verifier.auth("scope=any", &[&[("Authorization", bearer.as_str())], &headers[..]].concat()).await;
        }
        fixture::stop(verifier);
    }
    let said = until_totals(&space, "curious", |total| total.allowed == 5).await;
    let mut networks: Vec<&str> = said.networks.iter().map(|network| network.name.as_str()).collect();
    networks.sort_unstable();
    assert_eq!(networks, ["2001:db8:aaaa::/48", "203.0.113.0/24"]);
    let said = until_totals(&space, "quiet", |total| total.allowed == 5).await;
    assert!(said.networks.is_empty() && said.sources.is_empty(), "{said:?}");
}

#[tokio::test]
async fn refusals_count_too_also_of_who_knows_only_the_id() {
    let cluster = Cluster::shared().await;
    let (_operator, verifier) = (operator().await, verifier(cluster, &[]).await);
    let space = Space::new(cluster).await;
    let (off, known, other) =
        (space.ready_key("off").await, space.ready_key("known").await, space.ready_key("other").await);
    verifier.eventually_says("ok", "scope=any", &other).await;
    space.patch_key("off", json!({"spec": {"disabled": true}})).await;
    verifier.eventually_says("disabled", "scope=any", &off).await;
    // The id of one with the secret of the other, and a right checksum.
    let stolen = fixture::with_id_of(&known, &other);
    assert_eq!(verifier.code("scope=any", &stolen).await, "unknown");
    let bearer = format!("Bearer {stolen}");
    verifier.auth("scope=any", &[("Authorization", &bearer), ("User-Agent", "thief/1.0")]).await;
    fixture::stop(&verifier);
    for (name, denied, code) in [("off", 1, "disabled"), ("known", 2, "unknown")] {
        let activity = until_totals(&space, name, |total| total.denied >= denied).await;
        assert_eq!((activity.requests.denied, activity.last_denied_code.as_deref()), (denied, Some(code)));
        assert!(activity.last_denied_at.is_some());
        assert!(activity.sources.iter().all(|source| source.name != "thief/1.0"), "who has no secret names no source");
    }
}

#[tokio::test]
async fn two_verifiers_lose_no_call_and_count_none_twice() {
    let cluster = Cluster::shared().await;
    let _operator = operator().await;
    let (first, second) = (verifier(cluster, &[]).await, verifier(cluster, &[]).await);
    let space = Space::new(cluster).await;
    let mut keys = Vec::new();
    for n in 0..10 {
        keys.push(space.ready_key(&format!("key-{n}")).await);
    }
    let before = fixture::settled(&[&first, &second], &keys).await;
    for round in 0..20 {
        for key in &keys {
            assert_eq!(first.code("scope=any", key).await, "ok");
            let (asks, says) =
                if round % 2 == 0 { ("scope=any", "ok") } else { ("scope=any&account=a/b", "wrong_account") };
            assert_eq!(second.code(asks, key).await, says);
        }
    }
    // What is left is written when they stop.
    for verifier in [&first, &second] {
        fixture::stop(verifier);
    }
    for (n, known) in before.iter().enumerate() {
        let activity = until_totals(&space, &format!("key-{n}"), |total| total.allowed >= known + 30).await;
        assert_eq!(activity.requests, requests(known + 30, 10), "key-{n}");
        assert_eq!(activity.writers.len(), 2);
    }
}

#[tokio::test]
async fn writing_wakes_the_operator_for_nothing_and_the_operator_takes_nothing_away() {
    let cluster = Cluster::shared().await;
    let (operator, verifier) = (operator().await, verifier(cluster, &[]).await);
    let space = Space::new(cluster).await;
    let key = space.ready_key("storefront").await;
    verifier.eventually_says("ok", "scope=any", &key).await;
    let activity = until_totals(&space, "storefront", |total| total.allowed >= 1).await;
    let reconciled = operator.metric::<u64>("keywright_reconciled_total").await;
    space.patch_key("storefront", json!({"spec": {"displayName": "Storefront"}})).await;
    let status = space.until_observed("storefront").await.status.unwrap();
    assert_eq!(status.activity, Some(activity));
    // Other tests' keys are reconciled as well; this one's was told apart by its observed generation.
    assert!(operator.metric::<u64>("keywright_reconciled_total").await > reconciled);
}
