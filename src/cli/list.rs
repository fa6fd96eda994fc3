//! `tresorpayd list`: pages of rows, and with `--since` the feed of transitions.

mod sorted; // rows in the order of a column

use std::process::ExitCode;

use crate::{
    cli::{
        Failure, database_settings,
        output::{Output, printable, time},
        runtime,
    },
    clock::Timestamp,
    notice::{Amount, Status},
    settings::Sources,
    store::inspect::{Cursor, FeedRow, Inspect, ListedRow, PageRequest},
};
use sorted::Key;

/// Rows on a page when `--limit` does not say.
const DEFAULT_LIMIT: i64 = 50;
/// Rows read at once: no snapshot is held while a slow reader takes them.
const BATCH: i64 = 500;

/// Arguments of `list`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
To follow from another host: ssh HOST tresorpayd list --json --since LAST
LAST is 0 at first, then the `id` of the last line that was printed; no line: nothing new. Each line is one change of \
status (from_status, to_status) with its row as it is now (status, net_total, tresorpay_reference, payment_url, pay_date).
With --sort, rows are printed: of --since those that changed since, of --drift those that are otherwise at TresorPay. The \
next page: the same, with --after and the `id` of the last row. Pages by reference come out of an index, and so do pages by \
the last change; for the others each page looks at every row once.")]
pub(crate) struct ListArgs {
    /// Only rows in this status; with --since, only transitions to it
    #[arg(long, value_name = "STATUS", value_parser = status)]
    status: Option<Status>,
    /// The feed: every transition with a greater id, oldest first. Go on with the last `id` printed
    #[arg(long, value_name = "TRANSITION_ID", value_parser = clap::value_parser!(i64).range(0..))]
    since: Option<i64>,
    /// What reconciliation found changed at TresorPay: those transitions, then rows that are live or unknown there
    #[arg(long, conflicts_with = "before")]
    drift: bool,
    /// In the order of this column
    #[arg(long, value_name = "COLUMN", value_enum, conflicts_with = "before")]
    sort: Option<Key>,
    /// The other way round; without --sort, the oldest first
    #[arg(long, conflicts_with = "before")]
    reverse: bool,
    /// At most so many [default: 50 rows; with --since all]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(1..))]
    limit: Option<i64>,
    /// The page after: rows with a smaller id, newest first
    #[arg(long, value_name = "ID", conflicts_with_all = ["since", "after"])]
    before: Option<i64>,
    /// Rows with a greater id, oldest first; with --sort, rows that come after that one
    #[arg(long, value_name = "ID")]
    after: Option<i64>,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

/// A status in capitals or not.
pub(super) fn status(text: &str) -> Result<Status, String> {
    text.to_ascii_uppercase()
        .parse()
        .map_err(|_| format!("the statuses are {}", Status::ALL.map(Status::as_str).join(", ")))
}

pub(super) fn run(sources: &Sources, args: &ListArgs) -> Result<ExitCode, Failure> {
    if args.sort.is_none() && (args.since.is_some() || args.drift) && (args.after.is_some() || args.reverse) {
        usage("--after and --reverse order rows: beside --since and --drift they need --sort");
    }
    let settings = database_settings(sources)?;
    runtime()?.block_on(async {
        let inspect = Inspect::open(&settings.database.path).await.map_err(anyhow::Error::new)?;
        let mut output = Output::stdout();
        let flagged_since = Timestamp::now().before(settings.reconcile.window);
        if let Some(key) = args.sort {
            if let Some(last) = sorted::page(&inspect, args, key, flagged_since, &mut output).await? {
                hint(args, "after", last, &mut output)?;
            }
            return output.finish();
        }
        match args.since {
            None if !args.drift => pages(&inspect, args, &mut output).await?,
            since => feed(&inspect, args, since.unwrap_or_default(), &mut output).await?,
        }
        if args.drift && args.since.is_none() {
            flagged(&inspect, args, flagged_since, &mut output).await?;
        }
        output.finish()
    })?;
    Ok(ExitCode::SUCCESS)
}

/// Arguments that mean nothing together.
fn usage(why: &str) -> ! {
    clap::Error::raw(clap::error::ErrorKind::ArgumentConflict, format!("{why}\n")).exit()
}

async fn pages(inspect: &Inspect, args: &ListArgs, output: &mut Output) -> Result<(), Failure> {
    let mut left = args.limit.unwrap_or(DEFAULT_LIMIT);
    let oldest_first = args.after.or(args.reverse.then_some(i64::MIN));
    let mut from = oldest_first.map_or(Cursor::Before(args.before.unwrap_or(i64::MAX)), Cursor::After);
    let mut first = true;
    while left > 0 && !output.is_closed() {
        let limit = left.min(BATCH);
        let request = PageRequest { status: args.status, from, limit };
        let rows = inspect.page(request).await.map_err(anyhow::Error::new)?;
        print_rows(&rows, args, first, output)?;
        let read = i64::try_from(rows.len()).unwrap_or(i64::MAX);
        let Some(last) = rows.last().filter(|_| read == limit) else { return Ok(()) };
        from = match from {
            Cursor::Before(_) => Cursor::Before(last.id),
            Cursor::After(_) => Cursor::After(last.id),
        };
        left -= read;
        first = false;
    }
    match from {
        Cursor::Before(id) => hint(args, "before", id, output),
        Cursor::After(id) => hint(args, "after", id, output),
    }
}

/// How to see the rest; for a person only.
fn hint(args: &ListArgs, way: &str, last: i64, output: &mut Output) -> Result<(), Failure> {
    if args.json || !output.is_terminal() {
        return Ok(());
    }
    let with = |name: &str, value: Option<String>| value.map(|value| format!(" --{name} {value}"));
    let words = [
        with("status", args.status.map(|status| status.to_string())),
        with("since", args.since.map(|since| since.to_string())),
        args.drift.then(|| " --drift".to_owned()),
        with("sort", args.sort.map(|key| key.as_str().to_owned())),
        args.sort.filter(|_| args.reverse).map(|_| " --reverse".to_owned()),
        with("limit", args.limit.map(|limit| limit.to_string())),
    ];
    let words: String = words.into_iter().flatten().collect();
    output.line(format!("\nmore: tresorpayd list{words} --{way} {last}"))
}

fn print_rows(rows: &[ListedRow], args: &ListArgs, first: bool, output: &mut Output) -> Result<(), Failure> {
    if args.json {
        return rows.iter().try_for_each(|row| output.json(row));
    }
    let updated = args.sort == Some(Key::Updated);
    let at = if updated { "UPDATED (UTC)" } else { "CREATED (UTC)" };
    let header = ["STATUS", "REFERENCE", "XOF", "TRESORPAY", at];
    let cells: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            let updated = row.updated_at.as_deref().filter(|_| updated);
            vec![
                row.status.clone(),
                row.reference.clone(),
                Amount(row.net_total).to_string(),
                row.tresorpay_reference.clone().unwrap_or_default(),
                short_time(updated.unwrap_or(&row.created_at)),
            ]
        })
        .collect();
    print_table(&header, &[2], &cells, first, output)
}

async fn feed(inspect: &Inspect, args: &ListArgs, since: i64, output: &mut Output) -> Result<(), Failure> {
    let (mut after, mut left, mut first) = (since, args.limit.unwrap_or(i64::MAX), true);
    while left > 0 && !output.is_closed() {
        let limit = left.min(BATCH);
        let rows = if args.drift {
            inspect.drift(after, args.status, limit).await
        } else {
            inspect.feed(after, args.status, limit).await
        }
        .map_err(anyhow::Error::new)?;
        print_feed(&rows, args, first, output)?;
        let read = i64::try_from(rows.len()).unwrap_or(i64::MAX);
        let Some(last) = rows.last().filter(|_| read == limit) else { return Ok(()) };
        after = last.id;
        left -= read;
        first = false;
    }
    Ok(())
}

/// Rows that reconciliation could only flag, with what `last_error` says of them.
async fn flagged(
    inspect: &Inspect,
    args: &ListArgs,
    since: Timestamp,
    output: &mut Output,
) -> Result<(), Failure> {
    let mut rows = inspect.flagged(since).await.map_err(anyhow::Error::new)?;
    rows.retain(|row| args.status.is_none_or(|status| row.status == status.as_str()));
    if args.json {
        return rows.iter().try_for_each(|row| output.json(row));
    }
    if rows.is_empty() {
        return Ok(());
    }
    output.line("")?;
    let cells: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            let error = row.last_error.as_deref().map(printable).unwrap_or_default();
            vec![row.status.clone(), row.reference.clone(), Amount(row.net_total).to_string(), error]
        })
        .collect();
    output.table(&["STATUS", "REFERENCE", "XOF", "OTHERWISE AT TRESORPAY"], &[2], &cells)
}

fn print_feed(rows: &[FeedRow], args: &ListArgs, first: bool, output: &mut Output) -> Result<(), Failure> {
    if args.json {
        return rows.iter().try_for_each(|row| output.json(row));
    }
    let what = if args.drift { "WHY" } else { "SOURCE" };
    let header = ["STATUS", "ID", "AT (UTC)", "REFERENCE", "XOF", what, "FROM"];
    let cells: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            vec![
                row.to_status.clone(),
                row.id.to_string(),
                time(&row.at),
                row.reference.clone().unwrap_or_else(|| format!("(deleted row {})", row.outbox_id)),
                row.net_total.map(|total| Amount(total).to_string()).unwrap_or_default(),
                if args.drift {
                    row.reason.as_deref().map(printable).unwrap_or_default()
                } else {
                    row.source.clone()
                },
                row.from_status.clone().unwrap_or_default(),
            ]
        })
        .collect();
    print_table(&header, &[1, 4], &cells, first, output)
}

/// A table with its header; of a later batch the rows only.
fn print_table(
    header: &[&str],
    right: &[usize],
    cells: &[Vec<String>],
    first: bool,
    output: &mut Output,
) -> Result<(), Failure> {
    match (first, cells.is_empty()) {
        (true, _) => output.table(header, right, cells),
        (false, false) => output.table(&[], right, cells),
        (false, true) => Ok(()),
    }
}

/// To the minute: enough to find a row by, and the table stays within 80 columns.
fn short_time(text: &str) -> String {
    time(text).chars().take("2026-11-24 09:48".len()).collect()
}
