//! A COMMIT whose end nobody saw. SQLite may report a failure (of the disk's flush, say) although the frames stand in the
//! WAL and come to life later: so the next try first looks at what is there. Whatever records an answer may be applied
//! twice, since each statement names the attempt that it completes; a claim may not, or the rows of the first would be
//! `EMITTING` with nobody to send them.

use sqlx::{Row, SqliteConnection, sqlite::SqliteRow};

use crate::store::ClaimedRow;

const CLAIMED_SINCE: &str = "
    SELECT o.id AS outbox_id, a.id AS attempt_id, o.reference, o.code_client, o.code_structure, o.net_total,
           o.tax_payer, o.items, o.authorized_payment_modes, o.callback, o.redirect_url
    FROM attempt AS a INDEXED BY attempt_open JOIN outbox AS o ON o.id = a.outbox_id
    WHERE a.outcome IS NULL AND a.operation = 'emit' AND a.id > ?1 AND o.status = 'EMITTING'
    ORDER BY a.id";

/// Rows whose claim is committed and was never handed to anybody: their attempts come after `handed_over`, the last that
/// was. `conn` is within a write transaction.
pub(super) async fn claimed_since(
    conn: &mut SqliteConnection,
    handed_over: i64,
) -> Result<Vec<ClaimedRow>, sqlx::Error> {
    let rows = sqlx::query(CLAIMED_SINCE).bind(handed_over).fetch_all(conn).await?;
    rows.iter().map(claimed_row).collect()
}

fn claimed_row(row: &SqliteRow) -> Result<ClaimedRow, sqlx::Error> {
    Ok(ClaimedRow {
        outbox_id: row.try_get("outbox_id")?,
        attempt_id: row.try_get("attempt_id")?,
        reference: row.try_get("reference")?,
        code_client: row.try_get("code_client")?,
        code_structure: row.try_get("code_structure")?,
        net_total: row.try_get("net_total")?,
        tax_payer: row.try_get("tax_payer")?,
        items: row.try_get("items")?,
        authorized_payment_modes: row.try_get("authorized_payment_modes")?,
        callback: row.try_get("callback")?,
        redirect_url: row.try_get("redirect_url")?,
    })
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
