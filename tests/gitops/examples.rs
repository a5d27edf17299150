//! Every example, applied again after everybody has done their work, changes nothing.

use std::path::{Path, PathBuf};
use std::{fs, io};

use serde_json::Value;

use super::statuses::condition;
use super::support::cluster::Cluster;
use super::support::eventually;
use super::support::space::both;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples")
}

/// The manifests, in the order in which they are to be applied.
fn files() -> io::Result<Vec<String>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder())? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml") {
            files.push(path.display().to_string());
        }
    }
    files.sort();
    Ok(files)
}

/// What there is of ours that the files name.
fn there(cluster: &Cluster, files: &[String]) -> Vec<Value> {
    let named = files.iter().flat_map(|file| ["-f", file.as_str()]);
    let args: Vec<&str> = ["get", "-o", "json"].into_iter().chain(named).collect();
    let list: Value = serde_json::from_str(&cluster.plane.kubectl(&args).unwrap()).unwrap();
    let is_ours = |object: &&Value| object["apiVersion"].as_str().unwrap().starts_with("keywright.dev/");
    list["items"].as_array().unwrap().iter().filter(is_ours).cloned().collect()
}

/// Is a condition true of the generation that there is?
fn holds(object: &Value, type_: &str) -> bool {
    let generation = &object["metadata"]["generation"];
    condition(object, type_).is_some_and(|c| c["status"] == "True" && &c["observedGeneration"] == generation)
}

/// Waits until each is ready, proven on the verifier, suspended where it is to be, and counted.
async fn until_at_rest(cluster: &Cluster, files: &[String]) -> Vec<Value> {
    eventually("the operator has done its work", async || {
        let objects = there(cluster, files);
        for object in &objects {
            if object["status"]["observedGeneration"] != object["metadata"]["generation"] {
                return Err(format!("{} was not looked at", object["metadata"]["name"]));
            }
            let of_it: &[&str] = if object["kind"] == "Suspension" { &["Enforced"] } else { &["Ready", "Enforced"] };
            if let Some(missing) = of_it.iter().find(|condition| !holds(object, condition)) {
                return Err(format!("{} is not {missing}: {}", object["metadata"]["name"], object["status"]));
            }
        }
        for suspension in objects.iter().filter(|object| object["kind"] == "Suspension") {
            let target = &suspension["spec"]["target"];
            let is_it = |o: &&Value| o["kind"] == target["kind"] && o["metadata"]["name"] == target["name"];
            if !objects.iter().filter(is_it).any(|object| holds(object, "Suspended")) {
                return Err(format!("{target} is not Suspended"));
            }
        }
        // Counts of keys follow half a second later.
        for account in objects.iter().filter(|object| object["kind"] == "Account") {
            let is_its = |key: &&Value| {
                key["kind"] == "ApiKey"
                    && key["metadata"]["namespace"] == account["metadata"]["namespace"]
                    && key["spec"]["account"] == account["metadata"]["name"]
            };
            let active = |key: &&Value| key["status"]["state"] == "Active";
            let (total, active) =
                (objects.iter().filter(is_its).count(), objects.iter().filter(is_its).filter(active).count());
            let keys = &account["status"]["keys"];
            if keys["total"] != total || keys["active"] != active {
                return Err(format!("{keys} instead of {total} and {active}"));
            }
        }
        Ok(objects)
    })
    .await
}

/// Each object's name and version.
fn versions(objects: &[Value]) -> Vec<[&Value; 4]> {
    let metas = objects.iter().map(|object| &object["metadata"]);
    metas.map(|meta| [&meta["namespace"], &meta["name"], &meta["generation"], &meta["resourceVersion"]]).collect()
}

/// In one test, for the examples bring the one namespace that they are in.
#[tokio::test]
async fn every_example_applied_twice_changes_nothing_the_second_time_in_either_way_of_applying() {
    let (cluster, _both) = (Cluster::shared().await, both().await);
    cluster.plane.with_controller_manager().unwrap();
    let files = files().unwrap();
    assert!(files.len() >= 3, "{files:?}");
    for way in [&["--server-side=false"][..], &["--server-side"]] {
        let run = |verb: &str, file: &str| cluster.plane.kubectl(&[&[verb, "-f", file], way].concat());
        for file in &files {
            run("apply", file).unwrap_or_else(|e| panic!("{file}: {e}"));
        }
        let before = until_at_rest(cluster, &files).await;
        for file in &files {
            run("diff", file).unwrap_or_else(|e| panic!("{file} differs from what there is, {way:?}: {e}"));
            run("apply", file).unwrap_or_else(|e| panic!("{file}: {e}"));
        }
        assert_eq!(versions(&there(cluster, &files)), versions(&before), "{way:?}");
        // Deleted and gone, so that the next way begins as a first one does.
        for file in files.iter().rev() {
            cluster.plane.kubectl(&["delete", "-f", file, "--ignore-not-found", "--timeout=60s"]).unwrap();
        }
    }
}

#[test]
fn no_example_states_disabled_for_that_would_undo_an_emergency() {
    for file in files().unwrap() {
        let text = fs::read_to_string(&file).unwrap();
        let states = |line: &&str| line.trim_start().starts_with("disabled:");
        assert_eq!(text.lines().find(states), None, "{file}");
    }
}
