//! The answer to a gateway, the same on every transport: a status, headers, and for a refusal a problem document.

use std::sync::LazyLock;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue};
use serde::Serialize;

use super::code::Code;
use super::decide::Verdict;
use super::headers::{CODE_HEADER, NO_STORE};
use super::identity::{self, metadata_headers};
use super::question::{Need, Question};

/// What a gateway is told.
#[derive(Clone)]
pub struct Answer {
    /// Why it passes or does not.
    pub code: Code,
    /// Of the answer: the identity of the caller, or the challenge.
    pub headers: HeaderMap,
    /// Empty, or RFC 9457.
    pub body: Bytes,
}

/// Every refusal but those that say something of the route, made once.
static REFUSALS: LazyLock<Vec<Answer>> =
    LazyLock::new(|| Code::ALL.iter().map(|&code| refusal(code, code.detail(), None)).collect());

impl Answer {
    /// The answer to a verdict.
    pub fn to(verdict: &Verdict<'_>, question: &Question) -> Self {
        match verdict.code {
            // An identity that cannot be told is a doubt.
            Code::Ok => Self::allow(verdict, question).unwrap_or_else(|| Self::refuse(Code::NotReady)),
            Code::InsufficientScope => refusal(verdict.code, verdict.code.detail(), Some(question)),
            code => Self::refuse(code),
        }
    }

    fn allow(verdict: &Verdict<'_>, question: &Question) -> Option<Self> {
        let mut headers = identity::headers(verdict)?;
        if let Some(holder) = verdict.holder.as_ref().filter(|_| question.metadata) {
            headers.extend(metadata_headers(holder)?);
        }
        Some(Self { code: Code::Ok, headers, body: Bytes::new() })
    }

    /// A refusal.
    pub fn refuse(code: Code) -> Self {
        REFUSALS[code as usize].clone()
    }

    /// A route that asks no valid question, and what is wrong with it. While not ready, that is the whole truth.
    pub fn bad_route(code: Code, why: &str) -> Self {
        if code == Code::BadRoute { refusal(code, why, None) } else { Self::refuse(code) }
    }
}

/// Builds a refusal; the question is given where the answer names its scope.
fn refusal(code: Code, detail: &str, question: Option<&Question>) -> Answer {
    let type_ = format!("https://keywright.dev/problems/{code}");
    let scope = question.and_then(|question| match &question.need {
        Need::Scope(scope) => Some(scope.to_string()),
        Need::Any | Need::Public => None,
    });
    let problem = Problem {
        type_: &type_,
        title: code.title(),
        status: code.status(),
        detail,
        code: Some(code.as_str()),
        scope: scope.as_deref(),
    };
    let mut headers = HeaderMap::with_capacity(4);
    headers.insert(CODE_HEADER, HeaderValue::from_static(code.as_str()));
    headers.insert(CACHE_CONTROL, NO_STORE);
    headers.insert(CONTENT_TYPE, Problem::MEDIA_TYPE);
    headers.extend(challenge(code, question).map(|value| (WWW_AUTHENTICATE, value)));
    Answer { code, headers, body: problem.to_body() }
}

fn challenge(code: Code, question: Option<&Question>) -> Option<HeaderValue> {
    match (code, question.map(|question| &question.need)) {
        (Code::Missing, _) => Some(HeaderValue::from_static("Bearer realm=\"keywright\"")),
        (Code::InsufficientScope, Some(Need::Scope(scope))) => {
            let text = format!("Bearer realm=\"keywright\", error=\"insufficient_scope\", scope=\"{scope}\"");
            HeaderValue::try_from(text).ok()
        }
        (Code::InsufficientScope, _) => {
            Some(HeaderValue::from_static("Bearer realm=\"keywright\", error=\"insufficient_scope\""))
        }
        (code, _) if code.status() == 401 => {
            Some(HeaderValue::from_static("Bearer realm=\"keywright\", error=\"invalid_token\""))
        }
        _ => None,
    }
}

/// RFC 9457.
#[derive(Serialize)]
pub struct Problem<'a> {
    /// A URI that names the problem.
    #[serde(rename = "type")]
    pub type_: &'a str,
    /// What it is, in a line.
    pub title: &'a str,
    /// The HTTP status.
    pub status: u16,
    /// What to do.
    pub detail: &'a str,
    /// The code, where it is one of ours.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<&'a str>,
    /// The scope that the call needs, where the key lacks it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<&'a str>,
}

impl Problem<'_> {
    /// Of the document.
    pub const MEDIA_TYPE: HeaderValue = HeaderValue::from_static("application/problem+json");

    /// As JSON.
    pub fn to_body(&self) -> Bytes {
        serde_json::to_vec(self).map_or_else(|_| Bytes::new(), Bytes::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_is_made_under_its_own_code() {
        for code in Code::ALL {
            let answer = Answer::refuse(code);
            assert_eq!(answer.code, code);
            assert_eq!(answer.headers[CACHE_CONTROL], NO_STORE);
            assert_eq!(answer.headers[CODE_HEADER], code.as_str());
        }
    }
}
