//! Paid rows with something left to do: which are due, what they need, and what was done.

use sqlx::{FromRow, SqliteConnection, SqlitePool};

use super::{StoreError, writer::Operation};
use crate::clock::Timestamp;

/// A paid row, as what is left to do for it needs it.
#[derive(Debug, Clone, FromRow)]
#[expect(clippy::struct_excessive_bools, reason = "one for each column that is there or not")]
pub struct PaidCase {
    /// The row's own reference.
    pub reference: String,
    /// TresorPay's.
    pub tresorpay_reference: Option<String>,
    /// In XOF.
    pub net_total: i64,
    /// As TresorPay gave it.
    pub provider: Option<String>,
    paid_at: Option<String>,
    /// NULL: the configured one.
    pub callback: Option<String>,
    /// Retention took its personal data out.
    pub anonymised: bool,
    /// The delivery was confirmed.
    pub confirmed: bool,
    /// The receipt was fetched.
    pub has_receipt: bool,
    /// The row's own callback was called.
    pub called: bool,
}

impl PaidCase {
    /// When the payment was recorded.
    pub fn paid_at(&self) -> Option<Timestamp> {
        self.paid_at.as_deref().and_then(Timestamp::parse)
    }
}

/// What a visit to a paid row came to.
#[derive(Debug, Clone)]
pub struct PaidRecord {
    /// `outbox.id`.
    pub outbox_id: i64,
    /// When its own callback answered 2xx.
    pub called_at: Option<Timestamp>,
    /// What failed first; `None`: nothing did.
    pub last_error: Option<String>,
    /// When it is visited again; `None`: nothing is left to do.
    pub next_attempt_at: Option<Timestamp>,
}

/// A receipt is in its folder.
#[derive(Debug, Clone)]
pub struct ReceiptKept {
    /// `outbox.id`.
    pub outbox_id: i64,
    /// Relative to the receipts directory.
    pub path: String,
}

const CASE: &str = "
    SELECT reference, tresorpay_reference, net_total, provider, paid_at, callback, anonymised_at IS NOT NULL AS anonymised,
           delivery_confirmed_at IS NOT NULL AS confirmed, receipt_path IS NOT NULL AS has_receipt,
           callback_called_at IS NOT NULL AS called
    FROM outbox WHERE id = ?1 AND status = 'PAID'";

const DUE: &str = "
    SELECT id FROM outbox INDEXED BY outbox_paid_due
    WHERE status = 'PAID' AND next_attempt_at IS NOT NULL AND next_attempt_at <= ?1
    ORDER BY next_attempt_at LIMIT ?2 + 0";

/// While TresorPay does not answer: those whose own callback may be called all the same.
const DUE_TO_CALL: &str = "
    SELECT id FROM outbox INDEXED BY outbox_paid_due
    WHERE status = 'PAID' AND next_attempt_at IS NOT NULL AND next_attempt_at <= ?1
      AND callback_called_at IS NULL AND (callback IS NOT NULL OR ?3) AND paid_at > ?4
    ORDER BY next_attempt_at LIMIT ?2 + 0";

const NEXT: &str = "
    SELECT min(next_attempt_at) FROM outbox INDEXED BY outbox_paid_due
    WHERE status = 'PAID' AND next_attempt_at IS NOT NULL";

/// What was said of the notice itself stands longer than what failed after its payment.
const RECORD: &str = "
    UPDATE outbox SET
        callback_called_at = coalesce(callback_called_at, ?2),
        last_error = CASE WHEN status <> 'PAID' OR last_error LIKE 'amount\\_differs:%' ESCAPE '\\' THEN last_error ELSE ?3 END,
        next_attempt_at = CASE status WHEN 'PAID' THEN ?4 ELSE next_attempt_at END
    WHERE id = ?1";

const KEEP: &str = "
    UPDATE outbox SET receipt_path = ?2,
        last_error = CASE WHEN last_error LIKE 'receipt\\_failed:%' ESCAPE '\\' THEN NULL ELSE last_error END
    WHERE id = ?1 AND anonymised_at IS NULL";

/// Which callbacks may be called while TresorPay does not answer.
#[derive(Debug, Clone, Copy)]
pub struct Callable {
    /// Rows without one of their own have the configured one.
    pub by_default: bool,
    /// Paid after this.
    pub paid_after: Timestamp,
}

/// The row, if it is paid.
pub(super) async fn case(reads: &SqlitePool, outbox_id: i64) -> Result<Option<PaidCase>, StoreError> {
    Ok(sqlx::query_as(CASE).bind(outbox_id).fetch_optional(reads).await?)
}

/// `outbox.id` of up to `limit` rows that are due at `now`; `callable`: only those.
pub(super) async fn due(
    reads: &SqlitePool,
    now: Timestamp,
    limit: usize,
    callable: Option<Callable>,
) -> Result<Vec<i64>, StoreError> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let sql = if callable.is_some() { DUE_TO_CALL } else { DUE };
    let mut query = sqlx::query_as(sql).bind(now.to_string()).bind(limit);
    if let Some(callable) = callable {
        query = query.bind(callable.by_default).bind(callable.paid_after.to_string());
    }
    let rows: Vec<(i64,)> = query.fetch_all(reads).await?;
    Ok(rows.into_iter().map(|row| row.0).collect())
}

/// When the first row is due; `None`: none is.
pub(super) async fn next(reads: &SqlitePool) -> Result<Option<Timestamp>, StoreError> {
    let row: (Option<String>,) = sqlx::query_as(NEXT).fetch_one(reads).await?;
    Ok(row.0.map(|at| Timestamp::parse(&at).unwrap_or_else(Timestamp::now)))
}

impl Operation for PaidRecord {
    type Output = ();

    async fn carry_out(&self, conn: &mut SqliteConnection, _again: Option<i64>) -> Result<(), sqlx::Error> {
        sqlx::query(RECORD)
            .bind(self.outbox_id)
            .bind(self.called_at.map(|at| at.to_string()))
            .bind(&self.last_error)
            .bind(self.next_attempt_at.map(|at| at.to_string()))
            .execute(conn)
            .await?;
        Ok(())
    }
}

impl Operation for ReceiptKept {
    type Output = ();

    async fn carry_out(&self, conn: &mut SqliteConnection, _again: Option<i64>) -> Result<(), sqlx::Error> {
        sqlx::query(KEEP).bind(self.outbox_id).bind(&self.path).execute(conn).await?;
        Ok(())
    }
}
