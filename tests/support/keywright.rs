//! The operator and the verifier as real processes, under the chart's own `ServiceAccounts`.

use std::cell::Cell;
use std::fmt::Debug;
use std::iter::Sum;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::{Duration, Instant};

use super::cluster::Cluster;
use super::http::{self, Answer};
use super::process::{Process, free_ports};
use super::{Result, eventually};

/// A running operator or verifier.
pub struct Running {
    pub process: Process,
    pub admin: String,
    /// Where a verifier answers.
    pub address: String,
    /// Where it answers over gRPC.
    pub grpc: String,
    pub log: PathBuf,
}

/// The sum of a metric's samples, of which there is one at least.
pub fn sum<T: FromStr<Err: Debug> + Sum>(metrics: &str, name: &str) -> T {
    let of = |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{']));
    let mut samples = metrics.lines().filter(of).map(|line| line.rsplit_once(' ').expect("a sample").1).peekable();
    assert!(samples.peek().is_some(), "no {name} in {metrics}");
    samples.map(|value| value.parse::<T>().expect("a number")).sum()
}

/// The binary beside the test's own.
pub fn binary() -> PathBuf {
    let this = std::env::current_exe().expect("this program");
    let profile = this.parent().and_then(Path::parent).expect("target/<profile>/deps");
    profile.join("keywright")
}

impl Running {
    /// Starts the operator on free ports.
    pub async fn operator(cluster: &Cluster, args: &[&str]) -> Result<Self> {
        let kubeconfig = cluster.kubeconfig_of("keywright-operator").await?;
        Self::operator_with(cluster, &kubeconfig, args)
    }

    /// The same with another way to the API server.
    pub fn operator_with(cluster: &Cluster, kubeconfig: &Path, args: &[&str]) -> Result<Self> {
        let [admin] = free_ports()?;
        Self::start(cluster, "operator", kubeconfig, None, admin, args)
    }

    /// Starts a verifier on free ports.
    pub async fn verifier(cluster: &Cluster, args: &[&str]) -> Result<Self> {
        let kubeconfig = cluster.kubeconfig_of("keywright-verifier").await?;
        let [listen, admin] = free_ports()?;
        Self::start(cluster, "verifier", &kubeconfig, Some(listen), admin, args)
    }

    /// Starts either on given ports.
    pub fn start(
        cluster: &Cluster,
        role: &str,
        kubeconfig: &Path,
        listen: Option<u16>,
        admin: u16,
        more: &[&str],
    ) -> Result<Self> {
        let address = |port: u16| format!("127.0.0.1:{port}");
        let mut args = vec![role.to_owned(), format!("--admin-listen={}", address(admin))];
        args.extend(listen.map(|port| format!("--listen={}", address(port))));
        let chosen = more.iter().find_map(|arg| arg.strip_prefix("--grpc-listen=")).map(str::to_owned);
        let grpc = match (listen, chosen) {
            (Some(_), None) => {
                let [port] = free_ports()?;
                args.push(format!("--grpc-listen={}", address(port)));
                address(port)
            }
            (_, chosen) => chosen.unwrap_or_default(),
        };
        args.extend(more.iter().map(|&arg| arg.to_owned()));
        let log = cluster.plane.dir.join("logs").join(format!("{role}-{admin}.log"));
        let env = [("KUBECONFIG", kubeconfig.display().to_string())];
        Ok(Self {
            process: Process::start(role, &binary(), &args, &env, &log)?,
            admin: address(admin),
            address: listen.map(address).unwrap_or_default(),
            grpc,
            log,
        })
    }

    /// Waits until `/readyz` says so.
    pub async fn ready(self) -> Self {
        eventually("ready", async || {
            if let Some(why) = self.process.ended() {
                panic!("{why}; see {}", self.log.display());
            }
            let answer = http::get(&self.admin, "/readyz", &[]).await?;
            if answer.status == 200 { Ok(()) } else { Err::<(), super::Error>(answer.body.into()) }
        })
        .await;
        self
    }

    /// A line of `/proc/PID/status` in KiB, such as `VmRSS` or `VmHWM`, the peak.
    pub fn memory(&self, line: &str) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).expect("its status");
        let value = status.lines().find_map(|text| text.strip_prefix(line)).expect("the line");
        value.trim_start_matches(':').trim().trim_end_matches(" kB").parse().expect("a number")
    }

    /// Waits until the peak of resident memory has not changed for some time, and returns it in KiB.
    pub async fn settled_peak(&self, quiet: Duration) -> usize {
        let seen = Cell::new((0, Instant::now()));
        eventually("memory no longer grows", async || {
            let now = self.memory("VmHWM");
            if now != seen.get().0 {
                seen.set((now, Instant::now()));
            }
            if seen.get().1.elapsed() > quiet { Ok(now) } else { Err(format!("{now} KiB")) }
        })
        .await
    }

    /// The sum of a metric's samples.
    pub async fn metric<T: FromStr<Err: Debug> + Sum>(&self, name: &str) -> T {
        sum(&http::get(&self.admin, "/metrics", &[]).await.expect("metrics").body, name)
    }

    /// A gateway's question.
    pub async fn auth(&self, query: &str, headers: &[(&str, &str)]) -> Answer {
        let path = if query.is_empty() { "/auth".to_owned() } else { format!("/auth?{query}") };
        http::get(&self.address, &path, headers).await.expect("the verifier answers")
    }

    /// A gateway's question about a key, and the code of the answer.
    pub async fn code(&self, query: &str, key: &str) -> String {
        let bearer = format!("Bearer {key}");
        let answer = self.auth(query, &[("Authorization", &bearer)]).await;
        answer.header("x-keywright-code").unwrap_or("none").to_owned()
    }

    /// Waits until the verifier answers so.
    pub async fn eventually_says(&self, code: &str, query: &str, key: &str) {
        eventually(&format!("the verifier says {code}"), async || {
            let said = self.code(query, key).await;
            if said == code { Ok(()) } else { Err(format!("it says {said}")) }
        })
        .await;
    }
}
