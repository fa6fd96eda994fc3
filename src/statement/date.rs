//! Dates as statements write them: the year first or the day first, with or without a time. A month is never guessed to be
//! first: `03/04/2026` is the third of April.

use std::fmt;

use chrono::{DateTime, NaiveDate};

use super::amount::trimmed;

/// Two digits of a year mean this century.
const CENTURY: i32 = 2000;

/// In which order a date stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum DateForm {
    /// `2026-10-31`, `20261031`.
    YearFirst,
    /// `31/10/2026`, `31-10-26`.
    DayFirst,
}

impl fmt::Display for DateForm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::YearFirst => "2026-10-31",
            Self::DayFirst => "31/10/2026",
        })
    }
}

/// Why a text is no date. None of them shows the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DateError {
    /// Blank.
    #[error("there is no date")]
    Missing,
    /// Neither order.
    #[error("is no date: 2026-10-31 and 31/10/2026 are")]
    NotADate,
    /// Such as 10/31/2026.
    #[error("is no date: there is no such day (the day comes first, then the month)")]
    NoSuchDay,
}

/// The day, in Mali, and in which order it was written.
pub fn parse_date(text: &str) -> Result<(NaiveDate, DateForm), DateError> {
    let text = trimmed(text);
    if text.is_empty() {
        return Err(DateError::Missing);
    }
    // With an offset, the day may be another one in Mali, which is on UTC.
    if let Ok(at) = DateTime::parse_from_rfc3339(&text.replacen(' ', "T", 1)) {
        return Ok((at.to_utc().date_naive(), DateForm::YearFirst));
    }
    let end = text.find(|c: char| c == 'T' || c.is_whitespace()).unwrap_or(text.len());
    let (day, time) = text.split_at(end);
    if !is_time(trimmed(time.trim_start_matches('T'))) {
        return Err(DateError::NotADate);
    }
    let parts: Vec<&str> = day.split(['-', '/', '.']).collect();
    let number = |part: &str, lengths: &[usize]| -> Option<u32> {
        let fits = lengths.contains(&part.len()) && part.bytes().all(|digit| digit.is_ascii_digit());
        part.parse().ok().filter(|_| fits)
    };
    let (year, month, day, form) = match parts[..] {
        [all] if all.len() == 8 && all.is_ascii() => {
            (number(&all[..4], &[4]), number(&all[4..6], &[2]), number(&all[6..], &[2]), DateForm::YearFirst)
        }
        [year, month, day] if year.len() == 4 => {
            (number(year, &[4]), number(month, &[1, 2]), number(day, &[1, 2]), DateForm::YearFirst)
        }
        [day, month, year] => {
            (number(year, &[2, 4]), number(month, &[1, 2]), number(day, &[1, 2]), DateForm::DayFirst)
        }
        _ => return Err(DateError::NotADate),
    };
    let (Some(year), Some(month), Some(day)) = (year, month, day) else { return Err(DateError::NotADate) };
    let year = i32::try_from(year).unwrap_or_default();
    let year = if year < 100 { year + CENTURY } else { year };
    let date = NaiveDate::from_ymd_opt(year, month, day).ok_or(DateError::NoSuchDay)?;
    Ok((date, form))
}

/// Nothing, or `HH:MM` with what may follow; `9h48` as the French write it.
fn is_time(text: &str) -> bool {
    text.is_empty()
        || text.starts_with(|c: char| c.is_ascii_digit())
            && text.chars().all(|c| c.is_ascii_digit() || c.is_whitespace() || "+-:.,hHmMsSapPAM".contains(c))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_way_to_write_a_date() {
        let date = NaiveDate::from_ymd_opt(2026, 10, 31).unwrap();
        for (text, form) in [
            ("2026-10-31", DateForm::YearFirst),
            ("2026/10/31", DateForm::YearFirst),
            ("20261031", DateForm::YearFirst),
            ("2026-10-31T09:48:00", DateForm::YearFirst),
            ("2026-10-31 09:48:00.123", DateForm::YearFirst),
            ("2026-10-31T23:59:59Z", DateForm::YearFirst),
            ("2026-11-01T00:30:00+01:00", DateForm::YearFirst),
            ("31/10/2026", DateForm::DayFirst),
            ("31-10-2026", DateForm::DayFirst),
            ("31.10.2026", DateForm::DayFirst),
            ("31/10/26", DateForm::DayFirst),
            ("31/10/2026 09:48", DateForm::DayFirst),
            ("31/10/2026\u{a0}9h48", DateForm::DayFirst),
            ("31-10-2026 09:48:59", DateForm::DayFirst),
            ("\u{feff} 31/10/2026 ", DateForm::DayFirst),
        ] {
            assert_eq!(parse_date(text), Ok((date, form)), "{text}");
        }
        let april = NaiveDate::from_ymd_opt(2026, 4, 3).unwrap();
        assert_eq!(parse_date("3/4/2026").unwrap().0, april, "never the month first");
    }

    #[test]
    fn what_is_no_date_is_refused() {
        use DateError::{Missing, NoSuchDay, NotADate};
        for (text, why) in [
            ("", Missing),
            ("\u{a0}", Missing),
            ("Awa", NotADate),
            ("46326", NotADate),
            ("31/10", NotADate),
            ("31/10/026", NotADate),
            ("31/10/2026 Awa", NotADate),
            ("2026-10-31-1", NotADate),
            ("+2026-10-31", NotADate),
            ("10/31/2026", NoSuchDay),
            ("30/02/2026", NoSuchDay),
            ("2026-13-01", NoSuchDay),
            ("0/1/2026", NoSuchDay),
        ] {
            assert_eq!(parse_date(text), Err(why), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(days in 0..36_500_u64, form in prop::sample::select(vec!["%Y-%m-%d", "%d/%m/%Y", "%d-%m-%Y", "%Y%m%d", "%d.%m.%Y 08:00"])) {
            let date = NaiveDate::from_ymd_opt(2000, 1, 1).unwrap() + chrono::Days::new(days);
            prop_assert_eq!(parse_date(&date.format(form).to_string()).unwrap().0, date);
        }

        #[test]
        fn nothing_panics(text in "[0-9/T: .-]{0,24}|\\PC{0,12}") {
            let _ = parse_date(&text);
        }
    }
}
