//! A COMMIT whose end nobody saw. SQLite may report a failure (of the disk's flush, say) although the frames stand in the
//! WAL and come to life later: so the next try first looks at what is there. Whatever records an answer may be applied
//! twice, since each statement names the attempt that it completes; a claim may not, or the rows of the first would be
//! `EMITTING` with nobody to send them.

use sqlx::{Row, SqliteConnection};

use crate::store::{ClaimedRow, turn::claimed_row};

/// In the order of [`claimed_row`], then the attempt.
const CLAIMED_SINCE: &str = "
    SELECT o.id, o.reference, o.code_client, o.code_structure, o.net_total, o.tax_payer, o.items,
           o.authorized_payment_modes, o.callback, o.redirect_url, a.id
    FROM attempt AS a INDEXED BY attempt_open JOIN outbox AS o ON o.id = a.outbox_id
    WHERE a.outcome IS NULL AND a.operation = 'emit' AND a.id > ?1 AND o.status = 'EMITTING'
    ORDER BY a.id";
const ATTEMPT_COLUMN: usize = 10;

/// Rows whose claim is committed and was never handed to anybody: their attempts come after `handed_over`, the last that
/// was. `conn` is within a write transaction.
pub(super) async fn claimed_since(
    conn: &mut SqliteConnection,
    handed_over: i64,
) -> Result<Vec<ClaimedRow>, sqlx::Error> {
    let rows = sqlx::query(CLAIMED_SINCE).bind(handed_over).fetch_all(conn).await?;
    rows.iter()
        .map(|row| Ok(ClaimedRow { attempt_id: row.try_get(ATTEMPT_COLUMN)?, ..claimed_row(row)? }))
        .collect()
}

/// Whether the database that was opened again is the one that was worked on: it knows the last attempt handed over.
pub(super) async fn knows(conn: &mut SqliteConnection, handed_over: i64) -> Result<bool, sqlx::Error> {
    let row: (i64,) = sqlx::query_as("SELECT coalesce(max(id), 0) FROM attempt").fetch_one(conn).await?;
    Ok(row.0 >= handed_over)
}
