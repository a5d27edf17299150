//! Messages that are too large or cannot be read: denied, never a failed call, which would fall to `failure_mode_allow`.
//! Gateways may put the client's headers and body into them.

use std::time::{Duration, Instant};

use ::http::{Request, Response};
use bytes::Bytes;
use envoy_types::pb::envoy::service::auth::v3::attribute_context::HttpRequest;
use futures::stream::{self, StreamExt};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use prost::Message;
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::transport::Channel;

use super::client::{Answer, ask, channel, client, http, keywright, read, request, with_http};
use super::support::Result;

const KIB: usize = 1024;
const SCOPE: &[(&str, &str)] = &[("scope", "any")];

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
async fn a_message_that_never_ends_is_reset_after_ten_seconds() {
    let first = Bytes::from_static(&[0, 0, 0, 1, 0, 1, 2, 3]);
    let frames = stream::iter([Ok::<_, tonic::Status>(Frame::data(first))]).chain(stream::pending());
    let mut channel = channel(&keywright().await.verifier.grpc);
    let start = Instant::now();
    assert!(call(&mut channel, Body::new(StreamBody::new(frames)), &[]).await.is_err());
    assert!((Duration::from_secs(9)..Duration::from_secs(20)).contains(&start.elapsed()), "{:?}", start.elapsed());
}

#[tokio::test]
async fn what_is_no_message_is_denied_and_so_are_unknown_encodings() {
    let mut channel = channel(&keywright().await.verifier.grpc);
    let compressed: &[(&str, &str)] = &[("grpc-encoding", "gzip")];
    for (what, message, headers) in [
        ("nothing", &[][..], &[][..]),
        ("half a prefix", &[0, 0, 0], &[]),
        ("half a message", &[0, 0, 0, 0, 9, 1], &[]),
        ("two messages", &[0; 10], &[]),
        ("marked as compressed", &[1, 0, 0, 0, 0], compressed),
        ("an encoding", &[0; 5], compressed),
        ("no protobuf", &[0, 0, 0, 0, 2, 0xff, 0xff], &[]),
    ] {
        let body = Body::new(Full::new(Bytes::copy_from_slice(message)));
        let answer = call(&mut channel, body, headers).await.unwrap();
        assert_eq!((answer.status, answer.code()), (403, "bad_route"), "{what}");
    }
}

async fn call(channel: &mut Channel, body: Body, headers: &[(&str, &str)]) -> Result<Answer> {
    let request = Request::post("http://verifier/envoy.service.auth.v3.Authorization/Check")
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    std::future::poll_fn(|cx| channel.poll_ready(cx)).await?;
    let answer: Response<Body> = channel.call(request.body(body)?).await?;
    let body = answer.into_body().collect().await?;
    assert_eq!(body.trailers().expect("trailers")["grpc-status"], "0", "the call does not fail");
    Ok(read(Message::decode(&body.to_bytes()[5..])?))
}
