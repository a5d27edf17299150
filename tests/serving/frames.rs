//! HTTP/2 by hand, frame by frame: a library would hide which requests the server said that it had taken.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::support::{PATIENCE, Result};
use super::wire::{Dial, Stream};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;

/// Of DATA and HEADERS.
const END_STREAM: u8 = 1;
/// Of SETTINGS and PING.
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;
/// An error code: the stream was not processed, and may be tried elsewhere.
const REFUSED_STREAM: u32 = 7;

/// `:status: 200` in HPACK.
const STATUS_200: u8 = 0x88;

struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
    body: Vec<u8>,
}

/// What became of a request.
#[derive(Debug, PartialEq)]
pub enum Outcome {
    /// Answered to the end, with status 200.
    Answered,
    /// The server said that it had not taken it: it may be sent elsewhere.
    NotTaken,
}

/// A connection on which one request follows the other.
pub struct Connection {
    stream: Stream,
    next: u32,
    /// The last request that the server will have taken, once it has said that it goes.
    last: Option<u32>,
}

impl Connection {
    pub async fn open(dial: Dial) -> io::Result<Self> {
        let mut connection = Self { stream: dial.stream().await?, next: 1, last: None };
        connection.stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await?;
        connection.write(SETTINGS, 0, 0, &[]).await?;
        // A gigabyte of answers: more than there will be.
        connection.write(WINDOW_UPDATE, 0, 0, &(1u32 << 30).to_be_bytes()).await?;
        Ok(connection)
    }

    /// Has the server said that it goes?
    pub fn is_going(&self) -> bool {
        self.last.is_some()
    }

    /// A gRPC call with an empty message. An error is a call that the server took and did not answer.
    pub async fn call(&mut self, path: &str) -> Result<Outcome> {
        let id = self.next;
        self.next += 2;
        let mut head = vec![0x83, 0x86];
        for (name, value) in [(4, path), (1, "verifier")] {
            head.extend([&[name], &text(value)[..]].concat());
        }
        for (name, value) in [("content-type", "application/grpc"), ("te", "trailers")] {
            head.extend([&[0], &text(name)[..], &text(value)].concat());
        }
        // A failure to send shows when reading.
        let _ = self.write(HEADERS, END_HEADERS, id, &head).await;
        let _ = self.write(DATA, END_STREAM, id, &[0; 5]).await;
        let mut is_ok = false;
        loop {
            let Some(frame) = self.read().await? else {
                return match self.last {
                    Some(last) if last < id => Ok(Outcome::NotTaken),
                    last => Err(format!("closed without an answer to {id}; the last one taken is {last:?}").into()),
                };
            };
            match frame.kind {
                SETTINGS if frame.flags & ACK == 0 => self.write(SETTINGS, ACK, 0, &[]).await.unwrap_or_default(),
                PING if frame.flags & ACK == 0 => self.write(PING, ACK, 0, &frame.body).await.unwrap_or_default(),
                GOAWAY => {
                    let last = number(&frame.body);
                    self.last = Some(last);
                    if last < id {
                        return Ok(Outcome::NotTaken);
                    }
                }
                RST_STREAM if frame.stream == id => {
                    return match number(&frame.body) {
                        REFUSED_STREAM => Ok(Outcome::NotTaken),
                        code => Err(format!("{id} was reset with {code}").into()),
                    };
                }
                HEADERS | DATA if frame.stream == id => {
                    is_ok |= frame.kind == HEADERS && frame.body.first() == Some(&STATUS_200);
                    if frame.flags & END_STREAM != 0 {
                        return if is_ok { Ok(Outcome::Answered) } else { Err("not answered with 200".into()) };
                    }
                }
                _ => {}
            }
        }
    }

    async fn write(&mut self, kind: u8, flags: u8, stream: u32, body: &[u8]) -> io::Result<()> {
        let length = u32::try_from(body.len()).unwrap().to_be_bytes();
        let head = [&length[1..], &[kind, flags], &stream.to_be_bytes()].concat();
        self.stream.write_all(&[&head, body].concat()).await?;
        self.stream.flush().await
    }

    /// The next frame; `None` at the end.
    async fn read(&mut self) -> Result<Option<Frame>> {
        let read = async {
            let mut head = [0; 9];
            self.stream.read_exact(&mut head).await?;
            let [a, b, c, kind, flags, rest @ ..] = head;
            let mut body = vec![0; number(&[0, a, b, c]) as usize];
            self.stream.read_exact(&mut body).await?;
            Ok::<_, io::Error>(Frame { kind, flags, stream: number(&rest), body })
        };
        Ok(timeout(PATIENCE, read).await.map_err(|_| "the server says nothing, and does not close")?.ok())
    }
}

/// Text of less than 127 bytes in HPACK, as it is.
fn text(text: &str) -> Vec<u8> {
    [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat()
}

/// The first four bytes as a number.
fn number(bytes: &[u8]) -> u32 {
    u32::from_be_bytes(bytes[..4].try_into().unwrap())
}
