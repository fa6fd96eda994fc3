//! Polling: from a notice that is due to its recorded status.

mod asking; // in batches, or one by one

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::{StreamExt, stream};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::{
    clock::{ClockSteps, Timestamp},
    notice::{Event, RemoteStatus, Source, Status, TresorPayReference, apply},
    pace::{Allowance, Pace, Side},
    store::{DueNotice, Look, PollOutcome, PollRecord, Pulse, Reads, StoreError, Writer},
    tresorpay::{ErrorCode, Offset, StatusFailure, StatusReport, TresorPay},
};
pub use asking::{Asking, Said, Urgency};

/// The worker looks at the table this often even if nothing wakes it.
const FALLBACK_WAKE: Duration = Duration::from_secs(60);
/// After a look at the table that failed.
const READ_RETRY: Duration = Duration::from_secs(1);
/// Batches under way at once: enough to hide a round trip, few enough to leave slots to emissions.
const BATCHES_AT_ONCE: usize = 4;
/// A notice is asked about again after this part of its age.
const AGE_SHARE: u32 = 10;

/// What polling needs of the settings.
#[derive(Debug, Clone)]
pub struct PollOptions {
    /// Notices in one request.
    pub batch_size: usize,
    /// The shortest interval.
    pub first_delay: Duration,
    /// The longest interval.
    pub max_delay: Duration,
    /// A notice older than this is no longer asked about of itself.
    pub give_up_after: Duration,
    /// Something is to be done once a notice is paid.
    pub work_after_payment: bool,
    /// Told of each look for notices that are due.
    pub pulse: Pulse,
}

impl PollOptions {
    /// How long until a notice of this age is asked about again: a tenth of its age, within the bounds, with jitter.
    fn interval(&self, age: Duration) -> Duration {
        let interval = (age / AGE_SHARE).clamp(self.first_delay, self.max_delay);
        interval.mul_f64(0.9 + fastrand::f64() * 0.2)
    }
}

/// The poll worker.
pub struct Poller {
    writer: Writer,
    reads: Reads,
    api: TresorPay,
    pace: Pace,
    options: PollOptions,
    steps: ClockSteps,
    asking: Arc<Asking>,
}

/// What a step did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// It recorded something; there may be more.
    Worked,
    /// Nothing to do before this instant or a wake-up.
    Idle(Instant),
}

impl Poller {
    /// A worker that has not begun.
    pub fn new(
        writer: Writer,
        reads: Reads,
        api: TresorPay,
        pace: Pace,
        options: PollOptions,
        steps: ClockSteps,
    ) -> Self {
        let asking = Arc::new(Asking::new(api.clone(), pace.clone()));
        Self { writer, reads, api, pace, options, steps, asking }
    }

    /// What it asks with, for others who ask.
    pub fn asking(&self) -> Arc<Asking> {
        Arc::clone(&self.asking)
    }

    /// When the daemon next acts of itself on a row that became `to` at `at`; `None`: it is finished.
    pub fn next_of_finished(&self, to: Status, at: Timestamp) -> Option<Timestamp> {
        (to == Status::Paid && self.options.work_after_payment).then_some(at)
    }

    /// Steps until `shutdown`.
    pub async fn run(
        self: Arc<Self>,
        wake: Arc<Notify>,
        shutdown: CancellationToken,
    ) -> Result<(), StoreError> {
        loop {
            // A poll changes nothing at TresorPay: it is dropped where it stands.
            let step = tokio::select! {
                step = self.step() => step?,
                () = shutdown.cancelled() => return Ok(()),
            };
            if let Step::Idle(until) = step {
                tokio::select! {
                    () = wake.notified() => {}
                    () = tokio::time::sleep_until(until.into()) => {}
                    () = shutdown.cancelled() => return Ok(()),
                }
            }
        }
    }

    /// Asks about everything that is due, some batches at once, and records what was told.
    pub async fn step(&self) -> Result<Step, StoreError> {
        let now = Instant::now();
        if self.steps.stepped(Timestamp::now(), now).is_some() {
            // The times in the table are about to be set right; until then they say nothing.
            return Ok(Step::Idle(now + READ_RETRY));
        }
        let window = self.options.batch_size * BATCHES_AT_ONCE;
        let due = match self.reads.due_notices(Timestamp::now(), window).await {
            Ok(due) => due,
            Err(error) if error.is_passing() => {
                tracing::warn!(%error, "the outbox cannot be read; no notice is asked about");
                return Ok(Step::Idle(now + READ_RETRY));
            }
            Err(error) => return Err(error),
        };
        self.options.pulse.beat(Look::Polling, Timestamp::now());
        if due.is_empty() {
            return Ok(Step::Idle(now + FALLBACK_WAKE));
        }
        let due = match self.pace.allowance(Side::Status, now) {
            Allowance::Open => due,
            // One notice is enough to see whether TresorPay is back.
            Allowance::Probe => due.into_iter().take(1).collect(),
            Allowance::NotBefore(at) => return Ok(Step::Idle(at)),
            Allowance::ProbeUnderWay => return Ok(Step::Idle(now + FALLBACK_WAKE)),
        };
        let batches: Vec<Vec<DueNotice>> = due.chunks(self.options.batch_size).map(<[_]>::to_vec).collect();
        let mut told = stream::iter(batches).map(|batch| self.ask(batch)).buffer_unordered(BATCHES_AT_ONCE);
        let mut recorded = 0;
        while let Some(records) = told.next().await {
            if !records.is_empty() {
                recorded += self.writer.record_polls(records).await?;
            }
        }
        // A round that told nothing waits for its breaker or for the next tick; it must not spin.
        Ok(if recorded == 0 {
            Step::Idle(now + self.options.first_delay.min(FALLBACK_WAKE))
        } else {
            Step::Worked
        })
    }

    /// Asks about `notices` at once, whatever their turn, if TresorPay may be asked at all; nothing is recorded.
    pub async fn ask_about(&self, notices: Vec<DueNotice>) -> Vec<PollRecord> {
        let notices: Vec<_> = match self.pace.allowance(Side::Status, Instant::now()) {
            Allowance::Open => notices,
            Allowance::Probe => notices.into_iter().take(1).collect(),
            Allowance::NotBefore(_) | Allowance::ProbeUnderWay => return Vec::new(),
        };
        let batches: Vec<Vec<DueNotice>> =
            notices.chunks(self.options.batch_size).map(<[_]>::to_vec).collect();
        let told = stream::iter(batches).map(|batch| self.ask(batch)).buffer_unordered(BATCHES_AT_ONCE);
        told.concat().await
    }

    /// The status of one notice, if TresorPay may be asked at all.
    pub async fn ask_one(
        &self,
        reference: &TresorPayReference,
    ) -> Option<Result<StatusReport, StatusFailure>> {
        match self.pace.allowance(Side::Status, Instant::now()) {
            Allowance::Open | Allowance::Probe => Some(self.asking.status(reference, Urgency::Soon).await),
            Allowance::NotBefore(_) | Allowance::ProbeUnderWay => None,
        }
    }

    /// What TresorPay says of `batch`; nothing where it could not be asked.
    async fn ask(&self, batch: Vec<DueNotice>) -> Vec<PollRecord> {
        let references: Vec<_> = batch.iter().map(|notice| notice.reference.clone()).collect();
        let said = self.asking.ask(&references, Urgency::Soon).await;
        let record = |(place, said)| {
            let notice: &DueNotice = &batch[place];
            match said {
                Said::Report(report) => self.record(notice, report),
                Said::Refused(detail) => {
                    self.unchanged(notice, Some(format!("{}: {detail}", ErrorCode::Refused.as_str())))
                }
                Said::NoPath => {
                    let code = ErrorCode::Misdirected.as_str();
                    let said = format!("{code}: TresorPay knows no path for the status of this notice");
                    self.unchanged(notice, Some(said))
                }
            }
        };
        said.into_iter().map(record).collect()
    }

    fn record(&self, notice: &DueNotice, report: StatusReport) -> PollRecord {
        let event = Event::Reported(report.status.clone());
        let to = apply(Status::Emitted, &event).unwrap_or(Status::Emitted);
        if to == Status::Emitted {
            let last_error = match report.status {
                RemoteStatus::Unknown(word) => {
                    tracing::warn!(
                        outbox_id = notice.outbox_id,
                        word,
                        "TresorPay says a status that nobody knows"
                    );
                    Some(format!(
                        "unknown_status: TresorPay says `{word}`, which is not a known status; asked again later"
                    ))
                }
                RemoteStatus::Live | RemoteStatus::Paid | RemoteStatus::Canceled => None,
            };
            return self.unchanged(notice, last_error);
        }
        tracing::debug!(outbox_id = notice.outbox_id, status = to.as_str(), "TresorPay tells");
        let reason = match (&report.provider, &report.pay_date) {
            (Some(provider), Some(date)) => format!("TresorPay says {to}: {provider}, {date}"),
            (Some(provider), None) => format!("TresorPay says {to}: {provider}"),
            (None, Some(date)) => format!("TresorPay says {to}: {date}"),
            (None, None) => format!("TresorPay says {to}"),
        };
        let (provider, pay_date, at) = (report.provider, report.pay_date, Timestamp::now());
        let next = self.next_of_finished(to, at);
        PollRecord {
            outbox_id: notice.outbox_id,
            reference: notice.reference.clone(),
            outcome: PollOutcome::Moved { to, provider, pay_date, reason, next, last_error: None },
            at,
            source: Source::Poll,
        }
    }

    fn unchanged(&self, notice: &DueNotice, last_error: Option<String>) -> PollRecord {
        let at = Timestamp::now();
        let known = self.steps.age(at, notice.emitted_at);
        // Emitted in the future: the clock was off by that much, then or now.
        let age = known.unwrap_or_else(|| at.distance(notice.emitted_at));
        let trusted = known.is_some() && !matches!(self.api.clock().offset(), Offset::Off(_));
        let (next, last_error) = if trusted && age > self.options.give_up_after {
            let said = "poll_given_up: unpaid for longer than poll.give_up_after; TresorPay is no longer asked about it";
            (None, Some(last_error.unwrap_or_else(|| said.to_owned())))
        } else {
            (Some(at.after(self.options.interval(age))), last_error)
        };
        PollRecord {
            outbox_id: notice.outbox_id,
            reference: notice.reference.clone(),
            outcome: PollOutcome::Unchanged { next, last_error },
            at,
            source: Source::Poll,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_grows_with_age_within_its_bounds() {
        let options = PollOptions {
            batch_size: 100,
            first_delay: Duration::from_secs(30),
            max_delay: Duration::from_secs(6 * 3600),
            give_up_after: Duration::from_secs(365 * 86400),
            work_after_payment: false,
            pulse: Pulse::default(),
        };
        for (age, interval) in [(0, 30.0), (60, 30.0), (3600, 360.0), (86400, 8640.0), (86400 * 30, 21600.0)]
        {
            for _ in 0..50 {
                let seconds = options.interval(Duration::from_secs(age)).as_secs_f64();
                assert!((interval * 0.9..=interval * 1.1).contains(&seconds), "{age}: {seconds}");
            }
        }
    }
}
