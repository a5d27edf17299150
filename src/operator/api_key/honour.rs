//! Can the spec of an ApiKey be honoured, and if not, what is its owner to do? Pure.

use std::collections::BTreeSet;

use super::facts::{Facts, Problem, Source};
use crate::access::Grant;
use crate::api::{Account, ApiKey, Reason};
use crate::key::Cloned;

/// Everything that must be right before a value is minted or delivered. What the key is a clone of, as it is recorded or
/// is to be with its first value.
pub fn check(facts: &Facts<'_>) -> Result<Option<Cloned>, Problem> {
    let account = account(facts)?;
    let cloned = match facts.entry {
        Some(entry) => entry.cloned.clone(),
        None => clone_of(facts)?,
    };
    let grant = grant(facts.key, cloned.as_ref())?;
    is_known(&grant, account)?;
    is_granted(&grant, account)?;
    Ok(cloned)
}

/// What the key may do, before its account's ceiling: what its own spec says, or what it was cloned from.
pub fn grant(key: &ApiKey, cloned: Option<&Cloned>) -> Result<Grant, Problem> {
    let invalid = |error: &dyn std::fmt::Display| Problem::new(Reason::InvalidSpec, error.to_string());
    if let Some(own) = key.spec.grant().map_err(|error| invalid(&error))? {
        return Ok(own);
    }
    let Some(cloned) = cloned else { return Err(invalid(&"accessLevel is needed: ReadOnly, Full or Custom")) };
    cloned.grant().map_err(|error| invalid(&error))
}

/// What is to be recorded with the first value of a clone; `None` for a key that is none.
fn clone_of(facts: &Facts<'_>) -> Result<Option<Cloned>, Problem> {
    let Some(from) = &facts.key.spec.clone_from else { return Ok(None) };
    let name = &from.name;
    let (reason, message) = match facts.source {
        Some(Source::Found(cloned)) => return Ok(Some(cloned.clone())),
        None | Some(Source::Missing) => (
            Reason::CloneSourceNotFound,
            format!(
                "ApiKey {name}, to be cloned, does not exist in this namespace; create it, or create this key with an accessLevel of its own"
            ),
        ),
        Some(Source::Unresolved) => (
            Reason::CloneSourceNotReady,
            format!("ApiKey {name} is a clone itself and waits for its own source; see its condition Ready"),
        ),
        Some(Source::Cycle) => (
            Reason::CloneCycle,
            format!(
                "going from clone to clone one comes from ApiKey {name} back to this key; create one of them with an accessLevel and without cloneFrom"
            ),
        ),
        Some(Source::OtherAccount(other)) => (
            Reason::CloneOtherAccount,
            format!("ApiKey {name} belongs to Account {other}; only a key of the same account can be cloned"),
        ),
    };
    Err(Problem::new(reason, message))
}

fn account<'a>(facts: &Facts<'a>) -> Result<&'a Account, Problem> {
    let name = &facts.key.spec.account;
    facts.account.filter(|account| account.metadata.deletion_timestamp.is_none()).ok_or_else(|| {
        let namespace = facts.key.metadata.namespace.as_deref().unwrap_or_default();
        let message = format!("Account {name} does not exist in namespace {namespace}; create it there, or create the key with another spec.account");
        Problem::new(Reason::AccountNotFound, message)
    })
}

/// The account's catalogue of resources catches typing errors.
fn is_known(grant: &Grant, account: &Account) -> Result<(), Problem> {
    let catalogue: BTreeSet<&str> = account.spec.resources.iter().map(String::as_str).collect();
    let unknown: Vec<&str> =
        grant.scopes().iter().filter_map(|s| s.resource()).filter(|r| !catalogue.contains(r)).collect();
    if catalogue.is_empty() || unknown.is_empty() {
        return Ok(());
    }
    let name = account.metadata.name.as_deref().unwrap_or_default();
    let message = format!(
        "Account {name} lists no resource {}; correct spec.scopes, or ask the platform team to add it to spec.resources of the Account",
        with_nearest(&unknown, &catalogue).join(", ")
    );
    Err(Problem::new(Reason::UnknownScope, message))
}

/// Returns the unknown resources, the first of them with the nearest resource of the catalogue. A key can name many
/// resources, so a limit keeps the time of the comparison short.
fn with_nearest(unknown: &[&str], catalogue: &BTreeSet<&str>) -> Vec<String> {
    const COMPARED: usize = 3;
    /// Of a similarity from 0 to 1; clap suggests from the same on.
    const ALIKE: f64 = 0.7;
    let nearest = |resource: &str| {
        let by_likeness = catalogue.iter().map(|known| (strsim::jaro(resource, known), *known));
        by_likeness.filter(|(likeness, _)| *likeness > ALIKE).max_by(|a, b| a.0.total_cmp(&b.0))
    };
    let said = unknown.iter().take(COMPARED).map(|resource| match nearest(resource) {
        Some((_, known)) => format!("{resource} (did you mean {known}?)"),
        None => (*resource).to_owned(),
    });
    said.chain(unknown.iter().skip(COMPARED).map(|resource| (*resource).to_owned())).collect()
}

fn is_granted(grant: &Grant, account: &Account) -> Result<(), Problem> {
    let name = account.metadata.name.as_deref().unwrap_or_default();
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
mod tests {
    use super::*;

    #[test]
    fn an_unknown_resource_is_named_with_the_one_that_it_was_meant_to_be_if_there_is_one() {
        let catalogue = BTreeSet::from(["orders", "order-lines", "invoices"]);
        let said = with_nearest(&["ordes", "invoice", "weather", "oders"], &catalogue);
        assert_eq!(said, ["ordes (did you mean orders?)", "invoice (did you mean invoices?)", "weather", "oders"]);
    }
}
