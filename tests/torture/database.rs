//! The outbox as anybody may read it: plain SQL, through a connection that knows nothing of the daemon.

use std::{collections::BTreeMap, path::Path, time::Duration};

use sqlx::{
    AssertSqlSafe, Connection, FromRow, SqliteConnection,
    sqlite::{SqliteConnectOptions, SqliteSynchronous},
};

/// How long a connection waits for its turn: a lock that the plan holds must not fail an application.
const BUSY_TIMEOUT: Duration = Duration::from_secs(30);

/// A row of `outbox`, as far as the audit looks at it.
#[derive(Clone, Debug, FromRow)]
pub(crate) struct Row {
    pub(crate) id: i64,
    pub(crate) reference: String,
    pub(crate) net_total: i64,
    pub(crate) items: String,
    pub(crate) status: String,
    pub(crate) tresorpay_reference: Option<String>,
    pub(crate) provider: Option<String>,
    pub(crate) pay_date: Option<String>,
    pub(crate) attempts: i64,
    pub(crate) last_error: Option<String>,
    pub(crate) callback: Option<String>,
    pub(crate) callback_called_at: Option<String>,
    pub(crate) delivery_confirmed_at: Option<String>,
    pub(crate) receipt_path: Option<String>,
}

/// A row of `transition`.
#[derive(Clone, Debug, FromRow)]
pub(crate) struct Transition {
    pub(crate) id: i64,
    pub(crate) outbox_id: i64,
    pub(crate) from_status: Option<String>,
    pub(crate) to_status: String,
    pub(crate) source: String,
    pub(crate) reason: Option<String>,
}

/// A row of `attempt`.
#[derive(Clone, Debug, FromRow)]
pub(crate) struct Attempt {
    pub(crate) outbox_id: i64,
    pub(crate) operation: String,
    pub(crate) phase: String,
    pub(crate) http_status: Option<i64>,
    pub(crate) outcome: Option<String>,
    pub(crate) tresorpay_reference: Option<String>,
}

/// A row of `command`.
#[derive(Clone, Debug, FromRow)]
pub(crate) struct Asked {
    pub(crate) reference: Option<String>,
    pub(crate) action: String,
    pub(crate) done_at: Option<String>,
    pub(crate) outcome: Option<String>,
    pub(crate) detail: Option<String>,
}

/// A connection.
pub(crate) struct Database {
    conn: SqliteConnection,
}

impl Database {
    /// Opens the file as the contract asks of applications.
    pub(crate) async fn open(path: &Path) -> anyhow::Result<Self> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(false)
            .busy_timeout(BUSY_TIMEOUT)
            .synchronous(SqliteSynchronous::Full)
            .pragma("wal_autocheckpoint", "0");
        Ok(Self { conn: SqliteConnection::connect_with(&options).await? })
    }

    /// The connection itself.
    pub(crate) fn connection(&mut self) -> &mut SqliteConnection {
        &mut self.conn
    }

    /// Runs one statement; how many rows it changed.
    pub(crate) async fn run(&mut self, sql: &str) -> sqlx::Result<u64> {
        Ok(sqlx::query(AssertSqlSafe(sql.to_owned())).execute(&mut self.conn).await?.rows_affected())
    }

    /// The one number that a query answers.
    pub(crate) async fn number(&mut self, sql: &str) -> anyhow::Result<i64> {
        let row: (i64,) = sqlx::query_as(AssertSqlSafe(sql.to_owned())).fetch_one(&mut self.conn).await?;
        Ok(row.0)
    }

    /// Rows by status.
    pub(crate) async fn by_status(&mut self) -> anyhow::Result<BTreeMap<String, i64>> {
        let rows: Vec<(String, i64)> = sqlx::query_as("SELECT status, count(*) FROM outbox GROUP BY status")
            .fetch_all(&mut self.conn)
            .await?;
        Ok(rows.into_iter().collect())
    }

    /// TresorPay references of rows that became EMITTED after transition `after`, with that transition's id.
    pub(crate) async fn emitted_since(
        &mut self,
        after: i64,
        limit: i64,
    ) -> anyhow::Result<Vec<(i64, String)>> {
        let sql =
            "SELECT t.id, o.tresorpay_reference FROM transition AS t JOIN outbox AS o ON o.id = t.outbox_id
                   WHERE t.id > ?1 AND t.to_status = 'EMITTED' ORDER BY t.id LIMIT ?2 + 0";
        Ok(sqlx::query_as(sql).bind(after).bind(limit).fetch_all(&mut self.conn).await?)
    }

    /// All rows.
    pub(crate) async fn rows(&mut self) -> anyhow::Result<Vec<Row>> {
        Ok(sqlx::query_as("SELECT * FROM outbox ORDER BY id").fetch_all(&mut self.conn).await?)
    }

    /// All transitions in commit order.
    pub(crate) async fn transitions(&mut self) -> anyhow::Result<Vec<Transition>> {
        Ok(sqlx::query_as("SELECT * FROM transition ORDER BY id").fetch_all(&mut self.conn).await?)
    }

    /// All attempts in commit order.
    pub(crate) async fn attempts(&mut self) -> anyhow::Result<Vec<Attempt>> {
        Ok(sqlx::query_as("SELECT * FROM attempt ORDER BY id").fetch_all(&mut self.conn).await?)
    }

    /// All commands in commit order.
    pub(crate) async fn commands(&mut self) -> anyhow::Result<Vec<Asked>> {
        Ok(sqlx::query_as("SELECT * FROM command ORDER BY id").fetch_all(&mut self.conn).await?)
    }

    /// What SQLite itself says of the file: `ok`.
    pub(crate) async fn integrity(&mut self) -> anyhow::Result<String> {
        let row: (String,) = sqlx::query_as("PRAGMA integrity_check(1)").fetch_one(&mut self.conn).await?;
        Ok(row.0)
    }
}
