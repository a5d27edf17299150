//! The Site ID: an account's public key. It names the account, and opens no data.

/// Letters and digits that are not taken for each other.
const DIGITS: &[u8; 31] = b"ABCDEFGHJKMNPQRSTUVWXYZ23456789";
const LEN: u32 = 6;

/// The ids that an account may have, in the order in which they are tried: the first that no other account has reserved
/// is its own. They follow from its name, so that a crash, a second operator or a re-creation comes to the same one.
pub fn site_ids(namespace: &str, name: &str) -> impl Iterator<Item = String> {
    let account = format!("{namespace}/{name}");
    (0u32..).map(move |attempt| {
        let hash = blake3::Hasher::new_derive_key("keywright.dev site id v1")
            .update(account.as_bytes())
            .update(&attempt.to_le_bytes())
            .finalize();
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&hash.as_bytes()[..8]);
        let number = u64::from_le_bytes(bytes);
        let digit = |place| DIGITS[usize::try_from(number / 31u64.pow(place) % 31).unwrap_or_default()];
        (0..LEN).map(|place| char::from(digit(place))).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_has_the_same_ids_in_the_same_order_for_ever() {
        let first: Vec<String> = site_ids("shop", "acme").take(3).collect();
        assert_eq!(first, ["5H93YM", "EKT7F7", "BGDZZP"]);
        assert_ne!(site_ids("shop", "globex").next(), site_ids("shop", "acme").next());
    }

    #[test]
    fn ids_hold_nothing_that_is_taken_for_something_else() {
        for id in site_ids("shop", "acme").take(1000) {
            assert_eq!(id.len(), 6);
            assert!(id.chars().all(|c| matches!(c, 'A'..='Z' | '2'..='9') && !"ILO".contains(c)), "{id}");
        }
    }
}
