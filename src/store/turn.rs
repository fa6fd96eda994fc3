//! One turn of the emission: results of finished requests and the marks of the next ones, in one transaction.
//!
//! The statements of a turn go to SQLite's thread as one text and their answer comes back as one row, so that a turn
//! costs one hand-over and not forty; each `?` takes the next argument. Records are rows of a `VALUES`, their number
//! rounded up to a power of two with empty ones: few texts, each prepared once, and no JSON to take apart for each value.
//! A limit is written `? + 0`: SQLite plans anew for each value of a bare parameter there, and with it compiles every
//! trigger again.

use std::collections::HashSet;

use futures_util::TryStreamExt;
use sqlx::{
    Arguments as _, AssertSqlSafe, Either, Encode, Executor, Row, Sqlite, SqliteConnection, Type,
    sqlite::SqliteArguments,
};

use super::{
    Claim, ClaimedRow, EmissionRecord,
    queue::{due, paused},
    replace::chain,
};
use crate::notice::{Status, TresorPayReference};

/// Waiting rows that become due in one turn at the most; the rest follow in the next.
const PROMOTE_AT_ONCE: i64 = 500;

/// Only a row that is `EMITTING` by the very attempt that was answered takes the result.
const RECORD_ROWS: &str = "
    WITH r (id, attempt_id, status, reason, counts, next_attempt_at, last_error, tresorpay_reference, payment_url, at)
        AS (VALUES {records})
    UPDATE outbox SET
        status = r.status, status_source = 'emit', status_reason = r.reason, updated_at = r.at,
        attempts = attempts + r.counts, next_attempt_at = r.next_attempt_at, last_error = r.last_error,
        tresorpay_reference = r.tresorpay_reference, payment_url = r.payment_url,
        emitted_at = CASE WHEN r.status = 'EMITTED' THEN r.at ELSE emitted_at END
    FROM r
    WHERE outbox.id = r.id AND +outbox.status = 'EMITTING'
      AND EXISTS (SELECT 1 FROM attempt AS a
                  WHERE a.id = r.attempt_id AND a.outbox_id = outbox.id AND a.outcome IS NULL)";
const ROW_COLUMNS: usize = 10;

const RECORD_ATTEMPTS: &str = "
    WITH r (id, phase, http_status, outcome, detail, duration_ms, tresorpay_reference) AS (VALUES {records})
    UPDATE attempt SET
        phase = r.phase, http_status = r.http_status, outcome = r.outcome, detail = r.detail,
        duration_ms = r.duration_ms, tresorpay_reference = r.tresorpay_reference
    FROM r
    WHERE attempt.id = r.id AND +attempt.outcome IS NULL";
const ATTEMPT_COLUMNS: usize = 7;

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

/// One row in doubt; the caller has looked whether it may be sent again.
const RESEND: &str = concat!(
    "
    UPDATE outbox SET status = 'EMITTING', status_source = 'emit', updated_at = ?, next_attempt_at = NULL,
                      status_reason = 'sent again although in doubt, as emit.on_uncertain = resend asks'
    WHERE id = ? AND status = 'UNCERTAIN' AND attempts < ?
      AND NOT EXISTS (SELECT 1 FROM attempt AS a INDEXED BY attempt_open
                      WHERE a.outbox_id = outbox.id AND a.outcome IS NULL)
      AND NOT EXISTS (SELECT 1 FROM command AS c INDEXED BY command_open
                      WHERE c.reference = outbox.reference AND c.action = 'cancel' AND c.done_at IS NULL)
      AND NOT ",
    paused!()
);

const CLAIM: &str = concat!(
    "
    UPDATE outbox SET status = 'EMITTING', status_source = 'emit', status_reason = NULL, updated_at = ?
    WHERE id IN (
        SELECT o.id FROM outbox AS o INDEXED BY outbox_ready
        WHERE o.status = 'PENDING' AND o.next_attempt_at IS NULL AND o.not_before IS o.not_before_passed
          AND o.attempts < ?
          AND (SELECT count(*) FROM (SELECT 1 FROM outbox INDEXED BY outbox_uncertain
                                     WHERE status = 'UNCERTAIN' LIMIT ? + 0)) < ?
          AND NOT ",
    paused!(),
    "
          AND (o.replaces IS NULL OR NOT EXISTS (
                ",
    chain!("o.replaces"),
    "
                SELECT 1 FROM chain JOIN outbox AS r ON r.reference = chain.reference
                WHERE r.status <> 'CANCELED' AND r.id <> o.id))
          AND NOT EXISTS (SELECT 1 FROM command AS c INDEXED BY command_open
                          WHERE c.reference = o.reference AND c.action = 'cancel' AND c.done_at IS NULL)
        ORDER BY o.priority DESC, o.id LIMIT ? + 0)"
);

/// Every row that is `EMITTING` without an open attempt was claimed just now.
const START_ATTEMPTS: &str = "
    INSERT INTO attempt (outbox_id, operation, code_client, code_structure, base_url, started_at)
    SELECT o.id, 'emit', coalesce(o.code_client, ?), coalesce(o.code_structure, ?), ?, ?
    FROM outbox AS o INDEXED BY outbox_emitting
    WHERE o.status = 'EMITTING' AND NOT EXISTS (
        SELECT 1 FROM attempt AS a INDEXED BY attempt_open
        WHERE a.outbox_id = o.id AND a.operation = 'emit' AND a.outcome IS NULL)";

/// Claimed rows as one array, with an array for each in the order of [`ClaimedRow`]. [`RESEND`] alone gives a reason; what
/// was canceled is looked for only if the row was sent before.
macro_rules! claimed_rows {
    () => {
        "
    SELECT json_group_array(json_array(
        o.id, a.id, o.reference, o.code_client, o.code_structure, o.net_total, o.tax_payer, o.items,
        o.authorized_payment_modes, o.callback, o.redirect_url,
        json(CASE WHEN o.status_reason IS NULL THEN 'false' ELSE 'true' END),
        json(CASE WHEN o.attempts = 0 THEN '[]' ELSE (
            SELECT json_group_array(c.tresorpay_reference) FROM attempt AS c INDEXED BY attempt_outbox
            WHERE c.outbox_id = o.id AND c.tresorpay_reference IS NOT NULL
              AND (c.outcome = 'already_canceled' OR c.operation = 'cancel' AND c.outcome = 'ok')) END)))"
    };
}
pub(super) use claimed_rows;

/// What was claimed just now, exactly as it stands: the attempts that [`START_ATTEMPTS`] has inserted, whose ids follow
/// each other. If it has inserted none, the last rowid is of anything, or 0.
const CLAIMED: &str = concat!(
    claimed_rows!(),
    "
    FROM attempt AS a JOIN outbox AS o ON o.id = a.outbox_id
    WHERE changes() > 0 AND a.id > last_insert_rowid() - changes() AND a.operation = 'emit' AND a.outcome IS NULL"
);

/// Reads the array of [`claimed_rows`].
pub(super) fn read_claimed(rows: &str) -> Result<Vec<ClaimedRow>, sqlx::Error> {
    serde_json::from_str(rows).map_err(|error| sqlx::Error::Decode(Box::new(error)))
}

/// Whether a turn opens and closes the transaction that it runs in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bracket {
    pub(super) begin: bool,
    pub(super) commit: bool,
    /// It was tried before, and may have been committed then; attempts after this one were handed to nobody.
    pub(super) again: Option<i64>,
}

/// Records what finished, then takes up to `claim.limit` rows: `EMITTING`, each with its open attempt.
pub(super) async fn turn(
    conn: &mut SqliteConnection,
    records: &[EmissionRecord],
    claim: Option<&Claim>,
    bracket: Bracket,
) -> Result<Vec<ClaimedRow>, sqlx::Error> {
    let (sql, arguments) = script(records, claim, bracket)?;
    if sql.is_empty() {
        return Ok(Vec::new());
    }
    let mut answers = conn.fetch_many(sqlx::query_with(AssertSqlSafe(sql), arguments));
    let mut claimed: Vec<ClaimedRow> = Vec::new();
    let mut changed = Vec::new();
    while let Some(answer) = answers.try_next().await? {
        match answer {
            Either::Right(row) => {
                claimed = read_claimed(row.try_get(0)?)?;
            }
            Either::Left(done) => changed.push(done.rows_affected()),
        }
    }
    let recorded = changed.get(usize::from(bracket.begin)).copied().unwrap_or_default();
    if !records.is_empty() && recorded != records.len() as u64 {
        if bracket.again.is_some() {
            tracing::warn!(
                answered = records.len(),
                recorded,
                "some answers stand in the database already: a commit that seemed to fail had been written"
            );
            return Ok(claimed);
        }
        tracing::error!(
            answered = records.len(),
            recorded,
            "an answer came for a row that is no longer under way; it is kept in `attempt` only"
        );
    }
    Ok(claimed)
}

/// The turn's statements and, in their order, the arguments.
fn script(
    records: &[EmissionRecord],
    claim: Option<&Claim>,
    bracket: Bracket,
) -> Result<(String, SqliteArguments), sqlx::Error> {
    let mut statements = Vec::with_capacity(8);
    let mut arguments = Arguments { list: SqliteArguments::default() };
    if bracket.begin {
        statements.push("BEGIN IMMEDIATE".to_owned());
    }
    if !records.is_empty() {
        statements.extend([with_values(RECORD_ROWS, ROW_COLUMNS, records.len())]);
        for record in records {
            arguments.add_row(record)?;
        }
        arguments.add_empty(ROW_COLUMNS, records.len())?;
        statements.extend([with_values(RECORD_ATTEMPTS, ATTEMPT_COLUMNS, records.len())]);
        for record in records {
            arguments.add_attempt(record)?;
        }
        arguments.add_empty(ATTEMPT_COLUMNS, records.len())?;
    }
    if let Some(claim) = claim {
        let now = claim.now.to_string();
        if claim.promote {
            statements.push(PROMOTE.to_owned());
            arguments.add(now.clone())?;
            arguments.add(PROMOTE_AT_ONCE)?;
        }
        if let Some(outbox_id) = claim.resend {
            statements.push(RESEND.to_owned());
            arguments.add(now.clone())?;
            arguments.add(outbox_id)?;
            arguments.add(claim.max_attempts)?;
        }
        statements.extend([CLAIM, START_ATTEMPTS, CLAIMED].map(str::to_owned));
        arguments.add_claim(claim, now)?;
    }
    if bracket.commit {
        statements.push("COMMIT".to_owned());
    }
    Ok((statements.join(";\n"), arguments.list))
}

/// Arguments whose error is sqlx's own.
struct Arguments {
    list: SqliteArguments,
}

impl Arguments {
    fn add<'q, T: Encode<'q, Sqlite> + Type<Sqlite>>(&mut self, value: T) -> Result<(), sqlx::Error> {
        self.list.add(value).map_err(sqlx::Error::Encode)
    }

    /// In the order of [`RECORD_ROWS`].
    fn add_row(&mut self, record: &EmissionRecord) -> Result<(), sqlx::Error> {
        let emitted = record.to == Status::Emitted;
        let reference = record.tresorpay_reference.as_ref().filter(|_| emitted);
        self.add(record.outbox_id)?;
        self.add(record.attempt_id)?;
        self.add(record.to.as_str())?;
        self.add(record.reason.clone())?;
        self.add(record.counts)?;
        self.add(record.next_attempt_at.map(|at| at.to_string()))?;
        self.add(record.last_error().map(str::to_owned))?;
        self.add(reference.map(|reference| reference.as_str().to_owned()))?;
        self.add(record.payment_url.clone())?;
        self.add(record.at.to_string())
    }

    /// In the order of [`RECORD_ATTEMPTS`].
    fn add_attempt(&mut self, record: &EmissionRecord) -> Result<(), sqlx::Error> {
        self.add(record.attempt_id)?;
        self.add(record.phase.as_str())?;
        self.add(record.http_status)?;
        self.add(record.code.as_str())?;
        self.add(record.detail.clone())?;
        self.add(i64::try_from(record.duration.as_millis()).unwrap_or(i64::MAX))?;
        self.add(record.tresorpay_reference.as_ref().map(|reference| reference.as_str().to_owned()))
    }

    /// The rows that fill `records` up to what [`with_values`] has made room for: no id is NULL.
    fn add_empty(&mut self, columns: usize, records: usize) -> Result<(), sqlx::Error> {
        for _ in 0..columns * (records.next_power_of_two() - records) {
            self.add(None::<i64>)?;
        }
        Ok(())
    }

    /// In the order of [`CLAIM`] and [`START_ATTEMPTS`].
    fn add_claim(&mut self, claim: &Claim, now: String) -> Result<(), sqlx::Error> {
        self.add(now.clone())?;
        self.add(claim.max_attempts)?;
        self.add(claim.max_uncertain)?;
        self.add(claim.max_uncertain)?;
        let others = claim.limit - usize::from(claim.resend.is_some()).min(claim.limit);
        self.add(i64::try_from(others).unwrap_or(i64::MAX))?;
        self.add(claim.default_code_client.clone())?;
        self.add(claim.default_code_structure.clone())?;
        self.add(claim.base_url.clone())?;
        self.add(now)
    }
}

/// The statement with room for `records` rows of so many columns, rounded up.
fn with_values(statement: &str, columns: usize, records: usize) -> String {
    let row = format!("({})", vec!["?"; columns].join(","));
    statement.replace("{records}", &vec![row; records.next_power_of_two()].join(","))
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
