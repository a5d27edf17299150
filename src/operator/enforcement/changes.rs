//! Changes that not every verifier is known to go by. Pure: sights and lists of Leases in, what is proven out.
//!
//! The rules are those of docs/PROTOCOLS.md: the wait begins when this very operator sees a change; only a list of Leases
//! that was asked for after that counts; each Lease has passed the change, or its own `--max-staleness` and the margin
//! have gone by since then; silence alone proves nothing. A Lease that says that its process does not watch the namespace of
//! a change is not asked.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use super::lease::{Leases, Look, Observed, Says};
use super::words::{self, Standing};
use crate::api::Reason;
use crate::operator::router::{FullName, Listed, is_in};

/// How long a verifier may take before it is named.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// What was changed; the number is its place in a Lease's versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// An ApiKey.
    ApiKey = 0,
    /// An Account.
    Account = 1,
    /// A Suspension.
    Suspension = 2,
}

/// An object as an event shows it.
#[derive(Clone, Debug)]
pub struct Sight {
    /// What it is.
    pub kind: Kind,
    /// Its namespace and name.
    pub name: FullName,
    /// Its uid.
    pub uid: String,
    /// Its generation.
    pub generation: i64,
    /// Its resourceVersion, if it can be compared.
    pub version: Option<u64>,
    /// Does its status say `Enforced=True` of this generation?
    pub is_settled: bool,
}

/// A change that is to be told of in its object's status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// What it is.
    pub kind: Kind,
    /// Its namespace and name.
    pub name: FullName,
    /// How long it took, where it is proven now.
    pub took: Option<Duration>,
}

struct Waiting {
    kind: Kind,
    name: FullName,
    generation: i64,
    /// Of the event in which this generation was first seen: later ones, of status, would put the end off for ever.
    needs: Option<u64>,
    seen: Instant,
    /// A Lease was collected since: its process answers nothing, until it has proven that it knows this.
    collected: bool,
    /// For whom, and for what reason: words are made only when this changes.
    because: Option<(Reason, Vec<String>)>,
    standing: Standing,
}

struct Proven {
    kind: Kind,
    namespace: String,
    generation: i64,
    reason: Reason,
}

/// Changes in flight, by the uid of their object.
#[derive(Default)]
pub struct Changes {
    waiting: HashMap<String, Waiting>,
    /// Until the status that says so has been seen.
    proven: HashMap<String, Proven>,
}

impl Changes {
    /// An object was seen. Is there something to wait for that was not before?
    pub fn seen(&mut self, sight: Sight, now: Instant) -> bool {
        let Sight { kind, name, uid, generation, version, is_settled } = sight;
        match self.proven.get(&uid) {
            Some(proven) if proven.generation == generation => {
                if is_settled {
                    self.proven.remove(&uid);
                }
                return false;
            }
            Some(_) => drop(self.proven.remove(&uid)),
            None => {}
        }
        if self.waiting.get(&uid).is_some_and(|waiting| waiting.generation == generation) {
            // Whoever wrote that it is settled, it is not.
            return false;
        }
        if is_settled {
            self.waiting.remove(&uid);
            return false;
        }
        let (because, standing) = (None, Standing::Seen);
        let waiting =
            Waiting { kind, name, generation, needs: version, seen: now, collected: false, because, standing };
        self.waiting.insert(uid, waiting);
        true
    }

    /// An object is gone, or about to be.
    pub fn gone(&mut self, uid: &str) {
        self.waiting.remove(uid);
        self.proven.remove(uid);
    }

    /// A list of all objects of a kind is complete: what it did not name is gone.
    pub fn listed(&mut self, kind: Kind, of: Listed, uids: &HashSet<String>) {
        let is_there =
            |uid: &String, its: Kind, namespace: &str| its != kind || !is_in(of, namespace) || uids.contains(uid);
        self.waiting.retain(|uid, waiting| is_there(uid, waiting.kind, &waiting.name.0));
        self.proven.retain(|uid, proven| is_there(uid, proven.kind, &proven.namespace));
    }

    /// What is known of a generation of an object; `None` if its status was settled when it was last seen.
    pub fn standing(&self, uid: &str, generation: i64) -> Option<Standing> {
        let waiting = self.waiting.get(uid).filter(|waiting| waiting.generation == generation);
        let proven = || self.proven.get(uid).filter(|proven| proven.generation == generation);
        waiting
            .map(|waiting| waiting.standing.clone())
            .or_else(|| proven().map(|proven| Standing::Enforced(proven.reason)))
    }

    /// How many are waited for.
    pub fn in_flight(&self) -> usize {
        self.waiting.len()
    }

    /// When the newest of them was seen.
    pub fn newest(&self) -> Option<Instant> {
        self.waiting.values().map(|waiting| waiting.seen).max()
    }

    /// Judges what was seen before the list was asked for; returns those whose status is to say something else now.
    pub fn judge(&mut self, leases: &Leases, look: &Look) -> Vec<Told> {
        let mut told = Vec::new();
        let mut proven = Vec::new();
        for (uid, waiting) in self.waiting.iter_mut().filter(|(_, waiting)| waiting.seen <= look.asked) {
            let tell = |took| Told { kind: waiting.kind, name: waiting.name.clone(), took };
            match verdict(waiting, leases, look) {
                Ok(reason) => {
                    told.push(tell(Some(look.now.duration_since(waiting.seen))));
                    proven.push((uid.clone(), reason));
                }
                Err((reason, by)) => {
                    let because = Some((reason, by.iter().map(|lease| lease.report.name.clone()).collect()));
                    if waiting.because == because {
                        continue;
                    }
                    // That it is waited for is what is said from the start.
                    if reason != Reason::AwaitingVerifiers {
                        told.push(tell(None));
                    }
                    let message = words::unknown(reason, &by, waiting.seen, look);
                    (waiting.because, waiting.standing) = (because, Standing::Unknown(reason, message));
                }
            }
        }
        for (uid, reason) in proven {
            if let Some(Waiting { kind, name: (namespace, _), generation, .. }) = self.waiting.remove(&uid) {
                self.proven.insert(uid, Proven { kind, namespace, generation, reason });
            }
        }
        told
    }

    /// A silent Lease was deleted, in the version whose silence was measured, by a request sent at this moment.
    pub fn collected(&mut self, lease: &Says, sent: Instant) {
        let concerned = |waiting: &&mut Waiting| waiting.seen <= sent && lease.applied_in(&waiting.name.0).is_some();
        self.waiting.values_mut().filter(concerned).for_each(|waiting| waiting.collected = true);
    }
}

/// How it is proven, or why it is not and who is waited for.
fn verdict<'l>(waiting: &Waiting, leases: &'l Leases, look: &Look) -> Result<Reason, (Reason, Vec<&'l Observed>)> {
    let waited = look.now.duration_since(waiting.seen);
    let (mut behind, mut unreadable, mut outwaited) = (Vec::new(), Vec::new(), waiting.collected);
    let mut is_anybodys = waiting.collected;
    for lease in leases.iter() {
        let Some(says) = &lease.report.says else {
            unreadable.push(lease);
            continue;
        };
        // One that does not watch this namespace refuses all keys of it, from its start to its end.
        let Some(applied) = says.applied_in(&waiting.name.0) else { continue };
        is_anybodys = true;
        if waiting.needs.is_some_and(|needs| applied[waiting.kind as usize] >= needs) {
            continue;
        }
        if says.is_fenced_after().is_some_and(|wait| waited >= wait) {
            outwaited = true;
        } else {
            behind.push(lease);
        }
    }
    let is_late = |lease: &&Observed| look.now.duration_since(lease.first_seen.max(waiting.seen)) >= PATIENCE;
    if !unreadable.is_empty() {
        Err((Reason::NotComparable, unreadable))
    } else if !is_anybodys {
        Err((Reason::NoVerifier, Vec::new()))
    } else if behind.is_empty() {
        Ok(if outwaited { Reason::Outwaited } else { Reason::Acknowledged })
    } else if waiting.needs.is_none() {
        Err((Reason::NotComparable, Vec::new()))
    } else {
        behind.retain(is_late);
        let reason = if behind.is_empty() { Reason::AwaitingVerifiers } else { Reason::VerifierUnreachable };
        Err((reason, behind))
    }
}

#[cfg(test)]
mod tests;
