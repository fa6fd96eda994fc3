//! When a doubt may be settled: `emit.settle_after` counts from the last request for the row that nobody answered, since
//! a slow platform may still carry it out. On the monotonic clock, which a restart sets to zero for every row.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use crate::clock::Timestamp;

/// Rows that are remembered before those whose time is over are forgotten.
const KEEP: usize = 1024;

/// Whether a row's doubt may be settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settleable {
    /// Whatever left for this row is carried out by now, or never will be.
    Now,
    /// Not before this instant.
    At(Instant),
}

/// The clock of all doubts; cheap to clone.
#[derive(Debug, Clone)]
pub struct DoubtClock {
    settle_after: Duration,
    /// When this process began: of a row that it has sent nothing for, nothing has left since.
    started: Instant,
    last: Arc<Mutex<LastLeft>>,
}

/// Per `outbox.id`: no later than this left the last request that nobody answered.
#[derive(Debug)]
struct LastLeft {
    rows: HashMap<i64, Instant>,
    prune_at: usize,
}

impl DoubtClock {
    /// A clock that starts with the process, for `emit.settle_after`.
    pub fn new(settle_after: Duration, started: Instant) -> Self {
        let last = LastLeft { rows: HashMap::new(), prune_at: KEEP };
        Self { settle_after, started, last: Arc::new(Mutex::new(last)) }
    }

    /// An emission or a cancel for this row left at `at` or before, and nobody knows what became of it. Say it before it
    /// is committed that the row is in doubt. When its waiting ended will do for `at`: that is later than when it left.
    pub fn unanswered(&self, outbox_id: i64, at: Instant) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.rows.len() >= last.prune_at {
            // What is over needs no memory: the start of the process is before it and over too.
            last.rows.retain(|_, left| at.saturating_duration_since(*left) < self.settle_after);
            last.prune_at = KEEP.max(last.rows.len() * 2);
        }
        let left = last.rows.entry(outbox_id).or_insert(at);
        *left = at.max(*left);
    }

    /// Whether this row's doubt may be settled at `now`, and its notice be canceled or declared absent. A row with a
    /// request under way may not, whatever this says: the database knows that.
    pub fn settleable(&self, outbox_id: i64, now: Instant) -> Settleable {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let left = last.rows.get(&outbox_id).copied().unwrap_or(self.started);
        let at = left + self.settle_after;
        if now >= at { Settleable::Now } else { Settleable::At(at) }
    }

    /// The same as a time of day, for `next_attempt_at`; `now` and `wall` are the same moment.
    pub fn settleable_at(&self, outbox_id: i64, now: Instant, wall: Timestamp) -> Timestamp {
        match self.settleable(outbox_id, now) {
            Settleable::Now => wall,
            Settleable::At(at) => wall.after(at.saturating_duration_since(now)),
        }
    }

    /// `emit.settle_after`.
    pub fn settle_after(&self) -> Duration {
        self.settle_after
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AFTER: Duration = Duration::from_secs(60);

    fn second(start: Instant, second: u64) -> Instant {
        start + Duration::from_secs(second)
    }

    #[test]
    fn it_counts_from_the_last_unanswered_request_and_else_from_the_start() {
        let start = Instant::now();
        let clock = DoubtClock::new(AFTER, start);
        assert_eq!(clock.settleable(1, second(start, 59)), Settleable::At(second(start, 60)));
        assert_eq!(clock.settleable(1, second(start, 60)), Settleable::Now);
        clock.unanswered(1, second(start, 50));
        assert_eq!(clock.settleable(1, second(start, 60)), Settleable::At(second(start, 110)));
        assert_eq!(clock.settleable(2, second(start, 60)), Settleable::Now, "another row is not concerned");
        clock.unanswered(1, second(start, 40));
        assert_eq!(
            clock.settleable(1, second(start, 60)),
            Settleable::At(second(start, 110)),
            "the last counts"
        );
        clock.unanswered(1, second(start, 100));
        assert_eq!(clock.settleable(1, second(start, 159)), Settleable::At(second(start, 160)));
    }

    #[test]
    fn it_tells_the_time_of_day() {
        let (start, wall) = (Instant::now(), Timestamp::now());
        let clock = DoubtClock::new(AFTER, start);
        assert_eq!(clock.settleable_at(1, second(start, 20), wall), wall.after(Duration::from_secs(40)));
        assert_eq!(clock.settleable_at(1, second(start, 61), wall), wall);
    }

    #[test]
    fn it_forgets_only_what_is_over() {
        let start = Instant::now();
        let clock = DoubtClock::new(AFTER, start);
        for row in 0..5000 {
            clock.unanswered(row, second(start, 100));
        }
        assert_eq!(clock.settleable(7, second(start, 159)), Settleable::At(second(start, 160)));
        for row in 5000..10_000 {
            clock.unanswered(row, second(start, 170));
        }
        let rows = clock.last.lock().map(|last| last.rows.len()).unwrap_or_default();
        assert!((5000..6500).contains(&rows), "{rows}");
        assert_eq!(clock.settleable(5001, second(start, 200)), Settleable::At(second(start, 230)));
        assert_eq!(clock.settleable(7, second(start, 170)), Settleable::Now);
    }
}
