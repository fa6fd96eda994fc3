//! Reconciliation: at its hour, asks about every notice that was finished within `reconcile.window`, and records what has
//! changed at TresorPay behind our back. It takes a small share of the rate, goes on where it was stopped or killed, and an
//! hour that was missed is made up for at the next start.

mod judge; // from what TresorPay says to what is recorded, and how loudly

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::{
    clock::{ClockSteps, Timestamp},
    notice::{Status, TresorPayReference},
    pace::{Allowance, Backoff, Pace, Side},
    poll::{Poller, Said, Step, Urgency},
    settings::CronSchedule,
    store::{
        Finding, FinishedNotice, Place, Reads, ReconcileRecord, Reconciliation, Recording, Run, StoreError,
        Writer,
    },
};

/// The worker looks at the schedule this often even if nothing wakes it: the wall clock may have been set.
const FALLBACK_WAKE: Duration = Duration::from_secs(600);
/// After a look at the table that failed, or while another probes.
const LOOK_AGAIN: Duration = Duration::from_secs(2);
/// While TresorPay knows no path for a status: somebody has to correct `api.base_url`.
const NO_PATH_WAIT: Duration = Duration::from_secs(600);
/// What fails so often while TresorPay answers otherwise is left for the next time.
const TRIES: u32 = 8;
/// An emitted notice or a command is overdue after this.
pub const OVERDUE_AFTER: Duration = Duration::from_secs(3600);
/// A time this far ahead was written by a clock that was wrong.
const IMPOSSIBLE: Duration = Duration::from_secs(86_400);
/// Lines for single notices in one run; beyond, `tresorpayd list --drift` names them.
const MAX_LINES: u32 = 200;

/// What reconciliation needs of the settings.
#[derive(Debug, Clone)]
pub struct ReconcileOptions {
    /// When.
    pub schedule: CronSchedule,
    /// How far back.
    pub window: Duration,
    /// Notices in one request.
    pub batch_size: usize,
    /// Between requests that failed.
    pub backoff: Backoff,
}

/// The worker.
pub struct Reconciler {
    writer: Writer,
    reads: Reads,
    poller: Arc<Poller>,
    pace: Pace,
    options: ReconcileOptions,
    steps: ClockSteps,
    /// `None`: not read yet.
    state: Option<Reconciliation>,
    /// What is left of the page that was read last, and where that ends.
    pending: Vec<FinishedNotice>,
    page_end: Option<Place>,
    /// Rounds about this page that told nothing, in a row.
    failures: u32,
    /// Lines for single notices so far.
    lines: u32,
}

impl Reconciler {
    /// A worker that has not begun.
    pub fn new(
        writer: Writer,
        reads: Reads,
        poller: Arc<Poller>,
        pace: Pace,
        options: ReconcileOptions,
        steps: ClockSteps,
    ) -> Self {
        Self {
            writer,
            reads,
            poller,
            pace,
            options,
            steps,
            state: None,
            pending: Vec::new(),
            page_end: None,
            failures: 0,
            lines: 0,
        }
    }

    /// Steps until `shutdown`.
    pub async fn run(mut self, wake: Arc<Notify>, shutdown: CancellationToken) -> Result<(), StoreError> {
        loop {
            // It asks and changes nothing at TresorPay: it is dropped where it stands.
            let step = tokio::select! {
                step = self.step() => step,
                () = shutdown.cancelled() => return Ok(()),
            };
            let until = match step {
                Ok(Step::Worked) => continue,
                Ok(Step::Idle(until)) => until,
                Err(error) if error.is_passing() => {
                    tracing::warn!(%error, "the outbox cannot be read; reconciliation waits");
                    Instant::now() + LOOK_AGAIN
                }
                Err(error) => return Err(error),
            };
            tokio::select! {
                () = wake.notified(), if !self.is_running() => {}
                () = tokio::time::sleep_until(until.into()) => {}
                () = shutdown.cancelled() => return Ok(()),
            }
        }
    }

    fn is_running(&self) -> bool {
        self.state.as_ref().is_some_and(|state| state.running.is_some())
    }

    /// Begins, goes on with one batch, or ends.
    async fn step(&mut self) -> Result<Step, StoreError> {
        let (now, wall) = (Instant::now(), Timestamp::now());
        if self.steps.stepped(wall, now).is_some() {
            return Ok(Step::Idle(now + LOOK_AGAIN));
        }
        let mut state = match self.state.take() {
            Some(state) => state,
            None => self.resume(wall).await?,
        };
        if state.running.is_none() {
            state.running = self.due(&state, wall).map(|due| self.begin(due, wall));
            if state.running.is_some() {
                self.look_for_overdue(&mut state, wall).await?;
            }
        }
        let Some(run) = state.running.clone() else {
            self.state = Some(state);
            let wait = self.options.schedule.next_due(wall).map_or(FALLBACK_WAKE, |at| at.since(wall));
            return Ok(Step::Idle(now + wait.min(FALLBACK_WAKE)));
        };
        self.state = Some(state);
        self.go_on(run).await
    }

    /// What was written last, put right for the present window and clock.
    async fn resume(&self, wall: Timestamp) -> Result<Reconciliation, StoreError> {
        let mut state = self.reads.reconciliation().await?.unwrap_or_default();
        let horizon = wall.after(IMPOSSIBLE).to_string();
        state.running = state.running.filter(|run| run.until < horizon);
        if let Some(run) = &mut state.running {
            let from = wall.before(self.options.window).to_string();
            if run.place.updated_at < from {
                run.place = Place { updated_at: from.clone(), id: 0, ..run.place.clone() };
            }
            run.from = run.from.clone().max(from);
            tracing::info!(checked = run.checked, "reconciliation goes on where it stopped");
        }
        Ok(state)
    }

    /// The time of the schedule that no run was made for yet.
    fn due(&self, state: &Reconciliation, wall: Timestamp) -> Option<Timestamp> {
        let due = self.options.schedule.last_due(wall)?;
        let last = state.last.as_ref().and_then(|run| Timestamp::parse(&run.due));
        last.is_none_or(|last| last < due || last > wall.after(IMPOSSIBLE)).then_some(due)
    }

    fn begin(&mut self, due: Timestamp, wall: Timestamp) -> Run {
        self.lines = 0;
        let from = wall.before(self.options.window).to_string();
        Run {
            due: due.to_string(),
            started_at: wall.to_string(),
            finished_at: None,
            place: Place { status: Status::Paid.as_str().to_owned(), updated_at: from.clone(), id: 0 },
            from,
            until: wall.to_string(),
            checked: 0,
            drifted: 0,
            flagged: 0,
            unanswered: 0,
            rescheduled: 0,
        }
    }

    /// Tells what waits for longer than it should; what nobody would ask about any more is asked about again.
    async fn look_for_overdue(&self, state: &mut Reconciliation, wall: Timestamp) -> Result<(), StoreError> {
        let overdue = self.reads.overdue(wall.before(OVERDUE_AFTER)).await?;
        if overdue.notices > 0 {
            let (rows, since) = (overdue.notices, overdue.since);
            tracing::warn!(rows, since, "emitted notices are overdue: TresorPay was not asked about them");
        }
        if overdue.commands > 0 {
            let commands = overdue.commands;
            tracing::warn!(
                commands,
                "commands are open for more than an hour and do not say what they wait for"
            );
        }
        let mut rescheduled = 0;
        loop {
            match self.writer.reschedule(wall).await? {
                Ok(0) => break,
                Ok(rows) => rescheduled += rows,
                Err(error) => {
                    let code = judge::TRIGGER_REFUSED;
                    tracing::error!(code, error, "notices that nobody asks about cannot be given a time");
                    break;
                }
            }
        }
        if rescheduled > 0 {
            let rows = rescheduled;
            tracing::warn!(rows, "emitted notices had no time to be asked about; they are asked about now");
        }
        if let Some(run) = &mut state.running {
            run.rescheduled = rescheduled;
        }
        Ok(())
    }

    /// One batch.
    async fn go_on(&mut self, mut run: Run) -> Result<Step, StoreError> {
        if self.pending.is_empty() {
            let page = self.reads.finished_notices(&run.place, &run.until, self.options.batch_size).await?;
            let Some(end) = page.end else { return self.next_status(run).await };
            (self.pending, self.page_end, self.failures) = (page.notices, Some(end), 0);
        }
        let now = Instant::now();
        let (many, open) = match self.pace.allowance(Side::Status, now) {
            Allowance::Open => (self.pending.len(), true),
            Allowance::Probe => (1, false),
            Allowance::NotBefore(at) => return Ok(Step::Idle(at)),
            Allowance::ProbeUnderWay => return Ok(Step::Idle(now + LOOK_AGAIN)),
        };
        let batch = self.pending.iter().take(many);
        let references: Vec<TresorPayReference> = batch.map(|notice| notice.reference.clone()).collect();
        let mut said = self.poller.asking().ask(&references, Urgency::Background).await;
        let wrong_path = said.iter().any(|(_, said)| *said == Said::NoPath);
        said.retain(|(_, said)| *said != Said::NoPath);
        if said.is_empty() && !self.pending.is_empty() {
            if wrong_path {
                tracing::warn!("TresorPay knows no path for the status of a notice; reconciliation waits");
                return Ok(Step::Idle(Instant::now() + NO_PATH_WAIT));
            }
            self.failures += u32::from(open);
            if self.failures < TRIES {
                // One that always fails must not be the only one that is probed with.
                self.pending.rotate_left(1);
                return Ok(Step::Idle(Instant::now() + self.options.backoff.delay(self.failures.max(1))));
            }
            run.unanswered += u64::try_from(self.pending.len()).unwrap_or(u64::MAX);
            self.pending.clear();
        }
        self.take(run, said).await?;
        Ok(Step::Worked)
    }

    /// Records what was said, and where the run is now.
    async fn take(&mut self, mut run: Run, mut said: Vec<(usize, Said)>) -> Result<(), StoreError> {
        run.checked += u64::try_from(said.len()).unwrap_or(u64::MAX);
        // From the end, so that the places of the others stay.
        said.sort_by_key(|(place, _)| std::cmp::Reverse(*place));
        let mut findings = Vec::new();
        for (place, said) in said {
            let notice = self.pending.remove(place);
            findings.extend(judge::judge(&notice, said, &self.poller, Timestamp::now()));
        }
        findings.reverse();
        let page_is_done = self.pending.is_empty();
        if page_is_done && let Some(end) = self.page_end.take() {
            run.place = end;
        }
        let state = Reconciliation { running: Some(run), ..self.state.take().unwrap_or_default() };
        self.state = Some(if page_is_done || !findings.is_empty() {
            self.record(findings, state).await?
        } else {
            state
        });
        Ok(())
    }

    async fn record(
        &mut self,
        findings: Vec<Finding>,
        state: Reconciliation,
    ) -> Result<Reconciliation, StoreError> {
        let told = findings.clone();
        let (state, recordings) = self.writer.reconcile(ReconcileRecord { findings, state }).await?;
        for (finding, recording) in told.iter().zip(recordings) {
            if recording == Recording::Nothing {
                continue;
            }
            self.lines += 1;
            if self.lines <= MAX_LINES {
                judge::tell(finding, &recording);
            }
        }
        Ok(state)
    }

    /// After the last notice of a status: the next, or the end.
    async fn next_status(&mut self, mut run: Run) -> Result<Step, StoreError> {
        let mut state = self.state.take().unwrap_or_default();
        if run.place.status == Status::Paid.as_str() {
            let status = Status::Canceled.as_str().to_owned();
            run.place = Place { status, updated_at: run.from.clone(), id: 0 };
            state.running = Some(run);
            self.state = Some(state);
            return Ok(Step::Worked);
        }
        run.finished_at = Some(Timestamp::now().to_string());
        let Run { checked, drifted, flagged, unanswered, .. } = run;
        if drifted + flagged > 0 {
            tracing::error!(
                checked,
                drifted,
                flagged,
                unanswered,
                "reconciliation found finished notices that are otherwise at TresorPay: see `tresorpayd list --drift`"
            );
        } else {
            tracing::info!(checked, unanswered, "reconciliation ended: nothing has changed at TresorPay");
        }
        let state = Reconciliation { running: None, last: Some(run) };
        self.state = Some(self.record(Vec::new(), state).await?);
        Ok(Step::Worked)
    }
}
