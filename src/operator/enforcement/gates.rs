//! Values that wait to be delivered until live verifiers have their entries, so that a value works everywhere before it
//! can be read. A courtesy with a bound, and no proof: who is silent is passed over. Pure.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use super::lease::{Leases, Look, Observed, Versions};
use crate::operator::router::{FullName, Listed, is_in};

/// The longest that a value waits.
pub const BOUND: Duration = Duration::from_secs(2);

/// Who was passed over: the names of Leases.
pub type PassedOver = Vec<String>;

struct Gate {
    name: FullName,
    needs: Versions,
    since: Instant,
    opened: Option<PassedOver>,
}

/// Values that wait, by the uid of their ApiKey.
#[derive(Default)]
pub struct Gates(HashMap<String, Gate>);

impl Gates {
    /// May this value be delivered? Asked again for the same version of the entry, the first asking counts.
    pub fn ask(&mut self, uid: &str, name: FullName, needs: Versions, now: Instant) -> Option<PassedOver> {
        let [.., entry] = needs;
        let gate = self.0.entry(uid.to_owned()).or_insert_with(|| Gate { name, needs, since: now, opened: None });
        if gate.needs[3] != entry {
            *gate = Gate { name: gate.name.clone(), needs, since: now, opened: None };
        }
        gate.opened.clone()
    }

    /// There is nothing to deliver any more, or its key is gone.
    pub fn forget(&mut self, uid: &str) {
        self.0.remove(uid);
    }

    /// A list of all keys is complete: what it did not name is gone.
    pub fn listed(&mut self, of: Listed, uids: &HashSet<String>) {
        self.0.retain(|uid, gate| !is_in(of, &gate.name.0) || uids.contains(uid));
    }

    /// When the newest one that waits began to.
    pub fn newest(&self) -> Option<Instant> {
        self.0.values().filter(|gate| gate.opened.is_none()).map(|gate| gate.since).max()
    }

    /// Opens those that need wait no longer, by a list that was asked for after they began; returns whose they are, and
    /// how many Leases were passed over.
    pub fn judge(&mut self, leases: &mut Leases, look: &Look) -> (Vec<FullName>, usize) {
        let (mut wakes, mut late) = (Vec::new(), PassedOver::new());
        let closed = self.0.values_mut().filter(|gate| gate.opened.is_none() && gate.since <= look.asked);
        for gate in closed {
            let is_behind = |applied: Versions| applied.iter().zip(&gate.needs).any(|(applied, needs)| applied < needs);
            // One that does not watch this namespace refuses the key whatever it knows.
            let says = |lease: &Observed| lease.report.says.as_ref()?.applied_in(&gate.name.0);
            let behind = leases.iter().filter(|lease| lease.is_live(look.now) && says(lease).is_some_and(is_behind));
            let behind: PassedOver = behind.map(|lease| lease.report.name.clone()).collect();
            if behind.is_empty() || look.now.duration_since(gate.since) >= BOUND {
                late.extend_from_slice(&behind);
                gate.opened = Some(behind);
                wakes.push(gate.name.clone());
            }
        }
        for name in &late {
            leases.pass_over(name);
        }
        (wakes, late.len())
    }

    /// The Leases cannot be read: opens those that have waited for long enough.
    pub fn give_up(&mut self, now: Instant) -> Vec<FullName> {
        let late = self.0.values_mut().filter(|gate| gate.opened.is_none() && now.duration_since(gate.since) >= BOUND);
        late.map(|gate| {
            gate.opened = Some(PassedOver::new());
            gate.name.clone()
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::lease::tests::report;
    use super::*;
    use jiff::Timestamp;

    fn look(at: Instant) -> Look<'static> {
        Look { asked: at, now: at, wall: Timestamp::UNIX_EPOCH, namespace: "entries" }
    }

    fn key(name: &str) -> FullName {
        ("shop".into(), name.into())
    }

    #[test]
    fn a_value_waits_for_every_live_verifier_and_without_any_for_none() {
        let (mut gates, mut leases, start) = (Gates::default(), Leases::default(), Instant::now());
        assert_eq!(gates.ask("u-1", key("a"), [5, 5, 0, 9], start), None, "before a list is read");
        leases.observe(vec![report("v", 1, 8, None)], start);
        assert_eq!(gates.judge(&mut leases, &look(start)).0, []);
        assert_eq!(gates.ask("u-1", key("a"), [7, 7, 0, 9], start), None);
        leases.observe(vec![report("v", 2, 9, None)], start);
        assert_eq!(gates.judge(&mut leases, &look(start)), (vec![key("a")], 0));
        assert_eq!(gates.ask("u-1", key("a"), [70, 70, 0, 9], start), Some(vec![]), "the first asking counts");
        assert_eq!(gates.ask("u-1", key("a"), [70, 70, 0, 90], start), None, "the next value");
        leases.observe(vec![], start);
        assert_eq!(gates.judge(&mut leases, &look(start)).0, [key("a")]);
    }

    #[test]
    fn a_list_that_was_asked_for_before_opens_nothing() {
        let (mut gates, mut leases, start) = (Gates::default(), Leases::default(), Instant::now());
        let later = start + Duration::from_millis(1);
        gates.ask("u-1", key("a"), [0, 0, 0, 9], later);
        assert_eq!(gates.judge(&mut leases, &Look { now: later, ..look(start) }).0, []);
    }

    #[test]
    fn a_silent_verifier_is_waited_for_once_and_then_passed_over_until_it_renews() {
        let (mut gates, mut leases, start) = (Gates::default(), Leases::default(), Instant::now());
        gates.ask("u-1", key("a"), [0, 0, 0, 9], start);
        leases.observe(vec![report("v", 1, 8, None)], start);
        assert_eq!(gates.judge(&mut leases, &look(start + BOUND)), (vec![key("a")], 1));
        assert_eq!(gates.ask("u-1", key("a"), [0, 0, 0, 9], start), Some(vec!["v".into()]));
        gates.ask("u-2", key("b"), [0, 0, 0, 10], start + BOUND);
        assert_eq!(gates.judge(&mut leases, &look(start + BOUND)), (vec![key("b")], 0), "nobody waits again");
        leases.observe(vec![report("v", 2, 8, None)], start + BOUND);
        gates.ask("u-3", key("c"), [0, 0, 0, 11], start + BOUND);
        assert_eq!(gates.judge(&mut leases, &look(start + BOUND)).0, []);
        assert_eq!(gates.give_up(start + BOUND), []);
        assert_eq!(gates.give_up(start + BOUND * 2), [key("c")]);
    }
}
