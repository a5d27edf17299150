//! Certificates that change while a verifier runs.

use std::fmt::Display;
use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::ClientConfig;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::certificates::{Authority, Files, Pair, assert_quotes_nothing};
use super::verifier;
use super::wire::{Conversation, Dial, check, http2};

/// The files are looked at every 10 seconds, and the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(40);

async fn in_time<E: Display>(what: &str, mut ask: impl AsyncFnMut() -> Result<(), E>) {
    let start = Instant::now();
    while let Err(error) = ask().await {
        assert!(start.elapsed() < PATIENCE, "{what}: {error}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// The certificate that a server shows.
async fn shown(address: &str, client: Arc<ClientConfig>) -> CertificateDer<'static> {
    let stream = TcpStream::connect(address).await.unwrap();
    let stream = TlsConnector::from(client).connect(ServerName::try_from("127.0.0.1").unwrap(), stream).await.unwrap();
    stream.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned()
}

async fn until_shown(address: &str, authority: &Authority, pair: &Pair) {
    // No session is resumed: each look is by a client that has never been here.
    in_time("the new certificate", async || {
        let shown = shown(address, authority.client(None, &["h2"])).await;
        if shown == pair.der() { Ok(()) } else { Err("another certificate is shown") }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn new_certificates_are_taken_and_broken_ones_are_said_while_the_ones_before_go_on() {
    let authority = Authority::new();
    let [first, second, third] = std::array::from_fn(|_| authority.issue());
    let files = Files::new(&first);
    let flags = files.flags();
    let verifier = verifier(&[&flags[0], &flags[1]]).await;
    let tls = || Some(authority.client(None, &["http/1.1"]));
    let connect = async || Conversation::dial(Dial { address: verifier.address.clone(), tls: tls() }).await.unwrap();
    let mut old = connect().await;
    old.assert_passes().await;
    assert_eq!(shown(&verifier.address, authority.client(None, &[])).await, first.der());

    files.put(&second);
    for address in [&verifier.address, &verifier.grpc] {
        until_shown(address, &authority, &second).await;
    }
    old.assert_passes().await;
    connect().await.assert_passes().await;

    // The certificate has changed, and its key comes late or never.
    files.write("tls.crt", &third.certificate);
    let log = || fs::read_to_string(&verifier.log).unwrap();
    let complaints = || log().lines().filter(|line| line.contains("the ones before go on")).count();
    in_time("it is said", async || if complaints() > 0 { Ok(()) } else { Err("nothing in the log") }).await;
    assert_eq!(shown(&verifier.address, authority.client(None, &[])).await, second.der());
    old.assert_passes().await;
    connect().await.assert_passes().await;

    // Damaged, and still with most of a key in it.
    files.write("tls.key", &third.key.replace("-----END", "?\n-----END"));
    in_time("it is said again", async || if complaints() > 1 { Ok(()) } else { Err("nothing new in the log") }).await;
    assert!(log().contains(&files.path("tls.key").display().to_string()), "{}", log());
    assert_eq!(shown(&verifier.grpc, authority.client(None, &["h2"])).await, second.der());

    files.put(&third);
    until_shown(&verifier.address, &authority, &third).await;
    connect().await.assert_passes().await;
    for pair in [first, second, third] {
        assert_quotes_nothing(&log(), &pair.key, &files.path("tls.key"));
    }
    assert_eq!(verifier.process.ended(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_client_ca_is_taken_and_clients_of_the_one_before_are_not_served_any_more() {
    let (authority, before, after) = (Authority::new(), Authority::new(), Authority::new());
    let files = Files::new(&authority.issue());
    let flags = files.mutual_flags(&before);
    let verifier = verifier(&flags.each_ref().map(String::as_str)).await;
    let (old, new) = (before.issue(), after.issue());
    let served = async |pair: &Pair| {
        let dial = Dial { address: verifier.grpc.clone(), tls: Some(authority.client(Some(pair), &["h2"])) };
        let asked = async { check(http2(dial).await?).await };
        asked.await.is_ok_and(|code| code == 0)
    };
    assert!(served(&old).await && !served(&new).await);
    files.write("ca.crt", &after.pem);
    in_time("the new authority", async || if served(&new).await { Ok(()) } else { Err("not served") }).await;
    assert!(!served(&old).await);
}
