//! The writer's transactions: how many, how large, how long, and what keeps them from being taken.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use prometheus_client::{
    metrics::{counter::Counter, family::Family, histogram::Histogram},
    registry::Registry,
};

use super::{Label, Tally};

/// Bounds of the classes of a commit's duration, in seconds: from a cached disk to one that fails.
const SECONDS: [f64; 10] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 2.0, 10.0];
/// Bounds of the classes of a commit's writes.
const WRITES: [f64; 5] = [1.0, 2.0, 4.0, 16.0, 64.0];
/// Why a try was refused: the codes of `docs/errors.md`.
const TROUBLES: [&str; 5] =
    ["database_locked", "database_full", "database_read_only", "database_failing", "mark_unwritable"];

/// The instruments of the writer; cheap to clone.
#[derive(Debug, Clone)]
pub struct Commits(Arc<Instruments>);

#[derive(Debug)]
struct Instruments {
    seconds: Histogram,
    writes: Histogram,
    refused: Family<[Label; 1], Counter>,
    refusals: Tally,
    /// Why the database takes nothing at this moment.
    trouble: Mutex<Option<&'static str>>,
}

impl Default for Commits {
    fn default() -> Self {
        let refused = Family::default();
        let refusals = Tally::new(&refused, &TROUBLES, |code| [("code", code)]);
        Self(Arc::new(Instruments {
            seconds: Histogram::new(SECONDS),
            writes: Histogram::new(WRITES),
            refused,
            refusals,
            trouble: Mutex::default(),
        }))
    }
}

impl Commits {
    /// `writes` of callers were committed together.
    pub fn done(&self, writes: usize, took: Duration) {
        self.0.seconds.observe(took.as_secs_f64());
        self.0.writes.observe(f64::from(u32::try_from(writes).unwrap_or(u32::MAX)));
        self.over();
    }

    /// What was refused is done.
    pub fn over(&self) {
        self.set_trouble(None);
    }

    /// A try was refused; it is tried again.
    pub fn refused(&self, code: &'static str) {
        self.0.refusals.count(code);
        self.set_trouble(Some(code));
    }

    /// Why the database takes nothing at this moment, as its error code; `None`: nothing is known against it.
    pub fn trouble(&self) -> Option<&'static str> {
        *self.0.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_trouble(&self, trouble: Option<&'static str>) {
        *self.0.trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }

    /// Shows them.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "commit_duration_seconds",
            "How long the transactions of the writer took, with the flush to the disk",
            self.0.seconds.clone(),
        );
        registry.register(
            "commit_writes",
            "How many writes of the daemon's workers were committed together",
            self.0.writes.clone(),
        );
        registry.register(
            "commit_refusals",
            "Tries of the writer that the database did not take, by error code; each is tried again",
            self.0.refused.clone(),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trouble_lasts_until_a_commit() {
        let commits = Commits::default();
        assert_eq!(commits.trouble(), None);
        commits.refused("database_full");
        assert_eq!(commits.trouble(), Some("database_full"));
        commits.done(3, Duration::from_millis(2));
        assert_eq!(commits.trouble(), None);
    }
}
