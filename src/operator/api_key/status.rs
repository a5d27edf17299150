//! What is said of a key: a projection of facts, the same bytes for the same facts.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::ResourceExt;

use super::Error;
use super::available;
use super::events;
use super::facts::{Facts, Problem};
use super::honour;
use super::plan::{limits, warning};
use crate::access::{AccessLevel, Grant};
use crate::api::{
    Access, AccessGrant, Account, ApiKey, ApiKeyStatus, CONDITION_ENFORCED, CONDITION_EXPIRING, CONDITION_READY,
    CONDITION_SUSPENDED, Conditions, CredentialState, CredentialStatus, Reason, State, Suspension, condition,
};
use crate::apiserver::Collection;
use crate::key::{Credential, CredentialEnd, Delivery, Entry};
use crate::operator::context::Context;
use crate::operator::enforcement::{self, Standing};
use crate::operator::events::{News, publish};
use crate::operator::write;

/// What is to be said besides the facts.
#[derive(Clone, Copy, Default)]
pub struct Said<'a> {
    /// What is in the way.
    pub problem: Option<&'a Problem>,
    /// That the platform has suspended the key, or its account.
    pub suspension: Option<&'a Suspension>,
    /// The API server's words, where it refuses to show the Secret.
    pub unseen: Option<&'a str>,
    /// Whether every verifier goes by it.
    pub standing: Option<&'a Standing>,
}

/// Returns the status that these facts give, and what is new in it.
pub fn project(facts: &Facts<'_>, said: &Said<'_>, now: Timestamp) -> (ApiKeyStatus, Vec<News>) {
    let Facts { key, account, entry, .. } = *facts;
    let nothing = ApiKeyStatus::default();
    let before = key.status.as_ref().unwrap_or(&nothing);
    let cloned = entry.and_then(|entry| entry.cloned.as_ref());
    let own_name = key.spec.display_name.as_deref();
    let disabled_at = key.spec.disabled.then(|| before.disabled_at.clone().unwrap_or_else(|| whole_seconds(now)));
    let conditions = conditions(facts, said, before.conditions.clone(), now);
    let enforced = condition(&conditions, CONDITION_ENFORCED).filter(|enforced| enforced.status == "True");
    let mut status = ApiKeyStatus {
        state: Some(state(facts, said, now)),
        activity: before.activity.clone(),
        display_name: own_name.or(cloned.and_then(|c| c.display_name.as_deref())).map(str::to_owned),
        cloned_from: cloned.map(|cloned| cloned.source.clone()),
        key_id: entry.map(|e| in_hand(e).id.to_string()),
        hint: entry.map(|e| in_hand(e).hint()),
        secret_name: entry
            .and_then(Entry::newest_delivery)
            .filter(|(delivery, _)| delivery.ended.is_none())
            .map(|(delivery, _)| delivery.name.clone()),
        access: access(key, account, entry),
        highest_revision: entry.map(|entry| entry.revision).filter(|revision| *revision > 0),
        disabled_at,
        enforced_at: enforced.map(|enforced| whole_seconds(enforced.last_transition_time.0)),
        revoked_before: revoked_before(facts, now),
        credentials: entry.map(|entry| credentials(facts, entry, now)).unwrap_or_default(),
        observed_generation: key.metadata.generation,
        conditions,
        history: Vec::new(),
    };
    let news = events::news(facts, before, &status);
    status.history = events::history(&before.history, &news, &whole_seconds(now));
    (status, news)
}

/// The value that its holder knows: while a newer one waits to be delivered, the one before.
fn in_hand(entry: &Entry) -> &Credential {
    entry.newest_delivery().map_or(&entry.current, |(_, delivered)| delivered)
}

fn conditions(facts: &Facts<'_>, said: &Said<'_>, before: Vec<Condition>, now: Timestamp) -> Vec<Condition> {
    let generation = facts.key.metadata.generation;
    let mut conditions = Conditions::after(before.clone(), generation, now);
    let delivery = facts.entry.and_then(Entry::delivery);
    match (said.problem, delivery) {
        (Some(problem), _) => conditions.say(CONDITION_READY, false, problem.reason, problem.message.clone()),
        (None, Some(delivery)) => conditions.say(CONDITION_READY, true, Reason::Issued, issued(facts, delivery, now)),
        (None, None) => {
            conditions.say(CONDITION_READY, false, Reason::Issuing, "the value is being minted and delivered");
        }
    }
    available::say(&mut conditions, facts, said.unseen, now);
    enforcement::say(&mut conditions, said.standing, &before, generation);
    if let Some(suspension) = said.suspension {
        conditions.say(CONDITION_SUSPENDED, true, &suspension.spec.reason, suspension.spec.words());
    }
    if let Some((_, ends_at)) = warning(facts, now).filter(|(since, ends_at)| *since <= now && *ends_at > now) {
        let message = format!(
            "the value ends at {}; move spec.expiresAt forward, or raise spec.rotation.revision where the account's maxKeyLifetime ends it",
            whole_seconds(ends_at).0
        );
        conditions.say(CONDITION_EXPIRING, true, Reason::ExpiresSoon, message);
    }
    conditions.into_vec()
}

fn issued(facts: &Facts<'_>, delivery: &Delivery, now: Timestamp) -> String {
    let end = facts.entry.and_then(|entry| in_hand(entry).end(&limits(facts.key, facts.account), now));
    match end {
        Some(CredentialEnd::Revoked) => {
            "the value was revoked by spec.rotation.revokeBefore and is refused for good; raise spec.rotation.revision for a new one"
                .to_owned()
        }
        Some(CredentialEnd::Expired) => {
            "the value became older than the account's maxKeyLifetime and is refused for good; raise spec.rotation.revision for a new one"
                .to_owned()
        }
        None => format!("minted, and delivered in Secret {}", delivery.name),
    }
}

fn state(facts: &Facts<'_>, said: &Said<'_>, now: Timestamp) -> State {
    let Facts { key, account, entry, .. } = *facts;
    let current = entry.map(in_hand);
    let end = current.and_then(|current| current.end(&limits(key, account), now));
    if said.problem.is_some_and(|problem| is_invalid(problem.reason)) {
        State::Invalid
    } else if end.is_some() || is_past(key, now) {
        State::Expired
    } else if said.suspension.is_some() {
        State::Suspended
    } else if key.spec.disabled || account.is_some_and(|a| a.spec.disabled) {
        State::Disabled
    } else if entry.and_then(Entry::newest_delivery).is_some() {
        State::Active
    } else {
        State::Pending
    }
}

/// Is it the spec that must change, rather than something in the way of it?
fn is_invalid(reason: Reason) -> bool {
    match reason {
        Reason::AccountNotFound
        | Reason::AccountInvalid
        | Reason::ScopeNotGranted
        | Reason::UnknownScope
        | Reason::CloneSourceNotFound
        | Reason::CloneCycle
        | Reason::CloneOtherAccount
        | Reason::InvalidSpec
        | Reason::EntryUnreadable => true,
        Reason::Issued
        | Reason::Issuing
        | Reason::CloneSourceNotReady
        | Reason::RevokedInAdvance
        | Reason::RevisionIgnored
        | Reason::RevisionTooHigh
        | Reason::SecretConflict
        | Reason::SecretImmutable
        | Reason::SecretNotAllowed
        | Reason::SecretEnding
        | Reason::SecretRefused
        | Reason::RecordRefused
        | Reason::Expired
        | Reason::SealingKeyLost
        | Reason::Delivered
        | Reason::Removed
        | Reason::NotRestored
        | Reason::AdoptionUnclear
        | Reason::Revealed
        | Reason::ExpiresSoon
        | Reason::MembersNeedOwnNamespace
        | Reason::MemberConflict
        | Reason::NoSiteId
        | Reason::MemberRefused
        | Reason::Accepted
        | Reason::Acknowledged
        | Reason::Outwaited
        | Reason::AwaitingVerifiers
        | Reason::NoVerifier
        | Reason::VerifierUnreachable
        | Reason::NotComparable
        | Reason::Found
        | Reason::TargetNotFound => false,
    }
}

/// Returns `spec.rotation.revokeBefore`, in whole seconds, once it is recorded. Without an entry nothing is: a restored one may come.
fn revoked_before(facts: &Facts<'_>, now: Timestamp) -> Option<Time> {
    let (before, entry) = (facts.key.spec.revoke_before()?, facts.entry?);
    let is_recorded = entry.ending(&limits(facts.key, None), now).is_none();
    is_recorded.then(|| whole_seconds(before))
}

/// Has the key itself expired?
fn is_past(key: &ApiKey, now: Timestamp) -> bool {
    key.spec.expiry().is_some_and(|at| at <= now)
}

fn access(key: &ApiKey, account: Option<&Account>, entry: Option<&Entry>) -> Option<Access> {
    let grant = honour::grant(key, entry.and_then(|entry| entry.cloned.as_ref())).ok()?;
    let ceiling = account.and_then(|account| account.spec.ceiling().ok());
    Some(Access { effective: ceiling.map(|ceiling| reported(&grant.under(&ceiling))), granted: reported(&grant) })
}

fn reported(grant: &Grant) -> AccessGrant {
    let scopes = match grant.level() {
        AccessLevel::Custom => grant.scopes().iter().map(ToString::to_string).collect(),
        AccessLevel::Full | AccessLevel::ReadOnly => Vec::new(),
    };
    AccessGrant { level: grant.level(), scopes }
}

fn credentials(facts: &Facts<'_>, entry: &Entry, now: Timestamp) -> Vec<CredentialStatus> {
    let limits = limits(facts.key, facts.account);
    let kept = entry.credentials().filter(|credential| credential.retires_at.is_none_or(|at| at > now));
    kept.map(|credential| CredentialStatus {
        key_id: credential.id.to_string(),
        serial: i64::try_from(credential.serial).unwrap_or(i64::MAX),
        state: Some(match credential.end(&limits, now) {
            Some(CredentialEnd::Revoked) => CredentialState::Revoked,
            Some(CredentialEnd::Expired) => CredentialState::Expired,
            None if is_past(facts.key, now) => CredentialState::Expired,
            None if credential.retires_at.is_some() => CredentialState::Retiring,
            None => CredentialState::Active,
        }),
        revision: Some(credential.revision).filter(|revision| *revision > 0),
        issued_at: whole_seconds(credential.issued_at),
        retires_at: credential.retires_at.map(whole_seconds),
    })
    .collect()
}

/// The API server keeps whole seconds; a fraction would make every status look changed.
fn whole_seconds(at: Timestamp) -> Time {
    Time(Timestamp::from_second(at.as_second()).unwrap_or(at))
}

/// Is the current value near its end?
pub fn is_expiring(status: &ApiKeyStatus) -> bool {
    condition(&status.conditions, CONDITION_EXPIRING).is_some()
}

/// Writes it when it differs, with the resourceVersion that was observed: a late write must not land on a re-created
/// namesake.
pub async fn write(context: &Context, key: &ApiKey, status: ApiKeyStatus, news: Vec<News>) -> Result<(), Error> {
    if key.status.as_ref() == Some(&status) {
        return Ok(());
    }
    let keys = Collection::<ApiKey>::new(&context.client, key.metadata.namespace.as_deref());
    let (metadata, spec) = (write::as_read(&key.metadata), key.spec.clone());
    let object = ApiKey { metadata, spec, status: Some(status) };
    keys.replace_status(&key.name_any(), &write::by_us(), &object).await?;
    // After the write, or a conflict would publish it twice.
    publish(&context.client, key, news, (context.now)()).await;
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::facts::Presence;
    use super::*;
    use serde_json::json;

    fn key(spec: serde_json::Value) -> ApiKey {
        let meta = json!({"name": "billing", "namespace": "shop", "uid": "u-1", "generation": 3});
        serde_json::from_value(
            json!({"apiVersion": "keywright.dev/v1alpha1", "kind": "ApiKey", "metadata": meta, "spec": spec}),
        )
        .unwrap()
    }

    fn account(spec: serde_json::Value) -> Account {
        serde_json::from_value(json!({"apiVersion": "keywright.dev/v1alpha1", "kind": "Account", "metadata": {"name": "acme"}, "spec": spec})).unwrap()
    }

    fn delivered() -> Entry {
        let stored = r#"{"format":1,"owner":{"namespace":"shop","name":"billing","uid":"u-1"},"lastSerial":1,"current":{"id":"7hx3k9m2pq4d","prefix":"kw","serial":1,"issuedAt":"2026-11-22T10:00:00.123456789Z","deliveredAt":"2026-11-22T10:00:01Z","hash":"x","tag":"1:BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc="},"secret":{"name":"billing","uid":"s-1"}}"#;
        Entry::from_json(stored.as_bytes()).unwrap()
    }

    fn suspension() -> Suspension {
        let spec = json!({"target": {"kind": "ApiKey", "name": "billing"}, "reason": "PaymentOverdue"});
        serde_json::from_value(json!({"apiVersion": "keywright.dev/v1alpha1", "kind": "Suspension", "metadata": {"name": "overdue"}, "spec": spec})).unwrap()
    }

    fn facts<'a>(key: &'a ApiKey, account: &'a Account, entry: Option<&'a Entry>) -> Facts<'a> {
        let warn_before = std::time::Duration::from_hours(168);
        Facts { key, account: Some(account), entry, secret: Some(Presence::Present), source: None, warn_before }
    }

    fn state_of(spec: serde_json::Value, entry: Option<&Entry>, said: Said<'_>) -> State {
        let (key, account) = (key(spec), account(json!({"accessLevel": "Full"})));
        project(&facts(&key, &account, entry), &said, "2026-11-22T12:00:00Z".parse().unwrap()).0.state.unwrap()
    }

    #[test]
    fn the_state_is_the_first_that_applies() {
        let entry = delivered();
        let problem = Problem::new(Reason::AccountNotFound, "gone");
        let past = "2020-01-01T00:00:00Z";
        let spec = |more: serde_json::Value| {
            let mut spec = json!({"account": "acme", "accessLevel": "Full"});
            spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            spec
        };
        let nothing = Said::default();
        let suspension = suspension();
        let suspended = Said { suspension: Some(&suspension), ..nothing };
        let all = Said { problem: Some(&problem), ..suspended };
        let both = json!({"disabled": true, "expiresAt": past});
        let revoked = json!({"rotation": {"revokeBefore": "2026-11-22T11:00:00Z"}});
        for (given, entry, said, expected) in [
            (json!({}), Some(&entry), nothing, State::Active),
            (json!({}), None, nothing, State::Pending),
            (json!({"disabled": true}), None, nothing, State::Disabled),
            (json!({"disabled": true}), Some(&entry), suspended, State::Suspended),
            (both.clone(), Some(&entry), suspended, State::Expired),
            (revoked, Some(&entry), nothing, State::Expired),
            (both, Some(&entry), all, State::Invalid),
        ] {
            assert_eq!(state_of(spec(given.clone()), entry, said), expected, "{given}");
        }
    }

    #[test]
    fn a_suspension_and_a_near_end_are_said_while_they_last() {
        let (account, entry, suspension) = (account(json!({"accessLevel": "Full"})), delivered(), suspension());
        let key = key(json!({"account": "acme", "accessLevel": "Full", "expiresAt": "2026-11-25T00:00:00Z"}));
        let facts = facts(&key, &account, Some(&entry));
        let said = Said { suspension: Some(&suspension), ..Said::default() };
        let types = |at: &str, said: &Said<'_>| {
            let conditions = project(&facts, said, at.parse().unwrap()).0.conditions;
            conditions.into_iter().map(|c| format!("{}={}", c.type_, c.reason)).collect::<Vec<_>>()
        };
        let always = ["Ready=Issued", "SecretAvailable=Delivered", "Enforced=AwaitingVerifiers"];
        assert_eq!(types("2026-11-17T00:00:00Z", &Said::default()), always);
        let now = types("2026-11-18T00:00:00Z", &said);
        assert_eq!(now, [&always[..], &["Suspended=PaymentOverdue", "Expiring=ExpiresSoon"]].concat());
        assert_eq!(types("2026-11-25T00:00:00Z", &Said::default()), always, "now it has ended");
    }

    #[test]
    fn the_highest_revision_is_said_also_when_no_value_of_it_is_left() {
        let (key, account) = (key(json!({"account": "acme"})), account(json!({"accessLevel": "Full"})));
        let said = |entry: &Entry| {
            let now = "2026-11-22T12:00:00Z".parse().unwrap();
            let (status, _) = project(&facts(&key, &account, Some(entry)), &Said::default(), now);
            (status.highest_revision, status.credentials[0].revision)
        };
        let mut entry = delivered();
        assert_eq!(said(&entry), (None, None), "never rotated by hand");
        (entry.revision, entry.current.revision) = (7, 2);
        assert_eq!(said(&entry), (Some(7), Some(2)));
    }

    #[test]
    fn the_same_facts_give_the_same_status_later() {
        let (mut key, entry) = (key(json!({"account": "acme", "accessLevel": "Full"})), delivered());
        let account = account(json!({"accessLevel": "ReadOnly"}));
        let project_at = |key: &ApiKey, at: &str| {
            project(&facts(key, &account, Some(&entry)), &Said::default(), at.parse().unwrap()).0
        };
        let first = project_at(&key, "2026-11-22T12:00:00.987654321Z");
        assert_eq!(first.hint.as_deref(), Some("kw_7hx3k9m2pq4d_…"));
        let grant = |level| AccessGrant { level, scopes: vec![] };
        let access = Access { granted: grant(AccessLevel::Full), effective: Some(grant(AccessLevel::ReadOnly)) };
        assert_eq!(first.access, Some(access));
        // As it comes back from the API server.
        key.status = Some(serde_json::from_value(serde_json::to_value(&first).unwrap()).unwrap());
        assert_eq!(Some(project_at(&key, "2026-11-22T13:00:00Z")), key.status);
    }
}
