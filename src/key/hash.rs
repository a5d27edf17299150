//! The record: argon2id as a PHC string. It outlives the pepper.

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use rand::TryRng;
use rand::rngs::SysRng;
use thiserror::Error;

use super::{Plaintext, Presented, presented::Parsed};

/// Makes records. The default parameters are OWASP's minimum: 19 MiB, 2 passes, 1 lane.
#[derive(Clone, Default)]
pub struct Hasher(Argon2<'static>);

/// Why a hash was not made or not checked.
#[derive(Debug, Error)]
pub enum HashError {
    /// Parameters outside of what argon2id allows.
    #[error("argon2id does not allow these parameters: {0}")]
    Params(argon2::Error),
    /// The operating system gave no random numbers.
    #[error("the operating system gave no random numbers: {0}")]
    Random(#[from] rand::rngs::SysError),
    /// Not one of our plaintexts.
    #[error("not a Keywright key")]
    NotAKey,
    /// A record that cannot be read, or a failure while hashing.
    #[error("argon2id: {0}")]
    Argon2(argon2::password_hash::Error),
    /// A record that is no PHC string.
    #[error("the record is no PHC string: {0}")]
    Phc(argon2::password_hash::phc::Error),
}

impl Hasher {
    /// With other parameters: memory in KiB, passes, lanes.
    pub fn new(memory_kib: u32, iterations: u32, parallelism: u32) -> Result<Self, HashError> {
        let params = Params::new(memory_kib, iterations, parallelism, None).map_err(HashError::Params)?;
        Ok(Self(Argon2::new(Algorithm::Argon2id, Version::V0x13, params)))
    }

    /// The PHC string of a new plaintext, with a fresh salt. Takes about 20 ms and 19 MiB.
    pub fn hash(&self, plaintext: &Plaintext) -> Result<String, HashError> {
        let Parsed::Native(presented) = super::parse(plaintext.expose().as_bytes()) else {
            return Err(HashError::NotAKey);
        };
        let mut salt = [0; 16];
        SysRng.try_fill_bytes(&mut salt)?;
        let hash: PasswordHash =
            self.0.hash_password_with_salt(presented.material(), &salt).map_err(HashError::Argon2)?;
        Ok(hash.to_string())
    }
}

/// Is this the key that the record was made of? Takes about 20 ms; the record names its own parameters.
pub fn verify(presented: &Presented<'_>, record: &str) -> Result<bool, HashError> {
    let hash = PasswordHash::new(record).map_err(HashError::Phc)?;
    match Argon2::default().verify_password(presented.material(), &hash) {
        Ok(()) => Ok(true),
        Err(argon2::password_hash::Error::PasswordInvalid) => Ok(false),
        Err(error) => Err(HashError::Argon2(error)),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn a_record_verifies_its_own_key_and_no_other() {
        let hasher = Hasher::new(64, 1, 1).unwrap();
        let (ours, other) = (Plaintext::mint("kw").unwrap(), Plaintext::mint("kw").unwrap());
        let record = hasher.hash(&ours).unwrap();
        for (key, expected) in [(&ours, true), (&other, false)] {
            let Parsed::Native(presented) = super::super::parse(key.expose().as_bytes()) else { panic!("not native") };
            assert_eq!(verify(&presented, &record).unwrap(), expected);
        }
    }

    #[test]
    fn the_default_is_the_owasp_minimum() {
        let record = Hasher::default().hash(&Plaintext::mint("kw").unwrap()).unwrap();
        assert!(record.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{record}");
    }
}
