//! What the report says in both languages, in the register of an administration.

use chrono::{DateTime, NaiveDate, Utc};

use super::{Age, By, CorrectionKind, Period, Report};
use crate::lang::Lang;

/// A figure's name, by its name in JSON.
pub(super) fn figure(name: &str, lang: Lang) -> &'static str {
    let (en, fr) = match name {
        "emitted" => ("Emitted", "Émis"),
        "paid" => ("Paid", "Payé"),
        "corrections" => ("Corrections", "Corrections"),
        "revenue" => ("Net revenue", "Recette nette"),
        "canceled" => ("Canceled", "Annulé"),
        "outstanding" => ("Outstanding", "Reste à recouvrer"),
        "in_doubt" => ("In doubt", "En doute"),
        _ => ("", ""),
    };
    lang.pick(en, fr)
}

/// What a figure is, for who reads it for the first time.
pub(super) fn explained(name: &str, lang: Lang) -> &'static str {
    let (en, fr) = match name {
        "emitted" => ("taken by TresorPay", "pris en charge par TresorPay"),
        "paid" => ("by date of payment", "à la date de paiement"),
        "corrections" => ("of days already closed", "de journées déjà closes"),
        "revenue" => ("paid and corrections", "payé et corrections"),
        "canceled" => ("after emission", "après émission"),
        "outstanding" => ("unpaid at the end of the period", "impayé en fin de période"),
        "in_doubt" => ("no answer from TresorPay", "sans réponse de TresorPay"),
        _ => ("", ""),
    };
    lang.pick(en, fr)
}

/// The heading of a table.
pub(super) fn table(by: By, lang: Lang) -> &'static str {
    match by {
        By::Day => lang.pick("By day", "Par jour"),
        By::Provider => lang.pick("By payment provider", "Par moyen de paiement"),
        By::Nature => lang.pick("By nature of revenue", "Par nature de recette"),
        By::Structure => lang.pick("By structure", "Par structure"),
    }
}

/// The heading of a table's first column.
pub(super) fn key_heading(by: By, lang: Lang) -> &'static str {
    match by {
        By::Day => lang.pick("Day", "Jour"),
        By::Provider => lang.pick("Provider", "Moyen de paiement"),
        By::Nature => lang.pick("Nature code", "Code nature"),
        By::Structure => lang.pick("Structure code", "Code structure"),
    }
}

/// A row's name for people.
pub(super) fn key(by: By, key: &str, lang: Lang) -> String {
    match by {
        By::Day => key.parse().map_or_else(|_| key.to_owned(), |day: NaiveDate| lang.date(day)),
        By::Provider if key.is_empty() => lang.pick("not told", "non précisé").to_owned(),
        By::Nature | By::Structure if key.is_empty() => lang.pick("no code", "sans code").to_owned(),
        By::Provider | By::Nature | By::Structure => printable(key),
    }
}

/// Codes are whatever an application or TresorPay wrote: nothing steers a terminal or turns a line round.
pub(super) fn printable(text: &str) -> String {
    let steers = |c: char| {
        c.is_control()
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars().map(|c| if steers(c) { ' ' } else { c }).collect()
}

/// What `tresorpayd report` is called on paper.
pub(super) fn title(lang: Lang) -> &'static str {
    lang.pick("TresorPay revenue report", "État des recettes TresorPay")
}

/// `From 1 October 2026 to 31 October 2026`.
pub(super) fn period(period: Period, lang: Lang) -> String {
    let (from, to) = (lang.long_date(period.from()), lang.long_date(period.to()));
    if period.from() == period.to() {
        return format!("{}{from}", lang.pick("", "Journée du "));
    }
    match lang {
        Lang::En => format!("From {from} to {to}"),
        Lang::Fr => format!("Du {from} au {to}"),
    }
}

/// Whether it may still change.
pub(super) fn standing(report: &Report, lang: Lang) -> String {
    let closes = lang.long_date(report.period.closes().date_naive());
    match (report.provisional_at, lang) {
        (None, Lang::En) => format!("Closed on {closes}: these figures no longer change."),
        (None, Lang::Fr) => format!("Clos le {closes} : ces chiffres ne changent plus."),
        (Some(at), Lang::En) => {
            format!("Provisional, as of {}; the period is closed on {closes}.", lang.moment(at))
        }
        (Some(at), Lang::Fr) => {
            format!("Provisoire, arrêté au {} ; la période est close le {closes}.", lang.moment(at))
        }
    }
}

/// Said of every environment but production: its figures are no revenue, or nobody knows.
pub(super) fn not_production(environment: &str, lang: Lang) -> Option<String> {
    let (en, fr) = match environment {
        "production" => return None,
        "sandbox" => ("no real revenue", "aucune recette réelle"),
        _ => ("not at TresorPay’s own addresses", "hors des adresses propres à TresorPay"),
    };
    Some(match lang {
        Lang::En => format!("Environment “{environment}”: {en}."),
        Lang::Fr => format!("Environnement « {environment} » : {fr}."),
    })
}

/// A kind of correction.
pub(super) fn correction(kind: CorrectionKind, lang: Lang) -> &'static str {
    match kind {
        CorrectionKind::Late => lang.pick("payment recorded late", "paiement constaté tardivement"),
        CorrectionKind::Reversed => lang.pick("paid, then canceled", "payé, puis annulé"),
        CorrectionKind::Revived => lang.pick("canceled, then paid", "annulé, puis payé"),
        CorrectionKind::Changed => lang.pick("provider or date changed", "moyen ou date modifiés"),
    }
}

/// A class of age.
pub(super) fn age(age: Age, lang: Lang) -> String {
    match (age.to, lang) {
        (Some(to), Lang::En) => format!("{} to {to} days", age.from),
        (Some(to), Lang::Fr) => format!("{} à {to} jours", age.from),
        (None, Lang::En) => format!("{} days or more", age.from),
        (None, Lang::Fr) => format!("{} jours et plus", age.from),
    }
}

/// The heading of the ages.
pub(super) fn ageing(report: &Report, lang: Lang) -> String {
    let day = lang.long_date(report.balance_on);
    match lang {
        Lang::En => format!("Age of what is outstanding on {day}"),
        Lang::Fr => format!("Ancienneté des restes à recouvrer au {day}"),
    }
}

/// A moment to the minute, in a table.
pub(super) fn moment(at: DateTime<Utc>, lang: Lang) -> String {
    lang.moment(at).trim_end_matches(" UTC").to_owned()
}
