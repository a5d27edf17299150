//! Body of a request as handlers see it.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Bytes, HttpBody};
use http_body_util::Full;
use hyper::body::{Frame, Incoming, SizeHint};

/// Body of a request: still on its way, or whole.
///
/// A handler may answer before it has read a body. Over HTTP/2 the client could then go on to send, and h2 would keep its
/// trailers as long as the answer is not read. So bodies of HTTP/2 are read before the handler is called.
pub enum Inbound {
    /// HTTP/1.
    Live(Incoming),
    /// HTTP/2.
    Whole(Full<Bytes>),
    /// No body.
    None,
}

impl HttpBody for Inbound {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match self.get_mut() {
            Self::Live(body) => Pin::new(body).poll_frame(cx),
            Self::Whole(body) => Pin::new(body).poll_frame(cx).map_err(|never| match never {}),
            Self::None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Live(body) => body.is_end_stream(),
            Self::Whole(body) => body.is_end_stream(),
            Self::None => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Live(body) => body.size_hint(),
            Self::Whole(body) => body.size_hint(),
            Self::None => SizeHint::with_exact(0),
        }
    }
}
