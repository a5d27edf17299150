//! SIGTERM while requests are under way: unready first, then each request that was sent is answered, and then it ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use futures::future::join_all;
use tokio::net::TcpStream;
use tokio::task::{JoinHandle, JoinSet};

use super::certificates::{Authority, Files};
use super::frames::{Connection, Outcome};
use super::support::keywright::Running;
use super::support::{eventually, http};
use super::wire::{Conversation, Dial, check, http2, plain};
use super::{question, stage, verifier};

const CHECK: &str = "/envoy.service.auth.v3.Authorization/Check";

/// SIGTERM at once, and in the end how long it took. It must end well.
fn terminate(verifier: &Arc<Running>) -> JoinHandle<Duration> {
    let verifier = verifier.clone();
    tokio::task::spawn_blocking(move || {
        let start = Instant::now();
        let code = verifier.process.terminate().unwrap();
        assert_eq!(code, Some(0), "{}", std::fs::read_to_string(&verifier.log).unwrap());
        start.elapsed()
    })
}

/// Asks in a loop until the server says that it closes the connection, or has closed it between two requests. An error is
/// what became of a request that was sent and not answered.
async fn keep_asking(dial: Dial, answered: Arc<AtomicU32>) -> Result<(), String> {
    let question = question("").await;
    let mut connection = Conversation::dial(dial).await.map_err(|e| e.to_string())?;
    while !connection.is_closed() {
        let sent = connection.send(&question).await;
        match connection.answer().await {
            Ok(Some(heard)) if heard.is_ok() => {
                answered.fetch_add(1, Ordering::Relaxed);
                if heard.answer.header("connection") == Some("close") {
                    break;
                }
            }
            end => return Err(format!("sent {sent:?}, and then {end:?}")),
        }
    }
    Ok(())
}

async fn keep_calling(dial: Dial, answered: Arc<AtomicU32>) -> Result<(), String> {
    let mut connection = Connection::open(dial).await.map_err(|e| e.to_string())?;
    while !connection.is_going() {
        match connection.call(CHECK).await.map_err(|e| e.to_string())? {
            Outcome::Answered => drop(answered.fetch_add(1, Ordering::Relaxed)),
            Outcome::NotTaken => assert!(connection.is_going(), "not taken without a word of going"),
        }
    }
    Ok(())
}

/// Fifty clients ask over the connections that they have, SIGTERM comes, and nobody is left without an answer.
async fn assert_drains<F>(verifier: Running, client: impl Fn(&Running, Arc<AtomicU32>) -> F)
where
    F: Future<Output = Result<(), String>> + Send + 'static,
{
    let verifier = Arc::new(verifier);
    let answered = Arc::new(AtomicU32::new(0));
    let mut clients: JoinSet<_> = (0..50).map(|_| client(&verifier, answered.clone())).collect();
    let until_more = async |more: u32| {
        let enough = answered.load(Ordering::Relaxed) + more;
        eventually("answers", async || if answered.load(Ordering::Relaxed) > enough { Ok(()) } else { Err("few") })
            .await;
    };
    until_more(1000).await;
    let end = terminate(&verifier);
    let mut broken = Vec::new();
    while let Some(outcome) = clients.join_next().await {
        broken.extend(outcome.unwrap().err());
    }
    let took = end.await.unwrap();
    assert!(broken.is_empty(), "{} of 50 clients were left without an answer, as: {}", broken.len(), broken[0]);
    assert!(took < Duration::from_secs(10), "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_request_of_http_1_is_lost() {
    for delay in ["--shutdown-delay=0s", "--shutdown-delay=1s"] {
        let ask = |verifier: &Running, answered| keep_asking(Dial::to(&verifier.address), answered);
        assert_drains(verifier(&[delay]).await, ask).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_request_of_http_1_over_tls_is_lost() {
    let authority = Authority::new();
    let files = Files::new(&authority.issue());
    let [certificate, key] = files.flags();
    let verifier = verifier(&["--shutdown-delay=0s", &certificate, &key]).await;
    let tls = authority.client(None, &["http/1.1"]);
    let ask = |verifier: &Running, answered| {
        keep_asking(Dial { address: verifier.address.clone(), tls: Some(tls.clone()) }, answered)
    };
    assert_drains(verifier, ask).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_grpc_call_is_lost() {
    for delay in ["--shutdown-delay=0s", "--shutdown-delay=1s"] {
        let call = |verifier: &Running, answered| keep_calling(Dial::to(&verifier.grpc), answered);
        assert_drains(verifier(&[delay]).await, call).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_grpc_call_over_tls_is_lost() {
    let authority = Authority::new();
    let files = Files::new(&authority.issue());
    let [certificate, key] = files.flags();
    let verifier = verifier(&["--shutdown-delay=0s", &certificate, &key]).await;
    let tls = authority.client(None, &["h2"]);
    let call = |verifier: &Running, answered| {
        keep_calling(Dial { address: verifier.grpc.clone(), tls: Some(tls.clone()) }, answered)
    };
    assert_drains(verifier, call).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_says_unready_first_and_takes_new_calls_until_whoever_balances_them_has_learnt_of_it() {
    let verifier = Arc::new(verifier(&["--shutdown-delay=3s"]).await);
    let mut kept = plain(&verifier.address).await;
    kept.assert_passes().await;
    let start = Instant::now();
    let end = terminate(&verifier);
    eventually("unready", async || {
        let answer = http::get(&verifier.admin, "/readyz", &[]).await.map_err(|e| e.to_string())?;
        if answer.status == 503 { Ok(()) } else { Err(answer.body) }
    })
    .await;
    let ready = http::get(&verifier.admin, "/readyz", &[]).await.unwrap();
    assert!(ready.status == 503 && ready.body.contains("stopping"), "{ready:?}");
    assert_eq!(http::get(&verifier.admin, "/livez", &[]).await.unwrap().status, 200);
    plain(&verifier.address).await.assert_passes().await;
    kept.assert_passes().await;
    assert_eq!(check(http2(Dial::to(&verifier.grpc)).await.unwrap()).await.unwrap(), 0);
    assert!(start.elapsed() < Duration::from_secs(3), "all of that within the delay: {:?}", start.elapsed());
    let took = end.await.unwrap();
    assert!((Duration::from_millis(2900)..Duration::from_secs(8)).contains(&took), "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_half_sent_when_it_stops_is_read_to_its_end_and_answered() {
    let verifier = Arc::new(verifier(&["--shutdown-delay=0s"]).await);
    let body = format!(r#"{{"key": "{}"}}"#, stage().await.key);
    let head = format!("POST /v1/verify HTTP/1.1\r\nHost: v\r\nContent-Length: {}\r\n\r\n", body.len());
    let mut connection = plain(&verifier.address).await;
    // Nothing says how far the server has read, but on a second connection it answers after that.
    connection.send(format!("{head}{}", &body[..20]).as_bytes()).await.unwrap();
    for _ in 0..20 {
        plain(&verifier.address).await.assert_passes().await;
    }
    let end = terminate(&verifier);
    eventually("no new connections", async || match TcpStream::connect(&verifier.address).await {
        Ok(_) => Err("it takes one"),
        Err(_) => Ok(()),
    })
    .await;
    connection.send(&body.as_bytes()[20..]).await.unwrap();
    let heard = connection.answer().await.unwrap().expect("an answer");
    assert_eq!(heard.answer.json()["valid"], true);
    assert!(connection.answer().await.unwrap().is_none(), "and then it closes");
    assert!(end.await.unwrap() < Duration::from_secs(10));
}

/// Sends this on a connection to each port, and holds that the verifier ends soon all the same.
async fn assert_not_held_up(first: &[u8]) {
    let verifier = Arc::new(verifier(&["--shutdown-delay=0s"]).await);
    let open = [&verifier.address, &verifier.grpc].map(async |address| {
        let mut connection = plain(address).await;
        connection.send(first).await.unwrap();
        connection
    });
    let open = join_all(open).await;
    for _ in 0..20 {
        plain(&verifier.address).await.assert_passes().await;
    }
    let took = terminate(&verifier).await.unwrap();
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert_eq!(open.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_rest_do_not_hold_up_the_end() {
    assert_not_held_up(&question("").await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_have_said_nothing_yet_do_not_hold_up_the_end() {
    assert_not_held_up(b"").await;
}
