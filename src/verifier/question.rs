//! What a route asks: parsed from the gateway's query, or from the body of `/v1/verify`. Pure.

use std::borrow::Cow;

use thiserror::Error;

use crate::access::{Action, Scope, ScopeError};

/// What must be true of the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Need {
    /// It permits this.
    Scope(Scope),
    /// It is live.
    Any,
}

/// The whole question of a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// What must be true of the key.
    pub need: Need,
    /// `<namespace>/<name>` of the accounts whose keys are accepted; all, when empty.
    pub accounts: Vec<AccountName>,
}

/// `<namespace>/<name>`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountName {
    namespace: Box<str>,
    name: Box<str>,
}

/// Why a route's question cannot be understood. Each is answered `bad_route`: a forgotten question must not be
/// an open door.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum QuestionError {
    /// Nothing is asked.
    #[error("the route asks nothing: add scope=<resource>:<read|write>, resource=<name>, scope=any or scope=public")]
    Nothing,
    /// Two questions.
    #[error("the route asks twice: give one scope or one resource")]
    Twice,
    /// A parameter that does not exist, perhaps mistyped.
    #[error("`{0}` is no parameter of a route: use scope, resource and account")]
    Parameter(String),
    /// A scope that cannot be asked for.
    #[error("scope: {0}")]
    Scope(#[from] ScopeError),
    /// An account that is no `<namespace>/<name>`.
    #[error("account: `{0}` is not of the form <namespace>/<name>")]
    Account(String),
    /// `%` without two hexadecimal digits, or bytes that are no text.
    #[error("the query is not properly percent-encoded")]
    Encoding,
    /// `resource=` needs the original method, and nothing says it.
    #[error(
        "resource= needs the request's method: start the verifier with --method-header and let the gateway set that header, once"
    )]
    Method,
}

impl Question {
    /// Parses the query of `/auth`. `method` is the original request's, from the gateway's own header.
    pub fn from_query(query: &str, method: Option<&[u8]>) -> Result<Self, QuestionError> {
        let mut need = None;
        let mut accounts = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (name, value) = (percent_decode(name)?, percent_decode(value)?);
            let asked = match &*name {
                "scope" => Some(parse_need(&value)?),
                "resource" => {
                    let action = action_of(method.ok_or(QuestionError::Method)?);
                    Some(Need::Scope(Scope::new(&value, action)?))
                }
                "account" => {
                    accounts.push(AccountName::parse(&value)?);
                    None
                }
                other => return Err(QuestionError::Parameter(other.to_owned())),
            };
            if asked.is_some() && std::mem::replace(&mut need, asked).is_some() {
                return Err(QuestionError::Twice);
            }
        }
        Ok(Self { need: need.ok_or(QuestionError::Nothing)?, accounts })
    }

    /// The question of `/v1/verify`: without a scope, "who is it?".
    pub fn from_parts(scope: Option<&str>, account: Option<&str>) -> Result<Self, QuestionError> {
        Ok(Self {
            need: scope.map_or(Ok(Need::Any), parse_need)?,
            accounts: account.map(AccountName::parse).transpose()?.into_iter().collect(),
        })
    }

    /// Are keys of this account accepted?
    pub fn accepts(&self, namespace: &str, account: &str) -> bool {
        self.accounts.is_empty() || self.accounts.iter().any(|a| &*a.namespace == namespace && &*a.name == account)
    }
}

impl AccountName {
    fn parse(text: &str) -> Result<Self, QuestionError> {
        match text.split_once('/') {
            Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() && !name.contains('/') => {
                Ok(Self { namespace: namespace.into(), name: name.into() })
            }
            _ => Err(QuestionError::Account(text.to_owned())),
        }
    }
}

/// For a live key `public` asks no more than `any` does; that the Site ID is enough is a matter of who is asked.
fn parse_need(text: &str) -> Result<Need, QuestionError> {
    match text {
        "any" | "public" => Ok(Need::Any),
        scope => Ok(Need::Scope(Scope::concrete(scope)?)),
    }
}

/// RFC 9110 calls these methods safe; all others, known or not, may write.
fn action_of(method: &[u8]) -> Action {
    match method {
        b"GET" | b"HEAD" | b"OPTIONS" => Action::Read,
        _ => Action::Write,
    }
}

fn percent_decode(text: &str) -> Result<Cow<'_, str>, QuestionError> {
    if !text.contains('%') {
        return Ok(Cow::Borrowed(text));
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        rest = tail;
        if first != b'%' {
            bytes.push(first);
            continue;
        }
        let (digits, tail) = rest.split_at_checked(2).ok_or(QuestionError::Encoding)?;
        let byte = data_encoding::HEXLOWER_PERMISSIVE.decode(digits).map_err(|_| QuestionError::Encoding)?;
        bytes.extend(byte);
        rest = tail;
    }
    String::from_utf8(bytes).map(Cow::Owned).map_err(|_| QuestionError::Encoding)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn scope(text: &str) -> Need {
        Need::Scope(Scope::concrete(text).unwrap())
    }

    #[test]
    fn a_route_asks_for_a_scope_a_resource_or_any_live_key() {
        for (query, method, need) in [
            ("scope=orders:read", None, scope("orders:read")),
            ("scope=orders%3Aread", None, scope("orders:read")),
            ("resource=orders", Some("GET"), scope("orders:read")),
            ("resource=orders", Some("HEAD"), scope("orders:read")),
            ("resource=orders", Some("POST"), scope("orders:write")),
            ("resource=orders", Some("get"), scope("orders:write")),
            ("scope=any", None, Need::Any),
            ("scope=public", None, Need::Any),
        ] {
            let question = Question::from_query(query, method.map(str::as_bytes)).unwrap();
            assert_eq!(question.need, need, "{query}");
            assert!(question.accepts("anywhere", "anyone"));
        }
    }

    #[test]
    fn a_route_may_name_the_accounts_that_it_accepts() {
        let question = Question::from_query("scope=any&account=shop/acme&account=shop/globex", None).unwrap();
        assert!(question.accepts("shop", "acme") && question.accepts("shop", "globex"));
        assert!(!question.accepts("shop", "initech") && !question.accepts("other", "acme"));
    }

    #[test]
    fn a_route_that_asks_nothing_nonsense_or_twice_is_told_what_to_do() {
        for (query, error) in [
            ("", QuestionError::Nothing),
            ("account=shop/acme", QuestionError::Nothing),
            ("scope=any&scope=any", QuestionError::Twice),
            ("scope=orders:read&resource=orders", QuestionError::Twice),
            ("scpoe=orders:read", QuestionError::Parameter("scpoe".into())),
            ("scope=", QuestionError::Scope(ScopeError::NoColon(String::new()))),
            ("scope", QuestionError::Scope(ScopeError::NoColon(String::new()))),
            ("scope=orders:*", QuestionError::Scope(ScopeError::Wildcard("orders:*".into()))),
            ("scope=any&account=acme", QuestionError::Account("acme".into())),
            ("scope=any&account=a/b/c", QuestionError::Account("a/b/c".into())),
            ("scope=%", QuestionError::Encoding),
            ("scope=%zz", QuestionError::Encoding),
            ("scope=%ff", QuestionError::Encoding),
        ] {
            assert_eq!(Question::from_query(query, Some(b"GET")), Err(error), "{query}");
        }
        assert_eq!(Question::from_query("resource=orders", None), Err(QuestionError::Method));
    }
}
