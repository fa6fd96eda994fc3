//! Rows in another order than by `id`. An order is a list of ids, found first; the rows are read by them afterwards.
//!
//! By `reference`, and by the last change where the status is finished or left open, an index gives the page, wherever it
//! begins. There is none for amounts and times of creation: every row that is asked for is looked at once a page, and
//! SQLite keeps no more of them than the page holds.

use std::collections::HashMap;

use sqlx::AssertSqlSafe;

use super::{
    Inspect,
    listing::{ListedRow, columns, ids},
};
use crate::{clock::Timestamp, notice::Status, store::StoreError};

/// What rows are sorted by; equal ones by `id`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sort {
    /// `created_at`, the newest first.
    Created,
    /// `updated_at`, the newest first; of a row that the daemon has not touched, `created_at`.
    Updated,
    /// `net_total`, the greatest first.
    Amount,
    /// `reference`, by the bytes of the text.
    Reference,
}

impl Sort {
    const fn key(self) -> &'static str {
        match self {
            Self::Created => "created_at",
            Self::Updated => "coalesce(updated_at, created_at)",
            Self::Amount => "net_total",
            Self::Reference => "reference",
        }
    }

    /// Unless it is turned round.
    const fn descends(self) -> bool {
        match self {
            Self::Created | Self::Updated | Self::Amount => true,
            Self::Reference => false,
        }
    }
}

/// Which rows, in which order.
#[derive(Debug, Clone, Copy)]
pub struct SortedRequest {
    /// The order.
    pub sort: Sort,
    /// The other way round.
    pub reverse: bool,
    /// Only this status.
    pub status: Option<Status>,
    /// Only rows with a transition after this one.
    pub changed_after: Option<i64>,
    /// Only rows that reconciliation found otherwise at TresorPay; those that it could only flag, if they were finished
    /// since then.
    pub drifted: Option<Timestamp>,
    /// Only what comes after this row in the order, as it stands now.
    pub after: Option<i64>,
    /// At most so many.
    pub limit: i64,
}

/// The ids of rows that are in the way of neither index: parameter 5 is the time of [`SortedRequest::drifted`].
const DRIFTED: &str = "
    id IN (SELECT outbox_id FROM transition INDEXED BY transition_reconciled WHERE source = 'reconcile'
           UNION ALL SELECT id FROM outbox INDEXED BY outbox_finished
           WHERE status = 'PAID' AND updated_at >= ?5 AND last_error GLOB 'drift_*'
           UNION ALL SELECT id FROM outbox INDEXED BY outbox_finished
           WHERE status = 'CANCELED' AND updated_at >= ?5 AND last_error GLOB 'drift_*')";

impl SortedRequest {
    /// Parameters: 1 `after`, 3 `limit`, 4 `changed_after`, 5 the time of `drifted`.
    fn sql(&self) -> String {
        let narrow = self.changed_after.is_some() || self.drifted.is_some();
        match (self.sort, self.status) {
            (Sort::Updated, None) if !narrow => self.merged(),
            (Sort::Updated, Some(status)) if !narrow && is_indexed(status) => {
                format!("SELECT id FROM ({})", self.finished(status))
            }
            _ => {
                let key = self.sort.key();
                let mut wheres = vec![selection(self.status)];
                wheres.extend(
                    self.changed_after.map(|_| "id IN (SELECT outbox_id FROM transition WHERE id > ?4)"),
                );
                wheres.extend(self.drifted.map(|_| DRIFTED));
                let from = self.from(key, key);
                format!(
                    "SELECT id FROM outbox WHERE {}{from} ORDER BY {} LIMIT ?3 + 0",
                    wheres.join(" AND "),
                    self.order(key)
                )
            }
        }
    }

    /// Three statuses out of their index, a page of each; the rows of the others, which are few; and of all of them the page.
    fn merged(&self) -> String {
        let key = self.sort.key();
        let finished = [Status::Paid, Status::Canceled, Status::Rejected]
            .map(|status| format!("SELECT id, key FROM ({})", self.finished(status)));
        let open = [Status::Pending, Status::Emitting, Status::Uncertain, Status::Emitted].map(|status| {
            format!(
                "SELECT id, {key} AS key FROM outbox WHERE {}{}",
                selection(Some(status)),
                self.from(key, key)
            )
        });
        let all: Vec<_> = finished.into_iter().chain(open).collect();
        let order = self.order("key");
        format!("SELECT id FROM ({}) ORDER BY {order} LIMIT ?3 + 0", all.join(" UNION ALL "))
    }

    /// A finished status by its last change: a walk along its index.
    fn finished(&self, status: Status) -> String {
        format!(
            "SELECT id, updated_at AS key FROM outbox INDEXED BY outbox_finished WHERE status = '{status}'{} ORDER BY {} LIMIT ?3 + 0",
            self.from("updated_at", Sort::Updated.key()),
            self.order("updated_at")
        )
    }

    /// Where the page begins, if it is not the first.
    fn from(&self, column: &str, key: &str) -> String {
        let beyond = if self.descends() { "<" } else { ">" };
        match (self.after, self.sort) {
            (None, _) => String::new(),
            // No two rows have the same.
            (Some(_), Sort::Reference) => {
                format!(" AND {column} {beyond} (SELECT {key} FROM outbox WHERE id = ?1)")
            }
            (Some(_), Sort::Created | Sort::Updated | Sort::Amount) => {
                format!(" AND ({column}, id) {beyond} ((SELECT {key} FROM outbox WHERE id = ?1), ?1)")
            }
        }
    }

    fn order(&self, column: &str) -> String {
        let way = if self.descends() { "DESC" } else { "ASC" };
        match self.sort {
            Sort::Reference => format!("{column} {way}"),
            Sort::Created | Sort::Updated | Sort::Amount => format!("{column} {way}, id {way}"),
        }
    }

    const fn descends(&self) -> bool {
        self.sort.descends() != self.reverse
    }
}

/// `outbox_finished` gives it in the order of its last change.
const fn is_indexed(status: Status) -> bool {
    match status {
        Status::Paid | Status::Canceled | Status::Rejected => true,
        Status::Pending | Status::Emitting | Status::Uncertain | Status::Emitted => false,
    }
}

/// The rows of a status, out of its index. Most are `PAID`: for those the order's own index is better, where it has one.
const fn selection(status: Option<Status>) -> &'static str {
    match status {
        None => "1",
        Some(Status::Paid) => "+status = 'PAID'",
        Some(Status::Pending) => concat!("id IN (", ids!(pending), ")"),
        Some(Status::Emitting) => concat!("id IN (", ids!(emitting), ")"),
        Some(Status::Uncertain) => concat!("id IN (", ids!(uncertain), ")"),
        Some(Status::Emitted) => concat!("id IN (", ids!(emitted), ")"),
        Some(Status::Rejected) => concat!("id IN (", ids!(rejected), ")"),
        Some(Status::Canceled) => concat!("id IN (", ids!(canceled), ")"),
    }
}

impl Inspect {
    /// The ids of a page, in its order; `None`: there is no row of the id that it should begin after.
    pub async fn sorted(&self, request: SortedRequest) -> Result<Option<Vec<i64>>, StoreError> {
        if let Some(after) = request.after {
            let row: Option<(i64,)> = sqlx::query_as("SELECT id FROM outbox WHERE id = ?1")
                .bind(after)
                .fetch_optional(&self.pool)
                .await?;
            if row.is_none() {
                return Ok(None);
            }
        }
        let ids: Vec<(i64,)> = sqlx::query_as(AssertSqlSafe(request.sql()))
            .bind(request.after)
            .bind(None::<i64>)
            .bind(request.limit)
            .bind(request.changed_after)
            .bind(request.drifted.map(|since| since.to_string()))
            .fetch_all(&self.pool)
            .await?;
        Ok(Some(ids.into_iter().map(|row| row.0).collect()))
    }

    /// The rows of these ids, in their order; those that were deleted since are left out.
    pub async fn rows(&self, ids: &[i64]) -> Result<Vec<ListedRow>, StoreError> {
        const ROWS: &str =
            concat!("SELECT ", columns!(), " FROM outbox WHERE id IN (SELECT value FROM json_each(?1))");
        let rows: Vec<ListedRow> =
            sqlx::query_as(ROWS).bind(serde_json::json!(ids).to_string()).fetch_all(&self.pool).await?;
        let mut rows: HashMap<i64, ListedRow> = rows.into_iter().map(|row| (row.id, row)).collect();
        Ok(ids.iter().filter_map(|id| rows.remove(id)).collect())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::store::{Binding, migrate_only};

    /// Where an index can serve, nothing is sorted that is not of one page, and no table is walked from end to end.
    #[tokio::test]
    async fn a_page_comes_out_of_an_index_where_there_is_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("outbox.db");
        let binding = Binding { environment: "custom".into(), api_origin: "http://127.0.0.1:1".into() };
        migrate_only(&path, &binding).await.unwrap();
        let inspect = Inspect::open(&path).await.unwrap();
        let indexed = |sort, status| match sort {
            Sort::Reference => matches!(status, None | Some(Status::Paid)),
            Sort::Updated => status.is_some_and(is_indexed),
            Sort::Created | Sort::Amount => false,
        };
        for sort in [Sort::Created, Sort::Updated, Sort::Amount, Sort::Reference] {
            for status in Status::ALL.map(Some).into_iter().chain([None]) {
                for (reverse, after) in [(false, None), (false, Some(7)), (true, None), (true, Some(7))] {
                    for (changed_after, drifted) in [(None, None), (Some(7), Some(Timestamp::now()))] {
                        let request =
                            SortedRequest { sort, reverse, status, changed_after, drifted, after, limit: 9 };
                        assert_eq!(
                            inspect.sorted(SortedRequest { after: None, ..request }).await.unwrap(),
                            Some(vec![])
                        );
                        let plan = plan(&inspect, &request.sql()).await;
                        if changed_after.is_none() && indexed(sort, status) {
                            assert!(!plan.contains("TEMP B-TREE"), "{request:?}\n{plan}");
                        }
                        // One table has every row; whatever else is walked is an index.
                        let whole = plan.lines().any(|line| line.trim() == "SCAN outbox");
                        let must = matches!(sort, Sort::Created | Sort::Amount)
                            && matches!(status, None | Some(Status::Paid));
                        assert!(!whole || must && changed_after.is_none(), "{request:?}\n{plan}");
                    }
                }
            }
        }
    }

    async fn plan(inspect: &Inspect, sql: &str) -> String {
        let explain = AssertSqlSafe(format!("EXPLAIN QUERY PLAN {sql}"));
        let rows: Vec<(i64, i64, i64, String)> =
            sqlx::query_as(explain).fetch_all(&inspect.pool).await.unwrap();
        rows.into_iter().map(|row| row.3).collect::<Vec<_>>().join("\n")
    }
}
