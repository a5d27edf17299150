//! `keywright operator`

use std::net::SocketAddr;
use std::time::Duration;

use clap::builder::BoolishValueParser;

use super::duration;
use crate::api::{Namespaces, OwnNamespaces, names, namespace_name, watched_namespace};
use crate::key::Hasher;
use crate::operator::{self, Config};

/// Turn ApiKeys into entries and Secrets.
#[derive(clap::Args)]
pub(super) struct Args {
    /// Where probes and Prometheus ask /livez, /readyz and /metrics
    #[arg(long, env = "KEYWRIGHT_ADMIN_LISTEN", default_value = "127.0.0.1:7073")]
    admin_listen: SocketAddr,

    /// Namespace of operator, verifier and the sealing key
    #[arg(long, env = "KEYWRIGHT_SYSTEM_NAMESPACE", value_name = "NAME", default_value = names::SYSTEM_NAMESPACE, value_parser = namespace_name)]
    system_namespace: String,

    /// Namespace of entries, the pepper and the verifiers' Leases
    #[arg(long, env = "KEYWRIGHT_ENTRIES_NAMESPACE", value_name = "NAME", default_value = names::ENTRIES_NAMESPACE, value_parser = namespace_name)]
    entries_namespace: String,

    /// Act only while holding the Lease keywright-operator in --system-namespace, so that of several operators one acts
    /// and the others stand by. Needed with more than one replica
    #[arg(long, env = "KEYWRIGHT_LEADER_ELECTION", value_parser = BoolishValueParser::new())]
    leader_election: bool,

    /// The namespaces whose keys are looked after, such as shop,billing; all, if it is left out. Entries of keys elsewhere are
    /// left alone
    #[arg(long, env = "KEYWRIGHT_WATCH_NAMESPACES", value_name = "NAMES", value_delimiter = ',', value_parser = watched_namespace)]
    watch_namespaces: Vec<String>,

    /// Most keys that are reconciled at once; one more slot is reserved for proofs of enforcement
    #[arg(long, env = "KEYWRIGHT_CONCURRENCY", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..))]
    concurrency: u16,

    /// Memory of argon2id for new records, in KiB
    #[arg(long, env = "KEYWRIGHT_ARGON2_MEMORY", default_value_t = 19 * 1024, value_parser = clap::value_parser!(u32).range(8..))]
    argon2_memory: u32,

    /// Passes of argon2id for new records
    #[arg(long, env = "KEYWRIGHT_ARGON2_ITERATIONS", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..))]
    argon2_iterations: u32,

    /// Lanes of argon2id for new records
    #[arg(long, env = "KEYWRIGHT_ARGON2_PARALLELISM", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=255))]
    argon2_parallelism: u32,

    /// How often entries without an ApiKey are looked for
    #[arg(long, env = "KEYWRIGHT_ORPHAN_INTERVAL", default_value = "10m", value_parser = duration::parse_positive)]
    orphan_interval: Duration,

    /// How long an entry without an ApiKey is kept; it may be a restore in progress
    #[arg(long, env = "KEYWRIGHT_ORPHAN_GRACE", default_value = "24h", value_parser = duration::parse)]
    orphan_grace: Duration,

    /// How long before its end a value is warned of, by an Event, a condition and a metric
    #[arg(long, env = "KEYWRIGHT_EXPIRY_WARNING", default_value = "168h", value_parser = duration::parse)]
    expiry_warning: Duration,
}

impl Args {
    pub(super) async fn run(self) -> Result<(), super::Error> {
        let config = Config {
            admin: self.admin_listen,
            leader_election: self.leader_election,
            own: OwnNamespaces::new(self.system_namespace, self.entries_namespace)?,
            namespaces: Namespaces::named(self.watch_namespaces),
            concurrency: self.concurrency,
            hasher: Hasher::new(self.argon2_memory, self.argon2_iterations, self.argon2_parallelism)?,
            orphan_interval: self.orphan_interval,
            orphan_grace: self.orphan_grace,
            warn_before: self.expiry_warning,
        };
        Ok(operator::run(config).await?)
    }
}
