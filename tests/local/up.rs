//! `up` starts the supervisor in the background and shows how it goes; `down` stops it.

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::supervise::{FAILED, READY};
use super::support::Result;
use super::{OPERATOR_ADMIN, VERIFIER, VERIFIER_ADMIN, VERIFIER_GRPC, kubectl, state};

/// How long the supervisor may say nothing new.
const PATIENCE: Duration = Duration::from_mins(3);

pub async fn up() -> Result<()> {
    if running().is_some() {
        println!("Keywright is running already; applying the examples again.");
        println!("(After a change of the code: make down && make up)");
        kubectl(&["apply", "-f", "examples/"])?;
        next_steps();
        return Ok(());
    }
    for (port, what) in [
        (VERIFIER, "the verifier"),
        (VERIFIER_GRPC, "its gRPC port"),
        (VERIFIER_ADMIN, "its admin port"),
        (OPERATOR_ADMIN, "the operator's admin port"),
    ] {
        TcpListener::bind((Ipv4Addr::LOCALHOST, port)).map_err(|_| {
            format!("port {port} of 127.0.0.1, for {what}, is in use: stop what listens there (`ss -ltnp 'sport = :{port}'` tells what), then `make up` again")
        })?;
    }
    super::support::control_plane::binaries()?;
    if state().exists() {
        fs::remove_dir_all(state())?;
    }
    fs::create_dir_all(state().join("logs"))?;
    let log = state().join("logs/supervisor.log");
    println!("Starting Keywright in the background:");
    let supervisor = Command::new(std::env::current_exe()?)
        .arg("supervise")
        .stdin(Stdio::null())
        .stdout(File::create(&log)?)
        .stderr(File::create(state().join("logs/supervisor.err"))?)
        // Ctrl-C in the terminal that ran `make up` is not meant for it.
        .process_group(0)
        .spawn()?;
    fs::write(state().join("pid"), supervisor.id().to_string())?;
    follow(&log, supervisor).await?;
    next_steps();
    Ok(())
}

async fn follow(log: &Path, mut supervisor: std::process::Child) -> Result<()> {
    let (mut shown, mut since) = (0, Instant::now());
    loop {
        let text = fs::read_to_string(log)?;
        for line in text[shown..].split_inclusive('\n').filter(|line| line.ends_with('\n')) {
            shown += line.len();
            since = Instant::now();
            match line.trim_end() {
                READY => return Ok(()),
                line => match line.strip_prefix(FAILED) {
                    Some(why) => return Err(format!("{why}\nThe logs are in .local/logs").into()),
                    None => println!("{line}"),
                },
            }
        }
        if let Some(status) = supervisor.try_wait()? {
            let errors = fs::read_to_string(log.with_extension("err")).unwrap_or_default();
            return Err(format!("the supervisor ended with {status}: {errors}\nThe logs are in .local/logs").into());
        }
        if since.elapsed() > PATIENCE {
            return Err("nothing happens; the logs are in .local/logs".into());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

pub fn down() -> Result<()> {
    let Some(pid) = running() else {
        println!("Keywright is not running.");
        return Ok(());
    };
    Command::new("kill").arg(pid.to_string()).status()?;
    let start = Instant::now();
    while running().is_some() {
        if start.elapsed() > Duration::from_secs(30) {
            Command::new("kill").args(["-KILL", &pid.to_string()]).status()?;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    println!("Stopped. The logs are in .local/logs until the next `make up`.");
    Ok(())
}

/// The supervisor, if it runs. A number that another program has taken since is none.
fn running() -> Option<u32> {
    let pid: u32 = fs::read_to_string(state().join("pid")).ok()?.trim().parse().ok()?;
    let proc = Path::new("/proc").join(pid.to_string());
    let command = fs::read_to_string(proc.join("cmdline")).ok()?;
    // A zombie, which nobody waits for here, has an empty command line.
    command.contains("supervise").then_some(pid)
}

fn next_steps() {
    println!(
        r#"
Keywright is up. The verifier answers on 127.0.0.1:{VERIFIER}, and Envoy on {VERIFIER_GRPC}. Next, type:

  export KUBECONFIG=$PWD/.local/kubeconfig PATH=$PWD/.local/bin:$PATH
  kubectl get apikeys -n shop
  KEY=$(kubectl get secret storefront -n shop -o jsonpath='{{.data.api-key}}' | base64 -d)
  curl -i 'http://127.0.0.1:{VERIFIER}/auth?scope=orders:read' -H "Authorization: Bearer $KEY"
  kubectl patch apikey storefront -n shop --field-manager=keywright --type=merge -p '{{"spec":{{"disabled":true}}}}'
  curl -i 'http://127.0.0.1:{VERIFIER}/auth?scope=orders:read' -H "Authorization: Bearer $KEY"

`make demo` walks the whole story; `make down` stops everything."#
    );
}
