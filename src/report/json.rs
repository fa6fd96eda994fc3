//! One JSON document for programs: the same in every language, all amounts whole XOF.

use chrono::{DateTime, NaiveDate, SecondsFormat, Utc};
use serde::Serialize;

use super::{Balance, By, Correction, Entry, Figures, Report, ReportError, Sum};

#[derive(Serialize)]
struct Document<'a> {
    environment: &'a str,
    from: NaiveDate,
    to: NaiveDate,
    closed: bool,
    closes_at: String,
    provisional_at: Option<String>,
    balance_on: NaiveDate,
    opening: &'a Balance,
    total: &'a Figures,
    withdrawn: Sum,
    #[serde(skip_serializing_if = "Option::is_none")]
    by_day: Option<Vec<Row<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    by_provider: Option<Vec<Row<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    by_nature: Option<Vec<Row<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    by_structure: Option<Vec<Row<'a>>>,
    ageing: Vec<Aged>,
    drift: Vec<Drift>,
    corrections: &'a [Correction],
    corrections_left_out: u64,
}

#[derive(Serialize)]
struct Row<'a> {
    /// `None`: no such code.
    key: Option<&'a str>,
    #[serde(flatten)]
    figures: &'a Figures,
}

#[derive(Serialize)]
struct Aged {
    from_days: i64,
    to_days: Option<i64>,
    #[serde(flatten)]
    sum: Sum,
}

#[derive(Serialize)]
struct Drift {
    kind: super::CorrectionKind,
    #[serde(flatten)]
    sum: Sum,
}

/// The document on one line, without a line end.
pub(super) fn render(report: &Report, by: &[By]) -> Result<String, ReportError> {
    let table = |wanted: By| by.contains(&wanted).then(|| report.table(wanted).iter().map(row).collect());
    let ageing =
        report.ageing.iter().map(|(age, sum)| Aged { from_days: age.from, to_days: age.to, sum: *sum });
    let document = Document {
        environment: &report.environment,
        from: report.period.from(),
        to: report.period.to(),
        closed: report.provisional_at.is_none(),
        closes_at: time(report.period.closes()),
        provisional_at: report.provisional_at.map(time),
        balance_on: report.balance_on,
        opening: &report.opening,
        total: &report.total,
        withdrawn: report.withdrawn,
        by_day: table(By::Day),
        by_provider: table(By::Provider),
        by_nature: table(By::Nature),
        by_structure: table(By::Structure),
        ageing: ageing.collect(),
        drift: report.drift.iter().map(|(kind, sum)| Drift { kind: *kind, sum: *sum }).collect(),
        corrections: &report.corrections,
        corrections_left_out: report.corrections_left_out,
    };
    Ok(serde_json::to_string(&document)?)
}

fn row(entry: &Entry) -> Row<'_> {
    Row { key: (!entry.key.is_empty()).then_some(&entry.key), figures: &entry.figures }
}

fn time(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Millis, true)
}
