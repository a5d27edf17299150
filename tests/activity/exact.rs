//! Many calls with known answers, counted by two verifiers.

use std::collections::HashMap;
use std::time::Instant;

use jiff::Timestamp;
use keywright::api::{Activity, Requests};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::fixture::{activity, operator, stop, verifier, with_id_of};
use super::support::cluster::Cluster;
use super::support::eventually;
use super::support::keywright::Running;
use super::support::space::Space;

const KEYS: usize = 200;
const CALLS: usize = 50_000;
/// Writes a second of each verifier, as it is told.
const BUDGET: u64 = 20;

/// A connection that is kept.
struct Client(TcpStream);

impl Client {
    async fn to(verifier: &Running) -> Self {
        let stream = TcpStream::connect(&verifier.address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self(stream)
    }

    /// The code of the answer.
    async fn ask(&mut self, query: &str, key: &str) -> String {
        let head = format!("GET /auth?{query} HTTP/1.1\r\nHost: verifier\r\nAuthorization: Bearer {key}\r\n\r\n");
        self.0.write_all(head.as_bytes()).await.unwrap();
        let mut answer = Vec::with_capacity(2048);
        loop {
            assert!(self.0.read_buf(&mut answer).await.unwrap() > 0, "the verifier hung up");
            let text = std::str::from_utf8(&answer).unwrap();
            let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
            let header = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
            let length = header("content-length:").map_or(0, |length| length.parse().unwrap());
            if body.len() == length {
                return header("x-keywright-code:").unwrap().to_owned();
            }
        }
    }
}

/// What a key is, and what it is asked, so that the answer is known.
#[derive(Clone, Copy)]
enum Kind {
    Full,
    ReadOnly,
    Disabled,
}

impl Kind {
    fn of(key: usize) -> Self {
        match key % 10 {
            0 => Self::Disabled,
            1..4 => Self::ReadOnly,
            _ => Self::Full,
        }
    }

    /// What is asked at the nth call, and the answer; a wrong secret is not the key's kind.
    fn question(self, call: usize) -> (&'static str, &'static str) {
        match (self, call % 7) {
            (Self::Disabled, _) => ("scope=any", "disabled"),
            (_, 0) => ("scope=any&account=a/b", "wrong_account"),
            (Self::ReadOnly, 1..4) => ("scope=orders:write", "insufficient_scope"),
            _ => ("scope=orders:read", "ok"),
        }
    }
}

/// When the last of several calls, some of them at once, was asked, and when the last answer came.
type Between = (Timestamp, Timestamp);

fn last(one: Option<Between>, other: Option<Between>) -> Option<Between> {
    match (one, other) {
        (Some((a, b)), Some((c, d))) => Some((a.max(c), b.max(d))),
        (one, other) => one.or(other),
    }
}

/// What is known of a key's calls.
#[derive(Default)]
struct Known {
    requests: Requests,
    /// The last call of either kind was decided between these.
    used: Option<Between>,
    denied: Option<Between>,
}

impl Known {
    fn add(&mut self, before: Timestamp, after: Timestamp, code: &str) {
        if code == "ok" {
            self.requests.allowed += 1;
            self.used = last(self.used, Some((before, after)));
        } else {
            self.requests.denied += 1;
            self.denied = last(self.denied, Some((before, after)));
        }
    }

    fn merge(&mut self, other: &Self) {
        self.requests.allowed += other.requests.allowed;
        self.requests.denied += other.requests.denied;
        self.used = last(self.used, other.used);
        self.denied = last(self.denied, other.denied);
    }

    fn assert(&self, said: &Activity, name: &str) {
        assert_eq!(said.requests, self.requests, "{name}");
        for (at, known) in [(&said.last_used_at, self.used), (&said.last_denied_at, self.denied)] {
            let second = at.as_ref().map(|at| at.0.as_second());
            let is_so = match (second, known) {
                (Some(second), Some((from, to))) => (from.as_second()..=to.as_second()).contains(&second),
                (second, known) => second.is_none() && known.is_none(),
            };
            assert!(is_so, "{name}: {at:?} and not {known:?}");
        }
    }
}

/// Every so many of all calls, one after the other over one connection.
async fn calls(verifier: &Running, keys: &[String], from: usize, step: usize) -> HashMap<usize, Known> {
    let mut client = Client::to(verifier).await;
    let mut known: HashMap<usize, Known> = HashMap::new();
    for call in (from..CALLS).step_by(step) {
        // No key's calls all go to the same connection.
        let (key, nth) = ((call + call / KEYS) % KEYS, call / KEYS);
        let (query, expected) = Kind::of(key).question(nth);
        let (text, expected) = if nth % 11 == 5 {
            (with_id_of(&keys[key], &keys[(key + 1) % KEYS]), "unknown")
        } else {
            (keys[key].clone(), expected)
        };
        let before = Timestamp::now();
        let code = client.ask(query, &text).await;
        assert_eq!(code, expected, "key-{key} asked {query}");
        known.entry(key).or_default().add(before, Timestamp::now(), &code);
    }
    known
}

async fn make_keys(space: &Space) -> Vec<String> {
    space.account("acme", json!({"accessLevel": "Full"})).await;
    for n in 0..KEYS {
        let (level, disabled) = match Kind::of(n) {
            Kind::Full => ("Full", false),
            Kind::ReadOnly => ("ReadOnly", false),
            Kind::Disabled => ("Full", true),
        };
        let spec = json!({"account": "acme", "accessLevel": level, "disabled": disabled});
        space.key(&format!("key-{n}"), spec).await;
    }
    let mut keys = Vec::new();
    for n in 0..KEYS {
        let name = format!("key-{n}");
        keys.push(
            eventually(&format!("the value of {name}"), async || {
                let secret = space.secrets().get_opt(&name).await.map_err(|error| error.to_string())?;
                let data = secret.and_then(|secret| secret.data).ok_or("there is none")?;
                Ok::<_, String>(String::from_utf8(data["api-key"].0.clone()).unwrap())
            })
            .await,
        );
    }
    keys
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_thousand_calls_of_two_hundred_keys_are_in_their_status_to_the_call_and_to_the_second() {
    let cluster = Cluster::shared().await;
    let (_operator, space) = (operator().await, Space::new(cluster).await);
    let keys = make_keys(&space).await;
    let started = Instant::now();
    let verifiers = [verifier(cluster, &[]).await, verifier(cluster, &[]).await];
    let mut known: HashMap<usize, Known> = HashMap::new();
    // A verifier that is ready has all of them; these count as well.
    for verifier in &verifiers {
        for (n, key) in keys.iter().enumerate() {
            let before = Timestamp::now();
            let (query, expected) = Kind::of(n).question(6);
            verifier.eventually_says(expected, query, key).await;
            known.entry(n).or_default().add(before, Timestamp::now(), expected);
        }
    }
    let began = Instant::now();
    let all = (0..8).map(|n| calls(&verifiers[n % 2], &keys, n, 8));
    for part in futures::future::join_all(all).await {
        for (key, more) in part {
            known.entry(key).or_default().merge(&more);
        }
    }
    println!("{CALLS} calls in {:?}", began.elapsed());
    for verifier in &verifiers {
        eventually("all keys are written once", async || {
            let written = verifier.metric::<u64>("keywright_activity_written_total").await;
            let seconds = started.elapsed().as_secs() + 1;
            assert!(written <= (seconds + 1) * BUDGET, "{written} writes in {seconds} s");
            assert!(written <= (seconds / 60 + 1) * KEYS as u64, "{written} writes in {seconds} s");
            if written >= KEYS as u64 { Ok(()) } else { Err(written) }
        })
        .await;
    }
    tokio::task::spawn_blocking(move || verifiers.iter().for_each(stop)).await.unwrap();
    for (n, known) in &known {
        let name = format!("key-{n}");
        known.assert(&activity(&space, &name).await.unwrap(), &name);
    }
    assert_eq!(known.len(), KEYS);
}
