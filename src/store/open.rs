//! Opening the database: its folder, its lease, its pragmas, its schema, its environment, its mark.

use std::{
    fs::OpenOptions,
    io::Read,
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::Path,
    time::Duration,
};

use sqlx::{
    Connection, SqliteConnection, SqlitePool,
    migrate::{MigrateError, Migrator},
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use super::{
    Lease, Reads, StoreError, Writer, error::is_passing, lease::beside, mark::Mark, queue::last_attempt,
    writer::WriterFile,
};

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
/// First bytes of every SQLite file.
const SQLITE_HEADER: &[u8; 16] = b"SQLite format 3\0";
/// Mode of a new database: for the daemon and its group.
const FILE_MODE: u32 = 0o660;

/// `f_type` of file systems whose locks do not reach the other hosts.
const NETWORK_FILE_SYSTEMS: [(u64, &str); 8] = [
    (0x6969, "NFS"),
    (0xff53_4d42, "CIFS"),
    (0xfe53_4d42, "SMB"),
    (0x517b, "SMB"),
    (0x5346_414f, "AFS"),
    (0x00c3_6400, "Ceph"),
    (0x0bd0_0bd0, "Lustre"),
    (0x0102_1997, "9p"),
];

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
    let created = create_file(path)?;
    let options = daemon_options(path);
    let mut conn = loop {
        match prepare(&options, path, binding).await {
            Err(error) if error.is_locked() => {
                tracing::warn!(%error, "another program holds the database; waiting for it");
            }
            prepared => break prepared?,
        }
    };
    let mark = check_mark(&mut conn, path, mark_path, created).await?;
    let reads = read_pool(path, READ_CONNECTIONS);
    let handed_over = last_attempt(&mut conn).await?;
    let file = WriterFile { path: path.to_owned(), options, max_wal };
    let (writer, writer_task) = Writer::new(file, conn, mark, handed_over);
    Ok(Opened { writer, writer_task, reads: Reads::new(reads), lease })
}

/// Creates or migrates the database and nothing else; the lease is held meanwhile.
pub async fn migrate_only(path: &Path, binding: &Binding) -> Result<(), StoreError> {
    check_folder(path)?;
    let _lease = Lease::take(path)?;
    create_file(path)?;
    prepare(&daemon_options(path), path, binding).await?.close().await?;
    Ok(())
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

fn base_options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new().filename(path).busy_timeout(BUSY_TIMEOUT)
}

pub(super) fn daemon_options(path: &Path) -> SqliteConnectOptions {
    base_options(path)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .pragma("wal_autocheckpoint", CHECKPOINT_PAGES)
        .pragma("temp_store", "memory")
        .collation(GUARD, str::cmp)
        .thread_name(|_| "sqlite-writer".to_owned())
}

fn read_pool(path: &Path, connections: u32) -> SqlitePool {
    let options = base_options(path).read_only(true).thread_name(|_| "sqlite-reader".to_owned());
    SqlitePoolOptions::new()
        .max_connections(connections)
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false)
        .connect_lazy_with(options)
}

pub(super) fn check_folder(path: &Path) -> Result<(), StoreError> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let refused = |why: String| StoreError::Folder { path: folder.to_owned(), why };
    let metadata = std::fs::metadata(folder)
        .map_err(|error| refused(format!("{error}; create it, owned by the daemon's user")))?;
    if !metadata.is_dir() {
        return Err(refused("is not a folder".to_owned()));
    }
    let kind = rustix::fs::statfs(folder).map_err(|error| refused(error.to_string()))?.f_type;
    let kind = u64::try_from(kind).unwrap_or_default() & 0xffff_ffff;
    match NETWORK_FILE_SYSTEMS.iter().find(|(magic, _)| *magic == kind) {
        Some((_, name)) => Err(refused(format!(
            "is on a network file system ({name}), where SQLite's locks cannot be trusted; put the database on a local disk"
        ))),
        None => Ok(()),
    }
}

/// Makes an empty file readable by no stranger; whether there was none.
pub(super) fn create_file(path: &Path) -> Result<bool, StoreError> {
    let failed = |error: std::io::Error| StoreError::Schema { path: path.to_owned(), why: error.to_string() };
    match OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            check_header(path)?;
            for file in [path.to_owned(), beside(path, "-wal"), beside(path, "-shm")] {
                hide_from_strangers(&file).map_err(failed)?;
            }
            Ok(false)
        }
        Err(error) => Err(failed(error)),
    }
}

/// Takes the rights of others away; SQLite gives new -wal and -shm files the database's mode.
fn hide_from_strangers(path: &Path) -> std::io::Result<()> {
    let mut permissions = match std::fs::metadata(path) {
        Ok(metadata) => metadata.permissions(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if permissions.mode() & 0o007 != 0 {
        permissions.set_mode(permissions.mode() & !0o007);
        std::fs::set_permissions(path, permissions)?;
        tracing::warn!(path = %path.display(), "the database could be read by every user; it no longer can");
    }
    Ok(())
}

/// An empty file is a new database; any other must begin as one.
///
/// Only before this process has a connection to it: closing any descriptor of a file drops all of the process's locks
/// on it, and another program could then delete the WAL that is in use.
fn check_header(path: &Path) -> Result<(), StoreError> {
    let refused = |why: String| StoreError::Schema { path: path.to_owned(), why };
    let mut header = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(SQLITE_HEADER.len() as u64).read_to_end(&mut header))
        .map_err(|error| refused(error.to_string()))?;
    if header.is_empty() || header == SQLITE_HEADER {
        Ok(())
    } else {
        Err(refused("it is not an SQLite database; it was not touched. Check database.url".to_owned()))
    }
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
        MigrateError::VersionMissing(version) => refused(format!(
            "it was made by a newer tresorpayd (schema version {version}); it was not touched. Install that version again"
        )),
        MigrateError::VersionMismatch(version) => refused(format!(
            "its schema version {version} is not this program's; it was not touched. Was it made by an unreleased build?"
        )),
        error => refused(format!("its schema could not be brought up to date: {error}")),
    })
}

/// Fixes environment and origin at the first start; refuses another's database from then on.
async fn bind(conn: &mut SqliteConnection, path: &Path, binding: &Binding) -> Result<(), StoreError> {
    check_binding(conn, path, binding).await?;
    let wanted = [("environment", &binding.environment), ("api_origin", &binding.api_origin)];
    let id = format!("{:032x}", fastrand::u128(..));
    let mut tx = conn.begin_with("BEGIN IMMEDIATE").await?;
    for (key, value) in wanted.into_iter().chain([("database_id", &id)]) {
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

/// Refuses another environment's database; a file without `meta` is new.
async fn check_binding(
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

/// Compares the database with its mark; a database behind it went back in time.
async fn check_mark(
    conn: &mut SqliteConnection,
    path: &Path,
    mark_path: &Path,
    created: bool,
) -> Result<Mark, StoreError> {
    let id = meta(conn, "database_id").await?.unwrap_or_default();
    let last = last_attempt(conn).await?;
    let went_back = |why: String| Err(StoreError::WentBack { path: path.to_owned(), why });
    match Mark::read(mark_path)? {
        None if last > 0 => went_back(format!("it has attempts and no mark {}", mark_path.display())),
        Some(mark) if mark.database_id != id && (mark.last_attempt > 0 || last > 0) => went_back(format!(
            "its mark {} is another database's{}",
            mark_path.display(),
            if created { ", and this one is new" } else { "" }
        )),
        Some(mark) if mark.database_id == id && mark.last_attempt > last => went_back(format!(
            "its last attempt is {last} and its mark {} says {}",
            mark_path.display(),
            mark.last_attempt
        )),
        None | Some(_) => Mark::open(mark_path, &id, last),
    }
}
