//! Events: what changed since the last status, for whoever asks `kubectl describe`.

use kube::Resource;
use kube::runtime::events::{Event, EventType};

use super::plan::Facts;
use crate::api::{ApiKeyStatus, CONDITION_EXPIRING, CONDITION_READY, CONDITION_SUSPENDED, Reason, State};
use crate::operator::context::Context;

/// One thing to tell.
#[derive(Debug, PartialEq, Eq)]
struct News {
    warning: bool,
    reason: String,
    note: String,
}

/// Publishes what is new. That it cannot be published is no reason to stop.
pub async fn tell(context: &Context, facts: &Facts<'_>, status: &ApiKeyStatus) {
    for News { warning, reason, note } in news(facts, status) {
        let event = Event {
            type_: if warning { EventType::Warning } else { EventType::Normal },
            reason,
            note: Some(note),
            action: "Reconcile".to_owned(),
            secondary: None,
        };
        if let Err(error) = context.recorder.publish(&event, &facts.key.object_ref(&())).await {
            tracing::warn!(%error, "an Event could not be published");
        }
    }
}

fn news(facts: &Facts<'_>, now: &ApiKeyStatus) -> Vec<News> {
    let before = facts.key.status.clone().unwrap_or_default();
    let said = |status: &ApiKeyStatus, type_: &str| status.conditions.iter().find(|c| c.type_ == type_).cloned();
    let mut news = Vec::new();
    for type_ in [CONDITION_READY, CONDITION_SUSPENDED, CONDITION_EXPIRING] {
        let (was, is) = (said(&before, type_), said(now, type_));
        match is {
            Some(is) if was.as_ref().is_none_or(|was| was.reason != is.reason) => {
                let warning = (type_ == CONDITION_READY) != (is.status == "True");
                let reason = if type_ == CONDITION_SUSPENDED { CONDITION_SUSPENDED.to_owned() } else { is.reason };
                news.push(News { warning, reason, note: is.message });
            }
            None if type_ == CONDITION_SUSPENDED && was.is_some() => {
                let note = "the platform has lifted the suspension".to_owned();
                news.push(News { warning: false, reason: "SuspensionLifted".to_owned(), note });
            }
            Some(_) | None => {}
        }
    }
    if now.state == Some(State::Expired) && before.state != Some(State::Expired) {
        let note = "every call with the key is refused from now on; move spec.expiresAt forward, or raise spec.rotation.revision".to_owned();
        news.push(News { warning: true, reason: "Expired".to_owned(), note });
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
