//! What every measurement works with: the options, the cores, a folder for each run.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::{machine::Cores, options::Options};

/// Databases are measured on the disk that holds the build, not on a memory file system.
pub(crate) const FOLDER: &str = env!("CARGO_TARGET_TMPDIR");

/// The frame of all measurements.
pub(crate) struct Bench {
    pub(crate) options: Options,
    pub(crate) cores: Cores,
}

impl Bench {
    /// Chooses the cores.
    pub(crate) fn new(options: Options) -> anyhow::Result<Self> {
        let cores = Cores::choose(options.pin)?;
        // What reqwest needs before its first client, even without TLS.
        let _ = rustls::crypto::ring::default_provider().install_default();
        std::fs::create_dir_all(FOLDER)?;
        Ok(Self { options, cores })
    }

    /// A new folder; it goes with the run unless it is to be kept.
    pub(crate) fn folder(&self) -> anyhow::Result<Folder> {
        let folder = tempfile::Builder::new().prefix("end_to_end-").tempdir_in(FOLDER)?;
        Ok(if self.options.keep {
            let path = folder.keep();
            println!("  kept: {}", path.display());
            Folder::Kept(path)
        } else {
            Folder::Passing(folder)
        })
    }
}

/// A run's folder.
pub(crate) enum Folder {
    /// Stays.
    Kept(PathBuf),
    /// Goes when dropped.
    Passing(TempDir),
}

impl Folder {
    pub(crate) fn path(&self) -> &Path {
        match self {
            Self::Kept(path) => path,
            Self::Passing(folder) => folder.path(),
        }
    }
}
