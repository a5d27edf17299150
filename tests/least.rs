//! The least that does: what the chart gives its two accounts is what they use, no more and no less.
//!
//! A real API server writes down each request of theirs while keys live through all that can befall one.

#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "least/audit.rs"]
mod audit;
#[path = "least/deeds.rs"]
mod deeds;
#[path = "least/life.rs"]
mod life;
#[path = "least/programs.rs"]
mod programs;
#[path = "support/mod.rs"]
mod support;
#[path = "least/taken.rs"]
mod taken;

use std::collections::BTreeSet;

use audit::Audited;
use support::chart::render;
use support::eventually;
use support::rights::{Right, granted};

/// Rights that no request shows. Each is proven to be needed by taking it away (`least/taken.rs`).
fn leaves_no_trace(right: &Right) -> bool {
    // The API server looks for it while it handles the creation of a RoleBinding.
    right.verb == "bind"
}

fn covers(right: &Right, used: &Right) -> bool {
    let fits = |given: &Option<String>, is: &Option<String>| given.is_none() || given == is;
    (&right.account, &right.resource, &right.verb) == (&used.account, &used.resource, &used.verb)
        && fits(&right.namespace, &used.namespace)
        && fits(&right.name, &used.name)
}

/// Lets keys live in a cluster with the chart so installed, and compares.
async fn given_is_used(name: &str, values: &[&str], namespaces: &[&str]) {
    let rights = granted(&render(values));
    let audited = Audited::start(name, namespaces, values).await;
    life::whole(&audited, values, namespaces[0], async || {
        eventually("every right is used", async || {
            let used = audited.used();
            let is_used = |right: &&Right| leaves_no_trace(right) || used.iter().any(|used| covers(right, used));
            let idle: Vec<_> = rights.iter().filter(|right| !is_used(right)).collect();
            if idle.is_empty() { Ok(()) } else { Err(format!("given and not used: {idle:#?}")) }
        })
        .await;
    })
    .await;
    let beyond: BTreeSet<_> =
        audited.used().into_iter().filter(|used| !rights.iter().any(|right| covers(right, used))).collect();
    assert!(beyond.is_empty(), "used, and not given by the chart: {beyond:#?}");
    assert_eq!(audited.refused(), BTreeSet::new(), "asked for and refused by RBAC");
    assert_eq!(audited.others(), BTreeSet::from(["/version".to_owned()]), "asked for beside resources");
}

#[tokio::test]
async fn every_right_that_is_given_is_used_and_none_beyond() {
    given_is_used("everywhere", life::VALUES, &["shop"]).await;
}

#[tokio::test]
async fn with_watched_namespaces_every_right_that_is_given_is_used_and_none_beyond() {
    let values = [life::VALUES, &["watchNamespaces=[\"shop\"]"]].concat();
    // Beside it is one that is not watched and has keys as well.
    given_is_used("watched", &values, &["shop", "elsewhere"]).await;
}
