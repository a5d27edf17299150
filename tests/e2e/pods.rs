//! What Keywright's pods take, as the kubelet tells it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::cluster::{Cluster, SYSTEM};
use super::support::{Result, eventually};

/// CPU is a mean over at least this long.
const SPAN: SignedDuration = SignedDuration::from_secs(30);

/// One look at a pod.
struct Look {
    at: Timestamp,
    /// CPU since its start.
    nanoseconds: f64,
    working_set: f64,
}

/// What each pod took, in millicores and MiB.
pub struct Figures(BTreeMap<String, (f64, f64)>);

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (pod, (cpu, memory)) in &self.0 {
            writeln!(f, "       {pod}: {cpu:.1} millicores, {memory:.1} MiB")?;
        }
        Ok(())
    }
}

/// What the pods take from now on, for as long as it takes to tell.
pub async fn measured(cluster: &Cluster) -> Result<Figures> {
    let begin = Timestamp::now();
    let first = looks_after(cluster, begin).await?;
    let newest = first.values().map(|look| look.at).max().ok_or("Keywright has no pods")?;
    let last = looks_after(cluster, newest + SPAN).await?;
    let taken = last.into_iter().filter_map(|(pod, look)| {
        let before = first.get(&pod)?;
        let seconds = look.at.duration_since(before.at).as_secs_f64();
        Some((pod, ((look.nanoseconds - before.nanoseconds) / seconds / 1e6, look.working_set / f64::from(1 << 20))))
    });
    Ok(Figures(taken.collect()))
}

/// A look at each pod that the kubelet took after `then`; it takes one now and then.
async fn looks_after(cluster: &Cluster, then: Timestamp) -> Result<BTreeMap<String, Look>> {
    let pods = cluster.json(&["pods", "-n", SYSTEM])?;
    let nodes = pods["items"].as_array().into_iter().flatten();
    let nodes: BTreeSet<_> = nodes.filter_map(|pod| pod["spec"]["nodeName"].as_str()).collect();
    Ok(eventually("the kubelet looks at the pods", async || {
        let mut looks = BTreeMap::new();
        for node in &nodes {
            let summary = cluster.kubectl(&["get", "--raw", &format!("/api/v1/nodes/{node}/proxy/stats/summary")])?;
            let summary: Value = serde_json::from_str(&summary)?;
            let ours =
                summary["pods"].as_array().into_iter().flatten().filter(|pod| pod["podRef"]["namespace"] == SYSTEM);
            for pod in ours {
                let name = pod["podRef"]["name"].as_str().unwrap_or_default();
                let look = look(&pod["containers"][0]).ok_or_else(|| format!("no figures of {name} yet"))?;
                if look.at < then {
                    return Err(format!("the last look at {name} was at {}", look.at).into());
                }
                looks.insert(name.to_owned(), look);
            }
        }
        Result::Ok(looks)
    })
    .await)
}

fn look(container: &Value) -> Option<Look> {
    Some(Look {
        at: container["cpu"]["time"].as_str()?.parse().ok()?,
        nanoseconds: container["cpu"]["usageCoreNanoSeconds"].as_f64()?,
        working_set: container["memory"]["workingSetBytes"].as_f64()?,
    })
}
