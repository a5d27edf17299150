//! What a caller presents, parsed without a copy and without a look-up.

use super::{CRC_LEN, KeyId, MAX_PREFIX_LEN, SECRET_LEN, base62};

/// A text of the right shape with the right checksum. It borrows the caller's bytes and cannot be printed.
#[derive(Clone, Copy)]
pub struct Presented<'a> {
    id: KeyId,
    text: &'a [u8],
}

impl<'a> Presented<'a> {
    /// The public id.
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// All of it, to be parsed again where the borrow cannot go.
    pub fn text(&self) -> &'a [u8] {
        self.text
    }

    /// `<prefix>_<id>_<secret>`, which hash and tag are made of, so that they fit one spelling of one key. With a
    /// prefix of up to 7 characters it is one block of BLAKE3.
    pub(super) fn material(&self) -> &'a [u8] {
        &self.text[..self.text.len() - CRC_LEN]
    }
}

/// What a presented text is.
pub enum Parsed<'a> {
    /// One of ours, as far as its form tells.
    Native(Presented<'a>),
    /// It begins like one of ours, but it is cut off, too long or mistyped.
    Malformed,
    /// Something else: a JWT, another vendor's token.
    Foreign,
}

/// 2 to 16 of a-z and 0-9, beginning with a letter.
pub fn is_key_prefix(text: &[u8]) -> bool {
    (2..=MAX_PREFIX_LEN).contains(&text.len())
        && text[0].is_ascii_lowercase()
        && text.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
}

/// Tells ours from others' by `<prefix>_<id>_` at the beginning, and right ones from mistyped ones by length,
/// alphabet and checksum.
pub fn parse(text: &[u8]) -> Parsed<'_> {
    let Some(prefix_len) = text.iter().take(MAX_PREFIX_LEN + 1).position(|&b| b == b'_') else {
        return Parsed::Foreign;
    };
    let (prefix, rest) = (&text[..prefix_len], &text[prefix_len + 1..]);
    if !is_key_prefix(prefix) || rest.get(KeyId::LEN) != Some(&b'_') {
        return Parsed::Foreign;
    }
    let Some(id) = KeyId::parse(&rest[..KeyId::LEN]) else { return Parsed::Foreign };
    let secret = &rest[KeyId::LEN + 1..];
    // Each is looked at, whatever those before it are, so that it is done for many at once.
    if secret.len() != SECRET_LEN + CRC_LEN || !secret.iter().fold(true, |are, &b| are & base62::is_digit(b)) {
        return Parsed::Malformed;
    }
    let (body, crc) = text.split_at(text.len() - CRC_LEN);
    let mut expected = [0; CRC_LEN];
    base62::encode_u32(crc32fast::hash(body), &mut expected);
    if crc != expected {
        return Parsed::Malformed;
    }
    Parsed::Native(Presented { id, text })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(text: &[u8]) -> &'static str {
        match parse(text) {
            Parsed::Native(_) => "native",
            Parsed::Malformed => "malformed",
            Parsed::Foreign => "foreign",
        }
    }

    #[test]
    fn tokens_of_others_are_foreign_and_broken_ones_of_ours_are_malformed() {
        let good = "kw_7hx3k9m2pq4d_1fJjkkpe9PiTw9KSulA8Ghct30vZz4HpdQ5c5b9cPF10etTSy";
        for (text, expected) in [
            (good, "native"),
            (&good[..64], "malformed"),
            (&format!("{good}0"), "malformed"),
            (&good.replace("1fJj", "1fJk"), "malformed"),
            (&good.replace("1fJj", "1f-j"), "malformed"),
            ("kw_7hx3k9m2pq4d_", "malformed"),
            ("", "foreign"),
            ("_", "foreign"),
            ("kw_", "foreign"),
            ("eyJhbGciOiJIUzI1NiJ9.e30.ZRrHA1JJJW8opsbCGfG_HACGpVUMN_a9IV7pAx_Zmeo", "foreign"),
            ("ghp_16C7e42F292c6912E7710c838347Ae178B4a", "foreign"),
            ("KW_7hx3k9m2pq4d_1fJj", "foreign"),
        ] {
            assert_eq!(kind(text.as_bytes()), expected, "{text}");
        }
        assert_eq!(kind(b"kw_7hx3k9m2pq4d_\xff\xfe"), "malformed");
        assert_eq!(kind(&[0xff; 9000]), "foreign");
    }
}
