//! Cron expressions with seconds, checked by the very parser that will run them.

use std::fmt;

use chrono::Timelike;
use croner::errors::CronError;
use croner::parser::{CronParser, Seconds};

use crate::clock::Timestamp;

/// What an expression is made of, in this order.
const FIELDS: [&str; 6] = ["second", "minute", "hour", "day of month", "month", "day of week"];

/// A cron expression that the scheduler surely accepts and that comes due again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CronSchedule(String);

impl CronSchedule {
    /// The expression, six fields, as it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The last time at or before `now` when it came due; `None`: it never did.
    pub fn last_due(&self, now: Timestamp) -> Option<Timestamp> {
        let cron = parser().parse(&self.0).ok()?;
        let due = cron.find_previous_occurrence(&now.to_chrono(), true).ok()?;
        // The parser leaves the fraction of `now` in it.
        Some(due.with_nanosecond(0)?.into())
    }

    /// The first time after `now` when it comes due.
    pub fn next_due(&self, now: Timestamp) -> Option<Timestamp> {
        let cron = parser().parse(&self.0).ok()?;
        let due = cron.find_next_occurrence(&now.to_chrono(), false).ok()?;
        Some(due.with_nanosecond(0)?.into())
    }

    /// Checks `text`; the error says what is expected or what the parser found.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let fields: Vec<_> = text.split_whitespace().collect();
        if fields.len() != FIELDS.len() {
            let (expected, found) = (FIELDS.len(), fields.len());
            let names = FIELDS.join(", ");
            return Err(format!("expected a cron expression of {expected} fields ({names}), found {found}"));
        }
        let cron = parser().parse(text).map_err(|error| match wrong_field(&fields) {
            Some((field, error)) => format!("not a cron expression: the field {field}: {error}"),
            None => format!("not a cron expression: {error}"),
        })?;
        cron.find_next_occurrence(&chrono::Utc::now(), false)
            .map_err(|_| "this cron expression never comes due".to_owned())?;
        Ok(Self(text.to_owned()))
    }
}

/// The parser with the options that tokio-cron-scheduler sets.
fn parser() -> CronParser {
    CronParser::builder().seconds(Seconds::Required).dom_and_dow(true).build()
}

/// Which field is wrong, for the parser's own errors do not say: the first that fails between wildcards.
fn wrong_field(fields: &[&str]) -> Option<(&'static str, CronError)> {
    FIELDS.iter().enumerate().find_map(|(at, name)| {
        let alone: Vec<_> =
            (0..FIELDS.len()).map(|other| if other == at { fields[at] } else { "*" }).collect();
        parser().parse(&alone.join(" ")).err().map(|error| (*name, error))
    })
}

impl fmt::Display for CronSchedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_with_seconds_are_accepted() {
        for text in ["*/5 * * * * *", "0 30 2 * * *", "0 0 8-17 * * MON-FRI", "0 0 0 L * *", "0 0 0 29 2 *"] {
            assert_eq!(CronSchedule::parse(text).map(|cron| cron.0), Ok(text.to_owned()));
        }
    }

    #[test]
    fn others_are_refused_with_the_reason() {
        for (text, reason) in [
            ("", "found 0"),
            ("*/5 * * * *", "found 5"),
            ("0 0 0 1 1 * 2030", "found 7"),
            ("@daily", "found 1"),
            ("61 * * * * *", "the field second"),
            ("0 0 x * * *", "the field hour"),
            ("0 0 0 30 2 *", "never comes due"),
        ] {
            let error = CronSchedule::parse(text).err();
            assert!(error.as_ref().is_some_and(|error| error.contains(reason)), "{text}: {error:?}");
        }
    }

    #[test]
    fn the_hour_that_was_missed_is_known() {
        let at = |text: &str| Timestamp::parse(text).expect("a time");
        for (cron, now, last, next) in [
            (
                "0 30 2 * * *",
                "2026-11-24T02:30:00.000Z",
                "2026-11-24T02:30:00.000Z",
                "2026-11-25T02:30:00.000Z",
            ),
            (
                "0 30 2 * * *",
                "2026-11-24T02:29:59.999Z",
                "2026-11-23T02:30:00.000Z",
                "2026-11-24T02:30:00.000Z",
            ),
            (
                "0 30 2 * * *",
                "2026-11-24T02:30:00.400Z",
                "2026-11-24T02:30:00.000Z",
                "2026-11-25T02:30:00.000Z",
            ),
            (
                "*/2 * * * * *",
                "2026-11-24T02:30:01.700Z",
                "2026-11-24T02:30:00.000Z",
                "2026-11-24T02:30:02.000Z",
            ),
            (
                "0 0 0 29 2 *",
                "2026-11-24T02:30:01.700Z",
                "2024-02-29T00:00:00.000Z",
                "2028-02-29T00:00:00.000Z",
            ),
        ] {
            let cron = CronSchedule::parse(cron).expect("a schedule");
            assert_eq!(cron.last_due(at(now)), Some(at(last)), "{cron} at {now}");
            assert_eq!(cron.next_due(at(now)), Some(at(next)), "{cron} at {now}");
        }
    }

    /// Near enough to a field to be one every other time.
    const FIELD: &str = r"(\*|\?|[0-9]{1,2}|[0-9]{1,2}-[0-9]{1,3}|\*/[0-9]{1,2}|[0-9],[0-9]{2}|L|[0-9]{1,2}W|[0-7]#[0-6]|[0-7]L|[A-Z#/+-]{1,4})";

    proptest::proptest! {
        #[test]
        fn no_expression_panics_and_the_scheduler_agrees(fields in proptest::collection::vec(FIELD, FIELDS.len())) {
            let text = fields.join(" ");
            let job = tokio_cron_scheduler::Job::new(&text, |_, _| ());
            proptest::prop_assert!(job.is_ok() || CronSchedule::parse(&text).is_err());
        }
    }

    #[test]
    fn the_scheduler_accepts_what_is_accepted_here() {
        for text in ["*/5 * * * * *", "0 30 2 * * *", "0 0 8-17 * * MON-FRI"] {
            assert!(tokio_cron_scheduler::Job::new(text, |_, _| {}).is_ok(), "{text}");
        }
    }
}
