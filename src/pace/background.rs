//! Requests that nobody waits for, those of reconciliation: a fixed part of the rate limit, one at a time, no bursts.

use std::{
    num::NonZeroU32,
    time::{Duration, Instant},
};

use tokio::sync::Mutex;

/// Of `api.requests_per_second`, what they may take.
const SHARE: f64 = 0.25;
/// Requests a second that they may make where there is no limit: the same part of the default.
const WITHOUT_LIMIT: f64 = 5.0;
/// They give way to others who wait no longer than this: a reconciliation must end even beside a bulk run of days.
pub(super) const MAX_YIELD: Duration = Duration::from_secs(10);
/// Between two looks at whether others wait.
pub(super) const YIELD: Duration = Duration::from_millis(50);

/// Requests a second that nobody waits for, under this limit (`None`: no limit).
pub fn share_of(requests_per_second: Option<NonZeroU32>) -> f64 {
    requests_per_second.map_or(WITHOUT_LIMIT, |limit| f64::from(limit.get()) * SHARE)
}

/// Spaces them evenly.
pub(super) struct Background {
    apart: Duration,
    next: Mutex<Option<Instant>>,
}

impl Background {
    pub(super) fn new(requests_per_second: Option<NonZeroU32>) -> Self {
        Self { apart: Duration::from_secs_f64(1.0 / share_of(requests_per_second)), next: Mutex::new(None) }
    }

    /// Waits until the next may leave.
    pub(super) async fn turn(&self) {
        let mut next = self.next.lock().await;
        if let Some(at) = *next {
            tokio::time::sleep_until(at.into()).await;
        }
        *next = Some(Instant::now() + self.apart);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn they_leave_evenly_at_a_quarter_of_the_limit() {
        let background = Background::new(NonZeroU32::new(400));
        let start = Instant::now();
        for _ in 0..21 {
            background.turn().await;
        }
        assert!(start.elapsed() >= Duration::from_millis(200), "{:?}", start.elapsed());
        assert!((share_of(NonZeroU32::new(20)) - share_of(None)).abs() < f64::EPSILON);
    }
}
