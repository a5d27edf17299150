//! An index with as many keys as one likes, without a cluster and without 20 ms of argon2id for each.

#![allow(dead_code, clippy::unwrap_used, missing_docs)]

use std::collections::BTreeMap;

use jiff::Timestamp;
use keywright::access::{AccessLevel, Grant};
use keywright::key::{Credential, Entry, Owner, Parsed, Pepper, Plaintext, Presented, parse};
use keywright::verifier::index::Index;
use keywright::verifier::subject::{Ceiling, Key};

/// How many of the keys are asked for: enough to leave every cache when the index is large.
const SAMPLE: usize = 50_000;

pub struct Filled {
    pub index: Index,
    /// Keys that are in the index, in an order that has nothing to do with how it lies in memory.
    pub known: Vec<String>,
}

pub fn presented(text: &str) -> Presented<'_> {
    match parse(text.as_bytes()) {
        Parsed::Native(presented) => presented,
        Parsed::Malformed | Parsed::Foreign => unreachable!("a minted key"),
    }
}

/// As many fresh keys as asked for.
pub fn minted(count: usize) -> Vec<String> {
    (0..count).map(|_| Plaintext::mint("kw").unwrap().expose().to_owned()).collect()
}

/// An index with `size` keys of one account, and a sample of them.
pub fn filled(size: usize) -> Filled {
    filled_with(size, SAMPLE)
}

/// The same with at most so many keys in the sample.
pub fn filled_with(size: usize, sample: usize) -> Filled {
    let (every, mut known) = (size.div_ceil(sample), Vec::new());
    let index = filled_for(size, |n, key| {
        if n % every == 0 {
            known.push(key.to_owned());
        }
    });
    Filled { index, known }
}

/// An index with `size` keys of one account, each shown once.
pub fn filled_for(size: usize, mut show: impl FnMut(usize, &str)) -> Index {
    let pepper = Pepper::generate(Timestamp::now()).unwrap();
    let grant = Grant::new::<&str>(AccessLevel::Full, &[]).unwrap();
    let index = Index::default();
    // Before the entries, as the verifier does: they are kept smaller where it is known.
    index.set_pepper(Some(pepper));
    index.set_account(
        "shop",
        "acme",
        Some(Ceiling { grant: grant.clone(), disabled: false, max_lifetime: None, metadata: BTreeMap::new() }),
    );
    for n in 0..size {
        let plaintext = Plaintext::mint("kw").unwrap();
        let uid = format!("00000000-0000-0000-0000-{n:012}");
        let name = format!("key-{n}");
        let owner = Owner { namespace: "shop".to_owned(), name: name.clone(), uid: uid.clone() };
        let credential = Credential {
            id: presented(plaintext.expose()).id(),
            prefix: "kw".to_owned(),
            serial: 1,
            revision: 0,
            issued_at: Timestamp::UNIX_EPOCH,
            delivered_at: Some(Timestamp::UNIX_EPOCH),
            retires_at: None,
            ended: None,
            hash: "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0c2FsdA$aGFzaGhhc2hoYXNoaGFzaGhhc2hoYXNoaGFzaGhhc2g"
                .to_owned(),
            tag: index.pepper().as_deref().unwrap().tag(&plaintext).unwrap(),
            sealed: None,
        };
        index.apply_entry(&uid, &Entry::first(owner, credential, None));
        index.apply_key(Key {
            uid: uid.as_str().into(),
            generation: 1,
            namespace: "shop".into(),
            name: name.into(),
            account: "acme".into(),
            display_name: None,
            grant: Some(grant.clone()),
            disabled: false,
            expires_at: None,
            revoke_before: None,
            metadata: BTreeMap::new(),
        });
        show(n, plaintext.expose());
    }
    index
}
