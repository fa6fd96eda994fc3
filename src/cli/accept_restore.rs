//! `tresorpayd accept-restore`: shows what a database that went back in time has lost, asks, and puts in doubt what may
//! have been sent since.

use std::{
    io::{BufRead, IsTerminal, Write},
    path::Path,
    process::ExitCode,
};

use serde::Serialize;

use crate::{
    app::binding,
    cli::{
        Failure, database_settings,
        output::{Output, Tone, counted, printable, time},
        runtime, store_failure,
    },
    settings::{Settings, Sources},
    store::{Accepted, Restore, RestorePlan},
};

/// Arguments of `accept-restore`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Run it after a copy of the database was put back, with the daemon stopped. Rows that the copy calls PENDING, EMITTING or \
REJECTED may have been emitted after it was made: they become UNCERTAIN and are not sent again by themselves.

Exit status: 0 accepted, or there is nothing to accept; 1 not accepted; 78 the database cannot be used.")]
pub(crate) struct AcceptRestoreArgs {
    /// The database was restored although its mark does not show it: the whole machine was, or the mark with it
    #[arg(long)]
    declare: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// One JSON object; without --yes nothing is changed
    #[arg(long)]
    json: bool,
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Outcome {
    /// The mark shows no restore and none was declared.
    NothingToAccept,
    /// Nothing was changed.
    NotAccepted,
    /// The daemon may start.
    Accepted,
}

#[derive(Debug, Serialize)]
struct Report<'a> {
    outcome: Outcome,
    database: &'a Path,
    went_back: Option<&'a str>,
    declared: bool,
    last_attempt: i64,
    last_attempt_at: Option<&'a str>,
    last_transition: i64,
    /// Rows that become, or became, `UNCERTAIN`.
    rows: u64,
    /// Rows that are `UNCERTAIN` then.
    uncertain: i64,
    /// Commands that are, or were, refused.
    commands: u64,
    /// `emit.max_uncertain` rows or more are `UNCERTAIN` then.
    emission_stops: bool,
}

pub(super) fn run(sources: &Sources, args: &AcceptRestoreArgs) -> Result<ExitCode, Failure> {
    let settings = database_settings(sources)?;
    let (path, mark) = (&settings.database.path, &settings.database.mark);
    let runtime = runtime()?;
    let restore = runtime.block_on(Restore::begin(path, mark, &binding(&settings))).map_err(store_failure)?;
    let plan = restore.plan().clone();
    let outcome = if plan.went_back.is_none() && !args.declare {
        Outcome::NothingToAccept
    } else if args.yes {
        Outcome::Accepted
    } else if args.json || !std::io::stdin().is_terminal() {
        Outcome::NotAccepted
    } else {
        let mut question = Output::stdout();
        tell_plan(&plan, &settings, &mut question)?;
        question.finish()?;
        if confirmed()? { Outcome::Accepted } else { Outcome::NotAccepted }
    };
    let accepted = match outcome {
        Outcome::Accepted => Some(runtime.block_on(restore.accept()).map_err(store_failure)?),
        Outcome::NothingToAccept | Outcome::NotAccepted => None,
    };
    let mut output = Output::stdout();
    if args.json {
        output.json(&report(outcome, &plan, accepted, args.declare, &settings))?;
    } else {
        tell(outcome, &plan, accepted, &settings, &mut output)?;
    }
    output.finish()?;
    Ok(if outcome == Outcome::NotAccepted { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn report<'a>(
    outcome: Outcome,
    plan: &'a RestorePlan,
    accepted: Option<Accepted>,
    declared: bool,
    settings: &'a Settings,
) -> Report<'a> {
    let planned = match outcome {
        Outcome::NothingToAccept => Accepted { rows: 0, uncertain: plan.uncertain, commands: 0 },
        Outcome::NotAccepted | Outcome::Accepted => planned(plan),
    };
    let Accepted { rows, uncertain, commands } = accepted.unwrap_or(planned);
    Report {
        outcome,
        database: &settings.database.path,
        went_back: plan.went_back.as_deref(),
        declared,
        last_attempt: plan.last_attempt,
        last_attempt_at: plan.last_attempt_at.as_deref(),
        last_transition: plan.last_transition,
        rows,
        uncertain,
        commands,
        emission_stops: stops(uncertain, settings),
    }
}

fn planned(plan: &RestorePlan) -> Accepted {
    Accepted {
        rows: u64::try_from(plan.rows()).unwrap_or_default(),
        uncertain: plan.uncertain + plan.rows(),
        commands: u64::try_from(plan.commands).unwrap_or_default(),
    }
}

fn stops(uncertain: i64, settings: &Settings) -> bool {
    uncertain >= i64::from(settings.emit.max_uncertain)
}

fn tell(
    outcome: Outcome,
    plan: &RestorePlan,
    accepted: Option<Accepted>,
    settings: &Settings,
    output: &mut Output,
) -> Result<(), Failure> {
    match (outcome, accepted) {
        (Outcome::NothingToAccept, _) => {
            output.line(format!(
                "{} is level with its mark (attempt {}): nothing to accept, nothing was changed.",
                settings.database.path.display(),
                plan.last_attempt
            ))?;
            output.line("If the mark was restored too, as with the whole machine: tresorpayd accept-restore --declare")
        }
        (Outcome::Accepted, Some(accepted)) => tell_accepted(plan, accepted, settings, output),
        (Outcome::NotAccepted, _) if std::io::stdin().is_terminal() => output.line("Nothing was changed."),
        (Outcome::Accepted | Outcome::NotAccepted, _) => {
            tell_plan(plan, settings, output)?;
            output.line("Nothing was changed: there is nobody to ask here. To do it: --yes")
        }
    }
}

fn tell_plan(plan: &RestorePlan, settings: &Settings, output: &mut Output) -> Result<(), Failure> {
    let path = settings.database.path.display();
    let why = match &plan.went_back {
        Some(why) => format!("{path} went back in time: {why}."),
        None => format!("{path} is declared to have gone back in time; its mark does not show it."),
    };
    output.line(output.paint(&printable(&why), Tone::Heading))?;
    if !plan.exists {
        return output.line(
            "There is no database any more. If you go on, an empty one is made. Nobody can tell then what was billed: a \
             reference that an application inserts again is billed again.",
        );
    }
    let last = match &plan.last_attempt_at {
        Some(at) => format!("Its last attempt is {}, of {} UTC.", plan.last_attempt, time(at)),
        None => "It has no attempt at all.".to_owned(),
    };
    output.line(format!("{last} What was sent after that, it does not know. If you go on:"))?;
    let rows = [("PENDING", plan.pending), ("EMITTING", plan.emitting), ("REJECTED", plan.rejected)];
    let named: Vec<_> =
        rows.iter().filter(|row| row.1 > 0).map(|row| format!("{} {}", row.1, row.0)).collect();
    let named = if named.is_empty() { "no row".to_owned() } else { named.join(", ") };
    output.line(format!(
        "  {named} → UNCERTAIN: each may have been emitted, so none is sent again by itself"
    ))?;
    if plan.commands > 0 {
        let commands = counted(plan.commands, "open command is", "open commands are");
        output.line(format!("  {commands} refused, because it may have been carried out: ask again"))?;
    }
    output.line(format!(
        "  the feed goes on after transition {}: who follows it by id must go back to there",
        plan.last_transition
    ))?;
    tell_stop(plan.uncertain + plan.rows(), settings, output)
}

fn tell_stop(uncertain: i64, settings: &Settings, output: &mut Output) -> Result<(), Failure> {
    if !stops(uncertain, settings) {
        return Ok(());
    }
    output.line(format!(
        "  {} UNCERTAIN then: nothing is emitted while there are {} (emit.max_uncertain) or more",
        counted(uncertain, "row is", "rows are"),
        settings.emit.max_uncertain
    ))
}

fn tell_accepted(
    plan: &RestorePlan,
    accepted: Accepted,
    settings: &Settings,
    output: &mut Output,
) -> Result<(), Failure> {
    if !plan.exists {
        return output.line("Accepted: there is a new, empty database. The daemon may start.");
    }
    let rows = counted(i64::try_from(accepted.rows).unwrap_or(i64::MAX), "row is", "rows are");
    output.line(format!("Accepted: {rows} UNCERTAIN now. The daemon may start."))?;
    if accepted.commands > 0 {
        let commands = i64::try_from(accepted.commands).unwrap_or(i64::MAX);
        output.line(format!("  {} refused", counted(commands, "command was", "commands were")))?;
    }
    tell_stop(accepted.uncertain, settings, output)?;
    if accepted.rows > 0 {
        output.line("Look for them at TresorPay. Which: tresorpayd list --status UNCERTAIN")?;
    }
    Ok(())
}

/// Asks on the terminal.
#[expect(clippy::print_stderr, reason = "a question, beside the data on stdout")]
fn confirmed() -> Result<bool, Failure> {
    eprint!("Go on? Type yes: ");
    std::io::stderr().flush().map_err(anyhow::Error::new)?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer).map_err(anyhow::Error::new)?;
    Ok(answer.trim() == "yes")
}
