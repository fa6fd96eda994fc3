//! Waits that stand in the table: found, and moved when the clock that they were written by was wrong.

use sqlx::{SqliteConnection, SqlitePool};

use super::{StoreError, json, queue::due, writer::Operation};
use crate::{clock::Timestamp, tresorpay::ErrorCode};

/// A row that waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wait {
    /// `outbox.id`.
    pub outbox_id: i64,
    /// `next_attempt_at`.
    pub until: Timestamp,
    /// `updated_at`.
    pub updated_at: Option<Timestamp>,
    /// TresorPay asked for this wait.
    pub asked_for: bool,
}

/// One wait that becomes another, if it still is what it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WaitMove {
    /// `outbox.id`.
    pub outbox_id: i64,
    /// The wait that was found.
    pub from: Timestamp,
    /// The wait that it is to be.
    pub to: Timestamp,
}

const POLLS: &str = "
    SELECT id, next_attempt_at, updated_at, last_error FROM outbox INDEXED BY outbox_emitted
    WHERE status = 'EMITTED' AND next_attempt_at > ?1
    UNION ALL
    SELECT id, next_attempt_at, updated_at, last_error FROM outbox INDEXED BY outbox_paid_due
    WHERE status = 'PAID' AND next_attempt_at IS NOT NULL AND next_attempt_at > ?1";

/// By the index, those that wait beyond a time for whatever reason; of them, those that do not wait for `not_before`.
const RETRIES: &str = concat!(
    "
    SELECT id, next_attempt_at, updated_at, last_error FROM outbox INDEXED BY outbox_waiting
    WHERE status = 'PENDING' AND (next_attempt_at IS NOT NULL OR not_before IS NOT not_before_passed)
      AND ",
    due!(),
    " > ?1 AND next_attempt_at > ?1"
);

const MOVE: &str = "
    UPDATE outbox SET next_attempt_at = r.value->>2 FROM json_each(?1) AS r
    WHERE outbox.id = r.value->>0 AND +outbox.next_attempt_at = r.value->>1
      AND outbox.status IN ('PENDING', 'EMITTED', 'PAID')";

/// Emitted notices that are next asked about after `beyond`, and paid ones with something left to do; `None`: all that
/// wait.
pub(super) async fn polls(reads: &SqlitePool, beyond: Option<Timestamp>) -> Result<Vec<Wait>, StoreError> {
    find(reads, POLLS, &beyond.map_or_else(String::new, |beyond| beyond.to_string())).await
}

/// Rows that wait to be emitted again, and beyond `beyond`.
pub(super) async fn retries(reads: &SqlitePool, beyond: Timestamp) -> Result<Vec<Wait>, StoreError> {
    find(reads, RETRIES, &beyond.to_string()).await
}

async fn find(reads: &SqlitePool, sql: &'static str, beyond: &str) -> Result<Vec<Wait>, StoreError> {
    type Found = (i64, String, Option<String>, Option<String>);
    let rows: Vec<Found> = sqlx::query_as(sql).bind(beyond).fetch_all(reads).await?;
    let asked_for = format!("{}:", ErrorCode::RateLimited.as_str());
    let wait = |(outbox_id, until, updated_at, last_error): Found| {
        Some(Wait {
            outbox_id,
            until: Timestamp::parse(&until)?,
            updated_at: updated_at.as_deref().and_then(Timestamp::parse),
            asked_for: last_error.is_some_and(|error| error.starts_with(&asked_for)),
        })
    };
    Ok(rows.into_iter().filter_map(wait).collect())
}

/// A key of `meta` that the daemon may choose, with its value.
pub(super) struct Publish {
    pub(super) key: &'static str,
    pub(super) value: String,
}

const PUBLISH: &str = "
    INSERT INTO meta (key, value) VALUES (?1, ?2)
    ON CONFLICT (key) DO UPDATE SET value = excluded.value WHERE value <> excluded.value";

impl Operation for Publish {
    type Output = ();

    async fn carry_out(&self, conn: &mut SqliteConnection, _again: Option<i64>) -> Result<(), sqlx::Error> {
        sqlx::query(PUBLISH).bind(self.key).bind(&self.value).execute(conn).await?;
        Ok(())
    }
}

/// Makes the moves whose waits are still what they were.
impl Operation for Vec<WaitMove> {
    type Output = ();

    async fn carry_out(&self, conn: &mut SqliteConnection, _again: Option<i64>) -> Result<(), sqlx::Error> {
        let rows: Vec<_> =
            self.iter().map(|wait| (wait.outbox_id, wait.from.to_string(), wait.to.to_string())).collect();
        sqlx::query(MOVE).bind(json(&rows)?).execute(conn).await?;
        Ok(())
    }
}
