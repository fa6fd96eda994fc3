//! Retention: takes the personal data out of what is finished and old enough, and card numbers out of what is emitted.
//!
//! A few rows at a time, and the more time between two commits the longer one takes, so that emission hardly notices.
//! What was removed is then still in the write-ahead log: once there is nothing more to remove the log is written back and
//! emptied, whether or not anybody else writes; and once a day, in a quiet moment, the file is written anew, since SQLite
//! leaves copies of rows in parts of pages that are not in use.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::{
    clock::Timestamp,
    paid::remove_receipt,
    store::{Anonymise, MAX_VACUUM, NextDue, PersonalRow, Reads, Removal, StoreError, TakeCards, Writer},
};

/// Between two looks for rows that have become old enough.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// Rows whose data is taken out in one commit.
const ROWS_AT_ONCE: usize = 10;
/// Rows whose card numbers are taken out in one commit.
const CARDS_AT_ONCE: usize = 50;
/// Between two commits passes at least so many times as long as one takes,
const FREE_SHARE: u32 = 4;
/// and at least this.
const MIN_PAUSE: Duration = Duration::from_millis(10);
/// The log is emptied no more often than this,
const EMPTY_EVERY: Duration = Duration::from_secs(10);
/// and tried again after this while a reader holds it.
const EMPTY_AGAIN: Duration = Duration::from_secs(1);
/// The file is written anew no more often than this; at the start it may have been long ago.
const VACUUM_EVERY: Duration = Duration::from_secs(24 * 3600);
/// After a failure.
const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// What keeps data from being removed is told again after this.
const TELL_AGAIN: Duration = Duration::from_secs(3600);
/// The code in the log.
const CODE: &str = "retention_failed";

/// What retention needs of the settings.
#[derive(Debug, Clone)]
pub struct RetentionOptions {
    /// `retention.anonymise_after`.
    pub after: Option<Duration>,
    /// `receipts.directory`.
    pub receipts: Option<PathBuf>,
}

/// What came of a command `anonymise`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Anonymised {
    /// The data is gone, and the command has ended.
    Gone,
    /// Something needs it still, or it could not be removed; why.
    NotNow(String),
}

/// Takes personal data out.
pub struct Retention {
    writer: Writer,
    reads: Reads,
    options: RetentionOptions,
    /// Something was removed since the log was emptied; at the start, maybe by a daemon that was killed.
    in_log: AtomicBool,
    /// The same, since the file was written anew.
    in_pages: AtomicBool,
    /// A command removed something.
    removed: Notify,
}

/// How far the worker has come.
struct Tour {
    /// The last row that was looked at; `None`: the next look begins at the oldest.
    place: Option<(String, i64)>,
    look_at: Instant,
    /// The last row that was looked at for card numbers.
    card: i64,
    empty_at: Instant,
    vacuum_at: Instant,
    told: HashMap<&'static str, Instant>,
}

impl Retention {
    /// For the rows that `writer` writes.
    pub fn new(writer: Writer, reads: Reads, options: RetentionOptions) -> Self {
        let (in_log, in_pages) = (AtomicBool::new(true), AtomicBool::new(false));
        Self { writer, reads, options, in_log, in_pages, removed: Notify::new() }
    }

    /// Works until `shutdown`. `wake`: somebody has committed.
    pub async fn run(
        self: Arc<Self>,
        wake: Arc<Notify>,
        shutdown: CancellationToken,
    ) -> Result<(), StoreError> {
        let now = Instant::now();
        let told = HashMap::new();
        let mut tour = Tour { place: None, look_at: now, card: 0, empty_at: now, vacuum_at: now, told };
        loop {
            let start = Instant::now();
            let worked = tokio::select! {
                worked = self.step(&mut tour) => worked,
                () = shutdown.cancelled() => return Ok(()),
            };
            let (wait, idle) = match worked {
                Ok(true) => (MIN_PAUSE.max(start.elapsed() * FREE_SHARE), false),
                Ok(false) => (self.idle_for(&tour), true),
                Err(error) if error.is_passing() => {
                    tour.tell("store", |code| {
                        tracing::warn!(code, %error, "personal data cannot be looked for or removed now; it is tried again");
                    });
                    (LOOK_AGAIN, false)
                }
                Err(error) => return Err(error),
            };
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = wake.notified(), if idle => {}
                () = self.removed.notified(), if idle => {}
                () = shutdown.cancelled() => return Ok(()),
            }
        }
    }

    /// Does what a command asks for: takes the data of one row out, now, whatever its age, and ends the command with it.
    pub async fn anonymise(&self, outbox_id: i64, command_id: i64) -> Result<Anonymised, StoreError> {
        let not_now = |why: &str| Ok(Anonymised::NotNow(why.to_owned()));
        let Some(row) = self.reads.personal_row(outbox_id).await? else {
            return not_now("it is not finished any more");
        };
        if let Some(why) = &row.needed_for {
            return not_now(why);
        }
        if let Err(why) = self.remove_receipt(&row).await {
            return Ok(Anonymised::NotNow(why));
        }
        let command = Some(command_id);
        let removals =
            self.writer.anonymise(Anonymise { rows: vec![outbox_id], command, at: Timestamp::now() }).await?;
        match removals.into_iter().next() {
            Some(Removal::Gone) => {
                self.has_removed();
                self.removed.notify_one();
                tracing::info!(
                    command_id,
                    outbox_id,
                    "a command is carried out: personal data was taken out"
                );
                Ok(Anonymised::Gone)
            }
            Some(Removal::Refused(why)) => Ok(Anonymised::NotNow(format!("the database refuses it: {why}"))),
            Some(Removal::NotNow) | None => not_now("something needs its data still"),
        }
    }

    /// Card numbers, then one batch of rows, then the log; whether there may be more at once.
    async fn step(&self, tour: &mut Tour) -> Result<bool, StoreError> {
        let worked = self.take_cards(tour).await? || self.take_rows(tour).await?;
        if !worked && self.in_pages.load(Ordering::Relaxed) && Instant::now() >= tour.vacuum_at {
            self.vacuum(tour).await?;
        }
        if self.in_log.load(Ordering::Relaxed) && Instant::now() >= tour.empty_at {
            self.empty_log(tour).await?;
        }
        Ok(worked)
    }

    fn idle_for(&self, tour: &Tour) -> Duration {
        let now = Instant::now();
        let look = self.options.after.map(|_| tour.look_at.saturating_duration_since(now));
        let empty = self.in_log.load(Ordering::Relaxed).then(|| tour.empty_at.saturating_duration_since(now));
        let vacuum =
            self.in_pages.load(Ordering::Relaxed).then(|| tour.vacuum_at.saturating_duration_since(now));
        look.into_iter().chain(empty).chain(vacuum).fold(LOOK_EVERY, Duration::min).max(MIN_PAUSE)
    }

    /// Whether there were any.
    async fn take_cards(&self, tour: &mut Tour) -> Result<bool, StoreError> {
        let rows = self.reads.card_rows(tour.card, CARDS_AT_ONCE).await?;
        let Some(last) = rows.last() else {
            // From the front at the next wake: rows become EMITTED in any order.
            tour.card = 0;
            return Ok(false);
        };
        tour.card = *last;
        match self.writer.take_cards(TakeCards { rows, at: Timestamp::now() }).await? {
            Removal::Gone | Removal::NotNow => self.has_removed(),
            Removal::Refused(why) => tour.tell("cards", |code| {
                tracing::error!(
                    code,
                    error = why,
                    "a rule or a trigger in the database refuses to let card numbers go; they are tried again. Change or drop \
                     the trigger"
                );
            }),
        }
        Ok(true)
    }

    /// Whether there may be more.
    async fn take_rows(&self, tour: &mut Tour) -> Result<bool, StoreError> {
        let Some(after) = self.options.after.filter(|_| Instant::now() >= tour.look_at) else {
            return Ok(false);
        };
        let (now, place) = (Timestamp::now(), tour.place.take().unwrap_or_default());
        let rows = self.reads.personal_rows((&place.0, place.1), now.before(after), ROWS_AT_ONCE).await?;
        let Some(last) = rows.last() else {
            tour.look_at = Instant::now() + LOOK_EVERY;
            return Ok(false);
        };
        tour.place = Some((last.updated_at.clone(), last.outbox_id));
        let mut free = Vec::with_capacity(rows.len());
        for row in rows.iter().filter(|row| row.needed_for.is_none()) {
            match self.remove_receipt(row).await {
                Ok(()) => free.push(row.outbox_id),
                Err(why) => tour.tell("receipt", |code| {
                    tracing::error!(
                        code,
                        outbox_id = row.outbox_id,
                        error = why,
                        "a receipt cannot be removed, so the personal data of its row stays too; it is tried again"
                    );
                }),
            }
        }
        if free.is_empty() {
            return Ok(true);
        }
        let rows = free.clone();
        let removals = self.writer.anonymise(Anonymise { rows, command: None, at: now }).await?;
        self.has_removed();
        for (outbox_id, removal) in free.into_iter().zip(removals) {
            match removal {
                Removal::Gone => tracing::debug!(outbox_id, "personal data was taken out"),
                Removal::NotNow => {}
                Removal::Refused(why) => tour.tell("row", |code| {
                    tracing::error!(
                        code,
                        outbox_id,
                        error = why,
                        "a rule or a trigger in the database refuses to let personal data go; it is tried again. Change or \
                         drop the trigger"
                    );
                }),
            }
        }
        Ok(true)
    }

    /// Before the row forgets where it is: whoever is killed in between removes it once more.
    async fn remove_receipt(&self, row: &PersonalRow) -> Result<(), String> {
        let Some(place) = row.receipt_path.clone() else { return Ok(()) };
        let Some(directory) = self.options.receipts.clone() else {
            return Err(format!("receipts.directory is not set, and its receipt is {place}"));
        };
        let removed =
            tokio::task::spawn_blocking(move || remove_receipt(&directory, Path::new(&place))).await;
        match removed {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(format!("its receipt cannot be removed: {error}")),
            Err(error) => Err(format!("its receipt cannot be removed: {error}")),
        }
    }

    fn has_removed(&self) {
        self.in_log.store(true, Ordering::Relaxed);
        self.in_pages.store(true, Ordering::Relaxed);
    }

    /// While nothing waits to be emitted.
    async fn vacuum(&self, tour: &mut Tour) -> Result<(), StoreError> {
        tour.vacuum_at = Instant::now() + LOOK_EVERY;
        let queue = self.reads.queue().await?;
        if queue.emitting > 0 || self.reads.next_due().await? == NextDue::Now {
            return Ok(());
        }
        self.in_pages.store(false, Ordering::Relaxed);
        let start = Instant::now();
        if self.writer.vacuum().await? {
            tour.vacuum_at = Instant::now() + VACUUM_EVERY;
            tour.empty_at = Instant::now();
            self.in_log.store(true, Ordering::Relaxed);
            tracing::info!(milliseconds = start.elapsed().as_millis(), "the database was written anew");
            return Ok(());
        }
        self.in_pages.store(true, Ordering::Relaxed);
        tour.tell("vacuum", |code| {
            tracing::warn!(
                code,
                most = MAX_VACUUM,
                "the database was not written anew after personal data was taken out: it is too large for that, or somebody \
                 writes. Of a few rows, copies may be left in parts of its pages that are not in use; to remove them, run \
                 `VACUUM` in the sqlite3 shell at a quiet hour"
            );
        });
        Ok(())
    }

    async fn empty_log(&self, tour: &mut Tour) -> Result<(), StoreError> {
        // What is removed from here on is for the next time.
        self.in_log.store(false, Ordering::Relaxed);
        if self.writer.empty_wal().await? {
            tour.empty_at = Instant::now() + EMPTY_EVERY;
        } else {
            self.in_log.store(true, Ordering::Relaxed);
            tour.empty_at = Instant::now() + EMPTY_AGAIN;
            tour.tell("log", |code| {
                tracing::debug!(
                    code,
                    "the write-ahead log cannot be emptied while somebody reads; it is tried again"
                );
            });
        }
        Ok(())
    }
}

impl Tour {
    /// Each kind once in a while.
    fn tell(&mut self, kind: &'static str, tell: impl FnOnce(&'static str)) {
        let now = Instant::now();
        if self.told.get(kind).is_none_or(|at| now.duration_since(*at) >= TELL_AGAIN) {
            self.told.insert(kind, now);
            tell(CODE);
        }
    }
}
