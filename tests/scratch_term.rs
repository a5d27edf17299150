#[path = "support/mod.rs"]
mod support;
use std::time::{Duration, Instant};
use support::cluster::Cluster;
use support::keywright::Running;
use support::space::Space;

async fn term(running: Running, what: &str) {
    let start = Instant::now();
    let id = running.process.id();
    let waited = tokio::task::spawn_blocking(move || running.process.terminate().unwrap());
    match tokio::time::timeout(Duration::from_secs(15), waited).await {
        Ok(code) => println!("{what}: {:?} after {:?}", code.unwrap(), start.elapsed()),
        Err(_) => {
            println!("{what}: still there after 15 s");
            std::process::Command::new("kill").args(["-9", &id.to_string()]).status().unwrap();
        }
    }
}
#[tokio::test(flavor = "multi_thread")]
async fn term_settled() {
    let cluster = Cluster::shared().await;
    term(Running::operator(cluster, &[]).await.unwrap().ready().await, "empty, at once").await;
    let op = Running::operator(cluster, &[]).await.unwrap().ready().await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    term(op, "empty, settled").await;
    let op = Running::operator(cluster, &[]).await.unwrap().ready().await;
    let space = Space::new(cluster).await;
    space.ready_key("a").await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    term(op, "with a key, settled").await;
    for n in 0..5 {
        let op = Running::operator(cluster, &[]).await.unwrap().ready().await;
        term(op, &format!("with a key, at once {n}")).await;
    }
    for n in 0..3 {
        let v = Running::verifier(cluster, &[]).await.unwrap().ready().await;
        term(v, &format!("verifier {n}")).await;
    }
}
