//! `tresorpayd add`: rows from JSON into the outbox, all or none, as an application would insert them.

mod entry; // one JSON object -> the columns of a row

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
    process::ExitCode,
};

use serde::Serialize;

use crate::{
    app::binding,
    cli::{
        Failure, database_settings,
        output::{Output, printable},
        runtime, store_failure,
    },
    settings::{Settings, Sources},
    store::{Added, Batch, NewRow},
};

/// Largest input, in bytes; it is read into memory.
const MAX_INPUT: u64 = 64 * 1024 * 1024;
/// Refused entries that are named; the rest is counted.
const MAX_NAMED: usize = 20;
/// What Windows puts before UTF-8.
const BYTE_ORDER_MARK: &str = "\u{feff}";

/// Arguments of `add`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  {\"reference\":\"A-2026-0001\", \"net_total\":1000, \"tax_payer\":{\"name\":\"Diarra\"},
   \"items\":[{\"name\":\"Timbre\",\"quantity\":2,\"unitPrice\":500,\"codeNatureRecette\":\"71531\"}]}

A reference that is there already with the same content is skipped, so that the same file may be added again.
All of it is one transaction, and the daemon records nothing meanwhile: split what has very many rows.")]
pub(crate) struct AddArgs {
    /// JSON: one object or an array of objects, fields named as the columns of outbox; `-`: standard input
    #[arg(value_name = "FILE|-")]
    input: PathBuf,
    /// One JSON object: the counts, and every row's reference and id
    #[arg(long)]
    json: bool,
}

/// What was done.
#[derive(Debug, Serialize)]
struct Report {
    added: usize,
    already_there: usize,
    rows: Vec<Row>,
}

#[derive(Debug, Serialize)]
struct Row {
    reference: String,
    id: i64,
    outcome: &'static str,
}

pub(super) fn run(sources: &Sources, args: &AddArgs) -> Result<ExitCode, Failure> {
    let settings = database_settings(sources)?;
    let text = read(&args.input).map_err(|error| error.context(input_name(&args.input)))?;
    let entries = entry::split(&text).map_err(|error| error.context(input_name(&args.input)))?;
    let rows = entries.iter().map(|entry| (entry.reference(), entry.row())).collect();
    let report = runtime()?.block_on(add(&settings, rows))?;
    let mut output = Output::stdout();
    if args.json {
        output.json(&report)?;
    } else {
        output.line(format!("added {}, already there {}", report.added, report.already_there))?;
    }
    output.finish()?;
    Ok(ExitCode::SUCCESS)
}

fn input_name(path: &Path) -> String {
    if path == Path::new("-") { "standard input".to_owned() } else { path.display().to_string() }
}

fn read(path: &Path) -> anyhow::Result<String> {
    let input: Box<dyn Read> =
        if path == Path::new("-") { Box::new(io::stdin()) } else { Box::new(File::open(path)?) };
    let mut bytes = Vec::new();
    input.take(MAX_INPUT + 1).read_to_end(&mut bytes)?;
    anyhow::ensure!(bytes.len() as u64 <= MAX_INPUT, "is larger than {MAX_INPUT} bytes: split it");
    let text = String::from_utf8(bytes)
        .map_err(|error| anyhow::anyhow!("is not UTF-8 text (byte {})", error.utf8_error().valid_up_to()))?;
    Ok(text.strip_prefix(BYTE_ORDER_MARK).map_or(text.clone(), str::to_owned))
}

/// A row, or why the entry is none, with the reference that names it.
type Entry = (Option<String>, Result<NewRow, String>);

async fn add(settings: &Settings, entries: Vec<Entry>) -> Result<Report, Failure> {
    let count = entries.len();
    let mut batch = Batch::begin(&settings.database.path, &binding(settings)).await.map_err(store_failure)?;
    let mut report = Report { added: 0, already_there: 0, rows: Vec::with_capacity(count) };
    let mut refused = Refused::default();
    for (place, (reference, row)) in entries.into_iter().enumerate() {
        let row = match row {
            Ok(row) => row,
            Err(why) => {
                refused.note(place, reference, &why);
                continue;
            }
        };
        let (id, outcome) = match batch.add(&row).await.map_err(store_failure)? {
            Ok(Added::New(id)) => (id, "added"),
            Ok(Added::AlreadyThere(id)) => (id, "already_there"),
            Err(why) => {
                refused.note(place, reference, &why.to_string());
                continue;
            }
        };
        match outcome {
            "added" => report.added += 1,
            _ => report.already_there += 1,
        }
        report.rows.push(Row { reference: row.reference.unwrap_or_default(), id, outcome });
    }
    if refused.count > 0 {
        batch.rollback().await.map_err(store_failure)?;
        return Err(refused.into_failure(count));
    }
    batch.commit().await.map_err(store_failure)?;
    Ok(report)
}

/// Entries that keep all of them out.
#[derive(Default)]
struct Refused {
    count: usize,
    named: Vec<String>,
}

impl Refused {
    fn note(&mut self, place: usize, reference: Option<String>, why: &str) {
        self.count += 1;
        if self.named.len() < MAX_NAMED {
            let reference = reference.map_or("no reference".to_owned(), |text| printable(&text));
            self.named.push(format!("entry {} ({reference}): {}", place + 1, printable(why)));
        }
    }

    fn into_failure(self, of: usize) -> Failure {
        let mut text = format!("nothing was added: {} of {of} entries refused", self.count);
        for line in &self.named {
            text.push_str("\n  ");
            text.push_str(line);
        }
        let more = self.count - self.named.len();
        if more > 0 {
            text = format!("{text}\n  and {more} more");
        }
        Failure::Other(anyhow::Error::msg(text))
    }
}
