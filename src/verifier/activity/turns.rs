//! Order of what is due: namespaces take turns (round robin), and one namespace is served first come, first served. So a
//! tenant with thousands of keys in use delays another tenant's by one write a turn. Pure.

use std::collections::{BTreeMap, HashMap, VecDeque};

use super::ledger::Tick;

/// Queue of items that become due at a time.
pub struct Turns<T> {
    later: BTreeMap<Tick, VecDeque<T>>,
    due: HashMap<Box<str>, VecDeque<(Tick, T)>>,
    /// Namespaces of which something is due, the next one first.
    namespaces: VecDeque<Box<str>>,
}

impl<T> Default for Turns<T> {
    fn default() -> Self {
        Self { later: BTreeMap::new(), due: HashMap::new(), namespaces: VecDeque::new() }
    }
}

impl<T> Turns<T> {
    /// Adds what is due at a time.
    pub fn push(&mut self, tick: Tick, item: T) {
        self.later.entry(tick).or_default().push_back(item);
    }

    /// Takes what is next of all that is due, with the time at which it was due.
    pub fn pop(&mut self, now: Tick, namespace: impl Fn(&T) -> &str) -> Option<(Tick, T)> {
        self.ripen(now, namespace);
        let turn = self.namespaces.pop_front()?;
        let line = self.due.get_mut(&turn)?;
        let next = line.pop_front()?;
        if line.is_empty() {
            self.due.remove(&turn);
        } else {
            self.namespaces.push_back(turn);
        }
        Some(next)
    }

    fn ripen(&mut self, now: Tick, namespace: impl Fn(&T) -> &str) {
        while let Some(first) = self.later.first_entry().filter(|first| *first.key() <= now) {
            let (tick, items) = first.remove_entry();
            for item in items {
                let namespace = namespace(&item);
                if let Some(line) = self.due.get_mut(namespace) {
                    line.push_back((tick, item));
                    continue;
                }
                let namespace: Box<str> = namespace.into();
                self.namespaces.push_back(namespace.clone());
                self.due.insert(namespace, VecDeque::from([(tick, item)]));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn namespace<'i>(item: &'i &'static str) -> &'i str {
        item.split('/').next().unwrap_or_default()
    }

    fn all(turns: &mut Turns<&'static str>, now: Tick) -> Vec<&'static str> {
        std::iter::from_fn(|| turns.pop(now, namespace)).map(|(_, item)| item).collect()
    }

    #[test]
    fn namespaces_take_turns_and_each_is_served_in_order() {
        let mut turns = Turns::default();
        for (tick, item) in [(1, "a/1"), (1, "a/2"), (2, "a/3"), (3, "b/1"), (3, "b/2"), (4, "c/1"), (9, "a/4")] {
            turns.push(tick, item);
        }
        assert_eq!(all(&mut turns, 2), ["a/1", "a/2", "a/3"]);
        assert_eq!(all(&mut turns, 4), ["b/1", "c/1", "b/2"]);
        assert_eq!(all(&mut turns, 8), [""; 0]);
        turns.push(5, "b/3");
        assert_eq!(all(&mut turns, 9), ["b/3", "a/4"]);
    }

    #[test]
    fn a_late_namespace_waits_for_one_of_each_other() {
        let mut turns = Turns::default();
        (0..1000).for_each(|_| turns.push(1, "loud/key"));
        assert!(turns.pop(1, namespace).is_some());
        turns.push(2, "quiet/key");
        let before = std::iter::from_fn(|| turns.pop(2, namespace)).take_while(|(_, item)| *item != "quiet/key");
        assert_eq!(before.count(), 1);
    }
}
