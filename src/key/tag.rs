//! The tag: keyed BLAKE3, which makes a check cost 0.1 µs instead of argon2id's 21 ms.
//!
//! With 256 random bits in the secret, a slow hash adds nothing against guessing. The tag's key, the pepper, is
//! the installation's; without it a stolen entry cannot even be tested against a list of suspected keys.
//!
//! A pepper's version is the Unix time in seconds of when it was made, which ends in 2106, so that the successor of a
//! lost pepper never bears its number: a tag whose version is there was made with that very pepper, and one whose version
//! is gone is known to be so.

use std::collections::BTreeMap;
use std::fmt;

use blake3::Hash;
use data_encoding::BASE64;
use jiff::Timestamp;
use rand::TryRng;
use rand::rngs::SysRng;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;
use zeroize::Zeroizing;

use super::{Plaintext, Presented, presented::Parsed};

/// The keys of the tags, by version; the newest makes new tags, older ones still check theirs.
pub struct Pepper {
    keys: BTreeMap<u32, Zeroizing<[u8; 32]>>,
}

/// A keyed hash of all of a key but its checksum, and which pepper it was made with.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Tag {
    version: u32,
    hash: Hash,
}

/// Why a pepper cannot be used.
#[derive(Debug, Error)]
pub enum PepperError {
    /// The Secret holds none.
    #[error("the pepper Secret holds no key; it needs one or more of <version>: <32 bytes>")]
    Empty,
    /// A name that is no version.
    #[error("`{0}` in the pepper Secret is no version: use the Unix time in seconds")]
    Version(String),
    /// A value of another length.
    #[error("version {0} in the pepper Secret has {1} bytes, not 32")]
    Length(u32, usize),
    /// The operating system gave no random numbers.
    #[error("the operating system gave no random numbers: {0}")]
    Random(#[from] rand::rngs::SysError),
}

impl Pepper {
    /// A new one.
    pub fn generate(now: Timestamp) -> Result<Self, PepperError> {
        let mut key = Zeroizing::new([0; 32]);
        SysRng.try_fill_bytes(&mut *key)?;
        let version = u32::try_from(now.as_second()).map_err(|_| PepperError::Version(now.to_string()))?;
        Ok(Self { keys: BTreeMap::from([(version, key)]) })
    }

    /// Reads the data of the pepper Secret: `<version>: <32 bytes>`.
    pub fn from_data<'a>(data: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Result<Self, PepperError> {
        let mut keys = BTreeMap::new();
        for (name, bytes) in data {
            let version = name.parse().map_err(|_| PepperError::Version(name.to_owned()))?;
            let key = <[u8; 32]>::try_from(bytes).map_err(|_| PepperError::Length(version, bytes.len()))?;
            keys.insert(version, Zeroizing::new(key));
        }
        if keys.is_empty() { Err(PepperError::Empty) } else { Ok(Self { keys }) }
    }

    /// As the data of the pepper Secret.
    pub fn data(&self) -> impl Iterator<Item = (String, &[u8])> {
        self.keys.iter().map(|(version, key)| (version.to_string(), &key[..]))
    }

    /// The versions that there are.
    pub fn versions(&self) -> impl Iterator<Item = u32> {
        self.keys.keys().copied()
    }

    /// Is the key there that this tag was made with?
    pub fn can_check(&self, tag: &Tag) -> bool {
        self.keys.contains_key(&tag.version)
    }

    /// The tag of a new plaintext, with the newest pepper. `None` when the plaintext is none of ours.
    pub fn tag(&self, plaintext: &Plaintext) -> Option<Tag> {
        match super::parse(plaintext.expose().as_bytes()) {
            Parsed::Native(presented) => self.tag_presented(&presented),
            Parsed::Malformed | Parsed::Foreign => None,
        }
    }

    /// The tag of a presented key, with the newest pepper.
    pub fn tag_presented(&self, presented: &Presented<'_>) -> Option<Tag> {
        let (&version, key) = self.keys.last_key_value()?;
        Some(Tag { version, hash: hash(key, presented) })
    }

    /// Does the presented key, which the newest pepper gives the tag `shown`, have this tag? In constant time. `None` when the
    /// pepper that made it is gone.
    pub fn check(&self, presented: &Presented<'_>, shown: &Tag, tag: &Tag) -> Option<bool> {
        let is_newest = shown.version == tag.version;
        let hash = if is_newest { shown.hash } else { hash(self.keys.get(&tag.version)?, presented) };
        // What the blake3 crate promises of two hashes: to compare them takes the same time wherever they differ.
        Some(hash == tag.hash)
    }
}

fn hash(key: &[u8; 32], presented: &Presented<'_>) -> Hash {
    blake3::keyed_hash(key, presented.material())
}

impl fmt::Debug for Pepper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pepper").field("versions", &self.keys.keys().collect::<Vec<_>>()).finish_non_exhaustive()
    }
}

impl fmt::Debug for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tag").field("version", &self.version).finish_non_exhaustive()
    }
}

/// `<version>:<base64>`
impl Serialize for Tag {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{}:{}", self.version, BASE64.encode_display(self.hash.as_bytes())))
    }
}

impl<'de> Deserialize<'de> for Tag {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        let read = |(version, hash): (&str, &str)| {
            let hash = <[u8; 32]>::try_from(BASE64.decode(hash.as_bytes()).ok()?).ok()?;
            Some(Tag { version: version.parse().ok()?, hash: hash.into() })
        };
        text.split_once(':')
            .and_then(read)
            .ok_or_else(|| serde::de::Error::custom("a tag is <version>:<base64 of 32 bytes>"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_a_time_in_seconds_and_what_is_none_is_named() {
        let read = |name| Pepper::from_data([(name, &[7; 32][..])]);
        assert!(read("4294967295").is_ok());
        for name in ["4294967296", "1767225600000", "-1", "v1", ""] {
            assert!(matches!(read(name), Err(PepperError::Version(named)) if named == name), "{name}");
        }
    }
}
