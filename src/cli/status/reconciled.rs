//! Reconciliation in `status`: when it last was and how far it is.

use serde::Serialize;

use crate::{
    cli::output::{counted, from_now, time},
    clock::Timestamp,
    reconcile::OVERDUE_AFTER,
    store::{
        Run, StoreError,
        inspect::{Inspect, Reconciled},
    },
    verdict::{CRITICAL_WITHIN, WARN_WITHIN},
};

/// What `--json` prints.
#[derive(Debug, Serialize)]
pub(super) struct ReconciliationReport {
    running: Option<Run>,
    last: Option<Run>,
    moved_last_day: i64,
    drifted_last_week: i64,
    overdue_notices: i64,
    silent_commands: i64,
}

impl From<Reconciled> for ReconciliationReport {
    fn from(found: Reconciled) -> Self {
        Self {
            running: found.state.running,
            last: found.state.last,
            moved_last_day: found.moved,
            drifted_last_week: found.drifted,
            overdue_notices: found.overdue.notices,
            silent_commands: found.overdue.commands,
        }
    }
}

/// Looks.
pub(super) async fn look(inspect: &Inspect, now: Timestamp) -> Result<Reconciled, StoreError> {
    inspect.reconciled(now.before(CRITICAL_WITHIN), now.before(WARN_WITHIN), now.before(OVERDUE_AFTER)).await
}

/// The lines beside the table, without their label.
pub(super) fn lines(report: &ReconciliationReport, now: Timestamp) -> Vec<String> {
    let running = report
        .running
        .as_ref()
        .map(|run| format!("checking since {} UTC: {}", time(&run.started_at), found(run)));
    let last = match &report.last {
        None if report.running.is_some() => None,
        None => Some("never checked".to_owned()),
        Some(run) => {
            let at = run.finished_at.as_deref().map_or_else(String::new, |at| from_now(at, now));
            Some(format!("checked {at}: {}", found(run)))
        }
    };
    running.into_iter().chain(last).collect()
}

fn found(run: &Run) -> String {
    let many = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    let numbers = [
        (run.drifted, "changed"),
        (run.flagged, "live or unknown at TresorPay"),
        (run.unanswered, "not answered"),
    ];
    let mut told = vec![counted(many(run.checked), "finished notice", "finished notices")];
    told.extend(
        numbers
            .into_iter()
            .filter(|(number, _)| *number > 0)
            .map(|(number, what)| format!("{number} {what}")),
    );
    told.join(", ")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::{
        lang::Lang,
        store::{Overdue, Place, Reconciliation},
        verdict::{State, reconciled_reasons, state_of},
    };

    fn run(started_at: &str, flagged: u64) -> Run {
        let place = Place { status: "PAID".to_owned(), updated_at: String::new(), id: 0 };
        let at = started_at.to_owned();
        Run {
            due: at.clone(),
            started_at: at.clone(),
            finished_at: Some(at.clone()),
            from: at.clone(),
            until: at,
            place,
            checked: 12,
            drifted: 0,
            flagged,
            unanswered: 3,
            rescheduled: 0,
        }
    }

    #[test]
    fn drift_is_told_by_its_gravity_and_the_end_of_a_run_by_its_words() {
        let now = Timestamp::parse("2026-11-24T09:48:00.000Z").unwrap();
        let last = run("2026-11-24T02:30:00.000Z", 0);
        let calm = Reconciled {
            state: Reconciliation { running: None, last: Some(last.clone()) },
            ..Reconciled::default()
        };
        let due = Timestamp::parse("2026-11-23T02:30:00.000Z");
        let judged = |found: &Reconciled| {
            let reasons = reconciled_reasons(found, due, now, Lang::En);
            (state_of(&reasons), reasons.len())
        };
        assert_eq!(judged(&calm), (State::Ok, 0));
        assert_eq!(judged(&Reconciled { drifted: 1, ..calm.clone() }), (State::Warning, 1));
        assert_eq!(judged(&Reconciled { drifted: 2, moved: 1, ..calm.clone() }), (State::Critical, 1));
        let overdue = Overdue { notices: 1, since: None, commands: 1 };
        assert_eq!(judged(&Reconciled { overdue, ..calm.clone() }), (State::Warning, 2));
        let with = |running: Option<Run>, last: Option<Run>| Reconciled {
            state: Reconciliation { running, last },
            ..Reconciled::default()
        };
        assert_eq!(judged(&with(None, Some(run("2026-11-24T02:30:00.000Z", 1)))), (State::Critical, 1));
        assert_eq!(judged(&with(None, Some(run("2026-11-22T02:30:00.000Z", 0)))), (State::Warning, 1));
        assert_eq!(judged(&with(Some(run("2026-11-22T02:30:00.000Z", 0)), None)), (State::Warning, 1));
        assert_eq!(judged(&with(Some(last), None)), (State::Ok, 0));
        let told = lines(&ReconciliationReport::from(calm), now);
        assert_eq!(told, ["checked 7 h 18 min ago: 12 finished notices, 3 not answered"]);
    }
}
