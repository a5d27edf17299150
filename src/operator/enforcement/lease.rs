//! What verifiers say in their Leases, and what this operator has seen of them itself. Pure.
//!
//! A Lease's own times are another machine's clock and only ever quoted. Silence is what this operator has measured:
//! from when it first saw the version that is still there.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;

use crate::api::{comparable, names, namespace_name, versions};
use crate::apiserver::{Received, Unreadable};

/// A list of Leases: when it was asked for, and when it is judged.
#[derive(Clone, Copy, Debug)]
pub struct Look<'n> {
    /// Before it was sent.
    pub asked: Instant,
    /// After its answer.
    pub now: Instant,
    /// The same for people.
    pub wall: Timestamp,
    /// Namespace of the Leases, for messages.
    pub namespace: &'n str,
}

/// The least that is waited for beyond a verifier's `--max-staleness`.
const LEAST_MARGIN: Duration = Duration::from_secs(2);
/// Clocks whose rates differ by less than this part of the time are waited out.
const DRIFT: u32 = 100;
/// A verifier renews every few seconds; one that has not for so long is not waited for before a value is delivered.
const LIVE: Duration = Duration::from_secs(15);

/// ApiKeys, Accounts, Suspensions, entries: the order in which a Lease names them.
pub type Versions = [u64; 4];

/// The first three of them, in one namespace.
pub type OfNamespace = [u64; 3];

/// A Lease as it was listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Its name, which is one process's.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// Its resourceVersion.
    pub version: String,
    /// When it was renewed, as the verifier says.
    pub renewed: Option<Timestamp>,
    /// `None` when it cannot be read.
    pub says: Option<Says>,
}

/// What a verifier says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Says {
    /// What it has applied.
    pub applied: Versions,
    /// What of that in each namespace, by name; `None` where it watches all of them at once.
    pub namespaces: Option<BTreeMap<String, OfNamespace>>,
    /// After how long without proof it answers nothing any more; `None` is never.
    pub max_staleness: Option<Duration>,
}

impl Says {
    /// What it has applied, as far as it concerns one namespace; `None` when it does not watch that.
    pub fn applied_in(&self, namespace: &str) -> Option<Versions> {
        let Some(namespaces) = &self.namespaces else { return Some(self.applied) };
        let [keys, accounts, suspensions] = *namespaces.get(namespace)?;
        let [.., entries] = self.applied;
        Some([keys, accounts, suspensions, entries])
    }

    /// After how long, by this operator's clock, it answers nothing any more, if it heard nothing all the while.
    pub fn is_fenced_after(&self) -> Option<Duration> {
        self.max_staleness.map(|staleness| staleness.saturating_add(LEAST_MARGIN.max(staleness / DRIFT)))
    }
}

impl Report {
    /// Reads a Lease. What the verifier has applied is in annotations, so only `renewed` needs a spec that can be parsed.
    pub fn read(lease: Received<Lease>) -> Self {
        let (meta, spec) = match lease.0 {
            Ok(Lease { metadata, spec }) => (metadata, spec),
            Err(Unreadable { metadata, .. }) => (metadata, None),
        };
        let annotation = |name: &str| meta.annotations.as_ref().and_then(|all| all.get(name)).map(String::as_str);
        let applied = annotation(names::APPLIED_ANNOTATION).and_then(versions);
        let staleness = annotation(names::MAX_STALENESS_ANNOTATION).and_then(comparable);
        let namespaces = match annotation(names::APPLIED_IN_ANNOTATION) {
            None => Some(None),
            Some(text) => of_namespaces(text).map(Some),
        };
        let says = applied.zip(staleness).zip(namespaces).map(|((applied, milliseconds), namespaces)| Says {
            applied,
            namespaces,
            max_staleness: (milliseconds > 0).then(|| Duration::from_millis(milliseconds)),
        });
        let renewed = spec.and_then(|spec| spec.renew_time).map(|time| time.0);
        Self {
            says,
            renewed,
            name: meta.name.unwrap_or_default(),
            uid: meta.uid.unwrap_or_default(),
            version: meta.resource_version.unwrap_or_default(),
        }
    }
}

/// A name that no namespace could have, or one that is said twice, makes all of it unreadable: who reads it must not leave out
/// anybody who is to be waited for.
fn of_namespaces(text: &str) -> Option<BTreeMap<String, OfNamespace>> {
    let mut all = BTreeMap::new();
    for part in text.split(';') {
        let (name, applied) = part.split_once('=')?;
        if all.insert(namespace_name(name).ok()?, versions(applied)?).is_some() {
            return None;
        }
    }
    Some(all)
}

/// A Lease, and what this operator has seen of it.
#[derive(Clone, Debug)]
pub struct Observed {
    /// As it was listed last.
    pub report: Report,
    /// When it was first seen at all.
    pub first_seen: Instant,
    /// When the version that is there was first seen.
    pub changed: Instant,
    /// A value was delivered without waiting for it any longer; until it is renewed nobody waits again.
    is_passed_over: bool,
}

impl Observed {
    /// Is it worth waiting for? One that is not known yet is.
    pub fn is_live(&self, now: Instant) -> bool {
        !self.is_passed_over && now.duration_since(self.changed) < LIVE
    }

    /// When its process answers nothing any more, if it is not renewed until then.
    fn is_over(&self) -> Option<Instant> {
        self.changed.checked_add(self.report.says.as_ref()?.is_fenced_after()?)
    }
}

/// All Leases, as of the newest list.
#[derive(Default)]
pub struct Leases(BTreeMap<String, Observed>);

impl Leases {
    /// Takes a list over whose answer was there at `now`.
    pub fn observe(&mut self, reports: Vec<Report>, now: Instant) {
        let mut before = std::mem::take(&mut self.0);
        self.0 = reports
            .into_iter()
            .map(|report| {
                let known = before.remove(&report.name).filter(|known| known.report.uid == report.uid);
                let observed = match known {
                    Some(known) if known.report.version == report.version => known,
                    Some(Observed { first_seen, .. }) => {
                        Observed { report, first_seen, changed: now, is_passed_over: false }
                    }
                    None => Observed { report, first_seen: now, changed: now, is_passed_over: false },
                };
                (observed.report.name.clone(), observed)
            })
            .collect();
    }

    /// Each of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Observed> {
        self.0.values()
    }

    /// Nobody waits for it any longer before a value is delivered.
    pub fn pass_over(&mut self, name: &str) {
        if let Some(observed) = self.0.get_mut(name) {
            observed.is_passed_over = true;
        }
    }

    /// Those whose processes answer nothing any more. They are to be deleted in this very version: a renewal that this
    /// operator has not heard of makes that fail.
    pub fn silent(&self, now: Instant) -> Vec<Report> {
        let silent = self.iter().filter(|observed| observed.is_over().is_some_and(|at| at <= now));
        silent.map(|observed| observed.report.clone()).collect()
    }

    /// When the next of them would be, if it is not renewed.
    pub fn next_silent(&self) -> Option<Instant> {
        self.iter().filter_map(Observed::is_over).min()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub mod tests {
    use super::*;
    use serde_json::json;

    /// A Lease that has applied this much of everything.
    pub fn report(name: &str, version: u64, applied: u64, max_staleness: Option<Duration>) -> Report {
        let says = Some(Says { applied: [applied; 4], namespaces: None, max_staleness });
        Report { name: name.into(), uid: name.into(), version: version.to_string(), renewed: None, says }
    }

    fn says(applied: &str, max_staleness: &str) -> Option<Says> {
        let annotations = json!({"keywright.dev/applied": applied, "keywright.dev/max-staleness-ms": max_staleness});
        let lease = json!({"metadata": {"name": "a", "annotations": annotations}});
        Report::read(serde_json::from_value(lease).unwrap()).says
    }

    #[test]
    fn a_lease_is_read_or_it_is_not_and_never_guessed_at() {
        let read = says("1,20,300,0", "1500").unwrap();
        assert_eq!((read.applied, read.max_staleness), ([1, 20, 300, 0], Some(Duration::from_millis(1500))));
        assert_eq!(says("1,2,3,4", "0").unwrap().max_staleness, None, "0 is never");
        for applied in ["", "1,2,3", "1,2,3,4,5", "1,2,3,", "1,2,3,x", "1, 2,3,4", "+1,2,3,4", "1,2,3,-4"] {
            assert_eq!(says(applied, "0"), None, "{applied}");
        }
        for over in ["1,2,3,99999999999999999999", "1,2,3,4.0"] {
            assert_eq!(says(over, "0"), None, "{over}");
        }
        for staleness in ["", "30m", "-1", "1e3", " 1"] {
            assert_eq!(says("1,2,3,4", staleness), None, "{staleness}");
        }
        let nothing = Report::read(serde_json::from_value(json!({"metadata": {"name": "a"}})).unwrap());
        assert_eq!(nothing.says, None);
    }

    #[test]
    fn what_it_says_of_namespaces_is_read_or_none_of_it_is() {
        let read = |applied_in: &str| {
            let annotations = json!({"keywright.dev/applied": "1,2,3,40", "keywright.dev/max-staleness-ms": "0",
                "keywright.dev/applied-in": applied_in});
            let lease = json!({"metadata": {"name": "a", "annotations": annotations}});
            Report::read(serde_json::from_value(lease).unwrap()).says
        };
        let says = read("billing=7,5,3;shop=1,2,9").unwrap();
        assert_eq!(says.applied_in("billing"), Some([7, 5, 3, 40]), "entries are everybody's");
        assert_eq!(says.applied_in("shop"), Some([1, 2, 9, 40]));
        assert_eq!(says.applied_in("sho"), None);
        assert_eq!(self::says("1,2,3,40", "0").unwrap().applied_in("any"), Some([1, 2, 3, 40]));
        for strange in [
            "",
            "shop",
            "shop=",
            "shop=1,2",
            "shop=1,2,3,4",
            "shop=1,2,3;",
            "=1,2,3",
            "Shop=1,2,3",
            "*=1,2,3",
            "shop=1,2,3;shop=1,2,3",
            "shop=1,2,x",
            "shop=1,2,3,billing=1,2,3",
        ] {
            assert_eq!(read(strange), None, "{strange}");
        }
    }

    #[test]
    fn the_margin_is_two_seconds_or_a_hundredth() {
        let fenced = |max_staleness| Says { applied: [0; 4], namespaces: None, max_staleness }.is_fenced_after();
        assert_eq!(fenced(None), None);
        assert_eq!(fenced(Some(Duration::from_secs(1))), Some(Duration::from_secs(3)));
        assert_eq!(fenced(Some(Duration::from_mins(30))), Some(Duration::from_secs(1818)));
    }

    #[test]
    fn silence_is_what_was_measured_and_a_renewal_ends_it() {
        let (mut leases, start) = (Leases::default(), Instant::now());
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let second = Some(Duration::from_secs(1));
        leases.observe(vec![report("a", 1, 0, second), report("never", 1, 0, None)], at(0));
        assert!(leases.silent(at(2)).is_empty());
        assert_eq!(leases.next_silent(), Some(at(3)));
        let names = |all: Vec<Report>| all.into_iter().map(|report| report.name).collect::<Vec<_>>();
        assert_eq!(names(leases.silent(at(3))), ["a"], "the one that is never fenced stays for ever");
        leases.observe(vec![report("a", 2, 0, second), report("never", 1, 0, None)], at(3));
        assert!(leases.silent(at(5)).is_empty());
        leases.observe(vec![Report { uid: "another".into(), ..report("a", 2, 0, second) }], at(5));
        assert!(leases.silent(at(7)).is_empty(), "another process of that name");
        assert_eq!(names(leases.silent(at(8))), ["a"]);
    }

    #[test]
    fn who_has_not_renewed_for_long_or_was_passed_over_is_not_waited_for_until_it_renews() {
        let (mut leases, start) = (Leases::default(), Instant::now());
        let is_live = |leases: &Leases, at: Instant| leases.iter().next().unwrap().is_live(at);
        leases.observe(vec![report("a", 1, 0, None)], start);
        assert!(is_live(&leases, start + Duration::from_secs(14)));
        assert!(!is_live(&leases, start + LIVE));
        leases.pass_over("a");
        leases.observe(vec![report("a", 1, 0, None)], start);
        assert!(!is_live(&leases, start));
        leases.observe(vec![report("a", 2, 0, None)], start + LIVE);
        assert!(is_live(&leases, start + LIVE));
    }
}
