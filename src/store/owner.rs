//! Whose the files of a database are. The daemon's user owns the folder; applications belong to its group and may make
//! files in it, and the sticky bit keeps each from deleting another's. What root makes there is for the daemon.

use std::{
    fs::{File, OpenOptions},
    io::{self, ErrorKind},
    os::unix::fs::MetadataExt,
    path::Path,
};

/// Gives a file that root has just made, and that is empty still, to the owner of its folder, who could not open it
/// otherwise.
pub(super) fn hand_over(file: &File, path: &Path) -> io::Result<()> {
    let made = file.metadata()?;
    if !rustix::process::geteuid().is_root() || made.uid() != 0 || made.len() != 0 {
        return Ok(());
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let owner = std::fs::metadata(folder)?;
    if owner.uid() != 0 {
        std::os::unix::fs::fchown(file, Some(owner.uid()), Some(owner.gid()))?;
    }
    Ok(())
}

/// Opens the file for reading and writing, if it is there, as SQLite will.
///
/// SQLite opens `-wal` and `-shm` with `O_CREAT`, also those that are there. The kernel refuses that for another user's
/// file in a folder with the sticky bit (`fs.protected_regular`, 2 on Debian), though the file may be written.
///
/// Only before this process has a connection to the database: closing any descriptor of a file drops its locks.
pub(super) fn try_open(file: &Path) -> io::Result<()> {
    let open = |create| OpenOptions::new().read(true).write(true).create(create).truncate(false).open(file);
    match open(false) {
        Ok(_) => open(true).map(drop).map_err(|error| match error.kind() {
            ErrorKind::PermissionDenied => io::Error::new(
                error.kind(),
                "the folder's sticky bit keeps another user's file from being opened",
            ),
            _ => error,
        }),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}
