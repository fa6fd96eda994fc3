//! The report for a terminal: figures, tables, ages, corrections.

use std::fmt::Write as _;

use comfy_table::{CellAlignment, Table, presets};

use super::{By, Entry, Figures, Report, Sum, words};
use crate::lang::Lang;

/// The figures that a table shows: who took a payment says nothing of what is not paid.
pub(super) fn columns(by: By, figures: &Figures) -> Vec<(&'static str, Sum)> {
    let of_payments = |name: &str| matches!(name, "paid" | "corrections" | "revenue");
    figures.all().into_iter().filter(|(name, _)| by != By::Provider || of_payments(name)).collect()
}

/// The rows that have something to show.
pub(super) fn rows(report: &Report, by: By) -> impl Iterator<Item = &Entry> {
    let shows = move |entry: &&Entry| columns(by, &entry.figures).iter().any(|(_, sum)| !sum.is_zero());
    report.table(by).iter().filter(shows)
}

pub(super) fn render(report: &Report, by: &[By], lang: Lang) -> String {
    let mut text = String::new();
    let head =
        [words::title(lang).to_owned(), words::period(report.period, lang), words::standing(report, lang)];
    for line in head.into_iter().chain(words::not_production(&report.environment, lang)) {
        let _ = writeln!(text, "{line}");
    }
    totals(&mut text, report, lang);
    for by in by {
        breakdown(&mut text, report, *by, lang);
    }
    ageing(&mut text, report, lang);
    corrections(&mut text, report, lang);
    text
}

fn totals(text: &mut String, report: &Report, lang: Lang) {
    let mut lines: Vec<Vec<String>> = Vec::new();
    let mut line = |name: &str, sum: Sum, note: &str| {
        lines.push(vec![name.to_owned(), lang.number(sum.count), lang.amount(sum.amount), note.to_owned()]);
    };
    let opening = lang.pick("Outstanding before", "Reste à recouvrer antérieur");
    line(opening, report.opening.outstanding, "");
    for (name, sum) in report.total.all() {
        line(words::figure(name, lang), sum, words::explained(name, lang));
    }
    if !report.withdrawn.is_zero() {
        let note =
            lang.pick("before emission; in no other figure", "avant émission ; dans aucun autre chiffre");
        line(lang.pick("Withdrawn", "Retiré"), report.withdrawn, note);
    }
    let header =
        [lang.pick("TOTAL", "TOTAL"), lang.pick("NOTICES", "AVIS"), lang.pick("AMOUNT", "MONTANT"), ""];
    table(text, &header, &[1, 2], lines);
}

fn breakdown(text: &mut String, report: &Report, by: By, lang: Lang) {
    let mut header = vec![words::key_heading(by, lang).to_uppercase()];
    header
        .extend(columns(by, &report.total).iter().map(|(name, _)| words::figure(name, lang).to_uppercase()));
    let lines: Vec<Vec<String>> = rows(report, by)
        .map(|entry| {
            let sums = columns(by, &entry.figures).into_iter().map(|(_, sum)| cell(sum, lang));
            [words::key(by, &entry.key, lang)].into_iter().chain(sums).collect()
        })
        .collect();
    let right: Vec<usize> = (1..header.len()).collect();
    let header: Vec<&str> = header.iter().map(String::as_str).collect();
    table(text, &header, &right, lines);
}

fn cell(sum: Sum, lang: Lang) -> String {
    if sum.is_zero() {
        return lang.pick("-", "-").to_owned();
    }
    format!("{} ({})", lang.number(sum.amount), lang.number(sum.count))
}

fn ageing(text: &mut String, report: &Report, lang: Lang) {
    let lines = report
        .ageing
        .iter()
        .map(|(age, sum)| vec![words::age(*age, lang), lang.number(sum.count), lang.amount(sum.amount)]);
    let heading = words::ageing(report, lang).to_uppercase();
    table(
        text,
        &[&heading, lang.pick("NOTICES", "AVIS"), lang.pick("AMOUNT", "MONTANT")],
        &[1, 2],
        lines.collect(),
    );
}

fn corrections(text: &mut String, report: &Report, lang: Lang) {
    if report.corrections.is_empty() {
        return;
    }
    let lines = report.corrections.iter().map(|correction| {
        vec![
            words::moment(correction.recorded_at, lang),
            words::printable(&correction.reference),
            words::correction(correction.kind, lang).to_owned(),
            lang.date(correction.concerns),
            words::key(By::Provider, &correction.provider, lang),
            lang.amount(correction.amount),
        ]
    });
    let header = [
        lang.pick("CORRECTION RECORDED", "CORRECTION CONSTATÉE"),
        lang.pick("REFERENCE", "RÉFÉRENCE"),
        lang.pick("WHY", "MOTIF"),
        lang.pick("PAYMENT OF", "PAIEMENT DU"),
        lang.pick("PROVIDER", "MOYEN"),
        lang.pick("AMOUNT", "MONTANT"),
    ];
    table(text, &header, &[5], lines.collect());
    if report.corrections_left_out > 0 {
        let left_out = lang.number(report.corrections_left_out);
        let _ = match lang {
            Lang::En => writeln!(text, "and {left_out} more, which are in the figures"),
            Lang::Fr => writeln!(text, "et {left_out} autres, compris dans les chiffres"),
        };
    }
}

fn table(text: &mut String, header: &[&str], right: &[usize], lines: Vec<Vec<String>>) {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(header.iter().copied());
    table.add_rows(lines);
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 2));
        if right.contains(&index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    text.push('\n');
    for line in table.lines() {
        text.push_str(line.trim_end());
        text.push('\n');
    }
}
