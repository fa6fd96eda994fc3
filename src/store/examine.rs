//! What is looked at before a database is opened for writing: that it is whole, of this program, of one piece, and level
//! with its mark. It reads only, so that a file that is refused is as it was; a connection that writes would, when it
//! closes, copy whatever `-wal` lies beside the file into it.

use std::path::Path;

use sqlx::{Connection, SqliteConnection};

use super::{
    Binding, StoreError,
    error::{is_damage, is_readonly},
    mark::{Mark, MarkState, Standing, compare},
    open::{MIGRATOR, base_options, check_binding},
};

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

/// Whether a database could be looked at without writing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Examined {
    /// It holds.
    Sound,
    /// A rollback journal must be played back first: it was not in WAL mode. To be looked at once it is open.
    NotYet,
}

/// Refuses a database that the daemon must not open for writing. Nothing is changed.
pub(super) async fn examine(
    path: &Path,
    mark: Option<&Path>,
    binding: &Binding,
) -> Result<Examined, StoreError> {
    let looked = async {
        let mut conn = SqliteConnection::connect_with(&base_options(path).read_only(true)).await?;
        let looked = look(&mut conn, path, mark, binding).await;
        conn.close().await?;
        looked
    };
    match looked.await {
        Ok(()) => Ok(Examined::Sound),
        Err(StoreError::Sqlite(error)) if is_readonly(&error) => Ok(Examined::NotYet),
        Err(error) => Err(damage_at(path, error)),
    }
}

/// The same through a connection that is there.
pub(super) async fn look(
    conn: &mut SqliteConnection,
    path: &Path,
    mark: Option<&Path>,
    binding: &Binding,
) -> Result<(), StoreError> {
    check_binding(conn, path, binding).await?;
    if table_exists(conn, "_sqlx_migrations").await?
        && let SchemaState::Unusable(why) = schema(conn).await?
    {
        return Err(StoreError::Unusable { path: path.to_owned(), why });
    }
    if let Some(why) = history_faults(conn).await?.into_iter().next() {
        return Err(StoreError::Pieces { path: path.to_owned(), why });
    }
    let standing = standing(conn).await?;
    match mark {
        Some(mark) => match compare(mark, &Mark::read(mark)?, &standing) {
            MarkState::WentBack(why) => Err(StoreError::WentBack { path: path.to_owned(), why }),
            MarkState::Level(_) | MarkState::NotYet => Ok(()),
        },
        None => Ok(()),
    }
}

/// An SQLite error that says the file is damaged, with the file's name.
pub(super) fn damage_at(path: &Path, error: StoreError) -> StoreError {
    match error {
        StoreError::Sqlite(error) if is_damage(&error) => {
            StoreError::Damaged { path: path.to_owned(), why: error.to_string() }
        }
        error => error,
    }
}

/// Where the database stands; nowhere, before its first start.
pub(super) async fn standing(conn: &mut SqliteConnection) -> Result<Standing, StoreError> {
    if table_exists(conn, "attempt").await? { Standing::read(conn).await } else { Ok(Standing::default()) }
}

async fn table_exists(conn: &mut SqliteConnection, name: &str) -> Result<bool, StoreError> {
    let there: (bool,) =
        sqlx::query_as("SELECT EXISTS (SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?1)")
            .bind(name)
            .fetch_one(conn)
            .await?;
    Ok(there.0)
}

/// The schema's version against this program's.
pub(super) async fn schema(conn: &mut SqliteConnection) -> Result<SchemaState, StoreError> {
    let rows: Vec<(i64, bool, Vec<u8>)> =
        sqlx::query_as("SELECT version, success, checksum FROM _sqlx_migrations ORDER BY version")
            .fetch_all(conn)
            .await?;
    let known = || MIGRATOR.iter().filter(|migration| !migration.migration_type.is_down_migration());
    for (version, success, checksum) in &rows {
        let why = match known().find(|migration| migration.version == *version) {
            None => format!(
                "it was made by a newer tresorpayd (schema version {version}); install that version again"
            ),
            Some(_) if !success => {
                format!("its schema version {version} was begun and never finished; restore a backup")
            }
            Some(migration) if *migration.checksum != **checksum => format!(
                "its schema version {version} is not this program's; was it made by an unreleased build?"
            ),
            Some(_) => continue,
        };
        return Ok(SchemaState::Unusable(why));
    }
    let wanted = wanted_version();
    Ok(match rows.last().map_or(0, |row| row.0) {
        found if found < wanted => SchemaState::Older { found, wanted },
        found => SchemaState::Current(found),
    })
}

/// The schema version that this program makes.
pub fn wanted_version() -> i64 {
    MIGRATOR.iter().map(|migration| migration.version).max().unwrap_or_default()
}

/// Rows of an append-only table: in the table itself, in its index, and by its last id, which are one number: ids rise
/// by one and nothing is ever deleted.
const ATTEMPTS: &str = "
    SELECT (SELECT count(*) FROM attempt NOT INDEXED), (SELECT count(*) FROM attempt INDEXED BY attempt_outbox),
           (SELECT coalesce(max(id), 0) FROM attempt)";
const TRANSITIONS: &str = "
    SELECT (SELECT count(*) FROM transition NOT INDEXED),
           (SELECT count(*) FROM transition INDEXED BY transition_outbox),
           (SELECT coalesce(max(id), 0) FROM transition)";

/// The first row that would be claimed although its history speaks against it: its own page, its last transition or one
/// of its attempts knows better than the index that the claim reads.
const CONTRADICTION: &str = "
    SELECT listed.id
    FROM (
        SELECT id FROM outbox INDEXED BY outbox_ready
        WHERE status = 'PENDING' AND next_attempt_at IS NULL AND not_before IS not_before_passed
        UNION ALL
        SELECT id FROM outbox INDEXED BY outbox_waiting
        WHERE status = 'PENDING' AND (next_attempt_at IS NOT NULL OR not_before IS NOT not_before_passed)
    ) AS listed
    WHERE (SELECT status FROM outbox NOT INDEXED WHERE id = listed.id) IS NOT 'PENDING'
       OR (SELECT to_status FROM transition INDEXED BY transition_outbox
           WHERE outbox_id = listed.id ORDER BY id DESC LIMIT 1) IS NOT 'PENDING'
       OR EXISTS (SELECT 1 FROM attempt INDEXED BY attempt_outbox
                  WHERE outbox_id = listed.id AND operation = 'emit' AND (outcome IS NULL OR outcome = 'ok'))
    LIMIT 1";

/// What shows that a database is not of one piece, such as an old file beside the `-wal` of a newer one: SQLite plays the
/// log back onto any file. As long as the attempts are complete and no row that waits contradicts them, nothing that was
/// sent is sent again.
pub(super) async fn history_faults(conn: &mut SqliteConnection) -> Result<Vec<String>, StoreError> {
    let mut faults = Vec::new();
    for (table, counts) in [("attempt", ATTEMPTS), ("transition", TRANSITIONS)] {
        if !table_exists(conn, table).await? {
            return Ok(faults);
        }
        let (rows, indexed, last): (i64, i64, i64) = sqlx::query_as(counts).fetch_one(&mut *conn).await?;
        if rows != last || indexed != last {
            faults.push(format!(
                "`{table}` goes up to {last} and has {rows} rows, {indexed} of them in its index"
            ));
        }
    }
    let row: Option<(i64,)> = sqlx::query_as(CONTRADICTION).fetch_optional(conn).await?;
    faults.extend(row.map(|row| format!("row {} of `outbox` is PENDING against its own history", row.0)));
    Ok(faults)
}
