//! Wall-clock time as the database writes it, and whether somebody has set that clock. Time is passed in; only this file
//! reads the clock.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};

/// An instant in UTC, written `2026-11-24T09:48:00.000Z`, so that text order is time order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(DateTime<Utc>);

impl Timestamp {
    /// Now, by the machine's wall clock.
    pub fn now() -> Self {
        Self(Utc::now())
    }

    /// Reads the database's form (or any RFC 3339 text); `None` if it is no date and time.
    pub fn parse(text: &str) -> Option<Self> {
        DateTime::parse_from_rfc3339(text).ok().map(|at| Self(at.to_utc()))
    }

    /// This instant plus `delay`; the last representable instant where that overflows.
    #[must_use]
    pub fn after(self, delay: Duration) -> Self {
        TimeDelta::from_std(delay)
            .ok()
            .and_then(|delta| self.0.checked_add_signed(delta))
            .map_or(Self(DateTime::<Utc>::MAX_UTC), Self)
    }

    /// This instant less `time`; the first representable instant where that overflows.
    #[must_use]
    pub fn before(self, time: Duration) -> Self {
        TimeDelta::from_std(time)
            .ok()
            .and_then(|delta| self.0.checked_sub_signed(delta))
            .map_or(Self(DateTime::<Utc>::MIN_UTC), Self)
    }

    /// Time between this instant and `other`, whichever is earlier.
    pub fn distance(self, other: Self) -> Duration {
        self.0.signed_duration_since(other.0).abs().to_std().unwrap_or_default()
    }

    /// Time from `earlier` to this instant; zero if `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        self.0.signed_duration_since(earlier.0).to_std().unwrap_or_default()
    }

    /// The chrono value, for calendar arithmetic.
    pub fn to_chrono(self) -> DateTime<Utc> {
        self.0
    }
}

/// The wall clock and the monotonic clock go apart by more than this between two looks: it was set, or the machine slept.
const STEP: TimeDelta = TimeDelta::seconds(30);

/// Whether the wall clock was set: its progress is compared with the monotonic clock's. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ClockSteps {
    last: Arc<Mutex<(Timestamp, Instant)>>,
}

impl ClockSteps {
    /// Compares from now on.
    pub fn start(wall: Timestamp, steady: Instant) -> Self {
        Self { last: Arc::new(Mutex::new((wall, steady))) }
    }

    /// By how much the wall clock was set since [`ClockSteps::settle`]; `None` if it was not.
    pub fn stepped(&self, wall: Timestamp, steady: Instant) -> Option<TimeDelta> {
        let (last_wall, last_steady) = *self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let expected = last_wall.after(steady.saturating_duration_since(last_steady));
        let step = wall.0.signed_duration_since(expected.0);
        (step.abs() > STEP).then_some(step)
    }

    /// What hung on a step has been dealt with; small differences are forgotten, so that they do not add up.
    pub fn settle(&self, wall: Timestamp, steady: Instant) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = (wall, steady);
    }
}

impl From<DateTime<Utc>> for Timestamp {
    fn from(at: DateTime<Utc>) -> Self {
        Self(at)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0.to_rfc3339_opts(SecondsFormat::Millis, true))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_set_is_told_from_one_that_drifts() {
        let (wall, steady) = (Timestamp::now(), Instant::now());
        let steps = ClockSteps::start(wall, steady);
        let hour = Duration::from_secs(3600);
        let (later, late) = (wall.after(hour), steady + hour);
        assert_eq!(steps.stepped(later, late), None);
        for drift in [1, 29] {
            assert_eq!(steps.stepped(later.after(Duration::from_secs(drift)), late), None);
        }
        let year = Duration::from_secs(365 * 86400);
        assert_eq!(steps.stepped(later.after(year), late), Some(TimeDelta::days(365)));
        assert_eq!(steps.stepped(later.before(year), late), Some(TimeDelta::days(-365)));
        steps.settle(later.before(year), late);
        assert_eq!(steps.stepped(later.before(year), late), None);
    }

    #[test]
    fn the_ends_of_time_are_no_panic() {
        let now = Timestamp::now();
        assert!(now.after(Duration::MAX) > now && now.before(Duration::MAX) < now);
        assert_eq!(now.distance(now.after(Duration::from_secs(5))), Duration::from_secs(5));
        assert_eq!(now.distance(now.before(Duration::from_secs(5))), Duration::from_secs(5));
    }
}
