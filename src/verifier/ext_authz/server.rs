//! `Check` as a gRPC service: what tonic would generate, for messages of our own.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::FutureExt;
use futures::future::BoxFuture;
use http::{Request, Response};
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::server::{Grpc, NamedService, UnaryService};
use tonic::{Code, Status};
use tonic_prost::ProstCodec;

use super::ExtAuthz;
use super::wire::{CheckRequest, CheckResponse};

/// The largest question, in bytes. Gateways may send the client's body along, and one that is too large would be
/// an error of the transport, which falls to `failure_mode_allow`.
const LARGEST_QUESTION: usize = 64 * 1024 * 1024;

/// `envoy.service.auth.v3.Authorization`
#[derive(Clone)]
pub struct Server(Arc<ExtAuthz>);

impl Server {
    /// Answers from this.
    pub fn new(ext_authz: ExtAuthz) -> Self {
        Self(Arc::new(ext_authz))
    }
}

impl NamedService for Server {
    const NAME: &'static str = "envoy.service.auth.v3.Authorization";
}

impl Service<Request<Body>> for Server {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let check = self.clone();
        async move {
            let method = request.uri().path().rsplit('/').next();
            if method != Some("Check") {
                return Ok(Status::new(Code::Unimplemented, "there is only Check").into_http());
            }
            let codec = ProstCodec::<CheckResponse, CheckRequest>::default();
            Ok(Grpc::new(codec).max_decoding_message_size(LARGEST_QUESTION).unary(check, request).await)
        }
        .boxed()
    }
}

impl UnaryService<CheckRequest> for Server {
    type Response = CheckResponse;
    type Future = BoxFuture<'static, Result<tonic::Response<CheckResponse>, Status>>;

    fn call(&mut self, request: tonic::Request<CheckRequest>) -> Self::Future {
        let ext_authz = self.0.clone();
        async move { Ok(tonic::Response::new(ext_authz.check(request.into_inner()).await)) }.boxed()
    }
}
