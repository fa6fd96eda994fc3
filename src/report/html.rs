//! The report as one page: nothing is loaded from anywhere, so it can be mailed, kept and printed. Laid out for A4.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::{By, Report, ReportError, sections, words};
use crate::lang::Lang;

const STYLE: &str = include_str!("page.css");

pub(super) fn render(report: &Report, by: &[By], lang: Lang) -> Result<String, ReportError> {
    let title = words::title(lang);
    let period = words::period(report.period, lang);
    let mut tables = Vec::with_capacity(by.len());
    for by in by {
        tables.push(sections::breakdown(report, *by, lang)?);
    }
    let page = html! {
        (DOCTYPE)
        html lang=(lang.tag()) {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'";
                title { (title) " – " (period) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                (head(report, title, &period, lang))
                main {
                    (sections::figures(report, lang))
                    (sections::balance(report, lang))
                    (sections::course(report, lang)?)
                    @for table in &tables { (table) }
                    (sections::ageing(report, lang)?)
                    (sections::corrections(report, lang))
                    (sections::rules(lang))
                    (sections::visas(lang))
                }
                footer { "tresorpayd " (env!("CARGO_PKG_VERSION")) " · " (title) " · " (period) }
            }
        }
    };
    Ok(page.into_string())
}

fn head(report: &Report, title: &str, period: &str, lang: Lang) -> Markup {
    let standing = words::standing(report, lang);
    html! {
        header {
            div.flag aria-hidden="true" { i {} i {} i {} }
            h1 { (title) }
            p.period { (period) }
            p.standing.provisional[report.provisional_at.is_some()] { (standing) }
            @if let Some(warning) = words::not_production(&report.environment, lang) {
                p.warning role="note" { (warning) }
            }
        }
    }
}
