//! Opening the database: its lease, its pragmas, its schema, its environment, its mark.

mod file; // before SQLite has it: folder, rights, first bytes

use std::{path::Path, sync::Arc, time::Duration};

use sqlx::{
    Connection, SqliteConnection, SqlitePool,
    migrate::{MigrateError, Migrator},
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use super::{
    Guard, Lease, Reads, StoreError, Writer,
    error::is_passing,
    examine::{Examined, damage_at, examine, look},
    mark::{Mark, MarkState, Standing, compare},
    writer::WriterFile,
};
pub(super) use file::{check_folder, create_file, is_there};
use file::{check_folder_access, check_header};

pub(super) static MIGRATOR: Migrator = sqlx::migrate!();

/// The collation that only the daemon registers; without it SQLite refuses to touch the daemon's columns, and its
/// error names what to do instead.
pub(crate) const GUARD: &str = "use_the_command_table";
/// How long a statement waits for another connection's lock.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Reads that run at once.
const READ_CONNECTIONS: u32 = 2;
/// WAL pages between the writer's checkpoints: 16 MiB.
const CHECKPOINT_PAGES: &str = "4000";

/// What a database file is bound to at its first start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding {
    /// `sandbox`, `production` or `custom`.
    pub environment: String,
    /// Scheme, host and port of `api.base_url`.
    pub api_origin: String,
}

/// A database that this process alone writes daemon columns of.
pub struct Opened<T> {
    /// The single writer.
    pub writer: Writer,
    /// The writer's task: to be spawned.
    pub writer_task: T,
    /// Reads.
    pub reads: Reads,
    /// Tells when the file is no longer the one that was opened.
    pub guard: Arc<Guard>,
    /// Held while the daemon runs.
    pub lease: Lease,
}

/// What a command-line program may do with a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// SELECT.
    Read,
    /// What an application may do: INSERT, and corrections.
    Application,
}

/// Opens, creates or migrates the database at `path` for the daemon, and refuses what is not its own. `max_wal` is
/// `database.max_wal`, in bytes.
pub async fn open_for_daemon(
    path: &Path,
    mark_path: &Path,
    binding: &Binding,
    max_wal: u64,
) -> Result<Opened<impl Future<Output = Result<(), StoreError>> + Send + 'static>, StoreError> {
    check_folder(path)?;
    let lease = Lease::take(path)?;
    let examined = admit(path, Some(mark_path), binding).await?;
    create_file(path)?;
    let options = daemon_options(path);
    let guarded = Guard::open(path)?;
    let mut conn = patiently(async || prepare(&options, path, binding).await).await?;
    if examined == Examined::NotYet {
        look(&mut conn, path, Some(mark_path), binding).await.map_err(|error| damage_at(path, error))?;
    }
    let standing = Standing::read(&mut conn).await?;
    if let MarkState::WentBack(why) = compare(mark_path, &Mark::read(mark_path)?, &standing) {
        return Err(StoreError::WentBack { path: path.to_owned(), why });
    }
    let mark = Mark::open(mark_path, &standing)?;
    let guard = Arc::new(guarded.with_mark(mark.clone()));
    let reads = read_pool(path, READ_CONNECTIONS);
    let file = WriterFile { path: path.to_owned(), options, max_wal };
    let (writer, writer_task) = Writer::new(file, conn, mark, Arc::clone(&guard));
    Ok(Opened { writer, writer_task, reads: Reads::new(reads), guard, lease })
}

/// Creates or migrates the database and nothing else; the lease is held meanwhile.
pub async fn migrate_only(path: &Path, binding: &Binding) -> Result<(), StoreError> {
    check_folder(path)?;
    let _lease = Lease::take(path)?;
    admit(path, None, binding).await?;
    create_file(path)?;
    let conn = prepare(&daemon_options(path), path, binding).await?;
    close_and_leave_wal(conn, path).await
}

/// Closes the last connection that writes. `-wal` and `-shm` stay, empty, and stay the daemon's.
///
/// Empty, because an old copy of the file alone, put back later, must find no newer WAL beside it.
///
/// SQLite removes them when the last connection is closed, and whoever comes next makes them anew as its own: an
/// application that only reads, say. In a folder with the sticky bit the kernel (`fs.protected_regular`) then keeps the
/// daemon from opening them. A connection that only reads removes nothing, so one is there until the other is closed.
pub(super) async fn close_and_leave_wal(mut conn: SqliteConnection, path: &Path) -> Result<(), StoreError> {
    if let Err(error) = sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(&mut conn).await {
        tracing::warn!(%error, "the WAL could not be written back; the next start does it");
    }
    let keeper = async {
        let mut keeper = SqliteConnection::connect_with(&base_options(path).read_only(true)).await?;
        sqlx::query("SELECT count(*) FROM sqlite_master").execute(&mut keeper).await?;
        Ok::<_, sqlx::Error>(keeper)
    };
    let keeper = keeper.await;
    conn.close().await?;
    keeper?.close().await?;
    Ok(())
}

/// Refuses, untouched, what must not be opened for writing.
pub(super) async fn admit(
    path: &Path,
    mark_path: Option<&Path>,
    binding: &Binding,
) -> Result<Examined, StoreError> {
    check_folder_access(path)?;
    if is_there(path)? {
        check_header(path)?;
        return patiently(async || examine(path, mark_path, binding).await).await;
    }
    // One that is not there yet has no attempts: beside an old mark, it was lost.
    if let Some(mark) = mark_path
        && let MarkState::WentBack(why) = compare(mark, &Mark::read(mark)?, &Standing::default())
    {
        return Err(StoreError::WentBack { path: path.to_owned(), why });
    }
    Ok(Examined::Sound)
}

/// Tries for as long as another program holds the lock.
async fn patiently<T>(mut attempt: impl AsyncFnMut() -> Result<T, StoreError>) -> Result<T, StoreError> {
    loop {
        match attempt().await {
            Err(error) if error.is_locked() => {
                tracing::warn!(%error, "another program holds the database; waiting for it");
            }
            done => return done,
        }
    }
}

/// A connection to a database that is durable, of this program's schema, and bound to this environment.
pub(super) async fn prepare(
    options: &SqliteConnectOptions,
    path: &Path,
    binding: &Binding,
) -> Result<SqliteConnection, StoreError> {
    let mut conn = SqliteConnection::connect_with(options).await?;
    check_pragmas(&mut conn, path).await?;
    // Before anything is migrated: another environment's file is left as it is.
    check_binding(&mut conn, path, binding).await?;
    migrate(&mut conn, path).await?;
    bind(&mut conn, path, binding).await?;
    Ok(conn)
}

/// A pool on a database that exists already, without the right to touch daemon columns.
pub async fn open_existing(path: &Path, access: Access) -> Result<SqlitePool, StoreError> {
    if !path.try_exists().unwrap_or(true) {
        return Err(StoreError::Missing(path.to_owned()));
    }
    check_header(path)?;
    let pool = match access {
        Access::Read => read_pool(path, 1),
        Access::Application => SqlitePoolOptions::new().max_connections(1).connect_lazy_with(
            base_options(path).synchronous(SqliteSynchronous::Full).pragma("wal_autocheckpoint", "0"),
        ),
    };
    let ours: (i64,) = sqlx::query_as(
        "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name IN ('outbox', 'transition', 'meta')",
    )
    .fetch_one(&pool)
    .await?;
    if ours.0 != 3 {
        let why = "it holds no outbox of tresorpayd; `tresorpayd migrate` makes one".to_owned();
        return Err(StoreError::Schema { path: path.to_owned(), why });
    }
    Ok(pool)
}

pub(super) fn base_options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new().filename(path).busy_timeout(BUSY_TIMEOUT)
}

pub(super) fn daemon_options(path: &Path) -> SqliteConnectOptions {
    base_options(path)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .pragma("wal_autocheckpoint", CHECKPOINT_PAGES)
        .pragma("temp_store", "memory")
        // What is moved or deleted leaves no copy in the pages that it was in: retention rests on it.
        .pragma("secure_delete", "on")
        .collation(GUARD, str::cmp)
        .thread_name(|_| "sqlite-writer".to_owned())
}

/// Read-only connections that stay open once they are.
pub(super) fn read_pool(path: &Path, connections: u32) -> SqlitePool {
    let options = base_options(path).read_only(true).thread_name(|_| "sqlite-reader".to_owned());
    SqlitePoolOptions::new()
        .max_connections(connections)
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false)
        .connect_lazy_with(options)
}

async fn check_pragmas(conn: &mut SqliteConnection, path: &Path) -> Result<(), StoreError> {
    let journal: (String,) = sqlx::query_as("PRAGMA journal_mode").fetch_one(&mut *conn).await?;
    let synchronous: (i64,) = sqlx::query_as("PRAGMA synchronous").fetch_one(conn).await?;
    let refused = |pragma, found| Err(StoreError::Pragma { path: path.to_owned(), pragma, found });
    match (journal.0.as_str(), synchronous.0) {
        ("wal", 2) => Ok(()),
        ("wal", found) => refused("synchronous = FULL", found.to_string()),
        (found, _) => refused("journal_mode = WAL", found.to_owned()),
    }
}

async fn migrate(conn: &mut SqliteConnection, path: &Path) -> Result<(), StoreError> {
    let refused = |why: String| StoreError::Schema { path: path.to_owned(), why };
    MIGRATOR.run(conn).await.map_err(|error| match error {
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) if is_passing(&error) => {
            StoreError::Sqlite(error)
        }
        error => refused(format!("its schema could not be brought up to date: {error}")),
    })
}

/// Fixes environment and origin at the first start; refuses another's database from then on.
async fn bind(conn: &mut SqliteConnection, path: &Path, binding: &Binding) -> Result<(), StoreError> {
    check_binding(conn, path, binding).await?;
    let wanted = [("environment", &binding.environment), ("api_origin", &binding.api_origin)];
    let (id, timeline) = (random_id(), random_id());
    let mut tx = conn.begin_with("BEGIN IMMEDIATE").await?;
    for (key, value) in wanted.into_iter().chain([("database_id", &id), ("timeline", &timeline)]) {
        if meta(&mut tx, key).await?.is_none() {
            sqlx::query("INSERT INTO meta (key, value) VALUES (?1, ?2)")
                .bind(key)
                .bind(value)
                .execute(&mut *tx)
                .await?;
        }
    }
    tx.commit().await?;
    Ok(())
}

/// For `meta.database_id` and `meta.timeline`.
pub(super) fn random_id() -> String {
    format!("{:032x}", fastrand::u128(..))
}

/// Refuses another environment's database; a file without `meta` is new.
pub(super) async fn check_binding(
    conn: &mut SqliteConnection,
    path: &Path,
    binding: &Binding,
) -> Result<(), StoreError> {
    let tables: (i64,) =
        sqlx::query_as("SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = 'meta'")
            .fetch_one(&mut *conn)
            .await?;
    if tables.0 == 0 {
        return Ok(());
    }
    let wanted = [("environment", &binding.environment), ("api_origin", &binding.api_origin)];
    for (key, wanted) in wanted {
        if let Some(found) = meta(conn, key).await?.filter(|found| found != wanted) {
            let (path, wanted) = (path.to_owned(), wanted.clone());
            return Err(StoreError::Foreign { path, key, found, wanted });
        }
    }
    Ok(())
}

async fn meta(conn: &mut SqliteConnection, key: &str) -> Result<Option<String>, sqlx::Error> {
    let row: Option<(String,)> =
        sqlx::query_as("SELECT value FROM meta WHERE key = ?1").bind(key).fetch_optional(conn).await?;
    Ok(row.map(|row| row.0))
}
