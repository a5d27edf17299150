//! HTTP/2 without TLS, for gateways that accept it.

use http::{HeaderMap, HeaderName, HeaderValue, Request};
use tokio::net::TcpStream;

use super::support::http::Answer;

/// Sends a request, with a body and trailers if there are any, and reads the answer to its end. Returns `None` if the
/// gateway resets the stream.
pub async fn call(address: &str, path: &str, headers: &[(&str, &str)], trailers: &[(&str, &str)]) -> Option<Answer> {
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut client, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let method = if trailers.is_empty() { "GET" } else { "POST" };
    let mut request = Request::builder().method(method).uri(format!("http://{address}{path}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let (answer, mut body) = client.send_request(request.body(()).unwrap(), trailers.is_empty()).unwrap();
    if !trailers.is_empty() {
        let name = |name: &str| HeaderName::from_bytes(name.as_bytes()).unwrap();
        let lines = trailers.iter().map(|(n, value)| (name(n), HeaderValue::from_str(value).unwrap()));
        // A gateway may refuse before it has read everything.
        let _ = body.send_data("body".into(), false).and_then(|()| body.send_trailers(lines.collect::<HeaderMap>()));
    }
    let (head, mut stream) = match answer.await {
        Ok(answer) => answer.into_parts(),
        Err(error) if error.is_reset() => return None,
        Err(error) => panic!("{error}"),
    };
    let mut body = Vec::new();
    while let Some(data) = stream.data().await {
        body.extend_from_slice(&data.unwrap());
    }
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let headers = head.headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect();
    Some(Answer { status: head.status.as_u16(), headers, body: String::from_utf8_lossy(&body).into_owned() })
}
