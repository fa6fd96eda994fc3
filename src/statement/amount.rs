//! Amounts as people and spreadsheets write them, read as whole XOF: `1 234 567 FCFA`, `1.234.567`, `1,234,567.00`. What is
//! ambiguous about money is refused, and nothing is ever rounded.

/// Largest amount, in XOF: 2^53 - 1, as in the outbox.
pub const MAX_AMOUNT: i64 = (1 << 53) - 1;
/// Names of the currency that may stand at either end, the longest first.
const CURRENCY: [&str; 8] = ["F.CFA.", "F.CFA", "F CFA", "FCFA", "FR CFA", "XOF", "CFA", "F"];

/// Why a text is no amount. None of them shows the text: it may be a person's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AmountError {
    /// Blank.
    #[error("there is no amount")]
    Missing,
    /// Letters or signs that no amount has.
    #[error("is no amount")]
    NotANumber,
    /// `1 23 456`, or decimals and thousands that cannot be told apart.
    #[error("is no amount: its digits are not grouped by three")]
    BadGroups,
    /// XOF has no minor unit.
    #[error("has a fraction, and XOF has none")]
    Fraction,
    /// A refund or a correction.
    #[error("is negative")]
    Negative,
    /// `1,5E+06`.
    #[error("is written as a power of ten: the spreadsheet has rounded it; format the column as a number")]
    Rounded,
    /// Beyond what the outbox takes.
    #[error("is more than {MAX_AMOUNT}")]
    TooLarge,
}

/// The amount in whole XOF.
pub fn parse_amount(text: &str) -> Result<i64, AmountError> {
    let text = without_currency(trimmed(text));
    if text.is_empty() {
        return Err(AmountError::Missing);
    }
    let (negative, body) = sign(text);
    let whole = whole_digits(body)?;
    let amount = whole.bytes().try_fold(0_i64, |amount, digit| {
        amount.checked_mul(10)?.checked_add(i64::from(digit - b'0')).filter(|amount| *amount <= MAX_AMOUNT)
    });
    match amount {
        Some(0) => Ok(0),
        Some(_) if negative => Err(AmountError::Negative),
        Some(amount) => Ok(amount),
        None => Err(AmountError::TooLarge),
    }
}

/// Without what spreadsheets and web pages put around a value.
pub fn trimmed(text: &str) -> &str {
    text.trim_matches(|c: char| c.is_whitespace() || matches!(c, '\u{feff}' | '\u{200b}' | '\u{2060}'))
}

fn without_currency(text: &str) -> &str {
    let cut = |text: &str, name: &str, at_end: bool| {
        let at = if at_end { text.len().checked_sub(name.len())? } else { name.len() };
        let (start, end) = text.split_at_checked(at)?;
        let (rest, unit) = if at_end { (start, end) } else { (end, start) };
        unit.eq_ignore_ascii_case(name).then_some(rest.len())
    };
    for name in CURRENCY {
        if let Some(left) = cut(text, name, true) {
            return trimmed(&text[..left]);
        }
        if let Some(left) = cut(text, name, false) {
            return trimmed(&text[text.len() - left..]);
        }
    }
    text
}

/// `-5`, `5-` and `(5)` are negative.
fn sign(text: &str) -> (bool, &str) {
    let minus = ['-', '\u{2212}', '\u{2013}'];
    if let Some(inner) = text.strip_prefix('(').and_then(|text| text.strip_suffix(')')) {
        return (true, trimmed(inner));
    }
    match text.strip_prefix(minus).or_else(|| text.strip_suffix(minus)) {
        Some(body) => (true, trimmed(body)),
        None => (false, trimmed(text.strip_prefix('+').unwrap_or(text))),
    }
}

/// The digits before the decimals, which must all be zeros.
fn whole_digits(body: &str) -> Result<String, AmountError> {
    let is_group_mark = |c: char| c.is_whitespace() || matches!(c, '\'' | '\u{2019}');
    if body.chars().any(|c| matches!(c, 'e' | 'E')) && body.starts_with(|c: char| c.is_ascii_digit()) {
        return Err(AmountError::Rounded);
    }
    if !body.chars().all(|c| c.is_ascii_digit() || matches!(c, '.' | ',') || is_group_mark(c)) {
        return Err(AmountError::NotANumber);
    }
    let (whole, decimals) = split_decimals(body, body.chars().any(is_group_mark));
    let marks: Vec<char> = whole.chars().filter(|c| !c.is_ascii_digit()).collect();
    // One mark only parts the thousands; blanks of any kind are one.
    let same = |a: char, b: char| a == b || is_group_mark(a) && is_group_mark(b);
    if marks.windows(2).any(|pair| !same(pair[0], pair[1])) {
        return Err(AmountError::BadGroups);
    }
    let groups: Vec<&str> = whole.split(|c: char| !c.is_ascii_digit()).collect();
    let well_grouped = match groups.split_first() {
        Some((first, rest)) if !rest.is_empty() => {
            (1..=3).contains(&first.len()) && rest.iter().all(|group| group.len() == 3)
        }
        Some((first, _)) => !first.is_empty(),
        None => false,
    };
    match decimals {
        _ if !well_grouped => Err(AmountError::BadGroups),
        Some("") => Err(AmountError::BadGroups),
        Some(decimals) if !decimals.bytes().all(|digit| digit.is_ascii_digit()) => {
            Err(AmountError::BadGroups)
        }
        Some(decimals) if decimals.bytes().any(|digit| digit != b'0') => Err(AmountError::Fraction),
        Some(_) | None => Ok(groups.concat()),
    }
}

/// A dot or comma begins decimals if it stands alone and three digits after one to three others are not what it parts, or
/// if it comes after another kind of mark.
fn split_decimals(body: &str, has_blanks: bool) -> (&str, Option<&str>) {
    let Some(last) = body.rfind(['.', ',']) else { return (body, None) };
    let (before, after) = (&body[..last], &body[last + 1..]);
    let mark = &body[last..=last];
    let alone = !before.contains(['.', ',']) && !has_blanks;
    let parts_thousands = alone && after.len() == 3 && (1..=3).contains(&before.len());
    if before.contains(mark) || parts_thousands { (body, None) } else { (before, Some(after)) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_way_to_write_an_amount() {
        for text in [
            "1234567",
            "1 234 567",
            "1\u{a0}234\u{a0}567",
            "1\u{202f}234\u{202f}567",
            "1\u{2009}234 567",
            "1.234.567",
            "1,234,567",
            "1'234'567",
            "1\u{2019}234\u{2019}567",
            "1234567,00",
            "1234567.00",
            "1234567,000",
            "1 234 567,00",
            "1 234 567,000",
            "1.234.567,00",
            "1,234,567.00",
            "1 234 567 FCFA",
            "1.234.567 F CFA",
            "XOF 1,234,567",
            "FCFA\u{a0}1\u{202f}234\u{202f}567",
            "1234567F",
            "1 234 567,00 f.cfa",
            "+1 234 567",
            "\u{feff} 1234567 \u{a0}",
            "0001234567",
        ] {
            assert_eq!(parse_amount(text), Ok(1_234_567), "{text}");
        }
        for (text, amount) in [
            ("0", 0),
            ("0,00", 0),
            ("-0", 0),
            ("1.234", 1234),
            ("1,234", 1234),
            ("100.000", 100_000),
            ("1234,000", 1234),
            ("12,5000", i64::MIN),
            ("9007199254740991", MAX_AMOUNT),
        ] {
            assert_eq!(parse_amount(text).unwrap_or(i64::MIN), amount, "{text}");
        }
    }

    #[test]
    fn what_is_doubtful_is_refused() {
        use AmountError::{BadGroups, Fraction, Missing, Negative, NotANumber, Rounded, TooLarge};
        for (text, why) in [
            ("", Missing),
            (" \u{a0}", Missing),
            ("FCFA", Missing),
            ("Awa", NotANumber),
            ("12a", NotANumber),
            ("12%", NotANumber),
            ("1,5E+06", Rounded),
            ("1.5", Fraction),
            ("1234,50", Fraction),
            ("1 234,567", Fraction),
            ("1.234,567", Fraction),
            ("1 23 456", BadGroups),
            ("12,34,567", BadGroups),
            ("1234,567,000", BadGroups),
            ("1.234 567", BadGroups),
            ("1,234.567,00", BadGroups),
            ("1,", BadGroups),
            (",00", BadGroups),
            (".", BadGroups),
            ("-5", Negative),
            ("5-", Negative),
            ("\u{2212}5", Negative),
            ("(5 000)", Negative),
            ("9007199254740992", TooLarge),
            ("99999999999999999999999999", TooLarge),
        ] {
            assert_eq!(parse_amount(text), Err(why), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(amount in 0..=MAX_AMOUNT, mark in prop::sample::select(vec!["", " ", "\u{a0}", "\u{202f}", ".", ",", "'"]), tail in 0..4_usize) {
            let digits = amount.to_string();
            let mut text = String::new();
            for (place, digit) in digits.chars().enumerate() {
                if place > 0 && (digits.len() - place) % 3 == 0 {
                    text.push_str(mark);
                }
                text.push(digit);
            }
            text.push_str(match (tail, mark) {
                (1, ".") => ",00",
                (1, ",") => ".00",
                (1, _) => ",00",
                (2, _) => " FCFA",
                (3, _) => "\u{a0}F",
                _ => "",
            });
            prop_assert_eq!(parse_amount(&text), Ok(amount), "{}", text);
        }

        #[test]
        fn nothing_panics(text in "[0-9., ()eE+'F\u{a0}-]{0,20}|\\PC{0,12}") {
            let _ = parse_amount(&text);
        }
    }
}
