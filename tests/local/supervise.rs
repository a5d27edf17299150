//! The process in the background that owns all others. It tells how it goes on stdout, a line a phase, and ends with
//! everything it started when it is told to, or killed.

use std::time::{Duration, Instant};

use super::support::Result;
use super::support::cluster::{Cluster, TOKEN_LIFE};
use super::support::keywright::Running;
use super::{OPERATOR_ADMIN, VERIFIER, VERIFIER_ADMIN, VERIFIER_GRPC, kubectl, state};

/// The last line of a start that worked.
pub const READY: &str = "everything is ready";
/// How the last line of one that did not begins.
pub const FAILED: &str = "failed: ";

pub async fn supervise() -> Result<()> {
    let running = match start().await {
        Ok(running) => running,
        Err(error) => {
            println!("{FAILED}{error}");
            return Err(error);
        }
    };
    println!("{READY}");
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    let (cluster, operator, verifier) = running;
    tokio::select! {
        _ = terminate.recv() => {}
        () = keep_tokens_fresh(&cluster) => {}
        () = watch_over(&operator, &verifier) => {}
    }
    verifier.process.terminate()?;
    operator.process.terminate()?;
    Ok(())
}

async fn start() -> Result<(Cluster, Running, Running)> {
    let cluster = phase("control plane: etcd, kube-apiserver, controller manager", async || {
        let plane = super::support::control_plane::ControlPlane::start(&state()).await?;
        plane.with_controller_manager()?;
        std::fs::create_dir_all(state().join("bin"))?;
        for tool in ["kubectl", "helm"] {
            let link = state().join("bin").join(tool);
            let _ = std::fs::remove_file(&link);
            std::os::unix::fs::symlink(plane.bin.join(tool), link)?;
        }
        Ok(Cluster::on(plane))
    })
    .await?;
    phase("chart: helm upgrade --install keywright charts/keywright", async || cluster.install_chart()).await?;
    let operator = phase("operator, as ServiceAccount keywright-operator", async || {
        let kubeconfig = cluster.kubeconfig_of("keywright-operator").await?;
        Ok(Running::start(&cluster, "operator", &kubeconfig, None, OPERATOR_ADMIN, &[])?.ready().await)
    })
    .await?;
    let verifier = phase("verifier, as ServiceAccount keywright-verifier", async || {
        let kubeconfig = cluster.kubeconfig_of("keywright-verifier").await?;
        let grpc = format!("--grpc-listen=127.0.0.1:{VERIFIER_GRPC}");
        let args = ["--method-header=X-Original-Method", "--shutdown-delay=0s", &grpc];
        Ok(Running::start(&cluster, "verifier", &kubeconfig, Some(VERIFIER), VERIFIER_ADMIN, &args)?.ready().await)
    })
    .await?;
    phase("examples: kubectl apply -f examples/", async || {
        kubectl(&["apply", "-f", "examples/"])?;
        kubectl(&["wait", "--for=condition=Ready", "apikeys", "--all", "-n", "shop", "--timeout=60s"]).map(drop)
    })
    .await?;
    Ok((cluster, operator, verifier))
}

async fn phase<T>(name: &str, work: impl AsyncFnOnce() -> Result<T>) -> Result<T> {
    let start = Instant::now();
    let outcome = work().await.map_err(|error| format!("{name}: {error}"))?;
    println!("  {:>5.1} s  {name}", start.elapsed().as_secs_f64());
    Ok(outcome)
}

/// Long before a token ends there is another in its place, and operator and verifier read it from there.
async fn keep_tokens_fresh(cluster: &Cluster) {
    loop {
        tokio::time::sleep(Duration::from_secs(TOKEN_LIFE.unsigned_abs() / 4)).await;
        for account in ["keywright-operator", "keywright-verifier"] {
            if let Err(error) = cluster.refresh_token(account).await {
                println!("a token of {account} was not refreshed: {error}");
            }
        }
    }
}

/// Returns when one of them has ended by itself.
async fn watch_over(operator: &Running, verifier: &Running) {
    loop {
        if let Some(why) = operator.process.ended().or_else(|| verifier.process.ended()) {
            println!("{why}; stopping everything. Its log is in .local/logs");
            return;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}
