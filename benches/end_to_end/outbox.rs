//! The database as others see it: the application that inserts, the watcher that waits, the auditor who checks.

use std::{
    collections::HashMap,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{bail, ensure};
use chrono::DateTime;
use sqlx::{
    Connection, SqliteConnection,
    sqlite::{SqliteConnectOptions, SqliteSynchronous},
};
use tresorpayd::simulator::Ledger;

use super::{daemon::Daemon, notices};

/// How long an application waits for its turn.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Between looks at the row that is waited for: one lookup by primary key.
const LOOK_EVERY: Duration = Duration::from_millis(25);
/// No measurement takes as long.
const DEADLINE: Duration = Duration::from_mins(10);
/// What is not done so long after the last row was is not going to be.
const STRAGGLERS: Duration = Duration::from_secs(20);

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

/// Inserts the rows 1 to `count` of a series in one transaction; the last one's id.
pub(crate) async fn insert(database: &Path, series: &str, count: u32) -> anyhow::Result<i64> {
    let mut conn = connect(database).await?;
    let mut tx = conn.begin_with("BEGIN IMMEDIATE").await?;
    for number in 1..=count {
        insert_one(&mut tx, &notices::row(series, number)?).await?;
    }
    let last: (i64,) = sqlx::query_as("SELECT max(id) FROM outbox").fetch_one(&mut *tx).await?;
    tx.commit().await?;
    conn.close().await?;
    Ok(last.0)
}

/// Waits until no row up to `last` is anything but `status`.
pub(crate) async fn wait_for(
    database: &Path,
    daemon: &mut Daemon,
    last: i64,
    status: &str,
) -> anyhow::Result<()> {
    let mut conn = connect(database).await?;
    let started = Instant::now();
    // Rows are taken in order: while the last one waits, a single lookup tells that they are not done.
    loop {
        let found: (String,) =
            sqlx::query_as("SELECT status FROM outbox WHERE id = ?1").bind(last).fetch_one(&mut conn).await?;
        if found.0 == status {
            break;
        }
        daemon.still_runs()?;
        ensure!(started.elapsed() < DEADLINE, "the last row is {}{}", found.0, daemon.log_tail());
        tokio::time::sleep(LOOK_EVERY).await;
    }
    let last_done = Instant::now();
    loop {
        let others: (i64,) = sqlx::query_as("SELECT count(*) FROM outbox WHERE id <= ?1 AND status <> ?2")
            .bind(last)
            .bind(status)
            .fetch_one(&mut conn)
            .await?;
        if others.0 == 0 {
            return Ok(conn.close().await?);
        }
        let late = last_done.elapsed() >= STRAGGLERS;
        ensure!(!late, "{} rows are not {status}{}", others.0, daemon.log_tail());
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// What the history says of a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct History {
    /// From the first claim to the last answer recorded, in seconds.
    pub(crate) seconds: f64,
    /// Commits that took rows, at least: claims of one millisecond look like one.
    pub(crate) claims: u64,
}

/// Reads the history of the emission of all rows.
pub(crate) async fn history(database: &Path) -> anyhow::Result<History> {
    let mut conn = connect(database).await?;
    let span: (String, String) = sqlx::query_as(
        "SELECT (SELECT min(at) FROM transition WHERE to_status = 'EMITTING'),
                (SELECT max(at) FROM transition WHERE to_status = 'EMITTED')",
    )
    .fetch_one(&mut conn)
    .await?;
    let claims: (i64,) =
        sqlx::query_as("SELECT count(DISTINCT started_at) FROM attempt").fetch_one(&mut conn).await?;
    conn.close().await?;
    let span = DateTime::parse_from_rfc3339(&span.1)? - DateTime::parse_from_rfc3339(&span.0)?;
    Ok(History { seconds: span.as_seconds_f64(), claims: u64::try_from(claims.0)? })
}

/// Checks that every row was emitted once and that all the books agree; says what is wrong.
pub(crate) async fn audit(database: &Path, ledger: &Ledger, rows: u32) -> anyhow::Result<()> {
    let mut conn = connect(database).await?;
    let expected = i64::from(rows);
    let mut count = async |what: &str, sql: &'static str| {
        let found: (i64,) = sqlx::query_as(sql).fetch_one(&mut conn).await?;
        ensure!(found.0 == expected, "{what}: {} instead of {expected}", found.0);
        Ok(())
    };
    count("rows", "SELECT count(*) FROM outbox").await?;
    count("EMITTED rows", "SELECT count(*) FROM outbox WHERE status = 'EMITTED'").await?;
    count(
        "complete attempts",
        "SELECT count(DISTINCT outbox_id) FROM attempt WHERE operation = 'emit' AND outcome = 'ok'
         AND phase = 'answered' AND http_status = 200 AND duration_ms >= 0 AND tresorpay_reference =
             (SELECT tresorpay_reference FROM outbox WHERE id = outbox_id)",
    )
    .await?;
    count("attempts", "SELECT count(*) FROM attempt").await?;
    count(
        "complete histories",
        "SELECT count(*) FROM (SELECT group_concat(coalesce(from_status, '') || '>' || to_status) AS history
             FROM (SELECT * FROM transition ORDER BY outbox_id, id) GROUP BY outbox_id)
         WHERE history = '>PENDING,PENDING>EMITTING,EMITTING>EMITTED'",
    )
    .await?;
    let broken: (String,) = sqlx::query_as("PRAGMA quick_check(1)").fetch_one(&mut conn).await?;
    ensure!(broken.0 == "ok", "quick_check: {}", broken.0);
    let emitted: Vec<(String, String, i64)> =
        sqlx::query_as("SELECT reference, tresorpay_reference, net_total FROM outbox")
            .fetch_all(&mut conn)
            .await?;
    conn.close().await?;
    ensure!(ledger.notices.len() == emitted.len(), "the peer has {} notices", ledger.notices.len());
    let known: HashMap<&str, _> =
        ledger.notices.iter().map(|notice| (notice.reference.as_str(), notice)).collect();
    for (reference, tresorpay_reference, net_total) in emitted {
        match known.get(tresorpay_reference.as_str()) {
            Some(notice) if notice.client_reference == reference && notice.net_total == net_total => {}
            found => bail!("{reference} should be {tresorpay_reference}, where the peer has {found:?}"),
        }
    }
    Ok(())
}
