//! The database as others see it: the application that inserts, the watcher that waits, the reader of its history.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use anyhow::ensure;
use chrono::{DateTime, Utc};
use sqlx::{
    Connection, SqliteConnection,
    sqlite::{SqliteConnectOptions, SqliteSynchronous},
};

use super::{daemon::Daemon, notices};

/// How long an application waits for its turn.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Between looks at the row that is waited for: one lookup by primary key.
const LOOK_EVERY: Duration = Duration::from_millis(25);
/// No measurement takes as long.
const DEADLINE: Duration = Duration::from_mins(10);
/// What is not done so long after the last row was is not going to be.
const STRAGGLERS: Duration = Duration::from_secs(20);

/// Rows that were inserted together: ids after the first number, up to the second.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    pub(crate) after: i64,
    pub(crate) last: i64,
}

/// A connection as the contract asks it of applications.
pub(crate) async fn connect(database: &Path) -> anyhow::Result<SqliteConnection> {
    let options = SqliteConnectOptions::new()
        .filename(database)
        .busy_timeout(BUSY_TIMEOUT)
        .synchronous(SqliteSynchronous::Full)
        .pragma("wal_autocheckpoint", "0");
    Ok(SqliteConnection::connect_with(&options).await?)
}

/// Inserts one row, as an application does.
pub(crate) async fn insert_one(conn: &mut SqliteConnection, row: &notices::Row) -> sqlx::Result<()> {
    sqlx::query("INSERT INTO outbox (reference, net_total, tax_payer, items) VALUES (?1, ?2, ?3, ?4)")
        .bind(&row.reference)
        .bind(row.net_total)
        .bind(&row.tax_payer)
        .bind(&row.items)
        .execute(conn)
        .await?;
    Ok(())
}

/// Inserts the rows 1 to `count` of a series in one transaction.
pub(crate) async fn insert(database: &Path, series: &str, count: u32) -> anyhow::Result<Span> {
    let mut conn = connect(database).await?;
    let mut tx = conn.begin_with("BEGIN IMMEDIATE").await?;
    for number in 1..=count {
        insert_one(&mut tx, &notices::row(series, number)?).await?;
    }
    let last: (i64,) = sqlx::query_as("SELECT max(id) FROM outbox").fetch_one(&mut *tx).await?;
    tx.commit().await?;
    conn.close().await?;
    Ok(Span { after: last.0 - i64::from(count), last: last.0 })
}

/// Waits until every row of `span` is `status`.
pub(crate) async fn wait_for(
    database: &Path,
    daemon: &mut Daemon,
    span: Span,
    status: &str,
) -> anyhow::Result<()> {
    let mut conn = connect(database).await?;
    let started = Instant::now();
    // Rows are taken in order: while the last one waits, a single lookup tells that they are not done.
    loop {
        let found: (String,) = sqlx::query_as("SELECT status FROM outbox WHERE id = ?1")
            .bind(span.last)
            .fetch_one(&mut conn)
            .await?;
        if found.0 == status {
            break;
        }
        daemon.still_runs()?;
        ensure!(started.elapsed() < DEADLINE, "the last row is {}{}", found.0, daemon.log_tail());
        tokio::time::sleep(LOOK_EVERY).await;
    }
    let last_done = Instant::now();
    loop {
        let sql = "SELECT count(*) FROM outbox WHERE id > ?1 AND id <= ?2 AND +status <> ?3";
        let others: (i64,) =
            sqlx::query_as(sql).bind(span.after).bind(span.last).bind(status).fetch_one(&mut conn).await?;
        if others.0 == 0 {
            return Ok(conn.close().await?);
        }
        let late = last_done.elapsed() >= STRAGGLERS;
        ensure!(!late, "{} rows are not {status}{}", others.0, daemon.log_tail());
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// What the history says of an emission.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Emission {
    /// The first claim.
    pub(crate) from: DateTime<Utc>,
    /// The last answer recorded.
    pub(crate) to: DateTime<Utc>,
    /// Commits that took rows, at least: claims of one millisecond look like one.
    pub(crate) claims: u64,
}

impl Emission {
    /// Reads the history of the emission of `span`.
    pub(crate) async fn read(database: &Path, span: Span) -> anyhow::Result<Self> {
        let mut conn = connect(database).await?;
        let read: (String, String, i64) = sqlx::query_as(
            "SELECT
                (SELECT min(at) FROM transition WHERE outbox_id > ?1 AND outbox_id <= ?2 AND to_status = 'EMITTING'),
                (SELECT max(at) FROM transition WHERE outbox_id > ?1 AND outbox_id <= ?2 AND to_status = 'EMITTED'),
                (SELECT count(DISTINCT started_at) FROM attempt WHERE outbox_id > ?1 AND outbox_id <= ?2)",
        )
        .bind(span.after)
        .bind(span.last)
        .fetch_one(&mut conn)
        .await?;
        conn.close().await?;
        Ok(Self { from: read.0.parse()?, to: read.1.parse()?, claims: u64::try_from(read.2)? })
    }

    /// How long it took, in seconds.
    pub(crate) fn seconds(&self) -> f64 {
        (self.to - self.from).as_seconds_f64()
    }
}
