//! `make e2e`: Keywright from its image and its chart on the cluster that KUBECONFIG names, behind a real Envoy.
//!
//! The images target/image/keywright.tar and target/image/e2e.tar must be on the cluster's nodes.

#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::panic)]

#[path = "../support/mod.rs"]
mod support;

mod cluster;
mod kept;
mod load;
mod pods;

use std::process::ExitCode;
use std::time::Instant;

use cluster::{Cluster, LEAVING, NAMESPACE, SYSTEM};
use kept::Kept;
use load::Load;
use support::Result;

/// Both Deployments of the chart.
const DEPLOYMENTS: [&str; 2] = ["keywright-operator", "keywright-verifier"];

#[tokio::main]
async fn main() -> ExitCode {
    match story().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nfailed: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Tells a step when it is done, and how long it took.
struct Story(u32, Instant);

impl Story {
    fn step(&mut self, what: &str) {
        self.0 += 1;
        println!("{:>3}. {what} ({:.1} s)", self.0, self.1.elapsed().as_secs_f64());
        self.1 = Instant::now();
    }
}

async fn story() -> Result<()> {
    let cluster = Cluster::of_kubeconfig()?;
    let mut story = Story(0, Instant::now());
    install(&cluster, &mut story)?;
    calls(&cluster, &mut story).await?;
    figures(&cluster, &mut story).await?;
    changes_under_load(&cluster, &mut story).await?;
    gone_and_back(&cluster, &mut story).await?;
    cluster.clear_up()?;
    println!(
        "\nAll {} steps did what they should. CRDs and namespace keywright-entries are left, as the chart keeps them.",
        story.0
    );
    Ok(())
}

fn install(cluster: &Cluster, story: &mut Story) -> Result<()> {
    cluster.refuse_if_taken()?;
    cluster.helm(&["install", "keywright", "charts/keywright", "--create-namespace"])?;
    story.step("helm install --wait, from the image");
    cluster.apply_workloads()?;
    for deployment in ["api", "envoy", "client"] {
        cluster.rolled_out(NAMESPACE, deployment)?;
    }
    story.step("a workload mounts the Secret that the operator made; Envoy stands between it and an API");
    Ok(())
}

async fn calls(cluster: &Cluster, story: &mut Story) -> Result<()> {
    let said = cluster.eventually_says("storefront", 200, "").await;
    let seen = |name: &str| said["seen"][name].as_str().unwrap_or("nothing").to_owned();
    for (header, expected) in [
        ("x-keywright-account", "keywright-e2e/acme"),
        ("x-keywright-key", "keywright-e2e/storefront"),
        ("x-keywright-meta-plan", "enterprise"),
        ("authorization", "false"),
    ] {
        if seen(header) != expected {
            return Err(format!("the API saw {} in {header}, not {expected}", seen(header)).into());
        }
    }
    story.step("its call gets 200 through Envoy; the API is told who calls, and does not see the key");
    cluster.eventually_says("disabled", 401, "disabled").await;

    disable(cluster, true)?;
    let late = Instant::now();
    cluster.eventually_says("storefront", 401, "disabled").await;
    story.step(&format!(
        "disabled: true, and its call is refused at most {:.0} ms after kubectl returned",
        late.elapsed().as_secs_f64() * 1e3
    ));
    cluster.wait_for(NAMESPACE, "apikey/storefront", "condition=Enforced")?;
    story.step("Enforced: every verifier is proven to go by it");
    disable(cluster, false)?;
    cluster.eventually_says("storefront", 200, "").await;
    story.step("disabled: false, and the same mounted value passes again");
    Ok(())
}

/// Says so of the key storefront.
fn disable(cluster: &Cluster, disabled: bool) -> Result<()> {
    let patch = format!(r#"{{"spec":{{"disabled":{disabled}}}}}"#);
    cluster.kubectl(&["patch", "apikey", "storefront", "-n", NAMESPACE, "--type=merge", "-p", &patch]).map(drop)
}

async fn figures(cluster: &Cluster, story: &mut Story) -> Result<()> {
    let idle = pods::measured(cluster).await?;
    story.step("idle, as the kubelet tells:");
    print!("{idle}");
    let load = Load::start(cluster, 1000).await?;
    let busy = pods::measured(cluster).await?;
    let report = load.stop()?;
    story.step(&format!("{}:", report.line()));
    print!("{busy}");
    report.must_be_flawless()
}

/// Does something to the release while calls go on, of which none may fail and none be answered wrongly.
async fn under_load(cluster: &Cluster, story: &mut Story, what: &str, act: impl FnOnce() -> Result<()>) -> Result<()> {
    let before = cluster.pods(SYSTEM)?;
    let load = Load::start(cluster, 200).await?;
    act()?;
    for deployment in DEPLOYMENTS {
        cluster.rolled_out(SYSTEM, deployment)?;
    }
    cluster.until_gone(SYSTEM, &before).await;
    let report = load.stop()?;
    story.step(&format!("{what}, both Deployments replaced: {}", report.line()));
    report.must_be_flawless()
}

async fn changes_under_load(cluster: &Cluster, story: &mut Story) -> Result<()> {
    under_load(cluster, story, "kubectl rollout restart", || {
        for deployment in DEPLOYMENTS {
            cluster.kubectl(&["rollout", "restart", "-n", SYSTEM, &format!("deployment/{deployment}")])?;
        }
        Ok(())
    })
    .await?;
    let upgrade = ["upgrade", "keywright", "charts/keywright", "--set=log.level=debug"];
    under_load(cluster, story, "helm upgrade", || cluster.helm(&upgrade)).await?;
    under_load(cluster, story, "helm rollback", || cluster.helm(&["rollback", "keywright", "1"])).await
}

async fn gone_and_back(cluster: &Cluster, story: &mut Story) -> Result<()> {
    let kept = Kept::of(cluster)?;
    let pods = cluster.pods(SYSTEM)?;
    cluster.helm(&["uninstall", "keywright"])?;
    cluster.until_gone(SYSTEM, &pods).await;
    kept.must_be_untouched(cluster)?;
    story.step("helm uninstall: keys, Secrets, entries and CRDs are as they were");
    cluster.eventually_says("storefront", 503, "").await;
    story.step("nobody is there to be asked, and every call is refused");
    cluster.forget_verifiers()?;
    cluster.kubectl(&["delete", "namespace", LEAVING, "--wait", "--timeout=2m"])?;
    story.step("a namespace with keys in it deletes meanwhile");
    cluster.helm(&["install", "keywright", "charts/keywright"])?;
    cluster.eventually_says("storefront", 200, "").await;
    cluster.eventually_says("disabled", 401, "disabled").await;
    kept.must_be_untouched(cluster)?;
    story.step("helm install again: the mounted value passes, the disabled key does not, and nothing was minted");
    disable(cluster, true)?;
    cluster.wait_for(NAMESPACE, "apikey/storefront", "condition=Enforced")?;
    cluster.eventually_says("storefront", 401, "disabled").await;
    story.step("disabled: true, and it is refused, and Enforced");
    Ok(())
}
