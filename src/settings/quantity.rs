//! Quantities as an administrator writes them: durations (`1h30m`) and sizes (`512MiB`).

use std::time::Duration;

/// Units of a duration in milliseconds, the largest first, as they follow each other in `1d12h`.
const TIME_UNITS: [(&str, u64); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Units of a size in bytes.
const SIZE_UNITS: [(&str, u64); 5] =
    [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

/// Reads `5s`, `250ms`, `6h`, `365d`, `1h30m`: whole numbers, each with its unit, the largest unit first.
pub(super) fn duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut units = TIME_UNITS.as_slice();
    let mut milliseconds = 0_u64;
    loop {
        let (number, after) = leading_number(rest)?;
        let end = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        let at = units.iter().position(|(name, _)| *name == unit)?;
        milliseconds = milliseconds.checked_add(number.checked_mul(units[at].1)?)?;
        units = &units[at + 1..];
        rest = after;
        if rest.is_empty() {
            return Some(Duration::from_millis(milliseconds));
        }
    }
}

/// Reads `1GiB`, `512MiB` or a plain number of bytes.
pub(super) fn size(text: &str) -> Option<u64> {
    let (number, unit) = leading_number(text)?;
    if unit.is_empty() {
        return Some(number);
    }
    let (_, bytes) = SIZE_UNITS.iter().find(|(name, _)| *name == unit)?;
    number.checked_mul(*bytes)
}

/// A duration as [`duration`] reads it.
pub(super) fn duration_text(duration: Duration) -> String {
    let mut rest = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let mut text = String::new();
    for (unit, milliseconds) in TIME_UNITS {
        if rest >= milliseconds {
            text += &(rest / milliseconds).to_string();
            text += unit;
            rest %= milliseconds;
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

/// A size as [`size`] reads it, in the largest unit that divides it.
pub(super) fn size_text(bytes: u64) -> String {
    let unit = SIZE_UNITS.iter().find(|(_, unit)| bytes >= *unit && bytes.is_multiple_of(*unit));
    unit.map_or_else(|| bytes.to_string(), |(name, unit)| format!("{}{name}", bytes / unit))
}

fn leading_number(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    Some((digits.parse().ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read() {
        for (text, milliseconds) in [
            ("250ms", 250),
            ("5s", 5_000),
            ("5m", 300_000),
            ("6h", 21_600_000),
            ("365d", 31_536_000_000),
            ("1h30m", 5_400_000),
            ("1d2h3m4s5ms", 93_784_005),
            ("0s", 0),
        ] {
            assert_eq!(duration(text), Some(Duration::from_millis(milliseconds)), "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for text in [
            "",
            "5",
            "s",
            "5 s",
            " 5s",
            "5s ",
            "-5s",
            "+5s",
            "1.5h",
            "5S",
            "5sec",
            "30m1h",
            "5s5s",
            "5é",
            "1h30",
            "99999999999999999999s",
            "18446744073709551615d",
            "٥s",
        ] {
            assert_eq!(duration(text), None, "{text}");
        }
    }

    #[test]
    fn sizes_are_read() {
        for (text, bytes) in
            [("1GiB", 1 << 30), ("512MiB", 512 << 20), ("1048576", 1 << 20), ("64KiB", 65_536), ("7B", 7)]
        {
            assert_eq!(size(text), Some(bytes), "{text}");
        }
        for text in ["", "GiB", "1GB", "1 GiB", "1.5GiB", "-1", "1gib", "99999999999TiB", "1_000"] {
            assert_eq!(size(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        for milliseconds in [0, 1, 999, 1_000, 90_061_001, 31_536_000_000] {
            let given = Duration::from_millis(milliseconds);
            assert_eq!(duration(&duration_text(given)), Some(given));
        }
        for bytes in [0, 1, 1_023, 1_024, 1 << 40, (1 << 30) + 1] {
            assert_eq!(size(&size_text(bytes)), Some(bytes));
        }
    }
}
