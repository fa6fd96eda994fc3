//! `tresorpayd adopt`: takes over notices that an older system emitted. It looks first, at the file, the database and
//! TresorPay, and changes nothing unless `--yes` says so.

use std::{collections::HashSet, path::PathBuf, process::ExitCode, time::Duration};

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use crate::{
    adopt::{
        Bad, Entry,
        ask::{AskError, Platform},
        file,
    },
    app::binding,
    cli::{
        Failure, file_name,
        match_::separator,
        output::{Output, Tone, counted, printable},
        runtime, store_failure,
    },
    clock::Timestamp,
    emit::payment_url,
    notice::{Amount, RemoteStatus, Status},
    settings::{Settings, Sources},
    statement::{Encoding, Given},
    store::{AdoptError, Adoptee, Adopter, Known, Rules, inspect::Inspect},
    tresorpay::StatusReport,
};

/// Rows of one commit: few enough to keep a daemon's own commits waiting for a moment only.
const BATCH: usize = 200;
/// Bad lines that are named; the rest is counted.
const MAX_NAMED: usize = 100;

/// Arguments of `adopt`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Columns: reference (the application's own), tresorpay_reference, net_total; the payer as tax_payer (JSON) or name, \
first_name, company, nif, phone, email, address, payer_id; the items as items (JSON) or item, description, nature \
(codeNatureRecette); code_client, code_structure, emitted_at, callback. JSON: one object or an array, fields named as the \
columns of outbox, and tresorpay_reference and emitted_at.

Without --yes it only says what it would do. An adopted notice is never emitted; it is polled from then on. The same file \
may be adopted again: what is there already is passed over. A daemon may run meanwhile.

Exit status: 0 all of it is adopted, or would be; 1 not, or a line is bad (without --skip-bad); 78 bad configuration.")]
pub(crate) struct AdoptArgs {
    /// The notices: CSV or JSON; `-`: standard input
    #[arg(value_name = "FILE|-")]
    input: PathBuf,
    /// Adopt them
    #[arg(long)]
    yes: bool,
    /// Adopt the others although there are bad lines
    #[arg(long)]
    skip_bad: bool,
    /// Which columns of a CSV: their names, or places from 1 [default: guessed from the header]
    #[arg(long, value_name = "reference=...,tresorpay_reference=...,...")]
    columns: Option<Given>,
    /// What stands between two columns: one character, or `tab` [default: found out]
    #[arg(long, value_name = "CHARACTER", value_parser = separator)]
    separator: Option<u8>,
    /// How the file writes its characters, such as windows-1252 [default: found out]
    #[arg(long, value_name = "NAME", value_parser = super::match_::encoding)]
    encoding: Option<Encoding>,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

/// What was found, and what was done.
#[derive(Default)]
struct Plan {
    understood: String,
    /// To be adopted.
    adoptees: Vec<Adoptee>,
    already_there: usize,
    /// In the file's order.
    bad: Vec<Bad>,
    /// `None`: nothing was to be done.
    adopted: Option<usize>,
    /// A daemon works on the database.
    daemon: bool,
}

pub(super) fn run(sources: &Sources, args: &AdoptArgs) -> Result<ExitCode, Failure> {
    let settings = Settings::load(sources)?;
    let given = args.columns.clone().unwrap_or_default();
    let content = file::read(&args.input, &given, args.encoding, args.separator)
        .map_err(|error| anyhow::Error::new(error).context(file_name(&args.input)))?;
    let mut plan = runtime()?.block_on(async {
        let mut plan = look(&settings, content).await?;
        if args.yes && (plan.bad.is_empty() || args.skip_bad) {
            write(&settings, &mut plan).await?;
        }
        Ok::<_, Failure>(plan)
    })?;
    plan.bad.sort_by_key(|bad| bad.line);
    let mut output = Output::stdout();
    if args.json {
        output.json(&document(&plan))?;
    } else {
        tell(&plan, args, &mut output)?;
    }
    output.finish()?;
    let well = plan.bad.is_empty() || args.skip_bad;
    Ok(if well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Everything that can be known before anything is changed.
async fn look(settings: &Settings, content: file::Content) -> Result<Plan, Failure> {
    let mut plan = Plan { understood: content.understood, bad: content.bad, ..Plan::default() };
    let inspect = Inspect::open(&settings.database.path).await.map_err(store_failure)?;
    inspect.belongs_to(&binding(settings)).await.map_err(store_failure)?;
    let allowed = keep_rules(content.entries, &mut plan).await?;
    let mut new = Vec::with_capacity(allowed.len());
    for entries in allowed.chunks(BATCH) {
        let wanted: Vec<_> =
            entries.iter().map(|entry| (entry.reference(), entry.notice.as_str(), entry.amount())).collect();
        let known = inspect.adoptable(&wanted).await.map_err(store_failure)?;
        for (entry, known) in entries.iter().zip(known) {
            match known {
                Known::New => new.push(entry.clone()),
                Known::AlreadyThere => plan.already_there += 1,
                Known::Refused(why) => plan.bad.push(Bad::of(entry, "reference", why)),
            }
        }
    }
    ask(settings, new, &mut plan).await?;
    Ok(plan)
}

/// The entries that the schema would take.
async fn keep_rules(entries: Vec<Entry>, plan: &mut Plan) -> Result<Vec<Entry>, Failure> {
    let mut rules = Rules::open().await.map_err(store_failure)?;
    let mut allowed = Vec::with_capacity(entries.len());
    for entry in entries {
        match rules.broken(&entry.row).await.map_err(store_failure)? {
            None => allowed.push(entry),
            Some(rule) => {
                // `outbox: COLUMN must …`
                let said = rule.strip_prefix("outbox: ").unwrap_or(&rule);
                let column = said.split(' ').next().unwrap_or_default();
                plan.bad.push(Bad::of(&entry, column, said));
            }
        }
    }
    Ok(allowed)
}

async fn ask(settings: &Settings, entries: Vec<Entry>, plan: &mut Plan) -> Result<(), Failure> {
    if entries.is_empty() {
        return Ok(());
    }
    let failed = |error: AskError| Failure::Other(error.into());
    let platform = Platform::new(settings).map_err(failed)?;
    let notices: Vec<_> = entries.iter().map(|entry| entry.notice.clone()).collect();
    let bar = progress("TresorPay is asked", entries.len());
    let told = platform.statuses(&notices, |done| bar.set_position(done as u64)).await;
    bar.finish_and_clear();
    let at = Timestamp::now();
    let next_poll = at.after(settings.poll.first_delay);
    for (entry, told) in entries.into_iter().zip(told.map_err(failed)?) {
        match told {
            Ok(report) => match adoptee(settings, &entry, report, next_poll) {
                Ok(adoptee) => plan.adoptees.push(adoptee),
                Err(why) => plan.bad.push(Bad::of(&entry, "net_total", why)),
            },
            Err(why) => {
                let why = format!("TresorPay does not know the notice {} ({why})", entry.notice);
                plan.bad.push(Bad::of(&entry, "tresorpay_reference", why));
            }
        }
    }
    Ok(())
}

/// The row as it is to be; why not, if TresorPay says another amount.
fn adoptee(
    settings: &Settings,
    entry: &Entry,
    report: StatusReport,
    next_poll: Timestamp,
) -> Result<Adoptee, String> {
    if let Some(amount) = report.amount.filter(|amount| amount.0 != entry.amount()) {
        return Err(format!("TresorPay says {} XOF, the file {}", amount.0, entry.amount()));
    }
    let status = match report.status {
        // A word that nobody knows is told by polling.
        RemoteStatus::Live | RemoteStatus::Unknown(_) => Status::Emitted,
        RemoteStatus::Paid => Status::Paid,
        RemoteStatus::Canceled => Status::Canceled,
    };
    Ok(Adoptee {
        row: entry.row.clone(),
        notice: entry.notice.clone(),
        payment_url: payment_url(&settings.api.payment_page, entry.notice.as_str()),
        emitted_at: entry.emitted_at,
        status,
        provider: report.provider,
        pay_date: report.pay_date,
        next_poll,
    })
}

/// Adopts, a batch a commit. What is committed stays, whatever happens then: the same file goes on from there.
async fn write(settings: &Settings, plan: &mut Plan) -> Result<(), Failure> {
    plan.adopted = Some(0);
    if plan.adoptees.is_empty() {
        return Ok(());
    }
    let database = &settings.database;
    let opened = Adopter::open(&database.path, &database.mark, &binding(settings)).await;
    let mut adopter = opened.map_err(store_failure)?;
    plan.daemon = adopter.has_daemon();
    let bar = progress("adopted", plan.adoptees.len());
    let mut done = 0;
    for batch in plan.adoptees.chunks(BATCH) {
        match adopter.adopt(batch, Timestamp::now()).await {
            Ok(number) => done += number,
            Err(error) => {
                bar.finish_and_clear();
                return Err(stopped(error, batch, done));
            }
        }
        bar.inc(batch.len() as u64);
    }
    bar.finish_and_clear();
    adopter.close().await.map_err(store_failure)?;
    plan.already_there += plan.adoptees.len() - done;
    plan.adopted = Some(done);
    Ok(())
}

fn stopped(error: AdoptError, batch: &[Adoptee], adopted: usize) -> Failure {
    let so_far = format!("{adopted} adopted, then stopped; run it again to go on");
    match error {
        AdoptError::Store(error) => match store_failure(error) {
            Failure::Configuration(error) => Failure::Configuration(error.context(so_far)),
            Failure::Other(error) => Failure::Other(error.context(so_far)),
        },
        AdoptError::Refused { place, why } => {
            let reference = batch.get(place).and_then(|adoptee| adoptee.row.reference.as_deref());
            Failure::Other(anyhow::anyhow!("{so_far}: {}: {why}", reference.unwrap_or_default()))
        }
    }
}

/// A bar on a terminal; nothing elsewhere.
fn progress(what: &'static str, length: usize) -> ProgressBar {
    let bar = ProgressBar::new(length as u64).with_message(what);
    if let Ok(style) = ProgressStyle::with_template("{msg} {wide_bar} {pos} of {len}, {eta} left") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(250));
    bar
}

/// Number and amount of those in this status.
fn sum(plan: &Plan, status: Status) -> (usize, i128) {
    let those = plan.adoptees.iter().filter(|adoptee| adoptee.status == status);
    those.fold((0, 0), |(count, sum), adoptee| {
        (count + 1, sum + i128::from(adoptee.row.net_total.unwrap_or_default()))
    })
}

const STATUSES: [Status; 3] = [Status::Emitted, Status::Paid, Status::Canceled];

fn document(plan: &Plan) -> Value {
    let statuses: serde_json::Map<String, Value> = STATUSES
        .iter()
        .map(|status| {
            let (count, amount) = sum(plan, *status);
            let amount = i64::try_from(amount).map_or_else(|_| amount.to_string().into(), Value::from);
            (status.as_str().to_owned(), json!({ "count": count, "amount": amount }))
        })
        .collect();
    let bad = |bad: &Bad| json!({ "line": bad.line, "column": bad.column, "why": bad.why });
    json!({
        "dry_run": plan.adopted.is_none(),
        "understood": plan.understood,
        "found": plan.adoptees.len(),
        "adopted": plan.adopted.unwrap_or_default(),
        "already_there": plan.already_there,
        "statuses": statuses,
        "bad": plan.bad.iter().map(bad).collect::<Vec<_>>(),
    })
}

fn tell(plan: &Plan, args: &AdoptArgs, output: &mut Output) -> Result<(), Failure> {
    output.line(printable(&plan.understood))?;
    output.line("")?;
    let amount = |amount: i128| {
        i64::try_from(amount).map_or_else(|_| amount.to_string(), |xof| Amount(xof).to_string())
    };
    let mut rows: Vec<Vec<String>> = STATUSES
        .iter()
        .map(|status| (status, sum(plan, *status)))
        .map(|(status, (count, xof))| vec![status.to_string(), count.to_string(), amount(xof)])
        .collect();
    rows.push(vec!["already here".to_owned(), plan.already_there.to_string(), String::new()]);
    let lines: HashSet<u64> = plan.bad.iter().map(|bad| bad.line).collect();
    rows.push(vec!["bad lines".to_owned(), lines.len().to_string(), String::new()]);
    output.table(&["", "NOTICES", "XOF"], &[1, 2], &rows)?;
    if !plan.bad.is_empty() {
        output.line("")?;
    }
    for bad in plan.bad.iter().take(MAX_NAMED) {
        output.line(output.paint(&printable(&bad.to_string()), Tone::Bad))?;
    }
    if plan.bad.len() > MAX_NAMED {
        output.line(format!("and {} more: --json names them all", plan.bad.len() - MAX_NAMED))?;
    }
    output.line("")?;
    let found = i64::try_from(plan.adoptees.len()).unwrap_or(i64::MAX);
    match plan.adopted {
        Some(adopted) => {
            let adopted = counted(i64::try_from(adopted).unwrap_or(i64::MAX), "notice was", "notices were");
            let then = if plan.daemon { "the daemon follows them" } else { "the daemon follows them from its next start on" };
            output.line(format!("{adopted} adopted; {then}."))
        }
        None if !plan.bad.is_empty() && !args.skip_bad => output.line(
            "Nothing was changed, because of the bad lines. Correct them, or adopt the others: --skip-bad --yes",
        ),
        None => {
            let would = counted(found, "notice", "notices");
            output.line(format!("Nothing was changed: {would} would be adopted. To do it: --yes"))
        }
    }
}
