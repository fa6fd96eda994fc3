//! A receipt's place: a folder for each month, a name that cannot leave it, and a file that is whole or not there.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, Permissions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Component, Path, PathBuf},
};

use crate::{clock::Timestamp, notice::TresorPayReference};

/// For the daemon, and its group to read.
const FILE_MODE: u32 = 0o640;
const FOLDER_MODE: u32 = 0o750;
/// What is being written stands in this folder, so that what a crash left there is found without a look at every receipt.
const DRAFTS: &str = ".part";
/// Longest name, in bytes, without `.pdf`.
const MAX_NAME: usize = 100;

/// `2026/11/TP20261124.1301.AR1.pdf`: by the month in which the payment was recorded. A reference that is no plain name
/// gives none: the row's number does. The path is relative, and has no `..`.
pub(super) fn place(paid_at: Timestamp, reference: &TresorPayReference, outbox_id: i64) -> PathBuf {
    let reference = reference.as_str();
    let plain = reference.len() <= MAX_NAME
        && reference.starts_with(|c: char| c.is_ascii_alphanumeric())
        && reference.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
    // No plain name has a `~`.
    let name = if plain { format!("{reference}.pdf") } else { format!("receipt~{outbox_id}.pdf") };
    PathBuf::from(paid_at.to_chrono().format("%Y/%m").to_string()).join(name)
}

/// A receipt that is about to be written: its folder is there, and its file can be.
pub(super) struct Draft {
    file: File,
    /// Where it is written.
    part: PathBuf,
    /// Where it belongs.
    path: PathBuf,
}

impl Draft {
    /// Makes the folders that are missing, and the file under the row's number. What is left of an earlier one goes.
    pub(super) fn open(directory: &Path, place: &Path, outbox_id: i64) -> io::Result<Self> {
        let path = directory.join(place);
        make_folder(path.parent().unwrap_or(directory))?;
        let drafts = directory.join(DRAFTS);
        make_folder(&drafts)?;
        let part = drafts.join(outbox_id.to_string());
        match fs::remove_file(&part) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let file = OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(&part)?;
        // Whatever the umask says.
        file.set_permissions(Permissions::from_mode(FILE_MODE))?;
        Ok(Self { file, part, path })
    }

    /// Writes it whole, and makes it durable under its name.
    pub(super) fn finish(mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.file.sync_all()?;
        fs::rename(&self.part, &self.path)?;
        sync_folder(self.path.parent().unwrap_or(&self.path))
    }

    /// Leaves nothing behind.
    pub(super) fn abandon(self) {
        // The next try removes it first.
        let _ = fs::remove_file(&self.part);
    }
}

/// Removes what a crash left: its row may be paid no longer, and then nobody writes the draft anew.
pub(super) fn sweep(directory: &Path) -> io::Result<()> {
    let drafts = match fs::read_dir(directory.join(DRAFTS)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        drafts => drafts?,
    };
    for draft in drafts {
        fs::remove_file(draft?.path())?;
    }
    Ok(())
}

/// Removes the receipt at `place` below `directory`; its end is durable. One that is gone already is removed.
pub(crate) fn remove(directory: &Path, place: &Path) -> io::Result<()> {
    if place.components().any(|part| !matches!(part, Component::Normal(_))) {
        return Err(io::Error::other("its path leads out of receipts.directory"));
    }
    let path = directory.join(place);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    match sync_folder(path.parent().unwrap_or(directory)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Makes a folder and those above it, each durable in the one above.
fn make_folder(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    let above = folder.parent().filter(|above| !above.as_os_str().is_empty());
    if let Some(above) = above {
        make_folder(above)?;
    }
    match DirBuilder::new().mode(FOLDER_MODE).create(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        Ok(()) | Err(_) => {}
    }
    above.map_or(Ok(()), sync_folder)
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn placed(reference: &str) -> String {
        let at = Timestamp::parse("2026-11-24T09:48:00.000Z").unwrap();
        let place = place(at, &TresorPayReference::parse(reference).unwrap(), 7);
        assert!(place.components().all(|part| matches!(part, Component::Normal(_))), "{place:?}");
        assert_eq!(place.components().count(), 3, "{place:?}");
        place.to_str().unwrap().to_owned()
    }

    #[test]
    fn a_name_cannot_leave_its_folder() {
        assert_eq!(placed("TP20261124.1301.AR1"), "2026/11/TP20261124.1301.AR1.pdf");
        for odd in [
            "../../etc/passwd",
            "..",
            ".",
            ".hidden",
            "/etc/passwd",
            "a/b",
            "a\\b",
            "TP 1",
            "é",
            &"a".repeat(128),
            "receipt~7",
        ] {
            assert_eq!(placed(odd), "2026/11/receipt~7.pdf", "{odd}");
        }
    }

    #[test]
    fn a_file_is_whole_or_not_there_and_what_a_crash_left_goes() {
        let dir = tempfile::tempdir().unwrap();
        let (directory, place) = (dir.path().join("receipts"), Path::new("2026/11/TP1.pdf"));
        sweep(&directory).unwrap();
        let first = Draft::open(&directory, place, 7).unwrap();
        assert!(!directory.join(place).exists());
        // As after a kill: the draft stays.
        drop(first);
        let second = Draft::open(&directory, place, 7).unwrap();
        second.finish(b"whole").unwrap();
        assert_eq!(fs::read(directory.join(place)).unwrap(), b"whole");
        assert_eq!(fs::metadata(directory.join(place)).unwrap().permissions().mode() & 0o777, FILE_MODE);
        Draft::open(&directory, place, 7).unwrap().abandon();
        assert_eq!(fs::read(directory.join(place)).unwrap(), b"whole");
        assert_eq!(fs::read_dir(directory.join("2026/11")).unwrap().count(), 1);
        let drafts = || fs::read_dir(directory.join(DRAFTS)).unwrap().count();
        assert_eq!(drafts(), 0);
        // As after a kill, and the row is paid no longer.
        drop(Draft::open(&directory, Path::new("2026/12/TP2.pdf"), 8).unwrap());
        assert_eq!(drafts(), 1);
        sweep(&directory).unwrap();
        assert_eq!(drafts(), 0);
        assert_eq!(fs::read(directory.join(place)).unwrap(), b"whole");
    }

    #[test]
    fn a_receipt_goes_and_nothing_else_does() {
        let dir = tempfile::tempdir().unwrap();
        let (directory, place) = (dir.path().join("receipts"), Path::new("2026/11/TP1.pdf"));
        for (id, other) in [(1, "TP1.pdf"), (2, "TP2.pdf")] {
            let whole = Draft::open(&directory, &Path::new("2026/11").join(other), id).unwrap();
            whole.finish(b"whole").unwrap();
        }
        for _ in 0..2 {
            remove(&directory, place).unwrap();
            assert_eq!(fs::read_dir(directory.join("2026/11")).unwrap().count(), 1);
        }
        remove(&directory, Path::new("2031/01/TP3.pdf")).unwrap();
        assert!(remove(&directory, Path::new("../outbox.db")).is_err());
        assert!(remove(&directory, Path::new("/etc/hosts")).is_err());
    }
}
