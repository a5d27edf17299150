use std::collections::HashMap;
use std::sync::LazyLock;
use std::sync::atomic::AtomicBool;

use proptest::prelude::*;

use super::*;

fn get(table: &Table<u64>, id: u64) -> Option<u64> {
    table.find(id).get().copied()
}

/// Ids that all belong into one bucket, as long as a shard has at most 64 of them.
static NEIGHBOURS: LazyLock<Vec<u64>> = LazyLock::new(|| neighbours(|_, _| true).take(300).collect());

/// Those whose tags are alike too.
static ALIKE: LazyLock<Vec<u64>> = LazyLock::new(|| neighbours(|one, other| one.tag == other.tag).take(40).collect());

fn neighbours(is_alike: fn(Place, Place) -> bool) -> impl Iterator<Item = u64> {
    let wanted = Place::of(7);
    (8..).filter(move |id| {
        let place = Place::of(*id);
        place.shard == wanted.shard && place.bucket & 63 == wanted.bucket & 63 && is_alike(place, wanted)
    })
}

#[derive(Clone, Debug)]
enum Change {
    Insert(u64, u64),
    Remove(u64),
    Amend(u64, Option<u64>),
}

fn changes(ids: Vec<u64>) -> impl Strategy<Value = Vec<Change>> {
    let id = prop::sample::select(ids);
    let change = prop_oneof![
        4 => (id.clone(), any::<u64>()).prop_map(|(id, value)| Change::Insert(id, value)),
        3 => id.clone().prop_map(Change::Remove),
        1 => (id, any::<Option<u64>>()).prop_map(|(id, value)| Change::Amend(id, value)),
    ];
    prop::collection::vec(change, 0..400)
}

fn is_a_map(changes: Vec<Change>, ids: &[u64]) {
    let (table, mut map) = (Table::default(), HashMap::new());
    for change in changes {
        match change {
            Change::Insert(id, value) => {
                let before = table.insert(id, value);
                assert_eq!(before.and_then(|before| before.get().copied()), map.insert(id, value));
            }
            Change::Remove(id) => {
                let before = table.remove(id);
                assert_eq!(before.and_then(|before| before.get().copied()), map.remove(&id));
            }
            Change::Amend(id, value) => {
                table.try_change(id, |_| value);
                if let Some(known) = map.get_mut(&id) {
                    *known = value.unwrap_or(*known);
                }
            }
        }
        for id in ids {
            assert_eq!(get(&table, *id), map.get(id).copied());
        }
    }
}

proptest! {
    #[test]
    fn it_is_a_map(changes in changes((0..60).collect())) {
        is_a_map(changes, &(0..60).collect::<Vec<_>>());
    }

    #[test]
    fn it_is_a_map_also_where_no_id_looks_other_than_the_next(
        changes in changes(ALIKE.clone())
    ) {
        is_a_map(changes, &ALIKE);
    }
}

#[test]
fn a_bucket_is_one_cache_line() {
    assert_eq!((size_of::<Bucket<u64>>(), align_of::<Bucket<u64>>()), (LINE, LINE));
}

#[test]
fn a_hundred_thousand_values_are_found_and_nearly_all_in_the_bucket_where_they_belong() {
    let table = Table::default();
    let ids = (0..100_000).map(|n: u64| n * n);
    for id in ids.clone() {
        assert!(table.insert(id, id).is_none());
    }
    assert!(ids.clone().all(|id| get(&table, id) == Some(id)));
    let passed =
        |shard: &Shard<u64>| shard.buckets.load().iter().map(|bucket| usize::from(bucket.tags()[SLOTS])).sum::<usize>();
    let passed: usize = table.shards.iter().map(passed).sum();
    assert!(passed < 5_000, "{passed} had to go on");
    for id in ids.clone() {
        assert_eq!(table.remove(id).unwrap().get(), Some(&id));
    }
    assert!(ids.clone().all(|id| get(&table, id).is_none()));
    let is_clean = |shard: &Shard<u64>| shard.buckets.load().iter().all(|bucket| bucket.tags() == [0; SLOTS + 1]);
    assert!(table.shards.iter().all(is_clean), "what was removed leaves nothing behind");
}

#[test]
fn what_was_found_stays_while_it_is_looked_at_whatever_becomes_of_it() {
    let table = Table::default();
    table.insert(1, "old".to_owned());
    let found = table.find(1);
    table.insert(1, "new".to_owned());
    table.remove(1);
    assert_eq!(found.get().map(String::as_str), Some("old"));
    assert!(table.find(1).get().is_none());
}

#[test]
fn who_changes_a_value_in_passing_waits_for_no_writer() {
    let table = Table::default();
    table.insert(1, 1);
    let writer = table.shards[Place::of(1).shard].write();
    table.try_change(1, |_| Some(2));
    assert_eq!(get(&table, 1), Some(1));
    drop(writer);
    table.try_change(1, |_| Some(2));
    assert_eq!(get(&table, 1), Some(2));
}

/// Two read what stays, while others come and go beside it in the same bucket and the shard grows.
#[test]
fn what_stays_is_found_at_every_moment() {
    let (table, is_over) = (Table::default(), AtomicBool::new(false));
    let (stay, come_and_go) = NEIGHBOURS.split_at(20);
    let looked = std::thread::scope(|scope| {
        for id in stay {
            table.insert(*id, *id);
        }
        let read = || {
            let mut looked = 0u64;
            while !is_over.load(Ordering::Relaxed) {
                for id in stay {
                    assert_eq!(get(&table, *id), Some(*id));
                    looked += 1;
                }
            }
            looked
        };
        let readers = [scope.spawn(read), scope.spawn(read)];
        for _ in 0..50 {
            for id in come_and_go {
                table.insert(*id, *id);
            }
            for id in come_and_go.iter().chain(stay) {
                table.insert(*id, *id);
            }
            for id in come_and_go {
                table.remove(*id);
            }
        }
        is_over.store(true, Ordering::Relaxed);
        readers.map(|reader| reader.join().unwrap())
    });
    assert!(looked.iter().all(|times| *times > 0));
}
