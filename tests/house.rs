//! What holds for the house as a whole: the pure rooms stay pure, and the hot path allocates nothing.

#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "../benches/support/mod.rs"]
mod support;

use std::fs;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use keywright::verifier::code::Code;
use keywright::verifier::decide::decide;
use keywright::verifier::question::Question;

/// Rooms that decide. They may know the types of the API, and neither a client nor a server.
const PURE: [&str; 28] = [
    "src/access",
    "src/api",
    "src/key",
    "src/operator/api_key/facts.rs",
    "src/operator/api_key/honour.rs",
    "src/operator/api_key/plan.rs",
    "src/operator/enforcement/changes.rs",
    "src/operator/enforcement/gates.rs",
    "src/operator/enforcement/lease.rs",
    "src/operator/enforcement/words.rs",
    "src/operator/queue.rs",
    "src/operator/refusal.rs",
    "src/operator/router.rs",
    "src/verifier/activity/fold.rs",
    "src/verifier/activity/ledger.rs",
    "src/verifier/activity/usage.rs",
    "src/verifier/answer.rs",
    "src/verifier/code.rs",
    "src/verifier/decide.rs",
    "src/verifier/fence.rs",
    "src/verifier/identity.rs",
    "src/verifier/index.rs",
    "src/verifier/lease/keeper.rs",
    "src/verifier/live.rs",
    "src/verifier/question.rs",
    "src/verifier/subject.rs",
    "src/verifier/table.rs",
    "src/verifier/told.rs",
];

const IO: [&str; 8] =
    ["kube::Client", "kube::Api", "kube::client", "kube::runtime", "tokio", "axum", "std::net", "std::fs"];

fn sources(path: &Path) -> Vec<PathBuf> {
    if path.is_file() {
        return vec![path.to_owned()];
    }
    fs::read_dir(path).unwrap().flat_map(|entry| sources(&entry.unwrap().path())).collect()
}

#[test]
fn the_pure_rooms_know_no_client_and_no_server() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for file in PURE.iter().flat_map(|room| sources(&root.join(room))) {
        let text = fs::read_to_string(&file).unwrap();
        // `use kube::{Api, Client}` is the same as both alone.
        let flat = text.replace("kube::{Api", "kube::Api").replace("kube::{Client", "kube::Client");
        for word in IO {
            assert!(!flat.contains(word), "{} knows {word}", file.display());
        }
    }
}

/// Types and calls that parse `ObjectMeta`, `managedFields` included, or whole lists: bytes of one tenant in a path of all.
const SHARED_PARSERS: [&str; 9] = [
    "Api::",
    "Api<",
    "DeserializeGuard",
    "DynamicObject",
    "PartialObjectMeta",
    "ObjectList",
    "runtime::watcher::{",
    ".request::<",
    "request_status",
];

#[test]
fn answers_of_the_api_server_are_read_as_received() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    // The Lease of the leader is in Keywright's own namespace, and kube-lease-manager parses it.
    let exempt = [root.join("src/apiserver"), root.join("src/operator/leader.rs")];
    for file in sources(&root.join("src")).iter().filter(|file| !exempt.iter().any(|exempt| file.starts_with(exempt))) {
        let text = fs::read_to_string(file).unwrap();
        for word in SHARED_PARSERS {
            let found = text.lines().any(|line| !line.trim_start().starts_with("//") && line.contains(word));
            assert!(!found, "{} has {word}: read the answer through src/apiserver", file.display());
        }
    }
}

#[test]
fn no_file_of_the_source_is_longer_than_400_lines() {
    for file in sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src")) {
        let lines = fs::read_to_string(&file).unwrap().lines().count();
        assert!(lines <= 400, "{} has {lines} lines: is it still one thing?", file.display());
    }
}

#[test]
fn a_decision_allocates_nothing() {
    let filled = support::filled(1000);
    let question = Question::from_query("scope=orders:read", || None).unwrap();
    let now = Timestamp::now();
    let unknown = support::minted(1);
    let ask = |text: &str| decide(&filled.index.look_up(&support::presented(text)), &question, now).code;
    // A thread's first look registers it with the map.
    assert_eq!(ask(&filled.known[0]), Code::Ok);
    for (text, expected) in [(&filled.known[1], Code::Ok), (&unknown[0], Code::Unknown)] {
        let mut code = Code::NotReady;
        let counted = allocation_counter::measure(|| code = ask(text));
        assert_eq!(code, expected);
        assert_eq!((counted.count_total, counted.bytes_total), (0, 0), "{expected}");
    }
}
