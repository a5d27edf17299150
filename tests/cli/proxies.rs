//! An API server that can only be reached through a proxy.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

use super::support::cluster::Cluster;
use super::support::keywright::{Running, binary};
use super::support::process::{Process, free_ports, write_whole};
use super::support::{eventually, http};

/// The API server under a name that only the proxy resolves.
const SERVER: &str = "https://api.keywright.invalid:6443";

/// A proxy that connects every client to the API server.
struct Tunnel {
    url: String,
    opened: Arc<AtomicUsize>,
}

impl Tunnel {
    async fn start(cluster: &Cluster) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (opened, port) = (Arc::new(AtomicUsize::new(0)), cluster.plane.port);
        let count = opened.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(connect(client, port, count.clone()));
            }
        });
        Self { url, opened }
    }

    fn opened(&self) -> usize {
        self.opened.load(Ordering::Relaxed)
    }
}

async fn connect(client: TcpStream, port: u16, count: Arc<AtomicUsize>) {
    let mut client = BufReader::new(client);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if client.read_line(&mut head).await.unwrap_or(0) == 0 {
            return;
        }
    }
    if head.starts_with("CONNECT api.keywright.invalid:6443 ") {
        count.fetch_add(1, Ordering::Relaxed);
        let mut server = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
        // Either end may go away.
        let _ = copy_bidirectional(&mut client, &mut server).await;
    }
}

/// A kubeconfig of the operator's, with more lines for its cluster.
async fn kubeconfig(cluster: &Cluster, name: &str, more: &str) -> PathBuf {
    let token = cluster.refresh_token("keywright-operator").await.unwrap();
    let authority = cluster.plane.dir.join("certs/apiserver.crt").canonicalize().unwrap();
    let text = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: far\n\
         clusters: [{{name: far, cluster: {{server: \"{SERVER}\", tls-server-name: kubernetes, certificate-authority: \"{}\"{more}}}}}]\n\
         contexts: [{{name: far, context: {{cluster: far, user: far}}}}]\n\
         users: [{{name: far, user: {{tokenFile: \"{}\"}}}}]\n",
        authority.display(),
        token.display()
    );
    let path = cluster.plane.dir.join(name);
    write_whole(&path, &text).unwrap();
    path
}

fn operator(kubeconfig: &Path, environment: &[(&str, &str)]) -> Running {
    let [admin] = free_ports().unwrap();
    let admin = format!("127.0.0.1:{admin}");
    let log = kubeconfig.with_extension(format!("{}.log", admin.replace(':', "-")));
    let mut env = vec![("KUBECONFIG", kubeconfig.display().to_string())];
    // Those of whoever runs the tests do not count.
    env.extend(["HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "https_proxy", "no_proxy"].map(|name| (name, String::new())));
    env.extend(environment.iter().map(|(name, value)| (*name, (*value).to_owned())));
    let args = ["operator".to_owned(), format!("--admin-listen={admin}")];
    let process = Process::start("operator", &binary(), &args, &env, &log).unwrap();
    Running { process, admin, address: String::new(), grpc: String::new(), log }
}

/// Waits until the operator reports that it does not reach the API server.
async fn until_it_waits(operator: &Running) {
    eventually("the operator waits for the API server", async || {
        let log = std::fs::read_to_string(&operator.log).map_err(|error| error.to_string())?;
        if log.contains("API server") { Ok(()) } else { Err(log) }
    })
    .await;
    let answer = http::get(&operator.admin, "/readyz", &[]).await.unwrap();
    assert_eq!(answer.status, 503, "{}", answer.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_environment_names_a_proxy_for_all_but_some_hosts() {
    let cluster = Cluster::shared().await;
    let proxy = Tunnel::start(cluster).await;
    let far = kubeconfig(cluster, "environment.kubeconfig", "").await;
    let proxied = operator(&far, &[("HTTPS_PROXY", &proxy.url), ("NO_PROXY", "127.0.0.1,10.0.0.0/8")]);
    proxied.ready().await;
    let opened = proxy.opened();
    assert!(opened > 0, "it went through the proxy");

    let excepted = operator(&far, &[("HTTPS_PROXY", &proxy.url), ("NO_PROXY", ".keywright.invalid")]);
    until_it_waits(&excepted).await;
    assert_eq!(proxy.opened(), opened, "the host is excepted");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_proxy_of_the_kubeconfig_comes_first() {
    let cluster = Cluster::shared().await;
    let proxy = Tunnel::start(cluster).await;
    let declared = format!(", proxy-url: \"{}\"", proxy.url);
    let far = kubeconfig(cluster, "declared.kubeconfig", &declared).await;
    let nowhere = [("HTTPS_PROXY", "http://127.0.0.1:1"), ("NO_PROXY", "*")];
    operator(&far, &nowhere).ready().await;
    assert!(proxy.opened() > 0);
}
