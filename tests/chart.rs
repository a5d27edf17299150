//! The chart as Helm renders it, and what a real API server says of it.

#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "chart/manifests.rs"]
mod manifests;
#[path = "chart/memory.rs"]
mod memory;
#[path = "chart/monitoring.rs"]
mod monitoring;
#[path = "chart/namespaces.rs"]
mod namespaces;
#[path = "chart/network.rs"]
mod network;
#[path = "chart/pods.rs"]
mod pods;
#[path = "chart/reference.rs"]
mod reference;
#[path = "chart/removal.rs"]
mod removal;
#[path = "chart/rights.rs"]
mod rights;
#[path = "chart/schema.rs"]
mod schema;
#[path = "support/mod.rs"]
mod support;
#[path = "chart/workloads.rs"]
mod workloads;

/// Values that between them turn every template and every branch on.
const MODES: [(&str, &[&str]); 6] = [
    ("as it comes", &[]),
    ("two namespaces are watched", &[r#"watchNamespaces=["shop","team-b"]"#]),
    (
        "everything is on",
        &[
            "serviceMonitor.enabled=true",
            "prometheusRule.enabled=true",
            "dashboard.enabled=true",
            r#"image={"digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","pullSecrets":["registry"]}"#,
            r#"verifier.tls={"secretName":"verifier-tls","clientCASecretName":"gateway-ca"}"#,
            r#"verifier.service={"type":"LoadBalancer","annotations":{"example.com/scheme":"internal"}}"#,
            r#"verifier.methodHeader="X-Original-Method""#,
            r#"verifier.clientHeader="X-Real-IP""#,
            r#"verifier.podDisruptionBudget.maxUnavailable="50%""#,
            r#"networkPolicy.apiServer.cidrs=["10.0.0.1/32"]"#,
            r#"deliveredSecrets={"labels":["*"],"annotations":["team","example.com/"],"names":"-api-key$","refusedNames":["^it's \\."]}"#,
            r#"extraObjects=[{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"extra","namespace":"{{ .Release.Namespace }}"}}]"#,
            PLACED[0],
            PLACED[1],
        ],
    ),
    (
        "everything that can be is off",
        &[
            "crds.enabled=false",
            "networkPolicy.enabled=false",
            "flowSchema.enabled=false",
            "verifier.podDisruptionBudget.enabled=false",
            "operator.resources={}",
            "verifier.resources={}",
            r#"deliveredSecrets={"labels":[],"annotations":[],"names":".","refusedNames":[]}"#,
        ],
    ),
    ("pods are monitored", &["podMonitor.enabled=true", "crds.keep=false"]),
    (
        "nobody is let in",
        &["networkPolicy.callers=[]", "networkPolicy.scrapers=[]", "verifier.replicas=1", r#"listenHost="[::]""#],
    ),
];

/// Whatever says more of where and how the pods run, of each role.
const PLACED: [&str; 2] = [
    r#"operator={"extraArgs":["--help"],"extraEnv":[{"name":"A","value":"b"}],"podLabels":{"a":"b"},"podAnnotations":{"c":"d"},"nodeSelector":{"disk":"ssd"},"tolerations":[{"key":"k","operator":"Exists"}],"affinity":{"podAffinity":{}},"priorityClassName":"high"}"#,
    r#"verifier={"extraArgs":["--help"],"extraEnv":[{"name":"A","value":"b"}],"podLabels":{"a":"b"},"podAnnotations":{"c":"d"},"nodeSelector":{"disk":"ssd"},"tolerations":[{"key":"k","operator":"Exists"}],"affinity":{"podAffinity":{}},"priorityClassName":"high"}"#,
];
