//! A grant: everything that a key, or the ceiling of its account, permits.

use std::collections::BTreeSet;
use std::sync::{Arc, LazyLock};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::scope::{Action, Scope, ScopeError};

/// The most scopes that a `Custom` grant lists.
pub const MAX_SCOPES: usize = 64;

/// How much a key may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum AccessLevel {
    /// Read everything, change nothing.
    ReadOnly,
    /// Read and change everything.
    Full,
    /// Exactly what `scopes` lists.
    Custom,
}

impl AccessLevel {
    /// The word for it in a manifest.
    pub fn as_str(self) -> &'static str {
        match self {
            AccessLevel::ReadOnly => "ReadOnly",
            AccessLevel::Full => "Full",
            AccessLevel::Custom => "Custom",
        }
    }

    /// Does it permit this one thing? Of `Custom` the scopes decide.
    pub fn allows(self, wanted: &Scope) -> Option<bool> {
        let action = match self {
            AccessLevel::Full => None,
            AccessLevel::ReadOnly => Some(Action::Read),
            AccessLevel::Custom => return None,
        };
        Some(Scope::any_resource(action).covers(wanted))
    }
}

/// A level together with its scopes, checked: what was written in a manifest, made fit for decisions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    level: AccessLevel,
    /// Shared, so that of a million keys with `Full` all look at the same few bytes.
    scopes: Arc<[Scope]>,
}

/// Why a level and its scopes make no grant.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum GrantError {
    /// Scopes beside a level that has none.
    #[error("scopes go only with accessLevel Custom; remove them, or set accessLevel: Custom")]
    ScopesWithoutCustom,
    /// `Custom` that grants nothing.
    #[error("accessLevel Custom needs 1 to {MAX_SCOPES} scopes, such as orders:read")]
    NoScopes,
    /// More than [`MAX_SCOPES`].
    #[error("{0} scopes, but at most {MAX_SCOPES} are allowed")]
    TooMany(usize),
    /// A scope that cannot be read.
    #[error(transparent)]
    Scope(#[from] ScopeError),
}

impl Grant {
    /// Checks what a manifest says.
    pub fn new<S: AsRef<str>>(level: AccessLevel, scopes: &[S]) -> Result<Self, GrantError> {
        match level {
            AccessLevel::Full | AccessLevel::ReadOnly if scopes.is_empty() => Ok(Self::whole(level)),
            AccessLevel::Full | AccessLevel::ReadOnly => Err(GrantError::ScopesWithoutCustom),
            AccessLevel::Custom if scopes.is_empty() => Err(GrantError::NoScopes),
            AccessLevel::Custom if scopes.len() > MAX_SCOPES => Err(GrantError::TooMany(scopes.len())),
            AccessLevel::Custom => {
                let scopes = scopes.iter().map(|s| s.as_ref().parse()).collect::<Result<_, _>>()?;
                Ok(Self { level, scopes })
            }
        }
    }

    /// `Full` is `*:*` and `ReadOnly` is `*:read`, so that all levels are one kind of thing.
    fn whole(level: AccessLevel) -> Self {
        static READ_ONLY: LazyLock<Arc<[Scope]>> = LazyLock::new(|| [Scope::any_resource(Some(Action::Read))].into());
        static FULL: LazyLock<Arc<[Scope]>> = LazyLock::new(|| [Scope::any_resource(None)].into());
        let scopes = match level {
            AccessLevel::ReadOnly => READ_ONLY.clone(),
            AccessLevel::Full => FULL.clone(),
            AccessLevel::Custom => Arc::default(),
        };
        Self { level, scopes }
    }

    /// The level it was made with.
    pub fn level(&self) -> AccessLevel {
        self.level
    }

    /// Its scopes, `*:*` for `Full` and `*:read` for `ReadOnly` included.
    pub fn scopes(&self) -> &[Scope] {
        &self.scopes
    }

    /// Does it permit this one thing?
    pub fn allows(&self, wanted: &Scope) -> bool {
        self.scopes.iter().any(|held| held.covers(wanted))
    }

    /// What both permit: a key under its account's ceiling. The result is as small as it can be written.
    #[must_use]
    pub fn under(&self, ceiling: &Grant) -> Grant {
        let all: BTreeSet<Scope> =
            self.scopes.iter().flat_map(|a| ceiling.scopes.iter().filter_map(|b| a.meet(b))).collect();
        let scopes: Arc<[Scope]> =
            all.iter().filter(|s| !all.iter().any(|other| other != *s && other.covers(s))).cloned().collect();
        let level = [AccessLevel::Full, AccessLevel::ReadOnly]
            .into_iter()
            .find(|&level| Self::whole(level).scopes == scopes)
            .unwrap_or(AccessLevel::Custom);
        Grant { level, scopes }
    }

    /// The scopes listed here that `ceiling` does not permit in full. Only `Custom` lists any: `Full` and
    /// `ReadOnly` mean "all that the account may".
    pub fn beyond<'a>(&'a self, ceiling: &'a Grant) -> impl Iterator<Item = &'a Scope> {
        let listed = if self.level == AccessLevel::Custom { &self.scopes[..] } else { &[] };
        listed.iter().filter(|scope| !ceiling.allows_all(scope))
    }

    /// `orders:*` is permitted by `orders:read` and `orders:write` together.
    fn allows_all(&self, wanted: &Scope) -> bool {
        self.allows(wanted)
            || [Action::Read, Action::Write]
                .iter()
                .all(|&action| wanted.meet(&Scope::any_resource(Some(action))).is_none_or(|half| self.allows(&half)))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn custom(scopes: &[&str]) -> Grant {
        Grant::new(AccessLevel::Custom, scopes).unwrap()
    }

    fn full() -> Grant {
        Grant::new::<&str>(AccessLevel::Full, &[]).unwrap()
    }

    fn read_only() -> Grant {
        Grant::new::<&str>(AccessLevel::ReadOnly, &[]).unwrap()
    }

    fn asks(text: &str) -> Scope {
        Scope::concrete(text).unwrap()
    }

    #[test]
    fn each_level_allows_what_its_name_says() {
        assert!(full().allows(&asks("orders:write")));
        assert!(read_only().allows(&asks("orders:read")));
        assert!(!read_only().allows(&asks("orders:write")));
        assert!(custom(&["orders:read"]).allows(&asks("orders:read")));
        assert!(!custom(&["orders:read"]).allows(&asks("invoices:read")));
        assert!(custom(&["*:read"]).allows(&asks("invoices:read")));
    }

    #[test]
    fn write_does_not_imply_read() {
        assert!(!custom(&["orders:write"]).allows(&asks("orders:read")));
        assert!(custom(&["orders:*"]).allows(&asks("orders:read")));
    }

    #[test]
    fn scopes_go_with_custom_only_and_custom_needs_some() {
        assert_eq!(Grant::new(AccessLevel::Full, &["a:read"]), Err(GrantError::ScopesWithoutCustom));
        assert_eq!(Grant::new::<&str>(AccessLevel::Custom, &[]), Err(GrantError::NoScopes));
        assert_eq!(Grant::new(AccessLevel::Custom, &vec!["a:read"; 65]), Err(GrantError::TooMany(65)));
    }

    #[test]
    fn nonsense_scopes_are_refused_with_the_reason() {
        for (text, error) in [
            ("orders", ScopeError::NoColon("orders".into())),
            ("Orders:read", ScopeError::BadResource("Orders".into())),
            (":read", ScopeError::BadResource(String::new())),
            ("-a:read", ScopeError::BadResource("-a".into())),
            ("orders:delete", ScopeError::BadAction("delete".into())),
            ("orders:", ScopeError::BadAction(String::new())),
        ] {
            assert_eq!(text.parse::<Scope>(), Err(error), "{text}");
        }
        assert_eq!(format!("{}:read", "a".repeat(96)).parse::<Scope>(), Err(ScopeError::TooLong));
        assert_eq!(Scope::concrete("orders:*"), Err(ScopeError::Wildcard("orders:*".into())));
    }

    #[test]
    fn a_key_under_a_ceiling_shows_the_least_that_both_permit() {
        let shown = |grant: Grant| grant.scopes().iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(full().under(&full()), full());
        assert_eq!(full().under(&read_only()), read_only());
        assert_eq!(shown(custom(&["orders:*", "orders:read"]).under(&full())), ["orders:*"]);
        assert_eq!(shown(custom(&["orders:*"]).under(&read_only())), ["orders:read"]);
        assert_eq!(shown(custom(&["orders:write"]).under(&read_only())), [""; 0]);
    }

    #[test]
    fn beyond_names_the_scopes_that_the_ceiling_does_not_grant() {
        let ceiling = custom(&["orders:read", "orders:write", "invoices:read"]);
        let key = custom(&["orders:*", "invoices:*", "users:read"]);
        let beyond: Vec<_> = key.beyond(&ceiling).map(ToString::to_string).collect();
        assert_eq!(beyond, ["invoices:*", "users:read"]);
        assert_eq!(full().beyond(&ceiling).count(), 0);
    }

    fn scope() -> impl Strategy<Value = String> {
        ("(a|b|c|\\*)", "(read|write|\\*)").prop_map(|(resource, action)| format!("{resource}:{action}"))
    }

    fn grant() -> impl Strategy<Value = Grant> {
        prop_oneof![
            Just(full()),
            Just(read_only()),
            proptest::collection::vec(scope(), 1..6).prop_map(|s| Grant::new(AccessLevel::Custom, &s).unwrap()),
        ]
    }

    proptest! {
        #[test]
        fn under_allows_exactly_what_both_allow(key in grant(), ceiling in grant(), ask in "(a|b|c|d):(read|write)") {
            let ask = asks(&ask);
            prop_assert_eq!(key.under(&ceiling).allows(&ask), key.allows(&ask) && ceiling.allows(&ask));
        }

        #[test]
        fn nothing_is_beyond_a_ceiling_that_allows_it_all(key in grant(), ceiling in grant(), ask in "(a|b|c|d):(read|write)") {
            let ask = asks(&ask);
            if key.level() == AccessLevel::Custom && key.beyond(&ceiling).next().is_none() && key.allows(&ask) {
                prop_assert!(ceiling.allows(&ask));
            }
        }
    }
}
