//! The outbox in figures, for whoever looks every few seconds: what waits is counted out of the partial indexes, what is
//! finished is counted once and then kept by the transitions. A million finished rows cost nothing more.

use std::collections::BTreeMap;

use super::{
    Inspect, StatusCount, Summary, Waiting,
    listing::ids,
    summary::{NAMED_DOUBTS, amount_sql, doubts, pause},
};
use crate::{
    clock::Timestamp,
    notice::{Amount, Status},
    store::{StoreError, queue},
};

/// Transitions that are read in one query.
const PAGE: i64 = 20_000;
/// Rows that are looked through for the oldest, where no index tells it.
const LOOKED_THROUGH: i64 = 1_000;

/// What has happened since [`Inspect::begin`], and how many rows are paid.
#[derive(Debug, Clone, Default)]
pub struct Happened {
    /// Changes of status by what it became and who made it so; by `to_status` and `source`.
    pub moves: BTreeMap<(String, String), Moved>,
    /// Rows that are `PAID`.
    pub paid: i64,
    /// The last transition that is counted.
    last: i64,
}

/// Changes of one kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Moved {
    /// How many.
    pub rows: u64,
    /// What their rows come to, in XOF.
    pub amount: u64,
}

/// What waits, and since when.
#[derive(Debug, Clone)]
pub struct Figures {
    /// As `status` tells it, without amounts.
    pub summary: Summary,
    /// When the oldest doubt began.
    pub uncertain_since: Option<String>,
    /// Bytes of the database and of its WAL.
    pub sizes: (u64, u64),
}

const PAID: &str = concat!(
    "SELECT (SELECT coalesce(max(id), 0) FROM transition), (SELECT count(*) FROM (",
    ids!(paid),
    "))"
);

const MOVES: &str = "
    SELECT t.from_status, t.to_status, t.source, count(*), CAST(total(o.net_total) AS INTEGER)
    FROM transition AS t LEFT JOIN outbox AS o ON o.id = t.outbox_id
    WHERE t.id > ?1 AND t.id <= ?2 AND t.from_status IS NOT t.to_status
    GROUP BY 1, 2, 3";

const COUNTS: &str = concat!(
    "SELECT (SELECT count(*) FROM (",
    ids!(pending),
    ")), (SELECT count(*) FROM (",
    ids!(emitting),
    ")), (SELECT count(*) FROM (",
    ids!(uncertain),
    ")), (SELECT count(*) FROM (",
    ids!(rejected),
    ")), (SELECT count(*) FROM (",
    ids!(emitted),
    ")), (SELECT count(*) FROM (",
    ids!(canceled),
    "))"
);

/// Since when a row may be emitted.
macro_rules! since {
    () => {
        "max(created_at, CASE length(not_before) WHEN 20 THEN substr(not_before, 1, 19) || '.000Z'
                                                  ELSE coalesce(not_before, '') END)"
    };
}

/// The first of each priority, and of those that are tried again.
const OLDEST_WAITING: &str = concat!(
    "WITH priorities (priority) AS (VALUES (0), (1), (2), (3), (4), (5), (6), (7), (8), (9)),
     first (id) AS (SELECT (SELECT id FROM outbox INDEXED BY outbox_ready
                            WHERE status = 'PENDING' AND next_attempt_at IS NULL AND not_before IS not_before_passed
                              AND outbox.priority = priorities.priority ORDER BY id LIMIT 1) FROM priorities
                    UNION ALL
                    SELECT * FROM (SELECT id FROM outbox INDEXED BY outbox_waiting
                                   WHERE status = 'PENDING'
                                     AND (next_attempt_at IS NOT NULL OR not_before IS NOT not_before_passed)
                                   ORDER BY ",
    queue::due!(),
    " LIMIT ?2 + 0))
     SELECT reference, ",
    since!(),
    " AS since FROM outbox WHERE id IN (SELECT id FROM first) AND since <= ?1 ORDER BY since LIMIT 1"
);

const UNCERTAIN_SINCE: &str = "
    SELECT min(updated_at) FROM (SELECT updated_at FROM outbox INDEXED BY outbox_uncertain
                                 WHERE status = 'UNCERTAIN' LIMIT ?1 + 0)";

const NUMBERS: &str = "
    SELECT (SELECT count(*) FROM outbox INDEXED BY outbox_finished WHERE status = 'REJECTED' AND updated_at >= ?1),
           (SELECT count(*) FROM command INDEXED BY command_open WHERE done_at IS NULL),
           (SELECT min(next_attempt_at) FROM outbox INDEXED BY outbox_emitted
            WHERE status = 'EMITTED' AND next_attempt_at > '')";

impl Inspect {
    /// Where counting begins: nothing has happened yet. Counts the paid rows' index entries, this once.
    pub async fn begin(&self) -> Result<Happened, StoreError> {
        let (last, paid) = sqlx::query_as(PAID).fetch_one(&self.pool).await?;
        Ok(Happened { moves: BTreeMap::new(), paid, last })
    }

    /// Counts what has happened since the last call.
    pub async fn follow(&self, happened: &mut Happened) -> Result<(), StoreError> {
        let (end,): (i64,) =
            sqlx::query_as("SELECT coalesce(max(id), 0) FROM transition").fetch_one(&self.pool).await?;
        while happened.last < end {
            let until = end.min(happened.last + PAGE);
            let moves: Vec<(Option<String>, String, String, i64, i64)> =
                sqlx::query_as(MOVES).bind(happened.last).bind(until).fetch_all(&self.pool).await?;
            for (from, to, source, rows, amount) in moves {
                happened.add(from.as_deref(), to, source, rows, amount);
            }
            happened.last = until;
        }
        Ok(())
    }

    /// What waits at `now`; `happened` knows how many rows are paid.
    pub async fn figures(
        &self,
        now: Timestamp,
        rejected_since: Timestamp,
        happened: &Happened,
    ) -> Result<Figures, StoreError> {
        let mut tx = self.snapshot().await?;
        let rows: (i64, i64, i64, i64, i64, i64) = sqlx::query_as(COUNTS).fetch_one(&mut *tx).await?;
        let rows = [rows.0, rows.1, rows.2, rows.3, rows.4, happened.paid, rows.5];
        let oldest_waiting: Option<Waiting> = sqlx::query_as(OLDEST_WAITING)
            .bind(now.to_string())
            .bind(LOOKED_THROUGH)
            .fetch_optional(&mut *tx)
            .await?;
        let (uncertain_since,) =
            sqlx::query_as(UNCERTAIN_SINCE).bind(LOOKED_THROUGH).fetch_one(&mut *tx).await?;
        let (rejected_since, open_commands, next_poll) =
            sqlx::query_as(NUMBERS).bind(rejected_since.to_string()).fetch_one(&mut *tx).await?;
        let doubts = doubts(&mut tx, NAMED_DOUBTS).await?;
        let paused = pause(&mut tx).await?;
        // The pool has one connection, which the next query needs.
        tx.rollback().await?;
        let count = |(status, rows)| StatusCount { status, rows, amount: None };
        let summary = Summary {
            statuses: Status::ALL.into_iter().zip(rows).map(count).collect(),
            oldest_waiting,
            doubts,
            rejected_since,
            open_commands,
            paused,
            next_poll,
            last_transition: happened.last,
            next_emission: queue::next_due(&self.pool).await?,
        };
        let sizes = self
            .sizes()
            .map_err(|error| StoreError::Schema { path: self.path.clone(), why: error.to_string() })?;
        Ok(Figures { summary, uncertain_since, sizes })
    }

    /// What the rows in `status` come to. Reads each of them: only for few.
    pub async fn amount(&self, status: Status) -> Result<Amount, StoreError> {
        let row: (i64,) = sqlx::query_as(amount_sql(status)).fetch_one(&self.pool).await?;
        Ok(Amount(row.0))
    }
}

impl Happened {
    fn add(&mut self, from: Option<&str>, to: String, source: String, rows: i64, amount: i64) {
        let paid = Status::Paid.as_str();
        self.paid += if to == paid { rows } else { 0 } - if from == Some(paid) { rows } else { 0 };
        let moved = self.moves.entry((to, source)).or_default();
        moved.rows = moved.rows.saturating_add(u64::try_from(rows).unwrap_or_default());
        moved.amount = moved.amount.saturating_add(u64::try_from(amount).unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::store::{Binding, migrate_only};

    #[tokio::test]
    async fn nothing_finished_is_walked() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("outbox.db");
        let binding = Binding { environment: "custom".into(), api_origin: "http://127.0.0.1:1".into() };
        migrate_only(&path, &binding).await.unwrap();
        let inspect = Inspect::open(&path).await.unwrap();
        let plan = async |sql: &str| {
            let explain = sqlx::AssertSqlSafe(format!("EXPLAIN QUERY PLAN {sql}"));
            let rows: Vec<(i64, i64, i64, String)> =
                sqlx::query_as(explain).fetch_all(&inspect.pool).await.unwrap();
            rows.into_iter().map(|row| row.3).collect::<Vec<_>>().join("\n")
        };
        let counts = plan(COUNTS).await;
        assert!(!counts.contains("SCAN outbox\n") && !counts.contains("SCAN transition"), "{counts}");
        let moves = plan(MOVES).await;
        assert!(moves.contains("SEARCH t USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)"), "{moves}");
        let oldest = plan(OLDEST_WAITING).await;
        assert!(oldest.contains("SEARCH outbox USING INDEX outbox_ready (priority=?)"), "{oldest}");
        let waiting = oldest.lines().find(|line| line.contains("outbox_waiting")).unwrap();
        assert!(waiting.contains("USING") && !waiting.contains("TEMP B-TREE"), "{oldest}");
        for sql in [UNCERTAIN_SINCE, NUMBERS] {
            let plan = plan(sql).await;
            assert!(
                plan.lines().filter(|line| line.contains("outbox")).all(|line| line.contains("INDEX")),
                "{plan}"
            );
        }
    }
}
