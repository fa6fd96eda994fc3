//! The handle to the writer: one method for each kind of write that the rest of the program asks for.

use std::sync::Arc;

use sqlx::SqliteConnection;
use tokio::sync::{
    mpsc::{self, error::TrySendError},
    oneshot,
};

use super::{
    Operation, QUEUE, Upkeep, WriterFile, WriterTask,
    operation::{Asked, Ping},
    write::{EmitTurn, Reply, Write},
};
use crate::{
    clock::Timestamp,
    notice::Policy,
    observe::Commits,
    store::{
        AfterCancel, Anonymise, CancelRecord, CancelStart, Claim, ClaimedRow, ConfirmRecord, ConfirmStart,
        DoubtNote, DoubtPolicy, Drift, EmissionRecord, Ended, Ending, Evidence, FlagAmount, Guard,
        PaidRecord, PollRecord, ReceiptKept, ReconcileRecord, Reconciliation, Recording, Removal,
        SecondNotice, Settled, Sighting, StoreError, TakeCards, Taken,
        command::Change,
        evidence::{CallbackKey, PollNow, SecondOver},
        mark::Mark,
        reconcile::Reschedule,
        replace::Corrections,
        wait::{Publish, WaitMove},
    },
};

/// A handle to the writer's task; cheap to clone. The task ends when every handle is gone.
#[derive(Clone)]
pub struct Writer {
    queue: mpsc::Sender<Write>,
    commits: Commits,
    upkeep: mpsc::Sender<(Upkeep, oneshot::Sender<bool>)>,
}

impl Writer {
    /// The handle and the task. `handed_over` is the last attempt that the database knows.
    pub(in crate::store) fn new(
        file: WriterFile,
        conn: SqliteConnection,
        mark: Mark,
        guard: Arc<Guard>,
    ) -> (Self, impl Future<Output = Result<(), StoreError>> + Send + 'static) {
        let (queue, inbox) = mpsc::channel(QUEUE);
        let (upkeep, asked) = mpsc::channel(1);
        let commits = Commits::default();
        let task = WriterTask::new(file, conn, mark, guard, commits.clone());
        (Self { queue, commits, upkeep }, task.run(inbox, asked))
    }

    /// Its instruments.
    pub fn commits(&self) -> &Commits {
        &self.commits
    }

    /// Waits for its turn in a transaction that changes nothing: the database takes writes.
    pub async fn ping(&self) -> Result<(), StoreError> {
        self.submit(Ping).await
    }

    /// Records finished emissions and takes the next rows, in one commit. It is under way before the future is polled:
    /// SQLite works on it while the caller sends the rows of the turn before.
    pub fn emit_turn(
        &self,
        records: Vec<EmissionRecord>,
        claim: Option<Claim>,
    ) -> impl Future<Output = Result<Vec<ClaimedRow>, StoreError>> + Send + 'static {
        let turn = EmitTurn { records, claim, ..EmitTurn::default() };
        self.ask(|reply| Write::EmitTurn { turn, reply })
    }

    /// Records what polls told; for how many notices. The others, which a trigger refuses, are due as before.
    pub async fn record_polls(&self, records: Vec<PollRecord>) -> Result<usize, StoreError> {
        self.ask(|reply| Write::Polls { records, reply }).await
    }

    /// Puts in doubt what a crash left under way, and dates all doubts; how many rows are newly in doubt.
    pub async fn recover(&self, now: Timestamp, policy: DoubtPolicy) -> Result<u64, StoreError> {
        self.ask(|reply| Write::Recover { now, policy, moved: 0, reply }).await
    }

    /// Commits that a cancel may leave: its open attempt, or `None` if the row is not as expected any more or has a
    /// request under way.
    pub async fn begin_cancel(&self, start: CancelStart) -> Result<Option<i64>, StoreError> {
        self.submit(start).await
    }

    /// Records what became of a cancel and moves its row; what followed, `None` if the row had moved meanwhile and was
    /// left alone.
    pub async fn end_cancel(&self, record: CancelRecord) -> Result<Option<AfterCancel>, StoreError> {
        self.submit(record).await
    }

    /// Says why a row in doubt waits or is held.
    pub async fn note_doubt(&self, note: DoubtNote) -> Result<(), StoreError> {
        self.submit(note).await
    }

    /// Commits that a confirmation may leave: its open attempt, or `None` if there is nothing to confirm any more.
    pub async fn begin_confirm(&self, start: ConfirmStart) -> Result<Option<i64>, StoreError> {
        self.submit(start).await
    }

    /// Records what became of a confirmation.
    pub async fn end_confirm(&self, record: ConfirmRecord) -> Result<(), StoreError> {
        self.submit(record).await
    }

    /// Carries out what commands need no request for; which of them ended.
    pub async fn carry_out(
        &self,
        ids: Vec<i64>,
        settled: Vec<Settled>,
        policy: Policy,
    ) -> Result<Vec<Ended>, StoreError> {
        self.submit(Change::CarryOut { ids, settled, policy }).await
    }

    /// Records what status requests told that commands asked for, and ends the commands `polls` and `endings` with it.
    pub async fn record_told(
        &self,
        records: Vec<PollRecord>,
        drifts: Vec<Drift>,
        polls: Vec<i64>,
        endings: Vec<Ending>,
    ) -> Result<(), StoreError> {
        self.submit(Change::Told { records, drifts, polls, endings }).await.map(drop)
    }

    /// Tells what open commands wait for.
    pub async fn commands_wait(&self, ids: Vec<i64>, what: String) -> Result<(), StoreError> {
        self.submit(Change::Wait { ids, what }).await.map(drop)
    }

    /// Makes a row what an operator says that it became, if it still may be.
    pub async fn take_evidence(&self, evidence: Evidence) -> Result<Taken, StoreError> {
        self.submit(evidence).await
    }

    /// Ties a notice that TresorPay's callback names to its row, if it still may be.
    pub async fn take_sighting(&self, sighting: Sighting) -> Result<Taken, StoreError> {
        self.submit(sighting).await
    }

    /// Says of a paid row that TresorPay's callback named another amount; whether nothing else was said of it.
    pub async fn flag_amount(&self, flag: FlagAmount) -> Result<bool, StoreError> {
        self.submit(flag).await
    }

    /// Has emitted notices asked about at once.
    pub async fn poll_now(&self, ids: Vec<i64>, at: Timestamp) -> Result<(), StoreError> {
        self.submit(PollNow { ids, at }).await
    }

    /// Keeps that a notice is live beside a row's own; whether that is news.
    pub async fn second_notice(&self, second: SecondNotice) -> Result<bool, StoreError> {
        self.submit(second).await
    }

    /// It is no longer live.
    pub async fn second_notice_over(&self, second: SecondNotice) -> Result<(), StoreError> {
        self.submit(SecondOver(second)).await
    }

    /// The key of callback tokens: `new`, unless there is one.
    pub async fn callback_key(&self, new: String) -> Result<String, StoreError> {
        self.submit(CallbackKey { new }).await
    }

    /// Records a visit to a paid row.
    pub async fn record_paid(&self, record: PaidRecord) -> Result<(), StoreError> {
        self.submit(record).await
    }

    /// Records where a receipt is.
    pub async fn keep_receipt(&self, receipt: ReceiptKept) -> Result<(), StoreError> {
        self.submit(receipt).await
    }

    /// Asks for the cancel of what corrections beyond `after` replace, and rejects those whose original was paid. Where
    /// the next look begins, `None` at the end; and whether anything changed.
    pub async fn advance_corrections(&self, after: i64) -> Result<(Option<i64>, bool), StoreError> {
        self.submit(Corrections { after }).await
    }

    /// Moves waits that were written by a wrong clock, where they are still as they were found.
    pub async fn move_waits(&self, moves: Vec<WaitMove>) -> Result<(), StoreError> {
        self.submit(moves).await
    }

    /// Writes a key of `meta` that is the daemon's to choose.
    pub async fn publish(&self, key: &'static str, value: String) -> Result<(), StoreError> {
        self.submit(Publish { key, value }).await
    }

    /// Records what reconciliation found and how far it has come; the state as it was written, and what became of each
    /// finding.
    pub async fn reconcile(
        &self,
        record: ReconcileRecord,
    ) -> Result<(Reconciliation, Vec<Recording>), StoreError> {
        self.submit(record).await
    }

    /// Puts emitted notices that nobody would ask about any more back into their turn: how many, a thousand at most, or
    /// what a trigger said against it.
    pub async fn reschedule(&self, at: Timestamp) -> Result<Result<u64, String>, StoreError> {
        self.submit(Reschedule { at }).await
    }

    /// Takes the personal data of finished rows out; what became of each.
    pub async fn anonymise(&self, anonymise: Anonymise) -> Result<Vec<Removal>, StoreError> {
        self.submit(anonymise).await
    }

    /// Takes card numbers out of rows that are at TresorPay.
    pub async fn take_cards(&self, cards: TakeCards) -> Result<Removal, StoreError> {
        self.submit(cards).await
    }

    /// Writes the WAL back and empties it, so that nothing that was removed is left there; whether it could be. Waits for
    /// nobody.
    pub async fn empty_wal(&self) -> Result<bool, StoreError> {
        self.keep_up(Upkeep::EmptyWal).await
    }

    /// Writes the whole file anew (`VACUUM`), so that no part of a page that is not in use holds what was removed: SQLite
    /// leaves copies there when it moves rows from page to page, whatever `secure_delete` says. Everybody who writes waits
    /// meanwhile. Whether it was done: not in a database above [`MAX_VACUUM`](super::MAX_VACUUM) or half of `database.max_wal`, and not while
    /// somebody else writes.
    pub async fn vacuum(&self) -> Result<bool, StoreError> {
        self.keep_up(Upkeep::Vacuum).await
    }

    async fn keep_up(&self, upkeep: Upkeep) -> Result<bool, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.upkeep.send((upkeep, reply)).await.map_err(|_| StoreError::Stopped)?;
        answer.await.map_err(|_| StoreError::Stopped)
    }

    async fn submit<O: Operation + Sync>(&self, operation: O) -> Result<O::Output, StoreError> {
        self.ask(|reply| Write::Other(Box::new(Asked::new(operation, reply)))).await
    }

    /// If the queue has room, the write is in it before the future is polled.
    fn ask<T: Send + 'static>(
        &self,
        write: impl FnOnce(Reply<T>) -> Write,
    ) -> impl Future<Output = Result<T, StoreError>> + Send + 'static {
        let (reply, answer) = oneshot::channel();
        let queued = self.queue.try_send(write(reply));
        let queue = self.queue.clone();
        async move {
            match queued {
                Ok(()) => {}
                Err(TrySendError::Full(write)) => queue.send(write).await.map_err(|_| StoreError::Stopped)?,
                Err(TrySendError::Closed(_)) => return Err(StoreError::Stopped),
            }
            answer.await.map_err(|_| StoreError::Stopped)?
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use futures_util::{FutureExt, poll};

    use super::*;

    #[tokio::test]
    async fn a_turn_is_queued_before_it_is_awaited_and_waits_for_room_only_if_there_is_none() {
        let (queue, mut inbox) = mpsc::channel(1);
        let (upkeep, _asked) = mpsc::channel(1);
        let writer = Writer { queue, commits: Commits::default(), upkeep };
        let mut at_once = Box::pin(writer.emit_turn(Vec::new(), None));
        let mut later = Box::pin(writer.emit_turn(Vec::new(), None));

        let first = inbox.try_recv().unwrap();
        assert!(inbox.try_recv().is_err(), "the second found no room");
        assert!(poll!(&mut later).is_pending());
        let second = inbox.try_recv().unwrap();

        first.answer(Ok(()));
        assert!(at_once.as_mut().now_or_never().unwrap().unwrap().is_empty());
        assert!(poll!(&mut later).is_pending(), "each has its own answer");
        second.answer(Ok(()));
        assert!(later.now_or_never().unwrap().unwrap().is_empty());

        drop(inbox);
        let stopped = writer.emit_turn(Vec::new(), None).now_or_never().unwrap();
        assert!(matches!(stopped, Err(StoreError::Stopped)));
    }
}
