//! Servers of the same stack that answer what the real one once answered, and look at nothing.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use bytes::{Buf, BufMut, Bytes};
use data_encoding::{Encoding, HEXLOWER};
use envoy_types::ext_authz::v3::pb::{Authorization, AuthorizationServer, CheckRequest, CheckResponse};
use futures::future::BoxFuture;
use keywright::server::Inbound;
use prost::Message;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::server::{Grpc, NamedService, UnaryService};
use tonic::{Status, body, codegen::Service};

use super::child::heard;

pub const HEX: Encoding = HEXLOWER;

pub struct Answers {
    pub http: Same,
    pub grpc: Router,
}

impl Answers {
    /// Of a role: `noop` answers the same, `raw` as well and does not even read the protobuf or look for a route, `empty`
    /// answers nothing.
    pub fn hear(role: &str) -> Self {
        let (mut headers, mut message) = (headers(&heard()), Bytes::from(heard()));
        if role == "empty" {
            (headers, message) = (HeaderMap::new(), Bytes::new());
        }
        let response = CheckResponse::decode(message.clone()).unwrap();
        let (_, health) = tonic_health::server::health_reporter();
        let grpc = tonic::service::Routes::new(health);
        let grpc = match role {
            "raw" => grpc.add_service(Raw { message }),
            _ => grpc.add_service(AuthorizationServer::new(Fixed { response })),
        };
        Self { http: Same(Arc::new(headers)), grpc: grpc.into_axum_router() }
    }
}

/// The same answer to all that is asked over HTTP.
#[derive(Clone)]
pub struct Same(Arc<HeaderMap>);

impl Same {
    /// As a server of this stack has it, and with no more of axum's weight than that: no handler, no extractor.
    pub fn routed(self) -> Router {
        Router::new().route_service("/auth", self)
    }

    fn answer(&self) -> Ready<Result<Response<Body>, Infallible>> {
        let mut response = Response::new(Body::empty());
        response.headers_mut().clone_from(&self.0);
        ready(Ok(response))
    }
}

/// Without axum.
impl hyper::service::Service<Request<Inbound>> for Same {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn call(&self, _: Request<Inbound>) -> Self::Future {
        self.answer()
    }
}

impl Service<Request<Body>> for Same {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Body>) -> Self::Future {
        self.answer()
    }
}

/// Those of the verifier; the rest come from the stack anyway.
fn headers(head: &[u8]) -> HeaderMap {
    let lines = str::from_utf8(head).unwrap().split("\r\n").skip(1);
    let pairs = lines.filter_map(|line| line.split_once(": "));
    let own = pairs.filter(|(name, _)| !["date", "content-length"].contains(name));
    own.map(|(name, value)| (HeaderName::try_from(name).unwrap(), HeaderValue::from_str(value).unwrap())).collect()
}

struct Fixed {
    response: CheckResponse,
}

#[tonic::async_trait]
impl Authorization for Fixed {
    async fn check(&self, _: tonic::Request<CheckRequest>) -> Result<tonic::Response<CheckResponse>, Status> {
        Ok(tonic::Response::new(self.response.clone()))
    }
}

/// What tonic costs without any protobuf.
#[derive(Clone)]
struct Raw {
    message: Bytes,
}

impl NamedService for Raw {
    const NAME: &'static str = "envoy.service.auth.v3.Authorization";
}

impl Service<Request<body::Body>> for Raw {
    type Response = Response<body::Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<body::Body>) -> Self::Future {
        let method = self.clone();
        Box::pin(async move { Ok(Grpc::new(RawCodec).unary(method, request).await) })
    }
}

impl UnaryService<()> for Raw {
    type Response = Bytes;
    type Future = Ready<Result<tonic::Response<Bytes>, Status>>;

    fn call(&mut self, _: tonic::Request<()>) -> Self::Future {
        ready(Ok(tonic::Response::new(self.message.clone())))
    }
}

struct RawCodec;

impl Codec for RawCodec {
    type Encode = Bytes;
    type Decode = ();
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for RawCodec {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(item);
        Ok(())
    }
}

impl Decoder for RawCodec {
    type Item = ();
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<()>, Status> {
        buffer.advance(buffer.remaining());
        Ok(Some(()))
    }
}
