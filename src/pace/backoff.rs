//! Delays that double from a first to a last, with jitter.

use std::time::Duration;

/// The random part of a delay: enough that clients that failed together do not return together, little enough that the
/// probes of an outage stay few.
const JITTER: f64 = 0.25;
/// 2^31 times any delay is beyond any longest delay.
const MAX_DOUBLINGS: u32 = 31;

/// A delay that doubles from the first to the last, with jitter: `api.retry_first_delay`, `api.retry_max_delay`.
#[derive(Debug, Clone, Copy)]
pub struct Backoff {
    /// Delay after the first failure.
    pub first: Duration,
    /// Longest delay.
    pub max: Duration,
}

impl Backoff {
    /// The delay after `failures` failures in a row (1 or more): between three quarters of the full delay and all of it.
    pub fn delay(&self, failures: u32) -> Duration {
        let doublings = failures.saturating_sub(1).min(MAX_DOUBLINGS);
        let full = self.first.saturating_mul(1 << doublings).min(self.max);
        full.mul_f64(1.0 - JITTER * fastrand::f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn back_off_doubles_with_jitter_up_to_its_cap() {
        let backoff = Backoff { first: Duration::from_secs(1), max: Duration::from_secs(60) };
        for (failures, full) in [(0, 1.0), (1, 1.0), (2, 2.0), (3, 4.0), (7, 60.0), (u32::MAX, 60.0)] {
            let delays: Vec<f64> = (0..100).map(|_| backoff.delay(failures).as_secs_f64()).collect();
            assert!(
                delays.iter().all(|delay| (full * 0.75..=full).contains(delay)),
                "{failures}: {delays:?}"
            );
            assert!(delays.iter().any(|delay| (delay - delays[0]).abs() > full * 0.01), "no jitter");
        }
    }
}
