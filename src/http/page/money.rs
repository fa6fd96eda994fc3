//! What was paid in the last hours: by hour, and by way of payment.

use std::{collections::BTreeMap, time::Duration};

use maud::{Markup, PreEscaped, html};

use crate::{
    chart::{Chart, ChartError, Group},
    http::view::{HOURS, Money, hour_name},
    lang::Lang,
    store::inspect::Payments,
    verdict::words::counted,
};

/// Ways of payment that have a bar of their own.
const MAX_PROVIDERS: usize = 8;

/// The payments; `None`: they could not be added up in time.
pub(super) fn section(money: Option<&Money>, lang: Lang) -> Markup {
    html! {
        section {
            h2 {
                (lang.pick("Payments", "Paiements"))
                " " small { (match lang {
                    Lang::En => format!("last {HOURS} hours, UTC"),
                    Lang::Fr => format!("{HOURS} dernières heures, UTC"),
                }) }
            }
            @match money {
                None => p { (lang.pick("They could not be added up in time.", "Le total n'a pas pu être calculé à temps.")) },
                Some(money) => (payments(money, lang)),
            }
        }
    }
}

fn payments(money: &Money, lang: Lang) -> Markup {
    let (count, amount) = total(&money.payments);
    // As counted, with the thousands apart.
    let paid =
        counted(lang, count, lang.pick("notice paid", "avis payé"), lang.pick("notices paid", "avis payés"))
            .replacen(&count.to_string(), &lang.number(count), 1);
    html! {
        p.total { strong { (lang.amount(amount)) } " · " (paid) }
        @if count > 0 {
            div.hours { (drawn(by_hour(money, lang))) }
            h3 { (lang.pick("By way of payment", "Par moyen de paiement")) }
            (by_provider(money, lang))
        }
    }
}

/// A chart, or nothing in place of one that could not be drawn: its numbers stand beside it.
fn drawn(chart: Result<String, ChartError>) -> Markup {
    match chart {
        Ok(svg) => html! { div.scroll tabindex="0" { (PreEscaped(svg)) } },
        Err(error) => {
            tracing::warn!(%error, "a chart of the status page could not be drawn");
            html! {}
        }
    }
}

fn by_hour(money: &Money, lang: Lang) -> Result<String, ChartError> {
    let groups: Vec<Group> = (0..HOURS)
        .map(|hour| {
            let at = money.since.after(Duration::from_secs(3600 * u64::from(hour)));
            let name = hour_name(at);
            let amounts = money.payments.iter().filter(|payments| payments.hour == name);
            let label = match lang {
                Lang::En => at.to_chrono().format("%H:00").to_string(),
                Lang::Fr => at.to_chrono().format("%H h").to_string(),
            };
            Group { label, values: vec![amounts.map(|payments| i128::from(payments.amount)).sum()] }
        })
        .collect();
    Chart {
        title: lang.pick("Payments by hour", "Paiements par heure"),
        description: lang.pick(
            "A column for each of the last hours: what was paid in it, in XOF",
            "Une colonne par heure : le montant payé, en FCFA",
        ),
        lang,
        series: &["XOF"],
        groups: &groups,
    }
    .columns()
}

/// The bars, and the same as a table.
fn by_provider(money: &Money, lang: Lang) -> Markup {
    let mut providers: BTreeMap<&str, (i64, i128)> = BTreeMap::new();
    for payments in &money.payments {
        let name = payments.provider.as_deref().unwrap_or(lang.pick("not told", "non indiqué"));
        let sum = providers.entry(name).or_default();
        *sum = (sum.0 + payments.count, sum.1 + i128::from(payments.amount));
    }
    let mut rows: Vec<(&str, (i64, i128))> = providers.into_iter().collect();
    rows.sort_by_key(|(_, (_, amount))| std::cmp::Reverse(*amount));
    let rest = rows.split_off(rows.len().min(MAX_PROVIDERS));
    if !rest.is_empty() {
        let sum = rest.iter().fold((0, 0), |sum, (_, (count, amount))| (sum.0 + count, sum.1 + amount));
        rows.push((lang.pick("others", "autres"), sum));
    }
    let groups: Vec<Group> = rows
        .iter()
        .map(|(name, (_, amount))| Group { label: (*name).to_owned(), values: vec![*amount] })
        .collect();
    let chart = Chart {
        title: lang.pick("Payments by way of payment", "Paiements par moyen de paiement"),
        description: lang.pick(
            "A bar for each: what was paid by it, in XOF",
            "Une barre par moyen : le montant payé, en FCFA",
        ),
        lang,
        series: &["XOF"],
        groups: &groups,
    };
    html! {
        (drawn(chart.bars()))
        div.scroll tabindex="0" {
            table {
                thead {
                    tr {
                        th scope="col" { (lang.pick("Way of payment", "Moyen de paiement")) }
                        th.number scope="col" { (lang.pick("Notices", "Avis")) }
                        th.number scope="col" { (lang.pick("Amount", "Montant")) }
                    }
                }
                tbody {
                    @for (name, (count, amount)) in &rows {
                        tr {
                            th scope="row" { bdi { (name) } }
                            td.number { (lang.number(*count)) }
                            td.number { (lang.amount(*amount)) }
                        }
                    }
                }
            }
        }
    }
}

fn total(payments: &[Payments]) -> (i64, i128) {
    payments
        .iter()
        .fold((0, 0), |sum, payments| (sum.0 + payments.count, sum.1 + i128::from(payments.amount)))
}
