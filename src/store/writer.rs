//! The single writer: one task owns the one write connection, drains its queue, commits what has come in as one
//! transaction, then answers every caller. A database that is locked, full or out of reach delays and never drops.

use std::{sync::Arc, time::Duration};

use sqlx::{Connection, SqliteConnection, sqlite::SqliteConnectOptions};
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};

use super::{
    Claim, ClaimedRow, EmissionRecord, Guard, PollRecord, StoreError,
    error::{is_constraint, is_passing},
    mark::Mark,
    poll, recovery,
    sharing::Sharing,
    turn::{self, Bracket},
};
use crate::{clock::Timestamp, pace::Backoff};

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
    Recover {
        now: Timestamp,
        moved: u64,
        reply: Reply<u64>,
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
            Self::Recover { now, moved, .. } => *moved = recovery::recover(conn, *now).await?,
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
            Self::Polls { .. } | Self::Recover { .. } => Ok(false),
        }
    }

    /// The last attempt that this write started.
    fn last_attempt(&self) -> Option<i64> {
        match self {
            Self::EmitTurn { claimed, .. } => claimed.iter().map(|row| row.attempt_id).max(),
            Self::Polls { .. } | Self::Recover { .. } => None,
        }
    }

    /// The first attempt that this write started.
    fn first_attempt(&self) -> Option<i64> {
        match self {
            Self::EmitTurn { claimed, .. } => claimed.iter().map(|row| row.attempt_id).min(),
            Self::Polls { .. } | Self::Recover { .. } => None,
        }
    }

    /// Names, for the log, the answers that will not be recorded.
    fn tell_unrecorded(&self) {
        match self {
            Self::EmitTurn { records, .. } => records.iter().for_each(EmissionRecord::tell_unrecorded),
            Self::Polls { .. } | Self::Recover { .. } => {}
        }
    }

    /// Answers the caller, who may have gone.
    fn answer(self, result: Result<(), StoreError>) {
        match self {
            Self::EmitTurn { claimed, reply, .. } => drop(reply.send(result.map(|()| claimed))),
            Self::Polls { reply, .. } => drop(reply.send(result)),
            Self::Recover { moved, reply, .. } => drop(reply.send(result.map(|()| moved))),
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
        guard: Arc<Guard>,
    ) -> (Self, impl Future<Output = Result<(), StoreError>> + Send + 'static) {
        let (queue, inbox) = mpsc::channel(QUEUE);
        let task = WriterTask {
            options,
            conn: Some(conn),
            mark,
            guard,
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

    /// Puts in doubt what a crash left under way; how many rows.
    pub async fn recover(&self, now: Timestamp) -> Result<u64, StoreError> {
        self.ask(|reply| Write::Recover { now, moved: 0, reply }).await
    }

    async fn ask<T>(&self, write: impl FnOnce(Reply<T>) -> Write) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.queue.send(write(reply)).await.map_err(|_| StoreError::Stopped)?;
        answer.await.map_err(|_| StoreError::Stopped)?
    }
}

/// Tells the callers of `group` why they get nothing.
fn give_up(group: Vec<Write>, error: StoreError) -> StoreError {
    for write in group {
        write.answer(Err(StoreError::Failed(error.to_string())));
    }
    error
}

struct WriterTask {
    options: SqliteConnectOptions,
    /// `None` after a failure: the next try opens a new one, since SQLite leaves a failed one in a doubtful state.
    conn: Option<SqliteConnection>,
    mark: Mark,
    guard: Arc<Guard>,
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
                    self.count_up().await;
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
        if let Err(error) = self.guard.check() {
            group.iter().for_each(Write::tell_unrecorded);
            return Err(give_up(group, error));
        }
        match self.persist(&mut group).await {
            Ok(()) => {
                if let Err(error) = self.let_leave(&group) {
                    return Err(give_up(group, error));
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
                group.iter().for_each(Write::tell_unrecorded);
                Err(give_up(group, error.into()))
            }
        }
    }

    /// A request may only leave once the mark says so, and only on the word of a database that is still the one that was
    /// opened: else nobody is answered and the daemon ends.
    fn let_leave(&mut self, group: &[Write]) -> Result<(), StoreError> {
        let first = group.iter().filter_map(Write::first_attempt).min();
        let last = group.iter().filter_map(Write::last_attempt).max();
        let (Some(first), Some(last)) = (first, last) else { return Ok(()) };
        self.guard.check()?;
        if first <= self.mark.last() {
            self.mark.doubt()?;
            let why = format!("it gives the attempt {first} a second time, while the daemon runs");
            return Err(StoreError::WentBack { path: self.guard.path().to_owned(), why });
        }
        self.mark_dirty = true;
        self.mark.advance(last)
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

    /// Counts up in the file's header, where [`Guard`] sees it: an older content written over the file counts less.
    async fn count_up(&mut self) {
        let Some(conn) = &mut self.conn else { return };
        let counted = async {
            let (count,): (i32,) = sqlx::query_as("PRAGMA application_id").fetch_one(&mut *conn).await?;
            // The number is written out because a pragma takes no parameter.
            let pragma =
                sqlx::AssertSqlSafe(format!("PRAGMA application_id = {}", count.wrapping_add(1).max(0)));
            sqlx::query(pragma).persistent(false).execute(&mut *conn).await
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
