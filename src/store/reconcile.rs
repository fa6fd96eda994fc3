//! Reconciliation's part of the database: finished notices in the order of their index, what TresorPay says of them by now,
//! and how far a run has come. Findings and progress are one commit, so that a run goes on where it was killed.

use serde::{Deserialize, Serialize};
use sqlx::{SqliteConnection, SqlitePool};

use super::{
    Drift, StoreError, command,
    error::{is_constraint, is_schema_error},
    json,
    writer::Operation,
};
use crate::{
    clock::Timestamp,
    notice::{Recorded, Status, TresorPayReference},
};

/// The key in `meta`.
pub const RECONCILIATION: &str = "reconciliation";
/// Notices that are put back into their turn in one commit.
const RESCHEDULED_AT_ONCE: i64 = 1_000;
/// Longest text of a trigger that is passed on, in characters.
const MAX_WORDS: usize = 500;

/// The run under way and the last that ended, as `meta` keeps them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reconciliation {
    /// Under way, maybe by a daemon that has ended.
    pub running: Option<Run>,
    /// The last that ended.
    pub last: Option<Run>,
}

/// One look at all finished notices of the window. Times are as the database writes them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// The time of the schedule that it was for.
    pub due: String,
    /// When it began.
    pub started_at: String,
    /// When it ended.
    pub finished_at: Option<String>,
    /// Notices that were finished at this time or later,
    pub from: String,
    /// and no later than this.
    pub until: String,
    /// The last notice that it is done with.
    pub place: Place,
    /// Notices that TresorPay was asked about.
    pub checked: u64,
    /// Of them, those that changed: each has a transition.
    pub drifted: u64,
    /// Of them, those that TresorPay has otherwise and no move leads there: `last_error` says it.
    pub flagged: u64,
    /// Notices that TresorPay gave no answer about.
    pub unanswered: u64,
    /// Emitted notices that nobody would have asked about any more.
    pub rescheduled: u64,
}

/// A place in the order of finished notices: by status, then by time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// `PAID` comes first, then `CANCELED`.
    pub status: String,
    /// `outbox.updated_at`.
    pub updated_at: String,
    /// `outbox.id`.
    pub id: i64,
}

/// A finished notice as it was recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FinishedNotice {
    /// `outbox.id`.
    pub outbox_id: i64,
    /// TresorPay's reference.
    pub reference: TresorPayReference,
    /// `PAID` or `CANCELED`.
    pub status: Status,
    /// As it was told.
    pub provider: Option<String>,
    /// As it was told.
    pub pay_date: Option<String>,
    /// What stands there about it.
    pub last_error: Option<String>,
}

impl FinishedNotice {
    /// What is compared.
    pub fn recorded(&self) -> Recorded<'_> {
        Recorded {
            status: self.status,
            provider: self.provider.as_deref(),
            pay_date: self.pay_date.as_deref(),
        }
    }
}

/// Some finished notices.
#[derive(Debug)]
pub struct FinishedPage {
    /// In their order.
    pub notices: Vec<FinishedNotice>,
    /// The last place that was read; `None`: there is nothing beyond.
    pub end: Option<Place>,
}

/// What is recorded of one notice. A row that is something else by now is left alone.
#[derive(Debug, Clone)]
pub enum Finding {
    /// Its status changed.
    Moved(Drift),
    /// Who took the payment, or when; `None`: as it was.
    Payment {
        /// `outbox.id`.
        outbox_id: i64,
        /// The reference that was asked about.
        reference: TresorPayReference,
        /// As TresorPay gives it now.
        provider: Option<String>,
        /// As TresorPay gives it now.
        pay_date: Option<String>,
        /// Something else was known before.
        changed: bool,
    },
    /// What `last_error` says from now on.
    Noted {
        /// `outbox.id`.
        outbox_id: i64,
        /// The reference that was asked about.
        reference: TresorPayReference,
        /// The status that it had.
        status: Status,
        /// `None`: all is well again.
        last_error: Option<String>,
        /// TresorPay has it otherwise.
        flagged: bool,
    },
}

/// What became of a finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recording {
    /// It is news, and recorded.
    New,
    /// It stood there already, or the row is something else by now.
    Nothing,
    /// A trigger refuses it; its words.
    Refused(String),
}

/// Records findings and how far the run has come.
#[derive(Debug)]
pub struct ReconcileRecord {
    /// What was found.
    pub findings: Vec<Finding>,
    /// The state with them, but for the counts that follow from what became of them.
    pub state: Reconciliation,
}

/// Puts emitted notices that nobody would ask about any more back into their turn; how many, or why not.
#[derive(Debug)]
pub(super) struct Reschedule {
    /// When they are asked about.
    pub(super) at: Timestamp,
}

/// What waits for longer than it should.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Overdue {
    /// Emitted notices whose turn to be asked about is long past; 100,000 at the most are counted.
    pub notices: i64,
    /// Since when, the oldest of them.
    pub since: Option<String>,
    /// Commands that are open for long and do not say what they wait for.
    pub commands: i64,
}

/// One page of a status: its index entries come in this order, and those of the very millisecond of the place are passed
/// over in the index.
macro_rules! page {
    ($status:literal) => {
        concat!(
            "SELECT id, tresorpay_reference, provider, pay_date, last_error, updated_at
             FROM outbox INDEXED BY outbox_finished
             WHERE status = '",
            $status,
            "' AND (updated_at, id) > (?1, ?2) AND updated_at <= ?3 AND tresorpay_reference IS NOT NULL
             ORDER BY updated_at, id LIMIT ?4 + 0"
        )
    };
}
const PAID: &str = page!("PAID");
const CANCELED: &str = page!("CANCELED");

pub(super) const OVERDUE: &str = "
    SELECT (SELECT count(*) FROM (SELECT 1 FROM outbox INDEXED BY outbox_emitted
            WHERE status = 'EMITTED' AND next_attempt_at > '' AND next_attempt_at < ?1 LIMIT 100000)),
           (SELECT min(next_attempt_at) FROM outbox INDEXED BY outbox_emitted
            WHERE status = 'EMITTED' AND next_attempt_at > '' AND next_attempt_at < ?1),
           (SELECT count(*) FROM command INDEXED BY command_open
            WHERE done_at IS NULL AND detail IS NULL AND requested_at < ?1)";

const PAYMENT: &str = "
    UPDATE outbox SET provider = coalesce(?3, provider), pay_date = coalesce(?4, pay_date)
    WHERE id = ?1 AND status = 'PAID' AND tresorpay_reference = ?2
      AND (provider IS NOT coalesce(?3, provider) OR pay_date IS NOT coalesce(?4, pay_date))";

const NOTE: &str = "
    UPDATE outbox SET last_error = ?4
    WHERE id = ?1 AND tresorpay_reference = ?2 AND status = ?3 AND last_error IS NOT ?4";

/// Nobody asks about what has no time, unless it was given up.
const RESCHEDULE: &str = "
    UPDATE outbox SET next_attempt_at = ?1 WHERE id IN (
        SELECT id FROM outbox INDEXED BY outbox_emitted
        WHERE status = 'EMITTED' AND next_attempt_at IS NULL
          AND substr(coalesce(last_error, ''), 1, 14) <> 'poll_given_up:' LIMIT ?2)";

const STATE: &str = "
    INSERT INTO meta (key, value) VALUES (?1, ?2)
    ON CONFLICT (key) DO UPDATE SET value = excluded.value WHERE value <> excluded.value";

/// The state that was written last; `None`: none, or none of this version's.
pub(super) async fn state(reads: &SqlitePool) -> Result<Option<Reconciliation>, StoreError> {
    let row: Option<(String,)> = sqlx::query_as("SELECT value FROM meta WHERE key = ?1")
        .bind(RECONCILIATION)
        .fetch_optional(reads)
        .await?;
    Ok(row.and_then(|(value,)| Reconciliation::parse(&value)))
}

impl Reconciliation {
    /// As it stands in `meta`; `None` if it is another version's.
    pub fn parse(json: &str) -> Option<Self> {
        serde_json::from_str(json).ok()
    }
}

/// Up to `limit` notices of the place's status beyond it that were finished no later than `until`.
pub(super) async fn finished(
    reads: &SqlitePool,
    place: &Place,
    until: &str,
    limit: usize,
) -> Result<FinishedPage, StoreError> {
    type Found = (i64, String, Option<String>, Option<String>, Option<String>, String);
    let (sql, status) = match place.status.as_str() {
        "PAID" => (PAID, Status::Paid),
        _ => (CANCELED, Status::Canceled),
    };
    let rows: Vec<Found> = sqlx::query_as(sql)
        .bind(&place.updated_at)
        .bind(place.id)
        .bind(until)
        .bind(i64::try_from(limit).unwrap_or(i64::MAX))
        .fetch_all(reads)
        .await?;
    let end = rows.last().map(|(id, .., updated_at)| Place {
        status: place.status.clone(),
        updated_at: updated_at.clone(),
        id: *id,
    });
    let notices = rows
        .into_iter()
        .filter_map(|(outbox_id, reference, provider, pay_date, last_error, _)| {
            let reference = TresorPayReference::parse(&reference).ok()?;
            Some(FinishedNotice { outbox_id, reference, status, provider, pay_date, last_error })
        })
        .collect();
    Ok(FinishedPage { notices, end })
}

/// What waits since before `before`.
pub(super) async fn overdue(reads: &SqlitePool, before: Timestamp) -> Result<Overdue, StoreError> {
    let row: (i64, Option<String>, i64) =
        sqlx::query_as(OVERDUE).bind(before.to_string()).fetch_one(reads).await?;
    Ok(Overdue { notices: row.0, since: row.1, commands: row.2 })
}

impl Operation for ReconcileRecord {
    type Output = (Reconciliation, Vec<Recording>);

    async fn carry_out(
        &self,
        conn: &mut SqliteConnection,
        _again: Option<i64>,
    ) -> Result<Self::Output, sqlx::Error> {
        let mut state = self.state.clone();
        let mut recordings = Vec::with_capacity(self.findings.len());
        for finding in &self.findings {
            let recording = record(conn, finding).await?;
            if let Some(run) = &mut state.running {
                match finding {
                    Finding::Noted { flagged, .. } => run.flagged += u64::from(*flagged),
                    Finding::Moved(_) | Finding::Payment { changed: true, .. } => {
                        run.drifted += u64::from(recording == Recording::New);
                    }
                    Finding::Payment { changed: false, .. } => {}
                }
            }
            recordings.push(recording);
        }
        sqlx::query(STATE).bind(RECONCILIATION).bind(json(&state)?).execute(conn).await?;
        Ok((state, recordings))
    }
}

/// One finding, within a savepoint: a trigger of an application's that refuses it stops neither the others nor the daemon.
async fn record(conn: &mut SqliteConnection, finding: &Finding) -> Result<Recording, sqlx::Error> {
    sqlx::query("SAVEPOINT finding").execute(&mut *conn).await?;
    let written = match finding {
        Finding::Moved(drift) => command::drift(conn, drift).await,
        Finding::Payment { outbox_id, reference, provider, pay_date, .. } => sqlx::query(PAYMENT)
            .bind(outbox_id)
            .bind(reference.as_str())
            .bind(provider)
            .bind(pay_date)
            .execute(&mut *conn)
            .await
            .map(|done| done.rows_affected() > 0),
        Finding::Noted { outbox_id, reference, status, last_error, .. } => sqlx::query(NOTE)
            .bind(outbox_id)
            .bind(reference.as_str())
            .bind(status.as_str())
            .bind(last_error)
            .execute(&mut *conn)
            .await
            .map(|done| done.rows_affected() > 0),
    };
    let recording = match written {
        Ok(true) => Recording::New,
        Ok(false) => Recording::Nothing,
        Err(error) => Recording::Refused(refusal(error)?),
    };
    if matches!(recording, Recording::Refused(_)) {
        sqlx::query("ROLLBACK TO finding").execute(&mut *conn).await?;
    }
    sqlx::query("RELEASE finding").execute(conn).await?;
    Ok(recording)
}

/// What a rule or a trigger said, on one line; any other error is passed on.
fn refusal(error: sqlx::Error) -> Result<String, sqlx::Error> {
    if !is_constraint(&error) && !is_schema_error(&error) {
        return Err(error);
    }
    let said =
        error.as_database_error().map_or_else(|| error.to_string(), |error| error.message().to_owned());
    Ok(said.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_WORDS).collect())
}

impl Operation for Reschedule {
    type Output = Result<u64, String>;

    async fn carry_out(
        &self,
        conn: &mut SqliteConnection,
        _again: Option<i64>,
    ) -> Result<Self::Output, sqlx::Error> {
        let done =
            sqlx::query(RESCHEDULE).bind(self.at.to_string()).bind(RESCHEDULED_AT_ONCE).execute(conn).await;
        match done {
            Ok(done) => Ok(Ok(done.rows_affected())),
            Err(error) => refusal(error).map(Err),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::store::{Access, Binding, migrate_only, open_existing};

    /// Neither a page nor what waits reads more than its part of an index.
    #[tokio::test]
    async fn every_read_goes_through_its_index() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("outbox.db");
        let binding = Binding { environment: "custom".into(), api_origin: "http://127.0.0.1:1".into() };
        migrate_only(&path, &binding).await.unwrap();
        let pool = open_existing(&path, Access::Read).await.unwrap();
        for (sql, wanted) in [
            (PAID, "SEARCH outbox USING INDEX outbox_finished (status=? AND updated_at>? AND updated_at<?)"),
            (
                CANCELED,
                "SEARCH outbox USING INDEX outbox_finished (status=? AND updated_at>? AND updated_at<?)",
            ),
            (OVERDUE, "outbox_emitted (next_attempt_at>? AND next_attempt_at<?)"),
        ] {
            let explain = sqlx::AssertSqlSafe(format!("EXPLAIN QUERY PLAN {sql}"));
            let rows: Vec<(i64, i64, i64, String)> = sqlx::query_as(explain).fetch_all(&pool).await.unwrap();
            let plan = rows.into_iter().map(|row| row.3).collect::<Vec<_>>().join("\n");
            assert!(plan.contains(wanted) && !plan.contains("TEMP B-TREE"), "{plan}");
        }
    }
}
