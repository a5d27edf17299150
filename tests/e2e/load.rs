//! Calls at a rate, from the workload's pod: one half with a live key, one with a disabled one.

use serde::Deserialize;

use super::cluster::Cluster;
use super::support::Result;

pub struct Load<'a>(&'a Cluster);

/// What the pod tells of it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    calls: u32,
    seconds: f64,
    failed: u32,
    wrong: u32,
    p50_millis: f64,
    p99_millis: f64,
    slowest_millis: f64,
    first: Option<Vec<String>>,
}

impl<'a> Load<'a> {
    pub async fn start(cluster: &'a Cluster, rate: u32) -> Result<Self> {
        cluster.eventually_says("storefront", 200, "").await;
        cluster.ask_client(&format!("/start?rate={rate}&lanes=128&good=storefront&bad=disabled"))?;
        Ok(Self(cluster))
    }

    pub fn stop(self) -> Result<Report> {
        Ok(serde_json::from_value(self.0.ask_client("/stop")?)?)
    }
}

impl Report {
    pub fn line(&self) -> String {
        format!(
            "{} calls in {:.0} s ({:.0}/s), {} failed, {} answered wrongly; through Envoy and back p50 {:.1} ms, p99 {:.1} ms, slowest {:.0} ms",
            self.calls,
            self.seconds,
            f64::from(self.calls) / self.seconds,
            self.failed,
            self.wrong,
            self.p50_millis,
            self.p99_millis,
            self.slowest_millis
        )
    }

    pub fn must_be_flawless(&self) -> Result<()> {
        if self.calls > 0 && self.failed == 0 && self.wrong == 0 {
            return Ok(());
        }
        Err(format!("{}\n{}", self.line(), self.first.as_deref().unwrap_or_default().join("\n")).into())
    }
}
