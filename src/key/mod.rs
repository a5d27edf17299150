//! What a key is: `<prefix>_<id>_<secret><crc>`, and the record that remains of it. No client, no I/O.

mod base62;
mod credential;
mod entry;
mod hash;
mod id;
mod plaintext;
mod presented;
mod seal;
mod site_id;
mod tag;

pub use credential::{Credential, CredentialEnd, Limits, Minting, revoked_until};
pub use entry::{Cloned, Delivery, Ended, Entry, EntryError, MOST_RETIRING, Owner};
pub use hash::{HashError, Hasher, verify};
pub use id::KeyId;
pub use plaintext::{MintError, Plaintext};
pub use presented::{Parsed, Presented, is_key_prefix, parse};
pub use seal::{SealError, Sealed, SealingKey};
pub use site_id::{SiteId, site_ids};
pub use tag::{Pepper, PepperError, Tag};

/// The secret of a key, in characters of base62: 43 carry 256 bits.
pub const SECRET_LEN: usize = 43;
/// The checksum of a key, in characters of base62.
const CRC_LEN: usize = 6;
/// The prefix of a key: 2 to 16 characters.
const MAX_PREFIX_LEN: usize = 16;
