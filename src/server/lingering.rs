//! Ends a connection whose client may still send.
//!
//! A handler may answer before the body of a request has arrived, and a connection over the limit is answered before its head is
//! read. To close with bytes unread resets the connection, and the client may lose the answer. So only the direction to the
//! client is closed at first, and what the client sends is dropped for a bounded time and size.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// Time for which the client may go on to send.
const TIME: Duration = Duration::from_secs(5);
/// Bytes that are dropped: more than the bodies that gateways forward.
const BYTES: usize = 16 * 1024 * 1024;
/// Bytes that are dropped at a time.
const PIECE: usize = 16 * 1024;

/// Says whether the client may still send. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Sending(Arc<AtomicBool>);

impl Sending {
    /// Records whether the request that has just begun has a body.
    pub fn set(&self, is_sending: bool) {
        self.0.store(is_sending, Ordering::Relaxed);
    }
}

/// A connection that drops what its client sends after the end of the answers.
pub struct Lingering<S> {
    stream: S,
    sending: Sending,
    time: Duration,
    drain: Option<Drain>,
}

struct Drain {
    end: Pin<Box<Sleep>>,
    left: usize,
}

impl<S> Lingering<S> {
    /// Wraps a connection.
    pub fn new(stream: S, sending: Sending) -> Self {
        Self { stream, sending, time: TIME, drain: None }
    }
}

impl<S: AsyncRead + Unpin> Lingering<S> {
    /// Drops what arrives until the client closes, or the bounds are reached.
    fn poll_drained(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let drain = self.drain.get_or_insert_with(|| Drain { end: Box::pin(sleep(self.time)), left: BYTES });
        let mut piece = [0; PIECE];
        while drain.end.as_mut().poll(cx).is_pending() {
            let mut read = ReadBuf::new(&mut piece);
            // A connection that fails is at its end.
            let ended =
                ready!(Pin::new(&mut self.stream).poll_read(cx, &mut read)).is_err() || read.filled().is_empty();
            drain.left = drain.left.saturating_sub(read.filled().len());
            if ended || drain.left == 0 {
                break;
            }
        }
        Poll::Ready(())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Lingering<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Lingering<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.drain.is_none() {
            ready!(Pin::new(&mut this.stream).poll_shutdown(cx))?;
        }
        if this.sending.0.load(Ordering::Relaxed) {
            ready!(this.poll_drained(cx));
        }
        Poll::Ready(Ok(()))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    /// Far more than these tests take.
    const LONG: Duration = Duration::from_hours(1);

    fn pair(is_sending: bool, time: Duration) -> (Lingering<DuplexStream>, DuplexStream) {
        let (server, client) = duplex(1024);
        let sending = Sending::default();
        sending.set(is_sending);
        (Lingering { time, ..Lingering::new(server, sending) }, client)
    }

    #[tokio::test]
    async fn the_client_can_send_to_its_end_and_then_read_the_answer() {
        let (mut server, mut client) = pair(true, LONG);
        server.write_all(b"answer").await.unwrap();
        let send = async {
            client.write_all(&vec![0; 100_000]).await.unwrap();
            let mut answer = Vec::new();
            client.read_to_end(&mut answer).await.unwrap();
            assert_eq!(answer, b"answer");
            drop(client);
        };
        let (ended, ()) = tokio::join!(server.shutdown(), send);
        ended.unwrap();
    }

    #[tokio::test]
    async fn a_client_that_goes_on_is_left_after_a_bounded_time_or_size() {
        let (mut server, client) = pair(true, Duration::from_millis(1));
        server.shutdown().await.unwrap();
        drop(client);

        let (mut server, mut client) = pair(true, LONG);
        let sent = async {
            let mut sent = 0;
            while client.write_all(&[0; 1024]).await.is_ok() {
                sent += 1024;
            }
            sent
        };
        let end = async {
            server.shutdown().await.unwrap();
            drop(server);
        };
        let ((), sent) = tokio::join!(end, sent);
        assert!((BYTES..BYTES + 2 * PIECE).contains(&sent), "{sent}");
    }

    #[tokio::test]
    async fn a_client_that_has_nothing_to_send_is_not_waited_for() {
        let (mut server, client) = pair(false, LONG);
        server.shutdown().await.unwrap();
        drop(client);
    }
}
