//! Operator, verifier and keys for all tests of this binary, and what Envoy would make of the verifier's answers.

use std::collections::HashMap;

use envoy_types::ext_authz::v3::pb::{CheckRequest, HeaderAppendAction, HeaderValue, HttpResponse};
use envoy_types::pb::envoy::config::core::v3::HeaderMap;
use envoy_types::pb::envoy::service::auth::v3::attribute_context::{HttpRequest, Request};
use envoy_types::pb::envoy::service::auth::v3::authorization_client::AuthorizationClient;
use envoy_types::pb::envoy::service::auth::v3::{AttributeContext, CheckResponse};
use envoy_types::pb::google::protobuf::{Value as Pb, value::Kind};
use serde_json::{Value, json};
use tokio::sync::OnceCell;
use tonic::transport::{Channel, Endpoint};

use super::support::cluster::Cluster;
use super::support::eventually;
use super::support::keywright::Running;
use super::support::space::Space;

pub type Client = AuthorizationClient<Channel>;

/// What all tests share.
pub struct Keywright {
    pub cluster: &'static Cluster,
    #[allow(dead_code)]
    operator: Running,
    pub verifier: Running,
    pub namespace: String,
    /// May do everything; has metadata.
    pub full: String,
    /// May only read orders.
    pub reader: String,
    /// May do everything, and is disabled.
    pub off: String,
    /// May do everything, and is globex's; the others are acme's.
    pub other: String,
    /// The Site ID of acme.
    pub site: String,
}

impl Keywright {
    pub fn account(&self) -> String {
        format!("{}/acme", self.namespace)
    }
}

pub async fn keywright() -> &'static Keywright {
    static SHARED: OnceCell<Keywright> = OnceCell::const_new();
    SHARED
        .get_or_init(async || {
            let cluster = Cluster::shared().await;
            let operator = Running::operator(cluster, &[]).await.unwrap().ready().await;
            let verifier = Running::verifier(cluster, &[]).await.unwrap().ready().await;
            let space = Space::new(cluster).await;
            space.account("acme", json!({"accessLevel": "Full", "metadata": {"plan": "gold", "region": "eu"}})).await;
            space.account("globex", json!({"accessLevel": "Full"})).await;
            let key = async |name: &str, spec: Value| {
                space.key(name, spec).await;
                space.until_ready_is(name, "Issued").await;
                space.value(name, "api-key").await
            };
            let of_acme = json!({"account": "acme", "accessLevel": "Full"});
            let spec =
                json!({"account": "acme", "accessLevel": "Full", "metadata": {"region": "us", "team": "billing"}});
            let full = key("full", spec).await;
            let spec = json!({"account": "acme", "accessLevel": "Custom", "scopes": ["orders:read"]});
            let reader = key("reader", spec).await;
            let off = key("off", of_acme).await;
            space.patch_key("off", json!({"spec": {"disabled": true}})).await;
            let other = key("other", json!({"account": "globex", "accessLevel": "Full"})).await;
            for (key, code) in [(&full, "ok"), (&reader, "ok"), (&off, "disabled"), (&other, "ok")] {
                verifier.eventually_says(code, "scope=any", key).await;
            }
            let site = eventually("acme has a Site ID", async || {
                let account = space.accounts().get("acme").await.map_err(|e| e.to_string())?;
                account.status.and_then(|status| status.public_key).ok_or("none yet".to_owned())
            })
            .await;
            eventually("the verifier knows it", async || {
                let answer = verifier.auth("scope=public", &[("X-API-Key", &site)]).await;
                if answer.status == 200 { Ok(()) } else { Err(format!("{answer:?}")) }
            })
            .await;
            Keywright { cluster, operator, verifier, namespace: space.name, full, reader, off, other, site }
        })
        .await
}

/// A connection of the test's own: it belongs to the test's runtime.
pub fn channel(address: &str) -> Channel {
    Endpoint::from_shared(format!("http://{address}")).unwrap().connect_lazy()
}

pub async fn client() -> Client {
    Client::new(channel(&keywright().await.verifier.grpc))
}

/// The request of a client with these headers, as Envoy tells it without `encode_raw_headers`.
pub fn request(question: &[(&str, &str)], method: &str, headers: &[(&str, &str)]) -> CheckRequest {
    let http = HttpRequest { headers: map(headers), ..http(method) };
    with_http(question, http)
}

/// The same with `encode_raw_headers`: each line for itself, as bytes.
pub fn raw_request(question: &[(&str, &str)], headers: &[(&str, &[u8])]) -> CheckRequest {
    let line = |(name, value): &(&str, &[u8])| HeaderValue {
        key: (*name).to_owned(),
        raw_value: value.to_vec(),
        ..HeaderValue::default()
    };
    let header_map = Some(HeaderMap { headers: headers.iter().map(line).collect() });
    with_http(question, HttpRequest { header_map, ..http("GET") })
}

pub fn http(method: &str) -> HttpRequest {
    HttpRequest { method: method.to_owned(), path: "/orders/1".to_owned(), ..HttpRequest::default() }
}

pub fn with_http(question: &[(&str, &str)], http: HttpRequest) -> CheckRequest {
    let request = Some(Request { http: Some(http), ..Request::default() });
    let attributes = AttributeContext { request, context_extensions: map(question), ..AttributeContext::default() };
    CheckRequest { attributes: Some(attributes) }
}

fn map(pairs: &[(&str, &str)]) -> HashMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

pub fn bearer(key: &str) -> String {
    format!("Bearer {key}")
}

/// What the verifier told Envoy to do.
#[derive(Debug)]
pub struct Answer {
    /// 0 lets the request pass.
    pub rpc: i32,
    /// 200 stands for an allow.
    pub status: i32,
    pub headers: Vec<(String, String)>,
    pub remove: Vec<String>,
    pub body: String,
    pub caller: Value,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    pub fn code(&self) -> &str {
        self.header("x-keywright-code").unwrap_or(if self.status == 200 { "ok" } else { "none" })
    }

    pub fn names(&self) -> Vec<&str> {
        let mut names: Vec<_> = self.headers.iter().map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        names
    }
}

/// Asks, and holds what every answer promises: an HTTP response that says the same as the RPC's status.
pub async fn ask(client: &Client, request: CheckRequest) -> Answer {
    let response = client.clone().check(request).await.expect("an answer, never an error of the transport");
    read(response.into_inner())
}

pub fn read(response: CheckResponse) -> Answer {
    let rpc = response.status.expect("a status").code;
    let (status, options, remove, body) = match response.http_response.expect("an HTTP response") {
        HttpResponse::OkResponse(ok) => (200, ok.headers, ok.headers_to_remove, String::new()),
        HttpResponse::DeniedResponse(denied) => {
            (denied.status.expect("a status").code, denied.headers, Vec::new(), denied.body)
        }
        HttpResponse::ErrorResponse(error) => panic!("an error falls to failure_mode_allow: {error:?}"),
    };
    assert_eq!(rpc == 0, status == 200, "the two say the same");
    let header = |option: envoy_types::ext_authz::v3::pb::HeaderValueOption| {
        assert_eq!(option.append_action, HeaderAppendAction::OverwriteIfExistsOrAdd as i32, "{option:?}");
        let header = option.header.expect("a header");
        (header.key, header.value)
    };
    let caller = response.dynamic_metadata.map_or(Value::Null, |fields| object(fields.fields));
    Answer { rpc, status, headers: options.into_iter().map(header).collect(), remove, body, caller }
}

fn object(fields: HashMap<String, Pb>) -> Value {
    fields.into_iter().map(|(name, value)| (name, to_json(value))).collect()
}

fn to_json(value: Pb) -> Value {
    match value.kind {
        Some(Kind::StringValue(text)) => json!(text),
        Some(Kind::ListValue(list)) => list.values.into_iter().map(to_json).collect(),
        Some(Kind::StructValue(fields)) => object(fields.fields),
        other => panic!("{other:?}"),
    }
}
