//! Wall-clock time as the database writes it, and whether somebody has set that clock. Time is passed in; only this file
//! reads the clock.

use std::{
    collections::VecDeque,
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
    seen: Arc<Mutex<Seen>>,
}

/// What both clocks said at the last look, and the steps before it.
#[derive(Debug)]
struct Seen {
    wall: Timestamp,
    steady: Instant,
    /// The wall clock before each step, and by how much it was set; the last few.
    steps: VecDeque<(Timestamp, TimeDelta)>,
}

/// Steps that are remembered.
const MAX_STEPS: usize = 32;

impl ClockSteps {
    /// Compares from now on.
    pub fn start(wall: Timestamp, steady: Instant) -> Self {
        Self { seen: Arc::new(Mutex::new(Seen { wall, steady, steps: VecDeque::new() })) }
    }

    /// By how much the wall clock was set since [`ClockSteps::settle`]; `None` if it was not.
    pub fn stepped(&self, wall: Timestamp, steady: Instant) -> Option<TimeDelta> {
        self.lock().step(wall, steady).map(|(_, step)| step)
    }

    /// What hung on a step has been dealt with; small differences are forgotten, so that they do not add up.
    pub fn settle(&self, wall: Timestamp, steady: Instant) {
        let mut seen = self.lock();
        if let Some(step) = seen.step(wall, steady) {
            seen.steps.truncate(MAX_STEPS - 1);
            seen.steps.push_front(step);
        }
        (seen.wall, seen.steady) = (wall, steady);
    }

    /// How long before `now` something happened that was written down as `then`, the steps since taken off; `None`: nobody
    /// knows, it says that it is still to come.
    pub fn age(&self, now: Timestamp, then: Timestamp) -> Option<Duration> {
        let mut age = now.0.signed_duration_since(then.0);
        // From the latest stretch of an unset clock back to the one that `then` lies in. Set back, the clock says the same
        // times twice: the later one is meant.
        let mut end = now;
        for (before, step) in &self.lock().steps {
            let start = before.0.checked_add_signed(*step).unwrap_or(before.0);
            if (start..=end.0).contains(&then.0) {
                break;
            }
            age = age.checked_sub(step)?;
            end = *before;
        }
        age.to_std().ok()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seen {
    /// What the wall clock should say, and by how much it was set, if it was.
    fn step(&self, wall: Timestamp, steady: Instant) -> Option<(Timestamp, TimeDelta)> {
        let expected = self.wall.after(steady.saturating_duration_since(self.steady));
        let step = wall.0.signed_duration_since(expected.0);
        (step.abs() > STEP).then_some((expected, step))
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
    fn an_age_does_not_hang_on_what_the_clock_was_set_by() {
        let (start, steady) = (Timestamp::now(), Instant::now());
        let minutes = |many: u64| Duration::from_secs(60 * many);
        let near = |age: Option<Duration>, wanted: Duration| {
            age.is_some_and(|age| age.abs_diff(wanted) < Duration::from_secs(1))
        };
        for hours in [3, -3, 24 * 700, -24 * 700] {
            let off = |at: Timestamp| Timestamp(at.0 + TimeDelta::hours(hours));
            let steps = ClockSteps::start(start, steady);
            steps.settle(start, steady);
            // Ten minutes on, the clock is set; ten more, and it is set right.
            steps.settle(off(start.after(minutes(10))), steady + minutes(10));
            let now = off(start.after(minutes(20)));
            assert!(near(steps.age(now, start), minutes(20)), "{hours}");
            assert!(near(steps.age(now, off(start.after(minutes(15)))), minutes(5)), "{hours}");
            steps.settle(now, steady + minutes(20));
            steps.settle(start.after(minutes(20)), steady + minutes(20));
            let now = start.after(minutes(30));
            assert!(near(steps.age(now, start), minutes(30)), "{hours}");
            assert!(near(steps.age(now, start.after(minutes(25))), minutes(5)), "{hours}");
        }
        let steps = ClockSteps::start(start, steady);
        assert_eq!(steps.age(start, start.after(minutes(1))), None);
    }

    #[test]
    fn the_ends_of_time_are_no_panic() {
        let now = Timestamp::now();
        assert!(now.after(Duration::MAX) > now && now.before(Duration::MAX) < now);
        assert_eq!(now.distance(now.after(Duration::from_secs(5))), Duration::from_secs(5));
        assert_eq!(now.distance(now.before(Duration::from_secs(5))), Duration::from_secs(5));
    }
}
