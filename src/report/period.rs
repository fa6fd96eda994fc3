//! Days and periods, and when they are closed. A day is one of UTC, which is Mali's time all year.

use chrono::{DateTime, Days, NaiveDate, NaiveTime, Utc};

/// Days after a day's end until it is closed: long enough for payments of a weekend to be found after an outage.
pub const CLOSING_DAYS: u64 = 3;
/// Longest period, in days: more would be no report.
const MAX_DAYS: i64 = 3_660;

/// Days from the first to the last, both of them within.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Period {
    from: NaiveDate,
    to: NaiveDate,
}

/// Why two dates are no period.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PeriodError {
    /// The wrong way round.
    #[error("--from {0} comes after --to {1}")]
    Backwards(NaiveDate, NaiveDate),
    /// Too long.
    #[error("from {0} to {1} are {2} days; a report is of at most {MAX_DAYS}")]
    TooLong(NaiveDate, NaiveDate, i64),
}

impl Period {
    /// From `from` to `to`.
    pub fn new(from: NaiveDate, to: NaiveDate) -> Result<Self, PeriodError> {
        if from > to {
            return Err(PeriodError::Backwards(from, to));
        }
        let days = (to - from).num_days() + 1;
        if days > MAX_DAYS { Err(PeriodError::TooLong(from, to, days)) } else { Ok(Self { from, to }) }
    }

    /// The first day.
    pub const fn from(&self) -> NaiveDate {
        self.from
    }

    /// The last day.
    pub const fn to(&self) -> NaiveDate {
        self.to
    }

    /// How many days.
    pub fn days(&self) -> i64 {
        (self.to - self.from).num_days() + 1
    }

    /// The moment from which nothing in it changes any more.
    pub fn closes(&self) -> DateTime<Utc> {
        closes(self.to)
    }
}

/// The moment from which nothing is booked on `day` any more.
pub(super) fn closes(day: NaiveDate) -> DateTime<Utc> {
    let closed = day.checked_add_days(Days::new(CLOSING_DAYS + 1)).unwrap_or(NaiveDate::MAX);
    closed.and_time(NaiveTime::MIN).and_utc()
}
