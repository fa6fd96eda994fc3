//! What the command line reads: a database that exists already, through one read-only connection. Nothing here creates,
//! migrates, locks out a daemon or needs a credential.

mod figures; // the outbox in figures, cheap to ask for again and again
mod file; // the files on the disk, and who holds them
mod health; // what `check` asks
mod life; // one row without its personal data
mod listing; // pages of rows, and the feed of transitions
mod notice; // everything about one row
mod payments; // by hour and by provider
mod reconciled; // what reconciliation found
mod report; // what the report is drawn from
mod sorted; // rows in another order than by `id`
mod statement; // what a statement is compared with
mod summary; // counts and amounts

use std::path::{Path, PathBuf};

use sqlx::{Sqlite, SqlitePool, Transaction};

pub use super::{MarkState, SchemaState, examine::wanted_version, lease::lock_file};
pub use figures::{Figures, Happened, Moved};
pub use file::{DaemonState, FileState, daemon_state, usable_folder};
pub use health::foreign_mark;
pub(super) use health::{faults, quick_faults};
pub use life::Life;
pub use listing::{Cursor, FeedRow, ListedRow, PageRequest};
pub use notice::{AttemptRow, CommandRow, NoticeRecord, PersonalColumns, TransitionRow};
pub use payments::Payments;
pub use reconciled::Reconciled;
pub use sorted::{Sort, SortedRequest};
pub use summary::{Doubt, Pause, StatusCount, Summary, Waiting};

use super::{
    Access, Binding, SecondNotice, StoreError, evidence, examine::damage_at, open::read_pool, open_existing,
};

/// SQLite's primary result code of a file that cannot be opened.
const CANTOPEN: &str = "14";

/// A database opened for reading.
pub struct Inspect {
    pool: SqlitePool,
    path: PathBuf,
}

impl Inspect {
    /// Opens the outbox at `path`; it must be there.
    pub async fn open(path: &Path) -> Result<Self, StoreError> {
        readable(path)?;
        let pool = open_existing(path, Access::Read)
            .await
            .map_err(|error| damage_at(path, not_opened(path, error)))?;
        Ok(Self { pool, path: path.to_owned() })
    }

    /// For the process that is the daemon, whose database at `path` is open: a connection of its own, and no look at the
    /// file but through SQLite, which would drop this process's locks on it. Connects when it is first asked something.
    pub fn beside_the_daemon(path: &Path) -> Self {
        Self { pool: read_pool(path, 1), path: path.to_owned() }
    }

    /// `meta.value`, where there is one.
    pub async fn meta(&self, key: &str) -> Result<Option<String>, StoreError> {
        let row: Option<(String,)> = sqlx::query_as("SELECT value FROM meta WHERE key = ?1")
            .bind(key)
            .fetch_optional(&self.pool)
            .await?;
        Ok(row.map(|row| row.0))
    }

    /// Up to `limit` notices that were seen live at TresorPay beside a row's own.
    pub async fn second_notices(&self, limit: usize) -> Result<Vec<SecondNotice>, StoreError> {
        Ok(evidence::seconds(&self.pool, limit).await?)
    }

    /// Refuses a database that was made for another environment or API.
    pub async fn belongs_to(&self, binding: &Binding) -> Result<(), StoreError> {
        let wanted = [("environment", &binding.environment), ("api_origin", &binding.api_origin)];
        for (key, wanted) in wanted {
            if let Some(found) = self.meta(key).await?.filter(|found| found != wanted) {
                return Err(StoreError::Foreign {
                    path: self.path.clone(),
                    key,
                    found,
                    wanted: wanted.clone(),
                });
            }
        }
        Ok(())
    }

    /// Where it reads.
    pub(super) fn pool(&self) -> &SqlitePool {
        &self.pool
    }

    /// Several queries that see the same moment. Held briefly: it keeps the WAL from being taken over.
    async fn snapshot(&self) -> Result<Transaction<'static, Sqlite>, StoreError> {
        Ok(self.pool.begin().await?)
    }
}

/// SQLite would only say "unable to open database file".
fn readable(path: &Path) -> Result<(), StoreError> {
    match std::fs::File::open(path) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(StoreError::Missing(path.to_owned()))
        }
        Err(error) => Err(no_access(path, &error.to_string())),
    }
}

fn not_opened(path: &Path, error: StoreError) -> StoreError {
    match &error {
        StoreError::Sqlite(sqlx::Error::Database(words)) if words.code().as_deref() == Some(CANTOPEN) => {
            no_access(path, words.message())
        }
        _ => error,
    }
}

fn no_access(path: &Path, why: &str) -> StoreError {
    let why = format!("{why}; run this as the daemon's user, or as a member of its group");
    StoreError::Schema { path: path.to_owned(), why }
}
