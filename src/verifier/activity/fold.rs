//! Adds what one verifier has counted to what all of them have said so far. Pure.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::api::{Activity, Bucket, Requests, Source, ValueUse, Writer};

/// How many hours, days, values, sources and writers are kept.
const HOURS: usize = 24;
const DAYS: usize = 7;
const VALUES: usize = 8;
const SOURCES: usize = 8;
const WRITERS: usize = 32;

/// What is new of one key.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Delta {
    /// Calls that passed, and that were refused.
    pub requests: Requests,
    /// The last that was refused, and the code of its answer.
    pub last_denied: Option<(Timestamp, &'static str)>,
    /// The last call that passed with each value.
    pub values: Vec<(String, Timestamp)>,
    /// Products that call, and when each was seen last.
    pub sources: Vec<(String, Timestamp)>,
    /// Networks that call, and when each was seen last.
    pub networks: Vec<(String, Timestamp)>,
}

impl Delta {
    /// There is nothing to write: no call, and no later time of one that is counted already, whose thread was held up
    /// between counting it and noting when.
    pub fn is_nothing(&self) -> bool {
        self.requests == Requests::default() && self.values.is_empty() && self.last_denied.is_none()
    }
}

/// All that is known after this write.
pub fn fold(before: Option<Activity>, delta: &Delta, writer: &Writer, now: Timestamp) -> Activity {
    let before = before.unwrap_or_else(nothing);
    let last_used = delta.values.iter().map(|(_, at)| *at).max();
    let denied = match (&before.last_denied_at, delta.last_denied) {
        (Some(known), Some((at, _))) if known.0 > at => None,
        (_, denied) => denied,
    };
    let values = newest_first(
        before.values.into_iter().map(|value| (value.key_id, value.last_used_at.0)).chain(delta.values.clone()),
        VALUES,
    );
    let sources = |before: Vec<Source>, new: &[(String, Timestamp)]| {
        let all = before.into_iter().map(|source| (source.name, source.last_seen_at.0)).chain(new.to_vec());
        let kept = newest_first(all, SOURCES);
        kept.into_iter().map(|(name, at)| Source { name, last_seen_at: Time(at) }).collect()
    };
    Activity {
        as_of: Time(now.max(before.as_of.0)),
        last_used_at: before.last_used_at.map(|at| at.0).max(last_used).map(Time),
        last_denied_at: denied.map(|(at, _)| Time(at)).or(before.last_denied_at),
        last_denied_code: denied.map(|(_, code)| code.to_owned()).or(before.last_denied_code),
        requests: sum(before.requests, delta.requests),
        hours: counted(before.hours, start(now, 3600), delta.requests, HOURS, now),
        days: counted(before.days, start(now, 86_400), delta.requests, DAYS, now),
        values: values.into_iter().map(|(key_id, at)| ValueUse { key_id, last_used_at: Time(at) }).collect(),
        sources: sources(before.sources, &delta.sources),
        networks: sources(before.networks, &delta.networks),
        writers: written(before.writers, writer),
    }
}

fn nothing() -> Activity {
    Activity {
        as_of: Time(Timestamp::UNIX_EPOCH),
        last_used_at: None,
        last_denied_at: None,
        last_denied_code: None,
        requests: Requests::default(),
        hours: Vec::new(),
        days: Vec::new(),
        values: Vec::new(),
        sources: Vec::new(),
        networks: Vec::new(),
        writers: Vec::new(),
    }
}

fn sum(a: Requests, b: Requests) -> Requests {
    Requests { allowed: a.allowed.saturating_add(b.allowed), denied: a.denied.saturating_add(b.denied) }
}

fn start(now: Timestamp, seconds: i64) -> Timestamp {
    Timestamp::from_second(now.as_second().div_euclid(seconds) * seconds).unwrap_or(now)
}

/// Adds to the bucket that is now, and forgets what is too old. `count` buckets reach back just so far.
fn counted(before: Vec<Bucket>, at: Timestamp, new: Requests, count: usize, now: Timestamp) -> Vec<Bucket> {
    let unit = if count == HOURS { 1 } else { 24 };
    let span = SignedDuration::from_hours(unit * i64::try_from(count).unwrap_or_default());
    let mut buckets: Vec<Bucket> =
        before.into_iter().filter(|bucket| now.duration_since(bucket.start.0) < span).collect();
    match buckets.iter_mut().find(|bucket| bucket.start.0 == at) {
        Some(bucket) => bucket.requests = sum(bucket.requests, new),
        None => buckets.push(Bucket { start: Time(at), requests: new }),
    }
    buckets.sort_by_key(|bucket| std::cmp::Reverse(bucket.start.0));
    buckets.truncate(count);
    buckets
}

/// Each name once, with its latest time.
fn newest_first(all: impl Iterator<Item = (String, Timestamp)>, most: usize) -> Vec<(String, Timestamp)> {
    let mut latest = std::collections::BTreeMap::new();
    for (name, at) in all {
        let known = latest.entry(name).or_insert(at);
        *known = at.max(*known);
    }
    let mut latest: Vec<_> = latest.into_iter().collect();
    latest.sort_by(|(a_name, a), (b_name, b)| b.cmp(a).then_with(|| a_name.cmp(b_name)));
    latest.truncate(most);
    latest
}

fn written(before: Vec<Writer>, writer: &Writer) -> Vec<Writer> {
    let others = before.into_iter().filter(|other| other.name != writer.name);
    std::iter::once(writer.clone()).chain(others).take(WRITERS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + SignedDuration::from_secs(1_800_000_000 + seconds)
    }

    fn writer(name: &str, sequence: i64) -> Writer {
        Writer { name: name.to_owned(), sequence }
    }

    fn used(allowed: i64, denied: i64, seconds: i64) -> Delta {
        Delta {
            requests: Requests { allowed, denied },
            last_denied: (denied > 0).then(|| (at(seconds), "disabled")),
            values: if allowed > 0 { vec![("k1".to_owned(), at(seconds))] } else { Vec::new() },
            sources: vec![("curl/8.5.0".to_owned(), at(seconds))],
            networks: Vec::new(),
        }
    }

    #[test]
    fn two_verifiers_add_up_and_the_later_time_wins_whoever_writes_last() {
        let first = fold(None, &used(3, 1, 100), &writer("a", 1), at(101));
        let both = fold(Some(first), &used(4, 0, 90), &writer("b", 1), at(102));
        assert_eq!(both.requests, Requests { allowed: 7, denied: 1 });
        let latest = Some(Time(at(100)));
        assert_eq!((&both.last_used_at, &both.last_denied_at), (&latest, &latest));
        assert_eq!(both.last_denied_code.as_deref(), Some("disabled"));
        assert_eq!(both.values.len(), 1);
        assert_eq!(both.writers, [writer("b", 1), writer("a", 1)]);
        let again = fold(Some(both), &used(1, 0, 200), &writer("a", 2), at(201));
        assert_eq!(again.writers, [writer("a", 2), writer("b", 1)]);
    }

    #[test]
    fn an_earlier_refusal_does_not_take_the_place_of_a_later_one() {
        let first = fold(None, &used(0, 1, 100), &writer("a", 1), at(101));
        let mut late = used(0, 1, 50);
        late.last_denied = Some((at(50), "unknown"));
        let both = fold(Some(first), &late, &writer("b", 1), at(102));
        assert_eq!((both.last_denied_at, both.last_denied_code.as_deref()), (Some(Time(at(100))), Some("disabled")));
        assert_eq!(both.last_used_at, None);
    }

    #[test]
    fn a_later_time_alone_is_worth_a_write_and_a_source_alone_is_not() {
        let call = used(1, 0, 100);
        assert!(!Delta { requests: Requests::default(), ..call.clone() }.is_nothing());
        assert!(!Delta { last_denied: Some((at(100), "disabled")), ..Delta::default() }.is_nothing());
        assert!(Delta { sources: call.sources, ..Delta::default() }.is_nothing());
    }

    #[test]
    fn buckets_are_one_for_each_hour_and_day_and_old_ones_are_forgotten() {
        let mut activity = None;
        for hour in 0..200 {
            activity = Some(fold(activity, &used(1, 1, hour * 3600), &writer("a", hour), at(hour * 3600)));
            activity = Some(fold(activity, &used(1, 0, hour * 3600), &writer("a", hour), at(hour * 3600 + 60)));
        }
        let activity = activity.unwrap_or_else(nothing);
        assert_eq!((activity.hours.len(), activity.days.len()), (24, 7));
        assert!(activity.hours.iter().all(|bucket| bucket.requests == Requests { allowed: 2, denied: 1 }));
        assert!(activity.days[1..].iter().all(|bucket| bucket.requests == Requests { allowed: 48, denied: 24 }));
        assert!(activity.hours.is_sorted_by(|a, b| a.start.0 > b.start.0));
        assert_eq!(activity.requests, Requests { allowed: 400, denied: 200 });
        let later = fold(Some(activity), &used(1, 0, 400 * 3600), &writer("a", 1), at(400 * 3600));
        assert_eq!((later.hours.len(), later.days.len()), (1, 1));
    }

    #[test]
    fn of_sources_and_writers_the_latest_are_kept() {
        let mut activity = None;
        for n in 0..40 {
            let delta = Delta { sources: vec![(format!("p{n}"), at(n))], ..used(1, 0, n) };
            activity = Some(fold(activity, &delta, &writer(&format!("v{n}"), 1), at(n)));
        }
        let activity = activity.unwrap_or_else(nothing);
        assert_eq!((activity.sources.len(), activity.sources[0].name.as_str()), (8, "p39"));
        assert_eq!((activity.writers.len(), activity.writers[0].name.as_str()), (32, "v39"));
    }
}
