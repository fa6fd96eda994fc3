//! `tresorpayd cancel`, `retry`, `poll`, `confirm`, `resolve`, `anonymise`, `pause` and `resume`: each writes rows into
//! `command`, which the daemon carries out. Where money is decided, who and why are part of what is asked.

use std::{
    io::{self, BufRead, IsTerminal, Write},
    process::ExitCode,
    time::{Duration, Instant},
};

use crate::{
    app::binding,
    cli::{
        Failure, database_settings, list,
        output::{Output, counted, printable},
        runtime, store_failure,
    },
    notice::{Action, Amount, Status},
    settings::{Settings, Sources},
    store::{
        Asked, Asker, Candidate, CommandRequest, StoreError,
        inspect::{DaemonState, daemon_state},
    },
};

/// Rows that a preview names.
const NAMED: usize = 10;
/// Between two looks at what was asked.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How long `--wait` waits when it does not say.
const WAIT: &str = "60";

/// What every request has.
#[derive(Debug, clap::Args)]
pub(crate) struct How {
    /// Who asks [default: the login user]
    #[arg(long, value_name = "WHO")]
    by: Option<String>,
    /// Why; kept with the command. Required to cancel and to resolve
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Wait for the outcome, at most so many seconds [default: 60]
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, require_equals = true, default_missing_value = WAIT)]
    wait: Option<u64>,
    /// One JSON object a command
    #[arg(long)]
    json: bool,
}

/// Which rows.
#[derive(Debug, clap::Args)]
pub(crate) struct Which {
    /// The applications' own references
    #[arg(value_name = "REFERENCE", required_unless_present = "status")]
    references: Vec<String>,
    /// Every row in this status: shows which they are, and asks with --yes only
    #[arg(long, value_name = "STATUS", value_parser = list::status, conflicts_with = "references")]
    status: Option<Status>,
    /// Having seen which rows --status takes: ask
    #[arg(long)]
    yes: bool,
}

/// Arguments of `cancel`, `retry`, `poll`, `confirm` and `anonymise`.
#[derive(Debug, clap::Args)]
pub(crate) struct AskArgs {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    how: How,
}

/// Arguments of `pause` and `resume`.
#[derive(Debug, clap::Args)]
pub(crate) struct PauseArgs {
    #[command(flatten)]
    how: How,
}

/// Arguments of `resolve`.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("truth").required(true))]
pub(crate) struct ResolveArgs {
    #[command(flatten)]
    which: Which,
    /// TresorPay has it, under this reference of its own; TresorPay is asked about it first
    #[arg(long, value_name = "TRESORPAY_REFERENCE", group = "truth", conflicts_with = "status")]
    emitted: Option<String>,
    /// TresorPay surely does not have it, and it is emitted again; if that is wrong, somebody is billed twice
    #[arg(long, group = "truth")]
    not_emitted: bool,
    #[command(flatten)]
    how: How,
}

/// `cancel`, `retry`, `poll`, `confirm` and `anonymise`.
pub(super) fn rows(sources: &Sources, action: Action, args: &AskArgs) -> Result<ExitCode, Failure> {
    ask(sources, action, None, Some(&args.which), &args.how)
}

/// `pause` and `resume`.
pub(super) fn all(sources: &Sources, action: Action, args: &PauseArgs) -> Result<ExitCode, Failure> {
    ask(sources, action, None, None, &args.how)
}

/// `resolve`.
pub(super) fn resolve(sources: &Sources, args: &ResolveArgs) -> Result<ExitCode, Failure> {
    if args.emitted.is_some() && args.which.references.len() != 1 {
        return Err(anyhow::anyhow!("--emitted is about one REFERENCE: a notice belongs to one row").into());
    }
    let action = if args.not_emitted { Action::ResolveNotEmitted } else { Action::ResolveEmitted };
    ask(sources, action, args.emitted.as_deref(), Some(&args.which), &args.how)
}

fn ask(
    sources: &Sources,
    action: Action,
    argument: Option<&str>,
    which: Option<&Which>,
    how: &How,
) -> Result<ExitCode, Failure> {
    let settings = database_settings(sources)?;
    let by = how.by.clone().unwrap_or_else(login_user);
    let mut output = Output::stdout();
    let code = runtime()?.block_on(async {
        let asker = Asker::open(&settings.database.path, &binding(&settings)).await.map_err(store_failure)?;
        let references = match which {
            None => vec![None],
            Some(which) => match select(&asker, action, which, how.json, &mut output).await? {
                Some(references) => references.into_iter().map(Some).collect(),
                None => return Ok(ExitCode::FAILURE),
            },
        };
        if references.is_empty() {
            return Ok(ExitCode::SUCCESS);
        }
        let reason = reason(action, how.reason.as_deref())?;
        let request = CommandRequest { action, argument, by: &by, reason: reason.as_deref() };
        let ids = asker.ask(&request, &references).await.map_err(store_failure)?;
        follow(&asker, &settings, &ids, how, &mut output).await
    })?;
    output.finish()?;
    Ok(code)
}

/// The rows that are meant; `None`: it was a preview only.
async fn select(
    asker: &Asker,
    action: Action,
    which: &Which,
    json: bool,
    output: &mut Output,
) -> Result<Option<Vec<String>>, Failure> {
    let Some(status) = which.status else {
        if which.yes {
            return Err(anyhow::anyhow!("--yes goes with --status; nothing was asked").into());
        }
        let mut references = which.references.clone();
        references.sort_unstable();
        references.dedup();
        if let Some(unknown) = asker.unknown(&references).await.map_err(store_failure)? {
            let unknown = printable(&unknown);
            return Err(anyhow::anyhow!("no row has the reference `{unknown}`; nothing was asked").into());
        }
        return Ok(Some(references));
    };
    let rows = asker.in_status(status).await.map_err(store_failure)?;
    if !json {
        preview(&rows, action, status, output)?;
    }
    if !which.yes && !rows.is_empty() {
        return Err(anyhow::anyhow!("nothing was asked; to ask it, add --yes").into());
    }
    Ok(Some(rows.into_iter().map(|row| row.reference).collect()))
}

fn preview(rows: &[Candidate], action: Action, status: Status, output: &mut Output) -> Result<(), Failure> {
    let total = rows.iter().fold(0_i64, |total, row| total.saturating_add(row.net_total));
    let count = counted(i64::try_from(rows.len()).unwrap_or(i64::MAX), "row", "rows");
    output.line(format!("{}: {count} in {status}, {} XOF", action.as_str(), Amount(total)))?;
    for row in rows.iter().take(NAMED) {
        output.line(format!("  {}  {} XOF", printable(&row.reference), Amount(row.net_total)))?;
    }
    if rows.len() > NAMED {
        output.line(format!("  and {} more: tresorpayd list --status {status}", rows.len() - NAMED))?;
    }
    Ok(())
}

/// Why, where that must be known: given, or asked for at a terminal.
fn reason(action: Action, given: Option<&str>) -> Result<Option<String>, Failure> {
    let decides_money = matches!(action, Action::Cancel | Action::ResolveEmitted | Action::ResolveNotEmitted);
    let given = given.map(str::trim).filter(|reason| !reason.is_empty());
    if given.is_some() || !decides_money {
        return Ok(given.map(str::to_owned));
    }
    let missing =
        || Failure::Other(anyhow::anyhow!("why? --reason TEXT is kept with the command; nothing was asked"));
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Err(missing());
    }
    let mut line = String::new();
    let asked = write!(io::stderr(), "Why? ").and_then(|()| io::stdin().lock().read_line(&mut line));
    asked.map_err(|error| Failure::Other(error.into()))?;
    match line.trim() {
        "" => Err(missing()),
        reason => Ok(Some(reason.to_owned())),
    }
}

/// The user who logged in, also behind sudo; else the number of the user.
fn login_user() -> String {
    ["SUDO_USER", "LOGNAME", "USER"]
        .iter()
        .filter_map(|name| std::env::var(name).ok())
        .find(|user| !user.is_empty() && user.chars().count() <= 64)
        .unwrap_or_else(|| format!("uid {}", rustix::process::getuid().as_raw()))
}

/// Tells what was asked, or with `--wait` what became of it.
async fn follow(
    asker: &Asker,
    settings: &Settings,
    ids: &[i64],
    how: &How,
    output: &mut Output,
) -> Result<ExitCode, Failure> {
    let commands = wait(asker, ids, how.wait.map_or(Duration::ZERO, Duration::from_secs))
        .await
        .map_err(store_failure)?;
    let is_open = |asked: &&Asked| asked.outcome.is_none();
    for command in &commands {
        if how.json {
            output.json(command)?;
        } else {
            output.line(line(command))?;
        }
    }
    let stopped = daemon_state(&settings.database.path) == DaemonState::Stopped;
    if !how.json && stopped && commands.iter().any(|command| is_open(&command)) {
        output.line("no daemon is running: it is carried out once one does (`tresorpayd run`)")?;
    }
    let refused = commands.iter().any(|command| command.outcome.as_deref() == Some("refused"));
    let late = how.wait.is_some() && commands.iter().any(|command| is_open(&command));
    Ok(if refused || late { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

async fn wait(asker: &Asker, ids: &[i64], limit: Duration) -> Result<Vec<Asked>, StoreError> {
    let start = Instant::now();
    loop {
        let commands = asker.look(ids).await?;
        if commands.iter().all(|command| command.outcome.is_some()) || start.elapsed() >= limit {
            return Ok(commands);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// `A-1  cancel  done: …`
fn line(asked: &Asked) -> String {
    let about = asked.reference.as_deref().map_or_else(String::new, |text| format!("{}  ", printable(text)));
    let detail = asked.detail.as_deref().map(printable).unwrap_or_default();
    let what = match (asked.outcome.as_deref(), detail.is_empty()) {
        (Some(outcome), _) => format!("{outcome}: {detail}"),
        (None, true) => format!("asked, command {}", asked.id),
        (None, false) => format!("asked, command {}: {detail}", asked.id),
    };
    format!("{about}{}  {what}", asked.action)
}
