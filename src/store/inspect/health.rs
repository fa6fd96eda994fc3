//! What `check` asks of a database: its schema, its soundness, its mark. It repairs nothing.

use std::path::Path;

use super::Inspect;
use crate::store::{StoreError, mark::Mark, open::MIGRATOR};

/// Errors that `PRAGMA quick_check` lists before it gives up.
const MAX_FAULTS: u32 = 5;

/// How a database's schema stands to this program's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SchemaState {
    /// The same version.
    Current(i64),
    /// The daemon's next start, or `migrate`, brings it up.
    Older {
        /// Of the database.
        found: i64,
        /// Of this program.
        wanted: i64,
    },
    /// Not to be used by this program.
    Unusable(String),
}

/// How a database stands to the mark beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MarkState {
    /// The mark is not ahead of the database; the last attempt that it knows.
    Level(i64),
    /// There is none, and the database never sent anything.
    NotYet,
    /// The database went back in time, or the mark is another's.
    WentBack(String),
}

impl Inspect {
    /// The schema's version against this program's.
    pub async fn schema(&self) -> Result<SchemaState, StoreError> {
        let rows: Vec<(i64, bool, Vec<u8>)> =
            sqlx::query_as("SELECT version, success, checksum FROM _sqlx_migrations ORDER BY version")
                .fetch_all(&self.pool)
                .await?;
        let known = || MIGRATOR.iter().filter(|migration| !migration.migration_type.is_down_migration());
        let wanted = wanted_version();
        for (version, success, checksum) in &rows {
            let why = match known().find(|migration| migration.version == *version) {
                None => {
                    format!("version {version} was made by a newer tresorpayd; install that version again")
                }
                Some(_) if !success => {
                    format!("version {version} was begun and never finished; restore a backup")
                }
                Some(migration) if *migration.checksum != **checksum => {
                    format!("version {version} is not this program's; was it made by an unreleased build?")
                }
                Some(_) => continue,
            };
            return Ok(SchemaState::Unusable(why));
        }
        Ok(match rows.last().map_or(0, |row| row.0) {
            found if found < wanted => SchemaState::Older { found, wanted },
            found => SchemaState::Current(found),
        })
    }

    /// `wal`, unless somebody changed it.
    pub async fn journal_mode(&self) -> Result<String, StoreError> {
        let row: (String,) = sqlx::query_as("PRAGMA journal_mode").fetch_one(&self.pool).await?;
        Ok(row.0)
    }

    /// What `PRAGMA quick_check` finds wrong; nothing is good.
    pub async fn faults(&self) -> Result<Vec<String>, StoreError> {
        // The number is written out because a pragma takes no parameter.
        let pragma = sqlx::AssertSqlSafe(format!("PRAGMA quick_check({MAX_FAULTS})"));
        let rows: Vec<(String,)> = sqlx::query_as(pragma).fetch_all(&self.pool).await?;
        Ok(rows.into_iter().map(|row| row.0).filter(|line| line != "ok").collect())
    }

    /// The mark at `path` against the database. The mark is read first: a running daemon only moves both on.
    pub async fn mark(&self, path: &Path) -> Result<MarkState, StoreError> {
        let marked = Mark::read(path)?;
        let id = self.meta("database_id").await?.unwrap_or_default();
        let row: (i64,) =
            sqlx::query_as("SELECT coalesce(max(id), 0) FROM attempt").fetch_one(&self.pool).await?;
        let last = row.0;
        Ok(match marked {
            None if last == 0 => MarkState::NotYet,
            None => MarkState::WentBack(format!("it has {last} attempts and no mark {}", path.display())),
            Some(mark) if mark.database_id != id && (mark.last_attempt > 0 || last > 0) => {
                MarkState::WentBack(format!("the mark {} is another database's", path.display()))
            }
            Some(mark) if mark.database_id == id && mark.last_attempt > last => MarkState::WentBack(format!(
                "its last attempt is {last} and the mark {} says {}",
                path.display(),
                mark.last_attempt
            )),
            Some(_) => MarkState::Level(last),
        })
    }
}

/// The last attempt of the mark at `path`, where there is no database: one that had attempts is gone.
pub fn foreign_mark(path: &Path) -> Result<Option<i64>, StoreError> {
    Ok(Mark::read(path)?.map(|mark| mark.last_attempt).filter(|last| *last > 0))
}

/// The schema version that this program makes.
pub fn wanted_version() -> i64 {
    MIGRATOR.iter().map(|migration| migration.version).max().unwrap_or_default()
}
