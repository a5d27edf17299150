//! `Check` as Envoy asks it: HTTP/2, many calls at once on few connections, headers that the first call puts into the
//! table and the others name by their number. Frames are made by hand, for a library would cost what the server costs.

use std::collections::HashMap;

use envoy_types::ext_authz::v3::pb::CheckRequest;
use envoy_types::pb::envoy::config::core::v3::{
    Address, HeaderMap, HeaderValue, Metadata, SocketAddress, address::Address as Kind, socket_address::PortSpecifier,
};
use envoy_types::pb::envoy::service::auth::v3::AttributeContext;
use envoy_types::pb::envoy::service::auth::v3::attribute_context::{HttpRequest, Peer, Request};
use envoy_types::pb::google::protobuf::Timestamp;
use prost::Message;

use super::load::{Lane, Wire};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
/// Of a frame's head.
const HEAD: usize = 9;
/// Calls at once on a connection.
const STREAMS: usize = 32;

pub struct Grpc {
    next: u32,
    first_head: Vec<u8>,
    head: Vec<u8>,
    before_key: Vec<u8>,
    after_key: Vec<u8>,
    /// The token of each stream, and whether the message that came allows. Answers may overtake each other without end.
    calls: HashMap<u32, (usize, bool), foldhash::fast::RandomState>,
    free: Vec<usize>,
    /// The last message.
    pub last: Vec<u8>,
}

pub async fn lanes(address: &str, count: usize, key_length: usize) -> Vec<Lane<Grpc>> {
    let mut lanes = Vec::new();
    for _ in 0..count {
        lanes.push(Lane::connect(address, Grpc::new(key_length)).await);
    }
    lanes
}

impl Grpc {
    pub fn new(key_length: usize) -> Self {
        let key = "k".repeat(key_length);
        let message = question(&key).encode_to_vec();
        let at = message.windows(key_length).position(|window| window == key.as_bytes()).unwrap();
        let mut before_key = vec![0];
        before_key.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
        before_key.extend_from_slice(&message[..at]);
        let after_key = message[at + key_length..].to_vec();
        let (first_head, head) = (head(true), head(false));
        let free = (0..STREAMS).collect();
        Self { next: 1, first_head, head, before_key, after_key, calls: HashMap::default(), free, last: Vec::new() }
    }
}

fn frame(out: &mut Vec<u8>, length: usize, kind: u8, flags: u8, stream: u32) {
    out.extend_from_slice(&u32::try_from(length).unwrap().to_be_bytes()[1..]);
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
}

/// The head of a call, as Envoy's own client sends it: by number in the static table, or a name from it and a value, or
/// both in full.
enum Field {
    Known(u8),
    Named(u8, &'static str),
    New(&'static str, &'static str),
}

const FIELDS: [Field; 9] = [
    Field::Known(3),
    Field::Known(6),
    Field::Named(4, "/envoy.service.auth.v3.Authorization/Check"),
    Field::Named(1, "keywright"),
    Field::New("te", "trailers"),
    Field::New("grpc-timeout", "500m"),
    Field::Named(31, "application/grpc"),
    Field::New("x-envoy-internal", "true"),
    Field::New("x-envoy-expected-rq-timeout-ms", "500"),
];

fn head(is_first: bool) -> Vec<u8> {
    // The newest in the table has number 62.
    let mut number =
        62 + u8::try_from(FIELDS.iter().filter(|field| !matches!(field, Field::Known(_))).count()).unwrap();
    let mut head = Vec::new();
    let text = |head: &mut Vec<u8>, text: &str| {
        head.push(u8::try_from(text.len()).unwrap());
        head.extend_from_slice(text.as_bytes());
    };
    for field in &FIELDS {
        if !matches!(field, Field::Known(_)) {
            number -= 1;
        }
        match field {
            Field::Known(number) => head.push(0x80 | number),
            _ if !is_first => head.push(0x80 | number),
            Field::Named(name, value) => {
                head.push(0x40 | name);
                text(&mut head, value);
            }
            Field::New(name, value) => {
                head.push(0x40);
                text(&mut head, name);
                text(&mut head, value);
            }
        }
    }
    head
}

/// What Envoy tells of a small request, with `encode_raw_headers` as our guide has it.
fn question(key: &str) -> CheckRequest {
    let peer = |port| Peer {
        address: Some(Address {
            address: Some(Kind::SocketAddress(SocketAddress {
                address: "127.0.0.1".to_owned(),
                port_specifier: Some(PortSpecifier::PortValue(port)),
                ..SocketAddress::default()
            })),
        }),
        ..Peer::default()
    };
    let headers = [
        (":authority", "api.example.com"),
        (":path", "/orders/1"),
        (":method", "GET"),
        (":scheme", "http"),
        ("user-agent", "curl/8.14.1"),
        ("accept", "*/*"),
        ("authorization", &format!("Bearer {key}")),
        ("x-forwarded-proto", "http"),
        ("x-request-id", "6b7a0f63-0b39-4b1f-9d0e-3c0b8f7a2d51"),
    ];
    let line = |(name, value): (&str, &str)| HeaderValue {
        key: name.to_owned(),
        raw_value: value.as_bytes().to_vec(),
        ..HeaderValue::default()
    };
    let http = HttpRequest {
        id: "8123456789012345678".to_owned(),
        method: "GET".to_owned(),
        header_map: Some(HeaderMap { headers: headers.map(line).into() }),
        path: "/orders/1".to_owned(),
        host: "api.example.com".to_owned(),
        scheme: "http".to_owned(),
        protocol: "HTTP/1.1".to_owned(),
        ..HttpRequest::default()
    };
    let time = Some(Timestamp { seconds: 1_700_000_000, nanos: 123_456_789 });
    CheckRequest {
        attributes: Some(AttributeContext {
            source: Some(peer(54321)),
            destination: Some(peer(10000)),
            request: Some(Request { time, http: Some(http) }),
            context_extensions: HashMap::from([("scope".to_owned(), "orders:read".to_owned())]),
            metadata_context: Some(Metadata::default()),
            route_metadata_context: Some(Metadata::default()),
            ..AttributeContext::default()
        }),
    }
}

impl Wire for Grpc {
    fn open(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        frame(out, 0, SETTINGS, 0, 0);
        // As much as can be, so that no answer ever waits for leave.
        frame(out, 4, WINDOW_UPDATE, 0, 0);
        out.extend_from_slice(&(0x7fff_ffff_u32 - 65_535).to_be_bytes());
    }

    fn ask(&mut self, key: &[u8], out: &mut Vec<u8>) -> usize {
        let stream = self.next;
        self.next += 2;
        let head = if stream == 1 { &self.first_head } else { &self.head };
        frame(out, head.len(), HEADERS, END_HEADERS, stream);
        out.extend_from_slice(head);
        frame(out, self.before_key.len() + key.len() + self.after_key.len(), DATA, END_STREAM, stream);
        for part in [&self.before_key, key, &self.after_key] {
            out.extend_from_slice(part);
        }
        let token = self.free.pop().unwrap();
        self.calls.insert(stream, (token, false));
        token
    }

    fn take(&mut self, input: &[u8], out: &mut Vec<u8>, done: &mut impl FnMut(usize, bool)) -> usize {
        let mut taken = 0;
        while let Some((head, rest)) = input[taken..].split_first_chunk::<HEAD>() {
            let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
            let Some(payload) = rest.get(..length) else { break };
            let (kind, flags) = (head[3], head[4]);
            let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
            match kind {
                DATA => {
                    // A status without a code, which is the first field, lets the request pass.
                    let allowed = payload.get(5..7) == Some(&[0x0a, 0]) || payload.len() == 5;
                    self.calls.entry(stream).and_modify(|call| call.1 = allowed);
                    self.last.clear();
                    self.last.extend_from_slice(payload.get(5..).unwrap_or_default());
                }
                HEADERS if flags & END_STREAM != 0 => {
                    let (token, allowed) = self.calls.remove(&stream).unwrap();
                    self.free.push(token);
                    done(token, allowed);
                }
                SETTINGS if flags & ACK == 0 => frame(out, 0, SETTINGS, ACK, 0),
                PING if flags & ACK == 0 => {
                    frame(out, length, PING, ACK, 0);
                    out.extend_from_slice(payload);
                }
                HEADERS | SETTINGS | PING | WINDOW_UPDATE => {}
                other => unreachable!("frame {other} of stream {stream}"),
            }
            taken += HEAD + length;
        }
        taken
    }

    fn most(&self) -> usize {
        STREAMS
    }
}
