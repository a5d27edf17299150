//! A hash table that many read without a lock while one writes.
//!
//! What a verification waits for is memory. So an id alone tells which cache line it stands in, which can be brought in
//! while there is other work; and a look-up tells where the value is before anybody waits for the value itself.
//!
//! The ids are numbers that we drew ourselves, so that to mix their bits is hash enough: nobody can choose some that meet.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::{ArcSwap, ArcSwapAny, Guard};
use prefetch_index::prefetch_index;

/// In so many parts it is made, so that none is long under way when it grows.
const SHARDS: usize = 16;

/// How many values a bucket has room for. With their tags they fill a cache line.
const SLOTS: usize = 7;

/// The length of a cache line in bytes.
const LINE: usize = 64;

/// Values by ids of 64 bits.
pub struct Table<V> {
    shards: [Shard<V>; SHARDS],
}

struct Shard<V> {
    buckets: ArcSwap<Box<[Bucket<V>]>>,
    /// How many values there are; whoever holds it may write.
    used: Mutex<usize>,
}

/// Some values whose ids are alike, and those that had no more room in the bucket before.
#[repr(align(64))]
struct Bucket<V> {
    /// A byte for each slot, which tells of most ids that they are not the one; 0 is an empty slot. The last one tells how
    /// many had no room and stand further on.
    tags: AtomicU64,
    slots: [ArcSwapAny<Link<V>>; SLOTS],
}

type Link<V> = Option<triomphe::Arc<Node<V>>>;

#[repr(C)]
struct Node<V> {
    id: u64,
    value: V,
}

/// What is found stays as it is while this lives.
pub struct Found<V> {
    id: u64,
    /// Perhaps of another id.
    node: Guard<Link<V>>,
}

/// Where an id belongs.
#[derive(Clone, Copy)]
struct Place {
    shard: usize,
    bucket: usize,
    tag: u8,
}

impl Place {
    fn of(id: u64) -> Self {
        // Fibonacci hashing: each of the upper bits depends on all of the id.
        let mixed = (id ^ id >> 32).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let part = |from: u32| usize::try_from(mixed >> from).unwrap_or_default();
        let [.., tag] = mixed.to_le_bytes();
        Self { shard: part(52) % SHARDS, bucket: part(20), tag: tag.max(1) }
    }

    /// The bucket that comes so many after the one where it belongs. There are as many as a power of two.
    fn bucket<V>(self, buckets: &[Bucket<V>], step: usize) -> usize {
        self.bucket.wrapping_add(step) & (buckets.len() - 1)
    }
}

impl<V> Default for Table<V> {
    fn default() -> Self {
        Self { shards: std::array::from_fn(|_| Shard::default()) }
    }
}

impl<V> Table<V> {
    /// Has the memory brought in that a look-up reads first.
    pub fn bring(&self, id: u64) {
        let place = Place::of(id);
        let buckets = self.shards[place.shard].buckets.load();
        prefetch_index(&***buckets, place.bucket(&buckets, 0));
    }

    /// Looks for a value. Its memory is being brought in when this returns.
    pub fn find(&self, id: u64) -> Found<V> {
        let place = Place::of(id);
        let buckets = self.shards[place.shard].buckets.load();
        let node = find(&buckets, id, place);
        if let Some(node) = node.as_ref() {
            for line in 0..size_of::<Node<V>>().div_ceil(LINE) {
                prefetch_index(std::slice::from_ref(&node.id), line * (LINE / size_of::<u64>()));
            }
        }
        Found { id, node }
    }

    /// Puts a value in the place of what was there, and gives that back.
    pub fn insert(&self, id: u64, value: V) -> Option<Found<V>> {
        let place = Place::of(id);
        let shard = &self.shards[place.shard];
        let (mut used, node) = (shard.write(), triomphe::Arc::new(Node { id, value }));
        let buckets = shard.buckets.load();
        if let Some((bucket, slot)) = locate(&buckets, id, place) {
            let before = buckets[bucket].slots[slot].swap(Some(node));
            return Some(Found { id, node: Guard::from_inner(before) });
        }
        *used += 1;
        if *used * 4 > buckets.len() * SLOTS * 3 {
            shard.buckets.store(Arc::new(grown(&buckets)));
        }
        put(&shard.buckets.load(), node, place);
        None
    }

    /// Takes a value out.
    pub fn remove(&self, id: u64) -> Option<Found<V>> {
        let place = Place::of(id);
        let shard = &self.shards[place.shard];
        let (mut used, buckets) = (shard.write(), shard.buckets.load());
        let (at, slot) = locate(&buckets, id, place)?;
        let node = buckets[at].slots[slot].swap(None);
        buckets[at].set_tag(slot, 0);
        for passed in on_the_way(&buckets, place).take_while(|passed| *passed != at) {
            buckets[passed].set_passed(|passed| passed - 1);
        }
        *used -= 1;
        Some(Found { id, node: Guard::from_inner(node) })
    }

    /// Puts in a value's place what `change` makes of it, unless it makes nothing, or somebody else is writing just now: it
    /// waits for nobody.
    pub fn try_change(&self, id: u64, change: impl FnOnce(&V) -> Option<V>) {
        let place = Place::of(id);
        let shard = &self.shards[place.shard];
        let Ok(_used) = shard.used.try_lock() else { return };
        let buckets = shard.buckets.load();
        let Some((bucket, slot)) = locate(&buckets, id, place) else { return };
        let slot = &buckets[bucket].slots[slot];
        let changed = slot.load().as_ref().and_then(|node| change(&node.value));
        if let Some(value) = changed {
            slot.store(Some(triomphe::Arc::new(Node { id, value })));
        }
    }
}

impl<V> Found<V> {
    /// The value, if there is one.
    pub fn get(&self) -> Option<&V> {
        self.node.as_ref().filter(|node| node.id == self.id).map(|node| &node.value)
    }
}

impl<V> Default for Shard<V> {
    fn default() -> Self {
        Self { buckets: ArcSwap::from_pointee(empty(1)), used: Mutex::default() }
    }
}

impl<V> Shard<V> {
    fn write(&self) -> MutexGuard<'_, usize> {
        // Nothing that can panic comes between two steps of a change.
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<V> Default for Bucket<V> {
    fn default() -> Self {
        Self { tags: AtomicU64::new(0), slots: std::array::from_fn(|_| ArcSwapAny::new(None)) }
    }
}

impl<V> Bucket<V> {
    fn tags(&self) -> [u8; SLOTS + 1] {
        self.tags.load(Ordering::Acquire).to_le_bytes()
    }

    /// Only who may write does this.
    fn set_tag(&self, slot: usize, tag: u8) {
        let mut tags = self.tags();
        tags[slot] = tag;
        self.tags.store(u64::from_le_bytes(tags), Ordering::Release);
    }

    /// Likewise. What is too much to be counted stays so until the shard grows.
    fn set_passed(&self, change: impl FnOnce(u8) -> u8) {
        let passed = self.tags()[SLOTS];
        if passed < u8::MAX {
            self.set_tag(SLOTS, change(passed));
        }
    }
}

fn empty<V>(buckets: usize) -> Box<[Bucket<V>]> {
    std::iter::repeat_with(Bucket::default).take(buckets).collect()
}

/// All buckets, in the order in which an id looks for room.
fn on_the_way<V>(buckets: &[Bucket<V>], place: Place) -> impl Iterator<Item = usize> {
    (0..buckets.len()).map(move |step| place.bucket(buckets, step))
}

/// Most often one slot can be it at most, and whether it is can wait until its value is there.
fn find<V>(buckets: &[Bucket<V>], id: u64, place: Place) -> Guard<Link<V>> {
    let first = &buckets[place.bucket(buckets, 0)];
    let tags = first.tags();
    let mut alike = alike(tags, place.tag);
    let found = match (alike.next(), alike.next()) {
        (None, _) if tags[SLOTS] == 0 => None,
        (Some(slot), None) if tags[SLOTS] == 0 => Some(&first.slots[slot]),
        _ => locate(buckets, id, place).map(|(bucket, slot)| &buckets[bucket].slots[slot]),
    };
    found.map_or_else(|| Guard::from_inner(None), ArcSwapAny::load)
}

/// The slots whose tag is this one.
fn alike(tags: [u8; SLOTS + 1], tag: u8) -> impl Iterator<Item = usize> {
    let mut slots = (0..SLOTS).fold(0u8, |slots, slot| slots | u8::from(tags[slot] == tag) << slot);
    std::iter::from_fn(move || {
        let slot = slots.trailing_zeros() as usize;
        slots &= slots.wrapping_sub(1);
        (slot < SLOTS).then_some(slot)
    })
}

/// The bucket and the slot that an id stands in.
fn locate<V>(buckets: &[Bucket<V>], id: u64, place: Place) -> Option<(usize, usize)> {
    for at in on_the_way(buckets, place) {
        let (bucket, tags) = (&buckets[at], buckets[at].tags());
        let is_it = |slot: &usize| bucket.slots[*slot].load().as_ref().is_some_and(|node| node.id == id);
        if let Some(slot) = alike(tags, place.tag).find(is_it) {
            return Some((at, slot));
        }
        if tags[SLOTS] == 0 {
            break;
        }
    }
    None
}

/// Puts in what is not there; there is room.
fn put<V>(buckets: &[Bucket<V>], node: triomphe::Arc<Node<V>>, place: Place) {
    for at in on_the_way(buckets, place) {
        let tags = buckets[at].tags();
        if let Some(slot) = (0..SLOTS).find(|slot| tags[*slot] == 0) {
            // The tag comes last: without a value it would lead readers here for nothing.
            buckets[at].slots[slot].store(Some(node));
            buckets[at].set_tag(slot, place.tag);
            return;
        }
        buckets[at].set_passed(|passed| passed + 1);
    }
}

/// The same values, with twice the room.
fn grown<V>(buckets: &[Bucket<V>]) -> Box<[Bucket<V>]> {
    let grown = empty(buckets.len() * 2);
    for node in buckets.iter().flat_map(|bucket| &bucket.slots).filter_map(ArcSwapAny::load_full) {
        let place = Place::of(node.id);
        put(&grown, node, place);
    }
    grown
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
