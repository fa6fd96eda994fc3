//! Fine, warning or critical, and why: one pure function from what was seen to reasons a person can act on.

use std::time::Duration;

use serde::Serialize;

use crate::{
    cli::output::{counted, duration, size},
    clock::Timestamp,
    notice::Status,
    publish,
    store::{
        SecondNotice, WAL_TOLD_SHARE,
        inspect::{DaemonState, MarkState, Summary},
    },
    tresorpay::{CLOCK_OFF, ErrorCode, offset_words},
};

/// A notice that should have been emitted this long ago is late.
const LATE_AFTER: Duration = Duration::from_secs(10 * 60);

/// How the outbox stands; the worst reason decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum State {
    /// Nothing needs attention.
    Ok,
    /// Somebody should look today.
    Warning,
    /// Notices are not being emitted or followed.
    Critical,
}

impl State {
    /// What Nagios understands.
    pub(super) fn exit_code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Warning => 1,
            Self::Critical => 2,
        }
    }
}

/// One thing that needs attention.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Reason {
    pub(super) severity: State,
    pub(super) text: String,
}

impl Reason {
    pub(super) fn new(severity: State, text: impl Into<String>) -> Self {
        Self { severity, text: text.into() }
    }
}

/// What was seen.
pub(super) struct Facts<'a> {
    pub(super) summary: &'a Summary,
    /// `None`: this process may not read it.
    pub(super) mark: Option<&'a MarkState>,
    pub(super) daemon: &'a DaemonState,
    /// What a running daemon says holds requests back.
    pub(super) requests: Option<&'a publish::State>,
    /// Notices that are live at TresorPay beside a row's own.
    pub(super) seconds: &'a [SecondNotice],
    pub(super) wal_bytes: u64,
    /// `database.max_wal`
    pub(super) max_wal: u64,
    /// `emit.max_uncertain`
    pub(super) max_uncertain: u32,
    pub(super) now: Timestamp,
}

/// The worst of `reasons`.
pub(super) fn state_of(reasons: &[Reason]) -> State {
    reasons.iter().map(|reason| reason.severity).max().unwrap_or(State::Ok)
}

/// Every reason, the gravest first.
pub(super) fn judge(facts: &Facts<'_>) -> Vec<Reason> {
    let mut reasons: Vec<Reason> = [
        went_back(facts),
        daemon(facts),
        uncertain(facts),
        wal(facts),
        late(facts),
        rejected(facts),
        paused(facts),
    ]
    .into_iter()
    .flatten()
    .chain(facts.requests.into_iter().flat_map(requests))
    .chain(facts.seconds.iter().map(second))
    .collect();
    reasons.sort_by_key(|reason| std::cmp::Reverse(reason.severity));
    reasons
}

fn rows(summary: &Summary, status: Status) -> i64 {
    summary.statuses.iter().find(|count| count.status == status).map_or(0, |count| count.rows)
}

fn went_back(facts: &Facts<'_>) -> Option<Reason> {
    match facts.mark {
        Some(MarkState::WentBack(why)) => Some(Reason::new(
            State::Critical,
            format!(
                "the database went back in time ({why}): nothing leaves before `tresorpayd accept-restore`"
            ),
        )),
        Some(MarkState::Level(_) | MarkState::NotYet) | None => None,
    }
}

fn daemon(facts: &Facts<'_>) -> Option<Reason> {
    let open = [Status::Pending, Status::Emitting, Status::Uncertain, Status::Emitted];
    let waiting: i64 = open.into_iter().map(|status| rows(facts.summary, status)).sum();
    let commands = facts.summary.open_commands;
    match facts.daemon {
        DaemonState::Running(_) => None,
        DaemonState::Unknown(why) => {
            Some(Reason::new(State::Warning, format!("it is not known whether a daemon is running: {why}")))
        }
        DaemonState::Stopped if waiting + commands == 0 => {
            Some(Reason::new(State::Warning, "no daemon is running (nothing waits for it)"))
        }
        DaemonState::Stopped => {
            let waiting = counted(waiting, "open row", "open rows");
            let commands = counted(commands, "command", "commands");
            let text =
                format!("no daemon is running: {waiting} and {commands} wait for it; start tresorpayd");
            Some(Reason::new(State::Critical, text))
        }
    }
}

fn uncertain(facts: &Facts<'_>) -> Option<Reason> {
    let uncertain = rows(facts.summary, Status::Uncertain);
    let limit = facts.max_uncertain;
    if uncertain >= i64::from(limit) {
        let text =
            format!("emission has stopped: {uncertain} rows are UNCERTAIN and emit.max_uncertain is {limit}");
        return Some(Reason::new(State::Critical, text));
    }
    (uncertain > 0).then(|| {
        let rows = counted(uncertain, "row is", "rows are");
        Reason::new(State::Warning, format!("{rows} UNCERTAIN: nobody knows whether TresorPay has them"))
    })
}

fn wal(facts: &Facts<'_>) -> Option<Reason> {
    let (found, limit) = (size(facts.wal_bytes), size(facts.max_wal));
    let reader = "some process keeps a read transaction open";
    if facts.wal_bytes > facts.max_wal {
        let text = format!("the WAL has {found}, above database.max_wal ({limit}); {reader}: end it");
        Some(Reason::new(State::Critical, text))
    } else if facts.wal_bytes > facts.max_wal / WAL_TOLD_SHARE {
        let text =
            format!("the WAL has {found}; {reader}, and above {limit} (database.max_wal) emission stops");
        Some(Reason::new(State::Warning, text))
    } else {
        None
    }
}

/// Somebody may pay twice.
fn second(second: &SecondNotice) -> Reason {
    let own = second.own.as_deref().map_or_else(|| "no notice of its own".to_owned(), ToOwned::to_owned);
    let text = format!(
        "{}: {} has {own}, and TresorPay has a live notice {} beside it: have TresorPay cancel {}, or refund it if it is paid",
        ErrorCode::SecondLiveNotice.as_str(),
        second.reference,
        second.other,
        second.other
    );
    Reason::new(State::Critical, text)
}

fn late(facts: &Facts<'_>) -> Option<Reason> {
    let waiting = facts.summary.oldest_waiting.as_ref()?;
    let waits = facts.now.since(Timestamp::parse(&waiting.since)?);
    (waits > LATE_AFTER).then(|| {
        let text = format!("{} is PENDING and due for {}", waiting.reference, duration(waits));
        Reason::new(State::Warning, text)
    })
}

fn rejected(facts: &Facts<'_>) -> Option<Reason> {
    let rejected = facts.summary.rejected_since;
    (rejected > 0).then(|| {
        let text = format!(
            "{} REJECTED within the last day: tresorpayd list --status REJECTED",
            counted(rejected, "row was", "rows were")
        );
        Reason::new(State::Warning, text)
    })
}

fn paused(facts: &Facts<'_>) -> Option<Reason> {
    facts
        .summary
        .paused
        .as_ref()
        .map(|_| Reason::new(State::Warning, "emission is paused by command; `tresorpayd resume` ends it"))
}

/// An open breaker and a clock that is off.
fn requests(state: &publish::State) -> Vec<Reason> {
    let open = state.held.sides.iter().map(|side| {
        let text = format!("requests are held back ({}): {}", side.side, side.error);
        Reason::new(State::Warning, text)
    });
    let clock = state.clock_off.map(|seconds| {
        let text =
            format!("{CLOCK_OFF}: this machine's clock is {} TresorPay's: set it", offset_words(seconds));
        Reason::new(State::Warning, text)
    });
    open.chain(clock).collect()
}

#[cfg(test)]
mod tests {
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
            wal_bytes,
            max_wal: 100,
            max_uncertain: 2,
            now,
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
    fn an_open_breaker_and_a_clock_that_is_off_are_warnings() {
        let state = r#"{"held":{"sides":[{"side":"emit","since":null,"failures":5,"next_probe":"2026-11-24T09:48:00.000Z",
            "error":"timed_out: no answer"}],"paused_until":null},"clock_off":-7200}"#;
        let reasons = requests(&publish::State::parse(state).unwrap());
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
        let reason = second(&notice);
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
}
