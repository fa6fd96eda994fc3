//! A database that refuses for now: how long to wait before the next try, and what the log says of it, once in a while.

use std::time::Duration;

use tokio::time::Instant;

use crate::{
    pace::Backoff,
    store::error::{self, Trouble as Kind},
};

/// Between tries of what the database refuses for now.
const RETRY: Backoff = Backoff { first: Duration::from_millis(50), max: Duration::from_secs(5) };
/// The same trouble is told again after this time, and not before.
const REPORT_AFTER: Duration = Duration::from_secs(10);
/// The mark cannot be written.
pub(super) const UNMARKED: &str = "mark_unwritable";

/// Failures in a row, and when they were told.
#[derive(Debug, Default)]
pub(super) struct Trouble {
    since: Option<Instant>,
    failures: u32,
    /// Each code, and when it was told.
    told: Vec<(&'static str, Instant)>,
    /// It was told in this row of failures, so its end is told too.
    telling: bool,
}

impl Trouble {
    /// One failure more, of this kind: whether to tell of it, and the delay before the next try.
    pub(super) fn failed(&mut self, code: &'static str) -> (bool, Duration) {
        let now = Instant::now();
        self.since.get_or_insert(now);
        self.failures = self.failures.saturating_add(1);
        self.told.retain(|(_, at)| now.duration_since(*at) < REPORT_AFTER);
        let tell = self.told.iter().all(|(told, _)| *told != code);
        if tell {
            self.told.push((code, now));
            self.telling = true;
        }
        (tell, RETRY.delay(self.failures))
    }

    /// A try that was refused by `error`, which passes: tells of it, and how long to wait.
    pub(super) fn refused(&mut self, error: &sqlx::Error) -> Duration {
        let kind = error::trouble(error);
        let (tell, delay) = self.failed(kind.code());
        if tell {
            tracing::error!(
                code = kind.code(),
                %error,
                seconds = self.seconds(),
                "the database refuses writes; answers are kept in memory and nothing new is sent until it takes them: {}",
                kind.remedy()
            );
        }
        // SQLite has waited for the lock already: the next try is to be there when it is given back.
        if kind == Kind::Locked { RETRY.first } else { delay }
    }

    /// The mark could not be written: tells of it, and how long to wait.
    pub(super) fn unmarked(&mut self, error: &crate::store::StoreError) -> Duration {
        let (tell, delay) = self.failed(UNMARKED);
        if tell {
            tracing::error!(
                code = UNMARKED,
                %error,
                seconds = self.seconds(),
                "the mark beside the database cannot be written; nothing is sent until it can"
            );
        }
        delay
    }

    /// A try succeeded.
    pub(super) fn over(&mut self) {
        if std::mem::take(&mut self.telling) {
            tracing::info!(seconds = self.seconds(), "the database takes writes again");
        }
        self.since = None;
        self.failures = 0;
    }

    /// Since the first failure.
    pub(super) fn seconds(&self) -> f64 {
        self.since.map_or(0.0, |since| since.elapsed().as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_is_told_at_once_and_then_once_in_a_while() {
        let mut trouble = Trouble::default();
        assert!(trouble.failed("full").0);
        assert!((0..100).all(|_| !trouble.failed("full").0), "told again within {REPORT_AFTER:?}");
        assert!(trouble.failed("read-only").0 && !trouble.failed("read-only").0);
        trouble.over();
        assert!(!trouble.failed("full").0, "one that comes and goes is not told each time");
        trouble.told[0].1 -= REPORT_AFTER;
        assert!(trouble.failed("full").0 && !trouble.failed("read-only").0);
    }

    #[test]
    fn tries_are_farther_and_farther_apart() {
        let mut trouble = Trouble::default();
        for _ in 0..20 {
            trouble.failed("full");
        }
        assert!(trouble.failed("full").1 >= RETRY.max / 2);
        trouble.over();
        assert!(trouble.failed("full").1 <= RETRY.first);
    }
}
