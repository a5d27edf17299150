//! Messages that are too large or never end: denied, never a failed call, which would fall to `failure_mode_allow`.
//! Gateways may put the client's headers and body into them.

use std::time::{Duration, Instant};

use ::http::{Request, Response};
use bytes::Bytes;
use envoy_types::pb::envoy::service::auth::v3::attribute_context::HttpRequest;
use futures::stream::{self, StreamExt};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use prost::Message;
use tonic::body::Body;
use tonic::codegen::Service;

use super::client::{ask, channel, client, http, keywright, read, request, with_http};

const KIB: usize = 1024;
const SCOPE: &[(&str, &str)] = &[("scope", "any")];
/// The gRPC code.
const UNAVAILABLE: i32 = 14;

#[tokio::test]
async fn a_message_of_256_kib_is_read_and_a_larger_one_denied() {
    let client = client().await;
    let key = &keywright().await.full;
    for (kib, status, code) in [
        (0, 200, "ok"),
        (250, 200, "ok"),
        (257, 413, "too_large"),
        (4096, 413, "too_large"),
        (3 * KIB, 413, "too_large"),
    ] {
        let padding = "a".repeat(kib * KIB);
        let in_head = request(SCOPE, "GET", &[("x-api-key", key), ("x-padding", &padding)]);
        let headers = [("x-api-key".to_owned(), key.clone())].into();
        let in_body = with_http(SCOPE, HttpRequest { body: padding, headers, ..http("POST") });
        for question in [in_head, in_body] {
            let answer = ask(&client, question).await;
            assert_eq!((answer.status, answer.code()), (status, code), "{kib} KiB");
        }
    }
}

#[tokio::test]
async fn a_message_that_never_ends_is_denied_after_ten_seconds() {
    let first = Bytes::from_static(&[0, 0, 0, 1, 0, 1, 2, 3]);
    let frames = stream::iter([Ok::<_, tonic::Status>(Frame::data(first))]).chain(stream::pending());
    let call = Request::post("http://verifier/envoy.service.auth.v3.Authorization/Check")
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(Body::new(StreamBody::new(frames)))
        .unwrap();
    let mut channel = channel(&keywright().await.verifier.grpc);
    std::future::poll_fn(|cx| channel.poll_ready(cx)).await.unwrap();
    let start = Instant::now();
    let answer: Response<Body> = channel.call(call).await.unwrap();
    let body = answer.into_body().collect().await.unwrap();
    assert_eq!(body.trailers().unwrap()["grpc-status"], "0", "the call does not fail");
    let answer = read(Message::decode(&body.to_bytes()[5..]).unwrap());
    assert_eq!((answer.rpc, answer.status, answer.code()), (UNAVAILABLE, 503, "not_ready"));
    assert!((Duration::from_secs(9)..Duration::from_secs(20)).contains(&start.elapsed()), "{:?}", start.elapsed());
}
