//! Budget of what clients can make this process hold, divided between peer addresses: bytes of memory, or places for
//! connections. Pure.
//!
//! Buffers of the HTTP libraries are not counted byte by byte. A connection, a stream and a body each reserve an upper bound
//! of what they can hold before they may hold it; `tests/flood/memory.rs` measures those bounds.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;

/// Budget that listeners of a process may share.
#[derive(Clone, Debug)]
pub struct Budget(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// Units for all peers.
    total: usize,
    /// Units for one peer.
    share: usize,
    used: AtomicUsize,
    refused: AtomicU64,
    peers: Mutex<HashMap<IpAddr, Weak<PeerState>>>,
}

/// Part of the budget that one peer address may use.
#[derive(Clone, Debug)]
pub struct Peer(Arc<PeerState>);

#[derive(Debug)]
struct PeerState {
    address: IpAddr,
    used: AtomicUsize,
    budget: Arc<Shared>,
}

/// Reserved units, returned to the budget on drop.
#[derive(Debug)]
pub struct Reservation {
    peer: Peer,
    units: usize,
}

impl Budget {
    /// Creates a budget of `total` units, of which one peer may use `share_percent`, rounded up.
    pub fn new(total: usize, share_percent: u8) -> Self {
        let percent = usize::from(share_percent.min(100));
        let share = total / 100 * percent + (total % 100 * percent).div_ceil(100);
        Self(Arc::new(Shared {
            total,
            share,
            used: AtomicUsize::new(0),
            refused: AtomicU64::new(0),
            peers: Mutex::default(),
        }))
    }

    /// Returns the account of a peer, the same one for all its connections.
    pub fn peer(&self, address: IpAddr) -> Peer {
        let address = network(address);
        let mut peers = self.0.peers();
        let known = peers.get(&address).and_then(Weak::upgrade);
        Peer(known.unwrap_or_else(|| {
            let peer = Arc::new(PeerState { address, used: AtomicUsize::new(0), budget: self.0.clone() });
            peers.insert(address, Arc::downgrade(&peer));
            peer
        }))
    }
}

impl Collector for Budget {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let used = i64::try_from(self.0.used.load(Ordering::Relaxed)).unwrap_or(i64::MAX);
        let gauge = ConstGauge::new(used);
        let help = "Memory reserved for connections and requests that are not answered yet";
        let unit = Some(&Unit::Bytes);
        gauge.encode(encoder.encode_descriptor("keywright_connection_memory", help, unit, gauge.metric_type())?)?;
        let counter = ConstCounter::new(self.0.refused.load(Ordering::Relaxed));
        let help =
            "Connections and requests refused because their peer, or all together, held as much memory as allowed";
        let name = "keywright_connection_memory_refused";
        counter.encode(encoder.encode_descriptor(name, help, None, counter.metric_type())?)
    }
}

impl Shared {
    fn peers(&self) -> MutexGuard<'_, HashMap<IpAddr, Weak<PeerState>>> {
        // The map is valid after each single operation, so a panic elsewhere does not spoil it.
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Peer {
    /// Reserves units. Returns `None` if the peer's share or the budget would be exceeded.
    pub fn reserve(&self, units: usize) -> Option<Reservation> {
        self.take(units).then(|| Reservation { peer: self.clone(), units })
    }

    fn take(&self, units: usize) -> bool {
        let PeerState { used, budget, .. } = &*self.0;
        let is_taken = add(used, units, budget.share) && {
            let fits = add(&budget.used, units, budget.total);
            if !fits {
                used.fetch_sub(units, Ordering::Relaxed);
            }
            fits
        };
        if !is_taken {
            budget.refused.fetch_add(1, Ordering::Relaxed);
        }
        is_taken
    }

    fn give_back(&self, units: usize) {
        self.0.used.fetch_sub(units, Ordering::Relaxed);
        self.0.budget.used.fetch_sub(units, Ordering::Relaxed);
    }
}

impl Drop for PeerState {
    fn drop(&mut self) {
        // A new connection may have put another account there since the last one closed.
        if let Entry::Occupied(entry) = self.budget.peers().entry(self.address)
            && entry.get().strong_count() == 0
        {
            entry.remove();
        }
    }
}

impl Reservation {
    /// Account that the units belong to.
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// Grows to at least `units`. Returns false, and keeps what it has, if the budget does not allow it.
    pub fn grow_to(&mut self, units: usize) -> bool {
        let missing = units.saturating_sub(self.units);
        if missing > 0 && !self.peer.take(missing) {
            return false;
        }
        self.units += missing;
        true
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.peer.give_back(self.units);
    }
}

fn add(counter: &AtomicUsize, units: usize, limit: usize) -> bool {
    let before = counter.fetch_add(units, Ordering::Relaxed);
    let fits = before.saturating_add(units) <= limit;
    if !fits {
        counter.fetch_sub(units, Ordering::Relaxed);
    }
    fits
}

/// One client usually has a whole /64 of IPv6.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_peer_gets_its_share_and_no_more() {
        let budget = Budget::new(1000, 50);
        let peer = budget.peer(address("192.0.2.1"));
        let held = peer.reserve(500).unwrap();
        assert!(peer.reserve(1).is_none());
        assert!(budget.peer(address("192.0.2.1")).reserve(1).is_none(), "the same account");
        assert!(budget.peer(address("192.0.2.2")).reserve(500).is_some());
        drop(held);
        assert!(peer.reserve(500).is_some());
    }

    #[test]
    fn all_peers_together_stay_within_the_budget() {
        let budget = Budget::new(1000, 50);
        let held: Vec<_> =
            ["192.0.2.1", "192.0.2.2"].map(|peer| budget.peer(address(peer)).reserve(500).unwrap()).into();
        let third = budget.peer(address("192.0.2.3"));
        assert!(third.reserve(1).is_none());
        drop(held);
        assert!(third.reserve(500).is_some(), "nothing is lost when a reservation is refused");
    }

    #[test]
    fn a_reservation_grows_and_returns_all() {
        let budget = Budget::new(1000, 100);
        let peer = budget.peer(address("192.0.2.1"));
        let mut held = peer.reserve(100).unwrap();
        assert!(held.grow_to(900) && held.grow_to(300));
        assert!(!held.grow_to(1001));
        assert!(peer.reserve(100).is_some() && peer.reserve(101).is_none());
        drop(held);
        assert!(peer.reserve(1000).is_some());
    }

    #[test]
    fn addresses_of_one_client_share_an_account() {
        let budget = Budget::new(1000, 50);
        for (one, other) in [("2001:db8::1", "2001:db8::ffff:1"), ("192.0.2.1", "::ffff:192.0.2.1")] {
            let _held = budget.peer(address(one)).reserve(500).unwrap();
            assert!(budget.peer(address(other)).reserve(1).is_none(), "{one} and {other}");
        }
        let _held = budget.peer(address("2001:db8::1")).reserve(500).unwrap();
        assert!(budget.peer(address("2001:db8:0:1::1")).reserve(500).is_some());
    }

    #[test]
    fn peers_without_connections_are_forgotten() {
        let budget = Budget::new(1000, 50);
        let (one, other) = (budget.peer(address("192.0.2.1")), budget.peer(address("192.0.2.2")));
        let held = one.reserve(1).unwrap();
        drop((one, other));
        assert_eq!(budget.0.peers().len(), 1);
        drop(held);
        assert!(budget.0.peers().is_empty());
    }
}
