//! Charges an HTTP/1 connection for the bytes that hyper buffers: those of a head or body that is not answered yet.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::budget::Reservation;

/// Bytes of memory for each byte read: the buffer grows by doubling, and the part before the next request stays in it.
const FACTOR: usize = 3;

/// Bytes that a connection has read since its last request was complete.
#[derive(Clone, Debug, Default)]
pub struct Unanswered(Arc<AtomicUsize>);

impl Unanswered {
    /// Records that a request is complete. What the connection has reserved stays: hyper keeps its buffer.
    pub fn clear(&self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

/// A connection whose reservation grows with [`Unanswered`].
pub struct Metered<S> {
    stream: S,
    memory: Reservation,
    unanswered: Unanswered,
    /// Bytes reserved for everything but the buffer.
    base: usize,
    /// Bytes that the buffer can hold: those of a longer body are read and dropped.
    most: usize,
}

impl<S> Metered<S> {
    /// Wraps a connection for which `base` bytes are reserved.
    pub fn new(stream: S, memory: Reservation, unanswered: Unanswered, base: usize, most: usize) -> Self {
        Self { stream, memory, unanswered, base, most }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Metered<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.stream).poll_read(cx, buf))?;
        let read = buf.filled().len() - before;
        let unanswered = this.unanswered.0.fetch_add(read, Ordering::Relaxed).saturating_add(read);
        let is_allowed = this.memory.grow_to(this.base + FACTOR * unanswered.min(this.most));
        Poll::Ready(if is_allowed { Ok(()) } else { Err(io::ErrorKind::OutOfMemory.into()) })
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Metered<S> {
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
