//! Who is waited for before a change is called enforced: the verifiers that watch its namespace, and no other.

use super::*;

/// Waits until a generation that disables a key is enforced, and says how long that took.
async fn disabled(space: &Space, name: &str) -> Duration {
    let since = Instant::now();
    space.patch_key(name, json!({"spec": {"disabled": true}})).await;
    eventually(&format!("{name} is enforced"), async || {
        let key = space.keys().get(name).await.map_err(|e| e.to_string())?;
        let said = key.status.and_then(|status| status.conditions.into_iter().find(|said| said.type_ == "Enforced"));
        let is_new = said.as_ref().is_some_and(|said| said.observed_generation == key.metadata.generation);
        match said {
            Some(said) if is_new && said.status == "True" => Ok(()),
            said => Err(format!("{said:?}")),
        }
    })
    .await;
    since.elapsed()
}

#[tokio::test]
async fn a_quiet_namespace_holds_up_nobody() {
    let land = land().await;
    let _turn = turn(land).await;
    let operator = land.operator(&[&land.shop, &land.billing], &[]).await;
    let _verifier = land.verifier(&[&land.shop, &land.billing], &[]).await.ready().await;
    let mut times = Vec::new();
    for n in 0..8 {
        let name = format!("quick-{n}");
        new_key(&land.shop, &name).await;
        times.push(disabled(&land.shop, &name).await);
    }
    times.sort();
    println!("enforced beside a quiet namespace in {times:?}");
    // By bookmarks, which are all that a quiet namespace shows, it would be seconds each time.
    assert!(times[times.len() / 2] < Duration::from_secs(2), "{times:?}");
    let metrics = http::get(&operator.admin, "/metrics", &[]).await.unwrap().body;
    assert!(metrics.contains("keywright_verifiers_passed_over_total 0\n"), "{metrics}");
}

#[tokio::test]
async fn a_verifier_is_waited_for_in_the_namespaces_that_it_watches_and_in_no_other() {
    let land = land().await;
    let _turn = turn(land).await;
    let _operator = land.operator(&[&land.shop, &land.billing], &[]).await;
    let of_shop = land.verifier(&[&land.shop], &[]).await.ready().await;
    let of_billing = land.verifier(&[&land.billing], &["--max-staleness=0s"]).await.ready().await;
    let ours = new_key(&land.shop, "ours").await;
    let theirs = new_key(&land.billing, "theirs").await;
    of_shop.eventually_says("ok", "scope=any", &ours).await;
    of_billing.eventually_says("ok", "scope=any", &theirs).await;
    assert_eq!(of_shop.code("scope=any", &theirs).await, "unknown");
    assert_eq!(of_billing.code("scope=any", &ours).await, "unknown");
    // It would be waited for without end.
    of_billing.process.signal("STOP");
    disabled(&land.shop, "ours").await;
    assert_eq!(of_shop.code("scope=any", &ours).await, "disabled");
    land.billing.patch_key("theirs", json!({"spec": {"disabled": true}})).await;
    land.billing.until("theirs", "Enforced", "VerifierUnreachable").await;
    of_billing.process.signal("CONT");
    land.billing.until("theirs", "Enforced", "Acknowledged").await;
    assert_eq!(of_billing.code("scope=any", &theirs).await, "disabled");
    assert_eq!(of_billing.code("scope=any", &ours).await, "unknown");
}

#[tokio::test]
async fn where_nobody_watches_a_namespace_nothing_is_proven_of_it() {
    let land = land().await;
    let _turn = turn(land).await;
    let _operator = land.operator(&[&land.shop, &land.billing], &[]).await;
    let _of_shop = land.verifier(&[&land.shop], &[]).await.ready().await;
    new_key(&land.shop, "watched").await;
    land.shop.until("watched", "Enforced", "Acknowledged").await;
    new_key(&land.billing, "unwatched").await;
    land.billing.until("unwatched", "Enforced", "NoVerifier").await;
}
