//! One turn of the emission: results of finished requests and the marks of the next ones, in one transaction.
//!
//! The statements of a turn go to SQLite's thread as one text, so that a turn costs one hand-over and not seven; each
//! `?` takes the next argument. A limit is written `? + 0`: SQLite plans anew for each value of a bare parameter there,
//! and with it compiles every trigger again.

use std::collections::{HashMap, HashSet};

use futures_util::TryStreamExt;
use sqlx::{
    Arguments as _, AssertSqlSafe, Either, Encode, Executor, Row, Sqlite, SqliteConnection, Type,
    sqlite::{SqliteArguments, SqliteRow},
};

use super::{
    Claim, ClaimedRow, EmissionRecord, json,
    queue::{due, paused},
    replace::chain,
};
use crate::notice::{Status, TresorPayReference};

/// Waiting rows that become due in one turn at the most; the rest follow in the next.
const PROMOTE_AT_ONCE: i64 = 500;

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
    FROM json_each(?) AS r
    WHERE outbox.id = r.value->>0 AND +outbox.status = 'EMITTING'
      AND EXISTS (SELECT 1 FROM attempt AS a
                  WHERE a.id = r.value->>1 AND a.outbox_id = outbox.id AND a.outcome IS NULL)";

const RECORD_ATTEMPTS: &str = "
    UPDATE attempt SET
        phase = r.value->>10, http_status = r.value->>11, outcome = r.value->>12, detail = r.value->>13,
        duration_ms = r.value->>14, tresorpay_reference = r.value->>15
    FROM json_each(?) AS r
    WHERE attempt.id = r.value->>1 AND +attempt.outcome IS NULL";

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

/// What a claimed row is sent with. The references that were canceled for it are looked for only if it was sent before.
macro_rules! claimed_columns {
    () => {
        "
    RETURNING id, reference, code_client, code_structure, net_total, tax_payer, items, authorized_payment_modes,
              callback, redirect_url,
              CASE WHEN attempts > 0 THEN (
                  SELECT json_group_array(a.tresorpay_reference) FROM attempt AS a INDEXED BY attempt_outbox
                  WHERE a.outbox_id = outbox.id AND a.tresorpay_reference IS NOT NULL
                    AND (a.outcome = 'already_canceled' OR a.operation = 'cancel' AND a.outcome = 'ok')) END"
    };
}

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
    paused!(),
    claimed_columns!(),
    ", 1"
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
        ORDER BY o.priority DESC, o.id LIMIT ? + 0)",
    claimed_columns!(),
    ", 0"
);

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
    let (sql, arguments) = script(records, claim, bracket)?;
    let mut answers = conn.fetch_many(sqlx::query_with(AssertSqlSafe(sql), arguments));
    let mut claimed = Vec::new();
    let mut attempts: HashMap<i64, i64> = HashMap::new();
    let mut changed = Vec::new();
    while let Some(answer) = answers.try_next().await? {
        match answer {
            Either::Right(row) if row.len() == ATTEMPT_COLUMNS => {
                attempts.insert(row.try_get(0)?, row.try_get(1)?);
            }
            Either::Right(row) => claimed.push(claimed_row(&row)?),
            Either::Left(done) => changed.push(done.rows_affected()),
        }
    }
    for row in &mut claimed {
        row.attempt_id = attempts.get(&row.outbox_id).copied().ok_or(sqlx::Error::RowNotFound)?;
    }
    let recorded = changed.get(usize::from(bracket.begin)).copied().unwrap_or_default();
    if !records.is_empty() && recorded != records.len() as u64 {
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
        statements.push("BEGIN IMMEDIATE");
    }
    if !records.is_empty() {
        let json = json(&records.iter().map(fields).collect::<Vec<_>>())?;
        statements.extend([RECORD_ROWS, RECORD_ATTEMPTS]);
        arguments.add(json.clone())?;
        arguments.add(json)?;
    }
    if let Some(claim) = claim {
        let now = claim.now.to_string();
        if claim.promote {
            statements.push(PROMOTE);
            arguments.add(now.clone())?;
            arguments.add(PROMOTE_AT_ONCE)?;
        }
        if let Some(outbox_id) = claim.resend {
            statements.push(RESEND);
            arguments.add(now.clone())?;
            arguments.add(outbox_id)?;
            arguments.add(claim.max_attempts)?;
        }
        statements.extend([CLAIM, START_ATTEMPTS]);
        arguments.add_claim(claim, now)?;
    }
    if bracket.commit {
        statements.push("COMMIT");
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
        canceled: match row.try_get::<Option<&str>, _>(10)? {
            None => Vec::new(),
            Some(json) => serde_json::from_str(json).map_err(|error| sqlx::Error::Decode(Box::new(error)))?,
        },
        doubted: row.try_get(11)?,
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
