//! What is said of a key: a projection of facts, the same bytes for the same facts.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::runtime::events::{Event, EventType};
use kube::{Api, Resource, ResourceExt};

use super::Error;
use super::plan::Problem;
use crate::access::AccessLevel;
use crate::api::{
    Access, Account, ApiKey, ApiKeyStatus, CONDITION_READY, CONDITION_SECRET_AVAILABLE, CredentialStatus, Reason,
    State, set_condition,
};
use crate::key::Entry;
use crate::operator::context::Context;
use crate::operator::secrets::Presence;
use crate::operator::write;

/// What the status is made of.
pub struct Facts<'a> {
    /// The key.
    pub key: &'a ApiKey,
    /// Its account.
    pub account: Option<&'a Account>,
    /// Its record, after what was done.
    pub entry: Option<&'a Entry>,
    /// What stands under the name of its Secret, once delivered.
    pub secret: Option<Presence>,
    /// What is in the way.
    pub problem: Option<&'a Problem>,
}

/// The status that these facts give. The one before is asked only for when its conditions last changed.
pub fn project(facts: &Facts<'_>, now: Timestamp) -> ApiKeyStatus {
    let Facts { key, account, entry, secret, problem } = *facts;
    let before = key.status.clone().unwrap_or_default();
    let delivered = entry.and_then(|e| e.secret.as_ref().filter(|_| e.undelivered().is_none()));
    let generation = key.metadata.generation;
    let (ready, reason, message) = match (problem, delivered) {
        (Some(problem), _) => (false, problem.reason, problem.message.clone()),
        (None, Some(delivery)) => (true, Reason::Issued, format!("minted, and delivered in Secret {}", delivery.name)),
        (None, None) => (false, Reason::Issuing, "the value is being minted and delivered".to_owned()),
    };
    let mut conditions = before.conditions;
    conditions.retain(|c| c.type_ == CONDITION_READY || c.type_ == CONDITION_SECRET_AVAILABLE);
    set_condition(&mut conditions, CONDITION_READY, ready, reason, &message, generation, now);
    let (available, reason, message) = secret_available(delivered.map(|d| d.name.as_str()), secret);
    set_condition(&mut conditions, CONDITION_SECRET_AVAILABLE, available, reason, &message, generation, now);
    ApiKeyStatus {
        state: Some(state(facts, delivered.is_some(), now)),
        key_id: entry.map(|e| e.current.id.to_string()),
        hint: entry.map(|e| e.current.hint()),
        secret_name: delivered.map(|d| d.name.clone()),
        access: access(key, account),
        credentials: entry.map(credential).into_iter().collect(),
        observed_generation: generation,
        conditions,
    }
}

fn secret_available(name: Option<&str>, presence: Option<Presence>) -> (bool, Reason, String) {
    match (name, presence) {
        (Some(name), Some(Presence::Present)) => (true, Reason::Delivered, format!("Secret {name} holds the value")),
        (Some(name), Some(Presence::Missing)) => (
            false,
            Reason::Removed,
            format!(
                "Secret {name} was deleted; the key goes on working for whoever has its value, and no other is minted. For a new value create another key"
            ),
        ),
        (Some(name), Some(Presence::Other)) => (
            false,
            Reason::SecretConflict,
            format!("Secret {name} was replaced by one that is not this key's; it is not touched"),
        ),
        (None, _) | (_, None) => (false, Reason::Issuing, "not delivered yet".to_owned()),
    }
}

fn state(facts: &Facts<'_>, delivered: bool, now: Timestamp) -> State {
    let Facts { key, account, problem, .. } = *facts;
    let invalid = problem.is_some_and(|p| match p.reason {
        Reason::AccountNotFound
        | Reason::AccountInvalid
        | Reason::ScopeNotGranted
        | Reason::InvalidSpec
        | Reason::EntryUnreadable => true,
        Reason::Issued
        | Reason::Issuing
        | Reason::SecretConflict
        | Reason::SecretImmutable
        | Reason::SealingKeyLost
        | Reason::Delivered
        | Reason::Removed
        | Reason::Accepted => false,
    });
    if invalid {
        State::Invalid
    } else if key.spec.expires_at.as_ref().is_some_and(|at| at.0 <= now) {
        State::Expired
    } else if key.spec.disabled || account.is_some_and(|a| a.spec.disabled) {
        State::Disabled
    } else if delivered {
        State::Active
    } else {
        State::Pending
    }
}

fn access(key: &ApiKey, account: Option<&Account>) -> Option<Access> {
    let in_force = key.spec.grant().ok()?.under(&account?.spec.ceiling().ok()?);
    let scopes = match in_force.level() {
        AccessLevel::Custom => in_force.scopes().iter().map(ToString::to_string).collect(),
        AccessLevel::Full | AccessLevel::ReadOnly => Vec::new(),
    };
    Some(Access { level: in_force.level(), scopes })
}

fn credential(entry: &Entry) -> CredentialStatus {
    CredentialStatus {
        key_id: entry.current.id.to_string(),
        serial: i64::try_from(entry.current.serial).unwrap_or(i64::MAX),
        issued_at: whole_seconds(entry.current.issued_at),
    }
}

/// The API server keeps whole seconds; a fraction would make every status look changed.
fn whole_seconds(at: Timestamp) -> Time {
    Time(Timestamp::from_second(at.as_second()).unwrap_or(at))
}

/// Writes it when it differs, with the resourceVersion that was observed: a late write must not land on a re-created
/// namesake.
pub async fn write(context: &Context, key: &ApiKey, status: ApiKeyStatus) -> Result<(), Error> {
    if key.status.as_ref() == Some(&status) {
        return Ok(());
    }
    tell(context, key, &status).await;
    let api = Api::<ApiKey>::namespaced(context.client.clone(), &key.namespace().unwrap_or_default());
    let object = ApiKey { metadata: write::as_read(&key.metadata), spec: key.spec.clone(), status: Some(status) };
    api.replace_status(&key.name_any(), &write::by_us(), &object).await?;
    Ok(())
}

/// An Event where `Ready` changes its reason. That it cannot be published is no reason to stop.
async fn tell(context: &Context, key: &ApiKey, status: &ApiKeyStatus) {
    let ready = |status: &ApiKeyStatus| status.conditions.iter().find(|c| c.type_ == CONDITION_READY).cloned();
    let before = key.status.as_ref().and_then(ready).map(|c| c.reason);
    let Some(now) = ready(status).filter(|c| before.as_deref() != Some(&c.reason)) else { return };
    let event = Event {
        type_: if now.status == "True" { EventType::Normal } else { EventType::Warning },
        reason: now.reason,
        note: Some(now.message),
        action: "Reconcile".to_owned(),
        secondary: None,
    };
    if let Err(error) = context.recorder.publish(&event, &key.object_ref(&())).await {
        tracing::warn!(%error, "an Event could not be published");
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
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

    fn state_of(spec: serde_json::Value, entry: Option<&Entry>, problem: Option<&Problem>) -> State {
        let (key, account) = (key(spec), account(json!({"accessLevel": "Full"})));
        let facts = Facts { key: &key, account: Some(&account), entry, secret: Some(Presence::Present), problem };
        project(&facts, "2026-11-22T12:00:00Z".parse().unwrap()).state.unwrap()
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
        assert_eq!(state_of(spec(json!({})), Some(&entry), None), State::Active);
        assert_eq!(state_of(spec(json!({})), None, None), State::Pending);
        assert_eq!(state_of(spec(json!({"disabled": true})), None, None), State::Disabled);
        assert_eq!(state_of(spec(json!({"disabled": true, "expiresAt": past})), Some(&entry), None), State::Expired);
        assert_eq!(
            state_of(spec(json!({"disabled": true, "expiresAt": past})), Some(&entry), Some(&problem)),
            State::Invalid
        );
    }

    #[test]
    fn the_same_facts_give_the_same_status_later() {
        let (mut key, entry) = (key(json!({"account": "acme", "accessLevel": "Full"})), delivered());
        let account = account(json!({"accessLevel": "ReadOnly"}));
        let project_at = |key: &ApiKey, at: &str| {
            let facts = Facts {
                key,
                account: Some(&account),
                entry: Some(&entry),
                secret: Some(Presence::Present),
                problem: None,
            };
            project(&facts, at.parse().unwrap())
        };
        let first = project_at(&key, "2026-11-22T12:00:00.987654321Z");
        assert_eq!(first.hint.as_deref(), Some("kw_7hx3k9m2pq4d_…"));
        assert_eq!(first.access, Some(Access { level: AccessLevel::ReadOnly, scopes: vec![] }));
        // As it comes back from the API server.
        key.status = Some(serde_json::from_value(serde_json::to_value(&first).unwrap()).unwrap());
        assert_eq!(Some(project_at(&key, "2026-11-22T13:00:00Z")), key.status);
    }
}
