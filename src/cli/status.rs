//! `tresorpayd status`: how the outbox stands and what somebody should do about it.

mod held; // what the running daemon says holds requests back
mod nagios; // the one line of --exit-code
mod reconciled; // when finished notices were last checked, and what was found
mod token; // where the token stands

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use serde::{Serialize, Serializer, ser::SerializeMap};

use crate::{
    cli::{
        Failure, database_settings,
        output::{Output, Tone, counted, duration, from_now, printable, size, time},
        runtime, store_failure,
    },
    clock::Timestamp,
    lang::Lang,
    publish,
    settings::{Settings, Sources},
    store::{
        Look, NextDue, StoreError,
        inspect::{DaemonState, Doubt, Inspect, Reconciled, StatusCount, Summary, daemon_state},
        last_look,
    },
    verdict::{Facts, Reason, State, judge, missable, reconciled_reasons, state_of},
};
use nagios::Numbers;
use reconciled::ReconciliationReport;

/// A row that became `REJECTED` this recently is worth a warning.
const REJECTED_WITHIN: Duration = Duration::from_secs(24 * 3600);
/// A status with more rows gets no amount unless `--amounts` asks: summing reads every row.
const MAX_SUMMED: i64 = 100_000;

/// Notices beside a row's own that are named.
const MAX_SECONDS: usize = 20;

/// Arguments of `status`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Exit status with --exit-code: 0 nothing needs attention.
1 warning: a row is UNCERTAIN; a PENDING row is due for more than 10 minutes; a row was REJECTED within the last day; \
emission is paused; TresorPay fails and requests are held back; the clock is off; the WAL is above half of \
database.max_wal; less than 64 MiB are free on the disk of the database; a payment was told otherwise within the last \
week, or a status changed before the last day; something is overdue by an hour; no daemon is running (and none is needed).
2 critical: TresorPay has a second live notice for a row; rows or commands wait and no daemon is running; emission has \
stopped (emit.max_uncertain, database.max_wal); less than 8 MiB are free on the disk of the database, or it is read-only; \
a finished notice has changed its status at TresorPay within the last day, or is live or unknown there; the database \
cannot be used.")]
pub(crate) struct StatusArgs {
    /// Exit with 0, 1 or 2 and print one line, for cron and Nagios
    #[arg(long)]
    exit_code: bool,
    /// The language of that line
    #[arg(long, value_enum, default_value_t = Lang::En, requires = "exit_code")]
    lang: Lang,
    /// Sum every status, however many rows it has
    #[arg(long)]
    amounts: bool,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

pub(super) fn run(sources: &Sources, args: &StatusArgs) -> Result<ExitCode, Failure> {
    let settings = database_settings(sources)?;
    let mut output = Output::stdout();
    let state = match runtime()?.block_on(look(&settings, args)) {
        Ok((report, line)) => {
            if args.json {
                output.json(&report)?;
            } else if args.exit_code {
                output.line(line)?;
            } else {
                print(&report, &mut output)?;
            }
            report.state
        }
        Err(error) if args.exit_code => {
            let reason = Reason::new(State::Critical, error.to_string());
            if args.json {
                output.json(&Unusable { state: State::Critical, reasons: [reason] })?;
            } else {
                output.line(nagios::line(State::Critical, &[reason], None, args.lang))?;
            }
            State::Critical
        }
        Err(error) => return Err(store_failure(error)),
    };
    output.finish()?;
    Ok(if args.exit_code { ExitCode::from(state.exit_code()) } else { ExitCode::SUCCESS })
}

/// Everything that is printed.
#[derive(Debug, Serialize)]
struct Report {
    state: State,
    reasons: Vec<Reason>,
    now: String,
    database: DatabaseReport,
    daemon: DaemonReport,
    paused: Option<PauseReport>,
    /// null: no daemon is running, or it has not said.
    requests: Option<publish::State>,
    #[serde(serialize_with = "by_status")]
    statuses: Vec<StatusCount>,
    oldest_waiting: Option<WaitingReport>,
    in_doubt: Vec<DoubtReport>,
    rejected_last_day: i64,
    open_commands: i64,
    reconciliation: ReconciliationReport,
    /// `now`, a time, or null: nothing is `PENDING`.
    next_emission: Option<String>,
    next_poll: Option<String>,
    last_transition: i64,
}

#[derive(Debug, Serialize)]
struct DatabaseReport {
    path: PathBuf,
    environment: Option<String>,
    size_bytes: u64,
    wal_bytes: u64,
    /// On its disk; null: it cannot be told.
    free_bytes: Option<u64>,
}

#[derive(Debug, Serialize)]
struct DaemonReport {
    /// null: this process may not look.
    running: Option<bool>,
    detail: Option<String>,
    /// When it last looked for rows to emit, and for notices to ask about; true to a minute. null: nobody knows.
    looked_for_rows_at: Option<String>,
    looked_for_notices_at: Option<String>,
}

#[derive(Debug, Serialize)]
struct PauseReport {
    since: Option<String>,
    by: Option<String>,
}

#[derive(Debug, Serialize)]
struct WaitingReport {
    reference: String,
    since: String,
    seconds: u64,
}

#[derive(Debug, Serialize)]
struct DoubtReport {
    reference: String,
    since: Option<String>,
    next_attempt_at: Option<String>,
}

#[derive(Debug, Serialize)]
struct Unusable {
    state: State,
    reasons: [Reason; 1],
}

/// `{"PENDING":{"rows":1,"amount":5000},…}`
fn by_status<S: Serializer>(statuses: &[StatusCount], serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Count {
        rows: i64,
        amount: Option<i64>,
    }
    let mut map = serializer.serialize_map(Some(statuses.len()))?;
    for count in statuses {
        let amount = count.amount.map(|amount| amount.0);
        map.serialize_entry(count.status.as_str(), &Count { rows: count.rows, amount })?;
    }
    map.end()
}

/// Everything that is printed, and the line for Nagios.
async fn look(settings: &Settings, args: &StatusArgs) -> Result<(Report, String), StoreError> {
    let path = &settings.database.path;
    let inspect = Inspect::open(path).await?;
    let now = Timestamp::now();
    let rejected_since = Timestamp::from(now.to_chrono() - REJECTED_WITHIN);
    let max_summed = if args.amounts { i64::MAX } else { MAX_SUMMED };
    let summary = inspect.summary(now, rejected_since, max_summed).await?;
    let daemon = daemon_state(path);
    let (size_bytes, wal_bytes) =
        inspect.sizes().map_err(|error| StoreError::Schema { path: path.clone(), why: error.to_string() })?;
    let room = inspect.room().ok();
    // What the last daemon wrote says nothing once it has ended.
    let said = match daemon {
        DaemonState::Stopped => None,
        DaemonState::Running(_) | DaemonState::Unknown(_) => inspect.meta(publish::KEY).await?,
    };
    let requests = said.as_deref().and_then(publish::State::parse);
    let seconds = inspect.second_notices(MAX_SECONDS).await?;
    // Who may not read the mark is told the rest all the same.
    let mark = inspect.mark(&settings.database.mark).await.ok();
    let found = reconciled::look(&inspect, now).await?;
    let mut reasons = judge(&Facts {
        summary: &summary,
        mark: mark.as_ref(),
        daemon: &daemon,
        requests: requests.as_ref(),
        seconds: &seconds,
        room,
        wal_bytes,
        max_wal: settings.database.max_wal,
        max_uncertain: settings.emit.max_uncertain,
        now,
        lang: args.lang,
    });
    let due = matches!(daemon, DaemonState::Running(_))
        .then(|| missable(&settings.reconcile.schedule, now))
        .flatten();
    reasons.extend(reconciled_reasons(&found, due, now, args.lang));
    reasons.sort_by_key(|reason| std::cmp::Reverse(reason.severity));
    let numbers = Numbers {
        summary: &summary,
        max_uncertain: settings.emit.max_uncertain,
        database_bytes: size_bytes,
        wal_bytes,
        max_wal: settings.database.max_wal,
        room,
        now,
    };
    let line = nagios::line(state_of(&reasons), &reasons, Some(&numbers), args.lang);
    let environment = inspect.meta("environment").await?;
    let free_bytes = room.map(|room| room.free);
    let database = DatabaseReport { path: path.clone(), environment, size_bytes, wal_bytes, free_bytes };
    Ok((Report { requests, ..report(summary, reasons, database, daemon, found, now) }, line))
}

fn report(
    summary: Summary,
    reasons: Vec<Reason>,
    database: DatabaseReport,
    daemon: DaemonState,
    found: Reconciled,
    now: Timestamp,
) -> Report {
    let daemon = daemon_report(daemon, &database.path);
    Report {
        state: state_of(&reasons),
        reasons,
        now: now.to_string(),
        database,
        daemon,
        requests: None,
        paused: summary.paused.map(|pause| PauseReport { since: pause.since, by: pause.by }),
        statuses: summary.statuses,
        oldest_waiting: summary.oldest_waiting.map(|waiting| WaitingReport {
            seconds: Timestamp::parse(&waiting.since).map_or(0, |since| now.since(since).as_secs()),
            reference: waiting.reference,
            since: waiting.since,
        }),
        in_doubt: summary.doubts.into_iter().map(doubt_report).collect(),
        rejected_last_day: summary.rejected_since,
        open_commands: summary.open_commands,
        reconciliation: found.into(),
        next_emission: match summary.next_emission {
            NextDue::Now => Some("now".to_owned()),
            NextDue::At(at) => Some(at.to_string()),
            NextDue::Never => None,
        },
        next_poll: summary.next_poll,
        last_transition: summary.last_transition,
    }
}

fn daemon_report(daemon: DaemonState, database: &Path) -> DaemonReport {
    let looked = |look| last_look(database, look).map(|at| at.to_string());
    let (running, detail) = match daemon {
        DaemonState::Running(holder) => (Some(true), Some(holder)),
        DaemonState::Stopped => (Some(false), None),
        DaemonState::Unknown(why) => (None, Some(why)),
    };
    DaemonReport {
        running,
        detail,
        looked_for_rows_at: looked(Look::Emission),
        looked_for_notices_at: looked(Look::Polling),
    }
}

fn doubt_report(doubt: Doubt) -> DoubtReport {
    DoubtReport {
        reference: doubt.reference,
        since: doubt.updated_at,
        next_attempt_at: doubt.next_attempt_at,
    }
}

fn print(report: &Report, output: &mut Output) -> Result<(), Failure> {
    print_reasons(report.state, &report.reasons, output)?;
    output.line("")?;
    for (label, text) in facts(report) {
        output.line(format!("{label:<10}{}", printable(&text)))?;
    }
    output.line("")?;
    let rows: Vec<Vec<String>> = report
        .statuses
        .iter()
        .map(|count| {
            let amount = count.amount.map_or("(--amounts)".to_owned(), |amount| amount.to_string());
            vec![count.status.to_string(), count.rows.to_string(), amount]
        })
        .collect();
    output.table(&["STATUS", "ROWS", "XOF"], &[1, 2], &rows)?;
    print_doubts(report, output)
}

fn print_reasons(state: State, reasons: &[Reason], output: &mut Output) -> Result<(), Failure> {
    let tone = match state {
        State::Ok => Tone::Good,
        State::Warning => Tone::Notice,
        State::Critical => Tone::Bad,
    };
    let word = output.paint(&format!("{:<10}", state.word()), tone);
    let mut reasons = reasons.iter().map(|reason| printable(&reason.text));
    let first = reasons.next().unwrap_or_else(|| "nothing needs attention".to_owned());
    output.line(format!("{word}{first}"))?;
    reasons.try_for_each(|reason| output.line(format!("{:<10}{reason}", "")))
}

/// What stands beside the table, a label and its words.
fn facts(report: &Report) -> Vec<(&'static str, String)> {
    let now = Timestamp::parse(&report.now).unwrap_or_else(Timestamp::now);
    let database = &report.database;
    let environment = database.environment.as_deref().unwrap_or("no environment yet");
    let free = database.free_bytes.map_or_else(String::new, |free| format!(", {} free", size(free)));
    let daemon = match (report.daemon.running, &report.daemon.detail) {
        (Some(true), Some(holder)) => format!("running, {holder}"),
        (Some(true), None) => "running".to_owned(),
        (Some(false), _) => "not running".to_owned(),
        (None, detail) => format!("unknown: {}", detail.as_deref().unwrap_or_default()),
    };
    let mut facts = vec![
        ("database", database.path.display().to_string()),
        ("", format!("{environment}, {}, WAL {}{free}", size(database.size_bytes), size(database.wal_bytes))),
        ("daemon", daemon),
    ];
    facts.extend(looked(&report.daemon, now).map(|text| ("", text)));
    facts.push(("emission", next_emission(report, now)));
    if let Some(waiting) = &report.oldest_waiting {
        let waits = duration(Duration::from_secs(waiting.seconds));
        facts.push(("", format!("longest due: {}, for {waits}", waiting.reference)));
    }
    facts.extend(report.requests.iter().flat_map(|requests| held::lines(requests, now)));
    facts.extend(report.requests.iter().map(|requests| ("token", token::line(&requests.token, now))));
    let poll = report.next_poll.as_deref();
    facts.push(("polling", poll.map_or("no notice to ask about".to_owned(), |at| next(at, now))));
    if report.open_commands > 0 {
        facts.push(("commands", format!("{} open", report.open_commands)));
    }
    let labels = ["drift"].into_iter().chain(std::iter::repeat(""));
    facts.extend(labels.zip(reconciled::lines(&report.reconciliation, now)));
    facts.push(("feed", format!("last transition {}", report.last_transition)));
    facts
}

/// When the daemon last looked.
fn looked(daemon: &DaemonReport, now: Timestamp) -> Option<String> {
    let ago = |at: &Option<String>| at.as_deref().map_or("never".to_owned(), |at| from_now(at, now));
    (daemon.looked_for_rows_at.is_some() || daemon.looked_for_notices_at.is_some()).then(|| {
        format!(
            "last looked for rows to emit {}, for notices to ask about {}",
            ago(&daemon.looked_for_rows_at),
            ago(&daemon.looked_for_notices_at)
        )
    })
}

fn next_emission(report: &Report, now: Timestamp) -> String {
    if let Some(pause) = &report.paused {
        let since = pause.since.as_deref().map_or_else(String::new, |at| format!(" since {} UTC", time(at)));
        let by = pause.by.as_deref().map_or_else(String::new, |by| format!(" by {by}"));
        return format!("paused{since}{by}; `tresorpayd resume` ends it");
    }
    match report.next_emission.as_deref() {
        None => "nothing waits".to_owned(),
        Some("now") => "rows are due now".to_owned(),
        Some(at) => next(at, now),
    }
}

fn next(at: &str, now: Timestamp) -> String {
    match Timestamp::parse(at) {
        Some(due) if due > now => format!("next {}", from_now(at, now)),
        Some(due) => format!("due for {}", duration(now.since(due))),
        None => at.to_owned(),
    }
}

fn print_doubts(report: &Report, output: &mut Output) -> Result<(), Failure> {
    if report.in_doubt.is_empty() {
        return Ok(());
    }
    let now = Timestamp::parse(&report.now).unwrap_or_else(Timestamp::now);
    output.line("")?;
    output.line(output.paint("IN DOUBT", Tone::Heading))?;
    for doubt in &report.in_doubt {
        let since = doubt.since.as_deref().map_or("unknown".to_owned(), |at| from_now(at, now));
        let what = match &doubt.next_attempt_at {
            Some(at) => format!("the daemon settles it {}", from_now(at, now)),
            None => "somebody has to decide: tresorpayd resolve".to_owned(),
        };
        output.line(format!("{}  {since}: {what}", printable(&doubt.reference)))?;
    }
    let named = i64::try_from(report.in_doubt.len()).unwrap_or(i64::MAX);
    let all = report.statuses.iter().find(|count| count.status == crate::notice::Status::Uncertain);
    if let Some(more) = all.map(|count| count.rows - named).filter(|more| *more > 0) {
        output.line(format!("and {}: tresorpayd list --status UNCERTAIN", counted(more, "more", "more")))?;
    }
    output.line("What happened: tresorpayd show REFERENCE. Nothing in doubt is sent again by itself.")
}
