//! Requests of commands that change something at TresorPay, or that need its word before the row may change: one
//! command, one task. The row is moved by whoever has the answer; a command ends by what the row then is.

use std::{sync::Arc, time::Instant};

use super::{NO_ANSWER, SETTLES_LATER, Tools};
use crate::{
    cancel::{CancelOutcome, Purpose},
    clock::Timestamp,
    doubt::Settleable,
    emit::payment_url,
    notice::{RemoteStatus, Request, Status},
    paid::{Confirmation, Fetched},
    retention::Anonymised,
    store::{AfterCancel, CANCEL_SENT, Evidence, PollOutcome, PollRecord, StoreError, Taken, Wanted},
    tresorpay::{ErrorCode, StatusFailure},
};

/// What a command's request came to.
#[derive(Debug)]
pub(super) enum Answer {
    /// The command is done.
    Done(String),
    /// The command is refused.
    Refused(String),
    /// It is tried again, no earlier than this; what it waits for.
    Later(Option<Instant>, String),
    /// The row is not what it was, or is about to be something else: what is decided then is another thing.
    Look,
}

/// Makes the request.
pub(super) async fn change(tools: Arc<Tools>, wanted: Wanted) -> Result<Answer, StoreError> {
    match wanted.request {
        Request::Confirm => confirm(&tools, &wanted).await,
        Request::Cancel | Request::Settle => cancel(&tools, &wanted).await,
        Request::LookUp => look_up(&tools, &wanted).await,
        Request::Receipt => receipt(&tools, &wanted).await,
        Request::Anonymise => anonymise(&tools, &wanted).await,
        Request::Status => Ok(Answer::Look),
    }
}

async fn confirm(tools: &Tools, wanted: &Wanted) -> Result<Answer, StoreError> {
    if !tools.paid.confirmer().may_send() {
        return Ok(Answer::Later(None, "waits: TresorPay does not answer".to_owned()));
    }
    Ok(match tools.paid.confirmer().confirm(wanted.outbox_id).await? {
        Confirmation::Confirmed => Answer::Done("TresorPay has the confirmation of its delivery".to_owned()),
        Confirmation::NotNow => Answer::Later(None, "waits: another confirmation is under way".to_owned()),
        Confirmation::Refused(why) => Answer::Refused(format!("TresorPay refuses it: {why}")),
        Confirmation::Failed(why) => Answer::Later(None, format!("waits: {why}")),
    })
}

async fn receipt(tools: &Tools, wanted: &Wanted) -> Result<Answer, StoreError> {
    if !tools.paid.confirmer().may_send() {
        return Ok(Answer::Later(None, "waits: TresorPay does not answer".to_owned()));
    }
    Ok(match tools.paid.fetch_receipt(wanted.outbox_id).await? {
        Fetched::Kept(path) => Answer::Done(format!("its receipt is {path}")),
        Fetched::NotNow => Answer::Later(None, "waits: its receipt is being fetched already".to_owned()),
        Fetched::Refused(why) => Answer::Refused(format!("its receipt was not fetched: {why}")),
        Fetched::Failed(why) => Answer::Later(None, format!("waits: {why}")),
    })
}

async fn anonymise(tools: &Tools, wanted: &Wanted) -> Result<Answer, StoreError> {
    Ok(match tools.retention.anonymise(wanted.outbox_id, wanted.command_id).await? {
        // The command has ended in the commit that took the data out.
        Anonymised::Gone => Answer::Look,
        Anonymised::NotNow(why) => Answer::Later(None, format!("waits: {why}")),
    })
}

async fn cancel(tools: &Tools, wanted: &Wanted) -> Result<Answer, StoreError> {
    Ok(match tools.canceler.cancel(wanted.outbox_id, Purpose::Cancel).await? {
        CancelOutcome::NotBefore(at) if wanted.request == Request::Settle => {
            Answer::Later(Some(at), SETTLES_LATER.to_owned())
        }
        CancelOutcome::NotBefore(at) => Answer::Later(Some(at), "waits until a request may leave".to_owned()),
        CancelOutcome::Inapplicable => {
            Answer::Later(None, "waits: another request for it is under way".to_owned())
        }
        CancelOutcome::Ended(AfterCancel::Moves { to: Status::Canceled, reason, .. }) => Answer::Done(reason),
        CancelOutcome::Ended(AfterCancel::Moves { .. } | AfterCancel::Adopted { .. }) => Answer::Look,
        CancelOutcome::Ended(AfterCancel::Stays { last_error, next_attempt_at }) => {
            match (wanted.request, next_attempt_at) {
                (Request::Settle, None) => Answer::Refused(last_error),
                (Request::Settle, Some(at)) => {
                    let wait = at.since(Timestamp::now());
                    Answer::Later(Some(Instant::now() + wait), format!("waits: {last_error}"))
                }
                _ => truth(tools, wanted, &last_error).await?,
            }
        }
        CancelOutcome::Overtaken => Answer::Look,
    })
}

/// The cancel of an emitted notice proved nothing: its status tells what it is.
async fn truth(tools: &Tools, wanted: &Wanted, last_error: &str) -> Result<Answer, StoreError> {
    let Some(notice) = wanted.notice() else { return Ok(Answer::Look) };
    let told = tools.poller.ask_about(vec![notice]).await;
    let (answered, live) = (!told.is_empty(), told.iter().all(is_live));
    let moved = told.iter().any(|record| matches!(record.outcome, PollOutcome::Moved { .. }));
    tools.writer.record_polls(told).await?;
    // TresorPay said so itself, and will say it again.
    let final_word = [ErrorCode::Refused, ErrorCode::NothingLive, ErrorCode::NotCanceled]
        .iter()
        .any(|code| last_error.strip_prefix(code.as_str()).is_some_and(|rest| rest.starts_with(':')));
    Ok(match (answered, live) {
        (true, true) if final_word => {
            Answer::Refused(format!("TresorPay did not cancel it, and it waits to be paid: {last_error}"))
        }
        (true, false) if moved => Answer::Look,
        (_, _) => Answer::Later(None, format!("{CANCEL_SENT} ({last_error})")),
    })
}

/// TresorPay says that it waits to be paid.
fn is_live(record: &PollRecord) -> bool {
    match &record.outcome {
        PollOutcome::Unchanged { last_error, .. } => {
            last_error.as_deref().is_none_or(|said| said.starts_with("poll_given_up"))
        }
        PollOutcome::Moved { .. } => false,
    }
}

/// Whether the notice that an operator names is there, and may be this row's.
async fn look_up(tools: &Tools, wanted: &Wanted) -> Result<Answer, StoreError> {
    let refused = |why: String| Ok(Answer::Refused(why));
    let Some(reference) = wanted.tresorpay_reference.clone() else {
        return refused("the argument is no TresorPay reference".to_owned());
    };
    if let Some(other) = tools.reads.owner(&reference).await?.filter(|owner| *owner != wanted.reference) {
        return refused(format!("{reference} is the notice of another row, {other}"));
    }
    let report = match tools.poller.ask_one(&reference).await {
        Some(Ok(report)) => report,
        Some(Err(StatusFailure::Refused(why))) => {
            return refused(format!("TresorPay does not know a notice {reference}: {why}"));
        }
        Some(Err(StatusFailure::NoSuchEndpoint | StatusFailure::Failed { .. })) | None => {
            return Ok(Answer::Later(None, NO_ANSWER.to_owned()));
        }
    };
    match &report.status {
        RemoteStatus::Canceled => {
            return refused(format!(
                "TresorPay says that {reference} is canceled; if nothing else exists of it, resolve it as not emitted"
            ));
        }
        RemoteStatus::Unknown(word) => {
            return refused(format!("TresorPay says `{word}` of {reference}, which is not a known status"));
        }
        // A cancel that nobody answered may still cancel it.
        RemoteStatus::Live => {
            if let Settleable::At(at) = tools.doubts.settleable(wanted.outbox_id, Instant::now()) {
                return Ok(Answer::Later(Some(at), SETTLES_LATER.to_owned()));
            }
        }
        RemoteStatus::Paid => {}
    }
    let payment_url = payment_url(&tools.payment_page, reference.as_str());
    let evidence = Evidence { wanted: wanted.clone(), reference: reference.clone(), payment_url };
    Ok(match tools.writer.take_evidence(evidence).await? {
        Taken::Moved => {
            Answer::Done(format!("it is EMITTED as {reference}; TresorPay is asked about it now"))
        }
        Taken::OthersNotice => Answer::Refused(format!("{reference} is the notice of another row")),
        Taken::NotNow => Answer::Later(None, "waits: a request for it is under way".to_owned()),
    })
}
