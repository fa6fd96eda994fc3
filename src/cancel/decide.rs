//! From what a cancel's answer proves to what follows for its row. Pure: one test a row.

use url::Url;

use super::Purpose;
use crate::{
    clock::Timestamp,
    emit::payment_url,
    notice::{Event, RemoteStatus, Status, TresorPayReference, apply},
    store::{AfterCancel, CancelCase},
    tresorpay::{CancelJudgement, CancelVerdict, ErrorCode},
};

/// When it is tried again.
#[derive(Debug, Clone, Copy)]
pub(super) struct Retry {
    /// The cancel was surely not carried out: after a back-off.
    pub(super) not_carried_out: Timestamp,
    /// It may still be carried out: not before `emit.settle_after`.
    pub(super) unanswered: Timestamp,
    /// TresorPay answered, and the next answer will hardly be another: after a back-off of `emit.settle_after` or more.
    pub(super) nothing_proven: Timestamp,
}

/// Everything that decides.
pub(super) struct Facts<'a> {
    pub(super) case: &'a CancelCase,
    pub(super) purpose: Purpose,
    pub(super) judgement: &'a CancelJudgement,
    /// The status of the notice that was named, if it was asked and told.
    pub(super) asked: Option<&'a RemoteStatus>,
    pub(super) at: Timestamp,
    pub(super) retry: Retry,
    pub(super) max_attempts: u32,
    pub(super) payment_page: &'a Url,
}

impl Facts<'_> {
    /// The attempt's outcome, and what follows.
    pub(super) fn decide(&self) -> (ErrorCode, AfterCancel) {
        let (judgement, retry) = (self.judgement, self.retry);
        let named = judgement.reference.as_ref();
        match (judgement.verdict, self.asked, named) {
            (CancelVerdict::Canceled, _, _) => (ErrorCode::Ok, self.canceled(named)),
            (CancelVerdict::NothingLive, _, _) => (ErrorCode::NothingLive, self.nothing_live()),
            (CancelVerdict::Exists, Some(RemoteStatus::Canceled), _) => (ErrorCode::Ok, self.canceled(named)),
            (CancelVerdict::Exists, Some(RemoteStatus::Live | RemoteStatus::Paid), Some(reference)) => {
                (ErrorCode::NotCanceled, self.adopted(reference))
            }
            (CancelVerdict::Exists | CancelVerdict::NothingProven, _, _) => {
                (judgement.code, self.stays(Some(retry.nothing_proven)))
            }
            (CancelVerdict::NotCarriedOut, _, _) => (judgement.code, self.stays(Some(retry.not_carried_out))),
            (CancelVerdict::Unanswered, _, _) => (judgement.code, self.stays(Some(retry.unanswered))),
        }
    }

    /// TresorPay says that it is canceled.
    fn canceled(&self, named: Option<&TresorPayReference>) -> AfterCancel {
        let known = self.case.tresorpay_reference.as_deref();
        match (self.case.status, named) {
            (Status::Emitted, Some(named)) if known.is_some_and(|known| known != named.as_str()) => {
                self.held(ErrorCode::NotCanceled, &format!("TresorPay canceled {named}, another notice of this reference"))
            }
            (Status::Emitted, _) => self.proven(&words(named)),
            (_, Some(named)) if self.case.proven && !self.case.canceled.iter().any(|seen| seen == named.as_str()) => {
                self.proven(&words(Some(named)))
            }
            (_, _) if self.case.proven => self.held(
                ErrorCode::Unproven,
                if self.case.restored {
                    "TresorPay says canceled, and of which notice nobody can tell: a copy of the database was restored"
                } else {
                    "TresorPay says canceled, as it did before this emission; that does not tell what became of it"
                },
            ),
            (_, _) => self.proven(&words(named)),
        }
    }

    /// TresorPay knows no notice of this reference.
    fn nothing_live(&self) -> AfterCancel {
        match self.case.status {
            // It has the notice by another name: polling finds out.
            Status::Emitted => self.stays(Some(self.at)),
            _ if self.case.proven => self.held(
                ErrorCode::Unproven,
                if self.case.restored {
                    "TresorPay knows no notice of this reference with these codes; a copy of the database was restored, and \
                     with which it was sent since nobody can tell"
                } else {
                    "TresorPay knows no notice of this reference, as after the first cancel; that proves it only once"
                },
            ),
            _ => self.proven("TresorPay knows no notice of this reference"),
        }
    }

    fn proven(&self, words: &str) -> AfterCancel {
        let event = match self.purpose {
            Purpose::Settle => Event::ProvenAbsent,
            Purpose::Cancel => Event::Canceled,
        };
        // Only rows in UNCERTAIN are settled, and those and EMITTED ones canceled: always a legal move.
        let to = apply(self.case.status, &event).unwrap_or(self.case.status);
        let exhausted = to == Status::Pending && self.case.attempts >= self.max_attempts;
        let rejected = exhausted.then(|| {
            let code = ErrorCode::MaxAttempts.as_str();
            format!(
                "{code}: {} emissions count already and emit.max_attempts is {}",
                self.case.attempts, self.max_attempts
            )
        });
        let reason = match self.purpose {
            Purpose::Settle => format!("settled, nothing live is left: {words}"),
            Purpose::Cancel => words.to_owned(),
        };
        AfterCancel::Moves { to, reason, rejected }
    }

    fn adopted(&self, reference: &TresorPayReference) -> AfterCancel {
        AfterCancel::Adopted {
            reference: reference.clone(),
            payment_url: payment_url(self.payment_page, reference.as_str()),
            reason: format!("TresorPay has it as {reference}, and did not cancel it"),
        }
    }

    fn held(&self, code: ErrorCode, words: &str) -> AfterCancel {
        // What is EMITTED is followed all the same.
        let next_attempt_at = (self.case.status == Status::Emitted).then_some(self.at);
        AfterCancel::Stays { last_error: format!("{}: {words}", code.as_str()), next_attempt_at }
    }

    fn stays(&self, next: Option<Timestamp>) -> AfterCancel {
        let code = self.judgement.code.as_str();
        let last_error = match &self.judgement.detail {
            Some(detail) => format!("{code}: canceling it: {detail}"),
            None => format!("{code}: canceling it"),
        };
        let next_attempt_at = if self.case.status == Status::Emitted { Some(self.at) } else { next };
        AfterCancel::Stays { last_error, next_attempt_at }
    }
}

fn words(named: Option<&TresorPayReference>) -> String {
    match named {
        Some(reference) => format!("TresorPay says that {reference} is canceled"),
        None => "TresorPay says that it is canceled".to_owned(),
    }
}

#[cfg(test)]
mod tests; // one test a row
