//! What is to be done about one ApiKey: facts in, actions and the next deadline out. Pure.

use std::time::Duration;

use jiff::Timestamp;

use super::facts::{Facts, Presence, Problem};
use super::honour;
use crate::api::{Account, ApiKey, REVISION_STEP, Reason};
use crate::key::{Cloned, Credential, Ended, Entry, Limits, revoked_until};

/// One thing to do. They are done in order; each is safe to repeat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Commit a new value to the entry: whoever comes second goes on with the first one's.
    Mint {
        /// Which minting it is.
        serial: u64,
        /// The revision that it is for.
        revision: i64,
        /// What is recorded of the source, with the first value of a clone.
        cloned: Option<Cloned>,
    },
    /// Write the committed value into the Secret, then mark it delivered.
    Deliver,
    /// Note in the entry which Secret is the one that was delivered before a restore.
    NoteSeen,
    /// Record in the entry which credentials have ended for good.
    NoteEnds,
    /// Let values be issued again, after the owner has moved a recorded `revokeBefore` of the future.
    Release,
    /// Note in the entry that somebody deleted the Secret.
    NoteRemoved,
    /// Note in the entry that the value was shown for its time, and blank and delete its Secret.
    Conceal,
}

/// What is to be done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// In this order.
    pub actions: Vec<Action>,
    /// Why nothing more is done.
    pub problem: Option<Problem>,
    /// The status has to be written before more is done.
    pub awaits_status: bool,
    /// When time alone changes something.
    pub next: Option<Timestamp>,
}

/// What is to be done, given what is.
pub fn plan(facts: &Facts<'_>, now: Timestamp) -> Plan {
    if facts.key.metadata.deletion_timestamp.is_some() {
        return Plan::default();
    }
    // A value that was committed before stays as it is when the spec cannot be honoured; the verifier refuses what the
    // account does not allow, and a Secret that is only shown for a time goes all the same.
    let (mut actions, problem) = match honour::check(facts).and_then(|cloned| value(facts, cloned, now)) {
        // A revision that is refused concerns neither a value that is committed nor one that the interval asks for.
        Ok(actions) => (actions, refused_revision(facts)),
        Err(problem) => (Vec::new(), Some(problem)),
    };
    let tidying = facts.entry.and_then(|entry| housekeeping(facts, entry, now));
    if actions.is_empty() {
        actions.extend(tidying);
    } else if tidying == Some(Action::Conceal) {
        // The next value may wait for long; what was shown for its time does not.
        actions.insert(0, Action::Conceal);
    }
    // First, because the API server keeps revokeBefore until it is recorded.
    if facts.entry.is_some_and(|entry| entry.ending(&limits(facts.key, facts.account), now).is_some()) {
        actions.insert(0, Action::NoteEnds);
    }
    let awaits_status = facts.entry.is_some_and(|entry| is_held(facts.key, entry, now) && reports_later(facts.key));
    Plan { actions, problem, awaits_status, next: deadline(facts, now) }
}

/// Minting and delivering.
fn value(facts: &Facts<'_>, cloned: Option<Cloned>, now: Timestamp) -> Result<Vec<Action>, Problem> {
    let waits_for_secret = facts.secret == Some(Presence::Ending);
    let refused = refused_revision(facts);
    let (serial, cloned) = match facts.entry {
        Some(entry) if entry.undelivered().is_some() && !waits_for_secret => return Ok(vec![Action::Deliver]),
        Some(entry) if entry.undelivered().is_none() && !is_rotation_due(facts.key, entry, now) => {
            return Ok(Vec::new());
        }
        // What is written into it now would vanish with it.
        Some(_) if waits_for_secret => return Err(secret_ending(facts.key)),
        Some(entry) => (entry.last_serial + 1, None),
        None => (1, cloned),
    };
    let revision = match (refused, facts.entry) {
        (None, _) => facts.key.spec.revision(),
        (Some(_), Some(entry)) => entry.revision,
        (Some(refused), None) => return Err(refused),
    };
    if let Some(expired) = facts.key.spec.expiry().filter(|at| facts.entry.is_none() && *at <= now) {
        let message =
            format!("spec.expiresAt is {expired}, which is past, so no value is minted; move it forward or remove it");
        return Err(Problem::new(Reason::Expired, message));
    }
    let revoke_before = facts.key.spec.revoke_before();
    if revoke_before.is_some_and(|before| before > now) {
        let message = "spec.rotation.revokeBefore lies in the future, and a value minted now would be refused; the next one is minted at that moment";
        return Err(Problem::new(Reason::RevokedInAdvance, message));
    }
    // The rest of its second is over soon.
    if revoke_before.is_some_and(|before| revoked_until(before) > now) {
        return Ok(Vec::new());
    }
    let mut actions = vec![Action::Mint { serial, revision, cloned }, Action::Deliver];
    if facts.entry.is_some_and(|entry| is_held(facts.key, entry, now)) {
        if reports_later(facts.key) {
            return Ok(Vec::new());
        }
        actions.insert(0, Action::Release);
    }
    Ok(actions)
}

/// Returns true if the entry blocks issuing by a `revokeBefore` that the spec does not contain any more.
fn is_held(key: &ApiKey, entry: &Entry, now: Timestamp) -> bool {
    entry.blocks_issuing(now) && key.spec.revoke_before() < entry.revoked_before
}

/// Returns true if status reports a later `revokeBefore` than the spec contains.
fn reports_later(key: &ApiKey) -> bool {
    let reported = key.status.as_ref().and_then(|status| status.revoked_before.as_ref());
    reported.map(|at| revoked_until(at.0)) > key.spec.revoke_before().map(revoked_until)
}

fn secret_ending(key: &ApiKey) -> Problem {
    let message = format!(
        "Secret {} is being deleted and held by a finalizer, so no value is written into it; the next one is when the Secret is gone. Remove the finalizer from the Secret, or wait for whoever set it",
        key.secret_name()
    );
    Problem::new(Reason::SecretEnding, message)
}

/// Problem of a revision that is too high to be recorded: then no higher one might be left for the next rotation.
fn refused_revision(facts: &Facts<'_>) -> Option<Problem> {
    let (spec, highest) = (&facts.key.spec, facts.entry.map_or(0, |entry| entry.revision));
    spec.oversteps(highest).then(|| {
        let message = format!(
            "spec.rotation.revision {} exceeds {highest}, the highest so far, by more than {REVISION_STEP}, and is refused; set it to {}",
            spec.revision(),
            highest + 1
        );
        Problem::new(Reason::RevisionTooHigh, message)
    })
}

fn is_rotation_due(key: &ApiKey, entry: &Entry, now: Timestamp) -> bool {
    // A key that has expired needs none; it is due when the key revives.
    let lives = key.spec.expiry().is_none_or(|at| at > now);
    let interval = || interval_ends(key, &entry.current).is_some_and(|at| at <= now);
    key.spec.raises(entry.revision) || (lives && interval())
}

/// Returns the limits that end the credentials of a key.
pub fn limits(key: &ApiKey, account: Option<&Account>) -> Limits {
    let max_lifetime = account.and_then(|account| account.spec.max_lifetime());
    Limits { revoke_before: key.spec.revoke_before(), generation: key.metadata.generation, max_lifetime }
}

/// When the interval asks for the next value, if the key lives until then.
fn interval_ends(key: &ApiKey, current: &Credential) -> Option<Timestamp> {
    let due = after(current.issued_at, key.spec.rotation_interval()?)?;
    key.spec.expiry().is_none_or(|at| due < at).then_some(due)
}

/// What becomes of the delivered Secret.
fn housekeeping(facts: &Facts<'_>, entry: &Entry, now: Timestamp) -> Option<Action> {
    let (delivery, _) = entry.newest_delivery()?;
    match (delivery.ended, facts.secret?) {
        (None, Presence::Missing) => entry.undelivered().is_none().then_some(Action::NoteRemoved),
        (None, Presence::Present | Presence::Ending) => {
            concealed_at(facts.key, entry).filter(|at| *at <= now).map(|_| Action::Conceal)
        }
        // A leader that slept may have written it again.
        (Some(Ended::Revealed), Presence::Present | Presence::Ending) => Some(Action::Conceal),
        (Some(Ended::Unseen), Presence::Present) => Some(Action::NoteSeen),
        // A restore may bring it later, so it counts as removed only where it was there. An immutable one is its user's to
        // delete.
        (
            None | Some(Ended::Revealed | Ended::Unseen),
            Presence::Other | Presence::Missing | Presence::Frozen | Presence::Unknown,
        )
        | (Some(Ended::Unseen), Presence::Ending)
        | (Some(Ended::Removed), _) => None,
    }
}

/// Returns true if a Secret that was to be shown for a time stays, because a user made it immutable.
pub fn is_overdue(facts: &Facts<'_>, now: Timestamp) -> bool {
    let ended = facts.entry.and_then(Entry::newest_delivery).and_then(|(delivery, _)| delivery.ended);
    let is_over = || facts.entry.and_then(|entry| concealed_at(facts.key, entry)).is_some_and(|at| at <= now);
    facts.secret == Some(Presence::Frozen) && (ended == Some(Ended::Revealed) || (ended.is_none() && is_over()))
}

/// When the Secret has been shown for long enough.
fn concealed_at(key: &ApiKey, entry: &Entry) -> Option<Timestamp> {
    let (_, delivered) = entry.newest_delivery()?;
    after(delivered.delivered_at?, key.spec.shown_for()?)
}

/// When the key's current value ends by itself: with the key, or by the age that its account allows.
pub fn ends_at(key: &ApiKey, account: Option<&Account>, current: Option<&Credential>) -> Option<Timestamp> {
    let value_ends = current.and_then(|current| limits(key, account).outlived_at(current));
    key.spec.expiry().into_iter().chain(value_ends).min()
}

/// Since when the user should know that the current value ends, and when it does. Not where a rotation comes before; one
/// that is overdue does not seem to come.
pub fn warning(facts: &Facts<'_>, now: Timestamp) -> Option<(Timestamp, Timestamp)> {
    let current = facts.entry.map(|entry| &entry.current);
    let ends_at = ends_at(facts.key, facts.account, current)?;
    let renewed =
        current.and_then(|current| interval_ends(facts.key, current)).is_some_and(|at| now < at && at < ends_at);
    let key_itself = facts.key.spec.expiry() == Some(ends_at);
    if renewed && !key_itself {
        return None;
    }
    Some((ends_at.checked_sub(facts.warn_before).unwrap_or(Timestamp::MIN), ends_at))
}

/// When time alone changes something next.
pub fn deadline(facts: &Facts<'_>, now: Timestamp) -> Option<Timestamp> {
    let Facts { key, account, entry, .. } = *facts;
    let current = entry.map(|entry| &entry.current);
    let warned_at = warning(facts, now).map(|(since, _)| since);
    let shown =
        entry.filter(|e| e.secret.as_ref().is_some_and(|d| d.ended.is_none())).and_then(|e| concealed_at(key, e));
    [
        key.spec.expiry(),
        ends_at(key, account, current),
        warned_at,
        current.and_then(|current| interval_ends(key, current)),
        key.spec.revoke_before(),
        key.spec.revoke_before().map(revoked_until),
        entry.and_then(|entry| entry.revoked_before).map(revoked_until),
        shown,
    ]
    .into_iter()
    .chain(entry.into_iter().flat_map(Entry::credentials).flat_map(|credential| {
        let outlived_at = limits(key, account).outlived_at(credential).filter(|_| credential.ended.is_none());
        [credential.retires_at, outlived_at]
    }))
    .flatten()
    .filter(|at| *at > now)
    .min()
}

/// `None` when it lies beyond all time.
fn after(at: Timestamp, duration: Duration) -> Option<Timestamp> {
    at.checked_add(duration).ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::key::{Delivery, Hasher, Minting, Owner, Pepper, Plaintext, SealingKey};
    use serde_json::json;

    fn key(spec: serde_json::Value) -> ApiKey {
        let meta = json!({"name": "billing", "namespace": "shop", "uid": "u-1"});
        serde_json::from_value(
            json!({"apiVersion": "keywright.dev/v1alpha1", "kind": "ApiKey", "metadata": meta, "spec": spec}),
        )
        .unwrap()
    }

    fn account(spec: serde_json::Value) -> Account {
        serde_json::from_value(json!({"apiVersion": "keywright.dev/v1alpha1", "kind": "Account", "metadata": {"name": "acme"}, "spec": spec})).unwrap()
    }

    fn entry() -> Entry {
        let now = Timestamp::UNIX_EPOCH;
        let owner = Owner { namespace: "shop".into(), name: "billing".into(), uid: "u-1".into() };
        let (hasher, pepper) = (Hasher::new(64, 1, 1).unwrap(), Pepper::generate(now).unwrap());
        let plaintext = Plaintext::mint("kw").unwrap();
        let sealing_key = SealingKey::generate().unwrap();
        let minting = Minting { serial: 1, revision: 0, owner_uid: "u-1" };
        let credential = Credential::record(&plaintext, minting, &hasher, &pepper, &sealing_key, now).unwrap();
        Entry::first(owner, credential, None)
    }

    fn planned(key: &ApiKey, account: Option<&Account>, entry: Option<&Entry>) -> Plan {
        let secret = Some(Presence::Present);
        plan(&Facts { key, account, entry, secret, source: None, warn_before: Duration::ZERO }, Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn a_new_key_is_minted_and_delivered_then_nothing_more_is_done() {
        let (key, account) =
            (key(json!({"account": "acme", "accessLevel": "Full"})), account(json!({"accessLevel": "Full"})));
        let delivery = Delivery { name: "billing".into(), uid: "s-1".into(), ended: None, template: None };
        let committed = entry();
        let delivered = committed.delivered(delivery, Duration::ZERO, Timestamp::UNIX_EPOCH);
        let mint = Action::Mint { serial: 1, revision: 0, cloned: None };
        assert_eq!(planned(&key, Some(&account), None).actions, [mint, Action::Deliver]);
        assert_eq!(planned(&key, Some(&account), Some(&committed)).actions, [Action::Deliver]);
        assert_eq!(planned(&key, Some(&account), Some(&delivered)), Plan::default());
    }

    #[test]
    fn a_secret_of_before_a_restore_is_noted_when_it_is_seen_and_never_as_removed() {
        let (key, account) =
            (key(json!({"account": "acme", "accessLevel": "Full"})), account(json!({"accessLevel": "Full"})));
        let delivery = Delivery { name: "billing".into(), uid: "s-1".into(), ended: None, template: None };
        let delivered = entry().delivered(delivery, Duration::ZERO, Timestamp::UNIX_EPOCH);
        let restored = delivered.adopted("u-2", None);
        for (presence, actions) in
            [(Presence::Present, vec![Action::NoteSeen]), (Presence::Missing, vec![]), (Presence::Other, vec![])]
        {
            let facts = Facts {
                key: &key,
                account: Some(&account),
                entry: Some(&restored),
                secret: Some(presence),
                source: None,
                warn_before: Duration::ZERO,
            };
            assert_eq!(plan(&facts, Timestamp::UNIX_EPOCH).actions, actions, "{presence:?}");
        }
    }

    #[test]
    fn a_disabled_key_is_minted_like_any_other() {
        let key = key(json!({"account": "acme", "accessLevel": "Full", "disabled": true}));
        let account = account(json!({"accessLevel": "Full", "disabled": true}));
        assert_eq!(planned(&key, Some(&account), None).actions.len(), 2);
    }

    #[test]
    fn what_cannot_be_honoured_mints_nothing_and_says_what_to_do() {
        let full = account(json!({"accessLevel": "Full"}));
        let narrow = account(json!({"accessLevel": "Custom", "scopes": ["orders:read"]}));
        let broken = account(json!({"accessLevel": "Custom"}));
        let good = json!({"account": "acme", "accessLevel": "Full"});
        let wide = json!({"account": "acme", "accessLevel": "Custom", "scopes": ["orders:read", "orders:write"]});
        let odd = json!({"account": "acme", "accessLevel": "Full", "scopes": ["orders:read"]});
        for (spec, account, reason, words) in [
            (&good, None, Reason::AccountNotFound, "Account acme does not exist in namespace shop"),
            (&good, Some(&broken), Reason::AccountInvalid, "needs 1 to 64 scopes"),
            (&wide, Some(&narrow), Reason::ScopeNotGranted, "does not grant orders:write"),
            (&odd, Some(&full), Reason::InvalidSpec, "set accessLevel: Custom"),
        ] {
            let plan = planned(&key(spec.clone()), account, None);
            let problem = plan.problem.unwrap();
            assert_eq!((plan.actions.len(), problem.reason), (0, reason));
            assert!(problem.message.contains(words), "{}", problem.message);
        }
        assert_eq!(planned(&key(good), Some(&narrow), None).problem, None, "Full means all that the account may");
    }

    #[test]
    fn the_moment_of_expiry_is_the_next_deadline_and_a_past_one_is_none() {
        let account = account(json!({"accessLevel": "Full"}));
        let expiring = |at: &str| key(json!({"account": "acme", "accessLevel": "Full", "expiresAt": at}));
        let next = planned(&expiring("2030-01-01T00:00:00Z"), Some(&account), None).next;
        assert_eq!(next, Some("2030-01-01T00:00:00Z".parse().unwrap()));
        assert_eq!(planned(&expiring("1969-01-01T00:00:00Z"), Some(&account), None).next, None);
    }

    #[test]
    fn a_key_that_is_being_deleted_is_left_alone() {
        let mut key = key(json!({"account": "acme", "accessLevel": "Full"}));
        key.metadata.deletion_timestamp =
            Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(Timestamp::UNIX_EPOCH));
        assert_eq!(planned(&key, None, None), Plan::default());
    }
}
