//! The chart in namespaces with other names, and as a dependency of other charts.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use super::MODES;
use super::support::chart::{OLDEST, chart, helm, template, try_render};

/// Arguments with names that no template contains.
const NAMED: [&str; 4] = ["--namespace", "tools", "--set", "entriesNamespace=tools-records"];

#[test]
fn chart_in_other_namespaces_names_no_default() {
    for (mode, values) in MODES {
        let sets: Vec<String> = values.iter().map(|value| format!("--set-json={value}")).collect();
        let sets: Vec<&str> = sets.iter().map(String::as_str).collect();
        let rendered = template(&[&NAMED[..], &sets].concat()).unwrap();
        for object in &rendered.0 {
            let text = object.to_string();
            let name = format!("{mode}: {} {}", object["kind"], object["metadata"]["name"]);
            assert!(!text.contains("keywright-system") && !text.contains("keywright-entries"), "{name}: {text}");
            if let Some(namespace) = object["metadata"]["namespace"].as_str() {
                assert!(["tools", "tools-records", "shop", "team-b"].contains(&namespace), "{name}");
            }
        }
        rendered.the("Namespace", "tools-records");
        for (role, arg) in [("operator", "--system-namespace=tools"), ("operator", "--entries-namespace=tools-records")]
        {
            assert!(rendered.args(role).contains(&arg), "{mode}: {role}");
        }
        assert!(rendered.args("verifier").contains(&"--entries-namespace=tools-records"), "{mode}");
    }
}

#[test]
fn namespace_of_entries_shared_with_others_is_refused() {
    for (values, why) in [
        (
            vec![r#"entriesNamespace="keywright-system""#],
            "entries need a namespace of their own, such as keywright-system-entries",
        ),
        (
            vec![r#"watchNamespaces=["keywright-system"]"#],
            "watchNamespaces contains keywright-system, which is Keywright's own",
        ),
        (
            vec![r#"watchNamespaces=["keywright-entries"]"#],
            "watchNamespaces contains keywright-entries, which is Keywright's own",
        ),
        (vec![r#"watchNamespaces=["records"]"#, r#"entriesNamespace="records""#], "watchNamespaces contains records"),
    ] {
        let error = try_render(&values).err().unwrap_or_else(|| panic!("{values:?} was taken")).to_string();
        assert!(error.contains(why), "{values:?}: {error}");
    }
}

/// Creates a chart that depends on Keywright, with a condition, and on another chart.
fn umbrella() -> TempDir {
    let umbrella = tempfile::tempdir().unwrap();
    let write = |path: &str, text: &str| {
        let path = umbrella.path().join(path);
        fs::create_dir_all(path.parent().unwrap_or(Path::new("/"))).unwrap();
        fs::write(path, text).unwrap();
    };
    write(
        "Chart.yaml",
        "apiVersion: v2\nname: platform\nversion: 1.0.0\ndependencies:\n\
         - {name: keywright, version: '>=0.0.0-0', condition: keywright.enabled}\n- {name: other, version: 1.0.0}\n",
    );
    write("charts/other/Chart.yaml", "apiVersion: v2\nname: other\nversion: 1.0.0\n");
    let config = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: other, namespace: {{ .Release.Namespace }}}\n";
    write("charts/other/templates/config.yaml", config);
    std::os::unix::fs::symlink(chart(), umbrella.path().join("charts/keywright")).unwrap();
    umbrella
}

#[test]
fn umbrella_with_two_charts_renders_in_any_namespace() {
    let umbrella = umbrella();
    let path = umbrella.path().display().to_string();
    let rendered = |namespace: &[&str], set: &str| {
        let args = ["template", "platform", &path, "--kube-version", OLDEST, "--set", set];
        helm(&[&args, namespace].concat()).unwrap()
    };
    let both = rendered(&["--namespace", "tools"], "keywright.enabled=true");
    for part in ["name: keywright-verifier", "name: other, namespace: tools", "--system-namespace=tools"] {
        assert!(both.contains(part), "{part}");
    }
    let without = rendered(&["--namespace", "tools"], "keywright.enabled=false");
    assert!(without.contains("name: other") && !without.contains("name: keywright-verifier"), "{without}");
    let nowhere_said = rendered(&[], "keywright.entriesNamespace=records");
    assert!(nowhere_said.contains("--system-namespace=default"), "{nowhere_said}");
}
