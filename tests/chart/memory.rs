//! The bounds on what clients can make a verifier hold, and what it holds anyway, stay below its memory limit.

use std::process::Command;

use keywright::server::ADMIN_MEMORY;
use keywright::verifier::ext_authz::{LARGE_MESSAGE, LARGE_MESSAGES, PARSED_FACTOR};

use super::schema::values;
use super::support::keywright::binary;

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;
/// A verifier without keys and clients: docs/PERFORMANCE.md has 14 MiB, a debug build 25.
const AT_REST: usize = 25 * MIB;
/// 100,000 keys, all in use: docs/INSTALL.md.
const KEYS: usize = 62 * MIB;
/// One argon2id check.
const ARGON2: usize = 19 * MIB;
/// Objects that are parsed by the three watches: the API server allows 1.5 MiB each, kept once as text and once parsed.
const WATCHES: usize = 3 * 3 * MIB;
/// Threads that read at the same time, one for each core of the node.
const CORES: usize = 32;
/// Heads that one thread can decode before memory is reserved for them: 2 KiB of one-byte fields.
const HEADS: usize = 2 * KIB * 150;

#[test]
fn the_bounds_of_a_verifier_fit_its_memory_limit() {
    let values = values();
    let verifier = &values["verifier"];
    let number = |path: &str| usize::try_from(verifier.pointer(path).unwrap().as_u64().unwrap()).unwrap();
    let limit = verifier["resources"]["limits"]["memory"].as_str().unwrap();
    let limit = limit.strip_suffix("Mi").unwrap().parse::<usize>().unwrap() * MIB;
    let large = LARGE_MESSAGES * number("/grpc/maxMessageKiB") * KIB * PARSED_FACTOR;
    let parts = [
        ("at rest", AT_REST),
        ("keys", KEYS),
        ("watches", WATCHES),
        ("argon2id", number("/argon2Checks") * ARGON2),
        ("connections and requests", number("/connectionMemoryMiB") * MIB),
        ("the admin port", ADMIN_MEMORY),
        ("heads before they are charged", CORES * HEADS),
        ("small messages while they are parsed", CORES * LARGE_MESSAGE * PARSED_FACTOR),
        ("large messages while they are parsed", large),
    ];
    let sum: usize = parts.iter().map(|(_, bytes)| bytes).sum();
    assert!(sum < limit, "{} MiB of {}: {parts:?}", sum / MIB, limit / MIB);
}

#[test]
fn the_chart_and_the_program_have_the_same_bounds() {
    let values = values();
    let help = Command::new(binary()).args(["verifier", "--help"]).output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    for (flag, path) in [
        ("--connection-memory", "/connectionMemoryMiB"),
        ("--peer-share", "/peerSharePercent"),
        ("--max-message", "/grpc/maxMessageKiB"),
        ("--max-connections", "/maxConnections"),
        ("--idle-timeout", "/idleTimeout"),
    ] {
        let value = values["verifier"].pointer(path).unwrap().to_string();
        let of_flag = help.split(flag).nth(1).expect("the flag is in --help");
        let expected = format!("[default: {}]", value.trim_matches('"'));
        let default = &of_flag[of_flag.find("[default: ").unwrap()..];
        assert!(default.starts_with(&expected), "{flag}: {}", &default[..40]);
    }
}
