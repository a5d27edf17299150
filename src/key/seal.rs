//! Sealing: a plaintext that is committed but not yet delivered stands in the entry encrypted, with a key that
//! only the operator can read.

use std::fmt;

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use data_encoding::BASE64;
use rand::TryRng;
use rand::rngs::SysRng;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;
use zeroize::Zeroizing;

use super::{KeyId, Plaintext};

const NONCE_LEN: usize = 24;

/// The key of the seals. The operator's alone.
pub struct SealingKey(Zeroizing<[u8; 32]>);

/// A plaintext that only the holder of the sealing key can read: a nonce, then XChaCha20-Poly1305.
#[derive(Clone, PartialEq, Eq)]
pub struct Sealed(Vec<u8>);

/// Why a seal was not made or not opened.
#[derive(Debug, Error)]
pub enum SealError {
    /// The sealing key has another length.
    #[error("the sealing key has {0} bytes, not 32")]
    Length(usize),
    /// The operating system gave no random numbers.
    #[error("the operating system gave no random numbers: {0}")]
    Random(#[from] rand::rngs::SysError),
    /// Encryption failed.
    #[error("sealing failed")]
    Seal,
    /// Another key made it, or it belongs to another ApiKey or value, or it was altered.
    #[error("the sealed value does not open: another sealing key made it, or it was altered")]
    Open,
}

impl SealingKey {
    /// A new one.
    pub fn generate() -> Result<Self, SealError> {
        let mut key = Zeroizing::new([0; 32]);
        SysRng.try_fill_bytes(&mut *key)?;
        Ok(Self(key))
    }

    /// One that was generated before.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, SealError> {
        let key = <[u8; 32]>::try_from(bytes).map_err(|_| SealError::Length(bytes.len()))?;
        Ok(Self(Zeroizing::new(key)))
    }

    /// Its bytes, to be stored.
    pub fn expose(&self) -> &[u8] {
        &self.0[..]
    }

    /// Seals a plaintext for one ApiKey and one value of it.
    pub fn seal(&self, plaintext: &Plaintext, owner_uid: &str, id: KeyId) -> Result<Sealed, SealError> {
        let mut nonce = [0; NONCE_LEN];
        SysRng.try_fill_bytes(&mut nonce)?;
        let payload = Payload { msg: plaintext.expose().as_bytes(), aad: &context(owner_uid, id) };
        let text = self.cipher().encrypt(&XNonce::from(nonce), payload).map_err(|_| SealError::Seal)?;
        Ok(Sealed([&nonce[..], &text].concat()))
    }

    /// Opens a seal that was made for the same ApiKey and value.
    pub fn open(&self, sealed: &Sealed, owner_uid: &str, id: KeyId) -> Result<Plaintext, SealError> {
        let (nonce, text) = sealed.0.split_at_checked(NONCE_LEN).ok_or(SealError::Open)?;
        let nonce = <[u8; NONCE_LEN]>::try_from(nonce).map_err(|_| SealError::Open)?;
        let payload = Payload { msg: text, aad: &context(owner_uid, id) };
        let bytes = self.cipher().decrypt(&XNonce::from(nonce), payload).map_err(|_| SealError::Open)?;
        Plaintext::from_bytes(bytes).ok_or(SealError::Open)
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new((&*self.0).into())
    }
}

/// What a seal is bound to, so that it cannot be moved to another entry.
fn context(owner_uid: &str, id: KeyId) -> Vec<u8> {
    format!("{owner_uid}/{id}").into_bytes()
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealed")
    }
}

impl Serialize for Sealed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&BASE64.encode_display(&self.0))
    }
}

impl<'de> Deserialize<'de> for Sealed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        BASE64.decode(text.as_bytes()).map(Sealed).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_seal_opens_only_with_its_key_for_its_owner_and_id() {
        let (key, other) = (SealingKey::generate().unwrap(), SealingKey::generate().unwrap());
        let plaintext = Plaintext::mint("kw").unwrap();
        let id = KeyId::from_bits(7);
        let sealed = key.seal(&plaintext, "uid-1", id).unwrap();
        assert_eq!(key.open(&sealed, "uid-1", id).unwrap().expose(), plaintext.expose());
        assert!(matches!(other.open(&sealed, "uid-1", id), Err(SealError::Open)));
        assert!(matches!(key.open(&sealed, "uid-2", id), Err(SealError::Open)));
        assert!(matches!(key.open(&sealed, "uid-1", KeyId::from_bits(8)), Err(SealError::Open)));
        assert!(matches!(key.open(&Sealed(vec![1, 2]), "uid-1", id), Err(SealError::Open)));
    }
}
