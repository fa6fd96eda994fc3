//! `Retry-After`: seconds or an HTTP date.

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::date::http_date;

/// Longest wait that a header can ask for; a longer one is a mistake that would stop a Treasury.
pub const MAX_WAIT: Duration = Duration::from_secs(3600);

/// How long TresorPay asks to wait, at most an hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryAfter(pub Duration);

impl RetryAfter {
    /// Reads the header; `now`, by the server's clock if it tells, turns a date into a wait. `None` if it is neither
    /// form.
    pub fn parse(header: &str, now: DateTime<Utc>) -> Option<Self> {
        let header = header.trim();
        if !header.is_empty() && header.bytes().all(|b| b.is_ascii_digit()) {
            return Some(Self(Duration::from_secs(header.parse().unwrap_or(u64::MAX)).min(MAX_WAIT)));
        }
        let at = http_date(header)?;
        let wait = at.signed_duration_since(now).to_std().unwrap_or_default();
        Some(Self(wait.min(MAX_WAIT)))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use chrono::{DateTime, TimeZone, Utc};
    use proptest::prelude::*;

    use super::{MAX_WAIT, RetryAfter};

    #[test]
    fn seconds_and_dates() {
        let now = Utc.with_ymd_and_hms(2026, 11, 24, 9, 48, 0).single().unwrap_or_default();
        let seconds = |text: &str| RetryAfter::parse(text, now).map(|after| after.0);
        assert_eq!(seconds("120"), Some(Duration::from_secs(120)));
        assert_eq!(seconds("Tue, 24 Nov 2026 09:48:30 GMT"), Some(Duration::from_secs(30)));
        assert_eq!(seconds("Tuesday, 24-Nov-26 09:48:30 GMT"), Some(Duration::from_secs(30)));
        assert_eq!(seconds("Tue Nov 24 09:48:30 2026"), Some(Duration::from_secs(30)));
        assert_eq!(seconds("Tue, 24 Nov 2026 09:00:00 GMT"), Some(Duration::ZERO));
        assert_eq!(seconds("99999999999999999999999"), Some(MAX_WAIT));
        for neither in ["", "soon", "-1", "1.5", "Tue"] {
            assert_eq!(seconds(neither), None, "{neither}");
        }
    }
    /// Any second from 1970 to 2100.
    fn time() -> impl Strategy<Value = DateTime<Utc>> {
        (0_i64..4_102_444_800).prop_map(|seconds| Utc.timestamp_opt(seconds, 0).single().unwrap_or_default())
    }

    proptest! {
        #[test]
        fn no_header_panics_or_asks_for_more_than_the_longest_wait(
            header in prop_oneof![any::<String>(), "[0-9]{0,30}", "[A-Za-z]{3}, [0-9]{1,2} [A-Za-z]{3} [0-9]{1,6} [0-9:]{0,9} ?(GMT|[+-][0-9]{4})?"],
            now in time(),
        ) {
            prop_assert!(RetryAfter::parse(&header, now).is_none_or(|after| after.0 <= MAX_WAIT));
        }

        #[test]
        fn a_date_is_the_time_until_then(now in time(), seconds in -100_000_i64..100_000) {
            let at = now + chrono::TimeDelta::seconds(seconds);
            let header = at.format("%a, %d %b %Y %H:%M:%S GMT").to_string();
            let wait = Duration::from_secs(u64::try_from(seconds).unwrap_or(0)).min(MAX_WAIT);
            prop_assert_eq!(RetryAfter::parse(&header, now), Some(RetryAfter(wait)));
        }

        #[test]
        fn whole_seconds_are_kept_up_to_the_longest_wait(seconds in any::<u64>()) {
            let wait = Duration::from_secs(seconds).min(MAX_WAIT);
            prop_assert_eq!(RetryAfter::parse(&format!(" {seconds} "), Utc::now()), Some(RetryAfter(wait)));
        }
    }
}
