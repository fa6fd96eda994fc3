//! The server's time, as the `Date` header of its answers tells it, against ours. A machine whose clock is off writes
//! wrong times into the outbox, polls at the wrong time and refuses good certificates; whoever runs it has to hear of it.

use std::time::Duration;

use chrono::{DateTime, Utc};
use reqwest::header::{DATE, HeaderMap, HeaderName, RETRY_AFTER};
use tokio::sync::watch;

use super::RetryAfter;
use crate::clock::Timestamp;

/// The stable code of a clock that is off.
pub const CLOCK_OFF: &str = "clock_off";
/// Beyond this a clock is off.
const TOLERANCE: Duration = Duration::from_secs(60);
/// The header has whole seconds.
const RESOLUTION: Duration = Duration::from_secs(1);

/// An HTTP date, in any of its three forms.
pub(super) fn http_date(text: &str) -> Option<DateTime<Utc>> {
    httpdate::parse_http_date(text.trim()).ok().map(DateTime::from)
}

/// When the server says that it answered.
pub(super) fn server_date(headers: &HeaderMap) -> Option<DateTime<Utc>> {
    http_date(text(headers, &DATE)?)
}

/// How long the server asks to wait. A date is read by the server's own clock, where the answer tells it.
pub fn asked_to_wait(headers: &HeaderMap) -> Option<Duration> {
    let now = server_date(headers).unwrap_or_else(Utc::now);
    RetryAfter::parse(text(headers, &RETRY_AFTER)?, now).map(|after| after.0)
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// How far this machine's clock is from the server's; cheap to clone.
#[derive(Debug, Clone)]
pub struct ServerClock {
    off: watch::Sender<Offset>,
}

/// What is known of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Offset {
    /// No answer told the time yet.
    #[default]
    Unknown,
    /// Within a minute.
    Right,
    /// Seconds by which this machine is ahead; negative: behind.
    Off(i64),
}

impl Default for ServerClock {
    fn default() -> Self {
        Self { off: watch::Sender::new(Offset::Unknown) }
    }
}

impl ServerClock {
    /// The answer to a request between `sent_at` and `received_at` says that it was made at `date`. A clock that is off
    /// is warned of once, until it is right again.
    pub fn observe(&self, date: DateTime<Utc>, sent_at: Timestamp, received_at: Timestamp) {
        let offset = offset(date.into(), sent_at, received_at);
        let before = *self.off.borrow();
        match (before, offset) {
            (Offset::Unknown | Offset::Right, Offset::Off(seconds)) => tracing::warn!(
                seconds,
                "{CLOCK_OFF}: this machine's clock is {} TresorPay's; set it (NTP), or times in the outbox are wrong",
                words(seconds)
            ),
            (Offset::Off(_), Offset::Right) => {
                tracing::info!("this machine's clock agrees with TresorPay's again");
            }
            _ => {}
        }
        self.off.send_if_modified(|off| {
            // Latency makes the number tremble: only what people would call a change is one.
            let same = matches!((*off, offset), (Offset::Off(old), Offset::Off(new))
                if old.abs_diff(new) <= TOLERANCE.as_secs())
                || *off == offset;
            if !same {
                *off = offset;
            }
            !same
        });
    }

    /// What is known now.
    pub fn offset(&self) -> Offset {
        *self.off.borrow()
    }

    /// Changes when the clock goes off, is set, or is right again.
    pub fn changes(&self) -> watch::Receiver<Offset> {
        self.off.subscribe()
    }
}

/// `2 h ahead of`
pub fn words(seconds: i64) -> String {
    let (many, unit) = match seconds.unsigned_abs() {
        seconds @ 0..=119 => (seconds, "s"),
        seconds @ 120..=7199 => (rounded(seconds, 60), "min"),
        seconds @ 7200..=172_799 => (rounded(seconds, 3600), "h"),
        seconds => (rounded(seconds, 86_400), "days"),
    };
    format!("{many} {unit} {}", if seconds < 0 { "behind" } else { "ahead of" })
}

fn rounded(seconds: u64, unit: u64) -> u64 {
    (seconds + unit / 2) / unit
}

fn offset(date: Timestamp, sent_at: Timestamp, received_at: Timestamp) -> Offset {
    let ahead = sent_at.since(date.after(RESOLUTION));
    let behind = date.since(received_at);
    let seconds = |off: Duration| i64::try_from(off.as_secs()).unwrap_or(i64::MAX);
    match (ahead > TOLERANCE, behind > TOLERANCE) {
        (true, _) => Offset::Off(seconds(ahead)),
        (_, true) => Offset::Off(-seconds(behind)),
        (false, false) => Offset::Right,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn only_more_than_a_minute_is_off_however_slow_the_answer() {
        let at = |text: &str| Timestamp::parse(text).unwrap();
        let of = |date: &str, sent: &str, received: &str| offset(at(date), at(sent), at(received));
        let (sent, received) = ("2026-11-24T09:48:00.500Z", "2026-11-24T09:48:30.000Z");
        assert_eq!(of("2026-11-24T09:48:00Z", sent, received), Offset::Right);
        assert_eq!(of("2026-11-24T09:49:30Z", sent, received), Offset::Right);
        assert_eq!(of("2026-11-24T09:49:31Z", sent, received), Offset::Off(-61));
        assert_eq!(of("2026-11-24T09:46:59Z", sent, received), Offset::Off(60));
        assert_eq!(of("2026-11-24T06:48:00Z", sent, received), Offset::Off(3 * 3600 - 1));
    }

    #[test]
    fn a_change_is_told_once() {
        let clock = ServerClock::default();
        let mut changes = clock.changes();
        let now = Timestamp::now();
        let observe = |off: u64| clock.observe(now.after(Duration::from_secs(off)).to_chrono(), now, now);
        let told = [(0, true), (0, false), (7200, true), (7203, false), (86_400, true), (0, true)].map(
            |(off, news)| {
                observe(off);
                let told = changes.has_changed().unwrap_or_default();
                changes.mark_unchanged();
                told == news
            },
        );
        assert_eq!(told, [true; 6]);
        assert_eq!(words(-7200), "2 h behind");
        assert_eq!(words(61), "61 s ahead of");
        assert_eq!(words(86_400 * 400), "400 days ahead of");
    }
}
