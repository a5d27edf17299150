//! Which entry may follow which: held at every swap.

use keywright::api::REVISION_STEP;
use keywright::key::{Credential, CredentialEnd, Delivery, Ended, Entry, Limits, MOST_RETIRING};
use keywright::operator::api_key::facts::Presence;

use super::operator::Operator;
use super::world::World;

/// Every change of an entry has a reason, and forgets nothing.
pub fn hold_history(before: Option<&Entry>, next: &Entry, by: &Operator) {
    assert_eq!((next.current.serial, &next.owner), (next.last_serial, &World::owner()));
    let Some(before) = before else {
        assert_eq!((next.last_serial, next.revision), (1, by.seen.key.spec.revision()));
        assert!(next.revision <= REVISION_STEP, "no single write uses up all revisions");
        return assert!(next.retiring.is_empty() && next.secret.is_none() && next.undelivered().is_some());
    };
    assert_eq!(next.cloned, before.cloned, "resolved once");
    assert!(next.revision >= before.revision);
    for (was, is) in same_serials(before, next) {
        assert!(was.ended.is_none() || is.ended == was.ended, "an end is for good");
    }
    if let Some(ends) = ends(before, next) {
        return hold_ends(before, next, &ends, by);
    }
    if next.revoked_before != before.revoked_before {
        assert_eq!(next.revoked_before, by.seen.key.spec.revoke_before(), "as the spec has it");
        let same = next.released(&recorded(before));
        return assert_eq!(&same, before, "nothing else changes");
    }
    if next.last_serial != before.last_serial {
        hold_minting(before, next, by);
    } else if before.undelivered().is_some() && next.undelivered().is_none() {
        hold_delivery(before, next, by);
    } else {
        let how = next.secret.as_ref().and_then(|secret| secret.ended);
        let mut undone = next.clone();
        undone.secret.as_mut().unwrap().ended = None;
        assert_eq!(&undone, before, "nothing else changes, and it ended only once");
        if how == Some(Ended::Removed) {
            assert_eq!(by.seen.secret, Some(Presence::Missing), "something else stands there");
        } else {
            let shown = by.seen.key.spec.shown_for().expect("delivery Once");
            assert!(
                before.newest_delivery().unwrap().1.delivered_at.unwrap().checked_add(shown).unwrap() <= by.now,
                "shown for its time"
            );
        }
    }
}

/// What an entry has recorded.
fn recorded(entry: &Entry) -> Limits {
    Limits { revoke_before: entry.revoked_before, generation: entry.revoked_in, max_lifetime: None }
}

/// Each credential that both entries have.
fn same_serials<'e>(before: &'e Entry, next: &'e Entry) -> impl Iterator<Item = (&'e Credential, &'e Credential)> {
    next.credentials().filter_map(|is| Some((before.credentials().find(|was| was.serial == is.serial)?, is)))
}

/// The credentials that the change ends, with their ends; none where it ends none.
fn ends(before: &Entry, next: &Entry) -> Option<Vec<(Credential, CredentialEnd)>> {
    let new = same_serials(before, next).filter(|(was, _)| was.ended.is_none());
    let ends: Vec<_> = new.filter_map(|(was, is)| Some((was.clone(), is.ended?))).collect();
    (!ends.is_empty()).then_some(ends)
}

fn hold_ends(before: &Entry, next: &Entry, ends: &[(Credential, CredentialEnd)], by: &Operator) {
    assert_eq!(next.revoked_before, before.revoked_before.max(by.seen.key.spec.revoke_before()));
    let mut undone = next.released(&recorded(before));
    for credential in std::iter::once(&mut undone.current).chain(&mut undone.retiring) {
        if ends.iter().any(|(ended, _)| ended.serial == credential.serial) {
            credential.ended = None;
        }
    }
    assert_eq!(&undone, before, "nothing else changes");
    for (credential, end) in ends {
        match end {
            CredentialEnd::Revoked => {
                let revoke_before = by.seen.key.spec.revoke_before().expect("a revocation");
                assert!(credential.issued_at.as_second() <= revoke_before.as_second(), "it covers the value");
            }
            CredentialEnd::Expired => {
                let lifetime = by.seen.account.as_ref().and_then(|account| account.spec.max_lifetime());
                assert!(credential.issued_at + lifetime.expect("a lifetime") <= by.now, "it is too old");
            }
        }
    }
}

fn hold_minting(before: &Entry, next: &Entry, by: &Operator) {
    let spec = &by.seen.key.spec;
    assert_eq!(next.last_serial, before.last_serial + 1);
    assert!(before.undelivered().is_none(), "minted only when the newest is delivered");
    let expected: Vec<&Credential> = before.credentials().collect();
    let next_retiring: Vec<&Credential> = next.retiring.iter().collect();
    assert!(next_retiring.len() <= MOST_RETIRING);
    if expected.len() <= MOST_RETIRING {
        assert_eq!(next_retiring, expected, "all go on, each to its own time");
    } else {
        let first =
            before.retiring.iter().min_by_key(|retiring| (retiring.ended.is_none(), retiring.retires_at)).unwrap();
        let expected: Vec<&Credential> = expected.into_iter().filter(|value| value.serial != first.serial).collect();
        assert_eq!(next_retiring, expected, "of too many the one that retires first ends");
    }
    let is_raised = spec.revision() > before.revision && spec.revision() <= before.revision + REVISION_STEP;
    let due = |interval| before.current.issued_at.checked_add(interval).unwrap() <= by.now;
    assert!(is_raised || spec.rotation_interval().is_some_and(due), "nobody asked for serial {}", next.last_serial);
    assert_eq!(next.revision, if is_raised { spec.revision() } else { before.revision });
    let issued = next.current.issued_at.as_second();
    assert!(before.revoked_before.is_none_or(|at| at.as_second() < issued), "issued after what is recorded");
    assert!(spec.revoke_before().is_none_or(|at| at.as_second() < issued), "revoked before it was made");
}

fn hold_delivery(before: &Entry, next: &Entry, by: &Operator) {
    let delivered_at = next.current.delivered_at.unwrap();
    assert_eq!(next.current.sealed, None);
    assert_eq!((next.current.id, next.current.issued_at), (before.current.id, before.current.issued_at));
    assert!(matches!(&next.secret, Some(Delivery { ended: None, .. })));
    let retires_at = delivered_at.checked_add(by.seen.key.spec.overlap()).unwrap();
    let still = before.retiring.iter().filter(|retiring| retiring.retires_at.is_none_or(|at| at > delivered_at));
    let expected: Vec<Credential> = still
        .map(|retiring| Credential { retires_at: retiring.retires_at.or(Some(retires_at)), ..retiring.clone() })
        .collect();
    assert_eq!(next.retiring, expected, "the overlap counts from the delivery");
}
