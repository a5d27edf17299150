//! `keywright crds`

use std::io::Write;
use std::path::{Path, PathBuf};

use crate::api::{CrdFile, crd_files};

/// Print the CustomResourceDefinitions, or write them into folders.
#[derive(clap::Args)]
pub(super) struct Args {
    /// Write one file a CRD into this folder instead
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,

    /// Write them as Helm templates into this folder too
    #[arg(long, value_name = "DIR")]
    templates: Option<PathBuf>,
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
        if self.dir.is_none() && self.templates.is_none() {
            let mut out = std::io::stdout().lock();
            for file in &files {
                writeln!(out, "---\n{}", file.yaml)?;
            }
        }
        Ok(())
    }
}

fn write(dir: &Path, files: &[CrdFile], text: impl Fn(&CrdFile) -> &str) -> std::io::Result<()> {
    std::fs::create_dir_all(dir)?;
    files.iter().try_for_each(|file| std::fs::write(dir.join(&file.name), text(file)))
}
