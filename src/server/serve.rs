//! Accepts connections within bounds: so many at once, so long for a handshake or a request's head, so large a head.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::header::CONNECTION;
use axum::http::{HeaderValue, Request};
use axum::response::Response;
use hyper::body::Incoming;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_io_timeout::TimeoutStream;

use super::{Shutdown, Tls};

/// How long requests that are under way may take after a signal to stop.
const DRAIN: Duration = Duration::from_secs(10);
/// How long a new connection may take to its first byte, or to the end of its TLS handshake.
const FIRST_BYTE: Duration = Duration::from_secs(10);
/// How long the head of a request may take, and how long an HTTP/1 connection may rest. More than the 60 seconds for which
/// gateways keep theirs, so that it is they who close.
const HEAD: Duration = Duration::from_secs(75);
/// How long HTTP/1 connections at rest are listened to before they end at a stop: a request may be on its way.
const LINGER: Duration = Duration::from_secs(1);
/// How long a peer may leave what it is sent unread.
const UNREAD: Duration = Duration::from_secs(30);
/// What HTTP/2 begins with.
const PREFACE: usize = 24;
/// The largest head, in bytes. HTTP/1 may take in as much again before it is noticed.
const LARGEST_HEAD: u32 = 64 * 1024;
/// Requests at once on one HTTP/2 connection.
const STREAMS: u32 = 1024;
/// How often a silent HTTP/2 peer is asked whether it is there, and how long it may take to say so.
const PING: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(10));
/// A pause after a failure to accept, as when no file descriptor is left.
const BREATH: Duration = Duration::from_millis(50);

/// What one listener bears.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at once; one more is told 503 and closed.
    pub connections: usize,
}

/// What answers.
pub trait Answers:
    Service<Request<Incoming>, Response = Response, Error = Infallible, Future: Send> + Send + Sync + 'static
{
}

impl<S> Answers for S where
    S: Service<Request<Incoming>, Response = Response, Error = Infallible, Future: Send> + Send + Sync + 'static
{
}

/// What the routes of a router answer.
pub fn routed(router: Router) -> impl Answers {
    TowerToHyperService::new(router)
}

/// Serves until told to stop; then takes no more connections and lets the requests under way finish.
pub async fn serve(listener: TcpListener, answers: impl Answers, limits: Limits, tls: Option<Tls>, shutdown: Shutdown) {
    let (answers, connections) = (Arc::new(answers), Arc::new(Semaphore::new(limits.connections)));
    let graceful = GracefulShutdown::new();
    loop {
        let stream = tokio::select! {
            () = shutdown.wait() => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::debug!(%error, "a connection was not accepted");
                    tokio::time::sleep(BREATH).await;
                    continue;
                }
            },
        };
        let Ok(permit) = connections.clone().try_acquire_owned() else {
            tokio::spawn(turn_away(stream, tls.is_some()));
            continue;
        };
        let (tls, watcher, shutdown) = (tls.clone(), graceful.watcher(), shutdown.clone());
        let answers = answers.clone();
        tokio::spawn(async move {
            converse(stream, answers, tls, watcher, shutdown).await;
            drop(permit);
        });
    }
    drop(listener);
    if graceful.count() > 0 {
        tokio::time::sleep(LINGER).await;
    }
    let _ = timeout(DRAIN, graceful.shutdown()).await;
}

/// Under TLS there is nobody yet to tell.
async fn turn_away(mut stream: TcpStream, is_tls: bool) {
    const BUSY: &[u8] =
        b"HTTP/1.1 503 Service Unavailable\r\nx-keywright-code: not_ready\r\nretry-after: 1\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
    if !is_tls {
        let _ = timeout(FIRST_BYTE, stream.write_all(BUSY)).await;
        let _ = timeout(FIRST_BYTE, stream.shutdown()).await;
    }
}

async fn converse(stream: TcpStream, answers: impl Answers, tls: Option<Tls>, watcher: Watcher, shutdown: Shutdown) {
    // Answers are small, and the caller waits for each.
    let _ = stream.set_nodelay(true);
    let greeted = tokio::select! {
        greeted = timeout(FIRST_BYTE, greet(stream, tls)) => greeted.ok().flatten(),
        // Who has said nothing yet has nothing to lose.
        () = shutdown.wait() => None,
    };
    let Some((stream, is_http2)) = greeted else { return };
    speak(stream, is_http2, answers, watcher, shutdown).await;
}

/// Until it is known what is spoken. hyper would wait for ever for the first bytes, and for all of HTTP/2's preface.
async fn greet(stream: TcpStream, tls: Option<Tls>) -> Option<(Box<dyn Stream>, bool)> {
    let Some(tls) = tls else {
        let mut head = [0; 3];
        // Nobody sends the first word in pieces.
        let read = stream.peek(&mut head).await.ok().filter(|read| *read > 0)?;
        let is_http2 = head[..read] == *b"PRI";
        return Some((preface(bounded(stream), is_http2).await?, is_http2));
    };
    let stream = tls.acceptor().accept(bounded(stream)).await.ok()?;
    let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    Some((preface(stream, is_http2).await?, is_http2))
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

async fn speak(stream: Box<dyn Stream>, is_http2: bool, answers: impl Answers, watcher: Watcher, shutdown: Shutdown) {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    let largest = usize::try_from(LARGEST_HEAD).unwrap_or(usize::MAX);
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD).max_buf_size(largest);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        // A gateway gives up calls whose clients have gone; by default 20 at once would end its connection, with all others.
        .max_pending_accept_reset_streams(STREAMS as usize)
        .max_header_list_size(LARGEST_HEAD)
        .keep_alive_interval(PING.0)
        .keep_alive_timeout(PING.1);
    let builder = if is_http2 { builder.http2_only() } else { builder.http1_only() };
    let answer = service_fn(|request| {
        let answer = answers.call(request);
        // Who asked before the signal is told with the next answer.
        let is_last = !is_http2 && shutdown.is_asked_for();
        async move {
            let mut response = answer.await?;
            if is_last {
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Ok::<_, Infallible>(response)
        }
    });
    let connection = builder.serve_connection(TokioIo::new(stream), answer).into_owned();
    // How a connection ended is its peer's affair.
    let _ = watcher.watch(connection).await;
}
