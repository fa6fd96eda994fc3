//! The first write of every start: what a crash left `EMITTING` is in doubt.

use sqlx::SqliteConnection;

use crate::{clock::Timestamp, notice::Source, tresorpay::ErrorCode};

const DOUBT: &str = "
    UPDATE outbox SET status = 'UNCERTAIN', status_source = ?1, status_reason = ?2, last_error = ?2,
                      updated_at = ?3, attempts = attempts + 1, next_attempt_at = NULL
    WHERE id IN (SELECT id FROM outbox INDEXED BY outbox_emitting WHERE status = 'EMITTING')";

pub(super) const CLOSE_ATTEMPTS: &str = "
    UPDATE attempt SET outcome = ?1, detail = 'the daemon ended before the answer was recorded'
    WHERE id IN (SELECT id FROM attempt INDEXED BY attempt_open WHERE outcome IS NULL)";

/// Moves every `EMITTING` row to `UNCERTAIN` and completes every open attempt as `interrupted`; how many rows moved.
pub(super) async fn recover(conn: &mut SqliteConnection, now: Timestamp) -> Result<u64, sqlx::Error> {
    let code = ErrorCode::Interrupted.as_str();
    let reason =
        format!("{code}: the daemon ended while the request was under way; it may have been carried out");
    let rows = sqlx::query(DOUBT)
        .bind(Source::Recovery.as_str())
        .bind(reason)
        .bind(now.to_string())
        .execute(&mut *conn)
        .await?
        .rows_affected();
    sqlx::query(CLOSE_ATTEMPTS).bind(code).execute(conn).await?;
    Ok(rows)
}
