//! Emission: from a claimed row to its recorded answer.
//!
//! One task takes turns. A turn records what finished and takes as many new rows in the same commit; while it commits,
//! the other requests fly, and their answers are read for the next turn. Nothing that matters is in memory only: a crash
//! leaves `EMITTING` rows, which recovery puts in doubt.

mod outcome; // from the end of a request to what is recorded of it
mod resend; // rows in doubt that are sent again

use std::{
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{sync::Notify, task::JoinSet};
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::{
    callback::CallbackAddress,
    clock::Timestamp,
    doubt::DoubtClock,
    notice::{InvalidNotice, Notice, Status},
    pace::{Allowance, Backoff, Pace, Permit, Side},
    settings::NoticeDefaults,
    store::{Claim, ClaimedRow, EmissionRecord, Look, NextDue, Pulse, Reads, StoreError, Writer},
    tresorpay::{Exchange, Health, MAX_WAIT, TresorPay, Unsent},
};

use outcome::Outcomes;
pub(crate) use outcome::payment_url;
use resend::{Resend, Resends};

/// The worker looks at the table this often even if nothing wakes it: the schedule may be silent after a clock step.
const FALLBACK_WAKE: Duration = Duration::from_secs(30);
/// After a look at the table that failed.
const READ_RETRY: Duration = Duration::from_secs(1);
/// While the queue is full, rows whose time has come join it this often.
const PROMOTE_EVERY: Duration = Duration::from_millis(100);

/// What the emission needs of the settings.
#[derive(Debug, Clone)]
pub struct EmitOptions {
    /// For rows that leave them NULL.
    pub defaults: NoticeDefaults,
    /// `emit.max_attempts`.
    pub max_attempts: u32,
    /// `emit.max_uncertain`.
    pub max_uncertain: u32,
    /// A row's own delay after an answer that created nothing.
    pub backoff: Backoff,
    /// When an emitted notice is first asked about.
    pub first_poll: Duration,
    /// `api.payment_page`.
    pub payment_page: Url,
    /// When what is in doubt may be settled.
    pub doubts: DoubtClock,
    /// `emit.on_uncertain` is not `hold`: the daemon settles doubts by itself.
    pub settles: bool,
    /// `emit.on_uncertain` is `resend`: this worker does.
    pub resends: bool,
    /// What TresorPay is told to call instead of a row's own callback; `None`: that one.
    pub callbacks: Option<CallbackAddress>,
    /// Told of each look at the outbox.
    pub pulse: Pulse,
}

/// What the worker waits for when it has no turn to take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wait {
    /// This instant, a wake-up, or the end of a request.
    Until(Instant),
    /// A slot: other requests hold every one.
    Slot,
    /// A token: there is work and nothing to send it with.
    Token,
}

/// The emission worker.
pub struct Emitter {
    writer: Writer,
    reads: Reads,
    api: TresorPay,
    pace: Pace,
    options: Arc<EmitOptions>,
    in_flight: JoinSet<Finished>,
    /// Answers to record in the next turn. Each keeps its slot until then: its row is still `EMITTING`.
    answered: Vec<(EmissionRecord, Permit)>,
    /// Answers that say nothing was created unless another was accepted: judged once all that fly beside them are answered.
    odd: Vec<Finished>,
    turn: Option<Turn>,
    /// The last claim took all it asked for: there is more, and no need to look.
    full: bool,
    /// The slot that was waited for.
    slot: Option<Permit>,
    /// It was told that `emit.max_uncertain` has stopped emission.
    told_stopped: bool,
    /// Claimed rows whose requests are about to leave.
    leaving: usize,
    /// Nothing can be claimed before this instant, unless something wakes the worker.
    look_at: Instant,
    /// When a claim last looked for rows whose time had come.
    promoted_at: Instant,
    outcomes: Outcomes,
    /// Finds rows in doubt to send again, if that is asked for.
    resends: Option<Resends>,
    /// The row that the next claim sends again.
    resend: Option<i64>,
}

/// A commit under way, and the slots of the requests that leave once it is there.
struct Turn {
    commit: Pin<Box<dyn Future<Output = Result<Vec<ClaimedRow>, StoreError>> + Send>>,
    permits: Vec<Permit>,
    probe: bool,
}

/// A request that ended.
struct Finished {
    outbox_id: i64,
    attempt_id: i64,
    /// See [`ClaimedRow::doubted`].
    doubted: bool,
    /// See [`ClaimedRow::canceled`].
    canceled: Vec<String>,
    outcome: Result<(Exchange, Box<Notice>), InvalidNotice>,
    duration: Duration,
    at: Timestamp,
    permit: Permit,
}

impl Emitter {
    /// A worker that has not begun.
    pub fn new(writer: Writer, reads: Reads, api: TresorPay, pace: Pace, options: EmitOptions) -> Self {
        let options = Arc::new(options);
        Self {
            outcomes: Outcomes::new(api.clone(), pace.clone(), Arc::clone(&options)),
            resends: options
                .resends
                .then(|| Resends::new(writer.clone(), reads.clone(), api.base_url(), Arc::clone(&options))),
            resend: None,
            writer,
            reads,
            api,
            pace,
            options,
            in_flight: JoinSet::new(),
            answered: Vec::new(),
            odd: Vec::new(),
            turn: None,
            full: false,
            slot: None,
            told_stopped: false,
            leaving: 0,
            look_at: Instant::now(),
            promoted_at: Instant::now(),
        }
    }

    /// Works until `shutdown`; then claims nothing more and records what is under way.
    pub async fn run(mut self, wake: Arc<Notify>, shutdown: CancellationToken) -> Result<(), StoreError> {
        let ended = self.work(wake, shutdown).await;
        if ended.is_err() {
            self.tell_unrecorded().await;
        }
        ended
    }

    /// Nobody records any more what was answered or is under way; the log names it, once it is answered.
    async fn tell_unrecorded(&mut self) {
        while let Some(finished) = self.in_flight.join_next().await {
            self.collect(finished);
        }
        for finished in std::mem::take(&mut self.odd) {
            self.judge(finished);
        }
        for (record, _permit) in self.answered.drain(..) {
            record.tell_unrecorded();
        }
    }

    async fn work(&mut self, wake: Arc<Notify>, shutdown: CancellationToken) -> Result<(), StoreError> {
        self.resume().await?;
        loop {
            let stopping = shutdown.is_cancelled();
            if let Some(turn) = &mut self.turn {
                tokio::select! {
                    biased;
                    claimed = &mut turn.commit => self.end_turn(claimed?, !shutdown.is_cancelled()).await?,
                    Some(finished) = self.in_flight.join_next() => self.collect(finished),
                }
                continue;
            }
            let Some(wait) = self.begin_turn(!stopping).await? else { continue };
            if stopping && self.in_flight.is_empty() {
                return Ok(());
            }
            match wait {
                Wait::Until(at) => tokio::select! {
                    () = wake.notified() => self.look_at = Instant::now(),
                    () = tokio::time::sleep_until(at.into()) => self.look_at = Instant::now(),
                    () = shutdown.cancelled(), if !stopping => {}
                    Some(finished) = self.in_flight.join_next() => self.collect(finished),
                },
                Wait::Slot => tokio::select! {
                    permit = self.pace.next_permit() => self.slot = Some(permit),
                    () = shutdown.cancelled(), if !stopping => {}
                    Some(finished) = self.in_flight.join_next() => self.collect(finished),
                },
                Wait::Token => {
                    let auth = self.api.auth().clone();
                    tokio::select! {
                        _ = auth.token_when_allowed() => self.look_at = Instant::now(),
                        () = shutdown.cancelled(), if !stopping => {}
                        Some(finished) = self.in_flight.join_next() => self.collect(finished),
                    }
                }
            }
        }
    }

    /// What a restart must not forget: a pause that TresorPay asked for, and that it accepted a notice just now.
    async fn resume(&mut self) -> Result<(), StoreError> {
        let now = Timestamp::now();
        if let Some(until) = self.reads.rate_limited_until(now).await? {
            self.pace.report(Side::Emit, Health::Pause(until.since(now).min(MAX_WAIT)), Instant::now());
        }
        if let Some(at) = self.reads.last_accepted().await? {
            self.outcomes.accepted(Instant::now().checked_sub(now.since(at)));
        }
        Ok(())
    }

    /// Records what was answered and, if `claim_more`, takes new rows in the same commit. `None`: a turn is under way.
    async fn begin_turn(&mut self, claim_more: bool) -> Result<Option<Wait>, StoreError> {
        while let Some(finished) = self.in_flight.try_join_next() {
            self.collect(finished);
        }
        if self.in_flight.is_empty() {
            for finished in std::mem::take(&mut self.odd) {
                self.judge(finished);
            }
        }
        // From here on their slots are free: the rows leave EMITTING in the commit that claims others.
        let records: Vec<_> = self.answered.drain(..).map(|(record, _permit)| record).collect();
        if records.iter().any(|record| record.to == Status::Pending) {
            // It has a time of its own now: look for it.
            self.look_at = Instant::now();
        }
        let budget = match self.budget(claim_more).await {
            Ok(budget) => {
                self.options.pulse.beat(Look::Emission, Timestamp::now());
                budget
            }
            Err(error) if records.is_empty() && self.in_flight.is_empty() => return Err(error),
            // The answers at hand and under way are recorded first.
            Err(_) => Budget::none(Wait::Until(Instant::now() + READ_RETRY)),
        };
        if records.is_empty() && budget.permits.is_empty() {
            return Ok(Some(budget.otherwise));
        }
        let asked = budget.permits.len();
        let claim = (asked > 0).then(|| self.claim(asked));
        let commit = Box::pin(self.writer.emit_turn(records, claim));
        self.turn = Some(Turn { commit, permits: budget.permits, probe: budget.probe });
        Ok(None)
    }

    /// The commit is there: the next one begins at once, and meanwhile the claimed rows are sent.
    async fn end_turn(&mut self, claimed: Vec<ClaimedRow>, claim_more: bool) -> Result<(), StoreError> {
        let Some(Turn { permits, probe, .. }) = self.turn.take() else { return Ok(()) };
        let asked = permits.len();
        if asked > 0 {
            self.full = claimed.len() == asked;
            if claimed.is_empty() {
                // What is due is held back: by a doubt too many, by a row it replaces, by an open cancel.
                self.look_at = far();
            }
            self.tell_stopped(claimed.is_empty()).await;
        }
        self.pace.return_tokens(asked - claimed.len());
        if claimed.is_empty() && probe {
            self.pace.withdraw_probe(Side::Emit);
        }
        let claimed: Vec<_> = claimed.into_iter().zip(permits).collect();
        self.leaving = claimed.len();
        let begun = if self.answered.is_empty() { Ok(None) } else { self.begin_turn(claim_more).await };
        self.leaving = 0;
        for (row, permit) in claimed {
            self.send(row, permit, claim_more);
        }
        begun.map(drop)
    }

    /// Says once that too many doubts stopped emission, and once that it goes on.
    async fn tell_stopped(&mut self, nothing_claimed: bool) {
        // A look that fails is reported by the next turn's own.
        let uncertain =
            if nothing_claimed { self.reads.queue().await.map_or(0, |queue| queue.uncertain) } else { 0 };
        let stopped = uncertain >= i64::from(self.options.max_uncertain);
        if stopped && !self.told_stopped {
            tracing::warn!(
                uncertain,
                "emission has stopped: emit.max_uncertain rows wait for a decision, see `tresorpayd list --status UNCERTAIN`"
            );
        } else if self.told_stopped && !nothing_claimed {
            tracing::info!("emission goes on: fewer than emit.max_uncertain rows wait for a decision");
        }
        self.told_stopped = stopped || (self.told_stopped && nothing_claimed);
    }

    fn judge(&mut self, finished: Finished) {
        let record = self.outcomes.record(&finished);
        self.answered.push((record, finished.permit));
    }

    /// Judges the answer; it is recorded in the next turn.
    fn collect(&mut self, finished: Result<Finished, tokio::task::JoinError>) {
        match finished {
            Ok(finished) if !self.in_flight.is_empty() && outcome::is_odd(&finished) => {
                self.odd.push(finished);
            }
            Ok(finished) => self.judge(finished),
            // Its row is EMITTING with nobody to answer for it: the process ends, and the next start puts it in doubt.
            Err(error) => {
                if let Ok(panic) = error.try_into_panic() {
                    std::panic::resume_unwind(panic);
                }
            }
        }
    }

    /// How many requests may leave now, with their slots taken.
    async fn budget(&mut self, claim_more: bool) -> Result<Budget, StoreError> {
        let now = Instant::now();
        let slot = self.slot.take();
        if !claim_more || !self.odd.is_empty() {
            return Ok(Budget::none(Wait::Until(far())));
        }
        if now < self.look_at {
            return Ok(Budget::none(Wait::Until(self.look_at)));
        }
        let wait = match self.due_in().await {
            Ok(wait) => wait,
            Err(error) if error.is_passing() => {
                tracing::warn!(%error, "the outbox cannot be read; nothing is claimed");
                READ_RETRY
            }
            Err(error) => return Err(error),
        };
        if !wait.is_zero() {
            self.look_at = now + wait;
            return Ok(Budget::none(Wait::Until(self.look_at)));
        }
        if !self.api.auth().holds_token() {
            return Ok(Budget::none(Wait::Token));
        }
        let (most, probe) = match self.pace.allowance(Side::Emit, now) {
            Allowance::Open => {
                let under_way = self.in_flight.len() + self.leaving;
                (self.pace.most_at_once(Side::Emit).saturating_sub(under_way), false)
            }
            Allowance::Probe => (1, true),
            Allowance::NotBefore(at) => return Ok(Budget::none(Wait::Until(at))),
            Allowance::ProbeUnderWay => return Ok(Budget::none(Wait::Until(now + FALLBACK_WAKE))),
        };
        if most == 0 {
            // The end of a request says whether more may follow.
            return Ok(Budget::none(Wait::Until(far())));
        }
        Ok(self.take_slots(slot, most, probe, now))
    }

    /// How long until there is something to claim.
    async fn due_in(&mut self) -> Result<Duration, StoreError> {
        let resend = match &self.resends {
            Some(resends) => resends.next().await?,
            None => Resend::In(FALLBACK_WAKE),
        };
        self.resend = match resend {
            Resend::Now(outbox_id) => Some(outbox_id),
            Resend::In(_) => None,
        };
        let doubt = match resend {
            Resend::In(wait) if !self.full => wait,
            Resend::Now(_) | Resend::In(_) => return Ok(Duration::ZERO),
        };
        let wait = match self.reads.next_due().await? {
            NextDue::Now => Duration::ZERO,
            NextDue::At(at) => at.since(Timestamp::now()),
            NextDue::Never => FALLBACK_WAKE,
        };
        Ok(wait.min(doubt).min(FALLBACK_WAKE))
    }

    fn take_slots(&self, mut slot: Option<Permit>, most: usize, probe: bool, now: Instant) -> Budget {
        let mut permits = Vec::new();
        let mut otherwise = Wait::Slot;
        while permits.len() < most {
            let Some(permit) = slot.take().or_else(|| self.pace.try_permit()) else { break };
            if let Err(wait) = self.pace.take_token() {
                otherwise = Wait::Until(now + wait);
                break;
            }
            permits.push(permit);
        }
        if permits.is_empty() && probe {
            self.pace.withdraw_probe(Side::Emit);
        }
        Budget { permits, probe, otherwise }
    }

    fn claim(&mut self, limit: usize) -> Claim {
        let promote = !self.full || self.promoted_at.elapsed() >= PROMOTE_EVERY;
        if promote {
            self.promoted_at = Instant::now();
        }
        Claim {
            limit,
            now: Timestamp::now(),
            promote,
            max_attempts: self.options.max_attempts,
            max_uncertain: self.options.max_uncertain,
            default_code_client: self.options.defaults.code_client.clone(),
            default_code_structure: self.options.defaults.code_structure.clone(),
            base_url: self.api.base_url().to_owned(),
            resend: self.resend.take(),
        }
    }

    /// Sends it; one that was claimed while the signal to stop came does not leave any more.
    fn send(&mut self, row: ClaimedRow, permit: Permit, may_leave: bool) {
        let (api, options) = (self.api.clone(), Arc::clone(&self.options));
        self.in_flight.spawn(async move {
            let started = Instant::now();
            let (outbox_id, attempt_id, doubted) = (row.outbox_id, row.attempt_id, row.doubted);
            let canceled = row.canceled.clone();
            let outcome = match outcome::notice(row, &options) {
                Ok(notice) if may_leave => Ok((api.emit(&notice).await, Box::new(notice))),
                Ok(notice) => Ok((Exchange::Unsent(Unsent::ShuttingDown), Box::new(notice))),
                Err(invalid) => Err(invalid),
            };
            let (duration, at) = (started.elapsed(), Timestamp::now());
            Finished { outbox_id, attempt_id, doubted, canceled, outcome, duration, at, permit }
        });
    }
}

/// The slots of the requests that may leave, and what to do if there are none.
struct Budget {
    permits: Vec<Permit>,
    probe: bool,
    otherwise: Wait,
}

impl Budget {
    fn none(otherwise: Wait) -> Self {
        Self { permits: Vec::new(), probe: false, otherwise }
    }
}

fn far() -> Instant {
    Instant::now() + FALLBACK_WAKE
}
