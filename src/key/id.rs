//! The public id of a key: 12 characters of Crockford's base32 in lower case, which are 60 bits.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

const DIGITS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// Decodes a character; 0xff is none. Only the canonical spelling counts, so that an id has exactly one.
const VALUES: [u8; 256] = {
    let mut table = [0xff; 256];
    let mut i = 0u8;
    while i < 32 {
        table[DIGITS[i as usize] as usize] = i;
        i += 1;
    }
    table
};

/// The public id of a value: in logs, status and field selectors. It opens nothing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(u64);

impl KeyId {
    /// Its length in characters.
    pub const LEN: usize = 12;

    /// Takes the low 60 bits.
    pub fn from_bits(bits: u64) -> Self {
        Self(bits & ((1 << 60) - 1))
    }

    /// Reads exactly 12 characters.
    pub fn parse(text: &[u8]) -> Option<Self> {
        if text.len() != Self::LEN {
            return None;
        }
        let mut bits = 0u64;
        let mut bad = 0u8;
        for &byte in text {
            let value = VALUES[usize::from(byte)];
            bad |= value & 0x80;
            bits = bits << 5 | u64::from(value & 0x1f);
        }
        (bad == 0).then_some(Self(bits))
    }

    /// Its 60 bits.
    pub fn bits(self) -> u64 {
        self.0
    }

    /// Its characters.
    pub fn text(self) -> [u8; Self::LEN] {
        std::array::from_fn(|i| DIGITS[(self.0 >> (55 - 5 * i) & 0x1f) as usize])
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.text().iter().try_for_each(|&byte| fmt::Write::write_char(f, char::from(byte)))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for KeyId {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text.as_bytes()).ok_or("a key id has 12 characters of 0-9 and a-z without i, l, o and u")
    }
}

impl Serialize for KeyId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for KeyId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_back_and_has_one_spelling() {
        for bits in [0, 1, u64::MAX, 0x0123_4567_89ab_cdef] {
            let id = KeyId::from_bits(bits);
            assert_eq!(KeyId::parse(&id.text()), Some(id));
        }
        for text in ["7hx3k9m2pq4", "7hx3k9m2pq4d0", "7HX3K9M2PQ4D", "7hx3k9m2pq4l", "7hx3k9m2pq4\u{e9}"] {
            assert_eq!(KeyId::parse(text.as_bytes()), None, "{text}");
        }
    }
}
