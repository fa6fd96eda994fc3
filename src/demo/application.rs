//! The application: what any program in any language does with the outbox, through a connection like any other. It
//! knows SQL and the table; the daemon, the client of TresorPay and their types are nothing it needs.

use std::{path::Path, time::Duration};

use serde::Serialize;
use sqlx::{
    Connection, SqliteConnection,
    sqlite::{SqliteConnectOptions, SqliteSynchronous},
};
use tokio::sync::Mutex;

use super::{DemoError, audit::Row, notices::Notice};

/// How long a statement waits for another connection's lock.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

const INSERT: &str = "
    INSERT INTO outbox (reference, code_structure, net_total, tax_payer, items) VALUES (?1, ?2, ?3, ?4, ?5)
    ON CONFLICT (reference) DO NOTHING";

/// What nobody but the daemon may do.
pub(super) const FORGERY: &str = "UPDATE outbox SET status = 'PAID' WHERE reference = ?1";

/// What the contract asks of an application's connection. SQLite opens the file and nothing else in this process may:
/// whoever closes a file takes all locks of the process on it away, the daemon's too, and another program that closes
/// the database then would delete the WAL under it.
pub(super) fn connection(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .busy_timeout(BUSY_TIMEOUT)
        .synchronous(SqliteSynchronous::Full)
        .pragma("wal_autocheckpoint", "0")
}

/// A connection of an application.
pub(super) struct Application {
    conn: Mutex<SqliteConnection>,
}

/// What became of an INSERT.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Inserted {
    /// The row is there.
    Yes,
    /// Its reference was there already; nothing happened.
    Known,
    /// In the database's own words.
    Refused(String),
}

impl Application {
    /// Opens the database as the contract tells an application to.
    pub(super) async fn open(path: &Path) -> Result<Self, DemoError> {
        Ok(Self { conn: Mutex::new(SqliteConnection::connect_with(&connection(path)).await?) })
    }

    /// Inserts one notice.
    pub(super) async fn insert(&self, notice: &Notice) -> Result<Inserted, DemoError> {
        let inserted = sqlx::query(INSERT)
            .bind(&notice.reference)
            .bind(notice.code_structure)
            .bind(notice.net_total)
            .bind(json(&notice.tax_payer)?)
            .bind(json(&notice.items)?)
            .execute(&mut *self.conn.lock().await)
            .await;
        match inserted {
            Ok(done) if done.rows_affected() == 1 => Ok(Inserted::Yes),
            Ok(_) => Ok(Inserted::Known),
            Err(error) => Ok(Inserted::Refused(refusal(error)?)),
        }
    }

    /// Tries to call a notice paid; what the database says to that.
    pub(super) async fn forge_payment(&self, reference: &str) -> Result<String, DemoError> {
        match sqlx::query(FORGERY).bind(reference).execute(&mut *self.conn.lock().await).await {
            Ok(_) => Err(DemoError::Accepted(FORGERY.to_owned())),
            Err(error) => refusal(error),
        }
    }

    /// Every row, for the comparison with the ledger.
    pub(super) async fn rows(&self) -> Result<Vec<Row>, DemoError> {
        let rows: Vec<(String, String, i64, Option<String>)> = sqlx::query_as(
            "SELECT reference, status, net_total, tresorpay_reference FROM outbox ORDER BY id",
        )
        .fetch_all(&mut *self.conn.lock().await)
        .await?;
        rows.into_iter()
            .map(|(reference, status, net_total, tresorpay_reference)| {
                let status = status.parse().map_err(|error| sqlx::Error::Decode(Box::new(error)))?;
                Ok(Row { reference, status, net_total, tresorpay_reference })
            })
            .collect()
    }

    /// Closes the connection, so that the file is whole without its WAL.
    pub(super) async fn close(self) -> Result<(), DemoError> {
        Ok(self.conn.into_inner().close().await?)
    }
}

/// The message of a rule of the schema; any other failure is one.
fn refusal(error: sqlx::Error) -> Result<String, DemoError> {
    match error.as_database_error() {
        Some(refused) => Ok(refused.message().to_owned()),
        None => Err(error.into()),
    }
}

/// A JSON column.
pub(super) fn json(value: &impl Serialize) -> Result<String, DemoError> {
    serde_json::to_string(value).map_err(|error| DemoError::Sqlite(sqlx::Error::Encode(Box::new(error))))
}
