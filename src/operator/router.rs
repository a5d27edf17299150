//! Which keys and accounts to look at again, given what changed. Pure: changes in, wake-ups out.
//!
//! What verifiers write into `status.activity` must not wake the operator, and a status that was wiped by hand must; so
//! an object counts as changed when its generation or the operator's part of its status is another. So does a key whose
//! annotation asks for a reconciliation anew.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use jiff::Timestamp;
use kube::ResourceExt;
use serde::Serialize;

use crate::api::names::RECONCILE_ANNOTATION;
use crate::api::{Account, AccountStatus, ApiKey, ApiKeyStatus, State, Suspension, Target, TargetKind};

#[cfg(test)]
mod tests;

/// A namespace and a name in it.
pub type FullName = (String, String);

/// What a list was of: one namespace, or all of them.
pub type Listed<'n> = Option<&'n str>;

/// Urgency of a reconciliation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Priority {
    /// Everything that is not [`Priority::High`], such as issuing a credential.
    Normal,
    /// Only reports something in the status: a proof of enforcement, or that the object is disabled, suspended or revoked.
    High,
}

/// A name to reconcile.
pub type Woken = (FullName, Priority);

/// Something to be done.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Wake {
    /// A key to reconcile.
    Key(FullName, Priority),
    /// An account to reconcile.
    Account(FullName, Priority),
    /// A suspension to reconcile.
    Suspension(FullName, Priority),
    /// An account whose keys are to be counted; many of these may come at once.
    Counts(FullName),
    /// Namespace and uid of a key that seems to be deleted. A list also misses what cannot be read.
    KeyGone(FullName),
}

/// Returns the priority of a wake-up whose cause is to be reported in a key's status: normal while the key waits for a
/// credential, because that is issued in the same reconciliation.
pub fn priority_of_report(key: &ApiKey) -> Priority {
    let issued = key.status.as_ref().filter(|status| status.key_id.is_some());
    let waits = issued.is_none_or(|status| key.spec.raises(status.highest_revision.unwrap_or_default()));
    if waits { Priority::Normal } else { Priority::High }
}

/// What is known of all objects, as far as one concerns another.
#[derive(Default)]
pub struct Router {
    keys: HashMap<FullName, SeenKey>,
    accounts: HashMap<FullName, SeenAccount>,
    suspensions: HashMap<String, SeenSuspension>,
    keys_of_account: Names,
    clones_of_key: Names,
    suspensions_of_target: Names,
    accounts_in_namespace: HashMap<String, BTreeSet<String>>,
}

struct SeenKey {
    uid: String,
    account: String,
    source: Option<String>,
    state: Option<State>,
    refusal: Refusal,
    print: u64,
    /// What the operator said of it at its last look, if that did nothing: to be shown that is no news.
    said: Option<u64>,
}

/// Fields of a spec by which its owner has every call refused, or those with older credentials.
#[derive(Clone, PartialEq)]
struct Refusal {
    disabled: bool,
    revoke_before: Option<Timestamp>,
}

struct SeenAccount {
    uid: String,
    disabled: bool,
    spec: u64,
    print: u64,
    /// What the operator said of it last: to be shown that is no news.
    said: Option<u64>,
}

struct SeenSuspension {
    namespace: String,
    name: String,
    target: Target,
    spec: u64,
    print: u64,
}

/// Names in one namespace, by what they have in common.
#[derive(Default)]
struct Names(HashMap<FullName, BTreeSet<String>>);

impl Names {
    fn add(&mut self, namespace: &str, common: &str, name: &str) {
        self.0.entry((namespace.to_owned(), common.to_owned())).or_default().insert(name.to_owned());
    }

    fn remove(&mut self, namespace: &str, common: &str, name: &str) {
        let group = (namespace.to_owned(), common.to_owned());
        if self.0.get_mut(&group).is_some_and(|names| names.remove(name) && names.is_empty()) {
            self.0.remove(&group);
        }
    }

    fn of(&self, namespace: &str, common: &str) -> impl Iterator<Item = FullName> {
        let names = self.0.get(&(namespace.to_owned(), common.to_owned()));
        names.into_iter().flatten().map(|name| (namespace.to_owned(), name.clone()))
    }
}

impl Router {
    /// A key was added or changed.
    pub fn key(&mut self, key: &ApiKey) -> Vec<Wake> {
        let name = full_name(key);
        let mut seen = SeenKey {
            uid: key.uid().unwrap_or_default(),
            account: key.spec.account.clone(),
            source: key.spec.clone_from.as_ref().map(|from| from.name.clone()),
            state: key.status.as_ref().and_then(|status| status.state),
            refusal: Refusal { disabled: key.spec.disabled, revoke_before: key.spec.revoke_before() },
            print: print_of(key, key.status.as_ref()),
            said: None,
        };
        let mut wakes = Vec::new();
        let before = match self.keys.get(&name) {
            Some(before) if before.uid == seen.uid => {
                seen.said = before.said;
                Some((before.print, before.state, before.refusal.clone()))
            }
            // Its deletion was missed.
            Some(before) => {
                let uid = before.uid.clone();
                wakes.extend(self.key_gone(&name, &uid));
                None
            }
            None => None,
        };
        if before.as_ref().is_some_and(|(print, ..)| *print == seen.print) {
            return wakes;
        }
        let (namespace, own) = &name;
        self.keys_of_account.add(namespace, &seen.account, own);
        if let Some(source) = &seen.source {
            self.clones_of_key.add(namespace, source, own);
        }
        if seen.said != Some(seen.print) {
            let is_refused_otherwise = before.as_ref().is_some_and(|(.., refusal)| *refusal != seen.refusal);
            let priority = if is_refused_otherwise { priority_of_report(key) } else { Priority::Normal };
            wakes.push(Wake::Key(name.clone(), priority));
        }
        wakes.extend(self.clones_of_key.of(namespace, own).map(normal));
        if before.is_none() {
            wakes.extend(self.suspensions_of(TargetKind::ApiKey, &name));
        }
        if before.is_none_or(|(_, state, _)| state != seen.state) {
            wakes.push(Wake::Counts((namespace.clone(), seen.account.clone())));
        }
        self.keys.insert(name, seen);
        wakes
    }

    /// The operator has looked at a key, found nothing to do, and is about to write this unless it stands there already. The event
    /// that shows it need not have it look again: whatever else changes wakes the key by itself. After a look that did
    /// something it is none. To be called before the write, whose event often comes before its answer.
    pub fn says(&mut self, key: &ApiKey, status: Option<&ApiKeyStatus>) {
        if let Some(seen) =
            self.keys.get_mut(&full_name(key)).filter(|seen| Some(&seen.uid) == key.metadata.uid.as_ref())
        {
            seen.said = status.map(|status| print_of(key, Some(status)));
        }
    }

    /// A key was deleted.
    pub fn key_gone(&mut self, name: &FullName, uid: &str) -> Vec<Wake> {
        if self.keys.get(name).is_none_or(|seen| seen.uid != uid) {
            return Vec::new();
        }
        let Some(SeenKey { uid, account, source, .. }) = self.keys.remove(name) else { return Vec::new() };
        let (namespace, own) = name;
        self.keys_of_account.remove(namespace, &account, own);
        if let Some(source) = &source {
            self.clones_of_key.remove(namespace, source, own);
        }
        let mut wakes: Vec<Wake> = self.clones_of_key.of(namespace, own).map(normal).collect();
        wakes.extend(self.suspensions_of(TargetKind::ApiKey, name));
        wakes.extend([Wake::Counts((namespace.clone(), account)), Wake::KeyGone((namespace.clone(), uid))]);
        wakes
    }

    /// A list of keys is complete: what it did not name is gone.
    pub fn keys_listed(&mut self, of: Listed, uids: &HashSet<String>) -> Vec<Wake> {
        let there = self.keys.iter().filter(|(name, _)| is_in(of, &name.0));
        let gone = missing(there.map(|(name, seen)| (name, &seen.uid)), uids);
        gone.iter().flat_map(|(name, uid)| self.key_gone(name, uid)).collect()
    }

    /// An account was added or changed.
    pub fn account(&mut self, account: &Account) -> Vec<Wake> {
        let name = full_name(account);
        let uid = account.uid().unwrap_or_default();
        let spec = print(&account.metadata.generation);
        let print = print_of_account(account, account.status.as_ref());
        let mut wakes = Vec::new();
        if let Some(before) = self.accounts.get(&name).map(|seen| seen.uid.clone()).filter(|before| *before != uid) {
            // Its deletion was missed.
            wakes.extend(self.account_gone(&name, &before));
        }
        let disabled = account.spec.disabled;
        let said = self.accounts.get(&name).and_then(|before| before.said);
        let before = self.accounts.insert(name.clone(), SeenAccount { uid, disabled, spec, print, said });
        if before.as_ref().is_none_or(|before| before.print != print) && said != Some(print) {
            let is_switched = before.as_ref().is_some_and(|before| before.disabled != disabled);
            let priority = if is_switched { Priority::High } else { Priority::Normal };
            wakes.push(Wake::Account(name.clone(), priority));
        }
        if before.as_ref().is_none_or(|before| before.spec != spec) {
            wakes.extend(self.keys_of_account.of(&name.0, &name.1).map(normal));
        }
        if before.is_none() {
            wakes.extend(self.neighbours(&name));
            wakes.extend(self.suspensions_of(TargetKind::Account, &name));
            self.accounts_in_namespace.entry(name.0).or_default().insert(name.1);
        }
        wakes
    }

    /// The operator is about to write this of an account, unless it stands there already. As [`says`](Self::says).
    pub fn says_of_account(&mut self, account: &Account, status: &AccountStatus) {
        let print = print_of_account(account, Some(status));
        let seen = self.accounts.get_mut(&full_name(account));
        if let Some(seen) = seen.filter(|seen| Some(&seen.uid) == account.metadata.uid.as_ref()) {
            seen.said = Some(print);
        }
    }

    /// An account was deleted.
    pub fn account_gone(&mut self, name: &FullName, uid: &str) -> Vec<Wake> {
        if self.accounts.get(name).is_none_or(|seen| seen.uid != uid) {
            return Vec::new();
        }
        self.accounts.remove(name);
        if let Some(names) = self.accounts_in_namespace.get_mut(&name.0) {
            names.remove(&name.1);
        }
        let mut wakes = self.neighbours(name);
        wakes.extend(self.suspensions_of(TargetKind::Account, name));
        wakes.extend(self.keys_of_account.of(&name.0, &name.1).map(normal));
        wakes
    }

    /// A list of accounts is complete: what it did not name is gone.
    pub fn accounts_listed(&mut self, of: Listed, uids: &HashSet<String>) -> Vec<Wake> {
        let there = self.accounts.iter().filter(|(name, _)| is_in(of, &name.0));
        let gone = missing(there.map(|(name, seen)| (name, &seen.uid)), uids);
        gone.iter().flat_map(|(name, uid)| self.account_gone(name, uid)).collect()
    }

    /// A suspension was added or changed.
    pub fn suspension(&mut self, suspension: &Suspension) -> Vec<Wake> {
        let (namespace, target) = (suspension.namespace().unwrap_or_default(), suspension.spec.target.clone());
        let spec = print(&suspension.metadata.generation);
        let print = print(&(suspension.metadata.generation, &suspension.status));
        let mut wakes = self.suspended(&namespace, &target);
        let own = Wake::Suspension(full_name(suspension), Priority::Normal);
        let name = suspension.name_any();
        self.suspensions_of_target.add(&namespace, &target.to_string(), &name);
        let seen = SeenSuspension { namespace, name, target, spec, print };
        let before = self.suspensions.insert(suspension.uid().unwrap_or_default(), seen);
        if before.as_ref().is_some_and(|before| before.spec == spec) {
            wakes.clear();
        }
        if before.is_none_or(|before| before.print != print) {
            wakes.push(own);
        }
        wakes
    }

    /// A suspension was lifted.
    pub fn suspension_gone(&mut self, uid: &str) -> Vec<Wake> {
        let Some(gone) = self.suspensions.remove(uid) else { return Vec::new() };
        let SeenSuspension { namespace, name, target, .. } = &gone;
        let is_of_name =
            |other: &SeenSuspension| (&other.namespace, &other.name, &other.target) == (namespace, name, target);
        // A new one of the same name may have been seen before this deletion.
        if !self.suspensions.values().any(is_of_name) {
            self.suspensions_of_target.remove(namespace, &target.to_string(), name);
        }
        self.suspended(namespace, target)
    }

    /// A list of suspensions is complete: what it did not name is gone.
    pub fn suspensions_listed(&mut self, of: Listed, uids: &HashSet<String>) -> Vec<Wake> {
        let there = self.suspensions.iter().filter(|(_, seen)| is_in(of, &seen.namespace));
        let gone = missing(there.map(|(uid, _)| (uid, uid)), uids);
        gone.iter().flat_map(|(uid, _)| self.suspension_gone(uid)).collect()
    }

    /// Wakes the suspensions of a target that appeared or went.
    fn suspensions_of(&self, kind: TargetKind, (namespace, name): &FullName) -> Vec<Wake> {
        let target = Target { kind, name: name.clone() }.to_string();
        let suspensions = self.suspensions_of_target.of(namespace, &target);
        suspensions.map(|name| Wake::Suspension(name, Priority::Normal)).collect()
    }

    fn suspended(&self, namespace: &str, target: &Target) -> Vec<Wake> {
        let name = (namespace.to_owned(), target.name.clone());
        match target.kind {
            TargetKind::ApiKey => vec![Wake::Key(name, Priority::High)],
            // The keys of a whole account do not come before what their namespace waits for.
            TargetKind::Account => {
                let keys = self.keys_of_account.of(&name.0, &name.1).map(normal);
                keys.chain([Wake::Account(name.clone(), Priority::High)]).collect()
            }
        }
    }

    /// Of several accounts in a namespace only the oldest has members.
    fn neighbours(&self, (namespace, name): &FullName) -> Vec<Wake> {
        let names = self.accounts_in_namespace.get(namespace).into_iter().flatten();
        let others = names.filter(|other| *other != name).map(|other| (namespace.clone(), other.clone()));
        others.map(|other| Wake::Account(other, Priority::Normal)).collect()
    }
}

fn normal(key: FullName) -> Wake {
    Wake::Key(key, Priority::Normal)
}

/// Is this namespace one that a list was of?
pub fn is_in(of: Listed, namespace: &str) -> bool {
    of.is_none_or(|listed| listed == namespace)
}

fn full_name(object: &impl ResourceExt) -> FullName {
    (object.namespace().unwrap_or_default(), object.name_any())
}

/// Of a key with this status: its generation, and what the operator itself says of it; the rest is the verifiers'.
fn print_of(key: &ApiKey, status: Option<&ApiKeyStatus>) -> u64 {
    let own = status.map(|status| ApiKeyStatus { activity: None, ..status.clone() });
    let requested = key.annotations().get(RECONCILE_ANNOTATION);
    print(&(key.metadata.generation, requested, &own))
}

fn print_of_account(account: &Account, status: Option<&AccountStatus>) -> u64 {
    print(&(account.metadata.generation, status))
}

fn print(what: &impl Serialize) -> u64 {
    let mut hasher = DefaultHasher::new();
    serde_json::to_string(what).ok().hash(&mut hasher);
    hasher.finish()
}

fn missing<'u, N: Clone + 'u>(
    known: impl Iterator<Item = (&'u N, &'u String)>,
    listed: &HashSet<String>,
) -> Vec<(N, String)> {
    known.filter(|(_, uid)| !listed.contains(*uid)).map(|(name, uid)| (name.clone(), uid.clone())).collect()
}
