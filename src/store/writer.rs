//! The single writer: one task owns the one write connection, drains its queue, commits what has come in as one
//! transaction, then answers every caller. A database that is locked, full or out of reach delays and never drops.

mod operation; // what every kind of write has in common
mod refused; // what a rule or a trigger does not let in
mod trouble; // when to try again, and what the log says
mod unseen; // commits that failed and may be there all the same
mod wal; // how large the WAL may grow
mod write; // what it is asked to write

#[cfg(test)]
mod tests;

use std::{path::PathBuf, sync::Arc, time::Duration};

use sqlx::{Connection, SqliteConnection, sqlite::SqliteConnectOptions};
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};

use super::{
    AfterCancel, CancelRecord, CancelStart, Claim, ClaimedRow, ConfirmRecord, ConfirmStart, DoubtNote,
    DoubtPolicy, Drift, EmissionRecord, Ended, Ending, Evidence, FlagAmount, Guard, PaidRecord, PollRecord,
    ReceiptKept, ReconcileRecord, Reconciliation, Recording, SecondNotice, Settled, Sighting, StoreError,
    Taken,
    command::Change,
    error::is_passing,
    evidence::{CallbackKey, PollNow, SecondOver},
    mark::Mark,
    open::close_and_leave_wal,
    reconcile::Reschedule,
    replace::Corrections,
    sharing::{Pause, Sharing},
    turn::Bracket,
    wait::{Publish, WaitMove},
};
use crate::{clock::Timestamp, notice::Policy};
use operation::Asked;
pub(super) use operation::{Answered, Operation};
use refused::Waiting;
use trouble::Trouble;
pub(super) use unseen::open_attempt;
pub(crate) use wal::TOLD_SHARE;
use wal::Wal;
use write::{EmitTurn, Reply, Write, attempts, fail, give_up};

/// Writes waiting for their turn; a full queue makes callers wait.
const QUEUE: usize = 64;
/// The mark's fsync may trail its writes by this much.
const MARK_SYNC_EVERY: Duration = Duration::from_secs(1);

/// A handle to the writer's task; cheap to clone. The task ends when every handle is gone.
#[derive(Clone)]
pub struct Writer {
    queue: mpsc::Sender<Write>,
}

impl Writer {
    /// The handle and the task. `handed_over` is the last attempt that the database knows.
    pub(super) fn new(
        file: WriterFile,
        conn: SqliteConnection,
        mark: Mark,
        guard: Arc<Guard>,
    ) -> (Self, impl Future<Output = Result<(), StoreError>> + Send + 'static) {
        let (queue, inbox) = mpsc::channel(QUEUE);
        (Self { queue }, WriterTask::new(file, conn, mark, guard).run(inbox))
    }

    /// Records finished emissions and takes the next rows, in one commit.
    pub async fn emit_turn(
        &self,
        records: Vec<EmissionRecord>,
        claim: Option<Claim>,
    ) -> Result<Vec<ClaimedRow>, StoreError> {
        let turn = EmitTurn { records, claim, ..EmitTurn::default() };
        self.ask(|reply| Write::EmitTurn { turn, reply }).await
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

    async fn submit<O: Operation + Sync>(&self, operation: O) -> Result<O::Output, StoreError> {
        self.ask(|reply| Write::Other(Box::new(Asked::new(operation, reply)))).await
    }

    async fn ask<T>(&self, write: impl FnOnce(Reply<T>) -> Write) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.queue.send(write(reply)).await.map_err(|_| StoreError::Stopped)?;
        answer.await.map_err(|_| StoreError::Stopped)?
    }
}

/// The file that a writer writes, and how.
pub(super) struct WriterFile {
    pub(super) path: PathBuf,
    pub(super) options: SqliteConnectOptions,
    /// `database.max_wal`, in bytes.
    pub(super) max_wal: u64,
}

struct WriterTask {
    file: WriterFile,
    /// `None` after a failure: the next try opens a new one, since SQLite leaves a failed one in a doubtful state.
    conn: Option<SqliteConnection>,
    /// Its last attempt is the last that was handed over.
    mark: Mark,
    guard: Arc<Guard>,
    mark_synced: Instant,
    mark_dirty: bool,
    sharing: Sharing,
    /// How long the last commit held the lock, at most.
    held: Duration,
    /// A try failed, and what it wrote may be there all the same.
    unseen: bool,
    trouble: Trouble,
    /// Answers that a rule refuses, and what was told of refusals.
    waiting: Waiting,
    refusals: Trouble,
    wal: Wal,
}

impl WriterTask {
    fn new(file: WriterFile, conn: SqliteConnection, mark: Mark, guard: Arc<Guard>) -> Self {
        Self {
            wal: Wal::new(&file.path, file.max_wal),
            file,
            conn: Some(conn),
            mark,
            guard,
            mark_synced: Instant::now(),
            mark_dirty: false,
            sharing: Sharing::new(std::time::Instant::now()),
            held: Duration::ZERO,
            unseen: false,
            trouble: Trouble::default(),
            waiting: Waiting::default(),
            refusals: Trouble::default(),
        }
    }

    async fn run(mut self, inbox: mpsc::Receiver<Write>) -> Result<(), StoreError> {
        let ended = self.work(inbox).await;
        if ended.is_err() {
            self.waiting.tell_unrecorded();
        }
        ended
    }

    async fn work(&mut self, mut inbox: mpsc::Receiver<Write>) -> Result<(), StoreError> {
        let mut group = Vec::new();
        loop {
            let sync_at = self.mark_synced + MARK_SYNC_EVERY;
            let (waiting_due, relieve_at) = (self.waiting.due(), self.wal.relieve_at());
            let received = tokio::select! {
                received = inbox.recv_many(&mut group, QUEUE) => received,
                () = tokio::time::sleep_until(sync_at), if self.mark_dirty => {
                    self.sync_mark().await;
                    self.count_up().await;
                    continue;
                }
                () = sleep_until(waiting_due), if waiting_due.is_some() => {
                    self.record_waiting().await?;
                    continue;
                }
                () = sleep_until(relieve_at), if relieve_at.is_some() => {
                    self.relieve_wal().await;
                    continue;
                }
            };
            if received == 0 && self.waiting.is_empty() {
                return self.close().await;
            }
            if received == 0 {
                // The daemon is stopping: they are tried until the grace is over.
                sleep_until(waiting_due).await;
                self.record_waiting().await?;
                continue;
            }
            let group = self.hold_claims_back(std::mem::take(&mut group)).await;
            if !group.is_empty() {
                self.commit(group).await?;
                self.leave_room().await;
            }
        }
    }

    /// Every handle is gone.
    async fn close(&mut self) -> Result<(), StoreError> {
        self.sync_mark().await;
        if let Some(mut conn) = self.conn.take() {
            // An old copy of the file alone, put back later, must find no newer WAL beside it.
            let emptied = sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(&mut conn).await;
            if let Err(error) = emptied {
                tracing::warn!(%error, "the WAL could not be written back; the next start does it");
            }
            close_and_leave_wal(conn, &self.file.path).await?;
        }
        Ok(())
    }

    /// While the WAL is above `database.max_wal`, and while answers wait, what comes is recorded and nothing is claimed.
    async fn hold_claims_back(&mut self, mut group: Vec<Write>) -> Vec<Write> {
        if self.wal.stops_claims() {
            self.relieve_wal().await;
        }
        if self.wal.stops_claims() || !self.waiting.is_empty() {
            for write in group.extract_if(.., Write::give_up_claim) {
                write.answer(Ok(()));
            }
        }
        group
    }

    async fn relieve_wal(&mut self) {
        let relieved = match self.connection().await {
            Ok(_) => match &mut self.conn {
                Some(conn) => self.wal.relieve(conn).await.map_err(StoreError::from),
                None => Ok(()),
            },
            Err(error) => Err(error),
        };
        if let Err(error) = relieved {
            tracing::debug!(%error, "the WAL could not be written back; it is tried again");
            self.drop_connection().await;
        }
    }

    /// Leaves the lock to the applications that write too.
    async fn leave_room(&mut self) {
        let now = std::time::Instant::now();
        if self.sharing.wants_look(now)
            && let Some(conn) = &mut self.conn
            && let Ok(version) = sqlx::query_as("PRAGMA data_version").fetch_one(conn).await
        {
            let (version,): (i64,) = version;
            self.sharing.looked(now, version);
        }
        match self.sharing.pause_after(now, self.held) {
            Pause::None => {}
            Pause::Shared(pause) => tokio::time::sleep(pause).await,
            Pause::Break(pause) => {
                // Needs no lock that a writer waits for. If it fails, the next commit says why.
                if let Some(conn) = &mut self.conn {
                    let _ = sqlx::query("PRAGMA wal_checkpoint(PASSIVE)").execute(conn).await;
                }
                tokio::time::sleep(pause.saturating_sub(now.elapsed())).await;
            }
        }
    }

    /// Commits `group` and answers its callers. A write that breaks a rule fails alone.
    async fn commit(&mut self, mut group: Vec<Write>) -> Result<(), StoreError> {
        if let Err(error) = self.guard.check() {
            return Err(give_up(group, error));
        }
        match self.persist(&mut group).await {
            Ok(()) => self.answer(group).await,
            Err(error @ StoreError::Sqlite(_)) if group.len() > 1 => {
                tracing::error!(%error, writes = group.len(), "a group of writes failed; each is tried by itself");
                let mut rest = group.into_iter();
                while let Some(write) = rest.next() {
                    if let Err(error) = Box::pin(self.commit(vec![write])).await {
                        return Err(give_up(rest.collect(), error));
                    }
                }
                Ok(())
            }
            Err(error @ StoreError::Sqlite(_)) => match group.pop() {
                Some(write) => self.refused(write, error).await,
                None => Ok(()),
            },
            Err(error) => Err(give_up(group, error)),
        }
    }

    /// Answers the callers of what is committed.
    async fn answer(&mut self, group: Vec<Write>) -> Result<(), StoreError> {
        if let Some((first, last)) = attempts(&group)
            && let Err(error) = self.let_leave(first, last).await
        {
            return Err(fail(group, error));
        }
        for write in group {
            write.answer(Ok(()));
        }
        Ok(())
    }

    /// A request may only leave once the mark says so, and only on the word of a database that is still the one that was
    /// opened: else nobody is answered and the daemon ends.
    async fn let_leave(&mut self, first: i64, last: i64) -> Result<(), StoreError> {
        if first <= self.mark.last() {
            return Err(self.went_back(&format!("it gives the attempt {first} a second time")));
        }
        while let Err(error) = self.mark.advance(last) {
            tokio::time::sleep(self.trouble.unmarked(&error)).await;
        }
        self.trouble.over();
        self.mark_dirty = true;
        self.guard.check()
    }

    /// What is open is not what was opened, though its file is the same; the mark knows it too.
    fn went_back(&self, how: &str) -> StoreError {
        match self.mark.doubt() {
            Ok(()) => {
                let why = format!("{how}, while the daemon runs");
                StoreError::WentBack { path: self.guard.path().to_owned(), why }
            }
            Err(error) => error,
        }
    }

    /// Tries until the database takes the group, or refuses it for good.
    async fn persist(&mut self, group: &mut [Write]) -> Result<(), StoreError> {
        loop {
            let tried = Instant::now();
            let error = match self.try_once(group).await {
                Ok(()) => {
                    self.held = tried.elapsed();
                    self.trouble.over();
                    self.after_commit().await;
                    return Ok(());
                }
                Err(error) => error,
            };
            self.drop_connection().await;
            let error = if error.is_constraint() {
                match self.yield_to_constraint(group).await {
                    Ok(true) => continue,
                    Ok(false) => error,
                    // The look itself was refused: the answers are kept, and it is tried again.
                    Err(refused) => refused,
                }
            } else {
                error
            };
            self.failed(error).await?;
        }
    }

    /// After a try that failed: waits until the next one, if that may help.
    async fn failed(&mut self, error: StoreError) -> Result<(), StoreError> {
        self.drop_connection().await;
        let delay = match &error {
            StoreError::Sqlite(passing) if is_passing(passing) => self.trouble.refused(passing),
            _ => return Err(error),
        };
        if self.mark_dirty && self.mark_synced.elapsed() >= MARK_SYNC_EVERY {
            self.sync_mark().await;
        }
        tokio::time::sleep(delay).await;
        Ok(())
    }

    async fn after_commit(&mut self) {
        self.wal.look();
        if self.wal.relieve_at().is_some_and(|at| at <= Instant::now()) {
            self.relieve_wal().await;
        }
    }

    async fn try_once(&mut self, group: &mut [Write]) -> Result<(), StoreError> {
        let (again, handed_over) = (self.unseen, self.mark.last());
        // Whatever ends this try early leaves its outcome open.
        self.unseen = true;
        let conn = self.connection().await?;
        let mut unseen = Vec::new();
        if again {
            sqlx::query("BEGIN IMMEDIATE").execute(&mut *conn).await?;
            if !unseen::knows(conn, handed_over).await? {
                return Err(self.went_back(&format!("it does not know the attempt {handed_over}")));
            }
            unseen = unseen::claimed_since(conn, handed_over).await?;
            if !unseen.is_empty() {
                tracing::warn!(
                    rows = unseen.len(),
                    "a claim that seemed to fail had been written: it is taken over"
                );
            }
        }
        let now = Timestamp::now();
        let last = group.len() - 1;
        for (position, write) in group.iter_mut().enumerate() {
            if again {
                write.renew(now);
            }
            write.take_over(&mut unseen);
            let bracket = Bracket {
                begin: position == 0 && !again,
                commit: position == last,
                again: again.then_some(handed_over),
            };
            write.apply(conn, bracket).await?;
        }
        self.unseen = !unseen.is_empty();
        Ok(())
    }

    async fn yield_to_constraint(&mut self, group: &mut [Write]) -> Result<bool, StoreError> {
        let conn = self.connection().await?;
        let mut changed = false;
        for write in group {
            changed |= write.yield_to_constraint(conn).await?;
        }
        Ok(changed)
    }

    async fn connection(&mut self) -> Result<&mut SqliteConnection, StoreError> {
        match &mut self.conn {
            Some(conn) => Ok(conn),
            none => {
                self.guard.check()?;
                Ok(none.insert(SqliteConnection::connect_with(&self.file.options).await?))
            }
        }
    }

    /// Its state is unknown: whatever close says, the next try opens another.
    async fn drop_connection(&mut self) {
        if let Some(conn) = self.conn.take() {
            let _ = conn.close_hard().await;
        }
    }

    /// Counts up in the file's header, where [`Guard`] sees it: an older content written over the file counts less.
    async fn count_up(&mut self) {
        let Some(conn) = &mut self.conn else { return };
        let counted = async {
            let (count,): (i32,) = sqlx::query_as("PRAGMA application_id").fetch_one(&mut *conn).await?;
            // The number is written out because a pragma takes no parameter.
            let pragma = format!("PRAGMA application_id = {}", count.wrapping_add(1).max(0));
            wal::without_waiting(conn, pragma).await
        };
        if let Err(error) = counted.await {
            tracing::debug!(%error, "the header's count stays as it is until the next claim");
        }
    }

    async fn sync_mark(&mut self) {
        if std::mem::take(&mut self.mark_dirty) {
            let mark = self.mark.clone();
            let synced = tokio::task::spawn_blocking(move || mark.sync()).await;
            if !matches!(synced, Ok(Ok(()))) {
                tracing::warn!("the mark beside the database could not be made durable; it is tried again");
                self.mark_dirty = true;
            }
        }
        self.mark_synced = Instant::now();
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
