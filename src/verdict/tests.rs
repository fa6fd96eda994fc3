//! What is fine, what is a warning and what is critical, in both languages.
#![allow(clippy::unwrap_used)]
use super::*;
use crate::{
    notice::Amount,
    store::{
        NextDue,
        inspect::{Pause, StatusCount, Waiting},
    },
};

fn summary() -> Summary {
    let count = |status| StatusCount { status, rows: 0, amount: Some(Amount(0)) };
    Summary {
        statuses: Status::ALL.map(count).to_vec(),
        oldest_waiting: None,
        doubts: Vec::new(),
        rejected_since: 0,
        open_commands: 0,
        paused: None,
        next_poll: None,
        last_transition: 0,
        next_emission: NextDue::Never,
    }
}

fn judged(summary: &Summary, daemon: &DaemonState, wal_bytes: u64) -> (State, usize) {
    let now = Timestamp::parse("2026-11-24T09:48:00.000Z").unwrap();
    let reasons = judge(&Facts {
        summary,
        mark: None,
        daemon,
        requests: None,
        seconds: &[],
        room: None,
        wal_bytes,
        max_wal: 100,
        max_uncertain: 2,
        now,
        lang: Lang::En,
    });
    (state_of(&reasons), reasons.len())
}

fn with(status: Status, rows: i64) -> Summary {
    let mut summary = summary();
    summary.statuses.iter_mut().find(|count| count.status == status).unwrap().rows = rows;
    summary
}

#[test]
fn each_reason_has_its_severity() {
    let running = DaemonState::Running("pid 1".into());
    assert_eq!(judged(&summary(), &running, 50), (State::Ok, 0));
    assert_eq!(judged(&summary(), &running, 51), (State::Warning, 1));
    assert_eq!(judged(&summary(), &running, 100), (State::Warning, 1));
    assert_eq!(judged(&summary(), &running, 101), (State::Critical, 1));
    assert_eq!(judged(&summary(), &DaemonState::Stopped, 0), (State::Warning, 1));
    assert_eq!(judged(&summary(), &DaemonState::Unknown("no right".into()), 0), (State::Warning, 1));
    for (status, state) in [
        (Status::Pending, State::Critical),
        (Status::Emitted, State::Critical),
        (Status::Paid, State::Warning),
        (Status::Rejected, State::Warning),
    ] {
        assert_eq!(judged(&with(status, 1), &DaemonState::Stopped, 0), (state, 1), "{status}");
    }
    assert_eq!(judged(&with(Status::Uncertain, 1), &running, 0), (State::Warning, 1));
    assert_eq!(judged(&with(Status::Uncertain, 2), &running, 0), (State::Critical, 1));
    assert_eq!(judged(&Summary { rejected_since: 1, ..summary() }, &running, 0), (State::Warning, 1));
    assert_eq!(
        judged(&Summary { open_commands: 1, ..summary() }, &DaemonState::Stopped, 0),
        (State::Critical, 1)
    );
    let paused = Summary { paused: Some(Pause { since: None, by: None }), ..summary() };
    assert_eq!(judged(&paused, &running, 0), (State::Warning, 1));
}

#[test]
fn a_disk_is_told_before_it_is_full() {
    let room = |free, read_only| Room { free, read_only, no_more_files: false };
    for (room, severity, code) in [
        (room(Room::LITTLE, false), None, ""),
        (room(Room::LITTLE - 1, false), Some(State::Warning), "64.0 MiB left"),
        (room(Room::NEEDED, false), Some(State::Warning), "8.0 MiB left"),
        (room(Room::NEEDED - 1, false), Some(State::Critical), "database_full: 8.0 MiB left"),
        (room(Room::LITTLE, true), Some(State::Critical), "database_read_only: "),
    ] {
        let reason = disk::room(room, Lang::En);
        assert_eq!(reason.as_ref().map(|reason| reason.severity), severity, "{room:?}");
        assert!(reason.is_none_or(|reason| reason.text.starts_with(code)), "{room:?}");
    }
}

#[test]
fn an_open_breaker_and_a_clock_that_is_off_are_warnings() {
    let state = r#"{"held":{"sides":[{"side":"emit","since":null,"failures":5,"next_probe":"2026-11-24T09:48:00.000Z",
        "error":"timed_out: no answer"}],"paused_until":null},"clock_off":-7200}"#;
    let reasons = requests(&publish::State::parse(state).unwrap(), Lang::En);
    let texts: Vec<&str> = reasons.iter().map(|reason| &*reason.text).collect();
    assert_eq!(
        texts,
        [
            "requests are held back (emit): timed_out: no answer",
            "clock_off: this machine's clock is 2 h behind TresorPay's: set it"
        ]
    );
    assert_eq!(state_of(&reasons), State::Warning);
}

#[test]
fn a_second_live_notice_is_critical_and_names_both() {
    let notice = SecondNotice {
        outbox_id: 1,
        reference: "A-1".into(),
        own: Some("TP1.AR1".into()),
        other: "TP1.AR2".into(),
        at: "2026-11-24T09:48:00.000Z".into(),
    };
    let reason = second(&notice, Lang::En);
    assert_eq!(state_of(std::slice::from_ref(&reason)), State::Critical);
    assert!(reason.text.starts_with("second_live_notice: A-1 has TP1.AR1"), "{}", reason.text);
    assert!(reason.text.contains("cancel TP1.AR2"), "{}", reason.text);
}

#[test]
fn a_row_is_late_after_ten_minutes() {
    let running = DaemonState::Running("pid 1".into());
    for (since, state) in
        [("2026-11-24T09:38:00.000Z", State::Ok), ("2026-11-24T09:37:59.999Z", State::Warning)]
    {
        let waiting = Waiting { reference: "A-1".into(), since: since.into() };
        let summary = Summary { oldest_waiting: Some(waiting), ..summary() };
        assert_eq!(judged(&summary, &running, 0).0, state, "{since}");
    }
}
