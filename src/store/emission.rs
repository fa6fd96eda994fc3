//! What the emission asks of the database and tells it.

use std::time::Duration;

use super::writer::Answered;
use crate::{
    clock::Timestamp,
    notice::{Status, TresorPayReference},
    tresorpay::{ErrorCode, Phase},
};

/// A request for rows to emit.
#[derive(Debug, Clone)]
pub struct Claim {
    /// How many requests may leave now.
    pub limit: usize,
    /// Now.
    pub now: Timestamp,
    /// Rows whose time has come are looked for too; not needed in every claim.
    pub promote: bool,
    /// `emit.max_attempts`.
    pub max_attempts: u32,
    /// `emit.max_uncertain`: nothing is claimed while as many rows wait for a decision.
    pub max_uncertain: u32,
    /// For rows without a code of their own.
    pub default_code_client: Option<String>,
    /// For rows without a code of their own.
    pub default_code_structure: Option<String>,
    /// Where the request will go.
    pub base_url: String,
    /// A row in doubt that is sent again first, although nobody knows what became of it (`outbox.id`). It is one of the
    /// `limit`, and `max_uncertain` does not hold it back.
    pub resend: Option<i64>,
}

/// A row that is `EMITTING`, exactly as the commit left it: this is what is sent. Read from an array, in this order.
#[derive(Clone, serde::Deserialize)]
pub struct ClaimedRow {
    /// `outbox.id`.
    pub outbox_id: i64,
    /// `attempt.id` of the request about to leave.
    pub attempt_id: i64,
    /// Columns of the same name.
    pub reference: String,
    /// NULL: the configured one.
    pub code_client: Option<String>,
    /// NULL: the configured one.
    pub code_structure: Option<String>,
    /// Whole XOF.
    pub net_total: i64,
    /// JSON.
    pub tax_payer: String,
    /// JSON.
    pub items: String,
    /// JSON.
    pub authorized_payment_modes: Option<String>,
    /// NULL: the configured one, if any.
    pub callback: Option<String>,
    /// NULL: the configured one, if any.
    pub redirect_url: Option<String>,
    /// It was taken while in doubt: only "created" ends that.
    pub doubted: bool,
    /// TresorPay's references that were seen canceled for this row: an answer that names one created nothing.
    pub canceled: Vec<String>,
}

/// What became of one request.
#[derive(Debug, Clone)]
pub struct EmissionRecord {
    /// `outbox.id`.
    pub outbox_id: i64,
    /// `attempt.id`.
    pub attempt_id: i64,
    /// The status that follows.
    pub to: Status,
    /// Why, for the transition.
    pub reason: String,
    /// Whether `attempts` grows.
    pub counts: bool,
    /// How far the request got.
    pub phase: Phase,
    /// HTTP status of the answer.
    pub http_status: Option<u16>,
    /// Stable code.
    pub code: ErrorCode,
    /// For people, scrubbed.
    pub detail: Option<String>,
    /// The reference that TresorPay answered with; the row's own only if it is `EMITTED`.
    pub tresorpay_reference: Option<TresorPayReference>,
    /// Where the taxpayer pays.
    pub payment_url: Option<String>,
    /// From send to the end of the answer.
    pub duration: Duration,
    /// When the answer was complete.
    pub at: Timestamp,
    /// When the daemon next acts on the row.
    pub next_attempt_at: Option<Timestamp>,
    /// The same, should the reference turn out to be another row's, which leaves this row in doubt.
    pub settle_at: Option<Timestamp>,
}

impl EmissionRecord {
    /// The record for a reference that another row has: nobody knows what became of this row.
    pub(super) fn foreign_reference(&self) -> Self {
        let said = self.tresorpay_reference.as_ref().map_or("", TresorPayReference::as_str);
        let detail = format!("TresorPay answered with the reference {said}, which belongs to another row");
        Self {
            to: Status::Uncertain,
            reason: format!("{}: {detail}", ErrorCode::ForeignReference.as_str()),
            code: ErrorCode::ForeignReference,
            detail: Some(detail),
            payment_url: None,
            next_attempt_at: self.settle_at,
            ..self.clone()
        }
    }

    /// Names, in the log, an answer that could not be recorded: its row is `UNCERTAIN` at the next start, and this is
    /// what an operator needs to settle it.
    pub fn tell_unrecorded(&self) {
        let answered = Answered {
            outbox_id: self.outbox_id,
            attempt_id: self.attempt_id,
            code: self.code,
            tresorpay_reference: self.tresorpay_reference.as_ref(),
        };
        answered.tell_unrecorded();
    }

    /// `last_error`: NULL when all is well.
    pub(super) fn last_error(&self) -> Option<&str> {
        (self.code != ErrorCode::Ok).then_some(self.reason.as_str())
    }
}
