//! Outbox rows as an application writes and reads them: through its own connection, which knows nothing of the daemon.

use std::{path::Path, time::Duration};

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Value, json};
use sqlx::{
    AssertSqlSafe, Connection, FromRow, SqliteConnection,
    sqlite::{SqliteConnectOptions, SqliteSynchronous},
};

use crate::harness::until;

/// What an application inserts.
#[derive(Clone, Debug)]
pub(crate) struct NewRow {
    pub(crate) reference: String,
    pub(crate) net_total: i64,
    pub(crate) tax_payer: Value,
    pub(crate) items: Value,
    pub(crate) payment_modes: Option<Value>,
    pub(crate) code_client: Option<&'static str>,
    pub(crate) callback: Option<String>,
    pub(crate) redirect_url: Option<String>,
    pub(crate) priority: i64,
    pub(crate) replaces: Option<String>,
    pub(crate) not_before: Option<String>,
}

impl NewRow {
    /// A notice of 1000 XOF.
    pub(crate) fn new(reference: impl Into<String>) -> Self {
        Self {
            reference: reference.into(),
            net_total: 1000,
            tax_payer: json!({"name": "Zoumanadiarra", "firstName": "Aminatafanta", "phoneNumber": "+223 70 12 34 56",
                              "nif": "NIF0817263544", "email": "aminatafanta@example.ml"}),
            items: json!([{"name": "Patente", "quantity": 2, "unitPrice": 500, "codeNatureRecette": "71531"}]),
            payment_modes: None,
            code_client: None,
            callback: None,
            redirect_url: None,
            priority: 0,
            replaces: None,
            not_before: None,
        }
    }

    /// One item of this price.
    pub(crate) fn amount(mut self, amount: i64) -> Self {
        self.net_total = amount;
        self.items =
            json!([{"name": "Patente", "quantity": 1, "unitPrice": amount, "codeNatureRecette": "71531"}]);
        self
    }
}

/// `A-1`, `A-2`, …
pub(crate) fn bulk(count: usize) -> Vec<NewRow> {
    (1..=count).map(|number| NewRow::new(format!("A-{number}"))).collect()
}

/// A time as the database writes it.
pub(crate) fn text(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// A row of `outbox` as far as tests look at it.
#[derive(Clone, Debug, PartialEq, FromRow)]
pub(crate) struct Row {
    pub(crate) id: i64,
    pub(crate) reference: String,
    pub(crate) net_total: i64,
    pub(crate) tax_payer: String,
    pub(crate) items: String,
    pub(crate) status: String,
    pub(crate) tresorpay_reference: Option<String>,
    pub(crate) payment_url: Option<String>,
    pub(crate) provider: Option<String>,
    pub(crate) pay_date: Option<String>,
    pub(crate) emitted_at: Option<String>,
    pub(crate) paid_at: Option<String>,
    pub(crate) canceled_at: Option<String>,
    pub(crate) attempts: i64,
    pub(crate) next_attempt_at: Option<String>,
    pub(crate) last_error: Option<String>,
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
    pub(crate) code_client: Option<String>,
    pub(crate) code_structure: Option<String>,
    pub(crate) base_url: String,
    pub(crate) started_at: String,
    pub(crate) duration_ms: Option<i64>,
    pub(crate) phase: String,
    pub(crate) http_status: Option<i64>,
    pub(crate) outcome: Option<String>,
    pub(crate) tresorpay_reference: Option<String>,
    pub(crate) detail: Option<String>,
}

/// A row of `command`.
#[derive(Clone, Debug, FromRow)]
pub(crate) struct Asked {
    pub(crate) outcome: Option<String>,
    pub(crate) detail: Option<String>,
}

/// An application's connection.
pub(crate) struct Application {
    conn: SqliteConnection,
}

impl Application {
    /// Opens the database as the contract tells applications to.
    pub(crate) async fn open(path: &Path) -> Self {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(false)
            .busy_timeout(Duration::from_secs(20))
            .synchronous(SqliteSynchronous::Full)
            .pragma("wal_autocheckpoint", "0");
        Self { conn: SqliteConnection::connect_with(&options).await.unwrap() }
    }

    /// A connection that may write what the daemon writes, for what only a wrong clock would have written.
    pub(crate) async fn open_as_daemon(path: &Path) -> Self {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(false)
            .busy_timeout(Duration::from_secs(20))
            .collation("use_the_command_table", str::cmp);
        Self { conn: SqliteConnection::connect_with(&options).await.unwrap() }
    }

    /// The one text that a query answers, if it answers.
    pub(crate) async fn text(&mut self, sql: &str) -> Option<String> {
        let row: Option<(String,)> =
            sqlx::query_as(AssertSqlSafe(sql.to_owned())).fetch_optional(&mut self.conn).await.unwrap();
        row.map(|row| row.0)
    }

    /// Closes the connection, and waits until that is done.
    pub(crate) async fn close(self) {
        self.conn.close().await.unwrap();
    }

    /// Inserts rows as one commit.
    pub(crate) async fn insert(&mut self, rows: &[NewRow]) {
        self.run("BEGIN IMMEDIATE").await.unwrap();
        for row in rows {
            self.try_insert(row).await.unwrap();
        }
        self.run("COMMIT").await.unwrap();
    }

    /// Inserts one row.
    pub(crate) async fn try_insert(&mut self, row: &NewRow) -> sqlx::Result<u64> {
        self.insert_with("INSERT", row, "").await
    }

    /// Inserts one row by another verb, or with a conflict clause.
    pub(crate) async fn insert_with(&mut self, verb: &str, row: &NewRow, clause: &str) -> sqlx::Result<u64> {
        let sql = format!(
            "{verb} INTO outbox (reference, net_total, tax_payer, items, authorized_payment_modes, code_client, callback,
                                 redirect_url, priority, replaces, not_before)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11) {clause}"
        );
        let done = sqlx::query(AssertSqlSafe(sql))
            .bind(&row.reference)
            .bind(row.net_total)
            .bind(row.tax_payer.to_string())
            .bind(row.items.to_string())
            .bind(row.payment_modes.as_ref().map(Value::to_string))
            .bind(row.code_client)
            .bind(&row.callback)
            .bind(&row.redirect_url)
            .bind(row.priority)
            .bind(&row.replaces)
            .bind(&row.not_before)
            .execute(&mut self.conn)
            .await?;
        Ok(done.rows_affected())
    }

    /// Runs one statement; how many rows it changed.
    pub(crate) async fn run(&mut self, sql: &str) -> sqlx::Result<u64> {
        Ok(sqlx::query(AssertSqlSafe(sql.to_owned())).execute(&mut self.conn).await?.rows_affected())
    }

    /// The one number that a query answers.
    pub(crate) async fn number(&mut self, sql: &str) -> i64 {
        let row: (i64,) =
            sqlx::query_as(AssertSqlSafe(sql.to_owned())).fetch_one(&mut self.conn).await.unwrap();
        row.0
    }

    /// How many rows are in `status`.
    pub(crate) async fn count(&mut self, status: &str) -> usize {
        let row: (i64,) = sqlx::query_as("SELECT count(*) FROM outbox WHERE status = ?1")
            .bind(status)
            .fetch_one(&mut self.conn)
            .await
            .unwrap();
        usize::try_from(row.0).unwrap()
    }

    /// How many rows wait to be emitted or are under way: one look, since a row moves between the two.
    pub(crate) async fn waiting(&mut self) -> usize {
        let waiting =
            self.number("SELECT count(*) FROM outbox WHERE status IN ('PENDING', 'EMITTING')").await;
        usize::try_from(waiting).unwrap()
    }

    /// All rows in the order of their insertion.
    pub(crate) async fn rows(&mut self) -> Vec<Row> {
        sqlx::query_as("SELECT * FROM outbox ORDER BY id").fetch_all(&mut self.conn).await.unwrap()
    }

    /// One row.
    pub(crate) async fn row(&mut self, reference: &str) -> Row {
        sqlx::query_as("SELECT * FROM outbox WHERE reference = ?1")
            .bind(reference)
            .fetch_one(&mut self.conn)
            .await
            .unwrap()
    }

    /// The status of one row.
    pub(crate) async fn status(&mut self, reference: &str) -> String {
        self.row(reference).await.status
    }

    /// All transitions in commit order.
    pub(crate) async fn transitions(&mut self) -> Vec<Transition> {
        sqlx::query_as("SELECT * FROM transition ORDER BY id").fetch_all(&mut self.conn).await.unwrap()
    }

    /// The statuses that a row went through.
    pub(crate) async fn path(&mut self, reference: &str) -> Vec<String> {
        let id = self.row(reference).await.id;
        let all = self.transitions().await;
        all.into_iter().filter(|step| step.outbox_id == id).map(|step| step.to_status).collect()
    }

    /// All attempts in the order of their commit.
    pub(crate) async fn attempts(&mut self) -> Vec<Attempt> {
        sqlx::query_as("SELECT * FROM attempt ORDER BY id").fetch_all(&mut self.conn).await.unwrap()
    }

    /// The attempts of one row.
    pub(crate) async fn attempts_of(&mut self, reference: &str) -> Vec<Attempt> {
        let id = self.row(reference).await.id;
        self.attempts().await.into_iter().filter(|attempt| attempt.outbox_id == id).collect()
    }

    /// Inserts a command; its id.
    pub(crate) async fn ask(&mut self, reference: Option<&str>, action: &str, argument: Option<&str>) -> i64 {
        let sql =
            "INSERT INTO command (reference, action, argument, requested_by) VALUES (?1, ?2, ?3, 'Awa')";
        let done = sqlx::query(sql).bind(reference).bind(action).bind(argument).execute(&mut self.conn).await;
        done.unwrap().last_insert_rowid()
    }

    /// What became of a command so far.
    pub(crate) async fn asked(&mut self, id: i64) -> Asked {
        sqlx::query_as("SELECT outcome, detail FROM command WHERE id = ?1")
            .bind(id)
            .fetch_one(&mut self.conn)
            .await
            .unwrap()
    }

    /// Waits until a command has ended: its outcome and its detail.
    pub(crate) async fn ended(&mut self, id: i64) -> (String, String) {
        let mut asked = self.asked(id).await;
        until(&format!("command {id} has ended: {asked:?}"), async || {
            asked = self.asked(id).await;
            asked.outcome.is_some()
        })
        .await;
        (asked.outcome.unwrap(), asked.detail.unwrap())
    }

    /// Asks and waits for the end.
    pub(crate) async fn command(&mut self, reference: &str, action: &str) -> (String, String) {
        let id = self.ask(Some(reference), action, None).await;
        self.ended(id).await
    }
}
