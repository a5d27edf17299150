//! Programs as children: each on one core, with what it costs.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::available_parallelism;
use std::time::Duration;

/// The client's core; servers have the other.
const CLIENT: &str = "0";
const SERVER: &str = "1";

pub struct Process {
    child: Child,
    out: BufReader<Box<dyn Read>>,
}

/// Two cores, and a program that says which is whose.
fn can_pin() -> bool {
    let has = |folder| Path::new(folder).join("taskset").exists();
    available_parallelism().is_ok_and(|cores| cores.get() > 1) && (has("/usr/bin") || has("/bin"))
}

/// The client keeps to its core.
pub fn pin_client() {
    if !can_pin() {
        eprintln!("without two cores and taskset, client and server take the processor from each other");
        return;
    }
    let me = std::process::id().to_string();
    Command::new("taskset").args(["-acp", CLIENT, &me]).stdout(Stdio::null()).status().unwrap();
}

impl Process {
    /// Starts a program on the servers' core. It is to end when its standard input does, or is killed.
    pub fn start(program: &Path, args: &[&str]) -> Self {
        // Children inherit the client's core.
        let mut command = if is_pinned() {
            let mut command = Command::new("taskset");
            command.args(["-c", SERVER]).arg(program);
            command
        } else {
            Command::new(program)
        };
        let mut child = command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let out = BufReader::new(Box::new(child.stdout.take().unwrap()) as Box<dyn Read>);
        Self { child, out }
    }

    pub fn tell(&mut self, line: &str) {
        writeln!(self.child.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    pub fn line(&mut self) -> String {
        let mut line = String::new();
        self.out.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    fn file(&self, name: &str) -> String {
        std::fs::read_to_string(format!("/proc/{}/{name}", self.child.id())).unwrap()
    }

    /// How long it has had a processor, by the scheduler's own clock.
    pub fn cpu(&self) -> Duration {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        let spent = |task: std::fs::DirEntry| {
            let text = std::fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
            text.split(' ').next().and_then(|number| number.parse().ok()).unwrap_or(0)
        };
        Duration::from_nanos(tasks.map(|task| spent(task.unwrap())).sum())
    }

    /// Resident and of that anonymous, in kB.
    pub fn memory(&self) -> (u64, u64) {
        let status = self.file("status");
        let of = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name)).unwrap();
            line.split_whitespace().nth(1).unwrap().parse().unwrap()
        };
        (of("VmRSS:"), of("RssAnon:"))
    }
}

/// Has this process been given its core?
fn is_pinned() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    status.lines().filter_map(|line| line.strip_prefix("Cpus_allowed_list:")).any(|allowed| allowed.trim() == CLIENT)
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
