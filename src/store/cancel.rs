//! Cancels: committed before they leave, completed once, and the row moved in the same commit.

use std::time::Duration;

use sqlx::SqliteConnection;

use super::{
    SentTo,
    evidence::{self, Adoption},
    writer::{Answered, Operation, open_attempt},
};
use crate::{
    clock::Timestamp,
    notice::{Source, Status, TresorPayReference},
    tresorpay::{ErrorCode, Phase},
};

/// A cancel that is about to leave.
#[derive(Debug, Clone)]
pub struct CancelStart {
    /// `outbox.id`.
    pub outbox_id: i64,
    /// The status that the row must have, and no request under way; else nothing leaves.
    pub expected: Status,
    /// Where it will go, and with which codes.
    pub sent_to: SentTo,
    /// Now.
    pub at: Timestamp,
}

/// A word on a row in doubt that no request was sent for.
#[derive(Debug, Clone)]
pub struct DoubtNote {
    /// `outbox.id`; a row that is not `UNCERTAIN` any more is left alone.
    pub outbox_id: i64,
    /// `last_error`; `None`: as it is.
    pub last_error: Option<String>,
    /// When the daemon next acts on it; `None`: not by itself.
    pub next_attempt_at: Option<Timestamp>,
}

/// What became of a cancel.
#[derive(Debug, Clone)]
pub struct CancelRecord {
    /// `outbox.id`.
    pub outbox_id: i64,
    /// `attempt.id`.
    pub attempt_id: i64,
    /// The status that the row had; one that has moved meanwhile is left alone.
    pub expected: Status,
    /// How far the request got.
    pub phase: Phase,
    /// HTTP status of the answer.
    pub http_status: Option<u16>,
    /// Stable code. `ok` and `nothing_live` are proof that nothing live was left.
    pub code: ErrorCode,
    /// For people, scrubbed.
    pub detail: Option<String>,
    /// The notice that TresorPay named.
    pub tresorpay_reference: Option<TresorPayReference>,
    /// From send to the end of the answer.
    pub duration: Duration,
    /// When the answer was complete.
    pub at: Timestamp,
    /// Who caused it, for the transition.
    pub source: Source,
    /// What follows for the row.
    pub then: AfterCancel,
}

/// What follows from a cancel for its row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AfterCancel {
    /// It moves: to `PENDING` or `CANCELED`.
    Moves {
        /// The new status.
        to: Status,
        /// Why, for the transition.
        reason: String,
        /// Why it is then `REJECTED`, in the same commit.
        rejected: Option<String>,
    },
    /// TresorPay has it: `EMITTED`, asked about at once.
    Adopted {
        /// What TresorPay calls it.
        reference: TresorPayReference,
        /// Where the taxpayer pays.
        payment_url: String,
        /// Why, for the transition.
        reason: String,
    },
    /// It stays as it is.
    Stays {
        /// `last_error`.
        last_error: String,
        /// When the daemon next acts on it; `None`: not by itself.
        next_attempt_at: Option<Timestamp>,
    },
}

impl Operation for CancelStart {
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

impl Operation for CancelRecord {
    type Output = Option<AfterCancel>;

    async fn carry_out(
        &self,
        conn: &mut SqliteConnection,
        _again: Option<i64>,
    ) -> Result<Option<AfterCancel>, sqlx::Error> {
        end(conn, self).await
    }

    fn answered(&self) -> Option<Answered<'_>> {
        Some(Answered {
            outbox_id: self.outbox_id,
            attempt_id: self.attempt_id,
            code: self.code,
            tresorpay_reference: self.tresorpay_reference.as_ref(),
        })
    }
}

impl Operation for DoubtNote {
    type Output = ();

    async fn carry_out(&self, conn: &mut SqliteConnection, _again: Option<i64>) -> Result<(), sqlx::Error> {
        note(conn, self).await
    }
}

const START: &str = "
    INSERT INTO attempt (outbox_id, operation, code_client, code_structure, base_url, started_at)
    SELECT o.id, 'cancel', ?1, ?2, ?3, ?4 FROM outbox AS o
    WHERE o.id = ?5 AND o.status = ?6
      AND NOT EXISTS (SELECT 1 FROM attempt AS a INDEXED BY attempt_open
                      WHERE a.outbox_id = o.id AND a.outcome IS NULL)
    RETURNING id";

const COMPLETE: &str = "
    UPDATE attempt SET phase = ?1, http_status = ?2, outcome = ?3, detail = ?4, duration_ms = ?5,
                       tresorpay_reference = ?6
    WHERE id = ?7 AND outcome IS NULL";

const MOVE: &str = "
    UPDATE outbox SET status = ?1, status_source = ?2, status_reason = ?3, updated_at = ?4, last_error = ?5,
                      next_attempt_at = NULL,
                      canceled_at = CASE WHEN ?1 = 'CANCELED' THEN ?4 ELSE canceled_at END
    WHERE id = ?6 AND status = ?7";

const STAY: &str = "
    UPDATE outbox SET last_error = ?1, next_attempt_at = ?2 WHERE id = ?3 AND status = ?4";

const NOTE: &str = "
    UPDATE outbox SET last_error = coalesce(?1, last_error), next_attempt_at = ?2
    WHERE id = ?3 AND status = 'UNCERTAIN'";

pub(super) async fn note(conn: &mut SqliteConnection, note: &DoubtNote) -> Result<(), sqlx::Error> {
    sqlx::query(NOTE)
        .bind(&note.last_error)
        .bind(note.next_attempt_at.map(|at| at.to_string()))
        .bind(note.outbox_id)
        .execute(conn)
        .await?;
    Ok(())
}

/// The open attempt of a cancel that may now leave; `None` if the row is not as expected any more.
pub(super) async fn begin(
    conn: &mut SqliteConnection,
    start: &CancelStart,
    again: Option<i64>,
) -> Result<Option<i64>, sqlx::Error> {
    if let Some(handed_over) = again
        && let Some(open) = open_attempt(conn, handed_over, start.outbox_id, "cancel").await?
    {
        return Ok(Some(open));
    }
    let started: Option<(i64,)> = sqlx::query_as(START)
        .bind(&start.sent_to.code_client)
        .bind(&start.sent_to.code_structure)
        .bind(&start.sent_to.base_url)
        .bind(start.at.to_string())
        .bind(start.outbox_id)
        .bind(start.expected.as_str())
        .fetch_optional(conn)
        .await?;
    Ok(started.map(|row| row.0))
}

/// Completes the attempt and moves the row; what followed for it, `None` if the row had moved meanwhile.
pub(super) async fn end(
    conn: &mut SqliteConnection,
    record: &CancelRecord,
) -> Result<Option<AfterCancel>, sqlx::Error> {
    let mut record = record.clone();
    if let Some(reference) = &record.tresorpay_reference
        && evidence::is_anothers(conn, record.outbox_id, reference).await?
    {
        record.foreign_reference();
    }
    if !complete(conn, &record).await? {
        tracing::error!(attempt_id = record.attempt_id, "a cancel was answered that is completed already");
        return Ok(None);
    }
    let expected = record.expected.as_str();
    let moved = match &record.then {
        AfterCancel::Moves { to, reason, rejected } => {
            let moved = change_status(conn, &record, *to, reason, None).await?;
            if let Some(why) = rejected.as_ref().filter(|_| moved == 1) {
                let from = CancelRecord { expected: *to, ..record.clone() };
                change_status(conn, &from, Status::Rejected, why, Some(why)).await?;
            }
            moved
        }
        AfterCancel::Adopted { reference, payment_url, reason } => {
            let adoption = Adoption {
                outbox_id: record.outbox_id,
                expected: record.expected,
                notice: reference,
                payment_url,
                source: record.source,
                reason,
                at: record.at,
                beside_requests: false,
            };
            u64::from(evidence::adopt(conn, &adoption).await?)
        }
        AfterCancel::Stays { last_error, next_attempt_at } => sqlx::query(STAY)
            .bind(last_error)
            .bind(next_attempt_at.map(|at| at.to_string()))
            .bind(record.outbox_id)
            .bind(expected)
            .execute(conn)
            .await?
            .rows_affected(),
    };
    Ok((moved == 1).then_some(record.then))
}

async fn complete(conn: &mut SqliteConnection, record: &CancelRecord) -> Result<bool, sqlx::Error> {
    let completed = sqlx::query(COMPLETE)
        .bind(record.phase.as_str())
        .bind(record.http_status)
        .bind(record.code.as_str())
        .bind(&record.detail)
        .bind(i64::try_from(record.duration.as_millis()).unwrap_or(i64::MAX))
        .bind(record.tresorpay_reference.as_ref().map(TresorPayReference::as_str))
        .bind(record.attempt_id)
        .execute(conn)
        .await?
        .rows_affected();
    Ok(completed == 1)
}

async fn change_status(
    conn: &mut SqliteConnection,
    record: &CancelRecord,
    to: Status,
    reason: &str,
    last_error: Option<&str>,
) -> Result<u64, sqlx::Error> {
    let done = sqlx::query(MOVE)
        .bind(to.as_str())
        .bind(record.source.as_str())
        .bind(reason)
        .bind(record.at.to_string())
        .bind(last_error)
        .bind(record.outbox_id)
        .bind(record.expected.as_str())
        .execute(conn)
        .await?;
    Ok(done.rows_affected())
}

impl CancelRecord {
    /// TresorPay answered about another row's notice: it proves nothing of this one, and somebody must look.
    fn foreign_reference(&mut self) {
        let named = self.tresorpay_reference.as_ref().map_or("", TresorPayReference::as_str);
        let detail =
            format!("TresorPay answered a cancel with the reference {named}, which belongs to another row");
        tracing::error!(outbox_id = self.outbox_id, "{detail}; its own notice may have been canceled");
        self.code = ErrorCode::ForeignReference;
        let last_error = format!("{}: {detail}", self.code.as_str());
        let next_attempt_at = (self.expected == Status::Emitted).then_some(self.at);
        self.then = AfterCancel::Stays { last_error, next_attempt_at };
        self.detail = Some(detail);
    }
}
