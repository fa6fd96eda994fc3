//! Corrections: rows that replace others. What they replace is canceled first, as by a command; what was paid, or cannot
//! be canceled, is not replaced.
//!
//! A correction may correct a correction. So everything along the chain counts: a row is emitted only once all that it
//! replaces, directly or not, is `CANCELED` or was never there. A chain that bites its own tail ends where it began.

use sqlx::SqliteConnection;

use super::writer::Operation;
use crate::{
    clock::Timestamp,
    notice::{Action, Source, Status},
    tresorpay::ErrorCode,
};

/// Corrections that are looked at in one commit.
const AT_ONCE: i64 = 200;
/// Who asks for the cancel of what is replaced; the correction's reference follows.
const BY: &str = "replaces: ";

/// `$start` and everything that it replaces, directly or not: the references of `chain`.
macro_rules! chain {
    ($start:literal) => {
        concat!(
            "WITH RECURSIVE chain (reference) AS (
                SELECT ",
            $start,
            " UNION SELECT link.replaces FROM chain JOIN outbox AS link ON link.reference = chain.reference
                WHERE link.replaces IS NOT NULL)"
        )
    };
}
pub(super) use chain;

/// A correction that is due, and one row of its chain that is not `CANCELED`.
const HELD: &str = "
    WITH RECURSIVE correction (id, reference, replaces) AS (
        SELECT id, reference, replaces FROM outbox INDEXED BY outbox_replacing
        WHERE status = 'PENDING' AND replaces IS NOT NULL AND next_attempt_at IS NULL AND not_before IS not_before_passed
          AND id > ?1
        ORDER BY id LIMIT ?2 + 0),
    chain (id, by, reference) AS (
        SELECT id, reference, replaces FROM correction
        UNION SELECT chain.id, chain.by, link.replaces FROM chain JOIN outbox AS link ON link.reference = chain.reference
        WHERE link.replaces IS NOT NULL)
    SELECT chain.id, chain.by, r.reference, r.status,
           EXISTS (SELECT 1 FROM command AS c INDEXED BY command_open
                   WHERE c.reference = r.reference AND c.action = 'cancel' AND c.done_at IS NULL),
           EXISTS (SELECT 1 FROM command AS c INDEXED BY command_open
                   WHERE c.reference = chain.by AND c.action = 'cancel' AND c.done_at IS NULL)
    FROM chain JOIN outbox AS r ON r.reference = chain.reference
    WHERE r.status <> 'CANCELED' AND r.id <> chain.id
    ORDER BY chain.id, r.id";

/// The last correction that [`HELD`] looks at.
const LAST: &str = "
    SELECT max(id) FROM (
        SELECT id FROM outbox INDEXED BY outbox_replacing
        WHERE status = 'PENDING' AND replaces IS NOT NULL AND next_attempt_at IS NULL AND not_before IS not_before_passed
          AND id > ?1
        ORDER BY id LIMIT ?2 + 0)";

const ASK: &str = "INSERT INTO command (reference, action, requested_by) VALUES (?1, ?2, ?3)";

const REJECT: &str = "
    UPDATE outbox SET status = 'REJECTED', status_source = ?3, status_reason = ?2, last_error = ?2, updated_at = ?4,
                      next_attempt_at = NULL
    WHERE id = ?1 AND status = 'PENDING'";

/// Corrections that are due and have this row in their chain.
const REPLACING: &str = "
    WITH RECURSIVE later (reference) AS (
        SELECT ?1
        UNION SELECT o.reference FROM later JOIN outbox AS o INDEXED BY outbox_replaces ON o.replaces = later.reference)
    SELECT o.id FROM later JOIN outbox AS o ON o.reference = later.reference
    WHERE o.status = 'PENDING' AND o.replaces IS NOT NULL AND o.reference <> ?1
      AND o.next_attempt_at IS NULL AND o.not_before IS o.not_before_passed";

/// The corrections whose `outbox.id` is beyond this one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Corrections {
    pub(super) after: i64,
}

impl Operation for Corrections {
    type Output = (Option<i64>, bool);

    async fn carry_out(
        &self,
        conn: &mut SqliteConnection,
        _again: Option<i64>,
    ) -> Result<Self::Output, sqlx::Error> {
        advance(conn, self.after, Timestamp::now()).await
    }
}

/// Asks for the cancel of what corrections replace, and rejects those whose original was paid. `after` is where the last
/// look ended; where this one ended, or `None` at the end.
async fn advance(
    conn: &mut SqliteConnection,
    after: i64,
    now: Timestamp,
) -> Result<(Option<i64>, bool), sqlx::Error> {
    let held: Vec<(i64, String, String, String, bool, bool)> =
        sqlx::query_as(HELD).bind(after).bind(AT_ONCE).fetch_all(&mut *conn).await?;
    let last: (Option<i64>,) = sqlx::query_as(LAST).bind(after).bind(AT_ONCE).fetch_one(&mut *conn).await?;
    let mut asked = std::collections::HashSet::new();
    let mut changed = false;
    for (id, by, old, status, is_asked, withdrawn) in held {
        if status == Status::Paid.as_str() {
            let code = ErrorCode::ReplacedPaid.as_str();
            let why = format!(
                "{code}: {old}, which it replaces, was paid; insert a new row for what is left to pay"
            );
            reject(conn, id, &why, now).await?;
            changed = true;
        } else if !is_asked && !withdrawn && asked.insert(old.clone()) {
            let by = format!("{BY}{by}");
            sqlx::query(ASK).bind(&old).bind(Action::Cancel.as_str()).bind(by).execute(&mut *conn).await?;
            changed = true;
        }
    }
    Ok((last.0, changed))
}

/// `reference` could not be canceled: what is to replace it now is not emitted beside it.
pub(super) async fn not_canceled(
    conn: &mut SqliteConnection,
    reference: &str,
    why: &str,
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    let rows: Vec<(i64,)> = sqlx::query_as(REPLACING).bind(reference).fetch_all(&mut *conn).await?;
    let code = ErrorCode::ReplacedLive.as_str();
    for (id,) in rows {
        let why = format!("{code}: {reference}, which it replaces, could not be canceled: {why}");
        reject(conn, id, &why, now).await?;
    }
    Ok(())
}

async fn reject(conn: &mut SqliteConnection, id: i64, why: &str, now: Timestamp) -> Result<(), sqlx::Error> {
    tracing::warn!(outbox_id = id, why, "a correction is rejected");
    let query = sqlx::query(REJECT).bind(id).bind(why).bind(Source::Command.as_str()).bind(now.to_string());
    query.execute(conn).await?;
    Ok(())
}
