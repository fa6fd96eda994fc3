//! The comparison as one page of HTML: nothing is fetched from anywhere, and it prints on A4, in black and white too.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::{Report, Step, words};
use crate::{
    lang::Lang,
    statement::compare::{Finding, Kind},
};

/// Differences of one kind on the page; the CSV has all.
const MAX_ROWS: usize = 2_000;

const STYLE: &str = include_str!("page.css");

/// The page.
pub fn page(lang: Lang, report: &Report<'_>) -> String {
    let agrees = report.result.agrees();
    let title = lang.pick("Statement and outbox compared", "État de rapprochement");
    let subtitle = lang.pick(
        "The Treasury's statement against the notices in the outbox",
        "Relevé du Trésor et avis de recette enregistrés",
    );
    html! {
        (DOCTYPE)
        html lang=(lang.tag()) {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) " – " (report.file) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                header {
                    h1 { (title) }
                    p.subtitle {
                        (subtitle)
                        @if let Some(period) = report.result.period { ", " (words::period(lang, period)) }
                    }
                }
                p.verdict.good[agrees].bad[!agrees] {
                    span.sign aria-hidden="true" { @if agrees { "✓" } @else { "✗" } }
                    (report.verdict(lang))
                }
                div.columns {
                    (counts(lang, report))
                    (bridge(lang, report))
                }
                @for (kind, count) in report.kinds() { (section(lang, report, kind, count)) }
                section.understood {
                    h2 { (lang.pick("What was understood of the statement", "Lecture du relevé")) }
                    dl {
                        @for (name, value) in report.understanding(lang) { dt { (name) } dd { (value) } }
                    }
                }
                div.visas {
                    div { (lang.pick("Drawn up by", "Établi par")) }
                    div { (lang.pick("Checked by", "Vérifié par")) }
                }
                footer {
                    (lang.pick("Made by tresorpayd on ", "Établi par tresorpayd le ")) (lang.moment(report.at))
                    " · " (lang.pick("environment: ", "environnement : ")) (report.environment)
                    br;
                    "SHA-256 " (lang.pick("of the statement: ", "du relevé : "))
                    span.digest { (report.understood.digest) }
                }
            }
        }
    }
    .into_string()
}

fn counts(lang: Lang, report: &Report<'_>) -> Markup {
    let matched = report.matched();
    html! {
        section {
            h2 { (lang.pick("Findings", "Constat")) }
            table {
                thead { tr {
                    th { }
                    th.number { (lang.pick("Number", "Nombre")) }
                } }
                tbody {
                    tr { td { (lang.pick("Lines that agree", "Lignes concordantes")) } td.number { (lang.number(matched.count)) } }
                    @for kind in Kind::ALL {
                        @let count = report.result.count(kind);
                        tr.none[count == 0] { td { (kind.title(lang)) } td.number { (lang.number(count)) } }
                    }
                }
            }
        }
    }
}

fn bridge(lang: Lang, report: &Report<'_>) -> Markup {
    let row = |step: &Step| {
        html! {
            tr.sum[step.is_sum] {
                td { @if !step.is_sum { (if step.amount < 0 { "− " } else { "+ " }) } (step.label) }
                td.number { (lang.number(step.count)) }
                td.number { (lang.number(step.amount)) }
            }
        }
    };
    html! {
        section {
            h2 { (lang.pick("From the outbox to the statement", "De la base au relevé")) }
            table {
                thead { tr {
                    th { }
                    th.number { (lang.pick("Number", "Nombre")) }
                    th.number { (lang.pick("XOF", "FCFA")) }
                } }
                tbody { @for step in &report.bridge(lang) { (row(step)) } }
            }
        }
    }
}

fn section(lang: Lang, report: &Report<'_>, kind: Kind, count: u64) -> Markup {
    let rows: Vec<&Finding> = report.findings(kind).take(MAX_ROWS).collect();
    let left = count - rows.len() as u64;
    let columns = columns(kind);
    html! {
        section.findings {
            h2 { (kind.title(lang)) " " span.count { (lang.number(count)) } }
            p.meaning { (kind.meaning(lang)) }
            table {
                thead { tr { @for column in columns { th.number[column.is_number()].line[column == &Column::Line] { (column.title(lang)) } } } }
                tbody {
                    @for finding in rows {
                        tr { @for column in columns {
                            td.number[column.is_number()].reference[column.is_reference()].line[column == &Column::Line] { (column.cell(lang, finding)) }
                        } }
                    }
                }
            }
            @if left > 0 {
                p.meaning {
                    (lang.number(left)) " "
                    (lang.pick("more are not shown here: --format csv has them.", "autres ne figurent pas ici : voir --format csv."))
                }
            }
        }
    }
}

/// A column of a table of differences.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Column {
    Line,
    Reference,
    Own,
    Status,
    There,
    Here,
    Difference,
    DateThere,
    DateHere,
    Detail,
}

const fn columns(kind: Kind) -> &'static [Column] {
    use Column::{DateHere, DateThere, Detail, Difference, Here, Line, Own, Reference, Status, There};
    match kind {
        Kind::MissingHere => &[Line, Reference, DateThere, There],
        Kind::MissingThere => &[Reference, Own, DateHere, Here],
        Kind::NotPaidHere => &[Line, Reference, Own, Status, DateThere, There],
        Kind::AmountDiffers => &[Line, Reference, Own, There, Here, Difference],
        Kind::DateDiffers => &[Line, Reference, Own, DateThere, DateHere, There],
        Kind::Duplicate => &[Line, Reference, Own, Detail, DateThere, There],
        Kind::Unreadable => &[Line, Reference, Detail],
        Kind::TotalDiffers => &[Line, There],
    }
}

impl Column {
    const fn title(self, lang: Lang) -> &'static str {
        match self {
            Self::Line => lang.pick("Line", "Ligne"),
            Self::Reference => lang.pick("Reference", "Référence"),
            Self::Own => lang.pick("Application's own", "Référence de l'application"),
            Self::Status => lang.pick("Status here", "Statut"),
            Self::There => lang.pick("Statement, XOF", "Relevé, FCFA"),
            Self::Here => lang.pick("Outbox, XOF", "Base, FCFA"),
            Self::Difference => lang.pick("Difference", "Écart"),
            Self::DateThere => lang.pick("Date in statement", "Date au relevé"),
            Self::DateHere => lang.pick("Paid, outbox", "Payé, base"),
            Self::Detail => lang.pick("Detail", "Précision"),
        }
    }

    const fn is_number(self) -> bool {
        matches!(self, Self::There | Self::Here | Self::Difference)
    }

    const fn is_reference(self) -> bool {
        matches!(self, Self::Reference | Self::Own)
    }

    fn cell(self, lang: Lang, finding: &Finding) -> String {
        let row = finding.row.as_ref();
        let text = match self {
            Self::Line => finding.line.map(|line| lang.number(line)),
            Self::Reference => Some(finding.name().to_owned()),
            Self::Own => Some(finding.own_reference().to_owned()),
            Self::Status => row.map(|row| row.status.to_string()),
            Self::There => finding.amount.map(|amount| lang.number(amount)),
            Self::Here => row.map(|row| lang.number(row.net_total)),
            Self::Difference => {
                finding.amount.zip(row).map(|(amount, row)| signed(lang, amount - row.net_total))
            }
            Self::DateThere => finding.date.map(|date| lang.date(date)),
            Self::DateHere => row.and_then(|row| row.paid_on).map(|date| lang.date(date)),
            Self::Detail => Some(finding.detail(lang)),
        };
        text.unwrap_or_default()
    }
}

fn signed(lang: Lang, number: i64) -> String {
    if number > 0 { format!("+{}", lang.number(number)) } else { lang.number(number) }
}
