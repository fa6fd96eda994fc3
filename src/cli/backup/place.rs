//! Where a backup goes: a draft that nobody takes for one, its name once it is whole, and the older ones that go.

use std::{
    ffi::OsStr,
    fs::{self, File, OpenOptions, Permissions},
    io::{self, Read},
    os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{CWD, RenameFlags, renameat_with},
    io::Errno,
};

use crate::clock::Timestamp;

/// For its owner alone: it holds taxpayers' data.
const FILE_MODE: u32 = 0o600;
/// A draft's name begins and ends so.
const DRAFT: (&str, &str) = (".tresorpayd-backup-", ".part");
/// What SQLite may leave beside a draft when it is killed.
const BESIDE_DRAFT: [&str; 3] = ["-journal", "-wal", "-shm"];
/// The names that backups of a folder have: `outbox-20261124T094800Z.db`.
const NAME: (&str, &str) = ("outbox-", ".db");
const TIME: &str = "%Y%m%dT%H%M%SZ";
/// First bytes of every SQLite file, and where its header says its size.
const SQLITE_HEADER: &[u8; 16] = b"SQLite format 3\0";
const HEADER: usize = 100;

/// The name of a backup that is made at `at`.
pub(super) fn name(at: Timestamp) -> String {
    format!("{}{}{}", NAME.0, at.to_chrono().format(TIME), NAME.1)
}

/// A backup that is being written. It goes unless it is finished.
pub(super) struct Draft {
    /// Locked, so that another backup does not take it for one that was left behind.
    file: File,
    path: PathBuf,
}

impl Draft {
    /// An empty file in `folder`. What a backup that was killed left there goes.
    pub(super) fn open(folder: &Path) -> io::Result<Self> {
        remove_left_behind(folder)?;
        let path = folder.join(format!("{}{:016x}{}", DRAFT.0, fastrand::u64(..), DRAFT.1));
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(FILE_MODE).open(&path)?;
        let draft = Self { file, path };
        // Whatever the umask says.
        draft.file.set_permissions(Permissions::from_mode(FILE_MODE))?;
        draft.file.try_lock()?;
        Ok(draft)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Gives it the name `target`, durably, unless something has that name. Its size in bytes.
    pub(super) fn finish(self, target: &Path) -> io::Result<u64> {
        let (ours, written) = (self.file.metadata()?, fs::metadata(&self.path)?);
        if (ours.dev(), ours.ino()) != (written.dev(), written.ino()) {
            return Err(io::Error::other("somebody replaced the file that was being written"));
        }
        self.file.sync_all()?;
        rename_new(&self.path, target)?;
        File::open(target.parent().unwrap_or(target))?.sync_all()?;
        Ok(written.len())
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // After its end nothing has this name any more.
        remove_draft(&self.path);
    }
}

fn remove_draft(path: &Path) {
    for suffix in BESIDE_DRAFT {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        let _ = fs::remove_file(name);
    }
    let _ = fs::remove_file(path);
}

/// Renames, and never over anything.
fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // The file system cannot do that; a link is never made over anything either.
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
            fs::hard_link(from, to)?;
            fs::remove_file(from)
        }
        renamed => Ok(renamed?),
    }
}

/// Removes drafts that no process holds.
fn remove_left_behind(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let is_draft = path
            .file_name()
            .and_then(OsStr::to_str)
            .is_some_and(|name| name.starts_with(DRAFT.0) && name.ends_with(DRAFT.1));
        if is_draft
            && let Ok(file) = File::open(&path)
            && file.try_lock().is_ok()
        {
            remove_draft(&path);
        }
    }
    Ok(())
}

/// Removes all but the newest `keep` backups of `folder`, by their names; which went. A file that is cut off does not count
/// as a backup and stays.
pub(super) fn prune(folder: &Path, keep: usize) -> io::Result<Vec<PathBuf>> {
    let mut backups = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let ours = entry.file_name().to_str().is_some_and(is_backup_name);
        if ours && entry.file_type()?.is_file() && is_whole(&entry.path())? {
            backups.push(entry.path());
        }
    }
    backups.sort_unstable();
    let old = backups.len().saturating_sub(keep);
    backups.truncate(old);
    for backup in &backups {
        fs::remove_file(backup)?;
    }
    Ok(backups)
}

fn is_backup_name(name: &str) -> bool {
    let time = name.strip_prefix(NAME.0).and_then(|rest| rest.strip_suffix(NAME.1));
    time.is_some_and(|time| {
        let form = time.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect::<String>();
        form == "00000000T000000Z"
    })
}

/// It is as long as its header says.
fn is_whole(path: &Path) -> io::Result<bool> {
    let (mut file, mut header) = (File::open(path)?, [0; HEADER]);
    match file.read_exact(&mut header) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
        read => read?,
    }
    let number = |from: usize, to: usize| {
        header[from..to].iter().fold(0, |number, byte| number * 256 + u64::from(*byte))
    };
    // 1 stands for 65536, which two bytes cannot hold.
    let page = match number(16, 18) {
        1 => 65536,
        size => size,
    };
    Ok(header.starts_with(SQLITE_HEADER) && page * number(28, 32) == file.metadata()?.len())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    /// A file as long as its header says.
    fn whole() -> Vec<u8> {
        let mut bytes = vec![0; 1024];
        bytes[..16].copy_from_slice(SQLITE_HEADER);
        bytes[16..18].copy_from_slice(&512_u16.to_be_bytes());
        bytes[28..32].copy_from_slice(&2_u32.to_be_bytes());
        bytes
    }

    #[test]
    fn a_name_sorts_by_its_time() {
        let at = Timestamp::parse("2026-11-24T09:48:00.123Z").unwrap();
        assert_eq!(name(at), "outbox-20261124T094800Z.db");
        assert!(is_backup_name(&name(at)));
        for other in
            ["outbox.db", "outbox-2026.db", "outbox-20261124T094800Z.db.old", "outbox-20261124Txx4800Z.db"]
        {
            assert!(!is_backup_name(other), "{other}");
        }
    }

    #[test]
    fn a_draft_takes_no_name_that_is_taken_and_goes_with_its_end() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("a.db");
        Draft::open(dir.path()).unwrap().finish(&target).unwrap();
        assert_eq!(fs::metadata(&target).unwrap().permissions().mode() & 0o777, FILE_MODE);
        let taken = Draft::open(dir.path()).unwrap().finish(&target).unwrap_err();
        assert_eq!(taken.kind(), io::ErrorKind::AlreadyExists);
        drop(Draft::open(dir.path()).unwrap());
        assert_eq!(names(dir.path()), ["a.db"]);
    }

    #[test]
    fn what_was_left_behind_goes_and_what_is_being_written_stays() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(".tresorpayd-backup-1.part"), b"killed").unwrap();
        fs::write(dir.path().join(".tresorpayd-backup-1.part-journal"), b"killed").unwrap();
        fs::write(dir.path().join(".tresorpayd-backup.txt"), b"somebody's").unwrap();
        let first = Draft::open(dir.path()).unwrap();
        assert_eq!(names(dir.path()).len(), 2);
        let second = Draft::open(dir.path()).unwrap();
        assert!(first.path().exists() && second.path().exists());
    }

    #[test]
    fn the_newest_stay_and_nothing_else_is_touched() {
        let dir = tempfile::tempdir().unwrap();
        let put = |name: &str, bytes: &[u8]| fs::write(dir.path().join(name), bytes).unwrap();
        for day in 1..=5 {
            put(&format!("outbox-2026110{day}T000000Z.db"), &whole());
        }
        put("outbox-20261109T000000Z.db", b"cut off");
        put("outbox-20200101T000000Z.db.keep", &whole());
        put("other.db", &whole());
        assert_eq!(prune(dir.path(), 2).unwrap().len(), 3);
        assert_eq!(
            names(dir.path()),
            [
                "other.db",
                "outbox-20200101T000000Z.db.keep",
                "outbox-20261104T000000Z.db",
                "outbox-20261105T000000Z.db",
                "outbox-20261109T000000Z.db"
            ]
        );
        assert_eq!(prune(dir.path(), 2).unwrap(), Vec::<PathBuf>::new());
    }
}
