//! What is new of a key since its last status.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use super::facts::Facts;
use crate::api::{
    ApiKey, ApiKeyStatus, CONDITION_EXPIRING, CONDITION_READY, CONDITION_SECRET_AVAILABLE, CredentialState,
    CredentialStatus, HistoryLine, Reason, State, condition,
};
use crate::operator::context::Context;
use crate::operator::events::{News, cut, of_conditions, publish};

/// Tells that a value can be read before every live verifier has it.
pub async fn tell_passed_over(context: &Context, key: &ApiKey, leases: &[String]) {
    if leases.is_empty() {
        return;
    }
    let note = format!(
        "the value was delivered although verifiers did not say in time that they have it, and may refuse it as `unknown` until they do; see their Leases in namespace {}: {}",
        context.entries.namespace(),
        leases.join(", ")
    );
    let news = News { warning: true, reason: "VerifierPassedOver".to_owned(), note };
    publish(&context.client, key, vec![news], (context.now)()).await;
}

/// Lines of `status.history` that are kept.
const LINES: usize = 10;
/// Bytes of a line's message that are kept.
const LONGEST_LINE: usize = 256;

/// Returns a history with news, newest first.
pub fn history(before: &[HistoryLine], news: &[News], at: &Time) -> Vec<HistoryLine> {
    let line = |news: &News| HistoryLine {
        at: at.clone(),
        reason: news.reason.clone(),
        message: cut(news.note.clone(), LONGEST_LINE),
    };
    news.iter().rev().map(line).chain(before.iter().cloned()).take(LINES).collect()
}

/// Returns what differs from the status before, oldest first.
pub fn news(facts: &Facts<'_>, before: &ApiKeyStatus, now: &ApiKeyStatus) -> Vec<News> {
    let mut news = of_conditions(&before.conditions, &now.conditions);
    news.retain_mut(|one| is_news_of_ready(one, before, now));
    news.extend(switched(facts, before, now));
    for warning in [expiring, immutable] {
        if let Some(is) = warning(now).filter(|_| warning(before).is_none()) {
            news.push(News { warning: true, reason: is.reason.clone(), note: is.message.clone() });
        }
    }
    news.extend(revoked(before, now));
    let is_revoked = now.credentials.first().is_some_and(|newest| newest.state == Some(CredentialState::Revoked));
    if now.state == Some(State::Expired) && before.state != Some(State::Expired) && !is_revoked {
        let note = "every call with the key is refused from now on; move spec.expiresAt forward, or raise spec.rotation.revision";
        news.push(News { warning: true, reason: "Expired".to_owned(), note: note.to_owned() });
    }
    if newest(before).zip(newest(now)).is_some_and(|(was, is)| is > was) {
        let note =
            format!("a new value, {}, took the place of the one before", now.hint.as_deref().unwrap_or_default());
        news.push(News { warning: false, reason: "Rotated".to_owned(), note });
    }
    news.extend(ignored_revision(facts, before));
    news
}

fn expiring(status: &ApiKeyStatus) -> Option<&Condition> {
    condition(&status.conditions, CONDITION_EXPIRING)
}

fn immutable(status: &ApiKeyStatus) -> Option<&Condition> {
    let available = condition(&status.conditions, CONDITION_SECRET_AVAILABLE);
    available.filter(|available| available.reason == Reason::SecretImmutable.as_str())
}

fn newest(status: &ApiKeyStatus) -> Option<i64> {
    status.credentials.first().map(|credential| credential.serial)
}

/// Returns false for a change of `Ready` that is not reported. Renames `Issued` to `Resolved` if no value was issued.
fn is_news_of_ready(news: &mut News, before: &ApiKeyStatus, now: &ApiKeyStatus) -> bool {
    if news.reason == Reason::Issuing.as_str() {
        return false;
    }
    if news.reason != Reason::Issued.as_str() {
        return true;
    }
    let was = condition(&before.conditions, CONDITION_READY);
    let was_issuing = was.is_none_or(|was| was.reason == Reason::Issuing.as_str());
    if before.key_id.is_none() || (was_issuing && newest(now) == Some(1)) {
        return true;
    }
    "Resolved".clone_into(&mut news.reason);
    // `Rotated` reports it.
    !was_issuing
}

/// Reports that the key was disabled or enabled.
fn switched(facts: &Facts<'_>, before: &ApiKeyStatus, now: &ApiKeyStatus) -> Option<News> {
    let news = |reason: &str, note: String| Some(News { warning: false, reason: reason.to_owned(), note });
    match (&before.disabled_at, &now.disabled_at) {
        (None, Some(_)) => {
            let why = facts.key.spec.disabled_reason.as_deref().map(|why| format!(": {why}")).unwrap_or_default();
            news("Disabled", format!("every call with the key is refused{why}"))
        }
        (Some(_), None) => news("Enabled", "the key is no longer disabled; its value is the same".to_owned()),
        (Some(_), Some(_)) | (None, None) => None,
    }
}

/// Reports the values that were revoked.
fn revoked(before: &ApiKeyStatus, now: &ApiKeyStatus) -> Vec<News> {
    let is_revoked = |credential: &&CredentialStatus| credential.state == Some(CredentialState::Revoked);
    let was = |id: &str| before.credentials.iter().filter(is_revoked).any(|credential| credential.key_id == id);
    let new = now.credentials.iter().filter(is_revoked).filter(|credential| !was(&credential.key_id));
    let note = |id: &str| format!("value {id} is refused for good, because spec.rotation.revokeBefore covers it");
    new.map(|one| News { warning: true, reason: "Revoked".to_owned(), note: note(&one.key_id) }).collect()
}

/// A revision that is lower than one before, as a re-sync may bring: said once for each generation of the spec.
fn ignored_revision(facts: &Facts<'_>, before: &ApiKeyStatus) -> Option<News> {
    let highest = facts.entry?.revision;
    let asked = facts.key.spec.rotation.as_ref()?.revision?;
    if asked >= highest || before.observed_generation == facts.key.metadata.generation {
        return None;
    }
    let note = format!(
        "spec.rotation.revision {asked} is not higher than {highest}, the highest so far, and is ignored; for a new value set it to {}",
        highest + 1
    );
    Some(News { warning: true, reason: Reason::RevisionIgnored.as_str().to_owned(), note })
}
