//! When the schedules come due next, and in which zone: a wrong field of a cron expression is best seen in its times.

use chrono::{Local, Offset};

use super::Finding;
use crate::{
    clock::Timestamp,
    settings::{CronSchedule, Settings},
};

/// Times shown of each schedule.
const SHOWN: usize = 3;

/// One line a schedule, then the zone.
pub(super) fn check(settings: &Settings, now: Timestamp) -> Vec<Finding> {
    let schedules = [
        ("emit.schedule", &settings.emit.schedule),
        ("poll.schedule", &settings.poll.schedule),
        ("reconcile.schedule", &settings.reconcile.schedule),
    ];
    schedules.into_iter().map(|(key, schedule)| one(key, schedule, now)).chain([zone()]).collect()
}

fn one(key: &str, schedule: &CronSchedule, now: Timestamp) -> Finding {
    let times: Vec<Timestamp> =
        std::iter::successors(schedule.next_due(now), |last| schedule.next_due(*last)).take(SHOWN).collect();
    let shown: Vec<String> =
        times.iter().map(|time| time.to_chrono().format("%Y-%m-%d %H:%M:%S").to_string()).collect();
    if shown.is_empty() {
        return Finding::fail(
            "schedule",
            format!("{key} `{schedule}` never comes due again"),
            format!("set {key}"),
        );
    }
    Finding::ok("schedule", format!("{key} `{schedule}`: {} UTC", shown.join(", ")))
}

fn zone() -> Finding {
    let offset = Local::now().offset().fix();
    let local = if offset.local_minus_utc() == 0 {
        "so is this machine's time".to_owned()
    } else {
        format!("this machine's time is UTC{offset}")
    };
    Finding::ok("timezone", format!("schedules and the database's times are UTC; {local}"))
}
