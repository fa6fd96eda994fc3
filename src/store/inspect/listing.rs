//! Pages of rows by `id`, and the feed of transitions. Both walk an index in order and hold no snapshot between pages.

use serde::Serialize;

use super::Inspect;
use crate::{
    clock::Timestamp,
    notice::Status,
    store::{Candidate, StoreError},
};

/// A row of the outbox without its personal data: the columns of that name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, sqlx::FromRow)]
#[expect(missing_docs, reason = "the columns of the schema, which documents them")]
pub struct ListedRow {
    pub id: i64,
    pub reference: String,
    pub status: String,
    pub net_total: i64,
    pub priority: i64,
    pub code_client: Option<String>,
    pub code_structure: Option<String>,
    pub replaces: Option<String>,
    pub not_before: Option<String>,
    pub created_at: String,
    pub updated_at: Option<String>,
    pub attempts: i64,
    pub next_attempt_at: Option<String>,
    pub tresorpay_reference: Option<String>,
    pub payment_url: Option<String>,
    pub provider: Option<String>,
    pub pay_date: Option<String>,
    pub emitted_at: Option<String>,
    pub paid_at: Option<String>,
    pub canceled_at: Option<String>,
    pub delivery_confirmed_at: Option<String>,
    pub receipt_path: Option<String>,
    pub anonymised_at: Option<String>,
    pub last_error: Option<String>,
}

/// One transition with its row as it is now; all of the row is `None` if it was deleted since.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, sqlx::FromRow)]
#[expect(missing_docs, reason = "the columns of the schema, which documents them")]
pub struct FeedRow {
    pub id: i64,
    pub at: String,
    pub outbox_id: i64,
    pub reference: Option<String>,
    pub from_status: Option<String>,
    pub to_status: String,
    pub source: String,
    pub reason: Option<String>,
    pub status: Option<String>,
    pub net_total: Option<i64>,
    pub tresorpay_reference: Option<String>,
    pub payment_url: Option<String>,
    pub provider: Option<String>,
    pub pay_date: Option<String>,
}

/// Which rows of the outbox, and in which order.
#[derive(Debug, Clone, Copy)]
pub struct PageRequest {
    /// Only this status.
    pub status: Option<Status>,
    /// Where the page begins.
    pub from: Cursor,
    /// At most so many rows.
    pub limit: i64,
}

/// Where a page begins and which way it goes.
#[derive(Debug, Clone, Copy)]
pub enum Cursor {
    /// Below this `id`, the newest first.
    Before(i64),
    /// Above this `id`, the oldest first.
    After(i64),
}

/// The columns of [`ListedRow`].
macro_rules! columns {
    () => {
        "id, reference, status, net_total, priority, code_client, code_structure, replaces, not_before, created_at,
         updated_at, attempts, next_attempt_at, tresorpay_reference, payment_url, provider, pay_date, emitted_at, paid_at,
         canceled_at, delivery_confirmed_at, receipt_path, anonymised_at, last_error"
    };
}

/// The ids of the rows in a status, out of its index. `PAID` has none of its own: most rows are paid, so that walking
/// the table from its end finds a page sooner.
macro_rules! ids {
    (pending) => {
        concat!(ids!(ready), " UNION ALL ", ids!(waiting))
    };
    (ready) => {
        "SELECT id FROM outbox INDEXED BY outbox_ready
         WHERE status = 'PENDING' AND next_attempt_at IS NULL AND not_before IS not_before_passed"
    };
    (waiting) => {
        "SELECT id FROM outbox INDEXED BY outbox_waiting
         WHERE status = 'PENDING' AND (next_attempt_at IS NOT NULL OR not_before IS NOT not_before_passed)"
    };
    (emitting) => {
        "SELECT id FROM outbox INDEXED BY outbox_emitting WHERE status = 'EMITTING'"
    };
    (uncertain) => {
        "SELECT id FROM outbox INDEXED BY outbox_uncertain WHERE status = 'UNCERTAIN'"
    };
    (emitted) => {
        "SELECT id FROM outbox INDEXED BY outbox_emitted WHERE status = 'EMITTED'"
    };
    (rejected) => {
        "SELECT id FROM outbox INDEXED BY outbox_finished WHERE status = 'REJECTED'"
    };
    (paid) => {
        "SELECT id FROM outbox INDEXED BY outbox_finished WHERE status = 'PAID'"
    };
    (canceled) => {
        "SELECT id FROM outbox INDEXED BY outbox_finished WHERE status = 'CANCELED'"
    };
}
pub(super) use {columns, ids};

/// Both orders of one selection.
macro_rules! page {
    ($($selection:expr),+) => {
        (
            concat!("SELECT ", columns!(), " FROM outbox WHERE ", $($selection,)+ " AND id < ?1 ORDER BY id DESC LIMIT ?2"),
            concat!("SELECT ", columns!(), " FROM outbox WHERE ", $($selection,)+ " AND id > ?1 ORDER BY id LIMIT ?2"),
        )
    };
}

/// Newest first, and oldest first.
pub(super) const fn page_sql(status: Option<Status>) -> (&'static str, &'static str) {
    match status {
        None => page!("1"),
        Some(Status::Pending) => page!("id IN (", ids!(pending), ")"),
        Some(Status::Emitting) => page!("id IN (", ids!(emitting), ")"),
        Some(Status::Uncertain) => page!("id IN (", ids!(uncertain), ")"),
        Some(Status::Emitted) => page!("id IN (", ids!(emitted), ")"),
        Some(Status::Rejected) => page!("id IN (", ids!(rejected), ")"),
        Some(Status::Canceled) => page!("id IN (", ids!(canceled), ")"),
        Some(Status::Paid) => page!("+status = 'PAID'"),
    }
}

/// References and amounts of one selection, oldest first.
macro_rules! candidates {
    ($($selection:expr),+) => {
        concat!("SELECT reference, net_total FROM outbox WHERE ", $($selection,)+ " ORDER BY id")
    };
}

const fn candidates_sql(status: Status) -> &'static str {
    match status {
        Status::Pending => candidates!("id IN (", ids!(pending), ")"),
        Status::Emitting => candidates!("id IN (", ids!(emitting), ")"),
        Status::Uncertain => candidates!("id IN (", ids!(uncertain), ")"),
        Status::Emitted => candidates!("id IN (", ids!(emitted), ")"),
        Status::Rejected => candidates!("id IN (", ids!(rejected), ")"),
        Status::Canceled => candidates!("id IN (", ids!(canceled), ")"),
        Status::Paid => candidates!("id IN (", ids!(paid), ")"),
    }
}

const FEED: &str = "
    SELECT t.id, t.at, t.outbox_id, o.reference, t.from_status, t.to_status, t.source, t.reason, o.status, o.net_total,
           o.tresorpay_reference, o.payment_url, o.provider, o.pay_date
    FROM transition AS t LEFT JOIN outbox AS o ON o.id = t.outbox_id
    WHERE t.id > ?1 AND (?2 IS NULL OR t.to_status = ?2) ORDER BY t.id LIMIT ?3";

/// What reconciliation found: its transitions are few and have an index of their own.
const DRIFT: &str = "
    SELECT t.id, t.at, t.outbox_id, o.reference, t.from_status, t.to_status, t.source, t.reason, o.status, o.net_total,
           o.tresorpay_reference, o.payment_url, o.provider, o.pay_date
    FROM transition AS t LEFT JOIN outbox AS o ON o.id = t.outbox_id
    WHERE t.id IN (SELECT id FROM transition INDEXED BY transition_reconciled WHERE source = 'reconcile')
      AND t.id > ?1 AND (?2 IS NULL OR t.to_status = ?2) ORDER BY t.id LIMIT ?3";

/// Finished here, and otherwise at TresorPay without a move that leads there.
const FLAGGED: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM outbox WHERE id IN (SELECT id FROM outbox INDEXED BY outbox_finished
                               WHERE status = 'PAID' AND updated_at >= ?1
                               UNION ALL SELECT id FROM outbox INDEXED BY outbox_finished
                               WHERE status = 'CANCELED' AND updated_at >= ?1)
       AND last_error GLOB 'drift_*' ORDER BY id"
);

impl Inspect {
    /// Rows finished since `since` that reconciliation found live or unknown at TresorPay.
    pub async fn flagged(&self, since: Timestamp) -> Result<Vec<ListedRow>, StoreError> {
        Ok(sqlx::query_as(FLAGGED).bind(since.to_string()).fetch_all(&self.pool).await?)
    }

    /// As [`Inspect::feed`], of what reconciliation found.
    pub async fn drift(
        &self,
        after: i64,
        to: Option<Status>,
        limit: i64,
    ) -> Result<Vec<FeedRow>, StoreError> {
        let rows = sqlx::query_as(DRIFT).bind(after).bind(to.map(Status::as_str)).bind(limit);
        Ok(rows.fetch_all(&self.pool).await?)
    }

    /// Every row in `status`, oldest first.
    pub(in crate::store) async fn candidates(&self, status: Status) -> Result<Vec<Candidate>, StoreError> {
        Ok(sqlx::query_as(candidates_sql(status)).fetch_all(&self.pool).await?)
    }

    /// One page of rows.
    pub async fn page(&self, request: PageRequest) -> Result<Vec<ListedRow>, StoreError> {
        let (newest_first, oldest_first) = page_sql(request.status);
        let (sql, id) = match request.from {
            Cursor::Before(id) => (newest_first, id),
            Cursor::After(id) => (oldest_first, id),
        };
        Ok(sqlx::query_as(sql).bind(id).bind(request.limit).fetch_all(&self.pool).await?)
    }

    /// Up to `limit` transitions after the one with this id, in the order of their commits; with `to`, only those that
    /// end in it.
    pub async fn feed(&self, after: i64, to: Option<Status>, limit: i64) -> Result<Vec<FeedRow>, StoreError> {
        let rows = sqlx::query_as(FEED).bind(after).bind(to.map(Status::as_str)).bind(limit);
        Ok(rows.fetch_all(&self.pool).await?)
    }
}
