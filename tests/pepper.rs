//! The pepper gets lost: keys go on working by their argon2id records, each slow check is made once, and a wrong secret
//! is no better off than before.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/mod.rs"]
mod support;

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::PostParams;
use support::cluster::Cluster;
use support::eventually;
use support::http;
use support::keywright::Running;
use support::space::Space;

/// The text with its checksum: CRC-32 as six base62 digits.
fn with_checksum(text: &str) -> String {
    const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let crc = crc32fast::hash(text.as_bytes());
    let digit = |place: u32| char::from(DIGITS[(crc / 62u32.pow(place) % 62) as usize]);
    text.chars().chain((0..6).rev().map(digit)).collect()
}

/// The id of one key with the secret of another, and a right checksum.
fn crossed(id: &str, secret: &str) -> String {
    with_checksum(&format!("{}{}", &id[..16], &secret[16..secret.len() - 6]))
}

/// How many argon2id checks ran.
async fn slow_checks(verifier: &Running) -> u64 {
    verifier.metric("keywright_argon2_checks_total").await
}

#[tokio::test]
async fn keys_outlive_the_pepper_at_the_price_of_one_slow_check_each() {
    let cluster = Cluster::shared().await;

    // Before the operator has made the pepper, a verifier with complete lists knows that it cannot judge.
    let early = Running::verifier(cluster, &[]).await.unwrap();
    eventually("the lists are there", async || {
        match http::get(&early.admin, "/metrics", &[]).await.map_err(|e| e.to_string())?.body {
            text if text.contains("keywright_index_entries 0") => Ok(()),
            text => Err(text),
        }
    })
    .await;
    let answer = early.auth("scope=any", &[]).await;
    assert_eq!((answer.status, answer.header("x-keywright-code")), (503, Some("not_ready")));
    assert_eq!(http::get(&early.admin, "/readyz", &[]).await.unwrap().status, 503);
    let _operator = Running::operator(cluster, &[]).await.unwrap().ready().await;
    let early = early.ready().await;

    let space = Space::new(cluster).await;
    let (one, two) = (space.ready_key("one").await, space.ready_key("two").await);
    for key in [&one, &two] {
        early.eventually_says("ok", "scope=any", key).await;
    }
    assert_eq!(slow_checks(&early).await, 0, "while the pepper is there, no record is needed");

    // Only the newest version makes tags, and this one is older than any; what counts is that it is another.
    let secrets = Api::<Secret>::namespaced(space.client.clone(), "keywright-entries");
    let before = secrets.get("keywright-pepper").await.unwrap();
    let lost = BTreeMap::from([("1700000000".to_owned(), ByteString(vec![7; 32]))]);
    let after = Secret { data: Some(lost), ..before.clone() };
    secrets.replace("keywright-pepper", &PostParams::default(), &after).await.unwrap();

    let verifier = Running::verifier(cluster, &[]).await.unwrap().ready().await;
    assert_eq!(slow_checks(&verifier).await, 0);
    for (what, key, code, checks) in [
        ("the first call is proven by the record", &one, "ok", 1),
        ("the second by the new tag", &one, "ok", 1),
        ("a wrong secret for an id that is proven", &crossed(&one, &two), "unknown", 1),
        ("a wrong secret for an id that is not yet", &crossed(&two, &one), "unknown", 2),
        ("which proves nothing, so that another try is as slow", &crossed(&two, &one), "unknown", 3),
        ("the right one still passes", &two, "ok", 4),
        (
            "an id that nobody has never reaches the slow check",
            &with_checksum(&format!("kw_7hx3k9m2pq4d_{}", &one[16..59])),
            "unknown",
            4,
        ),
        ("what is mistyped neither", &one[..one.len() - 1].to_owned(), "malformed", 4),
    ] {
        assert_eq!(verifier.code("scope=any", key).await, code, "{what}");
        assert_eq!(slow_checks(&verifier).await, checks, "{what}");
    }

    // Restored, it takes the tags back into use: the verifier that proved them and a new one answer alike.
    let restored = Secret { data: before.data, ..secrets.get("keywright-pepper").await.unwrap() };
    secrets.replace("keywright-pepper", &PostParams::default(), &restored).await.unwrap();
    let fresh = Running::verifier(cluster, &[]).await.unwrap().ready().await;
    for key in [&one, &two] {
        assert_eq!(fresh.code("scope=any", key).await, "ok");
        verifier.eventually_says("ok", "scope=any", key).await;
    }
    assert_eq!(slow_checks(&fresh).await, 0);
}

/// By the commands of docs/BACKUP.md.
#[tokio::test]
async fn a_pepper_is_rotated_by_another_beside_it_and_every_key_goes_on_without_a_slow_check() {
    let folder = std::env::temp_dir().join(format!("keywright-test-{}", std::process::id())).join("rotated");
    let cluster = Cluster::start(&folder).await.unwrap();
    let operator = Running::operator(&cluster, &[]).await.unwrap().ready().await;
    let space = Space::new(&cluster).await;
    let old = space.ready_key("old").await;
    let verifier = Running::verifier(&cluster, &[]).await.unwrap().ready().await;
    let version = jiff::Timestamp::now().as_second() + 60;
    let patch = format!(r#"{{"data":{{"{version}":"{}"}}}}"#, data_encoding::BASE64.encode(&[7; 32]));
    let args = ["patch", "secret", "keywright-pepper", "-n", "keywright-entries", "--type=merge", "-p", &patch];
    cluster.plane.kubectl(&args).unwrap();
    drop(operator);
    let _operator = Running::operator(&cluster, &[]).await.unwrap().ready().await;

    let new = space.ready_key("new").await;
    let record = space.record(&space.keys().get("new").await.unwrap()).await;
    let tag = record["current"]["tag"].as_str().unwrap().to_owned();
    assert!(tag.starts_with(&format!("{version}:")), "new values are tagged with the newest");
    for key in [&old, &new] {
        verifier.eventually_says("ok", "scope=any", key).await;
    }
    assert_eq!(slow_checks(&verifier).await, 0);
}
