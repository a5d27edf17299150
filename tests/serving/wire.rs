//! Clients that see every byte: HTTP/1.1 by hand over anything, and HTTP/2 through tonic's channel.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use envoy_types::ext_authz::v3::pb::{CheckRequest, HttpResponse};
use envoy_types::pb::envoy::service::auth::v3::attribute_context::{HttpRequest, Request};
use envoy_types::pb::envoy::service::auth::v3::{AttributeContext, authorization_client::AuthorizationClient};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tonic::codegen::Service;
use tonic::transport::{Channel, Endpoint};

use super::support::http::Answer;
use super::support::{PATIENCE, Result};
use super::{question, stage};

/// Either kind of connection.
pub trait Io: AsyncRead + AsyncWrite + Send {}
impl<T: AsyncRead + AsyncWrite + Send> Io for T {}
pub type Stream = Pin<Box<dyn Io>>;

/// How to reach a server.
#[derive(Clone)]
pub struct Dial {
    pub address: String,
    pub tls: Option<Arc<ClientConfig>>,
}

impl Dial {
    pub fn to(address: &str) -> Self {
        Self { address: address.to_owned(), tls: None }
    }

    pub async fn stream(self) -> io::Result<Stream> {
        let stream = TcpStream::connect(&self.address).await?;
        stream.set_nodelay(true)?;
        let Some(tls) = self.tls else { return Ok(Box::pin(stream)) };
        let handshake = TlsConnector::from(tls).connect(ServerName::try_from("127.0.0.1").unwrap(), stream);
        Ok(Box::pin(timeout(PATIENCE, handshake).await.map_err(|_| io::ErrorKind::TimedOut)??))
    }
}

/// A connection from this address of the loopback.
pub async fn dial_from(source: &str, address: &str) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(format!("{source}:0").parse().expect("an address"))?;
    socket.connect(address.parse().expect("an address")).await
}

impl Service<http::Uri> for Dial {
    type Response = TokioIo<Stream>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: http::Uri) -> Self::Future {
        let dial = self.clone();
        Box::pin(async { Ok(TokioIo::new(dial.stream().await?)) })
    }
}

/// A connection of HTTP/2.
pub async fn http2(dial: Dial) -> Result<Channel> {
    // Of plain HTTP for tonic too: TLS is the dialler's affair.
    let endpoint = Endpoint::from_shared(format!("http://{}", dial.address))?.timeout(PATIENCE);
    Ok(endpoint.connect_with_connector(dial).await?)
}

/// A question to `/auth` over HTTP/2: the version of the answer, and its code.
pub async fn auth_over(channel: &mut Channel, padding: &str) -> Result<(http::Version, String)> {
    let mut request = http::Request::get("http://verifier/auth?scope=any").header("x-api-key", &stage().await.key);
    if !padding.is_empty() {
        request = request.header("x-padding", padding);
    }
    std::future::poll_fn(|cx| channel.poll_ready(cx)).await?;
    let answer = channel.call(request.body(tonic::body::Body::empty())?).await?;
    let code = answer.headers().get("x-keywright-code").map_or("none", |code| code.to_str().unwrap());
    Ok((answer.version(), code.to_owned()))
}

/// A question over gRPC that passes: the status within the answer.
pub async fn check(channel: Channel) -> Result<i32> {
    check_key(channel, &stage().await.key).await
}

/// The same about any key.
pub async fn check_key(channel: Channel, key: &str) -> Result<i32> {
    let http = HttpRequest {
        method: "GET".to_owned(),
        headers: [("x-api-key".to_owned(), key.to_owned())].into(),
        ..HttpRequest::default()
    };
    let attributes = AttributeContext {
        request: Some(Request { http: Some(http), ..Request::default() }),
        context_extensions: [("scope".to_owned(), "any".to_owned())].into(),
        ..AttributeContext::default()
    };
    let answer = AuthorizationClient::new(channel).check(CheckRequest { attributes: Some(attributes) }).await?;
    let answer = answer.into_inner();
    let code = answer.status.map_or(0, |status| status.code);
    assert_eq!(code == 0, matches!(answer.http_response, Some(HttpResponse::OkResponse(_))));
    Ok(code)
}

/// One answer.
#[derive(Debug)]
pub struct Heard {
    pub answer: Answer,
}

impl Heard {
    pub fn code(&self) -> &str {
        self.answer.header("x-keywright-code").unwrap_or("none")
    }

    pub fn is_ok(&self) -> bool {
        (self.answer.status, self.code()) == (200, "ok")
    }
}

/// A connection of HTTP/1.1.
pub struct Conversation {
    stream: Stream,
    heard: Vec<u8>,
}

pub async fn plain(address: &str) -> Conversation {
    Conversation::open(address).await.unwrap()
}

impl Conversation {
    pub async fn open(address: &str) -> io::Result<Self> {
        Self::dial(Dial::to(address)).await
    }

    pub async fn dial(dial: Dial) -> io::Result<Self> {
        Ok(Self { stream: dial.stream().await?, heard: Vec::new() })
    }

    pub async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await?;
        self.stream.flush().await
    }

    /// The next answer; `None` when the server has closed instead. Half an answer is an error, and so is silence.
    pub async fn answer(&mut self) -> Result<Option<Heard>> {
        loop {
            if let Some((answer, length)) = parse(&self.heard) {
                self.heard.drain(..length);
                return Ok(Some(Heard { answer }));
            }
            let read = timeout(PATIENCE, self.stream.read_buf(&mut self.heard)).await;
            match read.map_err(|_| "the server says nothing, and does not close")? {
                Ok(1..) => {}
                Ok(0) | Err(_) if self.heard.is_empty() => return Ok(None),
                end => return Err(format!("half an answer: {}, {end:?}", self.heard.escape_ascii()).into()),
            }
        }
    }

    /// Has the server closed it already? Looks and does not wait.
    pub fn is_closed(&mut self) -> bool {
        let mut byte = [0];
        let mut buffer = tokio::io::ReadBuf::new(&mut byte);
        match self.stream.as_mut().poll_read(&mut Context::from_waker(std::task::Waker::noop()), &mut buffer) {
            Poll::Pending => false,
            Poll::Ready(Ok(())) if !buffer.filled().is_empty() => panic!("it speaks unasked"),
            Poll::Ready(_) => true,
        }
    }

    /// Asks, and holds that the answer is right.
    pub async fn assert_passes(&mut self) {
        self.send(&question("").await).await.unwrap();
        let heard = self.answer().await.unwrap().expect("an answer");
        assert!(heard.is_ok(), "{heard:?}");
    }
}

/// A whole answer at the beginning of these bytes, and its length.
fn parse(bytes: &[u8]) -> Option<(Answer, usize)> {
    let head = bytes.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let text = std::str::from_utf8(&bytes[..head]).expect("a head is text");
    let mut lines = text.lines();
    let status = lines.next()?.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.parse().expect("a status");
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let length = headers.iter().find(|(name, _)| name == "content-length").map_or("0", |(_, value)| value);
    let end = head + length.parse::<usize>().expect("a length");
    let body = String::from_utf8(bytes.get(head..end)?.to_vec()).expect("a body is text");
    Some((Answer { status, headers, body }, end))
}
