//! Charges an HTTP/1 connection for the bytes that hyper buffers: those of a head or body that is not answered yet.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use super::budget::Reservation;
use super::guarded::Guard;

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

/// Guard that grows a reservation with [`Unanswered`].
pub struct Meter {
    /// Memory of the connection.
    pub memory: Reservation,
    /// Bytes read and not answered.
    pub unanswered: Unanswered,
    /// Bytes reserved for everything but the buffer.
    pub base: usize,
    /// Bytes that the buffer can hold: those of a longer body are read and dropped.
    pub most: usize,
}

impl Guard for Meter {
    fn allowed(&self, _: &mut Context<'_>) -> Poll<usize> {
        Poll::Ready(usize::MAX)
    }

    fn read(&mut self, bytes: usize) -> io::Result<()> {
        let unanswered = self.unanswered.0.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
        let is_allowed = self.memory.grow_to(self.base + FACTOR * unanswered.min(self.most));
        if is_allowed { Ok(()) } else { Err(io::ErrorKind::OutOfMemory.into()) }
    }
}
