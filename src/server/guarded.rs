//! A connection of which each read is allowed and counted.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Decides on the reads of a connection.
pub trait Guard: Unpin {
    /// Returns how many bytes may be read now. Pending wakes the task when it may go on.
    fn allowed(&self, cx: &mut Context<'_>) -> Poll<usize>;

    /// Records bytes that were read.
    ///
    /// # Errors
    /// Ends the connection.
    fn read(&mut self, bytes: usize) -> io::Result<()>;
}

/// A connection with its guard.
pub struct Guarded<S, G> {
    stream: S,
    guard: G,
}

impl<S, G> Guarded<S, G> {
    /// Guards a connection.
    pub fn new(stream: S, guard: G) -> Self {
        Self { stream, guard }
    }
}

impl<S: AsyncRead + Unpin, G: Guard> AsyncRead for Guarded<S, G> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let most = ready!(this.guard.allowed(cx));
        let before = buf.filled().len();
        if most >= buf.remaining() {
            ready!(Pin::new(&mut this.stream).poll_read(cx, buf))?;
        } else {
            let mut part = ReadBuf::new(buf.initialize_unfilled_to(most));
            ready!(Pin::new(&mut this.stream).poll_read(cx, &mut part))?;
            let read = part.filled().len();
            buf.advance(read);
        }
        Poll::Ready(this.guard.read(buf.filled().len() - before))
    }
}

impl<S: AsyncWrite + Unpin, G: Guard> AsyncWrite for Guarded<S, G> {
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
