//! What the daemon's steps read. Each query goes through an index on open rows.

use std::collections::HashMap;

use sqlx::SqlitePool;

use super::{
    Callable, CancelCase, ConfirmCase, DueNotice, FinishedPage, HintedRow, NextDue, OpenCommand, Overdue,
    PaidCase, PersonalRow, Place, Reconciliation, SecondNotice, StoreError, Wait, command, confirm, doubt,
    evidence, paid, poll, queue, reconcile, resolve, retention, wait,
};
use crate::{clock::Timestamp, notice::TresorPayReference};

/// Open rows by status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Queue {
    /// `PENDING`.
    pub pending: i64,
    /// `EMITTING`.
    pub emitting: i64,
    /// `UNCERTAIN`.
    pub uncertain: i64,
    /// `EMITTED`.
    pub emitted: i64,
}

/// Counts entries of the partial indexes; finished rows cost nothing.
const QUEUE: &str = "
    SELECT
        (SELECT count(*) FROM outbox INDEXED BY outbox_ready
         WHERE status = 'PENDING' AND next_attempt_at IS NULL AND not_before IS not_before_passed)
        + (SELECT count(*) FROM outbox INDEXED BY outbox_waiting
           WHERE status = 'PENDING' AND (next_attempt_at IS NOT NULL OR not_before IS NOT not_before_passed)),
        (SELECT count(*) FROM outbox INDEXED BY outbox_emitting WHERE status = 'EMITTING'),
        (SELECT count(*) FROM outbox INDEXED BY outbox_uncertain WHERE status = 'UNCERTAIN'),
        (SELECT count(*) FROM outbox INDEXED BY outbox_emitted WHERE status = 'EMITTED')";

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
        queue::next_due(&self.pool).await
    }

    /// Until when TresorPay asked to wait, as the rows that were told so say; `None` if that is over.
    pub async fn rate_limited_until(&self, now: Timestamp) -> Result<Option<Timestamp>, StoreError> {
        queue::rate_limited_until(&self.pool, now).await
    }

    /// When the last emission that was accepted left, among the last few.
    pub async fn last_accepted(&self) -> Result<Option<Timestamp>, StoreError> {
        queue::last_accepted(&self.pool).await
    }

    /// Up to `limit` open commands beyond this id, in the order in which they were asked.
    pub async fn open_commands(&self, after: i64, limit: usize) -> Result<Vec<OpenCommand>, StoreError> {
        command::open(&self.pool, after, limit).await
    }

    /// The id of the last command that was asked; 0 if there was none.
    pub async fn last_command(&self) -> Result<i64, StoreError> {
        command::last(&self.pool).await
    }

    /// Whether corrections are due that may wait for what they replace, and emission is not paused.
    pub async fn has_corrections(&self) -> Result<bool, StoreError> {
        queue::has_corrections(&self.pool).await
    }

    /// The row that has this notice, by its own reference.
    pub async fn owner(&self, reference: &TresorPayReference) -> Result<Option<String>, StoreError> {
        resolve::owner(&self.pool, reference).await
    }

    /// A paid row as the confirmation of its delivery needs it; `None` if there is nothing to confirm.
    pub async fn confirm_case(&self, outbox_id: i64) -> Result<Option<ConfirmCase>, StoreError> {
        confirm::case(&self.pool, outbox_id).await
    }

    /// A paid row as what is left to do for it needs it; `None` if it is not paid.
    pub async fn paid_case(&self, outbox_id: i64) -> Result<Option<PaidCase>, StoreError> {
        paid::case(&self.pool, outbox_id).await
    }

    /// `outbox.id` of paid rows that have something left to do at `now`; `callable`: only those.
    pub async fn due_paid(
        &self,
        now: Timestamp,
        limit: usize,
        callable: Option<Callable>,
    ) -> Result<Vec<i64>, StoreError> {
        paid::due(&self.pool, now, limit, callable).await
    }

    /// When the first paid row has something left to do; `None`: none has.
    pub async fn next_paid(&self) -> Result<Option<Timestamp>, StoreError> {
        paid::next(&self.pool).await
    }

    /// The rows that callbacks name, by `outbox.id`.
    pub async fn hinted(&self, ids: &[i64]) -> Result<HashMap<i64, HintedRow>, StoreError> {
        evidence::hinted(&self.pool, ids).await
    }

    /// Up to `limit` notices that were seen live beside a row's own.
    pub async fn second_notices(&self, limit: usize) -> Result<Vec<SecondNotice>, StoreError> {
        Ok(evidence::seconds(&self.pool, limit).await?)
    }

    /// A row with what its attempts say, for a cancel; `None` if there is no such row.
    pub async fn cancel_case(&self, outbox_id: i64) -> Result<Option<CancelCase>, StoreError> {
        doubt::case(&self.pool, outbox_id).await
    }

    /// `outbox.id` of rows in doubt that are due at `now`, the longest overdue first.
    pub async fn due_doubts(&self, now: Timestamp, limit: usize) -> Result<Vec<i64>, StoreError> {
        doubt::due(&self.pool, now, limit).await
    }

    /// When the first row in doubt is due; `None`: none is, or all are held.
    pub async fn next_doubt(&self) -> Result<Option<Timestamp>, StoreError> {
        doubt::next(&self.pool).await
    }

    /// How many rows are open in each status.
    pub async fn queue(&self) -> Result<Queue, StoreError> {
        let row: (i64, i64, i64, i64) = sqlx::query_as(QUEUE).fetch_one(&self.pool).await?;
        Ok(Queue { pending: row.0, emitting: row.1, uncertain: row.2, emitted: row.3 })
    }

    /// Emitted notices that are next asked about after `beyond`; `None`: all that are asked about again.
    pub async fn poll_waits(&self, beyond: Option<Timestamp>) -> Result<Vec<Wait>, StoreError> {
        wait::polls(&self.pool, beyond).await
    }

    /// Rows that wait to be emitted again until after `beyond`.
    pub async fn retry_waits(&self, beyond: Timestamp) -> Result<Vec<Wait>, StoreError> {
        wait::retries(&self.pool, beyond).await
    }

    /// How far reconciliation has come; `None`: there never was one.
    pub async fn reconciliation(&self) -> Result<Option<Reconciliation>, StoreError> {
        reconcile::state(&self.pool).await
    }

    /// Finished notices of the place's status beyond it that were finished no later than `until`.
    pub async fn finished_notices(
        &self,
        place: &Place,
        until: &str,
        limit: usize,
    ) -> Result<FinishedPage, StoreError> {
        reconcile::finished(&self.pool, place, until, limit).await
    }

    /// What should have been asked about or carried out before `before`.
    pub async fn overdue(&self, before: Timestamp) -> Result<Overdue, StoreError> {
        reconcile::overdue(&self.pool, before).await
    }

    /// Up to `limit` rows that have their personal data still, were finished before `before` and come after this place.
    pub async fn personal_rows(
        &self,
        after: (&str, i64),
        before: Timestamp,
        limit: usize,
    ) -> Result<Vec<PersonalRow>, StoreError> {
        retention::due(&self.pool, after, before, limit).await
    }

    /// A row, if it is finished, as the removal of its personal data needs it.
    pub async fn personal_row(&self, outbox_id: i64) -> Result<Option<PersonalRow>, StoreError> {
        retention::one(&self.pool, outbox_id).await
    }

    /// `outbox.id` of up to `limit` rows beyond `after` that are at TresorPay and have a card number still.
    pub async fn card_rows(&self, after: i64, limit: usize) -> Result<Vec<i64>, StoreError> {
        retention::cards(&self.pool, after, limit).await
    }

    /// The pool, for a connection of one's own.
    pub fn pool(&self) -> &SqlitePool {
        &self.pool
    }
}
