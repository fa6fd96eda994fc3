//! `tresorpayd check`: configuration, database, token and reachability, one line each. It changes nothing, takes no lock
//! and sends nothing that could bill, so that it may be run beside a daemon.

mod database; // the file, its schema, its soundness, its mark
mod platform; // the token endpoint and the API

use std::{path::Path, process::ExitCode};

use serde::Serialize;

use crate::{
    cli::{
        EXIT_CONFIGURATION, Failure,
        output::{Output, Tone, counted, printable},
        runtime,
    },
    settings::{KeyOrigin, Settings, SettingsError, Sources},
    store::inspect::FileState,
};

/// Keys whose value is a secret where it stands in the configuration file.
const SECRET_KEYS: [&str; 3] = ["auth.client_secret", "http.token", "api.proxy"];
/// The key whose value is the path of a secret.
const SECRET_FILE: &str = "auth.client_secret_file";

/// Arguments of `check`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Exit status: 0 no line says FAIL; 78 the configuration is bad, or the database belongs to another environment; \
1 anything else failed. A line that says warn does not fail.")]
pub(crate) struct CheckArgs {
    /// One JSON object
    #[arg(long)]
    json: bool,
}

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Level {
    /// It holds.
    Ok,
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
    let report = match Settings::load(sources) {
        Ok(settings) => runtime()?.block_on(examine(sources, &settings)),
        Err(error) => Report { ok: false, checks: problems(&error), keys: Vec::new() },
    };
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

async fn examine(sources: &Sources, settings: &Settings) -> Report {
    let mut checks = vec![configuration(sources, settings)];
    checks.extend(exposed_secrets(sources.file.as_deref(), settings.origins()));
    checks.extend(database::check(settings).await);
    checks.extend(platform::check(settings).await);
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

fn problems(error: &SettingsError) -> Vec<Finding> {
    let line = |problem: &crate::settings::Problem| {
        Finding::new(Level::Fail, "configuration", problem.to_string(), None).of_configuration()
    };
    error.problems.iter().map(line).collect()
}

/// Secrets in files that every user of the machine may read.
fn exposed_secrets(file: Option<&Path>, origins: &[KeyOrigin]) -> Vec<Finding> {
    let exposed = |path: &Path| FileState::of(path).ok().flatten().is_some_and(|file| file.mode & 0o004 != 0);
    let warning = |key: &str, path: &Path| {
        let path = path.display();
        Finding::warn(
            "secrets",
            format!("{key} stands in {path}, which every user may read"),
            format!("chmod o= {path}"),
        )
    };
    origins
        .iter()
        .filter_map(|origin| {
            let in_file = file.filter(|file| origin.source.starts_with(&format!("{}, line", file.display())));
            let path = match (origin.key, in_file) {
                (SECRET_FILE, _) => Path::new(origin.value.trim_matches('"')),
                (key, Some(file)) if SECRET_KEYS.contains(&key) => file,
                _ => return None,
            };
            exposed(path).then(|| warning(origin.key, path))
        })
        .collect()
}

fn print(report: &Report, output: &mut Output) -> Result<(), Failure> {
    for finding in &report.checks {
        let (word, tone) = match finding.result {
            Level::Ok => ("ok", Tone::Good),
            Level::Warn => ("warn", Tone::Notice),
            Level::Fail => ("FAIL", Tone::Bad),
        };
        let word = output.paint(&format!("{word:<4}"), tone);
        let remedy = finding.remedy.as_ref().map_or_else(String::new, |remedy| format!(" — {remedy}"));
        let text = printable(&format!("{}{remedy}", finding.detail));
        output.line(format!("{word}  {:<13}  {text}", finding.check))?;
        if finding.check == "configuration" {
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
