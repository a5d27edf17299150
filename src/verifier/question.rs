//! What a route asks: parsed from the gateway's query, or from the body of `/v1/verify`. Pure.

use std::borrow::Cow;
use std::fmt;

use thiserror::Error;

use crate::access::{Action, Scope, ScopeError};

/// Characters of a client's text that an error quotes.
const MOST_QUOTED: usize = 64;

/// What must be true of the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Need {
    /// It permits this.
    Scope(Scope),
    /// It is live.
    Any,
    /// It is live; or there is only an account's Site ID.
    Public,
}

impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scope(scope) => scope.fmt(f),
            Self::Any => f.write_str("any"),
            Self::Public => f.write_str("public"),
        }
    }
}

/// The whole question of a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// What must be true of the key.
    pub need: Need,
    /// `<namespace>/<name>` of the accounts whose keys are accepted; all, when empty.
    pub accounts: Vec<AccountName>,
    /// The upstream is told the metadata of key and account.
    pub metadata: bool,
    /// The gateway takes the key out of the request. Only where the gateway can be told to.
    pub strip_key: bool,
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
    #[error("`{0}` is no parameter of a route: use scope, resource, account and metadata, and over gRPC strip-key")]
    Parameter(String),
    /// A scope that cannot be asked for.
    #[error("scope: {0}")]
    Scope(#[from] ScopeError),
    /// An account that is no `<namespace>/<name>`.
    #[error("account: `{0}` is not of the form <namespace>/<name>")]
    Account(String),
    /// Something else than true or false.
    #[error("{0}: `{1}` is neither true nor false")]
    Flag(&'static str, String),
    /// A question as path segments that nothing ends.
    #[error("the question in the path must end with the segment `-`, as in /auth/scope=orders:read/-/")]
    Unended,
    /// A name or a value in Envoy's route that is no text.
    #[error("context_extensions is not UTF-8")]
    Extensions,
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
    /// Parses the query of `/auth`. `method` is the original request's, from the gateway's own header; it is asked for only
    /// where the answer depends on it.
    pub fn from_query<'m>(query: &str, method: impl Fn() -> Option<&'m [u8]>) -> Result<Self, QuestionError> {
        let mut reading = Reading::new(method);
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            reading.take_encoded(name, value)?;
        }
        reading.question()
    }

    /// Parses the path after `/auth/`: the same pairs as segments, up to the segment `-`; what follows is the client's and
    /// counts for nothing. A segment without `=` goes on with the one before, so that `account=shop/acme` can be written
    /// as it is.
    pub fn from_path<'m>(path: &str, method: impl Fn() -> Option<&'m [u8]>) -> Result<Self, QuestionError> {
        let mut pairs: Vec<(&str, String)> = Vec::new();
        let mut is_ended = false;
        for segment in path.split('/') {
            match (segment, segment.split_once('='), pairs.last_mut()) {
                ("-", ..) => {
                    is_ended = true;
                    break;
                }
                ("", ..) => {}
                (_, Some((name, value)), _) => pairs.push((name, value.to_owned())),
                (rest, None, Some((_, value))) => {
                    value.push('/');
                    value.push_str(rest);
                }
                (alone, None, None) => return Err(QuestionError::Parameter(quoted(alone))),
            }
        }
        if !is_ended {
            return Err(QuestionError::Unended);
        }
        let mut reading = Reading::new(method);
        for (name, value) in &pairs {
            reading.take_encoded(name, value)?;
        }
        reading.question()
    }

    /// Parses what Envoy passes along from its route, where `method` is known for certain. A list of accounts is
    /// separated by commas or spaces there, for a name can stand only once.
    pub fn from_extensions<'p>(
        extensions: impl Iterator<Item = (&'p [u8], &'p [u8])>,
        method: &[u8],
    ) -> Result<Self, QuestionError> {
        let text = |bytes| std::str::from_utf8(bytes).map_err(|_| QuestionError::Extensions);
        let mut reading = Reading::new(|| Some(method));
        for (name, value) in extensions {
            match (text(name)?, text(value)?) {
                ("strip-key", value) => reading.question.strip_key = parse_flag("strip-key", value)?,
                ("account", value) => {
                    let mut accounts = value.split([',', ' ']).filter(|account| !account.is_empty());
                    // An empty list must not become no list: that would accept every account.
                    reading.take("account", accounts.next().unwrap_or_default())?;
                    accounts.try_for_each(|account| reading.take("account", account))?;
                }
                (name, value) => reading.take(name, value)?,
            }
        }
        reading.question()
    }

    /// Parses the requirement of routes that carry none, as Envoy's extensions but in one text: `scope=any&account=shop/acme`.
    pub fn from_default(requirement: &str, method: &[u8]) -> Result<Self, QuestionError> {
        let pairs = requirement.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        Self::from_extensions(pairs.map(|(name, value)| (name.as_bytes(), value.as_bytes())), method)
    }

    /// The question of `/v1/verify`: without a scope, "who is it?".
    pub fn from_parts(scope: Option<&str>, account: Option<&str>) -> Result<Self, QuestionError> {
        Ok(Self {
            need: scope.map_or(Ok(Need::Any), parse_need)?,
            accounts: account.map(AccountName::parse).transpose()?.into_iter().collect(),
            metadata: true,
            strip_key: false,
        })
    }

    /// Are keys of this account accepted?
    pub fn accepts(&self, (namespace, account): (&str, &str)) -> bool {
        self.accounts.is_empty() || self.accounts.iter().any(|a| &*a.namespace == namespace && &*a.name == account)
    }
}

/// A question of which some parameters have been read.
struct Reading<M> {
    method: M,
    /// What it needs, once that has been read.
    need: Option<Need>,
    question: Question,
}

impl<'m, M: Fn() -> Option<&'m [u8]>> Reading<M> {
    fn new(method: M) -> Self {
        let question = Question { need: Need::Any, accounts: Vec::new(), metadata: false, strip_key: false };
        Self { method, need: None, question }
    }

    fn take_encoded(&mut self, name: &str, value: &str) -> Result<(), QuestionError> {
        self.take(&percent_decode(name)?, &percent_decode(value)?)
    }

    fn take(&mut self, name: &str, value: &str) -> Result<(), QuestionError> {
        match name {
            "scope" => self.ask(parse_need(value)?)?,
            "resource" => {
                let action = action_of((self.method)().ok_or(QuestionError::Method)?);
                self.ask(Need::Scope(Scope::new(value, action)?))?;
            }
            "account" => self.question.accounts.push(AccountName::parse(value)?),
            "metadata" => self.question.metadata = parse_flag("metadata", value)?,
            other => return Err(QuestionError::Parameter(quoted(other))),
        }
        Ok(())
    }

    fn ask(&mut self, need: Need) -> Result<(), QuestionError> {
        if self.need.replace(need).is_some() { Err(QuestionError::Twice) } else { Ok(()) }
    }

    fn question(self) -> Result<Question, QuestionError> {
        Ok(Question { need: self.need.ok_or(QuestionError::Nothing)?, ..self.question })
    }
}

impl AccountName {
    fn parse(text: &str) -> Result<Self, QuestionError> {
        match text.split_once('/') {
            Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() && !name.contains('/') => {
                Ok(Self { namespace: namespace.into(), name: name.into() })
            }
            _ => Err(QuestionError::Account(quoted(text))),
        }
    }
}

fn parse_need(text: &str) -> Result<Need, QuestionError> {
    match text {
        "any" => Ok(Need::Any),
        "public" => Ok(Need::Public),
        scope => Ok(Need::Scope(Scope::concrete(scope)?)),
    }
}

fn parse_flag(name: &'static str, text: &str) -> Result<bool, QuestionError> {
    match text {
        "true" => Ok(true),
        "false" => Ok(false),
        other => Err(QuestionError::Flag(name, quoted(other))),
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

/// The beginning of a client's text. An answer that quotes all of it would hold as much memory until the client reads it.
fn quoted(text: &str) -> String {
    let mut characters = text.chars();
    let mut start: String = characters.by_ref().take(MOST_QUOTED).collect();
    if characters.next().is_some() {
        start.push('…');
    }
    start
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
            ("scope=public", None, Need::Public),
        ] {
            let question = Question::from_query(query, || method.map(str::as_bytes)).unwrap();
            assert_eq!(question.need, need, "{query}");
            assert!(question.accepts(("anywhere", "anyone")));
        }
    }

    #[test]
    fn a_route_may_name_the_accounts_that_it_accepts() {
        let question = Question::from_query("scope=any&account=shop/acme&account=shop/globex", || None).unwrap();
        assert!(question.accepts(("shop", "acme")) && question.accepts(("shop", "globex")));
        assert!(!question.accepts(("shop", "initech")) && !question.accepts(("other", "acme")));
    }

    #[test]
    fn a_question_in_the_path_is_the_same_and_ends_where_the_client_begins() {
        let of = |path: &str| Question::from_path(path, || Some(b"GET"));
        let same = Question::from_query("scope=orders:read&account=shop/acme&metadata=true", || None).unwrap();
        for path in [
            "scope=orders:read/account=shop/acme/metadata=true/-/",
            "scope=orders%3Aread/account=shop%2Facme/metadata=true/-",
            "scope=orders:read/account=shop/acme/metadata=true/-/scope=any/-/account=x/y",
            "scope=orders:read//account=shop/acme/metadata=true/-/../../-/?scope=any",
        ] {
            assert_eq!(of(path).unwrap(), same, "{path}");
        }
        assert_eq!(of("scope=any"), Err(QuestionError::Unended));
        assert_eq!(of("-/scope=any/-/"), Err(QuestionError::Nothing));
        assert_eq!(of("orders/scope=any/-/"), Err(QuestionError::Parameter("orders".into())));
    }

    #[test]
    fn a_question_from_envoys_route_takes_a_list_of_accounts() {
        let of = |pairs: &[(&str, &str)]| {
            let pairs = pairs.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
            Question::from_extensions(pairs, b"POST")
        };
        let question =
            of(&[("resource", "orders"), ("account", "shop/acme, shop/globex"), ("strip-key", "true")]).unwrap();
        assert_eq!(question.need, scope("orders:write"));
        assert!(question.accepts(("shop", "globex")) && !question.accepts(("shop", "initech")) && question.strip_key);
        assert_eq!(of(&[("strip-key", "yes"), ("scope", "any")]), Err(QuestionError::Flag("strip-key", "yes".into())));
        assert_eq!(of(&[]), Err(QuestionError::Nothing));
        let no_text = [(&b"scope"[..], &b"\xff"[..])];
        assert_eq!(Question::from_extensions(no_text.into_iter(), b"GET"), Err(QuestionError::Extensions));
        for empty in ["", ",", " , "] {
            assert_eq!(of(&[("scope", "any"), ("account", empty)]), Err(QuestionError::Account(String::new())));
        }
    }

    #[test]
    fn a_route_that_asks_nothing_nonsense_or_twice_is_told_what_to_do() {
        for (query, error) in [
            ("", QuestionError::Nothing),
            ("account=shop/acme", QuestionError::Nothing),
            ("scope=any&scope=any", QuestionError::Twice),
            ("scope=orders:read&resource=orders", QuestionError::Twice),
            ("scpoe=orders:read", QuestionError::Parameter("scpoe".into())),
            (&"é".repeat(100_000), QuestionError::Parameter("é".repeat(64) + "…")),
            ("scope=any&strip-key=true", QuestionError::Parameter("strip-key".into())),
            ("scope=any&metadata=yes", QuestionError::Flag("metadata", "yes".into())),
            ("scope=", QuestionError::Scope(ScopeError::NoColon(String::new()))),
            ("scope", QuestionError::Scope(ScopeError::NoColon(String::new()))),
            ("scope=orders:*", QuestionError::Scope(ScopeError::Wildcard("orders:*".into()))),
            ("scope=any&account=acme", QuestionError::Account("acme".into())),
            ("scope=any&account=a/b/c", QuestionError::Account("a/b/c".into())),
            ("scope=%", QuestionError::Encoding),
            ("scope=%zz", QuestionError::Encoding),
            ("scope=%ff", QuestionError::Encoding),
        ] {
            assert_eq!(Question::from_query(query, || Some(b"GET")), Err(error), "{query}");
        }
        assert_eq!(Question::from_query("resource=orders", || None), Err(QuestionError::Method));
    }
}
