//! A kept file: whether the demo may use it, and what earlier runs left in it. The simulator begins empty each time, so
//! what was sent before is nothing it knows.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use sqlx::{Connection, SqliteConnection};

use super::{DemoError, application::connection};
use crate::{settings::Environment, store::Binding};

/// SQLite's result code for a file that is none of its own.
const NOT_A_DATABASE: &str = "26";
/// Tables that every outbox has.
const TABLES: &str =
    "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name IN ('outbox', 'attempt', 'meta')";

/// What the file held at the start.
#[derive(Debug, Clone, Default)]
pub(super) struct Earlier {
    /// Rows.
    pub(super) rows: usize,
    /// Requests that could create a notice: no earlier run gave out more TresorPay references than that.
    pub(super) attempts: u64,
    /// References of rows that were sent: their notices are in no ledger of this run.
    pub(super) sent: BTreeSet<String>,
}

impl Earlier {
    /// Looks at `path` without changing it; refuses what is no outbox of `binding`.
    pub(super) async fn at(path: &Path, binding: &Binding) -> Result<Self, DemoError> {
        match std::fs::metadata(path) {
            Err(_) => return Ok(Self::default()),
            // What a new database begins as.
            Ok(file) if file.is_file() && file.len() == 0 => return Ok(Self::default()),
            Ok(file) if !file.is_file() => {
                return Err(DemoError::Path { path: path.to_owned(), why: "it is no file".to_owned() });
            }
            Ok(_) => {}
        }
        // Without a WAL the file is whole, and can be read without the files that SQLite else makes beside it: they
        // might belong to another user than the daemon whose file this is.
        let has_wal = beside(path, "-wal").exists();
        let options = connection(path).read_only(true).immutable(!has_wal);
        let not_an_outbox = |why: &str| DemoError::NotAnOutbox { path: path.to_owned(), why: why.to_owned() };
        let mut conn = match SqliteConnection::connect_with(&options).await {
            Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some(NOT_A_DATABASE) => {
                return Err(not_an_outbox("it is not an SQLite database"));
            }
            conn => conn?,
        };
        let tables: (i64,) = sqlx::query_as(TABLES).fetch_one(&mut conn).await?;
        if tables.0 != 3 {
            return Err(not_an_outbox("it holds no outbox of tresorpayd"));
        }
        let found = Self::read(&mut conn, path, binding).await;
        conn.close().await?;
        found
    }

    async fn read(conn: &mut SqliteConnection, path: &Path, binding: &Binding) -> Result<Self, DemoError> {
        let (environment, origin) = (meta(conn, "environment").await?, meta(conn, "api_origin").await?);
        if (&environment, &origin) != (&binding.environment, &binding.api_origin) {
            let advice = advice(&environment, &origin);
            let wanted = binding.api_origin.clone();
            return Err(DemoError::Foreign { path: path.to_owned(), environment, origin, wanted, advice });
        }
        let (rows, attempts): (i64, i64) = sqlx::query_as(
            "SELECT (SELECT count(*) FROM outbox), (SELECT coalesce(max(id), 0) FROM attempt)",
        )
        .fetch_one(&mut *conn)
        .await?;
        let sent: Vec<(String,)> =
            sqlx::query_as("SELECT reference FROM outbox WHERE status NOT IN ('PENDING', 'REJECTED')")
                .fetch_all(conn)
                .await?;
        Ok(Self {
            rows: usize::try_from(rows).unwrap_or_default(),
            attempts: u64::try_from(attempts).unwrap_or_default(),
            sent: sent.into_iter().map(|row| row.0).collect(),
        })
    }
}

/// `none` where the key is missing.
async fn meta(conn: &mut SqliteConnection, key: &str) -> Result<String, sqlx::Error> {
    let row: Option<(String,)> =
        sqlx::query_as("SELECT value FROM meta WHERE key = ?1").bind(key).fetch_optional(conn).await?;
    Ok(row.map_or_else(|| "none".to_owned(), |row| row.0))
}

/// The same folder, the same name and more.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// A file of another demo's port can be used with that port; any other is none of the demo's business.
fn advice(environment: &str, origin: &str) -> String {
    let port =
        origin.strip_prefix("http://127.0.0.1:").filter(|_| environment == Environment::Custom.as_str());
    match port {
        Some(port) => format!("If it is a demo's: --port {port}. Else give the demo a file of its own"),
        None => "Give the demo a file of its own; it is created if missing".to_owned(),
    }
}
