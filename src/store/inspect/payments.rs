//! Payments by hour and by provider, for charts.

use super::Inspect;
use crate::{clock::Timestamp, store::StoreError};

/// What was paid within an hour by one way of payment.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Payments {
    /// `2026-11-24T09`, UTC.
    pub hour: String,
    /// As TresorPay names it.
    pub provider: Option<String>,
    /// How many.
    pub count: i64,
    /// What they come to, in XOF.
    pub amount: i64,
}

/// `updated_at` is never before `paid_at`.
const PAYMENTS: &str = "
    SELECT substr(paid_at, 1, 13) AS hour, provider, count(*) AS count, CAST(total(net_total) AS INTEGER) AS amount
    FROM outbox INDEXED BY outbox_finished
    WHERE status = 'PAID' AND updated_at >= ?1 AND paid_at >= ?1
    GROUP BY 1, 2";

impl Inspect {
    /// What was paid since. Reads each of these rows.
    pub async fn payments(&self, since: Timestamp) -> Result<Vec<Payments>, StoreError> {
        Ok(sqlx::query_as(PAYMENTS).bind(since.to_string()).fetch_all(&self.pool).await?)
    }
}
