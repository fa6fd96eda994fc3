//! Commands: from an open row of `command` to its outcome.
//!
//! One task looks at what is open, carries out at once what needs nobody else, and asks TresorPay for the rest. What it
//! decides on is read again in the commit that changes it. Nothing that matters is in memory only: an open command is
//! looked at until it ends.

mod told; // what status requests that commands asked for told

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{sync::Notify, task::JoinSet};
use tokio_util::sync::CancellationToken;

use crate::{
    notice::{Decision, Policy, Request},
    pace::Backoff,
    poll::Poller,
    store::{Ended, OpenCommand, Reads, StoreError, Wanted, Writer},
};

use told::Told;

/// Open commands that are read, and carried out in one commit, at once.
const PAGE: usize = 200;
/// What waits is looked at this often: what it waits for may have happened.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// The worker looks this often even if nothing wakes it.
const FALLBACK_WAKE: Duration = Duration::from_secs(30);
/// Notices that commands ask about in one task.
const ASK_AT_ONCE: usize = 100;
/// What a command waits for while TresorPay does not answer.
const NO_ANSWER: &str = "waits: TresorPay does not answer status requests now; it is asked again";

/// What carrying out commands needs of the settings.
#[derive(Debug, Clone, Copy)]
pub struct CommandOptions {
    /// What decides beside the row.
    pub policy: Policy,
    /// Between requests that failed.
    pub backoff: Backoff,
}

/// The worker.
pub struct Commander {
    writer: Writer,
    reads: Reads,
    poller: Arc<Poller>,
    /// Rows may have come free to be emitted.
    wake_emit: Arc<Notify>,
    options: CommandOptions,
    /// Status requests: they change nothing and are dropped when the daemon stops.
    asking: JoinSet<Told>,
    /// Commands whose request is under way.
    busy: HashSet<i64>,
    /// The last command that was looked at.
    seen: i64,
    /// Status requests that failed in a row, and when the next may be made.
    failures: u32,
    ask_at: Instant,
}

/// What a look at the open commands came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Look {
    /// Nothing is open.
    Empty,
    /// Something waits.
    Waiting,
    /// What was decided was no longer so when it was to be carried out.
    Again,
}

impl Commander {
    /// A worker that has not begun.
    pub fn new(
        writer: Writer,
        reads: Reads,
        poller: Arc<Poller>,
        wake_emit: Arc<Notify>,
        options: CommandOptions,
    ) -> Self {
        Self {
            writer,
            reads,
            poller,
            wake_emit,
            options,
            asking: JoinSet::new(),
            busy: HashSet::new(),
            seen: 0,
            failures: 0,
            ask_at: Instant::now(),
        }
    }

    /// Works until `shutdown`.
    pub async fn run(mut self, wake: Arc<Notify>, shutdown: CancellationToken) -> Result<(), StoreError> {
        let mut look = true;
        let mut next = Instant::now();
        loop {
            if look {
                next = Instant::now() + self.look_or_wait().await?;
            }
            look = tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                () = wake.notified() => self.has_news().await,
                () = tokio::time::sleep_until(next.into()) => true,
                Some(told) = self.asking.join_next() => {
                    self.record(told).await?;
                    true
                }
            };
        }
    }

    /// Looks at everything that is open; how long until the next look.
    async fn look_or_wait(&mut self) -> Result<Duration, StoreError> {
        match self.look().await {
            Ok(Look::Empty) => Ok(FALLBACK_WAKE),
            Ok(Look::Waiting) => Ok(LOOK_AGAIN),
            Ok(Look::Again) => Ok(Duration::ZERO),
            Err(error) if error.is_passing() => {
                tracing::warn!(%error, "the commands cannot be read; none is carried out");
                Ok(LOOK_AGAIN)
            }
            Err(error) => Err(error),
        }
    }

    /// Whether a command came since the last look.
    async fn has_news(&self) -> bool {
        // A look that fails is made in full, and reported there.
        self.reads.last_command().await.is_ok_and(|last| last > self.seen) || self.seen == 0
    }

    async fn look(&mut self) -> Result<Look, StoreError> {
        let last = self.reads.last_command().await?;
        let (mut after, mut look) = (0, Look::Empty);
        let mut wanted = Vec::new();
        loop {
            let page = self.reads.open_commands(after, PAGE).await?;
            if let Some(command) = page.last() {
                after = command.id;
                look = look.max(Look::Waiting);
            }
            if self.sort(&page, &mut wanted).await? == Look::Again {
                look = Look::Again;
            }
            if page.len() < PAGE {
                break;
            }
        }
        self.seen = last;
        self.ask(wanted);
        Ok(look)
    }

    /// Carries out what can be; collects what TresorPay has to be asked for.
    async fn sort(&mut self, page: &[OpenCommand], wanted: &mut Vec<Wanted>) -> Result<Look, StoreError> {
        let (mut local, mut expected) = (Vec::new(), 0);
        for command in page.iter().filter(|command| !self.busy.contains(&command.id)) {
            match command.decision(self.options.policy) {
                Decision::Move(_) | Decision::Done(_) | Decision::Refuse(_) => {
                    local.push(command.id);
                    expected += 1;
                }
                Decision::Wait(what) if command.says(what) => {}
                Decision::Wait(_) => local.push(command.id),
                Decision::Ask(request) => wanted.extend(command.wanted(request)),
                Decision::SettleByWord => {}
            }
        }
        if local.is_empty() {
            return Ok(Look::Waiting);
        }
        let ended = self.writer.carry_out(local, self.options.policy).await?;
        ended.iter().for_each(log);
        if !ended.is_empty() {
            self.wake_emit.notify_one();
        }
        Ok(if ended.len() < expected { Look::Again } else { Look::Waiting })
    }

    /// Starts the requests that are wanted: one for a row, however many commands ask for it.
    fn ask(&mut self, wanted: Vec<Wanted>) {
        if Instant::now() < self.ask_at {
            return;
        }
        let mut rows: BTreeMap<i64, (Wanted, Vec<i64>)> = BTreeMap::new();
        for wanted in wanted.into_iter().filter(|wanted| wanted.request == Request::Status) {
            self.busy.insert(wanted.command_id);
            let id = wanted.command_id;
            rows.entry(wanted.outbox_id).or_insert_with(|| (wanted, Vec::new())).1.push(id);
        }
        let rows: Vec<_> = rows.into_values().collect();
        for rows in rows.chunks(ASK_AT_ONCE) {
            self.asking.spawn(told::ask(Arc::clone(&self.poller), rows.to_vec()));
        }
    }

    /// Records what was told; what was not told is asked again later.
    async fn record(&mut self, told: Result<Told, tokio::task::JoinError>) -> Result<(), StoreError> {
        let told = match told {
            Ok(told) => told,
            Err(error) => {
                if let Ok(panic) = error.try_into_panic() {
                    std::panic::resume_unwind(panic);
                }
                return Ok(());
            }
        };
        for id in told.commands() {
            self.busy.remove(&id);
        }
        if told.unanswered.is_empty() {
            self.failures = 0;
        } else {
            self.failures = self.failures.saturating_add(1);
            self.ask_at = Instant::now() + self.options.backoff.delay(self.failures);
            self.writer.commands_wait(told.unanswered, NO_ANSWER).await?;
        }
        if !told.polls.is_empty() || !told.endings.is_empty() {
            self.writer.record_told(told.records, told.drifts, told.polls, told.endings).await?;
        }
        Ok(())
    }
}

impl Look {
    fn max(self, other: Self) -> Self {
        if self == Self::Empty { other } else { self }
    }
}

fn log(ended: &Ended) {
    let Ended { command_id, action, outbox_id, refused, detail } = ended;
    if *refused {
        tracing::warn!(command_id, action, outbox_id, detail, "a command is refused");
    } else {
        tracing::info!(command_id, action, outbox_id, detail, "a command is carried out");
    }
}
