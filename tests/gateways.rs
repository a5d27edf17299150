//! The verifier behind real gateways, each with the very configuration that docs/gateways shows, in front of an
//! upstream that says what it was sent. One table for all of them.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

#[path = "support/mod.rs"]
mod support;

#[path = "gateways/answers.rs"]
mod answers;
#[path = "gateways/bodies.rs"]
mod bodies;
#[path = "gateways/browser.rs"]
mod browser;
#[path = "gateways/fixture.rs"]
mod fixture;
#[path = "gateways/h2c.rs"]
mod h2c;
#[path = "gateways/headers.rs"]
mod headers;
#[path = "gateways/paths.rs"]
mod paths;
#[path = "gateways/restart.rs"]
mod restart;
#[path = "gateways/service.rs"]
mod service;
#[path = "gateways/table.rs"]
mod table;
#[path = "gateways/upstream.rs"]
mod upstream;

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
async fn large_body_passes() {
    each(bodies::large).await;
}

#[tokio::test]
async fn body_that_is_sent_to_the_verifier_costs_no_answer() {
    bodies::forwarded(stage().await).await;
}

#[tokio::test]
async fn nothing_that_a_client_sends_changes_the_question() {
    each(table::same_question).await;
}

#[tokio::test]
async fn a_path_that_is_no_text_is_no_fault_of_the_verifiers() {
    each(table::bytes).await;
}

#[tokio::test]
async fn ambiguous_path_reaches_no_other_route() {
    each(paths::hold).await;
}

#[tokio::test]
async fn path_is_treated_as_documented() {
    each(paths::documented).await;
}

/// The pages for gateways that are Envoy inside, which no test runs.
#[test]
fn pages_quote_expressions_of_envoy_yaml() {
    let read = |name: &str| std::fs::read_to_string(format!("docs/gateways/{name}")).unwrap();
    let file = read("envoy.yaml");
    let quoted =
        file.lines().filter_map(|line| line.rsplit_once("regex: ")).map(|(_, rest)| rest.trim_end_matches('}'));
    let expressions = quoted.map(|quoted| quoted.trim_matches(['"', '\''])).collect::<Vec<_>>();
    assert_eq!(expressions.len(), 2, "of paths and of header names");
    for (page, expression) in ["envoy-http.yaml", "istio.md", "envoy-gateway.md"]
        .iter()
        .flat_map(|page| expressions.iter().map(move |e| (page, e)))
    {
        assert!(read(page).contains(*expression), "{page} has another expression than {expression}");
    }
}

/// A verifier reads one method header. Beside Traefik it is the other one, and a client's must not come through.
#[test]
fn nginx_and_caddy_set_both_method_headers() {
    for (file, set, method) in [
        ("keywright-ask.conf", "proxy_set_header", "$request_method;"),
        ("Caddyfile", "header_up", "{http.request.method}"),
        ("caddy.md", "header_up", "{http.request.method}"),
    ] {
        let text = std::fs::read_to_string(format!("docs/gateways/{file}")).unwrap();
        for header in ["X-Original-Method", "X-Forwarded-Method"] {
            assert!(text.contains(&format!("{set} {header} {method}")), "{file} does not set {header}");
        }
    }
}

#[tokio::test]
async fn identity_header_in_any_spelling_is_removed() {
    each(headers::spelled).await;
}

#[tokio::test]
async fn connection_header_of_client_removes_no_identity() {
    each(headers::nominated).await;
}

#[tokio::test]
async fn upgrade_reaches_upstream_for_websocket_only() {
    each(headers::upgraded).await;
}

#[tokio::test]
async fn identity_in_trailers_never_reaches_upstream() {
    each(headers::trailed).await;
}

#[tokio::test]
async fn gateway_listens_on_loopback_only() {
    each(table::loopback).await;
}

#[tokio::test]
async fn longest_answers_pass_with_all_scopes() {
    each(answers::longest).await;
}

#[tokio::test]
async fn more_than_100_headers_end_as_documented() {
    each(answers::crowded).await;
}

#[tokio::test]
async fn activity_names_the_program_that_calls() {
    each(answers::caller).await;
}

#[tokio::test]
async fn preflight_is_answered_without_key() {
    each(browser::preflights).await;
}

#[tokio::test]
async fn preflight_of_other_origin_allows_nothing() {
    each(browser::others).await;
}

#[tokio::test]
async fn options_without_preflight_needs_key() {
    each(browser::no_preflights).await;
}

#[tokio::test]
async fn page_reads_answers_and_refusals() {
    each(browser::calls).await;
}
