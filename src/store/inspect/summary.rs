//! Counts and amounts by status, and what waits. Counts come from covering indexes, so that finished rows cost their
//! index entries only; amounts need the rows themselves and are summed only where there are few enough.

use sqlx::SqliteConnection;

use super::{Inspect, listing::ids};
use crate::{
    clock::Timestamp,
    notice::{Amount, Status},
    store::{NextDue, StoreError, queue},
};

/// Rows that are looked through for the oldest, where no index tells it.
const LOOKED_THROUGH: i64 = 1_000;
/// Rows in doubt that are named.
pub(super) const NAMED_DOUBTS: i64 = 5;

/// The outbox at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// One entry a status, in the order of a notice's life.
    pub statuses: Vec<StatusCount>,
    /// The row that should have been emitted longest ago.
    pub oldest_waiting: Option<Waiting>,
    /// The oldest rows in doubt, a few.
    pub doubts: Vec<Doubt>,
    /// Rows that became `REJECTED` since the moment asked for.
    pub rejected_since: i64,
    /// Commands that are not carried out yet.
    pub open_commands: i64,
    /// Set while emission is paused by command.
    pub paused: Option<Pause>,
    /// When a notice is asked about next.
    pub next_poll: Option<String>,
    /// The last transition: where a feed of what is new begins.
    pub last_transition: i64,
    /// When there is something to emit.
    pub next_emission: NextDue,
}

/// How many rows are in one status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StatusCount {
    /// The status.
    pub status: Status,
    /// Its rows.
    pub rows: i64,
    /// What they come to; `None` where there were too many to sum.
    pub amount: Option<Amount>,
}

/// A `PENDING` row whose time has come.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Waiting {
    /// `outbox.reference`.
    pub reference: String,
    /// The later of `created_at` and `not_before`.
    pub since: String,
}

/// An `UNCERTAIN` row.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Doubt {
    /// `outbox.reference`.
    pub reference: String,
    /// When the doubt began.
    pub updated_at: Option<String>,
    /// When the daemon acts on it of itself; `None`: somebody has to decide.
    pub next_attempt_at: Option<String>,
}

/// A pause that is in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pause {
    /// When it was carried out.
    pub since: Option<String>,
    /// Who asked.
    pub by: Option<String>,
}

/// `PENDING` rows are in two indexes: counted apart, they take half the time of their union.
macro_rules! count {
    ($status:tt) => {
        concat!("SELECT count(*) FROM (", ids!($status), ")")
    };
    ($one:tt, $other:tt) => {
        concat!("SELECT (", count!($one), ") + (", count!($other), ")")
    };
}

pub(super) const fn count_sql(status: Status) -> &'static str {
    match status {
        Status::Pending => count!(ready, waiting),
        Status::Emitting => count!(emitting),
        Status::Uncertain => count!(uncertain),
        Status::Rejected => count!(rejected),
        Status::Emitted => count!(emitted),
        Status::Paid => count!(paid),
        Status::Canceled => count!(canceled),
    }
}

/// `total` cannot overflow; a sum beyond 2^53 XOF is shown rounded.
macro_rules! amount {
    ($status:tt) => {
        concat!("SELECT CAST(total(net_total) AS INTEGER) FROM outbox WHERE id IN (", ids!($status), ")")
    };
}

pub(super) const fn amount_sql(status: Status) -> &'static str {
    match status {
        Status::Pending => amount!(pending),
        Status::Emitting => amount!(emitting),
        Status::Uncertain => amount!(uncertain),
        Status::Rejected => amount!(rejected),
        Status::Emitted => amount!(emitted),
        Status::Paid => amount!(paid),
        Status::Canceled => amount!(canceled),
    }
}

/// Since when a row may be emitted.
macro_rules! since {
    () => {
        "max(created_at, CASE length(not_before) WHEN 20 THEN substr(not_before, 1, 19) || '.000Z'
                                                  ELSE coalesce(not_before, '') END)"
    };
}

/// The first of each priority, of all that are ready, and of those that are tried again.
const OLDEST_WAITING: &str = concat!(
    "WITH priorities (priority) AS (VALUES (0), (1), (2), (3), (4), (5), (6), (7), (8), (9)),
     first (id) AS (SELECT (SELECT id FROM outbox INDEXED BY outbox_ready
                            WHERE status = 'PENDING' AND next_attempt_at IS NULL AND not_before IS not_before_passed
                              AND outbox.priority = priorities.priority ORDER BY id LIMIT 1) FROM priorities
                    UNION ALL SELECT * FROM (",
    ids!(ready),
    " LIMIT ?2 + 0)
                    UNION ALL SELECT * FROM (",
    ids!(waiting),
    " ORDER BY ",
    queue::due!(),
    " LIMIT ?2 + 0))
     SELECT reference, ",
    since!(),
    " AS since FROM outbox WHERE id IN (SELECT id FROM first) AND since <= ?1 ORDER BY since LIMIT 1"
);

const DOUBTS: &str = "
    SELECT reference, updated_at, next_attempt_at FROM outbox INDEXED BY outbox_uncertain
    WHERE status = 'UNCERTAIN' ORDER BY id LIMIT ?1";

const NUMBERS: &str = "
    SELECT (SELECT count(*) FROM outbox INDEXED BY outbox_finished WHERE status = 'REJECTED' AND updated_at >= ?1),
           (SELECT count(*) FROM command INDEXED BY command_open WHERE done_at IS NULL),
           (SELECT min(next_attempt_at) FROM outbox INDEXED BY outbox_emitted
            WHERE status = 'EMITTED' AND next_attempt_at > ''),
           (SELECT coalesce(max(id), 0) FROM transition)";

const PAUSE: &str = "
    SELECT c.done_at, c.requested_by FROM meta AS m LEFT JOIN command AS c ON c.id = CAST(m.value AS INTEGER)
    WHERE m.key = 'paused'";

impl Inspect {
    /// Counts everything. Statuses with more than `max_summed` rows get no amount.
    pub async fn summary(
        &self,
        now: Timestamp,
        rejected_since: Timestamp,
        max_summed: i64,
    ) -> Result<Summary, StoreError> {
        let mut tx = self.snapshot().await?;
        let statuses = statuses(&mut tx, max_summed).await?;
        let oldest_waiting = oldest_waiting(&mut tx, now).await?;
        let doubts = doubts(&mut tx, NAMED_DOUBTS).await?;
        let (rejected_since, open_commands, next_poll, last_transition) =
            sqlx::query_as(NUMBERS).bind(rejected_since.to_string()).fetch_one(&mut *tx).await?;
        let paused = pause(&mut tx).await?;
        // The pool has one connection, which the next query needs.
        tx.rollback().await?;
        Ok(Summary {
            statuses,
            oldest_waiting,
            doubts,
            rejected_since,
            open_commands,
            paused,
            next_poll,
            last_transition,
            next_emission: queue::next_due(&self.pool).await?,
        })
    }
}

impl Inspect {
    /// The pause in force, if there is one.
    pub async fn paused(&self) -> Result<Option<Pause>, StoreError> {
        let mut conn = self.pool.acquire().await?;
        pause(&mut conn).await
    }
}

async fn statuses(conn: &mut SqliteConnection, max_summed: i64) -> Result<Vec<StatusCount>, StoreError> {
    let mut statuses = Vec::with_capacity(Status::ALL.len());
    for status in Status::ALL {
        let (rows,): (i64,) = sqlx::query_as(count_sql(status)).fetch_one(&mut *conn).await?;
        let amount = if rows <= max_summed {
            let row: (i64,) = sqlx::query_as(amount_sql(status)).fetch_one(&mut *conn).await?;
            Some(Amount(row.0))
        } else {
            None
        };
        statuses.push(StatusCount { status, rows, amount });
    }
    Ok(statuses)
}

/// The row that should have been emitted longest ago: of all, or of those that are first where there are many.
pub(super) async fn oldest_waiting(
    conn: &mut SqliteConnection,
    now: Timestamp,
) -> Result<Option<Waiting>, StoreError> {
    let oldest = sqlx::query_as(OLDEST_WAITING).bind(now.to_string()).bind(LOOKED_THROUGH);
    Ok(oldest.fetch_optional(conn).await?)
}

pub(super) async fn doubts(conn: &mut SqliteConnection, limit: i64) -> Result<Vec<Doubt>, StoreError> {
    Ok(sqlx::query_as(DOUBTS).bind(limit).fetch_all(conn).await?)
}

pub(super) async fn pause(conn: &mut SqliteConnection) -> Result<Option<Pause>, StoreError> {
    let paused: Option<(Option<String>, Option<String>)> = sqlx::query_as(PAUSE).fetch_optional(conn).await?;
    Ok(paused.map(|(since, by)| Pause { since, by }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::store::inspect::listing::page_sql;
    use crate::store::{Added, Batch, Binding, NewRow, migrate_only};

    async fn plan(inspect: &Inspect, sql: &str) -> String {
        let explain = sqlx::AssertSqlSafe(format!("EXPLAIN QUERY PLAN {sql}"));
        let rows: Vec<(i64, i64, i64, String)> =
            sqlx::query_as(explain).fetch_all(&inspect.pool).await.unwrap();
        rows.into_iter().map(|row| row.3).collect::<Vec<_>>().join("\n")
    }

    #[tokio::test]
    async fn many_rows_are_counted_and_not_summed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("outbox.db");
        let binding = Binding { environment: "custom".into(), api_origin: "http://127.0.0.1:1".into() };
        migrate_only(&path, &binding).await.unwrap();
        let mut batch = Batch::begin(&path, &binding).await.unwrap();
        for (reference, total) in [("A-1", 5), ("A-2", 7)] {
            let row = NewRow {
                reference: Some(reference.into()),
                net_total: Some(total),
                tax_payer: Some(r#"{"name":"Diarra"}"#.into()),
                items: Some(format!(r#"[{{"quantity":1,"unitPrice":{total}}}]"#)),
                ..NewRow::default()
            };
            assert!(matches!(batch.add(&row).await.unwrap(), Ok(Added::New(_))));
        }
        batch.commit().await.unwrap();
        let inspect = Inspect::open(&path).await.unwrap();
        for (max_summed, amount) in [(1, None), (2, Some(Amount(12)))] {
            let now = Timestamp::now();
            let summary = inspect.summary(now, now, max_summed).await.unwrap();
            let pending = StatusCount { status: Status::Pending, rows: 2, amount };
            assert_eq!(summary.statuses[0], pending);
            assert_eq!(summary.next_emission, NextDue::Now);
        }
    }

    #[tokio::test]
    async fn nothing_scans_the_outbox() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("outbox.db");
        let binding = Binding { environment: "custom".into(), api_origin: "http://127.0.0.1:1".into() };
        migrate_only(&path, &binding).await.unwrap();
        let inspect = Inspect::open(&path).await.unwrap();
        for status in [Status::Rejected, Status::Paid, Status::Canceled] {
            let count = plan(&inspect, count_sql(status)).await;
            assert!(count.contains("COVERING INDEX outbox_finished (status=?)"), "{count}");
        }
        let oldest = plan(&inspect, OLDEST_WAITING).await;
        assert!(oldest.contains("SEARCH outbox USING INDEX outbox_ready (priority=?)"), "{oldest}");
        let waiting = oldest.lines().find(|line| line.contains("outbox_waiting")).unwrap();
        assert!(waiting.contains("USING") && !waiting.contains("TEMP B-TREE"), "{oldest}");
        let pages = Status::ALL.map(Some).into_iter().chain([None]).map(page_sql);
        let pages = pages.flat_map(|(newest, oldest)| [newest, oldest]);
        let sums = Status::ALL.map(amount_sql).into_iter().chain(Status::ALL.map(count_sql));
        let sums = sums.chain([OLDEST_WAITING, DOUBTS, NUMBERS]);
        for sql in pages.chain(sums) {
            let plan = plan(&inspect, sql).await;
            let scans = plan.lines().filter(|line| line.starts_with("SCAN outbox"));
            assert!(scans.into_iter().all(|line| line.contains(" INDEX outbox_")), "{sql}\n{plan}");
        }
    }
}
