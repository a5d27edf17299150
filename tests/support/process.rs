//! Child processes that never outlive us, whatever becomes of us.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use super::{PATIENCE, Result};

/// A running process; dropped, it is killed.
pub struct Process {
    child: Mutex<Child>,
    pub name: String,
}

type Job = (Command, Sender<std::io::Result<Child>>);

/// The kernel kills a child when the thread that made it ends, so they are all made by one thread that never does.
fn spawner() -> &'static Mutex<Sender<Job>> {
    static SPAWNER: OnceLock<Mutex<Sender<Job>>> = OnceLock::new();
    SPAWNER.get_or_init(|| {
        let (jobs, queue) = channel::<Job>();
        thread::spawn(move || {
            for (mut command, answer) in queue {
                let _ = answer.send(command.spawn());
            }
        });
        Mutex::new(jobs)
    })
}

impl Process {
    /// Starts a program with its output in `log`. It gets SIGKILL when this process ends, even by SIGKILL.
    pub fn start(name: &str, program: &Path, args: &[String], env: &[(&str, String)], log: &Path) -> Result<Self> {
        let log = File::options().create(true).append(true).open(log)?;
        let mut command = Command::new("setpriv");
        // Were we killed before setpriv had asked for its signal, the child would never get it: it looks who its parent is.
        command.args(["--pdeathsig", "KILL", "--", "sh", "-c", "[ $PPID = $0 ] && exec \"$@\""]);
        command.arg(std::process::id().to_string()).arg(program).args(args);
        command.envs(env.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let (answer, child) = channel();
        spawner().lock().unwrap().send((command, answer))?;
        let child = child.recv()?.map_err(|e| format!("{name}: {e} (setpriv is part of util-linux)"))?;
        Ok(Self { child: Mutex::new(child), name: name.to_owned() })
    }

    /// Has it ended by itself? Then why.
    pub fn ended(&self) -> Option<String> {
        let status = self.child.lock().unwrap().try_wait().ok().flatten()?;
        Some(format!("{} ended with {status}", self.name))
    }

    /// SIGKILL, at once.
    pub fn kill(&self) {
        let mut child = self.child.lock().unwrap();
        let _ = child.kill();
        let _ = child.wait();
    }

    /// SIGTERM, and the exit code.
    pub fn terminate(&self) -> Result<Option<i32>> {
        self.signal("TERM");
        self.wait()
    }

    /// Sends a signal, such as STOP.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").arg(format!("-{name}")).arg(self.id().to_string()).status();
        assert!(sent.is_ok_and(|status| status.success()), "{name} to {}", self.name);
    }

    /// Waits for its end, and the exit code.
    pub fn wait(&self) -> Result<Option<i32>> {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.lock().unwrap().try_wait()? {
                return Ok(status.code());
            }
            if start.elapsed() > PATIENCE {
                return Err(format!("{} does not end", self.name).into());
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn id(&self) -> u32 {
        self.child.lock().unwrap().id()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Ports of the loopback that nobody listens on. They are below those that the kernel gives to connections, for one of these
/// could have the port before the server that it is for starts, or starts again.
pub fn free_ports<const N: usize>() -> Result<[u16; N]> {
    const FIRST: u32 = 12_000;
    const COUNT: u32 = 20_000;
    static TRIED: AtomicU32 = AtomicU32::new(0);
    // Each process begins elsewhere, so that two do not find the same ones free.
    let begin = std::process::id().wrapping_mul(1009);
    let mut ports = [0; N];
    for port in &mut ports {
        *port = loop {
            let tried = TRIED.fetch_add(1, Ordering::Relaxed);
            if tried >= COUNT {
                return Err("no port is free".into());
            }
            let port = u16::try_from(FIRST + begin.wrapping_add(tried) % COUNT)?;
            if TcpListener::bind(("127.0.0.1", port)).is_ok() {
                break port;
            }
        };
    }
    Ok(ports)
}

/// Writes a file, or what is to take its place, that nobody ever reads in part: two tests may write it at once, and what
/// one of them started may be reading.
pub fn write_whole(path: &Path, text: &str) -> Result<()> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let fresh = path.with_extension(format!("{}.fresh", COUNT.fetch_add(1, Ordering::Relaxed)));
    fs::write(&fresh, text)?;
    Ok(fs::rename(&fresh, path)?)
}

/// Runs a command to its end; its output, or an error that holds it.
pub fn output(command: &mut Command) -> Result<String> {
    let output = command.output().map_err(|e| format!("{command:?}: {e}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(text);
    }
    Err(format!("{}: {}{text}", command.get_program().display(), String::from_utf8_lossy(&output.stderr)).into())
}
