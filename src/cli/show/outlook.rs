//! What a row's status means and what happens to it next, in words.

use crate::{
    cli::output::{from_now, time},
    clock::Timestamp,
    notice::Status,
    store::inspect::{DaemonState, NoticeRecord},
};

/// What decides what happens next, beside the row.
pub(super) struct Surroundings<'a> {
    pub(super) daemon: &'a DaemonState,
    pub(super) paused: bool,
    pub(super) now: Timestamp,
}

/// The status in words.
pub(super) fn meaning(status: &str) -> &'static str {
    match status.parse() {
        Ok(Status::Pending) => "waits to be emitted",
        Ok(Status::Emitting) => "a request to emit it may be under way",
        Ok(Status::Uncertain) => "a request left and no answer says what became of it",
        Ok(Status::Rejected) => "refused; nothing exists at TresorPay",
        Ok(Status::Emitted) => "exists at TresorPay, not yet paid",
        Ok(Status::Paid) => "paid",
        Ok(Status::Canceled) => "canceled",
        Err(_) => "a status that this tresorpayd does not know",
    }
}

/// What happens next and when; what somebody has to do for it.
pub(super) fn next(record: &NoticeRecord, around: &Surroundings<'_>) -> String {
    let row = &record.row;
    let by_daemon = |text: String| match around.daemon {
        DaemonState::Running(_) | DaemonState::Unknown(_) => text,
        DaemonState::Stopped => format!("{text}, once a daemon runs (none does now)"),
    };
    let at = |time_text: &str| format!("{} ({} UTC)", from_now(time_text, around.now), time(time_text));
    if let Some(command) = record.commands.first() {
        let waits = command.detail.as_ref().map_or_else(String::new, |detail| format!(" ({detail})"));
        return by_daemon(format!("the command `{}` is carried out{waits}", command.action));
    }
    match row.status.parse() {
        Ok(Status::Pending) => by_daemon(pending(record, around)),
        Ok(Status::Emitting) => by_daemon("its answer is recorded".to_owned()),
        Ok(Status::Uncertain) => match &row.next_attempt_at {
            Some(due) => by_daemon(format!("the daemon settles it {}", at(due))),
            None => "held, and never sent again by itself: find out at TresorPay whether it exists, then \
                     `tresorpayd resolve` it"
                .to_owned(),
        },
        Ok(Status::Rejected) => {
            "nothing by itself: it is not sent again unless you correct it and `tresorpayd retry` it"
                .to_owned()
        }
        Ok(Status::Emitted) => match &row.next_attempt_at {
            Some(due) if is_past(due, around.now) => by_daemon("TresorPay is asked about it now".to_owned()),
            Some(due) => by_daemon(format!("TresorPay is asked about it {}", at(due))),
            None => {
                "nothing by itself: TresorPay is no longer asked about it; `tresorpayd poll` asks".to_owned()
            }
        },
        Ok(Status::Paid) if row.next_attempt_at.is_some() => by_daemon(
            "what is left after the payment is done: the confirmation, the receipt or the application's callback"
                .to_owned(),
        ),
        Ok(Status::Paid | Status::Canceled) => "nothing: it is finished".to_owned(),
        Err(_) => "see a newer tresorpayd".to_owned(),
    }
}

fn pending(record: &NoticeRecord, around: &Surroundings<'_>) -> String {
    let row = &record.row;
    let later = |text: &Option<String>| text.clone().filter(|text| !is_past(text, around.now));
    if around.paused {
        return "emitted once emission is resumed".to_owned();
    }
    match (&row.replaces, &record.replaced_status) {
        (Some(replaced), Some(status)) if status != Status::Canceled.as_str() => {
            return format!("emitted once {replaced} ({status}) is canceled, which the daemon asks for");
        }
        _ => {}
    }
    match (later(&row.not_before), later(&row.next_attempt_at)) {
        (Some(at), None) => {
            format!("emitted {} ({} UTC), as not_before asks", from_now(&at, around.now), time(&at))
        }
        (_, Some(at)) => format!("tried again {} ({} UTC)", from_now(&at, around.now), time(&at)),
        (None, None) => "emitted now".to_owned(),
    }
}

fn is_past(text: &str, now: Timestamp) -> bool {
    Timestamp::parse(text).is_none_or(|at| at <= now)
}
