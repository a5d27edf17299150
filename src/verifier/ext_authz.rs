//! Envoy's `ext_authz` over gRPC, as Envoy, Envoy Gateway, Istio and Contour ask it. The question comes from the route's
//! `context_extensions`, which no client can set.
//!
//! A refusal is always a `DeniedHttpResponse`, 503 included, and so is a panic of ours: an error of the transport would
//! fall to `failure_mode_allow`.

use std::collections::HashMap;
use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use envoy_types::ext_authz::v3::pb::{
    Authorization, CheckRequest, CheckResponse, DeniedHttpResponse, HeaderAppendAction, HeaderValue as PbHeader,
    HeaderValueOption, HttpResponse, HttpStatus, OkHttpResponse,
};
use envoy_types::pb::envoy::config::core::v3::address::Address as AddressKind;
use envoy_types::pb::envoy::service::auth::v3::attribute_context::{HttpRequest, Peer};
use envoy_types::pb::google::protobuf::{ListValue, Struct, Value, value::Kind};
use envoy_types::pb::google::rpc;
use futures::FutureExt;
use http::{HeaderName, HeaderValue};
use tonic::{Request, Response, Status};

use super::answer::Answer;
use super::call::Call;
use super::code::Code;
use super::credential::Places;
use super::decide::Verdict;
use super::headers::IDENTITY_PREFIX;
use super::identity::{Identity, KeyIdentity, metadata, metadata_headers};
use super::metrics::Transport;
use super::question::Question;
use super::service::Service;

/// Answers `envoy.service.auth.v3.Authorization/Check`.
pub struct ExtAuthz {
    /// Decides.
    pub service: Arc<Service>,
    /// Where keys are looked for.
    pub places: Places,
}

/// Who passes: for the upstream as headers, and for rate limits and access logs of the gateway as metadata.
struct Caller {
    headers: Vec<HeaderValueOption>,
    metadata: Struct,
}

#[tonic::async_trait]
impl Authorization for ExtAuthz {
    async fn check(&self, request: Request<CheckRequest>) -> Result<Response<CheckResponse>, Status> {
        let checked = AssertUnwindSafe(self.answer(request.into_inner())).catch_unwind().await;
        Ok(Response::new(checked.unwrap_or_else(|_| denied(Answer::refuse(Code::NotReady)))))
    }
}

impl ExtAuthz {
    async fn answer(&self, request: CheckRequest) -> CheckResponse {
        let attributes = request.attributes.unwrap_or_default();
        let Some(http) = attributes.request.and_then(|request| request.http) else {
            let why = "the request has no HTTP attributes: use ext_authz as an HTTP filter";
            return denied(self.bad_route(why));
        };
        let question = match Question::from_extensions(&attributes.context_extensions, http.method.as_bytes()) {
            Ok(question) => question,
            Err(error) => return denied(self.bad_route(&error.to_string())),
        };
        let headers = Headers::of(&http);
        let credential =
            self.places.find_in(headers.values("authorization"), headers.values(self.places.header.as_str()));
        let render = |verdict: &Verdict<'_>| match Caller::of(verdict, &question) {
            Some(caller) => allowed(caller, self.to_remove(&headers, &question)),
            None => denied(Answer::to(verdict, &question)),
        };
        let header = |name: &'static str| headers.values(name).next();
        let client = || client(attributes.source.as_ref()?);
        let call = Call { transport: Transport::grpc, header: &header, client: &client };
        self.service.check(&call, credential, &question, render).await
    }

    /// What the upstream is not to see of the client's request.
    fn to_remove(&self, headers: &Headers<'_>, question: &Question) -> Vec<String> {
        let mut remove = headers.spoofed();
        if question.strip_key {
            remove.push(self.places.header.to_string());
            let in_authorization = self.places.find_in(headers.values("authorization"), std::iter::empty()).is_ok();
            remove.extend(in_authorization.then(|| "authorization".to_owned()));
        }
        remove
    }

    fn bad_route(&self, why: &str) -> Answer {
        self.service.refuse(Code::BadRoute, Transport::grpc, |verdict| Answer::bad_route(verdict.code, why))
    }
}

/// The address that Envoy takes for the client's.
fn client(peer: &Peer) -> Option<IpAddr> {
    match peer.address.as_ref()?.address.as_ref()? {
        AddressKind::SocketAddress(socket) => socket.address.parse().ok(),
        _ => None,
    }
}

/// The headers of the client's request, in whichever of the two forms Envoy sends them.
enum Headers<'r> {
    Joined(&'r HashMap<String, String>),
    Raw(&'r [PbHeader]),
}

impl<'r> Headers<'r> {
    fn of(http: &'r HttpRequest) -> Self {
        match &http.header_map {
            Some(map) if !map.headers.is_empty() => Self::Raw(&map.headers),
            _ => Self::Joined(&http.headers),
        }
    }

    fn all(&self) -> impl Iterator<Item = (&'r str, &'r [u8])> + use<'r> {
        let (joined, raw) = match self {
            Self::Joined(map) => (Some(*map), None),
            Self::Raw(list) => (None, Some(*list)),
        };
        let joined = joined.into_iter().flatten().map(|(name, value)| (name.as_str(), value.as_bytes()));
        joined.chain(raw.into_iter().flatten().map(|header| {
            let value = if header.raw_value.is_empty() { header.value.as_bytes() } else { &header.raw_value };
            (header.key.as_str(), value)
        }))
    }

    fn values(&self, name: &'r str) -> impl Iterator<Item = &'r [u8]> + use<'r> {
        self.all().filter(move |(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// What looks like an identity header of ours to some server behind the gateway, in whatever spelling.
    fn spoofed(&self) -> Vec<String> {
        let plain = |byte: u8| if matches!(byte, b'_' | b'.') { b'-' } else { byte.to_ascii_lowercase() };
        let prefix = IDENTITY_PREFIX.as_bytes();
        let looks_like_ours = |name: &str| {
            name.len() >= prefix.len() && name.bytes().zip(prefix).all(|(byte, expected)| plain(byte) == *expected)
        };
        self.all().filter(|(name, _)| looks_like_ours(name)).map(|(name, _)| name.to_owned()).collect()
    }
}

fn allowed(Caller { headers, metadata }: Caller, remove: Vec<String>) -> CheckResponse {
    let is_set = |name: &String| {
        headers.iter().any(|option| option.header.as_ref().is_some_and(|h| h.key.eq_ignore_ascii_case(name)))
    };
    let headers_to_remove = remove.into_iter().filter(|name| !is_set(name)).collect();
    CheckResponse {
        status: Some(rpc::Status::default()),
        dynamic_metadata: Some(metadata),
        http_response: Some(HttpResponse::OkResponse(OkHttpResponse {
            headers,
            headers_to_remove,
            ..OkHttpResponse::default()
        })),
    }
}

fn denied(answer: Answer) -> CheckResponse {
    let http = i32::from(answer.code.status());
    // Any status but OK refuses; these are the ones that mean the same.
    let grpc = match http {
        401 => tonic::Code::Unauthenticated,
        403 => tonic::Code::PermissionDenied,
        _ => tonic::Code::Unavailable,
    };
    CheckResponse {
        status: Some(rpc::Status { code: grpc as i32, message: answer.code.to_string(), ..rpc::Status::default() }),
        dynamic_metadata: None,
        http_response: Some(HttpResponse::DeniedResponse(DeniedHttpResponse {
            status: Some(HttpStatus { code: http }),
            headers: answer.headers.iter().map(header).collect(),
            body: String::from_utf8_lossy(&answer.body).into_owned(),
        })),
    }
}

fn header((name, value): (&HeaderName, &HeaderValue)) -> HeaderValueOption {
    HeaderValueOption {
        header: Some(PbHeader { key: name.as_str().to_owned(), value: text(value), ..PbHeader::default() }),
        append_action: HeaderAppendAction::OverwriteIfExistsOrAdd as i32,
        ..HeaderValueOption::default()
    }
}

fn text(value: &HeaderValue) -> String {
    String::from_utf8_lossy(value.as_bytes()).into_owned()
}

fn string(text: String) -> Value {
    Value { kind: Some(Kind::StringValue(text)) }
}

impl Caller {
    fn of(verdict: &Verdict<'_>, question: &Question) -> Option<Self> {
        let identity = Identity::of(verdict)?;
        let mut fields = HashMap::with_capacity(6);
        let mut set = |name: &str, value: Value| drop(fields.insert(name.to_owned(), value));
        set("account", string(text(&identity.account)));
        if let Some(KeyIdentity { key, key_id, scopes }) = &identity.key {
            set("key", string(text(key)));
            set("keyId", string(text(key_id)));
            let scopes = text(scopes).split(' ').map(|scope| string(scope.to_owned())).collect();
            set("scopes", Value { kind: Some(Kind::ListValue(ListValue { values: scopes })) });
        }
        if let Some(id) = &identity.site_id {
            set("siteId", string(text(id)));
        }
        let mut headers: Vec<HeaderValueOption> =
            identity.headers().map(|(name, value)| header((&name, &value))).collect();
        if let Some(holder) = &verdict.holder {
            if question.metadata {
                headers.extend(metadata_headers(holder)?.iter().map(|(name, value)| header((name, value))));
            }
            let pairs = metadata(holder).into_iter().map(|(name, value)| (name, string(value)));
            set("metadata", Value { kind: Some(Kind::StructValue(Struct { fields: pairs.collect() })) });
        }
        Some(Self { headers, metadata: Struct { fields } })
    }
}
