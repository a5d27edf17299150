//! The API server does not take the writes, or its answers are lost, or they arrive when nobody waits for them any more.

use std::time::{Duration, Instant};

use axum::http::StatusCode;
use tokio::sync::watch;

use super::between::{Between, Fate, Seen};
use super::fixture::{activity, operator, settled, stop, until_totals};
use super::requests;
use super::support::cluster::Cluster;
use super::support::eventually;
use super::support::keywright::Running;
use super::support::space::Space;

/// Verifier and keys, each of which is called once and nothing of it written.
async fn world(between: &Between, count: usize) -> (Running, Space, Vec<String>, Vec<i64>) {
    let cluster = Cluster::shared().await;
    let _operator = operator().await;
    let space = Space::new(cluster).await;
    let mut keys = Vec::new();
    for n in 0..count {
        keys.push(space.ready_key(&format!("key-{n}")).await);
    }
    let verifier = between.verifier(cluster).await;
    let passed = settled(&[&verifier], &keys).await;
    (verifier, space, keys, passed)
}

#[tokio::test]
async fn a_write_that_was_applied_and_whose_answer_was_lost_counts_once() {
    let between = Between::start(Cluster::shared().await).await;
    between.rule(|_| Fate::Unheard);
    let (verifier, space, keys, passed) = world(&between, 1).await;
    let said = until_totals(&space, "key-0", |total| total.allowed > 0).await;
    eventually("the verifier hears nothing", async || {
        match verifier.metric::<u64>("keywright_activity_failed_total").await {
            0 => Err("it heard something"),
            _ => Ok(()),
        }
    })
    .await;
    // Calls that came since are added to those that are known to have arrived.
    for _ in 0..3 {
        assert_eq!(verifier.code("scope=any", &keys[0]).await, "ok");
    }
    between.rule(|_| Fate::Pass);
    tokio::task::spawn_blocking(move || stop(&verifier)).await.unwrap();
    let more = activity(&space, "key-0").await.unwrap();
    assert_eq!((more.requests, said.requests), (requests(passed[0] + 3, 0), requests(passed[0], 0)));
}

#[tokio::test]
async fn a_write_that_arrives_after_the_verifier_gave_up_and_wrote_again_is_refused() {
    let between = Between::start(Cluster::shared().await).await;
    let (open, gate) = watch::channel(false);
    between.rule(move |_| Fate::Hold(gate.clone()));
    let (verifier, space, keys, passed) = world(&between, 1).await;
    between.until_seen(1).await;
    between.rule(|_| Fate::Pass);
    assert_eq!(verifier.code("scope=any", &keys[0]).await, "ok");
    let said = until_totals(&space, "key-0", |total| total.allowed > 0).await;
    assert_eq!(said.requests, requests(passed[0] + 1, 0));
    open.send(true).unwrap();
    let late = eventually("the first write arrives", async || between.seen()[0].answer.ok_or("it is under way")).await;
    assert_eq!(late, StatusCode::CONFLICT);
    assert_eq!(activity(&space, "key-0").await, Some(said));
    assert_eq!(between.seen().len(), 2);
}

/// The most writes that came within a second.
fn busiest_second(seen: &[Seen]) -> usize {
    let within =
        |from: Instant| seen.iter().filter(move |seen| seen.at >= from && seen.at < from + Duration::from_secs(1));
    seen.iter().map(|seen| within(seen.at).count()).max().unwrap_or(0)
}

/// All keys' writes are answered so for a minute; how many came in the busiest second of it.
async fn refused_for_a_minute(status: StatusCode) -> usize {
    const KEYS: usize = 12;
    let start = Instant::now();
    let between = Between::start(Cluster::shared().await).await;
    between.rule(move |_| Fate::Refuse(status));
    let (verifier, space, keys, passed) = world(&between, KEYS).await;
    // As many as if each key had had two turns.
    between.until_seen(2 * KEYS).await;
    // Nothing is waited for but the minute itself.
    tokio::time::sleep_until((start + Duration::from_mins(1)).into()).await;
    let refused = between.seen();
    for key in &keys {
        assert_eq!(verifier.code("scope=any", key).await, "ok");
    }
    between.rule(|_| Fate::Pass);
    for n in 0..KEYS {
        until_totals(&space, &format!("key-{n}"), |total| total.allowed > 0).await;
    }
    // A write that was under way may hold the first call only.
    tokio::task::spawn_blocking(move || stop(&verifier)).await.unwrap();
    for (n, passed) in passed.iter().enumerate() {
        let said = activity(&space, &format!("key-{n}")).await.unwrap();
        assert_eq!(said.requests, requests(passed + 1, 0), "key-{n} after {status}");
    }
    busiest_second(&refused)
}

#[tokio::test]
async fn nothing_is_lost_while_the_api_server_asks_for_fewer_requests() {
    // The client library asks up to four times, within seconds, before it says so.
    let busiest = refused_for_a_minute(StatusCode::TOO_MANY_REQUESTS).await;
    assert!(busiest <= 40, "{busiest} writes in a second");
}

#[tokio::test]
async fn nothing_is_lost_while_the_api_server_breaks_down() {
    let busiest = refused_for_a_minute(StatusCode::INTERNAL_SERVER_ERROR).await;
    assert!(busiest <= 40, "{busiest} writes in a second");
}

#[tokio::test]
async fn nothing_is_lost_while_every_write_comes_too_late() {
    // Each key's write is made anew up to five times.
    let busiest = refused_for_a_minute(StatusCode::CONFLICT).await;
    assert!(busiest <= 5 * 20, "{busiest} writes in a second");
}

#[tokio::test]
async fn a_key_that_can_never_be_written_holds_up_no_other() {
    let between = Between::start(Cluster::shared().await).await;
    between.rule(|key| if key == "key-0" { Fate::Refuse(StatusCode::UNPROCESSABLE_ENTITY) } else { Fate::Pass });
    let (verifier, space, keys, passed) = world(&between, 12).await;
    for (n, passed) in passed.iter().enumerate().skip(1) {
        let said = until_totals(&space, &format!("key-{n}"), |total| total.allowed > 0).await;
        assert_eq!(said.requests, requests(*passed, 0));
    }
    // Again and again it has failed by now; a key that was quiet until then is written as soon as ever.
    eventually("it fails again", async || match verifier.metric::<u64>("keywright_activity_failed_total").await {
        failed if failed >= 4 => Ok(()),
        failed => Err(failed),
    })
    .await;
    let quiet = space.ready_key("quiet").await;
    settled(&[&verifier], std::slice::from_ref(&quiet)).await;
    let called = Instant::now();
    until_totals(&space, "quiet", |total| total.allowed > 0).await;
    assert!(called.elapsed() < Duration::from_secs(5), "{:?}", called.elapsed());
    assert_eq!(verifier.code("scope=any", &keys[0]).await, "ok");
    assert_eq!(activity(&space, "key-0").await, None);
}

#[tokio::test]
async fn a_verifier_that_is_told_to_stop_tries_again_what_is_refused_for_a_moment() {
    let between = Between::start(Cluster::shared().await).await;
    let (verifier, space, keys, passed) = world(&between, 1).await;
    until_totals(&space, "key-0", |total| total.allowed > 0).await;
    assert_eq!(verifier.code("scope=any", &keys[0]).await, "ok");
    let before = between.seen().len();
    let refused = std::sync::atomic::AtomicBool::new(false);
    between.rule(move |_| {
        if refused.swap(true, std::sync::atomic::Ordering::SeqCst) {
            Fate::Pass
        } else {
            Fate::Refuse(StatusCode::INTERNAL_SERVER_ERROR)
        }
    });
    tokio::task::spawn_blocking(move || stop(&verifier)).await.unwrap();
    assert_eq!(activity(&space, "key-0").await.unwrap().requests, requests(passed[0] + 1, 0));
    assert_eq!(between.seen().len(), before + 2);
}
