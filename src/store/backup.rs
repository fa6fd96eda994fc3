//! A consistent copy of the database while everything runs, and the look that tells whether the copy is worth its name.
//!
//! `VACUUM INTO` on a read-only connection: one read transaction, so one moment, and no page is copied that holds nothing.
//! While it runs the WAL cannot be begun anew: it is given up before that could stop emission.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use sqlx::{Connection, SqliteConnection};

use super::{
    Binding, StoreError, WAL_TOLD_SHARE,
    examine::{damage_at, look},
    inspect::{self, Inspect},
    lease::beside,
    open::base_options,
};

/// The copy alone takes no longer than this.
const MAX_COPY: Duration = Duration::from_secs(15 * 60);
/// Steps of SQLite's between two looks at the clock and the WAL.
const LOOK_EVERY: i32 = 100_000;

/// Why there is no copy.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The database cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// SQLite could not write the copy.
    #[error("the copy cannot be written: {0}")]
    Write(sqlx::Error),
    /// It took too long, or held up the daemon.
    #[error(
        "the copy was given up: it took more than {minutes} minutes, or the -wal beside the database came near \
         database.max_wal, above which nothing is emitted. Take it at a quieter hour, to a faster disk",
        minutes = MAX_COPY.as_secs() / 60
    )]
    GivenUp,
    /// The copy does not hold what it should.
    #[error("the copy is not sound and was thrown away: {0}")]
    Unsound(String),
}

impl From<sqlx::Error> for BackupError {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

/// What a copy holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Copied {
    /// Rows of `outbox`.
    pub rows: i64,
    /// The last `transition.id`: where the feed goes on after a restore.
    pub last_transition: i64,
    /// The last `attempt.id`.
    pub last_attempt: i64,
}

/// The ids given last, which only rise.
#[derive(Debug, PartialEq, sqlx::FromRow)]
struct Given {
    outbox: i64,
    transition: i64,
    attempt: i64,
    database_id: Option<String>,
}

const GIVEN: &str = "
    SELECT coalesce((SELECT max(seq) FROM sqlite_sequence WHERE name = 'outbox'), 0) AS outbox,
           coalesce((SELECT max(id) FROM transition), 0) AS \"transition\",
           coalesce((SELECT max(id) FROM attempt), 0) AS attempt,
           (SELECT value FROM meta WHERE key = 'database_id') AS database_id";

/// Writes a copy of `source` into `draft`, an empty file, and looks whether it is whole. `max_wal` is `database.max_wal`.
pub async fn back_up(
    source: &Path,
    binding: &Binding,
    draft: &Path,
    max_wal: u64,
) -> Result<Copied, BackupError> {
    let name = draft.to_str().ok_or_else(|| {
        BackupError::Unsound(format!("{} is no UTF-8, which SQLite needs of a path", draft.display()))
    })?;
    Inspect::open(source).await?.belongs_to(binding).await?;
    let mut conn = SqliteConnection::connect_with(&base_options(source).read_only(true)).await?;
    look(&mut conn, source, None, binding).await.map_err(|error| damage_at(source, error))?;
    let before = given(&mut conn).await?;
    let copied = copy(&mut conn, source, name, max_wal).await;
    let after = given(&mut conn).await;
    conn.close().await?;
    copied?;
    verify(draft, binding, &before, &after?).await
}

async fn copy(
    conn: &mut SqliteConnection,
    source: &Path,
    draft: &str,
    max_wal: u64,
) -> Result<(), BackupError> {
    let given_up = Arc::new(AtomicBool::new(false));
    conn.lock_handle().await?.set_progress_handler(LOOK_EVERY, bound(source, max_wal, Arc::clone(&given_up)));
    let written = sqlx::query("VACUUM INTO ?1").bind(draft).persistent(false).execute(&mut *conn).await;
    conn.lock_handle().await?.remove_progress_handler();
    match written {
        Ok(_) => Ok(()),
        Err(_) if given_up.load(Ordering::Relaxed) => Err(BackupError::GivenUp),
        Err(error) => Err(BackupError::Write(error)),
    }
}

/// Whether the copy may go on.
fn bound(source: &Path, max_wal: u64, given_up: Arc<AtomicBool>) -> impl FnMut() -> bool + Send + 'static {
    let (start, wal) = (Instant::now(), wal_of(source));
    let size = move || std::fs::metadata(&wal).map_or(0, |file| file.len());
    // One that is large already is somebody else's doing.
    let most = (max_wal / WAL_TOLD_SHARE).max(size());
    move || {
        let goes_on = start.elapsed() < MAX_COPY && size() <= most;
        if !goes_on {
            given_up.store(true, Ordering::Relaxed);
        }
        goes_on
    }
}

fn wal_of(source: &Path) -> PathBuf {
    beside(&std::fs::canonicalize(source).unwrap_or_else(|_| source.to_owned()), "-wal")
}

async fn given(conn: &mut SqliteConnection) -> Result<Given, sqlx::Error> {
    sqlx::query_as(GIVEN).fetch_one(conn).await
}

/// Sound page by page, of this program and this environment, the same database, and of a moment between the two looks.
async fn verify(
    draft: &Path,
    binding: &Binding,
    before: &Given,
    after: &Given,
) -> Result<Copied, BackupError> {
    let mut conn = SqliteConnection::connect_with(&base_options(draft).read_only(true)).await?;
    let looked = async {
        if let Some(fault) = inspect::faults(&mut conn).await?.into_iter().next() {
            return Err(BackupError::Unsound(fault));
        }
        look(&mut conn, draft, None, binding).await?;
        let copy = given(&mut conn).await?;
        let (rows,): (i64,) = sqlx::query_as("SELECT count(*) FROM outbox").fetch_one(&mut conn).await?;
        Ok((copy, rows))
    }
    .await;
    conn.close().await?;
    let (copy, rows) = looked?;
    if copy.database_id != before.database_id {
        return Err(BackupError::Unsound("it is another database's".to_owned()));
    }
    for (table, before, copy, after) in [
        ("outbox", before.outbox, copy.outbox, after.outbox),
        ("transition", before.transition, copy.transition, after.transition),
        ("attempt", before.attempt, copy.attempt, after.attempt),
    ] {
        if !(before..=after).contains(&copy) {
            let why =
                format!("`{table}` goes up to {copy}, and should to {before} at least, {after} at most");
            return Err(BackupError::Unsound(why));
        }
    }
    Ok(Copied { rows, last_transition: copy.transition, last_attempt: copy.attempt })
}
