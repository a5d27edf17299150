//! The client: one thread that writes prepared bytes, reads what comes, and looks at the clock in between. It never
//! rests, so that no call waits for a timer.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::task::yield_now;

use super::process::Process;

/// How long the servers are asked before it counts.
const WARM: Duration = Duration::from_millis(50);
/// Calls of one connection that may be under way, at most.
const WINDOW: usize = 32;
/// Answers that have not come by then never will.
const PATIENCE: Duration = Duration::from_secs(20);

/// What is said on a connection.
pub trait Wire {
    /// The first words.
    fn open(&mut self, out: &mut Vec<u8>);
    /// Asks about a key; the token comes back with the answer.
    fn ask(&mut self, key: &[u8], out: &mut Vec<u8>) -> usize;
    /// Takes in whole answers and says how many bytes that were; tells each one's token, and whether it allows.
    fn take(&mut self, input: &[u8], out: &mut Vec<u8>, done: &mut impl FnMut(usize, bool)) -> usize;
    /// Calls at once.
    fn most(&self) -> usize;
}

/// Keys of the same length, drawn at random.
pub struct Keys {
    bytes: Vec<u8>,
    len: usize,
    state: u64,
}

impl Keys {
    pub fn new(keys: impl IntoIterator<Item = String>) -> Self {
        let mut keys = keys.into_iter().peekable();
        let len = keys.peek().unwrap().len();
        let bytes = keys.inspect(|key| assert_eq!(key.len(), len)).flat_map(String::into_bytes).collect();
        Self { bytes, len, state: 0x9e37_79b9_7f4a_7c15 }
    }

    fn random(&mut self) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        self.state
    }

    pub fn all(&self) -> impl Iterator<Item = &str> {
        self.bytes.chunks(self.len).map(|key| str::from_utf8(key).unwrap())
    }

    pub fn first(&self, count: usize) -> Self {
        Self::new(self.all().take(count).map(str::to_owned))
    }

    pub fn draw(&mut self) -> &[u8] {
        let count = self.bytes.len() / self.len;
        let at = usize::try_from(self.random() >> 16).unwrap() % count * self.len;
        &self.bytes[at..at + self.len]
    }

    /// Until the next call of many callers who know nothing of each other.
    fn gap(&mut self, rate: f64) -> Duration {
        let uniform = ((self.random() >> 11) as f64 + 1.0) / (1u64 << 53) as f64;
        Duration::from_secs_f64(-uniform.ln() / rate)
    }
}

/// A connection.
pub struct Lane<W> {
    stream: TcpStream,
    wire: W,
    out: Vec<u8>,
    input: Vec<u8>,
    filled: usize,
    started: [Instant; WINDOW],
    under_way: usize,
}

impl<W: Wire> Lane<W> {
    pub async fn connect(address: &str, mut wire: W) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let mut out = Vec::new();
        wire.open(&mut out);
        let started = [Instant::now(); WINDOW];
        Self { stream, wire, out, input: vec![0; 64 * 1024], filled: 0, started, under_way: 0 }
    }

    fn has_room(&self) -> bool {
        self.under_way < self.wire.most()
    }

    fn ask(&mut self, key: &[u8], at: Instant) {
        let token = self.wire.ask(key, &mut self.out);
        self.started[token] = at;
        self.under_way += 1;
    }

    fn flush(&mut self) {
        while !self.out.is_empty() {
            match self.stream.try_write(&self.out) {
                Ok(wrote) => drop(self.out.drain(..wrote)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => unreachable!("the server is gone: {error}"),
            }
        }
    }

    fn drain(&mut self, mut done: impl FnMut(Instant, Instant, bool)) {
        match self.stream.try_read(&mut self.input[self.filled..]) {
            Ok(0) => unreachable!("the server hung up"),
            Ok(read) => self.filled += read,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return,
            Err(error) => unreachable!("the server is gone: {error}"),
        }
        let now = Instant::now();
        let (started, under_way) = (&self.started, &mut self.under_way);
        let taken = self.wire.take(&self.input[..self.filled], &mut self.out, &mut |token, allowed| {
            *under_way -= 1;
            done(started[token], now, allowed);
        });
        self.input.copy_within(taken..self.filled, 0);
        self.filled -= taken;
    }
}

/// How calls come.
#[derive(Clone, Copy)]
pub enum Pace {
    /// The next as soon as one is answered.
    Saturate,
    /// So many a second, whatever the server does.
    Open(f64),
}

/// What came of it.
#[derive(Default)]
pub struct Outcome {
    /// In seconds.
    wall: f64,
    /// Processor time of each process, in seconds.
    spent: Vec<f64>,
    /// In nanoseconds.
    latencies: Vec<u32>,
    /// What 99 of 100 calls of each slice did not exceed, in microseconds.
    pub p99s: Vec<f64>,
    pub refused: usize,
    /// Answers to those who flood.
    flooded: usize,
}

impl Outcome {
    /// Takes in a further slice.
    pub fn add(&mut self, mut other: Self) {
        self.p99s.push(other.quantile(0.99));
        self.wall += other.wall;
        self.spent.resize(other.spent.len(), 0.0);
        self.spent.iter_mut().zip(other.spent).for_each(|(sum, more)| *sum += more);
        self.latencies.extend(other.latencies);
        self.refused += other.refused;
        self.flooded += other.flooded;
    }

    /// Calls a second.
    pub fn rate(&self) -> f64 {
        self.latencies.len() as f64 / self.wall
    }

    /// Bad keys answered a second.
    pub fn flood_rate(&self) -> f64 {
        self.flooded as f64 / self.wall
    }

    /// Processor time of a process for each call, in nanoseconds.
    pub fn cpu(&self, process: usize) -> f64 {
        self.spent[process] * 1e9 / self.latencies.len() as f64
    }

    /// How busy they were together, in percent of a core.
    pub fn busy(&self) -> f64 {
        self.spent.iter().sum::<f64>() * 100.0 / self.wall
    }

    /// In microseconds.
    pub fn quantile(&mut self, part: f64) -> f64 {
        self.latencies.sort_unstable();
        let at = (self.latencies.len() as f64 * part).floor();
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        self.latencies.get(at as usize).map_or(f64::NAN, |latency| f64::from(*latency) / 1e3)
    }
}

/// Who asks.
pub struct Crowd<'c, W> {
    pub lanes: &'c mut [Lane<W>],
    pub keys: &'c mut Keys,
}

/// Lets `good` ask at its pace, and `flood` as fast as it can, and looks at what `watched` pay for it.
pub async fn run<W: Wire>(
    good: Crowd<'_, W>,
    mut flood: Option<Crowd<'_, W>>,
    pace: Pace,
    span: Duration,
    watched: &[&Process],
) -> Outcome {
    let cpu = || watched.iter().map(|process| process.cpu()).collect::<Vec<_>>();
    let begin = Instant::now();
    let (count_from, end) = (begin + WARM, begin + WARM + span);
    let mut outcome = Outcome::default();
    let mut due = Due { pace, end, next: begin, waiting: VecDeque::new(), turn: 0 };
    let mut before: Option<(Instant, Vec<Duration>)> = None;
    let mut after: Option<(Instant, Vec<Duration>)> = None;
    loop {
        let now = Instant::now();
        if before.is_none() && now >= count_from {
            before = Some((now, cpu()));
        }
        if after.is_none() && now >= end {
            after = Some((now, cpu()));
        }
        due.ask(good.lanes, good.keys, now);
        if let Some(flood) = flood.as_mut().filter(|_| after.is_none()) {
            saturate(flood.lanes, flood.keys, now);
        }
        let counts = before.is_some() && after.is_none();
        // What was meant to be sent in time counts, however late its answer: that it is late is the point.
        let is_counted = |started| match pace {
            Pace::Saturate => counts,
            Pace::Open(_) => (count_from..end).contains(&started),
        };
        for lane in good.lanes.iter_mut() {
            lane.flush();
            lane.drain(|started, now, allowed| {
                if is_counted(started) {
                    let latency = now.saturating_duration_since(started).as_nanos();
                    outcome.latencies.push(u32::try_from(latency).unwrap_or(u32::MAX));
                    outcome.refused += usize::from(!allowed);
                }
            });
        }
        let mut under_way = good.lanes.iter().any(|lane| lane.under_way > 0);
        for lane in flood.iter_mut().flat_map(|flood| flood.lanes.iter_mut()) {
            lane.flush();
            lane.drain(|_, _, _| outcome.flooded += usize::from(counts));
            under_way |= lane.under_way > 0;
        }
        if after.is_some() && !under_way && due.waiting.is_empty() {
            break;
        }
        assert!(now < end + PATIENCE, "calls were left without an answer");
        // The runtime looks at its sockets.
        yield_now().await;
    }
    let ((from, before), (to, after)) = (before.unwrap(), after.unwrap());
    outcome.wall = (to - from).as_secs_f64();
    outcome.spent =
        after.iter().zip(before).map(|(after, before)| after.saturating_sub(before).as_secs_f64()).collect();
    outcome
}

fn saturate<W: Wire>(lanes: &mut [Lane<W>], keys: &mut Keys, now: Instant) {
    for lane in lanes {
        while lane.has_room() {
            lane.ask(keys.draw(), now);
        }
    }
}

/// The calls that are due.
struct Due {
    pace: Pace,
    end: Instant,
    next: Instant,
    /// No connection was free for them; they count from when they were meant to be sent.
    waiting: VecDeque<Instant>,
    turn: usize,
}

impl Due {
    fn ask<W: Wire>(&mut self, lanes: &mut [Lane<W>], keys: &mut Keys, now: Instant) {
        let rate = match self.pace {
            Pace::Saturate if now < self.end => return saturate(lanes, keys, now),
            Pace::Saturate => return,
            Pace::Open(rate) => rate,
        };
        while self.next <= now.min(self.end) {
            self.waiting.push_back(self.next);
            self.next += keys.gap(rate);
        }
        while let Some(at) = self.waiting.front() {
            let free = (0..lanes.len()).map(|n| (self.turn + n) % lanes.len()).find(|&n| lanes[n].has_room());
            let Some(free) = free else { return };
            lanes[free].ask(keys.draw(), *at);
            self.turn = free + 1;
            self.waiting.pop_front();
        }
    }
}
