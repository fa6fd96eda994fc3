//! The words of a comparison, in French as an administration writes it and in plain English.

use super::{Report, Step};
use crate::{
    lang::Lang,
    statement::{
        AmountError, DateForm, Result,
        compare::{Bridge, Finding, Kind, Period},
        date::DateError,
        layout::Column,
        lines::Trouble,
    },
};

/// Characters of the digest that are shown.
const DIGEST_SHOWN: usize = 16;

pub(super) const fn title(lang: Lang, kind: Kind) -> &'static str {
    match kind {
        Kind::MissingHere => lang.pick("Missing here", "Absents de la base"),
        Kind::MissingThere => lang.pick("Missing in the statement", "Absents du relevé"),
        Kind::NotPaidHere => lang.pick("Not paid here", "Non payés dans la base"),
        Kind::AmountDiffers => lang.pick("Amount differs", "Montants différents"),
        Kind::DateDiffers => lang.pick("Date differs", "Dates différentes"),
        Kind::Duplicate => lang.pick("Twice in the statement", "En double dans le relevé"),
        Kind::Unreadable => lang.pick("Cannot be read", "Lignes illisibles"),
        Kind::TotalDiffers => lang.pick("The statement's own total differs", "Total du relevé inexact"),
    }
}

pub(super) const fn meaning(lang: Lang, kind: Kind) -> &'static str {
    match kind {
        Kind::MissingHere => lang.pick(
            "The statement has a payment whose reference is no notice's in the outbox.",
            "Le relevé porte un paiement dont la référence n'est celle d'aucun avis de la base.",
        ),
        Kind::MissingThere => lang.pick(
            "The outbox has a payment within the period that no line of the statement names.",
            "La base porte un paiement de la période qu'aucune ligne du relevé ne mentionne.",
        ),
        Kind::NotPaidHere => lang.pick(
            "The statement has a payment for a notice that is not PAID in the outbox: `tresorpayd poll` asks TresorPay.",
            "Le relevé porte le paiement d'un avis qui n'est pas PAID dans la base : « tresorpayd poll » interroge TresorPay.",
        ),
        Kind::AmountDiffers => lang.pick(
            "Both know the payment, with different amounts.",
            "Le paiement est connu des deux côtés, pour des montants différents.",
        ),
        Kind::DateDiffers => lang.pick(
            "Both know the payment, on different days.",
            "Le paiement est connu des deux côtés, à des dates différentes.",
        ),
        Kind::Duplicate => lang.pick(
            "The statement has more than one line for the same notice.",
            "Le relevé porte plus d'une ligne pour le même avis.",
        ),
        Kind::Unreadable => lang.pick(
            "These lines were compared with nothing and are in no sum.",
            "Ces lignes n'ont pu être rapprochées et n'entrent dans aucune somme.",
        ),
        Kind::TotalDiffers => lang.pick(
            "The sum that the statement names is not the sum of its lines.",
            "Le total inscrit au relevé n'est pas la somme de ses lignes.",
        ),
    }
}

/// `1 difference`, `7 differences`.
fn differences(lang: Lang, number: u64) -> String {
    let word = match lang {
        Lang::En if number == 1 => "difference",
        Lang::En => "differences",
        // Zero and one are singular in French.
        Lang::Fr if number < 2 => "écart",
        Lang::Fr => "écarts",
    };
    format!("{} {word}", lang.number(number))
}

pub(super) fn verdict(lang: Lang, result: &Result) -> String {
    let (lines, sum) = (result.bridge.statement.count, result.bridge.statement.amount);
    if result.agrees() {
        let (lines, sum) = (lang.number(lines), lang.amount(sum));
        return match lang {
            Lang::En => format!("The statement and the outbox agree: {lines} payments, {sum}."),
            Lang::Fr => format!("Le relevé et la base concordent : {lines} paiements, {sum}."),
        };
    }
    let differences = differences(lang, result.differences());
    match lang {
        Lang::En => format!("The statement and the outbox do not agree: {differences}."),
        Lang::Fr => format!("Le relevé et la base ne concordent pas : {differences}."),
    }
}

pub(super) fn understanding(lang: Lang, report: &Report<'_>) -> Vec<(&'static str, String)> {
    let (result, layout) = (report.result, &report.understood.layout);
    let digest = report.understood.digest.get(..DIGEST_SHOWN).unwrap_or_default();
    let mut told = vec![
        (lang.pick("File", "Fichier"), {
            let (size, bytes) = (lang.number(report.understood.size), lang.pick("bytes", "octets"));
            format!("{}, {size} {bytes}, SHA-256 {digest}…", report.file)
        }),
        (lang.pick("Written as", "Écriture"), {
            let separator = separator(lang, layout.separator);
            let header = match layout.header_line {
                Some(line) => format!("{} {line}", lang.pick("header on line", "en-tête à la ligne")),
                None => lang.pick("no header", "sans en-tête").to_owned(),
            };
            format!("{}, {separator}, {header}", report.understood.encoding)
        }),
        (lang.pick("Columns", "Colonnes"), {
            layout.columns.iter().map(|found| column(lang, found)).collect::<Vec<_>>().join(", ")
        }),
    ];
    if let Some((form, mixed)) = report.form {
        told.push((lang.pick("Dates", "Dates"), dates(lang, form, mixed, result.statement_period)));
    }
    told.push((lang.pick("References", "Références"), {
        let (theirs, own) = (lang.number(result.by_tresorpay), lang.number(result.by_own));
        match lang {
            Lang::En => format!("{theirs} found by TresorPay's reference, {own} by the application's own"),
            Lang::Fr => {
                format!("{theirs} trouvées par la référence TresorPay, {own} par celle de l'application")
            }
        }
    }));
    if let Some(whole) = result.period {
        let whose = if report.period_given {
            lang.pick("as given", "indiquée")
        } else {
            lang.pick("the statement's own", "celle du relevé")
        };
        told.push((lang.pick("Compared", "Période"), {
            let what = lang.pick("payments", "paiements");
            let days = match (report.days, lang) {
                (0, _) => String::new(),
                (days, Lang::En) => format!("; dates up to {days} days apart agree"),
                (days, Lang::Fr) => format!(" ; dates admises à {days} jours près"),
            };
            format!("{what} {} ({whose}){days}", period(lang, whole))
        }));
    }
    if result.passed_over > 0 {
        let lines = lang.number(result.passed_over);
        told.push((
            lang.pick("Passed over", "Ignorées"),
            match lang {
                Lang::En => format!("{lines} lines without reference, amount and date"),
                Lang::Fr => format!("{lines} lignes sans référence, montant ni date"),
            },
        ));
    }
    told
}

fn separator(lang: Lang, separator: u8) -> String {
    let name = match separator {
        b'\t' => lang.pick("tab", "tabulation").to_owned(),
        other => lang.pick("\"", "« ").to_owned() + &char::from(other).to_string() + lang.pick("\"", " »"),
    };
    format!("{} {name}", lang.pick("separator", "séparateur"))
}

fn column(lang: Lang, column: &Column) -> String {
    let key = match (lang, column.key) {
        (Lang::Fr, "reference") => "référence",
        (Lang::Fr, "amount") => "montant",
        (_, key) => key,
    };
    let place = column.place + 1;
    let name = match column.name.as_str() {
        "" => format!("{} {place}", lang.pick("column", "colonne")),
        name => lang.pick("\"", "« ").to_owned() + name + lang.pick("\"", " »"),
    };
    let how = if column.guessed { lang.pick(" (guessed)", " (reconnue)") } else { "" };
    format!("{key} = {name}{how}")
}

fn dates(lang: Lang, form: DateForm, mixed: bool, own: Option<Period>) -> String {
    let form = match form {
        DateForm::YearFirst => lang.pick("year-month-day", "année-mois-jour"),
        DateForm::DayFirst => lang.pick("day/month/year", "jour/mois/année"),
    };
    let mixed =
        if mixed { lang.pick(", others written otherwise", ", d'autres écrites autrement") } else { "" };
    let own = own.map_or_else(String::new, |own| format!(", {}", period(lang, own)));
    format!("{form}{mixed}{own}")
}

/// `from 1 Oct 2026 to 31 Oct 2026`.
pub(super) fn period(lang: Lang, period: Period) -> String {
    let (from, to) = (lang.date(period.from), lang.date(period.to));
    match lang {
        _ if period.from == period.to => format!("{} {from}", lang.pick("of", "du")),
        Lang::En => format!("from {from} to {to}"),
        Lang::Fr => format!("du {from} au {to}"),
    }
}

pub(super) fn bridge(lang: Lang, bridge: &Bridge) -> Vec<Step> {
    let sum = |label, sum: super::Sum| Step { label, count: sum.count, amount: sum.amount, is_sum: true };
    let step = |label, sum: super::Sum, sign: i128| Step {
        label,
        count: sum.count,
        amount: sign * sum.amount,
        is_sum: false,
    };
    let first = sum(lang.pick("Paid in the outbox", "Payés dans la base"), bridge.outbox);
    let steps = [
        step(lang.pick("missing in the statement", "absents du relevé"), bridge.missing_there, -1),
        step(
            lang.pick("on unreadable lines only", "sur des lignes illisibles seulement"),
            bridge.unreadable,
            -1,
        ),
        step(
            lang.pick("paid outside of the period here", "payés hors période dans la base"),
            bridge.outside,
            1,
        ),
        step(lang.pick("other amounts", "montants différents"), bridge.amounts, 1),
        step(lang.pick("not paid here", "non payés dans la base"), bridge.not_paid, 1),
        step(lang.pick("missing here", "absents de la base"), bridge.missing_here, 1),
        step(lang.pick("second lines", "lignes en double"), bridge.duplicates, 1),
    ];
    let last = sum(lang.pick("The statement's lines", "Lignes du relevé"), bridge.statement);
    std::iter::once(first).chain(steps.into_iter().filter(|step| step.count > 0)).chain([last]).collect()
}

pub(super) fn detail(lang: Lang, finding: &Finding) -> String {
    if let Some((column, trouble)) = &finding.trouble {
        return match lang {
            Lang::En => format!("column \"{column}\": {trouble}"),
            Lang::Fr => format!("colonne « {column} » : {}", french(*trouble)),
        };
    }
    match finding.first_line {
        Some(line) => format!("{} {line}", lang.pick("first on line", "déjà à la ligne")),
        None => String::new(),
    }
}

fn french(trouble: Trouble) -> String {
    let words = match trouble {
        Trouble::Width { there, width } => {
            return format!(
                "la ligne compte {there} colonnes et l'en-tête {width} : un séparateur figure dans une valeur"
            );
        }
        Trouble::NoReference => "référence absente",
        Trouble::BadReference => "référence inadmissible : trop longue, ou portant une fin de ligne",
        Trouble::Amount(AmountError::Missing) => "montant absent",
        Trouble::Amount(AmountError::NotANumber) => "ce n'est pas un montant",
        Trouble::Amount(AmountError::BadGroups) => "montant douteux : chiffres non groupés par trois",
        Trouble::Amount(AmountError::Fraction) => "montant à décimales, que le FCFA n'admet pas",
        Trouble::Amount(AmountError::Negative) => "montant négatif",
        Trouble::Amount(AmountError::Rounded) => "montant en puissance de dix, arrondi par le tableur",
        Trouble::Amount(AmountError::TooLarge) => "montant trop grand",
        Trouble::Date(DateError::Missing) => "date absente",
        Trouble::Date(DateError::NotADate) => "ce n'est pas une date",
        Trouble::Date(DateError::NoSuchDay) => "date inexistante (le jour vient d'abord, puis le mois)",
    };
    words.to_owned()
}
