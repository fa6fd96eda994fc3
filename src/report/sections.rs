//! The parts of the page: figures, the balance, charts, tables.

use maud::{Markup, PreEscaped, html};

use super::{
    By, CorrectionKind, Entry, Report, ReportError, Sum,
    text::{columns, rows},
    words,
};
use crate::{
    chart::{Chart, Group, MAX_BARS},
    lang::Lang,
};

/// Days that are drawn one by one; of a longer period, months are.
const MAX_DAYS_DRAWN: i64 = 62;

/// The figures of the whole period.
pub(super) fn figures(report: &Report, lang: Lang) -> Markup {
    html! {
        section.figures {
            @for (name, sum) in report.total.all() {
                div.figure.(name) {
                    h2 { (words::figure(name, lang)) }
                    p.amount { (lang.amount(sum.amount)) }
                    p.note { (notices(sum, lang)) " · " (words::explained(name, lang)) }
                }
            }
        }
    }
}

fn notices(sum: Sum, lang: Lang) -> String {
    let word = lang.pick(if sum.count.abs() == 1 { "notice" } else { "notices" }, "avis");
    format!("{}\u{a0}{word}", lang.number(sum.count))
}

/// From what was outstanding before to what is now: it must come out even.
pub(super) fn balance(report: &Report, lang: Lang) -> Markup {
    let total = &report.total;
    let lines = [
        (
            "",
            lang.pick("Outstanding before the period", "Reste à recouvrer antérieur"),
            report.opening.outstanding,
        ),
        ("+", words::figure("emitted", lang), total.emitted),
        ("−", words::figure("revenue", lang), total.revenue),
        ("−", words::figure("canceled", lang), total.canceled),
    ];
    let in_doubt = lang.pick(
        "In doubt at the end, in none of these lines",
        "En doute en fin de période, hors de ces lignes",
    );
    html! {
        section {
            h2 { (lang.pick("Balance", "Balance")) }
            table.sums {
                thead { tr { th {} th.number scope="col" { (lang.pick("Notices", "Avis")) } th.number scope="col" { (lang.pick("Amount", "Montant")) } } }
                tbody {
                    @for (sign, name, sum) in lines { (sum_row(&format!("{sign} {name}"), sum, lang)) }
                }
                tfoot {
                    (sum_row(&format!("= {}", words::figure("outstanding", lang)), total.outstanding, lang))
                    @if !total.in_doubt.is_zero() { (sum_row(in_doubt, total.in_doubt, lang)) }
                    @if !report.withdrawn.is_zero() {
                        (sum_row(lang.pick("Withdrawn before emission, in no figure", "Retirés avant émission, hors de tout chiffre"), report.withdrawn, lang))
                    }
                }
            }
        }
    }
}

fn sum_row(name: &str, sum: Sum, lang: Lang) -> Markup {
    html! {
        tr { th scope="row" { (name) } td.number { (lang.number(sum.count)) } td.number { (lang.amount(sum.amount)) } }
    }
}

/// What was emitted and paid, by day or month.
pub(super) fn course(report: &Report, lang: Lang) -> Result<Markup, ReportError> {
    let daily = report.period.days() <= MAX_DAYS_DRAWN;
    let groups = if daily { by_day(report) } else { by_month(report) };
    if groups.len() < 2 {
        return Ok(html! {});
    }
    let title = if daily {
        lang.pick("Emitted and net revenue by day, XOF", "Émissions et recettes nettes par jour, en FCFA")
    } else {
        lang.pick("Emitted and net revenue by month, XOF", "Émissions et recettes nettes par mois, en FCFA")
    };
    let series = [words::figure("emitted", lang), words::figure("revenue", lang)];
    let description =
        lang.pick("The figures are in the tables below.", "Les chiffres figurent aux tableaux ci-après.");
    let svg = Chart { title, description, lang, series: &series, groups: &groups }.columns()?;
    Ok(html! { section { h2 { (title) } (PreEscaped(svg)) } })
}

fn by_day(report: &Report) -> Vec<Group> {
    let mut groups = Vec::new();
    for day in report.period.from().iter_days().take_while(|day| *day <= report.period.to()) {
        let key = day.to_string();
        let entry = report.days.iter().find(|entry| entry.key == key);
        groups.push(Group { label: day.format("%d/%m").to_string(), values: values(entry) });
    }
    groups
}

fn by_month(report: &Report) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for day in report.period.from().iter_days().take_while(|day| *day <= report.period.to()) {
        let label = day.format("%m/%Y").to_string();
        if groups.last().is_none_or(|group| group.label != label) {
            groups.push(Group { label, values: values(None) });
        }
    }
    for entry in &report.days {
        let (year, month) = (entry.key.get(..4).unwrap_or_default(), entry.key.get(5..7).unwrap_or_default());
        let label = format!("{month}/{year}");
        for group in groups.iter_mut().filter(|group| group.label == label) {
            // Charts are of no consequence: the totals, which are checked, are sums of these.
            for (sum, value) in group.values.iter_mut().zip(values(Some(entry))) {
                *sum = sum.saturating_add(value);
            }
        }
    }
    groups
}

fn values(entry: Option<&Entry>) -> Vec<i128> {
    entry.map_or(vec![0, 0], |entry| vec![entry.figures.emitted.amount, entry.figures.revenue.amount])
}

/// A table, and for codes a chart of the revenue.
pub(super) fn breakdown(report: &Report, by: By, lang: Lang) -> Result<Markup, ReportError> {
    let shown: Vec<&Entry> = rows(report, by).collect();
    let names: Vec<&str> = columns(by, &report.total).into_iter().map(|(name, _)| name).collect();
    Ok(html! {
        section.breakdown {
            h2 { (words::table(by, lang)) }
            @if shown.is_empty() { p { (lang.pick("Nothing in this period.", "Néant.")) } }
            @else {
                (revenue_bars(&shown, by, lang)?)
                table.wide {
                    thead {
                        tr {
                            th scope="col" { (words::key_heading(by, lang)) }
                            @for name in &names { th.number scope="col" { (words::figure(name, lang)) } }
                        }
                    }
                    tbody {
                        @for entry in &shown {
                            tr {
                                th scope="row" { (words::key(by, &entry.key, lang)) }
                                @for (_, sum) in columns(by, &entry.figures) { (cell(sum, lang)) }
                            }
                        }
                    }
                    tfoot {
                        tr {
                            th scope="row" { "Total" }
                            @for (_, sum) in columns(by, &report.total) { (cell(sum, lang)) }
                        }
                    }
                }
                @if by == By::Nature {
                    p.note { (lang.pick(
                        "A notice counts once for each nature of its items, and once in the total.",
                        "Un avis compte une fois pour chaque nature de ses lignes, et une seule fois au total."
                    )) }
                }
            }
        }
    })
}

fn cell(sum: Sum, lang: Lang) -> Markup {
    html! {
        td.number {
            @if sum.is_zero() { span.zero { "–" } }
            @else { (lang.number(sum.amount)) small { (lang.number(sum.count)) } }
        }
    }
}

/// The largest revenues first.
fn revenue_bars(shown: &[&Entry], by: By, lang: Lang) -> Result<Markup, ReportError> {
    let mut paid: Vec<&&Entry> = shown.iter().filter(|entry| !entry.figures.revenue.is_zero()).collect();
    if by == By::Day || paid.len() < 2 {
        return Ok(html! {});
    }
    paid.sort_by_key(|entry| std::cmp::Reverse(entry.figures.revenue.amount));
    let group = |entry: &&&Entry| Group {
        label: words::key(by, &entry.key, lang),
        values: vec![entry.figures.revenue.amount],
    };
    let groups: Vec<Group> = paid.iter().take(MAX_BARS).map(group).collect();
    let title = format!("{}, {}", words::figure("revenue", lang), words::table(by, lang).to_lowercase());
    let description =
        lang.pick("The figures are in the table below.", "Les chiffres figurent au tableau ci-après.");
    let series = [words::figure("revenue", lang)];
    let svg = Chart { title: &title, description, lang, series: &series, groups: &groups }.bars()?;
    Ok(html! { figure { figcaption { (title) (lang.pick(", XOF", ", en FCFA")) } (PreEscaped(svg)) } })
}

/// What is outstanding, by age.
pub(super) fn ageing(report: &Report, lang: Lang) -> Result<Markup, ReportError> {
    let title = words::ageing(report, lang);
    let group =
        |(age, sum): &(super::Age, Sum)| Group { label: words::age(*age, lang), values: vec![sum.amount] };
    let groups: Vec<Group> = report.ageing.iter().map(group).collect();
    let series = [words::figure("outstanding", lang)];
    let description =
        lang.pick("The figures are in the table below.", "Les chiffres figurent au tableau ci-après.");
    let svg = Chart { title: &title, description, lang, series: &series, groups: &groups }.bars()?;
    let empty = report.total.outstanding.is_zero();
    Ok(html! {
        section.breakdown {
            h2 { (title) }
            @if empty { p { (lang.pick("Nothing is outstanding.", "Néant.")) } }
            @else {
                (PreEscaped(svg))
                table.sums {
                    thead { tr {
                        th scope="col" { (lang.pick("Days since emission", "Jours depuis l’émission")) }
                        th.number scope="col" { (lang.pick("Notices", "Avis")) }
                        th.number scope="col" { (lang.pick("Amount", "Montant")) }
                    } }
                    tbody { @for (age, sum) in &report.ageing { (sum_row(&words::age(*age, lang), *sum, lang)) } }
                    tfoot { (sum_row("Total", report.total.outstanding, lang)) }
                }
            }
        }
    })
}

/// What was corrected: the drift of the period.
pub(super) fn corrections(report: &Report, lang: Lang) -> Markup {
    let heading =
        lang.pick("Corrections recorded in the period", "Corrections constatées pendant la période");
    let kinds: Vec<&(CorrectionKind, Sum)> = report
        .drift
        .iter()
        .filter(|(kind, sum)| {
            !sum.is_zero() || report.corrections.iter().any(|correction| correction.kind == *kind)
        })
        .collect();
    html! {
        section {
            h2 { (heading) }
            @if report.corrections.is_empty() { p { (lang.pick("None.", "Néant.")) } }
            @else {
                table.sums {
                    thead { tr { th {} th.number scope="col" { (lang.pick("Notices", "Avis")) } th.number scope="col" { (lang.pick("Amount", "Montant")) } } }
                    tbody { @for (kind, sum) in kinds { (sum_row(words::correction(*kind, lang), *sum, lang)) } }
                    tfoot { (sum_row("Total", report.total.corrections, lang)) }
                }
                table.list {
                    thead { tr {
                        th scope="col" { (lang.pick("Recorded (UTC)", "Constatée (UTC)")) }
                        th scope="col" { (lang.pick("Reference", "Référence")) }
                        th scope="col" { (lang.pick("Why", "Motif")) }
                        th scope="col" { (lang.pick("Payment of", "Paiement du")) }
                        th scope="col" { (lang.pick("Provider", "Moyen")) }
                        th.number scope="col" { (lang.pick("Amount", "Montant")) }
                    } }
                    tbody {
                        @for correction in &report.corrections {
                            tr {
                                td { (words::moment(correction.recorded_at, lang)) }
                                td { (words::printable(&correction.reference)) }
                                td { (words::correction(correction.kind, lang)) }
                                td { (lang.date(correction.concerns)) }
                                td { (words::key(By::Provider, &correction.provider, lang)) }
                                td.number { (lang.number(correction.amount)) }
                            }
                        }
                    }
                }
                @if report.corrections_left_out > 0 {
                    p.note { (lang.number(report.corrections_left_out)) (lang.pick(
                        " more are in the figures and not listed.", " autres, compris dans les chiffres, ne sont pas listées."
                    )) }
                }
            }
        }
    }
}

/// How it was booked, in three sentences.
pub(super) fn rules(lang: Lang) -> Markup {
    let days = super::CLOSING_DAYS;
    let text = match lang {
        Lang::En => format!(
            "Payments are booked on TresorPay’s date of payment, else on the day that recorded them; days are UTC, which is \
             Mali’s time. A day is closed {days} full days after its end. What is recorded later about a closed day, and every \
             payment canceled or restored afterwards, is a correction of the day that recorded it: figures of a closed \
             period never change. Amounts are whole XOF; counts are notices."
        ),
        Lang::Fr => format!(
            "Les paiements sont comptabilisés à la date de paiement donnée par TresorPay, à défaut au jour de leur constatation ; \
             les journées sont en temps universel, qui est l’heure du Mali. Une journée est close {days} jours francs après sa fin. \
             Ce qui est constaté plus tard pour une journée close, ainsi que tout paiement annulé ou rétabli après coup, est une \
             correction du jour de sa constatation : les chiffres d’une période close ne changent plus. Les montants sont en francs \
             CFA entiers ; les nombres sont des avis de recette."
        ),
    };
    html! { section.rules { h2 { (lang.pick("How it is booked", "Règles de comptabilisation")) } p { (text) } } }
}

/// Room for signatures.
pub(super) fn visas(lang: Lang) -> Markup {
    html! {
        section.visas {
            div { (lang.pick("Drawn up by", "Établi par")) }
            div { (lang.pick("Checked by", "Vérifié par")) }
            div { (lang.pick("The accountant", "Le comptable")) }
        }
    }
}
