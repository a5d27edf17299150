//! Commands in the documents, as their readers run them.

use std::path::Path;
use std::process::{Command, Output};

use super::control_plane::ControlPlane;

/// The folder of the repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Returns the commands of a document: lines that begin with `$ `, each with its further lines.
pub fn commands(document: &str) -> Vec<String> {
    let text = std::fs::read_to_string(root().join(document)).expect("the document");
    let mut lines = text.lines();
    let mut found = Vec::new();
    while let Some(line) = lines.next() {
        let Some(first) = line.strip_prefix("$ ") else { continue };
        let mut command = vec![first];
        let is_document = first.ends_with("<<EOF");
        let goes_on = |last: &str| if is_document { last != "EOF" } else { last.ends_with('\\') };
        while command.last().is_some_and(|last| goes_on(last)) {
            command.push(lines.next().expect("the rest of a command"));
        }
        found.push(command.join("\n"));
    }
    found
}

/// Prepares a shell that runs a command with the kubectl of a control plane, in a folder.
pub fn shell(plane: &ControlPlane, folder: &Path, command: &str) -> Command {
    let path = format!("{}:{}", plane.bin.display(), std::env::var("PATH").unwrap_or_default());
    let mut shell = Command::new("sh");
    shell.args(["-euc", command]).env("PATH", path).env("KUBECONFIG", &plane.kubeconfig).current_dir(folder);
    shell
}

/// Returns the output of a command that must succeed.
pub fn succeeds(command: &str, output: &Output) -> String {
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}
