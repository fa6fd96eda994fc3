//! `tresorpayd show`: a notice's whole life in words. Personal data only where it is asked for.

mod outlook; // what the status means and what happens next

use std::process::ExitCode;

use serde::Serialize;
use serde_json::Value;

use crate::{
    cli::{
        Failure, database_settings,
        output::{Output, Tone, duration, printable, time},
        runtime, store_failure,
    },
    clock::Timestamp,
    notice::Amount,
    settings::Sources,
    store::inspect::{
        AttemptRow, CommandRow, Inspect, ListedRow, NoticeRecord, PersonalColumns, TransitionRow,
        daemon_state,
    },
};
use outlook::{Surroundings, meaning, next};

/// Width of the labels, with the blanks around them.
const LABEL: usize = 16;
/// Fields of an item that name no person.
const ITEM_NUMBERS: [&str; 3] = ["quantity", "unitPrice", "codeNatureRecette"];

/// Arguments of `show`.
#[derive(Debug, clap::Args)]
pub(crate) struct ShowArgs {
    /// The application's own reference
    reference: String,
    /// Also the taxpayer, the items' texts, the payment modes and the URLs
    #[arg(long)]
    personal: bool,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

pub(super) fn run(sources: &Sources, args: &ShowArgs) -> Result<ExitCode, Failure> {
    let settings = database_settings(sources)?;
    let path = &settings.database.path;
    let (record, paused) = runtime()?
        .block_on(async {
            let inspect = Inspect::open(path).await?;
            Ok((inspect.notice(&args.reference).await?, inspect.paused().await?.is_some()))
        })
        .map_err(store_failure)?;
    let Some(record) = record else {
        let reference = printable(&args.reference);
        return Err(anyhow::anyhow!("no row in {} has the reference `{reference}`", path.display()).into());
    };
    let daemon = daemon_state(path);
    let now = Timestamp::now();
    let next = next(&record, &Surroundings { daemon: &daemon, paused, now });
    let mut output = Output::stdout();
    if args.json {
        output.json(&document(&record, &next, args.personal)?)?;
    } else {
        print(&record, &next, args.personal, &mut output)?;
    }
    output.finish()?;
    Ok(ExitCode::SUCCESS)
}

/// The JSON form; personal fields are left out, not null, unless asked for.
#[derive(Serialize)]
struct Document<'a> {
    #[serde(flatten)]
    row: &'a ListedRow,
    next: &'a str,
    items: Value,
    #[serde(flatten)]
    personal: Option<PersonalDocument>,
    transitions: &'a [TransitionRow],
    attempts: &'a [AttemptRow],
    open_commands: &'a [CommandRow],
}

#[derive(Serialize)]
struct PersonalDocument {
    tax_payer: Value,
    authorized_payment_modes: Option<Value>,
    callback: Option<String>,
    redirect_url: Option<String>,
}

fn document<'a>(record: &'a NoticeRecord, next: &'a str, personal: bool) -> Result<Document<'a>, Failure> {
    let columns = &record.personal;
    Ok(Document {
        row: &record.row,
        next,
        items: items(columns, personal)?,
        personal: personal.then(|| personal_document(columns)).transpose()?,
        transitions: &record.transitions,
        attempts: &record.attempts,
        open_commands: &record.commands,
    })
}

fn personal_document(columns: &PersonalColumns) -> Result<PersonalDocument, Failure> {
    let modes = columns.authorized_payment_modes.as_deref();
    Ok(PersonalDocument {
        tax_payer: read("tax_payer", &columns.tax_payer)?,
        authorized_payment_modes: modes.map(|text| read("authorized_payment_modes", text)).transpose()?,
        callback: columns.callback.clone(),
        redirect_url: columns.redirect_url.clone(),
    })
}

/// The items; unless `personal`, without the texts that may name people.
fn items(columns: &PersonalColumns, personal: bool) -> Result<Value, Failure> {
    let mut items = read("items", &columns.items)?;
    if !personal && let Some(items) = items.as_array_mut() {
        for item in items.iter_mut().filter_map(Value::as_object_mut) {
            item.retain(|name, _| ITEM_NUMBERS.contains(&name.as_str()));
        }
    }
    Ok(items)
}

/// A JSON column; the error does not show it.
fn read(column: &str, text: &str) -> Result<Value, Failure> {
    serde_json::from_str(text)
        .map_err(|_| anyhow::anyhow!("outbox.{column} is not the JSON it must be").into())
}

fn print(record: &NoticeRecord, next: &str, personal: bool, output: &mut Output) -> Result<(), Failure> {
    let row = &record.row;
    output.line(output.paint_status(&format!("{} {}", row.status, printable(&row.reference))))?;
    let mut facts = vec![("meaning", meaning(&row.status).to_owned()), ("next", next.to_owned())];
    facts.extend(row_facts(row));
    facts.extend(item_facts(&items(&record.personal, personal)?));
    if personal {
        facts.extend(personal_facts(&personal_document(&record.personal)?));
    }
    for (label, text) in facts {
        output.line(format!("  {label:<LABEL$}{}", printable(&text)))?;
    }
    print_transitions(&record.transitions, output)?;
    print_attempts(&record.attempts, output)?;
    print_commands(&record.commands, output)
}

/// What the header says of the row; what is not there has no line.
fn row_facts(row: &ListedRow) -> Vec<(&'static str, String)> {
    let at = |text: &Option<String>| text.as_deref().map(|text| format!("{} UTC", time(text)));
    let payment = match (&row.provider, &row.pay_date) {
        (Some(provider), Some(date)) => Some(format!("{provider}, {date}")),
        (one, other) => one.clone().or_else(|| other.clone()),
    };
    let codes = match (&row.code_client, &row.code_structure) {
        (None, None) => None,
        (client, structure) => {
            let or_configured = |code: &Option<String>| code.clone().unwrap_or("(configured)".to_owned());
            Some(format!("{} in {}", or_configured(client), or_configured(structure)))
        }
    };
    let facts = [
        ("amount", Some(format!("{} XOF", Amount(row.net_total)))),
        ("TresorPay", row.tresorpay_reference.clone()),
        ("payment page", row.payment_url.clone()),
        ("payment", payment),
        ("codes", codes),
        ("priority", (row.priority != 0).then(|| row.priority.to_string())),
        ("replaces", row.replaces.clone()),
        ("created", at(&Some(row.created_at.clone()))),
        ("not before", at(&row.not_before)),
        ("emitted", at(&row.emitted_at)),
        ("paid", at(&row.paid_at)),
        ("canceled", at(&row.canceled_at)),
        ("delivery", at(&row.delivery_confirmed_at).map(|at| format!("confirmed {at}"))),
        ("receipt", row.receipt_path.clone()),
        ("anonymised", at(&row.anonymised_at)),
        ("attempts", (row.attempts != 0).then(|| format!("{} counted", row.attempts))),
        ("last error", row.last_error.clone()),
    ];
    facts.into_iter().filter_map(|(label, text)| Some((label, text?))).collect()
}

/// `2 × 500 = 1 000 XOF  71531`
fn item_facts(items: &Value) -> Vec<(&'static str, String)> {
    let line = |(place, item): (usize, &Value)| {
        let number = |name: &str| item.get(name).and_then(Value::as_i64).unwrap_or_default();
        let word = |name: &str| item.get(name).and_then(Value::as_str).map(|text| format!("  {text}"));
        let (quantity, price) = (number("quantity"), number("unitPrice"));
        let total = Amount(quantity.saturating_mul(price));
        let words =
            ["codeNatureRecette", "name", "description"].into_iter().filter_map(word).collect::<String>();
        (
            if place == 0 { "items" } else { "" },
            format!("{quantity} × {} = {total} XOF{words}", Amount(price)),
        )
    };
    items.as_array().into_iter().flatten().enumerate().map(line).collect()
}

fn personal_facts(personal: &PersonalDocument) -> Vec<(&'static str, String)> {
    let mut facts = Vec::new();
    let fields = personal.tax_payer.as_object();
    for (name, value) in fields.into_iter().flatten().filter(|(_, value)| !value.is_null()) {
        let label = if facts.is_empty() { "tax payer" } else { "" };
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        facts.push((label, format!("{name}: {value}")));
    }
    facts
        .extend(personal.authorized_payment_modes.as_ref().map(|modes| ("payment modes", modes.to_string())));
    facts.extend(personal.callback.clone().map(|url| ("callback", url)));
    facts.extend(personal.redirect_url.clone().map(|url| ("redirect URL", url)));
    facts
}

fn print_transitions(transitions: &[TransitionRow], output: &mut Output) -> Result<(), Failure> {
    heading("HISTORY", output)?;
    let rows: Vec<Vec<String>> = transitions
        .iter()
        .map(|row| {
            let reason = row.reason.clone().unwrap_or_default();
            vec![row.to_status.clone(), time(&row.at), row.source.clone(), reason]
        })
        .collect();
    output.table(&["STATUS", "AT (UTC)", "SOURCE", "REASON"], &[], &rows)
}

fn print_attempts(attempts: &[AttemptRow], output: &mut Output) -> Result<(), Failure> {
    if attempts.is_empty() {
        return Ok(());
    }
    heading("REQUESTS", output)?;
    let rows: Vec<Vec<String>> = attempts
        .iter()
        .map(|row| {
            let http = row.http_status.map_or_else(|| row.phase.clone(), |status| format!("HTTP {status}"));
            let took = row.duration_ms.and_then(|ms| u64::try_from(ms).ok()).map(milliseconds);
            let said = row.detail.clone().or_else(|| row.tresorpay_reference.clone()).unwrap_or_default();
            vec![
                time(&row.started_at),
                row.operation.clone(),
                http,
                row.outcome.clone().unwrap_or_else(|| "under way".to_owned()),
                took.unwrap_or_default(),
                said,
            ]
        })
        .collect();
    output.table(&["SENT (UTC)", "REQUEST", "ANSWER", "OUTCOME", "TOOK", "DETAIL"], &[4], &rows)
}

fn milliseconds(ms: u64) -> String {
    if ms < 10_000 { format!("{ms} ms") } else { duration(std::time::Duration::from_millis(ms)) }
}

fn print_commands(commands: &[CommandRow], output: &mut Output) -> Result<(), Failure> {
    if commands.is_empty() {
        return Ok(());
    }
    heading("OPEN COMMANDS", output)?;
    let rows: Vec<Vec<String>> = commands
        .iter()
        .map(|row| {
            let action = match &row.argument {
                Some(argument) => format!("{} {argument}", row.action),
                None => row.action.clone(),
            };
            let by = row.requested_by.clone().unwrap_or_default();
            let (why, detail) = (row.reason.clone(), row.detail.clone());
            vec![time(&row.requested_at), action, by, why.unwrap_or_default(), detail.unwrap_or_default()]
        })
        .collect();
    output.table(&["ASKED (UTC)", "COMMAND", "BY", "REASON", "DETAIL"], &[], &rows)
}

fn heading(text: &str, output: &mut Output) -> Result<(), Failure> {
    output.line("")?;
    output.line(output.paint(text, Tone::Heading))
}
