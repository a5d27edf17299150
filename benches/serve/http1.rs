//! `/auth` as a gateway asks it: HTTP/1.1, one call after the other on connections that are kept.

use super::load::{Lane, Wire};

const END: &[u8] = b"\r\n\r\n";

pub struct Http {
    before_key: &'static str,
    after_key: &'static str,
    /// The last answer.
    pub last: Vec<u8>,
}

/// As nginx passes it on.
const AUTH: (&str, &str) = (
    "GET /auth?scope=orders:read HTTP/1.1\r\nX-Original-Method: GET\r\nHost: keywright\r\nUser-Agent: curl/8.14.1\r\nAccept: */*\r\n\
Authorization: Bearer ",
    "\r\n\r\n",
);

/// What a client sends to a gateway.
const ORDERS: (&str, &str) = (
    "GET /orders/1 HTTP/1.1\r\nHost: api.example.com\r\nUser-Agent: curl/8.14.1\r\nAccept: */*\r\nX-API-Key: ",
    "\r\n\r\n",
);

pub async fn to_verifier(address: &str, count: usize) -> Vec<Lane<Http>> {
    lanes(address, count, AUTH).await
}

pub async fn to_gateway(address: &str, count: usize) -> Vec<Lane<Http>> {
    lanes(address, count, ORDERS).await
}

async fn lanes(address: &str, count: usize, around: (&'static str, &'static str)) -> Vec<Lane<Http>> {
    let mut lanes = Vec::new();
    for _ in 0..count {
        lanes.push(Lane::connect(address, Http::new(around)).await);
    }
    lanes
}

impl Http {
    fn new((before_key, after_key): (&'static str, &'static str)) -> Self {
        Self { before_key, after_key, last: Vec::new() }
    }

    pub fn asking_verifier() -> Self {
        Self::new(AUTH)
    }

    pub fn asking_gateway() -> Self {
        Self::new(ORDERS)
    }
}

impl Wire for Http {
    fn open(&mut self, _: &mut Vec<u8>) {}

    fn ask(&mut self, key: &[u8], out: &mut Vec<u8>) -> usize {
        for part in [self.before_key.as_bytes(), key, self.after_key.as_bytes()] {
            out.extend_from_slice(part);
        }
        0
    }

    fn take(&mut self, input: &[u8], _: &mut Vec<u8>, done: &mut impl FnMut(usize, bool)) -> usize {
        let Some(whole) = whole(input) else { return 0 };
        self.last.clear();
        self.last.extend_from_slice(&input[..whole]);
        done(0, input.starts_with(b"HTTP/1.1 200"));
        whole
    }

    fn most(&self) -> usize {
        1
    }
}

/// The length of the answer that `input` begins with, once all of it is there.
fn whole(input: &[u8]) -> Option<usize> {
    // Most often it is the head alone, and all of it.
    let head = if input.ends_with(END) { input.len() } else { input.windows(4).position(|w| w == END)? + 4 };
    let body = length(&input[..head]);
    (input.len() >= head + body).then_some(head + body)
}

fn length(head: &[u8]) -> usize {
    const NAME: &[u8] = b"\ncontent-length: ";
    let Some(at) = head.windows(NAME.len()).position(|w| w == NAME) else { return 0 };
    head[at + NAME.len()..].iter().take_while(|b| b.is_ascii_digit()).fold(0, |n, b| n * 10 + usize::from(b - b'0'))
}
