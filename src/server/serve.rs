//! Accepts connections within bounds: number, memory, time for a handshake or a request's head, size of a head.
//!
//! A connection reserves the most memory that it can take: a little while it is silent, then what its protocol needs. The
//! constants are upper bounds of what `tests/flood/memory.rs` measures.

use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::http::header::CONNECTION;
use axum::http::{HeaderValue, Request};
use axum::response::Response;
use futures::TryFutureExt;
use futures::future::Either;
use hyper::body::{Body, Incoming};
use hyper::server::conn::{http1, http2};
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;
use tokio_io_timeout::TimeoutStream;

use super::body::{BodyError, Waiting};
use super::budget::{Budget, Reservation};
use super::guarded::Guarded;
use super::lingering::{Lingering, Sending};
use super::metered::{Meter, Unanswered};
use super::paced::Pace;
use super::{Inbound, Shutdown, Tls};

/// How long requests that are under way may take after a signal to stop.
const DRAIN: Duration = Duration::from_secs(10);
/// How long a new connection may take to its first byte, or to the end of its TLS handshake.
const FIRST_BYTE: Duration = Duration::from_secs(10);
/// How long HTTP/1 connections at rest are listened to before they end at a stop: a request may be on its way.
const LINGER: Duration = Duration::from_secs(1);
/// How long a peer may leave what it is sent unread.
const UNREAD: Duration = Duration::from_secs(30);
/// What HTTP/2 begins with.
const PREFACE: usize = 24;
/// Requests at once on one HTTP/2 connection. Clients open another connection for more.
const STREAMS: u32 = 100;
/// Streams that an HTTP/2 client may reset before they are accepted. A gateway cancels calls whose clients have gone; by
/// default 20 at once would end its connection, with all other calls.
const RESETS: usize = 1024;
/// Bytes that an HTTP/2 client may send ahead of the reader, on one stream and on one connection.
const WINDOW: u32 = 64 * 1024;
/// Time between the GOAWAY that ends an idle HTTP/2 connection and its end.
const GOODBYE: Duration = Duration::from_secs(5);

/// Bytes of memory of a connection that has sent nothing.
const SILENT: usize = 8 * 1024;
/// Bytes of memory of TLS, with a handshake message of rustls' limit of 64 KiB.
const TLS: usize = 112 * 1024;
/// Bytes of memory of an HTTP/1 connection whose heads are small.
const HTTP1: usize = 24 * 1024;
/// Bytes of memory of an HTTP/2 connection besides a head: frames that are read and written, and [`STREAMS`] answers that
/// the client does not read.
const HTTP2: usize = WINDOW as usize + STREAMS as usize * 8 * 1024;
/// Bytes of memory for each byte that HTTP/2 counts to a head: a field counts with its length and 32, and takes up to this
/// many times as much in a map that has just grown.
const HEAD_FACTOR: usize = 4;
/// How often a silent HTTP/2 peer is asked whether it is there, and how long it may take to say so.
const PING: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(10));
/// Connections over the limit that are ended gently at the same time; others are closed at once.
const TURNED_AWAY: usize = 256;
/// A pause after a failure to accept, as when no file descriptor is left.
const BREATH: Duration = Duration::from_millis(50);

/// Limits of one listener.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections at once; one more is told 503 and closed.
    pub connections: usize,
    /// Percentage of these that one peer address may take.
    pub peer_share: u8,
    /// Memory for connections and what they send; listeners may share it.
    pub memory: Budget,
    /// Bytes of the largest head of a request. HTTP/1 may read twice as much before it refuses.
    pub head: u32,
    /// Bytes of the largest body that a handler reads.
    pub body: usize,
    /// Time for the head of a request, and time after which a connection without requests is closed.
    pub idle: Duration,
    /// Protocols that are spoken.
    pub protocols: Protocols,
}

/// Versions of HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocols {
    /// HTTP/1 only.
    Http1,
    /// HTTP/1 and HTTP/2.
    All,
}

impl Limits {
    /// Bytes of the largest head that gateways forward. Over gRPC too, although the client's own headers are in the message:
    /// gateways pass on trace headers, and a head that is too large would fail the call.
    pub const HEAD: u32 = 64 * 1024;
    /// Bytes of the largest head of a request to an admin port.
    pub const ADMIN_HEAD: u32 = 16 * 1024;
    /// More than the 60 seconds for which gateways keep connections, so that gateways close first.
    pub const IDLE: Duration = Duration::from_secs(75);

    /// Returns the bytes that one HTTP/2 connection reserves.
    pub fn http2(&self) -> usize {
        // One head in the making, and as much of others or of trailers that are decoded and not taken yet.
        HTTP2 + 2 * usize::try_from(self.head).unwrap_or(usize::MAX / HEAD_FACTOR / 2) * HEAD_FACTOR
    }
}

/// What answers.
pub trait Answers:
    Service<Request<Inbound>, Response = Response, Error = Infallible, Future: Send> + Send + Sync + 'static
{
}

impl<S> Answers for S where
    S: Service<Request<Inbound>, Response = Response, Error = Infallible, Future: Send> + Send + Sync + 'static
{
}

/// What the routes of a router answer.
pub fn routed(router: Router) -> impl Answers {
    TowerToHyperService::new(router)
}

/// Serves until told to stop; then takes no more connections and lets the requests under way finish.
pub async fn serve(listener: TcpListener, answers: impl Answers, limits: Limits, tls: Option<Tls>, shutdown: Shutdown) {
    let (answers, places) = (Arc::new(answers), Budget::new(limits.connections, limits.peer_share));
    let (end, ending) = watch::channel(false);
    let door = Arc::new(Semaphore::new(TURNED_AWAY));
    loop {
        let (stream, address) = tokio::select! {
            () = shutdown.wait() => break,
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::debug!(%error, "a connection was not accepted");
                    tokio::time::sleep(BREATH).await;
                    continue;
                }
            },
        };
        let place = places.peer(address.ip()).reserve(1);
        let memory = place.as_ref().and_then(|_| limits.memory.peer(address.ip()).reserve(SILENT));
        let (Some(place), Some(memory)) = (place, memory) else {
            tokio::spawn(turn_away(stream, tls.is_some(), door.clone()));
            continue;
        };
        let connection = Connection {
            answers: answers.clone(),
            limits: limits.clone(),
            tls: tls.clone(),
            ending: ending.clone(),
            shutdown: shutdown.clone(),
            door: door.clone(),
            memory,
        };
        tokio::spawn(async move {
            connection.converse(stream).await;
            drop(place);
        });
    }
    drop((listener, ending));
    if end.receiver_count() > 0 {
        tokio::time::sleep(LINGER).await;
    }
    end.send_replace(true);
    let _ = timeout(DRAIN, end.closed()).await;
}

/// Answers 503 and closes, unless the client speaks another protocol.
async fn turn_away(mut stream: TcpStream, is_other: bool, door: Arc<Semaphore>) {
    const BUSY: &[u8] =
        b"HTTP/1.1 503 Service Unavailable\r\nx-keywright-code: not_ready\r\nretry-after: 1\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
    if !is_other && timeout(FIRST_BYTE, stream.write_all(BUSY)).await.is_ok_and(|written| written.is_ok()) {
        let place = door.try_acquire();
        let sending = Sending::default();
        sending.set(place.is_ok());
        // The end is the same whether or not the client has taken notice.
        let _ = timeout(FIRST_BYTE, Lingering::new(stream, sending).shutdown()).await;
    }
}

/// One connection, with what it needs until it ends.
struct Connection<A> {
    answers: Arc<A>,
    limits: Limits,
    tls: Option<Tls>,
    /// Turns true when the connection is to finish its requests and close.
    ending: watch::Receiver<bool>,
    shutdown: Shutdown,
    /// Places for connections that are turned away.
    door: Arc<Semaphore>,
    memory: Reservation,
}

impl<A: Answers> Connection<A> {
    async fn converse(mut self, stream: TcpStream) {
        // Answers are small, and the caller waits for each.
        let _ = stream.set_nodelay(true);
        let shutdown = self.shutdown.clone();
        let greeted = tokio::select! {
            greeted = timeout(FIRST_BYTE, self.greet(stream)) => greeted.ok().flatten(),
            // Who has said nothing yet has nothing to lose.
            () = shutdown.wait() => None,
        };
        match greeted {
            Some((stream, true)) => self.speak_http2(stream).await,
            Some((stream, false)) => self.speak_http1(stream).await,
            None => {}
        }
    }

    /// Finds out the protocol: true is HTTP/2. hyper has no timeout for the first bytes and for HTTP/2's
    /// preface. `None` closes the connection.
    async fn greet(&mut self, stream: TcpStream) -> Option<(Box<dyn Stream>, bool)> {
        let Some(tls) = self.tls.clone() else {
            let mut head = [0; 3];
            // Nobody sends the first word in pieces.
            let read = stream.peek(&mut head).await.ok().filter(|read| *read > 0)?;
            let is_http2 = head[..read] == *b"PRI";
            if is_http2 && self.limits.protocols == Protocols::Http1 {
                return None;
            }
            if !self.reserve(0, is_http2) {
                turn_away(stream, is_http2, self.door.clone()).await;
                return None;
            }
            return Some((preface(bounded(stream), is_http2).await?, is_http2));
        };
        // Without a byte from the client there is nothing to hold.
        stream.peek(&mut [0; 1]).await.ok().filter(|read| *read > 0)?;
        if !self.memory.grow_to(TLS) {
            return None;
        }
        let stream = tls.acceptor().accept(bounded(stream)).await.ok()?;
        let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        if !self.reserve(TLS, is_http2) {
            return None;
        }
        Some((preface(stream, is_http2).await?, is_http2))
    }

    fn reserve(&mut self, tls: usize, is_http2: bool) -> bool {
        let protocol = if is_http2 { self.limits.http2() } else { HTTP1 };
        self.memory.grow_to(tls + protocol)
    }

    async fn speak_http1(self, stream: Box<dyn Stream>) {
        let Self { answers, limits, tls, mut ending, shutdown, memory, .. } = self;
        let largest = usize::try_from(limits.head).unwrap_or(usize::MAX);
        let mut builder = http1::Builder::new();
        builder.timer(TokioTimer::new()).header_read_timeout(limits.idle).max_buf_size(largest);
        let (peer, unanswered) = (memory.peer().clone(), Unanswered::default());
        let base = HTTP1 + if tls.is_some() { TLS } else { 0 };
        let meter = Meter { memory, unanswered: unanswered.clone(), base, most: 2 * largest };
        let sending = Sending::default();
        let stream = Guarded::new(Lingering::new(stream, sending.clone()), meter);
        let answer = service_fn(|mut request: Request<Incoming>| {
            unanswered.clear();
            let has_body = !request.body().is_end_stream();
            sending.set(has_body);
            if has_body {
                request.extensions_mut().insert(peer.clone());
            }
            let answer = answers.call(request.map(Inbound::Live));
            // A client that has asked before the signal learns of it with the next answer.
            let is_last = shutdown.is_asked_for();
            async move {
                let mut response = answer.await?;
                if is_last {
                    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                }
                Ok::<_, Infallible>(response)
            }
        });
        let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), answer));
        tokio::select! {
            _ = connection.as_mut() => return,
            _ = ending.wait_for(|ending| *ending) => {}
        }
        connection.as_mut().graceful_shutdown();
        let _ = timeout(DRAIN, connection).await;
    }

    async fn speak_http2(self, stream: Box<dyn Stream>) {
        let Self { answers, limits, mut ending, memory, .. } = self;
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS)
            .max_pending_accept_reset_streams(RESETS)
            .max_header_list_size(limits.head)
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(WINDOW)
            .keep_alive_interval(PING.0)
            .keep_alive_timeout(PING.1);
        let requests = AtomicU64::new(0);
        let answer = service_fn(|mut request: Request<Incoming>| {
            requests.fetch_add(1, Ordering::Relaxed);
            if request.body().is_end_stream() {
                request.extensions_mut().insert(memory.peer().clone());
                let answer = answers.call(request.map(|_| Inbound::None));
                return Either::Left(answer.map_err(|never: Infallible| -> BodyError { match never {} }));
            }
            let (waiting, answers) = (Waiting::new(request, memory.peer()), answers.clone());
            Either::Right(async move {
                let (request, _memory) = waiting.whole(limits.body).await?;
                answers.call(request).await.map_err(|never| match never {})
            })
        });
        let pace = Pace::default();
        let mut connection = pin!(builder.serve_connection(TokioIo::new(Guarded::new(stream, pace.clone())), answer));
        let is_stopping = tokio::select! {
            _ = pace.of(connection.as_mut()) => return,
            _ = ending.wait_for(|ending| *ending) => true,
            () = idle(&requests, limits.idle) => false,
        };
        // Requests that are on their way are answered.
        connection.as_mut().graceful_shutdown();
        let patience = if is_stopping { DRAIN } else { GOODBYE };
        let _ = timeout(patience, pace.of(connection)).await;
    }
}

/// Returns when no request has come for `limit` to twice that. Each request ends sooner, unless the client does not read its
/// answer.
async fn idle(requests: &AtomicU64, limit: Duration) {
    let mut before = None;
    loop {
        let now = Some(requests.load(Ordering::Relaxed));
        if now == before {
            return;
        }
        before = now;
        tokio::time::sleep(limit).await;
    }
}

/// A peer that reads nothing is given up.
fn bounded(stream: TcpStream) -> Pin<Box<TimeoutStream<TcpStream>>> {
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(UNREAD));
    Box::pin(stream)
}

async fn preface(mut stream: impl Stream + 'static, is_http2: bool) -> Option<Box<dyn Stream>> {
    if !is_http2 {
        return Some(Box::new(stream));
    }
    let mut read = [0; PREFACE];
    stream.read_exact(&mut read).await.ok()?;
    let (reader, writer) = tokio::io::split(stream);
    // What was read is read again by hyper.
    Some(Box::new(tokio::io::join(std::io::Cursor::new(read).chain(reader), writer)))
}

/// A connection.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}
