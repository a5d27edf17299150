//! What the verifier counts. Never by key: a metric's labels must not grow with the keys.

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

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

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    code: &'static str,
    transport: Transport,
}

/// The counters, each reached without a lock.
pub struct Metrics {
    /// `[transport][code]`
    answers: [[Counter; Code::ALL.len()]; 3],
    /// argon2id checks that ran.
    pub slow_checks: Counter,
    /// argon2id checks that were refused because the pool was full.
    pub slow_refused: Counter,
}

impl Metrics {
    /// Registers them; every code begins at zero, so that a rate can be taken from the first event on.
    pub fn register(registry: &mut Registry) -> Self {
        let family = Family::<Labels, Counter>::default();
        registry.register("keywright_verify", "Questions answered, by code and transport", family.clone());
        let of =
            |transport| Code::ALL.map(|code| family.get_or_create(&Labels { code: code.as_str(), transport }).clone());
        let metrics = Self {
            answers: [of(Transport::auth), of(Transport::grpc), of(Transport::verify)],
            slow_checks: Counter::default(),
            slow_refused: Counter::default(),
        };
        registry.register("keywright_argon2_checks", "Checks of an argon2id record", metrics.slow_checks.clone());
        registry.register(
            "keywright_argon2_refused",
            "Checks of an argon2id record refused because too many were waiting",
            metrics.slow_refused.clone(),
        );
        metrics
    }

    /// Counts one answer.
    pub fn count(&self, code: Code, transport: Transport) {
        self.answers[transport as usize][code as usize].inc();
    }
}
