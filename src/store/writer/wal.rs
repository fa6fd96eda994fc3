//! The WAL's size. A process that keeps a read transaction open keeps the WAL from being written back and begun anew, so
//! it grows with every commit: that is told, and past `database.max_wal` nothing is claimed any more.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use sqlx::SqliteConnection;
use tokio::time::Instant;

use crate::store::{lease::beside, open::BUSY_TIMEOUT};

/// A WAL above this part of `database.max_wal` is told of: there is time left to find out who reads.
pub(crate) const TOLD_SHARE: u64 = 2;
/// A database above this is not written anew while applications wait: 128 MiB take a slow disk some three seconds.
pub const MAX_VACUUM: u64 = 128 << 20;
/// Between two tries to make a large WAL small.
const RELIEVE_EVERY: Duration = Duration::from_millis(500);

/// What the log has said of the WAL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Told {
    Small,
    Large,
    Stopped,
}

/// Watches the size of one WAL; a look is one `stat`, after a commit.
#[derive(Debug)]
pub(super) struct Wal {
    database: PathBuf,
    path: PathBuf,
    max: u64,
    size: u64,
    told: Told,
    /// When the next try may be.
    relieve_at: Instant,
}

impl Wal {
    /// Of `database`, with `database.max_wal` bytes at the most.
    pub(super) fn new(database: &Path, max: u64) -> Self {
        let path = beside(&std::fs::canonicalize(database).unwrap_or_else(|_| database.to_owned()), "-wal");
        let database = database.to_owned();
        let mut wal = Self { database, path, max, size: 0, told: Told::Small, relieve_at: Instant::now() };
        wal.look();
        wal
    }

    /// Takes the size again.
    pub(super) fn look(&mut self) {
        // Without a file there is nothing to write back. Only `stat`: no file of the database is opened here.
        self.size = std::fs::metadata(&self.path).map_or(0, |file| file.len());
    }

    /// It is above its share.
    pub(super) fn is_large(&self) -> bool {
        self.size > self.max / TOLD_SHARE
    }

    /// It is above `database.max_wal`.
    pub(super) fn stops_claims(&self) -> bool {
        self.size > self.max
    }

    /// When to try again to make it small; `None`: it is small.
    pub(super) fn relieve_at(&self) -> Option<Instant> {
        (self.is_large() || self.told != Told::Small).then_some(self.relieve_at)
    }

    /// Writes back what can be written back and, if that is all, empties the file; then tells how it stands. Waits for
    /// nobody.
    pub(super) async fn relieve(&mut self, conn: &mut SqliteConnection) -> Result<(), sqlx::Error> {
        self.relieve_at = Instant::now() + RELIEVE_EVERY;
        let written = self.write_back(conn).await;
        self.look();
        self.tell();
        self.relieve_at = Instant::now() + RELIEVE_EVERY;
        written
    }

    /// Writes all of it back and empties the file; whether it is empty then. Waits for nobody.
    pub(super) async fn empty(&mut self, conn: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
        let (_busy, frames, written): (i64, i64, i64) =
            sqlx::query_as("PRAGMA wal_checkpoint(PASSIVE)").fetch_one(&mut *conn).await?;
        if frames == written {
            without_waiting(conn, "PRAGMA wal_checkpoint(TRUNCATE)".to_owned()).await?;
        }
        self.look();
        Ok(self.size == 0)
    }

    /// Writes the database anew; whether it did. Fails at once if somebody else writes.
    pub(super) async fn vacuum(&mut self, conn: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
        let size = std::fs::metadata(&self.database).map_or(u64::MAX, |file| file.len());
        if size > MAX_VACUUM.min(self.max / TOLD_SHARE) {
            return Ok(false);
        }
        // In memory it would take as much of that as the file is long.
        sqlx::query("PRAGMA temp_store = file").execute(&mut *conn).await?;
        let done = without_waiting(conn, "VACUUM".to_owned()).await;
        sqlx::query("PRAGMA temp_store = memory").execute(conn).await?;
        self.look();
        done.map(|()| true)
    }

    async fn write_back(&self, conn: &mut SqliteConnection) -> Result<(), sqlx::Error> {
        if !self.is_large() {
            return Ok(());
        }
        let (_busy, frames, written): (i64, i64, i64) =
            sqlx::query_as("PRAGMA wal_checkpoint(PASSIVE)").fetch_one(&mut *conn).await?;
        if frames > written {
            return Ok(());
        }
        // To empty the file takes the writers' lock: nobody is made to wait while a reader is waited for.
        without_waiting(conn, "PRAGMA wal_checkpoint(TRUNCATE)".to_owned()).await
    }

    /// Says each change once.
    fn tell(&mut self) {
        let now = match (self.stops_claims(), self.is_large()) {
            (true, _) => Told::Stopped,
            // From `Stopped` it is small again before claims are said to go on.
            (false, true) => self.told.max(Told::Large),
            (false, false) => Told::Small,
        };
        let before = std::mem::replace(&mut self.told, now);
        let (wal, limit) = (self.size, self.max);
        match now {
            _ if now == before => {}
            Told::Small => tracing::info!(wal, "the WAL is small again"),
            Told::Large => tracing::warn!(
                code = "wal_large",
                wal,
                limit,
                "the WAL grows and cannot be written back: some process keeps a read transaction open; above \
                 database.max_wal nothing more is emitted. `fuser -v {}` lists who has it open",
                self.path.display()
            ),
            Told::Stopped => tracing::error!(
                code = "wal_large",
                wal,
                limit,
                "emission has stopped: the WAL is above database.max_wal, since some process keeps a read transaction \
                 open. End it; `fuser -v {}` lists who has it open",
                self.path.display()
            ),
        }
    }
}

/// Runs `pragma`, which fails at once if another connection holds the lock.
pub(super) async fn without_waiting(conn: &mut SqliteConnection, pragma: String) -> Result<(), sqlx::Error> {
    sqlx::query("PRAGMA busy_timeout = 0").execute(&mut *conn).await?;
    let done = sqlx::query(sqlx::AssertSqlSafe(pragma)).persistent(false).execute(&mut *conn).await;
    let timeout = format!("PRAGMA busy_timeout = {}", BUSY_TIMEOUT.as_millis());
    sqlx::query(sqlx::AssertSqlSafe(timeout)).execute(conn).await?;
    done.map(drop)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn each_size_is_told_once_and_stops_what_it_must() {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("outbox.db");
        let file = std::fs::File::create(beside(&database, "-wal")).unwrap();
        let mut wal = Wal::new(&database, 100);
        assert_eq!((wal.is_large(), wal.stops_claims(), wal.relieve_at()), (false, false, None));
        for (size, told, stops) in [
            (51, Told::Large, false),
            (100, Told::Large, false),
            (101, Told::Stopped, true),
            (100, Told::Stopped, false),
            (50, Told::Small, false),
        ] {
            file.set_len(size).unwrap();
            wal.look();
            wal.tell();
            assert_eq!((wal.told, wal.stops_claims()), (told, stops), "{size}");
            assert_eq!(wal.relieve_at().is_some(), size > 50, "{size}");
        }
    }
}
