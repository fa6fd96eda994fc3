//! Looks at the queue of rows to emit, through the indexes on open rows.

use sqlx::{SqliteConnection, SqlitePool};

use super::StoreError;
use crate::clock::Timestamp;

/// When there is something to claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NextDue {
    /// A row is ready.
    Now,
    /// The first waiting row is due then.
    At(Timestamp),
    /// No row is `PENDING`, or emission is paused.
    Never,
}

/// The expression of the index `outbox_waiting`, letter by letter: when a waiting row is due.
macro_rules! due {
    () => {
        "max(coalesce(next_attempt_at, ''),
            CASE length(not_before) WHEN 20 THEN substr(not_before, 1, 19) || '.000Z' ELSE coalesce(not_before, '') END)"
    };
}
pub(super) use due;

/// Emission is paused by a command that is carried out, or by one that is about to be.
macro_rules! paused {
    () => {
        "(EXISTS (SELECT 1 FROM meta WHERE key = 'paused')
          OR EXISTS (SELECT 1 FROM command INDEXED BY command_open
                     WHERE reference IS NULL AND action = 'pause' AND done_at IS NULL))"
    };
}
pub(super) use paused;

/// When there is something to claim: now (an empty text), later, or never (NULL).
const NEXT_DUE: &str = concat!(
    "
    SELECT CASE WHEN ",
    paused!(),
    " THEN NULL WHEN EXISTS (
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

const CORRECTIONS: &str = concat!(
    "SELECT EXISTS (
        SELECT 1 FROM outbox INDEXED BY outbox_replacing
        WHERE status = 'PENDING' AND replaces IS NOT NULL AND next_attempt_at IS NULL AND not_before IS not_before_passed)
     AND NOT ",
    paused!()
);

/// Whether corrections are due, and emission is not paused.
pub(super) async fn has_corrections(reads: &SqlitePool) -> Result<bool, StoreError> {
    let row: (bool,) = sqlx::query_as(CORRECTIONS).fetch_one(reads).await?;
    Ok(row.0)
}

/// The last `attempt.id`, for the mark.
pub(super) async fn last_attempt(conn: &mut SqliteConnection) -> Result<i64, StoreError> {
    let last: (i64,) = sqlx::query_as("SELECT coalesce(max(id), 0) FROM attempt").fetch_one(conn).await?;
    Ok(last.0)
}
