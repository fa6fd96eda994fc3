//! The mark beside the database: how far this database has claimed, so that an old copy put in its place is known for
//! what it is. It is written after a claim is committed and before its requests leave.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::Path,
    sync::Arc,
};

use super::StoreError;

/// First word of the file.
const MAGIC: &str = "tresorpayd-mark-1";

/// What a mark says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Marked {
    /// `meta.database_id` of the database it belongs to.
    pub(super) database_id: String,
    /// `attempt.id` of the last request that was committed to leave.
    pub(super) last_attempt: i64,
}

/// The open file.
#[derive(Debug, Clone)]
pub(super) struct Mark {
    file: Arc<File>,
    path: Arc<Path>,
    database_id: Arc<str>,
}

impl Mark {
    /// What the mark at `path` says; `None` if there is none.
    pub(super) fn read(path: &Path) -> Result<Option<Marked>, StoreError> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(StoreError::Mark { path: path.to_owned(), error }),
        };
        let mut words = text.split_whitespace();
        match (words.next(), words.next(), words.next().and_then(|word| word.parse().ok())) {
            (Some(MAGIC), Some(id), Some(last_attempt)) => {
                Ok(Some(Marked { database_id: id.to_owned(), last_attempt }))
            }
            _ => Err(StoreError::Mark {
                path: path.to_owned(),
                error: io::Error::new(io::ErrorKind::InvalidData, "is not a mark of tresorpayd"),
            }),
        }
    }

    /// Opens or creates the mark and writes where the database stands.
    pub(super) fn open(path: &Path, database_id: &str, last_attempt: i64) -> Result<Self, StoreError> {
        let failed = |error| StoreError::Mark { path: path.to_owned(), error };
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o640)
            .open(path)
            .map_err(failed)?;
        let mark = Self { file: Arc::new(file), path: path.into(), database_id: database_id.into() };
        mark.advance(last_attempt)?;
        mark.sync()?;
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)?;
        }
        Ok(mark)
    }

    /// Writes `last_attempt`, without waiting for the disk.
    pub(super) fn advance(&self, last_attempt: i64) -> Result<(), StoreError> {
        // Always the same length, so that a write never leaves the tail of an older one.
        let text = format!("{MAGIC} {} {last_attempt:020}\n", self.database_id);
        self.file.write_all_at(text.as_bytes(), 0).map_err(|error| self.failed(error))
    }

    /// Waits for the disk.
    pub(super) fn sync(&self) -> Result<(), StoreError> {
        self.file.sync_data().map_err(|error| self.failed(error))
    }

    fn failed(&self, error: io::Error) -> StoreError {
        StoreError::Mark { path: self.path.to_path_buf(), error }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::{Mark, Marked};

    #[test]
    fn says_what_was_written_last() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("outbox.db.mark");
        assert_eq!(Mark::read(&path).unwrap(), None);
        let mark = Mark::open(&path, "abc", 7).unwrap();
        mark.advance(123_456).unwrap();
        mark.advance(9).unwrap();
        let marked = Marked { database_id: "abc".into(), last_attempt: 9 };
        assert_eq!(Mark::read(&path).unwrap(), Some(marked));
        std::fs::write(&path, "something else").unwrap();
        assert!(Mark::read(&path).unwrap_err().to_string().contains("is not a mark"));
    }
}
