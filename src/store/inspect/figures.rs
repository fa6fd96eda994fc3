//! The outbox in figures, for whoever looks every few seconds: rows are counted once and then kept by the transitions, so
//! that a million of them, waiting or finished, cost nothing more. What an application deletes leaves no transition: where
//! that can be, few rows are counted anew at each look and many once in a while.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use sqlx::SqliteConnection;

use super::{
    Inspect, StatusCount, Summary,
    summary::{NAMED_DOUBTS, amount_sql, count_sql, doubts, oldest_waiting, pause},
};
use crate::{
    clock::Timestamp,
    notice::{Amount, Status},
    store::{StoreError, queue},
};

/// Transitions that are read in one query.
const PAGE: i64 = 20_000;
/// Rows that are looked through for the oldest doubt, which no index tells.
const LOOKED_THROUGH: i64 = 1_000;
/// Whose rows an application may delete: what was sent is never deleted.
const DELETABLE: [Status; 3] = [Status::Pending, Status::Rejected, Status::Canceled];
/// So many rows are counted anew at each look: less than a millisecond.
const FEW: i64 = 10_000;
/// More of them are counted anew after this time.
const RECOUNT_AFTER: Duration = Duration::from_secs(300);

/// What has happened since [`Inspect::begin`], and how many rows are in each status.
#[derive(Debug, Clone)]
pub struct Happened {
    /// Changes of status by what it became and who made it so; by `to_status` and `source`.
    pub moves: BTreeMap<(String, String), Moved>,
    /// In the order of [`Status::ALL`].
    rows: [i64; Status::ALL.len()],
    /// The last transition that is counted.
    last: i64,
    /// When all that may be deleted was counted.
    counted_at: Instant,
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

const LAST: &str = "SELECT coalesce(max(id), 0) FROM transition";

const MOVES: &str = "
    SELECT t.from_status, t.to_status, t.source, count(*), CAST(total(o.net_total) AS INTEGER)
    FROM transition AS t LEFT JOIN outbox AS o ON o.id = t.outbox_id
    WHERE t.id > ?1 AND t.id <= ?2 AND t.from_status IS NOT t.to_status
    GROUP BY 1, 2, 3";

const UNCERTAIN_SINCE: &str = "
    SELECT min(updated_at) FROM (SELECT updated_at FROM outbox INDEXED BY outbox_uncertain
                                 WHERE status = 'UNCERTAIN' LIMIT ?1 + 0)";

const NUMBERS: &str = "
    SELECT (SELECT count(*) FROM (SELECT 1 FROM outbox INDEXED BY outbox_finished
                                  WHERE status = 'REJECTED' AND updated_at >= ?1 LIMIT 100000)),
           (SELECT count(*) FROM command INDEXED BY command_open WHERE done_at IS NULL),
           (SELECT min(next_attempt_at) FROM outbox INDEXED BY outbox_emitted
            WHERE status = 'EMITTED' AND next_attempt_at > '')";

impl Inspect {
    /// Where counting begins: nothing has happened yet. Counts every row's index entry, this once.
    pub async fn begin(&self) -> Result<Happened, StoreError> {
        let mut tx = self.snapshot().await?;
        let last: (i64,) = sqlx::query_as(LAST).fetch_one(&mut *tx).await?;
        let mut rows = [0; Status::ALL.len()];
        for (status, rows) in Status::ALL.into_iter().zip(&mut rows) {
            *rows = count(&mut tx, status).await?;
        }
        tx.rollback().await?;
        Ok(Happened { moves: BTreeMap::new(), rows, last: last.0, counted_at: Instant::now() })
    }

    /// Counts what has happened since the last call.
    pub async fn follow(&self, happened: &mut Happened) -> Result<(), StoreError> {
        // In many steps, if it is much, that hold no snapshot between them.
        follow(&mut *self.pool.acquire().await?, happened).await?;
        let mut tx = self.snapshot().await?;
        follow(&mut tx, happened).await?;
        let all = happened.counted_at.elapsed() >= RECOUNT_AFTER;
        for status in DELETABLE {
            if all || happened.rows(status) <= FEW {
                happened.rows[status as usize] = count(&mut tx, status).await?;
            }
        }
        if all {
            happened.counted_at = Instant::now();
        }
        tx.rollback().await?;
        Ok(())
    }

    /// What waits at `now`; `happened` knows how many rows there are.
    pub async fn figures(
        &self,
        now: Timestamp,
        rejected_since: Timestamp,
        happened: &Happened,
    ) -> Result<Figures, StoreError> {
        let mut tx = self.snapshot().await?;
        let oldest_waiting = oldest_waiting(&mut tx, now).await?;
        let (uncertain_since,) =
            sqlx::query_as(UNCERTAIN_SINCE).bind(LOOKED_THROUGH).fetch_one(&mut *tx).await?;
        let (rejected_since, open_commands, next_poll) =
            sqlx::query_as(NUMBERS).bind(rejected_since.to_string()).fetch_one(&mut *tx).await?;
        let doubts = doubts(&mut tx, NAMED_DOUBTS).await?;
        let paused = pause(&mut tx).await?;
        // The pool has one connection, which the next query needs.
        tx.rollback().await?;
        let count = |status| StatusCount { status, rows: happened.rows(status), amount: None };
        let summary = Summary {
            statuses: Status::ALL.into_iter().map(count).collect(),
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

async fn count(conn: &mut SqliteConnection, status: Status) -> Result<i64, StoreError> {
    let rows: (i64,) = sqlx::query_as(count_sql(status)).fetch_one(conn).await?;
    Ok(rows.0)
}

async fn follow(conn: &mut SqliteConnection, happened: &mut Happened) -> Result<(), StoreError> {
    let (end,): (i64,) = sqlx::query_as(LAST).fetch_one(&mut *conn).await?;
    while happened.last < end {
        let until = end.min(happened.last + PAGE);
        let moves: Vec<(Option<String>, String, String, i64, i64)> =
            sqlx::query_as(MOVES).bind(happened.last).bind(until).fetch_all(&mut *conn).await?;
        for (from, to, source, rows, amount) in moves {
            happened.add(from.as_deref(), to, source, rows, amount);
        }
        happened.last = until;
    }
    Ok(())
}

impl Happened {
    fn rows(&self, status: Status) -> i64 {
        self.rows[status as usize]
    }

    fn add(&mut self, from: Option<&str>, to: String, source: String, rows: i64, amount: i64) {
        for (status, of) in Status::ALL.into_iter().zip(&mut self.rows) {
            *of += if to == status.as_str() { rows } else { 0 };
            *of -= if from == Some(status.as_str()) { rows } else { 0 };
        }
        let moved = self.moves.entry((to, source)).or_default();
        moved.rows = moved.rows.saturating_add(u64::try_from(rows).unwrap_or_default());
        moved.amount = moved.amount.saturating_add(u64::try_from(amount).unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::store::{Access, Binding, migrate_only, open_existing};

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
        let moves = plan(MOVES).await;
        assert!(moves.contains("SEARCH t USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)"), "{moves}");
        for sql in [UNCERTAIN_SINCE, NUMBERS] {
            let plan = plan(sql).await;
            assert!(
                plan.lines().filter(|line| line.contains("outbox")).all(|line| line.contains("INDEX")),
                "{plan}"
            );
        }
    }

    /// Many rows are not counted at each look, and what is deleted of them is seen in the end.
    #[tokio::test]
    async fn many_rows_are_counted_once_in_a_while() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("outbox.db");
        let binding = Binding { environment: "custom".into(), api_origin: "http://127.0.0.1:1".into() };
        migrate_only(&path, &binding).await.unwrap();
        let application = open_existing(&path, Access::Application).await.unwrap();
        let insert = async |from: i64, until: i64| {
            let insert = "
                INSERT INTO outbox (reference, net_total, tax_payer, items)
                WITH RECURSIVE k (i) AS (VALUES (?1) UNION ALL SELECT i + 1 FROM k WHERE i < ?2)
                SELECT 'A-' || i, 5, '{\"name\":\"Diarra\"}', '[{\"quantity\":1,\"unitPrice\":5}]' FROM k";
            sqlx::query(insert).bind(from).bind(until).execute(&application).await.unwrap();
        };
        let delete = async |id: i64| {
            sqlx::query("DELETE FROM outbox WHERE id = ?1").bind(id).execute(&application).await.unwrap();
        };
        let inspect = Inspect::open(&path).await.unwrap();
        let mut happened = inspect.begin().await.unwrap();
        insert(1, FEW + 1).await;
        inspect.follow(&mut happened).await.unwrap();
        assert_eq!(happened.rows(Status::Pending), FEW + 1);
        delete(1).await;
        insert(FEW + 2, FEW + 3).await;
        inspect.follow(&mut happened).await.unwrap();
        assert_eq!(
            happened.rows(Status::Pending),
            FEW + 3,
            "what is new is seen, and nothing is counted anew"
        );
        happened.counted_at -= RECOUNT_AFTER;
        inspect.follow(&mut happened).await.unwrap();
        assert_eq!(happened.rows(Status::Pending), FEW + 2);
        for id in 2..=5 {
            delete(id).await;
        }
        happened.rows[Status::Pending as usize] = FEW;
        inspect.follow(&mut happened).await.unwrap();
        assert_eq!(happened.rows(Status::Pending), FEW - 2, "few are counted at each look");
    }
}
