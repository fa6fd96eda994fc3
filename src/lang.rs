//! The two languages of what people read and print: the choice between them, and how each writes amounts and dates.
//! What programs read (JSON, the database) is the same in both and does not come here.

use std::env;

use chrono::{DateTime, Datelike, NaiveDate, Utc};
use serde::Serialize;

/// Asked in this order for the user's language, as the C library does.
const LOCALE_VARIABLES: [&str; 3] = ["LC_ALL", "LC_MESSAGES", "LANG"];
/// Parts thousands in French; wide enough to see, and never at the end of a line.
const NARROW_NO_BREAK_SPACE: char = '\u{202f}';
/// Before the unit in French.
const NO_BREAK_SPACE: char = '\u{a0}';
/// As long as a plus sign, unlike the hyphen.
const MINUS: char = '\u{2212}';

const MONTHS_EN: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const MONTHS_FR: [&str; 12] = [
    "janvier",
    "février",
    "mars",
    "avril",
    "mai",
    "juin",
    "juillet",
    "août",
    "septembre",
    "octobre",
    "novembre",
    "décembre",
];

/// The language of what is printed for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Lang {
    /// English.
    En,
    /// French, as Mali's administration writes it.
    Fr,
}

impl Lang {
    /// French if the first of `LC_ALL`, `LC_MESSAGES` and `LANG` that is set says so, else English.
    pub fn from_environment() -> Self {
        let locale =
            LOCALE_VARIABLES.iter().find_map(|name| env::var(name).ok().filter(|value| !value.is_empty()));
        Self::from_locale(locale.as_deref().unwrap_or_default())
    }

    /// Of a locale such as `fr_ML.UTF-8` or a language tag such as `fr-ML`; English unless it is French.
    pub fn from_locale(locale: &str) -> Self {
        let language = locale.split(['_', '-', '.', '@']).next().unwrap_or_default();
        if language.eq_ignore_ascii_case("fr") { Self::Fr } else { Self::En }
    }

    /// The language tag, as HTML's `lang` takes it.
    pub const fn tag(self) -> &'static str {
        match self {
            Self::En => "en",
            Self::Fr => "fr",
        }
    }

    /// The text in this language.
    pub const fn pick<T: Copy>(self, en: T, fr: T) -> T {
        match self {
            Self::En => en,
            Self::Fr => fr,
        }
    }

    /// `1,234,567`; in French `1 234 567` with narrow no-break spaces.
    pub fn number(self, number: impl Into<i128>) -> String {
        let number = number.into();
        let separator = self.pick(',', NARROW_NO_BREAK_SPACE);
        let digits = number.unsigned_abs().to_string();
        let mut text = String::with_capacity(digits.len() * 2);
        if number < 0 {
            text.push(MINUS);
        }
        for (i, digit) in digits.chars().enumerate() {
            if i > 0 && (digits.len() - i).is_multiple_of(3) {
                text.push(separator);
            }
            text.push(digit);
        }
        text
    }

    /// Whole XOF: `XOF 1,234,567`; in French `1 234 567 FCFA`.
    pub fn amount(self, xof: impl Into<i128>) -> String {
        let number = self.number(xof);
        match self {
            Self::En => format!("XOF{NO_BREAK_SPACE}{number}"),
            Self::Fr => format!("{number}{NO_BREAK_SPACE}FCFA"),
        }
    }

    /// Short, for tables: `24 Nov 2026`; in French `24/11/2026`.
    pub fn date(self, date: NaiveDate) -> String {
        match self {
            Self::En => {
                let month = self.month_name(date);
                format!("{} {} {}", date.day(), month.get(..3).unwrap_or(month), date.year())
            }
            Self::Fr => format!("{:02}/{:02}/{}", date.day(), date.month(), date.year()),
        }
    }

    /// In words: `24 November 2026`, `24 novembre 2026`, and `1er novembre 2026`.
    pub fn long_date(self, date: NaiveDate) -> String {
        let ordinal = self.pick("", if date.day() == 1 { "er" } else { "" });
        format!("{}{ordinal} {} {}", date.day(), self.month_name(date), date.year())
    }

    /// A moment, to the minute: `24 Nov 2026, 09:48 UTC`; in French `24/11/2026 à 09:48 UTC`.
    pub fn moment(self, at: DateTime<Utc>) -> String {
        let joint = self.pick(", ", " à ");
        format!("{}{joint}{} UTC", self.date(at.date_naive()), at.format("%H:%M"))
    }

    fn month_name(self, date: NaiveDate) -> &'static str {
        let months = self.pick(&MONTHS_EN, &MONTHS_FR);
        usize::try_from(date.month0()).ok().and_then(|month| months.get(month)).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_locale_is_french_or_english() {
        for (locale, lang) in [
            ("fr_ML.UTF-8", Lang::Fr),
            ("fr", Lang::Fr),
            ("FR-ml", Lang::Fr),
            ("fr@euro", Lang::Fr),
            ("en_GB.UTF-8", Lang::En),
            ("fro_FR", Lang::En),
            ("C", Lang::En),
            ("", Lang::En),
        ] {
            assert_eq!(Lang::from_locale(locale), lang, "{locale}");
        }
    }

    #[test]
    fn amounts_are_grouped_as_each_language_does() {
        for (amount, en, fr) in [
            (0, "XOF\u{a0}0", "0\u{a0}FCFA"),
            (999, "XOF\u{a0}999", "999\u{a0}FCFA"),
            (1_234_567, "XOF\u{a0}1,234,567", "1\u{202f}234\u{202f}567\u{a0}FCFA"),
            (-12_000, "XOF\u{a0}\u{2212}12,000", "\u{2212}12\u{202f}000\u{a0}FCFA"),
        ] {
            assert_eq!(Lang::En.amount(amount), en);
            assert_eq!(Lang::Fr.amount(amount), fr);
        }
        assert_eq!(Lang::En.number(i64::MIN), "\u{2212}9,223,372,036,854,775,808");
    }

    #[test]
    fn dates_are_written_as_each_language_does() {
        let first = NaiveDate::from_ymd_opt(2026, 8, 1).unwrap();
        assert_eq!((Lang::En.date(first), Lang::Fr.date(first)), ("1 Aug 2026".into(), "01/08/2026".into()));
        assert_eq!(Lang::En.long_date(first), "1 August 2026");
        assert_eq!(Lang::Fr.long_date(first), "1er août 2026");
        let at = first.and_hms_opt(9, 48, 59).unwrap().and_utc();
        assert_eq!(Lang::En.moment(at), "1 Aug 2026, 09:48 UTC");
        assert_eq!(Lang::Fr.moment(at), "01/08/2026 à 09:48 UTC");
    }
}
