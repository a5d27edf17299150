//! Requests that are cut off, garbled or left by their callers, over real sockets: an allow is given only to a whole one.

use std::cell::Cell;
use std::ops::Range;
use std::time::Duration;

use keywright::server::budget::Budget;
use keywright::server::{Limits, Protocols, Shutdown, routed, serve};
use keywright::verifier::ext_authz::server::Server;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::ask::Transport;
use super::world::{NEW, Verifier, World};
use super::{runner, runtime};

/// A bound on hanging.
const PATIENCE: Duration = Duration::from_secs(20);

const SCOPE: &str = "orders:read";

fn limits() -> Limits {
    let memory = Budget::new(1 << 30, 100);
    Limits {
        connections: 1000,
        peer_share: 100,
        memory,
        head: Limits::HEAD,
        body: 8 * 1024,
        idle: Limits::IDLE,
        protocols: Protocols::All,
    }
}

/// What happens to a request on its way.
#[derive(Clone, Debug)]
enum Harm {
    /// Only so much of it is sent, and then the end.
    Cut(Index),
    /// The same, and nobody waits for an answer.
    Left(Index),
    /// One bit of its key or its question is another.
    Flipped(Index, u8),
    /// Something stands within its key or its question.
    Torn(Index, Vec<u8>),
}

impl Harm {
    fn any() -> impl Strategy<Value = Self> {
        let garbage = prop::collection::vec(any::<u8>(), 1..9);
        let at = any::<Index>;
        prop_oneof![
            at().prop_map(Self::Cut),
            at().prop_map(Self::Left),
            (at(), 0u8..8).prop_map(|(at, bit)| Self::Flipped(at, bit)),
            (at(), garbage).prop_map(|(at, garbage)| Self::Torn(at, garbage)),
        ]
    }
}

/// The bytes of a request that passes, and where all of them count.
struct Whole {
    bytes: Vec<u8>,
    counts: Vec<Range<usize>>,
}

impl Whole {
    fn of(transport: Transport) -> Self {
        let key = &NEW.text;
        let get =
            |target: &str| format!("GET {target} HTTP/1.1\r\nHost: v\r\nX-API-Key: {key}\r\nConnection: close\r\n\r\n");
        let bytes = match transport {
            Transport::Query => get(&format!("/auth?scope={SCOPE}")).into_bytes(),
            Transport::Path => get(&format!("/auth/scope={SCOPE}/-/orders")).into_bytes(),
            Transport::Verify => {
                let body = format!("{{\"scope\":\"{SCOPE}\",\"key\":\"{key}\"}}");
                let length = body.len();
                format!(
                    "POST /v1/verify HTTP/1.1\r\nHost: v\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
                )
                .into_bytes()
            }
            Transport::Grpc => grpc(key),
        };
        let place = |text: &str| {
            let at = bytes.windows(text.len()).position(|window| window == text.as_bytes()).unwrap();
            at..at + text.len()
        };
        let counts = vec![place("scope"), place(SCOPE), place(key)];
        Self { bytes, counts }
    }

    /// One of the bytes that count.
    fn place(&self, index: Index) -> usize {
        let all: Vec<usize> = self.counts.iter().cloned().flatten().collect();
        *index.get(&all)
    }

    fn harmed(&self, harm: &Harm) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        match harm {
            Harm::Cut(at) | Harm::Left(at) => bytes.truncate(at.index(bytes.len())),
            Harm::Flipped(at, bit) => bytes[self.place(*at)] ^= 1 << bit,
            Harm::Torn(at, garbage) => {
                let at = self.place(*at);
                // At its very beginning it might be taken for what may stand before it.
                let at = if self.counts.iter().any(|range| range.start == at) { at + 1 } else { at };
                bytes.splice(at..at, garbage.iter().copied());
            }
        }
        bytes
    }
}

/// A call of HTTP/2 and gRPC by hand.
fn grpc(key: &str) -> Vec<u8> {
    let text = |text: &[u8]| [&[u8::try_from(text.len()).unwrap()], text].concat();
    let field = |number: u8, value: &[u8]| {
        let length = u8::try_from(value.len()).unwrap();
        let length = if length < 128 { vec![length] } else { vec![length, 1] };
        [&[number << 3 | 2][..], &length, value].concat()
    };
    let pair = |name: &str, value: &str| [field(1, name.as_bytes()), field(2, value.as_bytes())].concat();
    let http = [field(2, b"GET"), field(3, &pair("x-api-key", key))].concat();
    let attributes = [field(4, &field(2, &http)), field(10, &pair("scope", SCOPE))].concat();
    let check = field(1, &attributes);
    let mut head = vec![0x83, 0x86];
    for (name, value) in [(4, "/envoy.service.auth.v3.Authorization/Check"), (1, "verifier")] {
        head.extend([&[name], &text(value.as_bytes())[..]].concat());
    }
    for (name, value) in [("content-type", "application/grpc"), ("te", "trailers")] {
        head.extend([&[0], &text(name.as_bytes())[..], &text(value.as_bytes())].concat());
    }
    let message = [&[0][..], &u32::try_from(check.len()).unwrap().to_be_bytes(), &check].concat();
    let frame = |kind: u8, flags: u8, stream: u8, body: &[u8]| {
        let length = u32::try_from(body.len()).unwrap().to_be_bytes();
        [&length[1..], &[kind, flags, 0, 0, 0, stream], body].concat()
    };
    [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), frame(4, 0, 0, &[]), frame(1, 4, 1, &head), frame(0, 1, 1, &message)]
        .concat()
}

/// Has a stream of HTTP/2 come to its end, or has the server said that it goes?
fn is_over(answer: &[u8]) -> bool {
    let mut rest = answer;
    while let [a, b, c, kind, flags, _, _, _, _, more @ ..] = rest {
        let length = usize::from(*a) << 16 | usize::from(*b) << 8 | usize::from(*c);
        let Some(after) = more.get(length..) else { return false };
        if (matches!(kind, 0 | 1) && flags & 1 != 0) || matches!(kind, 3 | 7) {
            return true;
        }
        rest = after;
    }
    false
}

/// Sends these bytes; what is heard until the answer or the connection ends.
async fn heard(address: &str, transport: Transport, bytes: &[u8], is_cut: bool) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // A server may close before it has read everything.
    let _ = stream.write_all(bytes).await;
    if is_cut {
        let _ = stream.shutdown().await;
    }
    let mut answer = Vec::new();
    let read = async {
        while matches!(stream.read_buf(&mut answer).await, Ok(1..)) {
            if transport == Transport::Grpc && is_over(&answer) {
                break;
            }
        }
    };
    timeout(PATIENCE, read).await.expect("an answer, or the end");
    answer
}

/// What stands in every allow, and in nothing else.
fn is_allow(answer: &[u8]) -> bool {
    let says = |text: &[u8]| answer.windows(text.len()).any(|window| window == text);
    says(b"x-keywright-code: ok") || says(b"x-keywright-account") || says(b"\"valid\":true")
}

/// Serves both in this process, for as long as the runtime runs: HTTP, and gRPC.
async fn served(world: &World) -> [String; 2] {
    let Verifier { http, grpc } = Verifier::of(world, 1);
    let grpc = tonic::service::Routes::new(Server::new(grpc, Server::LARGEST_MESSAGE)).into_axum_router();
    let shutdown = Shutdown::on_signal(Duration::ZERO).unwrap();
    let listener = async || TcpListener::bind("127.0.0.1:0").await.unwrap();
    let listeners = [listener().await, listener().await];
    let addresses = listeners.each_ref().map(|listener| listener.local_addr().unwrap().to_string());
    let [over_http, over_grpc] = listeners;
    tokio::spawn(serve(over_http, http, limits(), None, shutdown.clone()));
    tokio::spawn(serve(over_grpc, routed(grpc), limits(), None, shutdown));
    addresses
}

#[test]
fn a_request_that_is_cut_off_garbled_or_left_is_never_allowed_and_the_next_one_is() {
    let runtime = runtime();
    let [http, grpc] = runtime.block_on(served(&World::sound()));
    let answered = Cell::new(0);
    let outcome = runner(2000).run(&(select(&Transport::ALL[..]), Harm::any()), |(transport, harm)| {
        let address = if transport == Transport::Grpc { &grpc } else { &http };
        let whole = Whole::of(transport);
        let harmed = whole.harmed(&harm);
        runtime.block_on(async {
            if let Harm::Left(_) = harm {
                let _ = TcpStream::connect(address).await.unwrap().write_all(&harmed).await;
            } else {
                let answer = heard(address, transport, &harmed, matches!(harm, Harm::Cut(_))).await;
                prop_assert!(!is_allow(&answer), "{}", answer.escape_ascii());
                answered.set(answered.get() + u32::from(!answer.is_empty()));
            }
            let answer = heard(address, transport, &whole.bytes, false).await;
            prop_assert!(is_allow(&answer), "the next one: {}", answer.escape_ascii());
            Ok(())
        })
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
    assert!(answered.get() > 500, "only {} were answered at all", answered.get());
}
