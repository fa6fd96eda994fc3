//! One turn of the emission: results of finished requests and the marks of the next ones, in one transaction.
//!
//! A limit is written `?n + 0`: SQLite plans anew for each value of a bare parameter there, and with it compiles every
//! trigger again.

use std::{collections::HashMap, time::Duration};

use sqlx::{Row, SqliteConnection, SqlitePool};

use super::{StoreError, error::is_constraint};
use crate::{
    clock::Timestamp,
    notice::{Status, TresorPayReference},
    tresorpay::{ErrorCode, Phase},
};

/// Waiting rows that become due in one turn at the most; the rest follow in the next.
const PROMOTE_AT_ONCE: i64 = 500;

/// A request for rows to emit.
#[derive(Debug, Clone)]
pub struct Claim {
    /// How many requests may leave now.
    pub limit: usize,
    /// Now.
    pub now: Timestamp,
    /// `emit.max_attempts`.
    pub max_attempts: u32,
    /// `emit.max_uncertain`: nothing is claimed while as many rows wait for a decision.
    pub max_uncertain: u32,
    /// For rows without a code of their own.
    pub default_code_client: Option<String>,
    /// For rows without a code of their own.
    pub default_code_structure: Option<String>,
    /// Where the request will go.
    pub base_url: String,
}

/// When there is something to claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NextDue {
    /// A row is ready.
    Now,
    /// The first waiting row is due then.
    At(Timestamp),
    /// No row is `PENDING`.
    Never,
}

/// A row that is `EMITTING`, exactly as the commit left it: this is what is sent.
#[derive(Clone)]
pub struct ClaimedRow {
    /// `outbox.id`.
    pub outbox_id: i64,
    /// `attempt.id` of the request about to leave.
    pub attempt_id: i64,
    /// Columns of the same name.
    pub reference: String,
    /// NULL: the configured one.
    pub code_client: Option<String>,
    /// NULL: the configured one.
    pub code_structure: Option<String>,
    /// Whole XOF.
    pub net_total: i64,
    /// JSON.
    pub tax_payer: String,
    /// JSON.
    pub items: String,
    /// JSON.
    pub authorized_payment_modes: Option<String>,
    /// NULL: the configured one, if any.
    pub callback: Option<String>,
    /// NULL: the configured one, if any.
    pub redirect_url: Option<String>,
}

/// What became of one request.
#[derive(Debug, Clone)]
pub struct EmissionRecord {
    /// `outbox.id`.
    pub outbox_id: i64,
    /// `attempt.id`.
    pub attempt_id: i64,
    /// The status that follows.
    pub to: Status,
    /// Why, for the transition.
    pub reason: String,
    /// Whether `attempts` grows.
    pub counts: bool,
    /// How far the request got.
    pub phase: Phase,
    /// HTTP status of the answer.
    pub http_status: Option<u16>,
    /// Stable code.
    pub code: ErrorCode,
    /// For people, scrubbed.
    pub detail: Option<String>,
    /// The reference that TresorPay answered with; the row's own only if it is `EMITTED`.
    pub tresorpay_reference: Option<TresorPayReference>,
    /// Where the taxpayer pays.
    pub payment_url: Option<String>,
    /// From send to the end of the answer.
    pub duration: Duration,
    /// When the answer was complete.
    pub at: Timestamp,
    /// When the daemon next acts on the row.
    pub next_attempt_at: Option<Timestamp>,
}

impl EmissionRecord {
    /// The record for a reference that another row has: nobody knows what became of this row.
    fn foreign_reference(&self) -> Self {
        let said = self.tresorpay_reference.as_ref().map_or("", TresorPayReference::as_str);
        let detail = format!("TresorPay answered with the reference {said}, which belongs to another row");
        Self {
            to: Status::Uncertain,
            reason: format!("{}: {detail}", ErrorCode::ForeignReference.as_str()),
            code: ErrorCode::ForeignReference,
            detail: Some(detail),
            payment_url: None,
            next_attempt_at: None,
            ..self.clone()
        }
    }

    /// `last_error`: NULL when all is well.
    fn last_error(&self) -> Option<&str> {
        (self.code != ErrorCode::Ok).then_some(self.reason.as_str())
    }
}

/// Fields of a record's JSON array, in the order of the statements below.
type Fields<'a> = (
    i64,
    i64,
    &'static str,
    &'a str,
    u8,
    Option<String>,
    Option<&'a str>,
    Option<&'a str>,
    Option<&'a str>,
    String,
    &'static str,
    Option<u16>,
    &'static str,
    Option<&'a str>,
    i64,
    Option<&'a str>,
);

fn fields(record: &EmissionRecord) -> Fields<'_> {
    (
        record.outbox_id,
        record.attempt_id,
        record.to.as_str(),
        &record.reason,
        u8::from(record.counts),
        record.next_attempt_at.map(|at| at.to_string()),
        record.last_error(),
        (record.to == Status::Emitted)
            .then_some(record.tresorpay_reference.as_ref())
            .flatten()
            .map(TresorPayReference::as_str),
        record.payment_url.as_deref(),
        record.at.to_string(),
        record.phase.as_str(),
        record.http_status,
        record.code.as_str(),
        record.detail.as_deref(),
        i64::try_from(record.duration.as_millis()).unwrap_or(i64::MAX),
        record.tresorpay_reference.as_ref().map(TresorPayReference::as_str),
    )
}

/// Only a row that is `EMITTING` by the very attempt that was answered takes the result.
const RECORD_ROWS: &str = "
    UPDATE outbox SET
        status = r.value->>2, status_source = 'emit', status_reason = r.value->>3, updated_at = r.value->>9,
        attempts = attempts + (r.value->>4), next_attempt_at = r.value->>5, last_error = r.value->>6,
        tresorpay_reference = r.value->>7, payment_url = r.value->>8,
        emitted_at = CASE WHEN r.value->>2 = 'EMITTED' THEN r.value->>9 ELSE emitted_at END
    FROM json_each(?1) AS r
    WHERE outbox.id = r.value->>0 AND +outbox.status = 'EMITTING'
      AND EXISTS (SELECT 1 FROM attempt AS a
                  WHERE a.id = r.value->>1 AND a.outbox_id = outbox.id AND a.outcome IS NULL)";

const RECORD_ATTEMPTS: &str = "
    UPDATE attempt SET
        phase = r.value->>10, http_status = r.value->>11, outcome = r.value->>12, detail = r.value->>13,
        duration_ms = r.value->>14, tresorpay_reference = r.value->>15
    FROM json_each(?1) AS r
    WHERE attempt.id = r.value->>1 AND +attempt.outcome IS NULL";

/// The expression of the index `outbox_waiting`, letter by letter: when a waiting row is due.
macro_rules! due {
    () => {
        "max(coalesce(next_attempt_at, ''),
            CASE length(not_before) WHEN 20 THEN substr(not_before, 1, 19) || '.000Z' ELSE coalesce(not_before, '') END)"
    };
}

/// Rows whose time has come move to the claimable ones.
const PROMOTE: &str = concat!(
    "
    UPDATE outbox SET next_attempt_at = NULL, not_before_passed = not_before
    WHERE id IN (
        SELECT id FROM outbox INDEXED BY outbox_waiting
        WHERE status = 'PENDING' AND (next_attempt_at IS NOT NULL OR not_before IS NOT not_before_passed)
          AND ",
    due!(),
    " <= ?1 ORDER BY ",
    due!(),
    " LIMIT ?2 + 0)"
);

/// When there is something to claim: now (an empty text), later, or never (NULL).
const NEXT_DUE: &str = concat!(
    "
    SELECT CASE WHEN EXISTS (
        SELECT 1 FROM outbox INDEXED BY outbox_ready
        WHERE status = 'PENDING' AND next_attempt_at IS NULL AND not_before IS not_before_passed)
    THEN '' ELSE (
        SELECT ",
    due!(),
    " AS due FROM outbox INDEXED BY outbox_waiting
        WHERE status = 'PENDING' AND (next_attempt_at IS NOT NULL OR not_before IS NOT not_before_passed)
        ORDER BY due LIMIT 1)
    END"
);

const CLAIM: &str = "
    UPDATE outbox SET status = 'EMITTING', status_source = 'emit', status_reason = NULL, updated_at = ?1
    WHERE id IN (
        SELECT o.id FROM outbox AS o INDEXED BY outbox_ready
        WHERE o.status = 'PENDING' AND o.next_attempt_at IS NULL AND o.not_before IS o.not_before_passed
          AND o.attempts < ?2
          AND (SELECT count(*) FROM (SELECT 1 FROM outbox INDEXED BY outbox_uncertain
                                     WHERE status = 'UNCERTAIN' LIMIT ?3 + 0)) < ?3
          AND (o.replaces IS NULL OR NOT EXISTS (
                SELECT 1 FROM outbox AS r WHERE r.reference = o.replaces AND r.status <> 'CANCELED'))
          AND NOT EXISTS (SELECT 1 FROM command AS c INDEXED BY command_open
                          WHERE c.reference = o.reference AND c.action = 'cancel' AND c.done_at IS NULL)
        ORDER BY o.priority DESC, o.id LIMIT ?4 + 0)
    RETURNING id, reference, code_client, code_structure, net_total, tax_payer, items, authorized_payment_modes,
              callback, redirect_url";

const START_ATTEMPTS: &str = "
    INSERT INTO attempt (outbox_id, operation, code_client, code_structure, base_url, started_at)
    SELECT r.value->>0, 'emit', r.value->>1, r.value->>2, ?2, ?3 FROM json_each(?1) AS r
    RETURNING outbox_id, id";

/// When there is something to claim.
pub(super) async fn next_due(reads: &SqlitePool) -> Result<NextDue, StoreError> {
    let row: (Option<String>,) = sqlx::query_as(NEXT_DUE).fetch_one(reads).await?;
    Ok(match row.0 {
        None => NextDue::Never,
        // A row whose time cannot be read is looked at now, rather than never.
        Some(due) => Timestamp::parse(&due).map_or(NextDue::Now, NextDue::At),
    })
}

/// Reads the waiting rows alone.
const RATE_LIMITED_UNTIL: &str = "
    SELECT max(next_attempt_at) FROM outbox INDEXED BY outbox_waiting
    WHERE status = 'PENDING' AND (next_attempt_at IS NOT NULL OR not_before IS NOT not_before_passed)
      AND substr(last_error, 1, 13) = 'rate_limited:' AND next_attempt_at > ?1";

/// Reads the end of the table alone.
const LAST_ACCEPTED: &str = "
    SELECT max(started_at) FROM (SELECT started_at, operation, outcome FROM attempt ORDER BY id DESC LIMIT 1000)
    WHERE operation = 'emit' AND outcome = 'ok'";

pub(super) async fn rate_limited_until(
    reads: &SqlitePool,
    now: Timestamp,
) -> Result<Option<Timestamp>, StoreError> {
    let row: (Option<String>,) =
        sqlx::query_as(RATE_LIMITED_UNTIL).bind(now.to_string()).fetch_one(reads).await?;
    Ok(row.0.as_deref().and_then(Timestamp::parse))
}

pub(super) async fn last_accepted(reads: &SqlitePool) -> Result<Option<Timestamp>, StoreError> {
    let row: (Option<String>,) = sqlx::query_as(LAST_ACCEPTED).fetch_one(reads).await?;
    Ok(row.0.as_deref().and_then(Timestamp::parse))
}

/// Records what finished. A reference that another row has makes its record a doubt instead.
pub(super) async fn record(
    conn: &mut SqliteConnection,
    records: &[EmissionRecord],
) -> Result<(), sqlx::Error> {
    match record_all(conn, records).await {
        Err(error) if is_constraint(&error) => {
            for record in records {
                let one = std::slice::from_ref(record);
                match record_all(conn, one).await {
                    Err(error) if is_constraint(&error) && record.to == Status::Emitted => {
                        record_all(conn, &[record.foreign_reference()]).await?;
                    }
                    other => other?,
                }
            }
            Ok(())
        }
        other => other,
    }
}

async fn record_all(conn: &mut SqliteConnection, records: &[EmissionRecord]) -> Result<(), sqlx::Error> {
    if records.is_empty() {
        return Ok(());
    }
    let json = json(&records.iter().map(fields).collect::<Vec<_>>())?;
    let rows = sqlx::query(RECORD_ROWS).bind(&json).execute(&mut *conn).await?.rows_affected();
    if rows != records.len() as u64 {
        tracing::error!(
            answered = records.len(),
            recorded = rows,
            "an answer came for a row that is no longer under way; it is kept in `attempt` only"
        );
    }
    sqlx::query(RECORD_ATTEMPTS).bind(&json).execute(conn).await?;
    Ok(())
}

/// Takes up to `claim.limit` rows: `EMITTING`, each with its open attempt.
pub(super) async fn claim(
    conn: &mut SqliteConnection,
    claim: &Claim,
) -> Result<Vec<ClaimedRow>, sqlx::Error> {
    let now = claim.now.to_string();
    sqlx::query(PROMOTE).bind(&now).bind(PROMOTE_AT_ONCE).execute(&mut *conn).await?;
    let rows = sqlx::query(CLAIM)
        .bind(&now)
        .bind(claim.max_attempts)
        .bind(claim.max_uncertain)
        .bind(i64::try_from(claim.limit).unwrap_or(i64::MAX))
        .fetch_all(&mut *conn)
        .await?;
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let mut claimed = rows
        .into_iter()
        .map(|row| {
            Ok(ClaimedRow {
                outbox_id: row.try_get(0)?,
                attempt_id: 0,
                reference: row.try_get(1)?,
                code_client: row.try_get(2)?,
                code_structure: row.try_get(3)?,
                net_total: row.try_get(4)?,
                tax_payer: row.try_get(5)?,
                items: row.try_get(6)?,
                authorized_payment_modes: row.try_get(7)?,
                callback: row.try_get(8)?,
                redirect_url: row.try_get(9)?,
            })
        })
        .collect::<Result<Vec<_>, sqlx::Error>>()?;
    let attempts = start_attempts(conn, claim, &claimed, &now).await?;
    for row in &mut claimed {
        row.attempt_id = attempts.get(&row.outbox_id).copied().ok_or(sqlx::Error::RowNotFound)?;
    }
    Ok(claimed)
}

async fn start_attempts(
    conn: &mut SqliteConnection,
    claim: &Claim,
    claimed: &[ClaimedRow],
    now: &str,
) -> Result<HashMap<i64, i64>, sqlx::Error> {
    let rows: Vec<(i64, Option<&str>, Option<&str>)> = claimed
        .iter()
        .map(|row| {
            (
                row.outbox_id,
                row.code_client.as_deref().or(claim.default_code_client.as_deref()),
                row.code_structure.as_deref().or(claim.default_code_structure.as_deref()),
            )
        })
        .collect();
    let started: Vec<(i64, i64)> = sqlx::query_as(START_ATTEMPTS)
        .bind(json(&rows)?)
        .bind(&claim.base_url)
        .bind(now)
        .fetch_all(conn)
        .await?;
    Ok(started.into_iter().collect())
}

pub(super) fn json<T: serde::Serialize + ?Sized>(rows: &T) -> Result<String, sqlx::Error> {
    serde_json::to_string(rows).map_err(|error| sqlx::Error::Encode(Box::new(error)))
}

/// The last `attempt.id`, for the mark.
pub(super) async fn last_attempt(conn: &mut SqliteConnection) -> Result<i64, StoreError> {
    let last: (i64,) = sqlx::query_as("SELECT coalesce(max(id), 0) FROM attempt").fetch_one(conn).await?;
    Ok(last.0)
}
