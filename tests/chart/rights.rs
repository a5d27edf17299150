//! What our accounts may do, as a table for people, and what nobody of ours may ever do.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::MODES;
use super::support::chart::render;
use super::support::rights::{ACCOUNTS, Right, granted};

/// The order in which verbs are read.
const VERBS: [&str; 8] = ["get", "list", "watch", "create", "update", "patch", "delete", "bind"];
const WATCHED: &str = "each watched namespace";

fn page() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/rights.md")
}

/// Who, where and on what, in the words of the table.
fn row(right: &Right) -> (String, String, String) {
    let place = match right.namespace.as_deref() {
        None => "every namespace".to_owned(),
        Some("shop") => WATCHED.to_owned(),
        Some(ours) => format!("`{ours}`"),
    };
    let who = right.account.strip_prefix("keywright-").unwrap().to_owned();
    let what = right.name.as_ref().map_or(String::new(), |name| format!(" named `{name}`"));
    (who, place, format!("`{}`{what}", right.resource))
}

/// The lines of the table, with the reasons that are there already.
fn table(rights: &BTreeSet<Right>, reasons: &BTreeMap<(String, String, String), String>) -> String {
    let mut rows = BTreeMap::<_, Vec<&str>>::new();
    for right in rights {
        rows.entry(row(right)).or_default().push(&right.verb);
    }
    let mut text = "| who | where | on what | may | why |\n|---|---|---|---|---|\n".to_owned();
    for (row, mut verbs) in rows {
        verbs.sort_by_key(|verb| VERBS.iter().position(|one| one == verb).unwrap_or_else(|| panic!("{verb}: {row:?}")));
        let why = reasons.get(&row).map_or("", String::as_str);
        let (who, place, what) = &row;
        writeln!(text, "| {who} | {place} | {what} | {} | {why} |", verbs.join(", ")).unwrap();
    }
    text
}

/// The reasons of a page, by who, where and on what.
fn reasons(page: &str) -> BTreeMap<(String, String, String), String> {
    let rows = page.lines().filter_map(|line| {
        let cells: Vec<&str> = line.strip_prefix("| ")?.strip_suffix(" |")?.split(" | ").collect();
        let [who, place, what, _, why] = cells[..] else { return None };
        Some(((who.to_owned(), place.to_owned(), what.to_owned()), why.to_owned()))
    });
    rows.collect()
}

/// The text with another one between two marks.
pub fn between(page: &str, mark: &str, text: &str) -> String {
    let (begin, end) = (format!("<!-- {mark} -->\n"), format!("<!-- end of {mark} -->"));
    let (head, rest) = page.split_once(&begin).unwrap_or_else(|| panic!("no {begin} in {page}"));
    let (_, tail) = rest.split_once(&end).unwrap_or_else(|| panic!("no {end} in {page}"));
    format!("{head}{begin}{text}{end}{tail}")
}

/// Holds that a page is as it would be generated now, or writes it so when `KEYWRIGHT_UPDATE` is set.
pub fn holds(path: &Path, now: &str) {
    if std::env::var_os("KEYWRIGHT_UPDATE").is_some() {
        fs::write(path, now).unwrap();
    }
    let is = fs::read_to_string(path).unwrap();
    assert!(is == now, "{} is not as it would be generated: run `make docs`. It would be:\n{now}", path.display());
}

#[test]
fn the_rights_of_our_accounts_are_those_of_the_generated_table_and_each_has_a_reason() {
    let is = fs::read_to_string(page()).unwrap();
    let why = reasons(&is);
    let everywhere = table(&granted(&render(&[])), &why);
    let watched = table(&granted(&render(&["watchNamespaces=[\"shop\"]"])), &why);
    let now = between(&between(&is, "rights", &everywhere), "rights with watchNamespaces", &watched);
    holds(&page(), &now);
    let unsaid: Vec<&str> = now.lines().filter(|line| line.ends_with("|  |")).collect();
    assert!(unsaid.is_empty(), "no reason is given for {unsaid:#?}");
}

#[test]
fn no_value_but_the_watched_namespaces_changes_a_right() {
    for (mode, values) in MODES {
        let watched: Vec<&str> = values.iter().filter(|value| value.starts_with("watchNamespaces")).copied().collect();
        assert_eq!(granted(&render(values)), granted(&render(&watched)), "{mode}");
    }
}

#[test]
fn with_watched_namespaces_our_accounts_have_no_right_anywhere_else() {
    let rights = granted(&render(&["watchNamespaces=[\"shop\",\"team-b\"]"]));
    let places: BTreeSet<_> = rights.iter().map(|right| right.namespace.as_deref()).collect();
    let ours = ["keywright-entries", "keywright-system", "shop", "team-b"].map(Some);
    assert_eq!(places, BTreeSet::from(ours));
}

#[test]
fn each_watched_namespace_gives_the_same_rights_and_they_are_those_of_every_namespace() {
    let of = |rights: BTreeSet<Right>, namespace: Option<&str>| -> BTreeSet<Right> {
        let of = rights.into_iter().filter(|right| right.namespace.as_deref() == namespace);
        of.map(|right| Right { namespace: None, ..right }).collect()
    };
    let everywhere = of(granted(&render(&[])), None);
    assert!(!everywhere.is_empty());
    for namespace in ["shop", "team-b"] {
        let rights = granted(&render(&["watchNamespaces=[\"shop\",\"team-b\"]"]));
        assert_eq!(of(rights, Some(namespace)), everywhere);
    }
}

#[test]
fn no_role_of_the_chart_says_all_and_none_escalates_or_impersonates() {
    for (mode, values) in MODES {
        let rendered = render(values);
        for role in rendered.of_kind("ClusterRole").chain(rendered.of_kind("Role")) {
            assert!(role["aggregationRule"].is_null() && role["metadata"]["labels"]["aggregate-to-view"].is_null());
            for rule in role["rules"].as_array().unwrap() {
                let words: Vec<&Value> = ["apiGroups", "resources", "verbs", "nonResourceURLs"]
                    .iter()
                    .flat_map(|field| rule[field].as_array().into_iter().flatten())
                    .collect();
                for word in words {
                    let word = word.as_str().unwrap();
                    assert!(!word.contains('*'), "{mode}: {rule}");
                    assert!(
                        !["escalate", "impersonate", "deletecollection", "approve", "sign"].contains(&word),
                        "{mode}: {rule}"
                    );
                }
            }
        }
    }
}

#[test]
fn nobody_of_ours_reads_or_patches_a_secret_outside_of_our_namespaces() {
    for (mode, values) in MODES {
        for right in granted(&render(values)).iter().filter(|right| right.resource == "secrets") {
            let reads = ["get", "list", "watch", "patch"].contains(&right.verb.as_str());
            let ours = matches!(right.namespace.as_deref(), Some("keywright-system" | "keywright-entries"));
            assert!(ours || !reads, "{mode}: {right:?}");
            assert!(right.verb != "patch", "{mode}: {right:?}");
        }
    }
}

#[test]
fn beside_the_entries_nobody_of_ours_reads_a_secret_but_the_sealing_key() {
    for (mode, values) in MODES {
        let reads = granted(&render(values)).into_iter().filter(|right| {
            right.resource == "secrets"
                && right.namespace.as_deref() == Some("keywright-system")
                && !matches!(right.verb.as_str(), "create" | "update" | "delete")
        });
        let reads: Vec<_> = reads.map(|right| (right.account, right.verb, right.name.unwrap())).collect();
        let only =
            [("keywright-operator", "get", "keywright-sealing-key")].map(|(a, b, c)| (a.into(), b.into(), c.into()));
        assert_eq!(reads, only, "{mode}");
    }
}

#[test]
fn only_roles_for_people_are_bound_by_the_operator_and_only_by_name() {
    for (mode, values) in MODES {
        for right in granted(&render(values)).iter().filter(|right| right.verb == "bind") {
            let name = right.name.as_deref();
            assert!(matches!(name, Some("keywright-owner" | "keywright-admin")), "{mode}: {right:?}");
        }
    }
}

#[test]
fn nobody_but_our_two_accounts_is_given_anything() {
    for (mode, values) in MODES {
        for right in granted(&render(values)) {
            assert!(ACCOUNTS.contains(&right.account.as_str()), "{mode}: {right:?}");
        }
    }
}
