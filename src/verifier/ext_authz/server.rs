//! `Check` as a gRPC service on tonic, for the messages of [`super::wire`].
//!
//! A message that cannot be read is answered as a denial: a failed call would fall to `failure_mode_allow`.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::FutureExt;
use futures::future::{BoxFuture, Ready, ready};
use http::{Request, Response};
use http_body_util::Full;
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::server::{Grpc, NamedService, UnaryService};
use tonic::{Code, Status};
use tonic_prost::ProstCodec;

use super::wire::{CheckRequest, CheckResponse};
use super::{ExtAuthz, Refusal};
use crate::server::body::{self, BodyError};

/// Bytes before a gRPC message: a flag and its length.
const PREFIX: usize = 5;
/// An empty message, for calls that are answered without their own.
const EMPTY: &[u8] = &[0; PREFIX];

/// `envoy.service.auth.v3.Authorization`
#[derive(Clone)]
pub struct Server {
    ext_authz: Arc<ExtAuthz>,
    /// Bytes of the largest message.
    most: usize,
}

impl Server {
    /// Bytes of the largest message by default: Envoy's largest head, with room for what it adds.
    pub const LARGEST_MESSAGE: usize = 256 * 1024;

    /// Answers messages of up to `most` bytes.
    pub fn new(ext_authz: ExtAuthz, most: usize) -> Self {
        Self { ext_authz: Arc::new(ext_authz), most }
    }

    async fn check(self, request: Request<Body>) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let answer = match body::read(&parts, body, most_bytes(self.most)).await {
            Ok(body) => match message(&body.bytes) {
                Some(message) => self.ext_authz.check(message).await,
                None => self.ext_authz.refuse(Refusal::Malformed),
            },
            Err(BodyError::TooLarge) => self.ext_authz.refuse(Refusal::TooLarge),
            Err(BodyError::TooSlow | BodyError::Broken | BodyError::Busy) => self.ext_authz.refuse(Refusal::Doubt),
        };
        // tonic writes the answer. It sees none of the client's headers, which could make it fail the call.
        let request = Request::new(Full::new(Bytes::from_static(EMPTY)));
        Grpc::new(ProstCodec::<CheckResponse, CheckRequest>::default()).unary(Fixed(answer), request).await
    }
}

/// Returns the bytes of a body with a message of so many.
pub fn most_bytes(message: usize) -> usize {
    PREFIX + message
}

/// Returns the only message of a body, if it is complete and not compressed.
fn message(body: &Bytes) -> Option<Bytes> {
    let (&[0, a, b, c, d], message) = body.split_first_chunk::<PREFIX>()? else { return None };
    let length = usize::try_from(u32::from_be_bytes([a, b, c, d])).ok()?;
    (message.len() == length).then(|| body.slice(PREFIX..))
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
        if request.uri().path().rsplit('/').next() != Some("Check") {
            return ready(Ok(Status::new(Code::Unimplemented, "there is only Check").into_http())).boxed();
        }
        self.clone().check(request).map(Ok).boxed()
    }
}

/// One answer, whatever the message.
struct Fixed(CheckResponse);

impl UnaryService<CheckRequest> for Fixed {
    type Response = CheckResponse;
    type Future = Ready<Result<tonic::Response<CheckResponse>, Status>>;

    fn call(&mut self, _: tonic::Request<CheckRequest>) -> Self::Future {
        ready(Ok(tonic::Response::new(self.0.clone())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_one_whole_message() {
        let read = |body: &'static [u8]| message(&Bytes::from_static(body));
        assert_eq!(read(&[0, 0, 0, 0, 0]), Some(Bytes::new()));
        assert_eq!(read(&[0, 0, 0, 0, 1, 7]), Some(Bytes::from_static(&[7])));
        for (what, body) in [
            ("nothing", &[][..]),
            ("half a prefix", &[0, 0, 0]),
            ("half a message", &[0, 0, 0, 0, 2, 7]),
            ("more than a message", &[0, 0, 0, 0, 1, 7, 7]),
            ("compressed", &[1, 0, 0, 0, 1, 7]),
            ("a length beyond all", &[0, 255, 255, 255, 255, 7]),
        ] {
            assert_eq!(read(body), None, "{what}");
        }
    }
}
