//! Confirmations of delivery: committed before they leave, completed once, and what follows for the row.

use std::time::Duration;

use sqlx::{FromRow, SqliteConnection, SqlitePool};

use super::{
    StoreError,
    writer::{Answered, Operation, open_attempt},
};
use crate::{
    clock::Timestamp,
    tresorpay::{ErrorCode, Phase},
};

/// A paid row whose delivery is not confirmed, with what its confirmation needs.
#[derive(Debug, Clone, FromRow)]
pub struct ConfirmCase {
    /// `outbox.id`.
    pub outbox_id: i64,
    /// TresorPay's reference.
    pub tresorpay_reference: String,
    /// As the emission sent it, or the row's; `None`: the configured one.
    pub code_client: Option<String>,
    /// As the emission sent it, or the row's; `None`: the configured one.
    pub code_structure: Option<String>,
}

/// A confirmation that is about to leave.
#[derive(Debug, Clone)]
pub struct ConfirmStart {
    /// `outbox.id`.
    pub outbox_id: i64,
    /// As it will be sent.
    pub code_client: String,
    /// As it will be sent.
    pub code_structure: String,
    /// Where it will go.
    pub base_url: String,
    /// Now.
    pub at: Timestamp,
}

/// What became of a confirmation.
#[derive(Debug, Clone)]
pub struct ConfirmRecord {
    /// `outbox.id`.
    pub outbox_id: i64,
    /// `attempt.id`.
    pub attempt_id: i64,
    /// It holds.
    pub confirmed: bool,
    /// How far the request got.
    pub phase: Phase,
    /// HTTP status of the answer.
    pub http_status: Option<u16>,
    /// Stable code.
    pub code: ErrorCode,
    /// For people.
    pub detail: Option<String>,
    /// From send to the end of the answer.
    pub duration: Duration,
    /// When the answer was complete.
    pub at: Timestamp,
}

impl Operation for ConfirmStart {
    type Output = Option<i64>;

    async fn carry_out(
        &self,
        conn: &mut SqliteConnection,
        again: Option<i64>,
    ) -> Result<Option<i64>, sqlx::Error> {
        begin(conn, self, again).await
    }

    fn started(attempt: &Option<i64>) -> Option<i64> {
        *attempt
    }
}

impl Operation for ConfirmRecord {
    type Output = ();

    async fn carry_out(&self, conn: &mut SqliteConnection, _again: Option<i64>) -> Result<(), sqlx::Error> {
        end(conn, self).await
    }

    fn answered(&self) -> Option<Answered<'_>> {
        Some(Answered {
            outbox_id: self.outbox_id,
            attempt_id: self.attempt_id,
            code: self.code,
            tresorpay_reference: None,
        })
    }
}

const CASE: &str = "
    SELECT o.id AS outbox_id, o.tresorpay_reference, coalesce(a.code_client, o.code_client) AS code_client,
           coalesce(a.code_structure, o.code_structure) AS code_structure
    FROM outbox AS o LEFT JOIN attempt AS a ON a.id = (
        SELECT max(id) FROM attempt INDEXED BY attempt_outbox
        WHERE outbox_id = o.id AND operation = 'emit' AND outcome = 'ok')
    WHERE o.id = ?1 AND o.status = 'PAID' AND o.delivery_confirmed_at IS NULL AND o.tresorpay_reference IS NOT NULL";

const START: &str = "
    INSERT INTO attempt (outbox_id, operation, code_client, code_structure, base_url, started_at)
    SELECT id, 'confirm', ?2, ?3, ?4, ?5 FROM outbox
    WHERE id = ?1 AND status = 'PAID' AND delivery_confirmed_at IS NULL
      AND NOT EXISTS (SELECT 1 FROM attempt INDEXED BY attempt_open
                      WHERE outbox_id = ?1 AND operation = 'confirm' AND outcome IS NULL)
    RETURNING id";

const COMPLETE: &str = "
    UPDATE attempt SET phase = ?2, http_status = ?3, outcome = ?4, detail = ?5, duration_ms = ?6
    WHERE id = ?1 AND outcome IS NULL";

/// What was confirmed stays confirmed, whatever the row has become meanwhile.
const CONFIRMED: &str = "
    UPDATE outbox SET delivery_confirmed_at = ?2,
        last_error = CASE WHEN last_error LIKE '%: the delivery could not be confirmed: %' THEN NULL ELSE last_error END
    WHERE id = ?1 AND delivery_confirmed_at IS NULL";

const FAILED: &str = "
    UPDATE outbox SET last_error = ?2
    WHERE id = ?1 AND status = 'PAID' AND (last_error IS NULL OR last_error NOT LIKE 'amount\\_differs:%' ESCAPE '\\')";

/// The row as its confirmation needs it; `None` if there is nothing to confirm.
pub(super) async fn case(reads: &SqlitePool, outbox_id: i64) -> Result<Option<ConfirmCase>, StoreError> {
    Ok(sqlx::query_as(CASE).bind(outbox_id).fetch_optional(reads).await?)
}

/// The open attempt of a confirmation that may now leave; `None` if there is nothing to confirm any more.
pub(super) async fn begin(
    conn: &mut SqliteConnection,
    start: &ConfirmStart,
    again: Option<i64>,
) -> Result<Option<i64>, sqlx::Error> {
    if let Some(handed_over) = again
        && let Some(open) = open_attempt(conn, handed_over, start.outbox_id, "confirm").await?
    {
        return Ok(Some(open));
    }
    let started: Option<(i64,)> = sqlx::query_as(START)
        .bind(start.outbox_id)
        .bind(&start.code_client)
        .bind(&start.code_structure)
        .bind(&start.base_url)
        .bind(start.at.to_string())
        .fetch_optional(conn)
        .await?;
    Ok(started.map(|row| row.0))
}

/// Completes the attempt, and tells the row.
pub(super) async fn end(conn: &mut SqliteConnection, record: &ConfirmRecord) -> Result<(), sqlx::Error> {
    sqlx::query(COMPLETE)
        .bind(record.attempt_id)
        .bind(record.phase.as_str())
        .bind(record.http_status)
        .bind(record.code.as_str())
        .bind(&record.detail)
        .bind(i64::try_from(record.duration.as_millis()).unwrap_or(i64::MAX))
        .execute(&mut *conn)
        .await?;
    if record.confirmed {
        sqlx::query(CONFIRMED).bind(record.outbox_id).bind(record.at.to_string()).execute(conn).await?;
        return Ok(());
    }
    let detail = record.detail.as_deref().unwrap_or_default();
    let said = format!("{}: the delivery could not be confirmed: {detail}", record.code.as_str());
    sqlx::query(FAILED).bind(record.outbox_id).bind(said).execute(conn).await?;
    Ok(())
}
