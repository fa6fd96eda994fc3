//! What reconciliation has found lately, and how far it is.

use super::Inspect;
use crate::{
    clock::Timestamp,
    store::{Overdue, RECONCILIATION, Reconciliation, StoreError, reconcile::OVERDUE},
};

/// Reconciliation as `status` tells it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reconciled {
    /// The run under way and the last that ended.
    pub state: Reconciliation,
    /// Notices that were found to have changed their status since the first time asked for.
    pub moved: i64,
    /// Everything that was found to have changed since the second.
    pub drifted: i64,
    /// What waits for longer than it should.
    pub overdue: Overdue,
}

const DRIFTED: &str = "
    SELECT coalesce(sum(at >= ?1 AND from_status <> to_status), 0), count(*)
    FROM transition INDEXED BY transition_reconciled WHERE source = 'reconcile' AND at >= ?2";

impl Inspect {
    /// What changed its status since `moved_since`, what else was drift since `drifted_since`, what is overdue since
    /// `overdue_before`.
    pub async fn reconciled(
        &self,
        moved_since: Timestamp,
        drifted_since: Timestamp,
        overdue_before: Timestamp,
    ) -> Result<Reconciled, StoreError> {
        let state = self.meta(RECONCILIATION).await?;
        let (moved, drifted) = sqlx::query_as(DRIFTED)
            .bind(moved_since.to_string())
            .bind(drifted_since.to_string())
            .fetch_one(&self.pool)
            .await?;
        let (notices, since, commands) =
            sqlx::query_as(OVERDUE).bind(overdue_before.to_string()).fetch_one(&self.pool).await?;
        Ok(Reconciled {
            state: state.as_deref().and_then(Reconciliation::parse).unwrap_or_default(),
            moved,
            drifted,
            overdue: Overdue { notices, since, commands },
        })
    }
}
