//! The single writer: one task owns the one write connection, drains its queue, commits what has come in as one
//! transaction, then answers every caller. A database that is locked, full or out of reach delays and never drops.

use std::time::Duration;

use sqlx::{Connection, SqliteConnection, sqlite::SqliteConnectOptions};
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};

use super::{
    AfterCancel, CancelRecord, CancelStart, Claim, ClaimedRow, ConfirmRecord, ConfirmStart, DoubtNote,
    DoubtPolicy, Drift, EmissionRecord, Ended, Ending, Evidence, PollRecord, Settled, StoreError, Taken,
    cancel,
    command::{self, Change},
    confirm, doubt,
    error::{is_constraint, is_passing},
    mark::Mark,
    poll, recovery, replace, resolve,
    sharing::Sharing,
    turn::{self, Bracket},
};
use crate::{clock::Timestamp, notice::Policy, pace::Backoff};

/// Writes waiting for their turn; a full queue makes callers wait.
const QUEUE: usize = 64;
/// Between tries of a commit that the database refuses for now.
const RETRY: Backoff = Backoff { first: Duration::from_millis(50), max: Duration::from_secs(5) };
/// A refusal that lasts this long is reported, then each time as long again.
const REPORT_AFTER: Duration = Duration::from_secs(10);
/// The mark's fsync may trail its writes by this much.
const MARK_SYNC_EVERY: Duration = Duration::from_secs(1);

type Reply<T> = oneshot::Sender<Result<T, StoreError>>;

/// One caller's write.
enum Write {
    EmitTurn {
        records: Vec<EmissionRecord>,
        claim: Option<Claim>,
        claimed: Vec<ClaimedRow>,
        reply: Reply<Vec<ClaimedRow>>,
    },
    Polls {
        records: Vec<PollRecord>,
        reply: Reply<()>,
    },
    BeginCancel {
        start: CancelStart,
        attempt: Option<i64>,
        reply: Reply<Option<i64>>,
    },
    EndCancel {
        record: Box<CancelRecord>,
        then: Option<AfterCancel>,
        reply: Reply<Option<AfterCancel>>,
    },
    NoteDoubt {
        note: DoubtNote,
        reply: Reply<()>,
    },
    Recover {
        now: Timestamp,
        policy: DoubtPolicy,
        moved: u64,
        reply: Reply<u64>,
    },
    BeginConfirm {
        start: ConfirmStart,
        attempt: Option<i64>,
        reply: Reply<Option<i64>>,
    },
    EndConfirm {
        record: ConfirmRecord,
        reply: Reply<()>,
    },
    TakeEvidence {
        evidence: Box<Evidence>,
        now: Timestamp,
        taken: Taken,
        reply: Reply<Taken>,
    },
    Replace {
        after: i64,
        now: Timestamp,
        done: (Option<i64>, bool),
        reply: Reply<(Option<i64>, bool)>,
    },
    Commands {
        change: Change,
        now: Timestamp,
        ended: Vec<Ended>,
        reply: Reply<Vec<Ended>>,
    },
}

impl Write {
    /// Applies it as its part of the group's transaction; may be applied again if the group is rolled back.
    async fn apply(&mut self, conn: &mut SqliteConnection, bracket: Bracket) -> Result<(), sqlx::Error> {
        if let Self::EmitTurn { records, claim, claimed, .. } = self {
            *claimed = turn::turn(conn, records, claim.as_ref(), bracket).await?;
            return Ok(());
        }
        if bracket.begin {
            sqlx::query("BEGIN IMMEDIATE").execute(&mut *conn).await?;
        }
        match self {
            Self::EmitTurn { .. } => {}
            Self::Polls { records, .. } => poll::record(conn, records).await?,
            Self::BeginCancel { start, attempt, .. } => *attempt = cancel::begin(conn, start).await?,
            Self::EndCancel { record, then, .. } => *then = cancel::end(conn, record).await?,
            Self::NoteDoubt { note, .. } => cancel::note(conn, note).await?,
            Self::Recover { now, policy, moved, .. } => {
                *moved = recovery::recover(conn, *now).await?;
                doubt::date_all(conn, *policy).await?;
            }
            Self::BeginConfirm { start, attempt, .. } => *attempt = confirm::begin(conn, start).await?,
            Self::EndConfirm { record, .. } => confirm::end(conn, record).await?,
            Self::TakeEvidence { evidence, now, taken, .. } => {
                *taken = resolve::take_evidence(conn, evidence, *now).await?;
            }
            Self::Replace { after, now, done, .. } => *done = replace::advance(conn, *after, *now).await?,
            Self::Commands { change, now, ended, .. } => *ended = command::write(conn, change, *now).await?,
        }
        if bracket.commit {
            sqlx::query("COMMIT").execute(conn).await?;
        }
        Ok(())
    }

    /// Takes out what the schema refuses and the contract has an answer for; whether that changed anything.
    async fn yield_to_constraint(&mut self, conn: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
        match self {
            Self::EmitTurn { records, claim, .. } => {
                // If it is the claim that cannot be made, the answers are recorded without it.
                Ok(turn::doubt_foreign_references(conn, records).await?
                    || (!records.is_empty() && claim.take().is_some()))
            }
            Self::Polls { .. }
            | Self::BeginCancel { .. }
            | Self::EndCancel { .. }
            | Self::NoteDoubt { .. }
            | Self::Recover { .. }
            | Self::BeginConfirm { .. }
            | Self::EndConfirm { .. }
            | Self::TakeEvidence { .. }
            | Self::Replace { .. }
            | Self::Commands { .. } => Ok(false),
        }
    }

    /// The last attempt that this write started.
    fn last_attempt(&self) -> Option<i64> {
        match self {
            Self::EmitTurn { claimed, .. } => claimed.iter().map(|row| row.attempt_id).max(),
            Self::BeginCancel { attempt, .. } | Self::BeginConfirm { attempt, .. } => *attempt,
            Self::Polls { .. }
            | Self::EndCancel { .. }
            | Self::NoteDoubt { .. }
            | Self::Recover { .. }
            | Self::EndConfirm { .. }
            | Self::TakeEvidence { .. }
            | Self::Replace { .. }
            | Self::Commands { .. } => None,
        }
    }

    /// Answers the caller, who may have gone.
    fn answer(self, result: Result<(), StoreError>) {
        match self {
            Self::EmitTurn { claimed, reply, .. } => drop(reply.send(result.map(|()| claimed))),
            Self::Polls { reply, .. } | Self::NoteDoubt { reply, .. } => drop(reply.send(result)),
            Self::BeginCancel { attempt, reply, .. } => drop(reply.send(result.map(|()| attempt))),
            Self::EndCancel { then, reply, .. } => drop(reply.send(result.map(|()| then))),
            Self::Recover { moved, reply, .. } => drop(reply.send(result.map(|()| moved))),
            Self::BeginConfirm { attempt, reply, .. } => drop(reply.send(result.map(|()| attempt))),
            Self::EndConfirm { reply, .. } => drop(reply.send(result)),
            Self::TakeEvidence { taken, reply, .. } => drop(reply.send(result.map(|()| taken))),
            Self::Replace { done, reply, .. } => drop(reply.send(result.map(|()| done))),
            Self::Commands { ended, reply, .. } => drop(reply.send(result.map(|()| ended))),
        }
    }
}

/// A handle to the writer's task; cheap to clone. The task ends when every handle is gone.
#[derive(Clone)]
pub struct Writer {
    queue: mpsc::Sender<Write>,
}

impl Writer {
    /// The handle and the task.
    pub(super) fn new(
        options: SqliteConnectOptions,
        conn: SqliteConnection,
        mark: Mark,
    ) -> (Self, impl Future<Output = Result<(), StoreError>> + Send + 'static) {
        let (queue, inbox) = mpsc::channel(QUEUE);
        let task = WriterTask {
            options,
            conn: Some(conn),
            mark,
            mark_synced: Instant::now(),
            mark_dirty: false,
            sharing: Sharing::new(std::time::Instant::now()),
            held: Duration::ZERO,
        };
        (Self { queue }, task.run(inbox))
    }

    /// Records finished emissions and takes the next rows, in one commit.
    pub async fn emit_turn(
        &self,
        records: Vec<EmissionRecord>,
        claim: Option<Claim>,
    ) -> Result<Vec<ClaimedRow>, StoreError> {
        self.ask(|reply| Write::EmitTurn { records, claim, claimed: Vec::new(), reply }).await
    }

    /// Records what polls told.
    pub async fn record_polls(&self, records: Vec<PollRecord>) -> Result<(), StoreError> {
        self.ask(|reply| Write::Polls { records, reply }).await
    }

    /// Commits that a cancel may leave: its open attempt, or `None` if the row is not as expected any more or has a
    /// request under way.
    pub async fn begin_cancel(&self, start: CancelStart) -> Result<Option<i64>, StoreError> {
        self.ask(|reply| Write::BeginCancel { start, attempt: None, reply }).await
    }

    /// Records what became of a cancel and moves its row; what followed, `None` if the row had moved meanwhile and was
    /// left alone.
    pub async fn end_cancel(&self, record: CancelRecord) -> Result<Option<AfterCancel>, StoreError> {
        let record = Box::new(record);
        self.ask(|reply| Write::EndCancel { record, then: None, reply }).await
    }

    /// Says why a row in doubt waits or is held.
    pub async fn note_doubt(&self, note: DoubtNote) -> Result<(), StoreError> {
        self.ask(|reply| Write::NoteDoubt { note, reply }).await
    }

    /// Puts in doubt what a crash left under way, and dates all doubts; how many rows are newly in doubt.
    pub async fn recover(&self, now: Timestamp, policy: DoubtPolicy) -> Result<u64, StoreError> {
        self.ask(|reply| Write::Recover { now, policy, moved: 0, reply }).await
    }

    /// Commits that a confirmation may leave: its open attempt, or `None` if there is nothing to confirm any more.
    pub async fn begin_confirm(&self, start: ConfirmStart) -> Result<Option<i64>, StoreError> {
        self.ask(|reply| Write::BeginConfirm { start, attempt: None, reply }).await
    }

    /// Records what became of a confirmation.
    pub async fn end_confirm(&self, record: ConfirmRecord) -> Result<(), StoreError> {
        self.ask(|reply| Write::EndConfirm { record, reply }).await
    }

    /// Carries out what commands need no request for; which of them ended.
    pub async fn carry_out(
        &self,
        ids: Vec<i64>,
        settled: Vec<Settled>,
        policy: Policy,
    ) -> Result<Vec<Ended>, StoreError> {
        self.change(Change::CarryOut { ids, settled, policy }).await
    }

    /// Records what status requests told that commands asked for, and ends the commands `polls` and `endings` with it.
    pub async fn record_told(
        &self,
        records: Vec<PollRecord>,
        drifts: Vec<Drift>,
        polls: Vec<i64>,
        endings: Vec<Ending>,
    ) -> Result<(), StoreError> {
        self.change(Change::Told { records, drifts, polls, endings }).await.map(drop)
    }

    /// Tells what open commands wait for.
    pub async fn commands_wait(&self, ids: Vec<i64>, what: String) -> Result<(), StoreError> {
        self.change(Change::Wait { ids, what }).await.map(drop)
    }

    /// Makes a row what an operator says that it became, if it still may be.
    pub async fn take_evidence(&self, evidence: Evidence) -> Result<Taken, StoreError> {
        let (evidence, now) = (Box::new(evidence), Timestamp::now());
        self.ask(|reply| Write::TakeEvidence { evidence, now, taken: Taken::NotNow, reply }).await
    }

    /// Asks for the cancel of what corrections beyond `after` replace, and rejects those whose original was paid. Where
    /// the next look begins, `None` at the end; and whether anything changed.
    pub async fn advance_corrections(&self, after: i64) -> Result<(Option<i64>, bool), StoreError> {
        let now = Timestamp::now();
        self.ask(|reply| Write::Replace { after, now, done: (None, false), reply }).await
    }

    async fn change(&self, change: Change) -> Result<Vec<Ended>, StoreError> {
        let now = Timestamp::now();
        self.ask(|reply| Write::Commands { change, now, ended: Vec::new(), reply }).await
    }

    async fn ask<T>(&self, write: impl FnOnce(Reply<T>) -> Write) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.queue.send(write(reply)).await.map_err(|_| StoreError::Stopped)?;
        answer.await.map_err(|_| StoreError::Stopped)?
    }
}

struct WriterTask {
    options: SqliteConnectOptions,
    /// `None` after a failure: the next try opens a new one, since SQLite leaves a failed one in a doubtful state.
    conn: Option<SqliteConnection>,
    mark: Mark,
    mark_synced: Instant,
    mark_dirty: bool,
    sharing: Sharing,
    /// How long the last commit held the lock, at most.
    held: Duration,
}

impl WriterTask {
    async fn run(mut self, mut inbox: mpsc::Receiver<Write>) -> Result<(), StoreError> {
        let mut group = Vec::new();
        loop {
            let sync_at = self.mark_synced + MARK_SYNC_EVERY;
            let received = tokio::select! {
                received = inbox.recv_many(&mut group, QUEUE) => received,
                () = tokio::time::sleep_until(sync_at), if self.mark_dirty => {
                    self.sync_mark().await;
                    continue;
                }
            };
            if received == 0 {
                self.sync_mark().await;
                if let Some(mut conn) = self.conn.take() {
                    // An old copy of the file alone, put back later, must find no newer WAL beside it.
                    let emptied = sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(&mut conn).await;
                    if let Err(error) = emptied {
                        tracing::warn!(%error, "the WAL could not be written back; the next start does it");
                    }
                    conn.close().await?;
                }
                return Ok(());
            }
            self.commit(std::mem::take(&mut group)).await?;
            self.leave_room().await;
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
        let pause = self.sharing.pause_after(now, self.held);
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
    }

    /// Commits `group` and answers its callers. A write that breaks a rule fails alone.
    async fn commit(&mut self, mut group: Vec<Write>) -> Result<(), StoreError> {
        match self.persist(&mut group).await {
            Ok(()) => {
                // A request may only leave once the mark says so: without it, nobody is answered and the daemon ends.
                if let Some(last) = group.iter().filter_map(Write::last_attempt).max() {
                    self.mark_dirty = true;
                    self.mark.advance(last)?;
                }
                for write in group {
                    write.answer(Ok(()));
                }
                Ok(())
            }
            Err(error) if group.len() > 1 => {
                tracing::error!(%error, writes = group.len(), "a group of writes failed; each is tried by itself");
                for write in group {
                    Box::pin(self.commit(vec![write])).await?;
                }
                Ok(())
            }
            Err(error) => {
                for write in group {
                    write.answer(Err(StoreError::Sqlite(sqlx::Error::Protocol(error.to_string()))));
                }
                Err(StoreError::Sqlite(error))
            }
        }
    }

    /// Tries until the database takes the group, or refuses it for good.
    async fn persist(&mut self, group: &mut [Write]) -> Result<(), sqlx::Error> {
        let started = Instant::now();
        let mut reported = started;
        let mut failures = 0;
        loop {
            let tried = Instant::now();
            let error = match self.try_once(group).await {
                Ok(()) => {
                    self.held = tried.elapsed();
                    if reported != started {
                        tracing::info!(
                            seconds = started.elapsed().as_secs_f64(),
                            "the database takes writes again"
                        );
                    }
                    return Ok(());
                }
                Err(error) => error,
            };
            if let Some(conn) = self.conn.take() {
                // Its state is unknown; whatever close says, the next try opens another.
                let _ = conn.close_hard().await;
            }
            let error = if is_constraint(&error) {
                match self.yield_to_constraint(group).await {
                    Ok(true) => continue,
                    Ok(false) => error,
                    // The look itself was refused: the answers are kept, and it is tried again.
                    Err(refused) => refused,
                }
            } else {
                error
            };
            if !is_passing(&error) {
                return Err(error);
            }
            if reported.elapsed() >= REPORT_AFTER {
                reported = Instant::now();
                tracing::error!(
                    %error,
                    seconds = started.elapsed().as_secs_f64(),
                    "the database refuses writes; answers are kept in memory and nothing new is sent until it takes them"
                );
            }
            if self.mark_dirty && self.mark_synced.elapsed() >= MARK_SYNC_EVERY {
                self.sync_mark().await;
            }
            failures += 1;
            tokio::time::sleep(RETRY.delay(failures)).await;
        }
    }

    async fn try_once(&mut self, group: &mut [Write]) -> Result<(), sqlx::Error> {
        let conn = self.connection().await?;
        let last = group.len() - 1;
        for (position, write) in group.iter_mut().enumerate() {
            write.apply(conn, Bracket { begin: position == 0, commit: position == last }).await?;
        }
        Ok(())
    }

    async fn yield_to_constraint(&mut self, group: &mut [Write]) -> Result<bool, sqlx::Error> {
        let conn = self.connection().await?;
        let mut changed = false;
        for write in group {
            changed |= write.yield_to_constraint(conn).await?;
        }
        Ok(changed)
    }

    async fn connection(&mut self) -> Result<&mut SqliteConnection, sqlx::Error> {
        match &mut self.conn {
            Some(conn) => Ok(conn),
            none => Ok(none.insert(SqliteConnection::connect_with(&self.options).await?)),
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
