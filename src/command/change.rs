//! Requests of commands that change something at TresorPay or need its word first: one command, one task.

use std::{sync::Arc, time::Instant};

use super::Tools;
use crate::{
    confirm::Confirmation,
    notice::Request,
    store::{StoreError, Wanted},
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
    /// The row is not what it was: what is decided now is another thing.
    Look,
}

/// Makes the request.
pub(super) async fn change(tools: Arc<Tools>, wanted: Wanted) -> Result<Answer, StoreError> {
    match wanted.request {
        Request::Confirm => confirm(&tools, &wanted).await,
        Request::Status | Request::Cancel | Request::Settle | Request::LookUp => Ok(Answer::Look),
    }
}

async fn confirm(tools: &Tools, wanted: &Wanted) -> Result<Answer, StoreError> {
    if !tools.confirmer.may_send() {
        return Ok(Answer::Later(None, "waits: TresorPay does not answer".to_owned()));
    }
    Ok(match tools.confirmer.confirm(wanted.outbox_id).await? {
        Confirmation::Confirmed => Answer::Done("TresorPay has the confirmation of its delivery".to_owned()),
        Confirmation::NotNow => Answer::Look,
        Confirmation::Refused(why) => Answer::Refused(format!("TresorPay refuses it: {why}")),
        Confirmation::Failed(why) => Answer::Later(None, format!("waits: {why}")),
    })
}
