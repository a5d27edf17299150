//! Namespaces whose resources are watched, and namespaces of the installation itself.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use thiserror::Error;

/// The longest name of a namespace.
const LONGEST: usize = 63;

/// The namespaces whose ApiKeys, Accounts and Suspensions are followed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Namespaces(Option<Arc<BTreeSet<String>>>);

impl Namespaces {
    /// Those that are named; all where none is.
    pub fn named(names: impl IntoIterator<Item = String>) -> Self {
        let names: BTreeSet<String> = names.into_iter().collect();
        Self((!names.is_empty()).then(|| Arc::new(names)))
    }

    /// Is what happens in this namespace followed?
    pub fn contain(&self, namespace: &str) -> bool {
        self.0.as_ref().is_none_or(|names| names.contains(namespace))
    }

    /// Each of them by its name, in order, or `None` alone for all.
    pub fn each(&self) -> Vec<Option<String>> {
        self.0.as_ref().map_or_else(|| vec![None], |names| names.iter().cloned().map(Some).collect())
    }
}

impl fmt::Display for Namespaces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            None => f.write_str("all namespaces"),
            Some(names) => f.write_str(&names.iter().map(String::as_str).collect::<Vec<_>>().join(", ")),
        }
    }
}

/// Namespaces of an installation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnNamespaces {
    /// Namespace of operator, verifier and the sealing key.
    pub system: String,
    /// Namespace of entries, the pepper and the verifiers' Leases. It differs from `system`, because verifiers read all its Secrets.
    pub entries: String,
}

/// Both namespaces are the same, so verifiers could read the sealing key.
#[derive(Debug, Error)]
#[error(
    "--system-namespace and --entries-namespace are both `{0}`: give entries a namespace of their own, because verifiers read all Secrets in it"
)]
pub struct SameNamespace(String);

impl OwnNamespaces {
    /// Creates it from two names.
    ///
    /// # Errors
    /// [`SameNamespace`] if the names are equal.
    pub fn new(system: String, entries: String) -> Result<Self, SameNamespace> {
        if system == entries { Err(SameNamespace(system)) } else { Ok(Self { system, entries }) }
    }
}

/// Reads the name of a namespace, as the API server would take it.
pub fn namespace_name(text: &str) -> Result<String, String> {
    let is_word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = text.as_bytes();
    let has_ends =
        bytes.first().is_some_and(|first| is_word(*first)) && bytes.last().is_some_and(|last| is_word(*last));
    if has_ends && bytes.len() <= LONGEST && bytes.iter().all(|byte| is_word(*byte) || *byte == b'-') {
        return Ok(text.to_owned());
    }
    Err(format!(
        "`{text}` is no name of a namespace: use at most {LONGEST} lower-case letters, digits and -, without spaces"
    ))
}

/// Parses the name of a namespace to watch.
pub fn watched_namespace(text: &str) -> Result<String, String> {
    namespace_name(text)
        .map_err(|why| format!("{why}; write names like shop,billing, or leave the flag out to watch all namespaces"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn named(names: &[&str]) -> Namespaces {
        Namespaces::named(names.iter().map(|&name| name.to_owned()))
    }

    #[test]
    fn none_named_is_all_and_a_name_said_twice_counts_once() {
        let all = named(&[]);
        assert_eq!((all.contain("shop"), all.each(), all.to_string()), (true, vec![None], "all namespaces".to_owned()));
        let two = named(&["shop", "billing", "shop"]);
        assert_eq!(two.each(), [Some("billing".to_owned()), Some("shop".to_owned())]);
        assert_eq!((two.contain("shop"), two.contain("sho"), two.contain("")), (true, false, false));
        assert_eq!(two.to_string(), "billing, shop");
    }

    #[test]
    fn equal_own_namespaces_are_refused() {
        let own = |system: &str, entries: &str| OwnNamespaces::new(system.to_owned(), entries.to_owned());
        assert_eq!(own("platform", "platform-keys").unwrap().entries, "platform-keys");
        assert!(own("platform", "platform").unwrap_err().to_string().contains("both `platform`"));
    }

    #[test]
    fn what_the_api_server_would_not_take_is_no_name() {
        for name in ["shop", "a", "0", "team-7", &"x".repeat(63)] {
            assert_eq!(namespace_name(name).unwrap(), name);
        }
        for no_name in ["", "-", "-a", "a-", "Shop", "a.b", "a_b", " a", "a ", "*", "ü", "a/b", "a=b", &"x".repeat(64)]
        {
            let said = namespace_name(no_name).unwrap_err();
            assert!(said.starts_with(&format!("`{no_name}` is no name of a namespace")), "{said}");
        }
    }
}
