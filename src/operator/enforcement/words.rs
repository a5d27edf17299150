//! What the condition `Enforced` says: the same words for the same facts, and what to do. Pure.

use std::time::Instant;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::lease::{Look, Observed, Says};
use crate::api::{CONDITION_ENFORCED, Conditions, Reason, condition};

/// What is known of a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It was seen, and no list of Leases was looked at since.
    Seen,
    /// Not proven, and why.
    Unknown(Reason, String),
    /// Proven, and how.
    Enforced(Reason),
}

/// How many Leases are named in one message.
const NAMED: usize = 3;

/// Is this generation said to be enforced?
pub fn is_settled(conditions: &[Condition], generation: Option<i64>) -> bool {
    said_of(conditions, generation).is_some_and(|condition| condition.status == "True")
}

fn said_of(conditions: &[Condition], generation: Option<i64>) -> Option<&Condition> {
    condition(conditions, CONDITION_ENFORCED).filter(|condition| condition.observed_generation == generation)
}

/// Says it. Where nothing is known yet, or nothing any more, what was said of this generation before stays as it is, so
/// that an operator that starts rewrites nothing.
pub fn say(conditions: &mut Conditions, standing: Option<&Standing>, before: &[Condition], generation: Option<i64>) {
    let before = said_of(before, generation);
    match (standing, before) {
        (Some(Standing::Enforced(reason)), _) => {
            conditions.say(CONDITION_ENFORCED, true, reason, enforced(*reason));
        }
        (Some(Standing::Unknown(reason, message)), _) => {
            conditions.say_unknown(CONDITION_ENFORCED, reason, message.clone());
        }
        (None, Some(before)) if before.status == "True" => {
            conditions.say(CONDITION_ENFORCED, true, &before.reason, before.message.clone());
        }
        (Some(Standing::Seen), Some(before)) if before.status == "Unknown" => {
            conditions.say_unknown(CONDITION_ENFORCED, &before.reason, before.message.clone());
        }
        (Some(Standing::Seen) | None, _) => {
            let reason = Reason::AwaitingVerifiers;
            conditions.say_unknown(CONDITION_ENFORCED, reason, AWAITING);
        }
    }
}

const AWAITING: &str = "waiting until every verifier has said that it goes by this generation";

fn enforced(reason: Reason) -> &'static str {
    if reason == Reason::Outwaited {
        "every verifier goes by this generation, or has answered nothing since its --max-staleness was over"
    } else {
        "every verifier goes by this generation"
    }
}

/// Why it is not known, of a change seen at a moment, and what to do.
pub fn unknown(reason: Reason, by: &[&Observed], seen: Instant, look: &Look) -> String {
    let namespace = look.namespace;
    let names: Vec<&str> = by.iter().take(NAMED).map(|lease| lease.report.name.as_str()).collect();
    let mut list = names.join(", ");
    if by.len() > NAMED {
        list = format!("{list} and {} more", by.len() - NAMED);
    }
    match reason {
        Reason::NoVerifier => format!(
            "no verifier that watches this namespace has a Lease in namespace {namespace}, so nobody is known to go by it; start a verifier that does, or read the log of the one that runs"
        ),
        Reason::NotComparable if by.is_empty() => {
            "the resourceVersions of this API server are no numbers, so what verifiers have applied cannot be compared"
                .to_owned()
        }
        Reason::NotComparable => format!(
            "in namespace {namespace} this operator cannot read what Lease {list} says; upgrade the operator to the version of the verifiers, or delete the Lease if it is no verifier's"
        ),
        Reason::VerifierUnreachable => {
            let whose = by.iter().take(NAMED).map(|lease| late(lease, seen, look)).collect::<Vec<_>>().join("; ");
            format!("Lease {list} in namespace {namespace} does not say that its verifier goes by it: {whose}")
        }
        _ => AWAITING.to_owned(),
    }
}

/// What is known of one that is late, and when it is over.
fn late(lease: &Observed, seen: Instant, look: &Look) -> String {
    let (name, namespace) = (&lease.report.name, look.namespace);
    let renewed = lease.report.renewed.map_or_else(String::new, |at| format!(" was renewed last at {}", whole(at)));
    match lease.report.says.as_ref().and_then(Says::is_fenced_after) {
        Some(wait) => {
            let left = wait.saturating_sub(look.now.duration_since(seen));
            let until = look.wall.checked_add(left).map_or_else(|_| String::new(), |at| format!(" at {}", whole(at)));
            format!("{name}{renewed} and answers nothing any more, by its --max-staleness, when it is outwaited{until}")
        }
        None => format!(
            "{name}{renewed} and has no --max-staleness, so it may answer by what it knew for ever; restart it, or if its process is known to be dead, run kubectl delete lease -n {namespace} {name}"
        ),
    }
}

fn whole(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second()).unwrap_or(at)
}
