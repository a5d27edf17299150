//! resourceVersions, and lists of them as they stand on a verifier's Lease. Verifiers write them and operators read them, so
//! what is one's is the other's.

/// A resourceVersion, where they can be compared: on every API server that we know they are integers. One that is none proves
/// nothing.
pub fn comparable(version: &str) -> Option<u64> {
    let is_number = !version.is_empty() && version.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| version.parse().ok()).flatten()
}

/// As they are written.
pub fn listed(versions: &[u64]) -> String {
    versions.iter().map(u64::to_string).collect::<Vec<_>>().join(",")
}

/// As they are read: so many, or none.
pub fn versions<const N: usize>(text: &str) -> Option<[u64; N]> {
    text.split(',').map(comparable).collect::<Option<Vec<u64>>>()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_nothing_else_is() {
        assert_eq!(versions(&listed(&[7, 0, u64::MAX])), Some([7, 0, u64::MAX]));
        for strange in ["", "7", "7,5", "7,5,3,1", "7,5,", "7,5,x", "7,5,+3", "7,5,-3", "7, 5,3"] {
            assert_eq!(versions::<3>(strange), None, "{strange}");
        }
    }
}
