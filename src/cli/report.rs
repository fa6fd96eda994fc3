//! `tresorpayd report`: the books of a period, for a terminal, a spreadsheet, a program or paper.

use std::{
    fs::Permissions,
    io::{self, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::ExitCode,
};

use chrono::{Datelike, NaiveDate};
use clap::{CommandFactory, error::ErrorKind};

use crate::{
    cli::{Cli, Failure, database_settings, output::Output, runtime},
    clock::Timestamp,
    lang::Lang,
    report::{By, Ledger, Period, Report},
    settings::Sources,
    store::inspect::Inspect,
};

/// As clap's own.
const EXIT_USAGE: u8 = 2;
/// Mode of a file that is written, before the process's umask.
const FILE_MODE: u32 = 0o666;

/// Arguments of `report`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Days are UTC, which is Mali's time. Payments are counted on their own date; what is recorded about a day after it is \
closed, three days after its end, is a correction of the day that recorded it. docs/report.md has the rules.")]
pub(crate) struct ReportArgs {
    /// The first day [default: the first of --to's month]
    #[arg(long, value_name = "YYYY-MM-DD", value_parser = day)]
    from: Option<NaiveDate>,
    /// The last day, itself within [default: today]
    #[arg(long, value_name = "YYYY-MM-DD", value_parser = day)]
    to: Option<NaiveDate>,
    /// What the rows of the tables are; several with commas [default: day; in HTML nature,provider,structure,day]
    #[arg(long, value_enum, value_delimiter = ',')]
    by: Vec<By>,
    /// The form [default: by the name of --output, else text]
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// --format json
    #[arg(long, conflicts_with = "format")]
    json: bool,
    /// The language of text, csv and html [default: by the locale]
    #[arg(long, value_enum)]
    lang: Option<Lang>,
    /// Writes this file instead of stdout; never over one that is there
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Writes over a file that is there
    #[arg(long, requires = "output")]
    force: bool,
}

/// How it is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// Tables for a terminal
    Text,
    /// One table for a spreadsheet
    Csv,
    /// One JSON document
    Json,
    /// A page with charts, to read and to print
    Html,
}

fn day(text: &str) -> Result<NaiveDate, String> {
    let form = text.len() == "2026-10-31".len();
    NaiveDate::parse_from_str(text, "%Y-%m-%d")
        .ok()
        .filter(|_| form)
        .ok_or_else(|| "a day that exists, written 2026-10-31".to_owned())
}

pub(super) fn run(sources: &Sources, args: &ReportArgs) -> Result<ExitCode, Failure> {
    let format = args.format();
    let by = args.tables(format);
    if format == Format::Csv && by.len() > 1 {
        return usage("CSV is one table: --by takes one of day, provider, nature, structure with it");
    }
    let now = Timestamp::now().to_chrono();
    let to = args.to.unwrap_or_else(|| now.date_naive());
    let from = args.from.or_else(|| to.with_day(1)).unwrap_or(to);
    let period = match Period::new(from, to) {
        Ok(period) => period,
        Err(error) => return usage(&error.to_string()),
    };
    if let Some(path) = args.output.as_deref().filter(|path| !args.force && path.exists()) {
        return Err(exists(path));
    }
    let settings = database_settings(sources)?;
    let report = runtime()?.block_on(async {
        let inspect = Inspect::open(&settings.database.path).await.map_err(anyhow::Error::new)?;
        let environment = inspect.meta("environment").await.map_err(anyhow::Error::new)?.unwrap_or_default();
        let mut ledger = Ledger::new(period, now);
        inspect.histories(|history| ledger.add(history).map_err(anyhow::Error::new)).await?;
        ledger.finish(environment).map_err(anyhow::Error::new)
    })?;
    let lang = args.lang.unwrap_or_else(Lang::from_environment);
    let text = print(&report, format, &by, lang)?;
    if let Some(path) = &args.output {
        write(path, &text, args.force)?;
    } else {
        let mut output = Output::stdout();
        output.text(&text)?;
        output.finish()?;
    }
    Ok(ExitCode::SUCCESS)
}

fn print(report: &Report, format: Format, by: &[By], lang: Lang) -> Result<String, Failure> {
    let text = match format {
        Format::Text => Ok(report.to_text(by, lang)),
        Format::Csv => report.to_csv(by.first().copied().unwrap_or(By::Day), lang),
        Format::Json => report.to_json(by).map(|json| json + "\n"),
        Format::Html => report.to_html(by, lang),
    };
    text.map_err(|error| Failure::Other(anyhow::Error::new(error)))
}

impl ReportArgs {
    fn format(&self) -> Format {
        let by_name = || {
            let extension = self.output.as_deref()?.extension()?.to_str()?.to_ascii_lowercase();
            match extension.as_str() {
                "csv" => Some(Format::Csv),
                "json" => Some(Format::Json),
                "html" | "htm" => Some(Format::Html),
                _ => None,
            }
        };
        if self.json { Format::Json } else { self.format.or_else(by_name).unwrap_or(Format::Text) }
    }

    fn tables(&self, format: Format) -> Vec<By> {
        let mut by = self.by.clone();
        by.dedup();
        match format {
            _ if !by.is_empty() => by,
            Format::Html => vec![By::Nature, By::Provider, By::Structure, By::Day],
            Format::Text | Format::Csv | Format::Json => vec![By::Day],
        }
    }
}

/// A file that is whole or not there.
fn write(path: &Path, text: &str, force: bool) -> Result<(), Failure> {
    let failed = |error: io::Error| {
        Failure::Other(anyhow::Error::new(error).context(format!("cannot write {}", path.display())))
    };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new()
        .permissions(Permissions::from_mode(FILE_MODE))
        .tempfile_in(folder)
        .map_err(failed)?;
    file.write_all(text.as_bytes()).and_then(|()| file.as_file().sync_all()).map_err(failed)?;
    if force {
        return file.persist(path).map(drop).map_err(|error| failed(error.error));
    }
    match file.persist_noclobber(path) {
        Ok(_) => Ok(()),
        Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => Err(exists(path)),
        Err(error) => Err(failed(error.error)),
    }
}

fn exists(path: &Path) -> Failure {
    Failure::Other(anyhow::anyhow!("{} is there already; --force writes over it", path.display()))
}

/// A misuse that the parser cannot see.
fn usage(why: &str) -> Result<ExitCode, Failure> {
    let error = Cli::command().error(ErrorKind::ValueValidation, why);
    error.print().map_err(anyhow::Error::new)?;
    Ok(ExitCode::from(EXIT_USAGE))
}
