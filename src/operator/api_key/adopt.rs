//! After a restore an ApiKey has another uid, and its entry names the one of before. A new ApiKey takes over the entry of its
//! name, with the values in it, when whoever restored that entry has said so by a label on it; nobody but the platform can
//! write there. The entry is handed over by compare-and-swap before anything else, so that one key gets it and no other ever:
//! docs/PROTOCOLS.md.

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use kube::ResourceExt;

use super::Error;
use super::facts::Problem;
use crate::api::{ApiKey, Reason, names};
use crate::key::{Entry, Owner, Sealed};
use crate::operator::context::Context;
use crate::operator::entries::Stored;

/// Outcome for the entries of the key's name.
pub enum Adoption {
    /// There is none, of its own or to take over.
    Nothing,
    /// The key has this one.
    Done(Box<Stored>),
    /// It cannot be told which, or until when; nothing is minted meanwhile.
    Refused(Problem),
}

/// What is to be done about the entries of one name.
#[derive(Debug)]
enum Choice<'a> {
    Nothing,
    /// It is this key's already: an operator came no further.
    GoOn(&'a Stored),
    HandOver(&'a Stored),
    Refuse(Problem),
}

/// Of an ApiKey that has no entry. [`StoreError::Lost`](crate::operator::entries::StoreError::Lost) means: observe and plan anew.
pub async fn adopt(context: &Context, key: &ApiKey) -> Result<Adoption, Error> {
    let owner = owner(key);
    let found = match context.entries.of_name(&owner).await {
        Ok(found) => found,
        Err(error) if error.is_unreadable() => {
            let message = format!("an entry of the key's name cannot be read: {error}");
            return Ok(Adoption::Refused(Problem::new(Reason::EntryUnreadable, message)));
        }
        Err(error) => return Err(error.into()),
    };
    if let Some(own) = found.iter().find(|stored| stored.entry.owner.uid == owner.uid) {
        return Ok(Adoption::Done(Box::new(own.clone())));
    }
    let handed = match choose(&found, &owner.uid, (context.now)()) {
        Choice::Nothing => return Ok(Adoption::Nothing),
        Choice::Refuse(problem) => return Ok(Adoption::Refused(problem)),
        Choice::GoOn(stored) => stored.clone(),
        Choice::HandOver(stored) => context.entries.replace(stored, &stored.entry.handed_to(&owner.uid)).await?,
    };
    let adopted = handed.entry.adopted(&owner.uid, sealed_anew(context, &handed.entry, &owner.uid));
    let stored = context.entries.create(&adopted).await?;
    context.metrics.adopted.inc();
    let Owner { namespace, name, .. } = &owner;
    tracing::info!(%namespace, %name, key_id = %adopted.current.id, from = %handed.entry.owner.uid, "took over an entry after a restore");
    // It counts for nothing any more. What stays of it is collected later.
    if let Err(error) = context.entries.delete(&handed).await {
        tracing::info!(%namespace, %name, %error, "the entry that was taken over stays for a while");
    }
    Ok(Adoption::Done(Box::new(stored)))
}

/// Whose the entry of this ApiKey is.
pub fn owner(key: &ApiKey) -> Owner {
    Owner { namespace: key.namespace().unwrap_or_default(), name: key.name_any(), uid: key.uid().unwrap_or_default() }
}

/// A seal names the ApiKey that it was made for. One that does not open stays as it is: its delivery says why.
fn sealed_anew(context: &Context, entry: &Entry, uid: &str) -> Option<Sealed> {
    let sealed = entry.current.sealed.as_ref()?;
    let plaintext = context.sealing_key.open(sealed, &entry.owner.uid, entry.current.id).ok()?;
    context.sealing_key.seal(&plaintext, uid, entry.current.id).ok()
}

fn choose<'a>(found: &'a [Stored], uid: &str, now: Timestamp) -> Choice<'a> {
    if let Some(handed) = found.iter().find(|stored| stored.entry.handed_to.as_deref() == Some(uid)) {
        return Choice::GoOn(handed);
    }
    let mut offered = Vec::new();
    for stored in found.iter().filter(|stored| stored.entry.handed_to.is_none() && !stored.came_as_an_orphan()) {
        match stored.adopt_until().map(|until| is_open(until, now)) {
            Some(Some(true)) => offered.push(stored),
            Some(None) => return Choice::Refuse(no_date(stored)),
            None | Some(Some(false)) => {}
        }
    }
    match offered[..] {
        [] => Choice::Nothing,
        [stored] => Choice::HandOver(stored),
        _ => Choice::Refuse(ambiguous(&offered)),
    }
}

/// Is the last day, as in `2026-11-23`, not over yet in UTC? `None` when it is no date.
pub fn is_open(until: &str, now: Timestamp) -> Option<bool> {
    let next_day = until.parse::<Date>().ok()?.tomorrow().ok()?;
    Some(now < next_day.to_zoned(TimeZone::UTC).ok()?.timestamp())
}

fn no_date(stored: &Stored) -> Problem {
    let message = format!(
        "entry {} has a label {}={}, which is no date; set it to a day such as 2026-11-23, or remove it, and a new value is minted",
        stored.entry.owner.uid,
        names::ADOPT_UNTIL_LABEL,
        stored.adopt_until().unwrap_or_default()
    );
    Problem::new(Reason::AdoptionUnclear, message)
}

fn ambiguous(offered: &[&Stored]) -> Problem {
    let uids: Vec<&str> = offered.iter().map(|stored| stored.entry.owner.uid.as_str()).collect();
    let message = format!(
        "several entries are offered to a key of this name: {}; take the label {} from all but one of them",
        uids.join(", "),
        names::ADOPT_UNTIL_LABEL
    );
    Problem::new(Reason::AdoptionUnclear, message)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;

    const NOON: &str = "2026-11-22T12:00:00Z";

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    /// An entry of shop/billing, restored at ten.
    fn restored(uid: &str, until: Option<&str>, change: impl FnOnce(Entry) -> Entry) -> Stored {
        let json = r#"{"format":1,"owner":{"namespace":"shop","name":"billing","uid":"UID"},"lastSerial":1,"current":{"id":"7hx3k9m2pq4d","prefix":"kw","serial":1,"issuedAt":"2026-11-01T10:00:00Z","deliveredAt":"2026-11-01T10:00:01Z","hash":"x","tag":"1:BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc="},"secret":{"name":"billing","uid":"s-1"}}"#;
        let entry = Entry::from_json(json.replace("UID", uid).as_bytes()).unwrap();
        Stored::for_tests(change(entry), Some(at("2026-11-22T10:00:00Z")), until)
    }

    /// What becomes of them when an ApiKey of uid `new` has no entry.
    fn chosen(found: &[Stored]) -> String {
        match choose(found, "new", at(NOON)) {
            Choice::Nothing => "nothing".to_owned(),
            Choice::GoOn(stored) => format!("go on with {}", stored.entry.owner.uid),
            Choice::HandOver(stored) => format!("hand over {}", stored.entry.owner.uid),
            Choice::Refuse(problem) => problem.message,
        }
    }

    #[test]
    fn an_entry_is_handed_over_only_when_somebody_said_so_and_only_for_that_long() {
        let same = |entry| entry;
        assert_eq!(chosen(&[]), "nothing");
        assert_eq!(chosen(&[restored("old", None, same)]), "nothing", "a key that is re-created is another one");
        assert_eq!(chosen(&[restored("old", Some("2026-11-22"), same)]), "hand over old", "to the end of the day");
        assert_eq!(chosen(&[restored("old", Some("2026-11-21"), same)]), "nothing");
        let message = chosen(&[restored("old", Some("tomorrow"), same)]);
        assert!(message.contains("adopt-until=tomorrow, which is no date"), "{message}");
    }

    #[test]
    fn an_entry_that_was_handed_over_is_that_key_s_alone() {
        let until = Some("2026-12-01");
        assert_eq!(chosen(&[restored("old", until, |e| e.handed_to("another"))]), "nothing");
        assert_eq!(chosen(&[restored("old", None, |e| e.handed_to("new"))]), "go on with old");
        let both = [restored("older", until, |e| e), restored("old", None, |e| e.handed_to("new"))];
        assert_eq!(chosen(&both), "go on with old");
    }

    #[test]
    fn a_key_that_was_deleted_before_the_backup_does_not_come_back() {
        let until = Some("2026-12-01");
        let before = |entry: Entry| entry.orphaned(Some(at("2026-11-20T00:00:00Z")));
        assert_eq!(chosen(&[restored("old", until, before)]), "nothing");
        let since = |entry: Entry| entry.orphaned(Some(at("2026-11-22T11:00:00Z")));
        assert_eq!(chosen(&[restored("old", until, since)]), "hand over old", "missing since it was restored");
        assert_eq!(chosen(&[restored("older", until, before), restored("old", until, |e| e)]), "hand over old");
    }

    #[test]
    fn of_several_that_are_offered_none_is_chosen() {
        let until = Some("2026-12-01");
        let message = chosen(&[restored("one", until, |e| e), restored("two", until, |e| e)]);
        assert!(message.contains("one, two; take the label"), "{message}");
    }

    #[test]
    fn what_is_taken_over_has_the_same_values_and_a_secret_that_is_still_to_be_seen() {
        let old = restored("old", None, |e| e).entry;
        let new = old.handed_to("new").adopted("new", None);
        assert_eq!(
            (new.owner.uid.as_str(), new.adopted_from.as_deref(), new.handed_to.as_deref()),
            ("new", Some("old"), None)
        );
        assert_eq!((&new.current, new.last_serial), (&old.current, 1));
        assert_eq!(new.secret.as_ref().unwrap().ended, Some(crate::key::Ended::Unseen));
        assert_eq!(new.seen("s-2".to_owned()).secret.unwrap().uid, "s-2");
        assert_eq!(new.orphaned_at, None);
    }
}
