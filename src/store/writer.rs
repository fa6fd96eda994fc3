//! The single writer: one task owns the one write connection, drains its queue, commits what has come in as one
//! transaction, then answers every caller. A database that is locked, full or out of reach delays and never drops.

mod handle; // what the rest of the program asks the writer for
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
    Guard, StoreError,
    error::is_passing,
    mark::Mark,
    open::close_and_leave_wal,
    sharing::{Pause, Sharing},
    turn::Bracket,
};
use crate::{clock::Timestamp, observe::Commits};
pub use handle::Writer;
pub(super) use operation::{Answered, Operation};
use refused::Waiting;
use trouble::Trouble;
pub(super) use unseen::open_attempt;
pub use wal::MAX_VACUUM;
pub(crate) use wal::TOLD_SHARE;
use wal::Wal;
use write::{EmitTurn, Reply, Write, attempts, fail, give_up};

/// Writes waiting for their turn; a full queue makes callers wait.
const QUEUE: usize = 64;
/// The mark's fsync may trail its writes by this much.
const MARK_SYNC_EVERY: Duration = Duration::from_secs(1);

/// What is done between commits, for nobody's row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Upkeep {
    EmptyWal,
    Vacuum,
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
    commits: Commits,
}

impl WriterTask {
    fn new(
        file: WriterFile,
        conn: SqliteConnection,
        mark: Mark,
        guard: Arc<Guard>,
        commits: Commits,
    ) -> Self {
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
            commits,
        }
    }

    async fn run(
        mut self,
        inbox: mpsc::Receiver<Write>,
        upkeep: mpsc::Receiver<(Upkeep, oneshot::Sender<bool>)>,
    ) -> Result<(), StoreError> {
        let ended = self.work(inbox, upkeep).await;
        if ended.is_err() {
            self.waiting.tell_unrecorded();
        }
        ended
    }

    async fn work(
        &mut self,
        mut inbox: mpsc::Receiver<Write>,
        mut asked: mpsc::Receiver<(Upkeep, oneshot::Sender<bool>)>,
    ) -> Result<(), StoreError> {
        let mut group = Vec::new();
        loop {
            let sync_at = self.mark_synced + MARK_SYNC_EVERY;
            let (waiting_due, relieve_at) = (self.waiting.due(), self.wal.relieve_at());
            let received = tokio::select! {
                received = inbox.recv_many(&mut group, QUEUE) => received,
                Some((upkeep, reply)) = asked.recv() => {
                    // The caller may have gone.
                    let _ = reply.send(self.keep_up(upkeep).await);
                    continue;
                }
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
        if let Some(conn) = self.conn.take() {
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

    /// Whether it was done.
    async fn keep_up(&mut self, upkeep: Upkeep) -> bool {
        let done = match self.connection().await {
            Ok(_) => match &mut self.conn {
                Some(conn) => match upkeep {
                    Upkeep::EmptyWal => self.wal.empty(conn).await,
                    Upkeep::Vacuum => self.wal.vacuum(conn).await,
                }
                .map_err(StoreError::from),
                None => Ok(false),
            },
            Err(error) => Err(error),
        };
        match done {
            Ok(done) => done,
            Err(error) if error.is_locked() => false,
            Err(error) => {
                tracing::debug!(%error, ?upkeep, "the database could not be tidied up; it is tried again");
                self.drop_connection().await;
                false
            }
        }
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
            self.commits.refused(trouble::UNMARKED);
            tokio::time::sleep(self.trouble.unmarked(&error)).await;
        }
        self.commits.over();
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
                    self.commits.done(group.len(), self.held);
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
            StoreError::Sqlite(passing) if is_passing(passing) => {
                self.commits.refused(super::error::trouble(passing).code());
                self.trouble.refused(passing)
            }
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
