//! Order in which a controller reconciles. Pure: wake-ups and outcomes in, the next name out.
//!
//! Namespaces take turns (round robin), and the names of one namespace are first come, first served, so a tenant that wakes
//! 10,000 names delays another tenant by one reconciliation a turn. Names of [`Priority::High`] come before the others and take
//! turns among themselves. A reconciliation that takes long gives its slot back, and its namespace waits then. kube's own
//! controller takes what is due out of a hash set, so that under a steady stream of new objects one of them may wait without
//! end.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::{Duration, Instant};

use super::router::{FullName, Priority};

#[cfg(test)]
mod tests;

/// Slow reconciliations of one namespace, after which it gets no turn until one of them ends.
const SLOW_OF_NAMESPACE: usize = 2;
/// Slow reconciliations of all namespaces. More keep their slots, so that an API server that is slow for all is not flooded.
const MOST_SLOW: usize = 64;

/// Most reconciliations of high priority that begin between two of normal priority, while one of those waits.
const HIGH_IN_A_ROW: u32 = 8;

/// Next reconciliation of a name that is not woken before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Requeue {
    /// Not at all.
    Never,
    /// After this time, with normal priority.
    After(Duration),
    /// After this time, with the priority of the reconciliation that failed.
    Retry(Duration),
}

/// Names that wait, are being reconciled, or rest until some time. Each name is in it once.
pub struct Queue {
    slots: usize,
    high: Lines,
    normal: Lines,
    later: BTreeSet<(Instant, FullName)>,
    places: HashMap<FullName, Place>,
    /// Reconciliations under way.
    high_taken: usize,
    normal_taken: usize,
    /// Reconciliations under way that have given back their slots, by namespace.
    slow: HashMap<String, usize>,
    /// Reconciliations of high priority that began since the last one of normal priority.
    in_a_row: u32,
}

#[derive(Clone, Copy)]
enum Place {
    Due {
        priority: Priority,
        ticket: Ticket,
    },
    /// Being reconciled. `woken` is the highest priority of the wake-ups since that began, whose cause the reconciliation may
    /// have missed.
    Taken {
        priority: Priority,
        woken: Option<Priority>,
        is_slow: bool,
    },
    Later {
        priority: Priority,
        at: Instant,
    },
}

impl Queue {
    /// Makes a queue for this many reconciliations at once. One more slot is reserved for high priority, so that slow
    /// reconciliations of normal priority do not delay it.
    pub fn new(slots: u16) -> Self {
        Self {
            slots: slots.into(),
            high: Lines::default(),
            normal: Lines::default(),
            later: BTreeSet::new(),
            places: HashMap::new(),
            high_taken: 0,
            normal_taken: 0,
            slow: HashMap::new(),
            in_a_row: 0,
        }
    }

    /// Puts a name at the end of its namespace's line, unless it waits there already with this priority or a higher one.
    pub fn wake(&mut self, name: FullName, mut priority: Priority) {
        match self.places.get_mut(&name) {
            Some(Place::Due { priority: waits, .. }) if *waits >= priority => return,
            Some(&mut Place::Due { priority: waits, ticket }) => self.lines(waits).remove(&name, ticket),
            Some(Place::Taken { woken, .. }) => {
                *woken = (*woken).max(Some(priority));
                return;
            }
            Some(Place::Later { priority: kept, at }) => {
                priority = priority.max(*kept);
                self.later.remove(&(*at, name.clone()));
            }
            None => {}
        }
        self.put_due(name, priority);
    }

    /// Returns the name that is reconciled next, if there is one and a slot for it. No name is returned twice at once.
    pub fn take(&mut self, now: Instant) -> Option<FullName> {
        while self.later.first().is_some_and(|(at, _)| *at <= now) {
            let (_, name) = self.later.pop_first()?;
            let priority = match self.places.get(&name) {
                Some(Place::Later { priority, .. }) => *priority,
                _ => Priority::Normal,
            };
            self.put_due(name, priority);
        }
        let priority = self.next_priority()?;
        let name = self.lines(priority).pop()?;
        match priority {
            Priority::High => (self.high_taken, self.in_a_row) = (self.high_taken + 1, self.in_a_row.saturating_add(1)),
            Priority::Normal => (self.normal_taken, self.in_a_row) = (self.normal_taken + 1, 0),
        }
        self.places.insert(name.clone(), Place::Taken { priority, woken: None, is_slow: false });
        Some(name)
    }

    /// Notes that a reconciliation takes long. It no longer occupies a slot: what one tenant stores can make the API server slow
    /// for that tenant's objects, and must not delay the others.
    pub fn slow(&mut self, name: &FullName) {
        let Some(Place::Taken { priority, is_slow, .. }) = self.places.get_mut(name) else { return };
        if *is_slow || self.slow.values().sum::<usize>() >= MOST_SLOW {
            return;
        }
        *is_slow = true;
        match priority {
            Priority::High => self.high_taken -= 1,
            Priority::Normal => self.normal_taken -= 1,
        }
        let count = self.slow.entry(name.0.clone()).or_default();
        *count += 1;
        if *count == SLOW_OF_NAMESPACE {
            self.high.block(&name.0);
            self.normal.block(&name.0);
        }
    }

    fn no_longer_slow(&mut self, namespace: &str) {
        let Some(count) = self.slow.get_mut(namespace) else { return };
        *count -= 1;
        if *count < SLOW_OF_NAMESPACE {
            self.high.unblock(namespace);
            self.normal.unblock(namespace);
        }
        if *count == 0 {
            self.slow.remove(namespace);
        }
    }

    /// Notes that a reconciliation ended. A wake-up in between puts the name back into its namespace's line at once.
    pub fn done(&mut self, name: FullName, requeue: Requeue, now: Instant) {
        let Some(Place::Taken { priority: taken, woken, is_slow }) = self.places.remove(&name) else { return };
        match taken {
            _ if is_slow => self.no_longer_slow(&name.0),
            Priority::High => self.high_taken -= 1,
            Priority::Normal => self.normal_taken -= 1,
        }
        let (pause, priority) = match requeue {
            Requeue::Never => (None, Priority::Normal),
            Requeue::After(pause) => (Some(pause), Priority::Normal),
            Requeue::Retry(pause) => (Some(pause), taken),
        };
        if let Some(woken) = woken {
            self.put_due(name, woken.max(priority));
        } else if let Some(at) = pause.and_then(|pause| now.checked_add(pause)) {
            // A pause beyond what the clock can count is endless.
            self.later.insert((at, name.clone()));
            self.places.insert(name, Place::Later { priority, at });
        }
    }

    /// Returns the time at which the first of the names that rest is due.
    pub fn next_at(&self) -> Option<Instant> {
        self.later.first().map(|(at, _)| *at)
    }

    fn next_priority(&self) -> Option<Priority> {
        if self.high_taken + self.normal_taken > self.slots {
            return None;
        }
        let is_normal_next = !self.normal.is_empty() && self.normal_taken < self.slots;
        match (self.high.is_empty(), is_normal_next) {
            (false, true) if self.in_a_row < HIGH_IN_A_ROW => Some(Priority::High),
            (false, false) => Some(Priority::High),
            (_, true) => Some(Priority::Normal),
            (true, false) => None,
        }
    }

    fn lines(&mut self, priority: Priority) -> &mut Lines {
        match priority {
            Priority::High => &mut self.high,
            Priority::Normal => &mut self.normal,
        }
    }

    fn put_due(&mut self, name: FullName, priority: Priority) {
        let ticket = self.lines(priority).push(&name);
        self.places.insert(name, Place::Due { priority, ticket });
    }
}

/// A number that rises: the order of names in a line, and of the turns of namespaces.
type Ticket = u64;

/// Waiting names of one priority, in one line for each namespace. Every operation takes logarithmic time.
#[derive(Default)]
struct Lines {
    last: Ticket,
    of_namespace: HashMap<String, Line>,
    /// Namespaces with waiting names, by their next turn.
    turns: BTreeMap<Ticket, String>,
    /// Namespaces that get no turn.
    blocked: HashSet<String>,
}

struct Line {
    /// `None` while the namespace is blocked.
    turn: Option<Ticket>,
    names: BTreeMap<Ticket, String>,
}

impl Lines {
    fn is_empty(&self) -> bool {
        self.turns.is_empty()
    }

    /// Adds a name at the end of its namespace's line. A namespace without a line gets the last turn.
    fn push(&mut self, (namespace, name): &FullName) -> Ticket {
        self.last += 1;
        let ticket = self.last;
        let line = self.of_namespace.entry(namespace.clone()).or_insert_with(|| {
            let turn = (!self.blocked.contains(namespace)).then_some(ticket);
            self.turns.extend(turn.map(|turn| (turn, namespace.clone())));
            Line { turn, names: BTreeMap::new() }
        });
        line.names.insert(ticket, name.clone());
        ticket
    }

    /// Takes the first name of the namespace whose turn it is, which then gets the last turn.
    fn pop(&mut self) -> Option<FullName> {
        let (_, namespace) = self.turns.pop_first()?;
        let line = self.of_namespace.get_mut(&namespace)?;
        let (_, name) = line.names.pop_first()?;
        if line.names.is_empty() {
            self.of_namespace.remove(&namespace);
        } else {
            self.last += 1;
            line.turn = Some(self.last);
            self.turns.insert(self.last, namespace.clone());
        }
        Some((namespace, name))
    }

    fn remove(&mut self, (namespace, _): &FullName, ticket: Ticket) {
        let Some(line) = self.of_namespace.get_mut(namespace) else { return };
        line.names.remove(&ticket);
        if line.names.is_empty() {
            line.turn.map(|turn| self.turns.remove(&turn));
            self.of_namespace.remove(namespace);
        }
    }

    /// Takes the turn of a namespace, whose names wait on.
    fn block(&mut self, namespace: &str) {
        self.blocked.insert(namespace.to_owned());
        let turn = self.of_namespace.get_mut(namespace).and_then(|line| line.turn.take());
        turn.map(|turn| self.turns.remove(&turn));
    }

    /// Gives a namespace the last turn again.
    fn unblock(&mut self, namespace: &str) {
        if self.blocked.remove(namespace)
            && let Some(line) = self.of_namespace.get_mut(namespace)
        {
            self.last += 1;
            line.turn = Some(self.last);
            self.turns.insert(self.last, namespace.to_owned());
        }
    }
}
