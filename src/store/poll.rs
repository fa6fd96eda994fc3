//! Notices to ask about, and what TresorPay said of them.

use sqlx::{SqliteConnection, SqlitePool};

use super::{StoreError, json};
use crate::{
    clock::Timestamp,
    notice::{Source, Status, TresorPayReference},
};

/// A notice whose turn it is to be asked about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DueNotice {
    /// `outbox.id`.
    pub outbox_id: i64,
    /// TresorPay's reference.
    pub reference: TresorPayReference,
    /// When it was emitted.
    pub emitted_at: Timestamp,
}

/// What a poll told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PollOutcome {
    /// A move to `PAID` or `CANCELED`.
    Moved {
        /// The new status.
        to: Status,
        /// As TresorPay gave it.
        provider: Option<String>,
        /// As TresorPay gave it.
        pay_date: Option<String>,
        /// Why, for the transition.
        reason: String,
        /// When the daemon next acts on the row of itself; `None`: it is finished.
        next: Option<Timestamp>,
        /// What a person should look at all the same; `None` when all is well.
        last_error: Option<String>,
    },
    /// Nothing new.
    Unchanged {
        /// When to ask again; `None`: no more of itself.
        next: Option<Timestamp>,
        /// For people; `None` when all is well.
        last_error: Option<String>,
    },
}

/// The outcome for one notice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PollRecord {
    /// `outbox.id`.
    pub outbox_id: i64,
    /// The reference that was asked about; a row that has another by now is left alone.
    pub reference: TresorPayReference,
    /// What it told.
    pub outcome: PollOutcome,
    /// When the answer came.
    pub at: Timestamp,
    /// What had TresorPay asked: polling, or its callback.
    pub source: Source,
}

const DUE: &str = "
    SELECT id, tresorpay_reference, emitted_at FROM outbox INDEXED BY outbox_emitted
    WHERE status = 'EMITTED' AND next_attempt_at <= ?1 ORDER BY next_attempt_at LIMIT ?2 + 0";

const RECORD_MOVES: &str = "
    UPDATE outbox SET
        status = r.value->>2, status_source = r.value->>8, status_reason = r.value->>5, updated_at = r.value->>6,
        provider = coalesce(r.value->>3, provider), pay_date = coalesce(r.value->>4, pay_date),
        paid_at = CASE WHEN r.value->>2 = 'PAID' THEN r.value->>6 ELSE paid_at END,
        canceled_at = CASE WHEN r.value->>2 = 'CANCELED' THEN r.value->>6 ELSE canceled_at END,
        next_attempt_at = r.value->>7, last_error = r.value->>9
    FROM json_each(?1) AS r
    WHERE outbox.id = r.value->>0 AND +outbox.status = 'EMITTED' AND +outbox.tresorpay_reference = r.value->>1";

const RECORD_UNCHANGED: &str = "
    UPDATE outbox SET next_attempt_at = r.value->>2, last_error = r.value->>3
    FROM json_each(?1) AS r
    WHERE outbox.id = r.value->>0 AND +outbox.status = 'EMITTED' AND +outbox.tresorpay_reference = r.value->>1";

/// Up to `limit` notices that are due at `now`, the longest overdue first.
pub(super) async fn due(
    reads: &SqlitePool,
    now: Timestamp,
    limit: usize,
) -> Result<Vec<DueNotice>, StoreError> {
    let rows: Vec<(i64, Option<String>, Option<String>)> = sqlx::query_as(DUE)
        .bind(now.to_string())
        .bind(i64::try_from(limit).unwrap_or(i64::MAX))
        .fetch_all(reads)
        .await?;
    rows.into_iter()
        .map(|(outbox_id, reference, emitted_at)| {
            let broken = |why: &str| StoreError::Row { id: outbox_id, why: why.to_owned() };
            let reference = reference.ok_or_else(|| broken("EMITTED without tresorpay_reference"))?;
            Ok(DueNotice {
                outbox_id,
                reference: TresorPayReference::parse(&reference)
                    .map_err(|error| broken(&error.to_string()))?,
                emitted_at: emitted_at
                    .as_deref()
                    .and_then(Timestamp::parse)
                    .ok_or_else(|| broken("EMITTED without a readable emitted_at"))?,
            })
        })
        .collect()
}

/// Records what polls told.
pub(super) async fn record(conn: &mut SqliteConnection, records: &[PollRecord]) -> Result<(), sqlx::Error> {
    let mut moves = Vec::new();
    let mut unchanged = Vec::new();
    for record in records {
        let (id, reference) = (record.outbox_id, record.reference.as_str());
        match &record.outcome {
            PollOutcome::Moved { to, provider, pay_date, reason, next, last_error } => {
                let (at, next) = (record.at.to_string(), next.map(|at| at.to_string()));
                let source = record.source.as_str();
                moves.push((
                    id,
                    reference,
                    to.as_str(),
                    provider,
                    pay_date,
                    reason,
                    at,
                    next,
                    source,
                    last_error,
                ));
            }
            PollOutcome::Unchanged { next, last_error } => {
                unchanged.push((id, reference, next.map(|at| at.to_string()), last_error));
            }
        }
    }
    if !moves.is_empty() {
        sqlx::query(RECORD_MOVES).bind(json(&moves)?).execute(&mut *conn).await?;
    }
    if !unchanged.is_empty() {
        sqlx::query(RECORD_UNCHANGED).bind(json(&unchanged)?).execute(conn).await?;
    }
    Ok(())
}
