//! Confirmation of delivery: tells TresorPay that what was paid was delivered, by command or of itself after payment,
//! until it holds. Confirming twice does no harm, so a lost answer is followed by another try.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::{StreamExt, stream};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::{
    clock::Timestamp,
    notice::TresorPayReference,
    pace::{Allowance, Backoff, Pace, Side},
    settings::NoticeDefaults,
    store::{ConfirmRecord, ConfirmStart, Reads, StoreError, Writer},
    tresorpay::{ConfirmVerdict, Health, TresorPay, judge_confirm},
};

/// The worker looks at the table this often even if nothing wakes it.
const FALLBACK_WAKE: Duration = Duration::from_secs(60);
/// Between looks while nothing can be sent.
const HELD_BACK: Duration = Duration::from_secs(1);
/// Rows that are read at once.
const BATCH: usize = 100;
/// Confirmations under way at once: few, so as to leave slots to emissions.
const AT_ONCE: usize = 2;

/// What confirming needs of the settings.
#[derive(Debug, Clone)]
pub struct ConfirmOptions {
    /// For rows that leave them NULL.
    pub defaults: NoticeDefaults,
    /// Between the tries for one row: from the API's first delay to the longest between polls.
    pub backoff: Backoff,
    /// `confirm.delivery` is `on_paid`: what fails is tried again of itself.
    pub automatic: bool,
}

/// What became of a confirmation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Confirmation {
    /// It holds.
    Confirmed,
    /// There is nothing to confirm any more, or another confirmation of the row is under way.
    NotNow,
    /// TresorPay's own refusal.
    Refused(String),
    /// It did not come to an answer that says anything; why.
    Failed(String),
}

/// Confirms deliveries.
pub struct Confirmer {
    writer: Writer,
    reads: Reads,
    api: TresorPay,
    pace: Pace,
    options: ConfirmOptions,
}

impl Confirmer {
    /// One that has not begun.
    pub fn new(writer: Writer, reads: Reads, api: TresorPay, pace: Pace, options: ConfirmOptions) -> Self {
        Self { writer, reads, api, pace, options }
    }

    /// Confirms what was paid, until `shutdown`; then finishes what is under way.
    pub async fn run(
        self: Arc<Self>,
        wake: Arc<Notify>,
        shutdown: CancellationToken,
    ) -> Result<(), StoreError> {
        while !shutdown.is_cancelled() {
            let wait = match self.step(&shutdown).await {
                Ok(wait) => wait,
                Err(error) if error.is_passing() => {
                    tracing::warn!(%error, "the outbox cannot be read or written; a delivery is confirmed later");
                    HELD_BACK
                }
                Err(error) => return Err(error),
            };
            tokio::select! {
                () = wake.notified() => {}
                () = tokio::time::sleep(wait) => {}
                () = shutdown.cancelled() => {}
            }
        }
        Ok(())
    }

    /// Confirms all that is due; how long until the next look.
    async fn step(&self, shutdown: &CancellationToken) -> Result<Duration, StoreError> {
        let due = self.reads.due_confirmations(Timestamp::now(), BATCH).await?;
        if due.is_empty() {
            let next = self.reads.next_confirmation().await?;
            return Ok(next.map_or(FALLBACK_WAKE, |at| at.since(Timestamp::now()).min(FALLBACK_WAKE)));
        }
        if !self.may_send() {
            return Ok(HELD_BACK);
        }
        let mut confirmed = stream::iter(due)
            .take_while(|_| std::future::ready(!shutdown.is_cancelled()))
            .map(|outbox_id| self.confirm(outbox_id))
            .buffer_unordered(AT_ONCE);
        // What has begun is finished, whatever became of the others.
        let (mut failed, mut error) = (false, None);
        while let Some(confirmation) = confirmed.next().await {
            match confirmation {
                Ok(confirmation) => failed |= matches!(confirmation, Confirmation::Failed(_)),
                Err(found) => error = error.or(Some(found)),
            }
        }
        match error {
            Some(error) => Err(error),
            None if failed => Ok(HELD_BACK),
            None => Ok(Duration::ZERO),
        }
    }

    /// TresorPay answers at all. A probe of its breaker is for status requests to make.
    pub fn may_send(&self) -> bool {
        match self.pace.allowance(Side::Status, Instant::now()) {
            Allowance::Open => true,
            Allowance::Probe => {
                self.pace.withdraw_probe(Side::Status);
                false
            }
            Allowance::NotBefore(_) | Allowance::ProbeUnderWay => false,
        }
    }

    /// Confirms one row's delivery, once.
    pub async fn confirm(&self, outbox_id: i64) -> Result<Confirmation, StoreError> {
        let Some(case) = self.reads.confirm_case(outbox_id).await? else { return Ok(Confirmation::NotNow) };
        let defaults = &self.options.defaults;
        let codes = (
            case.code_client.or_else(|| defaults.code_client.clone()),
            case.code_structure.or_else(|| defaults.code_structure.clone()),
        );
        let Ok(reference) = TresorPayReference::parse(&case.tresorpay_reference) else {
            return Ok(Confirmation::NotNow);
        };
        let (Some(code_client), Some(code_structure)) = codes else {
            return Ok(Confirmation::Failed(
                "neither the row nor the settings name the application and the structure".to_owned(),
            ));
        };
        let _permit = self.pace.status_permit().await;
        let base_url = self.api.base_url().to_owned();
        let start = ConfirmStart { outbox_id, code_client, code_structure, base_url, at: Timestamp::now() };
        let Some(attempt_id) = self.writer.begin_confirm(start.clone()).await? else {
            return Ok(Confirmation::NotNow);
        };
        let sent = Instant::now();
        let exchange = self.api.confirm(&reference, &start.code_client, &start.code_structure).await;
        let judgement = judge_confirm(&exchange, &reference);
        if let Health::Pause(_) = judgement.health {
            self.pace.report(Side::Status, judgement.health, Instant::now());
        }
        let at = Timestamp::now();
        let confirmed = judgement.verdict == ConfirmVerdict::Confirmed;
        let again = self.options.automatic && !confirmed;
        let said =
            format!("{}: {}", judgement.code.as_str(), judgement.detail.as_deref().unwrap_or_default());
        let record = ConfirmRecord {
            outbox_id,
            attempt_id,
            confirmed,
            phase: judgement.phase,
            http_status: judgement.http_status,
            code: judgement.code,
            detail: judgement.detail,
            duration: sent.elapsed(),
            at,
            next_attempt_at: again.then(|| at.after(self.options.backoff.delay(case.tries + 1))),
        };
        self.writer.end_confirm(record).await?;
        Ok(match judgement.verdict {
            ConfirmVerdict::Confirmed => {
                tracing::debug!(outbox_id, "delivery confirmed");
                Confirmation::Confirmed
            }
            ConfirmVerdict::Refused => {
                tracing::warn!(outbox_id, said, "TresorPay refuses the confirmation of a delivery");
                Confirmation::Refused(said)
            }
            ConfirmVerdict::Failed => {
                tracing::debug!(outbox_id, said, "a delivery could not be confirmed; tried again later");
                Confirmation::Failed(said)
            }
        })
    }
}
