//! Before the verifier knows everything, and what the gRPC health service says of it.

use std::sync::Arc;

use envoy_types::ext_authz::v3::pb::CheckRequest;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::client::{Client, Keywright, ask, channel, keywright, request};
use super::support::eventually;
use super::support::keywright::Running;
use super::support::process::free_ports;
use super::{ANY, PUBLIC};

/// A way to the API server that can be opened; until then whoever takes it waits.
async fn gate(api_server: u16) -> (u16, Arc<Notify>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let open = Arc::new(Notify::new());
    let opened = open.clone();
    tokio::spawn(async move {
        opened.notified().await;
        while let Ok((mut from, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut to = TcpStream::connect(("127.0.0.1", api_server)).await?;
                tokio::io::copy_bidirectional(&mut from, &mut to).await
            });
        }
    });
    (port, open)
}

async fn health(address: &str, service: &str) -> Result<ServingStatus, tonic::Status> {
    let request = HealthCheckRequest { service: service.to_owned() };
    Ok(HealthClient::new(channel(address)).check(request).await?.into_inner().status())
}

#[tokio::test]
async fn a_route_without_a_requirement_has_the_default_one() {
    let Keywright { cluster, full, reader, other, .. } = keywright().await;
    let account = keywright().await.account();
    let requirement = format!("--default-requirement=scope=orders:write&account={account}&strip-key=true");
    let verifier = Running::verifier(cluster, &[&requirement]).await.unwrap().ready().await;
    let client = Client::new(channel(&verifier.grpc));
    let asked = async |question: &[(&str, &str)], key: &str| {
        let answer = ask(&client, request(question, "GET", &[("x-api-key", key)])).await;
        (answer.status, answer.code().to_owned())
    };
    assert_eq!(asked(&[], full).await.0, 200);
    assert_eq!(asked(&[], reader).await, (403, "insufficient_scope".to_owned()));
    assert_eq!(asked(&[], other).await, (403, "wrong_account".to_owned()));
    assert_eq!(asked(ANY, reader).await.0, 200, "a requirement of the route's own takes its place");
    assert_eq!(asked(&[("metadata", "true")], full).await, (403, "bad_route".to_owned()), "it is not added to another");
}

#[tokio::test]
async fn a_verifier_that_is_not_ready_refuses_everything_and_serves_when_it_is() {
    const SERVICES: [&str; 2] = ["", "envoy.service.auth.v3.Authorization"];
    let Keywright { cluster, full, off, site, .. } = keywright().await;
    let (port, open) = gate(cluster.plane.port).await;
    let token = cluster.refresh_token("keywright-verifier").await.unwrap();
    let kubeconfig = cluster.plane.dir.join("gate.kubeconfig");
    let user = format!("tokenFile: \"{}\"", token.display());
    cluster.plane.write_kubeconfig_for(&kubeconfig, &format!("https://127.0.0.1:{port}"), &user).unwrap();
    let [listen, admin] = free_ports().unwrap();
    let verifier = Running::start(cluster, "verifier", &kubeconfig, Some(listen), admin, &[]).unwrap();
    let address = &verifier.grpc;

    for service in SERVICES {
        let status = eventually("it listens", || health(address, service)).await;
        assert_eq!(status, ServingStatus::NotServing, "{service:?}");
    }
    let nobody = health(address, "keywright").await.unwrap_err();
    assert_eq!(nobody.code(), tonic::Code::NotFound, "no other service is claimed");

    let client = Client::new(channel(address));
    let asked = |question, key: Option<&str>| {
        request(question, "GET", &key.into_iter().map(|key| ("x-api-key", key)).collect::<Vec<_>>())
    };
    for (what, request) in [
        ("a good key", asked(ANY, Some(full))),
        ("a disabled key", asked(ANY, Some(off))),
        ("nonsense", asked(ANY, Some("nonsense"))),
        ("no key", asked(ANY, None)),
        ("a Site ID", asked(PUBLIC, Some(site))),
        ("no question", asked(&[], Some(full))),
        ("no attributes", CheckRequest::default()),
    ] {
        let answer = ask(&client, request).await;
        let said = (answer.status, answer.rpc, answer.code());
        assert_eq!(said, (503, tonic::Code::Unavailable as i32, "not_ready"), "{what}: {answer:?}");
        assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{what}");
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{what}");
        assert_eq!(answer.header("www-authenticate"), None, "{what}: it is not the client's fault");
        assert!(answer.body.contains("\"code\":\"not_ready\""), "{what}: {}", answer.body);
    }

    open.notify_one();
    for service in SERVICES {
        eventually("it serves", async || match health(address, service).await {
            Ok(ServingStatus::Serving) => Ok(()),
            other => Err(format!("{service:?}: {other:?}")),
        })
        .await;
    }
    for (question, key, code) in [(ANY, full, "ok"), (ANY, off, "disabled"), (PUBLIC, site, "ok")] {
        assert_eq!(ask(&client, asked(question, Some(key))).await.code(), code, "at once: it serves, so it knows");
    }
}

/// How many sockets of a process listen.
fn listening(process: u32) -> usize {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let columns = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let sockets: Vec<String> = columns.filter(|c| c[3] == "0A").map(|c| format!("socket:[{}]", c[9])).collect();
    let files = std::fs::read_dir(format!("/proc/{process}/fd")).unwrap();
    let names = files.filter_map(|file| std::fs::read_link(file.ok()?.path()).ok());
    names.filter(|name| sockets.iter().any(|socket| name.as_os_str() == socket.as_str())).count()
}

#[tokio::test]
async fn a_verifier_that_nobody_asks_over_grpc_does_not_listen_there_and_answers_over_http() {
    let Keywright { cluster, full, .. } = keywright().await;
    let verifier = Running::verifier(cluster, &["--grpc-listen=off"]).await.unwrap().ready().await;
    assert_eq!(verifier.code("scope=any", full).await, "ok");
    assert_eq!(listening(verifier.process.id()), 2, "for questions over HTTP, and the admin port");
    let both = Running::verifier(cluster, &[]).await.unwrap().ready().await;
    assert_eq!(listening(both.process.id()), 3);
}
