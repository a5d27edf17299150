//! What is new of a key since its last status.

use super::facts::Facts;
use crate::api::{ApiKey, ApiKeyStatus, CONDITION_EXPIRING, CONDITION_SECRET_AVAILABLE, Reason, State};
use crate::operator::context::Context;
use crate::operator::events::{News, of_conditions, publish};

/// Tells it.
pub async fn tell(context: &Context, facts: &Facts<'_>, status: &ApiKeyStatus) {
    publish(&context.client, facts.key, news(facts, status), (context.now)()).await;
}

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

fn news(facts: &Facts<'_>, now: &ApiKeyStatus) -> Vec<News> {
    let before = facts.key.status.clone().unwrap_or_default();
    let mut news = of_conditions(&before.conditions, &now.conditions);
    let expiring = |status: &ApiKeyStatus| status.conditions.iter().find(|c| c.type_ == CONDITION_EXPIRING).cloned();
    if let Some(is) = expiring(now).filter(|_| expiring(&before).is_none()) {
        news.push(News { warning: true, reason: is.reason, note: is.message });
    }
    let immutable = |status: &ApiKeyStatus| {
        let available = status.conditions.iter().find(|c| c.type_ == CONDITION_SECRET_AVAILABLE);
        available.filter(|c| c.reason == Reason::SecretImmutable.as_str()).cloned()
    };
    if let Some(is) = immutable(now).filter(|_| immutable(&before).is_none()) {
        news.push(News { warning: true, reason: is.reason, note: is.message });
    }
    if now.state == Some(State::Expired) && before.state != Some(State::Expired) {
        let note = "every call with the key is refused from now on; move spec.expiresAt forward, or raise spec.rotation.revision";
        news.push(News { warning: true, reason: "Expired".to_owned(), note: note.to_owned() });
    }
    let newest = |status: &ApiKeyStatus| status.credentials.first().map(|credential| credential.serial);
    if newest(&before).zip(newest(now)).is_some_and(|(was, is)| is > was) {
        let note =
            format!("a new value, {}, took the place of the one before", now.hint.as_deref().unwrap_or_default());
        news.push(News { warning: false, reason: "Rotated".to_owned(), note });
    }
    news.extend(ignored_revision(facts, &before));
    news
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
