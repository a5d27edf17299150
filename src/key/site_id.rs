//! The Site ID: an account's public key. It names the account, and opens no data.

use std::fmt;

/// Letters and digits that are not taken for each other.
const DIGITS: &[u8; 31] = b"ABCDEFGHJKMNPQRSTUVWXYZ23456789";

/// 6 characters of A-Z and 2-9. Safe to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SiteId([u8; SiteId::LEN]);

impl SiteId {
    /// Its length in characters.
    pub const LEN: usize = 6;

    /// Reads exactly 6 characters.
    pub fn parse(text: &[u8]) -> Option<Self> {
        <[u8; Self::LEN]>::try_from(text).ok().filter(|id| id.iter().all(|digit| DIGITS.contains(digit))).map(Self)
    }

    /// The same as a number.
    pub fn bits(self) -> u64 {
        self.0.iter().fold(0, |bits, &digit| bits << 8 | u64::from(digit))
    }

    /// Its characters.
    pub fn as_str(&self) -> &str {
        // It is made of ASCII only.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Display for SiteId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The ids that an account may have, in the order in which they are tried: the first that no other account has reserved
/// is its own. They follow from its name, so that a crash, a second operator or a re-creation comes to the same one.
pub fn site_ids(namespace: &str, name: &str) -> impl Iterator<Item = SiteId> {
    let account = format!("{namespace}/{name}");
    (0u32..).map(move |attempt| {
        let hash = blake3::Hasher::new_derive_key("keywright.dev site id v1")
            .update(account.as_bytes())
            .update(&attempt.to_le_bytes())
            .finalize();
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&hash.as_bytes()[..8]);
        let mut rest = u64::from_le_bytes(bytes);
        SiteId(std::array::from_fn(|_| {
            let digit = DIGITS[usize::try_from(rest % 31).unwrap_or_default()];
            rest /= 31;
            digit
        }))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_has_the_same_ids_in_the_same_order_for_ever() {
        let first: Vec<String> = site_ids("shop", "acme").take(3).map(|id| id.to_string()).collect();
        assert_eq!(first, ["5H93YM", "EKT7F7", "BGDZZP"]);
        assert_ne!(site_ids("shop", "globex").next(), site_ids("shop", "acme").next());
    }

    #[test]
    fn ids_hold_nothing_that_is_taken_for_something_else() {
        for id in site_ids("shop", "acme").take(1000) {
            assert_eq!(SiteId::parse(id.as_str().as_bytes()), Some(id));
            assert!(id.as_str().chars().all(|c| matches!(c, 'A'..='Z' | '2'..='9') && !"ILO".contains(c)), "{id}");
        }
        for text in ["5H93Y", "5H93YMX", "5h93ym", "5H93YI", "5H93Y1"] {
            assert_eq!(SiteId::parse(text.as_bytes()), None, "{text}");
        }
    }
}
