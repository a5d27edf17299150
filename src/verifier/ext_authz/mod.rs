//! Envoy's `ext_authz` over gRPC, as Envoy, Envoy Gateway, Istio and Contour ask it. The question comes from the route's
//! `context_extensions`, which no client can set.
//!
//! A refusal is always a `DeniedHttpResponse`, 503 included, and so is a panic of ours: an error of the transport would
//! fall to `failure_mode_allow`.

use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt;
use http::{HeaderName, HeaderValue};
use prost::Message;
use tokio::sync::Semaphore;

use super::answer::Answer;
use super::call::Call;
use super::code::Code;
use super::credential::Places;
use super::decide::Verdict;
use super::headers::IDENTITY_PREFIX;
use super::identity::{Identity, metadata, metadata_headers};
use super::metrics::Transport;
use super::question::Question;
use super::service::{Proof, Service, Unproven};
use wire::{Allowed, CheckRequest, CheckResponse, Denied, Header, Http, HttpStatus, Peer, SetHeader, Status};
use wire::{Field, Struct, Value};

pub mod server;
pub mod wire;

/// Bytes of memory that a byte of a message can take when it is parsed: a header without name and value has 2, takes 96, and
/// a list that has just grown has three places for each.
pub const PARSED_FACTOR: usize = 150;
/// Bytes of a message of which only [`LARGE_MESSAGES`] are parsed at the same time.
pub const LARGE_MESSAGE: usize = 8 * 1024;
/// See [`LARGE_MESSAGE`].
pub const LARGE_MESSAGES: usize = 2;

/// Answers `envoy.service.auth.v3.Authorization/Check`.
pub struct ExtAuthz {
    service: Arc<Service>,
    places: Places,
    /// Requirement of routes without extensions. `None`: they are refused.
    default_requirement: Option<String>,
    large: Semaphore,
}

/// Reason to refuse a message without reading it.
#[derive(Clone, Copy, Debug)]
pub enum Refusal {
    /// It is larger than allowed.
    TooLarge,
    /// It cannot be parsed.
    Malformed,
    /// It was not complete, or there is no memory for it.
    Doubt,
}

impl ExtAuthz {
    /// Answers with the verdicts of `service` about keys found at `places`.
    pub fn new(service: Arc<Service>, places: Places) -> Self {
        Self { service, places, default_requirement: None, large: Semaphore::new(LARGE_MESSAGES) }
    }

    /// Asks `requirement` where a route carries none at all.
    #[must_use]
    pub fn with_default(self, requirement: Option<String>) -> Self {
        Self { default_requirement: requirement, ..self }
    }

    /// Answers a message, a `CheckRequest`.
    pub async fn check(&self, message: Bytes) -> CheckResponse {
        let checked = AssertUnwindSafe(self.settle(&message)).catch_unwind().await;
        checked.ok().flatten().unwrap_or_else(|| denied(Answer::refuse(Code::NotReady)))
    }

    /// `None` is a doubt.
    async fn settle(&self, message: &Bytes) -> Option<CheckResponse> {
        match self.ask(message, None).await {
            Ok(answer) => Some(answer),
            // What was parsed is not kept until there is a proof.
            Err(unproven) => self.ask(message, Some(&self.service.prove(unproven).await)).await.ok(),
        }
    }

    async fn ask(&self, message: &Bytes, proof: Option<&Proof>) -> Result<CheckResponse, Unproven> {
        let _turn = if message.len() > LARGE_MESSAGE { self.large.acquire().await.ok() } else { None };
        match CheckRequest::decode(message.clone()) {
            Ok(request) => self.answer(&request, proof),
            Err(_) => Ok(self.refuse(Refusal::Malformed)),
        }
    }

    /// The answer to a message that was not read.
    pub fn refuse(&self, refusal: Refusal) -> CheckResponse {
        let code = match refusal {
            Refusal::TooLarge => Code::TooLarge,
            Refusal::Malformed => return denied(self.bad_route("the message is not one whole CheckRequest")),
            Refusal::Doubt => Code::NotReady,
        };
        self.service.refuse(code, Transport::grpc, |verdict| denied(Answer::refuse(verdict.code)))
    }

    fn answer(&self, request: &CheckRequest, proof: Option<&Proof>) -> Result<CheckResponse, Unproven> {
        let attributes = request.attributes.as_ref();
        let http = attributes.and_then(|attributes| attributes.request.as_ref()?.http.as_ref());
        let (Some(attributes), Some(http)) = (attributes, http) else {
            let why = "the request has no HTTP attributes: use ext_authz as an HTTP filter";
            return Ok(denied(self.bad_route(why)));
        };
        let headers = Headers::of(http);
        let credential =
            self.places.find_in(headers.values("authorization"), headers.values(self.places.header.as_str()));
        self.service.bring(&credential);
        let extensions = attributes.context_extensions.iter().map(|pair| (&*pair.key, &*pair.value));
        let default = self.default_requirement.as_ref().filter(|_| attributes.context_extensions.is_empty());
        let question = match default {
            Some(requirement) => Question::from_default(requirement, &http.method),
            None => Question::from_extensions(extensions, &http.method),
        };
        let question = match question {
            Ok(question) => question,
            Err(error) => return Ok(denied(self.bad_route(&error.to_string()))),
        };
        let render = |verdict: &Verdict<'_>| {
            allowed(verdict, &question, || self.to_remove(&headers, &question))
                .unwrap_or_else(|| denied(Answer::to(verdict, &question)))
        };
        let header = |name: &HeaderName| headers.values(name.as_str()).next();
        let client = || client(attributes.source.as_ref()?);
        let call = Call { transport: Transport::grpc, header: &header, client: &client };
        self.service.check(&call, &credential, &question, proof, render)
    }

    /// What the upstream is not to see of the client's request.
    fn to_remove(&self, headers: &Headers<'_>, question: &Question) -> Vec<Bytes> {
        let mut remove = headers.spoofed();
        if question.strip_key {
            remove.push(Bytes::copy_from_slice(self.places.header.as_str().as_bytes()));
            let in_authorization = self.places.find_in(headers.values("authorization"), std::iter::empty()).is_ok();
            remove.extend(in_authorization.then_some(Bytes::from_static(b"authorization")));
        }
        remove
    }

    fn bad_route(&self, why: &str) -> Answer {
        self.service.refuse(Code::BadRoute, Transport::grpc, |verdict| Answer::bad_route(verdict.code, why))
    }
}

/// The address that Envoy takes for the client's.
fn client(peer: &Peer) -> Option<IpAddr> {
    std::str::from_utf8(&peer.address.as_ref()?.socket_address.as_ref()?.address).ok()?.parse().ok()
}

/// The headers of the client's request, in whichever of the two forms Envoy sends them.
struct Headers<'r>(&'r [Header]);

impl<'r> Headers<'r> {
    fn of(http: &'r Http) -> Self {
        match &http.header_map {
            Some(map) if !map.headers.is_empty() => Self(&map.headers),
            _ => Self(&http.headers),
        }
    }

    fn values<'n>(&self, name: &'n str) -> impl Iterator<Item = &'r [u8]> + use<'r, 'n> {
        let is_it = move |header: &&Header| header.key.eq_ignore_ascii_case(name.as_bytes());
        self.0
            .iter()
            .filter(is_it)
            .map(|Header { value, raw_value, .. }| &**if raw_value.is_empty() { value } else { raw_value })
    }

    /// Names that some server behind the gateway reads as an identity header. CGI reads each character but letters and
    /// digits as `_`; lighttpd does so with all of them, others with some.
    fn spoofed(&self) -> Vec<Bytes> {
        let folded = |byte: u8| if byte.is_ascii_alphanumeric() { byte.to_ascii_lowercase() } else { b'-' };
        let prefix = IDENTITY_PREFIX.as_bytes();
        let is_identity = |name: &[u8]| {
            name.len() >= prefix.len() && name.iter().zip(prefix).all(|(byte, expected)| folded(*byte) == *expected)
        };
        self.0.iter().filter(|header| is_identity(&header.key)).map(|header| header.key.clone()).collect()
    }
}

/// The answer for who passes: for the upstream as headers, and for rate limits and access logs of the gateway as
/// metadata. `None` is for everybody else, and a doubt.
fn allowed(verdict: &Verdict<'_>, question: &Question, remove: impl Fn() -> Vec<Bytes>) -> Option<CheckResponse> {
    let identity = Identity::of(verdict)?;
    let (mut headers, mut fields) = (Vec::with_capacity(5), Vec::with_capacity(6));
    for (header, field, value) in identity.named() {
        let value = Bytes::copy_from_slice(value.as_bytes());
        let told = if field == "scopes" { Value::words(&value) } else { Value::text(value.clone()) };
        headers.push(SetHeader::of(Bytes::from_static(header.as_bytes()), value));
        fields.push(Field::of(Bytes::from_static(field.as_bytes()), told));
    }
    if let Some(holder) = &verdict.holder {
        if question.metadata {
            headers.extend(metadata_headers(holder)?.iter().map(|(name, value)| set(name.as_str(), value)));
        }
        let pairs = metadata(holder).into_iter().map(|(name, value)| Field::of(name.into(), Value::text(value.into())));
        fields.push(Field::of(Bytes::from_static(b"metadata"), Value::structure(pairs.collect())));
    }
    let mut headers_to_remove = remove();
    headers_to_remove.retain(|name| !headers.iter().any(|set| set.header.key.eq_ignore_ascii_case(name)));
    Some(CheckResponse {
        status: Some(Status::default()),
        ok_response: Some(Allowed { headers, headers_to_remove }),
        dynamic_metadata: Some(Struct { fields }),
        ..CheckResponse::default()
    })
}

fn denied(answer: Answer) -> CheckResponse {
    let http = i32::from(answer.code.status());
    // Any status but OK refuses; these are the ones that mean the same.
    let grpc = match http {
        401 => tonic::Code::Unauthenticated,
        403 => tonic::Code::PermissionDenied,
        _ => tonic::Code::Unavailable,
    };
    let headers = answer.headers.iter().map(|(name, value)| set(name.as_str(), value)).collect();
    CheckResponse {
        status: Some(Status { code: grpc as i32, message: answer.code.as_str().into() }),
        denied_response: Some(Denied { status: Some(HttpStatus { code: http }), headers, body: answer.body }),
        ..CheckResponse::default()
    }
}

fn set(name: &str, value: &HeaderValue) -> SetHeader {
    SetHeader::of(Bytes::copy_from_slice(name.as_bytes()), Bytes::copy_from_slice(value.as_bytes()))
}
