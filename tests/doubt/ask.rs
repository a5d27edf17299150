//! One call, said over every transport, and what it is told.

use std::collections::HashMap;
use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

use axum::body::to_bytes;
use envoy_types::ext_authz::v3::pb::{CheckRequest, CheckResponse, HttpResponse};
use envoy_types::pb::envoy::service::auth::v3::AttributeContext;
use envoy_types::pb::envoy::service::auth::v3::attribute_context::{HttpRequest, Request as Attributes};
use http::{Request, Response};
use hyper::service::Service;
use keywright::verifier::ext_authz::wire;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use prost::Message;
use serde_json::{Map, Value};

use super::fault::Fault;
use super::world::{NEW, OLD, SITE, UNKNOWN, Verifier};

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Transport {
    Query,
    Path,
    Verify,
    Grpc,
}

impl Transport {
    pub const ALL: [Self; 4] = [Self::Query, Self::Path, Self::Verify, Self::Grpc];

    pub fn any() -> impl Strategy<Value = Self> {
        select(&Self::ALL[..])
    }
}

/// What the request shows as its key.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Shown {
    Nothing,
    New,
    Old,
    Unknown,
    /// The id of a key with the secret of another.
    WrongSecret,
    Malformed,
    /// The right key, and once more.
    Twice,
    Site,
}

impl Shown {
    fn texts(self) -> Vec<String> {
        match self {
            Self::Nothing => vec![],
            Self::New => vec![NEW.text.clone()],
            Self::Old => vec![OLD.text.clone()],
            Self::Unknown => vec![UNKNOWN.text.clone()],
            Self::WrongSecret => vec![with_checksum(&format!("{}{}", &NEW.text[..16], &OLD.text[16..59]))],
            Self::Malformed => vec![NEW.text[..64].to_owned()],
            Self::Twice => vec![NEW.text.clone(), NEW.text.clone()],
            Self::Site => vec![SITE.as_str().to_owned()],
        }
    }
}

/// The text with its checksum: CRC-32 as six base62 digits.
fn with_checksum(text: &str) -> String {
    const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let crc = crc32fast::hash(text.as_bytes());
    let digit = |place: u32| char::from(DIGITS[(crc / 62u32.pow(place) % 62) as usize]);
    text.chars().chain((0..6).rev().map(digit)).collect()
}

/// A key and a route's question.
#[derive(Clone, Debug)]
pub struct Ask {
    pub key: Shown,
    scope: Option<&'static str>,
    resource: Option<&'static str>,
    account: Option<&'static str>,
    /// What no route may ask.
    more: Option<&'static str>,
    /// The original request's, as often as it is said.
    methods: &'static [&'static str],
}

impl Ask {
    /// One that passes when nothing is damaged.
    pub fn good() -> Self {
        Self { key: Shown::New, scope: Some("orders:read"), resource: None, account: None, more: None, methods: &[] }
    }

    pub fn any() -> impl Strategy<Value = Self> {
        let other = [Shown::Nothing, Shown::Unknown, Shown::WrongSecret, Shown::Malformed, Shown::Twice, Shown::Site];
        let key = prop_oneof![3 => Just(Shown::New), 1 => Just(Shown::Old), 2 => select(other.to_vec())];
        let scope = select(&["any", "public", "orders:read", "orders:read", "orders:write", "*:*", ""][..]);
        let account = select(&["shop/acme", "shop/acme", "mall/acme", "acme"][..]);
        let methods = select(vec![&["GET"][..], &["POST"], &[], &["GET", "GET"]]);
        let question =
            (option::weighted(0.8, scope), option::weighted(0.2, Just("orders")), option::weighted(0.3, account));
        (key, question, option::weighted(0.05, Just("1")), methods).prop_map(
            |(key, (scope, resource, account), more, methods)| Self { key, scope, resource, account, more, methods },
        )
    }

    /// It asks one thing that can be asked this way.
    pub fn is_valid_over(&self, transport: Transport) -> bool {
        let asks = match (self.scope, self.resource, transport) {
            (scope, None, Transport::Verify) => scope.is_none_or(is_scope),
            (Some(scope), None, _) => is_scope(scope),
            (None, Some(_), Transport::Query | Transport::Path) => self.methods.len() == 1,
            (None, Some(_), Transport::Grpc) => true,
            _ => false,
        };
        asks && self.more.is_none() && self.account != Some("acme")
    }

    /// A key that may read orders may do this, and is of an account that is accepted.
    pub fn is_permitted(&self) -> bool {
        let may = self.resource.is_none() || self.methods == ["GET"];
        may && self.scope != Some("orders:write") && self.is_for_acme()
    }

    pub fn is_public(&self) -> bool {
        self.scope == Some("public")
    }

    pub fn is_for_acme(&self) -> bool {
        self.account.is_none_or(|account| account == "shop/acme")
    }

    /// What a route asks: always to be told the metadata too.
    fn of_route(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        self.pairs().chain([("metadata", "true")])
    }

    fn pairs(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        let all =
            [("scope", self.scope), ("resource", self.resource), ("account", self.account), ("tenant", self.more)];
        all.into_iter().filter_map(|(name, value)| Some((name, value?)))
    }
}

fn is_scope(text: &str) -> bool {
    !["", "*:*"].contains(&text)
}

/// What a caller is told.
#[derive(Debug)]
pub struct Told {
    pub passes: bool,
    pub status: u16,
}

/// Asks, and reads the answer to its end.
pub async fn asked(verifier: &Verifier, ask: &Ask, transport: Transport, fault: &Fault) -> Told {
    let query: Vec<String> = ask.of_route().map(|(name, value)| format!("{name}={value}")).collect();
    match transport {
        Transport::Query => auth(verifier, &format!("/auth?{}", query.join("&")), ask, fault).await,
        Transport::Path => auth(verifier, &format!("/auth/{}/-/orders?scope=any", query.join("/")), ask, fault).await,
        Transport::Verify => verify(verifier, ask, fault).await,
        Transport::Grpc => read(verifier.grpc.check(check(ask).encode_to_vec().into()).await),
    }
}

/// What comes of it within so many turns.
pub async fn given_up<T>(call: impl Future<Output = T>, turns: usize) -> Option<T> {
    let mut call = pin!(call);
    let mut left = turns;
    poll_fn(move |context| match left.checked_sub(1) {
        None => Poll::Ready(None),
        Some(fewer) => {
            left = fewer;
            call.as_mut().poll(context).map(Some)
        }
    })
    .await
}

async fn auth(verifier: &Verifier, target: &str, ask: &Ask, fault: &Fault) -> Told {
    let mut request = Request::get(target);
    for text in ask.key.texts() {
        request = request.header("x-api-key", text);
    }
    for method in ask.methods {
        request = request.header("x-original-method", *method);
    }
    let answer = answered(verifier, request.body(fault.body("a body that nobody reads".to_owned())).unwrap()).await;
    let is_identity = |name: &str| ["x-keywright-account", "x-keywright-key"].contains(&name);
    let tells = answer.headers().keys().any(|name| is_identity(name.as_str()));
    let passes = answer.status().is_success();
    assert!(passes || !tells, "nobody is told who a refused caller is");
    Told { passes, status: answer.status().as_u16() }
}

async fn verify(verifier: &Verifier, ask: &Ask, fault: &Fault) -> Told {
    let mut question: Map<String, Value> = ask.pairs().map(|(name, value)| (name.to_owned(), value.into())).collect();
    question.insert("key".to_owned(), ask.key.texts().join(",").into());
    let body = fault.body(Value::Object(question).to_string());
    let answer = answered(verifier, Request::post("/v1/verify").body(body).unwrap()).await;
    let status = answer.status().as_u16();
    let body = to_bytes(answer.into_body(), usize::MAX).await.unwrap();
    let said: Value = serde_json::from_slice(&body).unwrap();
    let is_valid = said.get("valid").is_some_and(|valid| *valid == Value::Bool(true));
    assert!(status == 200 || !is_valid, "{status} {said}");
    Told { passes: is_valid, status }
}

async fn answered(verifier: &Verifier, request: Request<axum::body::Body>) -> Response<axum::body::Body> {
    let Ok(answer) = verifier.http.call(request).await;
    answer
}

fn check(ask: &Ask) -> CheckRequest {
    let own = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    // Envoy joins what stands there twice.
    let key = ask.key.texts().join(",");
    let http = HttpRequest {
        method: ask.methods.join(","),
        headers: if key.is_empty() { HashMap::new() } else { HashMap::from([("x-api-key".to_owned(), key)]) },
        ..HttpRequest::default()
    };
    let attributes = AttributeContext {
        request: Some(Attributes { http: Some(http), ..Attributes::default() }),
        context_extensions: ask.of_route().map(own).collect(),
        ..AttributeContext::default()
    };
    CheckRequest { attributes: Some(attributes) }
}

fn read(answer: wire::CheckResponse) -> Told {
    let answer = CheckResponse::decode(answer.encode_to_vec().as_slice()).expect("Envoy can read what is sent");
    let is_ok = answer.status.expect("a status").code == 0;
    let (passes, status) = match answer.http_response.expect("an HTTP response") {
        HttpResponse::OkResponse(_) => (true, 200),
        HttpResponse::DeniedResponse(denied) => (false, denied.status.expect("a status").code),
        HttpResponse::ErrorResponse(error) => panic!("an error falls to failure_mode_allow: {error:?}"),
    };
    assert!(is_ok == passes && (passes || answer.dynamic_metadata.is_none()), "the two say the same");
    Told { passes, status: status.try_into().unwrap() }
}
