//! Confirmation of delivery: tells TresorPay that what was paid was delivered, by command or of itself after payment,
//! until it holds. Confirming twice does no harm, so a lost answer is followed by another try.

use std::time::Instant;

use crate::{
    clock::Timestamp,
    notice::TresorPayReference,
    observe::Operation,
    pace::{Allowance, Pace, Side},
    settings::NoticeDefaults,
    store::{ConfirmRecord, ConfirmStart, Reads, StoreError, Writer},
    tresorpay::{ConfirmVerdict, Health, TresorPay, judge_confirm},
};

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
    defaults: NoticeDefaults,
}

impl Confirmer {
    /// With `defaults` for rows that leave them NULL.
    pub(super) fn new(
        writer: Writer,
        reads: Reads,
        api: TresorPay,
        pace: Pace,
        defaults: NoticeDefaults,
    ) -> Self {
        Self { writer, reads, api, pace, defaults }
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
        let defaults = &self.defaults;
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
        let (at, duration) = (Timestamp::now(), sent.elapsed());
        self.pace.requests().ended(Operation::Confirm, judgement.code.as_str(), duration);
        let confirmed = judgement.verdict == ConfirmVerdict::Confirmed;
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
            duration,
            at,
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
