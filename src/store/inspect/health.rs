//! What `check` asks of a database: its schema, its soundness, its mark. It repairs nothing.

use std::path::Path;

use sqlx::SqliteConnection;

use super::Inspect;
use crate::store::{
    StoreError, examine,
    examine::SchemaState,
    mark::{Mark, MarkState, Reading, Standing, compare},
};

/// Errors that `PRAGMA quick_check` and `integrity_check` list before they give up.
const MAX_FAULTS: u32 = 5;

impl Inspect {
    /// The schema's version against this program's.
    pub async fn schema(&self) -> Result<SchemaState, StoreError> {
        examine::schema(&mut *self.pool.acquire().await?).await
    }

    /// `wal`, unless somebody changed it.
    pub async fn journal_mode(&self) -> Result<String, StoreError> {
        let row: (String,) = sqlx::query_as("PRAGMA journal_mode").fetch_one(&self.pool).await?;
        Ok(row.0)
    }

    /// The version of the SQLite that is built in.
    pub async fn sqlite_version(&self) -> Result<String, StoreError> {
        let row: (String,) = sqlx::query_as("SELECT sqlite_version()").fetch_one(&self.pool).await?;
        Ok(row.0)
    }

    /// What SQLite finds wrong in the whole file; nothing is good. The quick look first: where that fails, the thorough
    /// one tells nothing more that helps.
    pub async fn faults(&self) -> Result<Vec<String>, StoreError> {
        faults(&mut *self.pool.acquire().await?).await
    }

    /// What shows that the database is not of one piece; nothing is good.
    pub async fn history_faults(&self) -> Result<Vec<String>, StoreError> {
        examine::history_faults(&mut *self.snapshot().await?).await
    }

    /// The mark at `path` against the database. The mark is read first: a running daemon only moves both on.
    pub async fn mark(&self, path: &Path) -> Result<MarkState, StoreError> {
        let reading = Mark::read(path)?;
        let standing = examine::standing(&mut *self.pool.acquire().await?).await?;
        Ok(compare(path, &reading, &standing))
    }
}

/// What SQLite finds wrong in the whole file.
pub(in crate::store) async fn faults(conn: &mut SqliteConnection) -> Result<Vec<String>, StoreError> {
    match quick_faults(&mut *conn).await? {
        faults if faults.is_empty() => pragma_faults(conn, "integrity_check").await,
        faults => Ok(faults),
    }
}

/// What `PRAGMA quick_check` finds wrong.
pub(in crate::store) async fn quick_faults(conn: &mut SqliteConnection) -> Result<Vec<String>, StoreError> {
    pragma_faults(conn, "quick_check").await
}

async fn pragma_faults(conn: &mut SqliteConnection, pragma: &str) -> Result<Vec<String>, StoreError> {
    // The number is written out because a pragma takes no parameter.
    let pragma = sqlx::AssertSqlSafe(format!("PRAGMA {pragma}({MAX_FAULTS})"));
    let rows: Vec<(String,)> = sqlx::query_as(pragma).fetch_all(conn).await?;
    Ok(rows.into_iter().map(|row| row.0).filter(|line| line != "ok").collect())
}

/// What the mark at `path` says where there is no database: one that had attempts is gone.
pub fn foreign_mark(path: &Path) -> Result<MarkState, StoreError> {
    Ok(match Mark::read(path)? {
        Reading::Says(mark) if mark.last_attempt > 0 => MarkState::WentBack(format!(
            "there is none, and the mark {} says that {} attempts were made",
            path.display(),
            mark.last_attempt
        )),
        reading => compare(path, &reading, &Standing::default()),
    })
}
