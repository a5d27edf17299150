//! The verifier behind real gateways, each with the very configuration that docs/gateways shows, in front of an
//! upstream that says what it was sent. One table for all of them.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

#[path = "support/mod.rs"]
mod support;

#[path = "gateways/fixture.rs"]
mod fixture;
#[path = "gateways/restart.rs"]
mod restart;
#[path = "gateways/service.rs"]
mod service;
#[path = "gateways/table.rs"]
mod table;

use fixture::{ALL, Gateway, Stage, stage};

async fn each(test: impl AsyncFn(&Stage, &Gateway)) {
    let stage = stage().await;
    for kind in &ALL {
        println!("{}", kind.name);
        test(stage, &stage.start(kind).await).await;
    }
}

#[tokio::test]
async fn every_gateway_gives_the_same_answers() {
    each(table::run).await;
}

#[tokio::test]
async fn a_key_that_is_disabled_under_way_is_refused_at_the_next_call_and_accepted_again_after() {
    each(table::flip).await;
}

#[tokio::test]
async fn without_a_verifier_nothing_passes() {
    each(table::without_verifier).await;
}

#[tokio::test]
async fn nothing_that_a_client_sends_changes_the_question() {
    each(table::same_question).await;
}

#[tokio::test]
async fn a_path_that_is_no_text_is_no_fault_of_the_verifiers() {
    each(table::bytes).await;
}
