//! How keys are used: counted in memory, call by call, and written into `status.activity` now and then.
//!
//! [`usage`] counts without a lock; [`ledger`] knows what is to be written and what has arrived, [`turns`] in which order; [`fold`] adds to what other
//! verifiers have said; [`flush`] is the edge that writes.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::header::USER_AGENT;
use jiff::Timestamp;

use super::call::Call;
use super::code::Code;
use super::fence::Moment;
use super::freshness::now;
use super::live::Live;
use crate::key::KeyId;

pub mod flush;
pub mod fold;
pub mod ledger;
mod turns;
pub mod usage;

use ledger::Ledger;
use usage::{Seconds, Source, Usage, hash_of};

/// The longest name of a product that is kept, in bytes.
const LONGEST_PRODUCT: usize = 64;
/// The most names that are told apart in one process; clients can say what they like.
const MOST_NAMES: usize = 4096;
/// What the others are called.
const OTHERS: &str = "(others)";

/// What is noted of who calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Sources {
    /// Nothing
    None,
    /// The product in the User-Agent, such as curl/8.5.0
    #[default]
    Products,
    /// The product, and the client's network (/24 or /48), which is personal data
    Networks,
}

/// What this verifier has counted.
#[derive(Default)]
pub struct Activity {
    ledger: Mutex<Ledger>,
    noted: Sources,
    /// The names of products and networks, by their hashes.
    names: Mutex<HashMap<u32, Box<str>>>,
}

/// Who calls.
pub struct Caller<'c, 'r> {
    call: &'c Call<'r>,
    /// The product in its `User-Agent`, with its hash.
    product: Option<(u32, &'r [u8])>,
}

impl Activity {
    /// Nothing yet.
    pub fn new(noted: Sources) -> Self {
        Self { noted, ..Self::default() }
    }

    /// Who calls. No value is needed to tell, so it is told while one is waited for.
    pub fn caller<'c, 'r>(&self, call: &'c Call<'r>) -> Caller<'c, 'r> {
        let agent = if self.noted >= Sources::Products { (call.header)(&USER_AGENT) } else { None };
        let product = agent.map(product).filter(|product| !product.is_empty());
        Caller { call, product: product.map(|product| (hash_of(product), product)) }
    }

    /// Counts a call with a value that exists. `is_holder` when its secret was right: only then is it noted who calls. What
    /// it is counted in comes back when the value did not know it, for the index to remember.
    pub fn count(
        &self,
        live: &Live,
        id: KeyId,
        code: Code,
        is_holder: bool,
        at: Timestamp,
        caller: &Caller<'_, '_>,
    ) -> Option<Arc<Usage>> {
        let made = live.usage.is_none().then(|| self.ledger().usage(id, live.subject()));
        let usage = live.usage.as_ref().or(made.as_ref())?;
        let seconds = Seconds::try_from(at.as_second()).unwrap_or_default();
        if is_holder {
            self.note(usage, seconds, caller);
        }
        if let Some(rank) = usage.count(code, seconds) {
            self.ledger().touch(id, live.subject(), usage, rank, now());
        }
        made
    }

    fn note(&self, usage: &Usage, seconds: Seconds, caller: &Caller<'_, '_>) {
        if let Some((hash, product)) = caller.product {
            self.saw(usage, Source::Product, hash, seconds, || clean(product));
        }
        if self.noted == Sources::Networks
            && let Some((bytes, length)) = (caller.call.client)().map(network)
        {
            let hash = hash_of(&bytes[..length / 8]);
            self.saw(usage, Source::Network, hash, seconds, || name_of(bytes, length));
        }
    }

    fn saw(&self, usage: &Usage, source: Source, hash: u32, seconds: Seconds, name: impl FnOnce() -> String) {
        if !usage.again(source, hash, seconds) {
            usage.note(source, self.name(hash, name), seconds);
        }
    }

    /// Remembers a name; the hash that it is known by.
    fn name(&self, hash: u32, name: impl FnOnce() -> String) -> u32 {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        if names.len() < MOST_NAMES || names.contains_key(&hash) {
            names.entry(hash).or_insert_with(|| name().into());
            return hash;
        }
        let others = hash_of(OTHERS.as_bytes());
        names.entry(others).or_insert_with(|| OTHERS.into());
        others
    }

    fn named(&self, hash: u32) -> Option<String> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner).get(&hash).map(ToString::to_string)
    }

    /// How many keys wait to be written, and since when the one that waits for longest.
    pub fn waiting(&self) -> (usize, Option<Moment>) {
        self.ledger().waiting()
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        // A panic in between leaves at worst a key that nobody writes until its next call.
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The first product of a `User-Agent`, such as `curl/8.5.0`.
fn product(agent: &[u8]) -> &[u8] {
    let end = agent.iter().take(LONGEST_PRODUCT).position(|&byte| byte == b' ');
    &agent[..end.unwrap_or(agent.len().min(LONGEST_PRODUCT))]
}

/// Letters and digits in a row that a product may have. A client may send its key as its name, and status is for those who may
/// not read keys.
const LONGEST_RUN: usize = 20;

/// What may stand in a status: letters, digits and signs, and nothing that is as long as the secret part of a key.
fn clean(product: &[u8]) -> String {
    let text: String =
        product.iter().map(|&byte| if byte.is_ascii_graphic() { char::from(byte) } else { '?' }).collect();
    let is_long = |run: &str| run.len() > LONGEST_RUN;
    if text.split(|c: char| !c.is_ascii_alphanumeric()).any(is_long) { "(hidden)".to_owned() } else { text }
}

/// The first bytes of an address that name its network, and how many bits of them count: 24, or 48 of IPv6.
fn network(client: IpAddr) -> ([u8; 6], usize) {
    let mut bytes = [0; 6];
    match client.to_canonical() {
        IpAddr::V4(client) => {
            bytes[..3].copy_from_slice(&client.octets()[..3]);
            (bytes, 24)
        }
        IpAddr::V6(client) => {
            bytes.copy_from_slice(&client.octets()[..6]);
            (bytes, 48)
        }
    }
}

fn name_of(bytes: [u8; 6], length: usize) -> String {
    let [a, b, c, ..] = bytes;
    if length == 24 {
        return format!("{}/24", Ipv4Addr::new(a, b, c, 0));
    }
    let mut octets = [0; 16];
    octets[..6].copy_from_slice(&bytes);
    format!("{}/48", Ipv6Addr::from(octets))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn of_an_address_only_its_network_is_kept() {
        for (client, expected) in [
            ("203.0.113.77", "203.0.113.0/24"),
            ("::ffff:203.0.113.77", "203.0.113.0/24"),
            ("2001:db8:aaaa:bbbb::1", "2001:db8:aaaa::/48"),
        ] {
            let (bytes, length) = network(client.parse().unwrap());
            assert_eq!(name_of(bytes, length), expected);
        }
    }

    #[test]
    fn a_product_is_the_first_word_cut_off_and_cleaned() {
        for (agent, expected) in [
            (&b"curl/8.5.0"[..], "curl/8.5.0"),
            (b"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36", "Mozilla/5.0"),
            (b"", ""),
            (b" leading", ""),
            (b"kw_7hx3k9m2pq4d_1fJjkkpe9PiTw9KSulA8Ghct30vZz4HpdQ5c5b9cPF10etTSy", "(hidden)"),
            (b"Bearer/kw_7hx3k9m2pq4d_1fJjkkpe9PiTw9KSulA8Ghct30vZz4HpdQ5c5b9cPF10etTSy", "(hidden)"),
            (b"1fJjkkpe9PiTw9KSulA8Ghct30vZz4HpdQ5c5b9cPF10etTSy", "(hidden)"),
            (b"a12345678901234567890/1", "(hidden)"),
            (b"a1234567890123456789/1", "a1234567890123456789/1"),
            (b"a\x1b[31m\xff", "a?[31m?"),
            (&[b'.'; 100], &".".repeat(64)),
        ] {
            assert_eq!(clean(product(agent)), expected);
        }
    }
}
