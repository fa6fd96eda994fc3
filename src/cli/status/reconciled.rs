//! Reconciliation in `status`: when it last was, how far it is, and what it found.

use std::time::Duration;

use serde::Serialize;

use super::verdict::{Reason, State};
use crate::{
    cli::output::{counted, duration, from_now, time},
    clock::Timestamp,
    reconcile::OVERDUE_AFTER,
    settings::CronSchedule,
    store::{
        Run, StoreError,
        inspect::{Inspect, Reconciled},
    },
};

/// A status that was found changed this recently is critical.
const CRITICAL_WITHIN: Duration = Duration::from_secs(24 * 3600);
/// Drift of this long is a warning.
const WARN_WITHIN: Duration = Duration::from_secs(7 * 24 * 3600);
/// A run should be over within this, however many notices there are.
const LONG_RUN: Duration = Duration::from_secs(24 * 3600);
/// The schedule's hour is long past and no run ended since.
const MISSED_BY: Duration = Duration::from_secs(24 * 3600);

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

/// The last hour of the schedule that a daemon has had time enough for.
pub(super) fn missable(schedule: &CronSchedule, now: Timestamp) -> Option<Timestamp> {
    schedule.last_due(now.before(MISSED_BY))
}

/// What needs attention. `due`: for this hour of the schedule a run should have begun by now, if there is one.
pub(super) fn reasons(found: &Reconciled, due: Option<Timestamp>, now: Timestamp) -> Vec<Reason> {
    let drift = (found.drifted > 0).then(|| {
        let severity = if found.moved > 0 { State::Critical } else { State::Warning };
        let many = counted(found.drifted, "finished notice has", "finished notices have");
        Reason::new(
            severity,
            format!("{many} changed at TresorPay within the last week: tresorpayd list --drift"),
        )
    });
    let flagged = found.state.last.as_ref().map_or(0, |run| run.flagged);
    let flagged = (flagged > 0).then(|| {
        let many = counted(i64::try_from(flagged).unwrap_or(i64::MAX), "notice is", "notices are");
        let text = format!("{many} finished here and live or unknown at TresorPay: tresorpayd list --drift");
        Reason::new(State::Critical, text)
    });
    let overdue = (found.overdue.notices > 0).then(|| {
        let many = counted(found.overdue.notices, "notice was", "notices were");
        Reason::new(State::Warning, format!("{many} not asked about for more than an hour after its time"))
    });
    let silent = (found.overdue.commands > 0).then(|| {
        let many = counted(found.overdue.commands, "command is", "commands are");
        let text = format!("{many} open for more than an hour and do not say what for");
        Reason::new(State::Warning, text)
    });
    [drift, flagged, overdue, silent, late(found, due, now)].into_iter().flatten().collect()
}

/// A run that does not end, or that did not begin although a daemon runs.
fn late(found: &Reconciled, due: Option<Timestamp>, now: Timestamp) -> Option<Reason> {
    if let Some(run) = &found.state.running {
        let lasts = now.since(Timestamp::parse(&run.started_at)?);
        return (lasts > LONG_RUN).then(|| {
            let text = format!("reconciliation has not ended for {}", duration(lasts));
            Reason::new(State::Warning, text)
        });
    }
    let due = due?;
    let last = found.state.last.as_ref().and_then(|run| Timestamp::parse(&run.due));
    last.is_some_and(|last| last < due).then(|| {
        let text = format!("reconciliation was due at {} UTC and has not begun", time(&due.to_string()));
        Reason::new(State::Warning, text)
    })
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
    use crate::store::{Overdue, Place, Reconciliation};

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
            let reasons = reasons(found, due, now);
            (super::super::verdict::state_of(&reasons), reasons.len())
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
