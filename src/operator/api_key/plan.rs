//! What is to be done about one ApiKey: facts in, actions and the next deadline out. Pure.

use jiff::Timestamp;

use crate::api::{Account, ApiKey, Reason};
use crate::key::Entry;

/// What was observed.
pub struct Facts<'a> {
    /// The key, as its owner declares it.
    pub key: &'a ApiKey,
    /// Its account; `None` when it is not there.
    pub account: Option<&'a Account>,
    /// Its record; `None` when no value was ever committed.
    pub entry: Option<&'a Entry>,
}

/// One thing to do. They are done in order; each is safe to repeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Commit a new value to the entry: whoever comes second goes on with the first one's.
    Mint {
        /// Which minting it is.
        serial: u64,
    },
    /// Write the committed value into the Secret, then mark it delivered.
    Deliver,
}

/// Why the spec is not honoured, in words for the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// For programs.
    pub reason: Reason,
    /// What to do.
    pub message: String,
}

/// What is to be done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// In this order.
    pub actions: Vec<Action>,
    /// Why nothing more is done.
    pub problem: Option<Problem>,
    /// When time alone changes something.
    pub next: Option<Timestamp>,
}

impl Problem {
    /// A reason, and what to do about it.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }
}

/// What is to be done, given what is.
pub fn plan(facts: &Facts<'_>, now: Timestamp) -> Plan {
    let Facts { key, account, entry } = *facts;
    if key.metadata.deletion_timestamp.is_some() {
        return Plan::default();
    }
    let next = key.spec.expires_at.as_ref().map(|at| at.0).filter(|at| *at > now);
    if let Err(problem) = honourable(key, account) {
        // A value that was committed before stays as it is; the verifier refuses what the account does not allow.
        return Plan { actions: Vec::new(), problem: Some(problem), next };
    }
    let actions = match entry {
        None => vec![Action::Mint { serial: 1 }, Action::Deliver],
        Some(entry) if entry.undelivered().is_some() => vec![Action::Deliver],
        Some(_) => Vec::new(),
    };
    Plan { actions, problem: None, next }
}

/// Can the spec be honoured?
fn honourable(key: &ApiKey, account: Option<&Account>) -> Result<(), Problem> {
    let grant = key.spec.grant().map_err(|error| Problem::new(Reason::InvalidSpec, error.to_string()))?;
    let name = &key.spec.account;
    let account = account.filter(|account| account.metadata.deletion_timestamp.is_none()).ok_or_else(|| {
        let namespace = key.metadata.namespace.as_deref().unwrap_or_default();
        let message = format!("Account {name} does not exist in namespace {namespace}; create it there, or create the key with another spec.account");
        Problem::new(Reason::AccountNotFound, message)
    })?;
    let ceiling = account
        .spec
        .ceiling()
        .map_err(|error| Problem::new(Reason::AccountInvalid, format!("Account {name} cannot be used: {error}")))?;
    let beyond: Vec<String> = grant.beyond(&ceiling).map(ToString::to_string).collect();
    if beyond.is_empty() {
        return Ok(());
    }
    let message = format!(
        "Account {name} does not grant {}; remove it from spec.scopes, or ask the platform team to add it to the Account",
        beyond.join(", ")
    );
    Err(Problem::new(Reason::ScopeNotGranted, message))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::key::{Credential, Delivery, Hasher, Owner, Pepper, Plaintext, SealingKey};
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
        Entry::first(owner, Credential::record(&plaintext, 1, "u-1", &hasher, &pepper, &sealing_key, now).unwrap())
    }

    fn planned(key: &ApiKey, account: Option<&Account>, entry: Option<&Entry>) -> Plan {
        plan(&Facts { key, account, entry }, Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn a_new_key_is_minted_and_delivered_then_nothing_more_is_done() {
        let (key, account) =
            (key(json!({"account": "acme", "accessLevel": "Full"})), account(json!({"accessLevel": "Full"})));
        let delivery = Delivery { name: "billing".into(), uid: "s-1".into() };
        let committed = entry();
        let delivered = committed.delivered(delivery, Timestamp::UNIX_EPOCH);
        assert_eq!(planned(&key, Some(&account), None).actions, [Action::Mint { serial: 1 }, Action::Deliver]);
        assert_eq!(planned(&key, Some(&account), Some(&committed)).actions, [Action::Deliver]);
        assert_eq!(planned(&key, Some(&account), Some(&delivered)), Plan::default());
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
