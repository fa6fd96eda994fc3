//! One daemon per database: an advisory lock on `<database>.lock` that the kernel drops with the process.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{Read, Seek, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use super::{Pulse, StoreError, owner::hand_over};

/// How often a held lock is looked at again, and how long between.
const LOOKS: u32 = 10;
const BETWEEN_LOOKS: Duration = Duration::from_millis(20);
/// Longest file that is read, in bytes: a line about the holder, then when its workers last looked.
pub(super) const MAX_HOLDER: u64 = 200;

/// Held for as long as the daemon runs.
#[derive(Debug)]
pub struct Lease {
    file: Arc<File>,
    /// What the file says of the holder, in bytes.
    length: u64,
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
                return Err(StoreError::Held { path: database.to_owned(), holder: holder(&file) });
            }
            Err(TryLockError::Error(source)) => return Err(folder(source)),
        }
        let holder = format!("pid {}, since {}\n", std::process::id(), crate::clock::Timestamp::now());
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| file.write_all(holder.as_bytes()))
            .map_err(folder)?;
        Ok(Self { file: Arc::new(file), length: u64::try_from(holder.len()).unwrap_or_default() })
    }

    /// Notes beside the holder when the workers last looked.
    pub fn pulse(&self) -> Pulse {
        Pulse::new(&self.file, self.length)
    }
}

/// The first line of a lease's file.
pub(super) fn holder(file: &File) -> String {
    let mut bytes = Vec::new();
    let read = file.take(MAX_HOLDER).read_to_end(&mut bytes);
    let text = String::from_utf8_lossy(&bytes);
    let line = text.lines().next().unwrap_or_default().trim();
    if read.is_ok() && !line.is_empty() { line.to_owned() } else { "unknown process".to_owned() }
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
