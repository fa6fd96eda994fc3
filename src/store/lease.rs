//! One daemon per database: an advisory lock on `<database>.lock` that the kernel drops with the process.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{Read, Seek, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{StoreError, owner::hand_over};

/// How often a held lock is looked at again, and how long between.
const LOOKS: u32 = 10;
const BETWEEN_LOOKS: Duration = Duration::from_millis(20);
/// Longest description of a holder that is read.
const MAX_HOLDER: u64 = 200;

/// Held for as long as the daemon runs.
#[derive(Debug)]
pub struct Lease {
    _file: File,
}

impl Lease {
    /// Takes the lease of `database`, or says who has it.
    pub fn take(database: &Path) -> Result<Self, StoreError> {
        let path = lock_file(database);
        let folder = |source: std::io::Error| StoreError::Folder {
            path: path.clone(),
            why: format!("{source}; the daemon must be able to write there"),
        };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o640)
            .open(&path)
            .map_err(folder)?;
        hand_over(&file, &path).map_err(folder)?;
        match try_lock_briefly(&file) {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                let read = (&file).take(MAX_HOLDER).read_to_string(&mut holder);
                let holder = holder.trim();
                let holder = if read.is_ok() && !holder.is_empty() { holder } else { "unknown process" };
                return Err(StoreError::Held { path: database.to_owned(), holder: holder.to_owned() });
            }
            Err(TryLockError::Error(source)) => return Err(folder(source)),
        }
        let holder = format!("pid {}, since {}\n", std::process::id(), crate::clock::Timestamp::now());
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| file.write_all(holder.as_bytes()))
            .map_err(folder)?;
        Ok(Self { _file: file })
    }
}

/// `tresorpayd status` tries the lock for an instant to see whether a daemon runs: that must not stop one from starting.
fn try_lock_briefly(file: &File) -> Result<(), TryLockError> {
    let mut locked = file.try_lock();
    for _ in 0..LOOKS {
        if !matches!(locked, Err(TryLockError::WouldBlock)) {
            break;
        }
        std::thread::sleep(BETWEEN_LOOKS);
        locked = file.try_lock();
    }
    locked
}

/// Beside the file itself, whatever link names it: a link is another name, not another database.
pub fn lock_file(database: &Path) -> PathBuf {
    // A database that is not there yet has one name only.
    beside(&std::fs::canonicalize(database).unwrap_or_else(|_| database.to_owned()), ".lock")
}

/// `<database><suffix>`: the same folder, the same name and more.
pub(super) fn beside(database: &Path, suffix: &str) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}
