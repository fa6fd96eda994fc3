//! Commands: from an open row of `command` to its outcome.
//!
//! One task looks at what is open, carries out at once what needs nobody else, and asks TresorPay for the rest. What it
//! decides on is read again in the commit that changes it. Nothing that matters is in memory only: an open command is
//! looked at until it ends.

mod change; // requests that change something, or need TresorPay's word first
mod told; // what status requests that commands asked for told

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{sync::Notify, task::JoinSet};
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::{
    cancel::Canceler,
    doubt::{DoubtClock, Settleable},
    notice::{Decision, Policy, Request},
    pace::Backoff,
    paid::Paid,
    poll::Poller,
    retention::Retention,
    store::{CANCEL_SENT, Ended, Ending, OpenCommand, Reads, Settled, StoreError, Wanted, Writer},
};

use change::Answer;
use told::Told;

/// Open commands that are read, and carried out in one commit, at once.
const PAGE: usize = 200;
/// What waits is looked at this often: what it waits for may have happened.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// Between two looks passes at least so many times as long as a look takes.
const LOOK_SHARE: u32 = 10;
/// The worker looks this often even if nothing wakes it.
const FALLBACK_WAKE: Duration = Duration::from_secs(30);
/// Notices that commands ask about in one task.
const ASK_AT_ONCE: usize = 100;
/// Requests that change something under way at once: few, so as to leave slots to emissions.
const CHANGES_AT_ONCE: usize = 4;
/// What a command waits for while TresorPay does not answer.
const NO_ANSWER: &str = "waits: TresorPay does not answer status requests now; it is asked again";

/// What a command waits for while a request for its row may still be carried out.
const SETTLES_LATER: &str =
    "waits for emit.settle_after since the last request for it, which may still be carried out";

/// What carrying out commands needs of the settings.
#[derive(Debug, Clone, Copy)]
pub struct CommandOptions {
    /// What decides beside the row.
    pub policy: Policy,
    /// Between requests that failed.
    pub backoff: Backoff,
}

/// What requests are made with.
pub struct Tools {
    /// Records what comes of them.
    pub writer: Writer,
    /// Reads.
    pub reads: Reads,
    /// Asks for statuses.
    pub poller: Arc<Poller>,
    /// Cancels.
    pub canceler: Canceler,
    /// Confirms deliveries and fetches receipts.
    pub paid: Arc<Paid>,
    /// Takes personal data out.
    pub retention: Arc<Retention>,
    /// Says when a doubt may be settled.
    pub doubts: DoubtClock,
    /// `api.payment_page`.
    pub payment_page: Url,
}

/// The worker.
pub struct Commander {
    writer: Writer,
    reads: Reads,
    tools: Arc<Tools>,
    /// Rows may have come free to be emitted.
    wake_emit: Arc<Notify>,
    options: CommandOptions,
    /// Status requests: they change nothing and are dropped when the daemon stops.
    asking: JoinSet<Told>,
    /// Requests that change something: they are finished when the daemon stops.
    changing: JoinSet<(Wanted, Result<Answer, StoreError>)>,
    /// Requests that change something and wait for their turn, as the last look found them.
    queue: VecDeque<Wanted>,
    /// Commands whose request is under way, and rows that a change is under way for.
    busy: HashSet<i64>,
    changed: HashSet<i64>,
    /// Commands whose request came to nothing: how often in a row, and when it may be made again.
    later: HashMap<i64, (u32, Instant)>,
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
    pub fn new(tools: Tools, wake_emit: Arc<Notify>, options: CommandOptions) -> Self {
        Self {
            writer: tools.writer.clone(),
            reads: tools.reads.clone(),
            tools: Arc::new(tools),
            wake_emit,
            options,
            asking: JoinSet::new(),
            changing: JoinSet::new(),
            queue: VecDeque::new(),
            busy: HashSet::new(),
            changed: HashSet::new(),
            later: HashMap::new(),
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
                () = shutdown.cancelled() => break,
                () = wake.notified() => self.has_news().await,
                () = tokio::time::sleep_until(next.into()) => true,
                Some(told) = self.asking.join_next() => {
                    let recorded = self.record(joined(told)).await;
                    self.survive(recorded)?;
                    false
                }
                Some(answered) = self.changing.join_next() => {
                    let look = match self.answer(joined(answered)).await {
                        Ok(look) => look,
                        Err(error) => {
                            self.survive(Err(error))?;
                            true
                        }
                    };
                    let changed = self.change().await;
                    self.survive(changed)?;
                    look
                }
            };
        }
        while let Some(answered) = self.changing.join_next().await {
            let answered = self.answer(joined(answered)).await.map(drop);
            self.survive(answered)?;
        }
        Ok(())
    }

    /// What could not be written for now leaves its command open: it is looked at again.
    fn survive(&mut self, written: Result<(), StoreError>) -> Result<(), StoreError> {
        match written {
            Err(error) if error.is_passing() => {
                tracing::warn!(%error, "what became of a command cannot be written; it is asked again");
                self.failures = self.failures.saturating_add(1);
                self.ask_at = Instant::now() + self.options.backoff.delay(self.failures);
                Ok(())
            }
            written => written,
        }
    }

    /// Looks at everything that is open; how long until the next look.
    async fn look_or_wait(&mut self) -> Result<Duration, StoreError> {
        let start = Instant::now();
        match self.look().await {
            Ok(Look::Empty) => Ok(FALLBACK_WAKE),
            // Looking at very many takes a small part of the time.
            Ok(Look::Waiting) => Ok(LOOK_AGAIN.max(start.elapsed() * LOOK_SHARE)),
            Ok(Look::Again) => Ok(Duration::ZERO),
            Err(error) if error.is_passing() => {
                tracing::warn!(%error, "the commands cannot be read or written; none is carried out");
                Ok(LOOK_AGAIN)
            }
            Err(error) => Err(error),
        }
    }

    /// Whether a command came since the last look, or a correction waits for one.
    async fn has_news(&self) -> bool {
        // A look that fails is made in full, and reported there.
        self.seen == 0
            || self.reads.last_command().await.is_ok_and(|last| last > self.seen)
            || self.reads.has_corrections().await.unwrap_or_default()
    }

    async fn look(&mut self) -> Result<Look, StoreError> {
        self.advance_corrections().await?;
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
        let (mut asks, mut changes) = (Vec::new(), VecDeque::new());
        for wanted in wanted {
            match wanted.request {
                Request::Status => asks.push(wanted),
                Request::Cancel
                | Request::Settle
                | Request::Confirm
                | Request::LookUp
                | Request::Receipt
                | Request::Anonymise => changes.push_back(wanted),
            }
        }
        self.ask(asks);
        self.queue = changes;
        self.change().await?;
        Ok(look)
    }

    /// Has canceled what due corrections replace; while emission is paused, nothing could take its place.
    async fn advance_corrections(&self) -> Result<(), StoreError> {
        if !self.reads.has_corrections().await? {
            return Ok(());
        }
        let mut after = 0;
        loop {
            let (last, changed) = match self.writer.advance_corrections(after).await {
                // Commands are carried out all the same.
                Err(error @ StoreError::Refused(_)) => {
                    tracing::warn!(%error, "what corrections replace cannot be canceled");
                    return Ok(());
                }
                advanced => advanced?,
            };
            if changed {
                self.wake_emit.notify_one();
            }
            match last {
                Some(last) => after = last,
                None => return Ok(()),
            }
        }
    }

    /// Carries out what can be; collects what TresorPay has to be asked for.
    async fn sort(&mut self, page: &[OpenCommand], wanted: &mut Vec<Wanted>) -> Result<Look, StoreError> {
        let (mut local, mut settled, mut expected) = (Vec::new(), Vec::new(), 0);
        for command in page.iter().filter(|command| !self.busy.contains(&command.id)) {
            match command.decision(self.options.policy) {
                Decision::Move(_) | Decision::Done(_) | Decision::Refuse(_) => {
                    local.push(command.id);
                    expected += 1;
                }
                Decision::Wait(what) if command.says(what) => {}
                Decision::Wait(_) => local.push(command.id),
                Decision::Ask(request) => wanted.extend(command.wanted(request)),
                Decision::SettleByWord => settled.extend(self.settled(command).await?),
            }
        }
        if local.is_empty() && settled.is_empty() {
            return Ok(Look::Waiting);
        }
        let carried = self.writer.carry_out(local.clone(), settled.clone(), self.options.policy).await;
        let ended = match carried {
            Err(StoreError::Refused(_)) => {
                // What is refused stays open, and is not decided anew at once.
                expected = 0;
                self.carry_out_singly(local, settled).await?
            }
            carried => carried?,
        };
        for end in &ended {
            self.later.remove(&end.command_id);
            log(end);
        }
        if !ended.is_empty() {
            self.wake_emit.notify_one();
        }
        Ok(if ended.len() < expected { Look::Again } else { Look::Waiting })
    }

    /// Carries out what the database takes; each of the others says what it waits for.
    async fn carry_out_singly(
        &self,
        local: Vec<i64>,
        settled: Vec<Settled>,
    ) -> Result<Vec<Ended>, StoreError> {
        let mut ended = Vec::new();
        let locals = local.into_iter().map(|id| (id, vec![id], Vec::new()));
        let words = settled.into_iter().map(|word| (word.command_id, Vec::new(), vec![word]));
        for (id, local, settled) in locals.chain(words) {
            match self.writer.carry_out(local, settled, self.options.policy).await {
                Ok(some) => ended.extend(some),
                Err(error @ StoreError::Refused(_)) => {
                    self.writer.commands_wait(vec![id], format!("waits: {error}")).await?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(ended)
    }

    /// The row's doubt, if it is old enough to be ended by a word. The last request was read before the clock is asked: one
    /// that is made since is seen in the commit.
    async fn settled(&self, command: &OpenCommand) -> Result<Option<Settled>, StoreError> {
        let Some((outbox_id, last_attempt)) = command.last_attempt() else { return Ok(None) };
        match self.tools.doubts.settleable(outbox_id, Instant::now()) {
            Settleable::Now => Ok(Some(Settled { command_id: command.id, last_attempt })),
            Settleable::At(_) if command.says(SETTLES_LATER) => Ok(None),
            Settleable::At(_) => {
                self.writer.commands_wait(vec![command.id], SETTLES_LATER.to_owned()).await?;
                Ok(None)
            }
        }
    }

    /// Starts the requests that are wanted: one for a row, however many commands ask for it.
    fn ask(&mut self, wanted: Vec<Wanted>) {
        if Instant::now() < self.ask_at {
            return;
        }
        let mut rows: BTreeMap<i64, (Wanted, Vec<i64>)> = BTreeMap::new();
        for wanted in wanted {
            self.busy.insert(wanted.command_id);
            let id = wanted.command_id;
            rows.entry(wanted.outbox_id).or_insert_with(|| (wanted, Vec::new())).1.push(id);
        }
        let rows: Vec<_> = rows.into_values().collect();
        for rows in rows.chunks(ASK_AT_ONCE) {
            self.asking.spawn(told::ask(Arc::clone(&self.tools.poller), rows.to_vec()));
        }
    }

    /// Starts requests that change something, a few at once and one for a row.
    async fn change(&mut self) -> Result<(), StoreError> {
        let now = Instant::now();
        let mut free = CHANGES_AT_ONCE.saturating_sub(self.changing.len());
        let (mut starting, mut too_early) = (Vec::new(), Vec::new());
        while free > 0 {
            let Some(wanted) = self.queue.pop_front() else { break };
            let early = self.later.get(&wanted.command_id).is_some_and(|(_, at)| now < *at);
            // The next look finds it again.
            if early || self.changed.contains(&wanted.outbox_id) {
                continue;
            }
            if wanted.request == Request::Settle
                && let Settleable::At(at) = self.tools.doubts.settleable(wanted.outbox_id, now)
            {
                self.later.insert(wanted.command_id, (0, at));
                too_early.push(wanted.command_id);
                continue;
            }
            if starting.iter().any(|other: &Wanted| other.outbox_id == wanted.outbox_id) {
                continue;
            }
            free -= 1;
            starting.push(wanted);
        }
        if !too_early.is_empty() {
            self.writer.commands_wait(too_early, SETTLES_LATER.to_owned()).await?;
        }
        let cancels: Vec<i64> = starting
            .iter()
            .filter(|wanted| matches!(wanted.request, Request::Cancel | Request::Settle))
            .map(|wanted| wanted.command_id)
            .collect();
        if !cancels.is_empty() {
            // Before it leaves: a row that is then found CANCELED was canceled by it.
            self.writer.commands_wait(cancels, CANCEL_SENT.to_owned()).await?;
        }
        for wanted in starting {
            self.busy.insert(wanted.command_id);
            self.changed.insert(wanted.outbox_id);
            let tools = Arc::clone(&self.tools);
            self.changing.spawn(async move { (wanted.clone(), change::change(tools, wanted).await) });
        }
        Ok(())
    }

    /// Ends the command, or tells what it waits for; whether to look again at once.
    async fn answer(&mut self, answered: (Wanted, Result<Answer, StoreError>)) -> Result<bool, StoreError> {
        let (Wanted { command_id, outbox_id, .. }, answer) = answered;
        self.busy.remove(&command_id);
        self.changed.remove(&outbox_id);
        let failures = self.later.remove(&command_id).map_or(0, |(failures, _)| failures);
        let answer = match answer {
            Err(error) if error.is_passing() => Answer::Later(None, format!("waits: {error}")),
            answer => answer?,
        };
        let (refused, detail) = match answer {
            Answer::Done(detail) => (false, detail),
            Answer::Refused(detail) => (true, detail),
            Answer::Look => return Ok(true),
            Answer::Later(at, what) => {
                let failures = failures.saturating_add(1);
                let at = at.unwrap_or_else(|| Instant::now() + self.options.backoff.delay(failures));
                self.later.insert(command_id, (failures, at));
                self.writer.commands_wait(vec![command_id], what).await?;
                return Ok(false);
            }
        };
        if refused {
            tracing::warn!(command_id, outbox_id, detail, "a command is refused");
        } else {
            tracing::info!(command_id, outbox_id, detail, "a command is carried out");
        }
        self.wake_emit.notify_one();
        let endings = vec![Ending { command_id, refused, detail }];
        self.writer.record_told(Vec::new(), Vec::new(), Vec::new(), endings).await?;
        Ok(false)
    }

    /// Records what was told; what was not told is asked again later.
    async fn record(&mut self, told: Told) -> Result<(), StoreError> {
        for id in told.commands() {
            self.busy.remove(&id);
        }
        if told.unanswered.is_empty() {
            self.failures = 0;
        } else {
            self.failures = self.failures.saturating_add(1);
            self.ask_at = Instant::now() + self.options.backoff.delay(self.failures);
            self.writer.commands_wait(told.unanswered, NO_ANSWER.to_owned()).await?;
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

/// What a task gave; its panic is this one's.
fn joined<T>(task: Result<T, tokio::task::JoinError>) -> T {
    match task {
        Ok(given) => given,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
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
