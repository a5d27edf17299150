//! What is watched, and that there is what is asked for.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::path::Path;

use promql_parser::parser::{Expr, parse};
use promql_parser::util::{ExprVisitor, walk_expr};
use serde_json::{Value, json};

use super::rights::holds;
use super::support::chart::{Rendered, render};
use super::support::cluster::Cluster;
use super::support::http;
use super::support::keywright::Running;

const ALL: [&str; 3] = ["serviceMonitor.enabled=true", "prometheusRule.enabled=true", "dashboard.enabled=true"];

fn alerts(rendered: &Rendered) -> Vec<Value> {
    let groups = rendered.the("PrometheusRule", "keywright")["spec"]["groups"].as_array().unwrap();
    groups.iter().flat_map(|group| group["rules"].as_array().unwrap()).cloned().collect()
}

fn dashboard(rendered: &Rendered) -> Value {
    serde_json::from_str(rendered.the("ConfigMap", "keywright-dashboard")["data"]["keywright.json"].as_str().unwrap())
        .unwrap()
}

fn panels(dashboard: &Value) -> &Vec<Value> {
    dashboard["panels"].as_array().unwrap()
}

/// Every expression, with a name for it. Grafana's variable becomes a duration, as it does there.
fn expressions(rendered: &Rendered) -> Vec<(String, String)> {
    let of_alerts = alerts(rendered);
    let of_alerts =
        of_alerts.iter().map(|alert| (alert["alert"].to_string(), alert["expr"].as_str().unwrap().to_owned()));
    let dashboard = dashboard(rendered);
    let of_panels = panels(&dashboard).iter().flat_map(|panel| {
        let targets = panel["targets"].as_array().unwrap().iter();
        targets.map(|target| {
            (panel["title"].to_string(), target["expr"].as_str().unwrap().replace("$__rate_interval", "1m"))
        })
    });
    of_alerts.chain(of_panels).collect()
}

/// Collects the names of all that is selected.
struct Names(BTreeSet<String>);

impl ExprVisitor for Names {
    type Error = Infallible;

    fn pre_visit(&mut self, expr: &Expr) -> Result<bool, Infallible> {
        match expr {
            Expr::VectorSelector(selector) => self.0.extend(selector.name.clone()),
            Expr::MatrixSelector(selector) => self.0.extend(selector.vs.name.clone()),
            _ => {}
        }
        Ok(true)
    }
}

#[test]
fn nothing_of_prometheus_or_grafana_is_asked_for_unless_it_is_wanted() {
    let rendered = render(&[]);
    for kind in ["ServiceMonitor", "PodMonitor", "PrometheusRule", "ConfigMap"] {
        assert_eq!(rendered.of_kind(kind).count(), 0, "{kind}");
    }
}

#[test]
fn every_expression_is_promql() {
    for (name, expression) in expressions(&render(&ALL)) {
        parse(&expression).unwrap_or_else(|error| panic!("{name}: {expression}: {error}"));
    }
}

/// Returns what Prometheus scrapes from a running operator and a running verifier.
async fn scraped() -> [(&'static str, String); 2] {
    let cluster = Cluster::shared().await;
    let operator = Running::operator(cluster, &[]).await.unwrap().ready().await;
    let verifier = Running::verifier(cluster, &[]).await.unwrap().ready().await;
    let metrics = async |role: &Running| http::get(&role.admin, "/metrics", &[]).await.unwrap().body;
    [("operator", metrics(&operator).await), ("verifier", metrics(&verifier).await)]
}

#[tokio::test]
async fn every_metric_that_is_asked_for_is_one_that_operator_or_verifier_has() {
    let mut there = BTreeSet::new();
    for (_, text) in scraped().await {
        // A family without keys has no samples.
        there.extend(text.lines().filter_map(|line| Some(line.strip_prefix("# TYPE ")?.split(' ').next()?.to_owned())));
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        there.extend(lines.filter_map(|line| Some(line.split(['{', ' ']).next()?.to_owned())));
    }
    let mut asked = Names(BTreeSet::new());
    for (_, expression) in expressions(&render(&ALL)) {
        let Ok(_) = walk_expr(&mut asked, &parse(&expression).unwrap());
    }
    assert!(asked.0.len() > 15, "{:?}", asked.0);
    let missing: Vec<_> = asked.0.difference(&there).collect();
    assert!(missing.is_empty(), "{missing:?} are not among {there:?}");
}

#[tokio::test]
async fn metrics_page_is_as_generated() {
    let sections = scraped().await.map(|(role, text)| described(role, &text));
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/METRICS.md");
    holds(&page, &format!("{REFERENCE}{}", sections.concat()));
}

/// Beginning of docs/METRICS.md.
const REFERENCE: &str = "# Metrics\n\n\
Both programs serve them on the admin port at `/metrics`, for Prometheus. No label contains a key, or grows with the number of keys.\n\
This page is generated from running programs by `make docs`. [INSTALL.md](INSTALL.md) has the alerts.\n";

/// Returns the section of a role: each metric with its type and its help.
fn described(role: &str, text: &str) -> String {
    let mut types = BTreeMap::new();
    for line in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        types.extend(line.split_once(' '));
    }
    let help = text.lines().filter_map(|line| line.strip_prefix("# HELP ")?.split_once(' '));
    let rows: BTreeSet<String> = help
        .map(|(name, help)| {
            let type_ = types[name];
            let suffix = if type_ == "counter" { "_total" } else { "" };
            format!("| `{name}{suffix}` | {type_} | {} |\n", help.trim_end_matches('.'))
        })
        .collect();
    let rows: String = rows.into_iter().collect();
    format!("\n## The {role}\n\n| metric | type | meaning |\n|---|---|---|\n{rows}")
}

#[test]
fn every_alert_says_how_bad_it_is_what_is_so_and_what_to_do() {
    let alerts = alerts(&render(&ALL));
    assert!(alerts.len() >= 5);
    for alert in &alerts {
        assert!(["critical", "warning", "info"].contains(&alert["labels"]["severity"].as_str().unwrap()), "{alert}");
        for said in ["summary", "description"] {
            assert!(alert["annotations"][said].as_str().unwrap().len() > 20, "{alert}");
        }
        assert!(alert["alert"].as_str().unwrap().starts_with("Keywright") && alert["for"].is_string(), "{alert}");
    }
    let names: BTreeSet<_> = alerts.iter().map(|alert| alert["alert"].as_str().unwrap()).collect();
    assert_eq!(names.len(), alerts.len());
    for wanted in ["VerifierDown", "IndexStale", "WatchFailing", "EnforcementLag", "KeysExpiring", "Argon2Saturated"] {
        assert!(names.contains(format!("Keywright{wanted}").as_str()), "{wanted}");
    }
}

#[test]
fn thresholds_follow_the_values() {
    let rendered = render(&[&ALL[..], &["prometheusRule.indexAgeSeconds=120", "verifier.replicas=5"]].concat());
    let all: Vec<String> = alerts(&rendered).iter().map(|alert| alert["expr"].as_str().unwrap().to_owned()).collect();
    assert!(all.iter().any(|expr| expr.ends_with("> 120")), "{all:?}");
    assert!(all.iter().any(|expr| expr.ends_with("< 5")), "{all:?}");
}

#[test]
fn the_dashboard_has_panels_that_do_not_overlap() {
    let dashboard = dashboard(&render(&ALL));
    let mut cells = BTreeSet::new();
    let mut ids = BTreeSet::new();
    for panel in panels(&dashboard) {
        assert!(ids.insert(panel["id"].as_i64().unwrap()), "{panel}");
        let at = |side: &str| panel["gridPos"][side].as_i64().unwrap();
        assert!(at("x") + at("w") <= 24, "{panel}");
        for (x, y) in (at("x")..at("x") + at("w")).flat_map(|x| (at("y")..at("y") + at("h")).map(move |y| (x, y))) {
            assert!(cells.insert((x, y)), "{} lies on another", panel["title"]);
        }
    }
}

#[test]
fn the_service_for_metrics_finds_both_roles_and_those_that_are_not_ready() {
    let rendered = render(&ALL);
    let spec = &rendered.the("Service", "keywright-metrics")["spec"];
    assert_eq!((&spec["clusterIP"], &spec["publishNotReadyAddresses"]), (&json!("None"), &json!(true)));
    assert_eq!(spec["selector"], json!({"app.kubernetes.io/name": "keywright"}));
    assert_eq!(spec["ports"][0]["targetPort"], "admin");
    let monitor = &rendered.the("ServiceMonitor", "keywright")["spec"];
    assert_eq!(monitor["endpoints"][0]["port"], spec["ports"][0]["name"]);
    let labels = &rendered.the("Service", "keywright-metrics")["metadata"]["labels"];
    for (label, value) in monitor["selector"]["matchLabels"].as_object().unwrap() {
        assert_eq!(&labels[label], value);
    }
}

#[test]
fn labels_by_which_prometheus_and_grafana_find_things_are_theirs_to_say() {
    let label = |of: &str| format!("{of}.labels={{\"release\":\"mine\"}}");
    let labels = ["serviceMonitor", "prometheusRule", "dashboard"].map(label);
    let values: Vec<&str> = ALL.iter().copied().chain(labels.iter().map(String::as_str)).collect();
    let rendered = render(&values);
    for (kind, name) in
        [("ServiceMonitor", "keywright"), ("PrometheusRule", "keywright"), ("ConfigMap", "keywright-dashboard")]
    {
        assert_eq!(rendered.the(kind, name)["metadata"]["labels"]["release"], "mine", "{kind}");
    }
}
