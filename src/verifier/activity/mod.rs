//! How keys are used: counted in memory, call by call, and written into `status.activity` now and then.
//!
//! [`usage`] counts without a lock; [`ledger`] knows whose turn it is and what has arrived; [`fold`] adds to what other
//! verifiers have said; [`flush`] is the edge that writes.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;

use super::call::Call;
use super::code::Code;
use super::freshness::{Moment, now};
use super::live::Live;
use crate::key::KeyId;

pub mod flush;
pub mod fold;
pub mod ledger;
pub mod usage;

use ledger::Ledger;
use usage::{Seconds, hash_of};

/// The longest name of a product that is kept, in bytes.
const LONGEST_PRODUCT: usize = 64;
/// The most products that are told apart in one process; clients can say what they like.
const MOST_PRODUCTS: usize = 4096;
/// What the others are called.
const OTHERS: &str = "(others)";

/// What this verifier has counted.
#[derive(Default)]
pub struct Activity {
    ledger: Mutex<Ledger>,
    /// The names of products, by their hashes.
    products: Mutex<HashMap<u32, Box<str>>>,
}

impl Activity {
    /// Counts a call with a value that exists. `is_holder` when its secret was right: only then is it told who calls.
    pub fn count(&self, live: &Live, id: KeyId, code: Code, is_holder: bool, at: Timestamp, call: &Call<'_>) {
        let usage = live.usage.get_or_init(|| self.ledger().usage(id, live.subject()));
        let seconds = Seconds::try_from(at.as_second()).unwrap_or_default();
        if is_holder && let Some(product) = (call.header)("user-agent").map(product) {
            let hash = hash_of(product);
            if !product.is_empty() && !usage.saw(hash, seconds) {
                usage.note(self.name(hash, product), seconds);
            }
        }
        if usage.count(code, seconds) {
            self.ledger().touch(usage.uid, now());
        }
    }

    /// Remembers the name of a product; the hash that it is known by.
    fn name(&self, hash: u32, product: &[u8]) -> u32 {
        let mut products = self.products.lock().unwrap_or_else(PoisonError::into_inner);
        if products.len() < MOST_PRODUCTS || products.contains_key(&hash) {
            products.entry(hash).or_insert_with(|| clean(product).into());
            return hash;
        }
        let others = hash_of(OTHERS.as_bytes());
        products.entry(others).or_insert_with(|| OTHERS.into());
        others
    }

    fn product_of(&self, hash: u32) -> Option<String> {
        self.products.lock().unwrap_or_else(PoisonError::into_inner).get(&hash).map(ToString::to_string)
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

/// What may stand in a status: letters, digits and signs.
fn clean(product: &[u8]) -> String {
    product.iter().map(|&byte| if byte.is_ascii_graphic() { char::from(byte) } else { '?' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_product_is_the_first_word_cut_off_and_cleaned() {
        for (agent, expected) in [
            (&b"curl/8.5.0"[..], "curl/8.5.0"),
            (b"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36", "Mozilla/5.0"),
            (b"", ""),
            (b" leading", ""),
            (b"a\x1b[31m\xff", "a?[31m?"),
            (&[b'a'; 100], &"a".repeat(64)),
        ] {
            assert_eq!(clean(product(agent)), expected);
        }
    }
}
