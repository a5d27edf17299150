//! The real server beside those of the same stack that look at nothing.

use std::cell::RefCell;
use std::io::{Read, Write};
use std::net::TcpStream;

use super::Scale;
use super::answers::HEX;
use super::grpc::{self, Grpc};
use super::http1::{self, Http};
use super::load::{Crowd, Keys, Lane, Outcome, Pace, Wire, run};
use super::process::Process;
use super::support::minted;

/// Keep-alive connections of gateways that ask over HTTP.
const CONNECTIONS: usize = 64;
/// Connections of Envoys, a worker each.
const WORKERS: usize = 4;
/// Connections of those who flood.
const FLOOD: usize = 16;
/// Into how many turns a round is cut.
pub const SLICES: u32 = 10;
/// The same where times are measured: of short turns the fewer hold one of the moments, each of many milliseconds, in which
/// the machine does something else.
const SHORT_SLICES: u32 = 30;

pub struct Server {
    name: &'static str,
    pub process: Process,
    pub http: String,
    pub grpc: String,
}

pub struct Servers {
    pub real: Server,
    noop: Server,
    raw: Server,
    empty: Server,
    pub keys: RefCell<Keys>,
    pub strangers: RefCell<Keys>,
    filled: (u64, u64),
    key_length: usize,
}

impl Server {
    /// The keys that it says it knows, if it knows any, come with it.
    fn start(name: &'static str, keys: usize, told: &[&str]) -> (Self, Vec<String>) {
        let me = std::env::current_exe().unwrap();
        let mut process = Process::start(&me, &["--role", name, "--keys", &keys.to_string()]);
        for line in told {
            process.tell(line);
        }
        let mut known = Vec::new();
        loop {
            let line = process.line();
            if let Some((http, grpc)) = line.split_once(' ') {
                let (http, grpc) = (http.to_owned(), grpc.to_owned());
                return (Self { name, process, http, grpc }, known);
            }
            known.push(line);
        }
    }
}

impl Servers {
    pub fn start(keys: usize) -> Self {
        eprintln!("filling an index with {keys} keys");
        let (real, known) = Server::start("real", keys, &[]);
        let key_length = known[0].len();
        let key = known[known.len() / 2].as_bytes();
        let filled = real.process.memory();
        let (http, is_good) = once(&real.http, Http::asking_verifier(), key);
        let (grpc, is_good_too) = once(&real.grpc, Grpc::new(key_length), key);
        assert!(is_good && is_good_too);
        let (http, grpc) = (HEX.encode(&http.last), HEX.encode(&grpc.last));
        let told = [http.as_str(), grpc.as_str()];
        let [noop, raw, empty] = ["noop", "raw", "empty"].map(|name| Server::start(name, keys, &told).0);
        let strangers = RefCell::new(strangers(key_length));
        Self { real, noop, raw, empty, keys: RefCell::new(Keys::new(known)), strangers, filled, key_length }
    }

    /// After all that was asked.
    pub fn memory(&self) {
        println!("\nMemory (bound: 64 MB for the real one)");
        let (real, noop) = (self.real.process.memory(), self.noop.process.memory());
        for (what, memory) in [("real, filled", self.filled), ("real, after all calls", real), ("noop", noop)] {
            let (resident, anonymous) = (memory.0 as f64 / 1024.0, memory.1 as f64 / 1024.0);
            println!("  {what:<22} resident {resident:>6.1} MB, of that anonymous {anonymous:>6.1} MB");
        }
    }
}

/// Asks once; gives back what has seen the answer, and whether that allows.
pub fn once<W: Wire>(address: &str, mut wire: W, key: &[u8]) -> (W, bool) {
    let mut stream = TcpStream::connect(address).unwrap();
    let (mut out, mut input, mut answered) = (Vec::new(), Vec::new(), None);
    wire.open(&mut out);
    wire.ask(key, &mut out);
    loop {
        stream.write_all(&std::mem::take(&mut out)).unwrap();
        let mut buffer = [0; 4096];
        let read = stream.read(&mut buffer).unwrap();
        assert!(read > 0, "no answer from {address}");
        input.extend_from_slice(&buffer[..read]);
        let taken = wire.take(&input, &mut out, &mut |_, allowed| answered = Some(allowed));
        input.drain(..taken);
        if let Some(allowed) = answered {
            return (wire, allowed);
        }
    }
}

/// Keys that nobody has, and what is no key, of the same length.
fn strangers(length: usize) -> Keys {
    let unknown = minted(10_000);
    let malformed = unknown.clone().into_iter().map(|mut key| {
        let last = if key.ends_with('x') { 'y' } else { 'x' };
        key.truncate(length - 1);
        key.push(last);
        key
    });
    Keys::new(malformed.chain(unknown.clone()))
}

pub async fn http(servers: &Servers, scale: Scale) {
    let connect = async |server: &Server, count| http1::to_verifier(&server.http, count).await;
    let others = [&servers.noop, &servers.raw, &servers.empty];
    Comparison { title: "HTTP /auth", bound: 0.9, lanes: CONNECTIONS, servers, scale }.run(connect, &others).await;
}

pub async fn grpc(servers: &Servers, scale: Scale) {
    let connect = async |server: &Server, count| grpc::lanes(&server.grpc, count, servers.key_length).await;
    let others = [&servers.noop, &servers.raw, &servers.empty];
    Comparison { title: "gRPC Check", bound: 0.85, lanes: WORKERS, servers, scale }.run(connect, &others).await;
}

/// Rounds that are not measured.
const WARM_UP: usize = 3;

struct Comparison<'s> {
    title: &'static str,
    bound: f64,
    lanes: usize,
    servers: &'s Servers,
    scale: Scale,
}

impl Comparison<'_> {
    async fn run<W: Wire>(&self, connect: impl AsyncFn(&Server, usize) -> Vec<Lane<W>>, others: &[&Server]) {
        println!("\n{}, {} keys, {} rounds of {:?}", self.title, self.scale.keys, self.scale.rounds, self.scale.span);
        // What is counted of a key is made at its first call, which is not what is measured.
        for _ in 0..WARM_UP {
            self.round(&connect, &[&self.servers.real], Pace::Saturate, 0).await;
        }
        let saturated = self.throughput(&connect, others).await;
        let half = median(saturated.iter().map(|round| round[1].rate())) / 2.0;
        self.latency(&connect, half, FLOOD).await;
        // Last, so that memory is looked at when the flood is over.
        self.latency(&connect, half, 0).await;
    }

    /// A round: each server in turn for a slice, again and again, so that whatever else the machine does, it does to all.
    async fn round<W: Wire>(
        &self,
        connect: &impl AsyncFn(&Server, usize) -> Vec<Lane<W>>,
        servers: &[&Server],
        pace: Pace,
        flood: usize,
    ) -> Vec<Outcome> {
        let (mut keys, mut strangers) = (self.servers.keys.borrow_mut(), self.servers.strangers.borrow_mut());
        let mut crowds = Vec::new();
        for server in servers {
            crowds.push((connect(server, self.lanes).await, connect(server, flood).await, Outcome::default()));
        }
        let slices = match pace {
            Pace::Saturate => SLICES,
            Pace::Open(_) => SHORT_SLICES,
        };
        for _ in 0..slices {
            for (server, (lanes, others, outcome)) in servers.iter().zip(&mut crowds) {
                let good = Crowd { lanes, keys: &mut keys };
                let bad = (flood > 0).then_some(Crowd { lanes: others, keys: &mut strangers });
                outcome.add(run(good, bad, pace, self.scale.span / slices, &[&server.process]).await);
            }
        }
        for (server, (_, _, outcome)) in servers.iter().zip(&crowds) {
            assert_eq!(outcome.refused, 0, "{}: every good key is good", server.name);
        }
        crowds.into_iter().map(|(_, _, outcome)| outcome).collect()
    }

    async fn throughput<W: Wire>(
        &self,
        connect: &impl AsyncFn(&Server, usize) -> Vec<Lane<W>>,
        others: &[&Server],
    ) -> Vec<Vec<Outcome>> {
        let servers: Vec<&Server> = std::iter::once(&self.servers.real).chain(others.iter().copied()).collect();
        let mut rounds = Vec::new();
        for number in 1..=self.scale.rounds {
            let round = self.round(connect, &servers, Pace::Saturate, 0).await;
            let ratio = round[1].cpu(0) / round[0].cpu(0);
            eprintln!(
                "{} at saturation, round {number}: {ratio:.3} of the no-op's calls for the same time",
                self.title
            );
            rounds.push(round);
        }
        println!("At saturation (bound: {} of the no-op's)", self.bound);
        println!("  {:<6} {:>9} {:>9} {:>6} | real / this, of calls", "", "calls/s", "cpu/call", "busy");
        println!("  {:<6} {:>9} {:>9} {:>6} | {:>24} {:>24}", "", "", "ns", "%", "for a second of cpu", "a second");
        for (n, server) in servers.iter().enumerate() {
            let of = |pick: fn(&Outcome) -> f64| median(rounds.iter().map(|round| pick(&round[n])));
            let per_cpu = Spread::of(rounds.iter().map(|round| round[n].cpu(0) / round[0].cpu(0)));
            let per_second = Spread::of(rounds.iter().map(|round| round[0].rate() / round[n].rate()));
            let (rate, cpu, busy) = (of(Outcome::rate), of(|o| o.cpu(0)), of(Outcome::busy));
            println!("  {:<6} {rate:>9.0} {cpu:>9.0} {busy:>6.0} | {per_cpu:>24} {per_second:>24}", server.name);
        }
        rounds
    }

    async fn latency<W: Wire>(&self, connect: &impl AsyncFn(&Server, usize) -> Vec<Lane<W>>, rate: f64, flood: usize) {
        let servers = [&self.servers.real, &self.servers.noop];
        let mut rounds = Vec::new();
        for number in 1..=self.scale.rounds {
            let mut round = self.round(connect, &servers, Pace::Open(rate), flood).await;
            let [real, noop] = [0, 1].map(|n: usize| (round[n].quantile(0.99), p99_of_a_turn(&mut round[n])));
            eprintln!(
                "{} at {rate:.0}/s, {flood} flooding, round {number}: p99 {:.0} and {:.0} µs, of a turn {:.0} and {:.0}",
                self.title, real.0, noop.0, real.1, noop.1
            );
            rounds.push(round);
        }
        let under = if flood == 0 { String::new() } else { format!(", while {flood} connections flood") };
        println!("At half of the no-op's saturation, {rate:.0} good calls a second{under} (bound: p99 1.3 times)");
        println!("  {:>15} {:>9} {:>9} | real / no-op", "", "real µs", "no-op µs");
        let quantiles: [(&str, Quantile<'_>); 4] = [
            ("p50", &|outcome| outcome.quantile(0.5)),
            ("p99 of a turn", &p99_of_a_turn),
            ("p99", &|outcome| outcome.quantile(0.99)),
            ("p999", &|outcome| outcome.quantile(0.999)),
        ];
        for (name, quantile) in quantiles {
            let pair = |round: &mut Vec<Outcome>| [0, 1].map(|n: usize| quantile(&mut round[n]));
            let pairs: Vec<_> = rounds.iter_mut().map(pair).collect();
            let [real, noop] = [0, 1].map(|n| median(pairs.iter().map(|round| round[n])));
            let ratio = Spread::of(pairs.iter().map(|round| round[0] / round[1]));
            println!("  {name:>15} {real:>9.0} {noop:>9.0} | {ratio}");
        }
        if flood > 0 {
            let of = |n: usize| median(rounds.iter().map(|round| round[n].flood_rate()));
            println!("  bad keys answered a second: real {:.0}, no-op {:.0}", of(0), of(1));
        }
    }
}

type Quantile<'q> = &'q dyn Fn(&mut Outcome) -> f64;

fn p99_of_a_turn(outcome: &mut Outcome) -> f64 {
    median(outcome.p99s.iter().copied())
}

/// A median, and between what it lies.
pub struct Spread {
    least: f64,
    median: f64,
    most: f64,
}

impl Spread {
    pub fn of(numbers: impl Iterator<Item = f64>) -> Self {
        let numbers: Vec<f64> = numbers.collect();
        let least = numbers.iter().copied().fold(f64::INFINITY, f64::min);
        let most = numbers.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        Self { least, median: median(numbers.into_iter()), most }
    }
}

impl std::fmt::Display for Spread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(&format!("{:.3} ({:.3} to {:.3})", self.median, self.least, self.most))
    }
}

pub fn median(numbers: impl Iterator<Item = f64>) -> f64 {
    let mut numbers: Vec<f64> = numbers.collect();
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}
