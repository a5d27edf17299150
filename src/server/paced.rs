//! Limits what an HTTP/2 connection reads at a time.
//!
//! h2 decodes all frames that it can read before hyper takes the first request from it, and before the tasks of streams run. A
//! burst of small frames would decode into megabytes of header maps that nothing has been reserved for.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes read before the requests in them are taken.
const BYTES: usize = 2 * 1024;

/// Bytes that may still be read in this turn of a connection.
#[derive(Clone, Debug, Default)]
pub struct Pace(Arc<AtomicUsize>);

impl Pace {
    /// Polls a connection, which may read [`BYTES`] each time.
    pub async fn of<C: Future>(&self, mut connection: Pin<&mut C>) -> C::Output {
        poll_fn(|cx| {
            self.0.store(BYTES, Ordering::Relaxed);
            connection.as_mut().poll(cx)
        })
        .await
    }

    /// Wraps the stream of that connection.
    pub fn stream<S>(&self, stream: S) -> Paced<S> {
        Paced { stream, pace: self.clone() }
    }
}

/// See [`Pace`].
pub struct Paced<S> {
    stream: S,
    pace: Pace,
}

impl<S: AsyncRead + Unpin> AsyncRead for Paced<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let left = this.pace.0.load(Ordering::Relaxed).min(buf.remaining());
        if left == 0 {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let mut part = ReadBuf::new(buf.initialize_unfilled_to(left));
        ready!(Pin::new(&mut this.stream).poll_read(cx, &mut part))?;
        let read = part.filled().len();
        buf.advance(read);
        this.pace.0.fetch_sub(read, Ordering::Relaxed);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Paced<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
