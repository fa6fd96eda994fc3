//! One turn of the emission: results of finished requests and the marks of the next ones, in one transaction.
//!
//! Statements go to SQLite's thread several in one text, so that a turn costs a few hand-overs and not dozens; each `?`
//! takes the next argument. A limit is written `? + 0`: SQLite plans anew for each value of a bare parameter there,
//! and with it compiles every trigger again.

use std::collections::{HashMap, HashSet};

use futures_util::TryStreamExt;
use sqlx::{
    Arguments as _, AssertSqlSafe, Either, Encode, Executor, Row, Sqlite, SqliteConnection, Type,
    sqlite::{SqliteArguments, SqliteRow},
};

use super::{Claim, ClaimedRow, EmissionRecord, queue::due};
use crate::notice::{Status, TresorPayReference};

/// Waiting rows that become due in one turn at the most; the rest follow in the next.
const PROMOTE_AT_ONCE: i64 = 500;

/// Only a row that is `EMITTING` by the very attempt that was answered takes the result. One row a statement: an UPDATE
/// of many needs a temporary table, which costs more than some rows.
const RECORD_ROW: &str = "
    UPDATE outbox SET
        status = ?, status_source = 'emit', status_reason = ?, updated_at = ?, attempts = attempts + ?,
        next_attempt_at = ?, last_error = ?, tresorpay_reference = ?, payment_url = ?,
        emitted_at = coalesce(?, emitted_at)
    WHERE id = ? AND +status = 'EMITTING'
      AND EXISTS (SELECT 1 FROM attempt AS a WHERE a.id = ? AND a.outbox_id = outbox.id AND a.outcome IS NULL)";

const RECORD_ATTEMPT: &str = "
    UPDATE attempt SET phase = ?, http_status = ?, outcome = ?, detail = ?, duration_ms = ?, tresorpay_reference = ?
    WHERE id = ? AND +outcome IS NULL";

/// Records that go in one text, the most first; few sizes, so that the prepared statements stay few.
const RECORDS_AT_ONCE: [usize; 4] = [8, 4, 2, 1];

/// Rows whose time has come move to the claimable ones.
const PROMOTE: &str = concat!(
    "
    UPDATE outbox SET next_attempt_at = NULL, not_before_passed = not_before
    WHERE id IN (
        SELECT id FROM outbox INDEXED BY outbox_waiting
        WHERE status = 'PENDING' AND (next_attempt_at IS NOT NULL OR not_before IS NOT not_before_passed)
          AND ",
    due!(),
    " <= ? ORDER BY ",
    due!(),
    " LIMIT ? + 0)"
);

const CLAIM: &str = "
    UPDATE outbox SET status = 'EMITTING', status_source = 'emit', status_reason = NULL, updated_at = ?
    WHERE id IN (
        SELECT o.id FROM outbox AS o INDEXED BY outbox_ready
        WHERE o.status = 'PENDING' AND o.next_attempt_at IS NULL AND o.not_before IS o.not_before_passed
          AND o.attempts < ?
          AND (SELECT count(*) FROM (SELECT 1 FROM outbox INDEXED BY outbox_uncertain
                                     WHERE status = 'UNCERTAIN' LIMIT ? + 0)) < ?
          AND (o.replaces IS NULL OR NOT EXISTS (
                SELECT 1 FROM outbox AS r WHERE r.reference = o.replaces AND r.status <> 'CANCELED'))
          AND NOT EXISTS (SELECT 1 FROM command AS c INDEXED BY command_open
                          WHERE c.reference = o.reference AND c.action = 'cancel' AND c.done_at IS NULL)
        ORDER BY o.priority DESC, o.id LIMIT ? + 0)
    RETURNING id, reference, code_client, code_structure, net_total, tax_payer, items, authorized_payment_modes,
              callback, redirect_url";

/// Every row that is `EMITTING` without an open attempt was claimed just now.
const START_ATTEMPTS: &str = "
    INSERT INTO attempt (outbox_id, operation, code_client, code_structure, base_url, started_at)
    SELECT o.id, 'emit', coalesce(o.code_client, ?), coalesce(o.code_structure, ?), ?, ?
    FROM outbox AS o INDEXED BY outbox_emitting
    WHERE o.status = 'EMITTING' AND NOT EXISTS (
        SELECT 1 FROM attempt AS a INDEXED BY attempt_open
        WHERE a.outbox_id = o.id AND a.operation = 'emit' AND a.outcome IS NULL)
    RETURNING outbox_id, id";

/// Columns that [`START_ATTEMPTS`] returns; [`CLAIM`] returns more.
const ATTEMPT_COLUMNS: usize = 2;

/// Whether a turn opens and closes the transaction that it runs in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bracket {
    pub(super) begin: bool,
    pub(super) commit: bool,
}

/// Records what finished, then takes up to `claim.limit` rows: `EMITTING`, each with its open attempt.
pub(super) async fn turn(
    conn: &mut SqliteConnection,
    records: &[EmissionRecord],
    claim: Option<&Claim>,
    bracket: Bracket,
) -> Result<Vec<ClaimedRow>, sqlx::Error> {
    let mut script = Script::default();
    if bracket.begin {
        script.statements.push("BEGIN IMMEDIATE");
    }
    let mut rest = records;
    while let Some(size) = RECORDS_AT_ONCE.into_iter().find(|size| *size <= rest.len()) {
        let (now, later) = rest.split_at(size);
        for record in now {
            script.add_record(record)?;
        }
        script.run(conn).await?;
        rest = later;
    }
    if let Some(claim) = claim {
        script.add_claim(claim)?;
    }
    if bracket.commit {
        script.statements.push("COMMIT");
    }
    script.run(conn).await?;
    if script.recorded != records.len() as u64 {
        tracing::error!(
            answered = records.len(),
            recorded = script.recorded,
            "an answer came for a row that is no longer under way; it is kept in `attempt` only"
        );
    }
    let attempts = script.attempts;
    for row in &mut script.claimed {
        row.attempt_id = attempts.get(&row.outbox_id).copied().ok_or(sqlx::Error::RowNotFound)?;
    }
    Ok(script.claimed)
}

/// Statements to run next with, in their order, their arguments; and what those before them have told.
#[derive(Default)]
struct Script {
    statements: Vec<&'static str>,
    arguments: SqliteArguments,
    recorded: u64,
    claimed: Vec<ClaimedRow>,
    attempts: HashMap<i64, i64>,
}

impl Script {
    fn add<'q, T: Encode<'q, Sqlite> + Type<Sqlite>>(&mut self, value: T) -> Result<(), sqlx::Error> {
        self.arguments.add(value).map_err(sqlx::Error::Encode)
    }

    /// In the order of [`RECORD_ROW`] and [`RECORD_ATTEMPT`].
    fn add_record(&mut self, record: &EmissionRecord) -> Result<(), sqlx::Error> {
        let emitted = record.to == Status::Emitted;
        let at = record.at.to_string();
        let answered = record.tresorpay_reference.as_ref().map(TresorPayReference::as_str);
        self.statements.extend([RECORD_ROW, RECORD_ATTEMPT]);
        self.add(record.to.as_str())?;
        self.add(record.reason.clone())?;
        self.add(at.clone())?;
        self.add(i64::from(record.counts))?;
        self.add(record.next_attempt_at.map(|at| at.to_string()))?;
        self.add(record.last_error().map(str::to_owned))?;
        self.add(answered.filter(|_| emitted).map(str::to_owned))?;
        self.add(record.payment_url.clone())?;
        self.add(emitted.then_some(at))?;
        self.add(record.outbox_id)?;
        self.add(record.attempt_id)?;
        self.add(record.phase.as_str())?;
        self.add(record.http_status.map(i64::from))?;
        self.add(record.code.as_str())?;
        self.add(record.detail.clone())?;
        self.add(i64::try_from(record.duration.as_millis()).unwrap_or(i64::MAX))?;
        self.add(answered.map(str::to_owned))?;
        self.add(record.attempt_id)
    }

    /// In the order of [`PROMOTE`], [`CLAIM`] and [`START_ATTEMPTS`].
    fn add_claim(&mut self, claim: &Claim) -> Result<(), sqlx::Error> {
        let now = claim.now.to_string();
        if claim.promote {
            self.statements.push(PROMOTE);
            self.add(now.clone())?;
            self.add(PROMOTE_AT_ONCE)?;
        }
        self.statements.extend([CLAIM, START_ATTEMPTS]);
        self.add(now.clone())?;
        self.add(claim.max_attempts)?;
        self.add(claim.max_uncertain)?;
        self.add(claim.max_uncertain)?;
        self.add(i64::try_from(claim.limit).unwrap_or(i64::MAX))?;
        self.add(claim.default_code_client.clone())?;
        self.add(claim.default_code_structure.clone())?;
        self.add(claim.base_url.clone())?;
        self.add(now)
    }

    /// Runs what was added since the last run.
    async fn run(&mut self, conn: &mut SqliteConnection) -> Result<(), sqlx::Error> {
        let statements = std::mem::take(&mut self.statements);
        if statements.is_empty() {
            return Ok(());
        }
        let arguments = std::mem::take(&mut self.arguments);
        let text = AssertSqlSafe(statements.join(";\n"));
        let mut statement = statements.iter();
        let mut answers = conn.fetch_many(sqlx::query_with(text, arguments));
        while let Some(answer) = answers.try_next().await? {
            match answer {
                Either::Right(row) if row.len() == ATTEMPT_COLUMNS => {
                    self.attempts.insert(row.try_get(0)?, row.try_get(1)?);
                }
                Either::Right(row) => self.claimed.push(claimed_row(&row)?),
                Either::Left(done) => {
                    if statement.next() == Some(&RECORD_ROW) {
                        self.recorded += done.rows_affected();
                    }
                }
            }
        }
        Ok(())
    }
}

fn claimed_row(row: &SqliteRow) -> Result<ClaimedRow, sqlx::Error> {
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
}

/// Turns records whose reference another row has, or another record of the same turn, into doubts; whether there were
/// any.
pub(super) async fn doubt_foreign_references(
    conn: &mut SqliteConnection,
    records: &mut [EmissionRecord],
) -> Result<bool, sqlx::Error> {
    let mut seen = HashSet::new();
    let mut found = false;
    for record in records.iter_mut().filter(|record| record.to == Status::Emitted) {
        let reference = record.tresorpay_reference.as_ref().map_or("", TresorPayReference::as_str).to_owned();
        let taken: (bool,) = sqlx::query_as(
            "SELECT EXISTS (SELECT 1 FROM outbox WHERE tresorpay_reference = ?1 AND id <> ?2)",
        )
        .bind(&reference)
        .bind(record.outbox_id)
        .fetch_one(&mut *conn)
        .await?;
        if taken.0 || !seen.insert(reference) {
            *record = record.foreign_reference();
            found = true;
        }
    }
    Ok(found)
}
