//! Operator and verifier as the chart starts them, but for where they listen.

use super::support::chart::Rendered;
use super::support::cluster::Cluster;
use super::support::keywright::Running;

/// What the chart tells a role, without where to listen: here that is a free port of the loopback.
fn args<'r>(rendered: &'r Rendered, role: &str) -> Vec<&'r str> {
    let listens =
        |arg: &&str| ["--listen=", "--grpc-listen=", "--admin-listen="].iter().any(|flag| arg.starts_with(flag));
    rendered.args(role).into_iter().skip(1).filter(|arg| !listens(arg)).collect()
}

pub async fn operator(cluster: &Cluster, rendered: &Rendered) -> Running {
    Running::operator(cluster, &args(rendered, "operator")).await.unwrap()
}

pub async fn verifier(cluster: &Cluster, rendered: &Rendered) -> Running {
    Running::verifier(cluster, &args(rendered, "verifier")).await.unwrap()
}
