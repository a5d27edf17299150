//! The test fixture itself: a test binary that is killed leaves no process behind.

#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "support/mod.rs"]
mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use support::process::Process;
use support::{Result, eventually};

const PID_FILE: &str = "KEYWRIGHT_TEST_PID_FILE";

#[test]
#[ignore = "a part of the next test, which runs it in a process of its own"]
fn holds_a_process() {
    let log = PathBuf::from("/dev/null");
    let held = Process::start("sleep", Path::new("sleep"), &["600".to_owned()], &[], &log).unwrap();
    fs::write(std::env::var(PID_FILE).unwrap(), held.id().to_string()).unwrap();
    loop {
        std::thread::park();
    }
}

#[tokio::test]
async fn a_killed_test_binary_leaves_no_process_behind() {
    let dir = tempfile::tempdir().unwrap();
    let pid_file = dir.path().join("pid");
    let mut binary = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "holds_a_process"])
        .env(PID_FILE, &pid_file)
        .spawn()
        .unwrap();
    let runs = |pid: &str| {
        // Between death and burial it is a zombie, with an empty command line; before it runs, it is setpriv or a shell.
        fs::read_to_string(format!("/proc/{pid}/cmdline")).is_ok_and(|command| command == "sleep\x00600\x00")
    };
    let pid = eventually("the process runs", async || -> Result<String> {
        let pid = fs::read_to_string(&pid_file)?;
        if runs(&pid) { Ok(pid) } else { Err("not yet".into()) }
    })
    .await;
    binary.kill().unwrap();
    binary.wait().unwrap();
    eventually("it is gone", async || if runs(&pid) { Err("it still runs") } else { Ok(()) }).await;
}
