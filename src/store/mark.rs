//! The mark beside the database: how far this database has claimed, so that an old copy put in its place is known for
//! what it is. It is written after a claim is committed and before its requests leave.
//!
//! A mark knows the database by its id and its timeline. Every accepted restore begins a new timeline, because attempts
//! made from then on have the numbers of attempts that are lost.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use sqlx::SqliteConnection;

use super::{StoreError, owner::hand_over, queue::last_attempt};

/// First word of the file.
const MAGIC: &str = "tresorpayd-mark-1";
/// Last word of the file: all is well, or the daemon saw the database go back while it ran. Equally long.
const SOUND: &str = "sound";
const DOUBT: &str = "doubt";

/// What a mark says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Marked {
    /// `meta.database_id` of the database it belongs to.
    pub(super) database_id: String,
    /// `meta.timeline`.
    pub(super) timeline: String,
    /// `attempt.id` of the last request that was committed to leave.
    pub(super) last_attempt: i64,
    /// The daemon saw the database go back while it ran.
    pub(super) doubt: bool,
}

/// What is found where a mark should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reading {
    /// No file.
    Missing,
    /// A file that is no mark.
    Damaged,
    /// A mark.
    Says(Marked),
}

/// Where a database stands, to be compared with its mark. By default: one that is not there yet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Standing {
    /// `meta.database_id`; empty before the first start.
    pub(super) database_id: String,
    /// `meta.timeline`; empty before the first start.
    pub(super) timeline: String,
    /// The last `attempt.id`; 0: none.
    pub(super) last_attempt: i64,
}

impl Standing {
    /// Of a database that has the tables.
    pub(super) async fn read(conn: &mut SqliteConnection) -> Result<Self, StoreError> {
        let values: Vec<(String, String)> =
            sqlx::query_as("SELECT key, value FROM meta WHERE key IN ('database_id', 'timeline')")
                .fetch_all(&mut *conn)
                .await?;
        let value = |name: &str| {
            values.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone()).unwrap_or_default()
        };
        Ok(Self {
            database_id: value("database_id"),
            timeline: value("timeline"),
            last_attempt: last_attempt(conn).await?,
        })
    }
}

/// How a database stands to the mark beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MarkState {
    /// The mark is not ahead of the database; the last attempt of the database.
    Level(i64),
    /// There is none, and the database never sent anything.
    NotYet,
    /// The database went back in time, or the mark is another's: how that is known.
    WentBack(String),
}

/// Compares a database with the mark at `path`; one that is behind its mark went back in time.
pub(super) fn compare(path: &Path, reading: &Reading, standing: &Standing) -> MarkState {
    let path = path.display();
    let last = standing.last_attempt;
    let mark = match reading {
        Reading::Missing if last == 0 => return MarkState::NotYet,
        Reading::Missing => return MarkState::WentBack(format!("it has {last} attempts and no mark {path}")),
        Reading::Damaged => return MarkState::WentBack(format!("its mark {path} is damaged")),
        Reading::Says(mark) => mark,
    };
    if mark.database_id != standing.database_id {
        // Neither has anything to lose: the mark is written anew.
        return match (mark.last_attempt, last) {
            (0, 0) => MarkState::NotYet,
            (marked, 0) => MarkState::WentBack(format!(
                "its mark {path} is that of another database, with {marked} attempts, and this one has none"
            )),
            _ => MarkState::WentBack(format!("its mark {path} is another database's")),
        };
    }
    if mark.doubt {
        return MarkState::WentBack(format!("the daemon saw it while it ran, says its mark {path}"));
    }
    if mark.timeline != standing.timeline {
        return MarkState::WentBack(format!(
            "its mark {path} does not know it: one of them is from before an accepted restore"
        ));
    }
    if mark.last_attempt > last {
        let marked = mark.last_attempt;
        return MarkState::WentBack(format!("its last attempt is {last} and its mark {path} says {marked}"));
    }
    MarkState::Level(last)
}

/// The open file.
#[derive(Debug, Clone)]
pub(super) struct Mark {
    file: Arc<File>,
    path: Arc<Path>,
    /// Everything before the number.
    head: Arc<str>,
    last: Arc<AtomicI64>,
}

impl Mark {
    /// What is at `path`.
    pub(super) fn read(path: &Path) -> Result<Reading, StoreError> {
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Reading::Missing),
            Err(error) => return Err(StoreError::Mark { path: path.to_owned(), error }),
        };
        let text = String::from_utf8_lossy(&bytes);
        let words: Vec<&str> = text.split_whitespace().collect();
        let [MAGIC, database_id, timeline, last, state @ (SOUND | DOUBT)] = words[..] else {
            return Ok(Reading::Damaged);
        };
        Ok(last.parse().map_or(Reading::Damaged, |last_attempt| {
            Reading::Says(Marked {
                database_id: database_id.to_owned(),
                timeline: timeline.to_owned(),
                last_attempt,
                doubt: state == DOUBT,
            })
        }))
    }

    /// Opens or creates the mark and writes where the database stands, durably.
    pub(super) fn open(path: &Path, standing: &Standing) -> Result<Self, StoreError> {
        let failed = |error| StoreError::Mark { path: path.to_owned(), error };
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o640)
            .open(path)
            .map_err(failed)?;
        hand_over(&file, path).map_err(failed)?;
        let mark = Self {
            file: Arc::new(file),
            path: path.into(),
            head: format!("{MAGIC} {} {}", standing.database_id, standing.timeline).into(),
            last: Arc::new(AtomicI64::new(standing.last_attempt)),
        };
        let length = mark.write(standing.last_attempt, SOUND)?;
        // What stood there before may have been longer.
        mark.file.set_len(length).map_err(failed)?;
        mark.sync()?;
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)?;
        }
        Ok(mark)
    }

    /// The last attempt that it was told.
    pub(super) fn last(&self) -> i64 {
        self.last.load(Ordering::Relaxed)
    }

    /// Writes `last_attempt`, without waiting for the disk.
    pub(super) fn advance(&self, last_attempt: i64) -> Result<(), StoreError> {
        self.write(last_attempt, SOUND)?;
        self.last.store(last_attempt, Ordering::Relaxed);
        Ok(())
    }

    /// Notes, durably, that the database went back while the daemon ran.
    pub(super) fn doubt(&self) -> Result<(), StoreError> {
        self.write(self.last(), DOUBT)?;
        self.sync()
    }

    /// Waits for the disk.
    pub(super) fn sync(&self) -> Result<(), StoreError> {
        self.file.sync_data().map_err(|error| self.failed(error))
    }

    /// Always the same length, so that a write never leaves the tail of an older one.
    fn write(&self, last_attempt: i64, state: &str) -> Result<u64, StoreError> {
        let text = format!("{} {last_attempt:020} {state}\n", self.head);
        self.file.write_all_at(text.as_bytes(), 0).map_err(|error| self.failed(error))?;
        Ok(text.len() as u64)
    }

    fn failed(&self, error: io::Error) -> StoreError {
        StoreError::Mark { path: self.path.to_path_buf(), error }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::{Mark, MarkState, Marked, Reading, Standing, compare};
    use std::path::Path;

    fn standing(database_id: &str, timeline: &str, last_attempt: i64) -> Standing {
        Standing { database_id: database_id.into(), timeline: timeline.into(), last_attempt }
    }

    fn says(database_id: &str, timeline: &str, last_attempt: i64, doubt: bool) -> Reading {
        Reading::Says(Marked {
            database_id: database_id.into(),
            timeline: timeline.into(),
            last_attempt,
            doubt,
        })
    }

    #[test]
    fn says_what_was_written_last() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("outbox.db.mark");
        assert_eq!(Mark::read(&path).unwrap(), Reading::Missing);
        std::fs::write(&path, "x".repeat(500)).unwrap();
        assert_eq!(Mark::read(&path).unwrap(), Reading::Damaged);
        let mark = Mark::open(&path, &standing("abc", "t1", 7)).unwrap();
        mark.advance(123_456).unwrap();
        mark.advance(9).unwrap();
        assert_eq!(Mark::read(&path).unwrap(), says("abc", "t1", 9, false));
        mark.doubt().unwrap();
        assert_eq!(Mark::read(&path).unwrap(), says("abc", "t1", 9, true));
        assert_eq!(mark.last(), 9);
        for damage in ["", "tresorpayd-mark-1 abc t1 9\n", "tresorpayd-mark-1 abc t1 nine sound\n", "\0\0"] {
            std::fs::write(&path, damage).unwrap();
            assert_eq!(Mark::read(&path).unwrap(), Reading::Damaged, "{damage:?}");
        }
    }

    #[test]
    fn a_database_behind_its_mark_went_back() {
        let at = |reading: &Reading, standing: &Standing| compare(Path::new("m"), reading, standing);
        let new = Standing::default();
        assert_eq!(at(&Reading::Missing, &new), MarkState::NotYet);
        assert_eq!(at(&says("a", "t", 0, false), &new), MarkState::NotYet);
        assert_eq!(at(&says("a", "t", 5, false), &standing("a", "t", 5)), MarkState::Level(5));
        // A power cut may keep the mark behind.
        assert_eq!(at(&says("a", "t", 5, false), &standing("a", "t", 9)), MarkState::Level(9));
        let went_back = [
            (Reading::Missing, standing("a", "t", 1)),
            (Reading::Damaged, standing("a", "t", 0)),
            (says("a", "t", 6, false), standing("a", "t", 5)),
            (says("a", "t", 5, true), standing("a", "t", 5)),
            (says("a", "t", 5, false), standing("a", "before", 9)),
            (says("b", "t", 0, false), standing("a", "t", 1)),
            (says("b", "t", 1, false), standing("a", "t", 0)),
            (says("b", "t", 1, false), new),
        ];
        for (reading, standing) in went_back {
            let state = at(&reading, &standing);
            assert!(matches!(state, MarkState::WentBack(_)), "{reading:?} {standing:?} {state:?}");
        }
    }
}
