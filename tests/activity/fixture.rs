//! Verifiers whose calls are counted.

use keywright::api::{Activity, Requests};
use keywright::key::{Parsed, parse};
use tokio::sync::OnceCell;

use super::support::cluster::Cluster;
use super::support::eventually;
use super::support::keywright::Running;
use super::support::space::Space;

/// The operator that all tests of this binary share.
pub async fn operator() -> &'static Running {
    static OPERATOR: OnceCell<Running> = OnceCell::const_new();
    let start = async || Running::operator(Cluster::shared().await, &[]).await.unwrap().ready().await;
    OPERATOR.get_or_init(start).await
}

/// A verifier of the test's own, which stops at once when it is told to.
pub async fn verifier(cluster: &Cluster, more: &[&str]) -> Running {
    let args = [&["--shutdown-delay=0s"], more].concat();
    Running::verifier(cluster, &args).await.unwrap().ready().await
}

/// Waits until the totals of a key are so, and returns all that is said of its use.
pub async fn until_totals(space: &Space, name: &str, is_so: impl Fn(Requests) -> bool) -> Activity {
    eventually(&format!("the use of {name}"), async || {
        let activity = activity(space, name).await.ok_or_else(|| "nothing is said".to_owned())?;
        if is_so(activity.requests) { Ok(activity) } else { Err(format!("{:?}", activity.requests)) }
    })
    .await
}

/// All that is said of the use of a key now.
pub async fn activity(space: &Space, name: &str) -> Option<Activity> {
    space.keys().get(name).await.unwrap().status?.activity
}

/// Asks with every key until each verifier knows it; how many calls of each key have passed by then.
pub async fn settled(verifiers: &[&Running], keys: &[String]) -> Vec<i64> {
    let mut passed = vec![0; keys.len()];
    for (key, passed) in keys.iter().zip(&mut passed) {
        for verifier in verifiers {
            // Each call that does not pass is of a key that is not there yet, and counts for nobody.
            verifier.eventually_says("ok", "scope=any", key).await;
            *passed += 1;
        }
    }
    passed
}

/// Tells a verifier to stop, and waits until it has.
pub fn stop(verifier: &Running) {
    assert_eq!(verifier.process.terminate().unwrap(), Some(0));
}

/// The id of one key with the secret of another, and the checksum that belongs to both.
pub fn with_id_of(id: &str, secret: &str) -> String {
    let body = format!("{}{}", &id[..16], &secret[16..secret.len() - 6]);
    let crc = crc32fast::hash(body.as_bytes());
    let digits = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let end: String =
        (0..6).rev().map(|place| char::from(digits[(u64::from(crc) / 62u64.pow(place) % 62) as usize])).collect();
    let key = format!("{body}{end}");
    assert!(matches!(parse(key.as_bytes()), Parsed::Native(_)), "the alphabet is another");
    key
}
