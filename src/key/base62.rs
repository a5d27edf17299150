//! Fixed-width base62, most significant character first.

const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Writes a 256-bit number, big-endian, into 43 characters: 62^43 exceeds 2^256, so that every number fits.
pub(super) fn encode_256(number: &[u8; 32], out: &mut [u8; super::SECRET_LEN]) {
    let mut rest = *number;
    for digit in out.iter_mut().rev() {
        let mut carry = 0u32;
        for byte in &mut rest {
            let value = carry << 8 | u32::from(*byte);
            // The carry is below 62, so the quotient is below 256.
            *byte = u8::try_from(value / 62).unwrap_or(u8::MAX);
            carry = value % 62;
        }
        *digit = DIGITS[carry as usize];
    }
    zeroize::Zeroize::zeroize(&mut rest);
}

/// Writes 32 bits into 6 characters.
pub(super) fn encode_u32(mut number: u32, out: &mut [u8; super::CRC_LEN]) {
    for digit in out.iter_mut().rev() {
        *digit = DIGITS[(number % 62) as usize];
        number /= 62;
    }
}

pub(super) fn is_digit(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_number_fits_and_zero_is_padded() {
        let mut out = [0; 43];
        encode_256(&[0xff; 32], &mut out);
        assert_eq!(&out[..4], b"yhjs", "2^256 - 1 in base62, computed elsewhere");
        encode_256(&[0; 32], &mut out);
        assert_eq!(out, [b'0'; 43]);
    }

    #[test]
    fn thirty_two_bits_take_six_characters() {
        let mut out = [0; 6];
        encode_u32(61, &mut out);
        assert_eq!(&out, b"00000z");
        encode_u32(u32::MAX, &mut out);
        assert_eq!(&out, b"4gfFC3");
    }
}
