//! `keywright crds`

use std::io::Write;
use std::path::{Path, PathBuf};

use crate::api::{CrdFile, crd_files, reference};

/// Print the CustomResourceDefinitions, or write them into folders.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  keywright crds | kubectl apply -f -\n  keywright crds --dir crds")]
pub(super) struct Args {
    /// Write one file a CRD into this folder instead
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,

    /// Write them as Helm templates into this folder too
    #[arg(long, value_name = "DIR")]
    templates: Option<PathBuf>,

    /// Write the reference of all fields, as Markdown, into this file too
    #[arg(long, value_name = "FILE")]
    reference: Option<PathBuf>,
}

impl Args {
    pub(super) fn run(self) -> Result<(), super::Error> {
        let files = crd_files()?;
        if let Some(dir) = &self.dir {
            write(dir, &files, |file| &file.yaml)?;
        }
        if let Some(dir) = &self.templates {
            write(dir, &files, |file| &file.template)?;
        }
        if let Some(file) = &self.reference {
            let failed = |error: std::io::Error| format!("cannot write {}: {error}", file.display());
            std::fs::write(file, reference()?).map_err(failed)?;
        }
        if self.dir.is_none() && self.templates.is_none() && self.reference.is_none() {
            let mut out = std::io::stdout().lock();
            let printed = files.iter().try_for_each(|file| writeln!(out, "---\n{}", file.yaml));
            match printed {
                // Whoever reads has seen enough, as `head` does.
                Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {}
                printed => printed?,
            }
        }
        Ok(())
    }
}

fn write(dir: &Path, files: &[CrdFile], text: impl Fn(&CrdFile) -> &str) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("cannot write into {}: {error}", dir.display());
    std::fs::create_dir_all(dir).map_err(failed)?;
    files.iter().try_for_each(|file| std::fs::write(dir.join(&file.name), text(file)).map_err(failed))
}
