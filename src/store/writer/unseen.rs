//! A COMMIT whose end nobody saw. SQLite may report a failure (of the disk's flush, say) although the frames stand in the
//! WAL and come to life later: so the next try first looks at what is there. Whatever records an answer may be applied
//! twice, since each statement names the attempt that it completes; a claim may not, or the rows of the first would be
//! `EMITTING` with nobody to send them.

use sqlx::SqliteConnection;

use crate::store::{
    ClaimedRow,
    turn::{claimed_rows, read_claimed},
};

const CLAIMED_SINCE: &str = concat!(
    claimed_rows!(),
    "
    FROM attempt AS a INDEXED BY attempt_open JOIN outbox AS o ON o.id = a.outbox_id
    WHERE a.outcome IS NULL AND a.operation = 'emit' AND a.id > ? AND o.status = 'EMITTING'"
);

/// Rows whose claim is committed and was never handed to anybody: their attempts come after `handed_over`, the last that
/// was. `conn` is within a write transaction.
pub(super) async fn claimed_since(
    conn: &mut SqliteConnection,
    handed_over: i64,
) -> Result<Vec<ClaimedRow>, sqlx::Error> {
    let rows: (String,) = sqlx::query_as(CLAIMED_SINCE).bind(handed_over).fetch_one(conn).await?;
    read_claimed(&rows.0)
}

/// Whether the database that was opened again is the one that was worked on: it knows the last attempt handed over.
pub(super) async fn knows(conn: &mut SqliteConnection, handed_over: i64) -> Result<bool, sqlx::Error> {
    let row: (i64,) = sqlx::query_as("SELECT coalesce(max(id), 0) FROM attempt").fetch_one(conn).await?;
    Ok(row.0 >= handed_over)
}

/// The attempt of this operation that a try whose end nobody saw has started for the row.
pub(in crate::store) async fn open_attempt(
    conn: &mut SqliteConnection,
    handed_over: i64,
    outbox_id: i64,
    operation: &str,
) -> Result<Option<i64>, sqlx::Error> {
    let open: Option<(i64,)> = sqlx::query_as(
        "SELECT id FROM attempt INDEXED BY attempt_open
         WHERE outbox_id = ?1 AND operation = ?2 AND outcome IS NULL AND id > ?3",
    )
    .bind(outbox_id)
    .bind(operation)
    .bind(handed_over)
    .fetch_optional(conn)
    .await?;
    Ok(open.map(|row| row.0))
}
