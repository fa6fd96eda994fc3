//! The database's files as the file system shows them: sizes, modes, owners, and whether a daemon holds the lock.

use std::{
    fs::{File, TryLockError},
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use super::Inspect;
use crate::store::{
    Room, StoreError,
    lease::{beside, holder, lock_file},
    open::check_folder,
};

/// Whether a daemon works on a database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DaemonState {
    /// One holds it, described by itself: `pid 12, since 2026-11-24T09:48:00.000Z`.
    Running(String),
    /// None does.
    Stopped,
    /// This process may not look.
    Unknown(String),
}

/// One file of the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileState {
    /// Where.
    pub path: PathBuf,
    /// Bytes.
    pub size: u64,
    /// Permission bits, as `chmod` takes them.
    pub mode: u32,
    /// User id of the owner.
    pub owner: u32,
    /// Group id.
    pub group: u32,
}

impl FileState {
    /// What is at `path`; `None` if nothing is.
    pub fn of(path: &Path) -> io::Result<Option<Self>> {
        match std::fs::metadata(path) {
            Ok(metadata) => Ok(Some(Self {
                path: path.to_owned(),
                size: metadata.size(),
                mode: metadata.mode() & 0o7777,
                owner: metadata.uid(),
                group: metadata.gid(),
            })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Every user of the machine may read or change it.
    pub fn open_to_others(&self) -> bool {
        self.mode & 0o007 != 0
    }
}

impl Inspect {
    /// Bytes of the database and of its WAL.
    pub fn sizes(&self) -> io::Result<(u64, u64)> {
        let size = |path: &Path| Ok::<_, io::Error>(FileState::of(path)?.map_or(0, |file| file.size));
        Ok((size(&self.path)?, size(&beside(&self.path, "-wal"))?))
    }

    /// Room on its disk.
    pub fn room(&self) -> io::Result<Room> {
        Room::of(&self.path)
    }

    /// The database, then those of its `-wal` and `-shm` that are there.
    pub fn files(&self) -> io::Result<Vec<FileState>> {
        let names = ["", "-wal", "-shm"].map(|suffix| beside(&self.path, suffix));
        names.iter().filter_map(|path| FileState::of(path).transpose()).collect()
    }
}

/// Refuses a folder that is not there or lies on a network file system.
pub fn usable_folder(database: &Path) -> Result<(), StoreError> {
    check_folder(database)
}

/// Whether a daemon holds `database`. Where none does, the lock is shared for the moment of looking.
pub fn daemon_state(database: &Path) -> DaemonState {
    let path = lock_file(database);
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return DaemonState::Stopped,
        Err(error) => return DaemonState::Unknown(format!("{}: {error}", path.display())),
    };
    // Dropping the file gives the lock back.
    match file.try_lock_shared() {
        Ok(()) => DaemonState::Stopped,
        Err(TryLockError::WouldBlock) => DaemonState::Running(holder(&file)),
        Err(TryLockError::Error(error)) => DaemonState::Unknown(format!("{}: {error}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::{DaemonState, daemon_state};
    use crate::store::Lease;

    #[test]
    fn a_lease_is_seen_and_not_disturbed() {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("outbox.db");
        assert_eq!(daemon_state(&database), DaemonState::Stopped);
        let lease = Lease::take(&database).unwrap();
        let DaemonState::Running(holder) = daemon_state(&database) else { panic!("the lease is held") };
        assert!(holder.starts_with(&format!("pid {}, since ", std::process::id())), "{holder}");
        drop(lease);
        assert_eq!(daemon_state(&database), DaemonState::Stopped);
        drop(Lease::take(&database).unwrap());
    }
}
