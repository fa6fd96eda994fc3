//! `tresorpayd match`: the Treasury's statement against the outbox. It reads only, and says what it understood of the file
//! before what came of it.

use std::{
    fs::File,
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use chrono::{NaiveDate, Utc};
use serde_json::{Value, json};

use crate::{
    cli::{
        Failure, database_settings,
        output::{Output, Tone, printable},
        runtime, store_failure,
    },
    lang::Lang,
    settings::Sources,
    statement::{
        self, Comparison, Encoding, Given, Kind, Lines, ReadLine, Report,
        compare::{Bridge, Finding, Sum},
        parse_date, render,
    },
    store::inspect::Inspect,
};

/// Lines that are looked up at once.
const BATCH: usize = 500;
/// Differences of one kind that are printed as text.
const SHOWN: usize = 50;

/// What is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// For the terminal
    Text,
    /// Every difference, for a spreadsheet
    Csv,
    /// One page to read, print and keep
    Html,
}

/// Arguments of `match`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A statement is CSV as any program writes it: UTF-8, UTF-16 or Windows-1252; semicolons, commas or tabs; 1 234 567 FCFA, \
1.234.567 or 1,234,567.00; 2026-10-31 or 31/10/2026. A line's reference is TresorPay's or the application's own.

Example: tresorpayd match releve.csv --columns reference=Avis,amount='Somme due',date=3

Exit status: 0 both sides agree; 1 they do not, or the statement cannot be read; 2 usage; 78 bad configuration.")]
pub(crate) struct MatchArgs {
    /// The statement; `-`: standard input
    #[arg(value_name = "FILE|-")]
    statement: PathBuf,
    /// Which columns: their names, or places from 1 [default: guessed from the header]
    #[arg(long, value_name = "reference=...,amount=...,date=...")]
    columns: Option<Given>,
    /// First day of the outbox's payments that the statement should have [default: its own first day]
    #[arg(long, value_name = "DATE", value_parser = date)]
    from: Option<NaiveDate>,
    /// Last day [default: its own last day]
    #[arg(long, value_name = "DATE", value_parser = date)]
    to: Option<NaiveDate>,
    /// Dates that are no more than so many days apart agree
    #[arg(long, value_name = "N", default_value_t = 0)]
    days: u64,
    /// How the statement writes its characters, such as windows-1252 [default: found out]
    #[arg(long, value_name = "NAME", value_parser = encoding)]
    encoding: Option<Encoding>,
    /// What stands between two columns: one character, or `tab` [default: found out]
    #[arg(long, value_name = "CHARACTER", value_parser = separator)]
    separator: Option<u8>,
    /// What to write [default: by the name of --output, else text]
    #[arg(long, value_name = "FORMAT", value_enum)]
    format: Option<Format>,
    /// Write it there instead of to standard output; never over a file that is there
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Language of what is written [default: the environment's]
    #[arg(long, value_name = "LANGUAGE", value_enum)]
    lang: Option<Lang>,
    /// One JSON object
    #[arg(long, conflicts_with_all = ["format", "output"])]
    json: bool,
}

fn date(text: &str) -> Result<NaiveDate, String> {
    parse_date(text).map(|(date, _)| date).map_err(|error| error.to_string())
}

pub(super) fn encoding(text: &str) -> Result<Encoding, String> {
    Encoding::named(text)
        .ok_or_else(|| "is no encoding that is known; utf-8, utf-16le and windows-1252 are".to_owned())
}

pub(super) fn separator(text: &str) -> Result<u8, String> {
    match text.as_bytes() {
        b"tab" | b"\\t" => Ok(b'\t'),
        [byte] if byte.is_ascii() && !matches!(byte, b'"' | b'\n' | b'\r' | 0) => Ok(*byte),
        _ => Err("is not one character, nor `tab`".to_owned()),
    }
}

pub(super) fn run(sources: &Sources, args: &MatchArgs) -> Result<ExitCode, Failure> {
    let settings = database_settings(sources)?;
    let name = super::file_name(&args.statement);
    let named = |error: statement::StatementError| anyhow::Error::new(error).context(name.clone());
    let columns = args.columns.clone().unwrap_or_default();
    let lang = args.lang.unwrap_or_else(Lang::from_environment);
    let (mut file, understood) =
        statement::open(&args.statement, &columns, args.encoding, args.separator).map_err(named)?;
    if understood.layout.place("date").is_none() && (args.from.is_none() || args.to.is_none()) {
        let why = "has no column of dates that is known, so nobody can tell which payments it should have: name it \
                   (--columns date=COLUMN), or say --from DATE --to DATE";
        return Err(Failure::Other(anyhow::anyhow!("{name}: {why}")));
    }
    let (result, form, environment) = runtime()?.block_on(async {
        let inspect = Inspect::open(&settings.database.path).await.map_err(store_failure)?;
        let environment = inspect.meta("environment").await.map_err(store_failure)?;
        let mut comparison = Comparison::new((args.from, args.to), args.days);
        let mut lines = Lines::of(&mut file, &understood.layout).map_err(named)?;
        while let batch = batch(&mut lines).map_err(named)?
            && !batch.is_empty()
        {
            compare(&inspect, &mut comparison, batch).await?;
        }
        let form = lines.date_form();
        if comparison.period().is_none() {
            let why = "no line has a date that can be read: say --from DATE --to DATE";
            return Err(Failure::Other(anyhow::anyhow!("{name}: {why}")));
        }
        let mut last = 0;
        loop {
            let payments = inspect.paid_after(last).await.map_err(store_failure)?;
            let Some(payment) = payments.last() else { break };
            last = payment.id;
            for payment in payments {
                comparison.outbox(payment);
            }
        }
        Ok((comparison.finish(), form, environment.unwrap_or_default()))
    })?;
    let report = Report {
        file: &name,
        environment: &environment,
        understood: &understood,
        form,
        period_given: args.from.is_some() || args.to.is_some(),
        days: args.days,
        result: &result,
        at: Utc::now(),
    };
    tell(args, lang, &report)?;
    Ok(if result.agrees() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn batch(lines: &mut Lines<'_>) -> Result<Vec<ReadLine>, statement::StatementError> {
    let mut batch = Vec::with_capacity(BATCH);
    while batch.len() < BATCH
        && let Some(line) = lines.read()?
    {
        batch.push(line);
    }
    Ok(batch)
}

async fn compare(
    inspect: &Inspect,
    comparison: &mut Comparison,
    lines: Vec<ReadLine>,
) -> Result<(), Failure> {
    // What no reference can be: it finds nothing.
    const NONE: &str = "\n";
    let reference = |line: &ReadLine| match line {
        ReadLine::Payment { reference, .. } => reference.clone(),
        ReadLine::Unreadable { reference: Some(reference), .. } => reference.clone(),
        ReadLine::Unreadable { reference: None, .. } | ReadLine::Total { .. } | ReadLine::PassedOver => {
            NONE.to_owned()
        }
    };
    let references: Vec<String> = lines.iter().map(reference).collect();
    let names: Vec<&str> = references.iter().map(String::as_str).collect();
    let rows = inspect.named(&names).await.map_err(store_failure)?;
    for (line, row) in lines.into_iter().zip(rows) {
        comparison.line(line, row);
    }
    Ok(())
}

impl MatchArgs {
    fn format(&self) -> Format {
        let by_name = || {
            let extension = self.output.as_deref()?.extension()?.to_str()?.to_ascii_lowercase();
            match extension.as_str() {
                "csv" => Some(Format::Csv),
                "html" | "htm" => Some(Format::Html),
                _ => None,
            }
        };
        self.format.or_else(by_name).unwrap_or(Format::Text)
    }
}

fn tell(args: &MatchArgs, lang: Lang, report: &Report<'_>) -> Result<(), Failure> {
    let failed = |error: io::Error| Failure::Other(anyhow::Error::new(error));
    if args.json {
        let mut output = Output::stdout();
        output.json(&document(report))?;
        return output.finish();
    }
    match (args.format(), &args.output) {
        (Format::Text, None) => {
            let mut output = Output::stdout();
            text(lang, report, &mut output)?;
            output.finish()
        }
        (format, Some(path)) => {
            save(path, |file| write(file, format, lang, report)).map_err(|error| {
                Failure::Other(anyhow::Error::new(error).context(path.display().to_string()))
            })?;
            let mut output = Output::stdout();
            summary(lang, report, &mut output)?;
            output.finish()
        }
        (format, None) => match write(&mut io::stdout().lock(), format, lang, report) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(failed(error)),
            Ok(()) | Err(_) => Ok(()),
        },
    }
}

/// Whole or not at all.
fn save(path: &Path, write: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    write(file.as_file_mut())?;
    file.as_file().sync_all()?;
    file.persist_noclobber(path)?;
    Ok(())
}

fn write(out: &mut dyn Write, format: Format, lang: Lang, report: &Report<'_>) -> io::Result<()> {
    match format {
        Format::Csv => render::csv::write(out, lang, report),
        Format::Html => out.write_all(render::html::page(lang, report).as_bytes()),
        Format::Text => plain(out, lang, report),
    }
}

/// Text without a terminal: what was understood, the verdict and every difference.
fn plain(out: &mut dyn Write, lang: Lang, report: &Report<'_>) -> io::Result<()> {
    for (name, value) in report.understanding(lang) {
        writeln!(out, "{name:<12} {}", printable(&value))?;
    }
    writeln!(out)?;
    for (kind, count) in report.kinds() {
        writeln!(out, "{} ({})", kind.title(lang), lang.number(count))?;
        for finding in report.findings(kind) {
            writeln!(out, "  {}", cells(lang, finding).join("  "))?;
        }
    }
    writeln!(out, "{}", report.verdict(lang))
}

fn summary(lang: Lang, report: &Report<'_>, output: &mut Output) -> Result<(), Failure> {
    for (name, value) in report.understanding(lang) {
        let name = output.paint(&format!("{name:<12}"), Tone::Heading);
        output.line(format!("{name} {}", printable(&value)))?;
    }
    output.line("")?;
    verdict(lang, report, output)
}

fn verdict(lang: Lang, report: &Report<'_>, output: &mut Output) -> Result<(), Failure> {
    let (sign, tone) = if report.result.agrees() { ("✓", Tone::Good) } else { ("✗", Tone::Bad) };
    output.line(output.paint(&format!("{sign} {}", report.verdict(lang)), tone))
}

fn text(lang: Lang, report: &Report<'_>, output: &mut Output) -> Result<(), Failure> {
    for (name, value) in report.understanding(lang) {
        let name = output.paint(&format!("{name:<12}"), Tone::Heading);
        output.line(format!("{name} {}", printable(&value)))?;
    }
    output.line("")?;
    let steps: Vec<Vec<String>> = report
        .bridge(lang)
        .into_iter()
        .map(|step| {
            let sign = if step.is_sum {
                ""
            } else if step.amount < 0 {
                "− "
            } else {
                "+ "
            };
            vec![format!("{sign}{}", step.label), lang.number(step.count), lang.number(step.amount)]
        })
        .collect();
    output.table(&["", lang.pick("NUMBER", "NOMBRE"), lang.pick("XOF", "FCFA")], &[1, 2], &steps)?;
    for (kind, count) in report.kinds() {
        output.line("")?;
        let title = format!("{} ({})", kind.title(lang), lang.number(count));
        output.line(output.paint(&title, Tone::Heading))?;
        output.line(kind.meaning(lang))?;
        let rows: Vec<Vec<String>> =
            report.findings(kind).take(SHOWN).map(|finding| cells(lang, finding)).collect();
        output.table(&[], &[0], &rows)?;
        let left = count - rows.len() as u64;
        if left > 0 {
            let more =
                lang.pick("more: --format csv has all of them", "autres : --format csv les donne tous");
            output.line(format!("{} {more}", lang.number(left)))?;
        }
    }
    output.line("")?;
    verdict(lang, report, output)
}

/// A difference in one line.
fn cells(lang: Lang, finding: &Finding) -> Vec<String> {
    let row = finding.row.as_ref();
    let place =
        finding.line.map_or_else(String::new, |line| format!("{} {line}", lang.pick("line", "ligne")));
    let (there, here) = (lang.pick("statement", "relevé"), lang.pick("outbox", "base"));
    let amount = |amount: Option<i64>| amount.map(|amount| lang.amount(amount)).unwrap_or_default();
    let day = |date: Option<NaiveDate>| date.map(|date| lang.date(date)).unwrap_or_default();
    let said = match finding.kind {
        Kind::MissingHere => format!("{}  {}", amount(finding.amount), day(finding.date)),
        Kind::MissingThere => {
            format!("{}  {}", amount(row.map(|row| row.net_total)), day(row.and_then(|row| row.paid_on)))
        }
        Kind::NotPaidHere => {
            let status = row.map_or("", |row| row.status.as_str());
            format!("{}  {}, {here}: {status}", amount(finding.amount), day(finding.date))
        }
        Kind::AmountDiffers => {
            format!("{there} {}, {here} {}", amount(finding.amount), amount(row.map(|row| row.net_total)))
        }
        Kind::DateDiffers => {
            format!("{there} {}, {here} {}", day(finding.date), day(row.and_then(|row| row.paid_on)))
        }
        Kind::Duplicate => format!("{}, {}", amount(finding.amount), finding.detail(lang)),
        Kind::Unreadable => finding.detail(lang),
        Kind::TotalDiffers => amount(finding.amount),
    };
    let own = match finding.own_reference() {
        own if own == finding.name() => String::new(),
        own => own.to_owned(),
    };
    vec![place, finding.name().to_owned(), own, said]
}

fn document(report: &Report<'_>) -> Value {
    let result = report.result;
    let sum = |sum: Sum| json!({ "count": sum.count, "amount": whole(sum.amount) });
    let columns: Vec<Value> = report
        .understood
        .layout
        .columns
        .iter()
        .map(|column| {
            json!({ "key": column.key, "column": column.place + 1, "name": column.name, "guessed": column.guessed })
        })
        .collect();
    let period = |period: Option<statement::Period>| {
        period.map(|period| json!({ "from": period.from.to_string(), "to": period.to.to_string() }))
    };
    let Bridge {
        outbox,
        missing_there,
        unreadable,
        outside,
        amounts,
        not_paid,
        missing_here,
        duplicates,
        statement,
    } = result.bridge;
    json!({
        "agrees": result.agrees(),
        "differences": result.differences(),
        "statement": {
            "file": report.file,
            "bytes": report.understood.size,
            "sha256": report.understood.digest,
            "encoding": report.understood.encoding.to_string(),
            "separator": char::from(report.understood.layout.separator).to_string(),
            "header_line": report.understood.layout.header_line,
            "columns": columns,
            "date_form": report.form.map(|(form, _)| form.to_string()),
            "dates_mixed": report.form.is_some_and(|(_, mixed)| mixed),
            "period": period(result.statement_period),
            "passed_over": result.passed_over,
            "own_total": result.own_total.map(|(_, amount)| amount),
        },
        "period": period(result.period),
        "days": report.days,
        "found_by": { "tresorpay_reference": result.by_tresorpay, "reference": result.by_own },
        "matched": sum(result.matched),
        "sums": {
            "outbox": sum(outbox), "missing_there": sum(missing_there), "unreadable": sum(unreadable),
            "outside": sum(outside), "amounts": sum(amounts), "not_paid": sum(not_paid),
            "missing_here": sum(missing_here), "duplicates": sum(duplicates), "statement": sum(statement),
        },
        "counts": result.counts.iter().map(|(kind, sum)| (kind.as_str().to_owned(), sum.count.into())).collect::<serde_json::Map<_, _>>(),
        "findings": result.findings.iter().map(finding_json).collect::<Vec<_>>(),
    })
}

fn finding_json(finding: &Finding) -> Value {
    let row = finding.row.as_ref();
    json!({
        "kind": finding.kind.as_str(),
        "line": finding.line,
        "first_line": finding.first_line,
        "statement_reference": finding.reference,
        "reference": row.map(|row| &row.reference),
        "tresorpay_reference": row.and_then(|row| row.tresorpay_reference.as_ref()),
        "status": row.map(|row| row.status.as_str()),
        "statement_amount": finding.amount,
        "outbox_amount": row.map(|row| row.net_total),
        "statement_date": finding.date.map(|date| date.to_string()),
        "outbox_date": row.and_then(|row| row.paid_on).map(|date| date.to_string()),
        "column": finding.trouble.as_ref().map(|(column, _)| column),
        "detail": finding.trouble.as_ref().map(|(_, why)| why.to_string()),
    })
}

/// A sum beyond what JSON readers take exactly is written as text.
fn whole(amount: i128) -> Value {
    i64::try_from(amount).map_or_else(|_| amount.to_string().into(), Value::from)
}
