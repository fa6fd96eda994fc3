//! What the daemon's steps read. Each query goes through an index on open rows.

use sqlx::SqlitePool;

use super::{DueNotice, NextDue, StoreError, emission, poll};
use crate::clock::Timestamp;

/// A small pool of read-only connections; cheap to clone.
#[derive(Clone)]
pub struct Reads {
    pool: SqlitePool,
}

impl Reads {
    pub(super) fn new(pool: SqlitePool) -> Self {
        Self { pool }
    }

    /// Notices to ask about at `now`.
    pub async fn due_notices(&self, now: Timestamp, limit: usize) -> Result<Vec<DueNotice>, StoreError> {
        poll::due(&self.pool, now, limit).await
    }

    /// When there is something to emit.
    pub async fn next_due(&self) -> Result<NextDue, StoreError> {
        emission::next_due(&self.pool).await
    }

    /// The pool, for a connection of one's own.
    pub fn pool(&self) -> &SqlitePool {
        &self.pool
    }
}
