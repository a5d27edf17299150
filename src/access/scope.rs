//! `<resource>:<read|write|*>`: one thing that a key may do.

use std::fmt;
use std::str::FromStr;

use smol_str::SmolStr;
use thiserror::Error;

/// The longest scope that is accepted, in bytes.
pub const MAX_SCOPE_LEN: usize = 100;

/// What a call does to a resource. `Write` does not imply `Read`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// Look, change nothing.
    Read,
    /// Anything else.
    Write,
}

impl Action {
    /// The word for it in a scope.
    pub fn as_str(self) -> &'static str {
        match self {
            Action::Read => "read",
            Action::Write => "write",
        }
    }
}

/// A resource and an action, where either may be `*`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Scope {
    /// `None` is `*`: every resource. In place, as long as its name has at most 23 bytes.
    resource: Option<SmolStr>,
    /// `None` is `*`: every action.
    action: Option<Action>,
}

/// Why a text is no scope.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ScopeError {
    /// Longer than [`MAX_SCOPE_LEN`].
    #[error("a scope has at most {MAX_SCOPE_LEN} characters")]
    TooLong,
    /// There is no colon.
    #[error("`{0}` is not of the form <resource>:<read|write|*>")]
    NoColon(String),
    /// The part before the colon.
    #[error(
        "`{0}` is no resource name: use lower-case letters, digits, `.`, `_` and `-`, beginning and ending with a letter or digit, or `*`"
    )]
    BadResource(String),
    /// The part after the colon.
    #[error("`{0}` is no action: use `read`, `write` or `*`")]
    BadAction(String),
    /// A wildcard where one concrete resource and action is wanted.
    #[error("`{0}` has a wildcard; a route asks for one resource and one action")]
    Wildcard(String),
}

impl Scope {
    /// One concrete resource and action.
    pub fn new(resource: &str, action: Action) -> Result<Self, ScopeError> {
        if resource.len() + 1 + action.as_str().len() > MAX_SCOPE_LEN {
            return Err(ScopeError::TooLong);
        }
        if !is_resource_name(resource) {
            return Err(ScopeError::BadResource(resource.to_owned()));
        }
        Ok(Self { resource: Some(resource.into()), action: Some(action) })
    }

    /// `*` with one action or all of them.
    pub(super) const fn any_resource(action: Option<Action>) -> Self {
        Self { resource: None, action }
    }

    /// Parses a scope that must name one resource and one action, as a route's question does.
    pub fn concrete(text: &str) -> Result<Self, ScopeError> {
        let scope: Scope = text.parse()?;
        match scope {
            Scope { resource: Some(_), action: Some(_) } => Ok(scope),
            _ => Err(ScopeError::Wildcard(text.to_owned())),
        }
    }

    /// The resource that it names; `None` for every one.
    pub fn resource(&self) -> Option<&str> {
        self.resource.as_deref()
    }

    /// Does holding `self` permit all of `wanted`?
    pub fn covers(&self, wanted: &Scope) -> bool {
        let resource = self.resource.is_none() || self.resource == wanted.resource;
        let action = self.action.is_none() || self.action == wanted.action;
        resource && action
    }

    /// The scope that permits exactly what both permit, if there is any.
    pub fn meet(&self, other: &Scope) -> Option<Scope> {
        /// `None` is a wildcard on either side; the outer error is "nothing in common".
        fn narrower<T: PartialEq + Clone>(a: Option<&T>, b: Option<&T>) -> Result<Option<T>, ()> {
            match (a, b) {
                (None, other) | (other, None) => Ok(other.cloned()),
                (Some(a), Some(b)) if a == b => Ok(Some(a.clone())),
                (Some(_), Some(_)) => Err(()),
            }
        }
        let resource = narrower(self.resource.as_ref(), other.resource.as_ref()).ok()?;
        let action = narrower(self.action.as_ref(), other.action.as_ref()).ok()?;
        Some(Scope { resource, action })
    }
}

fn is_resource_name(text: &str) -> bool {
    let inner = |b: u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-');
    let edge = |b: Option<&u8>| b.is_some_and(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9'));
    let bytes = text.as_bytes();
    edge(bytes.first()) && edge(bytes.last()) && bytes.iter().all(|&b| inner(b))
}

impl FromStr for Scope {
    type Err = ScopeError;

    fn from_str(text: &str) -> Result<Self, ScopeError> {
        if text.len() > MAX_SCOPE_LEN {
            return Err(ScopeError::TooLong);
        }
        let (resource, action) = text.split_once(':').ok_or_else(|| ScopeError::NoColon(text.to_owned()))?;
        let resource = match resource {
            "*" => None,
            name if is_resource_name(name) => Some(name.into()),
            other => return Err(ScopeError::BadResource(other.to_owned())),
        };
        let action = match action {
            "*" => None,
            "read" => Some(Action::Read),
            "write" => Some(Action::Write),
            other => return Err(ScopeError::BadAction(other.to_owned())),
        };
        Ok(Self { resource, action })
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let resource = self.resource.as_deref().unwrap_or("*");
        let action = self.action.map_or("*", Action::as_str);
        write!(f, "{resource}:{action}")
    }
}
