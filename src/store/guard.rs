//! Whether the database's file is still the one that the daemon opened: a copy that is put in its place while the daemon
//! runs is noticed before anything leaves on its word.

use std::{
    fs::{File, Metadata, OpenOptions},
    io::ErrorKind,
    os::unix::fs::{FileExt, MetadataExt},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use super::{StoreError, lease::beside, mark::Mark};

/// Bytes of an SQLite file's header.
const HEADER: usize = 100;

/// The numbers of an SQLite header that only rise: the application id, in which the writer counts; then SQLite's change
/// counter, the schema's cookie and the size in pages. `VACUUM` makes the last smaller and the one before larger.
type Rising = (u32, u32, u32, u32);

/// Size and time of the last write, in seconds and nanoseconds.
type Written = (u64, i64, i64);

/// The file as it was opened, before its mark is known.
pub(super) struct Guarded {
    path: PathBuf,
    /// Never closed: closing any descriptor of the file would drop the locks that SQLite holds on it for this process.
    file: &'static File,
    identity: (u64, u64),
    seen: Mutex<(Written, Option<Rising>)>,
}

/// Watches over the file; a look costs one call of the system.
pub struct Guard {
    of: Guarded,
    mark: Mark,
}

impl Guard {
    /// Of the file at `path`, before SQLite opens it.
    pub(super) fn open(path: &Path) -> Result<Guarded, StoreError> {
        let failed =
            |error: std::io::Error| StoreError::Access { path: path.to_owned(), why: error.to_string() };
        let file = OpenOptions::new().read(true).write(true).open(path).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        let file: &'static File = Box::leak(Box::new(file));
        Ok(Guarded {
            path: path.to_owned(),
            file,
            identity: (metadata.dev(), metadata.ino()),
            seen: Mutex::new((written(&metadata), rising(file))),
        })
    }

    /// Fails once another file is there, or older content; then the mark knows it too.
    pub fn check(&self) -> Result<(), StoreError> {
        let Guarded { path, file, identity, seen } = &self.of;
        let replaced = |why| Err(StoreError::Replaced { path: path.clone(), why });
        let metadata = match std::fs::metadata(path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == ErrorKind::NotFound => return replaced("it was removed"),
            // It cannot be looked at for now; SQLite has it open all the same.
            Err(_) => return Ok(()),
        };
        if (metadata.dev(), metadata.ino()) != *identity {
            return replaced("another file was put in its place");
        }
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.0 == written(&metadata) {
            return Ok(());
        }
        // A second look, because the first may meet SQLite's own write of the header.
        if rising(file) < seen.1 && rising(file) < seen.1 {
            self.mark.doubt()?;
            return replaced("an older content was written over it");
        }
        *seen = (written(&metadata), rising(file));
        Ok(())
    }

    /// The database.
    pub fn path(&self) -> &Path {
        &self.of.path
    }
}

impl Guarded {
    /// With the mark that is told of an older content.
    pub(super) fn with_mark(self, mark: Mark) -> Guard {
        Guard { of: self, mark }
    }
}

fn written(metadata: &Metadata) -> Written {
    (metadata.size(), metadata.mtime(), metadata.mtime_nsec())
}

/// `None`: there is no header yet, or none any more.
fn rising(file: &File) -> Option<Rising> {
    let mut header = [0; HEADER];
    file.read_exact_at(&mut header, 0).ok()?;
    let number =
        |at: usize| header[at..at + 4].iter().fold(0_u32, |number, byte| (number << 8) | u32::from(*byte));
    Some((number(68), number(24), number(40), number(28)))
}

/// The `-wal` of a database that this process has open; SQLite itself never removes it meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WalFile(Option<(u64, u64)>);

impl WalFile {
    /// As it is now.
    pub fn of(database: &Path) -> Self {
        Self(std::fs::metadata(beside(database, "-wal")).ok().map(|file| (file.dev(), file.ino())))
    }

    /// Fails once it was removed or replaced.
    pub fn check(self, database: &Path) -> Result<(), StoreError> {
        let same = match (self.0, std::fs::metadata(beside(database, "-wal"))) {
            (Some(identity), Ok(file)) => identity == (file.dev(), file.ino()),
            (Some(_), Err(error)) => error.kind() != ErrorKind::NotFound,
            (None, _) => true,
        };
        if same {
            return Ok(());
        }
        Err(StoreError::Replaced { path: database.to_owned(), why: "the -wal beside it was removed" })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::Guard;
    use crate::store::mark::{Mark, MarkState, Standing, compare};
    use sqlx::{Connection, Executor, SqliteConnection, sqlite::SqliteConnectOptions};
    use std::path::{Path, PathBuf};

    async fn connection(path: &Path) -> SqliteConnection {
        let options =
            SqliteConnectOptions::new().filename(path).create_if_missing(true).pragma("journal_mode", "wal");
        SqliteConnection::connect_with(&options).await.unwrap()
    }

    fn guard(path: &Path) -> (Guard, PathBuf, Standing) {
        let mark = path.with_extension("mark");
        let standing = Standing { database_id: "d".into(), timeline: "t".into(), last_attempt: 0 };
        (Guard::open(path).unwrap().with_mark(Mark::open(&mark, &standing).unwrap()), mark, standing)
    }

    /// Growth, `VACUUM` and checkpoints by anybody are SQLite's own business.
    #[tokio::test]
    async fn sqlites_own_writes_are_no_alarm() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("o.db");
        let (mut one, mut two) = (connection(&path).await, connection(&path).await);
        one.execute("CREATE TABLE t (x)").await.unwrap();
        let (guard, mark, standing) = guard(&path);
        for round in 0..6 {
            for conn in [&mut one, &mut two] {
                conn.execute("INSERT INTO t WITH n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20) SELECT randomblob(3000) FROM n")
                    .await
                    .unwrap();
                conn.execute("PRAGMA wal_checkpoint(PASSIVE)").await.unwrap();
                guard.check().unwrap();
                if round % 2 == 1 {
                    conn.execute("DELETE FROM t").await.unwrap();
                    conn.execute("VACUUM").await.unwrap();
                    conn.execute("PRAGMA wal_checkpoint(TRUNCATE)").await.unwrap();
                    guard.check().unwrap();
                }
            }
        }
        assert_eq!(compare(&mark, &Mark::read(&mark).unwrap(), &standing), MarkState::Level(0));
    }

    #[tokio::test]
    async fn older_content_and_another_file_are_alarms() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("o.db");
        let mut conn = connection(&path).await;
        conn.execute("CREATE TABLE t (x)").await.unwrap();
        conn.execute("PRAGMA wal_checkpoint(TRUNCATE)").await.unwrap();
        let copy = folder.path().join("copy.db");
        let old = std::fs::read(&path).unwrap();
        std::fs::write(&copy, &old).unwrap();
        let (guard, mark, standing) = guard(&path);
        conn.execute("CREATE TABLE u AS SELECT randomblob(9000)").await.unwrap();
        conn.execute("PRAGMA wal_checkpoint(TRUNCATE)").await.unwrap();
        guard.check().unwrap();
        std::fs::write(&path, &old).unwrap();
        assert!(guard.check().unwrap_err().to_string().contains("older content"));
        let state = compare(&mark, &Mark::read(&mark).unwrap(), &standing);
        assert!(matches!(state, MarkState::WentBack(_)), "it stays known: {state:?}");
        std::fs::rename(&copy, &path).unwrap();
        assert!(guard.check().unwrap_err().to_string().contains("another file"));
        std::fs::remove_file(&path).unwrap();
        assert!(guard.check().unwrap_err().to_string().contains("removed"));
    }
}
