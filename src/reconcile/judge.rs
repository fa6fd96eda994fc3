//! From what TresorPay says of a finished notice to what is recorded of it, and how loudly it is told.

use crate::{
    clock::Timestamp,
    notice::{DriftCode, Drifted, Source, Status, drift},
    poll::{Poller, Said},
    store::{Drift, Finding, FinishedNotice, Recording},
};

/// The code of what a trigger of an application's refuses.
pub(super) const TRIGGER_REFUSED: &str = "trigger_refused";
/// The code of a word that nobody knows.
const UNKNOWN_STATUS: &str = "unknown_status";
/// What reconciliation writes into `last_error`, and takes out again.
const OWN_CODES: [&str; 3] = [DriftCode::Live.as_str(), DriftCode::Unknown.as_str(), UNKNOWN_STATUS];

/// What is to be recorded of `notice`; `None`: it is what it was.
pub(super) fn judge(notice: &FinishedNotice, said: Said, poller: &Poller, at: Timestamp) -> Option<Finding> {
    let (outbox_id, from) = (notice.outbox_id, notice.status);
    let note = |code: &str, flagged, words: &str| Finding::Noted {
        outbox_id,
        reference: notice.reference.clone(),
        status: from,
        last_error: Some(format!("{code}: {words}")),
        flagged,
    };
    let report = match said {
        Said::Report(report) => report,
        Said::Refused(why) if from == Status::Paid => {
            let words = format!("it is {from} here, and TresorPay does not know it any more: {why}");
            return Some(note(DriftCode::Unknown.as_str(), true, &words));
        }
        // Nothing is live of a canceled notice that TresorPay has forgotten.
        Said::Refused(_) | Said::NoPath => return None,
    };
    let (provider, pay_date) = (report.provider.as_deref(), report.pay_date.as_deref());
    match drift(notice.recorded(), &report.status, provider, pay_date) {
        Drifted::Not => is_noted(notice).then(|| Finding::Noted {
            outbox_id,
            reference: notice.reference.clone(),
            status: from,
            last_error: None,
            flagged: false,
        }),
        Drifted::To(to) => Some(Finding::Moved(Drift {
            outbox_id,
            reference: notice.reference.clone(),
            from,
            to,
            provider: report.provider,
            pay_date: report.pay_date,
            reason: Drift::reason(from, to),
            source: Source::Reconcile,
            next: poller.next_of_finished(to, at),
            at,
        })),
        Drifted::Live => {
            let words = format!("TresorPay says that it waits to be paid, although it is {from} here");
            Some(note(DriftCode::Live.as_str(), true, &words))
        }
        Drifted::Payment { provider, pay_date, changed } => {
            let reference = notice.reference.clone();
            Some(Finding::Payment { outbox_id, reference, provider, pay_date, changed })
        }
        Drifted::UnknownWord(word) => {
            let words = format!("TresorPay says `{word}`, which is not a known status");
            Some(note(UNKNOWN_STATUS, false, &words))
        }
    }
}

fn is_noted(notice: &FinishedNotice) -> bool {
    let code = notice.last_error.as_deref().and_then(|error| error.split(':').next());
    code.is_some_and(|code| OWN_CODES.contains(&code))
}

/// The line for one finding that is news.
pub(super) fn tell(finding: &Finding, recording: &Recording) {
    if let Recording::Refused(error) = recording {
        let outbox_id = id(finding);
        tracing::error!(
            code = TRIGGER_REFUSED,
            error,
            outbox_id,
            "a rule or a trigger in the database refuses what TresorPay says of a finished notice: {finding:?}"
        );
        return;
    }
    match finding {
        Finding::Moved(Drift { outbox_id, reason, .. }) => {
            let code = DriftCode::Status.as_str();
            tracing::error!(code, outbox_id, reason, "a finished notice has changed at TresorPay");
        }
        Finding::Payment { outbox_id, provider, pay_date, changed: true, .. } => {
            let code = DriftCode::Payment.as_str();
            tracing::error!(code, outbox_id, provider, pay_date, "a payment is told otherwise by TresorPay");
        }
        Finding::Payment { outbox_id, provider, pay_date, changed: false, .. } => {
            tracing::debug!(outbox_id, provider, pay_date, "TresorPay tells more of a payment");
        }
        Finding::Noted { outbox_id, last_error: Some(error), flagged: true, .. } => {
            let code = error.split(':').next().unwrap_or_default();
            tracing::error!(code, outbox_id, error, "a finished notice is otherwise at TresorPay");
        }
        Finding::Noted { outbox_id, last_error: Some(error), flagged: false, .. } => {
            tracing::warn!(outbox_id, error, "TresorPay says a status that nobody knows");
        }
        Finding::Noted { outbox_id, last_error: None, .. } => {
            tracing::info!(outbox_id, "a finished notice is at TresorPay again what it is here");
        }
    }
}

fn id(finding: &Finding) -> i64 {
    match finding {
        Finding::Moved(drift) => drift.outbox_id,
        Finding::Payment { outbox_id, .. } | Finding::Noted { outbox_id, .. } => *outbox_id,
    }
}
