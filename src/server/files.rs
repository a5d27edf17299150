//! How many files may be open. Every connection is one, and so is the way to the API server.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// For the watches, the log, the runtime, and what else is open at any time.
const OTHERS: usize = 64;

/// Opens as many as this process may: the soft limit is often 1,024, for the sake of programs from before there was `poll`.
/// Returns how many that is; `None` is no limit.
pub fn open_as_many_files_as_allowed() -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit })
    {
        tracing::warn!(%error, "the limit of open files cannot be raised");
        return limit.current;
    }
    limit.maximum
}

/// The same, for so many connections; says so where they are more than may be open. Past that limit nobody is told 503, and
/// the way to the API server is lost too when it must be opened anew.
pub fn prepare_for(connections: usize) {
    let needed = u64::try_from(connections + OTHERS).unwrap_or(u64::MAX);
    if let Some(allowed) = open_as_many_files_as_allowed().filter(|allowed| *allowed < needed) {
        tracing::warn!(
            allowed,
            needed,
            "fewer files may be open than --max-connections asks for on both listeners: raise the hard limit (ulimit -Hn) or lower it"
        );
    }
}
