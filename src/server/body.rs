//! Reads bodies of requests within bounds: size, time, and the memory of the peer.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Bytes, HttpBody};
use http::HeaderMap;
use http::Request;
use http::request::Parts;
use http_body_util::BodyExt;
use thiserror::Error;
use tokio::time::timeout;

use super::memory::{Peer, Reservation};

/// Time for a body.
const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes of memory of a header besides its name and value, in a map that has just grown.
const HEADER: usize = 256;
/// Bytes of memory of a request that waits for its body: tasks and futures.
const TASK: usize = 8 * 1024;
/// Bytes of memory for each byte of a body: the buffer grows by doubling.
const FACTOR: usize = 2;

/// Reason why a body was not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum BodyError {
    /// The body has more bytes than allowed.
    #[error("the body is too large")]
    TooLarge,
    /// The body was not complete in time.
    #[error("the body did not come in time")]
    TooSlow,
    /// The client went away, or broke the protocol.
    #[error("the body is not complete")]
    Broken,
    /// The peer holds as much memory as it may.
    #[error("the memory for requests is used up")]
    Busy,
}

/// A whole body, and the memory that it occupies.
pub struct Read {
    /// The body.
    pub bytes: Bytes,
    /// Memory of the body; keep it as long as the body.
    pub memory: Option<Reservation>,
}

/// Reads a body of at most `most` bytes. The rest of a larger one is read and dropped, so that the client gets an answer.
///
/// # Errors
/// See [`BodyError`].
pub async fn read<B: HttpBody<Data = Bytes>>(parts: &Parts, body: B, most: usize) -> Result<Read, BodyError> {
    read_within(PATIENCE, parts, body, most).await
}

async fn read_within<B: HttpBody<Data = Bytes>>(
    patience: Duration,
    parts: &Parts,
    body: B,
    most: usize,
) -> Result<Read, BodyError> {
    if parts.extensions.get::<Dropped>().is_some() {
        return Err(BodyError::Busy);
    }
    // Absent in tests that call the routes without a connection.
    let mut memory = parts.extensions.get::<Peer>().and_then(|peer| peer.reserve(0));
    let all = collect(body, most, &mut memory);
    let bytes = timeout(patience, all).await.map_err(|_| BodyError::TooSlow)??;
    Ok(Read { bytes, memory })
}

/// Marks a request whose head was dropped for lack of memory.
#[derive(Clone, Copy)]
struct Dropped;

/// Memory of the head of a request, held as long as the request.
#[derive(Clone)]
struct Held(#[expect(dead_code, reason = "it is held")] Arc<Reservation>);

/// Reserves memory for a request that is kept until its body has come. Without it the head is dropped, and
/// [`read`] returns [`BodyError::Busy`]. Call it at once when a request has come.
pub fn admit<B>(request: &mut Request<B>, peer: &Peer) {
    if let Some(memory) = peer.reserve(TASK + head(request.headers())) {
        request.extensions_mut().insert(Held(Arc::new(memory)));
    } else {
        *request.headers_mut() = HeaderMap::new();
        request.extensions_mut().insert(Dropped);
    }
}

/// Reserves memory for the head of a request without a body that is not answered at once. `None` if the connection has
/// reserved it, as for HTTP/1.
///
/// # Errors
/// [`BodyError::Busy`].
pub fn hold<B>(request: &Request<B>) -> Result<Option<Reservation>, BodyError> {
    let peer = request.extensions().get::<Peer>();
    peer.map(|peer| peer.reserve(head(request.headers())).ok_or(BodyError::Busy)).transpose()
}

/// Returns an upper bound of the memory that a head occupies.
fn head(headers: &HeaderMap) -> usize {
    headers.iter().map(|(name, value)| HEADER + name.as_str().len() + value.len()).sum()
}

async fn collect<B: HttpBody<Data = Bytes>>(
    body: B,
    most: usize,
    memory: &mut Option<Reservation>,
) -> Result<Bytes, BodyError> {
    let mut body = pin!(body);
    let (mut whole, mut is_too_large) = (Vec::new(), false);
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| BodyError::Broken)?.into_data() else { continue };
        is_too_large |= whole.len() + data.len() > most;
        if is_too_large {
            whole = Vec::new();
            continue;
        }
        let needed = FACTOR * (whole.len() + data.len());
        if memory.as_mut().is_some_and(|memory| !memory.grow_to(needed)) {
            return Err(BodyError::Busy);
        }
        whole.extend_from_slice(&data);
    }
    if is_too_large { Err(BodyError::TooLarge) } else { Ok(whole.into()) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::convert::Infallible;

    use futures::stream::{self, StreamExt};
    use http_body_util::{Full, StreamBody};
    use hyper::body::Frame;

    use super::super::memory::MemoryBudget;
    use super::*;

    fn parts(peer: Option<Peer>) -> Parts {
        let mut parts = Request::new(()).into_parts().0;
        if let Some(peer) = peer {
            parts.extensions.insert(peer);
        }
        parts
    }

    fn peer(bytes: usize) -> Peer {
        MemoryBudget::new(bytes, 100).peer("192.0.2.1".parse().unwrap())
    }

    #[tokio::test]
    async fn a_body_up_to_the_limit_is_read() {
        for length in [0, 1, 100] {
            let body = Full::new(Bytes::from(vec![b'a'; length]));
            let peer = peer(1000);
            let read = read(&parts(Some(peer.clone())), body, 100).await.unwrap();
            assert_eq!(read.bytes.len(), length);
            assert!(peer.reserve(1000 - FACTOR * length).is_some());
            assert!(peer.reserve(1001 - FACTOR * length).is_none(), "{length} bytes are held");
            drop(read);
            assert!(peer.reserve(1000).is_some());
        }
    }

    #[tokio::test]
    async fn a_larger_body_is_drained_and_refused() {
        let (mut sent, peer) = (0, peer(1000));
        let frames = stream::repeat_with(|| {
            sent += 1;
            Ok::<_, Infallible>(Frame::data(Bytes::from_static(&[0; 60])))
        });
        let result = read(&parts(Some(peer.clone())), StreamBody::new(frames.take(1000)), 100).await;
        assert_eq!(result.err(), Some(BodyError::TooLarge));
        assert_eq!(sent, 1000);
        assert!(peer.reserve(1000).is_some());
    }

    #[tokio::test]
    async fn an_unfinished_body_is_given_up() {
        let first = stream::iter([Ok::<_, Infallible>(Frame::data(Bytes::from_static(b"a")))]);
        let body = StreamBody::new(first.chain(stream::pending()));
        let result = read_within(Duration::from_millis(1), &parts(None), body, 100).await;
        assert_eq!(result.err(), Some(BodyError::TooSlow));
    }

    #[tokio::test]
    async fn a_peer_without_memory_is_refused() {
        let body = Full::new(Bytes::from_static(&[0; 60]));
        assert_eq!(read(&parts(Some(peer(100))), body, 100).await.err(), Some(BodyError::Busy));
    }

    #[tokio::test]
    async fn the_head_of_a_request_is_reserved_while_it_lives() {
        let request = || Request::builder().header("a", "b").body(Full::new(Bytes::new())).unwrap();
        let (rich, poor) = (peer(2 * TASK), peer(TASK));
        let mut admitted = request();
        admit(&mut admitted, &rich);
        assert!(rich.reserve(TASK).is_none());
        let (parts, body) = admitted.into_parts();
        assert!(read(&parts, body, 100).await.is_ok());
        drop(parts);
        assert!(rich.reserve(2 * TASK).is_some());

        let mut refused = request();
        admit(&mut refused, &poor);
        assert!(refused.headers().is_empty());
        let (parts, body) = refused.into_parts();
        assert_eq!(read(&parts, body, 100).await.err(), Some(BodyError::Busy));
    }

    #[tokio::test]
    async fn a_broken_body_is_refused() {
        let frames = stream::iter([Ok(Frame::data(Bytes::from_static(b"a"))), Err(std::io::Error::other("gone"))]);
        assert_eq!(read(&parts(None), StreamBody::new(frames), 100).await.err(), Some(BodyError::Broken));
    }
}
