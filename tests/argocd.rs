//! What Argo CD and Flux say of the statuses in examples/gitops, which `tests/gitops/statuses.rs` holds against a real run.
//! A binary of its own: compiling Go beside an API server that starts makes that late.

use std::path::Path;
use std::process::Command;

/// The Lua as Argo CD runs it, kstatus and Flux's expressions, over the same files: a Go module, for they are Go.
#[test]
fn argo_cd_and_flux_read_the_statuses_as_people_do() {
    let module = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/gitops/tools");
    let settings = [("GOTOOLCHAIN", "local"), ("GOWORK", "off"), ("GOFLAGS", "-mod=readonly"), ("CGO_ENABLED", "0")];
    // Go's cache of results does not notice what changes outside of the module.
    let run = Command::new("go").args(["test", "-count=1", "./..."]).current_dir(module).envs(settings).output();
    let run = run.expect("go, as tests/controlplane/build needs it too");
    let said = [run.stdout, run.stderr].concat();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&said));
}
