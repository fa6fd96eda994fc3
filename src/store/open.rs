//! Opening the database: its folder, its lease, its pragmas, its schema, its environment, its mark.

use std::{
    fs::OpenOptions,
    io::{ErrorKind, Read},
    os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt},
    path::Path,
    sync::Arc,
    time::Duration,
};

use sqlx::{
    Connection, SqliteConnection, SqlitePool,
    migrate::{MigrateError, Migrator},
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use super::{
    Guard, Lease, Reads, StoreError, Writer,
    error::is_passing,
    examine::{Examined, damage_at, examine, look},
    lease::beside,
    mark::{Mark, MarkState, Standing, compare},
    owner::{hand_over, try_open},
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
/// Bytes of the header that are looked at.
const HEADER_START: u64 = 20;
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

/// Closes the last connection that writes; `-wal` and `-shm` stay, and stay the daemon's.
///
/// SQLite removes them when the last connection is closed, and whoever comes next makes them anew as its own: an
/// application that only reads, say. In a folder with the sticky bit the kernel (`fs.protected_regular`) then keeps the
/// daemon from opening them. A connection that only reads removes nothing, so one is there until the other is closed.
pub(super) async fn close_and_leave_wal(conn: SqliteConnection, path: &Path) -> Result<(), StoreError> {
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
    let folder = folder_of(path);
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

/// Makes an empty file readable by no stranger; one that is there already is closed to strangers.
pub(super) fn create_file(path: &Path) -> Result<(), StoreError> {
    let failed = |error: std::io::Error| StoreError::Schema { path: path.to_owned(), why: error.to_string() };
    match OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(path) {
        Ok(file) => hand_over(&file, path).map_err(failed),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            for file in [path.to_owned(), beside(path, "-wal"), beside(path, "-shm")] {
                hide_from_strangers(&file).map_err(failed)?;
            }
            Ok(())
        }
        Err(error) => Err(failed(error)),
    }
}

/// Whether there is a database: a file that is not empty. It and the files beside it must be the daemon's to write.
///
/// As [`check_header`], only before this process has a connection to it.
pub(super) fn is_there(path: &Path) -> Result<bool, StoreError> {
    for file in [path.to_owned(), beside(path, "-wal"), beside(path, "-shm")] {
        try_open(&file).map_err(|error| no_access(&file, &error))?;
    }
    Ok(std::fs::metadata(path).is_ok_and(|metadata| metadata.len() > 0))
}

fn no_access(file: &Path, error: &std::io::Error) -> StoreError {
    let user = rustix::process::geteuid().as_raw();
    let owner = std::fs::metadata(file).map_or_else(
        |error| error.to_string(),
        |file| format!("it belongs to user {} with mode {:04o}", file.uid(), file.mode() & 0o7777),
    );
    let why = format!(
        "{error}; this runs as user {user}, and {owner}. The daemon's user must be able to read and write the database, \
         the -wal and -shm beside it, and their folder; in a folder with the sticky bit these files must be its own (chown)"
    );
    StoreError::Access { path: file.to_owned(), why }
}

/// SQLite makes files beside the database.
fn check_folder_access(path: &Path) -> Result<(), StoreError> {
    use rustix::fs::{Access, AtFlags, CWD, accessat};
    let folder = folder_of(path);
    accessat(CWD, folder, Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS)
        .map_err(|error| no_access(folder, &error.into()))
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Takes the rights of others away; SQLite gives new -wal and -shm files the database's mode.
fn hide_from_strangers(path: &Path) -> std::io::Result<()> {
    let mut permissions = match std::fs::metadata(path) {
        Ok(metadata) => metadata.permissions(),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if permissions.mode() & 0o007 != 0 {
        permissions.set_mode(permissions.mode() & !0o007);
        std::fs::set_permissions(path, permissions)?;
        tracing::warn!(path = %path.display(), "the database could be read by every user; it no longer can");
    }
    Ok(())
}

/// An empty file is a new database; any other must begin as one that SQLite may write.
///
/// Only before this process has a connection to it: closing any descriptor of a file drops all of the process's locks
/// on it, and another program could then delete the WAL that is in use.
fn check_header(path: &Path) -> Result<(), StoreError> {
    let failed = |error: std::io::Error| StoreError::Schema { path: path.to_owned(), why: error.to_string() };
    let refused = |why: &str| Err(StoreError::Unusable { path: path.to_owned(), why: why.to_owned() });
    let mut header = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(HEADER_START).read_to_end(&mut header))
        .map_err(failed)?;
    match header.split_at_checked(SQLITE_HEADER.len()) {
        _ if header.is_empty() => Ok(()),
        // Page size, then the versions of the format for writing and reading: 1 and 2 exist. SQLite would take a file of
        // a later one for readable and never to be written.
        Some((start, [_, _, 1 | 2, 1 | 2])) if start == SQLITE_HEADER => Ok(()),
        Some((start, _)) if start == SQLITE_HEADER => {
            refused("its header names a format that SQLite does not write; restore a backup")
        }
        Some(_) | None => refused("it is not an SQLite database; check database.url"),
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
