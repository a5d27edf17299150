//! What stands in the API server, as far as one key is concerned: its spec and account, the entry with its
//! compare-and-swap, and the Secret with the policy in front of it. Every write is held against what was there before.

use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::time::Duration;

use jiff::Timestamp;
use keywright::access::AccessLevel;
use keywright::api::{Account, ApiKey};
use keywright::key::{
    Cloned, Credential, Ended, Entry, Limits, Minting, Owner, Parsed, Pepper, Plaintext, SealingKey, Tag, parse,
};
use keywright::operator::api_key::facts::{Facts, Presence, Source};
use keywright::operator::api_key::plan::{Plan, plan};
use serde_json::{Value, json};

use super::history::hold_history;
use super::operator::Operator;

pub const UID: &str = "u-1";
/// Short, so that random time often falls into it.
pub const WARN_BEFORE: Duration = Duration::from_secs(45);

static SEALING_KEY: LazyLock<SealingKey> = LazyLock::new(|| SealingKey::generate().unwrap());
static PEPPER: LazyLock<Pepper> = LazyLock::new(|| Pepper::generate(Timestamp::UNIX_EPOCH).unwrap());

/// How much a key, a clone's source or an account may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    Full,
    /// `orders:read`
    Narrow,
    /// `orders:read` and `orders:write`
    Wide,
    /// What the rules of the CRD would have refused.
    Broken,
}

impl Level {
    pub fn spec(self) -> (&'static str, &'static [&'static str]) {
        match self {
            Level::Full => ("Full", &[]),
            Level::Narrow => ("Custom", &["orders:read"]),
            Level::Wide => ("Custom", &["orders:read", "orders:write"]),
            Level::Broken => ("Custom", &[]),
        }
    }

    pub fn cloned(self) -> Cloned {
        let (_, scopes) = self.spec();
        let access_level = if self == Level::Full { AccessLevel::Full } else { AccessLevel::Custom };
        let scopes = scopes.iter().map(ToString::to_string).collect();
        Cloned { source: "source".into(), display_name: None, access_level, scopes }
    }
}

/// What its owner wants; durations in seconds.
#[derive(Clone, Debug)]
pub struct Wish {
    pub clone: bool,
    /// `None` leaves it to what is cloned.
    pub level: Option<Level>,
    pub revision: Option<i64>,
    pub interval: Option<u64>,
    pub overlap: Option<u64>,
    pub revoke_before: Option<Timestamp>,
    pub expires_at: Option<Timestamp>,
    /// `delivery: Once` with this `deleteAfter`; an hour, the default, is left out.
    pub once: Option<u64>,
    pub disabled: bool,
}

impl Default for Wish {
    fn default() -> Self {
        Self {
            clone: false,
            level: Some(Level::Full),
            revision: None,
            interval: None,
            overlap: None,
            revoke_before: None,
            expires_at: None,
            once: None,
            disabled: false,
        }
    }
}

/// What the platform team wants.
#[derive(Clone, Debug)]
pub struct Terms {
    pub level: Level,
    pub lifetime: Option<u64>,
    pub resources: Vec<&'static str>,
    pub disabled: bool,
}

impl Default for Terms {
    fn default() -> Self {
        Self { level: Level::Full, lifetime: None, resources: Vec::new(), disabled: false }
    }
}

/// A Secret under the name that the key's has.
#[derive(Clone, Debug, PartialEq)]
pub struct Object {
    pub uid: String,
    pub version: u64,
    /// Has it our type and our owner?
    pub ours: bool,
    pub serial: u64,
    /// The plaintext; none when it was blanked.
    pub value: Option<String>,
    pub immutable: bool,
}

/// An entry and the version of it that was read.
#[derive(Clone, Debug)]
pub struct Read {
    pub entry: Entry,
    pub version: u64,
}

/// Why a full update of the Secret was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    NotThere,
    NotOurs,
    Immutable,
}

/// What an operator knows when it plans.
#[derive(Clone)]
pub struct Seen {
    pub key: ApiKey,
    pub account: Option<Account>,
    pub source: Source,
    pub read: Option<Read>,
    pub secret: Option<Presence>,
}

impl Seen {
    pub fn facts(&self) -> Facts<'_> {
        let entry = self.read.as_ref().map(|read| &read.entry);
        Facts {
            key: &self.key,
            account: self.account.as_ref(),
            entry,
            secret: self.secret,
            source: entry.is_none().then_some(&self.source),
            warn_before: WARN_BEFORE,
        }
    }

    pub fn plan(&self, at: Timestamp) -> Plan {
        plan(&self.facts(), at)
    }
}

#[derive(Clone)]
pub struct World {
    pub now: Timestamp,
    pub wish: Wish,
    pub terms: Option<Terms>,
    pub source: Source,
    pub secret: Option<Object>,
    /// The JSON that is stored, and its version.
    entry: Option<(Vec<u8>, u64)>,
    counter: u64,
    /// The one value of each serial.
    pub values: BTreeMap<u64, String>,
    /// The highest serial that any Secret of this name was written with.
    pub highest_written: u64,
    /// Only one operator ever acted, so that no sleeper can write an old value.
    pub solo: bool,
    /// Somebody deleted or replaced the Secret.
    pub touched: bool,
    /// An operator died before it took back what it had written too late.
    pub stray: bool,
}

impl World {
    pub fn new(wish: Wish) -> Self {
        Self {
            now: Timestamp::from_second(1_800_000_000).unwrap(),
            wish,
            terms: Some(Terms::default()),
            source: Source::Found(Level::Wide.cloned()),
            secret: None,
            entry: None,
            counter: 0,
            values: BTreeMap::new(),
            highest_written: 0,
            solo: true,
            touched: false,
            stray: false,
        }
    }

    pub fn advance(&mut self, by: Duration) {
        self.now = self.now.checked_add(by).unwrap();
    }

    fn count(&mut self) -> u64 {
        self.counter += 1;
        self.counter
    }

    pub fn key(&self) -> ApiKey {
        let Wish { clone, level, revision, interval, overlap, revoke_before, expires_at, once, disabled } = &self.wish;
        let go = |seconds: &Option<u64>| seconds.map(|s| format!("{s}s"));
        let mut spec = json!({
            "account": "acme",
            "disabled": disabled,
            "expiresAt": expires_at,
            "rotation": {
                "revision": revision, "interval": go(interval), "overlap": go(overlap), "revokeBefore": revoke_before,
            },
        });
        if let Some((access_level, scopes)) = level.map(Level::spec) {
            spec["accessLevel"] = access_level.into();
            spec["scopes"] = scopes.into();
        }
        if *clone {
            spec["cloneFrom"] = json!({"name": "source"});
        }
        if once.is_some() {
            spec["secret"] = json!({"delivery": "Once", "deleteAfter": go(&once.filter(|after| *after != 3600))});
        }
        let metadata = json!({"name": "billing", "namespace": "shop", "uid": UID});
        let key = json!({"apiVersion": "keywright.dev/v1alpha1", "kind": "ApiKey", "metadata": metadata, "spec": spec});
        serde_json::from_value(key).unwrap()
    }

    pub fn account(&self) -> Option<Account> {
        let Terms { level, lifetime, resources, disabled } = self.terms.as_ref()?;
        let (access_level, scopes) = level.spec();
        let spec = json!({
            "accessLevel": access_level, "scopes": scopes, "resources": resources, "disabled": disabled,
            "maxKeyLifetime": lifetime.map(|s| format!("{s}s")),
        });
        let account = json!({"apiVersion": "keywright.dev/v1alpha1", "kind": "Account", "metadata": {"name": "acme"}, "spec": spec});
        Some(serde_json::from_value(account).unwrap())
    }

    pub fn read(&self) -> Option<Read> {
        let (json, version) = self.entry.as_ref()?;
        Some(Read { entry: Entry::from_json(json).unwrap(), version: *version })
    }

    pub fn entry(&self) -> Entry {
        self.read().expect("a value was minted").entry
    }

    /// As `observe::secret`: what a dry run of an update with the Secret's uid says, without it once it was ended.
    pub fn look(&self, entry: Option<&Entry>) -> Option<Presence> {
        let (delivery, delivered) = entry.and_then(Entry::newest_delivery)?;
        if delivery.ended == Some(Ended::Removed) {
            return None;
        }
        Some(match &self.secret {
            None => Presence::Missing,
            Some(there) if delivery.ended.is_none() && there.uid != delivery.uid => Presence::Other,
            Some(there) if !there.ours || there.serial > delivered.serial => Presence::Other,
            Some(_) => Presence::Present,
        })
    }

    /// What an operator would see now.
    pub fn seen(&self) -> Seen {
        let read = self.read();
        let secret = self.look(read.as_ref().map(|read| &read.entry));
        Seen { key: self.key(), account: self.account(), source: self.source.clone(), read, secret }
    }

    /// A fresh value, as the executor records it, without the slow hash.
    pub fn mint(&self, minting: Minting<'_>) -> (Credential, String) {
        let plaintext = Plaintext::mint("kw").unwrap();
        let Parsed::Native(presented) = parse(plaintext.expose().as_bytes()) else { panic!("a minted key") };
        let (id, tag): (_, Tag) = (presented.id(), PEPPER.tag_presented(&presented).unwrap());
        let credential = Credential {
            id,
            prefix: "kw".into(),
            serial: minting.serial,
            revision: minting.revision,
            issued_at: self.now,
            delivered_at: None,
            retires_at: None,
            ended: None,
            hash: "$argon2id$".into(),
            tag,
            sealed: Some(SEALING_KEY.seal(&plaintext, minting.owner_uid, id).unwrap()),
        };
        (credential, plaintext.expose().to_owned())
    }

    pub fn open(credential: &Credential) -> String {
        SEALING_KEY.open(credential.sealed.as_ref().unwrap(), UID, credential.id).unwrap().expose().to_owned()
    }

    pub fn owner() -> Owner {
        Owner { namespace: "shop".into(), name: "billing".into(), uid: UID.into() }
    }

    /// The compare-and-swap of the entry. `None` when somebody else was first.
    pub fn swap(&mut self, read: Option<&Read>, next: &Entry, by: &Operator) -> Option<Read> {
        if self.entry.as_ref().map(|(_, version)| *version) != read.map(|read| read.version) {
            return None;
        }
        hold_history(read.map(|read| &read.entry), next, by);
        let version = self.count();
        self.entry = Some((next.to_json().unwrap(), version));
        let stored = self.read().unwrap();
        assert_eq!(&stored.entry, next, "what is stored reads back");
        Some(stored)
    }

    /// Creates the Secret with a value, or updates the one that is there; `None` for the value blanks it.
    pub fn write(&mut self, serial: u64, value: Option<String>) -> Result<Object, Refusal> {
        if let Some(value) = &value {
            assert_eq!(self.values.get(&serial), Some(value), "one value for one serial");
        }
        match &self.secret {
            None if value.is_none() => return Err(Refusal::NotThere),
            Some(there) if !there.ours || there.serial > serial => return Err(Refusal::NotOurs),
            Some(there) if there.immutable => return Err(Refusal::Immutable),
            None | Some(_) => {}
        }
        assert!(!self.solo || serial >= self.highest_written, "serial {serial} after {}", self.highest_written);
        self.highest_written = self.highest_written.max(serial);
        let version = self.count();
        let uid = self.secret.take().map_or_else(|| format!("s-{version}"), |there| there.uid);
        let written = Object { uid, version, ours: true, serial, value, immutable: false };
        self.secret = Some(written.clone());
        Ok(written)
    }

    /// Deletes the Secret, if it is the one that is meant.
    pub fn delete(&mut self, uid: &str, version: Option<u64>) {
        let is_meant = |there: &Object| there.uid == uid && version.is_none_or(|version| version == there.version);
        if self.secret.as_ref().is_some_and(is_meant) {
            self.secret = None;
        }
    }

    /// A user deletes the Secret.
    pub fn remove_secret(&mut self) {
        self.touched |= self.secret.take().is_some();
    }

    /// A user puts something of their own in the Secret's place.
    pub fn replace_by_foreign(&mut self) {
        self.touched = true;
        let version = self.count();
        let uid = format!("foreign-{version}");
        self.secret = Some(Object { uid, version, ours: false, serial: 0, value: None, immutable: false });
    }

    /// The owner changes `revokeBefore`. The API server keeps the field until the entry has recorded its effect.
    pub fn revoke_before(&mut self, to: Option<Timestamp>) {
        let limits = Limits { revoke_before: self.wish.revoke_before, ..Limits::default() };
        let is_recorded = self.read().is_none_or(|read| read.entry.ending(&limits, self.now).is_none());
        if to >= self.wish.revoke_before || is_recorded {
            self.wish.revoke_before = to;
        }
    }

    /// All that may be compared between two runs: ids, tags and uids are random.
    pub fn outline(&self) -> Value {
        let entry = self.read().map(|read| {
            let mut entry = serde_json::to_value(read.entry).unwrap();
            let mut credentials = vec![entry["current"].take()];
            credentials.extend(entry["retiring"].take().as_array().cloned().unwrap_or_default());
            for credential in credentials.iter_mut().filter_map(Value::as_object_mut) {
                for random in ["id", "tag"] {
                    credential.remove(random);
                }
                if let Some(sealed) = credential.get_mut("sealed") {
                    *sealed = Value::Null;
                }
            }
            entry["credentials"] = credentials.into();
            if let Some(secret) = entry.get_mut("secret").and_then(Value::as_object_mut) {
                secret.remove("uid");
            }
            entry
        });
        let secret = self.secret.as_ref().map(|s| json!([s.ours, s.serial, s.value.is_some(), s.immutable]));
        json!({"entry": entry, "secret": secret})
    }
}
