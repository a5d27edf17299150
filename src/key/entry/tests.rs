#![allow(clippy::unwrap_used)]

use super::*;
use crate::key::{CredentialEnd, Plaintext, SealingKey, revoked_until};

const STORED: &str = r#"{"format":1,"owner":{"namespace":"shop","name":"billing","uid":"8f1c"},"lastSerial":1,"current":{"id":"7hx3k9m2pq4d","prefix":"kw","serial":1,"issuedAt":"2026-11-22T10:00:00Z","hash":"$argon2id$v=19$m=64,t=1,p=1$c2FsdHNhbHQ$aGFzaA","tag":"1:BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=","sealed":"AQID"}}"#;

#[test]
fn the_stored_form_is_locked() {
    let entry = Entry::from_json(STORED.as_bytes()).unwrap();
    assert_eq!(String::from_utf8(entry.to_json().unwrap()).unwrap(), STORED);
    assert_eq!(entry.current.hint(), "kw_7hx3k9m2pq4d_…");
}

#[test]
fn an_entry_of_a_later_version_is_not_guessed_at() {
    let later = STORED.replace("\"format\":1", "\"format\":2");
    assert!(matches!(Entry::from_json(later.as_bytes()), Err(EntryError::Format(2))));
    let unknown = STORED.replace("\"lastSerial\"", "\"onlyOnMondays\":true,\"lastSerial\"");
    assert!(matches!(Entry::from_json(unknown.as_bytes()), Err(EntryError::Json(_))));
}

#[test]
fn delivery_erases_the_seal_and_notes_the_secret() {
    let entry = Entry::from_json(STORED.as_bytes()).unwrap();
    assert!(entry.undelivered().is_some());
    let secret = Delivery { name: "billing".into(), uid: "s-1".into(), ended: None, template: None };
    let next = entry.delivered(secret.clone(), Duration::ZERO, Timestamp::UNIX_EPOCH);
    assert!(next.undelivered().is_none());
    assert_eq!(next.current.sealed, None);
    assert_eq!(next.secret, Some(secret));
}

#[test]
fn each_value_retires_when_its_own_overlap_is_over() {
    let at = |second: i64| Timestamp::from_second(second).unwrap();
    let secret = || Delivery { name: "billing".into(), uid: "s-1".into(), ended: None, template: None };
    let first = Entry::from_json(STORED.as_bytes()).unwrap().delivered(secret(), Duration::ZERO, at(0));
    let next = |serial, revision| Credential {
        serial,
        revision,
        delivered_at: None,
        sealed: Some(
            SealingKey::generate().unwrap().seal(&Plaintext::mint("kw").unwrap(), "8f1c", first.current.id).unwrap(),
        ),
        ..first.current.clone()
    };
    let second = first.rotated(next(2, 5));
    assert_eq!((second.last_serial, second.revision), (2, 5));
    let retiring = |entry: &Entry| entry.retiring.iter().map(|c| (c.serial, c.retires_at)).collect::<Vec<_>>();
    assert_eq!(retiring(&second), [(1, None)]);
    let second = second.delivered(secret(), Duration::from_mins(1), at(100));
    assert_eq!(retiring(&second), [(1, Some(at(160)))]);
    let third = second.rotated(next(3, 4));
    assert_eq!(retiring(&third), [(2, None), (1, Some(at(160)))], "the second works until the third is delivered");
    assert_eq!(third.revision, 5, "the highest one seen");
    let third = third.delivered(secret(), Duration::from_mins(1), at(130));
    assert_eq!(retiring(&third), [(2, Some(at(190))), (1, Some(at(160)))], "each to its own time");
    let fourth = third.rotated(next(4, 6)).delivered(secret(), Duration::ZERO, at(160));
    assert_eq!(retiring(&fourth), [(3, Some(at(160))), (2, Some(at(190)))], "the first has retired");
    let many = (5..=8).fold(fourth, |entry, serial| {
        let overlap = Duration::from_mins(serial);
        entry.rotated(next(serial, 6)).delivered(secret(), overlap, at(170))
    });
    let serials = many.credentials().map(|c| c.serial).collect::<Vec<_>>();
    assert_eq!(serials, [8, 7, 6, 5, 4, 2], "the third had retired");
    let one_more = many.rotated(next(9, 6));
    let serials = one_more.credentials().map(|c| c.serial).collect::<Vec<_>>();
    assert_eq!(serials, [9, 8, 7, 6, 5, 4], "of six the one that retires first ends");
}

#[test]
fn ended_credential_stays_ended_whatever_the_limits() {
    let at = |text: &str| text.parse::<Timestamp>().unwrap();
    let entry = Entry::from_json(STORED.as_bytes()).unwrap();
    let revoked = |before: &str| Limits { revoke_before: Some(at(before)), ..Limits::default() };
    let aged = |minutes| Limits { max_lifetime: Some(Duration::from_mins(minutes)), ..Limits::default() };
    let now = at("2026-11-22T10:30:00Z");
    assert_eq!(entry.ending(&Limits::default(), now), None);
    assert_eq!(entry.ending(&aged(31), now), None, "young enough");
    let recorded = entry.ending(&revoked("2026-11-22T09:59:59.999Z"), now).unwrap();
    assert_eq!((recorded.current.ended, recorded.revoked_before.is_some()), (None, true), "issued later");
    let end = |limits: &Limits| entry.ending(limits, now).unwrap();
    assert_eq!(end(&revoked("2026-11-22T10:00:00Z")).current.ended, Some(CredentialEnd::Revoked), "in that second");
    assert_eq!(end(&aged(30)).current.ended, Some(CredentialEnd::Expired));
    let ended = end(&revoked("2027-01-01T00:00:00Z"));
    assert_eq!(ended.current.ended, Some(CredentialEnd::Revoked), "in advance");
    for limits in [Limits::default(), aged(1), revoked("2026-11-22T10:00:00Z")] {
        assert_eq!(ended.ending(&limits, now), None, "{limits:?}");
    }
    let read = Entry::from_json(&ended.to_json().unwrap()).unwrap();
    assert_eq!(read.current.ended, Some(CredentialEnd::Revoked));
}

#[test]
fn each_generation_of_a_revocation_changes_the_record() {
    let now = "2026-11-22T10:30:00Z".parse().unwrap();
    let entry = Entry::from_json(STORED.as_bytes()).unwrap();
    let limits = |generation| Limits { revoke_before: Some(now), generation: Some(generation), max_lifetime: None };
    let first = entry.ending(&limits(3), now).unwrap();
    assert_eq!(first.ending(&limits(3), now), None);
    assert_eq!(first.ending(&limits(4), now).unwrap().revoked_in, Some(4));
    let removed = Limits { generation: Some(5), ..Limits::default() };
    assert_eq!(first.ending(&removed, now), None, "no revocation");
    assert!(first.outdates(Some(2)) && !first.outdates(Some(3)) && !entry.outdates(None));
    let released = first.released(&removed);
    assert_eq!((released.revoked_before, released.outdates(Some(4))), (None, true));
}

#[test]
fn rotation_drops_an_ended_credential_first() {
    let at = |second: i64| Timestamp::from_second(second).unwrap();
    let secret = || Delivery { name: "billing".into(), uid: "s-1".into(), ended: None, template: None };
    let mut entry = Entry::from_json(STORED.as_bytes()).unwrap().delivered(secret(), Duration::ZERO, at(0));
    for serial in 2..=6 {
        let next = Credential { serial, delivered_at: None, ..entry.current.clone() };
        entry = entry.rotated(next).delivered(secret(), Duration::from_hours(serial), at(100));
    }
    entry.retiring[1].ended = Some(CredentialEnd::Revoked);
    let next = entry.rotated(Credential { serial: 7, ..entry.current.clone() });
    assert_eq!(next.credentials().map(|c| c.serial).collect::<Vec<_>>(), [7, 6, 5, 3, 2, 1]);
}

#[test]
fn second_of_a_revocation_is_covered_whole() {
    for (before, until) in [
        ("2026-11-22T10:00:00Z", "2026-11-22T10:00:01Z"),
        ("2026-11-22T10:00:00.999999999Z", "2026-11-22T10:00:01Z"),
        ("1969-12-31T23:59:59.5Z", "1970-01-01T00:00:00Z"),
    ] {
        assert_eq!(revoked_until(before.parse().unwrap()), until.parse::<Timestamp>().unwrap(), "{before}");
    }
    assert_eq!(revoked_until(Timestamp::MAX), Timestamp::MAX);
}

#[test]
fn debug_output_holds_no_key_material() {
    let entry = Entry::from_json(STORED.as_bytes()).unwrap();
    let shown = format!("{entry:?}");
    assert!(!shown.contains("AQID") && !shown.contains("BwcH"), "{shown}");
}
