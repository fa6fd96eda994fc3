//! The database's file before SQLite has it: its folder, its rights, its first bytes.

use std::{
    fs::OpenOptions,
    io::{ErrorKind, Read},
    os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt},
    path::Path,
};

use crate::store::{
    StoreError,
    lease::beside,
    owner::{hand_over, try_open},
};

/// First bytes of every SQLite file.
const SQLITE_HEADER: &[u8; 16] = b"SQLite format 3\0";
/// Bytes of the header that are looked at.
const HEADER_START: u64 = 20;
/// Mode of a new database: for the daemon and its group.
const FILE_MODE: u32 = 0o660;

/// `f_type` of file systems whose locks do not reach the other hosts.
const NETWORK_FILE_SYSTEMS: [(u64, &str); 8] = [
    (0x6969, "NFS"),
    (0xff53_4d42, "CIFS"),
    (0xfe53_4d42, "SMB"),
    (0x517b, "SMB"),
    (0x5346_414f, "AFS"),
    (0x00c3_6400, "Ceph"),
    (0x0bd0_0bd0, "Lustre"),
    (0x0102_1997, "9p"),
];

pub(in crate::store) fn check_folder(path: &Path) -> Result<(), StoreError> {
    let folder = folder_of(path);
    let refused = |why: String| StoreError::Folder { path: folder.to_owned(), why };
    let metadata = std::fs::metadata(folder)
        .map_err(|error| refused(format!("{error}; create it, owned by the daemon's user")))?;
    if !metadata.is_dir() {
        return Err(refused("is not a folder".to_owned()));
    }
    let kind = rustix::fs::statfs(folder).map_err(|error| refused(error.to_string()))?.f_type;
    let kind = u64::try_from(kind).unwrap_or_default() & 0xffff_ffff;
    match NETWORK_FILE_SYSTEMS.iter().find(|(magic, _)| *magic == kind) {
        Some((_, name)) => Err(refused(format!(
            "is on a network file system ({name}), where SQLite's locks cannot be trusted; put the database on a local disk"
        ))),
        None => Ok(()),
    }
}

/// Makes an empty file readable by no stranger; one that is there already is closed to strangers.
pub(in crate::store) fn create_file(path: &Path) -> Result<(), StoreError> {
    let failed = |error: std::io::Error| StoreError::Schema { path: path.to_owned(), why: error.to_string() };
    match OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(path) {
        Ok(file) => hand_over(&file, path).map_err(failed),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            for file in [path.to_owned(), beside(path, "-wal"), beside(path, "-shm")] {
                hide_from_strangers(&file).map_err(failed)?;
            }
            Ok(())
        }
        Err(error) => Err(failed(error)),
    }
}

/// Whether there is a database: a file that is not empty. It and the files beside it must be the daemon's to write.
///
/// As [`check_header`], only before this process has a connection to it.
pub(in crate::store) fn is_there(path: &Path) -> Result<bool, StoreError> {
    for file in [path.to_owned(), beside(path, "-wal"), beside(path, "-shm")] {
        try_open(&file).map_err(|error| no_access(&file, &error))?;
    }
    Ok(std::fs::metadata(path).is_ok_and(|metadata| metadata.len() > 0))
}

fn no_access(file: &Path, error: &std::io::Error) -> StoreError {
    let user = rustix::process::geteuid().as_raw();
    let owner = std::fs::metadata(file).map_or_else(
        |error| error.to_string(),
        |file| format!("it belongs to user {} with mode {:04o}", file.uid(), file.mode() & 0o7777),
    );
    let why = format!(
        "{error}; this runs as user {user}, and {owner}. The daemon's user must be able to read and write the database, \
         the -wal and -shm beside it, and their folder; in a folder with the sticky bit these files must be its own (chown)"
    );
    StoreError::Access { path: file.to_owned(), why }
}

/// SQLite makes files beside the database.
pub(in crate::store) fn check_folder_access(path: &Path) -> Result<(), StoreError> {
    use rustix::fs::{Access, AtFlags, CWD, accessat};
    let folder = folder_of(path);
    accessat(CWD, folder, Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS)
        .map_err(|error| no_access(folder, &error.into()))
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Takes the rights of others away; SQLite gives new -wal and -shm files the database's mode.
fn hide_from_strangers(path: &Path) -> std::io::Result<()> {
    let mut permissions = match std::fs::metadata(path) {
        Ok(metadata) => metadata.permissions(),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if permissions.mode() & 0o007 != 0 {
        permissions.set_mode(permissions.mode() & !0o007);
        std::fs::set_permissions(path, permissions)?;
        tracing::warn!(path = %path.display(), "the database could be read by every user; it no longer can");
    }
    Ok(())
}

/// An empty file is a new database; any other must begin as one that SQLite may write.
///
/// Only before this process has a connection to it: closing any descriptor of a file drops all of the process's locks
/// on it, and another program could then delete the WAL that is in use.
pub(in crate::store) fn check_header(path: &Path) -> Result<(), StoreError> {
    let failed = |error: std::io::Error| StoreError::Schema { path: path.to_owned(), why: error.to_string() };
    let refused = |why: &str| Err(StoreError::Unusable { path: path.to_owned(), why: why.to_owned() });
    let mut header = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(HEADER_START).read_to_end(&mut header))
        .map_err(failed)?;
    match header.split_at_checked(SQLITE_HEADER.len()) {
        _ if header.is_empty() => Ok(()),
        // Page size, then the versions of the format for writing and reading: 1 and 2 exist. SQLite would take a file of
        // a later one for readable and never to be written.
        Some((start, [_, _, 1 | 2, 1 | 2])) if start == SQLITE_HEADER => Ok(()),
        Some((start, _)) if start == SQLITE_HEADER => {
            refused("its header names a format that SQLite does not write; restore a backup")
        }
        Some(_) | None => refused("it is not an SQLite database; check database.url"),
    }
}
