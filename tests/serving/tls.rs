//! TLS and mutual TLS: who is served, in which protocol, and what is said of files that cannot be used.

use std::fs;

use super::certificates::{Authority, Files, Pair, assert_quotes_nothing};
use super::support::eventually;
use super::support::keywright::Running;
use super::wire::{Conversation, Dial, auth_over, check, http2, plain};
use super::{stage, verifier};

fn args<const N: usize>(flags: &[String; N]) -> [&str; N] {
    flags.each_ref().map(String::as_str)
}

fn dial(address: &str, authority: &Authority, pair: Option<&Pair>, protocols: &[&str]) -> Dial {
    Dial { address: address.to_owned(), tls: Some(authority.client(pair, protocols)) }
}

/// Does `/auth` pass a good request over HTTP/1.1?
async fn passes(dial: Dial) -> bool {
    // In TLS 1.3 a client learns only with the first answer that its certificate was refused.
    let Ok(mut connection) = Conversation::dial(dial).await else { return false };
    let _ = connection.send(&super::question("").await).await;
    matches!(connection.answer().await, Ok(Some(heard)) if heard.is_ok())
}

#[tokio::test]
async fn http_and_grpc_speak_tls_and_alpn_chooses_the_version() {
    let authority = Authority::new();
    let files = Files::new(&authority.issue());
    let verifier = verifier(&args(&files.flags())).await;
    for protocols in [&["http/1.1"][..], &[], &["http/1.1", "something-else"]] {
        assert!(passes(dial(&verifier.address, &authority, None, protocols)).await, "{protocols:?}");
    }
    for protocols in [&["h2"][..], &["h2", "http/1.1"], &["http/1.1", "h2"]] {
        let mut channel = http2(dial(&verifier.address, &authority, None, protocols)).await.unwrap();
        let answer = auth_over(&mut channel, "").await.unwrap();
        assert_eq!(answer, (http::Version::HTTP_2, "ok".to_owned()), "{protocols:?}");
    }
    let grpc = http2(dial(&verifier.grpc, &authority, None, &["h2"])).await.unwrap();
    assert_eq!(check(grpc).await.unwrap(), 0);
    assert!(dial(&verifier.address, &authority, None, &["something-else"]).stream().await.is_err());
    assert!(dial(&verifier.address, &Authority::new(), None, &["h2"]).stream().await.is_err(), "another authority");
}

#[tokio::test]
async fn whoever_speaks_plain_http_to_a_tls_port_gets_no_verdict_and_the_port_goes_on() {
    let authority = Authority::new();
    let files = Files::new(&authority.issue());
    let verifier = verifier(&args(&files.flags())).await;
    let mut connection = plain(&verifier.address).await;
    connection.send(&super::question("").await).await.unwrap();
    // A TLS alert is no answer.
    assert!(!matches!(connection.answer().await, Ok(Some(_))));
    for address in [&verifier.address, &verifier.grpc] {
        let asked = async { auth_over(&mut http2(Dial::to(address)).await?, "").await };
        assert!(asked.await.is_err(), "plain HTTP/2");
    }
    assert!(passes(dial(&verifier.address, &authority, None, &["http/1.1"])).await);
}

#[tokio::test]
async fn with_a_client_ca_only_clients_with_a_certificate_of_it_are_served() {
    let (authority, gateways) = (Authority::new(), Authority::new());
    let files = Files::new(&authority.issue());
    let verifier = verifier(&args(&files.mutual_flags(&gateways))).await;
    let (ours, foreign) = (gateways.issue(), Authority::new().issue());
    let same_issuer_as_the_server = authority.issue();
    for (what, pair, served) in [
        ("a certificate of the client CA", Some(&ours), true),
        ("none", None, false),
        ("one of a stranger", Some(&foreign), false),
        ("one of the server's own authority", Some(&same_issuer_as_the_server), false),
    ] {
        let http = passes(dial(&verifier.address, &authority, pair, &["http/1.1"])).await;
        assert_eq!(http, served, "{what}, HTTP/1.1");
        let asked =
            async { auth_over(&mut http2(dial(&verifier.address, &authority, pair, &["h2"])).await?, "").await };
        assert_eq!(asked.await.is_ok_and(|(_, code)| code == "ok"), served, "{what}, HTTP/2");
        let asked = async { check(http2(dial(&verifier.grpc, &authority, pair, &["h2"])).await?).await };
        assert_eq!(asked.await.is_ok_and(|code| code == 0), served, "{what}, gRPC");
    }
}

/// Starts a verifier that cannot start: its exit, and what it said.
async fn refusal(args: &[&str]) -> (String, String) {
    let running = Running::verifier(stage().await.cluster, args).await.unwrap();
    let end = eventually("it ends", async || running.process.ended().ok_or("it still runs")).await;
    (end, fs::read_to_string(&running.log).unwrap())
}

#[tokio::test]
async fn files_that_cannot_be_used_end_it_with_1_and_one_line_that_names_the_file_and_quotes_no_key() {
    let authority = Authority::new();
    let (pair, other) = (authority.issue(), authority.issue());
    let files = Files::new(&pair);
    let absent = files.path("absent").display().to_string();
    let folder = files.path("").display().to_string();
    let damaged_key =
        format!("{}\n???\n-----END PRIVATE KEY-----\n", pair.key.lines().take(2).collect::<Vec<_>>().join("\n"));
    let good_certificate = files.write("good.crt", &pair.certificate);
    let good_key = files.write("good.key", &pair.key);
    let good_ca = files.write("good-ca.crt", &authority.pem);
    let other_key = files.write("other.key", &other.key);
    let damaged_key = files.write("damaged.key", &damaged_key);
    let empty = files.write("empty", "");
    let prose = files.write("prose", "no PEM at all\n");
    let no_der = files.write("no-der.crt", "-----BEGIN CERTIFICATE-----\nbm9uc2Vuc2U=\n-----END CERTIFICATE-----\n");
    let no_der_key =
        files.write("no-der.key", "-----BEGIN PRIVATE KEY-----\nbm9uc2Vuc2U=\n-----END PRIVATE KEY-----\n");
    let cut_off = files.write("cut-off.crt", &pair.certificate[..pair.certificate.len() / 2]);
    let (crt, key, ca) = (good_certificate.as_str(), good_key.as_str(), good_ca.as_str());
    let keys = format!("{}{}", pair.key, other.key);
    for (what, [tls_cert, tls_key, client_ca], named) in [
        ("no certificate file", [&*absent, key, ca], &*absent),
        ("no key file", [crt, &absent, ca], &absent),
        ("no CA file", [crt, key, &absent], &absent),
        ("a folder as certificate", [&folder, key, ca], &folder),
        ("a folder as key", [crt, &folder, ca], &folder),
        ("a folder as CA", [crt, key, &folder], &folder),
        ("an empty certificate", [&empty, key, ca], &empty),
        ("an empty key", [crt, &empty, ca], &empty),
        ("an empty CA", [crt, key, &empty], &empty),
        ("prose as certificate", [&prose, key, ca], &prose),
        ("prose as key", [crt, &prose, ca], &prose),
        ("prose as CA", [crt, key, &prose], &prose),
        ("a key as certificate", [key, key, ca], key),
        ("a certificate as key", [crt, crt, ca], crt),
        ("a key as CA", [crt, key, key], key),
        ("a certificate cut off", [&cut_off, key, ca], &cut_off),
        ("a certificate of nonsense", [&no_der, key, ca], &no_der),
        ("a key of nonsense", [crt, &no_der_key, ca], &no_der_key),
        ("a CA of nonsense", [crt, key, &no_der], &no_der),
        ("a damaged key", [crt, &damaged_key, ca], &damaged_key),
        ("a key that does not fit", [crt, &other_key, ca], &other_key),
    ] {
        let flags =
            [format!("--tls-cert={tls_cert}"), format!("--tls-key={tls_key}"), format!("--tls-client-ca={client_ca}")];
        let (end, said) = refusal(&args(&flags)).await;
        assert!(end.ends_with("exit status: 1"), "{what}: {end}: {said}");
        let lines: Vec<&str> = said.lines().collect();
        assert_eq!(lines.len(), 1, "{what}: {said}");
        assert!(lines[0].starts_with("keywright: ") && lines[0].contains(named), "{what}: {said}");
        assert_quotes_nothing(&said, &keys, &files.path("good.key"));
    }
}

#[tokio::test]
async fn half_of_the_tls_flags_end_it_with_2_and_the_name_of_the_one_that_lacks() {
    for (flag, lacks) in [
        ("--tls-cert=/nowhere/tls.crt", "--tls-key"),
        ("--tls-key=/nowhere/tls.key", "--tls-cert"),
        ("--tls-client-ca=/nowhere/ca.crt", "--tls-cert"),
    ] {
        let (end, said) = refusal(&[flag]).await;
        assert!(end.ends_with("exit status: 2") && said.contains(lacks), "{flag}: {end}: {said}");
    }
}
