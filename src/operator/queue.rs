//! Whose turn it is: first come, first served. Pure: wake-ups and outcomes in, the next name out.
//!
//! kube's own controller takes what is due out of a hash set, so that under a steady stream of new objects one of them may
//! wait for ever.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::{Duration, Instant};

use super::router::FullName;

#[cfg(test)]
mod tests;

/// When to look again at what was just looked at; never without a wake-up, if it is none.
pub type Again = Option<Duration>;

/// Who waits, who is looked at, and who rests until when. Each name is in it once.
#[derive(Default)]
pub struct Queue {
    due: VecDeque<FullName>,
    later: BTreeSet<(Instant, FullName)>,
    places: HashMap<FullName, Place>,
}

#[derive(Clone, Copy)]
enum Place {
    Due,
    /// Being looked at; whether it was woken since that began, so that what woke it may have been overlooked.
    Taken {
        is_woken: bool,
    },
    Later(Instant),
}

impl Queue {
    /// To be looked at as soon as it is its turn.
    pub fn wake(&mut self, name: FullName) {
        match self.places.get_mut(&name) {
            Some(Place::Due) => return,
            Some(Place::Taken { is_woken }) => {
                *is_woken = true;
                return;
            }
            Some(Place::Later(at)) => drop(self.later.remove(&(*at, name.clone()))),
            None => {}
        }
        self.put(name, Place::Due);
    }

    /// Whose turn it is. Nobody has it twice at once.
    pub fn take(&mut self, now: Instant) -> Option<FullName> {
        while self.later.first().is_some_and(|(at, _)| *at <= now) {
            let (_, name) = self.later.pop_first()?;
            self.put(name, Place::Due);
        }
        let name = self.due.pop_front()?;
        self.places.insert(name.clone(), Place::Taken { is_woken: false });
        Some(name)
    }

    /// It was looked at. A wake-up in between makes it wait for its turn at once.
    pub fn done(&mut self, name: FullName, again: Again, now: Instant) {
        let is_woken = matches!(self.places.remove(&name), Some(Place::Taken { is_woken: true }));
        // What is further away than clocks count is never.
        let later = again.and_then(|pause| now.checked_add(pause)).map(Place::Later);
        if let Some(place) = if is_woken { Some(Place::Due) } else { later } {
            self.put(name, place);
        }
    }

    /// When the next one of those that rest is due.
    pub fn next_at(&self) -> Option<Instant> {
        self.later.first().map(|(at, _)| *at)
    }

    fn put(&mut self, name: FullName, place: Place) {
        match place {
            Place::Due => self.due.push_back(name.clone()),
            Place::Later(at) => drop(self.later.insert((at, name.clone()))),
            Place::Taken { .. } => {}
        }
        self.places.insert(name, place);
    }
}
