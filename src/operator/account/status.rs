//! What is said of an account: a projection of facts, the same bytes for the same facts.

use std::sync::Arc;

use jiff::Timestamp;
use kube::ResourceExt;

use super::members::Members;
use crate::api::{
    Account, AccountStatus, ApiKey, CONDITION_READY, CONDITION_SUSPENDED, Conditions, KeyCounts, Reason, State,
    Suspension,
};
use crate::apiserver::Collection;
use crate::operator::context::Context;
use crate::operator::enforcement::{self, Standing};
use crate::operator::events::{of_conditions, publish};
use crate::operator::write;

/// What the status is made of.
pub struct Facts<'a> {
    /// The account.
    pub account: &'a Account,
    /// The Site ID that is reserved for it.
    pub site_id: Option<String>,
    /// Message for the user if the API server refuses that reservation.
    pub refused: Option<String>,
    /// What became of its members.
    pub members: Members,
    /// That the platform has suspended it.
    pub suspension: Option<&'a Suspension>,
    /// Its keys.
    pub keys: &'a [Arc<ApiKey>],
    /// Whether every verifier goes by it.
    pub standing: Option<Standing>,
}

/// The status that these facts give.
pub fn project(facts: &Facts<'_>, now: Timestamp) -> AccountStatus {
    let Facts { account, site_id, keys, .. } = facts;
    let (before, generation) = (account.status.clone().unwrap_or_default().conditions, account.metadata.generation);
    let mut conditions = Conditions::after(before.clone(), generation, now);
    let (ready, reason, message) = ready(facts);
    conditions.say(CONDITION_READY, ready, reason, message);
    enforcement::say(&mut conditions, facts.standing.as_ref(), &before, generation);
    if let Some(suspension) = facts.suspension {
        conditions.say(CONDITION_SUSPENDED, true, &suspension.spec.reason, suspension.spec.words());
    }
    AccountStatus {
        public_key: site_id.clone(),
        keys: Some(count(keys)),
        observed_generation: account.metadata.generation,
        conditions: conditions.into_vec(),
    }
}

fn ready(facts: &Facts<'_>) -> (bool, Reason, String) {
    let spec = &facts.account.spec;
    let ceiling = match spec.ceiling() {
        Ok(ceiling) => ceiling,
        Err(error) => return (false, Reason::InvalidSpec, error.to_string()),
    };
    let listed = |resource: &str| spec.resources.is_empty() || spec.resources.iter().any(|known| known == resource);
    if let Some(unknown) = ceiling.scopes().iter().filter_map(|scope| scope.resource()).find(|name| !listed(name)) {
        let message = format!("spec.scopes names {unknown}, which spec.resources does not list; correct one of them");
        return (false, Reason::UnknownScope, message);
    }
    if let Some(refused) = &facts.refused {
        let message = format!("{refused}. It is tried again at least every 30 seconds; ask the platform team");
        return (false, Reason::RecordRefused, message);
    }
    if facts.site_id.is_none() {
        let message = "every Site ID that was tried is reserved for another account; give this one another name";
        return (false, Reason::NoSiteId, message.to_owned());
    }
    match &facts.members {
        Members::NotOldest { oldest } => {
            let message = format!(
                "the members have no roles, because Account {oldest} in this namespace is older and RBAC ends at the namespace; move this Account to a namespace of its own"
            );
            (false, Reason::MembersNeedOwnNamespace, message)
        }
        Members::Conflict(name) => {
            let message = format!(
                "RoleBinding {name} exists and is not this account's; it is not touched. Delete it, and the members get their roles"
            );
            (false, Reason::MemberConflict, message)
        }
        Members::Refused(why) => (
            false,
            Reason::MemberRefused,
            format!("the API server refuses the members' RoleBinding, and it stays as it is: {why}"),
        ),
        Members::Bound if spec.disabled => (true, Reason::Accepted, "every key of this account is refused".to_owned()),
        Members::Bound => (true, Reason::Accepted, "keys of this account can be minted".to_owned()),
    }
}

fn count(keys: &[Arc<ApiKey>]) -> KeyCounts {
    let in_state = |wanted: State| {
        let keys = keys.iter().filter(|key| key.status.as_ref().and_then(|status| status.state) == Some(wanted));
        u32::try_from(keys.count()).unwrap_or(u32::MAX)
    };
    KeyCounts {
        total: u32::try_from(keys.len()).unwrap_or(u32::MAX),
        active: in_state(State::Active),
        disabled: in_state(State::Disabled),
    }
}

/// Writes it when it differs, in the version that was read.
pub async fn write(context: &Context, facts: &Facts<'_>, status: AccountStatus) -> Result<(), kube::Error> {
    let account = facts.account;
    context.known.says_of_account(account, &status);
    if account.status.as_ref() == Some(&status) {
        return Ok(());
    }
    let (metadata, spec) = (write::as_read(&account.metadata), account.spec.clone());
    let object = Account { metadata, spec, status: Some(status.clone()) };
    let accounts = Collection::<Account>::new(&context.client, account.metadata.namespace.as_deref());
    accounts.replace_status(&account.name_any(), &write::by_us(), &object).await?;
    // After the write, or a conflict would have it told twice.
    let before = account.status.clone().unwrap_or_default().conditions;
    publish(&context.client, account, of_conditions(&before, &status.conditions), (context.now)()).await;
    Ok(())
}
