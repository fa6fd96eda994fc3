//! Every difference as CSV, one a line, for a spreadsheet. In French with semicolons and a byte-order mark, as French
//! spreadsheets want it.

use std::io::{self, Write};

use chrono::NaiveDate;
use csv::{Terminator, WriterBuilder};

use super::Report;
use crate::{lang::Lang, statement::compare::Finding};

/// What tells a spreadsheet that it is UTF-8.
const BYTE_ORDER_MARK: &str = "\u{feff}";

const HEADER_EN: [&str; 11] = [
    "kind",
    "line",
    "reference",
    "own_reference",
    "status",
    "statement_amount",
    "outbox_amount",
    "difference",
    "statement_date",
    "outbox_date",
    "detail",
];
const HEADER_FR: [&str; 11] = [
    "écart",
    "ligne",
    "référence",
    "référence_application",
    "statut",
    "montant_relevé",
    "montant_base",
    "différence",
    "date_relevé",
    "date_base",
    "précision",
];

/// Writes all differences; the header alone if there are none.
pub fn write(out: impl Write, lang: Lang, report: &Report<'_>) -> io::Result<()> {
    let mut out = io::BufWriter::new(out);
    if lang == Lang::Fr {
        out.write_all(BYTE_ORDER_MARK.as_bytes())?;
    }
    let mut csv =
        WriterBuilder::new().delimiter(lang.pick(b',', b';')).terminator(Terminator::CRLF).from_writer(out);
    csv.write_record(lang.pick(&HEADER_EN, &HEADER_FR))?;
    for finding in &report.result.findings {
        csv.write_record(cells(lang, finding))?;
    }
    csv.flush()
}

fn cells(lang: Lang, finding: &Finding) -> [String; 11] {
    let row = finding.row.as_ref();
    let number = |number: Option<i64>| number.map(|number| number.to_string()).unwrap_or_default();
    let date = |date: Option<NaiveDate>| match (date, lang) {
        (None, _) => String::new(),
        (Some(date), Lang::En) => date.to_string(),
        (Some(date), Lang::Fr) => lang.date(date),
    };
    let difference = finding.amount.zip(row.map(|row| row.net_total)).map(|(there, here)| there - here);
    [
        match lang {
            Lang::En => finding.kind.as_str().to_owned(),
            Lang::Fr => finding.kind.title(lang).to_owned(),
        },
        finding.line.map(|line| line.to_string()).unwrap_or_default(),
        tame(finding.name()),
        tame(finding.own_reference()),
        row.map(|row| row.status.to_string()).unwrap_or_default(),
        number(finding.amount),
        number(row.map(|row| row.net_total)),
        number(difference),
        date(finding.date),
        date(row.and_then(|row| row.paid_on)),
        tame(&finding.detail(lang)),
    ]
}

/// A spreadsheet would carry out what begins like a formula, and the text may come from far away.
fn tame(text: &str) -> String {
    if text.starts_with(['=', '+', '-', '@', '\t', '\r']) { format!("'{text}") } else { text.to_owned() }
}
