//! All that a decision looks at, as plain data that can be changed one by one, and how the index is told of it.

use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::time::Duration;

use jiff::Timestamp;
use keywright::access::{AccessLevel, Grant};
use keywright::api::{Target, TargetKind};
use keywright::key::{Cloned, Entry, Owner};
use keywright::verifier::code::Code;
use keywright::verifier::decide::{Verdict, decide};
use keywright::verifier::index::{Index, View};
use keywright::verifier::subject::{Ceiling, Key};

use super::values::{credential, full, mint, pepper, presented, route};

/// The value that is asked about: the one before the newest.
pub static OLD: LazyLock<String> = LazyLock::new(mint);
/// The newest value of the same key.
pub static NEW: LazyLock<String> = LazyLock::new(mint);

pub const UID: &str = "uid-0";

#[derive(Clone, Debug)]
pub struct Facts {
    /// The Account is there.
    pub account: bool,
    pub account_suspended: bool,
    pub account_disabled: bool,
    pub ceiling: Grant,
    pub max_lifetime: Option<Duration>,
    pub suspended: bool,
    pub disabled: bool,
    pub expires_at: Option<Timestamp>,
    pub revoke_before: Option<Timestamp>,
    /// What the key's own spec says; `None` leaves it to what was cloned.
    pub own: Option<Grant>,
    pub cloned: Option<Cloned>,
    /// Of the value before the newest; the newest was issued a minute later.
    pub issued_at: Timestamp,
    pub retires_at: Option<Timestamp>,
    /// The route's question.
    pub scope: &'static str,
    /// The accounts whose keys the route accepts, as parameters.
    pub accounts: &'static str,
    pub account_metadata: &'static [(&'static str, &'static str)],
    pub key_metadata: &'static [(&'static str, &'static str)],
    pub now: Timestamp,
}

fn metadata(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// A time of the day that all of these tests play on.
pub fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + second).unwrap()
}

pub fn custom(scopes: &[&str]) -> Grant {
    Grant::new(AccessLevel::Custom, scopes).unwrap()
}

pub fn cloned(access_level: AccessLevel, scopes: &[&str]) -> Cloned {
    let scopes = scopes.iter().map(ToString::to_string).collect();
    Cloned { source: "source".into(), display_name: None, access_level, scopes }
}

impl Facts {
    /// Nothing speaks against the call.
    pub fn fine() -> Self {
        Self {
            account: true,
            account_suspended: false,
            account_disabled: false,
            ceiling: full(),
            max_lifetime: None,
            suspended: false,
            disabled: false,
            expires_at: None,
            revoke_before: None,
            own: Some(full()),
            cloned: None,
            issued_at: at(0),
            retires_at: None,
            scope: "orders:write",
            accounts: "",
            account_metadata: &[],
            key_metadata: &[],
            now: at(100),
        }
    }

    pub fn index(&self) -> Index {
        let index = Index::default();
        index.set_pepper(Some(pepper()));
        self.tell(&index);
        index
    }

    /// Tells an index that may know other facts already.
    pub fn tell(&self, index: &Index) {
        index.apply_entry(UID, &self.entry());
        index.apply_key(self.key());
        let ceiling = Ceiling {
            grant: self.ceiling.clone(),
            disabled: self.account_disabled,
            max_lifetime: self.max_lifetime,
            metadata: metadata(self.account_metadata),
        };
        index.set_account("shop", "acme", self.account.then_some(ceiling));
        for (uid, is_there, kind, name) in [
            ("s-0", self.suspended, TargetKind::ApiKey, "billing"),
            ("s-1", self.account_suspended, TargetKind::Account, "acme"),
        ] {
            if is_there {
                index.apply_suspension(uid.into(), "shop", &Target { kind, name: name.into() });
            } else {
                index.delete_suspension(uid.into());
            }
        }
    }

    pub fn key(&self) -> Key {
        Key {
            uid: UID.into(),
            generation: 1,
            namespace: "shop".into(),
            name: "billing".into(),
            account: "acme".into(),
            display_name: None,
            grant: self.own.clone(),
            disabled: self.disabled,
            expires_at: self.expires_at,
            revoke_before: self.revoke_before,
            metadata: metadata(self.key_metadata),
        }
    }

    pub fn entry(&self) -> Entry {
        let owner = Owner { namespace: "shop".into(), name: "billing".into(), uid: UID.into() };
        let newer = self.issued_at + Duration::from_mins(1);
        let mut entry = Entry::first(owner, credential(&OLD, 1, self.issued_at), self.cloned.clone())
            .rotated(credential(&NEW, 2, newer));
        entry.retiring[0].retires_at = self.retires_at;
        entry
    }

    pub fn ask<'v>(&self, view: &'v View<'_>) -> Verdict<'v> {
        decide(view, &route(&format!("scope={}{}", self.scope, self.accounts)), self.now)
    }

    /// What the value before the newest is told.
    pub fn code(&self) -> Code {
        self.code_of(&OLD)
    }

    pub fn code_of(&self, text: &str) -> Code {
        self.ask(&self.index().look_up(&presented(text))).code
    }
}
