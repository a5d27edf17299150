//! Reads bodies of requests within bounds: size, time, and the memory of the peer.

use std::pin::pin;
use std::time::Duration;

use axum::body::{Bytes, HttpBody};
use http::HeaderMap;
use http::Request;
use http::request::Parts;
use http_body_util::{BodyExt, Full};
use thiserror::Error;
use tokio::time::timeout;

use super::budget::{Peer, Reservation};
use super::inbound::Inbound;

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
#[derive(Debug)]
pub struct Read {
    /// The body.
    pub bytes: Bytes,
    /// Memory of the body; keep it as long as the body. `None` if the connection has reserved it.
    pub memory: Option<Reservation>,
}

/// Reads a body of at most `most` bytes. The rest of a larger one is read and dropped, so that the client gets an answer.
///
/// # Errors
/// See [`BodyError`].
pub async fn read<B: HttpBody<Data = Bytes>>(parts: &Parts, body: B, most: usize) -> Result<Read, BodyError> {
    if let Some(Unread(error)) = parts.extensions.get() {
        return Err(*error);
    }
    // Absent over HTTP/2, where the connection has read the body, and in tests.
    let memory = parts.extensions.get::<Peer>().and_then(|peer| peer.reserve(0));
    collect(PATIENCE, body, most, memory).await
}

/// Reason why the connection did not read a body.
#[derive(Clone, Copy)]
struct Unread(BodyError);

/// A request over HTTP/2 whose body has not come yet.
pub struct Waiting<B> {
    request: Request<B>,
    peer: Peer,
    memory: Option<Reservation>,
}

impl<B: HttpBody<Data = Bytes>> Waiting<B> {
    /// Reserves memory for the request at once. Without it the head is dropped, and [`read`] returns [`BodyError::Busy`].
    pub fn new(mut request: Request<B>, peer: &Peer) -> Self {
        let memory = peer.reserve(TASK + head(request.headers()));
        if memory.is_none() {
            *request.headers_mut() = HeaderMap::new();
        }
        Self { request, peer: peer.clone(), memory }
    }

    /// Reads the body to its end, also one that is refused: a client cannot send any more while it leaves its answer unread.
    /// Returns the request, and the memory that it occupies.
    ///
    /// # Errors
    /// If the end has not come in time. Reset the stream then, without an answer.
    pub async fn whole(self, most: usize) -> Result<(Request<Inbound>, impl Send), BodyError> {
        self.whole_within(PATIENCE, most).await
    }

    async fn whole_within(self, patience: Duration, most: usize) -> Result<(Request<Inbound>, impl Send), BodyError> {
        let Self { request, peer, memory } = self;
        let (mut parts, body) = request.into_parts();
        // Without memory for the request nothing of its body is kept.
        let most = if memory.is_some() { most } else { 0 };
        let read = match collect(patience, body, most, peer.reserve(0)).await {
            Err(error @ (BodyError::TooSlow | BodyError::Broken)) => return Err(error),
            _ if memory.is_none() => Err(BodyError::Busy),
            read => read,
        };
        let (body, of_body) = match read {
            Ok(read) => (Inbound::Whole(Full::new(read.bytes)), read.memory),
            Err(error) => {
                parts.extensions.insert(Unread(error));
                (Inbound::None, None)
            }
        };
        Ok((Request::from_parts(parts, body), (memory, of_body)))
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
    patience: Duration,
    body: B,
    most: usize,
    memory: Option<Reservation>,
) -> Result<Read, BodyError> {
    timeout(patience, to_end(body, most, memory)).await.map_err(|_| BodyError::TooSlow)?
}

async fn to_end<B: HttpBody<Data = Bytes>>(
    body: B,
    most: usize,
    mut memory: Option<Reservation>,
) -> Result<Read, BodyError> {
    let mut body = pin!(body);
    let (mut whole, mut refused) = (Vec::new(), None);
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| BodyError::Broken)?.into_data() else { continue };
        let length = whole.len() + data.len();
        if refused.is_none() && length > most {
            refused = Some(BodyError::TooLarge);
        } else if refused.is_none() && memory.as_mut().is_some_and(|memory| !memory.grow_to(FACTOR * length)) {
            refused = Some(BodyError::Busy);
        }
        match refused {
            Some(_) => whole = Vec::new(),
            None => whole.extend_from_slice(&data),
        }
    }
    refused.map_or_else(|| Ok(Read { bytes: whole.into(), memory }), Err)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::convert::Infallible;

    use futures::stream::{self, StreamExt};
    use http_body_util::StreamBody;
    use hyper::body::Frame;

    use super::super::budget::Budget;
    use super::*;

    fn parts(peer: Option<Peer>) -> Parts {
        let mut parts = Request::new(()).into_parts().0;
        if let Some(peer) = peer {
            parts.extensions.insert(peer);
        }
        parts
    }

    fn peer(bytes: usize) -> Peer {
        Budget::new(bytes, 100).peer("192.0.2.1".parse().unwrap())
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
        let result = collect(Duration::from_millis(1), body, 100, None).await;
        assert_eq!(result.err(), Some(BodyError::TooSlow));
    }

    #[tokio::test]
    async fn a_peer_without_memory_is_refused() {
        let body = Full::new(Bytes::from_static(&[0; 60]));
        assert_eq!(read(&parts(Some(peer(100))), body, 100).await.err(), Some(BodyError::Busy));
    }

    fn request() -> Request<Full<Bytes>> {
        Request::builder().header("a", "b").body(Full::new(Bytes::from_static(b"body"))).unwrap()
    }

    #[tokio::test]
    async fn a_request_is_charged_while_it_lives() {
        let peer = peer(2 * TASK);
        let waiting = Waiting::new(request(), &peer);
        assert!(peer.reserve(TASK).is_none());
        let (request, memory) = waiting.whole(100).await.unwrap();
        let (parts, body) = request.into_parts();
        assert_eq!(read(&parts, body, 100).await.unwrap().bytes, "body");
        assert!(peer.reserve(TASK).is_none());
        drop(memory);
        assert!(peer.reserve(2 * TASK).is_some());
    }

    #[tokio::test]
    async fn a_request_without_memory_loses_its_head_and_is_refused() {
        let waiting = Waiting::new(request(), &peer(TASK));
        assert!(waiting.request.headers().is_empty());
        let (request, _) = waiting.whole(100).await.unwrap();
        let (parts, body) = request.into_parts();
        assert_eq!(read(&parts, body, 100).await.err(), Some(BodyError::Busy));
    }

    #[tokio::test]
    async fn a_refused_body_is_read_to_its_end() {
        for (bytes, most, error) in [(100 * TASK, 10, BodyError::TooLarge), (TASK + 500, 1000, BodyError::Busy)] {
            let sent = std::cell::Cell::new(0);
            let frames = stream::repeat_with(|| {
                sent.set(sent.get() + 1);
                Ok::<_, Infallible>(Frame::data(Bytes::from_static(&[0; 600])))
            });
            let request = Request::new(StreamBody::new(frames.take(1000)));
            let (request, _) = Waiting::new(request, &peer(bytes)).whole(most).await.unwrap();
            let (parts, body) = request.into_parts();
            assert_eq!(read(&parts, body, 100).await.err(), Some(error));
            assert_eq!(sent.get(), 1000);
        }
    }

    #[tokio::test]
    async fn a_body_without_end_is_not_answered() {
        let body = StreamBody::new(stream::pending::<Result<Frame<Bytes>, Infallible>>());
        let waiting = Waiting::new(Request::new(body), &peer(2 * TASK));
        let result = waiting.whole_within(Duration::from_millis(1), 100).await;
        assert_eq!(result.err(), Some(BodyError::TooSlow));
    }

    #[tokio::test]
    async fn a_broken_body_is_refused() {
        let frames = stream::iter([Ok(Frame::data(Bytes::from_static(b"a"))), Err(std::io::Error::other("gone"))]);
        assert_eq!(read(&parts(None), StreamBody::new(frames), 100).await.err(), Some(BodyError::Broken));
    }
}
