//! What reconciliation gives reason to look at.

use std::time::Duration;

use super::{
    Reason, State,
    words::{counted, duration},
};
use crate::{clock::Timestamp, lang::Lang, settings::CronSchedule, store::inspect::Reconciled};

/// A status that was found changed this recently is critical.
pub const CRITICAL_WITHIN: Duration = Duration::from_secs(24 * 3600);
/// Drift of this long is a warning.
pub const WARN_WITHIN: Duration = Duration::from_secs(7 * 24 * 3600);
/// A run should be over within this, however many notices there are.
const LONG_RUN: Duration = Duration::from_secs(24 * 3600);
/// The schedule's hour is long past and no run ended since.
const MISSED_BY: Duration = Duration::from_secs(24 * 3600);

/// The last hour of the schedule that a daemon has had time enough for.
pub fn missable(schedule: &CronSchedule, now: Timestamp) -> Option<Timestamp> {
    schedule.last_due(now.before(MISSED_BY))
}

/// What needs attention. `due`: for this hour of the schedule a run should have begun by now, if there is one.
pub fn reasons(found: &Reconciled, due: Option<Timestamp>, now: Timestamp, lang: Lang) -> Vec<Reason> {
    let listed = "tresorpayd list --drift";
    let drift = (found.drifted > 0).then(|| {
        let severity = if found.moved > 0 { State::Critical } else { State::Warning };
        let many = |one, many| counted(lang, found.drifted, one, many);
        Reason::new(
            severity,
            match lang {
                Lang::En => format!(
                    "{} changed at TresorPay within the last week: {listed}",
                    many("finished notice has", "finished notices have")
                ),
                Lang::Fr => format!(
                    "{} chez TresorPay depuis une semaine : {listed}",
                    many("avis terminé a changé", "avis terminés ont changé")
                ),
            },
        )
    });
    let flagged = found.state.last.as_ref().map_or(0, |run| run.flagged);
    let flagged = (flagged > 0).then(|| {
        let many = |one, many| counted(lang, i64::try_from(flagged).unwrap_or(i64::MAX), one, many);
        Reason::new(
            State::Critical,
            match lang {
                Lang::En => format!(
                    "{} finished here and live or unknown at TresorPay: {listed}",
                    many("notice is", "notices are")
                ),
                Lang::Fr => format!(
                    "{} ici, mais en cours ou inconnu chez TresorPay : {listed}",
                    many("avis est terminé", "avis sont terminés")
                ),
            },
        )
    });
    let overdue = (found.overdue.notices > 0).then(|| {
        let many = |one, many| counted(lang, found.overdue.notices, one, many);
        Reason::new(
            State::Warning,
            match lang {
                Lang::En => format!(
                    "{} not asked about for more than an hour after its time",
                    many("notice was", "notices were")
                ),
                Lang::Fr => format!(
                    "{} plus d'une heure de retard",
                    many("avis dont la consultation a", "avis dont la consultation a")
                ),
            },
        )
    });
    let silent = (found.overdue.commands > 0).then(|| {
        let many = |one, many| counted(lang, found.overdue.commands, one, many);
        Reason::new(
            State::Warning,
            match lang {
                Lang::En => format!(
                    "{} open for more than an hour and do not say what for",
                    many("command is", "commands are")
                ),
                Lang::Fr => format!(
                    "{} depuis plus d'une heure sans motif indiqué",
                    many("commande est ouverte", "commandes sont ouvertes")
                ),
            },
        )
    });
    [drift, flagged, overdue, silent, late(found, due, now, lang)].into_iter().flatten().collect()
}

/// A run that does not end, or that did not begin although a daemon runs.
fn late(found: &Reconciled, due: Option<Timestamp>, now: Timestamp, lang: Lang) -> Option<Reason> {
    if let Some(run) = &found.state.running {
        let lasts = now.since(Timestamp::parse(&run.started_at)?);
        return (lasts > LONG_RUN).then(|| {
            let lasts = duration(lang, lasts);
            Reason::new(
                State::Warning,
                match lang {
                    Lang::En => format!("reconciliation has not ended for {lasts}"),
                    Lang::Fr => format!("le rapprochement n'est pas terminé depuis {lasts}"),
                },
            )
        });
    }
    let due = due?;
    let last = found.state.last.as_ref().and_then(|run| Timestamp::parse(&run.due));
    last.is_some_and(|last| last < due).then(|| {
        let at = due.to_chrono().format("%Y-%m-%d %H:%M:%S");
        Reason::new(
            State::Warning,
            match lang {
                Lang::En => format!("reconciliation was due at {at} UTC and has not begun"),
                Lang::Fr => format!("le rapprochement prévu le {at} UTC n'a pas commencé"),
            },
        )
    })
}
