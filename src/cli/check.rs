//! `tresorpayd check`: configuration, machine, database, token and reachability, one line each, with what to do about it. It
//! changes nothing, takes no lock and sends nothing that could bill, so that it may be run beside a daemon.

mod credentials; // where the secret comes from, and who may see it there
mod database; // the file, its schema, its soundness, its mark
mod files; // owners and modes of the folder and the files in it
mod listen; // the addresses that the daemon listens on
mod network; // names and certificates
mod owner; // users and groups by name
mod platform; // the token endpoint and the API
mod schedules; // when the schedules come due
mod space; // room on the disks
mod systemd; // the service as systemd knows it

use std::{process::ExitCode, time::Duration};

use serde::Serialize;

use crate::{
    cli::{
        EXIT_CONFIGURATION, Failure,
        output::{Output, Tone, counted, printable},
        runtime,
    },
    clock::Timestamp,
    settings::{KeyOrigin, Need, Problem, Settings, SettingsError, Sources},
};
use systemd::{Service, Unit};

/// Arguments of `check`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
It asks TresorPay for a token and for a notice that does not exist; it emits, cancels, writes and locks nothing, and may run \
beside the daemon, as root or as the service's user.

Exit status: 0 no line says FAIL; 78 the configuration is bad, or the database belongs to another environment; \
1 anything else failed. A line that says warn does not fail, nor does one that says skip: that could not be checked here.")]
pub(crate) struct CheckArgs {
    /// One JSON object
    #[arg(long)]
    json: bool,
}

/// What to do where there seems to be no account to somebody who may not see it.
const AS_ROOT: &str =
    "the service has its account from systemd, and only root may look there: sudo tresorpayd check";

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Level {
    /// It holds.
    Ok,
    /// It could not be checked here; the detail says why.
    Skip,
    /// It holds, and somebody should look.
    Warn,
    /// It does not hold.
    Fail,
}

/// One line.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Finding {
    check: &'static str,
    result: Level,
    detail: String,
    remedy: Option<String>,
    /// Exit with 78: starting again changes nothing.
    #[serde(skip)]
    configuration: bool,
}

impl Finding {
    fn new(result: Level, check: &'static str, detail: impl Into<String>, remedy: Option<String>) -> Self {
        Self { check, result, detail: detail.into(), remedy, configuration: false }
    }

    fn ok(check: &'static str, detail: impl Into<String>) -> Self {
        Self::new(Level::Ok, check, detail, None)
    }

    fn warn(check: &'static str, detail: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(Level::Warn, check, detail, Some(remedy.into()))
    }

    fn fail(check: &'static str, detail: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(Level::Fail, check, detail, Some(remedy.into()))
    }

    fn skip(check: &'static str, detail: impl Into<String>) -> Self {
        Self::new(Level::Skip, check, detail, None)
    }

    /// A failure whose words say already what to do.
    fn error(check: &'static str, error: &dyn std::fmt::Display) -> Self {
        Self::new(Level::Fail, check, error.to_string(), None)
    }

    fn of_configuration(self) -> Self {
        Self { configuration: true, ..self }
    }
}

/// Everything that is printed.
#[derive(Debug, Serialize)]
struct Report {
    ok: bool,
    checks: Vec<Finding>,
    keys: Vec<SetKey>,
}

/// A key that something other than the built-in defaults set.
#[derive(Debug, Serialize)]
struct SetKey {
    key: &'static str,
    /// As it may be shown.
    value: String,
    source: String,
}

pub(super) fn run(sources: &Sources, args: &CheckArgs) -> Result<ExitCode, Failure> {
    let runtime = runtime()?;
    let report = runtime.block_on(report(sources));
    // A name that is still being looked up is waited for by nobody.
    runtime.shutdown_background();
    let mut output = Output::stdout();
    if args.json {
        output.json(&report)?;
    } else {
        print(&report, &mut output)?;
    }
    output.finish()?;
    let failed = |finding: &&Finding| finding.result == Level::Fail;
    Ok(match report.checks.iter().filter(failed).map(|finding| finding.configuration).max() {
        None => ExitCode::SUCCESS,
        Some(false) => ExitCode::FAILURE,
        Some(true) => ExitCode::from(EXIT_CONFIGURATION),
    })
}

/// Whatever can be told: without an account the database and the machine are checked all the same.
async fn report(sources: &Sources) -> Report {
    let service = Service::look().await;
    let mut sources = sources.clone();
    if sources.credentials_directory.is_none() {
        sources.credentials_directory = service.credentials_directory();
    }
    let error = match Settings::load(&sources) {
        Ok(settings) => {
            let first = vec![configuration(&sources, &settings)];
            return examine(&sources, &settings, &service, first).await;
        }
        Err(error) => problems(&error, &service),
    };
    match Settings::load(&sources.clone().needing(Need::Database)) {
        Ok(settings) => examine(&sources, &settings, &service, error).await,
        Err(_) => Report { ok: false, checks: error, keys: Vec::new() },
    }
}

/// The database and the network at once, told one after the other.
async fn examine(sources: &Sources, settings: &Settings, service: &Service, first: Vec<Finding>) -> Report {
    let ((network, platform), database) =
        tokio::join!(platform::network_and_platform(settings), database::check(settings, service));
    let mut checks = first;
    checks.extend(credentials::check(sources.file.as_deref(), settings, service));
    checks.push(owner::check(service));
    checks.extend(service.findings(settings));
    checks.extend(files::folder(settings, service));
    checks.extend(database);
    checks.extend(space::of_receipts(settings, service));
    checks.extend(network);
    checks.extend(platform);
    checks.extend(listen::check(settings, service));
    checks.extend(schedules::check(settings, Timestamp::now()));
    let key = |origin: &KeyOrigin| SetKey {
        key: origin.key,
        value: origin.value.clone(),
        source: origin.source.clone(),
    };
    Report {
        ok: checks.iter().all(|finding| finding.result != Level::Fail),
        checks,
        keys: settings.origins().iter().map(key).collect(),
    }
}

fn configuration(sources: &Sources, settings: &Settings) -> Finding {
    let file = sources.file.as_deref().map_or("no file".to_owned(), |file| file.display().to_string());
    let given = i64::try_from(settings.origins().len()).unwrap_or(i64::MAX);
    let keys = counted(given, "key", "keys");
    Finding::ok("configuration", format!("environment {}, {file}, {keys} set", settings.environment))
}

fn problems(error: &SettingsError, service: &Service) -> Vec<Finding> {
    let hidden = !rustix::process::geteuid().is_root() && service.unit().is_some_and(Unit::loads_secret);
    let line = |problem: &Problem| {
        let account = problem.is_missing() && problem.key.starts_with("auth.client_");
        let remedy = (hidden && account).then(|| AS_ROOT.to_owned());
        Finding::new(Level::Fail, "configuration", problem.to_string(), remedy).of_configuration()
    };
    error.problems.iter().map(line).collect()
}

/// `within 15 s`
fn within(limit: Duration) -> String {
    format!("within {} s", limit.as_secs())
}

fn print(report: &Report, output: &mut Output) -> Result<(), Failure> {
    let last_of_configuration = report.checks.iter().rposition(|finding| finding.check == "configuration");
    for (index, finding) in report.checks.iter().enumerate() {
        let (word, tone) = match finding.result {
            Level::Ok => ("ok", Tone::Good),
            Level::Skip => ("skip", Tone::Plain),
            Level::Warn => ("warn", Tone::Notice),
            Level::Fail => ("FAIL", Tone::Bad),
        };
        let word = output.paint(&format!("{word:<4}"), tone);
        let remedy = finding.remedy.as_ref().map_or_else(String::new, |remedy| format!(" — {remedy}"));
        let text = printable(&format!("{}{remedy}", finding.detail));
        output.line(format!("{word}  {:<13}  {text}", finding.check))?;
        if Some(index) == last_of_configuration {
            print_keys(&report.keys, output)?;
        }
    }
    Ok(())
}

fn print_keys(keys: &[SetKey], output: &mut Output) -> Result<(), Failure> {
    keys.iter().try_for_each(|key| {
        output.line(printable(&format!("        {} = {}  [{}]", key.key, key.value, key.source)))
    })
}
