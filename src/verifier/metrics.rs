//! What the verifier counts. Never by key: a metric's labels must not grow with the keys.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeLabelValue, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use super::code::Code;

/// How a question came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum Transport {
    /// `/auth`, asked by a gateway.
    #[allow(non_camel_case_types)]
    auth,
    /// `ext_authz` over gRPC, asked by Envoy.
    #[allow(non_camel_case_types)]
    grpc,
    /// `/v1/verify`, asked by a program.
    #[allow(non_camel_case_types)]
    verify,
}

impl Transport {
    const ALL: [Self; 3] = [Self::auth, Self::grpc, Self::verify];

    /// The word for it, as in metrics and in the access log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::auth => "auth",
            Self::grpc => "grpc",
            Self::verify => "verify",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    code: &'static str,
    transport: Transport,
}

/// What became of a write of the Lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum Outcome {
    /// It was acknowledged.
    #[allow(non_camel_case_types)]
    written,
    /// There was none of our name.
    #[allow(non_camel_case_types)]
    gone,
    /// What stands there is not what was known.
    #[allow(non_camel_case_types)]
    conflict,
    /// No answer, or an error.
    #[allow(non_camel_case_types)]
    failed,
}

impl Outcome {
    const ALL: [Self; 4] = [Self::written, Self::gone, Self::conflict, Self::failed];
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Write {
    outcome: Outcome,
}

/// The counters, each reached without a lock.
pub struct Metrics {
    /// `[transport][code]`
    answers: [[Counter; Code::ALL.len()]; 3],
    latency: Arc<[Latency; 3]>,
    events: Arc<Latency>,
    /// Writes of the Lease.
    lease_writes: [Counter; Outcome::ALL.len()],
    /// argon2id checks that ran.
    pub slow_checks: Counter,
    /// argon2id checks that were refused because the pool was full.
    pub slow_refused: Counter,
    /// argon2id checks that run or wait for their turn.
    pub slow_depth: Gauge,
    /// Writes of what was counted.
    pub activity: Writes,
}

/// Writes into `status.activity`.
#[derive(Default)]
pub struct Writes {
    /// Those that arrived.
    pub written: Counter,
    /// Those that somebody else's came before, and that were made anew.
    pub conflicts: Counter,
    /// Those that the API server did not take, and that are tried again.
    pub failed: Counter,
    /// Those whose key was gone.
    pub dropped: Counter,
    /// How often keys had to wait because the budget was used up.
    pub exhausted: Counter,
}

impl Writes {
    fn register(registry: &mut Registry) -> Self {
        let writes = Self::default();
        let all = [
            ("keywright_activity_written", "Writes of keys' use", &writes.written),
            ("keywright_activity_conflicts", "Writes of keys' use that another's came before", &writes.conflicts),
            ("keywright_activity_failed", "Writes of keys' use that are tried again", &writes.failed),
            ("keywright_activity_dropped", "Keys that were gone before their use was written", &writes.dropped),
            ("keywright_activity_exhausted", "Times that the budget of writes was used up", &writes.exhausted),
        ];
        for (name, help, counter) in all {
            registry.register(name, help, counter.clone());
        }
        writes
    }
}

impl Metrics {
    /// Registers them; every code begins at zero, so that a rate can be taken from the first event on.
    pub fn register(registry: &mut Registry) -> Self {
        let family = Family::<Labels, Counter>::default();
        registry.register("keywright_verify", "Questions answered, by code and transport", family.clone());
        let of =
            |transport| Code::ALL.map(|code| family.get_or_create(&Labels { code: code.as_str(), transport }).clone());
        let writes = Family::<Write, Counter>::default();
        registry.register("keywright_lease_writes", "Writes of the verifier's Lease, by outcome", writes.clone());
        let metrics = Self {
            answers: Transport::ALL.map(of),
            latency: Arc::default(),
            events: Arc::default(),
            lease_writes: Outcome::ALL.map(|outcome| writes.get_or_create(&Write { outcome }).clone()),
            slow_checks: Counter::default(),
            slow_refused: Counter::default(),
            slow_depth: Gauge::default(),
            activity: Writes::register(registry),
        };
        registry.register_collector(Box::new(Latencies(metrics.latency.clone())));
        registry.register_collector(Box::new(Events(metrics.events.clone())));
        registry.register("keywright_argon2_checks", "Checks of an argon2id record", metrics.slow_checks.clone());
        registry.register(
            "keywright_argon2_refused",
            "Checks of an argon2id record refused because too many were waiting",
            metrics.slow_refused.clone(),
        );
        registry.register(
            "keywright_argon2_depth",
            "Checks of an argon2id record that run or wait for their turn",
            metrics.slow_depth.clone(),
        );
        metrics
    }

    /// Counts one answer.
    pub fn count(&self, code: Code, transport: Transport) {
        self.answers[transport as usize][code as usize].inc();
    }

    /// Notes how long it took from an event to the answers that follow it.
    pub fn applied(&self, time: Duration) {
        self.events.observe(time);
    }

    /// Counts one write of the Lease.
    pub fn wrote_lease(&self, outcome: Outcome) {
        self.lease_writes[outcome as usize].inc();
    }

    /// Notes how long one answer took.
    pub fn took(&self, time: Duration, transport: Transport) {
        self.latency[transport as usize].observe(time);
    }
}

/// Buckets end at 1, 2, 4, … microseconds, the last but one after 8 seconds.
const BUCKETS: usize = 25;

/// A histogram without a lock; that of the metrics library has one, which every call would take.
#[derive(Default, Debug)]
struct Latency {
    buckets: [AtomicU64; BUCKETS],
    nanoseconds: AtomicU64,
}

impl Latency {
    fn observe(&self, time: Duration) {
        let nanoseconds = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let microseconds = nanoseconds.div_ceil(1000);
        // 1 is in the first bucket, 2 in the second, 3 and 4 in the third.
        let bucket = (u64::BITS - microseconds.saturating_sub(1).leading_zeros()) as usize;
        self.buckets[bucket.min(BUCKETS - 1)].fetch_add(1, Ordering::Relaxed);
        self.nanoseconds.fetch_add(nanoseconds, Ordering::Relaxed);
    }

    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), std::fmt::Error> {
        let end = |bucket: usize| if bucket == BUCKETS - 1 { f64::INFINITY } else { f64::from(1u32 << bucket) / 1e6 };
        let buckets: Vec<(f64, u64)> =
            self.buckets.iter().enumerate().map(|(at, count)| (end(at), count.load(Ordering::Relaxed))).collect();
        let sum = Duration::from_nanos(self.nanoseconds.load(Ordering::Relaxed)).as_secs_f64();
        encoder.encode_histogram::<NoLabelSet>(sum, buckets.iter().map(|(_, count)| count).sum(), &buckets, None)
    }
}

/// The histograms of all transports, read when scraped.
#[derive(Debug)]
struct Latencies(Arc<[Latency; 3]>);

impl Collector for Latencies {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let help = "How long answers took, from the head of the question to the answer";
        let mut metric = encoder.encode_descriptor(
            "keywright_verify_duration",
            help,
            Some(&Unit::Seconds),
            MetricType::Histogram,
        )?;
        for (transport, latency) in Transport::ALL.iter().zip(&*self.0) {
            latency.encode(metric.encode_family(&[("transport", transport.as_str())])?)?;
        }
        Ok(())
    }
}

/// The histogram of events, read when scraped.
#[derive(Debug)]
struct Events(Arc<Latency>);

impl Collector for Events {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let help = "How long it took from the receipt of an event to its effect on answers";
        let unit = Some(&Unit::Seconds);
        self.0.encode(encoder.encode_descriptor("keywright_event_applied", help, unit, MetricType::Histogram)?)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn each_time_falls_into_the_first_bucket_that_it_does_not_exceed() {
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry);
        for nanoseconds in [0, 1000, 1001, 4_000_000, 60_000_000_000] {
            metrics.took(Duration::from_nanos(nanoseconds), Transport::grpc);
        }
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        let line = |end: &str| {
            let head = format!("keywright_verify_duration_seconds_bucket{{le=\"{end}\",transport=\"grpc\"}} ");
            text.lines()
                .find_map(|line| line.strip_prefix(&head))
                .unwrap_or_else(|| panic!("{head} in {text}"))
                .to_owned()
        };
        assert_eq!(line("0.000001"), "2");
        assert_eq!(line("0.000002"), "3");
        assert_eq!(line("0.002048"), "3");
        assert_eq!(line("0.004096"), "4");
        assert_eq!(line("8.388608"), "4");
        assert_eq!(line("+Inf"), "5");
        assert!(text.contains("keywright_verify_duration_seconds_count{transport=\"grpc\"} 5"), "{text}");
        assert!(text.contains("keywright_verify_duration_seconds_count{transport=\"auth\"} 0"), "{text}");
    }
}
