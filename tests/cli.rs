//! The command line: what it says of itself, of mistakes, and of a world that is not as it should be.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "cli/proxies.rs"]
mod proxies;
#[path = "support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde::Deserialize;
use support::cluster::Cluster;
use support::eventually;
use support::http;
use support::keywright::{Running, binary};
use support::process::free_ports;
use support::space::Space;
use tokio::io::{AsyncWriteExt, copy_bidirectional};
use tokio::net::TcpStream;

/// Runs it to its end, with nothing of ours in the environment but this.
fn run_with(args: &[&str], env: &[(&str, &str)]) -> Output {
    let home = tempfile::tempdir().unwrap();
    let mut command = Command::new(binary());
    command.args(args).env_clear().env("HOME", home.path()).envs(env.iter().copied()).output().unwrap()
}

fn run(args: &[&str]) -> Output {
    run_with(args, &[])
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// Holds that it ended with this code and said this on stderr, and nothing where a pipe would take it for a result.
fn assert_ends(what: &str, output: &Output, exit: i32, says: &[&str]) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(exit), "{what}: {stderr}");
    assert_eq!(stdout(output), "", "{what}");
    for words in says {
        assert!(stderr.contains(words), "{what}: expected `{words}` in: {stderr}");
    }
}

#[test]
fn a_command_line_that_cannot_be_used_ends_with_2_and_says_why() {
    for (args, says) in [
        (&["--frobnicate"][..], &["unexpected argument '--frobnicate'", "Usage: keywright"][..]),
        (&["frobnicate"], &["unrecognized subcommand 'frobnicate'"]),
        (&["operators"], &["unrecognized subcommand 'operators'", "'operator'"]),
        (&["operator", "--frobnicate"], &["unexpected argument '--frobnicate'", "Usage: keywright operator"]),
        (&["operator", "now"], &["unexpected argument 'now'"]),
        (&["verifier", "--listn=1.2.3.4:5"], &["unexpected argument '--listn'", "'--listen'"]),
        (&["crds", "--format=json"], &["unexpected argument '--format'"]),
        (&["operator", "--orphan-grace=a while"], &["--orphan-grace", "`a while` is no duration: write it like 90s"]),
        (&["operator", "--orphan-grace=24"], &["`24` is no duration: write it like 90s, 15m or 24h"]),
        (&["operator", "--orphan-interval=-5s"], &["--orphan-interval", "`-5s` is negative"]),
        (&["operator", "--orphan-interval="], &["--orphan-interval"]),
        (&["operator", "--admin-listen=nowhere"], &["'nowhere' for '--admin-listen", "invalid socket address"]),
        (&["verifier", "--grpc-listen="], &["--grpc-listen", "invalid socket address", "or off"]),
        (&["verifier", "--default-requirement=scop=any"], &["`scop` is no parameter of a route"]),
        (&["verifier", "--default-requirement="], &["is no parameter of a route"]),
        (&["verifier", "--listen=7070"], &["'7070' for '--listen", "invalid socket address"]),
        (&["verifier", "--listen=127.0.0.1:65536"], &["'127.0.0.1:65536'", "invalid socket address"]),
        (&["operator", "--concurrency=0"], &["'0' for '--concurrency", "0 is not in 1..=65535"]),
        (&["operator", "--concurrency=many"], &["'many' for '--concurrency"]),
        (&["verifier", "--argon2-checks=0"], &["'0' for '--argon2-checks", "0 is not in 1..=255"]),
        (&["verifier", "--key-header=not a header"], &["'not a header' for '--key-header"]),
        (&["verifier", "--method-header=a:b"], &["'a:b' for '--method-header"]),
        (&["operator", "--concurrency=1", "--concurrency=2"], &["'--concurrency", "cannot be used multiple times"]),
        (&["operator", "--leader-election=perhaps"], &["'--leader-election'"]),
        (
            &["operator", "--watch-namespaces=shop, billing"],
            &["` billing` is no name of a namespace", "write names like shop,billing"],
        ),
        (&["verifier", "--watch-namespaces=Shop"], &["--watch-namespaces", "`Shop` is no name of a namespace"]),
        (&["verifier", "--watch-namespaces="], &["`` is no name of a namespace", "leave the flag out to watch all"]),
        (&["operator", "--log-format=xml"], &["'xml' for '--log-format", "possible values: text, json"]),
        (&["operator", "--log=keywright=loud"], &["--log"]),
        (&[], &["Usage: keywright", "Examples:", "operator", "verifier", "crds"]),
    ] {
        assert_ends(&format!("{args:?}"), &run(args), 2, says);
    }
    for (name, value) in [
        ("KEYWRIGHT_CONCURRENCY", "0"),
        ("KEYWRIGHT_ORPHAN_GRACE", "soon"),
        ("KEYWRIGHT_LEADER_ELECTION", "perhaps"),
        ("KEYWRIGHT_WATCH_NAMESPACES", "*"),
    ] {
        assert_ends(name, &run_with(&["operator"], &[(name, value)]), 2, &[value]);
    }
}

#[test]
fn each_command_explains_itself() {
    for (command, says) in [
        (&[][..], &["Examples:", "keywright crds | kubectl apply -f -", "KEYWRIGHT_ADMIN_LISTEN"][..]),
        (&["operator"], &["[default: 127.0.0.1:7073]", "[default: 4]", "[default: 10m]", "[default: 24h]"]),
        (&["verifier"], &["Ask it:", "/auth?scope=orders:read", "/v1/verify", "[default: 127.0.0.1:7070]"]),
        (&["crds"], &["--dir <DIR>", "--templates <DIR>", "[default: info]"]),
    ] {
        for flag in ["--help", "-h"] {
            let output = run(&[command, &[flag]].concat());
            assert_eq!(output.status.code(), Some(0), "{command:?}");
            // However the lines are broken.
            let shown = stdout(&output).split_whitespace().collect::<Vec<_>>().join(" ");
            for words in says {
                assert!(shown.contains(words), "{command:?}: expected `{words}` in: {shown}");
            }
        }
    }
    assert_eq!(stdout(&run(&["--version"])).trim(), concat!("keywright ", env!("CARGO_PKG_VERSION")));
}

#[test]
fn every_flag_of_a_server_can_be_set_in_the_environment() {
    for command in ["operator", "verifier"] {
        let help = stdout(&run(&[command, "--help"]));
        // So far to the right stand flags; what is said of them, which may speak of other flags, stands further.
        let flags = help.lines().filter_map(|line| line.strip_prefix("      --")?.split(' ').next());
        let mut count = 0;
        for flag in flags {
            let variable = format!("[env: KEYWRIGHT_{}=", flag.to_uppercase().replace('-', "_"));
            assert!(help.contains(&variable), "{command} --{flag}: no {variable} in {help}");
            count += 1;
        }
        assert!(count > 5, "the flags were found in {help}");
    }
}

/// The YAML files of a folder, by name.
fn files(dir: &Path) -> BTreeMap<String, String> {
    let read = |entry: std::io::Result<fs::DirEntry>| {
        let entry = entry.unwrap();
        (entry.file_name().into_string().unwrap(), fs::read_to_string(entry.path()).unwrap())
    };
    fs::read_dir(dir).unwrap().map(read).collect()
}

#[test]
fn the_crds_are_printed_and_written_as_they_are_committed() {
    let printed = stdout(&run(&["crds"]));
    let names: Vec<String> = serde_yaml_ng::Deserializer::from_str(&printed)
        .map(|document| serde_yaml_ng::Value::deserialize(document).unwrap())
        .filter(|document| !document.is_null())
        .inspect(|document| assert_eq!(document["kind"], "CustomResourceDefinition"))
        .map(|document| document["metadata"]["name"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(names, ["accounts.keywright.dev", "apikeys.keywright.dev", "suspensions.keywright.dev"]);

    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let target = tempfile::tempdir().unwrap();
    let path = |name: &str| target.path().join(name).display().to_string();
    let (dir, templates) = (path("new/crds"), path("new/templates"));
    let output = run(&["crds", "--dir", &dir, "--templates", &templates]);
    assert_ends("crds --dir --templates", &output, 0, &[]);
    for (written, committed) in [(&dir, "crds"), (&templates, "charts/keywright/templates/crds")] {
        let (written, committed) = (files(Path::new(written)), files(&root.join(committed)));
        assert_eq!(written.keys().collect::<Vec<_>>(), committed.keys().collect::<Vec<_>>());
        for (name, text) in written {
            assert!(text == committed[&name], "{name} differs from what is committed: run `make crds`");
        }
    }
    for output in [run(&["crds", "--dir", "/dev/null/crds"]), run(&["crds", "--templates", "/dev/null/crds"])] {
        assert_ends("a folder that cannot be", &output, 1, &["keywright: "]);
    }
}

#[test]
fn without_a_cluster_to_go_to_it_says_what_to_set() {
    for command in ["operator", "verifier"] {
        assert_ends(command, &run(&[command]), 1, &["set KUBECONFIG, or run in a pod with a ServiceAccount"]);
        let output = run_with(&[command], &[("KUBECONFIG", "/nowhere/kubeconfig")]);
        assert_ends(command, &output, 1, &["KUBECONFIG", "/nowhere/kubeconfig"]);
    }
}

#[test]
fn a_proxy_that_cannot_be_used_is_said_and_not_quoted() {
    let kubeconfig = tempfile::NamedTempFile::new().unwrap();
    let text = "apiVersion: v1\nkind: Config\ncurrent-context: far\n\
        clusters: [{name: far, cluster: {server: \"https://api.keywright.invalid\"}}]\n\
        contexts: [{name: far, context: {cluster: far, user: far}}]\nusers: [{name: far, user: {token: t}}]\n";
    fs::write(kubeconfig.path(), text).unwrap();
    for proxy in ["ftp://me:secret@proxy:21", "socks4://me:secret@proxy"] {
        let env = [("KUBECONFIG", kubeconfig.path().to_str().unwrap()), ("HTTPS_PROXY", proxy)];
        let output = run_with(&["operator", "--admin-listen=127.0.0.1:0"], &env);
        assert_ends(proxy, &output, 1, &["must be a URL that begins with http://, https:// or socks5://", "NO_PROXY"]);
        assert!(!String::from_utf8_lossy(&output.stderr).contains("secret"), "{output:?}");
    }
}

#[test]
fn a_kubeconfig_that_is_not_valid_is_said_and_not_quoted() {
    let dir = tempfile::tempdir().unwrap();
    let kubeconfig = dir.path().join("kubeconfig");
    fs::write(&kubeconfig, "users: [{name: a, user: {token: s3cret-token").unwrap();
    let output = run_with(&["verifier"], &[("KUBECONFIG", kubeconfig.to_str().unwrap())]);
    assert_ends("verifier", &output, 1, &["the kubeconfig that KUBECONFIG names is not valid"]);
    assert!(!String::from_utf8_lossy(&output.stderr).contains("s3cret"));
}

#[test]
fn an_address_in_use_is_named_with_the_flags_that_choose_another() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let [free] = free_ports().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let kubeconfig = dir.path().join("kubeconfig");
    fs::write(
        &kubeconfig,
        "{current-context: a, clusters: [{name: a, cluster: {server: 'http://127.0.0.1:1'}}], \
         contexts: [{name: a, context: {cluster: a, user: a}}], users: [{name: a, user: {}}]}",
    )
    .unwrap();
    let env = [("KUBECONFIG", kubeconfig.to_str().unwrap())];
    // The default addresses may be taken too: `make up` may run.
    let free = |flag: &str| vec![format!("{flag}=127.0.0.1:{free}"), "--grpc-listen=off".to_owned()];
    for (role, flag, others) in [
        ("operator", "--admin-listen", vec![]),
        ("verifier", "--admin-listen", free("--listen")),
        ("verifier", "--listen", free("--admin-listen")),
    ] {
        let in_use = format!("{flag}={taken}");
        let args: Vec<&str> = [role, &in_use].into_iter().chain(others.iter().map(String::as_str)).collect();
        let says = format!("{taken} is already in use");
        assert_ends(&format!("{args:?}"), &run_with(&args, &env), 1, &[&says, "--listen", "--admin-listen"]);
    }
}

/// A way to the API server that is shut at first: whoever comes is turned away.
async fn gate(cluster: &Cluster) -> (String, Arc<AtomicBool>) {
    let open = Arc::new(AtomicBool::new(false));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("https://{}", listener.local_addr().unwrap());
    let (api_server, opened) = (cluster.plane.port, open.clone());
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            if opened.load(Ordering::Acquire) {
                tokio::spawn(async move {
                    let mut server = TcpStream::connect(("127.0.0.1", api_server)).await?;
                    copy_bidirectional(&mut client, &mut server).await
                });
            }
        }
    });
    (address, open)
}

/// Both roles on a cluster whose API server does not answer yet, and the way to let it.
async fn both_before_a_shut_gate(cluster: &Cluster) -> ([Running; 2], Arc<AtomicBool>) {
    let (server, open) = gate(cluster).await;
    let start = async |role: &str, listen: Option<u16>, admin: u16| {
        let token = cluster.refresh_token(&format!("keywright-{role}")).await.unwrap();
        let kubeconfig = cluster.plane.dir.join(format!("gate-{admin}.kubeconfig"));
        let user = format!("tokenFile: \"{}\"", token.display());
        cluster.plane.write_kubeconfig_for(&kubeconfig, &server, &user).unwrap();
        let at_once: &[&str] = if listen.is_some() { &["--shutdown-delay=0s"] } else { &[] };
        Running::start(cluster, role, &kubeconfig, listen, admin, at_once).unwrap()
    };
    let [listen, one, two] = free_ports().unwrap();
    ([start("operator", None, one).await, start("verifier", Some(listen), two).await], open)
}

/// Waits until the log tells of an API server that does not answer, twice, so that it tried again.
async fn until_it_complains(running: &Running) {
    eventually("the log says what to check", async || {
        let log = fs::read_to_string(&running.log).map_err(|e| e.to_string())?;
        let complaints = log.lines().filter(|line| line.contains("does not answer") && line.contains("KUBECONFIG"));
        if complaints.count() >= 2 { Ok(()) } else { Err(log) }
    })
    .await;
}

/// SIGTERM ends it, with 0, before anyone loses patience.
fn assert_ends_in_time(running: &Running, when: &str) {
    let start = Instant::now();
    let code = running.process.terminate().unwrap();
    let log = fs::read_to_string(&running.log).unwrap();
    assert_eq!(code, Some(0), "{} {when}: {log}", running.process.name);
    assert!(start.elapsed() < Duration::from_secs(5), "{} {when} took {:?}", running.process.name, start.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn both_stay_up_unready_while_the_api_server_does_not_answer_and_become_ready_when_it_does() {
    let cluster = Cluster::shared().await;
    let (both, open) = both_before_a_shut_gate(cluster).await;
    for running in &both {
        until_it_complains(running).await;
        let ready = http::get(&running.admin, "/readyz", &[]).await.unwrap();
        assert_eq!(ready.status, 503, "{}", running.process.name);
        assert!(
            ready.body.starts_with("not ready: waiting for") && ready.body.contains("API server"),
            "{}",
            ready.body
        );
        assert_eq!(http::get(&running.admin, "/livez", &[]).await.unwrap().status, 200, "{}", running.process.name);
        assert_eq!(running.process.ended(), None);
    }
    open.store(true, Ordering::Release);
    let [operator, verifier] = both;
    let (operator, verifier) = (operator.ready().await, verifier.ready().await);
    let value = Space::new(cluster).await.ready_key("storefront").await;
    verifier.eventually_says("ok", "scope=any", &value).await;
    for running in [operator, verifier] {
        // A probe keeps its connection open between two questions.
        let mut idle = TcpStream::connect(&running.admin).await.unwrap();
        idle.write_all(b"GET /livez HTTP/1.1\r\nHost: probe\r\n\r\n").await.unwrap();
        idle.readable().await.unwrap();
        assert_ends_in_time(&running, "when ready");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_ends_both_while_they_wait_for_the_api_server() {
    let cluster = Cluster::shared().await;
    let (both, _open) = both_before_a_shut_gate(cluster).await;
    for running in both {
        until_it_complains(&running).await;
        assert_ends_in_time(&running, "when waiting");
    }
}

/// Its first lists may not be complete yet, and nobody feeds them any more.
#[tokio::test(flavor = "multi_thread")]
async fn sigterm_ends_an_operator_that_has_only_just_become_ready() {
    let cluster = Cluster::shared().await;
    for _ in 0..6 {
        let operator = Running::operator(cluster, &[]).await.unwrap().ready().await;
        assert_ends_in_time(&operator, "right after it became ready");
    }
}
