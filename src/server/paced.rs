//! Limits what an HTTP/2 connection reads at a time.
//!
//! h2 decodes all frames that it can read before hyper takes the first request from it, and before the tasks of streams run. A
//! burst of small frames would decode into megabytes of header maps that nothing has been reserved for.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use super::guarded::Guard;

/// Bytes read before the requests in them are taken.
const BYTES: usize = 2 * 1024;

/// Bytes that may still be read in this turn of a connection. A guard; a clone shares them.
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
}

impl Guard for Pace {
    fn allowed(&self, cx: &mut Context<'_>) -> Poll<usize> {
        let left = self.0.load(Ordering::Relaxed);
        if left == 0 {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(left)
    }

    fn read(&mut self, bytes: usize) -> io::Result<()> {
        self.0.fetch_sub(bytes, Ordering::Relaxed);
        Ok(())
    }
}
