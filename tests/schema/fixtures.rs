//! Databases to test with: the real migration, the daemon's connection, applications' connections, and rows in every
//! status, each named for how it got there.

use std::path::PathBuf;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use sqlx::{AssertSqlSafe, ConnectOptions, Row, ValueRef};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

use crate::rows::{Row as Columns, insert};

/// A migrated database in a folder of its own, open as the daemon opens it.
pub(crate) struct Database {
    runtime: Runtime,
    folder: TempDir,
    daemon: SqliteConnection,
}

/// An application's connection: it knows nothing of the daemon's collation.
pub(crate) struct Application<'a> {
    runtime: &'a Runtime,
    connection: SqliteConnection,
}

impl Database {
    /// An empty outbox.
    pub(crate) fn new() -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let options = SqliteConnectOptions::new()
            .filename(folder.path().join("outbox.db"))
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Off)
            .collation("use_the_command_table", Ord::cmp)
            .disable_statement_logging();
        let daemon = runtime.block_on(async {
            let mut daemon = options.connect().await.unwrap();
            sqlx::migrate!().run(&mut daemon).await.unwrap();
            daemon
        });
        Self { runtime, folder, daemon }
    }

    /// A row in every status, by every way that the rules tell apart.
    pub(crate) fn with_fixtures() -> Self {
        let mut database = Self::new();
        database.row("never", &[]);
        for (reference, phase, outcome, moves) in [
            ("unsent", "unsent", "unsent", &["PENDING"][..]),
            ("limited", "answered", "rate_limited", &["PENDING"]),
            ("refused", "answered", "refused", &["REJECTED"]),
            ("doubt", "answered", "unknown", &["UNCERTAIN", "PENDING"]),
            ("cut", "sent", "interrupted", &["UNCERTAIN", "PENDING", "REJECTED"]),
            ("uncertain", "sent", "unknown", &["UNCERTAIN"]),
            ("emitted", "answered", "ok", &["EMITTED"]),
            ("paid", "answered", "ok", &["EMITTED", "PAID"]),
            ("annulled", "answered", "ok", &["EMITTED", "CANCELED"]),
        ] {
            database.row(reference, &[]);
            database.attempt(reference);
            database.complete(reference, phase, outcome);
            database.walk(reference, moves);
        }
        database.row("emitting", &[]);
        database.attempt("emitting");
        for (reference, moves) in [
            ("restored", &["UNCERTAIN", "PENDING"][..]),
            ("canceled", &["CANCELED"]),
            ("adopted", &["EMITTED"]),
        ] {
            database.row(reference, &[]);
            database.walk(reference, moves);
        }
        database.row("known", &[]);
        database.done("UPDATE outbox SET tresorpay_reference = 'TP known' WHERE reference = 'known'");
        database.row("replaced", &[]);
        database.row("replacing", &[("replaces", "'replaced'")]);
        database.row("asked", &[]);
        database.done("INSERT INTO command (reference, action) VALUES ('asked', 'cancel')");
        database.done("INSERT INTO meta (key, value) VALUES ('environment', 'sandbox'), ('api_origin', 'https://a.ml'), ('database_id', '1'), ('paused', '0')");
        database
    }

    /// The database file.
    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("outbox.db")
    }

    /// Executes as the daemon; answers the first column of each row as text, or SQLite's message.
    pub(crate) fn execute(&mut self, sql: &str) -> Result<Vec<String>, String> {
        self.runtime.block_on(execute(&mut self.daemon, sql))
    }

    /// Executes as the daemon what must succeed.
    pub(crate) fn done(&mut self, sql: &str) -> Vec<String> {
        self.execute(sql).unwrap_or_else(|message| unreachable!("{message}: {sql}"))
    }

    /// Executes as the daemon what must be refused, with this message.
    pub(crate) fn refused(&mut self, sql: &str, message: &str) {
        assert_eq!(self.execute(sql), Err(message.to_owned()), "{sql}");
    }

    /// Executes several statements as the daemon, which must succeed.
    pub(crate) fn batch(&mut self, sql: &str) {
        self.runtime.block_on(sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut self.daemon)).unwrap();
    }

    /// What SQLite says it does for a query, line by line.
    pub(crate) fn plan(&mut self, query: &str) -> Vec<String> {
        self.explained(&format!("EXPLAIN QUERY PLAN {query}"), "detail")
    }

    /// The steps of a statement and of the triggers that it fires, each once.
    pub(crate) fn steps(&mut self, statement: &str) -> Vec<String> {
        self.explained(&format!("EXPLAIN {statement}"), "opcode")
    }

    fn explained(&mut self, sql: &str, column: &str) -> Vec<String> {
        let query = sqlx::query(AssertSqlSafe(sql)).persistent(false);
        let rows = self.runtime.block_on(query.fetch_all(&mut self.daemon)).unwrap();
        rows.iter().map(|row| row.get(column)).collect()
    }

    /// Inserts a row.
    pub(crate) fn row(&mut self, reference: &str, columns: Columns) {
        self.done(&insert("INSERT", reference, columns, ""));
    }

    /// Moves a row through these statuses, as the daemon does.
    pub(crate) fn walk(&mut self, reference: &str, moves: &[&str]) {
        for status in moves {
            self.done(&format!(
                "UPDATE outbox SET status = '{status}', status_source = 'reconcile', status_reason = 'test', \
                 updated_at = '2026-11-24T09:48:00.000Z', tresorpay_reference = CASE '{status}' \
                 WHEN 'EMITTED' THEN 'TP' || id WHEN 'PAID' THEN 'TP' || id END WHERE reference = '{reference}'"
            ));
        }
    }

    /// Claims a row: `EMITTING`, and its attempt, open.
    pub(crate) fn attempt(&mut self, reference: &str) {
        self.walk(reference, &["EMITTING"]);
        self.done(&format!(
            "INSERT INTO attempt (outbox_id, operation, base_url, started_at) \
             SELECT id, 'emit', 'http://127.0.0.1', '2026-11-24T09:48:00.000Z' FROM outbox WHERE reference = '{reference}'"
        ));
    }

    /// Completes the row's open attempt.
    pub(crate) fn complete(&mut self, reference: &str, phase: &str, outcome: &str) {
        self.done(&format!(
            "UPDATE attempt SET phase = '{phase}', outcome = '{outcome}', duration_ms = 1, detail = 'said' WHERE outcome IS NULL \
             AND outbox_id = (SELECT id FROM outbox WHERE reference = '{reference}')"
        ));
    }

    /// Opens the file as an application does, under these pragmas.
    pub(crate) fn application(&self, pragmas: &[&str]) -> Application<'_> {
        let options = SqliteConnectOptions::new().filename(self.path()).disable_statement_logging();
        let connection = self.runtime.block_on(options.connect()).unwrap();
        let mut application = Application { runtime: &self.runtime, connection };
        for pragma in pragmas {
            application.execute(&format!("PRAGMA {pragma}")).unwrap();
        }
        application
    }
}

impl Application<'_> {
    /// Executes; answers the first column of each row as text, or SQLite's message.
    pub(crate) fn execute(&mut self, sql: &str) -> Result<Vec<String>, String> {
        self.runtime.block_on(execute(&mut self.connection, sql))
    }
}

async fn execute(connection: &mut SqliteConnection, sql: &str) -> Result<Vec<String>, String> {
    let rows = sqlx::query(AssertSqlSafe(sql)).persistent(false).fetch_all(connection).await;
    rows.map(|rows| rows.iter().map(first_column).collect()).map_err(|error| match error {
        sqlx::Error::Database(error) => error.message().to_owned(),
        other => unreachable!("{other}: {sql}"),
    })
}

fn first_column(row: &sqlx::sqlite::SqliteRow) -> String {
    if row.is_empty() || row.try_get_raw(0).unwrap().is_null() {
        return "NULL".to_owned();
    }
    row.try_get_unchecked::<String, _>(0).unwrap()
}
