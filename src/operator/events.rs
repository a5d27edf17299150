//! Events, for whoever asks `kubectl describe`. Each is told once, when something changes, so there is nothing to aggregate:
//! kube's own recorder would put a new story under the words of an older one with the same reason.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, MicroTime};
use kube::api::ObjectMeta;
use kube::{Client, Resource};

use super::{refusal, write};
use crate::api::{CONDITION_READY, CONDITION_SUSPENDED, condition, names};
use crate::apiserver::Collection;

/// The longest note that the API server takes, in bytes.
const LONGEST_NOTE: usize = 1024;

/// One thing to tell.
#[derive(Debug, PartialEq, Eq)]
pub struct News {
    /// Should somebody look?
    pub warning: bool,
    /// In one word.
    pub reason: String,
    /// In a sentence.
    pub note: String,
}

/// Publishes what is new about an object. That it cannot be published is no reason to stop.
pub async fn publish<K: Resource<DynamicType = ()>>(client: &Client, object: &K, news: Vec<News>, now: Timestamp) {
    for news in news {
        publish_about(client, &object.object_ref(&()), news, now).await;
    }
}

/// Publishes one Event about an object, which may be gone.
pub async fn publish_about(client: &Client, about: &ObjectReference, news: News, now: Timestamp) {
    let events = Collection::<Event>::new(client, about.namespace.as_deref());
    if let Err(error) = events.create(&write::by_us(), &event(about.clone(), news, now)).await {
        // In a namespace that is being deleted nothing is created any more.
        if !refusal::is_ending(&error) {
            tracing::warn!(%error, "an Event could not be published");
        }
    }
}

fn event(regarding: ObjectReference, News { warning, reason, note }: News, now: Timestamp) -> Event {
    Event {
        metadata: ObjectMeta {
            generate_name: regarding.name.as_deref().map(prefix),
            namespace: regarding.namespace.clone(),
            ..ObjectMeta::default()
        },
        action: Some("Reconcile".to_owned()),
        event_time: Some(MicroTime(now)),
        note: Some(cut(note, LONGEST_NOTE)),
        reason: Some(reason),
        regarding: Some(regarding),
        reporting_controller: Some(names::OPERATOR_MANAGER.to_owned()),
        reporting_instance: Some(names::OPERATOR_MANAGER.to_owned()),
        type_: Some(if warning { "Warning" } else { "Normal" }.to_owned()),
        ..Event::default()
    }
}

/// What the API server makes a name of; it keeps 58 characters, and takes no more than 253.
fn prefix(name: &str) -> String {
    // Names are ASCII.
    let head = name.get(..58).unwrap_or(name);
    format!("{}-", head.trim_end_matches(['.', '-']))
}

/// Cuts a text to a number of bytes.
pub fn cut(note: String, longest: usize) -> String {
    if note.len() <= longest {
        return note;
    }
    let end = note.floor_char_boundary(longest - '…'.len_utf8());
    format!("{}…", &note[..end])
}

/// What is new in the conditions that keys and accounts have in common.
pub fn of_conditions(before: &[Condition], now: &[Condition]) -> Vec<News> {
    let mut news = Vec::new();
    let (was, is) = (condition(before, CONDITION_READY), condition(now, CONDITION_READY));
    if let Some(is) = is.filter(|is| was.is_none_or(|was| was.reason != is.reason)) {
        news.push(News { warning: is.status != "True", reason: is.reason.clone(), note: is.message.clone() });
    }
    match (condition(before, CONDITION_SUSPENDED), condition(now, CONDITION_SUSPENDED)) {
        (was, Some(is)) if was.is_none_or(|was| was.reason != is.reason) => {
            news.push(News { warning: true, reason: "Suspended".to_owned(), note: is.message.clone() });
        }
        (Some(_), None) => {
            let note = "the suspension was lifted".to_owned();
            news.push(News { warning: false, reason: "SuspensionLifted".to_owned(), note });
        }
        (_, _) => {}
    }
    news
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_note_is_cut_between_two_characters() {
        assert_eq!(cut("short".into(), LONGEST_NOTE), "short");
        let note = cut("é".repeat(1024), LONGEST_NOTE);
        assert!(note.len() <= LONGEST_NOTE && note.ends_with("é…"), "{}", note.len());
    }
}
