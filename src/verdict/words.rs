//! Durations, sizes and counts in both languages, short enough for a line.

use std::time::Duration;

use crate::lang::Lang;

/// The two largest units that matter: `12 s`, `3 min 5 s`, `2 h 10 min`, `3 d 4 h`; in French `3 j 4 h`.
pub fn duration(lang: Lang, duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    let pair = |large: u64, unit: &str, small: u64, smaller: &str| match small {
        0 => format!("{large} {unit}"),
        small => format!("{large} {unit} {small} {smaller}"),
    };
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, minutes) => pair(minutes, "min", seconds % 60, "s"),
        (0, hours, minutes) => pair(hours, "h", minutes, "min"),
        (days, hours, _) => pair(days, lang.pick("d", "j"), hours, "h"),
    }
}

/// `4.1 MiB`; in French `4,1 Mio`.
#[expect(clippy::cast_precision_loss, reason = "one decimal is shown")]
pub fn size(lang: Lang, bytes: u64) -> String {
    const UNITS: [(&str, &str); 4] = [("KiB", "Kio"), ("MiB", "Mio"), ("GiB", "Gio"), ("TiB", "Tio")];
    if bytes < 1024 {
        return format!("{bytes} {}", lang.pick("B", "o"));
    }
    let mut amount = bytes as f64 / 1024.0;
    let mut unit = 0;
    while amount >= 1024.0 && unit + 1 < UNITS.len() {
        amount /= 1024.0;
        unit += 1;
    }
    let number = format!("{amount:.1}").replace('.', lang.pick(".", ","));
    format!("{number} {}", lang.pick(UNITS[unit].0, UNITS[unit].1))
}

/// `1 row`, `3 rows`. French takes the singular for 0 too.
pub fn counted(lang: Lang, number: i64, one: &str, many: &str) -> String {
    let singular = match lang {
        Lang::En => number == 1,
        Lang::Fr => (0..2).contains(&number),
    };
    format!("{number} {}", if singular { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_language_writes_its_own() {
        assert_eq!(duration(Lang::Fr, Duration::from_secs(100_000)), "1 j 3 h");
        assert_eq!(size(Lang::Fr, 1536), "1,5 Kio");
        assert_eq!(size(Lang::En, 1536), "1.5 KiB");
        assert_eq!(counted(Lang::En, 0, "row", "rows"), "0 rows");
        assert_eq!(counted(Lang::Fr, 0, "ligne", "lignes"), "0 ligne");
        assert_eq!(counted(Lang::Fr, 2, "ligne", "lignes"), "2 lignes");
    }
}
