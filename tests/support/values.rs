//! Values, peppers and questions for tests of what is pure: no cluster, no argon2id.

use std::sync::LazyLock;

use jiff::Timestamp;
use keywright::access::{AccessLevel, Grant};
use keywright::key::{Credential, Parsed, Pepper, Plaintext, Presented, parse};
use keywright::verifier::question::Question;

static PEPPER: LazyLock<Vec<(String, Vec<u8>)>> = LazyLock::new(|| {
    let pepper = Pepper::generate(Timestamp::UNIX_EPOCH).unwrap();
    pepper.data().map(|(name, bytes)| (name, bytes.to_vec())).collect()
});

/// The same one each time.
pub fn pepper() -> Pepper {
    Pepper::from_data(PEPPER.iter().map(|(name, bytes)| (name.as_str(), &bytes[..]))).unwrap()
}

pub fn mint() -> String {
    Plaintext::mint("kw").unwrap().expose().to_owned()
}

pub fn presented(text: &str) -> Presented<'_> {
    match parse(text.as_bytes()) {
        Parsed::Native(presented) => presented,
        Parsed::Malformed | Parsed::Foreign => panic!("a minted key"),
    }
}

/// In the place of an argon2id record, which would take its time: another one for each value.
pub fn record_of(text: &str) -> String {
    format!("the record of {}", presented(text).id())
}

/// A value as an entry records it.
pub fn credential(text: &str, serial: u64, issued_at: Timestamp) -> Credential {
    Credential {
        id: presented(text).id(),
        prefix: "kw".into(),
        serial,
        revision: 0,
        issued_at,
        delivered_at: None,
        retires_at: None,
        ended: None,
        hash: record_of(text),
        tag: pepper().tag_presented(&presented(text)).unwrap(),
        sealed: None,
    }
}

pub fn full() -> Grant {
    Grant::new::<&str>(AccessLevel::Full, &[]).unwrap()
}

pub fn read_only() -> Grant {
    Grant::new::<&str>(AccessLevel::ReadOnly, &[]).unwrap()
}

pub fn route(query: &str) -> Question {
    Question::from_query(query, || None).unwrap()
}
