//! The plaintext: made once, shown to nobody by accident.

use rand::TryRng;
use rand::rngs::SysRng;
use thiserror::Error;
use zeroize::{Zeroize, Zeroizing};

use super::{CRC_LEN, KeyId, SECRET_LEN, base62, is_key_prefix, parse, presented::Parsed};

/// A whole key. It has no `Debug`, no `Display` and no `Serialize`; the text is reached by [`Plaintext::expose`]
/// alone, and wiped from memory when dropped.
pub struct Plaintext(Zeroizing<String>);

/// Why no key was minted.
#[derive(Debug, Error)]
pub enum MintError {
    /// The operating system gave no random numbers.
    #[error("the operating system gave no random numbers: {0}")]
    Random(#[from] rand::rngs::SysError),
    /// The prefix has another form.
    #[error("`{0}` is no key prefix: use 2 to 16 of a-z and 0-9, beginning with a letter")]
    Prefix(String),
}

impl Plaintext {
    /// Mints a key from the operating system's random numbers.
    pub fn mint(prefix: &str) -> Result<Self, MintError> {
        if !is_key_prefix(prefix.as_bytes()) {
            return Err(MintError::Prefix(prefix.to_owned()));
        }
        let id = KeyId::from_bits(SysRng.try_next_u64()?);
        let mut random = Zeroizing::new([0; 32]);
        SysRng.try_fill_bytes(&mut *random)?;
        Ok(Self::assemble(prefix, id, &random))
    }

    fn assemble(prefix: &str, id: KeyId, random: &[u8; 32]) -> Self {
        let mut secret = Zeroizing::new([0; SECRET_LEN]);
        base62::encode_256(random, &mut secret);
        // The whole length at once: a string that grows leaves copies behind.
        let mut text = Zeroizing::new(String::with_capacity(prefix.len() + KeyId::LEN + SECRET_LEN + CRC_LEN + 2));
        text.push_str(prefix);
        text.push('_');
        text.extend(id.text().iter().map(|&b| char::from(b)));
        text.push('_');
        text.extend(secret.iter().map(|&b| char::from(b)));
        let mut crc = [0; CRC_LEN];
        base62::encode_u32(crc32fast::hash(text.as_bytes()), &mut crc);
        text.extend(crc.iter().map(|&b| char::from(b)));
        Self(text)
    }

    /// Takes a text that was a plaintext before, as when a sealed one is opened. `None` when it is none.
    pub fn from_bytes(bytes: Vec<u8>) -> Option<Self> {
        let text = match String::from_utf8(bytes) {
            Ok(text) => Zeroizing::new(text),
            Err(error) => {
                error.into_bytes().zeroize();
                return None;
            }
        };
        matches!(parse(text.as_bytes()), Parsed::Native(_)).then_some(Self(text))
    }

    /// The part that is secret: what follows the public id. Whoever calls this answers for where it goes.
    pub fn secret(&self) -> &[u8] {
        self.0.rsplit_once('_').map_or(self.0.as_bytes(), |(_, secret)| secret.as_bytes())
    }

    /// The text itself. Whoever calls this answers for where it goes.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_wire_format_is_locked() {
        let key = Plaintext::assemble("kw", KeyId::parse(b"7hx3k9m2pq4d").unwrap(), &[7; 32]);
        assert_eq!(key.expose(), "kw_7hx3k9m2pq4d_1fJjkkpe9PiTw9KSulA8Ghct30vZz4HpdQ5c5b9cPF10etTSy");
    }

    #[test]
    fn two_mintings_share_nothing_but_the_prefix() {
        let (one, two) = (Plaintext::mint("kw").unwrap(), Plaintext::mint("kw").unwrap());
        assert_ne!(one.expose()[3..15], two.expose()[3..15]);
        assert_ne!(one.expose()[16..], two.expose()[16..]);
    }

    #[test]
    fn a_bad_prefix_mints_nothing() {
        for prefix in ["", "k", "Kw", "1k", "k_w", "abcdefghijklmnopq"] {
            assert!(matches!(Plaintext::mint(prefix), Err(MintError::Prefix(_))), "{prefix}");
        }
    }

    proptest! {
        #[test]
        fn every_minted_key_parses_to_its_parts(prefix in "[a-z][a-z0-9]{1,15}", bits: u64, random: [u8; 32]) {
            let id = KeyId::from_bits(bits);
            let key = Plaintext::assemble(&prefix, id, &random);
            let Parsed::Native(presented) = parse(key.expose().as_bytes()) else { panic!("not native") };
            prop_assert_eq!(presented.id(), id);
            prop_assert!(Plaintext::from_bytes(key.expose().as_bytes().to_vec()).is_some());
        }

        #[test]
        fn one_wrong_character_is_noticed_without_a_look_up(at in 0usize..65, with in "[0-9A-Za-z]") {
            let key = Plaintext::assemble("kw", KeyId::from_bits(42), &[9; 32]);
            let mut text = key.expose().to_owned();
            prop_assume!(&text[at..=at] != with.as_str());
            text.replace_range(at..=at, &with);
            prop_assert!(!matches!(parse(text.as_bytes()), Parsed::Native(_)));
        }
    }
}
