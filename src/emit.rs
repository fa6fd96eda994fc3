//! Emission: from a claimed row to its recorded answer.
//!
//! One task runs the steps. A step records what finished and takes as many new rows in the same commit; while that
//! commits, the other requests fly. Nothing that matters is in memory only: a crash leaves `EMITTING` rows, which
//! recovery puts in doubt.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{sync::Notify, task::JoinSet};
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::{
    clock::Timestamp,
    notice::{Amount, Event, InvalidNotice, Notice, Verdict, apply},
    pace::{Allowance, Backoff, Pace, Permit, Side},
    settings::NoticeDefaults,
    store::{Claim, ClaimedRow, EmissionRecord, NextDue, Reads, StoreError, Writer},
    tresorpay::{
        Context, ErrorCode, Exchange, Health, Judgement, Phase, Scrubber, TresorPay, judge_emission,
    },
};

/// The worker looks at the table this often even if nothing wakes it: the schedule may be silent after a clock step.
const FALLBACK_WAKE: Duration = Duration::from_secs(30);
/// Other requests hold every slot: look again after this.
const SLOT_WAIT: Duration = Duration::from_millis(50);
/// An emission accepted this recently means that an odd answer is about its own row.
const ACCEPTED_RECENTLY: Duration = Duration::from_secs(60);

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
}

/// What a step did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// It committed something; there may be more.
    Worked,
    /// Nothing to do before this instant, a wake-up, or the end of a request.
    Idle(Instant),
    /// There is work and no token to do it with.
    NeedsToken,
}

/// The emission worker.
pub struct Emitter {
    writer: Writer,
    reads: Reads,
    api: TresorPay,
    pace: Pace,
    options: Arc<EmitOptions>,
    in_flight: JoinSet<Finished>,
    finished: Vec<Finished>,
    /// The last claim took all it asked for: there is more, and no need to look.
    full: bool,
    /// Nothing can be claimed before this instant, unless something wakes the worker.
    look_at: Instant,
    last_accepted: Option<Instant>,
    /// Answers in a row that created nothing, by `outbox.id`; only paces, so it may be lost.
    unlucky: HashMap<i64, u32>,
}

/// A request that ended. It keeps its slot until its row is no longer `EMITTING`.
struct Finished {
    outbox_id: i64,
    attempt_id: i64,
    outcome: Result<(Exchange, Box<Notice>), InvalidNotice>,
    duration: Duration,
    at: Timestamp,
    _permit: Permit,
}

impl Emitter {
    /// A worker that has not begun.
    pub fn new(writer: Writer, reads: Reads, api: TresorPay, pace: Pace, options: EmitOptions) -> Self {
        Self {
            writer,
            reads,
            api,
            pace,
            options: Arc::new(options),
            in_flight: JoinSet::new(),
            finished: Vec::new(),
            full: false,
            look_at: Instant::now(),
            last_accepted: None,
            unlucky: HashMap::new(),
        }
    }

    /// Steps until `shutdown`; then claims nothing more and records what is under way.
    pub async fn run(mut self, wake: Arc<Notify>, shutdown: CancellationToken) -> Result<(), StoreError> {
        loop {
            let stopping = shutdown.is_cancelled();
            let step = self.step(!stopping).await?;
            if stopping && self.in_flight.is_empty() && self.finished.is_empty() {
                return Ok(());
            }
            match step {
                Step::Worked => {}
                Step::Idle(until) => {
                    tokio::select! {
                        () = wake.notified() => self.look_at = Instant::now(),
                        () = tokio::time::sleep_until(until.into()) => self.look_at = Instant::now(),
                        () = shutdown.cancelled(), if !stopping => {}
                        Some(finished) = self.in_flight.join_next() => self.collect(finished),
                    }
                }
                Step::NeedsToken => {
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

    /// Records what finished and, if `claim_more`, takes new rows in the same commit and sends them.
    pub async fn step(&mut self, claim_more: bool) -> Result<Step, StoreError> {
        while let Some(finished) = self.in_flight.try_join_next() {
            self.collect(finished);
        }
        let finished = std::mem::take(&mut self.finished);
        let records: Vec<_> = finished.iter().map(|finished| self.record(finished)).collect();
        drop(finished);
        let budget = if claim_more { self.budget().await? } else { Budget::none(Step::Idle(far())) };
        if records.is_empty() && budget.permits.is_empty() {
            return Ok(budget.otherwise);
        }
        let asked = budget.permits.len();
        let claimed = self.writer.emit_turn(records, (asked > 0).then(|| self.claim(asked))).await?;
        if asked > 0 {
            self.full = claimed.len() == asked;
            if claimed.is_empty() {
                // What is due is held back: by a doubt too many, by a row it replaces, by an open cancel.
                self.look_at = far();
            }
        }
        self.pace.return_tokens(asked - claimed.len());
        if claimed.is_empty() && budget.probe {
            self.pace.withdraw_probe(Side::Emit);
        }
        for (row, permit) in claimed.into_iter().zip(budget.permits) {
            self.send(row, permit);
        }
        Ok(Step::Worked)
    }

    fn collect(&mut self, finished: Result<Finished, tokio::task::JoinError>) {
        match finished {
            Ok(finished) => self.finished.push(finished),
            // The row stays EMITTING and is put in doubt by the next start.
            Err(error) => tracing::error!(%error, "an emission ended without an outcome"),
        }
    }

    /// How many requests may leave now, with their slots taken.
    async fn budget(&mut self) -> Result<Budget, StoreError> {
        let now = Instant::now();
        if now < self.look_at {
            return Ok(Budget::none(Step::Idle(self.look_at)));
        }
        if !self.full {
            let wait = match self.reads.next_due().await? {
                NextDue::Now => Duration::ZERO,
                NextDue::At(at) => at.since(Timestamp::now()).min(FALLBACK_WAKE),
                NextDue::Never => FALLBACK_WAKE,
            };
            if !wait.is_zero() {
                self.look_at = now + wait;
                return Ok(Budget::none(Step::Idle(self.look_at)));
            }
        }
        if !self.api.auth().state().borrow().held() {
            return Ok(Budget::none(Step::NeedsToken));
        }
        let (most, probe) = match self.pace.allowance(Side::Emit, now) {
            Allowance::Open => (usize::MAX, false),
            Allowance::Probe => (1, true),
            Allowance::NotBefore(at) => return Ok(Budget::none(Step::Idle(at))),
            Allowance::ProbeUnderWay => return Ok(Budget::none(Step::Idle(now + FALLBACK_WAKE))),
        };
        Ok(self.take_slots(most, probe, now))
    }

    fn take_slots(&self, most: usize, probe: bool, now: Instant) -> Budget {
        let mut permits = Vec::new();
        let mut otherwise = Step::Idle(now + SLOT_WAIT);
        while permits.len() < most {
            let Some(permit) = self.pace.try_permit() else { break };
            if let Err(wait) = self.pace.take_token() {
                otherwise = Step::Idle(now + wait);
                break;
            }
            permits.push(permit);
        }
        if permits.is_empty() && probe {
            self.pace.withdraw_probe(Side::Emit);
        }
        Budget { permits, probe, otherwise }
    }

    fn claim(&self, limit: usize) -> Claim {
        Claim {
            limit,
            now: Timestamp::now(),
            max_attempts: self.options.max_attempts,
            max_uncertain: self.options.max_uncertain,
            default_code_client: self.options.defaults.code_client.clone(),
            default_code_structure: self.options.defaults.code_structure.clone(),
            base_url: self.api.base_url().to_owned(),
        }
    }

    fn send(&mut self, row: ClaimedRow, permit: Permit) {
        let (api, options) = (self.api.clone(), Arc::clone(&self.options));
        self.in_flight.spawn(async move {
            let started = Instant::now();
            let (outbox_id, attempt_id) = (row.outbox_id, row.attempt_id);
            let outcome = match notice(row, &options.defaults) {
                Ok(notice) => Ok((api.emit(&notice).await, Box::new(notice))),
                Err(invalid) => Err(invalid),
            };
            let (duration, at) = (started.elapsed(), Timestamp::now());
            Finished { outbox_id, attempt_id, outcome, duration, at, _permit: permit }
        });
    }

    /// What the answer means, for the database and for the pace.
    fn record(&mut self, finished: &Finished) -> EmissionRecord {
        let now = Instant::now();
        let judgement = match &finished.outcome {
            Ok((exchange, notice)) => {
                let accepted_recently =
                    self.last_accepted.is_some_and(|at| now.duration_since(at) < ACCEPTED_RECENTLY);
                let mut judgement = judge_emission(exchange, Context { accepted_recently });
                if let Some(detail) = &mut judgement.detail {
                    *detail = Scrubber::for_notice(notice).scrub(detail);
                }
                judgement
            }
            Err(invalid) => never_sent(invalid),
        };
        self.pace.report(Side::Emit, judgement.health, now);
        if judgement.verdict == Verdict::Created {
            self.last_accepted = Some(now);
        }
        let event = Event::Emission { verdict: judgement.verdict, doubted: false };
        // A claimed row is EMITTING, where every emission event is legal.
        let to = apply(crate::notice::Status::Emitting, &event).unwrap_or(crate::notice::Status::Uncertain);
        let next_attempt_at = self.next_attempt(finished, &judgement);
        let reason = reason(&judgement);
        log(finished.outbox_id, &judgement, &reason);
        let payment_url = judgement
            .reference
            .as_ref()
            .filter(|_| judgement.verdict == Verdict::Created)
            .map(|reference| payment_url(&self.options.payment_page, reference.as_str()));
        EmissionRecord {
            outbox_id: finished.outbox_id,
            attempt_id: finished.attempt_id,
            to,
            reason,
            counts: judgement.counts() && judgement.phase != Phase::Unsent,
            phase: judgement.phase,
            http_status: judgement.http_status,
            code: judgement.code,
            detail: judgement.detail,
            tresorpay_reference: judgement.reference,
            payment_url,
            duration: finished.duration,
            at: finished.at,
            next_attempt_at,
        }
    }

    fn next_attempt(&mut self, finished: &Finished, judgement: &Judgement) -> Option<Timestamp> {
        match judgement.verdict {
            Verdict::NotCreated => {
                let failures = self.unlucky.entry(finished.outbox_id).or_insert(0);
                *failures = failures.saturating_add(1);
                self.look_at = Instant::now();
                Some(finished.at.after(self.options.backoff.delay(*failures)))
            }
            Verdict::Created => {
                self.unlucky.remove(&finished.outbox_id);
                Some(finished.at.after(self.options.first_poll))
            }
            Verdict::Refused | Verdict::Unknown => {
                self.unlucky.remove(&finished.outbox_id);
                None
            }
        }
    }
}

/// The slots of the requests that may leave, and what to do if there are none.
struct Budget {
    permits: Vec<Permit>,
    probe: bool,
    otherwise: Step,
}

impl Budget {
    fn none(otherwise: Step) -> Self {
        Self { permits: Vec::new(), probe: false, otherwise }
    }
}

fn far() -> Instant {
    Instant::now() + FALLBACK_WAKE
}

/// The row as it will be sent, the configured values filled in.
fn notice(row: ClaimedRow, defaults: &NoticeDefaults) -> Result<Notice, InvalidNotice> {
    let modes = row.authorized_payment_modes.as_deref();
    Ok(Notice {
        client_code: row
            .code_client
            .or_else(|| defaults.code_client.clone())
            .ok_or(InvalidNotice::NoClientCode)?,
        structure_code: row
            .code_structure
            .or_else(|| defaults.code_structure.clone())
            .ok_or(InvalidNotice::NoStructureCode)?,
        net_total: Amount(row.net_total),
        tax_payer: InvalidNotice::read_json("tax_payer", &row.tax_payer)?,
        items: InvalidNotice::read_json("items", &row.items)?,
        payment_modes: modes
            .map(|modes| InvalidNotice::read_json("authorized_payment_modes", modes))
            .transpose()?,
        callback: row.callback.or_else(|| defaults.callback.clone()),
        redirect_url: row.redirect_url.or_else(|| defaults.redirect_url.clone()),
        reference: row.reference,
    })
}

/// A row that cannot be sent as it is: refused by the daemon, nothing left.
fn never_sent(invalid: &InvalidNotice) -> Judgement {
    Judgement {
        verdict: Verdict::Refused,
        phase: Phase::Unsent,
        code: ErrorCode::InvalidNotice,
        http_status: None,
        reference: None,
        detail: Some(invalid.to_string()),
        health: Health::Neutral,
    }
}

/// `code: detail`, on one line; what was accepted, by which reference.
fn reason(judgement: &Judgement) -> String {
    match (&judgement.detail, &judgement.reference) {
        (Some(detail), _) => format!("{}: {detail}", judgement.code.as_str()),
        (None, Some(reference)) => format!("accepted as {reference}"),
        (None, None) => judgement.code.as_str().to_owned(),
    }
}

/// One line for what a person may have to look at; an outage is told by the breaker, not by each row.
fn log(outbox_id: i64, judgement: &Judgement, reason: &str) {
    match judgement.verdict {
        Verdict::Created => tracing::debug!(outbox_id, reason, "emitted"),
        Verdict::NotCreated => tracing::debug!(outbox_id, reason, "not created; tried again later"),
        Verdict::Refused => tracing::warn!(outbox_id, reason, "rejected"),
        Verdict::Unknown => {
            tracing::warn!(outbox_id, reason, "uncertain: nobody knows whether it was created")
        }
    }
}

/// `api.payment_page` with the TresorPay reference appended as `?id=`.
fn payment_url(page: &Url, reference: &str) -> String {
    let mut url = page.clone();
    url.query_pairs_mut().append_pair("id", reference);
    url.into()
}
