//! What a verifier knows, damaged in as many ways as one likes, and what it may still let pass.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use jiff::Timestamp;
use keywright::access::{AccessLevel, Grant};
use keywright::api::{Target, TargetKind};
use keywright::key::{Credential, Entry, Hasher, Owner, Pepper, Plaintext, SiteId, site_ids};
use keywright::verifier::access_log::AccessLog;
use keywright::verifier::ext_authz::ExtAuthz;
use keywright::verifier::freshness::{Progress, WATCHES, now};
use keywright::verifier::http::{Http, Routes, routes};
use keywright::verifier::index::Index;
use keywright::verifier::metrics::Metrics;
use keywright::verifier::service::Service;
use keywright::verifier::subject::{Ceiling, Key};
use proptest::prelude::*;
use proptest::sample::subsequence;

use super::ask::{Ask, Shown, Transport};
use super::values::{credential, full, pepper, presented};

/// Longer than a case takes, shorter than the machine has run.
const MAX_STALENESS: Duration = Duration::from_mins(1);

const UID: &str = "uid-0";

/// A value with its argon2id record, made with little memory.
pub struct Value {
    pub text: String,
    record: String,
}

fn value() -> Value {
    let plaintext = Plaintext::mint("kw").unwrap();
    let record = Hasher::new(64, 1, 1).unwrap().hash(&plaintext).unwrap();
    Value { text: plaintext.expose().to_owned(), record }
}

/// The value that is being replaced.
pub static OLD: LazyLock<Value> = LazyLock::new(value);
/// The newest value of the same key.
pub static NEW: LazyLock<Value> = LazyLock::new(value);
/// A value that no key has.
pub static UNKNOWN: LazyLock<Value> = LazyLock::new(value);
/// Of the account.
pub static SITE: LazyLock<SiteId> = LazyLock::new(|| site_ids("shop", "acme").next().unwrap());

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Damage {
    NotReady,
    Stale,
    NoPepper,
    /// The tags' pepper is gone: argon2id decides.
    OtherPepper,
    TagOfAnother,
    EmptyRecord,
    GarbledRecord,
    RecordOfAnother,
    NoEntry,
    /// The entry says that it is another key's.
    ForeignOwner,
    NoKey,
    NoGrant,
    NoAccount,
    AccountDisabled,
    AccountSuspended,
    Disabled,
    Suspended,
    Expired,
    Revoked,
    /// The newer value has taken the older one's place.
    Retired,
    /// Metadata that no header can hold.
    Untellable,
}

use Damage::*;

const ALL: [Damage; 21] = [
    NotReady,
    Stale,
    NoPepper,
    OtherPepper,
    TagOfAnother,
    EmptyRecord,
    GarbledRecord,
    RecordOfAnother,
    NoEntry,
    ForeignOwner,
    NoKey,
    NoGrant,
    NoAccount,
    AccountDisabled,
    AccountSuspended,
    Disabled,
    Suspended,
    Expired,
    Revoked,
    Retired,
    Untellable,
];

#[derive(Clone, Debug)]
pub struct World(Vec<Damage>);

impl World {
    pub fn any() -> impl Strategy<Value = Self> {
        prop_oneof![
            2 => Just(Self::sound()),
            2 => Just(Self::proving()),
            1 => Self::argon2(),
            4 => subsequence(&ALL[..], 1..3).prop_map(Self),
        ]
    }

    /// Nothing is damaged.
    pub fn sound() -> Self {
        Self(Vec::new())
    }

    /// Every key must be proven by its record.
    pub fn proving() -> Self {
        Self(vec![OtherPepper])
    }

    /// The same, with a record that may be damaged.
    pub fn argon2() -> impl Strategy<Value = Self> {
        subsequence(&[EmptyRecord, GarbledRecord, RecordOfAnother, TagOfAnother, Untellable, Retired][..], 0..2)
            .prop_map(|more| Self([&[OtherPepper], &more[..]].concat()))
    }

    fn has(&self, damage: Damage) -> bool {
        self.0.contains(&damage)
    }

    fn has_any(&self, damages: &[Damage]) -> bool {
        damages.iter().any(|&damage| self.has(damage))
    }

    pub fn has_unreadable_record(&self) -> bool {
        self.has_any(&[EmptyRecord, GarbledRecord])
    }

    /// The tag of a known id cannot be compared.
    pub fn needs_proof(&self, shown: Shown) -> bool {
        let is_known = matches!(shown, Shown::Old | Shown::New | Shown::WrongSecret);
        let is_out_of_reach = self.has_any(&[NotReady, Stale, NoPepper, NoEntry, ForeignOwner, NoKey]);
        is_known && self.has(OtherPepper) && !is_out_of_reach
    }

    /// Nothing of what is known speaks against the call.
    pub fn passes(&self, ask: &Ask, transport: Transport) -> bool {
        let is_open = !self.has_any(&[NotReady, Stale, NoAccount, AccountDisabled, AccountSuspended]);
        let key_stands =
            !self.has_any(&[NoPepper, NoEntry, ForeignOwner, NoKey, NoGrant, Disabled, Suspended, Expired, Revoked]);
        let is_proven = if self.has(OtherPepper) {
            !self.has_any(&[EmptyRecord, GarbledRecord, RecordOfAnother])
        } else {
            !self.has(TagOfAnother)
        };
        // Programs are told in JSON, which holds everything.
        let can_be_told = transport == Transport::Verify || !self.has(Untellable);
        let by_key = key_stands && is_proven && can_be_told && ask.is_permitted();
        is_open
            && match ask.key {
                Shown::New => by_key,
                Shown::Old => by_key && !self.has(Retired),
                Shown::Site => transport != Transport::Verify && ask.is_public() && ask.is_for_acme(),
                _ => false,
            }
    }

    fn index(&self) -> Index {
        let index = Index::default();
        index.set_pepper(match self.has(OtherPepper) {
            _ if self.has(NoPepper) => None,
            true => Some(Pepper::from_data([("7", &[3; 32][..])]).unwrap()),
            false => Some(pepper()),
        });
        index.set_site(*SITE, "shop", "acme");
        if !self.has(NoAccount) {
            let ceiling = Ceiling {
                grant: full(),
                disabled: self.has(AccountDisabled),
                max_lifetime: None,
                metadata: self.metadata(),
            };
            index.set_account("shop", "acme", Some(ceiling));
        }
        if !self.has(NoEntry) {
            index.apply_entry(UID, &self.entry());
        }
        if !self.has(NoKey) {
            index.apply_key(self.key());
        }
        for (damage, kind, name) in
            [(Suspended, TargetKind::ApiKey, "billing"), (AccountSuspended, TargetKind::Account, "acme")]
        {
            if self.has(damage) {
                index.apply_suspension(name.into(), "shop", &Target { kind, name: name.into() });
            }
        }
        index
    }

    fn metadata(&self) -> BTreeMap<String, String> {
        let plan = if self.has(Untellable) { "two\nlines" } else { "gold" };
        BTreeMap::from([("plan".to_owned(), plan.to_owned())])
    }

    fn key(&self) -> Key {
        Key {
            uid: UID.into(),
            generation: 1,
            namespace: "shop".into(),
            name: "billing".into(),
            account: "acme".into(),
            display_name: None,
            grant: (!self.has(NoGrant)).then(|| Grant::new(AccessLevel::Custom, &["orders:read"]).unwrap()),
            disabled: self.has(Disabled),
            expires_at: self.has(Expired).then_some(Timestamp::UNIX_EPOCH),
            revoke_before: self.has(Revoked).then(Timestamp::now),
            metadata: BTreeMap::new(),
        }
    }

    fn entry(&self) -> Entry {
        let uid = if self.has(ForeignOwner) { "uid-1" } else { UID };
        let owner = Owner { namespace: "shop".into(), name: "billing".into(), uid: uid.into() };
        let mut entry = Entry::first(owner, self.credential(&OLD, 1), None).rotated(self.credential(&NEW, 2));
        entry.retiring[0].retires_at = self.has(Retired).then_some(Timestamp::UNIX_EPOCH);
        entry
    }

    fn credential(&self, value: &Value, serial: u64) -> Credential {
        let mut credential = credential(&value.text, serial, Timestamp::UNIX_EPOCH);
        credential.hash.clone_from(&value.record);
        if self.has(TagOfAnother) {
            credential.tag = pepper().tag_presented(&presented(&UNKNOWN.text)).unwrap();
        }
        if self.has(RecordOfAnother) {
            credential.hash.clone_from(&UNKNOWN.record);
        }
        if self.has(GarbledRecord) {
            credential.hash = credential.hash.replace("argon2id", "argon2ix");
        }
        if self.has(EmptyRecord) {
            credential.hash.clear();
        }
        credential
    }
}

/// A verifier without a cluster, a process and a socket.
pub struct Verifier {
    pub http: Routes,
    pub grpc: ExtAuthz,
}

impl Verifier {
    /// With so many turns in the argon2id pool.
    pub fn of(world: &World, slow_checks: usize) -> Self {
        let metrics = Metrics::register(&mut prometheus_client::registry::Registry::default());
        let mut service = Service::new(metrics, slow_checks, MAX_STALENESS, AccessLog::new(0.0));
        service.index = world.index();
        let asked = if world.has(Stale) { 1 } else { now() };
        service.freshness.lease_written(asked, asked);
        for number in 0..WATCHES {
            let is_complete = number > 0 || !world.has(NotReady);
            Progress::new("test", &service.freshness).listed("1", asked, is_complete);
        }
        let service = Arc::new(service);
        let places = keywright::verifier::credential::Places::default();
        let method_header = Some(http::HeaderName::from_static("x-original-method"));
        let http = routes(
            Http { service: service.clone(), places: places.clone(), method_header, client_header: None },
            || true,
        );
        Self { http, grpc: ExtAuthz::new(service, places) }
    }
}
