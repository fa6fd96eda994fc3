//! Status requests that commands ask for, and what they tell: of a notice that waits to be paid as polling does, of one
//! that is finished whether it still is what it was.

use std::{collections::HashSet, sync::Arc};

use crate::{
    clock::Timestamp,
    notice::{DriftCode, Drifted, Recorded, Source, Status, TresorPayReference, drift},
    poll::Poller,
    store::{Drift, Ending, PollRecord, Wanted},
    tresorpay::{StatusFailure, StatusReport},
};

/// What a task's requests told.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// Of notices that waited to be paid.
    pub(super) records: Vec<PollRecord>,
    /// Of notices that were finished and are something else.
    pub(super) drifts: Vec<Drift>,
    /// Polls that end with these records.
    pub(super) polls: Vec<i64>,
    /// Commands that end otherwise.
    pub(super) endings: Vec<Ending>,
    /// Commands whose request told nothing.
    pub(super) unanswered: Vec<i64>,
}

impl Told {
    /// Every command that was asked for.
    pub(super) fn commands(&self) -> Vec<i64> {
        let ended = self.endings.iter().map(|ending| ending.command_id);
        self.polls.iter().chain(&self.unanswered).copied().chain(ended).collect()
    }
}

/// Asks about each row once for all of its commands.
pub(super) async fn ask(poller: Arc<Poller>, rows: Vec<(Wanted, Vec<i64>)>) -> Told {
    let (live, finished): (Vec<_>, Vec<_>) =
        rows.into_iter().partition(|(wanted, _)| wanted.status == Status::Emitted);
    let mut told = Told::default();
    if !live.is_empty() {
        let notices = live.iter().filter_map(|(wanted, _)| wanted.notice()).collect();
        told.records = poller.ask_about(notices).await;
        let recorded: HashSet<i64> = told.records.iter().map(|record| record.outbox_id).collect();
        for (wanted, commands) in live {
            let answered = recorded.contains(&wanted.outbox_id);
            if answered { &mut told.polls } else { &mut told.unanswered }.extend(commands);
        }
    }
    for (wanted, commands) in finished {
        let answer = match &wanted.tresorpay_reference {
            Some(reference) => poller.ask_one(reference).await.map(|answer| (reference.clone(), answer)),
            None => None,
        };
        match answer {
            Some((reference, Ok(report))) => told.take(&poller, &wanted, commands, reference, report),
            Some((_, Err(StatusFailure::Refused(why)))) => {
                told.end(commands, &format!("TresorPay does not know it any more: {why}"));
            }
            Some((_, Err(StatusFailure::NoSuchEndpoint | StatusFailure::Failed { .. }))) | None => {
                told.unanswered.extend(commands);
            }
        }
    }
    told
}

impl Told {
    /// Of a finished notice: the same as ever, or drift.
    fn take(
        &mut self,
        poller: &Poller,
        wanted: &Wanted,
        commands: Vec<i64>,
        reference: TresorPayReference,
        report: StatusReport,
    ) {
        let (from, outbox_id) = (wanted.status, wanted.outbox_id);
        let recorded = Recorded { status: from, provider: None, pay_date: None };
        match drift(recorded, &report.status, None, None) {
            Drifted::Not | Drifted::Payment { .. } => self.polls.extend(commands),
            Drifted::To(to) => {
                let at = Timestamp::now();
                let (provider, pay_date) = (report.provider, report.pay_date);
                let (source, next) = (Source::Command, poller.next_of_finished(to, at));
                let reason = Drift::reason(from, to);
                let drift =
                    Drift { outbox_id, reference, from, to, provider, pay_date, reason, source, next, at };
                let (code, reason) = (DriftCode::Status.as_str(), &drift.reason);
                tracing::error!(code, outbox_id, reason, "a finished notice has changed at TresorPay");
                self.drifts.push(drift);
                self.polls.extend(commands);
            }
            Drifted::Live => {
                let said = format!("TresorPay says that it waits to be paid, although it is {from} here");
                let code = DriftCode::Live.as_str();
                tracing::error!(code, outbox_id, said, "a finished notice is live at TresorPay");
                self.end(commands, &said);
            }
            Drifted::UnknownWord(word) => {
                self.end(commands, &format!("TresorPay says `{word}`, which is not a known status"));
            }
        }
    }

    fn end(&mut self, commands: Vec<i64>, detail: &str) {
        let ending = |command_id| Ending { command_id, refused: false, detail: detail.to_owned() };
        self.endings.extend(commands.into_iter().map(ending));
    }
}
